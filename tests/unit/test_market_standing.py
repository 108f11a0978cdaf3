"""Whose status is not active: no new orders, and none left in the book."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.record import RawRecord
from kernel.values import Actor
from services.accounts.domain.changes import HolderStatusSet, Status
from services.market.domain.commands import HearStanding
from services.market.domain.events import (
    InstrumentDefined,
    MatchingMode,
    OrderCancelled,
    StandingHeard,
)
from services.market.reactions import react_to_accounts
from tests.support.companies import status
from tests.support.lanzhou import CITY_GROUP, PROGRAMME, QINWANGCHUAN, TICKET
from tests.support.lanzhou_market import (
    BUY,
    MARKET_SYSTEM,
    REFERENCE_FEN,
    SELL,
    MarketBook,
    check_market,
    operator,
    order,
    pick,
    place,
    position,
    terms,
    the_market,
)

AUTHORITY = f"authority:{PROGRAMME}"


def hear(book: MarketBook, to: str, authority: str = "", holder: str = CITY_GROUP) -> list[Any]:
    return book.when(HearStanding(authority, holder, to), MARKET_SYSTEM)


def reason(book: MarketBook, command: Any, holder: str = CITY_GROUP) -> str:
    return book.refusal(command, operator(holder)).reason


def test_who_is_suspended_places_and_picks_nothing_until_it_is_lifted() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 10)
    assert hear(book, "suspended") == [StandingHeard("", CITY_GROUP, "suspended")]
    refused = book.refusal(pick(CITY_GROUP, BUY, 5), operator(CITY_GROUP))
    assert (refused.reason, refused.details["status"]) == ("STATUS_FORBIDS", "suspended")
    assert reason(book, order(CITY_GROUP, BUY, 5)) == "STATUS_FORBIDS"
    hear(book, "active")
    book.when(pick(CITY_GROUP, BUY, 5), operator(CITY_GROUP))
    assert book.state.barred == {}
    check_market(book)


def test_orders_in_the_book_are_cancelled_with_the_reason_and_what_they_needed_is_free() -> None:
    book = the_market()
    before = position(book, CITY_GROUP, "CNY")
    first, second = (place(book, CITY_GROUP, BUY, n) for n in (5, 7))
    others = place(book, QINWANGCHUAN, SELL, 10)
    told = hear(book, "frozen", "court:lanzhou")
    assert [one for one in told if isinstance(one, OrderCancelled)] == [
        OrderCancelled(first, "STATUS_FORBIDS"),
        OrderCancelled(second, "STATUS_FORBIDS"),
    ]
    assert list(book.state.orders) == [others]
    assert position(book, CITY_GROUP, "CNY") == before
    check_market(book)


def test_each_layer_is_lifted_by_who_has_set_it() -> None:
    book = the_market()
    hear(book, "restricted")
    hear(book, "frozen", "court:lanzhou")
    hear(book, "active")
    assert reason(book, order(CITY_GROUP, BUY, 5)) == "STATUS_FORBIDS"
    hear(book, "active", "court:lanzhou")
    place(book, CITY_GROUP, BUY, 5)


@pytest.mark.parametrize(
    ("units_of", "authority", "reached"),
    [
        (PROGRAMME, AUTHORITY, True),
        (PROGRAMME, "authority:h-another2222222222", False),
        (PROGRAMME, "court:lanzhou", True),
        (PROGRAMME, "", True),
        ("", "authority:h-another2222222222", True),
    ],
)
def test_an_authority_reaches_the_units_of_its_own_programme(
    units_of: str, authority: str, reached: bool
) -> None:
    book = the_market()
    named = InstrumentDefined(
        TICKET, "LZXQ-9", "丝路碳票", REFERENCE_FEN, terms(MatchingMode.PICK), units_of
    )
    book.given(named)
    bid = msgspec.structs.replace(order(CITY_GROUP, BUY, 5), instrument="LZXQ-9")
    (placed,) = book.when(bid, operator(CITY_GROUP))
    told = hear(book, "suspended", authority)
    assert (OrderCancelled(placed.order, "STATUS_FORBIDS") in told) is reached
    if reached:
        assert reason(book, bid) == "STATUS_FORBIDS"
    else:
        book.when(bid, operator(CITY_GROUP))


def test_nobody_but_the_reaction_says_what_a_holder_is() -> None:
    book = the_market()
    said = HearStanding("", QINWANGCHUAN, "frozen")
    assert book.refusal(said, operator(CITY_GROUP)).reason == "ROLE_MISSING"


@pytest.mark.parametrize("authority", [None, AUTHORITY])
def test_a_status_in_the_accounts_book_is_heard_with_who_has_set_it(authority: str | None) -> None:
    said = HolderStatusSet(
        authority=authority,
        number=None if authority is None else "no. 1",
        status=status(CITY_GROUP, Status.SUSPENDED),
    )
    raw = RawRecord(
        actor=Actor("lanzhou", "registrar"),
        at="2026-11-20T01:30:00.000Z",
        body=msgspec.Raw(msgspec.json.encode(said)),
        book="accounts",
        by="019a9ee7-e2b7-7abc-8def-0123456789ab",
        cause=None,
        on="2026-11-20T01:30:00.000Z",
        position=31,
        type="HolderStatusSet",
        v=1,
    )
    assert react_to_accounts(raw) == HearStanding(authority or "", CITY_GROUP, "suspended")
