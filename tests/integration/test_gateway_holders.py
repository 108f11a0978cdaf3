"""Holders, orders, safeguards, settlement files and bank matters through the gateway.

What the services decide is their own tests' matter; here it is that each of it can be said over
HTTP, that its answer is as the document says, and that the gateway gives nobody a power.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.clients import answer_model
from kernel.config import DEFAULT_LOG_PREFIX
from kernel.values import DAY_MS, Act, Caller, shanghai_day
from services.accounts.domain.changes import Status
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import BankAccountBound, SettlementBankAgreed
from tests.support.books import person
from tests.support.companies import LI, PAPER, TRADER, WANG, order
from tests.support.gateway_desk import Desk, act_of, open_desk, problem, shown
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    ZHONGCHUAN,
    available,
    leg,
    seeded_key,
    trading,
)
from tests.support.lanzhou_bank import (
    GROUPS_ACCOUNT,
    MIDNIGHT,
    OTHER_ACCOUNT,
    TREASURER,
    agreement,
    binding,
    confirmation,
)
from tests.support.orders import COURT, COURT_KEY, freeze_serials, moved, transfer_order, unfreeze
from tests.support.orders import agreement as merger
from tests.support.settling import WUHAN, WUHAN_DESK, WUHAN_KEY, close, part, totals, trade
from tests.support.world import World, until

COMMUTER = person("a Shenzhen commuter", holders=[STRANGER])
DOCUMENT = {"digest": PAPER.digest, "name": PAPER.name}
BATCH = "LZXQ-2041"
GROUP_KEY, FARM_KEY = seeded_key("the city group"), seeded_key("秦王川林场")
SECOND = person("second buyer", holders=[CITY_GROUP])
OPENING = {
    "holder": CITY_GROUP,
    "programme": PROGRAMME,
    "account": "registration",
    "documents": [DOCUMENT],
    "representatives": ["p-" + "a" * 16],
}
SUSPENSION = {
    "holder": ZHONGCHUAN,
    "status": "suspended",
    "reason": "papers",
    "document": DOCUMENT,
}


@pytest.fixture(scope="module", autouse=True)
def keys(world: World) -> None:
    """A court, an exchange elsewhere and two holders sign; the city group has 1,000 t."""
    subjects = {
        COURT: COURT_KEY,
        f"venue:{WUHAN}": WUHAN_KEY,
        f"holder:{CITY_GROUP}": GROUP_KEY,
        f"holder:{QINWANGCHUAN}": FARM_KEY,
    }
    before = admitted(world)
    for subject, key in subjects.items():
        world.register_key(subject, key)
    until(lambda: admitted(world) == before + len(subjects), "accounts to admit the keys")
    world.issue(BATCH, {CITY_GROUP: 1000})


def admitted(world: World) -> int:
    return sum(raw.type == "KeyAdmitted" for raw in world.records("accounts"))


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    async with open_desk(world) as desk:
        yield desk


async def done(desk: Desk, path: str, body: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Recorded now, and the answer."""
    answer = await desk.write(path, body, caller)
    assert answer.status_code == 201, answer.text
    recorded: dict[str, Any] = answer.json()
    return recorded


async def proposed(desk: Desk, change: dict[str, Any], caller: Caller = WANG, **more: str) -> str:
    recorded = await done(desk, "/v1/change-proposals", {"change": change, **more}, caller)
    return str(recorded["id"])


def signed(*acts: Act) -> dict[str, Any]:
    return {"acts": [act_of(act) for act in acts]}


# ---- who may do what ----------------------------------------------------------------------------

NEEDS_A_ROLE: list[tuple[str, dict[str, Any]]] = [
    ("/v1/change-proposals", {"change": {"opening": OPENING}}),
    ("/v1/status-orders", {"authority": COURT, "number": "1", "status": SUSPENSION, "acts": []}),
    ("/v1/freezes", {"acts": []}),
    ("/v1/unfreezes", {"acts": []}),
    ("/v1/non-trade-transfers", {"acts": []}),
    ("/v1/filed-transfer-confirmations", {"transfer": "88"}),
    (f"/v1/venues/{WUHAN}/settlement-parts", {"acts": []}),
    (f"/v1/venues/{WUHAN}/session-closes", {"session": "2026-11-20", "acts": []}),
    ("/v1/bank-account-bindings", {"holder": CITY_GROUP, "clearing_house": BANK, "bank": BANK}),
    ("/v1/withdrawal-instructions", {"withdrawal": "1"}),
]


