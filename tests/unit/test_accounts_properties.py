"""Random entries, holds, freezes and issues against a naive model, and the ledger's own book.

The model is ten lines: a list of single things for every account. The independent book of the
ledger folds every event too. After every step both must agree with the book on every balance, the
model unit by unit and in order; and what domain section 2 says of all books is kept. The machine is
itself held to planted bugs: it must find each of them, with few steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kernel.errors import Refused
from kernel.ids import derived_id
from kernel.record import Record, encode_record
from kernel.values import Act, Actor, Caller, Context, format_instant
from services.accounts.domain.commands import (
    ExpireHold,
    FreezeUnits,
    PlaceHold,
    PostEntry,
    PostHold,
    ReleaseHold,
    UnfreezeUnits,
)
from services.accounts.domain.decide import decide, due
from services.accounts.domain.events import (
    Account,
    EntryPosted,
    HoldExpired,
    HoldPosted,
    Leg,
    Purpose,
    SerialRange,
    UnitsFrozen,
)
from services.accounts.domain.evolve import evolve
from services.accounts.domain.state import State
from services.ledger.domain.events import KeyRegistered
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    QINWANGCHUAN,
    REGISTRAR,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    Deal,
    admitted,
    available,
    check_books,
    deposit,
    issue,
    leg,
    retired,
    settlement,
    settlement_entry,
    the_place,
    trading,
)
from tests.support.ledgers import Books as LedgerBooks
from tests.support.orders import COURT, COURT_KEY, freeze, unfreeze

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
EVERYBODY = person("a trustee of all three", holders=HOLDERS)
FOUNDERS = Context(
    derived_id(MORNING_MS, "founders"), MORNING_MS, MORNING_MS, SYSTEM, (), None, lambda *_: False
)

holders = st.sampled_from(HOLDERS)
pairs = st.sampled_from(list(permutations(HOLDERS, 2)))  # from, to
assets = st.sampled_from([TICKET, CNY])
amounts = st.integers(1, 12)
Thing = tuple[str, int]  # a unit by batch and serial, a fen by the line it came with and its number


class Naive:
    """The books as a child would keep them: a box for each account, and what lies in it."""

    def __init__(self) -> None:
        self.have: dict[tuple[Account, str], list[Thing]] = defaultdict(list)
        self.frozen: set[str] = set()  # holders of whom nothing moves but home

    def move(self, legs: Sequence[Leg]) -> str | None:
        """Leg after leg, the oldest things first; or why not, and then nothing has moved."""
        have = defaultdict(list, {box: list(things) for box, things in self.have.items()})
        for one in legs:
            source = have[one.debit, one.asset]
            taken = named(one) or source[: one.amount]
            if len(taken) < one.amount or not set(taken) <= set(source):
                return "INSUFFICIENT_BALANCE"
            if one.debit.holder in self.frozen and one.credit != available(one.debit.holder):
                return "FROZEN"
            have[one.debit, one.asset] = [thing for thing in source if thing not in set(taken)]
            have[one.credit, one.asset] = have[one.credit, one.asset] + taken
        self.have = have
        return None


def named(leg: Leg) -> list[Thing]:
    return [(b.batch, n) for b in leg.serials for n in range(b.first, b.last + 1)]


class SecondPair:
    """The ledger's own book, told every event as it would be recorded."""

    def __init__(self) -> None:
        self.books = LedgerBooks()
        self.told = 0

    @property
    def balances(self) -> dict[tuple[str, str, str, str], int]:
        return self.books.accounts.balances

    def tell(self, event: msgspec.Struct, context: Context) -> None:
        """Checks it and takes it, from the very bytes that would be stored."""
        record = Record(
            acts=sorted(context.acts) if context.acts else msgspec.UNSET,
            actor=context.caller.actor,
            at=format_instant(context.at_ms),
            body=event,
            book="accounts",
            by=context.id,
            cause=context.cause,
            on=format_instant(context.on_ms),
            position=self.told,
            type=type(event).__name__,
            v=1,
        )
        self.told += 1
        self.books.fold("accounts", [encode_record(record)])

    def admit(self, key: msgspec.Struct) -> tuple[str, int]:
        """The directory has it, as two persons would have had it registered; answers where."""
        fields = {name: getattr(key, name) for name in key.__struct_fields__}
        registered = KeyRegistered(proposal="p", proposed_by=Actor("lanzhou", "wang"), **fields)
        known = self.books.ledger
        known.registered_at[registered.key_id] = len(known.registered)
        known.registered[registered.key_id] = registered
        return "ledger", known.registered_at[registered.key_id]


