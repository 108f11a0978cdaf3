"""What must not go in, through the real services: each refused in its own words, nothing half done.

Every case leaves both books and all balances as they were. The reasons are stable: programs match
on them.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import journal_pb2
from tanzhang.ledger.v1 import ledger_pb2 as lb

from cli.stack.provision import policy_file
from kernel.acts import key_id, public_bytes, sign_act
from kernel.auth import mint_token
from kernel.errors import Conflict, Kind, Refused
from kernel.ids import uuid7
from kernel.rpc.client import metadata
from kernel.rpc.items import act_message, timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.tlog.cose import verify_cose_receipt
from kernel.tlog.errors import ReceiptError
from kernel.tlog.note import ED25519, Signer
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.receipt import (
    commitment,
    leaf_data,
    make_receipt,
    split_receipt,
    verify_receipt,
)
from kernel.values import DAY_MS, MAX_INTEGER, Act, Caller
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Claim, Purpose, SerialRange
from tests.support.books import person
from tests.support.lanzhou import (
    BANK,
    BANK_KEY,
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
    REGISTRAR,
    REGISTRY,
    STRANGER,
    TICKET,
    TOTAL_FEN,
    USCCS,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    Deal,
    advice,
    approval,
    available,
    deposit_entry,
    external,
    issuance,
    issued,
    leg,
    pay,
    retired,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.world import (
    AUDITOR,
    CHECKER,
    MAKER,
    World,
    Worlds,
    accepted,
    details,
    payment,
    refusal,
    some_uscc,
)

BATCH = "LZXQ-2021"
DEAL: Deal = ("deal 1", QINWANGCHUAN, CITY_GROUP, 500, PRICE_FEN_PER_T)
COMMUTER = person("a Shenzhen commuter")
HOLDERS = (PROGRAMME, QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP, BANK)


@pytest.fixture(scope="module")
def market(worlds: Worlds) -> Iterator[World]:
    """Tickets and money at the venue, one deal settled, the rest at home."""
    with worlds.open() as world:
        world.issue(BATCH, FOREST_T)
        world.fund(CITY_GROUP, TOTAL_FEN)
        world.allocate(QINWANGCHUAN, 1000, TICKET)
        world.allocate(CITY_GROUP, 1000 * PRICE_FEN_PER_T, CNY)
        world.settle(DEAL)
        yield world


def everything(world: World) -> Any:
    """Both heads and all balances, serials too."""
    balances = [
        world.call(world.accounts.GetBalances, pb.GetBalancesRequest(holder=holder), AUDITOR)
        for holder in HOLDERS
    ]
    return [world.head(book) for book in world.supervisor.books], [
        list(one.balances) for one in balances
    ]


@contextmanager
def nothing_happens(world: World) -> Iterator[None]:
    before = everything(world)
    yield
    assert everything(world) == before


class Case(NamedTuple):
    """An item that is refused: to which method, by whom, for what."""

    name: str
    reason: str
    method: str
    caller: Caller
    item: Callable[[World], Any]


def entry_case(
    name: str, reason: str, entry: PostEntry, caller: Caller = BUYER, *acts: Act
) -> Case:
    return Case(name, reason, "PostEntries", caller, lambda world: world.entry(entry, acts=acts))


def changed_entry(name: str, reason: str, change: Callable[[World, pb.Entry], None]) -> Case:
    """A good payment, but for one thing."""

    def item(world: World) -> pb.Entry:
        entry = world.entry(payment(1))
        change(world, entry)
        return entry

    return Case(name, reason, "PostEntries", BUYER, item)


def holder_case(name: str, reason: str, /, **changed: Any) -> Case:
    def item(world: World) -> pb.Holder:
        holder = pb.Holder(
            id=world.new_id(),
            holder=STRANGER,
            kind=pb.HOLDER_KIND_ENTERPRISE,
            uscc=some_uscc(1),
            name="深圳公交",
        )
        for field, value in changed.items():
            setattr(holder, field, value)
        return holder

    return Case(name, reason, "RegisterHolders", REGISTRAR, item)


def asset_case(name: str, reason: str, /, **changed: Any) -> Case:
    def item(world: World) -> pb.Asset:
        asset = world.asset("GDEA-2023")
        for field, value in changed.items():
            setattr(asset, field, value)
        return asset

    return Case(name, reason, "DefineAssets", REGISTRAR, item)


def hold_case(name: str, reason: str, caller: Caller = BUYER, **changed: Any) -> Case:
    def item(world: World) -> pb.Hold:
        to = pb.Account(holder=QINWANGCHUAN, purpose=pb.PURPOSE_AVAILABLE)
        hold = pb.Hold(id=world.new_id(), holder=CITY_GROUP, asset=CNY, amount=5, to=to)
        hold.MergeFrom(pb.Hold(**changed))
        return hold

    return Case(name, reason, "PlaceHolds", caller, item)


def one_leg(debit: Account, credit: Account, amount: int = 1, asset: str = CNY) -> PostEntry:
    return PostEntry([leg(amount, asset, debit, credit)])


def tickets(amount: int, *ranges: tuple[str, int, int]) -> PostEntry:
    return pay(QINWANGCHUAN, ZHONGCHUAN, amount, TICKET, *(SerialRange(*one) for one in ranges))


def retirement(claim: Claim | None, asset: str = TICKET) -> PostEntry:
    return PostEntry([leg(1, asset, available(CITY_GROUP), retired(CITY_GROUP))], claim)


def set_on(world: World, entry: pb.Entry, later_ms: int = 0, nanos: int = 0) -> None:
    now_ms = world.clock.now_ms()
    entry.on.CopyFrom(timestamp_of(now_ms + later_ms))
    entry.on.nanos += nanos


def set_id(make: Callable[[World], str]) -> Callable[[World, pb.Entry], None]:
    def change(world: World, entry: pb.Entry) -> None:
        entry.id = make(world)

    return change


def set_debit_purpose(number: int) -> Callable[[World, pb.Entry], None]:
    def change(world: World, entry: pb.Entry) -> None:
        entry.legs[0].debit.purpose = number  # type: ignore[assignment]

    return change


def bad_deposit(name: str, reason: str, *acts: Act, caller: Caller = CASHIER) -> Case:
    return entry_case(name, reason, deposit_entry(CITY_GROUP, 100), caller, *acts)


def bad_issuance(name: str, reason: str, *acts: Act, caller: Caller = REGISTRY) -> Case:
    return entry_case(name, reason, issuance("LZXQ-2022", {ZHONGCHUAN: 10}), caller, *acts)


def signed_text(key: Ed25519PrivateKey, text: str) -> Act:
    """A good signature over whatever text."""
    signature = key.sign(b"tanzhang-act/v1\n" + text.encode())
    return Act(key_id(public_bytes(key)), base64.b64encode(signature).decode(), text)


def mistyped(uscc: str) -> str:
    return uscc[:-1] + ("1" if uscc[-1] == "0" else "0")


GOOD_ADVICE = advice(CITY_GROUP, 100, "line 100")
GOOD_APPROVAL = approval("LZXQ-2022", {ZHONGCHUAN: 10})
NEW_DEAL: Deal = ("deal 2", QINWANGCHUAN, CITY_GROUP, 1, PRICE_FEN_PER_T)
TOO_LARGE_DEAL: Deal = ("deal 3", QINWANGCHUAN, CITY_GROUP, 5000, PRICE_FEN_PER_T)
UNKNOWN_KEY = Ed25519PrivateKey.generate()

CASES = [
    # quantities
    entry_case("nothing", "AMOUNT_OUT_OF_RANGE", payment(0)),
    entry_case("less than nothing", "AMOUNT_OUT_OF_RANGE", payment(-5)),
    entry_case("beyond 2^53", "AMOUNT_OUT_OF_RANGE", payment(MAX_INTEGER + 1)),
    entry_case("the largest int64", "AMOUNT_OUT_OF_RANGE", payment(2**63 - 1)),
    entry_case("more than there is", "INSUFFICIENT_BALANCE", payment(TOTAL_FEN)),
    # names of things that are not there
    entry_case("unknown asset", "UNKNOWN_ASSET", pay(CITY_GROUP, QINWANGCHUAN, 1, "CEA-2024")),
    entry_case("unknown payee", "UNKNOWN_HOLDER", pay(CITY_GROUP, STRANGER, 1, CNY)),
    entry_case("unknown payer", "UNKNOWN_HOLDER", pay(STRANGER, CITY_GROUP, 1, CNY)),
    changed_entry("unknown enum number", "UNKNOWN_VALUE", set_debit_purpose(99)),
    changed_entry("unspecified enum", "UNKNOWN_VALUE", set_debit_purpose(0)),
    changed_entry(
        "no debit at all", "UNKNOWN_VALUE", lambda _, entry: entry.legs[0].ClearField("debit")
    ),
    # times
    changed_entry(
        "half a millisecond", "INSTANT_MALFORMED", lambda w, entry: set_on(w, entry, 0, 500_000)
    ),
    changed_entry(
        "nanoseconds beyond a second",
        "INSTANT_MALFORMED",
        lambda _, entry: entry.on.CopyFrom(Timestamp(seconds=1, nanos=2_000_000_000)),
    ),
    changed_entry(
        "before 1970",
        "INSTANT_MALFORMED",
        lambda _, entry: entry.on.CopyFrom(Timestamp(seconds=-1)),
    ),
    changed_entry(
        "the year 30000",
        "INSTANT_MALFORMED",
        lambda _, entry: entry.on.CopyFrom(Timestamp(seconds=884_541_340_800)),
    ),
    changed_entry(
        "an evening in 9999 whose business day no record could name",
        "INSTANT_MALFORMED",
        lambda _, entry: entry.on.CopyFrom(Timestamp(seconds=253_402_272_000)),
    ),
    changed_entry("tomorrow", "ON_IN_FUTURE", lambda w, entry: set_on(w, entry, DAY_MS)),
    changed_entry("a month ago", "ON_TOO_OLD", lambda w, entry: set_on(w, entry, -30 * DAY_MS)),
    # ids
    changed_entry("no id", "ID_MALFORMED", set_id(lambda _: "")),
    changed_entry("no uuid", "ID_MALFORMED", set_id(lambda _: "payment 1\u0000")),
    changed_entry(
        "a random uuid", "ID_MALFORMED", set_id(lambda _: "6f1d9b1e-0c1c-4c39-9d0c-0e6f1d9b1e00")
    ),
    changed_entry("capitals", "ID_MALFORMED", set_id(lambda w: w.new_id().upper() + "A")),
    changed_entry(
        "an id of tomorrow",
        "ID_FROM_FUTURE",
        set_id(lambda w: uuid7(w.clock.now_ms() + DAY_MS)),
    ),
    changed_entry(
        "an id of the year 10889", "ID_FROM_FUTURE", set_id(lambda _: uuid7((1 << 48) - 1))
    ),
    # legs
    entry_case("no legs", "LEGS_COUNT", PostEntry([])),
    entry_case("too many legs", "LEGS_COUNT", PostEntry(payment(1).legs * 65)),
    entry_case("to itself", "SAME_ACCOUNT", pay(CITY_GROUP, CITY_GROUP, 1, CNY)),
    entry_case(
        "out of two purposes",
        "MIXED_DEBITS",
        PostEntry([*payment(1).legs, leg(1, CNY, trading(CITY_GROUP), available(CITY_GROUP))]),
    ),
    entry_case(
        "back from retirement",
        "TERMINAL",
        one_leg(retired(CITY_GROUP), available(CITY_GROUP), 1, TICKET),
    ),
    entry_case(
        "out of a pledge",
        "ROLE_MISSING",
        one_leg(Account(CITY_GROUP, Purpose.PLEDGED, "lien"), available(CITY_GROUP)),
    ),
    entry_case("into issued", "CREDIT_NOT_ALLOWED", one_leg(available(CITY_GROUP), issued())),
    entry_case(
        "into somebody's trading",
        "CREDIT_NOT_ALLOWED",
        one_leg(available(CITY_GROUP), trading(QINWANGCHUAN)),
    ),
    entry_case(
        "into a reference",
        "CREDIT_NOT_ALLOWED",
        one_leg(available(CITY_GROUP), Account(QINWANGCHUAN, Purpose.AVAILABLE, "nook")),
    ),
    entry_case(
        "a reference too long",
        "TEXT_TOO_LONG",
        one_leg(available(CITY_GROUP), trading(CITY_GROUP, "v" * 81)),
    ),
    entry_case(
        "a reference with a line break",
        "TEXT_NOT_PRINTABLE",
        one_leg(available(CITY_GROUP), trading(CITY_GROUP, "market\nlzxq")),
    ),
    # whose it is
    entry_case("somebody else's money", "NOT_YOUR_ACCOUNT", payment(1), FARMER),
    entry_case("nobody's business", "NOT_YOUR_ACCOUNT", payment(1), COMMUTER),
    entry_case("a signature nobody asked for", "ACT_UNEXPECTED", payment(1), BUYER, GOOD_ADVICE),
    # claims
    entry_case("retired for nothing", "CLAIM_MISSING", retirement(None)),
    entry_case("retired by nobody", "MISSING_VALUE", retirement(Claim("", "", "annual meeting"))),
    entry_case(
        "a claim as long as a book", "TEXT_TOO_LONG", retirement(Claim("城投", "x" * 2001, "会议"))
    ),
    entry_case("money retired", "MONEY_NOT_RETIRABLE", retirement(CLAIM, CNY)),
    entry_case(
        "a claim on a payment", "CLAIM_WITHOUT_RETIREMENT", PostEntry(payment(1).legs, CLAIM)
    ),
    # serials
    entry_case(
        "serials twice",
        "SERIALS_OVERLAP",
        tickets(20, (BATCH, 1501, 1510), (BATCH, 1510, 1519)),
        FARMER,
    ),
    entry_case("too few serials", "SERIALS_DISAGREE", tickets(5, (BATCH, 1501, 1504)), FARMER),
    entry_case("serials backwards", "RANGE_MALFORMED", tickets(5, (BATCH, 1505, 1501)), FARMER),
    entry_case("serial zero", "RANGE_MALFORMED", tickets(1, (BATCH, 0, 0)), FARMER),
    entry_case(
        "a neighbour's serials", "SERIALS_NOT_HELD", tickets(2, (BATCH, 7001, 7002)), FARMER
    ),
    entry_case("serials of no batch", "SERIALS_NOT_HELD", tickets(1, ("LZXQ-1999", 1, 1)), FARMER),
    entry_case(
        "hundreds of ranges",
        "TOO_MANY_RANGES",
        tickets(257, *((BATCH, 1501 + 2 * i, 1501 + 2 * i) for i in range(257))),
        FARMER,
    ),
    entry_case(
        "serials of money",
        "NOT_SERIALISED",
        pay(CITY_GROUP, QINWANGCHUAN, 1, CNY, SerialRange(BATCH, 1, 1)),
    ),
    # money from the bank
    bad_deposit("money without advice", "ACT_MISSING"),
    bad_deposit("money advised twice over", "ACT_MISSING", GOOD_ADVICE, GOOD_ADVICE),
    bad_deposit("money by the buyer", "ROLE_MISSING", GOOD_ADVICE, caller=BUYER),
    bad_deposit("advice of another sum", "ACT_DIFFERS", advice(CITY_GROUP, 101, "line 100")),
    bad_deposit("advice for another", "ACT_DIFFERS", advice(QINWANGCHUAN, 100, "line 100")),
    bad_deposit("advice by the venue", "ACT_SUBJECT", advice(CITY_GROUP, 100, "line", VENUE_KEY)),
    bad_deposit(
        "advice by a stranger", "ACT_KEY_UNKNOWN", advice(CITY_GROUP, 100, "line", UNKNOWN_KEY)
    ),
    bad_deposit(
        "advice with a signature of something else",
        "ACT_SIGNATURE",
        Act(GOOD_ADVICE.key_id, advice(BANK, 1, "other").signature, GOOD_ADVICE.statement),
    ),
    bad_deposit(
        "advice of another kind",
        "ACT_MISSING",
        sign_act(BANK_KEY, {"kind": "settlement", "trades": [], "venue": VENUE}),
    ),
    bad_deposit(
        "advice with an extra field",
        "ACT_MALFORMED",
        advice(CITY_GROUP, 100, "line 100", memo="for lunch"),
    ),
    bad_deposit("advice that is no JSON", "ACT_MALFORMED", signed_text(BANK_KEY, "{")),
    bad_deposit(
        "advice with spaces in it",
        "ACT_MALFORMED",
        signed_text(BANK_KEY, GOOD_ADVICE.statement.replace(",", ", ")),
    ),
    bad_deposit(
        "advice with half a character",
        "ACT_MALFORMED",
        signed_text(BANK_KEY, GOOD_ADVICE.statement.replace("line 100", "\\ud800")),
    ),
    bad_deposit(
        "advice of a sum with a fraction",
        "ACT_MALFORMED",
        signed_text(BANK_KEY, GOOD_ADVICE.statement.replace(":100,", ":100.5,")),
    ),
    bad_deposit("a line as long as a page", "TEXT_TOO_LONG", advice(CITY_GROUP, 100, "x" * 81)),
    entry_case(
        "the same bank line again",
        "LINE_BOOKED",
        deposit_entry(CITY_GROUP, TOTAL_FEN),
        CASHIER,
        advice(CITY_GROUP, TOTAL_FEN, "line 1"),
    ),
    entry_case(
        "money of no bank",
        "NOT_A_SETTLEMENT_BANK",
        one_leg(external(ZHONGCHUAN), available(CITY_GROUP), 100),
        CASHIER,
        GOOD_ADVICE,
    ),
    entry_case(
        "tickets from the bank",
        "NOT_MONEY",
        one_leg(external(), available(CITY_GROUP), 100, TICKET),
        CASHIER,
        GOOD_ADVICE,
    ),
    # issuance
    bad_issuance("issued without approval", "ACT_MISSING"),
    bad_issuance("issued by the buyer", "ROLE_MISSING", GOOD_APPROVAL, caller=BUYER),
    bad_issuance(
        "issued by who approved it",
        "MAKER_IS_CHECKER",
        approval("LZXQ-2022", {ZHONGCHUAN: 10}, checker=REGISTRY.actor.sub),
    ),
    bad_issuance("issued to another", "ACT_DIFFERS", approval("LZXQ-2022", {QINWANGCHUAN: 10})),
    bad_issuance(
        "issued more than approved", "ACT_DIFFERS", approval("LZXQ-2022", {ZHONGCHUAN: 9})
    ),
    bad_issuance(
        "issued under other numbers", "ACT_DIFFERS", approval("LZXQ-2022", {ZHONGCHUAN: 10}, 5)
    ),
    bad_issuance(
        "approved by the bank", "ACT_SUBJECT", approval("LZXQ-2022", {ZHONGCHUAN: 10}, 1, BANK_KEY)
    ),
    bad_issuance(
        "an approval longer than an event",
        "EVENT_TOO_LARGE",
        approval("LZXQ-2022", {ZHONGCHUAN: 10}, document="x" * 70_000),
    ),
    entry_case(
        "the same batch again",
        "BATCH_EXISTS",
        issuance(BATCH, {ZHONGCHUAN: 10}, 20_001),
        REGISTRY,
        approval(BATCH, {ZHONGCHUAN: 10}, 20_001),
    ),
    # settlement
    entry_case(
        "settled by the farmer",
        "ROLE_MISSING",
        settlement_entry(NEW_DEAL),
        FARMER,
        settlement(NEW_DEAL),
    ),
    entry_case("settled unsigned", "ACT_MISSING", settlement_entry(NEW_DEAL), EXCHANGE),
    entry_case(
        "the same trade again", "TRADE_SETTLED", settlement_entry(DEAL), EXCHANGE, settlement(DEAL)
    ),
    entry_case(
        "a trade twice in a file",
        "TRADE_DOUBLED",
        settlement_entry(NEW_DEAL, NEW_DEAL),
        EXCHANGE,
        settlement(NEW_DEAL, NEW_DEAL),
    ),
    entry_case(
        "delivery without payment",
        "ACT_DIFFERS",
        PostEntry(settlement_entry(NEW_DEAL).legs[:1]),
        EXCHANGE,
        settlement(NEW_DEAL),
    ),
    entry_case(
        "a settlement of more than is at the venue",
        "INSUFFICIENT_BALANCE",
        settlement_entry(TOO_LARGE_DEAL),
        EXCHANGE,
        settlement(TOO_LARGE_DEAL),
    ),
    # holders and assets
    holder_case("a holder id of one's own making", "HOLDER_MALFORMED", holder="commuter-1"),
    holder_case("a holder again", "HOLDER_EXISTS", holder=BANK),
    holder_case("a company again", "USCC_EXISTS", uscc=USCCS[BANK]),
    holder_case("a company that cannot be", "USCC_MALFORMED", uscc="91620100MA000000I"),
    holder_case("a mistyped company", "USCC_CHECK_CHARACTER", uscc=mistyped(some_uscc(1))),
    holder_case("no company", "USCC_MALFORMED", uscc=""),
    holder_case("no name", "MISSING_VALUE", name=""),
    holder_case("a name without end", "TEXT_TOO_LONG", name="深" * 201),
    holder_case("a name that rings", "TEXT_NOT_PRINTABLE", name="深圳\a"),
    holder_case("no kind", "UNKNOWN_VALUE", kind=0),
    asset_case("an asset in lower case", "ASSET_MALFORMED", asset="gdea-2023"),
    asset_case("an asset again", "ASSET_EXISTS", asset=TICKET),
    asset_case("an asset of no programme", "UNKNOWN_PROGRAMME", programme=BANK),
    asset_case("back-dating without end", "BACKDATING_OUT_OF_RANGE", backdating_days=2**40),
    asset_case("back-dating to the future", "BACKDATING_OUT_OF_RANGE", backdating_days=-1),
    asset_case("no unit", "UNKNOWN_VALUE", unit=0),
    # holds
    hold_case("a hold of others' money", "NOT_YOUR_ACCOUNT", FARMER),
    hold_case("a hold of too much", "INSUFFICIENT_BALANCE", amount=TOTAL_FEN),
    hold_case("a hold that has expired", "EXPIRY_PASSED", expires_at=Timestamp(seconds=1)),
    hold_case(
        "a hold for a retirement",
        "CREDIT_NOT_ALLOWED",
        to=pb.Account(holder=CITY_GROUP, purpose=pb.PURPOSE_RETIRED),
    ),
    hold_case("a hold for nobody", "UNKNOWN_HOLDER", to=pb.Account(holder=STRANGER)),
    Case(
        "a hold that never was, paid out",
        "UNKNOWN_HOLD",
        "PostHolds",
        FARMER,
        lambda world: pb.HoldPost(id=world.new_id(), hold=world.new_id(), amount=1),
    ),
    Case(
        "a hold that never was, released",
        "UNKNOWN_HOLD",
        "ReleaseHolds",
        FARMER,
        lambda world: pb.HoldRelease(id=world.new_id(), hold="x" * 500),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_item_is_refused_with_its_reason_and_nothing_happens(
    market: World, case: Case
) -> None:
    with nothing_happens(market):
        (result,) = market.send(case.method, [case.item(market)], case.caller)
    assert refusal(result) == case.reason
    assert result.refused.message


def test_a_refusal_carries_the_numbers(market: World) -> None:
    left = market.balance(available(CITY_GROUP), CNY)
    (result,) = market.send("PostEntries", [market.entry(payment(left + 1))], BUYER)
    assert refusal(result) == "INSUFFICIENT_BALANCE"
    assert details(result)["needed"] == str(left + 1)
    assert details(result)["available"] == str(left)


def test_a_repeat_of_a_refused_item_is_refused_in_the_same_words(market: World) -> None:
    entry = market.entry(payment(TOTAL_FEN))
    (first,) = market.send("PostEntries", [entry], BUYER)
    with nothing_happens(market):
        (again,) = market.send("PostEntries", [entry], BUYER)
    assert again == first


def test_one_bad_item_between_two_good_ones_is_refused_and_the_rest_goes_in(market: World) -> None:
    before = market.balance(available(QINWANGCHUAN), CNY)
    items = [market.entry(payment(amount_fen)) for amount_fen in (3, 0, 4)]
    items.insert(2, market.entry(payment(5), id="not an id"))
    first, zero, malformed, last = market.send("PostEntries", items, BUYER)
    assert accepted(last) == accepted(first) + 1
    assert (refusal(zero), refusal(malformed)) == ("AMOUNT_OUT_OF_RANGE", "ID_MALFORMED")
    assert market.balance(available(QINWANGCHUAN), CNY) == before + 7


def test_an_id_used_for_another_command_is_refused_and_the_first_stands(market: World) -> None:
    id = market.new_id()
    position = market.pay(10, id)
    with nothing_happens(market):
        (other,) = market.send("PostEntries", [market.entry(payment(11), id=id)], BUYER)
        (same,) = market.send("PostEntries", [market.entry(payment(10), id=id)], BUYER)
    assert refusal(other) == "ID_REUSED"
    assert (accepted(same), same.accepted.repeated) == (position, True)
    # Ids belong to who sends them: the farmer's is another command.
    (farmers,) = market.send(
        "PostEntries", [market.entry(pay(QINWANGCHUAN, ZHONGCHUAN, 1, CNY), id=id)], FARMER
    )
    assert accepted(farmers) == position + 1


def test_a_hold_is_paid_out_by_who_it_is_for_once_and_never_for_more(market: World) -> None:
    farm = pb.Account(holder=QINWANGCHUAN, purpose=pb.PURPOSE_AVAILABLE)
    hold = pb.Hold(id=market.new_id(), holder=CITY_GROUP, asset=CNY, amount=50, to=farm)
    (placed,) = market.send("PlaceHolds", [hold], BUYER)
    accepted(placed)
    with nothing_happens(market):
        assert refusal(market.post_hold(hold.id, 10, BUYER)) == "NOT_YOUR_ACCOUNT"
        assert refusal(market.release_hold(hold.id, BUYER)) == "NOT_YOUR_ACCOUNT"
        assert refusal(market.post_hold(hold.id, 51, FARMER)) == "INSUFFICIENT_HOLD"
        assert refusal(market.post_hold(hold.id, 0, FARMER)) == "AMOUNT_OUT_OF_RANGE"
    accepted(market.post_hold(hold.id, 20, FARMER))
    with nothing_happens(market):
        assert refusal(market.post_hold(hold.id, 20, FARMER)) == "UNKNOWN_HOLD"


# ---- whole calls ---------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call that is refused as a whole."""

    name: str
    reason: str
    kind: Kind
    ask: Callable[[World], object]


