"""`tanzhang keys` on a data folder that has been made and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli.app import run
from cli.stack.folder import FolderNote
from cli.stack.provision import LOGS, SERVICES, identities_file, passed_on, provision
from cli.stack.rotation import prepare, switch
from cli.workspace import Workspace
from kernel.frames import Frame, FrameSigner, StoredEvent, verify_frame
from kernel.identities import identities_digest, load_identities
from kernel.keys import load_note_key, load_private_key, make_note_key, public_of
from kernel.record import commit
from kernel.tlog.keychange import KeyChange, sign_key_change

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
    assert len(rows) == 2 * len(SERVICES) + len(LOGS) + 3  # operator, issuer, venue
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
    assert f"{len(before)} of {len(before)} keys are encrypted now" in capsys.readouterr().out
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
    monkeypatch.chdir(mounted.parent)  # processes run in another folder than their caller
    monkeypatch.setenv("TANZHANG_KEY_PASSPHRASE_FILE", mounted.name)
    assert passed_on()["TANZHANG_KEY_PASSPHRASE_FILE"] == str(mounted)
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


# ---- other keys follow --------------------------------------------------------------------------


def announced(folder: Path, note: Path) -> tuple[str, str]:
    """Old and new verifier key of the accounts log; the note that both have signed."""
    files = folder / "keys" / "ledger" / "logs"
    old = load_note_key(files / "accounts.skey")
    new = make_note_key(files / "accounts.next.skey", old.name)
    note.write_bytes(sign_key_change(KeyChange(old.verifier, new.verifier, 1), [old, new]))
    return old.verifier.vkey, new.verifier.vkey


def test_a_policy_follows_only_once_its_reader_has_seen_both_fingerprints_and_agreed(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, note = folder / "policy.txt", tmp_path / "announcement"
    before, (old, new) = policy.read_text(), announced(folder, note)
    follow = ["policy", "follow", str(note), "--policy", str(policy)]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(follow) == 1
    assert policy.read_text() == before
    shown = capsys.readouterr().out
    for vkey in (old, new):
        public = base64.b64decode(vkey.split("+", 2)[2])[1:]
        assert hashlib.sha256(public).hexdigest() in shown.replace(" ", "")
    assert run([*follow, "--yes"]) == 0
    assert policy.read_text() == before.replace(f"log {old}\n", f"log {old}\nlog {new}\n")
    provision(folder)  # a folder whose policy has followed starts as before


def test_a_note_that_no_key_of_the_policy_signed_is_not_followed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provision(tmp_path / "elsewhere", "shenzhen.example")
    note, policy = tmp_path / "announcement", folder / "policy.txt"
    announced(tmp_path / "elsewhere", note)
    before = policy.read_bytes()
    assert run(["policy", "follow", str(note), "--policy", str(policy), "--yes"]) == 1
    assert "expected a change of a key the policy knows" in capsys.readouterr().err
    assert policy.read_bytes() == before


def test_a_lost_log_key_is_not_made_anew_behind_its_readers_backs(folder: Path) -> None:
    key = folder / "keys" / "ledger" / "logs" / "accounts.skey"
    key.unlink()
    provision(folder)
    assert not key.exists()


def test_frames_of_the_old_key_are_read_after_the_new_one_signs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest that two persons pin is that of the file as it is after the switch."""
    old = frame_of(folder)
    digest = prepare(folder, "market", "frame")
    assert identities_digest(identities_file(folder).read_bytes()) != digest
    provision(folder)  # a start in between changes nothing
    assert identities_digest(identities_file(folder).read_bytes()) != digest
    assert run(["keys", "switch", "--dir", str(folder)]) == 0
    assert "switched: market frame" in capsys.readouterr().out
    made = provision(folder)
    assert identities_digest(identities_file(folder).read_bytes()) == digest
    known = load_identities(identities_file(folder), made.operator_vkey)
    new = frame_of(folder)
    assert new.key_id != old.key_id
    for frame in (old, new):
        verify_frame(frame, known.frame_key)
    assert known.frame_key("accounts", new.key_id) is None
    assert prepare(folder, "market", "frame") != digest  # and so on


def test_an_interrupted_switch_is_ended_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = frame_of(folder)
    digest = prepare(folder, "market", "frame")
    before = identities_file(folder).read_bytes()
    with monkeypatch.context() as context:
        context.setattr(Path, "replace", _power_fails)
        with pytest.raises(OSError, match="power fails"):
            switch(folder)
    provision(folder)
    assert identities_file(folder).read_bytes() == before
    assert frame_of(folder).key_id == old.key_id
    assert switch(folder) == ["market frame"]
    provision(folder)
    assert identities_digest(identities_file(folder).read_bytes()) == digest


def test_an_old_token_key_ends_with_the_switch(folder: Path) -> None:
    old = public_of(folder / "keys" / "issuer" / "token.key").removeprefix("ed25519 ")
    digest = prepare(folder, "issuer", "token")
    assert switch(folder) == ["issuer token"]
    made = provision(folder)
    assert identities_digest(identities_file(folder).read_bytes()) == digest
    known = load_identities(identities_file(folder), made.operator_vkey)
    assert old not in [key.public_key for key in known.tokens]


def _power_fails(*_: object) -> None:
    raise OSError("power fails")


def frame_of(folder: Path) -> Frame:
    """One that the market signs now."""
    signer = FrameSigner(load_private_key(folder / "keys" / "market" / "frame.key"))
    event = StoredEvent(0, b"{}", bytes(16), commit(bytes(16), b"{}"))
    return signer.cut("market", bytes(16), [event])[0]
