"""Persons and their pseudonyms: enrolling, acting, forgetting.

The actor of a record is in clear for ever, so what a citizen does for herself is recorded under her
pseudonym and never under her token's subject. Enrolling writes the vault first and the event after:
a repeat finds the same pseudonym. Forgetting records the event first and empties the vault after,
and again at the next start. Both go on when their caller hangs up in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kernel.asks import Ask, Result
from kernel.errors import Kind, Refused
from kernel.journal.port import Outcome, Refusal
from kernel.logs import get_logger
from kernel.values import Actor, Caller, check_text
from kernel.writer import Writer
from services.inclusive.config import BOOK
from services.inclusive.domain.commands import ChangeConsent, EnrolCitizen, ForgetCitizen
from services.inclusive.domain.decide import STAFF
from services.inclusive.domain.state import State
from services.inclusive.queries import Rider, Wish
from services.inclusive.rides import RideIndex
from services.inclusive.vault import Vault, new_citizen

ISSUER: Final = f"citizens:{BOOK}"  # of pseudonyms as actors; no token has it
MAX_RIDERS: Final = 50  # of one enrolment
MAX_REF_CHARS: Final = 100

T = TypeVar("T")

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

    def __init__(self, writer: Writer[State], vault: Vault, rides: RideIndex) -> None:
        self._writer = writer
        self._vault = vault
        self._rides = rides
        self._enrolling = asyncio.Lock()
        self._working: set[asyncio.Task[Any]] = set()

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
        return await self._to_the_end(self._enrol_in_turn(caller, wanted))

    async def _enrol_in_turn(self, caller: Caller, wanted: Sequence[Enrolment]) -> list[Enrolled]:
        # One call after the other, so that two of one person do not make two citizens.
        async with self._enrolling:
            return await self._enrol(caller, wanted)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """What the book says and what the vault holds part when one of them is left undone."""
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def _enrol(self, caller: Caller, wanted: Sequence[Enrolment]) -> list[Enrolled]:
        person = None if STAFF in caller.roles else (caller.actor.iss, caller.actor.sub)
        answers: dict[int, Enrolled] = {}
        for i, one in enumerate(wanted):
            if flaw := self._flaw(one, person):
                answers[i] = Enrolled(flaw, "")
        acting = await self.acting(caller)
        past = await self._past(acting, [one.id for one in wanted])
        answers |= {
            i: Enrolled(Result(past[one.id], repeated=True), "")
            for i, one in enumerate(wanted)
            if one.id in past and i not in answers
        }
        places = [i for i in range(len(wanted)) if i not in answers]
        before = await self._before(acting, [wanted[i].id for i in places])
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

    async def _before(self, acting: Caller | None, ids: Sequence[str]) -> dict[str, Outcome]:
        """What was carried out under these ids by this caller: it links nobody a second time."""
        if acting is None or not ids:
            return {}
        return {one.id: one for one in await self._writer.find_outcomes(acting.principal, ids)}

    async def _past(self, acting: Caller | None, ids: Sequence[str]) -> dict[str, Outcome]:
        """What pseudonyms that are not the caller's now had carried out under these ids.

        A late repeat of what she did before she was forgotten: it must neither bring her back nor
        touch what she is called now. Whose it was nobody knows any more: the id alone says it.
        """
        if not ids or (acting is not None and acting.actor.iss != ISSUER):
            return {}
        own = "" if acting is None else acting.principal
        found = await asyncio.to_thread(self._writer.journal.find_outcomes, list(ids))
        return {
            one.id: one
            for one in found
            if one.refusal is None
            and one.principal.startswith(f"{ISSUER} ")
            and one.principal != own
        }

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
        commands = [
            (id, ChangeConsent(self._named(one.citizen, acting), one.measure, one.sell))
            for id, one in wanted
        ]
        return await self._carry_out(acting, commands)

    async def forget(
        self, caller: Caller, wanted: Sequence[tuple[str, ForgetCitizen]]
    ) -> list[Result | Refusal]:
        """The event, then the rows: a crash in between is made good at the next start."""
        return await self._to_the_end(self._forget(caller, wanted))

    async def _forget(
        self, caller: Caller, wanted: Sequence[tuple[str, ForgetCitizen]]
    ) -> list[Result | Refusal]:
        acting = await self.acting(caller)
        names = [self._named(one.citizen, acting) for _, one in wanted]
        commands = [(id, ForgetCitizen(name)) for (id, _), name in zip(wanted, names, strict=True)]
        results = await self._carry_out(acting, commands)
        # A crash here: everybody reads that she is forgotten, and the vault still knows her.
        await self._destroy([name for name in names if self._is_forgotten(name)])
        return results

    async def _carry_out(
        self, acting: Caller | None, commands: Sequence[tuple[str, ChangeConsent | ForgetCitizen]]
    ) -> list[Result | Refusal]:
        """Each one's result; for who has no pseudonym only what is past has one."""
        past = await self._past(acting, [id for id, _ in commands])
        results: list[Result | Refusal] = [
            Result(past[id], repeated=True) if id in past else Refusal.of(_nobody())
            for id, _ in commands
        ]
        new = [i for i, (id, _) in enumerate(commands) if acting is not None and id not in past]
        if acting is not None and new:
            asks = [Ask(commands[i][0], acting, commands[i][1]) for i in new]
            for i, result in zip(new, await self._writer.submit(asks), strict=True):
                results[i] = result
        return results

    def _is_forgotten(self, name: str) -> bool:
        citizen = self._writer.state.citizens.get(name)
        return citizen is not None and citizen.forgotten

    async def _destroy(self, gone: Sequence[str]) -> None:
        """What was left of an earlier attempt goes too: what is gone stays gone."""
        if gone:
            self._rides.drop(gone)
            await self._vault.destroy(gone)

    async def finish_forgetting(self) -> None:
        """At start: what an earlier life recorded and could not carry out any more."""
        gone = [name for name, one in self._writer.state.citizens.items() if one.forgotten]
        if gone:
            await self._vault.destroy(gone)
            log.info("citizens.forgotten", count=len(gone))

    @staticmethod
    def _named(citizen: str, acting: Caller | None) -> str:
        """Staff names somebody; a citizen may leave her own name out."""
        own = acting is not None and acting.actor.iss == ISSUER
        return citizen or (acting.actor.sub if acting is not None and own else "")


def _pseudonymous(citizen: str) -> Caller:
    return Caller(Actor(ISSUER, citizen), frozenset({"citizen"}), frozenset())


def _nobody() -> Refused:
    return Refused("UNKNOWN_CITIZEN", "the caller is not enrolled", Kind.UNKNOWN)


def _taken() -> Refused:
    return Refused("RIDER_TAKEN", "a rider of this enrolment belongs to somebody else")
