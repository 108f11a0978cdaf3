"""An order that takes units out from under a lien: the pledge ends as far as it reached."""

from __future__ import annotations

from services.accounts.domain.events import Account, EntryPosted, Leg, Purpose, TransferPosted
from services.accounts.domain.events import SerialRange as Moved
from services.registry.clients import open_releases
from services.registry.domain.commands import (
    CompletePledge,
    CompleteRelease,
    OverridePledges,
    RefuseRelease,
    TakenLot,
)
from services.registry.domain.events import PledgeOverridden, SerialRange
from services.registry.domain.state import Stage
from services.registry.reactions import react_to_accounts
from services.registry.rpc import _pledge_message
from tests.support.forest import (
    BATCH,
    CLERK,
    LIEN,
    PLEDGED_T,
    check_registry,
    pledge_requested,
    pledged,
    release,
    released_by,
)
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, SYSTEM, TICKET, available
from tests.unit.test_registry_crossings import recorded

COURT = "court:lanzhou"
TAKEN = [SerialRange(BATCH, 1, 300)]


def order(*taken: TakenLot) -> OverridePledges:
    return OverridePledges(COURT, "(2026) 甘01执 88", "case 88", list(taken))


def transfer(*legs: Leg, authority: str = COURT) -> TransferPosted:
    return TransferPosted(
        authority=authority,
        document="(2026) 甘01执 88",
        legs=list(legs),
        nature="court",
        source=CITY_GROUP,
        target=QINWANGCHUAN,
        transfer="case 88",
    )


def taken(amount: int, lien: str, *blocks: Moved) -> Leg:
    return Leg(
        amount,
        TICKET,
        available(QINWANGCHUAN),
        Account(CITY_GROUP, Purpose.PLEDGED, lien),
        list(blocks),
    )


def test_an_order_over_liens_is_read_as_a_lot_per_lien() -> None:
    said = transfer(
        taken(5, "l-bbbb", Moved(BATCH, 9, 13)),
        Leg(7, TICKET, available(QINWANGCHUAN), available(CITY_GROUP), [Moved(BATCH, 20, 26)]),
        taken(2, "l-aaaa", Moved(BATCH, 1, 2)),
        taken(1, "l-bbbb", Moved(BATCH, 30, 30)),
    )
    assert react_to_accounts(recorded(said)) == order(
        TakenLot("l-aaaa", 2, [SerialRange(BATCH, 1, 2)]),
        TakenLot("l-bbbb", 6, [SerialRange(BATCH, 9, 13), SerialRange(BATCH, 30, 30)]),
    )


def test_a_transfer_that_ends_no_lien_is_none_of_our_business() -> None:
    plain = transfer(Leg(7, TICKET, available(QINWANGCHUAN), available(CITY_GROUP), []))
    assert react_to_accounts(recorded(plain)) is None
    pledging = Leg(7, TICKET, Account(CITY_GROUP, Purpose.PLEDGED, LIEN), available(CITY_GROUP), [])
    assert react_to_accounts(recorded(EntryPosted(legs=[pledging]))) is None


def test_the_pledge_stands_on_what_the_order_has_left() -> None:
    book = pledged()
    (event,) = book.when(order(TakenLot(LIEN, 300, TAKEN)), SYSTEM)
    assert event == PledgeOverridden(COURT, "(2026) 甘01执 88", LIEN, 300, TAKEN, "case 88")
    lien = book.state.liens[LIEN]
    assert (lien.pledged_t, lien.serials) == (
        PLEDGED_T - 300,
        [SerialRange(BATCH, 301, PLEDGED_T)],
    )
    assert book.state.serial_liens == {(TICKET, BATCH): [(301, PLEDGED_T, LIEN)]}
    shown = _pledge_message(lien)
    assert [(one.authority, one.quantity_t) for one in shown.overrides] == [(COURT, 300)]
    check_registry(book)


def test_an_order_may_end_a_pledge_wholly_and_nothing_is_left_to_release() -> None:
    book = pledged()
    everything = [SerialRange(BATCH, 1, PLEDGED_T)]
    book.when(order(TakenLot(LIEN, PLEDGED_T, everything)), SYSTEM)
    assert book.state.serial_liens == {}
    command = release(1)
    refused = book.refusal(command, CLERK, acts=[released_by(command)])
    assert refused.reason == "INSUFFICIENT_PLEDGE"


def test_a_release_on_its_way_when_the_order_came_is_refused_by_the_accounts_book() -> None:
    book = pledged()
    command = release(PLEDGED_T)
    book.when(command, CLERK, acts=[released_by(command)])
    book.when(order(TakenLot(LIEN, 300, TAKEN)), SYSTEM)
    assert len(open_releases(book.state)) == 1
    no = RefuseRelease(LIEN, command.release, "INSUFFICIENT_BALANCE", "5700 are left", {})
    book.when(no, SYSTEM)
    lien = book.state.liens[LIEN]
    assert (lien.pledged_t, lien.releasing_t) == (PLEDGED_T - 300, 0)
    check_registry(book)


def test_a_release_that_was_faster_than_the_order_is_told_after_it() -> None:
    book = pledged()
    command = release(1000)
    book.when(command, CLERK, acts=[released_by(command)])
    last = [SerialRange(BATCH, 5001, PLEDGED_T)]
    book.when(order(TakenLot(LIEN, 1000, last)), SYSTEM)
    book.when(CompleteRelease(LIEN, command.release, [SerialRange(BATCH, 1, 1000)]), SYSTEM)
    lien = book.state.liens[LIEN]
    assert (lien.pledged_t, lien.serials) == (4000, [SerialRange(BATCH, 1001, 5000)])
    check_registry(book)


def test_an_order_that_is_heard_of_before_the_pledge_is_registered_counts_then() -> None:
    book = pledge_requested()
    book.when(order(TakenLot(LIEN, 300, TAKEN)), SYSTEM)
    assert book.state.liens[LIEN].process.stage == Stage.REQUESTED
    book.when(CompletePledge(LIEN, [SerialRange(BATCH, 1, PLEDGED_T)]), SYSTEM)
    lien = book.state.liens[LIEN]
    assert (lien.pledged_t, lien.serials) == (
        PLEDGED_T - 300,
        [SerialRange(BATCH, 301, PLEDGED_T)],
    )
    check_registry(book)


def test_a_lien_that_the_registry_never_registered_is_told_of_all_the_same() -> None:
    book = pledged()
    before = dict(book.state.liens)
    (event,) = book.when(order(TakenLot("l-unknown222222222", 5, [])), SYSTEM)
    assert event.lien == "l-unknown222222222"
    assert book.state.liens == before


def test_nobody_but_the_reaction_says_that_an_order_took_something() -> None:
    book = pledged()
    assert book.refusal(order(TakenLot(LIEN, 300, TAKEN)), CLERK).reason == "ROLE_MISSING"
