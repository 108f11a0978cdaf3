"""Random entries, holds, issues and retirements against a deliberately naive model.

The model keeps one list of single serials per account and one number of fen; it knows nothing of
blocks, legs or drafts. After every step the books must agree with it, unit by unit and in order,
and keep what domain section 2 says of all books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.errors import Refused
from kernel.ids import derived_id
from kernel.values import Act, Caller
from services.accounts.domain.commands import (
    ExpireHold,
    PlaceHold,
    PostEntry,
    PostHold,
    ReleaseHold,
)
from services.accounts.domain.decide import due
from services.accounts.domain.events import Account, Leg, Purpose, SerialRange
from tests.support.books import person
from tests.support.lanzhou import (
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    QINWANGCHUAN,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
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

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
EVERYBODY = person("a trustee of all three", holders=HOLDERS)

holders = st.sampled_from(HOLDERS)
amounts = st.integers(1, 12)
Unit = tuple[str, int]  # batch, serial


class Books(RuleBasedStateMachine):
    """The accounts book and the model beside it."""

    @initialize()
    def begin(self) -> None:
        self.book = the_place()
        self.units: dict[Account, list[Unit]] = defaultdict(list)
        self.fen: dict[Account, int] = defaultdict(int)
        self.holds: dict[str, tuple[str, Account, str, int, int | None]] = {}
        self.issued_t = self.paid_in_fen = self.numbered = 0

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
            reason = None
        except Refused as refused:
            reason = refused.reason
        assert reason == expected, (command, reason, expected)

    def lacks(self, legs: Sequence[Leg]) -> bool:
        """Would one of these moves, one after the other, take more than is there?"""
        units, fen = {k: len(v) for k, v in self.units.items()}, dict(self.fen)
        for one in legs:
            have = units if one.asset == TICKET else fen
            if have.get(one.debit, 0) < one.amount:
                return True
            have[one.debit] = have.get(one.debit, 0) - one.amount
            have[one.credit] = have.get(one.credit, 0) + one.amount
        return False

    def move(self, legs: Sequence[Leg]) -> None:
        for one in legs:
            if one.asset == CNY:
                self.fen[one.debit] -= one.amount
                self.fen[one.credit] += one.amount
                continue
            source = self.units[one.debit]
            if one.serials:
                taken = [(b.batch, n) for b in one.serials for n in range(b.first, b.last + 1)]
            else:
                taken = source[: one.amount]
            self.units[one.debit] = [unit for unit in source if unit not in taken]
            self.units[one.credit] = self.units[one.credit] + taken

    def post(self, legs: Sequence[Leg], caller: Caller = EVERYBODY, **entry: Any) -> None:
        acts = entry.pop("acts", ())
        short = self.lacks(legs)
        expected = "INSUFFICIENT_BALANCE" if short else None
        self.carry_out(PostEntry(list(legs), **entry), caller, expected, acts=acts)
        if not short:
            self.move(legs)

    @rule(first=st.integers(1, 1000), shares=st.dictionaries(holders, amounts, min_size=1))
    def issues(self, first: int, shares: dict[str, int]) -> None:
        batch = f"LZXQ-{self.number()}"
        issue(self.book, batch, shares, first)
        for holder, amount in shares.items():
            fresh = [(batch, n) for n in range(first, first + amount)]
            self.units[available(holder)] = self.units[available(holder)] + fresh
            first += amount
            self.issued_t += amount

    @rule(holder=holders, amount_fen=st.integers(1, 10_000))
    def pays_in(self, holder: str, amount_fen: int) -> None:
        deposit(self.book, holder, amount_fen, f"line {self.number()}")
        self.fen[available(holder)] += amount_fen
        self.paid_in_fen += amount_fen

    @rule(
        moves=st.lists(
            st.tuples(holders, holders, amounts, st.sampled_from([TICKET, CNY])),
            min_size=1,
            max_size=4,
        )
    )
    def transfers(self, moves: list[tuple[str, str, int, str]]) -> None:
        legs = [leg(n, asset, available(a), available(b)) for a, b, n, asset in moves if a != b]
        if legs:
            self.post(legs)

    @rule(holder=holders, to=holders, data=st.data())
    def names_serials(self, holder: str, to: str, data: st.DataObject) -> None:
        mine = self.units[available(holder)]
        if holder == to or not mine:
            return
        wanted = data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=4, unique=True))
        ranges = [SerialRange(batch, n, n) for batch, n in wanted]
        self.post([leg(len(wanted), TICKET, available(holder), available(to), *ranges)])

    @rule(holder=holders, to=holders, batch=st.integers(1, 5), serial=st.integers(1, 1000))
    def names_a_serial_blindly(self, holder: str, to: str, batch: int, serial: int) -> None:
        if holder == to:
            return
        unit = (f"LZXQ-{batch}", serial)
        mine = self.units[available(holder)]
        legs = [leg(1, TICKET, available(holder), available(to), SerialRange(*unit, serial))]
        if unit in mine:
            self.post(legs)
            return
        expected = "SERIALS_NOT_HELD" if mine else "INSUFFICIENT_BALANCE"
        self.carry_out(PostEntry(legs), EVERYBODY, expected)

    @rule(holder=holders, amount=amounts)
    def retires(self, holder: str, amount: int) -> None:
        self.post([leg(amount, TICKET, available(holder), retired(holder))], claim=CLAIM)

    @rule(holder=holders, amount=amounts)
    def takes_back_what_is_retired(self, holder: str, amount: int) -> None:
        back = PostEntry([leg(amount, TICKET, retired(holder), available(holder))])
        self.carry_out(back, EVERYBODY, "TERMINAL")

    @rule(holder=holders, amount=amounts, asset=st.sampled_from([TICKET, CNY]))
    def allocates(self, holder: str, amount: int, asset: str) -> None:
        self.post([leg(amount, asset, available(holder), trading(holder))])

    @rule(holder=holders, amount=amounts, asset=st.sampled_from([TICKET, CNY]))
    def is_released_by_the_venue(self, holder: str, amount: int, asset: str) -> None:
        self.post([leg(amount, asset, trading(holder), available(holder))], EXCHANGE)

    @rule(
        deals=st.lists(
            st.tuples(holders, holders, st.integers(1, 4), st.integers(1, 3)),
            min_size=1,
            max_size=3,
        )
    )
    def settles(self, deals: list[tuple[str, str, int, int]]) -> None:
        named = [(f"trade {self.number()}", *deal) for deal in deals if deal[0] != deal[1]]
        if named:
            self.post(settlement_entry(*named).legs, EXCHANGE, acts=[settlement(*named)])

    @rule(
        holder=holders,
        to=holders,
        amount=amounts,
        asset=st.sampled_from([TICKET, CNY]),
        life_ms=st.one_of(st.none(), st.integers(1, 5000)),
    )
    def places_a_hold(
        self, holder: str, to: str, amount: int, asset: str, life_ms: int | None
    ) -> None:
        at_ms = self.book.clock.now_ms()
        id = derived_id(at_ms, "hold", self.number())
        expires_at_ms = None if life_ms is None else at_ms + life_ms
        held = Account(holder, Purpose.HELD, id)
        legs = [leg(amount, asset, available(holder), held)]
        short = self.lacks(legs)
        command = PlaceHold(holder, asset, amount, [], available(to), expires_at_ms)
        self.carry_out(command, EVERYBODY, "INSUFFICIENT_BALANCE" if short else None, id=id)
        if not short:
            self.move(legs)
            self.holds[id] = (asset, held, to, amount, expires_at_ms)

    @rule(data=st.data(), amount=amounts, release=st.booleans())
    def ends_a_hold(self, data: st.DataObject, amount: int, release: bool) -> None:
        if not self.holds:
            return
        id = data.draw(st.sampled_from(sorted(self.holds)))
        *_, held_amount, expires_at_ms = self.holds[id]
        command = ReleaseHold(id) if release else PostHold(id, amount)
        paid = 0 if release else amount
        if expires_at_ms is not None and expires_at_ms <= self.book.clock.now_ms():
            self.carry_out(command, EVERYBODY, "HOLD_EXPIRED")
        elif paid > held_amount:
            self.carry_out(command, EVERYBODY, "INSUFFICIENT_HOLD")
        else:
            self.carry_out(command, EVERYBODY, None)
            self.end(id, paid)

    def end(self, id: str, paid: int) -> None:
        asset, held, to, amount, _ = self.holds.pop(id)
        legs = [
            leg(paid, asset, held, available(to)),
            leg(amount - paid, asset, held, available(held.holder)),
        ]
        self.move([one for one in legs if one.amount])

    @rule(by_ms=st.integers(1, 3000))
    def time_passes(self, by_ms: int) -> None:
        self.book.clock.at_ms += by_ms

    @rule()
    def timers_run(self) -> None:
        at_ms = self.book.clock.now_ms()
        for _, _, command in list(due(self.book.state, at_ms)):
            assert isinstance(command, ExpireHold)
            self.carry_out(command, SYSTEM, None)
            self.end(command.hold, 0)
        assert all(one[4] is None or one[4] > at_ms for one in self.holds.values())

    @invariant()
    def the_books_agree_with_the_model(self) -> None:
        if not hasattr(self, "book"):
            return
        units: dict[Account, list[Unit]] = {}
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
                units[account] = [
                    (block.batch, n)
                    for block in holding.blocks
                    for n in range(block.first, block.last + 1)
                ]
        assert units == {account: found for account, found in self.units.items() if found}
        assert fen == {account: found for account, found in self.fen.items() if found}
        assert set(self.book.state.holds) == set(self.holds)

    @invariant()
    def what_must_hold_of_all_books_holds(self) -> None:
        if hasattr(self, "book"):
            check_books(self.book)


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestBooks = Books.TestCase
