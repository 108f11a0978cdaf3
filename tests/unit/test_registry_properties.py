"""Random claims, issuances, pledges and releases against a deliberately naive model.

The model keeps single days of a site, single tonnes of a verification and single serials of a lien;
it knows nothing of intervals, ranges or processes. After every step the book must agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.errors import Refused
from kernel.values import Act, Caller
from services.registry.domain.commands import (
    ApproveIssuance,
    CompleteIssuance,
    CompletePledge,
    CompleteRelease,
    RefuseIssuance,
    RefusePledge,
    RefuseRelease,
)
from services.registry.domain.events import Lot, SerialRange
from services.registry.domain.serials import cover, covering, uncover, without
from services.registry.domain.state import SerialLien
from tests.support.forest import (
    BATCH,
    CHECKER,
    CLERK,
    MAKER,
    QIN,
    TREASURER,
    ZHONG,
    check_registry,
    pledge,
    pledged_by,
    proposal,
    release,
    released_by,
    stepped,
    verification,
    verified_by,
)
from tests.support.lanzhou import STRANGER, SYSTEM, TICKET, approval

FIRST_DAY = date(2020, 1, 1)
POOL_T = 40  # serials 1..POOL_T of one batch are all there is to pledge

projects = st.sampled_from([QIN, ZHONG])
small = st.integers(1, 8)


def ranges_of(serials: Sequence[int]) -> list[SerialRange]:
    """Single serials as ranges, joined where one follows the other."""
    found: list[SerialRange] = []
    for serial in serials:
        if found and found[-1].last + 1 == serial:
            found[-1] = SerialRange(BATCH, found[-1].first, serial)
        else:
            found.append(SerialRange(BATCH, serial, serial))
    return found


class Registry(RuleBasedStateMachine):
    """The registry book and the model beside it."""

    @initialize()
    def begin(self) -> None:
        self.book = stepped()
        self.days: dict[str, set[int]] = {QIN: set(), ZHONG: set()}
        self.left_t: dict[str, int] = {}
        self.lots: dict[str, dict[str, int]] = {}  # of issuances that wait for the checker
        self.under_way: dict[str, dict[str, int]] = {}
        self.free = list(range(1, POOL_T + 1))
        self.asked: dict[str, int] = {}
        self.liens: dict[str, list[int]] = {}
        self.going: dict[tuple[str, str], int] = {}
        self.numbered = 0

    def number(self) -> int:
        self.numbered += 1
        return self.numbered

    def carry_out(
        self,
        command: msgspec.Struct,
        caller: Caller,
        expected: str | None,
        acts: Sequence[Act] = (),
    ) -> None:
        """Accepted, or refused for the reason the model foresaw."""
        try:
            self.book.when(command, caller, acts=acts, cause=("accounts", self.number()))
            reason = None
        except Refused as refused:
            reason = refused.reason
        assert reason == expected, (command, reason, expected)

    @rule(project=projects, begin=st.integers(0, 60), length=st.integers(1, 20), tonnes=small)
    def verifies(self, project: str, begin: int, length: int, tonnes: int) -> None:
        name, days = f"V-{self.number()}", set(range(begin, begin + length))
        first, last = (FIRST_DAY + timedelta(days=n) for n in (begin, begin + length - 1))
        command = verification(
            project,
            verification=name,
            quantity_t=tonnes,
            period_first=first.isoformat(),
            period_last=last.isoformat(),
        )
        taken = bool(days & self.days[project])
        expected = "REDUCTION_CLAIMED" if taken else None
        self.carry_out(command, MAKER, expected, [verified_by(command)])
        if not taken:
            self.days[project] |= days
            self.left_t[name] = tonnes

    def lacks(self, wanted: dict[str, int]) -> bool:
        return any(quantity_t > self.left_t[name] for name, quantity_t in wanted.items())

    @rule(data=st.data())
    def proposes(self, data: st.DataObject) -> None:
        if not self.left_t:
            return
        some = st.dictionaries(st.sampled_from(sorted(self.left_t)), small, min_size=1, max_size=3)
        wanted, name = data.draw(some), f"I-{self.number()}"
        lots = [Lot(quantity_t, one) for one, quantity_t in wanted.items()]
        lacking = self.lacks(wanted)
        expected = "ISSUANCE_EXCEEDS_VERIFIED" if lacking else None
        self.carry_out(proposal(name, lots=lots), MAKER, expected)
        if not lacking:
            self.lots[name] = wanted

    @rule(data=st.data())
    def approves(self, data: st.DataObject) -> None:
        if not self.lots:
            return
        name = data.draw(st.sampled_from(sorted(self.lots)))
        wanted = self.lots[name]
        asked = self.book.state.issuances[name].proposed
        owners = [msgspec.structs.asdict(owner) for owner in asked.owners]
        act = approval(asked.batch, {STRANGER: asked.last}, owners=owners)
        lacking = self.lacks(wanted)
        expected = "ISSUANCE_EXCEEDS_VERIFIED" if lacking else None
        self.carry_out(ApproveIssuance(name), CHECKER, expected, [act])
        if not lacking:
            self.under_way[name] = self.lots.pop(name)
            for one, quantity_t in wanted.items():
                self.left_t[one] -= quantity_t

    @rule(data=st.data(), yes=st.booleans())
    def accounts_answers_an_issuance(self, data: st.DataObject, yes: bool) -> None:
        if not self.under_way:
            return
        name = data.draw(st.sampled_from(sorted(self.under_way)))
        wanted = self.under_way.pop(name)
        no = RefuseIssuance(name, "UNKNOWN_HOLDER", "no holder", {})
        self.carry_out(CompleteIssuance(name) if yes else no, SYSTEM, None)
        if not yes:
            for one, quantity_t in wanted.items():
                self.left_t[one] += quantity_t

    @rule(quantity_t=small)
    def asks_for_a_lien(self, quantity_t: int) -> None:
        lien = "l-" + "".join("abcdefghij"[int(digit)] for digit in f"{self.number():016d}")
        command = pledge(lien, quantity_t=quantity_t, loan_fen=1)
        self.carry_out(command, TREASURER, None, pledged_by(command))
        self.asked[lien] = quantity_t

    @rule(data=st.data())
    def accounts_answers_a_pledge(self, data: st.DataObject) -> None:
        if not self.asked:
            return
        lien = data.draw(st.sampled_from(sorted(self.asked)))
        quantity_t = self.asked.pop(lien)
        if quantity_t > len(self.free):
            no = RefusePledge(lien, "INSUFFICIENT_BALANCE", "too little", {})
            self.carry_out(no, SYSTEM, None)
            return
        begin = data.draw(st.integers(0, len(self.free) - quantity_t))
        moved = self.free[begin : begin + quantity_t]
        del self.free[begin : begin + quantity_t]
        self.carry_out(CompletePledge(lien, ranges_of(moved)), SYSTEM, None)
        self.liens[lien] = moved

    @rule(data=st.data(), quantity_t=small)
    def asks_for_a_release(self, data: st.DataObject, quantity_t: int) -> None:
        if not self.liens:
            return
        lien, name = data.draw(st.sampled_from(sorted(self.liens))), f"r-{self.number()}"
        command = release(quantity_t, name, lien)
        going_t = sum(t for (one, _), t in self.going.items() if one == lien)
        short = quantity_t > len(self.liens[lien]) - going_t
        expected = "INSUFFICIENT_PLEDGE" if short else None
        self.carry_out(command, CLERK, expected, [released_by(command)])
        if not short:
            self.going[lien, name] = quantity_t

    @rule(data=st.data(), yes=st.booleans())
    def accounts_answers_a_release(self, data: st.DataObject, yes: bool) -> None:
        if not self.going:
            return
        lien, name = data.draw(st.sampled_from(sorted(self.going)))
        quantity_t = self.going.pop((lien, name))
        if not yes:
            no = RefuseRelease(lien, name, "BALANCE_TOO_LARGE", "too much", {})
            self.carry_out(no, SYSTEM, None)
            return
        held = self.liens[lien]
        moved = data.draw(st.permutations(held))[:quantity_t]
        self.liens[lien] = [serial for serial in held if serial not in moved]
        self.free = sorted(self.free + moved)
        self.carry_out(CompleteRelease(lien, name, ranges_of(moved)), SYSTEM, None)

    @invariant()
    def the_book_agrees_with_the_model(self) -> None:
        if not hasattr(self, "book"):
            return
        state = self.book.state
        assert {name: one.left_t for name, one in state.reductions.items()} == self.left_t
        expected = {serial: lien for lien, serials in self.liens.items() for serial in serials}
        pledged = state.serial_liens.get((TICKET, BATCH), [])
        for serial in range(POOL_T + 2):
            found = covering(pledged, serial)
            assert (None if found is None else found[2]) == expected.get(serial)

    @invariant()
    def what_must_hold_of_all_registries_holds(self) -> None:
        if hasattr(self, "book"):
            check_registry(self.book)


Registry.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRegistry = Registry.TestCase

spans = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 6)).map(
        lambda one: SerialRange(BATCH, one[0], one[0] + one[1])
    ),
    max_size=6,
)


def singles(ranges: Sequence[SerialRange]) -> set[int]:
    return {serial for block in ranges for serial in range(block.first, block.last + 1)}


def disjoint(ranges: Sequence[SerialRange]) -> list[SerialRange]:
    """Those of the ranges that touch none before them."""
    kept: list[SerialRange] = []
    for block in ranges:
        if not singles([block]) & singles(kept):
            kept.append(block)
    return kept


@given(spans, spans)
def test_what_is_left_of_ranges_is_what_was_not_taken(
    held: list[SerialRange], taken: list[SerialRange]
) -> None:
    held = disjoint(held)
    left = without(held, taken)
    assert singles(left) == singles(held) - singles(taken)
    assert len(singles(left)) == sum(block.amount for block in left)


@given(spans, spans)
def test_a_serial_is_found_under_its_lien_until_it_is_taken_out(
    held: list[SerialRange], taken: list[SerialRange]
) -> None:
    pledged: list[SerialLien] = []
    held = disjoint(held)
    for n, block in enumerate(held):
        cover(pledged, block, f"lien {n}")
    for block in taken:
        uncover(pledged, block)
    assert pledged == sorted(pledged)
    for serial in range(50):
        under = [f"lien {n}" for n, block in enumerate(held) if serial in singles([block])]
        found = covering(pledged, serial)
        assert ([] if found is None else [found[2]]) == ([] if serial in singles(taken) else under)
