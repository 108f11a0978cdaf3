"""What institutions sign over entries: believed from their own key, for these very words, once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes, sign_act
from kernel.errors import Kind
from kernel.keyring import WithdrawKey
from kernel.values import Act, Caller
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Leg, Purpose, SerialRange
from tests.support.books import person
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BANK,
    BANK_KEY,
    CASHIER,
    CITY_GROUP,
    CNY,
    EXCHANGE,
    FARMER,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRY,
    SYSTEM,
    TICKET,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
    advice,
    approval,
    available,
    balance,
    check_books,
    deposit,
    deposit_entry,
    external,
    issuance,
    issue,
    issued,
    leg,
    ready_to_trade,
    serials,
    settlement,
    settlement_entry,
    the_place,
    trading,
)

DEAL = ("2021-08-30/1", QINWANGCHUAN, CITY_GROUP, 7000, 4194)
OTHER_DEAL = ("2021-08-30/2", ZHONGCHUAN, CITY_GROUP, 5000, 4194)


class Scene:
    """One kind of signed entry: how it is asked for, by whom, on which statement."""

    def __init__(
        self,
        place: Callable[[], AccountsBook],
        entry: PostEntry,
        caller: Caller,
        sign: Callable[..., Act],
        key: Ed25519PrivateKey,
        subject: str,
    ) -> None:
        self.place = place
        self.entry = entry
        self.caller = caller
        self.sign = sign
        self.key = key
        self.subject = subject


SCENES = {
    "bank-advice": Scene(
        the_place,
        deposit_entry(CITY_GROUP, 500),
        CASHIER,
        lambda **changed: advice(CITY_GROUP, 500, "line 1", **changed),
        BANK_KEY,
        f"bank:{BANK}",
    ),
    "issuance-approval": Scene(
        the_place,
        issuance("LZXQ-2021", FOREST_T),
        REGISTRY,
        lambda **changed: approval("LZXQ-2021", FOREST_T, **changed),
        AUTHORITY_KEY,
        f"authority:{PROGRAMME}",
    ),
    "settlement": Scene(
        ready_to_trade,
        settlement_entry(DEAL, OTHER_DEAL),
        EXCHANGE,
        lambda **changed: settlement(DEAL, OTHER_DEAL, **changed),
        VENUE_KEY,
        f"venue:{VENUE}",
    ),
}
every_kind = pytest.mark.parametrize("scene", SCENES.values(), ids=list(SCENES))


def refusal(scene: Scene, *acts: Act, book: AccountsBook | None = None) -> str:
    return (book or scene.place()).refusal(scene.entry, scene.caller, acts=acts).reason


@every_kind
def test_signed_by_the_institution_it_is_carried_out(scene: Scene) -> None:
    book = scene.place()
    assert len(book.when(scene.entry, scene.caller, acts=[scene.sign()])) == 1
    check_books(book)


@every_kind
def test_without_a_statement_it_is_refused(scene: Scene) -> None:
    refused = scene.place().refusal(scene.entry, scene.caller)
    assert refused.reason == "ACT_MISSING"
    assert scene.subject in refused.message


@every_kind
def test_with_two_statements_it_is_refused(scene: Scene) -> None:
    assert refusal(scene, scene.sign(), scene.sign()) == "ACT_MISSING"


@every_kind
def test_the_same_statement_is_never_carried_out_twice(scene: Scene) -> None:
    book = scene.place()
    book.when(scene.entry, scene.caller, acts=[scene.sign()])
    again = refusal(scene, scene.sign(), book=book)
    assert again in {"LINE_BOOKED", "BATCH_EXISTS", "TRADE_SETTLED"}


@every_kind
def test_another_institutions_key_is_refused(scene: Scene) -> None:
    others = [key for key in (AUTHORITY_KEY, BANK_KEY, VENUE_KEY) if key != scene.key]
    for key in others:
        refused = scene.place().refusal(scene.entry, scene.caller, acts=[scene.sign(key=key)])
        assert refused.reason == "ACT_SUBJECT"
        assert refused.details["expected"] == scene.subject


@every_kind
def test_a_key_nobody_admitted_is_refused(scene: Scene) -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert refusal(scene, scene.sign(key=stranger)) == "ACT_KEY_UNKNOWN"


@every_kind
def test_a_withdrawn_key_counts_no_more(scene: Scene) -> None:
    book = scene.place()
    book.when(WithdrawKey(key_id(public_bytes(scene.key))), SYSTEM)
    assert refusal(scene, scene.sign(), book=book) == "ACT_KEY_UNKNOWN"


@every_kind
def test_a_new_key_of_the_institution_counts(scene: Scene) -> None:
    book = scene.place()
    fresh = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
    book.when(WithdrawKey(key_id(public_bytes(scene.key))), SYSTEM)
    book.given(admitted(fresh, scene.subject))
    assert book.when(scene.entry, scene.caller, acts=[scene.sign(key=fresh)])


@every_kind
def test_one_changed_byte_of_the_statement_is_refused(scene: Scene) -> None:
    act = scene.sign()
    for at in range(0, len(act.statement), 9):
        text = act.statement[:at] + chr(ord(act.statement[at]) ^ 1) + act.statement[at + 1 :]
        assert refusal(scene, Act(act.key_id, act.signature, text)) == "ACT_SIGNATURE"


@every_kind
def test_a_signature_of_something_else_is_refused(scene: Scene) -> None:
    other = sign_act(scene.key, {"kind": "greeting"})
    act = scene.sign()
    assert refusal(scene, Act(act.key_id, other.signature, act.statement)) == "ACT_SIGNATURE"
    assert refusal(scene, Act(act.key_id, "", act.statement)) == "ACT_SIGNATURE"


@every_kind
def test_a_statement_of_another_kind_is_refused(scene: Scene) -> None:
    for other in SCENES.values():
        if other is not scene:
            assert refusal(scene, other.sign(key=scene.key)) == "ACT_MISSING"


def signed_text(key: Ed25519PrivateKey, text: str) -> Act:
    """A statement in exactly these characters, well signed."""
    signature = key.sign(b"tanzhang-act/v1\n" + text.encode())
    return Act(key_id(public_bytes(key)), base64.b64encode(signature).decode(), text)


@every_kind
def test_a_second_spelling_of_the_statement_is_refused_though_well_signed(scene: Scene) -> None:
    text = scene.sign().statement
    for other in (
        text.replace(":", ": ", 1),
        text + "\n",
        text.replace('"kind"', '"kind":"x","kind"', 1),
        text[:-1] + ',"zusatz":1}',
        text.replace('"kind":', '"\\u006bind":', 1),
        "{" + ",".join(reversed(text[1:-1].split(","))) + "}",
        text[:-1],
        "",
        "[]",
        "null",
        '{"a":' + "[" * 5000,
        '{"kind":5}',
    ):
        assert refusal(scene, signed_text(scene.key, other)) == "ACT_MALFORMED", other


@every_kind
def test_only_the_role_of_the_purpose_may_ask(scene: Scene) -> None:
    everybody_else = person(
        "everybody else",
        roles=sorted({"registry", "cashier", f"venue:{VENUE}"} - scene.caller.roles),
        holders=[QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP, PROGRAMME, BANK],
    )
    refused = scene.place().refusal(scene.entry, everybody_else, acts=[scene.sign()])
    assert (refused.reason, refused.kind) == ("ROLE_MISSING", Kind.FORBIDDEN)


# Money in


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_fen": 501},
        {"amount_fen": 499},
        {"asset": "EUR"},
        {"bank": CITY_GROUP},
        {"holder": QINWANGCHUAN},
    ],
    ids=str,
)
def test_a_deposit_must_say_what_the_bank_said(changed: dict[str, Any]) -> None:
    act = advice(CITY_GROUP, 500, "line 1", **changed)
    refused = the_place().refusal(deposit_entry(CITY_GROUP, 500), CASHIER, acts=[act])
    assert refused.reason == "ACT_DIFFERS"
    assert refused.details["field"] in changed


def test_each_line_of_a_banks_statement_is_booked_once() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, 500, "line 1")
    refused = book.refusal(
        deposit_entry(QINWANGCHUAN, 700), CASHIER, acts=[advice(QINWANGCHUAN, 700, "line 1")]
    )
    assert (refused.reason, refused.details) == ("LINE_BOOKED", {"what": "line line 1"})
    deposit(book, CITY_GROUP, 500, "line 2")
    assert balance(book.state, available(CITY_GROUP), CNY) == 1000
    assert balance(book.state, external(), CNY) == -1000
    check_books(book)


@pytest.mark.parametrize(
    ("legs", "reason"),
    [
        ([leg(500, CNY, external(), available(CITY_GROUP))] * 2, "LEGS_COUNT"),
        ([leg(500, CNY, external(CITY_GROUP), available(CITY_GROUP))], "NOT_A_SETTLEMENT_BANK"),
        ([leg(500, TICKET, external(), available(CITY_GROUP))], "NOT_MONEY"),
        ([leg(500, CNY, external(), trading(CITY_GROUP))], "CREDIT_NOT_ALLOWED"),
        (
            [leg(500, CNY, external(), Account(CITY_GROUP, Purpose.AVAILABLE, "x"))],
            "CREDIT_NOT_ALLOWED",
        ),
    ],
)
def test_money_comes_in_only_from_a_bank_to_available(legs: list[Leg], reason: str) -> None:
    act = advice(CITY_GROUP, 500, "line 1")
    assert the_place().refusal(PostEntry(legs), CASHIER, acts=[act]).reason == reason


def test_a_statement_line_without_a_number_is_refused() -> None:
    act = advice(CITY_GROUP, 500, "")
    refused = the_place().refusal(deposit_entry(CITY_GROUP, 500), CASHIER, acts=[act])
    assert refused.reason == "MISSING_VALUE"


# Issuance


def test_a_batch_is_one_range_shared_out_in_order() -> None:
    book = the_place()
    issue(book, "LZXQ-2021", FOREST_T, first=1001)
    assert serials(book.state, available(QINWANGCHUAN)) == [("LZXQ-2021", 1001, 8000)]
    assert serials(book.state, available(ZHONGCHUAN)) == [("LZXQ-2021", 8001, 13_000)]
    assert balance(book.state, issued()) == -12_000
    check_books(book)


def test_who_approved_an_issuance_may_not_ask_for_it() -> None:
    checker = person("authority-checker", roles=["registry"])
    refused = the_place().refusal(
        issuance("LZXQ-2021", FOREST_T), checker, acts=[approval("LZXQ-2021", FOREST_T)]
    )
    assert (refused.reason, refused.kind) == ("MAKER_IS_CHECKER", Kind.FORBIDDEN)


def test_a_batch_is_issued_once_whoever_owns_it() -> None:
    book = the_place()
    issue(book, "LZXQ-2021", FOREST_T)
    owners = {CITY_GROUP: 1}
    refused = book.refusal(
        issuance("LZXQ-2021", owners, 20_001),
        REGISTRY,
        acts=[approval("LZXQ-2021", owners, 20_001)],
    )
    assert (refused.reason, refused.details) == ("BATCH_EXISTS", {"what": "batch LZXQ-2021"})


@pytest.mark.parametrize(
    "changed",
    [
        {"asset": "TICKET-LZXQ-2"},
        {"batch": "LZXQ-2022"},
        {"first": 2},
        {"last": 12_001},
        {"last": 11_999},
        {"programme": CITY_GROUP},
        {"owners": [{"holder": QINWANGCHUAN, "quantity_t": 12_000}]},
        {
            "owners": [
                {"holder": ZHONGCHUAN, "quantity_t": 7000},
                {"holder": QINWANGCHUAN, "quantity_t": 5000},
            ]
        },
        {
            "owners": [
                {"holder": QINWANGCHUAN, "quantity_t": 7000},
                {"holder": ZHONGCHUAN, "quantity_t": 4999},
            ]
        },
        {"owners": []},
    ],
    ids=str,
)
def test_an_issuance_must_say_what_was_approved(changed: dict[str, Any]) -> None:
    act = approval("LZXQ-2021", FOREST_T, **changed)
    refused = the_place().refusal(issuance("LZXQ-2021", FOREST_T), REGISTRY, acts=[act])
    assert refused.reason == "ACT_DIFFERS"


def with_legs(*legs: Leg) -> PostEntry:
    return PostEntry(list(legs))


FARM_BLOCK, OTHER_BLOCK = SerialRange("LZXQ-2021", 1, 7000), SerialRange("LZXQ-2021", 7001, 12_000)
FARM_LEG = leg(7000, TICKET, issued(), available(QINWANGCHUAN), FARM_BLOCK)
OTHER_LEG = leg(5000, TICKET, issued(), available(ZHONGCHUAN), OTHER_BLOCK)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (with_legs(FARM_LEG), "ACT_DIFFERS"),
        (with_legs(OTHER_LEG, FARM_LEG), "ACT_DIFFERS"),
        (
            with_legs(
                FARM_LEG,
                OTHER_LEG,
                leg(
                    1,
                    TICKET,
                    issued(),
                    available(CITY_GROUP),
                    SerialRange("LZXQ-2021", 12_001, 12_001),
                ),
            ),
            "ACT_DIFFERS",
        ),
        (with_legs(leg(7000, TICKET, issued(), available(QINWANGCHUAN)), OTHER_LEG), "ACT_DIFFERS"),
        (
            with_legs(
                leg(
                    7000,
                    TICKET,
                    issued(),
                    available(QINWANGCHUAN),
                    SerialRange("LZXQ-2021", 1, 3000),
                    SerialRange("LZXQ-2021", 3001, 7000),
                ),
                OTHER_LEG,
            ),
            "ACT_DIFFERS",
        ),
        (
            with_legs(
                FARM_LEG,
                leg(
                    5000,
                    TICKET,
                    issued(),
                    available(ZHONGCHUAN),
                    SerialRange("LZXQ-2021", 7002, 12_001),
                ),
            ),
            "ACT_DIFFERS",
        ),
        (
            with_legs(
                FARM_LEG,
                leg(
                    5000,
                    TICKET,
                    Account(CITY_GROUP, Purpose.ISSUED, ""),
                    available(ZHONGCHUAN),
                    OTHER_BLOCK,
                ),
            ),
            "NOT_THE_PROGRAMME",
        ),
        (
            with_legs(
                FARM_LEG,
                leg(
                    5000,
                    TICKET,
                    Account(PROGRAMME, Purpose.ISSUED, "x"),
                    available(ZHONGCHUAN),
                    OTHER_BLOCK,
                ),
            ),
            "NOT_THE_PROGRAMME",
        ),
        (with_legs(FARM_LEG, leg(5000, CNY, issued(), available(ZHONGCHUAN))), "NOT_THE_PROGRAMME"),
        (
            with_legs(FARM_LEG, leg(5000, TICKET, issued(), trading(ZHONGCHUAN), OTHER_BLOCK)),
            "CREDIT_NOT_ALLOWED",
        ),
        (
            with_legs(
                FARM_LEG,
                leg(5000, TICKET, issued(), Account(ZHONGCHUAN, Purpose.RETIRED, ""), OTHER_BLOCK),
            ),
            "CREDIT_NOT_ALLOWED",
        ),
    ],
)
def test_an_entry_that_is_not_the_approved_issuance_is_refused(
    entry: PostEntry, reason: str
) -> None:
    refused = the_place().refusal(entry, REGISTRY, acts=[approval("LZXQ-2021", FOREST_T)])
    assert refused.reason == reason


def test_money_is_never_issued() -> None:
    entry = PostEntry([leg(5, CNY, Account(PROGRAMME, Purpose.ISSUED, ""), available(CITY_GROUP))])
    act = approval("x", {CITY_GROUP: 5}, asset=CNY, programme="")
    book = the_place().given(admitted(AUTHORITY_KEY, "authority:"))
    assert book.refusal(entry, REGISTRY, acts=[act]).reason == "NOT_THE_PROGRAMME"


# Settlement


def test_a_trade_is_settled_once_in_whichever_statement_it_stands() -> None:
    book = ready_to_trade()
    book.when(settlement_entry(DEAL), EXCHANGE, acts=[settlement(DEAL)])
    again = (DEAL[0], ZHONGCHUAN, CITY_GROUP, 1, 1)
    for deals in ((DEAL,), (again,), (OTHER_DEAL, again)):
        refused = book.refusal(settlement_entry(*deals), EXCHANGE, acts=[settlement(*deals)])
        assert refused.reason == "TRADE_SETTLED"
        assert refused.details == {"what": f"trade {DEAL[0]}"}
    assert book.when(settlement_entry(OTHER_DEAL), EXCHANGE, acts=[settlement(OTHER_DEAL)])
    check_books(book)


def test_a_trade_twice_in_one_statement_is_refused() -> None:
    half = (DEAL[0], QINWANGCHUAN, CITY_GROUP, 10, 4194)
    entry = settlement_entry(half, half)
    refused = ready_to_trade().refusal(entry, EXCHANGE, acts=[settlement(half, half)])
    assert refused.reason == "TRADE_DOUBLED"


def test_delivery_without_payment_is_no_settlement() -> None:
    whole = settlement_entry(DEAL)
    for legs in (whole.legs[:1], whole.legs[1:], whole.legs * 2):
        refused = ready_to_trade().refusal(PostEntry(legs), EXCHANGE, acts=[settlement(DEAL)])
        assert refused.reason == "ACT_DIFFERS"


@pytest.mark.parametrize(
    "other",
    [
        (DEAL[0], QINWANGCHUAN, CITY_GROUP, 6999, 4194),
        (DEAL[0], QINWANGCHUAN, CITY_GROUP, 7000, 4193),
        (DEAL[0], ZHONGCHUAN, CITY_GROUP, 7000, 4194),
        (DEAL[0], QINWANGCHUAN, ZHONGCHUAN, 7000, 4194),
    ],
    ids=str,
)
def test_a_settlement_must_say_what_the_venue_said(other: Any) -> None:
    refused = ready_to_trade().refusal(settlement_entry(DEAL), EXCHANGE, acts=[settlement(other)])
    assert refused.reason == "ACT_DIFFERS"
    assert len(refused.message) < 1000


def test_the_order_of_legs_does_not_matter_to_a_settlement() -> None:
    book = ready_to_trade()
    legs = list(reversed(settlement_entry(DEAL, OTHER_DEAL).legs))
    assert book.when(PostEntry(legs), EXCHANGE, acts=[settlement(DEAL, OTHER_DEAL)])
    check_books(book)


def test_a_venues_file_settles_at_no_other_venue() -> None:
    act = settlement(DEAL, venue="market-guangdong")
    refused = ready_to_trade().refusal(settlement_entry(DEAL), EXCHANGE, acts=[act])
    assert refused.reason == "ACT_DIFFERS"
    assert refused.details["field"] == "venue"


@pytest.mark.parametrize(
    ("quantity_t", "price_fen_per_t"), [(0, 1), (1, 0), (-1, 1), (1, -1), (2**53, 1)]
)
def test_a_trade_of_nothing_or_for_nothing_is_refused(
    quantity_t: int, price_fen_per_t: int
) -> None:
    deal = ("t", QINWANGCHUAN, CITY_GROUP, quantity_t, price_fen_per_t)
    refused = ready_to_trade().refusal(settlement_entry(DEAL), EXCHANGE, acts=[settlement(deal)])
    assert refused.reason == "AMOUNT_OUT_OF_RANGE"


def test_a_price_times_quantity_beyond_all_bounds_is_refused_not_wrapped() -> None:
    deal = ("t", QINWANGCHUAN, CITY_GROUP, 2**52, 2**52)
    refused = ready_to_trade().refusal(settlement_entry(DEAL), EXCHANGE, acts=[settlement(deal)])
    assert refused.reason == "ACT_DIFFERS"


def test_a_farmer_is_not_an_institution() -> None:
    """Roles alone move nothing out of issued, external or somebody's trading account."""
    powerful = person("thief", roles=["registry", "cashier", f"venue:{VENUE}"])
    for scene in SCENES.values():
        assert scene.place().refusal(scene.entry, powerful).reason == "ACT_MISSING"
        assert scene.place().refusal(scene.entry, FARMER).reason == "ROLE_MISSING"