@pytest.mark.parametrize(("path", "body"), NEEDS_A_ROLE, ids=[path for path, _ in NEEDS_A_ROLE])
async def test_a_citizen_is_refused_what_needs_a_role(
    desk: Desk, path: str, body: dict[str, Any]
) -> None:
    if path.endswith("bindings"):
        body = {**body, "account": GROUPS_ACCOUNT, "acts": []}
    problem(await desk.write(path, body, COMMUTER), 403, "ROLE_MISSING")


async def test_a_citizen_does_not_see_what_is_not_its_own(desk: Desk) -> None:
    for path in ("/v1/freezes", "/v1/filed-transfers", "/v1/bank-accounts"):
        assert (await desk.read(path, COMMUTER)).status_code == 403, path
    for what in ("openings", "operators", "mandates", "freezes", "withdrawals", "safeguards"):
        answer = await desk.read(f"/v1/holders/{CITY_GROUP}/{what}", COMMUTER)
        problem(answer, 403, "NOT_YOUR_ACCOUNT")


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "/v1/change-proposals",
        {"change": {"opening": OPENING, "status": SUSPENSION}},
        "REQUEST_MALFORMED",
        "#/change",
    ),
    ("/v1/change-proposals", {"change": {}}, "REQUEST_MALFORMED", "#/change"),
    (
        "/v1/change-proposals",
        {"change": {"opening": {**OPENING, "account": "savings"}}},
        "REQUEST_MALFORMED",
        "#/change/opening/account",
    ),
    (
        "/v1/change-proposals",
        {"change": {"opening": {**OPENING, "pledged": True}}},
        "UNKNOWN_FIELD",
        "#/change/opening/pledged",
    ),
    ("/v1/freezes", {"acts": "none"}, "REQUEST_MALFORMED", "#/acts"),
    ("/v1/bank-matters", {}, "REQUEST_MALFORMED", "#"),
    ("/v1/venues/x/settlement-parts", {"venue": "y", "acts": []}, "UNKNOWN_FIELD", "#/venue"),
]


@pytest.mark.parametrize(("path", "body", "reason", "pointer"), BAD)
async def test_what_is_malformed_is_told_where(
    desk: Desk, path: str, body: dict[str, Any], reason: str, pointer: str
) -> None:
    told = problem(await desk.write(path, body, WANG), 400, reason)
    assert [one["pointer"] for one in told["errors"]] == [pointer]


# ---- holders ------------------------------------------------------------------------------------


async def test_an_opening_is_asked_for_listed_approved_by_another_and_shown(desk: Desk) -> None:
    proposal = await proposed(desk, {"opening": OPENING})
    listed = shown(
        await desk.read("/v1/change-proposals", LI, holder=CITY_GROUP), "accounts.ListProposals"
    )
    (one,) = listed["proposals"]
    assert (one["proposal"], one["change"]["opening"]["account"]) == (proposal, "registration")
    mine = await desk.write("/v1/change-approvals", {"proposal": proposal}, WANG)
    problem(mine, 403, "MAKER_IS_CHECKER")
    made = await done(desk, "/v1/change-approvals", {"proposal": proposal}, LI)
    path = f"/v1/holders/{CITY_GROUP}/openings"
    answer = await desk.read(path, BUYER, min_position=made["position"])
    assert shown(answer, "accounts.ListOpenings")["accounts"] == [
        {"programme": PROGRAMME, "account": "registration", "venue": ""}
    ]