def with_token(make: Callable[[World], str | None]) -> Callable[[World], object]:
    """A good payment under another token."""

    def ask(world: World) -> object:
        request = pb.PostEntriesRequest(entries=[world.entry(payment(1))])
        return world.call(world.accounts.PostEntries, request, token=make(world))

    return ask


def with_unknown_field(world: World, where: str) -> object:
    """A field of a later version, in the request itself or deep inside it."""
    request = pb.PostEntriesRequest(entries=[world.entry(payment(1))])
    place: Any = request if where == "request" else request.entries[0].legs[0].debit
    place.MergeFromString(b"\xf2\x3f\x03new")  # field 1022, three bytes
    return world.call(world.accounts.PostEntries, request, BUYER)


def stranger_token(world: World) -> str:
    return mint_token(
        UNKNOWN_KEY,
        iss="tanzhang.local/issuer",
        sub="buyer",
        roles=[],
        holders=[CITY_GROUP],
        now_ms=world.clock.now_ms(),
        ttl_s=60,
    )


def read_events(world: World, book: str, caller: Caller) -> object:
    request = journal_pb2.ReadEventsRequest(book=book)
    stream = world.journal("accounts").ReadEvents(
        request, timeout=10, metadata=metadata(world.token(caller))
    )
    try:
        return list(stream)
    except grpc.RpcError as error:  # a stream raises while it is read
        raise from_rpc_error(cast(Any, error)) from error


