"""What entries of the accounts book mean here, and the entries we ask it for.

The entries are judged by the accounts book's own rules, not by a picture of them.
"""

from __future__ import annotations

import msgspec
import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.record import RawRecord
from kernel.rpc.items import act_of
from kernel.values import Act, Actor
from services.accounts.domain import events as accounts_events
from services.accounts.domain.commands import PostEntry
from services.accounts.entries_rpc import post_entry
from services.market.clients import (
    MAX_LEGS_PER_CALL,
    open_releases,
    open_settlements,
    parts_of,
    release_entry,
    settlement_entry,
)
from services.market.config import BOOK
from services.market.domain.commands import ReceiveAllocations
from services.market.domain.events import Allocation, MatchingMode
from services.market.domain.state import MONEY
from services.market.reactions import react_to_accounts
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CLAIM,
    FARMER,
    FOREST_T,
    QINWANGCHUAN,
    TICKET,
    TOTAL_FEN,
    VENUE,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
    available,
    balance,
    check_books,
    deposit,
    issue,
    leg,
    retired,
    seeded_key,
    serials,
    the_place,
    trading,
)
from tests.support.lanzhou_market import (
    BUY,
    SELL,
    MarketBook,
    operator,
    pick,
    place,
    release,
    terms,
    the_market,
)

VENUE_KEY = seeded_key("the market of these tests")
VENUE_PERSON = person("market", roles=[f"venue:{BOOK}", f"book:{BOOK}"])


def asked_of_accounts(market: MarketBook) -> list[pb.Entry]:
    """Everything open, as entries."""
    return [
        *(settlement_entry(one, one.id, VENUE_KEY) for one in open_settlements(market.state)),
        *(release_entry(one, one.id) for one in open_releases(market.state)),
    ]


def accounts_with_all_allocated() -> AccountsBook:
    """The same tonnes and money as the market has, in the accounts book's trading accounts."""
    book = the_place().given(admitted(VENUE_KEY, f"venue:{BOOK}"))
    issue(book, "LZXQ-2021", FOREST_T)
    deposit(book, CITY_GROUP, TOTAL_FEN, "line 1")
    for farm, quantity_t in FOREST_T.items():
        moved = leg(quantity_t, TICKET, available(farm), trading(farm, BOOK))
        book.when(PostEntry([moved]), FARMER)
    moved = leg(TOTAL_FEN, MONEY, available(CITY_GROUP), trading(CITY_GROUP, BOOK))
    book.when(PostEntry([moved]), BUYER)
    return book


def carry_out(book: AccountsBook, entry: pb.Entry) -> list[accounts_events.EntryPosted]:
    return book.when(post_entry(entry), VENUE_PERSON, acts=[act_of(act) for act in entry.acts])


def test_the_accounts_book_accepts_the_whole_deal_as_one_entry() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 7000)
    place(market, ZHONGCHUAN, SELL, 5000)
    market.when(pick(CITY_GROUP, BUY, 12_000), operator(CITY_GROUP))
    (entry,) = asked_of_accounts(market)
    book = accounts_with_all_allocated()
    (posted,) = carry_out(book, entry)
    (made,) = market.history[-1:]
    assert posted.trades == [one.trade for one in made.trades]  # type: ignore[attr-defined]
    assert balance(book.state, trading(CITY_GROUP, BOOK)) == 12_000
    assert serials(book.state, trading(CITY_GROUP, BOOK)) == [("LZXQ-2021", 1, 12_000)]
    assert balance(book.state, trading(QINWANGCHUAN, BOOK), MONEY) == 29_358_000
    check_books(book)


def test_the_accounts_book_accepts_thirty_two_trades_in_one_entry() -> None:
    market = the_market(terms(MatchingMode.PRICE_TIME))
    for _ in range(32):
        place(market, QINWANGCHUAN, SELL, 1)
    place(market, CITY_GROUP, BUY, 40)
    (entry,) = asked_of_accounts(market)
    book = accounts_with_all_allocated()
    carry_out(book, entry)
    assert balance(book.state, trading(CITY_GROUP, BOOK)) == 32


def test_the_accounts_book_accepts_a_release() -> None:
    market = the_market()
    market.when(release(ZHONGCHUAN, TICKET, 4000), operator(ZHONGCHUAN))
    (entry,) = asked_of_accounts(market)
    book = accounts_with_all_allocated()
    carry_out(book, entry)
    assert balance(book.state, available(ZHONGCHUAN)) == 4000
    assert balance(book.state, trading(ZHONGCHUAN, BOOK)) == 1000


