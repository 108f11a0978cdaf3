"""Persons and their pseudonyms: enrolling, acting, forgetting.

The actor of a record is in clear for ever, so what a citizen does for herself is recorded under her
pseudonym and never under her token's subject. Enrolling writes the vault first and the event after:
a repeat finds the same pseudonym. Forgetting records the event first and empties the vault after,
and again at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from kernel.errors import Kind, Refused
from kernel.journal.port import Outcome, Refusal
from kernel.logs import get_logger
from kernel.values import Actor, Caller, check_text
from kernel.writer import Ask, Result, Writer
from services.inclusive.config import BOOK
from services.inclusive.domain.commands import ChangeConsent, EnrolCitizen, ForgetCitizen
from services.inclusive.domain.decide import STAFF
from services.inclusive.domain.state import State
from services.inclusive.queries import Rider, Wish
from services.inclusive.vault import Vault, new_citizen

ISSUER: Final = f"citizens:{BOOK}"  # of pseudonyms as actors; no token has it
MAX_RIDERS: Final = 50  # of one enrolment
MAX_REF_CHARS: Final = 100

log = get_logger(__name__)


class Enrolment(NamedTuple):
    id: str
    on_ms: int | None
    measure: bool
    sell: bool
    riders: Sequence[Rider]


class Enrolled(NamedTuple):
    """`citizen` is empty where refused."""

    result: Result | Refusal
    citizen: str


class Citizens:
    """What the vault and the writer do together."""

    def __init__(self, writer: Writer[State], vault: Vault) -> None:
        self._writer = writer
        self._vault = vault
        self._enrolling = asyncio.Lock()

    async def own(self, caller: Caller) -> str | None:
        """The caller's own pseudonym."""
        return await self._vault.person((caller.actor.iss, caller.actor.sub))

    async def acting(self, caller: Caller) -> Caller | None:
        """As whom the caller is recorded: staff as themselves, a citizen under her pseudonym."""
        if STAFF in caller.roles:
            return caller
        citizen = await self.own(caller)
        return None if citizen is None else _pseudonymous(citizen)

    async def enrol(self, caller: Caller, wanted: Sequence[Enrolment]) -> list[Enrolled]:
        """Staff enrols riders; a citizen herself, with her riders if she knows them."""
        # One call after the other, so that two of one person do not make two citizens.
        async with self._enrolling:
            return await self._enrol(caller, wanted)

    async def _enrol(self, caller: Caller, wanted: Sequence[Enrolment]) -> list[Enrolled]:
        person = None if STAFF in caller.roles else (caller.actor.iss, caller.actor.sub)
        answers: dict[int, Enrolled] = {}
        for i, one in enumerate(wanted):
            if flaw := self._flaw(one, person):
                answers[i] = Enrolled(flaw, "")
        places = [i for i in range(len(wanted)) if i not in answers]
        before = await self._before(caller, [wanted[i].id for i in places])
        wishes = [
            Wish(person, wanted[i].riders, new_citizen(), wanted[i].id not in before)
            for i in places
        ]
        # A crash here, or before the event: nobody is enrolled, and a repeat finds these links.
        linked = await self._vault.link(wishes) if wishes else []
        asked: list[tuple[int, str, Sequence[Rider]]] = []
        for i, (citizen, added) in zip(places, linked, strict=True):
            if citizen is not None:
                asked.append((i, citizen, added))
            elif wanted[i].id in before:  # carried out, and forgotten since
                answers[i] = Enrolled(Result(before[wanted[i].id], repeated=True), "")
            else:
                answers[i] = Enrolled(Refusal.of(_taken()), "")
        asks = [self._ask(caller, wanted[i], citizen) for i, citizen, _ in asked]
        refused: list[Rider] = []
        results = await self._writer.submit(asks)
        for (i, citizen, added), result in zip(asked, results, strict=True):
            no = result.outcome.refusal is not None
            answers[i] = Enrolled(result, "" if no else citizen)
            refused += added if no else ()
        await self._unlink(refused, {citizen for _, citizen, _ in asked})
        return [answers[i] for i in range(len(wanted))]

    def _flaw(self, one: Enrolment, person: tuple[str, str] | None) -> Refusal | None:
        try:
            if person is None and not one.riders:
                raise Refused("MISSING_VALUE", "riders is missing", Kind.INVALID, field="riders")
            if len(one.riders) > MAX_RIDERS:
                raise Refused(
                    "TOO_MANY_ITEMS",
                    f"expected at most {MAX_RIDERS} riders, got {len(one.riders)}",
                    Kind.INVALID,
                )
            for operator, ref in one.riders:
                check_text(ref, "rider_ref", MAX_REF_CHARS)
                if operator not in self._writer.state.operators:
                    raise Refused(
                        "UNKNOWN_OPERATOR",
                        f"no operator {operator[:40]!r}",
                        Kind.UNKNOWN,
                        operator=operator[:40],
                    )
        except Refused as refused:
            return Refusal.of(refused)
        return None

    def _ask(self, caller: Caller, one: Enrolment, citizen: str) -> Ask:
        actor = caller if STAFF in caller.roles else _pseudonymous(citizen)
        return Ask(one.id, actor, EnrolCitizen(citizen, one.measure, one.sell), one.on_ms)

    async def _before(self, caller: Caller, ids: Sequence[str]) -> dict[str, Outcome]:
        """What was carried out under these ids by this caller: it links nobody a second time."""
        acting = await self.acting(caller)
        if acting is None or not ids:
            return {}
        return {one.id: one for one in await self._writer.find_outcomes(acting.principal, ids)}

    async def _unlink(self, riders: Sequence[Rider], citizens: Collection[str]) -> None:
        """What was refused adds no rider, and of whom nothing was recorded nothing is kept."""
        if riders:
            await self._vault.unlink(riders)
        left = [name for name in citizens if name not in self._writer.state.citizens]
        if left:
            await self._vault.destroy(left)

    async def change_consents(
        self, caller: Caller, wanted: Sequence[tuple[str, ChangeConsent]]
    ) -> list[Result | Refusal]:
        """By command id; an empty citizen is the caller."""
        acting = await self.acting(caller)
        if acting is None:
            return [Refusal.of(_nobody())] * len(wanted)
        asks = [
            Ask(id, acting, ChangeConsent(self._named(one.citizen, acting), one.measure, one.sell))
            for id, one in wanted
        ]
        return list(await self._writer.submit(asks))

    async def forget(
        self, caller: Caller, wanted: Sequence[tuple[str, ForgetCitizen]]
    ) -> list[Result | Refusal]:
        """The event, then the rows: a crash in between is made good at the next start."""
        acting = await self.acting(caller)
        if acting is None:
            return await self._forgotten_before([id for id, _ in wanted])
        names = [self._named(one.citizen, acting) for _, one in wanted]
        asks = [
            Ask(id, acting, ForgetCitizen(name))
            for (id, _), name in zip(wanted, names, strict=True)
        ]
        results = await self._writer.submit(asks)
        done = zip(names, results, strict=True)
        gone = [name for name, result in done if result.outcome.refusal is None]
        # A crash here: everybody reads that she is forgotten, and the vault still knows her.
        if gone:
            await self._vault.destroy(gone)
        return list(results)

    async def _forgotten_before(self, ids: Sequence[str]) -> list[Result | Refusal]:
        """Who repeats this has no pseudonym any more: the id alone says that it was done."""
        found = await asyncio.to_thread(self._writer.journal.find_outcomes, list(ids))
        done = {one.id: one for one in found if one.principal.startswith(f"{ISSUER} ")}
        return [
            Result(done[id], repeated=True) if id in done else Refusal.of(_nobody()) for id in ids
        ]

    async def finish_forgetting(self) -> None:
        """At start: what an earlier life recorded and could not carry out any more."""
        gone = [name for name, one in self._writer.state.citizens.items() if one.forgotten]
        if gone:
            await self._vault.destroy(gone)
            log.info("citizens.forgotten", count=len(gone))

    @staticmethod
    def _named(citizen: str, acting: Caller) -> str:
        """Staff names somebody; a citizen may leave her own name out."""
        return citizen or (acting.actor.sub if acting.actor.iss == ISSUER else "")


def _pseudonymous(citizen: str) -> Caller:
    return Caller(Actor(ISSUER, citizen), frozenset({"citizen"}), frozenset())


def _nobody() -> Refused:
    return Refused("UNKNOWN_CITIZEN", "the caller is not enrolled", Kind.UNKNOWN)


def _taken() -> Refused:
    return Refused("RIDER_TAKEN", "a rider of this enrolment belongs to somebody else")
