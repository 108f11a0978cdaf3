"""What the bank does towards the clearing house: hears what it is asked, and tells what it owes.

One round after the other, for ever. Whatever was lost on the way is found by asking: an instruction
that is still open was not answered, a line in a break was not advised, a day that is not stated was
not heard of. Then it is told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cli.bank_client import BankDesk
from cli.banksim.bank import ADVICE, ANSWER, STATEMENT, Bank
from cli.banksim.store import Message
from cli.banksim.words import Words
from cli.clients import Account, Books, Entry, Leg, Outcome, Persona
from kernel.clock import Clock
from kernel.errors import Conflict, Fault, Refused
from kernel.ids import derived_id
from kernel.logs import get_logger
from kernel.values import Act

ROUND_S: Final = 0.2
MAX_A_ROUND: Final = 500  # messages; advices among them go in one call
AGAIN_AFTER_MS: Final = 3000  # an answer takes a moment to be seen
# Said once more under another id, or by a bank that had forgotten: the clearing house has it.
KNOWN_ALREADY: Final = frozenset({"LINE_BOOKED", "WITHDRAWAL_NOT_OPEN", "STATEMENT_BOOKED"})
# Of the moment: another sending may be taken.
NOT_YET: Final = frozenset(
    {
        *("ON_IN_FUTURE", "ID_FROM_FUTURE", "ACT_KEY_UNKNOWN", "BOOK_HALTED", "STATEMENT_EARLY"),
        *("STATEMENT_GAP", "STATEMENT_PART_ORDER"),
    }
)

log = get_logger(__name__)


class Sender:
    """The bank at work; `run` ends with its task."""

    def __init__(self, bank: Bank, words: Words, books: Books, clock: Clock) -> None:
        self._bank = bank
        self._store = bank.store
        self._words = words
        self._books = books
        self._clock = clock
        terms = bank.terms
        self._desk = BankDesk(books, terms.clearing_house, terms.asset, terms.bank)
        self._who = Persona(f"teller of {terms.bank}", (f"bank:{terms.bank}",))
        self._too_old = False  # whether advices may be booked back into their day

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except (Conflict, Fault, Refused) as error:  # away, or not up yet: next round
                log.info("bank_sim.postponed", error=str(error))
                self._books.forget_tokens()
            await asyncio.sleep(ROUND_S)

    async def round(self) -> None:
        now_ms = self._clock.now_ms()
        self._bank.close_days(now_ms)
        await self._hear(now_ms)
        due = self._store.due_messages(now_ms, MAX_A_ROUND)
        going = [one for one in due if self._goes_now(one, now_ms)]
        self._store.sending([one.name for one in going])
        await self._advise([one for one in going if one.kind == ADVICE])
        for one in going:
            if one.kind == ANSWER:
                await self._say(one, await self._answer(one))
            elif one.kind == STATEMENT:
                await self._say(one, await self._state(one))

    # ---- asking ---------------------------------------------------------------------------------

    async def _hear(self, now_ms: int) -> None:
        standing = await self._desk.standing(self._who)
        if standing is None:
            return
        for asked in await self._desk.open_withdrawals(self._who, instructed=True):
            self._bank.answer(asked, now_ms)
            self._again(f"{ANSWER} {asked.withdrawal}", now_ms)
        for one in standing.breaks:
            for number, _ in one.theirs:
                line = self._store.line(number)
                if line is not None:
                    kind = ADVICE if line.withdrawal is None else ANSWER
                    self._again(f"{kind} {line.withdrawal or number}", now_ms)
        for day in self._store.statement_days(standing.stated_day):
            self._again(f"{STATEMENT} {day}", now_ms)

    def _again(self, name: str, now_ms: int) -> None:
        if self._store.send_again(name, now_ms, AGAIN_AFTER_MS):
            self._store.count("sent again")

    # ---- telling --------------------------------------------------------------------------------

    def _goes_now(self, one: Message, now_ms: int) -> bool:
        fate = self._bank.chance.fate(one.name, one.sendings)
        if fate.delay_ms and now_ms < one.made_ms + fate.delay_ms and not one.sendings:
            self._store.postpone(one.name, one.made_ms + fate.delay_ms)
            self._store.count("delayed")
            return False
        if fate.lost:
            self._store.sending([one.name])
            self._store.sent([one.name], now_ms, "lost")
            self._store.count("lost")
            return False
        return True

    async def _advise(self, going: Sequence[Message]) -> None:
        """Many advices in one call, as everybody's entries; a doubled one in it twice."""
        if not going:
            return
        copies = [(one, again) for one in going for again in range(self._copies(one))]
        entries = [self._entry(one, again) for one, again in copies]
        outcomes = await self._books.post_entries(self._who, entries)
        for (one, again), outcome in zip(copies, outcomes, strict=True):
            if outcome.reason == "ON_TOO_OLD":
                self._too_old = True
            if not again:
                await self._say(one, [outcome])

    def _entry(self, one: Message, again: int) -> Entry:
        line = self._store.line(one.subject)
        if line is None:
            raise Fault(f"no line {one.subject} in the bank's own books")
        terms = self._bank.terms
        external = Account(terms.clearing_house, "external", terms.bank)
        leg = Leg(external, Account(line.holder), terms.asset, line.amount_fen)
        act = self._words.advice(line.holder, line.amount_fen, line.line)
        on_ms = None if self._too_old else line.at_ms
        return Entry(self._id(one, again), (leg,), on_ms, acts=(act,))

    async def _answer(self, one: Message) -> list[Outcome]:
        answer = self._store.answer(one.subject)
        if answer is None:
            raise Fault(f"no answer to {one.subject} in the bank's own books")
        outcomes = []
        for again in range(self._copies(one)):
            id, asked = self._id(one, again), answer.withdrawal
            if answer.reason is not None:
                act = self._words.refusal(asked, answer.amount_fen, answer.reason)
                outcomes.append(await self._desk.give_back(self._who, id, asked, act))
                continue
            outcomes.append(await self._confirm(id, asked, answer.account, answer.amount_fen))
        return outcomes[:1]

    async def _confirm(self, id: str, asked: str, account: str, amount_fen: int) -> Outcome:
        line = self._store.line_of(asked)
        if line is None:
            raise Fault(f"no line for {asked} in the bank's own books")
        act = self._words.confirmation(asked, account, amount_fen, line.line)
        on_ms = None if self._too_old else line.at_ms
        outcome = await self._desk.confirm(self._who, id, asked, act, on_ms)
        self._too_old = self._too_old or outcome.reason == "ON_TOO_OLD"
        return outcome

    async def _state(self, one: Message) -> list[Outcome]:
        balances = self._store.statement(one.subject)
        if balances is None:
            raise Fault(f"no statement of {one.subject} in the bank's own books")
        acts = self._words.statement(one.subject, balances[0], self._store.of_day(one.subject))
        outcomes: list[Outcome] = []
        for again in range(self._copies(one)):
            outcomes = [await self._part(one, again, n, act) for n, act in enumerate(acts)]
        return outcomes

    async def _part(self, one: Message, again: int, number: int, act: Act) -> Outcome:
        return await self._desk.state(self._who, self._id(one, again, number), act)

    def _copies(self, one: Message) -> int:
        doubled = self._bank.chance.fate(one.name, one.sendings).doubled
        if doubled:
            self._store.count("doubled")
        return 1 + doubled

    def _id(self, one: Message, again: int, part: int = 0) -> str:
        """Another one for every sending: what protects from doing it twice is the bank's number."""
        return derived_id(one.made_ms, "bank-sim", one.name, one.sendings, again, part)

    async def _say(self, one: Message, outcomes: Sequence[Outcome]) -> None:
        """Notes what was heard; a crash before this sends it again."""
        now_ms = self._clock.now_ms()
        bad = next((out for out in outcomes if not out.accepted), None)
        reason = "" if bad is None else bad.reason
        if reason in NOT_YET or reason == "ON_TOO_OLD":
            self._store.postpone(one.name, now_ms + AGAIN_AFTER_MS)
            return
        heard = "booked" if not reason else "known" if reason in KNOWN_ALREADY else reason
        if heard == reason and bad is not None:
            log.warning("bank_sim.refused", message=one.name, reason=reason, error=bad.message)
        self._store.sent([one.name], now_ms, heard)
