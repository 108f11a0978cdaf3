"""What the independent books make of openings, operators, mandates, funds and statuses.

A truthful day of 兰州新区's companies passes whole, and each planted lie is named with its rule.
Who holds the service's key can change a proposal and what came of it: those lies have `also`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.companies import (
    CITIZEN,
    FUND,
    FUND_CLERK,
    LEFT,
    TRADER,
    VERIFIER,
    WANG,
    WANG_AGAIN,
)
from tests.support.companies_day import DEAL, tell_the_companies
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BANK,
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    STRANGER,
    VENUE_KEY,
    ZHONGCHUAN,
)
from tests.support.ledgers import Json, folded_up_to, sign_anew
from tests.support.lies import Lie, asked_by, check_gone_on_from, check_named, id_of
from tests.support.plants import Change, both, drop, put, signed

STORY = tell_the_companies()
GIVEN = "body.legs.0"


def told_twice(
    rule: str, place: str, what: str, changed: Mapping[str, Any], expected: str, actual: str
) -> Lie:
    """The proposal and what came of it say the same, and both are false."""
    return Lie(rule, place, *_twice(place, what, changed, expected, actual))


def _twice(place: str, what: str, changed: Mapping[str, Any], expected: str, actual: str) -> Any:
    here = both(*(put(f"body.{what}.{name}", value) for name, value in changed.items()))
    there = both(*(put(f"body.change.{what}.{name}", value) for name, value in changed.items()))
    return here, expected, actual, {PROPOSED.get(place, f"{place} proposed"): there}


PROPOSED = {"accepted": "offered"}


def said_of_both(place: str, what: str, **changed: Any) -> dict[str, Change]:
    """A false proposal and its effect, as the past of another event."""
    here, _, _, also = _twice(place, what, changed, "", "")
    return {place: here, **also}


def moved_by(holder: str) -> Change:
    return both(put(f"{GIVEN}.debit.holder", holder), put(f"{GIVEN}.credit.holder", holder))


def swapped(record: Json) -> None:
    (leg,) = record["body"]["legs"]
    leg["debit"], leg["credit"] = leg["credit"], leg["debit"]


def with_an_act(record: Json) -> None:
    record["acts"] = [{"key_id": "00" * 8, "signature": "", "statement": "{}"}]


def sold_by_the_verifier(record: Json) -> None:
    trade, _, buyer, quantity_t, price = DEAL
    row = {"asset": "TICKET-LZXQ-1", "buyer": buyer, "price_fen_per_t": price, "trade": trade}
    sign_anew(record, VENUE_KEY, trades=[{**row, "quantity_t": quantity_t, "seller": VERIFIER}])
    delivery, payment = record["body"]["legs"]
    delivery["debit"]["holder"] = payment["credit"]["holder"] = VERIFIER


def closed_by_an_order(record: Json) -> None:
    record["body"]["status"]["status"] = "closed"
    sign_anew(record, AUTHORITY_KEY, status="closed")


def ordered_again(record: Json) -> None:
    record["body"]["number"] = "甘碳 ordered"
    sign_anew(record, AUTHORITY_KEY, number="甘碳 ordered")


def body_of(place: str) -> Json:
    body: Json = json.loads(STORY.accounts[STORY.at[place]].record)["body"]
    return body


def opened_while_frozen(record: Json) -> None:
    """A first registrar proposes it for a farm that its authority has frozen."""
    del record["acts"]
    opening = body_of("中川 opened")["opening"]
    said = {"iss": record["actor"]["iss"], "sub": "registrar-wang"}
    record.update(type="ChangeProposed", actor=said)
    record["body"] = {
        "change": {"opening": opening},
        "proposal": record["by"],
        "proposed_by": said,
    }


def opened_by_another(record: Json) -> None:
    asked = STORY.accounts[STORY.at["lifted"]]
    record.update(type="AccountOpened", actor={"iss": "lanzhou", "sub": "registrar-li"})
    record["body"] = {
        "opening": body_of("中川 opened")["opening"],
        "proposal": json.loads(asked.record)["by"],
        "proposed_by": {"iss": "lanzhou", "sub": "registrar-wang"},
    }


def as_told(place: str, here: str) -> Change:
    """Said of another holder, or to another end: as it was at that place."""
    proposed = here.endswith(" proposed")
    said = body_of(place)["status"]
    return put("body.change.status" if proposed else "body.status", said)


def mandate_of(granted: Json) -> Json:
    return {**granted, "agent": VERIFIER}


def granted_to_the_verifier(record: Json) -> None:
    """Whose house was closed this very day."""
    record["type"] = "MandateGranted"
    del record["body"]["status"]
    record["body"]["mandate"] = mandate_of(body_of("mandate by registrars")["mandate"])


LATER = both(put("at", "2027-01-01T08:00:00.000Z"), put("on", "2027-01-01T08:00:00.000Z"))
REVOKED = id_of(STORY, "offered")
LIVE = id_of(STORY, "mandate by registrars proposed")

LIES = [
    Lie(
        "STATUS",
        "closed proposed",
        opened_by_another,
        "0",
        "3",
        {"lifted": opened_while_frozen},
    ),
    Lie(
        "STATUS",
        "closed",
        granted_to_the_verifier,
        "not closed",
        VERIFIER,
        {
            **{name: as_told("closed", name) for name in ("restricted proposed", "restricted")},
            "closed proposed": put(
                "body.change", {"mandate": mandate_of(body_of("mandate by registrars")["mandate"])}
            ),
        },
    ),
    # proposals
    Lie("PROPOSER", "terms proposed", put("body.proposed_by.sub", "li"), "wang", "li"),
    Lie("PROPOSER", "terms", put("body.proposed_by.sub", "registrar-zhao"), "wang", "zhao"),
    Lie("PROPOSER", "withdrawn", asked_by(WANG), "registrar-li", "registrar-wang"),
    Lie("PROPOSAL_ID", "terms proposed", put("body.proposal", "its own"), "-7", "its own"),
    Lie(
        "PROPOSAL_NEW",  # a live mandate would get another meaning
        "entrusted proposed",
        both(put("by", LIVE), put("body.proposal", LIVE)),
        "False",
        "True",
    ),
    Lie("PROPOSAL_OPEN", "terms", put("body.proposal", "none"), "an open", "none"),
    Lie("PROPOSAL_OPEN", "withdrawn", put("body.proposal", "none"), "an open", "none"),
    Lie(
        "PROPOSAL_OPEN",
        "restricted",
        both(drop("proposal"), drop("proposed_by")),
        "an order",
        "neither",
    ),
    Lie("CHANGE_ONE", "terms proposed", put("body.change", {}), "1", "0"),
    Lie("TWO_PERSONS", "terms", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "terms", asked_by(WANG_AGAIN), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "秦王川 opened", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "boss", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "accepted", asked_by(FARMER), "else than farmer", "farmer"),
    Lie("TWO_PERSONS", "entrusted", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "restricted", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("TWO_PERSONS", "refused", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("AS_PROPOSED", "terms", put("body.terms.terms.persons", True), "false", "true"),
    Lie("AS_PROPOSED", "秦王川 opened", put("body.opening.holder", BANK), QINWANGCHUAN, BANK),
    Lie("AS_PROPOSED", "boss", put("body.operator.rights", ["view"]), "administer", "view"),
    Lie("AS_PROPOSED", "accepted", put("body.mandate.rights", ["retire"]), "hold", "retire"),
    Lie("AS_PROPOSED", "entrusted", put("body.fund.manager", BANK), CITY_GROUP, BANK),
    Lie("AS_PROPOSED", "restricted", put("body.status.status", "active"), "restricted", "active"),
    Lie("REASON", "refused", put("body.reason", ""), "text", "nothing"),
    told_twice("REASON", "restricted", "status", {"reason": ""}, "text", "nothing"),
    Lie("ON_AFTER_AT", "terms", put("on", "2026-12-01T00:00:00.000Z"), "11-20", "12-01"),
    Lie("ACT_UNEXPECTED", "terms", with_an_act, "no signed", "1 acts"),
    Lie("CAUSE_NONE", "terms", put("cause", ["ledger", 1]), "None", "ledger"),
    # terms and openings
    told_twice("TERMS_FROM", "terms", "terms", {"effective_from_ms": 0}, "2026-11-20", "0"),
    told_twice("PROGRAMME", "terms", "terms", {"programme": BANK}, "programme", "settlement_bank"),
    told_twice("HOLDER_KNOWN", "秦王川 opened", "opening", {"holder": STRANGER}, "reg", STRANGER),
    told_twice("PROGRAMME", "秦王川 opened", "opening", {"programme": BANK}, "programme", "bank"),
    told_twice("OPENING_PAPERS", "秦王川 opened", "opening", {"documents": []}, "a doc", "none"),
    told_twice(
        "OPENING_ACCOUNT", "秦王川 opened", "opening", {"account": "trading"}, "at a venue", "''"
    ),
    told_twice(
        "OPENING_FIRST",
        "秦王川 opened for trading",
        "opening",
        {"holder": BANK},
        "a registration",
        "none",
    ),
    told_twice("OPENING_NEW", "中川 opened", "opening", {"holder": QINWANGCHUAN}, "set()", "''"),
    told_twice(
        "OPENING_NEW",
        "城投 opened for trading",
        "opening",
        {"holder": QINWANGCHUAN},
        "{''}",
        "market-lzxq",
    ),
    told_twice("OPENING_KIND", "核查 opened", "opening", {"holder": CITIZEN}, "True", "False"),
    told_twice(
        "BARRED", "城投 opened for trading", "opening", {"holder": VERIFIER}, "trade", VERIFIER
    ),
    Lie("BARRED", "allocated", moved_by(VERIFIER), "who may trade", VERIFIER),
    Lie("BARRED", "settled", sold_by_the_verifier, "who may trade", VERIFIER),
    Lie("OPENED", "given", put(f"{GIVEN}.credit.holder", BANK), "True", "False"),
    Lie("OPENED", "allocated", put(f"{GIVEN}.credit.ref", "market-2"), "True", "False"),
    Lie("OPENED", "allocated", moved_by(ZHONGCHUAN), "True", "False"),
    Lie("OPENED", "held under mandate", put("body.to.holder", BANK), "True", "False"),
    # operators
    Lie("HOLDER_KNOWN", "trader", put("body.operator.holder", STRANGER), "registered", STRANGER),
    Lie("FUND_OPERATOR", "trader", put("body.operator.holder", FUND), "no fund", FUND),
    Lie("RIGHTS", "trader", put("body.operator.rights", ["all"]), "administer", "all"),
    Lie("OPERATOR", "trader", put("body.operator.holder", BANK), "by two persons", "boss"),
    Lie("OPERATOR", "trader", asked_by(BUYER), "who may administer", "buyer"),
    Lie("OPERATOR", "a guest", asked_by(TRADER), "who may administer", "trader"),
    Lie("PROPOSER", "trader", put("body.proposed_by", {"iss": "x", "sub": "y"}), "None", "y"),
    Lie("OPERATOR", "trader gave", asked_by(BUYER), "who may transfer", "buyer"),
    Lie("OPERATOR", "trader gave", asked_by(LEFT), "who may transfer", "who has left"),
    Lie("OPERATOR", "taken under mandate", asked_by(FARMER), "who may hold", "farmer"),
    Lie("OPERATOR", "let go under mandate", asked_by(TRADER), "who may hold", "trader"),
    Lie("OPERATOR", "held under mandate", asked_by(TRADER), "who may hold", "trader"),
    Lie("OPERATOR", "accepted", asked_by(TRADER), "who may administer", "trader"),
    Lie("OPERATOR", "fund paid", asked_by(FUND_CLERK), CITY_GROUP, "fund clerk"),
    Lie(
        "OPERATOR_LIMIT",
        "trader brought money",
        put(f"{GIVEN}.amount", 500_001),
        "at most 500000 by trader",
        "500001",
    ),
    # mandates
    Lie("OFFER", "offered", put("body.for_holder", CITY_GROUP), CITY_GROUP, QINWANGCHUAN),
    Lie("OFFER", "accepted", drop("for_holder"), QINWANGCHUAN, "None"),
    told_twice("RIGHTS", "accepted", "mandate", {"rights": ["administer"]}, "not to", "adm"),
    told_twice("RIGHTS", "accepted", "mandate", {"rights": []}, "rights", "[]"),
    told_twice("MANDATE_PARTIES", "accepted", "mandate", {"agent": FUND}, "neither", FUND),
    told_twice(
        "MANDATE_PARTIES", "accepted", "mandate", {"agent": QINWANGCHUAN}, "two", QINWANGCHUAN
    ),
    told_twice("MANDATE_DAYS", "accepted", "mandate", {"last_day": "2026-11-19"}, "over", "-19"),
    told_twice("DAY", "accepted", "mandate", {"last_day": "some day"}, "a day", "some day"),
    Lie("MANDATE_PARTIES", "revoked", put("body.by_holder", BANK), "one of its", BANK),
    Lie("OPERATOR", "revoked", put("body.by_holder", CITY_GROUP), "who may administer", "farmer"),
    Lie("MANDATE_LIVE", "revoked", put("body.mandate", "none"), "a live mandate", "none"),
    Lie("MANDATE_LIVE", "given under mandate", put("body.mandate", "none"), "a live", "none"),
    Lie("MANDATE_LIVE", "given to 中川", put("body.mandate", REVOKED), "a live", REVOKED),
    Lie("MANDATE_USED", "fund paid", put("body.mandate", LIVE), FUND, QINWANGCHUAN),
    Lie("MANDATE_LIVE", "released", put("body.mandate", REVOKED), "a live", REVOKED),
    Lie("MANDATE_DAYS", "given under mandate", LATER, "2026-12-31", "2027-01-01"),
    Lie(
        "MANDATE_DAYS",  # recorded after its end, and dated back to its last day
        "given under mandate",
        both(LATER, put("on", "2026-12-31T08:00:00.000Z")),
        "2026-12-31",
        "2027-01-01",
    ),
    Lie(
        "MANDATE_SCOPE",
        "given under mandate",
        put("body.legs.0.amount", 20),
        "set()",
        "transfer",
        said_of_both("accepted", "mandate", rights=["trade"]),
    ),
    Lie(
        "MANDATE_SCOPE",
        "given under mandate",
        put("body.legs.0.amount", 20),
        "set()",
        "TICKET-LZXQ-1",
        said_of_both("accepted", "mandate", programmes=[], assets=[CNY]),
    ),
    # funds
    told_twice("FUND", "entrusted", "fund", {"fund": CITY_GROUP}, "fund", "enterprise"),
    told_twice("FUND_MANAGER", "entrusted", "fund", {"manager": CITIZEN}, "a company", "person"),
    Lie("FUND_MANAGER", "given", put(f"{GIVEN}.debit.holder", FUND), "with its manager", FUND),
    Lie(
        "FUND_APART",
        "fund and manager",
        put("body.legs.1.credit.holder", ZHONGCHUAN),
        "between",
        CITY_GROUP,
    ),
    # statuses
    told_twice("STATUS_WORD", "restricted", "status", {"status": "vip"}, "frozen", "vip"),
    told_twice("HOLDER_KNOWN", "restricted", "status", {"holder": STRANGER}, "reg", STRANGER),
    told_twice("CLOSED_EMPTY", "closed", "status", {"holder": ZHONGCHUAN}, "[]", "available"),
    told_twice("CLOSED_EMPTY", "closed", "status", {"holder": BANK}, "[]", "external"),
    Lie(
        "STATUS_OVER",
        "active again",
        put("body.status.holder", VERIFIER),
        "not closed",
        VERIFIER,
        {
            **said_of_both("restricted", "status", holder=VERIFIER, status="closed"),
            "active again proposed": put("body.change.status.holder", VERIFIER),
        },
    ),
    Lie("STATUS", "given to 中川", swapped, "rank 0 or less to send", ZHONGCHUAN),
    Lie(
        "STATUS",
        "given to 中川",
        put("body.legs.0.amount", 5),
        "rank 2 or less to receive",
        ZHONGCHUAN,
        said_of_both("restricted", "status", status="frozen"),
    ),
    Lie(
        "STATUS",
        "given to 中川",
        put("body.legs.0.amount", 5),
        "rank 0 or less to send",
        QINWANGCHUAN,
        said_of_both("restricted", "status", holder=QINWANGCHUAN),
    ),
    Lie("ORDER_WHOLE", "restricted", put("body.number", "1"), "None", "1"),
    Lie("ORDER_WHOLE", "ordered", put("body.proposal", "x"), "None", "x"),
    Lie("ORDER_BY", "ordered", put("body.authority", f"bank:{BANK}"), "a court", BANK),
    Lie("ORDER_CLOSES", "ordered", closed_by_an_order, "no order to close", ZHONGCHUAN),
    Lie("ORDER_STATEMENT", "ordered", put("body.status.status", "active"), "active", "frozen"),
    Lie("ORDER_STATEMENT", "ordered", put("body.status.holder", BANK), BANK, ZHONGCHUAN),
    Lie("ACT_KEY", "ordered", signed(VENUE_KEY), "authority:", "venue:"),
    Lie("ONCE", "lifted", ordered_again, "a new order", "甘碳 ordered"),
]


def test_a_truthful_day_passes_whole_and_the_balances_agree() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    assert books.accounts.balances == {
        key: holding.balance for key, holding in STORY.state.accounts.items()
    }


@pytest.mark.parametrize("lie", LIES, ids=lambda one: f"{one.rule}-{one.place}")
def test_a_lie_about_holders_is_named_with_its_rule_and_changes_nothing(lie: Lie) -> None:
    check_named(STORY, lie)


@pytest.mark.parametrize("lie", LIES, ids=lambda one: f"{one.rule}-{one.place}")
def test_what_two_persons_accept_as_it_is_can_be_applied_and_the_day_goes_on(lie: Lie) -> None:
    check_gone_on_from(STORY, lie)
