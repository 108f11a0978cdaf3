"""Random histories through the read models of accounts, against a fold of one line per move.

The model keeps single serials and numbers by account and knows no anchors, pages or positions of
the database. What the tables answer of every holder at every position, at any business time, and of
any period must be what the model has, wherever the projection was interrupted and begun again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from kernel.errors import InvariantBroken
from kernel.frames import StoredEvent
from kernel.journal.schema import events as journal
from kernel.record import Record, commit, encode_record
from kernel.values import Actor, format_instant
from services.accounts import projections, queries, statements
from services.accounts.domain.events import (
    Account,
    EntryPosted,
    HoldExpired,
    Leg,
    Purpose,
    SerialRange,
)
from services.accounts.holdings import Place
from services.accounts.moments import Clockwork, PeriodAsked, Span
from services.accounts.projections import MovesProjection, decode_moves
from services.accounts.queries import Scope
from services.accounts.tables import anchors, moved_serials, moves
from tests.support.books import MORNING_MS
from tests.support.database import Database
from tests.support.lanzhou import (
    CITY_GROUP,
    CNY,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    ZHONGCHUAN,
)

BOOK = "accounts"
HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
ODD_REF = "hold \\ of 中川"  # a backslash means something to COPY
STEP_MS = 1000

ISSUED = Account(PROGRAMME, Purpose.ISSUED, "")
BANK = Account(CITY_GROUP, Purpose.EXTERNAL, CITY_GROUP)
ACCOUNTS = [
    Account(holder, purpose, ref)
    for holder in HOLDERS
    for purpose, ref in ((Purpose.AVAILABLE, ""), (Purpose.HELD, ODD_REF))
]


class Step(NamedTuple):
    """One thing that happens; what it takes is cut to what is there."""

    kind: str  # issue, pay in, move, or something without legs
    source: int
    target: int
    amount: int
    skip: int  # units that are left alone before those that move
    back: int  # how many steps the business time lies behind
    pause: int  # steps of the clock before it


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["issue", "pay in", "units", "fen", "units", "fen", "nothing"]),
        st.integers(0, len(ACCOUNTS) - 1),
        st.integers(0, len(ACCOUNTS) - 1),
        st.integers(1, 5),
        st.integers(0, 2),
        st.sampled_from([0, 0, 0, 1, 4]),
        st.sampled_from([0, 1, 1, 3]),
    ),
    min_size=1,
    max_size=24,
)


class Moved(NamedTuple):
    position: int
    at_ms: int
    on_ms: int
    leg_no: int
    leg: Leg


class History:
    """Steps as events, and the model's own notes."""

    def __init__(self, happened: Sequence[Step]) -> None:
        self.moved: list[Moved] = []
        self.recorded: list[int] = []  # at, by position
        self.events: list[StoredEvent] = []
        self._units: dict[Account, list[tuple[str, int]]] = defaultdict(list)
        self._fen: dict[Account, int] = defaultdict(int)
        self._batches = 0
        at_ms = MORNING_MS
        for step in happened:
            at_ms += step.pause * STEP_MS
            self._record(at_ms, at_ms - step.back * STEP_MS, self._legs(step))

    def _legs(self, step: Step) -> list[Leg]:
        source, target = ACCOUNTS[step.source], ACCOUNTS[step.target]
        if step.kind == "issue":
            self._batches += 1
            units = [(f"LZXQ-{self._batches}", n) for n in range(1, step.amount + 1)]
            return [self._units_leg(ISSUED, target, units)]
        if step.kind == "pay in":
            return [Leg(step.amount, CNY, target, BANK, [])]
        if source == target or step.kind == "nothing":
            return []
        if step.kind == "fen":
            # There and half of it back: one event may touch an account twice.
            back = max(step.amount // 2, 1)
            return [Leg(step.amount, CNY, target, source, []), Leg(back, CNY, source, target, [])]
        units = self._units[source][step.skip : step.skip + step.amount]
        return [self._units_leg(source, target, units)] if units else []

    def _units_leg(self, source: Account, target: Account, units: Sequence[tuple[str, int]]) -> Leg:
        self._units[source] = [unit for unit in self._units[source] if unit not in units]
        self._units[target] += units
        return Leg(len(units), TICKET, target, source, ranges(units))

    def _record(self, at_ms: int, on_ms: int, legs: list[Leg]) -> None:
        position = len(self.events)
        body: Any = EntryPosted(legs=legs) if legs else HoldExpired("nobody's", [])
        if position % 3 == 0 and legs:  # any event with legs moves value
            body = HoldExpired("somebody's", legs)
        record = encode_record(
            Record(
                actor=Actor("lanzhou", "trustee"),
                at=format_instant(at_ms),
                body=body,
                book=BOOK,
                by="01a1f813-a740-7cca-b14c-6102ab6deb96",
                cause=None,
                on=format_instant(on_ms),
                position=position,
                type=type(body).__name__,
                v=1,
            )
        )
        self.events.append(StoredEvent(position, record, bytes(16), commit(bytes(16), record)))
        self.recorded.append(at_ms)
        self.moved += [Moved(position, at_ms, on_ms, n, leg) for n, leg in enumerate(legs)]

    def fold(self, holder: str, some: Sequence[Moved]) -> dict[Place, int]:
        """The balances of a holder after these moves, one line each."""
        found: dict[Place, int] = defaultdict(int)
        for one in some:
            for account, amount in (
                (one.leg.debit, -one.leg.amount),
                (one.leg.credit, one.leg.amount),
            ):
                if account.holder == holder:
                    found[one.leg.asset, account.purpose.value, account.ref] += amount
        return {place: amount for place, amount in found.items() if amount}

    def units(self, holder: str, some: Sequence[Moved]) -> dict[Place, list[tuple[str, int]]]:
        """Single serials, in the order they came."""
        found: dict[Place, list[tuple[str, int]]] = defaultdict(list)
        for one in some:
            moving = [(b.batch, n) for b in one.leg.serials for n in range(b.first, b.last + 1)]
            for account, comes in ((one.leg.debit, False), (one.leg.credit, True)):
                place = (one.leg.asset, account.purpose.value, account.ref)
                if account.holder == holder:
                    kept = [unit for unit in found[place] if unit not in moving]
                    found[place] = kept + moving * comes
        return {place: units for place, units in found.items() if units}


def ranges(units: Sequence[tuple[str, int]]) -> list[SerialRange]:
    made: list[SerialRange] = []
    for batch, serial in units:
        if made and made[-1].batch == batch and made[-1].last + 1 == serial:
            made[-1] = SerialRange(batch, made[-1].first, serial)
        else:
            made.append(SerialRange(batch, serial, serial))
    return made


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    return database.engine(BOOK)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors every third move and pages of two lines: every boundary is met."""
    monkeypatch.setattr(projections, "ANCHOR_EVERY", 3)
    monkeypatch.setattr(projections, "MOVES_PER_ANCHORED", 1)
    monkeypatch.setattr(statements, "PAGE", 2)


def project(engine: sa.Engine, history: History, cuts: Sequence[int]) -> None:
    """The whole history in batches that end at the cuts; after some of them a new process."""
    with engine.begin() as connection:
        for table in (journal, moves, anchors, moved_serials):
            connection.execute(sa.delete(table))
        rows = [
            {"book": BOOK, "position": e.position, "record": e.record, "salt": e.salt}
            for e in history.events
        ]
        connection.execute(sa.insert(journal), rows)
    ends = sorted({0, *(cut for cut in cuts if cut < len(history.events)), len(history.events)})
    projection = MovesProjection()
    for n, (begin, end) in enumerate(pairwise(ends)):
        if n % 3 == 2:
            projection = MovesProjection()
        with engine.begin() as connection:
            projection.project_moves(
                connection, [decode_moves(event) for event in history.events[begin:end]]
            )


many = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
cut_lists = st.lists(st.integers(1, 24), max_size=6)


@many
@given(happened=steps, cuts=cut_lists)
def test_what_a_holder_had_at_any_position_is_what_all_moves_until_then_add_up_to(
    engine: sa.Engine, happened: list[Step], cuts: list[int]
) -> None:
    history = History(happened)
    project(engine, history, cuts)
    with engine.connect() as connection:
        for position in range(len(history.events)):
            known = [one for one in history.moved if one.position <= position]
            for holder in (*HOLDERS, PROGRAMME):
                found = queries.holdings_at(connection, holder, position).accounts
                amounts = {place: held.amount for place, held in found.items()}
                assert amounts == history.fold(holder, known)
                serials = {place: held.serials for place, held in found.items() if held.serials}
                expected = history.units(holder, known)
                assert {p: units_of(blocks) for p, blocks in serials.items()} == expected
                assert list(found) == sorted(found)


def units_of(blocks: Sequence[SerialRange]) -> list[tuple[str, int]]:
    return [(block.batch, n) for block in blocks for n in range(block.first, block.last + 1)]


@many
@given(happened=steps, cuts=cut_lists)
def test_by_business_time_what_was_dated_back_counts_from_when_it_claims_to_be(
    engine: sa.Engine, happened: list[Step], cuts: list[int]
) -> None:
    history = History(happened)
    project(engine, history, cuts)
    last = len(history.events) - 1
    for on_ms in range(MORNING_MS - 5 * STEP_MS, history.recorded[-1] + 1, STEP_MS):
        recorded = queries.position_at(engine, BOOK, on_ms, last + 1)
        assert recorded == sum(at_ms <= on_ms for at_ms in history.recorded) - 1
        for known in (last // 2, last):
            counted = [m for m in history.moved if m.on_ms <= on_ms and m.position <= known]
            with engine.connect() as connection:
                for holder in HOLDERS:
                    found = queries.holdings_on(
                        connection, holder, on_ms, min(recorded, known), known
                    )
                    amounts = {place: held.amount for place, held in found.accounts.items()}
                    assert amounts == history.fold(holder, counted)


@many
@given(
    happened=steps,
    cuts=cut_lists,
    begin=st.integers(-6, 40),
    length=st.integers(1, 40),
    clock=st.sampled_from([Clockwork.AT, Clockwork.ON]),
    purpose=st.sampled_from(["", "available"]),
)
def test_a_statement_has_every_line_of_its_period_once_in_order_and_adds_up(
    engine: sa.Engine,
    happened: list[Step],
    cuts: list[int],
    begin: int,
    length: int,
    clock: Clockwork,
    purpose: str,
) -> None:
    history = History(happened)
    project(engine, history, cuts)
    from_ms, to_ms = MORNING_MS + begin * STEP_MS, MORNING_MS + (begin + length) * STEP_MS
    last = len(history.events) - 1

    def before(end_ms: int) -> int:
        return queries.position_at(engine, BOOK, end_ms - 1, last + 1)

    def time(one: Moved) -> int:
        return one.on_ms if clock is Clockwork.ON else one.at_ms

    span = Span(before(from_ms), before(to_ms), last if clock is Clockwork.ON else before(to_ms))
    inside = [one for one in history.moved if from_ms <= time(one) < to_ms]
    inside.sort(key=lambda one: (time(one), one.position, one.leg_no))
    for holder in HOLDERS:
        scope = Scope(holder, purpose=purpose)
        openings, lines, closings = statement(
            engine, scope, PeriodAsked(clock, from_ms, to_ms), span
        )
        assert openings == scoped(scope, history.fold(holder, earlier(history, time, from_ms)))
        assert closings == scoped(scope, history.fold(holder, earlier(history, time, to_ms)))
        sides = [
            (one.position, one.leg_no, amount)
            for one in inside
            for account, amount in (
                (one.leg.debit, -one.leg.amount),
                (one.leg.credit, one.leg.amount),
            )
            if account.holder == holder and purpose in ("", account.purpose)
        ]
        assert [(line.position, line.leg_no, line.amount) for line in lines] == sides
        balances = dict(openings)
        for line in lines:
            place = (line.asset, line.account.purpose.value, line.account.ref)
            balances[place] = balances.get(place, 0) + line.amount
            assert line.balance == balances[place]
        assert {place: amount for place, amount in balances.items() if amount} == closings


def earlier(history: History, time: Any, end_ms: int) -> list[Moved]:
    return [one for one in history.moved if time(one) < end_ms]


def scoped(scope: Scope, balances: dict[Place, int]) -> dict[Place, int]:
    return {place: amount for place, amount in balances.items() if scope.holds(place)}


def statement(
    engine: sa.Engine, scope: Scope, period: PeriodAsked, span: Span
) -> tuple[dict[Place, int], list[statements.Line], dict[Place, int]]:
    """A statement in one piece, its parts no longer than a page."""
    parts = list(statements.statement_parts(engine, BOOK, scope, period, span))
    assert all(len(rows) <= statements.PAGE for part in parts for rows in part[:3])
    lines = [line for part in parts for line in part.lines]
    assert [part.total for part in parts if part.total is not None] == [len(lines)]
    openings = dict(one for part in parts for one in part.openings)
    return openings, lines, dict(one for part in parts for one in part.closings)


@many
@given(happened=steps, size=st.integers(1, 5))
def test_pages_of_movements_name_each_leg_once_whichever_side_the_holder_is_on(
    engine: sa.Engine, happened: list[Step], size: int
) -> None:
    history = History(happened)
    project(engine, history, [])
    for holder in HOLDERS:
        expected = [
            (one.position, one.leg_no, one.leg)
            for one in history.moved
            if holder in (one.leg.debit.holder, one.leg.credit.holder)
        ]
        found = [(one.position, one.leg_no, one.leg) for one in pages(engine, holder, size)]
        assert found == expected


def pages(engine: sa.Engine, holder: str, size: int) -> Iterator[queries.Movement]:
    after: tuple[int, ...] = (-1, -1)
    while page := queries.list_movements(engine, BOOK, holder, "", after, size):
        yield from page
        after = (page[-1].position, page[-1].leg_no)


def simple_history() -> History:
    give = Step("pay in", 0, 0, 5, 0, 0, 1)
    return History([give, Step("fen", 0, 2, 3, 0, 0, 1), give, Step("fen", 0, 4, 2, 0, 0, 1)])


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE moves SET amount = amount + 1 WHERE position = 1 AND leg = 0 AND amount < 0",
        "UPDATE moves SET ref = 'elsewhere' WHERE position = 1 AND leg = 0 AND amount < 0",
        "DELETE FROM moves WHERE position = 1 AND leg = 1 AND amount > 0",
    ],
    ids=["another amount", "another account", "a line removed"],
)
def test_a_statement_over_an_edited_read_model_is_not_given(engine: sa.Engine, edit: str) -> None:
    history = simple_history()
    project(engine, history, [])
    period = PeriodAsked(Clockwork.AT, MORNING_MS, None)
    statement(engine, Scope(QINWANGCHUAN), period, Span(-1, 3, 3))
    with engine.begin() as connection:
        connection.execute(sa.text(edit))
    with pytest.raises(InvariantBroken):
        statement(engine, Scope(QINWANGCHUAN), period, Span(-1, 3, 3))