class Books(RuleBasedStateMachine):
    """The accounts book, and the model and the ledger's book beside it."""

    evolve: Callable[[State, Any], None] = staticmethod(evolve)

    @initialize(endowed=st.booleans())
    def begin(self, endowed: bool) -> None:
        self.asked = FOUNDERS
        self.second = SecondPair()
        self.book = the_place(self.decide, type(self).evolve).given(admitted(COURT_KEY, COURT))
        for event in self.book.history:
            is_key = type(event).__name__ == "KeyAdmitted"
            cause = self.second.admit(event) if is_key else None
            self.second.tell(event, msgspec.structs.replace(FOUNDERS, cause=cause))
        self.naive = Naive()
        self.holds: dict[str, tuple[str, Account, str, int, int | None]] = {}
        self.settled: list[Deal] = []
        self.freezes: list[tuple[str, str]] = []  # holder, and the court's name of it
        self.issued_t = self.paid_in_fen = self.numbered = 0
        if endowed:
            self.endow()

    def endow(self) -> None:
        """Everybody has some of both, part of it at the venue."""
        self.issues(1, dict.fromkeys(HOLDERS, 20))
        for holder in HOLDERS:
            self.pays_in(holder, 40)
            self.allocates(holder, 10, TICKET)
            self.allocates(holder, 20, CNY)

    def decide(self, state: State, command: msgspec.Struct, context: Context) -> Sequence[Any]:
        self.asked = context
        return decide(state, command, context)

    def tell(self) -> None:
        """The second pair of eyes sees what the command just carried out has given."""
        for event in self.book.history[self.second.told :]:
            self.second.tell(event, self.asked)

    def number(self) -> int:
        self.numbered += 1
        return self.numbered

    def carry_out(
        self,
        command: msgspec.Struct,
        caller: Caller,
        expected: str | None,
        *,
        acts: Sequence[Act] = (),
        id: str | None = None,
    ) -> None:
        """Accepted, or refused for the reason the model foresaw."""
        try:
            self.book.when(command, caller, acts=acts, id=id)
            self.tell()
            reason = None
        except Refused as refused:
            reason = refused.reason
        assert reason == expected, (command, reason, expected)

    def post(self, legs: Sequence[Leg], caller: Caller = EVERYBODY, **entry: Any) -> bool:
        acts = entry.pop("acts", ())
        expected = self.naive.move(legs)
        self.carry_out(PostEntry(list(legs), **entry), caller, expected, acts=acts)
        return expected is None

    @rule(first=st.integers(1, 1000), shares=st.dictionaries(holders, amounts, min_size=1))
    def issues(self, first: int, shares: dict[str, int]) -> None:
        batch = f"LZXQ-{self.number()}"
        issue(self.book, batch, shares, first)
        self.tell()
        for holder, amount in shares.items():
            self.naive.have[available(holder), TICKET] += things(batch, first, amount)
            first += amount
            self.issued_t += amount

    @rule(holder=holders, amount_fen=st.integers(1, 60))
    def pays_in(self, holder: str, amount_fen: int) -> None:
        line = f"line {self.number()}"
        deposit(self.book, holder, amount_fen, line)
        self.tell()
        self.naive.have[available(holder), CNY] += things(line, 1, amount_fen)
        self.paid_in_fen += amount_fen

    @rule(
        moves=st.lists(
            st.tuples(pairs, amounts, assets),
            min_size=1,
            max_size=4,
        )
    )
    def transfers(self, moves: list[tuple[tuple[str, str], int, str]]) -> None:
        self.post([leg(n, asset, available(a), available(b)) for (a, b), n, asset in moves])

    @precondition(lambda self: self.owners())
    @rule(data=st.data())
    def names_serials(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.owners()))
        to = data.draw(st.sampled_from([one for one in HOLDERS if one != holder]))
        mine = self.naive.have[available(holder), TICKET]
        wanted = data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=4, unique=True))
        ranges = [SerialRange(batch, n, n) for batch, n in wanted]
        self.post([leg(len(wanted), TICKET, available(holder), available(to), *ranges)])

    def owners(self) -> list[str]:
        return [one for one in HOLDERS if self.naive.have[available(one), TICKET]]

    @rule(pair=pairs, batch=st.integers(1, 5), serial=st.integers(1, 1000))
    def names_a_serial_blindly(self, pair: tuple[str, str], batch: int, serial: int) -> None:
        holder, to = pair
        unit = (f"LZXQ-{batch}", serial)
        mine = self.naive.have[available(holder), TICKET]
        legs = [leg(1, TICKET, available(holder), available(to), SerialRange(*unit, serial))]
        if unit in mine:
            self.post(legs)
            return
        expected = "SERIALS_NOT_HELD" if mine else "INSUFFICIENT_BALANCE"
        if mine and holder in self.naive.frozen:
            expected = "FROZEN"
        self.carry_out(PostEntry(legs), EVERYBODY, expected)

    @rule(holder=holders, amount=amounts)
    def retires(self, holder: str, amount: int) -> None:
        self.post([leg(amount, TICKET, available(holder), retired(holder))], claim=CLAIM)

    @rule(holder=holders, amount=amounts)
    def takes_back_what_is_retired(self, holder: str, amount: int) -> None:
        back = PostEntry([leg(amount, TICKET, retired(holder), available(holder))])
        self.carry_out(back, EVERYBODY, "TERMINAL")

    @rule(holder=holders, amount=amounts, asset=assets)
    def allocates(self, holder: str, amount: int, asset: str) -> None:
        self.post([leg(amount, asset, available(holder), trading(holder))])

    @rule(holder=holders, amount=amounts, asset=assets)
    def is_released_by_the_venue(self, holder: str, amount: int, asset: str) -> None:
        self.post([leg(amount, asset, trading(holder), available(holder))], EXCHANGE)

    @rule(
        deals=st.lists(
            st.tuples(pairs, st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3
        )
    )
    def settles(self, deals: list[tuple[tuple[str, str], int, int]]) -> None:
        made = [(f"trade {self.number()}", *pair, t, fen) for pair, t, fen in deals]
        if self.post(settlement_entry(*made).legs, EXCHANGE, acts=[settlement(*made)]):
            self.settled += made

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def settles_a_trade_again(self, data: st.DataObject) -> None:
        trade = data.draw(st.sampled_from(self.settled))
        acts = [settlement(trade)]
        self.carry_out(settlement_entry(trade), EXCHANGE, "TRADE_SETTLED", acts=acts)

    @rule(
        pair=pairs | st.tuples(holders, holders),
        amount=amounts,
        asset=assets,
        life_ms=st.sampled_from([None, 1, 1000, 5000]),
    )
    def places_a_hold(
        self, pair: tuple[str, str], amount: int, asset: str, life_ms: int | None
    ) -> None:
        holder, to = pair
        at_ms = self.book.clock.now_ms()
        id = derived_id(at_ms, "hold", self.number())
        expires_at_ms = None if life_ms is None else at_ms + life_ms
        held = Account(holder, Purpose.HELD, id)
        expected = self.naive.move([leg(amount, asset, available(holder), held)])
        command = PlaceHold(holder, asset, amount, [], available(to), expires_at_ms)
        self.carry_out(command, EVERYBODY, expected, id=id)
        if expected is None:
            self.holds[id] = (asset, held, to, amount, expires_at_ms)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), amount=amounts, release=st.booleans())
    def ends_a_hold(self, data: st.DataObject, amount: int, release: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.holds)))
        *_, held_amount, expires_at_ms = self.holds[id]
        command = ReleaseHold(id) if release else PostHold(id, amount)
        paid = 0 if release else amount
        if expires_at_ms is not None and expires_at_ms <= self.book.clock.now_ms():
            self.carry_out(command, EVERYBODY, "HOLD_EXPIRED")
        elif paid > held_amount:
            self.carry_out(command, EVERYBODY, "INSUFFICIENT_HOLD")
        else:
            expected = self.end(id, paid)
            self.carry_out(command, EVERYBODY, expected)

    def end(self, id: str, paid: int) -> str | None:
        asset, held, to, amount, _ = self.holds[id]
        legs = [
            leg(paid, asset, held, available(to)),
            leg(amount - paid, asset, held, available(held.holder)),
        ]
        refused = self.naive.move([one for one in legs if one.amount])
        if refused is None:
            del self.holds[id]
        return refused

    @rule(holder=holders)
    def is_frozen(self, holder: str) -> None:
        """By a court, with all that is theirs: it may come in and go home, and nothing else."""
        name = f"freeze {self.number()}"
        self.carry_out(FreezeUnits(), REGISTRAR, None, acts=[freeze(name, holder=holder)])
        self.naive.frozen.add(holder)
        self.freezes.append((holder, name))

    @precondition(lambda self: self.freezes)
    @rule(data=st.data())
    def is_free_again(self, data: st.DataObject) -> None:
        holder, name = data.draw(st.sampled_from(self.freezes))
        self.carry_out(UnfreezeUnits(), REGISTRAR, None, acts=[unfreeze(name)])
        self.freezes.remove((holder, name))
        if holder not in {one for one, _ in self.freezes}:
            self.naive.frozen.remove(holder)

    @rule(by_ms=st.sampled_from([1, 900, 5000]), told=st.booleans())
    def time_passes(self, by_ms: int, told: bool) -> None:
        """Told or not: a hold is over at its time, even before its timer has run."""
        self.book.clock.at_ms += by_ms
        if told:
            self.timers_run()

    def timers_run(self) -> None:
        at_ms = self.book.clock.now_ms()
        for _, _, command in list(due(self.book.state, at_ms)):
            assert isinstance(command, ExpireHold)
            self.carry_out(command, SYSTEM, self.end(command.hold, 0))
        assert all(one[4] is None or one[4] > at_ms for one in self.holds.values())

    # ---- what is looked at after every step -----------------------------------------------------

    @invariant()
    def the_ledger_is_told_and_agrees_on_every_balance(self) -> None:
        assert self.second.told == len(self.book.history)
        mine = {key: holding.balance for key, holding in self.book.state.accounts.items()}
        assert self.second.balances == mine

    @invariant()
    def the_book_agrees_with_the_model(self) -> None:
        found: dict[tuple[Account, str], list[Thing]] = {}
        fen: dict[Account, int] = {}
        for (holder, asset, purpose, ref), holding in self.book.state.accounts.items():
            account = Account(holder, Purpose(purpose), ref)
            if purpose == Purpose.ISSUED:
                assert holding.balance == -self.issued_t
            elif purpose == Purpose.EXTERNAL:
                assert holding.balance == -self.paid_in_fen
            elif asset == CNY:
                fen[account] = holding.balance
            else:
                blocks = [things(b.batch, b.first, b.amount) for b in holding.blocks]
                found[account, asset] = [thing for block in blocks for thing in block]
        have = {box: lying for box, lying in self.naive.have.items() if lying}
        assert found == {box: lying for box, lying in have.items() if box[1] == TICKET}
        assert fen == {box[0]: len(lying) for box, lying in have.items() if box[1] == CNY}
        assert set(self.book.state.holds) == set(self.holds)

    @invariant()
    def what_must_hold_of_all_books_holds(self) -> None:
        check_books(self.book)


