"""Everything a data folder holds before its first start: keys, passwords, identities, the policy.

Made once and then only read: running it again changes no byte. Secrets are files of mode 0600 under
`<dir>/keys/<service>/`; the identities file is signed by the operator (kernel/identities.py), the
policy is a C2SP tlog-policy. All of it belongs to one user here, so the separation of keys is
nominal; on a cluster each service gets its own folder and nothing else. Starts nothing.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import cli
from cli.stack import StackFault
from cli.stack.nats import NatsUser, operator, service_permissions
from cli.stack.postgres import write_secret
from cli.stack.witnesses import deployment_policy_file, policy_with, provision_witnesses
from kernel.acts import public_bytes
from kernel.config import DEFAULT_LOG_PREFIX
from kernel.errors import Misconfigured
from kernel.identities import FrameKey, Identities, TokenKey, sign_identities
from kernel.keys import (
    create_private_key,
    load_note_key,
    load_private_key,
    make_note_key,
    passphrase_of_environment,
    public_of,
)
from kernel.tlog.errors import TlogError
from kernel.tlog.note import Signer
from kernel.tlog.policy import parse_policy
from kernel.tlog.states import STATE_BOOK

PROJECT = Path(cli.__file__).resolve().parent.parent
DATABASE = "tanzhang"
PASSED_ON = ("PATH", "HOME", "LANG")
# How our programs open their keys. Files, which they see from another folder than the caller.
OPENING = (
    *("TANZHANG_KEY_PASSPHRASE_FILE", "TANZHANG_PKCS11_MODULE", "TANZHANG_PKCS11_PIN_FILE"),
    "SOFTHSM2_CONF",  # of the one vendor whose library is told so
)
PASSWORD_BYTES = 24
MAP_KEY = "maps.secret"  # of the balance map; beside the logs' keys
MAP_KEY_BYTES = 32
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Card:
    """What a service may sign, hear and ask.

    The books it owns, those whose frames it follows, and the roles its own token may assert.
    """

    books: tuple[str, ...]
    follows: tuple[str, ...]
    roles: tuple[str, ...] = ()


SERVICES: Mapping[str, Card] = {
    "accounts": Card(books=("accounts",), follows=("ledger",)),
    "registry": Card(
        books=("registry",), follows=("accounts", "ledger"), roles=("registry", "book:registry")
    ),
    "market": Card(
        books=("market",), follows=("accounts", "ledger"), roles=("venue:market", "book:market")
    ),
    "inclusive": Card(books=("inclusive",), follows=("ledger",)),
    "ledger": Card(
        books=("ledger",), follows=("accounts", "registry", "market", "inclusive", "ledger")
    ),
}
GATEWAY = "gateway"  # keeps nothing, owns no book
PROGRAMS = (*SERVICES, GATEWAY)
BOOKS = tuple(book for card in SERVICES.values() for book in card.books)
LOGS = (*BOOKS, STATE_BOOK)  # each has a key of its own
LOG_KEEPER = "ledger"  # the one service that holds the logs' keys
VENUE = "market"  # the one service that signs as a venue


@dataclass(frozen=True)
class Provisioned:
    """A folder that has everything; passwords by user name, secrets not shown when printed."""

    directory: Path
    log_prefix: str
    operator_vkey: str
    nats_users: tuple[NatsUser, ...]
    database_passwords: Mapping[str, str]
    log_vkeys: Sequence[str] = ()
    witnesses: Mapping[str, str] = field(default_factory=dict)  # verifier keys by name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory})"


@dataclass(frozen=True)
class Endpoints:
    """Where a process listens and what it connects to."""

    port: int
    metrics_port: int
    database_url: str
    nats_url: str
    peers: Mapping[str, str]
    books: tuple[str, ...] = BOOKS  # those that somebody writes: the ledger follows no others


def code_path() -> str:
    """PYTHONPATH of our processes: this code, before any other copy that may be installed."""
    return os.pathsep.join(str(path) for path in (PROJECT, PROJECT / "proto"))


def passed_on() -> dict[str, str]:
    """All that our programs get of their caller's environment."""
    usual = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    opening = {name: os.path.abspath(os.environ[name]) for name in OPENING if os.environ.get(name)}
    return usual | opening


def keys_folder(directory: Path, owner: str) -> Path:
    return directory / "keys" / owner


def log_keys_folder(directory: Path) -> Path:
    return keys_folder(directory, LOG_KEEPER) / "logs"


def identities_file(directory: Path) -> Path:
    return directory / "keys" / "identities.note"


def policy_file(directory: Path) -> Path:
    return directory / "policy.txt"


def clock_file(directory: Path) -> Path:
    return directory / "clock.offset"


def issuer_key(directory: Path) -> Ed25519PrivateKey:
    """The development issuer's key: whoever has it may assert any role."""
    return create_private_key(keys_folder(directory, "issuer") / "token.key")


