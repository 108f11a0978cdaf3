"""Changes of keys, asked of a running ledger: each is proposed here, approved by another person.

The new key of a log is a file before anything is said of it. Run again it takes the one that was
prepared and not used yet, so that a refused or a lost proposal leaves no row of keys behind.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cli.clients import Books, Outcome, Persona
from cli.directory import accept
from cli.errors import NO, NOT_TRIED, CliError
from cli.keys_client import (
    LogKeyRows,
    log_keys,
    propose_log_key,
    propose_log_key_retirement,
)
from cli.keys_client import propose_identities as ask_for_identities
from cli.keys_client import propose_revocation as ask_for_revocation
from cli.stack.provision import known_prefix, log_keys_folder
from cli.workspace import Workspace
from kernel.ids import uuid7
from kernel.keys import make_note_key, passphrase_of_environment, public_of

ROLES = ("ledger-operator",)
IN_FORCE = "in force"
ANNOUNCED = "announced"


async def told_by_ledger(folder: Path) -> dict[str, str]:
    """What the ledger says of each key it knows, by verifier key or key id."""
    async with Books(Workspace(folder)) as books:
        told = {
            one.key_id: f"directory: {one.subject}{', ended' if one.revoked else ''}"
            for one in await books.keys()
        }
        for book, rows in (await log_keys(books)).items():
            for key in rows.keys:
                why = f", {key.reason}" if key.reason else ""
                told[key.vkey] = f"log of {book}: {key.standing}{why}"
    return told


async def propose_rotation(directory: Path, book: str, person: str, vkey: str) -> str:
    workspace, who = _begin(directory, person)
    async with Books(workspace) as books:
        rows = await log_keys(books)
        chosen = vkey or prepared_log_key(workspace.directory, book, _of(rows, book))
        proposal = uuid7(workspace.clock.now_ms())
        accept(await propose_log_key(books, who, proposal, book, chosen))
    return _told(f"{book}: {chosen} follows {_of(rows, book).one(IN_FORCE)}", proposal, person)


async def propose_retirement(
    directory: Path, book: str, person: str, reason: str, vkey: str, successor: str
) -> str:
    workspace, who = _begin(directory, person)
    async with Books(workspace) as books:
        rows = _of(await log_keys(books), book)
        going = vkey or rows.one(IN_FORCE)
        if not going:
            raise CliError(f"{book}: its key is not here: --key names it, as a policy has it")
        chosen = successor or _other(rows, going)
        if not chosen and reason == "rotated":
            raise CliError(f"{book}: no successor is announced: tanzhang keys rotate log", NO)
        chosen = chosen or prepared_log_key(workspace.directory, book, rows)
        proposal = uuid7(workspace.clock.now_ms())
        asked = propose_log_key_retirement(books, who, proposal, book, going, chosen, reason)
        accept(await asked)
    return _told(f"{book}: {going} signs no more ({reason}), {chosen} alone", proposal, person)


def _other(rows: LogKeyRows, going: str) -> str:
    """Of the two that may be in force, the one that stays."""
    announced = rows.one(ANNOUNCED)
    return rows.one(IN_FORCE) if going == announced else announced


async def last_change(directory: Path, book: str) -> str:
    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        statement = _of(await log_keys(books), book).statement
    if not statement:
        raise CliError(f"{book}: its log has had one key so far", NO)
    return statement


async def propose_key(directory: Path, subject: str, public_key: str, person: str) -> str:
    workspace, who = _begin(directory, person)
    try:
        public = base64.b64decode(public_key.removeprefix("ed25519 "), validate=True)
    except ValueError as error:
        raise CliError(f"expected base64 of a public key: {error}") from error
    async with Books(workspace) as books:
        proposal = uuid7(workspace.clock.now_ms())
        accept(await books.propose_key(who, proposal, subject, public))
    return _told(f"{subject}: a key of its own", proposal, person)


async def propose_revocation(directory: Path, key_id: str, person: str) -> str:
    workspace, who = _begin(directory, person)
    async with Books(workspace) as books:
        proposal = uuid7(workspace.clock.now_ms())
        accept(await ask_for_revocation(books, who, proposal, key_id))
    return _told(f"{key_id}: ends", proposal, person)


async def propose_identities(directory: Path, digest: str, person: str) -> str:
    workspace, who = _begin(directory, person)
    async with Books(workspace) as books:
        proposal = uuid7(workspace.clock.now_ms())
        outcome: Outcome = await ask_for_identities(books, who, proposal, digest)
        accept(outcome)
    return _told("then: tanzhang down, tanzhang keys switch, tanzhang up", proposal, person)


def prepared_log_key(directory: Path, book: str, rows: LogKeyRows) -> str:
    """The newest file of a log that no event has named yet, else a new one; its verifier key."""
    folder = log_keys_folder(directory)
    known = {key.vkey for key in rows.keys}
    later = sorted(folder.glob(f"{book}.*.skey"), key=lambda path: path.stat().st_mtime_ns)
    unused = [vkey for vkey in map(public_of, later) if vkey not in known]
    if unused:
        return unused[-1]
    fresh = folder / f"{book}.fresh.skey"
    fresh.unlink(missing_ok=True)  # left by a crash before it had its name
    origin = f"{known_prefix(directory)}/{book}"
    signer = make_note_key(fresh, origin, passphrase=passphrase_of_environment())
    fresh.replace(folder / f"{book}.{signer.key_id:08x}.skey")
    return signer.verifier.vkey


def _begin(directory: Path, person: str) -> tuple[Workspace, Persona]:
    workspace = Workspace(directory)
    workspace.require_running()
    return workspace, Persona(person, ROLES)


def _of(rows: dict[str, LogKeyRows], book: str) -> LogKeyRows:
    if book not in rows:
        raise CliError(f"expected a book, {' or '.join(sorted(rows))}, got {book}", NOT_TRIED)
    return rows[book]


def _told(what: str, proposal: str, person: str) -> str:
    return (
        f"{what}\nproposal {proposal} by {person}: another person approves it with\n"
        f"tanzhang ledger approve {proposal} --person WHO"
    )
