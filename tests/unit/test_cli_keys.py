"""`tanzhang keys` on a data folder that has been made and runs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.app import run
from cli.stack.folder import FolderNote
from cli.stack.provision import BOOKS, SERVICES, provision
from cli.workspace import Workspace
from kernel.keys import load_note_key, public_of

WORDS = "three camels carry lilies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    provision(tmp_path / "var", "lanzhou.example")
    return tmp_path / "var"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    secret = tmp_path / "passphrase"
    secret.write_text(WORDS + "\n")
    secret.chmod(0o600)
    monkeypatch.setenv("TANZHANG_KEY_PASSPHRASE_FILE", str(secret))
    return secret


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """By file."""
    capsys.readouterr()
    assert run(["keys", "list", "--json", "--dir", str(folder)]) == 0
    return {row["file"]: row for row in json.loads(capsys.readouterr().out)}


def secrets_of(folder: Path) -> list[bytes]:
    """What stands in the plain key files and must be seen nowhere else."""
    notes = [path.read_bytes().strip().split(b"+", 4)[4] for path in folder.rglob("*.skey")]
    return [*notes, *(path.read_bytes().split(b"\n")[1] for path in folder.rglob("*.key"))]


def test_every_key_is_listed_with_who_knows_it_and_no_secret(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = listed(folder, capsys)
    assert len(rows) == 2 * len(SERVICES) + len(BOOKS) + 3  # operator, issuer, venue
    log = rows["keys/ledger/logs/accounts.skey"]
    assert (log["owner"], log["purpose"], log["at_rest"]) == ("ledger", "log", "plain")
    assert log["known_to"] == ["policy"]
    assert log["public"].startswith("lanzhou.example/accounts+" + log["key_id"])
    assert rows["keys/market/frame.key"]["known_to"] == ["identities: frames of market"]
    assert rows["keys/operator/operator.skey"]["known_to"] == ["signs identities"]
    assert rows["keys/market/venue.key"]["known_to"] == []
    assert run(["keys", "list", "--dir", str(folder)]) == 0
    shown = capsys.readouterr().out.encode() + json.dumps(rows).encode()
    assert not [secret for secret in secrets_of(folder) if secret in shown]


def test_a_protected_folder_lists_the_same_keys_and_serves_with_the_mounted_passphrase(
    folder: Path, mounted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kept = listed(folder, capsys), secrets_of(folder)
    made = provision(folder)
    assert run(["keys", "protect", "--dir", str(folder)]) == 0
    assert "18 of 18 keys are encrypted now" in capsys.readouterr().out
    monkeypatch.delenv("TANZHANG_KEY_PASSPHRASE_FILE")  # a list needs no passphrase
    after = listed(folder, capsys)
    assert {row.pop("at_rest") for row in after.values()} == {"encrypted"}
    assert {row.pop("at_rest") for row in before.values()} == {"plain"}
    assert after == before
    files = [path.read_bytes() for path in (folder / "keys").rglob("*") if path.is_file()]
    assert not [secret for secret in kept for data in files if secret in data]
    assert run(["clock", "advance", "1d", "--dir", str(folder)]) == 0  # needs no key
    monkeypatch.setenv("TANZHANG_KEY_PASSPHRASE_FILE", str(mounted))
    assert provision(folder).operator_vkey == made.operator_vkey
    assert Workspace(folder).token("li.registrar")
    Workspace(folder).institution_key("lzbank")  # made now, and encrypted like the others
    assert listed(folder, capsys)["keys/institutions/lzbank.key"]["at_rest"] == "encrypted"
    assert run(["keys", "unprotect", "--dir", str(folder)]) == 0
    assert {row["at_rest"] for row in listed(folder, capsys).values()} == {"plain"}


def test_with_another_passphrase_nothing_is_changed(
    folder: Path, mounted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a folder would need two."""
    assert run(["keys", "protect", "--dir", str(folder)]) == 0
    Workspace(folder).institution_key("lzbank")
    mounted.write_text("two camels carry lilies\n")
    before = {path: path.read_bytes() for path in folder.rglob("*.key")}
    assert run(["keys", "unprotect", "--dir", str(folder)]) == 2
    assert run(["keys", "protect", "--dir", str(folder)]) == 2
    assert "the passphrase does not open it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*.key")} == before


def test_what_runs_is_not_encrypted_under_its_feet(
    folder: Path, mounted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = FolderNote.take(folder)
    try:
        assert run(["keys", "protect", "--dir", str(folder)]) == 2
        assert "is in use: stop it first" in capsys.readouterr().err
    finally:
        note.release()


def test_a_key_is_made_for_a_purpose_and_its_public_half_printed(
    tmp_path: Path, mounted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "w1.skey"
    assert run(["keys", "make", "witness", str(made), "--name", "witness.lzbank.example"]) == 0
    vkey = capsys.readouterr().out.strip()
    assert vkey.startswith("witness.lzbank.example+")
    assert vkey == public_of(made) == load_note_key(made).verifier.vkey
    assert made.read_bytes().startswith(b"tanzhang-key/v1")
    assert run(["keys", "make", "institution", str(tmp_path / "bank.key")]) == 0
    assert capsys.readouterr().out.startswith("ed25519 ")
    assert run(["keys", "make", "witness", str(made), "--name", "witness.lzbank.example"]) == 2
    assert "a key is never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["log", "accounts.skey"], "expected a --name"),
        (["frame", "frame.key", "--name", "market"], "expected no --name"),
        (["log", "accounts.key", "--name", "x/accounts"], "ends in .skey"),
        (["log", "accounts.skey", "--name", "two words"], "expected a key name"),
    ],
)
def test_what_makes_no_sense_is_not_made(
    tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    what, file, *rest = arguments
    assert run(["keys", "make", what, str(tmp_path / file), *rest]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_key_is_named_and_the_others_are_still_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "keys" / "market" / "venue.key").write_text("lost")
    assert run(["keys", "list", "--dir", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "venue.key: expected a PEM private key" in shown
    assert "identities: frames of market" in shown
