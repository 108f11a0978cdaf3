"""`tanzhang policy follow`: a policy follows a log to another key. Offline.

A policy is its reader's own. Nothing changes it by itself: a note is taken in which a key of the
policy names its successor (kernel/tlog/keychange.py), the fingerprints of both are shown, and the
reader is asked. Exit codes: 0 done, 1 no (the note does not hold, or it was not agreed to), 2 could
not try.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import NO, CliError
from cli.trust import find_trust, read_bounded
from kernel.tlog.errors import TlogError
from kernel.tlog.keychange import KeyChange
from kernel.tlog.keychange import follow as follow_key
from kernel.tlog.note import MAX_NOTE_BYTES, Verifier
from kernel.tlog.policy import policy_fingerprint


def follow(
    notes: Annotated[list[Path], typer.Argument(help="announcements, the oldest first")],
    policy: Annotated[
        Path | None, typer.Option(help="the policy file; without it the pinned one")
    ] = None,
    instead: Annotated[
        bool,
        typer.Option("--instead", help="forget the old key, and what it alone has signed"),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="you have compared the fingerprints")] = False,
) -> None:
    """Let a policy follow its logs to other keys.

    A key of the policy must have signed each announcement. Without --instead the old key stays, for
    the receipts it has signed.
    """
    file = find_trust(policy).source
    data = file.read_bytes()
    for path in notes:
        try:
            note = read_bounded(path, "announcement", MAX_NOTE_BYTES)
            data, change = follow_key(data, note, instead=instead)
        except TlogError as error:
            raise CliError(f"{path}: {error}", NO) from error
        for line in _lines(change, instead=instead):
            typer.echo(line)
    if not yes and not typer.confirm(f"write {file}?"):
        raise CliError(f"{file} stays as it is", NO)
    _write(file, data)
    typer.echo(f"written {file}, fingerprint {policy_fingerprint(data)}")


def fingerprint(key: Verifier) -> str:
    """SHA-256 of the public key in groups of four, as people read it to each other."""
    digest = hashlib.sha256(key.public).hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def _lines(change: KeyChange, *, instead: bool) -> list[str]:
    stays = "goes" if instead else "stays, for what it has signed"
    return [
        f"{change.origin} gets another key, and its old key has signed that",
        f"  old  {change.old.key_id:08x}  {fingerprint(change.old)}  {stays}",
        f"  new  {change.new.key_id:08x}  {fingerprint(change.new)}",
    ]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: a policy cut off is another policy."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
