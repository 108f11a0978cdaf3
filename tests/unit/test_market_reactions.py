"""What entries of the accounts book mean here, and the entries we ask it for.

The entries are judged by the accounts book's own rules, not by a picture of them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.acts import sign_act
from kernel.errands import Errand
from kernel.ids import derived_id
from kernel.record import MAX_RECORD_BYTES, RawRecord
from kernel.values import Act, Actor
from services.accounts.domain import events as accounts_events
from services.accounts.domain.commands import PostEntry, SettleTrades
from services.accounts.entries_rpc import post_entry
from services.market.clients import SHORTAGE, open_releases, open_settlements, release_entry
from services.market.config import BOOK
from services.market.domain.commands import ReceiveAllocations
from services.market.domain.events import Allocation, MatchingMode, Trade, TradesMade
from services.market.domain.state import MONEY
from services.market.parts import MAX_PART_TRADES, Told, ends_of, parts_of, statement_of
from services.market.reactions import react_to_accounts
from tests.support.books import MORNING_MS, person
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


def asked_of_accounts(market: MarketBook) -> Act:
    """Everything that was traded, as one part."""
    (part,) = parts_of(open_settlements(market.state))
    return sign_act(VENUE_KEY, statement_of(part))


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


def settle(book: AccountsBook, part: Act) -> list[Any]:
    """What follows the part: an entry for each trade, or why not."""
    received, *told = book.when(SettleTrades(BOOK), VENUE_PERSON, acts=[part])
    assert isinstance(received, accounts_events.SettlementReceived)
    return told


def test_the_accounts_book_settles_every_trade_of_a_deal_by_an_entry_of_its_own() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 7000)
    place(market, ZHONGCHUAN, SELL, 5000)
    market.when(pick(CITY_GROUP, BUY, 12_000), operator(CITY_GROUP))
    book = accounts_with_all_allocated()
    posted = settle(book, asked_of_accounts(market))
    (made,) = market.history[-1:]
    assert isinstance(made, TradesMade)
    assert [one.trades for one in posted] == [[one.trade] for one in made.trades]
    assert balance(book.state, trading(CITY_GROUP, BOOK)) == 12_000
    assert serials(book.state, trading(CITY_GROUP, BOOK)) == [("LZXQ-2021", 1, 12_000)]
    assert balance(book.state, trading(QINWANGCHUAN, BOOK), MONEY) == 29_358_000
    check_books(book)


def test_the_trades_of_many_takers_stand_under_one_signature() -> None:
    market = the_market(terms(MatchingMode.PRICE_TIME))
    for _ in range(40):
        place(market, QINWANGCHUAN, SELL, 1)
    for _ in range(20):
        place(market, CITY_GROUP, BUY, 2)
    book = accounts_with_all_allocated()
    assert len(settle(book, asked_of_accounts(market))) == 40
    assert balance(book.state, trading(CITY_GROUP, BOOK)) == 40


def test_a_trade_that_accounts_cannot_settle_holds_up_no_other() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 7000)
    place(market, ZHONGCHUAN, SELL, 5000)
    market.when(pick(CITY_GROUP, BUY, 12_000), operator(CITY_GROUP))
    book = accounts_with_all_allocated()
    back = leg(1, TICKET, trading(QINWANGCHUAN, BOOK), available(QINWANGCHUAN))
    book.when(PostEntry([back]), VENUE_PERSON)
    short, entry = settle(book, asked_of_accounts(market))
    assert (short.reason, short.needed, short.available) == ("INSUFFICIENT_BALANCE", 7000, 6999)
    assert entry.trades == [short.trade.trade.replace("/1", "/2")]
    check_books(book)


def test_the_accounts_book_accepts_a_release() -> None:
    market = the_market()
    market.when(release(ZHONGCHUAN, TICKET, 4000), operator(ZHONGCHUAN))
    (asked,) = open_releases(market.state)
    book = accounts_with_all_allocated()
    book.when(post_entry(release_entry(asked, asked.id)), VENUE_PERSON)
    assert balance(book.state, available(ZHONGCHUAN)) == 4000
    assert balance(book.state, trading(ZHONGCHUAN, BOOK)) == 1000


def test_a_part_is_the_same_bytes_however_often_it_is_sent() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 10)
    market.when(pick(CITY_GROUP, BUY, 10), operator(CITY_GROUP))
    assert asked_of_accounts(market) == asked_of_accounts(market)


def traded(position: int, trades: int, day: str = "2026-11-20") -> Errand[TradesMade]:
    """Of one taker, with everything as long as it may be."""
    name = f"{derived_id(MORNING_MS, position)}.12"
    rows = [
        Trade(QINWANGCHUAN, name, 10**9, 10**6, CITY_GROUP, f"{name}/{number}")
        for number in range(1, trades + 1)
    ]
    asset = "TICKET-" + "9" * 53
    return Errand("", position, TradesMade(asset, day, "LZXQ-1", name, name, BUY, rows))


def test_parts_are_cut_between_takers_and_days_and_nothing_gets_lost() -> None:
    asked = [traded(n, 32) for n in range(20)] + [traded(20, 1, "2026-11-23")]
    parts = list(parts_of(asked))
    assert [errand for part in parts for errand in part] == asked
    assert [sum(len(one.what.trades) for one in part) for part in parts] == [192, 192, 192, 64, 1]
    assert list(parts_of([])) == []


def test_the_longest_part_fits_into_a_record() -> None:
    (part,) = parts_of([traded(n, 1) for n in range(MAX_PART_TRADES)])
    act = sign_act(VENUE_KEY, statement_of(part))
    assert len(msgspec.json.encode(act)) + 1000 < MAX_RECORD_BYTES


def test_many_refusals_are_told_in_several_events_each_of_a_record_s_size() -> None:
    part = [traded(n, 32) for n in range(6)]
    why = Told(9, "INSUFFICIENT_BALANCE", "x" * 160, dict.fromkeys(SHORTAGE, "y" * 40))
    told = {trade.trade: why for errand in part for trade in errand.what.trades}
    ended = ends_of(part, told, ("accounts", 300))
    assert [one.errands for one in ended] == [2, 2, 2]
    assert all(len(msgspec.json.encode(one.command)) < MAX_RECORD_BYTES for one in ended)


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
