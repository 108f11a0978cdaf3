"""Private keys at rest: encrypted or plain, opened by their passphrase alone, never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import public_bytes
from kernel.errors import Misconfigured
from kernel.keys import (
    create_private_key,
    load_note_key,
    load_private_key,
    make_note_key,
    make_private_key,
    protect,
    public_of,
    unprotect,
)
from kernel.sealed import HEAD, parse_sealed, seal, unseal
from kernel.tlog.note import COSIGNATURE

WORDS = b"three camels carry lilies"
OTHERS = b"two camels carry lilies"
ORIGIN = "lanzhou.example/accounts"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A passphrase as a mounted secret."""
    secret = tmp_path / "passphrase"
    secret.write_bytes(WORDS + b"\n")
    secret.chmod(0o600)
    monkeypatch.setenv("TANZHANG_KEY_PASSPHRASE_FILE", str(secret))
    return secret


@pytest.fixture
def log_key(tmp_path: Path) -> Path:
    make_note_key(tmp_path / "accounts.skey", ORIGIN)
    return tmp_path / "accounts.skey"


def test_a_protected_log_key_signs_as_before_and_shows_its_public_half(
    log_key: Path, mounted: Path
) -> None:
    plain, signer = log_key.read_bytes(), load_note_key(log_key)
    assert protect(log_key, WORDS)
    assert plain.strip().rpartition(b"+")[2] not in log_key.read_bytes()
    assert public_of(log_key) == signer.verifier.vkey
    assert load_note_key(log_key).sign("a tree\n") == signer.sign("a tree\n")
    assert unprotect(log_key, WORDS)
    assert log_key.read_bytes() == plain


def test_a_protected_frame_key_is_the_same_key(tmp_path: Path, mounted: Path) -> None:
    path = tmp_path / "frame.key"
    key = make_private_key(path)
    assert protect(path, WORDS)
    assert public_bytes(load_private_key(path)) == public_bytes(key)
    assert b"PRIVATE" not in path.read_bytes()


def test_what_is_made_beside_a_passphrase_is_encrypted_from_the_start(
    tmp_path: Path, mounted: Path
) -> None:
    key = create_private_key(tmp_path / "bank.key")
    assert (tmp_path / "bank.key").read_bytes().startswith(HEAD.encode())
    assert public_bytes(create_private_key(tmp_path / "bank.key")) == public_bytes(key)


def test_protecting_again_changes_nothing_and_another_passphrase_is_told_apart(
    log_key: Path,
) -> None:
    protect(log_key, WORDS)
    sealed = log_key.read_bytes()
    assert not protect(log_key, WORDS)
    with pytest.raises(Misconfigured, match="the passphrase does not open it"):
        protect(log_key, OTHERS)
    with pytest.raises(Misconfigured, match="the passphrase does not open it"):
        unprotect(log_key, OTHERS)
    assert log_key.read_bytes() == sealed


def test_without_a_passphrase_it_is_said_which_variable_names_it(log_key: Path) -> None:
    protect(log_key, WORDS)
    with pytest.raises(Misconfigured, match="TANZHANG_KEY_PASSPHRASE_FILE"):
        load_note_key(log_key)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_no_line_of_an_encrypted_key_can_be_changed(log_key: Path, line: int) -> None:
    """Its public half, its salt, its ciphertext: each is authenticated."""
    other = make_note_key(log_key.with_name("other.skey"), ORIGIN)
    protect(log_key, WORDS)
    lines = log_key.read_bytes().split(b"\n")
    foreign = seal(b"nothing", other.verifier.vkey, WORDS).split(b"\n")
    lines[line] = foreign[line]
    log_key.write_bytes(b"\n".join(lines))
    with pytest.raises(Misconfigured, match="does not open it, or it was changed"):
        load_note_key(log_key, WORDS)


