"""What of a log is shown: with a quorum in the policy, the newest checkpoint witnesses cosigned.

Cosignatures are gathered in rounds: one checkpoint at a time is put before all witnesses, else each
would cosign another size and no size would ever have enough. Sealing waits for none of this.
Nothing here is stored: after a restart the witnesses cosign the last signed checkpoint again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from kernel.clock import monotonic_ms
from kernel.errors import Conflict
from kernel.tlog.checkpoint import Checkpoint, OpenedCheckpoint, parse_checkpoint
from kernel.tlog.note import VerifiedSignature, Verifier, add_lines, parse_note
from kernel.tlog.policy import NONE, Policy
from kernel.waiting import PositionWaiters

ROUND_EVERY_MS: Final = 250  # sealing is faster; what is new after a pause is asked for at once
GRACE_S: Final = 1.0  # for the others, once the quorum is reached
REFRESH_S: Final = 60.0  # without anything new: the cosignatures say that it is so still
WITNESS_WAIT_S: Final = 15.0


class Sealed(Protocol):
    """A log that is signed here, as sealing.py keeps it."""

    note: bytes | None
    published: Checkpoint

    async def proven(self, position: int) -> None: ...
    async def signed_anew(self, note: bytes | None) -> None: ...


class Peer(NamedTuple):
    """A witness that can be asked: where, and by which keys and names the policy knows it."""

    url: str
    names: tuple[str, ...]
    keys: tuple[Verifier, ...]

    @property
    def name(self) -> str:
        return self.names[0]


def peers_of(policy: Policy) -> list[Peer]:
    """One for each address; who has none is fed by somebody else."""
    by_url: dict[str, Peer] = {}
    for name, witness in policy.witnesses.items():
        if witness.url is not None:
            url = witness.url.rstrip("/")
            known = by_url.get(url, Peer(url, (), ()))
            by_url[url] = Peer(url, (*known.names, name), (*known.keys, witness.key))
    return list(by_url.values())


class Round:
    """One checkpoint before all witnesses, and what they have signed of it."""

    def __init__(self, note: bytes, asked: set[str]) -> None:
        self.note = note
        self.head = parse_checkpoint(parse_note(note)[0])
        self.pending = asked  # by address: those whose answer may still come
        self.begun_ms = monotonic_ms()
        self.reached_ms: int | None = None
        self._signed: dict[tuple[str, int], tuple[VerifiedSignature, str]] = {}

    def take(self, opened: OpenedCheckpoint, lines: Sequence[str]) -> None:
        for signed, line in zip(opened.cosignatures, lines, strict=True):
            self._signed[signed.name, signed.key_id] = (signed, line)

    def witnessed(self, policy: Policy) -> bytes | None:
        """The note with every cosignature, once they reach the quorum."""
        if not self._signed or not policy.satisfied_by(one for one, _ in self._signed.values()):
            return None
        if self.reached_ms is None:
            self.reached_ms = monotonic_ms()
        return add_lines(self.note, [line for _, line in self._signed.values()])

    def signers(self) -> set[str]:
        """The key names of those that have cosigned it."""
        return {name for name, _ in self._signed}

    @property
    def settled(self) -> bool:
        """Nothing is gained by waiting for it any longer."""
        if not self.pending:
            return True
        return self.reached_ms is not None and monotonic_ms() - self.reached_ms >= GRACE_S * 1000


class WitnessedLog:
    """One log as it is shown to others: `note`, `published`, `proven`, as of a sealed log."""

    def __init__(self, book: str, sealed: Sealed, policy: Policy) -> None:
        self.book = book
        self.sealed = sealed
        self._policy = policy
        self.round: Round | None = None
        self._witnessed: tuple[Checkpoint, bytes] | None = None
        self._witnessed_ms = 0  # when its round began
        self._waiters = PositionWaiters()
        self.changed = asyncio.Condition()
        self.resting: set[str] = set()  # witnesses that did not answer, and are asked again later

    @property
    def waits(self) -> bool:
        """Whether witnesses decide what is shown."""
        return self._policy.quorum not in (None, NONE)

    @property
    def published(self) -> Checkpoint:
        return self._shown()[0]

    @property
    def note(self) -> bytes | None:
        return self._shown()[1]

    def _shown(self) -> tuple[Checkpoint, bytes | None]:
        sealed, witnessed = self.sealed, self._witnessed
        if self.waits:
            if witnessed is None:
                return Checkpoint(sealed.published.origin, 0, b""), None
            return witnessed
        # Of one size there may be two: signed anew because a key has leaked, say.
        if witnessed is not None and sealed.note and witnessed[1].startswith(sealed.note):
            return witnessed
        return sealed.published, sealed.note

    async def proven(self, position: int) -> None:
        """Waits (bounded) until what is shown covers the position."""
        await self.sealed.proven(position)
        if not self.waits or position < self.published.size:
            return
        try:
            async with asyncio.timeout(WITNESS_WAIT_S):
                await self._waiters.wait(position + 1)
        except TimeoutError:
            raise self.not_witnessed_yet(f"position {position}") from None

    def not_witnessed_yet(self, what: str) -> Conflict:
        """What is signed and not witnessed, and who is missing."""
        found, missing = self.published.size, ", ".join(self.missing()) or "nobody"
        return Conflict(
            "NOT_WITNESSED_YET",
            f"{self.book}: expected {what} under a checkpoint that {self._policy.quorum} witnessed,"
            f" the last one covers {found}: missing {missing}",
        )

    def missing(self) -> list[str]:
        """The witnesses of the policy that have not cosigned what is before them now."""
        signed = set() if self.round is None else self.round.signers()
        return [
            name
            for name, witness in self._policy.witnesses.items()
            if witness.key.name not in signed
        ]

    # ---- rounds ---------------------------------------------------------------------------------

    async def run(self, peers: Sequence[Peer]) -> None:
        """Puts the newest signed checkpoint before the witnesses, again and again."""
        while True:
            await self._something_to_ask()
            note = self.sealed.note
            if note is None:  # signed before the restart, and not reached by the tree yet
                continue
            async with self.changed:
                asked = {peer.url for peer in peers} - self.resting
                self.round = Round(note, asked)
                self.changed.notify_all()
            await self._settled(self.round)
            spent_ms = monotonic_ms() - self.round.begun_ms
            await asyncio.sleep(max(ROUND_EVERY_MS - spent_ms, 0) / 1000)

    async def _something_to_ask(self) -> None:
        """A larger size is signed, or the same by new keys, or what is shown is a minute old."""
        note = None if self.round is None else self.round.note
        try:
            async with asyncio.timeout(None if self.round is None else REFRESH_S):
                await self.sealed.signed_anew(note)
        except TimeoutError:
            return

    async def _settled(self, round: Round) -> None:
        while not round.settled:
            try:
                async with asyncio.timeout(GRACE_S), self.changed:
                    await self.changed.wait_for(lambda: round.settled)
            except TimeoutError:
                continue

    async def next_round(self, after: Round | None) -> Round:
        """The round that is on, once it is another one than `after`."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.round not in (None, after))
            if self.round is None:
                raise TypeError("a round was waited for")
            return self.round

    async def cosigned(self, round: Round, opened: OpenedCheckpoint, lines: Sequence[str]) -> None:
        """A witness has cosigned; late answers count for their own round."""
        round.take(opened, lines)
        note = round.witnessed(self._policy)
        shown = self._witnessed
        size, begun_ms = (0, 0) if shown is None else (shown[0].size, self._witnessed_ms)
        # A late answer does not bring back an older signature of the same size.
        if note is not None and (round.head.size, round.begun_ms) >= (size, begun_ms):
            self._witnessed, self._witnessed_ms = (round.head, note), round.begun_ms
            self._waiters.wake(round.head.size)