def get(method: str, request: Any, caller: Caller | None = BUYER) -> Callable[[World], object]:
    return lambda world: world.call(getattr(world.accounts, method), request, caller)


def ask_ledger(
    method: str, request: Any, caller: Caller | None = None
) -> Callable[[World], object]:
    return lambda world: world.call(getattr(world.ledger, method), request, caller)


CALLS = [
    Call("no token", "TOKEN_MISSING", Kind.UNAUTHENTICATED, with_token(lambda _: None)),
    Call(
        "no token at all like ours",
        "TOKEN_MALFORMED",
        Kind.UNAUTHENTICATED,
        with_token(lambda _: "let.me.in"),
    ),
    Call(
        "a token without end",
        "TOKEN_MALFORMED",
        Kind.UNAUTHENTICATED,
        with_token(lambda _: "x" * 9000),
    ),
    Call(
        "a token of yesterday",
        "TOKEN_EXPIRED",
        Kind.UNAUTHENTICATED,
        with_token(lambda w: w.token(BUYER, now_ms=w.clock.now_ms() - DAY_MS)),
    ),
    Call(
        "a token of a stranger's key",
        "TOKEN_ISSUER",
        Kind.UNAUTHENTICATED,
        with_token(stranger_token),
    ),
    Call(
        "a token of another issuer",
        "TOKEN_ISSUER",
        Kind.UNAUTHENTICATED,
        with_token(lambda w: w.token(BUYER, iss="shenzhen/issuer")),
    ),
    Call(
        "a subject with a line break",
        "TOKEN_MALFORMED",
        Kind.UNAUTHENTICATED,
        with_token(lambda w: w.token(BUYER, sub="buyer\nof tickets")),
    ),
    Call(
        "a subject with a zero byte",
        "TOKEN_MALFORMED",
        Kind.UNAUTHENTICATED,
        with_token(lambda w: w.token(BUYER, sub="buyer\x00")),
    ),
    Call(
        "the wrong role",
        "ROLE_MISSING",
        Kind.FORBIDDEN,
        get("RegisterHolders", pb.RegisterHoldersRequest()),
    ),
    Call(
        "totals for no auditor",
        "ROLE_MISSING",
        Kind.FORBIDDEN,
        get("GetTotals", pb.GetTotalsRequest()),
    ),
    Call(
        "an unknown field",
        "UNKNOWN_FIELD",
        Kind.INVALID,
        lambda world: with_unknown_field(world, "request"),
    ),
    Call(
        "an unknown field deep inside",
        "UNKNOWN_FIELD",
        Kind.INVALID,
        lambda world: with_unknown_field(world, "account"),
    ),
    Call(
        "too many items",
        "TOO_MANY_ITEMS",
        Kind.INVALID,
        get("PostEntries", pb.PostEntriesRequest(entries=[pb.Entry()] * 8001)),
    ),
    Call(
        "too many ids",
        "TOO_MANY_ITEMS",
        Kind.INVALID,
        get("GetOutcomes", pb.GetOutcomesRequest(ids=["x"] * 8001)),
    ),
    Call(
        "outcome of no id",
        "ID_MALFORMED",
        Kind.INVALID,
        get("GetOutcomes", pb.GetOutcomesRequest(ids=["payment 1"])),
    ),
    Call(
        "a neighbour's balances",
        "NOT_YOUR_ACCOUNT",
        Kind.FORBIDDEN,
        get("GetBalances", pb.GetBalancesRequest(holder=BANK)),
    ),
    Call(
        "a neighbour's history",
        "NOT_YOUR_ACCOUNT",
        Kind.FORBIDDEN,
        get("ListMovements", pb.ListMovementsRequest(holder=BANK)),
    ),
    Call(
        "a history of a zero byte",
        "TEXT_NOT_PRINTABLE",
        Kind.INVALID,
        get("ListMovements", pb.ListMovementsRequest(holder="h\x00"), AUDITOR),
    ),
    Call(
        "a serial of a zero byte",
        "TEXT_NOT_PRINTABLE",
        Kind.INVALID,
        get("GetSerialHistory", pb.GetSerialHistoryRequest(asset=TICKET, batch="\x00")),
    ),
    Call(
        "a page token of one's own making",
        "PAGE_TOKEN_MALFORMED",
        Kind.INVALID,
        get("ListMovements", pb.ListMovementsRequest(holder=CITY_GROUP, page_token="next")),
    ),
    Call(
        "a page beyond all positions",
        "PAGE_TOKEN_MALFORMED",
        Kind.INVALID,
        get("ListMovements", pb.ListMovementsRequest(holder=CITY_GROUP, page_token=f"{2**70}.0")),
    ),
    Call(
        "a page of less than nothing",
        "PAGE_SIZE",
        Kind.INVALID,
        get("ListMovements", pb.ListMovementsRequest(holder=CITY_GROUP, page_size=-1)),
    ),
    Call(
        "an event of the future",
        "UNKNOWN_POSITION",
        Kind.UNKNOWN,
        get("DiscloseEvents", pb.DiscloseEventsRequest(positions=[10**9])),
    ),
    Call(
        "an event beyond all numbers",
        "UNKNOWN_POSITION",
        Kind.UNKNOWN,
        get("DiscloseEvents", pb.DiscloseEventsRequest(positions=[2**64 - 1])),
    ),
    Call(
        "too many events",
        "POSITIONS_COUNT",
        Kind.INVALID,
        get("DiscloseEvents", pb.DiscloseEventsRequest(positions=range(1001))),
    ),
    Call(
        "no event at all",
        "POSITIONS_COUNT",
        Kind.INVALID,
        get("DiscloseEvents", pb.DiscloseEventsRequest()),
    ),
    Call(
        "the journal without a role",
        "ROLE_MISSING",
        Kind.FORBIDDEN,
        lambda world: read_events(world, "accounts", BUYER),
    ),
    Call(
        "the journal with a role for another",
        "ROLE_MISSING",
        Kind.FORBIDDEN,
        lambda world: read_events(world, "accounts", person("ledger", roles=["follow:ledger"])),
    ),
    Call(
        "a book that is not here",
        "UNKNOWN_BOOK",
        Kind.UNKNOWN,
        lambda world: read_events(world, "registry", AUDITOR),
    ),
    Call(
        "a proposal by nobody",
        "TOKEN_MISSING",
        Kind.UNAUTHENTICATED,
        ask_ledger("Propose", lb.ProposeRequest()),
    ),
    Call(
        "a proposal by the buyer",
        "ROLE_MISSING",
        Kind.FORBIDDEN,
        ask_ledger("Propose", lb.ProposeRequest(), BUYER),
    ),
    Call(
        "a proposal of nothing",
        "PROPOSAL_MISSING",
        Kind.INVALID,
        ask_ledger("Propose", lb.ProposeRequest(), MAKER),
    ),
    Call(
        "a proposal without an id",
        "ID_MALFORMED",
        Kind.INVALID,
        ask_ledger("Propose", lb.ProposeRequest(revoke_key=lb.KeyRevocation()), MAKER),
    ),
    Call(
        "a log that is not here",
        "UNKNOWN_BOOK",
        Kind.UNKNOWN,
        ask_ledger("GetCheckpoint", lb.GetCheckpointRequest(book="registry")),
    ),
    Call(
        "a tile that is none",
        "TILE_PATH_MALFORMED",
        Kind.INVALID,
        ask_ledger("GetTile", lb.GetTileRequest(book="accounts", path="tile/0/../keys")),
    ),
    Call(
        "a tile nobody has signed",
        "TILE_NOT_COVERED",
        Kind.UNKNOWN,
        ask_ledger("GetTile", lb.GetTileRequest(book="accounts", path="tile/0/999")),
    ),
    Call(
        "a proof of nothing",
        "POSITIONS_COUNT",
        Kind.INVALID,
        ask_ledger("GetProofs", lb.GetProofsRequest(book="accounts")),
    ),
]


