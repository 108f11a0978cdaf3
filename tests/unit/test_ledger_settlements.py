"""Settlement files before the independent books: a truthful day passes, each lie is named."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest

from kernel.acts import sign_act
from kernel.values import Act
from services.accounts.domain.commands import PostEntry, RegisterHolder
from services.accounts.domain.events import HolderKind
from services.ledger.books.port import RuleBroken
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    SYSTEM,
    TICKET,
    TOTAL_FEN,
    ZHONGCHUAN,
    advice,
    approval,
    available,
    deposit_entry,
    issuance,
    leg,
    seeded_key,
    settlement,
)
from tests.support.ledgers import (
    Books,
    Json,
    Story,
    admit,
    folded_up_to,
    found_the_place,
    keep,
    open_desks,
    planted,
)
from tests.support.plants import Change, Plant, as_type, both, drop, only, put
from tests.support.settling import (
    CLOSE,
    CLOSES_AT_MS,
    FEES,
    MEMBER_T,
    SESSION,
    SETTLE,
    WUHAN,
    WUHAN_DESK,
    WUHAN_KEY,
    at_wuhan,
    close,
    file_of,
    part,
    totals,
    trade,
)


async def _tell() -> Story:
    """Two parts and a close by the venue, a later session that closes by itself."""
    async with open_desks() as desks:
        story, ask = Story(), desks.accounts.ask
        await found_the_place(desks, story.at)
        await admit(desks, WUHAN_KEY, f"venue:{WUHAN}")
        await ask(RegisterHolder(FEES, HolderKind.VENUE, "91420000562732692H", "湖北"), REGISTRAR)
        owners = {QINWANGCHUAN: MEMBER_T}
        await ask(issuance("LZXQ-2021", owners), REGISTRY, approval("LZXQ-2021", owners))
        await ask(deposit_entry(CITY_GROUP, TOTAL_FEN), CASHIER, advice(CITY_GROUP, TOTAL_FEN, "1"))
        tickets = leg(MEMBER_T, TICKET, available(QINWANGCHUAN), at_wuhan(QINWANGCHUAN))
        money = leg(TOTAL_FEN, CNY, available(CITY_GROUP), at_wuhan(CITY_GROUP))
        story.at["tickets to the venue"] = await ask(PostEntry([tickets]), FARMER)
        await ask(PostEntry([money]), BUYER)

        async def send(name: str, act: Act) -> None:
            story.at[name] = await ask(SETTLE, WUHAN_DESK, act)

        first = (trade("T-1", 100), trade("T-2", MEMBER_T), trade("T-3", 50, fees=(0, 10)))
        await send("part", part(*first))
        for i, name in enumerate(("settled", "short", "settled too"), start=1):
            story.at[name] = story.at["part"] + i
        await send("part again", part(first[0], trade("T-4", 1), file="F-2"))
        story.at["settled again"] = story.at["part again"] + 1
        said = [totals(3, 151, 151 * 7446, 600 + 10 + 600)]
        story.at["closed"] = await ask(CLOSE, WUHAN_DESK, close(said, unsettled=1))
        await send("later part", part(trade("T-1", 5), session="later"))
        desks.clock.at_ms = CLOSES_AT_MS
        story.at["closed by itself"] = await ask(type(CLOSE)("later", WUHAN), SYSTEM)
        keep(story, desks)
        return story


STORY = asyncio.run(_tell())


def signed(*trades: Any, key: Any = WUHAN_KEY, **changed: object) -> Change:
    """Another file of the venue at this place."""

    def change(record: Json) -> None:
        act = sign_act(key, file_of(*trades, **changed))
        record["acts"] = [
            {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}
        ]

    return change


def with_the_parts_act(record: Json) -> None:
    record["acts"] = json.loads(STORY.accounts[STORY.at["part"]].record)["acts"]


def another_leg(record: Json) -> None:
    record["body"]["legs"].append(copy.deepcopy(record["body"]["legs"][2]))


GOOD = (trade("T-1", 100), trade("T-2", MEMBER_T), trade("T-3", 50, fees=(0, 10)))
LEGS = "body.legs"
FORGED = "A" * 86 + "=="
ANOTHER = "019a9ee7-e2b7-7abc-8def-0123456789ab"  # some other command


def at_another_venue(record: Json) -> None:
    for moved in record["body"]["legs"]:
        for side in (moved["debit"], moved["credit"]):
            side["ref"] = "market-lzxq" if side["purpose"] == "trading" else ""


PLANTS = [
    Plant("CAUSE_NONE", "part", put("cause", ["ledger", 2]), "None", "ledger"),
    Plant("PART_VENUE", "settled", at_another_venue, WUHAN, "market-lzxq"),
    # the part
    Plant(
        "ACT_SIGNATURE", "part", put("acts.0.signature", "A" * 86 + "=="), "signature", "another"
    ),
    Plant(
        "ACT_KEY", "part", signed(*GOOD, key=seeded_key("a forger")), "a key of venue", "unknown"
    ),
    Plant("ACT_MISSING", "part", lambda record: record.pop("acts"), "one signed", "0 acts"),
    Plant("ACT_KIND", "part", signed(*GOOD, kind="settlement"), "settlement-file", "settlement"),
    Plant("FILE_AS_SIGNED", "part", put("body.file", "F-9"), "F-1", "F-9"),
    Plant("FILE_AS_SIGNED", "part", put("body.session", "2026-11-19"), SESSION, "2026-11-19"),
    Plant("FILE_AS_SIGNED", "part", put("body.fee_holder", ZHONGCHUAN), FEES, ZHONGCHUAN),
    Plant("FILE_TRADES", "part", put("body.trades", 2), "3", "2"),
    Plant("FILE_NAMES", "part", signed(GOOD[0], GOOD[0], GOOD[2]), "3", "2"),
    Plant("FILE_KNOWN", "part", put("body.known", [0]), "[]", "[0]"),
    Plant("FILE_KNOWN", "part again", put("body.known", []), "[0]", "[]"),
    Plant("FILE_UNSETTLED", "part", put("body.unsettled", [3]), "below 3", "[3]"),
    Plant("FILE_UNSETTLED", "part", put("body.unsettled", [1, 1]), "[1]", "[1, 1]"),
    Plant(
        "SESSION_SAME",
        "part again",
        both(
            put("body.fee_holder", CITY_GROUP),
            signed(GOOD[0], trade("T-4", 1), file="F-2", fee_holder=CITY_GROUP),
        ),
        FEES,
        CITY_GROUP,
    ),
    Plant(
        "SESSION_OPEN",
        "later part",
        both(put("body.session", SESSION), signed(trade("T-1", 5))),
        "an open session",
        SESSION,
    ),
    Plant(
        "STATEMENT",
        "part",
        signed({**GOOD[0], "quantity_t": -1}, *GOOD[1:]),
        "0..",
        "-1",
    ),
    Plant("STATEMENT", "part", signed({**GOOD[0], "gift": 1}, *GOOD[1:]), "trades", "gift"),
    # an entry
    Plant(
        "CITED", "tickets to the venue", put("body.session", SESSION), "no session in a", SESSION
    ),
    Plant("PART_LEGS", "settled", put(f"{LEGS}.2.credit.holder", ZHONGCHUAN), FEES, ZHONGCHUAN),
    Plant("PART_LEGS", "settled", put(f"{LEGS}.1.amount", 744_599), "744600", "744599"),
    Plant("PART_LEGS", "settled", lambda record: record["body"]["legs"].pop(), "300", "744600"),
    Plant("PART_LEGS", "settled", another_leg, "300", "300"),
    Plant("PART_LEGS", "settled too", put(f"{LEGS}.2.amount", 11), "10", "11"),
    Plant("PART_TRADE", "settled", put("body.trades", ["T-3"]), "T-1", "T-3"),
    Plant("PART_TRADE", "settled too", put("body.trades", ["T-1"]), "T-3", "T-1"),
    Plant("PART_SESSION", "settled", put("body.session", "later"), SESSION, "later"),
    Plant("PART_SESSION", "settled", drop("session"), SESSION, "None"),
    Plant("PART_COMMAND", "settled", put("by", ANOTHER), "-", ANOTHER),
    Plant("ACT_UNEXPECTED", "settled", with_the_parts_act, "no signed", "1 acts"),
    # a trade that was not settled
    Plant(
        "PART_EVENT",
        "settled",
        both(as_type("SessionClosed"), only(session=SESSION, totals=[], unsettled=0, venue=WUHAN)),
        "EntryPosted",
        "SessionClosed",
    ),
    Plant("PART_TRADE", "short", put("body.trade.price_fen_per_t", 1), "7446", "1"),
    Plant("PART_VENUE", "short", put("body.venue", "shanghai-exchange"), WUHAN, "shanghai"),
    Plant("UNSETTLED_SHORT", "short", put("body.available", 0), "4900", "0"),
    Plant("UNSETTLED_SHORT", "short", put("body.holder", ZHONGCHUAN), "None", "5000"),
    # the close
    Plant("SESSION_TOTALS", "closed", put("body.totals.0.trades", 4), "151", "4"),
    Plant("SESSION_UNSETTLED", "closed", put("body.unsettled", 0), "1", "0"),
    Plant("SESSION_DUE", "closed", lambda record: record.pop("acts"), "not before", "2026"),
    Plant("SESSION_OPEN", "closed by itself", put("body.session", SESSION), "open", SESSION),
]
# Besides the plants, each in a test of its own below.


def test_a_truthful_day_passes_and_the_balances_agree() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    ours = {key: one.balance for key, one in STORY.state.accounts.items()}
    assert books.accounts.balances == ours


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: f"{one.rule} in {one.place}")
def test_a_planted_lie_is_named_and_changes_nothing(plant: Plant) -> None:
    position = STORY.at[plant.place]
    books = folded_up_to(STORY, "accounts", position)
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", planted(STORY.accounts[position], plant.change))
    assert caught.value.rule == plant.rule
    assert plant.expected in caught.value.expected
    assert plant.actual in caught.value.actual
    assert books.picture() == before


def test_a_close_that_says_something_else_than_the_venue_is_named() -> None:
    position = STORY.at["closed"]
    books = folded_up_to(STORY, "accounts", position)

    def other_words(record: Json) -> None:
        act = close([totals(3, 151, 151 * 7446, 1210)], unsettled=2)
        record["acts"][0].update(signature=act.signature, statement=act.statement)

    with pytest.raises(RuleBroken, match="SESSION_CLOSE"):
        books.check("accounts", planted(STORY.accounts[position], other_words))


def test_a_trade_whose_buyer_had_enough_may_not_be_told_to_be_short() -> None:
    """The service marks the first trade as unsettled, and says that its seller was short."""
    position = STORY.at["part"]
    books = folded_up_to(STORY, "accounts", position)
    books.fold("accounts", [planted(STORY.accounts[position], put("body.unsettled", [0, 1]))])
    short = {
        "asset": TICKET,
        "available": MEMBER_T,
        "holder": QINWANGCHUAN,
        "needed": 100,
        "reason": "INSUFFICIENT_BALANCE",
        "session": SESSION,
        "trade": trade("T-1", 100),
        "venue": WUHAN,
    }
    lie = both(as_type("TradeUnsettled"), only(**short))
    with pytest.raises(RuleBroken, match="UNSETTLED_SHORT"):
        books.check("accounts", planted(STORY.accounts[position + 1], lie))


def test_nothing_else_comes_between_the_trades_of_a_part() -> None:
    position = STORY.at["settled"]
    books = folded_up_to(STORY, "accounts", position)
    with pytest.raises(RuleBroken, match="PART_COMMAND"):
        books.check("accounts", STORY.accounts[STORY.at["part again"]])


def test_a_trade_is_not_settled_without_a_part() -> None:
    books = folded_up_to(STORY, "accounts", STORY.at["part"])
    with pytest.raises(RuleBroken, match="PART_OPEN"):
        books.check("accounts", STORY.accounts[STORY.at["settled"]])
    with pytest.raises(RuleBroken, match="PART_OPEN"):
        books.check("accounts", STORY.accounts[STORY.at["short"]])


def test_a_trade_that_was_unsettled_is_settled_only_in_the_words_it_first_came_in() -> None:
    """The venue signs another price for T-2, and the service settles it at that."""
    position = STORY.at["part again"]
    books = folded_up_to(STORY, "accounts", position)
    dearer = {**trade("T-2", MEMBER_T), "quantity_t": 10, "price_fen_per_t": 9000}
    two = both(signed(dearer, trade("T-4", 1), file="F-2"), put("body.known", []))
    books.fold("accounts", [planted(STORY.accounts[position], two)])

    def settled_dearer(record: Json) -> None:
        delivery, payment, *_ = record["body"]["legs"]
        delivery.update(amount=10, serials=[{"batch": "LZXQ-2021", "first": 151, "last": 160}])
        payment["amount"] = 90_000
        record["body"]["trades"] = ["T-2"]

    with pytest.raises(RuleBroken, match="TRADE_SAME"):
        books.check("accounts", planted(STORY.accounts[position + 1], settled_dearer))


def test_a_part_that_was_accepted_unreadable_leaves_its_trades_without_one() -> None:
    """Two persons took a part whose act is no file: nothing of it can be settled."""
    books = folded_up_to(STORY, "accounts", STORY.at["part"])
    lie = planted(STORY.accounts[STORY.at["part"]], put("acts.0.statement", "{}"))
    raw, event = books.accounts.types.decode_canonical(lie)
    books.accounts.apply(raw, event)
    with pytest.raises(RuleBroken, match="PART_OPEN"):
        books.check("accounts", STORY.accounts[STORY.at["settled"]])


DEAL = ("T-1", QINWANGCHUAN, CITY_GROUP, 100, 7446)


def settled_by_entry(record: Json) -> None:
    """The venue signs the trade as an entry of its own, and the service books that."""
    act = settlement(DEAL, key=WUHAN_KEY, venue=WUHAN)
    record["acts"] = [
        {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}
    ]
    record["type"] = "EntryPosted"
    legs = json.loads(STORY.accounts[STORY.at["settled"]].record)["body"]["legs"][:2]
    record["body"] = {"legs": legs, "trades": ["T-1"]}


def test_a_trade_that_an_entry_has_settled_is_not_settled_again_in_a_file() -> None:
    """The first part comes after an entry with one of its trades, and settles that once more."""
    position = STORY.at["part"]
    books = folded_up_to(STORY, "accounts", position)
    entry = planted(STORY.accounts[position], settled_by_entry)
    books.fold("accounts", [entry, STORY.accounts[position]])
    with pytest.raises(RuleBroken) as caught:
        books.check(
            "accounts",
            planted(STORY.accounts[position + 1], put(f"{LEGS}.0.serials.0", later_tickets(100))),
        )
    assert caught.value.rule == "ONCE"


def later_tickets(amount: int) -> Json:
    """The second hundred, where the first has been delivered."""
    return {"batch": "LZXQ-2021", "first": 101, "last": 100 + amount}


def test_a_trade_that_no_entry_has_settled_may_not_be_told_to_be_settled() -> None:
    position = STORY.at["short"]
    books = folded_up_to(STORY, "accounts", position)
    with pytest.raises(RuleBroken, match="UNSETTLED_KNOWN"):
        books.check(
            "accounts", planted(STORY.accounts[position], put("body.reason", "TRADE_SETTLED"))
        )


@pytest.mark.parametrize("place", ["part again", "closed by itself"])
def test_a_venue_that_sends_files_settles_nothing_by_an_entry_beside_them(place: str) -> None:
    """Its own signature is good, and its members have enough."""
    position = STORY.at[place]
    books = folded_up_to(STORY, "accounts", position)

    def sold_on(record: Json) -> None:
        settled_by_entry(record)
        record["body"]["legs"][0]["serials"] = [{"batch": "LZXQ-2021", "first": 201, "last": 300}]

    with pytest.raises(RuleBroken, match="ONE_WAY"):
        books.check("accounts", planted(STORY.accounts[position], sold_on))


def as_of_old(record: Json) -> None:
    """As the parts stand in journals of before a venue settled by files alone."""
    record["body"].pop("files_alone", None)


def old_books_before(place: str) -> Books:
    books = Books()
    books.fold("ledger", STORY.ledger)
    for event in STORY.accounts[: STORY.at[place]]:
        books.fold("accounts", [planted(event, as_of_old)])
    return books


def sold_by_entry(name: str) -> Change:
    """Another hundred tonnes that the seller still has at the venue."""

    def change(record: Json) -> None:
        act = settlement((name, *DEAL[1:]), key=WUHAN_KEY, venue=WUHAN)
        settled_by_entry(record)
        record["acts"][0].update(
            key_id=act.key_id, signature=act.signature, statement=act.statement
        )
        record["body"]["trades"] = [name]
        record["body"]["legs"][0]["serials"] = [{"batch": "LZXQ-2021", "first": 201, "last": 300}]

    return change


def test_a_journal_of_before_that_rule_may_have_entries_beside_files() -> None:
    """Until a part says that the rule holds: then it holds for ever."""
    position = STORY.at["part again"]
    books = old_books_before("part again")
    entry = planted(STORY.accounts[position], sold_by_entry("T-9"))
    books.fold("accounts", [entry])
    part, settled = STORY.accounts[position : position + 2]
    books.fold("accounts", [part])
    books.accounts.apply(*books.accounts.types.decode_canonical(settled.record))
    with pytest.raises(RuleBroken, match="ONE_WAY"):
        books.check("accounts", planted(STORY.accounts[position], sold_by_entry("T-10")))


def test_also_in_an_old_journal_no_entry_settles_what_a_file_has_settled() -> None:
    books = old_books_before("part again")
    lie = planted(STORY.accounts[STORY.at["part again"]], sold_by_entry("T-1"))
    with pytest.raises(RuleBroken, match="no file of 2026-11-20 has settled") as caught:
        books.check("accounts", lie)
    assert (caught.value.rule, caught.value.actual) == ("ONCE", "T-1")