def things(batch: str, first: int, amount: int) -> list[Thing]:
    return [(batch, n) for n in range(first, first + amount)]


def overlooks_a_freeze(state: State, event: Any) -> None:
    if not isinstance(event, UnitsFrozen):
        evolve(state, event)


NO_STEPS = (
    *("state.begin", "state.teardown", "state.the_book_agrees", "state.the_ledger_is_told"),
    "state.what_must_hold",
)


def drops_a_leg(state: State, event: Any) -> None:
    if isinstance(event, EntryPosted) and len(event.legs) > 1:
        event = msgspec.structs.replace(event, legs=event.legs[:-1])
    evolve(state, event)


def keeps_what_was_not_paid_out(state: State, event: Any) -> None:
    """The rest of a hold that was paid out in part does not go back."""
    if isinstance(event, HoldPosted):
        event = msgspec.structs.replace(event, legs=event.legs[:1])
    evolve(state, event)


def gives_back_to_the_payee(state: State, event: Any) -> None:
    if isinstance(event, HoldExpired):
        to = state.holds[event.hold].to
        legs = [msgspec.structs.replace(one, credit=to) for one in event.legs]
        event = msgspec.structs.replace(event, legs=legs)
    evolve(state, event)


def forgets_a_trade(state: State, event: Any) -> None:
    if isinstance(event, EntryPosted) and event.trades:
        event = msgspec.structs.replace(event, trades=event.trades[1:])
    evolve(state, event)


