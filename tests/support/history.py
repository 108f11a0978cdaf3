"""What clients saw: every operation with when it was asked, when and how it was answered.

Times are of one monotonic clock, in seconds. An operation is one item: those of one call share its
times. Asked again by the same id it stays one operation, from the first asking to the first answer.
Each client writes its own file as it goes, so that a run that dies leaves what was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

Place = tuple[str, str, str, str]  # holder, asset, purpose, ref
Move = tuple[Place, Place, int]  # from, to, amount


class Answer(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # the client gave up: it may have happened, or happen yet


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One item that was to change something, with what its event must then say."""

    book: str = "accounts"
    client: str
    id: str
    type: str  # of the event, if there is one
    invoked_s: float
    answered_s: float | None = None
    answer: Answer = Answer.UNKNOWN
    position: int | None = None  # where it was recorded, as acknowledged
    attempts: int = 1
    again: int | None = None  # the position a later repeat of the same id was answered with
    moves: tuple[Move, ...] = ()  # the event's legs, of those alone that the command fixes
    group: str = ""  # commands of one group are carried out together or not at all
    call: str = ""  # what was sent in one call or one stream is carried out in its order:
    place: int = 0  # it was so manieth in it
    reason: str = ""
    needed: int | None = None  # of a refusal for want of balance: what it said was needed
    available: int | None = None  # and what it said was there
    of: Place | None = None  # and where
    # What `GetOutcomes` answered about an unknown one at the end: recorded where, or refused.
    found: int | None = None
    found_refused: bool = False


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A holder's balances as answered from memory: a strong read."""

    book: str = "accounts"
    client: str
    holder: str
    invoked_s: float
    answered_s: float
    as_of: int
    balances: tuple[tuple[Place, int], ...]
    by: str = ""  # the process that answered


class PaidIn(msgspec.Struct, frozen=True, kw_only=True):
    """Money brought to the counter of the bank: it has no id, so it is brought once."""

    book: str = "bank"
    client: str
    holder: str
    amount_fen: int
    line: str | None = None  # the bank's number of it; None: no answer, and nobody knows


class Said(StrEnum):
    """What a venue is told of a trade."""

    SETTLED = "settled_position"
    BEFORE = "settled_before"
    UNSETTLED = "unsettled"


class TradeTold(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue was told of one trade of an accepted part, once more each time it was told."""

    book: str = "accounts"
    client: str
    part: str  # its command
    session: str
    trade: dict[str, Any]  # as the venue has signed it
    said: Said
    position: int = 0  # of the entry, or of the word that it was not settled
    reason: str = ""
    holder: str = ""
    asset: str = ""
    needed: int = 0
    available: int = 0


Seen = Command | Read | PaidIn | TradeTold


class Diary:
    """One client's operations, kept in a file as well: one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.seen: list[Seen] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._encode = msgspec.json.Encoder().encode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, one: Seen) -> int:
        """Answers where in `seen` it stands."""
        self.seen.append(one)
        self._write(one)
        return len(self.seen) - 1

    def amend(self, place: int, one: Seen) -> None:
        """Something more was seen of it: the file has it once more, `seen` as it is now."""
        self.seen[place] = one
        self._write(one)

    def _write(self, one: Seen) -> None:
        self._file.write(self._encode(one) + b"\n")
        self._file.flush()


def commands_of(seen: Iterable[Seen]) -> list[Command]:
    return [one for one in seen if isinstance(one, Command)]


def reads_of(seen: Iterable[Seen]) -> list[Read]:
    return [one for one in seen if isinstance(one, Read)]


def paid_in_of(seen: Iterable[Seen]) -> list[PaidIn]:
    return [one for one in seen if isinstance(one, PaidIn)]


def trades_of(seen: Iterable[Seen]) -> list[TradeTold]:
    return [one for one in seen if isinstance(one, TradeTold)]


def resolved(one: Command, outcomes: Mapping[str, int | None]) -> Command:
    """An unknown one with what its id was answered: a position, None refused, absent not there."""
    if one.answer is not Answer.UNKNOWN or one.id not in outcomes:
        return one
    found = outcomes[one.id]
    return msgspec.structs.replace(one, found=found, found_refused=found is None)