async def test_an_account_with_nothing_in_it_is_closed_by_two(desk: Desk) -> None:
    account = {"holder": ZHONGCHUAN, "programme": PROGRAMME, "account": "registration"}
    opening = {**OPENING, **account}
    closing = {**account, "reason": "wound up", "document": DOCUMENT}
    for change in ({"opening": opening}, {"closing": closing}):
        proposal = await proposed(desk, change)
        made = await done(desk, "/v1/change-approvals", {"proposal": proposal}, LI)
    answer = await desk.read(
        f"/v1/holders/{ZHONGCHUAN}/openings", WANG, min_position=made["position"]
    )
    assert shown(answer, "accounts.ListOpenings")["accounts"] == []


async def test_a_proposal_is_refused_by_another_or_taken_back(desk: Desk) -> None:
    first, second = [await proposed(desk, {"status": SUSPENSION}) for _ in range(2)]
    why = {"proposal": first, "reason": "papers are in order"}
    await done(desk, "/v1/change-refusals", why, LI)
    last = await done(desk, "/v1/change-withdrawals", {"proposal": second}, WANG)
    answer = await desk.read("/v1/change-proposals", LI, min_position=last["position"])
    assert shown(answer, "accounts.ListProposals")["proposals"] == []


async def test_an_administrator_sets_operators_and_gives_a_mandate(desk: Desk) -> None:
    issuer = f"{DEFAULT_LOG_PREFIX}/issuer"
    farmer = {
        "holder": QINWANGCHUAN,
        "iss": issuer,
        "sub": FARMER.actor.sub,
        "rights": ["administer", "trade", "transfer", "view"],
    }
    proposal = await proposed(desk, {"operator": farmer})
    await done(desk, "/v1/change-approvals", {"proposal": proposal}, LI)
    helper = {**farmer, "sub": TRADER.actor.sub, "rights": ["view"], "max_units": 50}
    mine = {**farmer, "sub": COMMUTER.actor.sub}
    problem(
        await desk.write("/v1/operator-changes", {"operator": mine}, COMMUTER),
        403,
        "NOT_YOUR_ACCOUNT",
    )
    changed = await done(desk, "/v1/operator-changes", {"operator": helper}, FARMER)
    path = f"/v1/holders/{QINWANGCHUAN}/operators"
    answer = await desk.read(path, FARMER, min_position=changed["position"])
    operators = shown(answer, "accounts.ListOperators")["operators"]
    assert [(one["rights"], one["max_units"]) for one in operators] == [
        (["administer", "trade", "transfer", "view"], None),
        (["view"], 50),
    ]
    mandate = {
        "principal": QINWANGCHUAN,
        "agent": CITY_GROUP,
        "programmes": [PROGRAMME],
        "rights": ["transfer", "view"],
        "first_day": "2020-01-01",
        "last_day": "2099-12-31",
        "document": DOCUMENT,
    }
    offer = await proposed(desk, {"mandate": mandate}, FARMER, for_holder=QINWANGCHUAN)
    taken = await done(desk, "/v1/change-approvals", {"proposal": offer}, BUYER)
    found = await desk.read(
        f"/v1/holders/{CITY_GROUP}/mandates", BUYER, min_position=taken["position"]
    )
    assert [one["id"] for one in shown(found, "accounts.ListMandates")["mandates"]] == [offer]
    ending = {"mandate": offer, "for_holder": CITY_GROUP}
    await done(desk, "/v1/mandate-revocations", ending, BUYER)


async def test_terms_of_a_programme_are_proposed_and_read_by_anyone(desk: Desk) -> None:
    ahead = desk.world.clock.now_ms() + 30 * DAY_MS
    terms = {
        "programme": PROGRAMME,
        "effective_from": f"{shanghai_day(ahead)}T00:00:00.000Z",
        "terms": {"opening_required": True, "barred_parts": ["verifier"]},
    }
    proposal = await proposed(desk, {"terms": terms})
    made = await done(desk, "/v1/change-approvals", {"proposal": proposal}, LI)
    answer = await desk.read(
        f"/v1/programmes/{PROGRAMME}/account-terms", COMMUTER, min_position=made["position"]
    )
    (listed,) = shown(answer, "accounts.ListAccountTerms")["terms"]
    assert (listed["effective_from"], listed["terms"]["barred_parts"]) == (
        terms["effective_from"],
        ["verifier"],
    )


