"""Holds: reserved, then posted, released or expired, once (design section 4, two-phase)."""

from __future__ import annotations

import pytest

from kernel.errors import Kind
from kernel.ids import derived_id
from kernel.values import DAY_MS
from services.accounts.domain.commands import (
    ExpireHold,
    PlaceHold,
    PostEntry,
    PostHold,
    ReleaseHold,
)
from services.accounts.domain.decide import due
from services.accounts.domain.events import (
    Account,
    HoldExpired,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    Purpose,
    SerialRange,
)
from tests.support.books import MORNING_MS
from tests.support.lanzhou import (
    BACKDATING_DAYS,
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    STRANGER,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    AccountsBook,
    available,
    balance,
    check_books,
    deposit,
    hold,
    issue,
    leg,
    pay,
    serials,
    the_place,
)

HOLD = derived_id(MORNING_MS, "the hold")
OTHER_HOLD = derived_id(MORNING_MS, "another hold")
HOUR_MS = 3_600_000


def farm_with(quantity_t: int = 500) -> AccountsBook:
    book = the_place()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: quantity_t})
    return book


def held(holder: str = QINWANGCHUAN, id: str = HOLD) -> Account:
    return Account(holder, Purpose.HELD, id)


def with_hold(amount: int = 300, expires_in_ms: int | None = None) -> AccountsBook:
    """500 t at the farm, of which some are held for the city group."""
    book = farm_with()
    expires_at_ms = None if expires_in_ms is None else MORNING_MS + expires_in_ms
    book.when(hold(QINWANGCHUAN, CITY_GROUP, amount, TICKET, expires_at_ms), FARMER, id=HOLD)
    return book


# Placing


def test_a_hold_reserves_the_oldest_units_under_its_own_id() -> None:
    book = farm_with()
    (placed,) = book.when(hold(QINWANGCHUAN, CITY_GROUP, 300), FARMER, id=HOLD)
    assert isinstance(placed, HoldPlaced)
    assert (placed.hold, placed.expires_at_ms, placed.to) == (HOLD, None, available(CITY_GROUP))
    assert serials(book.state, held()) == [("LZXQ-2021", 1, 300)]
    assert serials(book.state, available(QINWANGCHUAN)) == [("LZXQ-2021", 301, 500)]
    check_books(book)


def test_named_units_are_the_ones_held() -> None:
    book = farm_with()
    block = SerialRange("LZXQ-2021", 200, 299)
    book.when(hold(QINWANGCHUAN, CITY_GROUP, 100, serials=[block]), FARMER, id=HOLD)
    assert serials(book.state, held()) == [("LZXQ-2021", 200, 299)]
    check_books(book)


def test_what_is_held_cannot_be_spent() -> None:
    book = with_hold(300)
    refused = book.refusal(pay(QINWANGCHUAN, ZHONGCHUAN, 201), FARMER)
    assert (refused.details["needed"], refused.details["available"]) == (201, 200)
    refused = book.refusal(hold(QINWANGCHUAN, CITY_GROUP, 201), FARMER)
    assert (refused.details["needed"], refused.details["available"]) == (201, 200)
    out = PostEntry([leg(1, TICKET, held(), available(QINWANGCHUAN))])
    assert book.refusal(out, FARMER).reason == "PURPOSE_NOT_DEBITABLE"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (hold(CITY_GROUP, QINWANGCHUAN, 1), "NOT_YOUR_ACCOUNT"),
        (hold(QINWANGCHUAN, CITY_GROUP, 501), "INSUFFICIENT_BALANCE"),
        (hold(QINWANGCHUAN, CITY_GROUP, 0), "AMOUNT_OUT_OF_RANGE"),
        (hold(QINWANGCHUAN, CITY_GROUP, 1, "CEA-2024"), "UNKNOWN_ASSET"),
        (hold(QINWANGCHUAN, STRANGER, 1), "UNKNOWN_HOLDER"),
        (hold(QINWANGCHUAN, CITY_GROUP, 1, TICKET, MORNING_MS), "EXPIRY_PASSED"),
        (hold(QINWANGCHUAN, CITY_GROUP, 1, TICKET, MORNING_MS - 1), "EXPIRY_PASSED"),
        (
            hold(QINWANGCHUAN, CITY_GROUP, 1, serials=[SerialRange("LZXQ-2021", 501, 501)]),
            "SERIALS_NOT_HELD",
        ),
        (
            PlaceHold(QINWANGCHUAN, TICKET, 1, [], Account(CITY_GROUP, Purpose.RETIRED, ""), None),
            "CREDIT_NOT_ALLOWED",
        ),
        (
            PlaceHold(
                QINWANGCHUAN, TICKET, 1, [], Account(CITY_GROUP, Purpose.AVAILABLE, "x"), None
            ),
            "CREDIT_NOT_ALLOWED",
        ),
    ],
)
def test_a_hold_that_may_not_be_is_refused(command: PlaceHold, reason: str) -> None:
    assert farm_with().refusal(command, FARMER, id=HOLD).reason == reason


