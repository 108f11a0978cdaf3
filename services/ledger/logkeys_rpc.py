"""The logs' own keys over gRPC: what is asked of them becomes a command, with its signed note.

A log's key signs its successor's announcement when a second person approves it, and not before: the
note alone makes whoever trusts the old key trust the new one, and all events can be read.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Mapping
from typing import Any

import msgspec
from tanzhang.ledger.v1 import ledger_pb2 as pb

from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.tlog.errors import TlogError
from kernel.tlog.policy import Policy
from kernel.values import Actor
from kernel.writer import Writer
from services.ledger.domain.commands import (
    Approve,
    LogKeyNote,
    ProposeLogKey,
    ProposeLogKeyRetirement,
)
from services.ledger.domain.logkeys import to_be_signed
from services.ledger.domain.state import LogKeys, State
from services.ledger.logkeys import BookKeys, KeyFolder, policy_of


class LogKeyRequests:
    """The parts of LedgerService that need the key files."""

    def __init__(
        self,
        folder: KeyFolder,
        deployed: Policy,
        keys: Mapping[str, BookKeys],
        writer: Writer[State],
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._deployed = deployed
        self._keys = keys
        self._writer = writer
        self._clock = clock

    def policy(self) -> str:
        return policy_of(self._deployed, self._keys)

    async def proposal(self, request: pb.ProposeRequest) -> msgspec.Struct | None:
        """The command, with the note that goes with it; None if it is about another matter."""
        match request.WhichOneof("proposal"):
            case "announce_log_key":
                return await self._note(self._announcement, request.announce_log_key)
            case "retire_log_key":
                return await self._note(self._retirement, request.retire_log_key)
        return None

    async def _note(self, make: Any, asked: Any) -> msgspec.Struct:
        """Files are read, so it is done in a thread. What is no key is the caller's mistake."""
        self._require_book(asked.book)
        keys, _ = await self._writer.read(lambda state: copy.deepcopy(state.log_keys))
        try:
            command: msgspec.Struct = await asyncio.to_thread(make, asked, keys.get(asked.book))
        except TlogError as error:
            raise Refused("LOG_KEY_MALFORMED", str(error), Kind.INVALID) from error
        return command

    async def approval(self, proposal: str, by: Actor) -> Approve:
        """The command, with the note if it is of a log's key and this person may approve it.

        What decide then refuses is dropped with its note: a note leaves us only as an event.
        """
        asked, _ = await self._writer.read(lambda state: to_be_signed(state, proposal, by))
        if asked is None:
            return Approve(proposal)
        keys = (asked.book, asked.old_vkey, asked.new_vkey)
        statement = await asyncio.to_thread(self._folder.announce, *keys, self._now_s())
        return Approve(proposal, LogKeyNote(*keys, statement))

    def _announcement(self, asked: pb.LogKeyAnnouncement, keys: LogKeys | None) -> ProposeLogKey:
        current = self._folder.followed(asked.book, keys, asked.new_vkey)
        return ProposeLogKey(asked.book, current, asked.new_vkey)

    def _retirement(
        self, asked: pb.LogKeyRetirement, keys: LogKeys | None
    ) -> ProposeLogKeyRetirement:
        known = keys is not None and asked.successor in (keys.current, keys.announced)
        statement = ""
        if not known:
            statement = self._folder.replace(asked.book, asked.vkey, asked.successor, self._now_s())
        return ProposeLogKeyRetirement(
            asked.book, asked.vkey, asked.successor, asked.reason, statement
        )

    async def listing(self) -> pb.ListLogKeysResponse:
        recorded, position = await self._writer.read(lambda state: copy.deepcopy(state.log_keys))
        books = [_listed(book, one, recorded.get(book)) for book, one in sorted(self._keys.items())]
        return pb.ListLogKeysResponse(books=books, as_of_position=position)

    def _require_book(self, book: str) -> None:
        if book not in self._keys:
            raise Refused(
                "UNKNOWN_BOOK",
                f"expected one of {sorted(self._keys)}, got {book[:60]!r}",
                Kind.UNKNOWN,
                book=book[:60],
            )

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000


def _listed(book: str, one: BookKeys, keys: LogKeys | None) -> pb.BookLogKeys:
    here = [signer.verifier.vkey for signer in one.now.signers]
    if keys is None:
        first = [pb.LogKey(vkey=vkey, standing="in force", here=True) for vkey in here]
        return pb.BookLogKeys(book=book, keys=first)
    rows = [pb.LogKey(vkey=keys.current, standing="in force", here=keys.current in here)]
    if keys.announced is not None:
        vkey = keys.announced
        rows.append(pb.LogKey(vkey=vkey, standing="announced", here=vkey in here))
    rows += [
        pb.LogKey(vkey=vkey, standing="retired", reason=reason)
        for vkey, reason in keys.retired.items()
    ]
    return pb.BookLogKeys(book=book, keys=rows, statement=base64.b64decode(keys.statement))