async def test_an_authority_s_order_goes_through_with_its_signature_and_not_with_another(
    desk: Desk,
) -> None:
    for number, status in ((1, Status.FROZEN), (2, Status.ACTIVE)):
        body = {
            "authority": f"authority:{PROGRAMME}",
            "number": f"甘碳 {number}",
            "status": {
                "holder": ZHONGCHUAN,
                "status": status.value,
                "reason": "an investigation",
                "document": DOCUMENT,
            },
            **signed(order(ZHONGCHUAN, status, f"甘碳 {number}")),
        }
        forged = {**body, **signed(order(ZHONGCHUAN, status, "甘碳 9"))}
        assert (await desk.write("/v1/status-orders", forged, WANG)).status_code == 422
        made = await done(desk, "/v1/status-orders", body, WANG)
        answer = await desk.read(f"/v1/holders/{ZHONGCHUAN}", WANG, min_position=made["position"])
        orders = shown(answer, "accounts.GetHolder")["orders"]
        assert [one["status"] for one in orders] == (["frozen"] if number == 1 else [])


# ---- orders -------------------------------------------------------------------------------------


async def test_a_freeze_is_booked_listed_and_lifted_on_signed_orders(desk: Desk) -> None:
    act = freeze_serials("17/1", (BATCH, 1, 100))
    made = await done(desk, "/v1/freezes", signed(act), WANG)
    for path, caller in ((f"/v1/holders/{CITY_GROUP}/freezes", BUYER), ("/v1/freezes", WANG)):
        answer = await desk.read(path, caller, min_position=made["position"])
        (row,) = shown(answer, "accounts.ListFreezes")["freezes"]
        assert (row["authority"], row["serials"]) == (
            COURT,
            [{"batch": BATCH, "first": 1, "last": 100}],
        )
    problem(await desk.write("/v1/unfreezes", signed(act), WANG), 422, "ACT_MISSING")
    await done(desk, "/v1/unfreezes", signed(unfreeze("17/1")), WANG)


async def test_units_move_by_a_court_s_order_and_by_an_agreement_of_two_registrars(
    desk: Desk,
) -> None:
    move = moved(10, TICKET, "", (BATCH, 101, 110))
    await done(desk, "/v1/non-trade-transfers", signed(transfer_order("88", move)), WANG)
    two = signed(*merger("M-1", moved(20, TICKET), keys=[GROUP_KEY, FARM_KEY]))
    filed = await done(desk, "/v1/non-trade-transfers", two, WANG)
    answer = await desk.read("/v1/filed-transfers", LI, min_position=filed["position"])
    assert [
        one["transfer"] for one in shown(answer, "accounts.ListFiledTransfers")["transfers"]
    ] == ["M-1"]
    path, name = "/v1/filed-transfer-confirmations", {"transfer": "M-1"}
    problem(await desk.write(path, name, WANG), 403, "MAKER_IS_CHECKER")
    made = await done(desk, path, name, LI)
    answer = await desk.read(
        "/v1/non-trade-transfers", COMMUTER, asset=TICKET, min_position=made["position"]
    )
    rows = shown(answer, "accounts.ListNonTradeTransfers")["transfers"]
    assert [(one["nature"], one["amount"]) for one in rows] == [("court", 10), ("merger", 20)]


# ---- venues that match elsewhere ----------------------------------------------------------------