@pytest.mark.parametrize(
    ("back_ms", "reason"),
    [(-1, "ON_IN_FUTURE"), (BACKDATING_DAYS * DAY_MS + 1, "ON_TOO_OLD")],
)
@pytest.mark.parametrize("what", ["place", "post", "release"])
def test_business_time_of_a_hold_lies_within_what_the_asset_allows(
    what: str, back_ms: int, reason: str
) -> None:
    book = with_hold(300)
    command, caller = {
        "place": (hold(QINWANGCHUAN, CITY_GROUP, 1), FARMER),
        "post": (PostHold(HOLD, 1), BUYER),
        "release": (ReleaseHold(HOLD), BUYER),
    }[what]
    on_ms = book.clock.now_ms() - back_ms
    assert book.refusal(command, caller, on_ms=on_ms).reason == reason


def test_an_id_another_caller_used_does_not_take_over_a_live_hold() -> None:
    """Command ids are unique to their principal; a hold's id is everybody's."""
    book = with_hold(300)
    deposit(book, CITY_GROUP, 100, "line 1")
    refused = book.refusal(hold(CITY_GROUP, CITY_GROUP, 1, CNY), BUYER, id=HOLD)
    assert refused.reason == "HOLD_EXISTS"
    assert book.state.holds[HOLD].holder == QINWANGCHUAN


# Posting


def test_all_of_a_hold_is_posted() -> None:
    book = with_hold(300)
    (posted,) = book.when(PostHold(HOLD, 300), BUYER)
    assert isinstance(posted, HoldPosted)
    assert len(posted.legs) == 1
    assert serials(book.state, available(CITY_GROUP)) == [("LZXQ-2021", 1, 300)]
    assert book.state.holds == {}
    check_books(book)


def test_part_of_a_hold_is_posted_and_the_rest_goes_back() -> None:
    book = with_hold(300)
    (posted,) = book.when(PostHold(HOLD, 120), BUYER)
    assert [one.amount for one in posted.legs] == [120, 180]
    assert serials(book.state, available(CITY_GROUP)) == [("LZXQ-2021", 1, 120)]
    assert serials(book.state, available(QINWANGCHUAN)) == [
        ("LZXQ-2021", 301, 500),
        ("LZXQ-2021", 121, 300),
    ]
    assert balance(book.state, held()) == 0
    check_books(book)


def test_more_than_is_held_is_refused_with_both_numbers() -> None:
    refused = with_hold(300).refusal(PostHold(HOLD, 301), BUYER)
    assert refused.reason == "INSUFFICIENT_HOLD"
    assert refused.details == {"needed": 301, "available": 300}


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_or_less_is_not_posted(amount: int) -> None:
    assert with_hold().refusal(PostHold(HOLD, amount), BUYER).reason == "AMOUNT_OUT_OF_RANGE"


def test_a_hold_on_money_is_posted_too() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, 1000, "line 1")
    book.when(hold(CITY_GROUP, QINWANGCHUAN, 400, CNY), BUYER, id=HOLD)
    book.when(PostHold(HOLD, 150), FARMER)
    assert balance(book.state, available(QINWANGCHUAN), CNY) == 150
    assert balance(book.state, available(CITY_GROUP), CNY) == 850
    check_books(book)


def test_a_hold_is_posted_part_by_part_while_its_rest_is_kept() -> None:
    book = with_hold(300)
    (first,) = book.when(PostHold(HOLD, 100, keep_rest=True), BUYER)
    assert (len(first.legs), first.rest_held) == (1, 200)
    assert serials(book.state, held()) == [("LZXQ-2021", 101, 300)]
    assert book.refusal(PostHold(HOLD, 201, keep_rest=True), BUYER).details == {
        "needed": 201,
        "available": 200,
    }
    book.when(PostHold(HOLD, 150, keep_rest=True), BUYER)
    (last,) = book.when(PostHold(HOLD, 50, keep_rest=True), BUYER)
    assert last.rest_held == 0
    assert book.state.holds == {}
    assert balance(book.state, available(CITY_GROUP)) == 300
    check_books(book)


@pytest.mark.parametrize("end", ["post", "release", "expire"])
def test_what_was_kept_goes_back_at_the_end(end: str) -> None:
    book = with_hold(300, HOUR_MS)
    book.when(PostHold(HOLD, 100, keep_rest=True), BUYER)
    command, caller = {
        "post": (PostHold(HOLD, 40), BUYER),
        "release": (ReleaseHold(HOLD), BUYER),
        "expire": (ExpireHold(HOLD), SYSTEM),
    }[end]
    if end == "expire":
        book.clock.at_ms += HOUR_MS
    book.when(command, caller)
    paid = 140 if end == "post" else 100
    assert balance(book.state, available(CITY_GROUP)) == paid
    assert balance(book.state, available(QINWANGCHUAN)) == 500 - paid
    assert book.state.holds == {}
    check_books(book)


# Releasing


def test_who_it_is_held_for_may_let_it_go() -> None:
    book = with_hold(300)
    (released,) = book.when(ReleaseHold(HOLD), BUYER)
    assert isinstance(released, HoldReleased)
    assert balance(book.state, available(QINWANGCHUAN)) == 500
    assert book.state.holds == {}
    check_books(book)


