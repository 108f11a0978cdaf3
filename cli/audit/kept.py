"""What an audit knows between runs: a folder with a mirror of every log, and the folded books.

`<folder>/logs/<book>/` are the mirrors, whose checkpoints are what the next run holds the logs to;
`<folder>/opened.msgpack` is how far which book was opened, and what was found. Written whole or not
at all, so that an interrupted run goes on from the last save. Trust: the auditor's own; who can
write there can make the auditor forget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from cli.audit import accounts, registry
from cli.audit.accounts import AccountsBook
from cli.audit.findings import Findings
from cli.audit.keys import Keys
from cli.audit.ledger import LedgerBook
from cli.audit.registry import RegistryBook
from cli.errors import NOT_TRIED, CliError
from cli.mirror import write_whole

FORMAT: Final = 1
FILE: Final = "opened.msgpack"


class Kept(msgspec.Struct):
    """`shows_all`: opened as an auditor; public facts alone are another, smaller view."""

    format: int
    shows_all: bool
    accounts: AccountsBook
    registry: RegistryBook
    ledger: LedgerBook
    findings: Findings
    positions: dict[str, int] = {}  # by book: the next event to open
    opened: dict[str, int] = {}  # by book: how many events were
    types: dict[str, dict[str, int]] = {}  # by book and type of event
    states: int = 0  # the next entry of the state log to look at
    states_size: int = 0  # how many events the newest one before it was made of
    states_ahead: list[int] = []  # entries before it that said more of the book than there was

    @classmethod
    def fresh(cls, *, shows_all: bool) -> Kept:
        return cls(
            FORMAT,
            shows_all,
            AccountsBook(Keys(accounts.BOOK)),
            RegistryBook(Keys(registry.BOOK)),
            LedgerBook(),
            Findings(),
        )


def load(folder: Path, *, shows_all: bool) -> Kept:
    """What an earlier run of the same view has saved, or nothing."""
    path = folder / FILE
    if not path.exists():
        return Kept.fresh(shows_all=shows_all)
    try:
        kept = _decoder.decode(path.read_bytes())
    except (msgspec.MsgspecError, ValueError) as error:
        raise CliError(f"{path}: cannot be read, remove it to begin anew", NOT_TRIED) from error
    if (kept.format, kept.shows_all) != (FORMAT, shows_all):
        return Kept.fresh(shows_all=shows_all)
    return kept


def save(folder: Path, kept: Kept) -> None:
    write_whole(folder / FILE, _encoder.encode(kept))


_decoder = msgspec.msgpack.Decoder(Kept)
_encoder = msgspec.msgpack.Encoder()
