"""Private keys of a process: the one place that reads and writes them. Files of mode 0600.

Ed25519 in PKCS 8 PEM (frames, tokens, venues, institutions); a note key in Go's form (logs,
witnesses, the operator), or where in a token it lies (kernel/hsm.py). What is a secret may be
encrypted at rest (kernel/sealed.py), a PEM file also in PKCS 8's own way; the passphrase is what
stands in the file that TANZHANG_KEY_PASSPHRASE_FILE names. A key file that others can read is
refused: better no start than a shared secret. In production who names a passphrase gets no plain
key past, lest one be put in the place of an encrypted one.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import public_bytes
from kernel.config import Environment
from kernel.errors import Misconfigured
from kernel.hsm import PIN_FILE, is_reference, make_reference, open_signer, public_of_reference
from kernel.logs import get_logger
from kernel.sealed import is_sealed, parse_sealed, seal, unseal
from kernel.tlog.checkpoint import load_signer, make_signer
from kernel.tlog.errors import TlogError
from kernel.tlog.note import ED25519, Signer

PASSPHRASE_FILE: Final = "KEY_PASSPHRASE_FILE"  # noqa: S105 - a name
MIN_PASSPHRASE_BYTES: Final = 12
_PKCS8_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

log = get_logger(__name__)


def load_secret(path: Path) -> bytes:
    """A file's bytes. Raises Misconfigured when it is missing or readable by others."""
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path.name}: {error.strerror}") from error
    if mode & 0o077:
        raise Misconfigured(f"{path.name}: expected mode 0600, got {mode:04o}")
    return data


def passphrase_of_environment() -> bytes | None:
    """What the mounted secret says, without the newline at its end; None if none is named."""
    path = Environment().optional_path(PASSPHRASE_FILE)
    return None if path is None else checked_passphrase(load_secret(path).rstrip(b"\r\n"))


def pin_of_environment() -> bytes:
    """The user PIN of the token, from its mounted file. Raises Misconfigured."""
    path = Environment().optional_path(PIN_FILE)
    if path is None:
        raise Misconfigured(f"TANZHANG_{PIN_FILE} is not set, and a key lies in a token")
    return load_secret(path).rstrip(b"\r\n")


def checked_passphrase(passphrase: bytes) -> bytes:
    """Raises Misconfigured for one that is too short to be worth anything."""
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise Misconfigured(
            f"passphrase: expected at least {MIN_PASSPHRASE_BYTES} bytes, got {len(passphrase)}"
        )
    return passphrase


def is_encrypted(data: bytes) -> bool:
    return is_sealed(data) or data.startswith(_PKCS8_ENCRYPTED)


def load_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM; `passphrase` instead of the environment's.

    Raises Misconfigured when the file is missing, readable by others, no Ed25519 key, or encrypted
    and not opened.
    """
    return _private_key(path, *_opened(path, passphrase))


def load_note_key(path: Path, passphrase: bytes | None = None) -> Signer:
    """The signer in a `.skey` file. Raises Misconfigured, as above."""
    data, _ = _opened(path, passphrase)
    if not is_reference(data):
        return _signer(path, data)
    try:
        return open_signer(data, pin_of_environment())
    except Misconfigured as error:
        raise Misconfigured(f"{path.name}: {error}") from error


def create_private_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key file if there is none, encrypted if there is a passphrase; the key it holds."""
    if not path.exists():
        make_private_key(path, passphrase_of_environment())
    return load_private_key(path)