@pytest.mark.parametrize("case", CALLS, ids=[case.name for case in CALLS])
def test_a_bad_call_is_refused_as_a_whole_and_nothing_happens(market: World, case: Call) -> None:
    with nothing_happens(market), pytest.raises(Refused) as caught:
        case.ask(market)
    assert (caught.value.reason, caught.value.kind) == (case.reason, case.kind)
    assert caught.value.message


def test_a_question_for_what_cannot_be_is_answered_with_nothing_or_refused(market: World) -> None:
    nowhere = pb.GetSerialHistoryRequest(asset=TICKET, batch=BATCH, serial=-(2**63))
    assert not market.call(market.accounts.GetSerialHistory, nowhere, AUDITOR).movements
    nobody = pb.GetBalancesRequest(holder="h\x00", asset="\x00")
    with pytest.raises(Refused) as caught:
        market.call(market.accounts.GetBalances, nobody, AUDITOR)
    assert caught.value.reason == "TEXT_NOT_PRINTABLE"


def test_a_message_larger_than_a_batch_may_be_is_refused(market: World) -> None:
    request = pb.PostEntriesRequest(
        entries=[pb.Entry(acts=[act_message(Act("", "", "x" * 33 * 1024 * 1024))])]
    )
    with nothing_happens(market), pytest.raises(grpc.RpcError) as caught:
        market.accounts.PostEntries(request, metadata=metadata(market.token(BUYER)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_without_a_deadline_is_answered(market: World) -> None:
    request = pb.GetBalancesRequest(holder=CITY_GROUP)
    answer = market.accounts.GetBalances(request, metadata=metadata(market.token(BUYER)))
    assert answer.balances


def test_a_position_far_ahead_is_waited_for_a_while_and_then_said_to_be_so(market: World) -> None:
    calls = [
        (market.accounts.GetBalances, pb.GetBalancesRequest(min_position=10**9)),
        (market.accounts.ListMovements, pb.ListMovementsRequest(min_position=2**64 - 1)),
    ]
    reasons: list[str] = []

    def ask(method: Any, request: Any) -> None:
        try:
            market.call(method, request, AUDITOR)
        except Conflict as conflict:
            reasons.append(conflict.reason)

    asking = [threading.Thread(target=ask, args=one) for one in calls]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert reasons == ["POSITION_NOT_REACHED"] * 2


# ---- two persons, disclosure, receipts -----------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "proposal"),
    [
        ("SUBJECT_MALFORMED", {"register_key": lb.KeyRegistration(subject="Bank of Lanzhou")}),
        ("SUITE_UNKNOWN", {"register_key": lb.KeyRegistration(subject="bank:b", suite="rot13")}),
        (
            "KEY_MALFORMED",
            {
                "register_key": lb.KeyRegistration(
                    subject="bank:b", suite="ed25519", public_key=b"k"
                )
            },
        ),
        (
            "KEY_EXISTS",
            {
                "register_key": lb.KeyRegistration(
                    subject="bank:b", suite="ed25519", public_key=public_bytes(BANK_KEY)
                )
            },
        ),
        ("UNKNOWN_KEY", {"revoke_key": lb.KeyRevocation(key_id="0123456789abcdef")}),
        (
            "NOT_HALTED_THERE",
            {"accept_override": lb.Override(book="accounts", position=2**64 - 1, rule="x" * 5000)},
        ),
        ("DIGEST_MALFORMED", {"pin_identities": lb.IdentitiesChange(digest=b"short")}),
    ],
)
def test_a_bad_proposal_is_refused(market: World, reason: str, proposal: dict[str, Any]) -> None:
    with nothing_happens(market):
        assert refusal(market.propose(lb.ProposeRequest(id=market.new_id(), **proposal))) == reason


def test_who_proposed_a_key_may_not_approve_it(market: World) -> None:
    key = lb.KeyRegistration(
        subject="operator:shenzhen-bikes",
        suite="ed25519",
        public_key=public_bytes(Ed25519PrivateKey.generate()),
    )
    request = lb.ProposeRequest(id=market.new_id(), register_key=key)
    accepted(market.propose(request))
    with nothing_happens(market):
        assert refusal(market.approve(request.id, MAKER)) == "MAKER_IS_CHECKER"
        assert refusal(market.approve(market.new_id(), CHECKER)) == "UNKNOWN_PROPOSAL"


def test_an_event_is_shown_to_its_parties_and_to_no_stranger_and_that_is_noted(
    market: World,
) -> None:
    position = market.pay(1)
    request = pb.DiscloseEventsRequest(positions=[position])
    with pytest.raises(Refused) as caught:
        market.call(market.accounts.DiscloseEvents, request, COMMUTER)
    assert (caught.value.reason, caught.value.kind) == ("NOT_A_PARTY", Kind.FORBIDDEN)
    both = pb.DiscloseEventsRequest(positions=[0, position])  # one of them is not the buyer's
    with pytest.raises(Refused):
        market.call(market.accounts.DiscloseEvents, both, BUYER)
    assert disclosures(market, position) == []
    asked = pb.DiscloseEventsRequest(positions=[0, position, 10**9], leave_out=True)
    answer = market.call(market.accounts.DiscloseEvents, asked, COMMUTER)
    assert list(answer.events) == []
    why = {one.position: one.refused.reason for one in answer.left_out}
    assert why == {0: "NOT_A_PARTY", position: "NOT_A_PARTY", 10**9: "UNKNOWN_POSITION"}
    assert disclosures(market, position) == []

    for party in (BUYER, FARMER, AUDITOR):
        (event,) = market.call(market.accounts.DiscloseEvents, request, party).events
        assert event.position == position
    assert disclosures(market, position) == [
        f"tanzhang.local/issuer {party.actor.sub}" for party in (BUYER, FARMER, AUDITOR)
    ]


def disclosures(world: World, position: int) -> list[str]:
    rows = world.sql(
        "SELECT principal FROM accounts.disclosures WHERE position = %s ORDER BY number", position
    )
    return [principal for (principal,) in rows]


def test_receipts_come_of_what_the_caller_is_a_party_of_and_say_why_not_of_the_rest(
    market: World,
) -> None:
    position = market.pay(1)
    policy = parse_policy(policy_file(market.directory).read_bytes())
    asked = [position, 0, 10**9, position]
    own, other, none = market.receipts("accounts", asked, BUYER, cose=True)
    assert verify_receipt(own.file, policy).position == position
    record, salt, _ = split_receipt(own.file)
    entry = leaf_data("accounts", position, commitment(salt, record))
    (log,) = [log.key for log in policy.logs if log.key.name.endswith("/accounts")]
    assert verify_cose_receipt(own.cose, entry, log).subject == f"{log.name}/{position}"
    assert (other.file, other.cose, other.refused.reason) == (b"", b"", "NOT_A_PARTY")
    assert none.refused.reason == "UNKNOWN_POSITION"
    assert disclosures(market, position) == [f"tanzhang.local/issuer {BUYER.actor.sub}"]
    assert disclosures(market, 0) == []

    key, beyond = market.receipts("ledger", [0, 10**9], BUYER)
    assert verify_receipt(key.file, policy).book == "ledger"
    assert (key.cose, beyond.refused.reason) == (b"", "UNKNOWN_POSITION")
    for book, positions, reason in (
        ("nothing", [0], "UNKNOWN_BOOK"),
        ("accounts", [], "POSITIONS_COUNT"),
        ("accounts", list(range(1001)), "POSITIONS_COUNT"),
    ):
        with pytest.raises(Refused) as caught:
            market.receipts(book, positions, BUYER)
        assert caught.value.reason == reason


def test_a_receipt_of_another_log_or_another_place_is_refused(market: World) -> None:
    first, second = market.pay(1), market.pay(1)
    proofs = {position: market.prove("accounts", position) for position in (first, second)}
    request = pb.DiscloseEventsRequest(positions=[first])
    (event,) = market.call(market.accounts.DiscloseEvents, request, BUYER).events
    policy = parse_policy(policy_file(market.directory).read_bytes())
    good = make_receipt(event.record, event.salt, proofs[first])
    assert verify_receipt(good, policy).position == first

    another_log = Policy()
    another_log.add_log(Signer("tanzhang.local/accounts", ED25519, bytes(32)).verifier.vkey)
    another_log.set_quorum("none")
    with pytest.raises(ReceiptError):
        verify_receipt(good, another_log)
    for bad in (
        make_receipt(event.record, event.salt, proofs[second]),
        make_receipt(event.record, event.salt, market.prove("ledger", 0)),
        make_receipt(
            event.record.replace(b'"amount":1,', b'"amount":2,'), event.salt, proofs[first]
        ),
        make_receipt(event.record, bytes(16), proofs[first]),
    ):
        with pytest.raises(ReceiptError):
            verify_receipt(bad, policy)
