"""Note keys that lie in a PKCS #11 token (an HSM): they sign there and are never seen here.

A `.skey` file is then two lines, no secret: an RFC 7512 URI that finds the private key, and the
verifier key that it must turn out to be.

    pkcs11:token=lanzhou;object=accounts-log
    lanzhou.example/accounts+897d7074+AVi+MmBzGtFW…

TANZHANG_PKCS11_MODULE names the vendor's library and TANZHANG_PKCS11_PIN_FILE the file with the
user PIN; neither may come from the URI, since who writes a key file must not choose code that is
loaded or a PIN that is tried. Ed25519 alone (CKM_EDDSA); the library is the extra `pkcs11`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.config import Environment
from kernel.errors import Fault, Misconfigured
from kernel.tlog.checkpoint import load_verifier
from kernel.tlog.errors import TlogError
from kernel.tlog.note import MLDSA44, Signer, Verifier

if TYPE_CHECKING:
    import pkcs11

SCHEME: Final = b"pkcs11:"
MODULE: Final = "PKCS11_MODULE"
PIN_FILE: Final = "PKCS11_PIN_FILE"
_ATTRIBUTES: Final = ("token", "serial", "object", "id")
_ED25519_OID: Final = "1.3.101.112"


class Reference(NamedTuple):
    """Where a private key lies: which token, and which object in it."""

    uri: str
    attributes: Mapping[str, bytes]

    def text(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return None if value is None else value.decode()


class TokenKey:
    """A private key in an open session, which takes one signature at a time."""

    def __init__(self, key: pkcs11.SignMixin, lock: threading.Lock) -> None:
        self._key = key
        self._lock = lock

    def sign(self, data: bytes) -> bytes:
        """Raises Fault when the token does not answer: the process begins anew, and opens it."""
        from pkcs11 import Mechanism, PKCS11Error  # noqa: PLC0415 - an extra

        try:
            with self._lock:
                return bytes(self._key.sign(data, mechanism=Mechanism.EDDSA))
        except PKCS11Error as error:
            raise Fault(f"PKCS #11 token: {type(error).__name__}: {error}") from error


class HsmSigner(Signer):
    """A note key whose private half is in a token."""

    def __init__(self, verifier: Verifier, key: TokenKey) -> None:
        self.name, self.kind = verifier.name, verifier.kind
        self.verifier, self.key_id = verifier, verifier.key_id
        self._key = key

    def private(self) -> str:
        raise Misconfigured(f"{self}: it is in a token, and never leaves it")


def is_reference(data: bytes) -> bool:
    return data.startswith(SCHEME)


def public_of_reference(data: bytes) -> str:
    """The verifier key that a reference names. Raises Misconfigured."""
    return _parts(data)[1].vkey


def open_signer(data: bytes, pin: bytes) -> HsmSigner:
    """Finds the key and lets it sign once. Raises Misconfigured: no such key, or another one."""
    reference, verifier = _parts(data)
    session, lock = _session(reference.text("token"), reference.attributes.get("serial"), pin)
    from pkcs11 import ObjectClass, PKCS11Error, SignMixin  # noqa: PLC0415 - an extra

    try:
        with lock:
            found = session.get_key(
                object_class=ObjectClass.PRIVATE_KEY,
                label=reference.text("object"),
                id=reference.attributes.get("id"),
            )
    except PKCS11Error as error:
        raise Misconfigured(f"{reference.uri}: {type(error).__name__} {error}".rstrip()) from error
    if not isinstance(found, SignMixin):
        raise Misconfigured(f"{reference.uri}: expected a key that may sign, got {found}")
    key = TokenKey(found, lock)
    _require_same(reference, verifier, key)
    return HsmSigner(verifier, key)


def make_reference(uri: str, name: str, kind: int, pin: bytes) -> tuple[bytes, str]:
    """Makes a key pair in a token, under a label nothing there has; (the file, verifier key).

    The private key is sensitive and not extractable. Raises Misconfigured.
    """
    reference = parse_reference(uri)
    label = reference.text("object")
    if label is None:
        raise Misconfigured(f"{uri}: expected an object, which becomes the new key's label")
    session, lock = _session(reference.text("token"), reference.attributes.get("serial"), pin)
    from pkcs11 import Attribute, KeyType, Mechanism, PKCS11Error  # noqa: PLC0415 - an extra
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415

    try:
        with lock:
            if next(iter(session.get_objects({Attribute.LABEL: label})), None) is not None:
                raise Misconfigured(f"{uri}: expected no object {label}, found one")
            curve = session.create_domain_parameters(
                KeyType.EC_EDWARDS,
                {Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519_OID)},
                local=True,
            )
            public, _ = curve.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=label,
                id=reference.attributes.get("id"),
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            point = bytes(public[Attribute.EC_POINT])
    except PKCS11Error as error:
        raise Misconfigured(f"{uri}: {type(error).__name__} {error}".rstrip()) from error
    verifier = Verifier(name, kind, point[-32:])  # plain, or in an OCTET STRING of two bytes more
    return f"{uri}\n{verifier.vkey}\n".encode(), verifier.vkey


def parse_reference(uri: str) -> Reference:
    """RFC 7512, of which we take what finds a private key. Raises Misconfigured."""
    path = uri.removeprefix(SCHEME.decode())
    if path == uri or "?" in path:  # pin-value, pin-source, module-path: see above
        raise Misconfigured("expected pkcs11:… without a query: PIN and module are told elsewhere")
    attributes: dict[str, bytes] = {}
    for part in path.split(";"):
        name, given, value = part.partition("=")
        if name == "type" and value == "private":
            continue
        if not given or name not in _ATTRIBUTES or name in attributes or not value:
            raise Misconfigured(
                f"pkcs11 URI: expected {', '.join(_ATTRIBUTES)}, each once, got {part[:40]!r}"
            )
        attributes[name] = unquote_to_bytes(value)
    if not {"token", "serial"} & attributes.keys() or not {"object", "id"} & attributes.keys():
        raise Misconfigured("pkcs11 URI: expected a token or serial, and an object or id")
    return Reference(uri, attributes)


def _parts(data: bytes) -> tuple[Reference, Verifier]:
    try:
        uri, vkey, end = data.decode("ascii").split("\n")
        verifier = load_verifier(vkey)
    except (ValueError, TlogError) as error:
        raise Misconfigured(f"expected a pkcs11 URI and a verifier key: {error}") from None
    if end or verifier.kind == MLDSA44:
        raise Misconfigured("expected two lines, of an Ed25519 key")
    return parse_reference(uri), verifier


def _require_same(reference: Reference, verifier: Verifier, key: TokenKey) -> None:
    """Whatever the token says it holds: it signs as the key we name, or it is another."""
    challenge = b"tanzhang-key/v1 is it you?\n"
    try:
        public = Ed25519PublicKey.from_public_bytes(verifier.public)
        public.verify(key.sign(challenge), challenge)
    except InvalidSignature:
        raise Misconfigured(
            f"{reference.uri}: expected the key {verifier}, the token has another"
        ) from None


@functools.lru_cache(maxsize=8)
def _session(
    token: str | None, serial: bytes | None, pin: bytes
) -> tuple[pkcs11.Session, threading.Lock]:
    """One for all keys of a token, and for making them: a process may log in once.

    Raises Misconfigured.
    """
    module = Environment().optional_path(MODULE)
    if module is None:
        raise Misconfigured(f"TANZHANG_{MODULE} is not set, and a key lies in a token")
    try:
        import pkcs11  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured("a key lies in a token: install the extra pkcs11") from error
    try:
        library = pkcs11.lib(str(Path(module)))
        found = library.get_token(token_label=token, token_serial=serial)
        return found.open(rw=True, user_pin=pin.decode()), threading.Lock()
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise Misconfigured(
            f"PKCS #11 token {token or serial!r}: {type(error).__name__} {error}".rstrip()
        ) from error
