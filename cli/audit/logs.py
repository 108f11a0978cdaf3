"""The logs themselves: mirrored, computed again, and held to what they have shown before.

Needs no token. What a log's checkpoint or tiles get wrong is a difference; that a host does not
answer is none, the audit then ends without a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from cli.audit.findings import Findings
from cli.audit.sample import Sample
from cli.log_sources import LogSource
from cli.mirror import (
    CHECKPOINT,
    MirrorRefused,
    kept_checkpoint,
    mirror_log,
    open_head,
    read_entries,
    write_whole,
)
from kernel.errors import Refused
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import FormatError
from kernel.tlog.policy import Policy
from kernel.tlog.states import STATE_BOOK, StateEntry, parse_state
from kernel.tlog.tiles import root_at, tile_path

COMMITMENT_CHARS: Final = 44
FORK: Final = "fork.txt"
MAX_TILES: Final = 512  # of 8 KiB, while states are compared
MAX_AHEAD: Final = 100_000  # states to look at again: eleven days of them

Progress = Callable[[int, int], None]

_COMMITMENT: Final = re.compile(rb"[A-Za-z0-9+/]{43}=")  # 32 bytes in base64


class LogReport(msgspec.Struct):
    """A log that was brought up to its newest checkpoint, and is what it says."""

    book: str
    origin: str
    tree_size: int
    root: str
    earlier_tree_size: int | None
    cosigners: list[str]
    tiles_fetched: int
    tiles_kept: int


class LogCheck:
    """One log of the policy, with its folder in the auditor's state."""

    def __init__(
        self, book: str, origin: str, source: LogSource, folder: Path, policy: Policy
    ) -> None:
        self.book = book
        self.origin = origin
        self.folder = folder
        self._source = source
        self._policy = policy

    async def run(
        self, since: Sequence[Checkpoint], recheck: bool, findings: Findings, progress: Progress
    ) -> LogReport | None:
        """None when the log is not what it says: then nothing of it can be opened."""
        note = await self._source.checkpoint()
        before = kept_checkpoint(self.folder, None)
        self._remember_fork(findings)
        try:
            head = open_head(note, self._policy, "the log's checkpoint")
            if head.origin != self.origin:
                raise MirrorRefused("ORIGIN", f"expected the log {self.origin}, got {head.origin}")
            done = await mirror_log(
                self.folder,
                note,
                self._policy,
                self._source.tile,
                progress,
                recheck=recheck,
                since=since,
                own=True,
            )
        except MirrorRefused as error:
            self._keep_evidence(error, note)
            findings.add(error.rule, self.book, None, "the log as it says it is", error)
            return None
        except Refused as error:
            findings.add("TILE", self.book, None, "every tile of the tree", error.message)
            return None
        first = 0 if before is None or recheck else before.size
        self._check_entries(first, done.size, findings)
        return LogReport(
            self.book,
            done.origin,
            done.size,
            encode_base64(done.root),
            done.earlier_size,
            [one.name for one in self._policy.open_checkpoint(note).cosignatures],
            done.fetched,
            done.kept,
        )

    @property
    def _evidence(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.evidence")

    def _remember_fork(self, findings: Findings) -> None:
        """A fork that was seen once stays one, whatever the log shows afterwards."""
        told = self._evidence / FORK
        if told.exists():
            findings.add("FORK", self.book, None, "one history", told.read_text(encoding="utf-8"))

    def _keep_evidence(self, error: MirrorRefused, note: bytes) -> None:
        """Two notes of one log that cannot both be true prove a fork to everybody."""
        if error.rule not in ("FORK", "WENT_BACK"):
            return
        self._evidence.mkdir(parents=True, exist_ok=True)
        kept = self.folder / CHECKPOINT
        for data in (note, kept.read_bytes() if kept.exists() else b""):
            if data:
                write_whole(self._evidence / f"{sha256(data).hexdigest()[:16]}.checkpoint", data)
        if error.rule == "FORK" and not (self._evidence / FORK).exists():
            write_whole(self._evidence / FORK, str(error).encode())

    def _check_entries(self, first: int, size: int, findings: Findings) -> None:
        """Every entry says its own book and position and a commitment, and nothing else."""
        if self.book == STATE_BOOK:
            return  # read entry by entry: `states`
        head = b'{"book":"%b","commitment":"' % self.book.encode()
        begin, end = len(head), len(head) + COMMITMENT_CHARS
        for position, entry in enumerate(read_entries(self.folder, size, first), first):
            tail = b'","position":%d,"v":1}' % position
            same = entry[:begin] == head and entry[end:] == tail
            if not same or not _COMMITMENT.fullmatch(entry, begin, end):
                what = f"a commitment of {self.book} {position}"
                findings.add("ENTRY_SHAPE", self.book, position, what, entry[:80])


class StateEntries:
    """Entries of the state log, read in order; each compared with the root of the book's own log.

    `sample` is what may be made again. `ahead` are those that say more of the book than its mirror
    has: the ledger shows no state before the book's own checkpoint has come so far.
    """

    def __init__(self, book: str, book_folder: Path, before: int, findings: Findings) -> None:
        self._book = book
        self._book_folder = book_folder
        self._before = before
        self._findings = findings
        self._read_tile = lru_cache(maxsize=MAX_TILES)(self._stored)
        self.count = 0
        self.sample = Sample()
        self.ahead: list[StateEntry] = []

    @property
    def newest_size(self) -> int:
        """The most events that any state so far was made of, and the book has."""
        return self._before

    def read(self, folder: Path, again: Sequence[int], begin: int, size: int, of: int) -> None:
        """Those at `again`, then all from `begin` on; the book's mirror has `of` entries."""
        for position in again:
            self._look(position, next(read_entries(folder, size, position)), of)
        for position, data in enumerate(read_entries(folder, size, begin), begin):
            self._look(position, data, of)
            self.count += 1

    def reach(self, book_size: int) -> None:
        """The book's mirror has grown to so many entries."""
        self._read_tile.cache_clear()
        waiting, self.ahead = self.ahead, []
        for entry in waiting:
            self._compare(entry.position, entry, book_size)

    def _look(self, position: int, data: bytes, book_size: int) -> None:
        try:
            entry = parse_state(data)
        except FormatError as error:
            self._findings.add("STATE_ENTRY", STATE_BOOK, position, "a state entry", error)
            return
        if entry.book != self._book:
            what = f"a state of {self._book}"
            self._findings.add("STATE_ENTRY", STATE_BOOK, position, what, entry.book)
            return
        if entry.position != position:
            self._findings.add("STATE_ENTRY", STATE_BOOK, position, position, entry.position)
        self._compare(position, replace(entry, position=position), book_size)

    def _compare(self, position: int, entry: StateEntry, book_size: int) -> None:
        if entry.size > book_size:
            self.ahead.append(entry)
            return
        if entry.size < self._before:
            what = f"{self._before} events or more"
            self._findings.add("STATE_WENT_BACK", STATE_BOOK, position, what, entry.size)
        self._before = entry.size
        root = root_at(entry.size, self._read_tile)
        if root != entry.root:
            what = f"{encode_base64(root)} at {entry.size} of {entry.book}"
            self._findings.add(
                "STATE_OF_ROOT", STATE_BOOK, position, what, encode_base64(entry.root)
            )
        self.sample.add(entry)

    def tell_ahead(self, book_size: int, of_run: Findings) -> list[int]:
        """Where they are, to be looked at again: told in every run until the book has come so far.

        What is too many to look at again stays a difference.
        """
        for i, entry in enumerate(self.ahead):
            findings = of_run if i < MAX_AHEAD else self._findings
            what = f"at most the {book_size} events of {entry.book} that its checkpoint has"
            findings.add("STATE_AHEAD", STATE_BOOK, entry.position, what, entry.size)
        return [entry.position for entry in self.ahead[:MAX_AHEAD]]

    def _stored(self, level: int, n: int, width: int) -> bytes:
        """At least so many hashes: of the full tile, or of the widest partial one there is."""
        full = self._book_folder / tile_path(level, n)
        if full.exists():
            return full.read_bytes()
        partials = full.with_name(f"{full.name}.p")
        widths = [int(one.name) for one in partials.iterdir() if one.name.isdigit()]
        return (partials / str(max(widths))).read_bytes()
