"""Feeding the witnesses: each signed checkpoint, with the proof that it leads on from the last one.

c2sp.org/tlog-witness, v1.1.0. A witness that says what cannot be (it has cosigned more than we ever
signed, or another tree) raises an alarm. Its word alone proves nothing; a checkpoint under our own
key that contradicts our log does, and then the log halts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from kernel import metrics
from kernel.clock import Clock
from kernel.logs import get_logger
from kernel.tlog.errors import TlogError
from kernel.tlog.note import VerifiedSignature, Verifier, open_note, parse_note, sign_note
from kernel.tlog.tiles import ReadTile, prove_consistency, root_at
from kernel.tlog.witness import (
    SIZE_TYPE,
    AddCheckpoint,
    Status,
    open_by_log,
    parse_size,
    take_cosignatures,
)
from services.ledger.clients import HttpAnswer, WitnessClient, WitnessUnreachable
from services.ledger.log import Halt, Halted
from services.ledger.witnessed import Peer, Round, WitnessedLog

AHEAD: Final = "WITNESS_AHEAD"
FORKED: Final = "FORKED"
RULES: Final = (AHEAD, FORKED)
BACK_OFF_FIRST_S: Final = 1.0
BACK_OFF_LAST_S: Final = 60.0
MAX_SKEW_S: Final = 300  # between a witness's clock and ours
MAX_TRIES: Final = 4  # of one checkpoint: the size it tells may change while we make the proof

log = get_logger(__name__)


@dataclass
class Standing:
    """How it stands with one witness of one log."""

    cosigned: int | None = None  # the size it cosigned last, as far as it has told us
    cosigned_at_s: int = 0
    said: str = "not asked yet"
    alarm: str = ""


@dataclass(frozen=True)
class Disagreement:
    """A witness's word against our log."""

    book: str
    witness: str
    rule: str
    expected: str
    actual: str


Tell = Callable[[Disagreement], Awaitable[None]]
Prove = Callable[[Halt, bytes], Awaitable[None]]  # with the checkpoint that proves it


class NotCosigned(Exception):
    """The witness did not cosign; the message is what it said."""


class Disagrees(NotCosigned):
    """It says what cannot be."""

    def __init__(self, rule: str, expected: str, actual: str) -> None:
        super().__init__(f"{rule}: expected {expected}, got {actual}")
        self.rule, self.expected, self.actual = rule, expected, actual


