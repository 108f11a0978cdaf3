"""`tanzhang ledger mirror` of a running service: a folder that other people's checkers accept.

And that they refuse, each of them, after a single byte of it was changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.app import run
from cli.stack.provision import log_keys_folder, policy_file
from kernel.keys import public_of
from kernel.tlog.note import parse_note
from kernel.tlog.policy import parse_policy
from tests.support.checkout import ROOT
from tests.support.lanzhou import BUYER, CITY_GROUP
from tests.support.logcheckers import (
    Checked,
    LogRejected,
    check_with_go,
    check_with_sigstore,
    check_with_tlog_scales,
    require_go,
)
from tests.support.world import CORE, World, Worlds, accepted, payment

ENTRIES = 700  # two full tiles, one that is not, and a level above
Check = Callable[[Path, str], Checked]
CHECKS: list[Check] = [check_with_tlog_scales, check_with_sigstore, check_with_go]


class Mirrors(NamedTuple):
    """The world, and a folder with a mirror of each of its logs."""

    world: World
    folder: Path

    def vkey(self, book: str) -> str:
        logs = parse_policy(policy_file(self.world.directory).read_bytes()).logs
        (vkey,) = [log.key.vkey for log in logs if log.key.vkey.startswith(origin(book) + "+")]
        return vkey


@pytest.fixture(scope="module")
def mirrors(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrors]:
    with worlds.open() as world:
        world.fund(CITY_GROUP, 1_000_000)
        entries = [world.entry(payment(1)) for _ in range(ENTRIES)]
        results = world.send("PostEntries", entries, BUYER)
        world.prove("accounts", accepted(results[-1]))
        folder = tmp_path_factory.mktemp("mirrors")
        for book in CORE:
            code, output = mirror(world, book, folder / book)
            assert code == 0, output
        yield Mirrors(world, folder)


def origin(book: str) -> str:
    return f"tanzhang.local/{book}"


def mirror(world: World, book: str, folder: Path, *more: str) -> tuple[int, str]:
    """As a user calls it; exit code and output."""
    command = ["ledger", "mirror", book, str(folder), "--dir", str(world.directory), *more]
    done = subprocess.run(
        [sys.executable, "-m", "cli", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def needs(check: Check) -> None:
    if check is check_with_go:
        require_go()


@pytest.mark.parametrize("book", CORE)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_other_peoples_checkers_accept_the_mirror(
    mirrors: Mirrors, check: Check, book: str
) -> None:
    needs(check)
    checked = check(mirrors.folder / book, mirrors.vkey(book))
    assert checked.size >= (ENTRIES if book == "accounts" else 1)
    assert checked.proofs > 0


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000", "tile/1/000.p/2", "tile/entries/001"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_other_peoples_checkers_refuse_it_after_one_changed_byte(
    mirrors: Mirrors, check: Check, name: str, tmp_path: Path
) -> None:
    needs(check)
    if check is check_with_sigstore and name == "tile/1/000.p/2":
        name = "tile/0/001"  # it samples entries: a change it need not meet proves nothing
    copy = tmp_path / "accounts"
    shutil.copytree(mirrors.folder / "accounts", copy)
    data = bytearray((copy / name).read_bytes())
    data[10 if name == "checkpoint" else len(data) // 2] ^= 1  # there: of the text that is signed
    (copy / name).write_bytes(data)
    with pytest.raises(LogRejected):
        check(copy, mirrors.vkey("accounts"))


def test_the_mirror_grows_with_the_log_and_stays_consistent(mirrors: Mirrors) -> None:
    world, folder = mirrors.world, mirrors.folder / "accounts"
    world.prove("accounts", world.pay(1))
    code, output = mirror(world, "accounts", folder)
    assert code == 0, output
    assert "consistent" in output
    check_with_tlog_scales(folder, mirrors.vkey("accounts"))


def test_a_mirror_of_what_was_changed_meanwhile_is_refused(
    mirrors: Mirrors, tmp_path: Path
) -> None:
    copy = tmp_path / "accounts"
    shutil.copytree(mirrors.folder / "accounts", copy)
    tile = copy / "tile" / "0" / "000"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    code, output = mirror(mirrors.world, "accounts", copy)
    assert code == 1, output
    assert output.startswith("refused: ")


# ---- the log gets another key -------------------------------------------------------------------


class Operators:
    """Two persons with the tool, on this world's folder."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = ["--dir", str(world.directory)]
        self._capsys = capsys

    def tool(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        actual = run([*arguments, *self._folder])
        output = self._capsys.readouterr()
        assert actual == code, output
        return output.out + output.err

    def propose(self, *arguments: str) -> str:
        told = self.tool(*arguments, "--person", "gao.ledger")
        return told.rpartition("approve ")[2].split()[0]

    def approve(self, proposal: str, person: str = "ma.ledger", code: int = 0) -> str:
        return self.tool("ledger", "approve", proposal, "--person", person, code=code)

    def agree(self, *arguments: str) -> None:
        self.approve(self.propose(*arguments))


def await_signers(world: World, *key_ids: str, book: str = "accounts") -> None:
    """Of the checkpoint file: it is what counts."""
    file = world.directory / "checkpoints" / f"{book}.checkpoint"
    end_s, found = time.monotonic() + 20, list[str]()
    while found != list(key_ids) and time.monotonic() < end_s:
        found = [f"{one.key_id:08x}" for one in parse_note(file.read_bytes())[1]]
        time.sleep(0.05)
    assert found == list(key_ids)


def test_a_mirror_follows_the_log_to_another_key_once_its_policy_does(
    mirrors: Mirrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Announced by the old key, signed by both, retired; the ledger starts again in between."""
    world, operators = mirrors.world, Operators(mirrors.world, capsys)
    world.has_strangers = True
    before, after = tmp_path / "before", tmp_path / "after"
    for copy in (before, after):
        shutil.copytree(mirrors.folder / "accounts", copy)
        shutil.copy(policy_file(world.directory), copy / "policy.txt")
    old, new = before / "policy.txt", after / "policy.txt"
    first = parse_policy(old.read_bytes()).logs[0].key
    proposal = operators.propose("keys", "rotate", "log", "accounts")
    assert "MAKER_IS_CHECKER" in operators.approve(proposal, "gao.ledger", code=1)
    told = operators.tool("keys", "announcement", "accounts", code=1)
    assert "has had one key so far" in told
    operators.approve(proposal)
    (prepared,) = log_keys_folder(world.directory).glob("accounts.*.skey")
    second = prepared.name.split(".")[1]
    await_signers(world, f"{first.key_id:08x}", second)
    world.stop_services("ledger")
    world.bring_back("ledger")
    world.prove("accounts", world.pay(1))
    await_signers(world, f"{first.key_id:08x}", second)
    note = tmp_path / "announcement"
    note.write_text(operators.tool("keys", "announcement", "accounts"))
    assert run(["policy", "follow", str(note), "--policy", str(new), "--yes"]) == 0
    for copy, policy in ((before, old), (after, new)):
        code, told = mirror(world, "accounts", copy, "--policy", str(policy))
        assert code == 0, told
    listed = operators.tool("keys", "list")
    assert "log of accounts: in force" in listed
    assert "log of accounts: announced" in listed
    operators.agree("keys", "retire", "accounts")
    await_signers(world, second)
    world.prove("accounts", world.pay(1))
    code, told = mirror(world, "accounts", before, "--policy", str(old))
    assert (code, told.startswith("refused: ")) == (1, True)
    code, told = mirror(world, "accounts", after, "--policy", str(new))
    assert (code, "consistent" in told) == (0, True)
    told = operators.tool("keys", "retire", "accounts", "--person", "gao.ledger", code=1)
    assert "no successor is announced" in told
    shutil.copy(new, policy_file(world.directory))


def test_a_leaked_key_is_replaced_at_once_and_no_policy_follows_by_itself(
    mirrors: Mirrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two persons' word alone: whoever trusts the old key has to hear of it from somebody."""
    world, operators = mirrors.world, Operators(mirrors.world, capsys)
    world.has_strangers = True
    policy, note = policy_file(world.directory), tmp_path / "note"
    before = policy.read_bytes()
    operators.agree("keys", "retire", "ledger", "--reason", "leaked")
    (prepared,) = log_keys_folder(world.directory).glob("ledger.*.skey")
    await_signers(world, prepared.name.split(".")[1], book="ledger")
    code, told = mirror(world, "ledger", tmp_path / "refused")
    assert (code, told.startswith("refused: ")) == (1, True)
    note.write_text(operators.tool("keys", "announcement", "ledger"))
    assert run(["policy", "follow", str(note), "--policy", str(policy), "--yes"]) == 1
    assert "on somebody's word" in capsys.readouterr().err
    new = f"log {public_of(prepared)}"
    lines = before.decode().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"log {origin('ledger')}+"))
    policy.write_text("\n".join([*lines[:at], new, *lines[at + 1 :]]) + "\n")  # by hand
    assert mirror(world, "ledger", tmp_path / "anew")[0] == 0
