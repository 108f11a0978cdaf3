"""The documents name only what exists, and leave out nothing they promise to list.

docs/reference/errors.md is compared with the reasons and rules the code raises, read with `ast` and
not run; docs/reference/events.md with what docs/generate.py makes of the event structs; every file
and function that ARCHITECTURE.md and docs/ mention is looked up; links must lead to files.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from cli.words import CHINESE, unit_forms
from docs import generate
from kernel.crash import POINTS
from tests.support.checkout import ROOT, checkout_files

ERRORS = ROOT / "docs" / "reference" / "errors.md"
EVENTS = ROOT / "docs" / "reference" / "events.md"
FLOW = ROOT / "docs" / "flow-of-a-command.md"
RUNNING = ROOT / "docs" / "operating" / "running.md"
FILES = frozenset(checkout_files())
DOCUMENTS = [
    ROOT / name
    for name in sorted(FILES)
    if name.endswith(".md") and (name.startswith("docs/") or "/" not in name)
]

REFUSED, CONFLICT, FAULT = "Refused", "Conflict", "Fault"
FRAME_RULE, BOOK_RULE, ROW_REASON = "Rules of frames", "Rules of books", "Rows of a replay"
FAMILIES = (REFUSED, CONFLICT, FAULT, FRAME_RULE, BOOK_RULE, ROW_REASON)

# Who takes a reason or a rule, as which argument, and of which family it then is.
TAKERS: dict[str, tuple[int, str]] = {
    "Refused": (0, REFUSED),
    "Conflict": (0, CONFLICT),
    "ErrorInfo": (-1, FAULT),
    "FrameError": (0, FRAME_RULE),
    "RuleBroken": (0, BOOK_RULE),
    "Halt": (2, BOOK_RULE),
    "require": (0, BOOK_RULE),
    "require_holds": (0, BOOK_RULE),
    "require_text": (0, BOOK_RULE),
    "_refuse": (0, REFUSED),
    "check_once": (1, REFUSED),
    "RefusedRow": (2, ROW_REASON),
    "bad_cell": (0, ROW_REASON),
    "_no": (1, ROW_REASON),
}
# Besides the takers: functions that give an error the reason another one had.
PASSES_ON = {"from_rpc_error", "_stay_halted", "_as_owner_said", "heed"}
# What a taker adds by itself: kind and details its callers do not write.
KINDS = {"_refuse": "UNAUTHENTICATED"}
DETAILS = {"check_once": {"what"}}
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
READS_VARIABLES = {"text", "optional", "integer", "path", "optional_path", "get"}
ROW = re.compile(r"\| `([A-Z0-9_]+)` \|(.*)\|")


@dataclass
class Found:
    """A reason or rule of one family: with which kinds and details, and where."""

    kinds: set[str] = field(default_factory=set)
    details: set[str] = field(default_factory=set)
    where: set[str] = field(default_factory=set)


def code() -> Iterator[tuple[str, ast.Module]]:
    for name in sorted(FILES):
        if name.endswith(".py") and name.startswith(("kernel/", "services/", "cli/", "gateway/")):
            yield name, ast.parse((ROOT / name).read_text(), name)


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            return "super"
        case ast.Attribute(attr=name):
            return name
    return ""


def reasons_in(path: str, tree: ast.Module) -> Iterator[tuple[str, str, Found]]:
    """(family, reason, what is known of it) for every place that raises one."""
    for scope in ast.walk(tree):
        for child in ast.iter_child_nodes(scope):
            child.parent = scope  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        if name == "super":
            name = next((base for base in bases_around(node) if base in TAKERS), "")
        if name not in TAKERS:
            continue
        index, family = TAKERS[name]
        given = (
            next((word.value for word in node.keywords if word.arg == "reason"), None)
            if index < 0
            else node.args[index]
            if index < len(node.args)
            else None
        )
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            yield family, given.value, known_of(node, name, index, f"{path}:{node.lineno}")
        elif given is not None and not comes_from_elsewhere(node, given):
            yield family, f"{path}:{node.lineno} is no constant", Found()


def known_of(node: ast.Call, name: str, index: int, where: str) -> Found:
    given = {kind for arg in node.args if (kind := kind_in(arg))}
    kinds = given or {KINDS.get(name, "RULE")}
    names = {word.arg for word in node.keywords if word.arg}
    return Found(kinds, names | DETAILS.get(name, set()), {where})


def comes_from_elsewhere(node: ast.Call, given: ast.expr) -> bool:
    """A reason that was another error's, or that a taker was given by its caller."""
    if isinstance(given, ast.Attribute) and given.attr in ("reason", "rule"):
        return True
    return function_around(node) in PASSES_ON | TAKERS.keys()


def kind_in(node: ast.expr) -> str:
    match node:
        case ast.Attribute(value=ast.Name(id="Kind"), attr=kind):
            return kind
    return ""


def function_around(node: ast.AST) -> str:
    while node := getattr(node, "parent", None):  # type: ignore[assignment]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return node.name
    return ""


def bases_around(node: ast.AST) -> list[str]:
    while node := getattr(node, "parent", None):  # type: ignore[assignment]
        if isinstance(node, ast.ClassDef):
            return [getattr(base, "id", "") for base in node.bases]
    return []


