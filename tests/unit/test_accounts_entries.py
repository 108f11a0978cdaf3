"""Entries of the accounts book: 兰州新区's tickets issued, paid for, moved and retired."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kernel.errors import Kind
from kernel.values import DAY_MS, MAX_INTEGER, format_fen
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Claim, Leg, Purpose, SerialRange
from tests.support.books import person
from tests.support.lanzhou import (
    BACKDATING_DAYS,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    FOREST_T,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRY,
    STRANGER,
    TICKET,
    TOTAL_FEN,
    TOTAL_T,
    VENUE,
    ZHONGCHUAN,
    AccountsBook,
    advice,
    available,
    balance,
    check_books,
    deposit,
    deposit_entry,
    external,
    issue,
    issued,
    leg,
    pay,
    ready_to_trade,
    retired,
    serials,
    settlement,
    settlement_entry,
    the_place,
    trading,
)

DEALS = [
    ("2021-08-30/1", QINWANGCHUAN, CITY_GROUP, 7000, PRICE_FEN_PER_T),
    ("2021-08-30/2", ZHONGCHUAN, CITY_GROUP, 5000, PRICE_FEN_PER_T),
]


def farm_with(quantity_t: int = 7000) -> AccountsBook:
    """秦王川 forest farm owns the serials 1.. of batch LZXQ-2021."""
    book = the_place()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: quantity_t})
    return book


def block(first: int, last: int, batch: str = "LZXQ-2021") -> SerialRange:
    return SerialRange(batch, first, last)


# The published deal


def test_the_lanzhou_deal_of_2021_comes_to_503_280_yuan() -> None:
    book = ready_to_trade()
    (entry,) = book.when(settlement_entry(*DEALS), EXCHANGE, acts=[settlement(*DEALS)])
    assert entry.trades == ["2021-08-30/1", "2021-08-30/2"]
    assert balance(book.state, trading(CITY_GROUP)) == TOTAL_T == 12_000
    paid_fen = [balance(book.state, trading(farm), CNY) for farm in FOREST_T]
    assert paid_fen == [29_358_000, 20_970_000]
    assert format_fen(sum(paid_fen)) == "503,280.00"
    assert balance(book.state, trading(CITY_GROUP), CNY) == 0
    assert serials(book.state, trading(CITY_GROUP)) == [("LZXQ-2021", 1, 12_000)]
    check_books(book)


def test_after_the_deal_the_venue_releases_to_each_holder_its_own() -> None:
    book = ready_to_trade()
    book.when(settlement_entry(*DEALS), EXCHANGE, acts=[settlement(*DEALS)])
    releases = [leg(TOTAL_T, TICKET, trading(CITY_GROUP), available(CITY_GROUP))]
    releases += [
        leg(quantity_t * PRICE_FEN_PER_T, CNY, trading(farm), available(farm))
        for farm, quantity_t in FOREST_T.items()
    ]
    book.when(PostEntry(releases), EXCHANGE)
    assert balance(book.state, available(CITY_GROUP)) == TOTAL_T
    assert balance(book.state, available(QINWANGCHUAN), CNY) == 29_358_000
    check_books(book)


def test_one_fen_short_and_nothing_of_the_deal_settles() -> None:
    book = ready_to_trade()
    one_fen = PostEntry([leg(1, CNY, trading(CITY_GROUP), available(CITY_GROUP))])
    book.when(one_fen, EXCHANGE)
    refused = book.refusal(settlement_entry(*DEALS), EXCHANGE, acts=[settlement(*DEALS)])
    assert refused.reason == "INSUFFICIENT_BALANCE"
    assert refused.details["needed"] == 20_970_000
    assert refused.details["available"] == 20_969_999
    assert balance(book.state, trading(CITY_GROUP)) == 0


# Sufficiency


def test_what_is_there_can_be_moved_to_the_last_tonne() -> None:
    book = farm_with(7000)
    book.when(pay(QINWANGCHUAN, CITY_GROUP, 7000), FARMER)
    assert balance(book.state, available(CITY_GROUP)) == 7000
    assert balance(book.state, available(QINWANGCHUAN)) == 0
    check_books(book)


def test_one_tonne_more_than_there_is_is_refused_with_both_numbers() -> None:
    refused = farm_with(480).refusal(pay(QINWANGCHUAN, CITY_GROUP, 481), FARMER)
    assert (refused.reason, refused.kind) == ("INSUFFICIENT_BALANCE", Kind.RULE)
    assert refused.details == {
        "needed": 481,
        "available": 480,
        "asset": TICKET,
        "holder": QINWANGCHUAN,
    }
    assert "needed 481, available 480" in refused.message


def test_legs_draw_on_what_earlier_legs_left() -> None:
    book = farm_with(100)
    two = PostEntry(
        [
            leg(60, TICKET, available(QINWANGCHUAN), available(CITY_GROUP)),
            leg(60, TICKET, available(QINWANGCHUAN), available(ZHONGCHUAN)),
        ]
    )
    refused = book.refusal(two, FARMER)
    assert (refused.details["needed"], refused.details["available"]) == (60, 40)


def test_a_later_leg_may_pass_on_what_an_earlier_one_brought() -> None:
    book = farm_with(100)
    both = person("both farms", holders=[QINWANGCHUAN, ZHONGCHUAN])
    book.when(
        PostEntry(
            [
                leg(100, TICKET, available(QINWANGCHUAN), available(ZHONGCHUAN)),
                leg(30, TICKET, available(ZHONGCHUAN), available(CITY_GROUP)),
            ]
        ),
        both,
    )
    assert serials(book.state, available(CITY_GROUP)) == [("LZXQ-2021", 1, 30)]
    check_books(book)


@pytest.mark.parametrize("amount", [0, -1, MAX_INTEGER + 1])
def test_an_amount_out_of_range_is_refused(amount: int) -> None:
    refused = farm_with().refusal(pay(QINWANGCHUAN, CITY_GROUP, amount), FARMER)
    assert refused.reason == "AMOUNT_OUT_OF_RANGE"
    assert refused.details == {"actual": amount}


def test_no_balance_ever_exceeds_what_a_json_reader_can_read() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, MAX_INTEGER, "line 1")
    assert balance(book.state, external(), CNY) == -MAX_INTEGER
    refused = book.refusal(
        deposit_entry(CITY_GROUP, 1), CASHIER, acts=[advice(CITY_GROUP, 1, "line 2")]
    )
    assert refused.reason == "INSUFFICIENT_BALANCE"  # the bank owes no more than that
    check_books(book)


# Who may debit what


def test_nobody_debits_somebody_elses_account() -> None:
    refused = farm_with().refusal(pay(QINWANGCHUAN, CITY_GROUP, 1), BUYER)
    assert (refused.reason, refused.kind) == ("NOT_YOUR_ACCOUNT", Kind.FORBIDDEN)
    assert refused.details == {"holder": QINWANGCHUAN}


def test_one_leg_of_somebody_elses_refuses_the_whole_entry() -> None:
    book = farm_with()
    deposit(book, CITY_GROUP, 100, "line 1")
    entry = PostEntry(
        [
            leg(1, TICKET, available(QINWANGCHUAN), available(CITY_GROUP)),
            leg(1, CNY, available(CITY_GROUP), available(QINWANGCHUAN)),
        ]
    )
    assert book.refusal(entry, FARMER).reason == "NOT_YOUR_ACCOUNT"


@pytest.mark.parametrize("purpose", [p for p in Purpose if p != Purpose.AVAILABLE])
def test_from_available_units_go_nowhere_a_rule_does_not_name(purpose: Purpose) -> None:
    """Retired and trading are reached in their own way, with a claim and with a venue."""
    credit = Account(QINWANGCHUAN, purpose, "")
    refused = farm_with().refusal(
        PostEntry([leg(1, TICKET, available(QINWANGCHUAN), credit)]), FARMER
    )
    other = {Purpose.RETIRED: "CLAIM_MISSING", Purpose.PLEDGED: "ROLE_MISSING"}
    assert refused.reason == other.get(purpose, "CREDIT_NOT_ALLOWED")


@pytest.mark.parametrize(
    "credit",
    [
        Account(CITY_GROUP, Purpose.AVAILABLE, "mine"),
        Account(CITY_GROUP, Purpose.TRADING, VENUE),
        Account(CITY_GROUP, Purpose.RETIRED, ""),
        Account(CITY_GROUP, Purpose.HELD, "x"),
    ],
)
def test_units_do_not_go_to_somebody_elses_side_accounts(credit: Account) -> None:
    entry = PostEntry([leg(1, TICKET, available(QINWANGCHUAN), credit)], CLAIM)
    assert farm_with().refusal(entry, FARMER).reason == "CREDIT_NOT_ALLOWED"


@pytest.mark.parametrize(
    "purpose",
    [Purpose.HELD, Purpose.CUSTODY, Purpose.BUFFER, Purpose.FEES],
)
def test_no_entry_debits_a_purpose_without_a_rule(purpose: Purpose) -> None:
    debit = Account(QINWANGCHUAN, purpose, "x")
    entry = PostEntry([leg(1, TICKET, debit, available(QINWANGCHUAN))])
    refused = farm_with().refusal(entry, person("everything", holders=[QINWANGCHUAN], roles=["*"]))
    assert refused.reason == "PURPOSE_NOT_DEBITABLE"
    assert refused.details == {"purpose": purpose.value}


def test_an_entry_debits_one_purpose_only() -> None:
    book = ready_to_trade()
    issue(book, "LZXQ-2022", {QINWANGCHUAN: 10})
    both = person("both", holders=[QINWANGCHUAN], roles=[f"venue:{VENUE}"])
    entry = PostEntry(
        [
            leg(1, TICKET, available(QINWANGCHUAN), available(CITY_GROUP)),
            leg(1, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN)),
        ]
    )
    refused = book.refusal(entry, both)
    assert refused.reason == "MIXED_DEBITS"
    assert refused.details == {"actual": "available trading"}


@pytest.mark.parametrize(
    ("legs", "reason", "kind"),
    [
        ([], "LEGS_COUNT", Kind.INVALID),
        (
            [leg(1, TICKET, available(QINWANGCHUAN), available(CITY_GROUP))] * 65,
            "LEGS_COUNT",
            Kind.INVALID,
        ),
        (
            [leg(1, "CEA-2024", available(QINWANGCHUAN), available(CITY_GROUP))],
            "UNKNOWN_ASSET",
            Kind.UNKNOWN,
        ),
        (
            [leg(1, TICKET, available(QINWANGCHUAN), available(STRANGER))],
            "UNKNOWN_HOLDER",
            Kind.UNKNOWN,
        ),
        (
            [leg(1, TICKET, available(STRANGER), available(QINWANGCHUAN))],
            "UNKNOWN_HOLDER",
            Kind.UNKNOWN,
        ),
        (
            [leg(1, TICKET, available(QINWANGCHUAN), available(QINWANGCHUAN))],
            "SAME_ACCOUNT",
            Kind.INVALID,
        ),
        (
            [leg(1, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, "m\n"))],
            "TEXT_NOT_PRINTABLE",
            Kind.INVALID,
        ),
        (
            [leg(1, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, "m" * 81))],
            "TEXT_TOO_LONG",
            Kind.INVALID,
        ),
    ],
)
def test_an_entry_of_another_shape_is_refused(legs: list[Leg], reason: str, kind: Kind) -> None:
    refused = farm_with().refusal(PostEntry(legs), FARMER)
    assert (refused.reason, refused.kind) == (reason, kind)


def test_sixty_four_legs_pass() -> None:
    book = farm_with()
    legs = [leg(1, TICKET, available(QINWANGCHUAN), available(CITY_GROUP))] * 64
    book.when(PostEntry(legs), FARMER)
    assert balance(book.state, available(CITY_GROUP)) == 64
    check_books(book)


# Business time


@pytest.mark.parametrize(
    ("back_ms", "reason"),
    [
        (0, None),
        (BACKDATING_DAYS * DAY_MS, None),
        (BACKDATING_DAYS * DAY_MS + 1, "ON_TOO_OLD"),
        (-1, "ON_IN_FUTURE"),
    ],
)
def test_business_time_lies_within_what_the_asset_allows(back_ms: int, reason: str | None) -> None:
    book = farm_with()
    on_ms = book.clock.now_ms() - back_ms
    entry = pay(QINWANGCHUAN, CITY_GROUP, 1)
    if reason is None:
        assert book.when(entry, FARMER, on_ms=on_ms)
        return
    refused = book.refusal(entry, FARMER, on_ms=on_ms)
    assert refused.reason == reason
    if reason == "ON_TOO_OLD":
        assert refused.details == {"limit_days": BACKDATING_DAYS}


# Serials


def test_the_oldest_blocks_go_first_and_split_exactly() -> None:
    book = the_place()
    issue(book, "LZXQ-2020", {QINWANGCHUAN: 100})
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 50})
    (entry,) = book.when(pay(QINWANGCHUAN, CITY_GROUP, 120), FARMER)
    assert entry.legs[0].serials == [block(1, 100, "LZXQ-2020"), block(1, 20)]
    assert serials(book.state, available(CITY_GROUP)) == [
        ("LZXQ-2020", 1, 100),
        ("LZXQ-2021", 1, 20),
    ]
    assert serials(book.state, available(QINWANGCHUAN)) == [("LZXQ-2021", 21, 50)]
    check_books(book)


def test_oldest_means_longest_held_not_lowest_number() -> None:
    book = the_place()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 50, ZHONGCHUAN: 50})
    book.when(pay(ZHONGCHUAN, CITY_GROUP, 50), FARMER)  # 51..100 come first
    book.when(pay(QINWANGCHUAN, CITY_GROUP, 50), FARMER)  # 1..50 after them
    (entry,) = book.when(pay(CITY_GROUP, QINWANGCHUAN, 60), BUYER)
    assert entry.legs[0].serials == [block(51, 100), block(1, 10)]
    check_books(book)


def test_named_serials_are_the_ones_that_move() -> None:
    book = farm_with(100)
    book.when(pay(QINWANGCHUAN, CITY_GROUP, 15, TICKET, block(40, 49), block(91, 95)), FARMER)
    assert serials(book.state, available(CITY_GROUP)) == [
        ("LZXQ-2021", 40, 49),
        ("LZXQ-2021", 91, 95),
    ]
    assert serials(book.state, available(QINWANGCHUAN)) == [
        ("LZXQ-2021", 1, 39),
        ("LZXQ-2021", 50, 90),
        ("LZXQ-2021", 96, 100),
    ]
    check_books(book)


def test_a_named_range_may_span_blocks_that_lie_apart() -> None:
    book = farm_with(100)
    book.when(pay(QINWANGCHUAN, CITY_GROUP, 10, TICKET, block(51, 60)), FARMER)
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 10), BUYER)  # 1..50, 61..100, 51..60
    book.when(pay(QINWANGCHUAN, ZHONGCHUAN, 30, TICKET, block(41, 70)), FARMER)
    assert serials(book.state, available(ZHONGCHUAN)) == [("LZXQ-2021", 41, 70)]
    check_books(book)


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ([block(101, 101)], "SERIALS_NOT_HELD"),
        ([block(91, 101)], "SERIALS_NOT_HELD"),
        ([block(1, 10, "LZXQ-2022")], "SERIALS_NOT_HELD"),
        ([block(0, 10)], "RANGE_MALFORMED"),
        ([block(10, 9)], "RANGE_MALFORMED"),
        ([block(1, MAX_INTEGER + 1)], "RANGE_MALFORMED"),
        ([block(-5, 10)], "RANGE_MALFORMED"),
        ([block(1, 10), block(10, 19)], "SERIALS_OVERLAP"),
        ([block(10, 19), block(1, 10)], "SERIALS_OVERLAP"),
        ([block(1, 10), block(1, 10)], "SERIALS_OVERLAP"),
        ([block(1, 30), block(5, 6)], "SERIALS_OVERLAP"),
        ([block(1, 10, "")], "MISSING_VALUE"),
        ([block(1, 10, "x" * 81)], "TEXT_TOO_LONG"),
        ([block(n, n) for n in range(1, 515, 2)], "TOO_MANY_RANGES"),
    ],
)
def test_serials_that_cannot_move_are_refused(ranges: list[SerialRange], reason: str) -> None:
    amount = max(sum(one.amount for one in ranges), 1)
    entry = pay(QINWANGCHUAN, CITY_GROUP, min(amount, MAX_INTEGER), TICKET, *ranges)
    book = farm_with(100)
    issue(book, "LZXQ-2019", {QINWANGCHUAN: 1000})  # there are enough, but not these
    assert book.refusal(entry, FARMER).reason == reason


def test_serials_gone_by_an_earlier_leg_are_gone_for_a_later_one() -> None:
    entry = PostEntry(
        [
            leg(10, TICKET, available(QINWANGCHUAN), available(CITY_GROUP), block(1, 10)),
            leg(10, TICKET, available(QINWANGCHUAN), available(ZHONGCHUAN), block(10, 19)),
        ]
    )
    refused = farm_with(100).refusal(entry, FARMER)
    assert refused.reason == "SERIALS_NOT_HELD"
    assert refused.details["serial"] == 10


def test_serials_must_be_as_many_as_the_amount() -> None:
    refused = farm_with(100).refusal(
        pay(QINWANGCHUAN, CITY_GROUP, 11, TICKET, block(1, 10)), FARMER
    )
    assert refused.reason == "SERIALS_DISAGREE"
    assert refused.details == {"expected": 11, "actual": 10}


def test_money_has_no_serials_to_name() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, 100, "line 1")
    entry = pay(CITY_GROUP, QINWANGCHUAN, 10, CNY, block(1, 10))
    assert book.refusal(entry, BUYER).reason == "NOT_SERIALISED"


def test_a_leg_that_would_take_too_many_blocks_says_how_many() -> None:
    book = the_place()
    for n in range(257):
        issue(book, f"LZXQ-{n}", {QINWANGCHUAN: 1})
    refused = book.refusal(pay(QINWANGCHUAN, CITY_GROUP, 257), FARMER)
    assert refused.reason == "TOO_MANY_RANGES"
    assert "257" in refused.message
    assert book.when(pay(QINWANGCHUAN, CITY_GROUP, 256), FARMER)


# Retiring


def test_units_are_retired_for_a_claim_and_never_move_again() -> None:
    book = farm_with(100)
    entry = PostEntry([leg(30, TICKET, available(QINWANGCHUAN), retired(QINWANGCHUAN))], CLAIM)
    (event,) = book.when(entry, FARMER)
    assert event.claim == CLAIM
    assert serials(book.state, retired(QINWANGCHUAN)) == [("LZXQ-2021", 1, 30)]
    back = PostEntry([leg(30, TICKET, retired(QINWANGCHUAN), available(QINWANGCHUAN))])
    everyone = person("all", holders=[QINWANGCHUAN], roles=["registry", "cashier", "system"])
    refused = book.refusal(back, everyone)
    assert refused.reason == "TERMINAL"
    assert refused.details == {"purpose": "retired"}
    check_books(book)


@pytest.mark.parametrize(
    "purpose",
    [
        Purpose.RETIRED,
        Purpose.SURRENDERED,
        Purpose.CANCELLED,
        Purpose.EXPIRED,
        Purpose.CARRIED_OVER,
    ],
)
def test_terminal_means_terminal(purpose: Purpose) -> None:
    debit = Account(QINWANGCHUAN, purpose, "")
    entry = PostEntry([leg(1, TICKET, debit, available(QINWANGCHUAN))])
    for caller in (FARMER, REGISTRY, CASHIER, EXCHANGE):
        assert farm_with().refusal(entry, caller).reason == "TERMINAL"


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (None, "CLAIM_MISSING"),
        (Claim("", "", "meeting"), "MISSING_VALUE"),
        (Claim("兰州新区城投", "", ""), "MISSING_VALUE"),
        (Claim("x" * 301, "", "meeting"), "TEXT_TOO_LONG"),
        (Claim("兰州新区城投", "x" * 2001, "meeting"), "TEXT_TOO_LONG"),
        (Claim("兰州\x00", "", "meeting"), "TEXT_NOT_PRINTABLE"),
    ],
)
def test_a_retirement_names_beneficiary_and_purpose(claim: Claim | None, reason: str) -> None:
    entry = PostEntry([leg(1, TICKET, available(QINWANGCHUAN), retired(QINWANGCHUAN))], claim)
    assert farm_with().refusal(entry, FARMER).reason == reason


def test_a_claim_without_details_is_enough() -> None:
    entry = PostEntry(
        [leg(1, TICKET, available(QINWANGCHUAN), retired(QINWANGCHUAN))],
        Claim("兰州新区城投", "", "meeting"),
    )
    assert farm_with().when(entry, FARMER)


def test_a_claim_goes_with_units_retired_only() -> None:
    transfer = PostEntry(pay(QINWANGCHUAN, CITY_GROUP, 1).legs, CLAIM)
    assert farm_with().refusal(transfer, FARMER).reason == "CLAIM_WITHOUT_RETIREMENT"
    release = PostEntry([leg(1, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN))], CLAIM)
    assert ready_to_trade().refusal(release, EXCHANGE).reason == "CLAIM_WITHOUT_RETIREMENT"
    paid_in = PostEntry(deposit_entry(CITY_GROUP, 1).legs, CLAIM)
    refused = the_place().refusal(paid_in, CASHIER, acts=[advice(CITY_GROUP, 1, "1")])
    assert refused.reason == "CLAIM_WITHOUT_RETIREMENT"


def test_money_is_not_retired() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, 100, "line 1")
    entry = PostEntry([leg(1, CNY, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM)
    assert book.refusal(entry, BUYER).reason == "MONEY_NOT_RETIRABLE"


# Trading


def test_units_allocated_to_a_venue_are_no_longer_their_holders_to_spend() -> None:
    book = ready_to_trade()
    back = PostEntry([leg(1, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN))])
    refused = book.refusal(back, FARMER)
    assert (refused.reason, refused.details) == ("ROLE_MISSING", {"needed": f"venue:{VENUE}"})
    assert book.when(back, EXCHANGE)


def test_a_venue_touches_only_the_trading_accounts_of_its_own() -> None:
    book = ready_to_trade()
    other = person("another exchange", roles=["venue:market-guangdong"])
    back = PostEntry([leg(1, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN))])
    assert book.refusal(back, other).reason == "ROLE_MISSING"
    elsewhere = trading(QINWANGCHUAN, "market-guangdong")
    mixed = PostEntry([*back.legs, leg(1, TICKET, elsewhere, available(QINWANGCHUAN))])
    assert book.refusal(mixed, EXCHANGE).reason == "MIXED_DEBITS"


def test_a_venue_cannot_pay_one_holders_units_out_to_another() -> None:
    book = ready_to_trade()
    away = PostEntry([leg(1, TICKET, trading(QINWANGCHUAN), available(CITY_GROUP))])
    assert book.refusal(away, EXCHANGE).reason == "ACT_MISSING"


def test_what_nobody_checked_is_not_recorded_as_an_act() -> None:
    """In the signed log it would look like an institution's signature that somebody verified."""
    book = ready_to_trade()
    deposit(book, CITY_GROUP, 5, "line 2")
    stray: Sequence[object] = [advice(CITY_GROUP, 5, "line 3")]
    transfer = pay(CITY_GROUP, QINWANGCHUAN, 5, CNY)
    assert book.refusal(transfer, BUYER, acts=stray).reason == "ACT_UNEXPECTED"
    release = PostEntry([leg(1, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN))])
    assert book.refusal(release, EXCHANGE, acts=stray).reason == "ACT_UNEXPECTED"


def test_the_programme_is_below_zero_by_exactly_what_it_issued() -> None:
    book = ready_to_trade()
    assert balance(book.state, issued()) == -TOTAL_T
    assert balance(book.state, external(), CNY) == -TOTAL_FEN
    assert book.state.keys_by_holder[PROGRAMME]
    check_books(book)
