"""Private keys of a process: Ed25519 in PKCS 8 PEM files of mode 0600, one purpose each.

A key file that others can read is refused: better no start than a shared secret.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.errors import Misconfigured


def load_secret(path: Path) -> bytes:
    """Raises Misconfigured when the file is missing or readable by others."""
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path.name}: {error.strerror}") from error
    if mode & 0o077:
        raise Misconfigured(f"{path.name}: expected mode 0600, got {mode:04o}")
    return data


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises Misconfigured when the file is missing, readable by others, or no Ed25519 key."""
    data = load_secret(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except ValueError as error:
        raise Misconfigured(f"{path.name}: expected a PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path.name}: expected an Ed25519 key, got {type(key).__name__}")
    return key


def create_private_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key file if there is none; answers the key it holds."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_secret(path, pem)
    return load_private_key(path)


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file of mode 0600 in one step: it is there whole, or not at all."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