@pytest.mark.parametrize("command", [ReleaseHold(HOLD), PostHold(HOLD, 1)], ids=["release", "post"])
def test_the_payer_can_neither_take_a_hold_back_nor_post_it(
    command: ReleaseHold | PostHold,
) -> None:
    refused = with_hold().refusal(command, FARMER)
    assert (refused.reason, refused.kind) == ("NOT_YOUR_ACCOUNT", Kind.FORBIDDEN)
    assert refused.details == {"holder": CITY_GROUP}


# Ending once


@pytest.mark.parametrize("end", ["post", "release", "expire"])
@pytest.mark.parametrize("again", ["post", "release", "expire"])
def test_a_hold_ends_once(end: str, again: str) -> None:
    book = with_hold(300, HOUR_MS)
    ends = {
        "post": (PostHold(HOLD, 1), BUYER),
        "release": (ReleaseHold(HOLD), BUYER),
        "expire": (ExpireHold(HOLD), SYSTEM),
    }
    if end == "expire":
        book.clock.at_ms += HOUR_MS
    book.when(*ends[end])
    refused = book.refusal(*ends[again])
    assert (refused.reason, refused.kind) == ("UNKNOWN_HOLD", Kind.UNKNOWN)
    check_books(book)


def test_a_hold_that_never_was_is_unknown() -> None:
    for command, caller in ((PostHold(OTHER_HOLD, 1), BUYER), (ReleaseHold(OTHER_HOLD), BUYER)):
        assert with_hold().refusal(command, caller).reason == "UNKNOWN_HOLD"


# Expiring


def test_a_hold_lives_until_its_last_millisecond() -> None:
    book = with_hold(300, HOUR_MS)
    book.clock.at_ms += HOUR_MS - 1
    assert list(due(book.state, book.clock.now_ms())) == []
    assert book.refusal(ExpireHold(HOLD), SYSTEM).reason == "HOLD_NOT_DUE"
    assert book.when(PostHold(HOLD, 300), BUYER)


@pytest.mark.parametrize("command", [PostHold(HOLD, 1), ReleaseHold(HOLD)], ids=["post", "release"])
def test_a_hold_has_expired_by_the_clock_before_the_timer_has_said_so(
    command: PostHold | ReleaseHold,
) -> None:
    book = with_hold(300, HOUR_MS)
    book.clock.at_ms += HOUR_MS
    assert book.refusal(command, BUYER).reason == "HOLD_EXPIRED"
    assert HOLD in book.state.holds


def test_what_falls_due_expires_and_goes_back() -> None:
    book = with_hold(300, HOUR_MS)
    book.clock.at_ms += HOUR_MS
    ((when_ms, what, command),) = due(book.state, book.clock.now_ms())
    assert (when_ms, what) == (MORNING_MS + HOUR_MS, f"expire {HOLD}")
    (expired,) = book.when(command, SYSTEM, on_ms=when_ms)
    assert isinstance(expired, HoldExpired)
    assert balance(book.state, available(QINWANGCHUAN)) == 500
    assert list(due(book.state, book.clock.now_ms())) == []
    check_books(book)


def test_an_expiry_recorded_long_after_it_fell_due_still_counts() -> None:
    """The process was down for a month: the asset's limit of backdating is not for timers."""
    book = with_hold(300, HOUR_MS)
    book.clock.at_ms += 30 * DAY_MS
    ((when_ms, _, command),) = due(book.state, book.clock.now_ms())
    assert book.when(command, SYSTEM, on_ms=when_ms)


def test_nobody_but_the_timer_expires_a_hold() -> None:
    book = with_hold(300, HOUR_MS)
    book.clock.at_ms += HOUR_MS
    for caller in (FARMER, BUYER):
        assert book.refusal(ExpireHold(HOLD), caller).reason == "ROLE_MISSING"


def test_a_hold_without_an_end_never_falls_due() -> None:
    book = with_hold(300)
    book.clock.at_ms += 10_000 * DAY_MS
    assert list(due(book.state, book.clock.now_ms())) == []
    assert book.refusal(ExpireHold(HOLD), SYSTEM).reason == "HOLD_NOT_DUE"
    assert book.when(PostHold(HOLD, 300), BUYER)


def test_what_falls_due_comes_soonest_first_and_without_the_ended() -> None:
    book = farm_with()
    ids = [derived_id(MORNING_MS, "hold", n) for n in range(4)]
    for id, hours in zip(ids, (3, 1, 2, 5), strict=True):
        expires_at_ms = MORNING_MS + hours * HOUR_MS
        book.when(hold(QINWANGCHUAN, CITY_GROUP, 10, TICKET, expires_at_ms), FARMER, id=id)
    book.when(ReleaseHold(ids[2]), BUYER)
    found = [what for _, what, _ in due(book.state, MORNING_MS + 3 * HOUR_MS)]
    assert found == [f"expire {ids[1]}", f"expire {ids[0]}"]
    check_books(book)