def test_a_settlement_is_the_same_bytes_however_often_it_is_sent() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 10)
    market.when(pick(CITY_GROUP, BUY, 10), operator(CITY_GROUP))
    one, other = asked_of_accounts(market), asked_of_accounts(market)
    assert [entry.SerializeToString(deterministic=True) for entry in one] == [
        entry.SerializeToString(deterministic=True) for entry in other
    ]


def test_calls_are_cut_below_what_a_message_takes_and_nothing_gets_lost() -> None:
    entries = [pb.Entry(id=str(n), legs=[pb.Leg()] * 64) for n in range(500)]
    parts = list(parts_of(entries))
    assert [entry.id for part in parts for entry in part] == [entry.id for entry in entries]
    assert all(sum(len(entry.legs) for entry in part) <= MAX_LEGS_PER_CALL for part in parts)
    assert list(parts_of([])) == []
    assert len(list(parts_of([pb.Entry(legs=[pb.Leg()] * (MAX_LEGS_PER_CALL + 1))]))) == 1


# ---- reactions -----------------------------------------------------------------------------------


def recorded(event: msgspec.Struct) -> RawRecord:
    return RawRecord(
        acts=msgspec.UNSET,
        actor=Actor("lanzhou", "farmer"),
        at="2026-11-20T01:30:00.000Z",
        body=msgspec.Raw(msgspec.json.encode(event)),
        book="accounts",
        by="019a9ee7-e2b7-7abc-8def-0123456789ab",
        cause=None,
        on="2026-11-20T01:30:00.000Z",
        position=7,
        type=type(event).__name__,
        v=1,
    )


def entry_of(*legs: accounts_events.Leg) -> RawRecord:
    return recorded(accounts_events.EntryPosted(legs=list(legs)))


def test_what_an_entry_allocates_here_is_summed_per_holder_and_asset() -> None:
    raw = entry_of(
        leg(5, TICKET, available(ZHONGCHUAN), trading(ZHONGCHUAN, BOOK)),
        leg(7, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, BOOK)),
        leg(9, TICKET, available(ZHONGCHUAN), trading(ZHONGCHUAN, BOOK)),
        leg(100, MONEY, available(ZHONGCHUAN), trading(ZHONGCHUAN, BOOK)),
    )
    expected = [
        Allocation(100, MONEY, ZHONGCHUAN),
        Allocation(14, TICKET, ZHONGCHUAN),
        Allocation(7, TICKET, QINWANGCHUAN),
    ]
    expected.sort(key=lambda one: (one.holder, one.asset))
    assert react_to_accounts(raw) == ReceiveAllocations(expected)


@pytest.mark.parametrize(
    "legs",
    [
        [leg(5, TICKET, available(ZHONGCHUAN), available(QINWANGCHUAN))],
        [leg(5, TICKET, available(ZHONGCHUAN), trading(ZHONGCHUAN, VENUE))],
        [leg(5, TICKET, available(ZHONGCHUAN), retired(ZHONGCHUAN))],
        [leg(5, TICKET, trading(ZHONGCHUAN, BOOK), available(ZHONGCHUAN))],
        [
            leg(5, TICKET, trading(ZHONGCHUAN, BOOK), trading(CITY_GROUP, BOOK)),
            leg(9, MONEY, trading(CITY_GROUP, BOOK), trading(ZHONGCHUAN, BOOK)),
        ],
    ],
    ids=["payment", "another venue", "retirement", "our release", "our settlement"],
)
def test_other_entries_allocate_nothing(legs: list[accounts_events.Leg]) -> None:
    assert react_to_accounts(entry_of(*legs)) is None


def test_events_that_are_no_entries_are_passed_over() -> None:
    held = accounts_events.HoldReleased("hold", [])
    assert react_to_accounts(recorded(held)) is None


def test_a_claim_or_a_signed_statement_beside_the_legs_is_not_our_business() -> None:
    moved = leg(5, TICKET, available(ZHONGCHUAN), trading(ZHONGCHUAN, BOOK))
    raw = recorded(accounts_events.EntryPosted(legs=[moved], claim=CLAIM))
    signed = msgspec.structs.replace(raw, acts=[Act("key", "signature", "{}")])
    assert react_to_accounts(signed) == ReceiveAllocations([Allocation(5, TICKET, ZHONGCHUAN)])