async def test_a_settlement_file_is_settled_part_by_part_reported_and_closed(desk: Desk) -> None:
    world = desk.world
    world.fund(CITY_GROUP, 10_000_000)
    world.issue("LZXQ-2042", {QINWANGCHUAN: 500})
    for holder, amount, asset, caller in (
        (QINWANGCHUAN, 400, TICKET, FARMER),
        (CITY_GROUP, 9_000_000, CNY, BUYER),
    ):
        one = leg(amount, asset, available(holder), trading(holder, WUHAN))
        world.post(PostEntry([one]), caller)
    fees = {
        "closes_at_ms": world.clock.now_ms() // DAY_MS * DAY_MS + 5 * DAY_MS,
        "fee_holder": PROGRAMME,
    }
    path = f"/v1/venues/{WUHAN}/settlement-parts"
    body = signed(part(trade("T-1", 100), trade("T-2", 9000), **fees))
    key = world.new_id()
    first = await desk.write(path, body, WUHAN_DESK, key)
    assert first.status_code == 201, first.text
    settled, unsettled = first.json()["trades"]
    assert settled["settled_position"] > first.json()["position"]
    assert (unsettled["unsettled"]["reason"], unsettled["unsettled"]["needed"]) == (
        "INSUFFICIENT_BALANCE",
        9000,
    )
    again = await desk.write(path, body, WUHAN_DESK, key)
    assert (again.status_code, again.json()) == (200, {**first.json(), "repeated": True})
    other = await desk.write("/v1/venues/shanghai/settlement-parts", body, WUHAN_DESK)
    problem(other, 403, "ROLE_MISSING")
    session = json.loads(body["acts"][0]["statement"])["session"]
    report = f"/v1/venues/{WUHAN}/sessions/{session}/settlements"
    for caller, needed in ((WUHAN_DESK, 9000), (BUYER, 0), (FARMER, 9000)):
        answer = await desk.read(report, caller, min_position=first.json()["position"] + 2)
        assert answer.headers["content-type"] == "application/json"
        told = answer.json()
        answer_model("accounts.ReportSettlements").model_validate(told, strict=True)
        assert [row["result"]["trade"] for row in told["rows"]] == ["T-1", "T-2"]
        assert told["rows"][1]["result"]["unsettled"]["needed"] == needed
        assert told["totals"]["assets"][0]["quantity_t"] == 100
    empty = (await desk.read(report, COMMUTER)).json()
    assert (empty["rows"], empty["totals"]["assets"]) == ([], [])
    nobody = person("nobody")
    problem(await desk.read(report, nobody), 403, "NOT_A_PARTY")
    sums = {"session": session, **signed(close([totals(1, 100, 744_600, 600)], 1))}
    await done(desk, f"/v1/venues/{WUHAN}/session-closes", sums, WUHAN_DESK)
    late = signed(part(trade("T-3", 1), part=2, **fees))
    problem(await desk.write(path, late, WUHAN_DESK), 422, "SESSION_CLOSED")


# ---- safeguards and banks -----------------------------------------------------------------------


async def test_two_operators_set_safeguards_and_approve_what_is_beyond_them(desk: Desk) -> None:
    rules = {"delay_ms": 0, "limits": [{"asset": TICKET, "amount": 5}], "unlisted": True}
    asked = await done(
        desk, "/v1/safeguard-proposals", {"holder": CITY_GROUP, "rules": rules}, BUYER
    )
    confirmation_of = {"holder": CITY_GROUP, "proposal": asked["id"]}
    mine = await desk.write("/v1/safeguard-confirmations", confirmation_of, BUYER)
    assert mine.status_code == 403, mine.text
    await done(desk, "/v1/safeguard-confirmations", confirmation_of, SECOND)
    listed = {"holder": CITY_GROUP, "destination": QINWANGCHUAN}
    await done(desk, "/v1/destinations", listed, BUYER)
    await done(desk, "/v1/destination-confirmations", listed, SECOND)
    answer = await desk.read(f"/v1/holders/{CITY_GROUP}/safeguards", BUYER)
    kept = shown(answer, "accounts.GetSafeguards")
    assert kept["rules"]["limits"] == rules["limits"]
    sale = {"holder": CITY_GROUP, "to": QINWANGCHUAN, "asset": TICKET, "amount": 6}
    assert (await desk.write("/v1/transfers", sale, BUYER)).status_code == 422
    first, second = [
        (await done(desk, "/v1/transfer-proposals", sale, BUYER))["id"] for _ in range(2)
    ]
    await done(desk, "/v1/transfer-approvals", {"hold": first}, SECOND)
    refused = await done(
        desk, "/v1/transfer-refusals", {"hold": second, "reason": "not agreed"}, SECOND
    )
    waiting = await desk.read(
        f"/v1/holders/{CITY_GROUP}/proposed-transfers", BUYER, min_position=refused["position"]
    )
    assert shown(waiting, "accounts.ListProposedTransfers")["transfers"] == []