class Feeder:
    """One log and one witness: asks round after round, with back-off when it does not answer."""

    def __init__(
        self,
        shown: WitnessedLog,
        peer: Peer,
        keys: Callable[[], Sequence[Verifier]],
        read_tile: ReadTile,
        client: WitnessClient,
        tell: Tell,
        prove: Prove,
        clocks: Sequence[Clock],
    ) -> None:
        self.peer = peer
        self.standing = Standing()
        self._shown = shown
        self._keys = keys
        self._read_tile = read_tile
        self._client = client
        self._tell = tell
        self._prove = prove
        self._clocks = clocks  # a cosignature's time must fit one of them
        self._labels = (shown.book, peer.name)

    async def run(self) -> None:
        """For ever."""
        last: Round | None = None
        pause_s = BACK_OFF_FIRST_S
        while True:
            round = await self._shown.next_round(last)
            if await self._ask_once(round):
                last, pause_s = round, BACK_OFF_FIRST_S
                continue
            # Not all at the same moment when a network comes back.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(pause_s * 2, BACK_OFF_LAST_S)
            self._shown.resting.discard(self.peer.url)

    async def _ask_once(self, round: Round) -> bool:
        """Whether this round has been answered: with a cosignature, or it is over for us."""
        round.pending.add(self.peer.url)
        answered = False
        try:
            answered = await self._hear(round)
        except Exception as error:  # no answer of a stranger's may end the ledger
            log.error("witness.fault", witness=self.peer.name, exc_info=error)
            self._note(f"a fault of ours: {type(error).__name__}")
        finally:
            async with self._shown.changed:
                round.pending.discard(self.peer.url)
                if not answered:
                    self._shown.resting.add(self.peer.url)
                self._shown.changed.notify_all()
        return answered

    async def _hear(self, round: Round) -> bool:
        try:
            await self._submit(round)
        except (NotCosigned, WitnessUnreachable, TlogError) as error:
            self._note(str(error) or type(error).__name__)
            if isinstance(error, Disagrees):
                await self._alarm(error)
            return False
        return True

    def _note(self, said: str) -> None:
        if said != self.standing.said:
            log.warning(
                "witness.not_cosigned", book=self._shown.book, witness=self.peer.name, said=said
            )
        self.standing.said = said
        metrics.witness_answers_total.labels(*self._labels, "not_cosigned").inc()

    async def _submit(self, round: Round) -> None:
        """Until it has cosigned. Raises what it says instead."""
        for _ in range(MAX_TRIES):
            old = self.standing.cosigned or 0
            if old > round.head.size:
                return  # it has cosigned a later one of ours: the next round is for it
            request = await asyncio.to_thread(self._request, old, round)
            asked_s = self._now_s()
            answer = await self._client.add_checkpoint(self.peer.url, request)
            if answer.status == Status.COSIGNED:
                return await self._cosigned(round, answer.body, asked_s)
            self._refused(round, old, answer)
        raise NotCosigned(f"it tells another size at every try, {self.standing.cosigned} at last")

    def _request(self, old: int, round: Round) -> bytes:
        size = round.head.size
        proof = prove_consistency(old, size, self._read_tile) if old else []
        return AddCheckpoint(old, tuple(proof), round.note).encode()

    def _now_s(self) -> list[int]:
        return [clock.now_ms() // 1000 for clock in self._clocks]

    async def _cosigned(self, round: Round, body: bytes, asked_s: Sequence[int]) -> None:
        opened, lines = take_cosignatures(round.note, body, self._keys(), self.peer.keys)
        refuse_other_times(opened.cosignatures, asked_s, self._now_s())
        await self._shown.cosigned(round, opened, lines)
        standing = self.standing
        standing.cosigned, standing.said, standing.alarm = round.head.size, "cosigned", ""
        standing.cosigned_at_s = max(one.timestamp_s or 0 for one in opened.cosignatures)
        metrics.witness_cosigned_position.labels(*self._labels).set(round.head.size)
        metrics.witness_alarm.labels(*self._labels).set(0)
        metrics.witness_answers_total.labels(*self._labels, "cosigned").inc()

    def _refused(self, round: Round, old: int, answer: HttpAnswer) -> None:
        """Goes on from the size it tells; raises whatever else it says."""
        if answer.status == Status.OTHER_SIZE and answer.content_type == SIZE_TYPE:
            size = parse_size(answer.body)
            signed = self._shown.sealed.published.size
            if size > signed:
                raise Disagrees(AHEAD, f"a size up to {signed}", f"{size}")
            if size < (self.standing.cosigned or 0):
                log.warning("witness.went_back", witness=self.peer.name, told=size)
            self.standing.cosigned = size
        elif answer.status == Status.INCONSISTENT:
            actual = f"a refusal of {round.head.size} from {old}: {_words(answer.body)}"
            raise Disagrees(FORKED, f"our tree of {old}", actual)
        else:
            raise NotCosigned(f"{answer.status}: {_words(answer.body)}")

    # ---- what cannot be -------------------------------------------------------------------------

    async def _alarm(self, found: Disagrees) -> None:
        """Tells of it, and looks for the proof at the witness's monitoring address."""
        book, name = self._labels
        self.standing.alarm = str(found)
        metrics.witness_alarm.labels(book, name).set(1)
        log.error("witness.alarm", book=book, witness=name, error=str(found))
        self.standing.cosigned = None  # asked for anew: a witness may be mended
        await self._tell(Disagreement(book, name, found.rule, found.expected, found.actual))
        try:
            answer = await self._client.latest(self.peer.url, self._shown.sealed.published.origin)
            if answer.status == Status.COSIGNED:
                await self._look_at(answer.body)
        except (WitnessUnreachable, TlogError) as error:
            log.warning("witness.shows_no_proof", book=book, witness=name, error=str(error))

    async def _look_at(self, note: bytes) -> None:
        """Is this ours, and does it contradict ours? Then nobody has to be believed."""
        head = open_by_log(note, self._keys())
        ours = self._shown.sealed.published
        if head.size > ours.size:
            expected, actual = f"a size up to {ours.size}", f"{head.size} under our own key"
            halt = Halt(self._shown.book, head.size, "WITNESS_AHEAD", expected, actual)
        else:
            root = await asyncio.to_thread(root_at, head.size, self._read_tile)
            if root == head.root:
                return  # as we signed it: there is nothing but the witness's word
            halt = Halt(self._shown.book, head.size, "FORKED", root.hex(), head.root.hex())
        await self._prove(halt, our_lines(note, self._keys()))


def refuse_other_times(
    signed: Sequence[VerifiedSignature], asked_s: Sequence[int], answered_s: Sequence[int]
) -> None:
    """NotCosigned for a time that is not now, by one of the clocks read before and after asking.

    Readers take a cosignature's time for when the log stood so, and not every time is a date.
    """
    for one in signed:
        at_s = one.timestamp_s or 0
        spans = zip(asked_s, answered_s, strict=True)
        if not any(asked - MAX_SKEW_S <= at_s <= now + MAX_SKEW_S for asked, now in spans):
            raise NotCosigned(
                f"cosignature of {one}: expected a time within {MAX_SKEW_S} s of ours,"
                f" {answered_s[0]}, got {at_s}"
            )


def our_lines(note: bytes, keys: Sequence[Verifier]) -> bytes:
    """The checkpoint with our own verified signatures alone."""
    opened = open_note(note, keys)
    known = {(one.name, one.key_id) for one in opened.verified}
    lines = []
    for line in note.decode().rpartition("\n\n")[2].removesuffix("\n").split("\n"):
        (signed,) = parse_note(f"x\n\n{line}\n".encode())[1]
        if (signed.name, signed.key_id) in known:
            known.discard((signed.name, signed.key_id))
            lines.append(f"{line}\n")
    return sign_note(opened.text, lines)


def _words(body: bytes) -> str:
    """Foreign text, fit for a log line."""
    text = body[:160].decode("utf-8", "replace").strip()
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


class Doubt:
    """Of one log: what was found outside of its folding, and halts it all the same."""

    def __init__(self, accepted: Callable[[Halt], bool]) -> None:
        self._accepted = accepted
        self._halts: asyncio.Queue[Halt] = asyncio.Queue(maxsize=1)

    def tell(self, halt: Halt) -> None:
        """The first one counts; while it stands, others would say the same."""
        if not self._halts.full():
            self._halts.put_nowait(halt)

    async def told(self) -> NoReturn:
        """Raises Halted once there is a reason that two persons have not accepted."""
        while True:
            halt = await self._halts.get()
            if not self._accepted(halt):
                raise Halted(halt)