def make_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """A new key in a new file. Raises Misconfigured when there is one."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new_secret(path, pem if passphrase is None else seal(pem, _public(key), passphrase))
    return key


def make_token_key(path: Path, uri: str, name: str, kind: int = ED25519) -> str:
    """A new note key in a PKCS #11 token, and a file that says where; its verifier key.

    Raises Misconfigured: when there is such a file, or such an object in the token.
    """
    _require_absent(path)
    data, vkey = make_reference(uri, name, kind, pin_of_environment())
    # A crash here: a key in the token that no file names. It is made anew under another label.
    write_new_secret(path, data)
    return vkey


def make_note_key(
    path: Path, name: str, kind: int = ED25519, passphrase: bytes | None = None
) -> Signer:
    """A new note key in a new file. Raises Misconfigured when there is one."""
    signer = make_signer(name, kind, secrets.token_bytes(32))
    data = signer.private().encode() + b"\n"
    sealed = data if passphrase is None else seal(data, signer.verifier.vkey, passphrase)
    write_new_secret(path, sealed)
    return signer


def check_opens(path: Path, passphrase: bytes) -> None:
    """Raises Misconfigured unless the file is a key of ours, plain or opened by this passphrase."""
    data = load_secret(path)
    if is_encrypted(data):
        data, needed = _open(path, data, passphrase)
        if needed is not None:
            _private_key(path, data, needed)
    else:
        _public_inside(path, data)


def protect(path: Path, passphrase: bytes) -> bool:
    """Encrypts a key file in place; False if it was, and opens. Raises Misconfigured."""
    data = load_secret(path)
    if is_encrypted(data) or is_reference(data):
        check_opens(path, passphrase)
        return False
    _replace(path, seal(data, _public_inside(path, data), passphrase))
    return True


def unprotect(path: Path, passphrase: bytes) -> bool:
    """The plain file again, byte for byte; False if it was plain. Raises Misconfigured."""
    data = load_secret(path)
    if not is_sealed(data):
        return False
    _replace(path, _open(path, data, passphrase)[0])
    return True


def public_of(path: Path) -> str:
    """A verifier key, or "ed25519 <base64>": of an encrypted file as it says, without opening it.

    Raises Misconfigured; also for PKCS 8's own encryption, which tells nothing without passphrase.
    """
    data = load_secret(path)
    return parse_sealed(data).public if is_sealed(data) else _public_inside(path, data)


def write_new_secret(path: Path, data: bytes) -> None:
    """As write_secret, and never over what is there."""
    _require_absent(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(path, data)


def _require_absent(path: Path) -> None:
    if path.exists():
        raise Misconfigured(f"{path}: expected no file, found one: a key is never overwritten")


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600 in one step: it is there whole, or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)  # it may have been left with other rights
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    # A crash here: the old file stands, and a `.new` beside it that the next write removes.
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _replace(path: Path, data: bytes) -> None:
    """It is the same key since the same day: only how it lies here changes."""
    stat = path.stat()
    write_secret(path, data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _opened(path: Path, passphrase: bytes | None) -> tuple[bytes, bytes | None]:
    """The plain bytes; with a passphrase only if they still need one (PKCS 8)."""
    data = load_secret(path)
    if is_reference(data):
        return data, None
    given = passphrase_of_environment() if passphrase is None else passphrase
    if is_encrypted(data):
        return _open(path, data, given)
    if Environment().text("MODE", "development") == "production":
        if given is not None:
            raise Misconfigured(
                f"{path.name}: expected an encrypted key, since there is a passphrase: got a plain"
                " one"
            )
        log.warning("key.plain", file=path.name)
    return data, None


def _open(path: Path, data: bytes, passphrase: bytes | None) -> tuple[bytes, bytes | None]:
    if passphrase is None:
        raise Misconfigured(
            f"{path.name}: it is encrypted: TANZHANG_{PASSPHRASE_FILE} names the file with its"
            " passphrase"
        )
    if not is_sealed(data):
        return data, passphrase
    try:
        plain = unseal(data, passphrase)
    except Misconfigured as error:
        raise Misconfigured(f"{path.name}: {error}") from None
    if parse_sealed(data).public != _public_inside(path, plain):
        raise Misconfigured(f"{path.name}: another key is inside than it says")
    return plain, None


def _public_inside(path: Path, plain: bytes) -> str:
    if is_reference(plain):
        return public_of_reference(plain)
    if path.suffix == ".skey":
        return _signer(path, plain).verifier.vkey
    return _public(_private_key(path, plain, None))


def _private_key(path: Path, data: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=passphrase)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"{path.name}: expected a PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path.name}: expected an Ed25519 key, got {type(key).__name__}")
    return key


def _signer(path: Path, data: bytes) -> Signer:
    try:
        return load_signer(data.decode("ascii").strip())
    except (TlogError, ValueError) as error:
        raise Misconfigured(f"{path.name}: {error}") from None


def _public(key: Ed25519PrivateKey) -> str:
    return f"ed25519 {base64.b64encode(public_bytes(key)).decode()}"