def hunted(bug: Callable[[State, Any], None], *phases: Phase) -> BaseException:
    """What the machine says of a book with this bug in it."""

    class Buggy(Books):
        evolve = staticmethod(bug)

    hunting = settings(
        max_examples=2000,  # it ends with the first one found
        stateful_step_count=20,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=phases,
    )
    with pytest.raises(Exception) as caught:  # an assertion of ours, or a book that cannot go on
        run_state_machine_as_test(Buggy, settings=hunting)
    return caught.value


@pytest.mark.parametrize(
    "bug",
    [
        drops_a_leg,
        keeps_what_was_not_paid_out,
        gives_back_to_the_payee,
        forgets_a_trade,
        overlooks_a_freeze,
    ],
)
def test_a_planted_bug_is_found(bug: Callable[[State, Any], None]) -> None:
    hunted(bug, Phase.generate)


def test_a_found_bug_is_shrunk_to_what_it_takes() -> None:
    """A freeze that is overlooked: somebody is frozen, and moves something."""
    notes = hunted(overlooks_a_freeze, Phase.generate, Phase.shrink).__notes__
    steps = [line for line in notes if line.startswith("state.") and not line.startswith(NO_STEPS)]
    assert [line.partition("(")[0] for line in steps][:1] == ["state.is_frozen"]
    assert len(steps) <= 3, steps


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestBooks = Books.TestCase