@cache
def raised() -> dict[str, dict[str, Found]]:
    """Family, then reason, of everything the code raises."""
    all_of: dict[str, dict[str, Found]] = {family: {} for family in FAMILIES}
    for path, tree in code():
        for family, reason, found in reasons_in(path, tree):
            one = all_of[family].setdefault(reason, Found())
            one.kinds |= found.kinds
            one.details |= found.details
            one.where |= found.where
    return all_of


@cache
def documented() -> dict[str, dict[str, list[str]]]:
    """Family (a heading of the second level), then reason, then the other cells of its row."""
    all_of: dict[str, dict[str, list[str]]] = {family: {} for family in FAMILIES}
    family = ""
    for line in ERRORS.read_text().splitlines():
        if line.startswith("## "):
            family = line.removeprefix("## ")
        elif row := ROW.fullmatch(line):
            assert row[1] not in all_of[family], f"{family} lists {row[1]} twice"
            all_of[family][row[1]] = row[2].split("|")
    return all_of


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_list_of_errors_names_all_that_the_code_raises_and_nothing_else(family: str) -> None:
    in_code, in_document = raised()[family], documented()[family]
    missing = {reason: sorted(in_code[reason].where) for reason in in_code.keys() - in_document}
    assert not missing, f"{ERRORS.name}, {family}: not listed: {missing}"
    gone = sorted(in_document.keys() - in_code)
    assert not gone, f"{ERRORS.name}, {family}: nothing raises {gone}"
    assert all(REASON.fullmatch(reason) for reason in in_code)


def test_the_list_of_errors_gives_kinds_and_details_as_the_code_does() -> None:
    for reason, found in raised()[REFUSED].items():
        kinds, details, _ = documented()[REFUSED][reason]
        assert words(kinds) == {kind.lower() for kind in found.kinds}, (reason, found)
        assert words(details) == found.details, (reason, found)


def test_a_reason_that_is_passed_on_by_an_unknown_function_is_noticed() -> None:
    source = "def refuse_ride(why: str) -> None:\n    raise Refused(why, 'a ride in Shenzhen')\n"
    [(family, reason, _)] = reasons_in("ride.py", ast.parse(source))
    assert (family, reason) == (REFUSED, "ride.py:2 is no constant")
    assert not REASON.fullmatch(reason)


def test_the_list_of_events_is_what_the_structs_say_now() -> None:
    assert EVENTS.read_text() == generate.events_page(), "run: .venv/bin/python -m docs.generate"


PATH = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|proto|md|toml|yaml)|(?:[\w.-]+/)+)`")
PLACE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py):([\w.]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


@cache
def names_in(path: str) -> frozenset[str]:
    """Functions, classes, methods as Class.method, and constants of a module."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        found |= defined_by(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for part in node.body for name in defined_by(part)}
    return frozenset(found)


def defined_by(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


def is_there(path: str, document: Path) -> bool:
    """A path from the root or from the document, or the mere name of some file."""
    top, _, _ = path.partition("/")
    if path.endswith("/") and top not in {name.partition("/")[0] for name in FILES}:
        return True  # a folder of a data folder, or one that every service has
    if "/" not in path:
        return any(name.rsplit("/", 1)[-1] == path for name in FILES)
    return (ROOT / path).exists() or (document.parent / path).exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.relative_to(ROOT).as_posix())
def test_what_a_document_points_at_exists(document: Path) -> None:
    text = document.read_text()
    wrong = [
        f"{path}:{name}"
        for path, name in PLACE.findall(text)
        if path not in FILES or name not in names_in(path)
    ]
    wrong += [path for path in PATH.findall(text) if not is_there(path, document)]
    wrong += [
        link
        for link, _ in LINK.findall(text)
        if "://" not in link and not (document.parent / link).exists()
    ]
    assert not wrong, f"{document.relative_to(ROOT)} points at what is not there: {wrong}"


def test_python_in_the_documents_can_be_run() -> None:
    """It compiles, and every name it imports is there."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.M | re.S):
            for node in ast.parse(block, document.name).body:
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, alias.name) for alias in node.names)


def test_every_environment_variable_is_explained() -> None:
    explained = set(re.findall(r"`TANZHANG_(\w+)`", RUNNING.read_text()))
    asked = {f"PEER_{name.upper()}" for name in ("accounts", "ledger")}
    for _, tree in code():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in READS_VARIABLES and node.args:
                match node.args[0]:
                    case ast.Constant(value=str(name)) if name == name.upper():
                        asked.add(name.removeprefix("TANZHANG_"))
    assert asked - explained == set(), f"{RUNNING.name} does not explain them"


def test_the_flow_of_a_command_names_every_crash_point() -> None:
    owners = "|".join(sorted({point.split(".")[0] for point in POINTS}))
    named = set(re.findall(rf"`((?:{owners})\.[a-z]+)`", FLOW.read_text()))
    assert named == set(POINTS)


def test_every_event_and_field_of_the_list_has_words_in_chinese() -> None:
    listed = EVENTS.read_text(encoding="utf-8").partition("## Every book")[2]
    types = re.findall(r"^### (\w+)\n\nBook: ([\w ]+)\.", listed, re.MULTILINE)
    fields = set(re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE))
    assert len(types) > 100
    assert len(fields) > 200
    untold = [name for name, book in types if CHINESE.event(book, name) is None]
    assert [name for name in untold if name != "EntryPosted"] == []  # told by what it does
    assert [name for name in sorted(fields) if CHINESE.label(_without_unit(name)).isascii()] == []


def _without_unit(name: str) -> str:
    return name.removesuffix(next((unit for unit in unit_forms() if name.endswith(unit)), ""))
