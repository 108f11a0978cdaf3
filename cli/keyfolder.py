"""The keys of a data folder as a list: what each is for, what is public of it, who knows it.

Reads files and opens none that is encrypted: of such a one is shown what its first lines say, which
is proved only when it is opened. Never shows a secret.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cli.stack.provision import identities_file, operator_vkey_of, policy_file
from kernel.acts import key_id
from kernel.errors import Misconfigured
from kernel.hsm import is_reference
from kernel.identities import Identities, load_identities
from kernel.keys import is_encrypted, load_secret, public_of
from kernel.tlog.checkpoint import load_verifier
from kernel.tlog.errors import PolicyError
from kernel.tlog.note import ED25519
from kernel.tlog.policy import Policy, parse_policy

SUFFIXES = frozenset({".key", ".skey"})
NOT_OURS = frozenset({"postgres", "nats", "logs", "receipts"})  # of the folders in a data folder


class KeyRow(NamedTuple):
    """One key file. `public` is a verifier key or base64; `trouble` says why there is none."""

    file: str
    owner: str
    purpose: str
    public: str
    key_id: str
    at_rest: str
    since: str
    known_to: tuple[str, ...]
    trouble: str = ""


def key_files(folder: Path) -> Iterator[Path]:
    """Every key file of a data folder, or of a folder of keys, in order."""
    tops = [one for one in sorted(folder.iterdir()) if one.name not in NOT_OURS or not one.is_dir()]
    for top in tops:
        found = sorted(top.rglob("*")) if top.is_dir() else [top]
        yield from (path for path in found if path.suffix in SUFFIXES and path.is_file())


def list_keys(folder: Path, ledger: Mapping[str, str]) -> list[KeyRow]:
    """`ledger`: what the running one says of a key, by verifier key or key id."""
    policy, identities = _policy(folder), _identities(folder)
    return [_row(folder, path, policy, identities, ledger) for path in key_files(folder)]


def _row(
    folder: Path,
    path: Path,
    policy: Policy | None,
    identities: Identities | None,
    ledger: Mapping[str, str],
) -> KeyRow:
    file, owner = str(path.relative_to(folder)), _owner(path)
    since = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat()
    try:
        at_rest = _at_rest(load_secret(path))
        public = public_of(path).removeprefix("ed25519 ")
    except Misconfigured as error:
        return KeyRow(file, owner, path.stem, "", "", "unread", since, (), str(error))
    if path.suffix == ".skey":
        key = load_verifier(public)
        purpose = "operator" if path.stem == "operator" else "log"
        purpose = purpose if key.kind == ED25519 else "witness"
        known = [*_known_to_policy(policy, public), *_known_as_operator(identities, purpose)]
        known += _known_to(ledger, public)
        id = f"{key.key_id:08x}"
    else:
        kind = path.name.partition(".")[0]
        purpose = kind if kind in ("frame", "token", "venue") else "institution"
        id = key_id(base64.b64decode(public))
        known = [*_known_to_identities(identities, public), *_known_to(ledger, id)]
        known += ["prepared: signs nothing yet"] if path.name.endswith(".next.key") else []
    return KeyRow(file, owner, purpose, public, id, at_rest, since, tuple(known))


def _at_rest(data: bytes) -> str:
    if is_reference(data):
        return "in a token"
    return "encrypted" if is_encrypted(data) else "plain"


def _owner(path: Path) -> str:
    """The folder it lies in names whose it is, unless that only says what lies there."""
    parent = path.parent
    if parent.name == "institutions":
        return path.stem
    return parent.parent.name if parent.name == "logs" else parent.name


def _known_to_policy(policy: Policy | None, vkey: str) -> Iterator[str]:
    if policy is not None:
        keys = [*(log.key for log in policy.logs), *(one.key for one in policy.witnesses.values())]
        if vkey in (key.vkey for key in keys):
            yield "policy"


def _known_to_identities(identities: Identities | None, public: str) -> Iterator[str]:
    if identities is not None:
        yield from (
            f"identities: frames of {', '.join(frame.books)}"
            for frame in identities.frames
            if frame.public_key == public
        )
        yield from (
            f"identities: tokens of {token.iss}"
            for token in identities.tokens
            if token.public_key == public
        )


def _known_as_operator(identities: Identities | None, purpose: str) -> Iterator[str]:
    if identities is not None and purpose == "operator":
        yield "signs identities"


def _known_to(ledger: Mapping[str, str], key: str) -> Iterator[str]:
    if key in ledger:
        yield ledger[key]


def _policy(folder: Path) -> Policy | None:
    try:
        return parse_policy(policy_file(folder).read_bytes())
    except (OSError, PolicyError):
        return None


def _identities(folder: Path) -> Identities | None:
    """Only if the operator's key that lies here has signed it."""
    try:
        return load_identities(identities_file(folder), operator_vkey_of(folder))
    except (OSError, Misconfigured):
        return None