def test_a_file_that_says_another_key_than_it_holds_is_refused(log_key: Path) -> None:
    """Made so by somebody who knows the passphrase: what a list shows would be wrong."""
    other = make_note_key(log_key.with_name("other.skey"), ORIGIN)
    log_key.write_bytes(seal(log_key.read_bytes(), other.verifier.vkey, WORDS))
    with pytest.raises(Misconfigured, match="another key is inside than it says"):
        load_note_key(log_key, WORDS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((b"scrypt 15", b"scrypt 1"), "expected N of"),
        ((b"scrypt 15", b"scrypt 40"), "expected N of"),
        ((b" 8 1 ", b" 8 4096 "), "r=8 p=1"),
        ((b"aes-256-gcm", b"none"), "aes-256-gcm"),
        ((b"scrypt 15", b"scrypt x"), "the four lines"),
        ((b"\nscrypt", b"\n\nscrypt"), "the four lines"),
    ],
)
def test_only_the_one_form_with_bounded_costs_is_read(
    change: tuple[bytes, bytes], told: str
) -> None:
    with pytest.raises(Misconfigured, match=told):
        parse_sealed(seal(b"secret", "ed25519 AAAA", WORDS).replace(*change))


def test_two_files_of_one_key_share_nothing_but_what_is_public() -> None:
    one, other = (seal(b"secret", "ed25519 AAAA", WORDS) for _ in range(2))
    assert one.split(b"\n")[:2] == other.split(b"\n")[:2]
    assert one.split(b"\n")[2:4] != other.split(b"\n")[2:4]
    assert unseal(one, WORDS) == unseal(other, WORDS) == b"secret"


def test_a_pem_that_others_encrypted_is_opened_too(tmp_path: Path) -> None:
    path, key = tmp_path / "token.key", Ed25519PrivateKey.generate()
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(WORDS),
        )
    )
    path.chmod(0o600)
    assert public_bytes(load_private_key(path, WORDS)) == public_bytes(key)
    with pytest.raises(Misconfigured, match="expected a PEM private key"):
        load_private_key(path, OTHERS)


def test_in_production_a_passphrase_means_that_no_plain_key_is_taken(
    log_key: Path, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_note_key(log_key)  # in development both kinds may lie side by side
    monkeypatch.setenv("TANZHANG_MODE", "production")
    with pytest.raises(Misconfigured, match="expected an encrypted key, since there is"):
        load_note_key(log_key)
    monkeypatch.delenv("TANZHANG_KEY_PASSPHRASE_FILE")
    assert load_note_key(log_key)  # a mounted Secret, and a warning in the process's log


def test_a_passphrase_that_others_can_read_or_that_is_short_is_refused(
    log_key: Path, mounted: Path
) -> None:
    protect(log_key, WORDS)
    mounted.chmod(0o640)
    with pytest.raises(Misconfigured, match="passphrase: expected mode 0600, got 0640"):
        load_note_key(log_key)
    mounted.chmod(0o600)
    mounted.write_bytes(b"camel\n")
    with pytest.raises(Misconfigured, match="at least 12 bytes, got 5"):
        load_note_key(log_key)


def test_a_key_is_never_made_over_another(log_key: Path) -> None:
    before = log_key.read_bytes()
    with pytest.raises(Misconfigured, match="a key is never overwritten"):
        make_note_key(log_key, ORIGIN, COSIGNATURE)
    with pytest.raises(Misconfigured, match="a key is never overwritten"):
        make_private_key(log_key)
    assert log_key.read_bytes() == before


def test_an_interrupted_protect_leaves_the_old_key_and_goes_on_when_run_again(
    log_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = log_key.read_bytes()

    def power_fails(*_: object) -> None:
        raise OSError("power fails")

    with monkeypatch.context() as context:
        context.setattr(os, "replace", power_fails)
        with pytest.raises(OSError, match="power fails"):
            protect(log_key, WORDS)
    assert log_key.read_bytes() == before
    assert protect(log_key, WORDS)
    assert load_note_key(log_key, WORDS)
    assert not log_key.with_name(log_key.name + ".new").exists()


def test_no_error_tells_what_is_in_a_key_file(log_key: Path) -> None:
    secret = log_key.read_text().strip().rpartition("+")[2]
    log_key.write_text(f"{HEAD}\n{secret}\n{secret}\n{secret}\n")
    with pytest.raises(Misconfigured) as told:
        load_note_key(log_key, WORDS)
    log_key.write_text(f"PRIVATE+KEY+{ORIGIN}+00000000+{secret}\n")
    with pytest.raises(Misconfigured) as also:
        load_note_key(log_key)
    assert secret not in str(told.value) + str(also.value)
