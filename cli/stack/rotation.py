"""New frame and token keys of a data folder: prepared beside the old ones, then put in their place.

`<kind>.next.key` signs nothing. `switch` puts it in the old one's place; of a frame key the public
half stays as `frame.<key id>.pub`, for its frames are read for ever. The identities file follows
from the files, byte for byte, so its digest can be pinned before anything is switched; a crash
within `switch` leaves the old or the new file of each key, and running it again ends it.
"""

from __future__ import annotations

from pathlib import Path

from cli.errors import CliError
from cli.stack.folder import running_note
from cli.stack.provision import SERVICES, identities_of, keys_folder, known_prefix, operator_signer
from kernel.acts import key_id, public_bytes
from kernel.identities import identities_digest, sign_identities
from kernel.keys import load_private_key, make_private_key, passphrase_of_environment, write_secret

FRAME = "frame"
TOKEN = "token"  # noqa: S105 - a kind of key


def prepare(directory: Path, owner: str, kind: str) -> str:
    """Makes the next key, unless one is prepared already; the digest of the file to be pinned."""
    if owner not in (*SERVICES, "issuer") or (owner, kind) == ("issuer", FRAME):
        raise CliError(f"expected a service with a {kind} key, {', '.join(SERVICES)}, got {owner}")
    following = _next(directory, owner, kind)
    if not following.exists():
        make_private_key(following, passphrase_of_environment())
    return next_digest(directory)


def next_digest(directory: Path) -> str:
    """Of the identities file as it will be after `switch`. Signatures of Ed25519 do not vary."""
    identities = identities_of(directory, known_prefix(directory), upcoming=True)
    return identities_digest(sign_identities(identities, operator_signer(directory)))


def switch(directory: Path) -> list[str]:
    """Puts every prepared key in its place; what was switched. CliError while something runs."""
    if running_note(directory) is not None:
        raise CliError(f"{directory} is in use: stop it first, its processes read keys at start")
    switched = []
    for following in sorted((directory / "keys").glob("*/*.next.key")):
        kind = following.name.partition(".")[0]
        current = following.with_name(f"{kind}.key")
        if kind == FRAME:
            _keep_public(current)
        # A crash here: both are there, and the old one is not listed twice.
        following.replace(current)
        switched.append(f"{current.parent.name} {kind}")
    return switched


def _keep_public(current: Path) -> None:
    public = public_bytes(load_private_key(current))
    write_secret(current.with_name(f"{FRAME}.{key_id(public)}.pub"), public.hex().encode() + b"\n")


def _next(directory: Path, owner: str, kind: str) -> Path:
    return keys_folder(directory, owner) / f"{kind}.next.key"
