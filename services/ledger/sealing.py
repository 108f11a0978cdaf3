"""Sealing: what is on the tree becomes durable, then signed, then public. In this order.

The last signed checkpoint of each log lies in a file of its own, outside PostgreSQL, and is only
ever replaced by compare-and-swap with a larger one. So a database restored from an old backup, a
second instance, or a tree that was changed meets what was signed before, and is not signed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from kernel import metrics
from kernel.clock import Clock, monotonic_ms
from kernel.crash import crash_point
from kernel.errors import Conflict, Fault
from kernel.journal.database import Engine
from kernel.logs import get_logger
from kernel.tlog.checkpoint import Checkpoint, open_under_any, sign_checkpoint
from kernel.tlog.errors import TlogError
from kernel.tlog.note import ED25519, Signer, Verifier, parse_note
from kernel.tlog.tiles import root_at
from kernel.waiting import PositionWaiters
from services.ledger.log import Halt, Halted, Pending
from services.ledger.logkeys import BookKeys, InForce
from services.ledger.projections import store_checkpoint, store_pending
from services.ledger.queries import TileStore, last_checkpoint

SEAL_EVERY_MS: Final = 200
IDLE_S: Final = 0.01
PROOF_WAIT_S: Final = 15.0

log = get_logger(__name__)


class CheckpointFile:
    """The last signed checkpoint of one log, durable and never behind.

    Trust: who can write this file can make the service stop (it is compared with the tree, and a
    forged one is not signed by our key), or, together with an old database, sign a second history.
    It belongs on a disk of its own, and witnesses are the answer to its loss.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def swap(self, expected: bytes | None, note: bytes) -> None:
        """Replaces exactly `expected`; raises Fault when somebody else has been here."""
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read() != expected:
                raise Fault(f"{self._path.name}: another process has signed since we read it")
            temporary = self._path.with_suffix(".new")
            with temporary.open("wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class SealedLog(Protocol):
    """What is sealed: it hands out what is not stored yet, and says when it must not be signed."""

    @property
    def book(self) -> str: ...

    @property
    def halt(self) -> Halt | None: ...

    def take_pending(self) -> Pending | None: ...


class Sealer:
    """Seals one log every 200 ms when there is something new."""

    def __init__(
        self,
        book_log: SealedLog,
        engine: Engine,
        keys: BookKeys,
        file: CheckpointFile,
        tiles: TileStore,
        clock: Clock,
    ) -> None:
        self._log = book_log
        self._engine = engine
        self._keys = keys
        self._file = file
        self._tiles = tiles
        self._clock = clock
        self._stored = (0, b"")  # size and root of what is durable
        # Signed before, and not reached by the tree yet: nothing is signed until it is.
        self._floor: tuple[bytes, Checkpoint] | None = None
        self.note: bytes | None = None  # the published checkpoint
        self.published = Checkpoint(keys.origin, 0, b"")
        self._signed_by: frozenset[int] = frozenset()  # ids of the log's keys under the note
        self._opened = False
        self._waiters = PositionWaiters()
        self._signings = 0  # published: of the same size too, when the keys have changed
        self._signed_waiters = PositionWaiters()
        self.paused = False  # while two persons look at what a witness holds against this log

    @property
    def signer(self) -> Signer | None:
        """The log's key, if it is here: for other proofs over a published root."""
        return next((one for one in self._keys.now.signers if one.kind == ED25519), None)

    def last_signed(self) -> Checkpoint | None:
        """What the file says was signed last, if it can be judged. Raises Halted if false."""
        note = self._file.read()
        return self._own(note, 0) if note is not None and self._keys.now.known else None

    def open(self, size: int) -> None:
        """Compares the stored tree with the last signed checkpoint; raises Halted.

        Blocks. A file ahead of the tree means that the database went back in time; a file that the
        tree does not lead through means that somebody changed the tree.
        """
        self._stored = (size, root_at(size, self._tiles.read_tile))
        note, book = self._file.read(), self._log.book
        # Of a log whose first key is lost nothing is known yet by which a note could be judged.
        judged = bool(self._keys.now.known)
        self._opened = note is None or judged
        if note is None:  # never signed, or lost: then the database must at least agree with itself
            published = last_checkpoint(self._engine, book) if judged else None
            if published is not None:
                self._require_root(self._own(published, size))
            return
        if not judged:
            return
        signed = self._own(note, size)
        self._floor = (note, signed)
        if signed.size > size:
            expected = f"a tree of at least {signed.size} entries"
            raise Halted(Halt(book, size, "RESTORED_BACKWARDS", expected, f"one of {size}"))
        self._pass_floor(note, signed)

    def _own(self, note: bytes, size: int) -> Checkpoint:
        try:
            return open_under_any(note, self._keys.origin, self._keys.now.known)
        except TlogError as error:
            expected, actual = "a checkpoint of our own", str(error)
            raise Halted(Halt(self._log.book, size, "CHECKPOINT_FILE", expected, actual)) from error

    def _require_root(self, signed: Checkpoint) -> None:
        """The tree leads through what was signed."""
        root = root_at(signed.size, self._tiles.read_tile)
        if root != signed.root:
            raise Halted(
                Halt(self._log.book, signed.size, "TREE_DIFFERS", signed.root.hex(), root.hex())
            )

    def _pass_floor(self, note: bytes, signed: Checkpoint) -> None:
        """The tree has reached what was signed last."""
        self._require_root(signed)
        store_checkpoint(self._engine, self._log.book, signed.size, self._clock.now_ms(), note)
        self._publish(note, signed)
        self._floor = None

    def _publish(self, note: bytes, checkpoint: Checkpoint) -> None:
        self.note, self.published = note, checkpoint
        self._signings += 1
        signed = parse_note(note)[1]
        self._signed_by = frozenset(one.key_id for one in signed if one.name == self._keys.origin)

    @property
    def behind(self) -> bool:
        """More was signed once than is stored now: the database went back."""
        return self._floor is not None

    async def run(self) -> None:
        """Stores, signs, publishes, until something breaks."""
        self._wake()  # who asked while the tree was being opened
        while True:
            started_ms = monotonic_ms()
            if await self._seal():
                rest_ms = SEAL_EVERY_MS - (monotonic_ms() - started_ms)
                await asyncio.sleep(max(rest_ms, 0) / 1000)
            else:
                await asyncio.sleep(IDLE_S)

    async def signed_anew(self, note: bytes | None) -> None:
        """Waits until the published checkpoint is another one: larger, or under other keys."""
        while self.note == note:
            await self._signed_waiters.wait(self._signings + 1)

    def _wake(self) -> None:
        self._waiters.wake(self.published.size)
        self._signed_waiters.wake(self._signings)

    def adopt(self, note: bytes) -> None:
        """A larger checkpoint under our own key, which came back from a witness. Blocks.

        From here on it is what we signed last: nothing is signed before the tree leads through it.
        """
        signed = open_under_any(note, self._keys.origin, self.keys_in_force())
        if self._floor is None and signed.size > self.published.size:
            self._file.swap(self._file.read(), note)
            # A crash here: found again at start, as a file that is ahead of the tree.
            self._floor = (note, signed)

    async def _seal(self) -> bool:
        if self.paused:
            return False
        pending = self._log.take_pending()
        if pending is not None:
            await asyncio.to_thread(store_pending, self._engine, pending)
            self._stored = (pending.size, pending.root)
            # A crash here: the tree is ahead of what is signed; it is signed after the restart.
            crash_point("ledger.tiles")
        now = self._keys.now
        if not now.complete:
            return pending is not None
        if not self._opened:
            await asyncio.to_thread(self.open, self._stored[0])
        size, root = self._stored
        if self._floor is not None:
            if size < self._floor[1].size:
                return pending is not None
            await asyncio.to_thread(self._pass_floor, *self._floor)
            self._wake()  # what was signed before the restart is proven again
        if size <= self.published.size and not self._other_keys(now):
            return pending is not None
        checkpoint = Checkpoint(self.published.origin, size, root)
        note = await asyncio.to_thread(self._sign, checkpoint, now.signers)
        # A crash here: signed, seen by nobody; published again from the file after the restart.
        crash_point("ledger.signed")
        await asyncio.to_thread(
            store_checkpoint, self._engine, self._log.book, size, self._clock.now_ms(), note
        )
        self._publish(note, checkpoint)
        metrics.proven_position.labels(self._log.book).set(size)
        self._wake()
        return True

    def _other_keys(self, now: InForce) -> bool:
        """Is what is published signed by other keys than those in force? Then it is signed anew."""
        in_force = {signer.key_id for signer in now.signers}
        return self.note is not None and self._signed_by != in_force

    def _sign(self, checkpoint: Checkpoint, signers: Sequence[Signer]) -> bytes:
        """Blocks: a key may lie in hardware. The file is what makes it final."""
        note = sign_checkpoint(checkpoint, signers)
        self._file.swap(self.note, note)
        return note

    def keys_in_force(self) -> list[Verifier]:
        """By these, and not by one that has leaked meanwhile, is judged what comes back to us."""
        return [signer.verifier for signer in self._keys.now.signers]

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """Those without which nothing is signed; none when all are here."""
        return self._keys.now.missing

    async def proven(self, position: int) -> None:
        """Waits (bounded) until a published checkpoint covers the position."""
        if position < self.published.size:
            return
        if self._log.halt is not None:
            halt = self._log.halt
            raise Conflict(
                "BOOK_HALTED", f"{halt.book} is halted at {halt.position} by {halt.rule}"
            )
        try:
            async with asyncio.timeout(PROOF_WAIT_S):
                await self._waiters.wait(position + 1)
        except TimeoutError:
            raise Conflict(
                "NOT_PROVEN_YET",
                f"{self._log.book}: expected position {position} under a checkpoint,"
                f" the last one covers {self.published.size}",
            ) from None