async def test_money_goes_out_by_agreement_binding_instruction_and_the_bank_s_word(
    desk: Desk,
) -> None:
    now_ms = desk.world.clock.now_ms()
    opening_fen = await held_by_the_bank(desk)
    _, act = agreement(opening_fen, MIDNIGHT, shanghai_day(now_ms))
    agreed = {
        name: value
        for name, value in json.loads(act.statement).items()
        if name in SettlementBankAgreed.__struct_fields__
    }
    await done(desk, "/v1/bank-agreements", {**agreed, **signed(act)}, WANG)
    _, act = binding()
    bound = {
        name: value
        for name, value in json.loads(act.statement).items()
        if name in BankAccountBound.__struct_fields__
    }
    await done(desk, "/v1/bank-account-bindings", {**bound, **signed(act)}, WANG)
    _, act = binding(account=OTHER_ACCOUNT)
    rebinding = {**bound, "account": OTHER_ACCOUNT, "reason": "the bank has moved it"}
    body = {"change": {"rebinding": rebinding}, **signed(act)}
    proposal = (await done(desk, "/v1/change-proposals", body, WANG))["id"]
    await done(desk, "/v1/change-approvals", {"proposal": proposal}, LI)
    wanted = {"holder": CITY_GROUP, "amount_fen": 1000, "clearing_house": BANK, "bank": BANK}
    withdrawal = (await done(desk, "/v1/withdrawals", wanted, BUYER))["id"]
    await done(desk, "/v1/withdrawal-instructions", {"withdrawal": withdrawal}, CASHIER)
    word = confirmation(withdrawal, 1000, "paid 1", OTHER_ACCOUNT)
    said = {"withdrawal": withdrawal, "act": act_of(word)}
    paid = await done(desk, "/v1/withdrawal-confirmations", said, CASHIER)
    answer = await desk.read("/v1/bank-accounts", CASHIER, min_position=paid["position"])
    (account,) = shown(answer, "accounts.ListBankAccounts")["accounts"]
    assert account["balance_fen"] == opening_fen - 1000


async def test_a_default_reserve_is_paid_in_by_two_sides_or_taken_back(desk: Desk) -> None:
    move = {
        "clearing_house": BANK,
        "holder": CITY_GROUP,
        "amount_fen": 900,
        "document": "sha256 of the rules",
    }
    stolen = await desk.write("/v1/bank-matters", {"move_reserve": move}, COMMUTER)
    problem(stolen, 403, "NOT_YOUR_ACCOUNT")
    first, second = [
        (await done(desk, "/v1/bank-matters", {"move_reserve": move}, BUYER))["id"]
        for _ in range(2)
    ]
    for caller in (BUYER, COMMUTER):
        alone = await desk.write("/v1/bank-matter-approvals", {"proposal": first}, caller)
        assert alone.status_code == 403, alone.text
    await done(desk, "/v1/bank-matter-approvals", {"proposal": first}, TREASURER)
    last = await done(desk, "/v1/bank-matter-withdrawals", {"proposal": second}, BUYER)
    answer = await desk.read("/v1/bank-accounts", CASHIER, min_position=last["position"])
    (account,) = shown(answer, "accounts.ListBankAccounts")["accounts"]
    assert account["default_reserve_fen"] == 900


async def held_by_the_bank(desk: Desk) -> int:
    """What has come in less what went out, as any movement of the external account says."""
    totals = shown(
        await desk.read("/v1/totals", person("auditor", roles=["auditor"]), asset=CNY),
        "accounts.GetTotals",
    )["totals"]
    return int(totals[0]["in_circulation"])
