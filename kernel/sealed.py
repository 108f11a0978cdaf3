"""Secrets encrypted at rest: one text file around the bytes of a key file, opened by a passphrase.

    tanzhang-key/v1
    <what is public of the key: a verifier key, or "ed25519 <base64>">
    scrypt <log2 N> <r> <p> <base64 of 16 bytes of salt>
    aes-256-gcm <base64 of 12 bytes of nonce> <base64 of ciphertext and tag>

The key of the cipher is scrypt's 32 bytes of the passphrase; the first three lines, newlines
included, are authenticated with it. So a list of keys needs no passphrase, and who opens one knows
that its first lines were not changed. Used for notes and for PEM alike: PKCS 8's own encryption
rests on a derivation that is cheap to guess, and does not tell which key is inside.
"""

from __future__ import annotations

import functools
import os
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kernel.errors import Misconfigured
from kernel.tlog.encoding import decode_base64, encode_base64
from kernel.tlog.errors import FormatError

HEAD: Final = "tanzhang-key/v1"
LOG_N: Final = 15  # 32 MiB and about a tenth of a second for every guess
_MAX_LOG_N: Final = 20  # 1 GiB: more is not a key file but an attack on who reads it
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_OPENED: Final = 64  # key files of one process that are opened again and again


class Sealed(NamedTuple):
    """The parts of such a file; nothing of it is proved before it is opened."""

    public: str
    log_n: int
    salt: bytes
    nonce: bytes
    ciphertext: bytes
    authenticated: bytes


def is_sealed(data: bytes) -> bool:
    return data.startswith(HEAD.encode() + b"\n")


def seal(plain: bytes, public: str, passphrase: bytes) -> bytes:
    """The file's bytes; `public` is one line that anybody may read."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    head = f"{HEAD}\n{public}\nscrypt {LOG_N} {_R} {_P} {encode_base64(salt)}\n".encode()
    ciphertext = AESGCM(_derive(passphrase, salt, LOG_N)).encrypt(nonce, plain, head)
    return head + f"aes-256-gcm {encode_base64(nonce)} {encode_base64(ciphertext)}\n".encode()


@functools.lru_cache(maxsize=_OPENED)
def unseal(data: bytes, passphrase: bytes) -> bytes:
    """The plain bytes. Raises Misconfigured: not such a file, or not this passphrase."""
    sealed = parse_sealed(data)
    key = _derive(passphrase, sealed.salt, sealed.log_n)
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, sealed.authenticated)
    except InvalidTag:
        raise Misconfigured("the passphrase does not open it, or it was changed") from None


def parse_sealed(data: bytes) -> Sealed:
    """Raises Misconfigured for anything but the form above."""
    try:
        head, public, derivation, cipher, end = data.decode("ascii").split("\n")
        kdf, log_n, r, p, salt = derivation.split(" ")
        name, nonce, ciphertext = cipher.split(" ")
        parts = Sealed(
            public,
            int(log_n),
            decode_base64(salt, "salt"),
            decode_base64(nonce, "nonce"),
            decode_base64(ciphertext, "ciphertext"),
            f"{head}\n{public}\n{derivation}\n".encode(),
        )
    except (ValueError, FormatError):  # never quoted: somebody may have put a key here
        raise Misconfigured(f"expected the four lines of {HEAD}") from None
    if (head, kdf, r, p, name, end) != (HEAD, "scrypt", str(_R), str(_P), "aes-256-gcm", ""):
        raise Misconfigured(f"expected {HEAD} with scrypt r={_R} p={_P} and aes-256-gcm")
    if not LOG_N <= parts.log_n <= _MAX_LOG_N:
        raise Misconfigured(f"scrypt: expected N of 2^{LOG_N}..2^{_MAX_LOG_N}, got 2^{log_n[:4]}")
    if (len(parts.salt), len(parts.nonce)) != (_SALT_BYTES, _NONCE_BYTES):
        raise Misconfigured(f"expected {_SALT_BYTES} bytes of salt and {_NONCE_BYTES} of nonce")
    return parts


def _derive(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << log_n, r=_R, p=_P).derive(passphrase)