def institution_key(directory: Path, name: str) -> Ed25519PrivateKey:
    """The key of a bank, a venue or an authority of a demo; development only."""
    if not FILE_NAME.fullmatch(name):
        raise StackFault(f"institution: expected letters, digits and ._- , got {name!r}")
    return create_private_key(keys_folder(directory, "institutions") / f"{name}.key")


def venue_key(directory: Path) -> Ed25519PrivateKey:
    """The key the market signs its settlements with; it counts once the directory has it."""
    return create_private_key(keys_folder(directory, VENUE) / "venue.key")


def operator_signer(directory: Path) -> Signer:
    """The operator's key. Raises StackFault if the folder has none, or a damaged one."""
    return _load_signer(_operator_file(directory))


def operator_vkey_of(directory: Path) -> str:
    """The public half of the operator's key, which needs no passphrase. Raises Misconfigured."""
    return public_of(_operator_file(directory))


def known_prefix(directory: Path) -> str:
    """The prefix of the folder's log origins, as it was chosen at its first start."""
    return operator_signer(directory).name.removesuffix("/operator")


def provision(
    workspace_dir: Path, log_prefix: str | None = None, witnesses: Sequence[str] = ()
) -> Provisioned:
    """Make what is missing in a data folder; answers what its processes need to be started.

    Without `log_prefix` it is the one the folder has, in a new folder DEFAULT_LOG_PREFIX. Raises
    StackFault if the folder was made under another prefix (an origin never changes), if its policy
    does not know one of its logs, or if a file of it is damaged.
    """
    directory = workspace_dir.absolute()
    for folder in ("keys", "logs", "checkpoints", "receipts"):
        (directory / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = _ensure_operator(_operator_file(directory), log_prefix)
    prefix = signer.name.removesuffix("/operator")
    logs = {f"{prefix}/{book}": _log_keys(directory, book, f"{prefix}/{book}") for book in LOGS}
    _hex_secret(log_keys_folder(directory) / MAP_KEY, MAP_KEY_BYTES)
    venue_key(directory)
    _write_if_changed(
        identities_file(directory), sign_identities(identities_of(directory, prefix), signer)
    )
    vkeys = [vkey for keys in logs.values() for vkey in keys]
    cosigners = provision_witnesses(directory, prefix, witnesses, vkeys)
    _ensure_policy(policy_file(directory), logs, cosigners)
    return Provisioned(
        directory,
        prefix,
        signer.verifier.vkey,
        (
            operator(_password(directory, "operator", "nats")),
            *(
                service_permissions(
                    name, card.books, card.follows, _password(directory, name, "nats")
                )
                for name, card in SERVICES.items()
            ),
        ),
        {name: _password(directory, name, "database") for name in SERVICES},
        vkeys,
        cosigners,
    )


def service_environment(
    provisioned: Provisioned,
    service: str,
    endpoints: Endpoints,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of one process; of the caller's own only `passed_on`.

    `extra` goes on top: crash points (TANZHANG_CRASH) and the like, only ever when asked for.
    """
    directory = provisioned.directory
    keys = keys_folder(directory, service)
    environment = {
        **passed_on(),
        "PYTHONPATH": code_path(),
        "TANZHANG_MODE": "development",
        "TANZHANG_LISTEN": f"127.0.0.1:{endpoints.port}",
        "TANZHANG_METRICS_PORT": str(endpoints.metrics_port),
        "TANZHANG_IDENTITIES": str(identities_file(directory)),
        "TANZHANG_OPERATOR_VKEY": provisioned.operator_vkey,
        "TANZHANG_CLOCK_FILE": str(clock_file(directory)),
    }
    for peer, target in endpoints.peers.items():
        environment[f"TANZHANG_PEER_{peer.upper()}"] = target
    if service == GATEWAY:
        environment["TANZHANG_POLICY"] = str(policy_file(directory))
    else:
        environment |= {
            "TANZHANG_DATABASE_URL": endpoints.database_url,
            "TANZHANG_NATS_URL": endpoints.nats_url,
            "TANZHANG_FRAME_KEY": str(keys / "frame.key"),
            "TANZHANG_TOKEN_KEY": str(keys / "token.key"),
            "TANZHANG_LOG_PREFIX": provisioned.log_prefix,
        }
    if service == LOG_KEEPER:
        environment["TANZHANG_LOG_KEYS"] = str(log_keys_folder(directory))
        environment["TANZHANG_CHECKPOINTS"] = str(directory / "checkpoints")
        if deployment_policy_file(directory).exists():
            environment["TANZHANG_POLICY"] = str(deployment_policy_file(directory))
        environment["TANZHANG_FOLLOWS"] = ",".join(endpoints.books)
    if service == VENUE:
        environment["TANZHANG_VENUE_KEY"] = str(keys / "venue.key")
    return {**environment, **(extra or {})}


def identities_of(directory: Path, prefix: str, *, upcoming: bool = False) -> Identities:
    """As the key files say; `upcoming`: with the prepared keys in the place of those they follow.

    A frame key that was followed by another stays listed: its frames are read for ever.
    """

    def public(owner: str, kind: str) -> str:
        following = keys_folder(directory, owner) / f"{kind}.next.key"
        if upcoming and following.exists():
            return base64.b64encode(public_bytes(load_private_key(following))).decode()
        made = create_private_key(keys_folder(directory, owner) / f"{kind}.key")
        return base64.b64encode(public_bytes(made)).decode()

    def frame_keys(owner: str) -> list[str]:
        newest = public(owner, "frame")
        older = set(_former_frame_keys(directory, owner))
        if upcoming:
            now = create_private_key(keys_folder(directory, owner) / "frame.key")
            older.add(base64.b64encode(public_bytes(now)).decode())
        return [newest, *sorted(older - {newest})]

    return Identities(
        frames=[
            FrameKey(list(card.books), key)
            for name, card in SERVICES.items()
            for key in frame_keys(name)
        ],
        tokens=[
            TokenKey(f"{prefix}/issuer", public("issuer", "token"), ["*"]),
            *(
                TokenKey(
                    f"service:{name}",
                    public(name, "token"),
                    [*card.roles, *(f"follow:{book}" for book in card.follows)],
                )
                for name, card in SERVICES.items()
            ),
        ],
        v=1,
    )


def _former_frame_keys(directory: Path, owner: str) -> list[str]:
    files = sorted(keys_folder(directory, owner).glob("frame.*.pub"))
    try:
        former = [bytes.fromhex(path.read_text(encoding="ascii")) for path in files]
    except ValueError as error:
        raise StackFault(f"{files[0].parent}: expected public keys in hex: {error}") from error
    return [base64.b64encode(one).decode() for one in former]


def _log_keys(directory: Path, book: str, origin: str) -> list[str]:
    """The verifier keys of a log that has files here: its first, made if it never had one.

    A policy that knows the log says that it had one: then another key is two persons' matter, and
    none is made quietly in its place.
    """
    first = log_keys_folder(directory) / f"{book}.skey"
    later = sorted(first.parent.glob(f"{book}.*.skey"))
    if first.exists() or not (later or origin in _known_logs(policy_file(directory))):
        _signer(first, origin)
        return [public_of(first), *map(public_of, later)]
    return [public_of(path) for path in later]


def _known_logs(path: Path) -> Mapping[str, set[str]]:
    """Verifier keys by origin, of a policy file if there is one. Raises StackFault."""
    try:
        logs = parse_policy(path.read_bytes()).logs if path.exists() else []
    except TlogError as error:
        raise StackFault(f"{path}: {error}") from error
    return {
        log.key.name: {one.key.vkey for one in logs if one.key.name == log.key.name} for log in logs
    }


def _ensure_policy(
    path: Path, logs: Mapping[str, Sequence[str]], witnesses: Mapping[str, str]
) -> None:
    """Written once: afterwards it is its reader's, who may add witnesses and follow new keys.

    As long as it is what was written without witnesses, those of the folder are added.
    """
    vkeys = [vkey for keys in logs.values() for vkey in keys]
    if not path.exists() or path.read_bytes() == policy_with(vkeys, {}).encode():
        _write_if_changed(path, policy_with(vkeys, witnesses).encode())
        return
    known = _known_logs(path)
    missing = [
        origin
        for origin, keys in logs.items()
        if keys and not known.get(origin, set()).intersection(keys)
    ]
    if missing:
        raise StackFault(
            f"{path}: expected the keys of {', '.join(missing)}, got none: put them in, or delete "
            "the file to have it written again"
        )


def _operator_file(directory: Path) -> Path:
    return keys_folder(directory, "operator") / "operator.skey"


def _ensure_operator(path: Path, log_prefix: str | None) -> Signer:
    if log_prefix is None and path.exists():
        return _load_signer(path)
    return _signer(path, f"{log_prefix or DEFAULT_LOG_PREFIX}/operator")


def _signer(path: Path, name: str) -> Signer:
    if not path.exists():
        make_note_key(path, name, passphrase=passphrase_of_environment())
    signer = _load_signer(path)
    if signer.name != name:
        raise StackFault(
            f"{path}: expected the key {name}, got {signer.name}: the origin of a log never "
            "changes, use another folder for another prefix"
        )
    return signer


def _load_signer(path: Path) -> Signer:
    if not path.exists():
        raise StackFault(f"expected a key in {path}, found no file")
    try:
        return load_note_key(path)
    except Misconfigured as error:
        raise StackFault(f"{path.parent}/{error}") from error


def _password(directory: Path, owner: str, server: str) -> str:
    return _hex_secret(keys_folder(directory, owner) / f"{server}.password", PASSWORD_BYTES)


def _hex_secret(path: Path, size_bytes: int) -> str:
    if not path.exists():
        write_secret(path, secrets.token_hex(size_bytes) + "\n")
    return path.read_text(encoding="ascii").strip()


def _write_if_changed(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
