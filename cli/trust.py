"""Whom a reader trusts: a policy, and the institutions' keys that stand beside it.

A policy comes from `--policy`, else `<dir>/policy.txt`, else the one that `tanzhang policy pin` has
put into the user's configuration folder; never from who hands over what it judges. It is called by
its fingerprint, SHA-256 of the file. `institutions.json` in the same folder, the answer of
`GET /v1/keys` as it came, lets `verify` check the acts inside events as well.

Trust: who can write these files decides what this user believes. Every verdict names the policy.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from cli.errors import NO, CliError
from kernel.acts import SUITE_ED25519, key_id
from kernel.tlog.errors import PolicyError
from kernel.tlog.policy import MAX_POLICY_BYTES, Policy, parse_policy, policy_fingerprint

POLICY: Final = "policy.txt"
INSTITUTIONS: Final = "institutions.json"
MAX_INSTITUTIONS_BYTES: Final = 4 * 1024 * 1024  # some 15,000 keys


class Institution(NamedTuple):
    """A key of the directory: whose acts it signs, and whether it has been revoked."""

    subject: str
    public_key: bytes
    revoked: bool


@dataclass(frozen=True)
class Trust:
    """What one run believes. `pinned`: the fingerprint of the pinned policy, if any."""

    policy: Policy
    source: Path
    fingerprint: str
    institutions: Mapping[str, Institution] = field(default_factory=dict)
    pinned: str | None = None


def config_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's settings are: XDG_CONFIG_HOME, APPDATA, else ~/.config."""
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        if environment.get(name):
            return Path(environment[name]) / "tanzhang"
    return Path.home() / ".config" / "tanzhang"


def find_trust(
    policy: Path | None, directory: Path | None = None, institutions: Path | None = None
) -> Trust:
    """The policy by the order above, with what stands beside it. CliError when there is none."""
    pinned = config_folder(os.environ) / POLICY
    places = [pinned] if directory is None else [directory / POLICY, pinned]
    source = policy or next((place for place in places if place.is_file()), None)
    if source is None:
        named = " or ".join(map(str, places))
        raise CliError(f"no policy: expected --policy or {named} (tanzhang policy pin makes it)")
    data = read_bounded(source, "policy", MAX_POLICY_BYTES)
    directory_file = institutions or source.parent / INSTITUTIONS
    known = institutions is not None or directory_file.is_file()
    return Trust(
        _parsed(source, data),
        source,
        policy_fingerprint(data),
        read_institutions(directory_file) if known else {},
        policy_fingerprint(pinned.read_bytes()) if pinned.is_file() else None,
    )


def read_policy(path: Path) -> Policy:
    """The policy in a file; CliError (exit 2) when it is missing or is none."""
    return _parsed(path, read_bounded(path, "policy", MAX_POLICY_BYTES))


def pin_policy(source: Path, institutions: Path | None, *, replace: bool) -> Path:
    """Puts a policy file, byte for byte, where `verify` finds it, and institutions' keys beside it.

    CliError if it is no policy, or another one is pinned and is not to be replaced.
    """
    data = read_bounded(source, "policy", MAX_POLICY_BYTES)
    _parsed(source, data)
    if institutions is not None:
        read_institutions(institutions)
    path = config_folder(os.environ) / POLICY
    if path.is_file() and path.read_bytes() != data and not replace:
        raise CliError(
            f"another policy is pinned: {policy_fingerprint(path.read_bytes())}; --replace gives"
            f" it up for {policy_fingerprint(data)}",
            NO,
        )
    _keep(path, data)
    if institutions is not None:
        keys = read_bounded(institutions, "institutions", MAX_INSTITUTIONS_BYTES)
        _keep(path.with_name(INSTITUTIONS), keys)
    return path


def _keep(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    os.replace(fresh, path)


def read_institutions(path: Path) -> dict[str, Institution]:
    """Keys by id, from the answer of `GET /v1/keys`. CliError if it is not one."""
    data = read_bounded(path, "institutions", MAX_INSTITUTIONS_BYTES)
    try:
        return dict(_institution(row) for row in json.loads(data)["keys"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CliError(f"institutions {path}: expected keys as /v1/keys answers: {error}") from None


def _institution(row: Mapping[str, Any]) -> tuple[str, Institution]:
    public = base64.b64decode(row["public_key"], validate=True)
    if row.get("suite", SUITE_ED25519) != SUITE_ED25519 or key_id(public) != row["key_id"]:
        raise ValueError(f"key {row['key_id']} is not what its id says")
    return row["key_id"], Institution(str(row["subject"]), public, bool(row.get("revoked")))


def read_bounded(path: Path, what: str, limit: int) -> bytes:
    """The bytes of a file; CliError (exit 2) when it cannot be read or is too large to be one."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CliError(f"{what} {path}: {error.strerror}") from error
    if len(data) > limit:
        raise CliError(f"{what} {path}: expected at most {limit:,} bytes, got more")
    return data


def _parsed(path: Path, data: bytes) -> Policy:
    try:
        return parse_policy(data)
    except PolicyError as error:
        raise CliError(f"policy {path}: {error}") from error
