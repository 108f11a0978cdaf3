"""The house rules, as far as a machine can see them: who imports whom, what a domain may not do.

CONTRIBUTING.md says them in words. Each rule runs over the tree, over a snippet it must refuse (a
rule that cannot fail is worth nothing) and over one it must let pass. The source is read with `ast`
and not run; an import made by name at run time is not seen.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.checkout import ROOT, checkout_files

Offence = tuple[int, str]  # line, what is wrong and what to do instead
Check = Callable[[str, ast.Module], Iterator[Offence]]
Snippet = tuple[str, str]  # path it claims to have, source

CODE = ("kernel/**", "services/**", "gateway/**", "cli/**", "tests/**", "benchmarks/**", "proto/*")
GENERATED = "proto/tanzhang/**"
DOMAIN = "services/*/domain/**"
PLAIN = ("kernel.values", "kernel.errors", "kernel.keyring")  # values and functions, no I/O
DISPATCHERS = (
    *("services/*/domain/decide.py", "services/*/domain/evolve.py"),
    "services/*/projections.py",
)
LOCKS = ("requirements/*", "package-lock.json")
FREE = ("tests/**", "benchmarks/**", GENERATED)  # may use any library

# What every service has, so that who knows one finds everything in the next.
SERVICE_FILES = (
    *("__init__.py", "main.py", "config.py", "domain/**", "rpc.py", "reactions.py"),
    *("projections.py", "queries.py", "tables.py", "migrations/**"),
)

# Who may not import what. A service's own package is taken out of `services` in `reaches_out`.
FORBIDDEN = (
    ("kernel/**", ("services", "gateway", "cli", "tests", "benchmarks")),
    ("services/*/**", ("services", "gateway", "cli", "tests", "benchmarks")),
    ("gateway/**", ("services", "tests")),
    ("cli/**", ("services", "tests")),
)

# Where a library stops: everything outside speaks our own values and ports.
SQL = ("sqlalchemy", "psycopg", "alembic")
SQL_HOMES = (
    *("services/*/tables.py", "services/*/projections.py", "services/*/queries.py"),
    *("services/*/migrations/**", "kernel/alembic/**", "kernel/journal/**"),
    *("kernel/migrate.py", "kernel/lease.py", "cli/stack/**"),
)
NATS = ("nats",)
NATS_HOMES = ("kernel/bus.py", "cli/stack/nats.py")
PROTOBUF = (
    *("tanzhang", "google.protobuf", "google.rpc"),
    *("grpc", "grpc_health", "grpc_reflection", "grpc_status"),
)
PROTOBUF_HOMES = (
    *("kernel/rpc/**", "kernel/relay.py", "kernel/follower.py", "kernel/frames.py"),
    *("services/*/rpc.py", "services/*/*_rpc.py", "services/*/main.py", "services/*/clients.py"),
    *("gateway/clients.py", "cli/clients.py", "cli/*_client.py"),
)
CONFINED = ((SQL, SQL_HOMES), (NATS, NATS_HOMES), (PROTOBUF, PROTOBUF_HOMES))

STDLIB = tuple(sys.stdlib_module_names)
IMPURE = (
    *("asyncio", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "selectors"),
    *("signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "uuid"),
)
CLOCK_CALLS = ("now", "today", "utcnow")
FLOAT_CALLS = ("timestamp", "total_seconds")  # of datetime and timedelta; both give floats
VAGUE = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}


def lies_in(path: str, *patterns: str) -> bool:
    """Does a path match one of the patterns? `*` stays within a folder, `**` does not."""
    means = {"**": ".+", "*": "[^/]+", ".": r"\."}
    return any(
        re.fullmatch(re.sub(r"\*\*|\*|\.", lambda found: means[found[0]], one), path)
        for one in patterns
    )


def imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a module imports, relative imports resolved."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def is_of(name: str, packages: Collection[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def reaches_out(path: str, tree: ast.Module) -> Iterator[Offence]:
    own = ".".join(path.split("/")[:2]) if lies_in(path, "services/*/**") else "nobody's"
    for place, packages in FORBIDDEN:
        for line, name in imports(path, tree) if lies_in(path, place) else ():
            if is_of(name, packages) and not is_of(name, [own]):
                yield line, f"imports {name}: {place} may not import {', '.join(packages)}"


def domain_imports_more_than_values(path: str, tree: ast.Module) -> Iterator[Offence]:
    own = ".".join(path.split("/")[:3])
    for line, name in imports(path, tree) if lies_in(path, DOMAIN) else ():
        if not is_of(name, (*STDLIB, "msgspec", *PLAIN, own)):
            yield line, f"imports {name}: a domain knows {', '.join(PLAIN)} and msgspec"


def tlog_imports_more_than_cryptography(path: str, tree: ast.Module) -> Iterator[Offence]:
    for line, name in imports(path, tree) if lies_in(path, "kernel/tlog/**") else ():
        if not is_of(name, (*STDLIB, "cryptography", "kernel.tlog")):
            yield line, f"imports {name}: kernel/tlog may leave this house some day, it stays pure"


def library_leaves_home(path: str, tree: ast.Module) -> Iterator[Offence]:
    for line, name in () if lies_in(path, *FREE) else imports(path, tree):
        for packages, homes in CONFINED:
            if is_of(name, packages) and not lies_in(path, *homes):
                yield line, f"imports {name}: it stops at {', '.join(homes)}"


def domain_makes_floats(path: str, tree: ast.Module) -> Iterator[Offence]:
    for node in ast.walk(tree) if lies_in(path, DOMAIN) else ():
        match node:
            case ast.Constant(value=float()) | ast.Name(id="float"):
                yield node.lineno, "float: domains count in integers of a named unit"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node.lineno, "true division makes a float: use // and say which way it rounds"
            case ast.Call(func=ast.Attribute(attr=called)) if called in FLOAT_CALLS:
                yield node.lineno, f".{called}() gives a float: divide timedeltas with //"


def domain_is_not_a_plain_function(path: str, tree: ast.Module) -> Iterator[Offence]:
    if not lies_in(path, DOMAIN):
        return
    for line, name in imports(path, tree):
        if is_of(name, IMPURE):
            yield line, f"imports {name}: time, ids, chance and the world outside are passed in"
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=called)) if called in CLOCK_CALLS:
                yield node.lineno, f".{called}() reads a clock: decide and evolve are given `at`"
            case ast.AsyncFunctionDef() | ast.Await():
                yield node.lineno, "awaits: a domain decides from what it holds in memory"


def module_says_nothing(path: str, tree: ast.Module) -> Iterator[Offence]:
    must_speak = bool(tree.body) or lies_in(path, "services/*/__init__.py")
    if must_speak and not ast.get_docstring(tree):
        yield 1, "no docstring: what is it, which standard or rule does it follow, what not?"


def assert_outside_tests(path: str, tree: ast.Module) -> Iterator[Offence]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and not lies_in(path, "tests/**"):
            yield node.lineno, "assert vanishes under -O: raise InvariantBroken"


def vague_name(path: str, tree: ast.Module) -> Iterator[Offence]:
    for word in sorted(VAGUE & set(re.split(r"[/_.]", path))):
        yield 1, f"called {word}: a module is named after what it holds"


def handler_has_another_name(path: str, tree: ast.Module) -> Iterator[Offence]:
    """In a dispatch table RetireUnits goes to retire_units, UnitsRetired to on_units_retired."""
    if not lies_in(path, *DISPATCHERS):
        return
    values = [one.value for one in tree.body if isinstance(one, ast.Assign | ast.AnnAssign)]
    for table in [value for value in values if isinstance(value, ast.Dict)]:
        for key, value in zip(table.keys, table.values, strict=True):
            message, handler = ast.unparse(key).split(".")[-1] if key else "", ast.unparse(value)
            both_names = re.fullmatch(r"[A-Z]\w*[a-z]\w*", message) and handler.isidentifier()
            if both_names and not handler.replace("_", "").endswith(message.lower()):
                yield value.lineno, f"{message} is handled by {handler}: one name goes all the way"


@dataclass(frozen=True)
class Rule:
    """A check with what it must refuse, and what looks like it and is right."""

    check: Check
    refuses: tuple[Snippet, ...]
    allows: tuple[Snippet, ...]

    def offenders(self, path: str, source: str) -> list[str]:
        found = self.check(path, ast.parse(source, path))
        return [f"{path}:{line}: {what}" for line, what in sorted(set(found))]


RULES = (
    Rule(
        reaches_out,
        refuses=(
            ("kernel/writer.py", "from services.accounts.domain import decide"),
            ("kernel/writer.py", "def late():\n    import cli"),
            ("services/market/reactions.py", "from services.accounts.domain.events import Posted"),
            ("services/market/reactions.py", "from services import accounts"),
            ("services/market/domain/state.py", "from ...accounts import domain"),
            ("services/market/main.py", "import cli.app"),
            ("gateway/app.py", "import services.accounts"),
            ("cli/audit.py", "from services.ledger import books"),
        ),
        allows=(
            ("services/market/reactions.py", "from services.market.domain import commands"),
            ("services/market/reactions.py", "from .domain import commands"),
            ("services/__main__.py", "from services.market import main"),
            ("cli/audit.py", "from kernel.tlog import proof"),
        ),
    ),
    Rule(
        domain_imports_more_than_values,
        refuses=(
            ("services/accounts/domain/decide.py", "from kernel.writer import Writer"),
            ("services/accounts/domain/decide.py", "from services.accounts import tables"),
            ("services/accounts/domain/decide.py", "import pydantic"),
            ("services/accounts/domain/decide.py", "from kernel import clock"),
        ),
        allows=(
            ("services/accounts/domain/decide.py", "from kernel import errors, values"),
            ("services/accounts/domain/decide.py", "from .state import Books\nimport msgspec"),
            ("services/accounts/domain/decide.py", "from __future__ import annotations"),
            ("services/accounts/rpc.py", "from kernel.writer import Writer"),
        ),
    ),
    Rule(
        tlog_imports_more_than_cryptography,
        refuses=(
            ("kernel/tlog/note.py", "import msgspec"),
            ("kernel/tlog/note.py", "from kernel.errors import Refused"),
        ),
        allows=(
            ("kernel/tlog/note.py", "from cryptography import exceptions\nfrom . import merkle"),
            ("kernel/record.py", "import msgspec"),
        ),
    ),
    Rule(
        library_leaves_home,
        refuses=(
            ("kernel/writer.py", "import psycopg"),
            ("services/accounts/rpc.py", "from sqlalchemy import select"),
            ("services/market/store.py", "import sqlalchemy as sa"),
            ("services/ledger/main.py", "import nats"),
            ("kernel/relay.py", "from nats.js import JetStreamContext"),
            ("kernel/record.py", "from google.protobuf import json_format"),
            ("services/accounts/reactions.py", "from tanzhang.accounts.v1 import accounts_pb2"),
            ("cli/audit.py", "import grpc"),
        ),
        allows=(
            ("kernel/journal/postgres.py", "import psycopg"),
            ("services/accounts/migrations/versions/0001.py", "from alembic import op"),
            ("kernel/bus.py", "import nats"),
            ("services/accounts/rpc.py", "from tanzhang.accounts.v1 import accounts_pb2"),
            ("tests/integration/test_bus.py", "import nats, psycopg, grpc"),
        ),
    ),
    Rule(
        domain_makes_floats,
        refuses=(
            ("services/market/domain/rules.py", "fee_rate = 0.0005"),
            ("services/market/domain/rules.py", "def gap(held_t: float) -> int: ..."),
            ("services/market/domain/rules.py", "price = float(price_fen_per_t)"),
            ("services/market/domain/rules.py", "mean = total_fen / quantity_t"),
            ("services/market/domain/rules.py", "total_fen /= 2"),
            ("services/market/domain/rules.py", "age_s = (at - on).total_seconds()"),
        ),
        allows=(
            ("services/market/domain/rules.py", "mean = total_fen // quantity_t"),
            ("services/market/queries.py", "progress = done / total"),
        ),
    ),
    Rule(
        domain_is_not_a_plain_function,
        refuses=(
            ("services/inclusive/domain/decide.py", "import random"),
            ("services/inclusive/domain/decide.py", "from uuid import uuid4"),
            ("services/inclusive/domain/decide.py", "from os import urandom"),
            ("services/inclusive/domain/decide.py", "import time"),
            ("services/inclusive/domain/decide.py", "at = datetime.now(UTC)"),
            ("services/inclusive/domain/decide.py", "day = date.today()"),
            ("services/inclusive/domain/decide.py", "async def decide(): ..."),
        ),
        allows=(
            ("services/inclusive/domain/decide.py", "from datetime import datetime, timedelta"),
            ("kernel/clock.py", "import time"),
        ),
    ),
    Rule(
        module_says_nothing,
        refuses=(
            ("kernel/writer.py", "import os"),
            ("services/market/__init__.py", ""),
        ),
        allows=(
            ("kernel/writer.py", '"""The single writer."""\nimport os'),
            ("kernel/journal/__init__.py", ""),
        ),
    ),
    Rule(
        assert_outside_tests,
        refuses=(("kernel/writer.py", "def commit(n):\n    assert n > 0"),),
        allows=(("tests/unit/test_writer.py", "assert 1"),),
    ),
    Rule(
        vague_name,
        refuses=(("kernel/utils.py", ""), ("cli/common/x.py", ""), ("cli/stack_manager.py", "")),
        allows=(("kernel/journal/port.py", ""), ("kernel/commons.py", "")),
    ),
    Rule(
        handler_has_another_name,
        refuses=(
            ("services/registry/domain/decide.py", "DECIDE = {RetireUnits: burn_units}"),
            ("services/registry/domain/evolve.py", "EVOLVE: Table = {events.UnitsRetired: burn}"),
            ("services/registry/projections.py", "ON = {UnitsRetired: on_units_issued}"),
        ),
        allows=(
            ("services/registry/domain/decide.py", "DECIDE = {commands.SettleDvP: settle_dvp}"),
            ("services/registry/projections.py", "ON = {UnitsRetired: on_units_retired}"),
            ("services/registry/domain/decide.py", "UNITS = {Purpose.AVAILABLE: holder}"),
            ("services/registry/rpc.py", "ROLES = {RetireUnits: operator}"),
        ),
    ),
)
rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)


def none_of(offenders: list[str]) -> None:
    """Fail with the list alone: where in this file it was found helps nobody."""
    if offenders:
        pytest.fail("\n" + "\n".join(offenders), pytrace=False)


@rules
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    ours = [path for path in checkout_files() if path.endswith(".py") and lies_in(path, *CODE)]
    found = [
        offender
        for path in ours
        if not lies_in(path, GENERATED)
        for offender in rule.offenders(path, (ROOT / path).read_text())
    ]
    none_of(found)


@rules
def test_the_rule_refuses_its_offenders(rule: Rule) -> None:
    for path, source in rule.refuses:
        assert rule.offenders(path, source), f"let pass {source!r} in {path}"


@rules
def test_the_rule_lets_the_innocent_pass(rule: Rule) -> None:
    for path, source in rule.allows:
        assert not rule.offenders(path, source)


def test_a_pattern_with_one_star_stays_in_its_folder() -> None:
    assert lies_in("services/market/rpc.py", "services/*/rpc.py")
    assert not lies_in("services/market/domain/rpc.py", "services/*/rpc.py")
    assert lies_in("services/market/domain/rules.py", DOMAIN)


# Every service has the same files


def missing_files(files: Collection[str]) -> list[str]:
    """Which of SERVICE_FILES each service lacks; a folder with code in it is a service."""
    names = sorted({one.split("/")[1] for one in files if lies_in(one, "services/*/**.py")})
    return [
        f"services/{name} has no {wanted}"
        for name in names
        for wanted in SERVICE_FILES
        if not any(lies_in(one, f"services/{name}/{wanted}") for one in files)
    ]


def test_every_service_has_the_same_files() -> None:
    none_of(missing_files(checkout_files()))


def test_a_service_without_its_queries_is_noticed() -> None:
    whole = {f"services/market/{name.replace('**', 'x.py')}" for name in SERVICE_FILES}
    assert missing_files(whole | {"services/__main__.py"}) == []
    lacking = whole - {"services/market/queries.py"}
    assert missing_files(lacking) == ["services/market has no queries.py"]


# Test folders are packages


def loose_test_folders(files: Collection[str]) -> list[str]:
    """Test folders without __init__.py: there two modules of one name would be one to pytest."""
    folders = {str(Path(one).parent) for one in files if lies_in(one, "tests/**.py")}
    return sorted(folder for folder in folders if f"{folder}/__init__.py" not in files)


def test_every_test_folder_is_a_package() -> None:
    none_of(loose_test_folders(checkout_files()))


def test_a_test_folder_without_init_is_noticed() -> None:
    files = {"tests/__init__.py", "tests/test_docs.py", "tests/unit/test_writer.py"}
    assert loose_test_folders(files) == ["tests/unit"]


# Nothing committed says where anything is downloaded from

ADDRESS = re.compile(r"https?://")
DOWNLOAD = re.compile(
    r"https?://\S+\.(?:whl|tgz|tar\.gz|tar\.xz|zip|deb|jar)\b"
    r"|--(?:extra-)?index-url|--find-links|--trusted-host"
    r'|"resolved"\s*:\s*"http|^\s*registry\s*='
    r"|\b(?:pypi|files\.pythonhosted|registry\.(?:npmjs|yarnpkg))\.org\b|\bproxy\.golang\b"
    r"|\bmirrors?\.[a-z0-9-]+\.[a-z]{2,}\b"
)


def download_addresses(path: str, text: str) -> list[str]:
    """Addresses packages come from; a lock with hashes needs none, so there any address is one."""
    patterns = (ADDRESS, DOWNLOAD) if lies_in(path, *LOCKS) else (DOWNLOAD,)
    return [
        f"{path}:{number}: {hit[0]!r}: where packages come from is the machine's business"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern in patterns
        if (hit := pattern.search(line))
    ]


def readable(path: str) -> str:
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:  # an image or another binary names no address a tool would follow
        return ""


def test_no_committed_file_names_a_download_address() -> None:
    ours = [path for path in checkout_files() if path != "tests/test_tidy.py"]
    found = [one for path in ours for one in download_addresses(path, readable(path))]
    none_of(found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("requirements/dev.txt", "attrs @ https://example.net/attrs"),
        ("package-lock.json", '"resolved": "https://example.net/buf"'),
        ("requirements/dev.in", "--index-url somewhere"),
        ("Makefile", "pip install --extra-index-url somewhere"),
        (".npmrc", "registry=somewhere"),
        ("docs/operating/install.md", "fetch https://example.net/nats-server.tar.gz"),
        ("Makefile", "GOPROXY=proxy.golang.org"),
        ("docs/operating/install.md", "use mirrors.example.cn instead"),
    ],
)
def test_a_download_address_is_noticed(path: str, text: str) -> None:
    assert download_addresses(path, text)


def test_an_ordinary_address_is_not_a_download_address() -> None:
    assert not download_addresses(
        "README.md", "see https://c2sp.org/tlog-tiles and the registry = x"
    )


# The locks hold what pyproject.toml asks for


def not_locked(wanted: list[str], lock: str) -> list[str]:
    """Which requirements a lock does not meet, by name and version."""
    versions = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock, re.MULTILINE))
    required = [Requirement(one) for one in wanted]
    return [
        f"{one} is not in the lock (it has {versions.get(one.name)}): run `make lock`"
        for one in required
        if one.name not in versions or versions[one.name] not in one.specifier
    ]


def test_the_locks_meet_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run, dev = project["dependencies"], project["optional-dependencies"]["dev"]
    none_of(not_locked(run, (ROOT / "requirements/run.txt").read_text()))
    none_of(not_locked(run + dev, (ROOT / "requirements/dev.txt").read_text()))


def test_a_requirement_missing_from_the_lock_or_newer_than_it_is_noticed() -> None:
    lock = "nats-py==2.16.0 \\\n    --hash=sha256:00\nrich==15.0.0 ; sys_platform\n"
    assert not_locked(["nats-py>=2.16", "rich"], lock) == []
    assert len(not_locked(["nats-py>=2.17", "joserfc>=1.8"], lock)) == 2


# Generated code is what the contracts say


def run_generator(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "proto" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_generated_protobuf_is_fresh() -> None:
    done = run_generator("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_or_orphaned_generated_file_is_noticed_and_mended(tmp_path: Path) -> None:
    assert run_generator("--out", str(tmp_path)).returncode == 0
    changed = next(tmp_path.rglob("*_pb2.pyi"))
    changed.write_text(changed.read_text() + "\n")
    orphan = changed.with_name("withdrawn_pb2.py")
    orphan.write_text("")
    done = run_generator("--out", str(tmp_path), "--check")
    named = {Path(line).name for line in done.stderr.splitlines()[1:]}
    assert done.returncode == 1
    assert named == {changed.name, orphan.name}
    assert run_generator("--out", str(tmp_path)).returncode == 0
    assert run_generator("--out", str(tmp_path), "--check").returncode == 0


# No test module is left out of what `pytest` runs, the quick ones first


def left_out(tests: Collection[str], paths: Collection[str]) -> list[str]:
    return [one for one in tests if not any(one == p or one.startswith(f"{p}/") for p in paths)]


def test_every_test_module_lies_where_pytest_looks() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    paths = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    tests = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    assert left_out(tests, paths) == []
    assert left_out([*tests, "tests/units/test_new.py"], paths) == ["tests/units/test_new.py"]
