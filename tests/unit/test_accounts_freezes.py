"""What is frozen lies still: whoever asks, by whatever way, until who froze it lifts it."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.acts import sign_act
from kernel.errors import Refused
from kernel.values import DAY_MS, Act
from services.accounts import queries
from services.accounts.domain import freezes
from services.accounts.domain.commands import (
    ExpireFreeze,
    ExpireHold,
    FreezeUnits,
    PlaceHold,
    PostEntry,
    PostHold,
    ReleaseHold,
    UnfreezeUnits,
)
from services.accounts.domain.decide import due
from services.accounts.domain.events import Account, FreezeExpired, Pledge, Purpose, SerialRange
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BUYER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
    available,
    balance,
    check_books,
    deposit,
    external,
    hold,
    issue,
    leg,
    pay,
    retired,
    serials,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.orders import (
    AUTHORITY,
    COURT,
    COURT_KEY,
    freeze,
    freeze_serials,
    unfreeze,
)
from tests.unit.test_accounts_pledges import (
    GROUP_KEY,
    LENDER,
    LIEN,
    PLEDGED_T,
    both_sign,
    group_with_tickets,
    pledge_entry,
    release_act,
    release_entry,
)

BATCH = "LZXQ-2021"
FREEZE, UNFREEZE = FreezeUnits(), UnfreezeUnits()


def the_court() -> AccountsBook:
    """The city group holds 12,000 t and 1,000.00 CNY; a court has a key."""
    book = group_with_tickets().given(admitted(COURT_KEY, COURT))
    deposit(book, CITY_GROUP, 100_000, "line 1")
    return book


def ordered(*acts: Act) -> AccountsBook:
    book = the_court()
    for act in acts:
        book.when(FREEZE, REGISTRAR, acts=[act])
    return book


def refusal_of(book: AccountsBook, command: Any, caller: Any = BUYER, *acts: Act) -> str:
    return book.refusal(command, caller, acts=acts).reason


def frozen_rows(book: AccountsBook) -> dict[tuple[str, str], int]:
    rows = queries.balances(book.state, queries.Scope(CITY_GROUP))
    return {(row.key[1], row.key[2]): row.frozen for row in rows if row.frozen}


def to_venue(amount: int, asset: str = TICKET) -> PostEntry:
    return PostEntry([leg(amount, asset, available(CITY_GROUP), trading(CITY_GROUP))])


def test_a_frozen_holder_can_do_nothing_with_units_or_money() -> None:
    book = ordered(freeze("all"))
    retire = PostEntry([leg(1, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM)
    for command in (
        pay(CITY_GROUP, QINWANGCHUAN, 1),
        pay(CITY_GROUP, QINWANGCHUAN, 1, CNY),
        hold(CITY_GROUP, QINWANGCHUAN, 1),
        to_venue(1),
        retire,
    ):
        assert refusal_of(book, command) == "FROZEN"
    assert refusal_of(book, pledge_entry(), REGISTRY, *both_sign()) == "FROZEN"
    assert frozen_rows(book) == {(TICKET, "available"): 12_000, (CNY, "available"): 100_000}
    check_books(book)


def test_what_comes_in_is_taken_and_lies_still_too() -> None:
    book = ordered(freeze("all"))
    issue(book, "LZXQ-2022", {QINWANGCHUAN: 10})
    book.when(pay(QINWANGCHUAN, CITY_GROUP, 10), FARMER)
    assert frozen_rows(book)[TICKET, "available"] == 12_010


def test_a_freeze_of_one_holder_leaves_every_other_alone() -> None:
    book = ordered(freeze("all"))
    issue(book, "LZXQ-2022", {QINWANGCHUAN: 10})
    book.when(pay(QINWANGCHUAN, ZHONGCHUAN, 10), FARMER)
    assert balance(book.state, available(ZHONGCHUAN)) == 10


def test_an_amount_is_a_floor_and_the_rest_moves() -> None:
    book = ordered(freeze("part", asset=TICKET, purpose="available", amount=5000))
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 7000), BUYER)
    refused = book.refusal(pay(CITY_GROUP, QINWANGCHUAN, 1), BUYER)
    assert (refused.reason, refused.details["available"]) == ("FROZEN", 0)
    assert frozen_rows(book) == {(TICKET, "available"): 5000}


def test_amounts_of_several_orders_add_up() -> None:
    part: Any = {"asset": TICKET, "purpose": "available", "amount": 5000}
    book = ordered(freeze("one", **part), freeze("one", AUTHORITY_KEY, **part))
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 2001)) == "FROZEN"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 2000), BUYER)


def test_more_than_is_there_may_be_frozen_and_then_all_of_it_lies_still() -> None:
    book = ordered(freeze("part", asset=TICKET, purpose="available", amount=20_000))
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 1)) == "FROZEN"
    assert frozen_rows(book) == {(TICKET, "available"): 12_000}


def test_frozen_serials_are_passed_over_when_the_oldest_are_taken() -> None:
    book = ordered(freeze_serials("disputed", (BATCH, 1, 100), (BATCH, 201, 300)))
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 150), BUYER)
    assert serials(book.state, available(QINWANGCHUAN)) == [(BATCH, 101, 200), (BATCH, 301, 350)]
    assert frozen_rows(book) == {(TICKET, "available"): 200}
    check_books(book)


def test_frozen_serials_cannot_be_named_and_do_not_count_as_free() -> None:
    book = ordered(freeze_serials("disputed", (BATCH, 1, 100)))
    named = pay(CITY_GROUP, QINWANGCHUAN, 11, TICKET, SerialRange(BATCH, 90, 100))
    refused = book.refusal(named, BUYER)
    assert (refused.reason, refused.details["first"]) == ("SERIALS_FROZEN", 90)
    refused = book.refusal(pay(CITY_GROUP, QINWANGCHUAN, 11_901), BUYER)
    assert (refused.reason, refused.details["available"]) == ("FROZEN", 11_900)


def test_serials_stay_frozen_wherever_they_lie() -> None:
    book = the_court()
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 100), BUYER)  # serials 1..100
    book.when(FREEZE, REGISTRAR, acts=[freeze_serials("disputed", (BATCH, 51, 150))])
    assert refusal_of(book, pay(QINWANGCHUAN, CITY_GROUP, 51), FARMER) == "FROZEN"
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 11_851)) == "FROZEN"
    rows = queries.list_freezes(book.state, QINWANGCHUAN, -1, 10)
    assert [name for _, name, _ in rows] == [(COURT, "disputed")]


def test_overlapping_serial_freezes_count_each_serial_once_and_end_one_by_one() -> None:
    book = ordered(
        freeze_serials("disputed", (BATCH, 1, 100)),
        freeze_serials("again", (BATCH, 51, 150), key=AUTHORITY_KEY),
    )
    assert frozen_rows(book) == {(TICKET, "available"): 150}
    book.when(UNFREEZE, REGISTRAR, acts=[unfreeze("disputed")])
    assert frozen_rows(book) == {(TICKET, "available"): 100}
    book.when(UNFREEZE, REGISTRAR, acts=[unfreeze("again", AUTHORITY_KEY)])
    assert frozen_rows(book) == {}
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 12_000), BUYER)
    check_books(book)


# ---- holds, venues, liens ------------------------------------------------------------------------


def test_a_hold_is_not_paid_out_of_what_is_frozen_and_goes_home_when_it_ends() -> None:
    book = the_court()
    book.when(hold(CITY_GROUP, QINWANGCHUAN, 500), BUYER, id="hold one")
    book.when(FREEZE, REGISTRAR, acts=[freeze("all")])
    assert refusal_of(book, PostHold("hold one", 1), FARMER) == "FROZEN"
    book.when(ReleaseHold("hold one"), FARMER)
    assert frozen_rows(book)[TICKET, "available"] == 12_000


def test_a_hold_expires_over_frozen_units_and_they_lie_still_at_home() -> None:
    book = the_court()
    soon_ms = book.clock.now_ms() + 1000
    place = PlaceHold(CITY_GROUP, TICKET, 500, [], available(QINWANGCHUAN), soon_ms)
    book.when(place, BUYER, id="hold one")
    book.when(FREEZE, REGISTRAR, acts=[freeze_serials("disputed", (BATCH, 1, 300))])
    book.clock.at_ms = soon_ms
    book.when(ExpireHold("hold one"), SYSTEM)
    assert frozen_rows(book) == {(TICKET, "available"): 300}
    check_books(book)


def test_a_hold_over_some_frozen_serials_pays_out_the_others() -> None:
    book = the_court()
    book.when(hold(CITY_GROUP, QINWANGCHUAN, 500), BUYER, id="hold one")
    book.when(FREEZE, REGISTRAR, acts=[freeze_serials("disputed", (BATCH, 1, 300))])
    assert refusal_of(book, PostHold("hold one", 201), FARMER) == "FROZEN"
    book.when(PostHold("hold one", 200), FARMER)
    assert serials(book.state, available(QINWANGCHUAN)) == [(BATCH, 301, 500)]
    check_books(book)


def test_what_a_bank_has_paid_out_is_a_fact_and_to_anybody_else_it_does_not_go() -> None:
    book = the_court()
    book.when(hold(CITY_GROUP, QINWANGCHUAN, 500, CNY), BUYER, id="hold one")
    book.when(FREEZE, REGISTRAR, acts=[freeze("all")])
    held = Account(CITY_GROUP, Purpose.HELD, "hold one")
    freezes.check_leg(book.state, leg(500, CNY, held, external()), 0)
    with pytest.raises(Refused, match="frozen"):
        freezes.check_leg(book.state, leg(500, CNY, held, available(QINWANGCHUAN)), 0)


def test_a_venue_cannot_settle_what_is_frozen_and_may_bring_it_home() -> None:
    book = the_court()
    book.when(to_venue(500), BUYER)
    deal = ("T-1", CITY_GROUP, QINWANGCHUAN, 100, 1)
    deposit(book, QINWANGCHUAN, 100, "line 2")
    book.when(PostEntry([leg(100, CNY, available(QINWANGCHUAN), trading(QINWANGCHUAN))]), FARMER)
    book.when(FREEZE, REGISTRAR, acts=[freeze("all")])
    entry = settlement_entry(deal)
    assert refusal_of(book, entry, EXCHANGE, settlement(deal)) == "FROZEN"
    back = PostEntry([leg(500, TICKET, trading(CITY_GROUP), available(CITY_GROUP))])
    book.when(back, EXCHANGE)
    assert frozen_rows(book)[TICKET, "available"] == 12_000


def test_what_is_frozen_at_a_venue_alone_does_not_leave_it() -> None:
    book = the_court()
    book.when(to_venue(500), BUYER)
    at_venue: Any = {"asset": TICKET, "purpose": "trading", "ref": trading(CITY_GROUP).ref}
    book.when(FREEZE, REGISTRAR, acts=[freeze("there", **at_venue, amount=400)])
    back = PostEntry([leg(101, TICKET, trading(CITY_GROUP), available(CITY_GROUP))])
    assert refusal_of(book, back, EXCHANGE) == "FROZEN"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 11_500), BUYER)  # the rest of it is free


def with_frozen_pledge(act: Act) -> AccountsBook:
    book = the_court()
    book.when(pledge_entry(), REGISTRY, acts=both_sign())
    (event,) = book.when(FREEZE, REGISTRAR, acts=[act])
    assert event.liens == [Pledge(lien=LIEN, pledgee=LENDER)]
    return book


def test_a_freeze_over_a_lien_names_the_pledgee_and_its_release_frees_nothing() -> None:
    for act in (freeze("all"), freeze_serials("disputed", (BATCH, 1, PLEDGED_T))):
        book = with_frozen_pledge(act)
        book.when(release_entry(), REGISTRY, acts=[release_act()])
        assert frozen_rows(book)[TICKET, "available"] >= PLEDGED_T
        assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 6001)) == "FROZEN"


def test_what_is_frozen_under_its_lien_alone_is_not_released_at_all() -> None:
    under: Any = {"asset": TICKET, "purpose": "pledged", "ref": LIEN}
    book = with_frozen_pledge(freeze("there", **under))
    assert refusal_of(book, release_entry(), REGISTRY, release_act()) == "FROZEN"
    book.when(UNFREEZE, REGISTRAR, acts=[unfreeze("there")])
    book.when(release_entry(), REGISTRY, acts=[release_act()])


def test_no_lien_is_placed_on_frozen_units() -> None:
    book = ordered(freeze_serials("disputed", (BATCH, 1, 6001)))
    assert refusal_of(book, pledge_entry(), REGISTRY, *both_sign()) == "FROZEN"
    (event,) = book.when(pledge_entry(5999), REGISTRY, acts=both_sign(quantity_t=5999))
    assert event.legs[0].serials == [SerialRange(BATCH, 6002, 12_000)]


# ---- whose order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "act"),
    [
        ("ACT_DIFFERS", freeze("x", authority=AUTHORITY)),
        ("ACT_MISSING", unfreeze("x")),
        ("MISSING_VALUE", freeze("")),
        ("MISSING_VALUE", freeze("x", document="")),
        ("MISSING_VALUE", freeze("x", reason="")),
        ("FREEZE_MALFORMED", freeze("x", holder="")),
        ("FREEZE_MALFORMED", freeze_serials("x", (BATCH, 1, 2), amount=2)),
        ("FREEZE_MALFORMED", freeze_serials("x", (BATCH, 1, 2), asset="")),
        ("FREEZE_MALFORMED", freeze("x", purpose="held")),
        ("FREEZE_MALFORMED", freeze("x", purpose="issued")),
        ("FREEZE_MALFORMED", freeze("x", ref="market-lzxq")),
        ("FREEZE_MALFORMED", freeze("x", amount=5)),
        ("FREEZE_MALFORMED", freeze("x", amount=5, asset=TICKET, purpose="trading")),
        ("AMOUNT_OUT_OF_RANGE", freeze("x", amount=0, asset=TICKET, purpose="available")),
        ("UNKNOWN_HOLDER", freeze("x", holder="h-nobody2222222222")),
        ("UNKNOWN_ASSET", freeze("x", asset="TICKET-LZXQ-9")),
        ("UNKNOWN_BATCH", freeze_serials("x", ("LZXQ-1999", 1, 2))),
        ("RANGE_MALFORMED", freeze_serials("x", (BATCH, 2, 1))),
        ("NOT_ITS_PROGRAMME", freeze("x", AUTHORITY_KEY, asset=CNY)),
        ("DAY_MALFORMED", freeze("x", until="soon")),
        ("FREEZE_OVER", freeze("x", until="2026-11-19")),
    ],
)
def test_an_order_that_is_not_in_order_freezes_nothing(reason: str, act: Act) -> None:
    assert refusal_of(the_court(), FREEZE, REGISTRAR, act) == reason


def test_only_an_authority_or_a_court_freezes_and_a_registrar_asks() -> None:
    book = the_court()
    assert refusal_of(book, FREEZE, BUYER, freeze("x")) == "ROLE_MISSING"
    assert refusal_of(book, FREEZE, REGISTRAR) == "ACT_MISSING"
    own = sign_act(GROUP_KEY, {"kind": "freeze"})
    assert refusal_of(book, FREEZE, REGISTRAR, own) == "ACT_SUBJECT"
    forged = Act(freeze("x").key_id, freeze("y").signature, freeze("x").statement)
    assert refusal_of(book, FREEZE, REGISTRAR, forged) == "ACT_SIGNATURE"


def test_an_authority_reaches_the_assets_of_its_own_programme_alone() -> None:
    book = ordered(freeze("all of ours", AUTHORITY_KEY))
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 1)) == "FROZEN"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 1, CNY), BUYER)


def test_each_statement_is_booked_once_for_ever() -> None:
    book = ordered(freeze("all"))
    assert refusal_of(book, FREEZE, REGISTRAR, freeze("all")) == "FREEZE_BOOKED"
    book.when(UNFREEZE, REGISTRAR, acts=[unfreeze("all")])
    assert refusal_of(book, FREEZE, REGISTRAR, freeze("all")) == "FREEZE_BOOKED"
    assert refusal_of(book, UNFREEZE, REGISTRAR, unfreeze("all")) == "UNKNOWN_FREEZE"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 12_000), BUYER)


def test_only_who_froze_lifts() -> None:
    book = ordered(freeze("all"))
    assert refusal_of(book, UNFREEZE, REGISTRAR, unfreeze("all", AUTHORITY_KEY)) == "UNKNOWN_FREEZE"
    as_court = unfreeze("all", AUTHORITY_KEY, authority=COURT)
    assert refusal_of(book, UNFREEZE, REGISTRAR, as_court) == "ACT_DIFFERS"
    assert refusal_of(book, UNFREEZE, BUYER, unfreeze("all")) == "ROLE_MISSING"


def test_a_freeze_ends_after_its_last_day_in_shanghai() -> None:
    book = ordered(freeze("week", until="2026-11-27"))
    midnight_ms = book.clock.now_ms() // DAY_MS * DAY_MS + 8 * DAY_MS - 8 * 3_600_000
    book.clock.at_ms = midnight_ms - 1
    assert list(due(book.state, book.clock.now_ms())) == []
    early = book.refusal(ExpireFreeze(COURT, "week"), SYSTEM)
    assert early.reason == "FREEZE_NOT_OVER"
    book.clock.at_ms = midnight_ms
    ((when_ms, _, command),) = list(due(book.state, midnight_ms))
    assert when_ms == midnight_ms
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 1)) == "FROZEN"  # until it is recorded
    (event,) = book.when(command, SYSTEM)
    assert event == FreezeExpired(COURT, "week", CITY_GROUP, [])
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 12_000), BUYER)
    assert list(due(book.state, midnight_ms)) == []
    check_books(book)


def test_nobody_but_the_timer_ends_a_freeze_by_its_day() -> None:
    book = ordered(freeze("all"))
    assert refusal_of(book, ExpireFreeze(COURT, "all"), BUYER) == "ROLE_MISSING"
    assert refusal_of(book, ExpireFreeze(COURT, "all"), SYSTEM) == "FREEZE_NOT_OVER"
    assert refusal_of(book, ExpireFreeze(COURT, "none"), SYSTEM) == "UNKNOWN_FREEZE"


def test_what_was_issued_or_has_ended_is_nobodys_to_be_frozen() -> None:
    book = ordered(freeze("the programme's", holder=PROGRAMME))
    issue(book, "LZXQ-2023", {QINWANGCHUAN: 5})
    held = Account(CITY_GROUP, Purpose.RETIRED, "")
    assert balance(book.state, held) == 0


def test_live_freezes_are_listed_page_by_page() -> None:
    book = ordered(freeze("a"), freeze("b"), freeze("c", holder=QINWANGCHUAN))
    first = queries.list_freezes(book.state, "", -1, 2)
    assert [name[1] for _, name, _ in first] == ["a", "b"]
    rest = queries.list_freezes(book.state, "", first[-1][0], 2)
    assert [name[1] for _, name, _ in rest] == ["c"]
    assert [n[1] for _, n, _ in queries.list_freezes(book.state, QINWANGCHUAN, -1, 9)] == ["c"]
