"""Registry, market and inclusive in the ledger's eyes: a truthful history of five books passes
whole, and one changed event of it is named by its rule, whichever book it stands in.

The history is the services' own (tests/support/crossings.py). What crosses two books is changed on
either side.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kernel.frames import StoredEvent
from kernel.record import EventTypes
from kernel.tlog.tiles import TileTree
from kernel.values import MAX_INTEGER
from services.ledger.books.crossings import Crossings
from services.ledger.books.market import MarketBook
from services.ledger.books.port import RuleBroken
from services.ledger.log import BookLog, Halted
from services.ledger.reactions import LogReader
from tests.support.crossings import (
    BOOKS,
    CHECKER,
    COMMUTER,
    CROSSED,
    DOMAINS,
    FIRST_KEY,
    FIRST_LENDER,
    FIRST_LIEN,
    GROUP_KEY,
    MAKER,
    MARKET_KEY,
    METRO,
    METRO_KEY,
    NOBODY,
    PICKED,
    PRIVATE,
    SECOND_KEY,
    SECOND_LENDER,
    SECOND_LIEN,
    STUDENT,
    THIRD_LIEN,
    VERIFIER,
    VERIFIER_KEY,
    tell_the_whole,
)
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    CNY,
    PROGRAMME,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    ZHONGCHUAN,
    seeded_key,
)
from tests.support.ledgers import Books, Json, Kept, canonical, origin_of, planted, stored
from tests.support.plants import (
    Change,
    Plant,
    as_it_was,
    as_type,
    both,
    only,
    put,
    same_leg_twice,
    signed,
    signed_by,
)

ROOT = Path(__file__).resolve().parents[2]
WHOLE = tell_the_whole()
LEG = "body.legs.0"


def position_of(place: str) -> int:
    return WHOLE.at[place][1]


def body_of(place: str) -> Json:
    body: Json = WHOLE.record(place)["body"]
    return body


def order_of(place: str) -> str:
    id: str = WHOLE.record(place)["by"]
    return id


def instead(place: str, name: str, **changed: object) -> Any:
    """Another event of that type at this place, as it stood elsewhere but for some fields."""
    return both(as_type(name), only(**{**body_of(place), **changed}), lambda e: e.pop("acts", None))


def cause(book: str, place: str) -> Any:
    return put("cause", [book, position_of(place)])


def refuses(place: str) -> Any:
    """An end that calls refused what was traded at this place."""
    (trade,) = body_of(place)["trades"]
    row = {"details": {}, "message": "no", "reason": "NO", "trade": trade["trade"]}
    return put("body.refused", [row])


TEN, TWO = "ten, then: done", "two, then: done"  # settled together; refused one by one


def one_signs_otherwise(record: Json) -> None:
    """The lender has signed another loan than the pledgor."""
    other = copy.deepcopy(record)
    signed(FIRST_KEY, loan_fen=1)(other)
    (act,) = other["acts"]
    ids = [one["key_id"] for one in record["acts"]]
    record["acts"][ids.index(act["key_id"])] = act


def worth(**changed: int) -> Any:
    """Another valuation, and both parties have signed it."""

    def change(record: Json) -> None:
        valuation = {**record["body"]["valuation"], **changed}
        record["body"]["valuation"] = valuation
        signed_by(GROUP_KEY, FIRST_KEY, valuation=valuation)(record)

    return change


SUSPENDED = "suspended: told"
OVERRIDDEN, AFTER_THE_ORDER = "ordered: told", "paid back after the order asked"
FIRST_ASKED, SECOND_ASKED = f"{FIRST_LIEN} asked", f"{SECOND_LIEN} asked"
I1, I2, I3 = "I-1 approved", "I-2 approved", "I-3 approved"
PART = "paid back in part asked"
CROSS = "group crosses, then"


def bidding_all_the_same(record: Json) -> None:
    """The market takes an order of whom it has heard to be suspended."""
    record.update(type="OrderPlaced", cause=None, body=WHOLE.record("group bids again")["body"])


def cancelled_for_a_status(record: Json) -> None:
    """An order of somebody of whom nothing is said."""
    record["cause"] = list(WHOLE.at["suspended"])
    record["body"]["reason"] = "STATUS_FORBIDS"


REGISTRY_PLANTS = [
    Plant(
        "PROGRAMME_NEW",
        "terms set",
        instead("programme opened", "ProgrammeOpened"),
        "False",
        "True",
    ),
    Plant("PROGRAMME_KNOWN", "terms set", put("body.programme", STRANGER), "opened", STRANGER),
    Plant(
        "PROGRAMME_KNOWN",
        FIRST_ASKED,
        both(put("body.programme", STRANGER), signed_by(GROUP_KEY, FIRST_KEY, programme=STRANGER)),
        "opened",
        STRANGER,
    ),
    Plant("TERMS_AHEAD", "terms set", put("body.effective_from_ms", 0), "2026-11-20", "0"),
    Plant("PROJECT_NEW", "中川 filed", put("body.project", "LZXQ-QIN"), "False", "True"),
    Plant("PROJECT_TYPE", "中川 filed", put("body.project_type", "coal"), "forest", "coal"),
    Plant("PROJECT_KNOWN", "中川 notice", put("body.project", "LZXQ-9"), "filed", "LZXQ-9"),
    Plant("PROJECT_KNOWN", "中川 verified", put("body.project", "LZXQ-9"), "filed", "LZXQ-9"),
    Plant("STEP_ORDER", "中川 notice", put("body.step", "review"), "notice", "review"),
    Plant("STEP_ORDER", "中川 review", put("body.step", "notice"), "review", "notice"),
    Plant(
        "STEP_ORDER",
        "中川 verified",
        instead("中川 review", "ProjectAdvanced"),
        "all are done",
        "review",
    ),
    Plant("STEP_DAYS", "中川 review", put("on", "2026-11-12T15:59:59.999Z"), "2 days", "1"),
    Plant("STEP_DAYS", "中川 verified", put("on", "2026-11-12T01:30:00.000Z"), "0 days", "-1"),
    Plant(
        "STEPS_LEFT",
        "中川 review",
        lambda e: e.update(
            WHOLE.record("中川 verified") | {k: e[k] for k in ("position", "at", "on")}
        ),
        "[]",
        "review",
    ),
    Plant(
        "VERIFICATION_NEW", "中川 verified", put("body.verification", "V-LZXQ-QIN"), "False", "True"
    ),
    Plant("QUANTITY", "中川 verified", put("body.quantity_t", 0), "1 or more", "0"),
    Plant("VERIFIER", "中川 verified", put("body.verifier", ZHONGCHUAN), ZHONGCHUAN, ZHONGCHUAN),
    Plant(
        "PERIOD", "中川 verified", put("body.period_first", "2021-01-01"), "from 2021", "2020-12-31"
    ),
    Plant(
        "PERIOD", "中川 verified", put("body.period_last", "2026-12-31"), "over on", "2026-12-31"
    ),
    Plant("DAY", "中川 verified", put("body.period_last", "2020-12-32"), "a day like", "12-32"),
    Plant("DAY", "中川 verified", put("body.period_last", "20201231"), "2020-12-31", "20201231"),
    Plant(
        "DAY",
        "中川 review",
        both(put("on", "9999-12-31T23:00:00.000Z"), put("at", "9999-12-31T23:00:00.000Z")),
        "calendar",
        "9999",
    ),
    Plant("VERIFICATION_STATEMENT", "中川 verified", put("body.quantity_t", 5001), "5001", "5000"),
    Plant(
        "VERIFICATION_STATEMENT",
        "中川 verified",
        signed(VERIFIER_KEY, document="other"),
        "sha",
        "other",
    ),
    Plant("ACT_KEY", "中川 verified", signed(GROUP_KEY), VERIFIER, CITY_GROUP),
    Plant(
        "ACT_MISSING", "中川 verified", lambda e: e.pop("acts"), "verification-statement", "0 acts"
    ),
    Plant(
        "REDUCTION_CLAIMED",
        "中川 verified",
        both(put("body.project", "LZXQ-QIN"), signed(VERIFIER_KEY, project="LZXQ-QIN")),
        "秦王川",
        "V-LZXQ-QIN",
    ),
    # issuances
    Plant("ISSUANCE_NEW", "I-3 proposed", put("body.issuance", "I-1"), "False", "True"),
    Plant("BATCH_NEW", "I-3 proposed", put("body.batch", "B-I-1"), "False", "True"),
    Plant("LOTS", "I-3 proposed", put("body.lots", []), "a lot", "none"),
    Plant("QUANTITY", "I-3 proposed", put("body.lots.0.quantity_t", -1), "1 or more", "-1"),
    Plant(
        "VERIFICATION_KNOWN",
        "I-3 proposed",
        put("body.lots.0.verification", "V-9"),
        "verified",
        "V-9",
    ),
    Plant("LOT_PROGRAMME", "I-3 proposed", put("body.programme", STRANGER), PROGRAMME, STRANGER),
    Plant(
        "LOT_OWNERS",
        "I-3 proposed",
        put("body.owners.0.holder", CITY_GROUP),
        QINWANGCHUAN,
        CITY_GROUP,
    ),
    Plant("LOT_OWNERS", "I-3 proposed", put("body.owners.0.quantity_t", 1), "400", "1"),
    Plant("ISSUANCE_SERIALS", "I-3 proposed", put("body.last", 901), "900", "901"),
    Plant("ISSUANCE_SERIALS", "I-3 proposed", put("body.first", 2), "(1, 900)", "(2, 900)"),
    Plant(
        "VERIFIED",
        "I-3 proposed",
        both(
            put("body.lots.0.quantity_t", 501),
            put("body.owners.0.quantity_t", 501),
            put("body.last", 1001),
        ),
        "at most 1000 t",
        "1001",
    ),
    Plant("ISSUANCE_PROPOSED", I3, put("body.issuance", "I-9"), "waits", "I-9"),
    Plant("ISSUANCE_PROPOSED", I3, put("body.issuance", "I-1"), "waits", "I-1"),
    Plant(
        "TWO_PERSONS",
        I3,
        put("actor.sub", MAKER.actor.sub),
        f"not {MAKER.actor.sub}",
        MAKER.actor.sub,
    ),
    Plant(
        "TWO_PERSONS",
        I3,
        put("actor", {"iss": "another issuer", "sub": MAKER.actor.sub}),
        f"not {MAKER.actor.sub}",
        MAKER.actor.sub,
    ),
    Plant("APPROVAL", I3, signed(AUTHORITY_KEY, document="other"), "sha", "other"),
    Plant("APPROVAL", I3, put("actor.sub", "somebody"), "somebody", CHECKER.actor.sub),
    Plant("ACT_KEY", I3, signed(GROUP_KEY), f"authority:{PROGRAMME}", CITY_GROUP),
    Plant("REQUEST_OPEN", f"{I3}: done", put("body.issuance", "I-1"), "approved issuance", "I-1"),
    Plant("REQUEST_OPEN", "I-2 refused", put("body.issuance", "I-1"), "approved issuance", "I-1"),
    Plant("OUTCOME_ENTRY", f"{I3}: done", put("cause", None), "accounts", "None"),
    Plant(
        "OUTCOME_ENTRY",
        f"{I3}: done",
        cause("accounts", f"{I1}: entry"),
        "not told of yet",
        "accounts",
    ),
    Plant("OUTCOME_ENTRY", f"{I3}: done", cause("registry", I3), "accounts", "registry"),
    Plant(
        "OUTCOME_REFUSED",
        f"{I3}: done",
        both(put("cause", None), instead("I-2 refused", "IssuanceRefused", issuance="I-3")),
        "no entry",
        "did it",
    ),
    # statuses at the market
    Plant("STANDING_TOLD", SUSPENDED, put("cause", None), "a status", "None"),
    Plant("STANDING_TOLD", SUSPENDED, put("body.status", "active"), "suspended", "active"),
    Plant("STANDING_TOLD", SUSPENDED, put("body.holder", QINWANGCHUAN), CITY_GROUP, QINWANGCHUAN),
    Plant("STANDING_TOLD", SUSPENDED, put("body.authority", ""), PROGRAMME, "''"),
    Plant("BARRED_TRADER", "free again: told", bidding_all_the_same, "who may trade", CITY_GROUP),
    Plant("CANCELLED_FOR", f"{SUSPENDED}, then", put("body.reason", "x"), "STATUS", "x"),
    Plant("CANCELLED_WITH", f"{SUSPENDED}, then", put("cause", None), "accounts", "None"),
    Plant("CANCELLED_WITH", f"{SUSPENDED}, then", put("cause", ["accounts", 0]), "acc", "0"),
    Plant("CANCELLED_FOR", "cancelled", cancelled_for_a_status, "may not trade", ZHONGCHUAN),
    Plant("CAUSE_NONE", f"{SUSPENDED}, then", lambda e: e["body"].pop("reason"), "None", "acc"),
    Plant("CAUSE_NONE", "I-2 refused", put("cause", ["accounts", 3]), "None", "accounts"),
    Plant(
        "OUTCOME_ENTRY",  # the entry that freed one lien is told of as what bound another
        f"{PART}: done",
        instead(f"{FIRST_ASKED}: done", "PledgeRegistered", lien=THIRD_LIEN),
        str(WHOLE.at[f"{THIRD_LIEN} asked"]),
        str(WHOLE.at[PART]),
        {f"{THIRD_LIEN} refused": instead("terms set", "TermsSet")},
    ),
    # an order over a lien
    Plant("OVERRIDE_ORDER", OVERRIDDEN, put("cause", None), "to tell of", "None"),
    Plant("OVERRIDE_ORDER", OVERRIDDEN, put("cause", ["accounts", 0]), "to tell of", "accounts"),
    Plant("OVERRIDE_ORDER", OVERRIDDEN, put("body.transfer", "x"), "succession 1", "x"),
    Plant("OVERRIDE_ORDER", OVERRIDDEN, put("body.authority", "court:x"), PROGRAMME, "court:x"),
    Plant("OVERRIDE_LOT", OVERRIDDEN, put("body.quantity_t", 299), "300", "299"),
    Plant("OVERRIDE_LOT", OVERRIDDEN, put("body.lien", FIRST_LIEN), "None", "300"),
    Plant("OVERRIDE_LOT", OVERRIDDEN, put("body.serials", []), "300", "[]"),
    Plant(
        "RELEASE_WITHIN",  # what the order took is not there to be released
        AFTER_THE_ORDER,
        both(put("body.quantity_t", 701), signed(SECOND_KEY, quantity_t=701)),
        "1..700",
        "701",
    ),
    # pledges
    Plant("LIEN_NEW", SECOND_ASKED, put("body.lien", FIRST_LIEN), "False", "True"),
    Plant("QUANTITY", FIRST_ASKED, put("body.quantity_t", 0), "1 or more", "0"),
    Plant("LOAN", FIRST_ASKED, put("body.loan_fen", 0), "1 or more", "0"),
    Plant("PLEDGE_PARTIES", FIRST_ASKED, put("body.pledgee", CITY_GROUP), "two", CITY_GROUP),
    Plant("SERIALS_COUNT", SECOND_ASKED, put("body.serials.0.last", 2499), "1000", "999"),
    Plant("SERIALS_RANGE", SECOND_ASKED, put("body.serials.0.last", 1), "1..", "1501..1"),
    Plant(
        "MATURITY", FIRST_ASKED, put("body.matures_on", "2026-11-19"), "2026-11-20", "2026-11-19"
    ),
    Plant("PLEDGE_STATEMENT", FIRST_ASKED, put("body.quantity_t", 1501), "1501", "1500"),
    Plant(
        "PLEDGE_STATEMENT",
        SECOND_ASKED,
        put("body.serials", [{"batch": "B-I-1", "first": 1, "last": 1000}]),
        "1000",
        "2500",
    ),
    Plant(
        "ACT_MISSING", FIRST_ASKED, lambda e: e["acts"].pop(), f"holder:{FIRST_LENDER}", "1 acts"
    ),
    Plant("ACT_KEY", FIRST_ASKED, signed_by(GROUP_KEY, SECOND_KEY), FIRST_LENDER, SECOND_LENDER),
    Plant("ACT_DIFFERS", FIRST_ASKED, one_signs_otherwise, "loan_fen", "loan_fen"),
    Plant(
        "PLEDGE_STATEMENT",
        FIRST_ASKED,
        put("body.valuation.price_fen_per_t", 5000),
        '"price_fen_per_t":5000',
        '"price_fen_per_t":4194',
    ),
    Plant(
        "LOAN_TO_VALUE",
        FIRST_ASKED,
        worth(price_fen_per_t=4166),
        "9900 bp",
        "6249000",
    ),
    Plant(
        "PRICE_AGE",
        FIRST_ASKED,
        worth(priced_at_ms=4_000_000_000_000),
        "a price before",
        "4000000000000",
    ),
    Plant(
        "PRICE_AGE",
        FIRST_ASKED,
        worth(priced_at_ms=0),
        "at most 2592000000 ms",
        "17",
    ),
    Plant(
        "REQUEST_OPEN",
        f"{SECOND_ASKED}: done",
        put("body.lien", FIRST_LIEN),
        "a pledge",
        FIRST_LIEN,
    ),
    Plant(
        "REQUEST_OPEN",
        f"{THIRD_LIEN} refused",
        put("body.lien", FIRST_LIEN),
        "a pledge",
        FIRST_LIEN,
    ),
    Plant("OUTCOME_ENTRY", f"{SECOND_ASKED}: done", put("cause", None), "accounts", "None"),
    Plant(
        "OUTCOME_SERIALS", f"{SECOND_ASKED}: done", put("body.serials.0.last", 2499), "2500", "2499"
    ),
    Plant(
        "OUTCOME_REFUSED",
        f"{SECOND_ASKED}: done",
        both(
            put("cause", None), instead(f"{THIRD_LIEN} refused", "PledgeRefused", lien=SECOND_LIEN)
        ),
        "no entry",
        "did it",
    ),
    Plant("LIEN_LIVE", PART, put("body.lien", THIRD_LIEN), "registered", THIRD_LIEN),
    Plant(
        "RELEASE_NEW", "paid back asked", put("body.release", "paid back in part"), "False", "True"
    ),
    Plant("RELEASE_WITHIN", "paid back asked", put("body.quantity_t", 1001), "1..1000", "1001"),
    Plant("RELEASE_WITHIN", "paid back asked", put("body.quantity_t", 0), "1..1000", "0"),
    Plant("RELEASE_STATEMENT", PART, put("body.quantity_t", 501), "501", "500"),
    Plant("ACT_KEY", PART, signed(GROUP_KEY), FIRST_LENDER, CITY_GROUP),
    Plant("REQUEST_OPEN", f"{PART}: done", put("body.release", "another"), "a release", "another"),
    Plant("RELEASE_QUANTITY", f"{PART}: done", put("body.quantity_t", 499), "500", "499"),
    Plant("OUTCOME_SERIALS", f"{PART}: done", put("body.serials", []), "last=", "[]"),
    Plant(
        "OUTCOME_ENTRY",
        f"{PART}: done",
        cause("accounts", f"{FIRST_ASKED}: entry"),
        "registry",
        "accounts",
    ),
    Plant(
        "OUTCOME_REFUSED",
        f"{PART}: done",
        both(
            put("cause", None),
            instead("too soon refused", "ReleaseRefused", release="paid back in part"),
        ),
        "no entry",
        "did it",
    ),
    # retirements
    Plant(
        "RETIREMENT_ORDER",
        "retired: told",
        cause("accounts", "both farms retired"),
        str(position_of("retired")),
        str(position_of("both farms retired")),
    ),
    Plant("RETIREMENT_ORDER", "retired: told", put("cause", None), "accounts", "None"),
    Plant(
        "RETIREMENT_ORDER",
        "key withdrawn",
        both(
            instead("retired: told", "UnitsRetired"),
            put("cause", ["accounts", position_of("retired")]),
        ),
        "to tell of",
        "accounts",
    ),
    Plant("RETIREMENT", "retired: told", put("body.quantity_t", 199), "200", "199"),
    Plant(
        "RETIREMENT", "retired: told", put("body.beneficiary", "nobody"), "兰州新区城投", "nobody"
    ),
    Plant("RETIREMENT", "both farms retired: told", put("body.holder", CITY_GROUP), "None", "10"),
    Plant(
        "RETIREMENT",
        "both farms retired: told, then",
        put("body.serials.0.last", 9999),
        "last=",
        "9999",
    ),
    # every command
    Plant("CAUSE_NONE", "中川 filed", put("cause", ["accounts", 3]), "None", "accounts"),
    Plant("ON_AFTER_AT", "中川 filed", put("on", "2026-11-20T01:30:00.001Z"), "00.000Z", ".001Z"),
    Plant(
        "ACT_UNEXPECTED",
        "中川 filed",
        lambda e: e.update(acts=WHOLE.record(I1)["acts"]),
        "no signed",
        "1 acts",
    ),
    # keys
    Plant(
        "KEY_REGISTERED",
        f"holder:{VERIFIER} in registry",
        put("body.key_id", "00" * 8),
        "directory",
        "00" * 8,
    ),
    Plant(
        "KEY_AS_REGISTERED",
        f"holder:{VERIFIER} in registry",
        put("body.subject", f"holder:{METRO}"),
        VERIFIER,
        METRO,
    ),
    Plant(
        "KEY_ONCE",
        "key withdrawn",
        both(as_type("KeyAdmitted"), only(**body_of(f"holder:{VERIFIER} in registry"))),
        "False",
        "True",
    ),
    Plant(
        "KEY_REVOKED",
        "key withdrawn",
        put("body.key_id", body_of(f"holder:{CITY_GROUP} in registry")["key_id"]),
        "has ended",
        "",
    ),
]

MARKET_PLANTS = [
    Plant("INSTRUMENT_NEW", CROSSED, put("body.instrument", PICKED), "False", "True"),
    Plant("INSTRUMENT_ASSET", CROSSED, put("body.asset", CNY), "units", CNY),
    Plant("INSTRUMENT_KNOWN", "market terms set", put("body.instrument", "X-1"), "defined", "X-1"),
    Plant("INSTRUMENT_KNOWN", "first farm lists", put("body.instrument", "X-1"), "defined", "X-1"),
    Plant("TERMS_AHEAD", "market terms set", put("body.effective_from_ms", 1), "2026", "1"),
    Plant(
        "ALLOCATION_ORDER",
        "money brought: told",
        cause("accounts", "more money brought"),
        str(position_of("money brought")),
        str(position_of("more money brought")),
    ),
    Plant("ALLOCATION_ORDER", "money brought: told", put("cause", None), "accounts", "None"),
    Plant(
        "ALLOCATION_ORDER",
        "cancelled",
        both(
            instead("money brought: told", "AllocationsReceived"),
            put("cause", ["accounts", position_of("money brought")]),
        ),
        "to tell of",
        "accounts",
    ),
    Plant(
        "ALLOCATION",
        "money brought: told",
        put("body.allocations.0.amount", 40_000_001),
        "40000000",
        "40000001",
    ),
    Plant(
        "ALLOCATION",
        "tickets brought: told",
        lambda e: e["body"]["allocations"].pop(),
        ZHONGCHUAN,
        QINWANGCHUAN,
    ),
    # orders
    Plant(
        "NAME_NEW",
        "second farm lists",
        put("body.order", order_of("first farm lists")),
        "False",
        "True",
    ),
    Plant(
        "TRADING_DAY", "first farm lists", put("body.day", "2026-11-21"), "2026-11-20", "2026-11-21"
    ),
    Plant("SIDE", "first farm lists", put("body.side", "both"), "buy or sell", "both"),
    Plant("QUANTITY", "first farm lists", put("body.quantity_t", 0), "1 or more", "0"),
    Plant("PRICE", "first farm lists", put("body.price_fen_per_t", 0), "1 or more", "0"),
    Plant(
        "FREE", "first farm lists", put("body.quantity_t", 3001), f"at most 3000 {TICKET}", "3001"
    ),
    Plant("FREE", "group crosses", put("body.quantity_t", 9_999), "CNY", str(9_999 * 4195)),
    Plant("ORDER_LIVE", "cancelled", put("body.order", order_of("first farm lists")), "a live", ""),
    Plant(
        "ORDER_LIVE", "group bids for a day: expired", put("body.order", "none"), "a live", "none"
    ),
    Plant(
        "ORDER_NOT_DUE",
        "group bids for a day: expired",
        put("at", "2026-11-20T15:59:59.999Z"),
        "2026-11-20",
        "15:59",
    ),
    # trades
    Plant("TRADED_ASSET", "picked", put("body.asset", CNY), TICKET, CNY),
    Plant("TRADING_DAY", "picked", put("body.day", "2026-11-21"), "2026-11-20", "2026-11-21"),
    Plant("SIDE", "picked", put("body.taker_side", "both"), "buy or sell", "both"),
    Plant("TRADES", "picked", put("body.trades", []), "a trade", "none"),
    Plant("TRADE_NAMES", "picked", put("body.trades.1.trade", "T-1"), "/2", "T-1"),
    Plant(
        "NAME_NEW",
        "group crosses again, then",
        put("body.settlement", body_of("picked")["settlement"]),
        "False",
        "True",
    ),
    Plant(
        "NAME_NEW",  # a pick in the name of an order that has ended
        "picked again",
        put("body.taker", order_of("first farm lists")),
        "False",
        "True",
    ),
    Plant(
        "MATCHING_MODE",  # a listing that crosses by itself
        "picked again",
        put("body.taker", order_of("second farm lists")),
        "True",
        "False",
    ),
    Plant("TWO_HOLDERS", "picked", put("body.trades.0.buyer", QINWANGCHUAN), "two", QINWANGCHUAN),
    Plant("ORDER_LIVE", "picked", put("body.trades.0.maker", "none"), "a live", "none"),
    Plant("MAKER_INSTRUMENT", "picked", put("body.instrument", CROSSED), CROSSED, PICKED),
    Plant(
        "MAKER_DAY",
        "picked",
        both(put("at", "2026-11-20T16:00:00.000Z"), put("body.day", "2026-11-21")),
        "2026-11-21",
        "2026-11-20",
    ),
    Plant("MAKER_SIDE", "picked", put("body.taker_side", "sell"), "buy", "sell"),
    Plant("MAKER_PRICE", "picked", put("body.trades.0.price_fen_per_t", 4193), "4194", "4193"),
    Plant("MAKER", "picked", put("body.trades.0.seller", ZHONGCHUAN), QINWANGCHUAN, ZHONGCHUAN),
    Plant("MAKER_OPEN", "picked", put("body.trades.0.quantity_t", 3001), "at most 3000", "3001"),
    Plant("QUANTITY", "picked", put("body.trades.1.quantity_t", -1), "1 or more", "-1"),
    Plant("ONE_TAKER", "picked", put("body.trades.1.buyer", QINWANGCHUAN), "1", "2"),
    Plant(
        "FREE",
        "picked",
        both(*(put(f"body.trades.{n}.buyer", FIRST_LENDER) for n in (0, 1))),
        "at most 0 CNY",
        "14682000",
    ),
    Plant(
        "MATCHING_MODE", "group crosses again, then", put("body.taker", "a pick"), "False", "True"
    ),
    Plant("TAKER", CROSS, put("body.trades.0.buyer", QINWANGCHUAN), CITY_GROUP, QINWANGCHUAN),
    Plant(
        "TAKER_INSTRUMENT",
        CROSS,
        put("body.taker", order_of("group bids for a day")),
        CROSSED,
        PICKED,
    ),
    Plant(
        "TAKER_LIMIT",
        CROSS,
        put("body.taker", order_of("group bids low")),
        "buy at 4000 or better",
        "4190",
    ),
    Plant("TAKER_OPEN", CROSS, put("body.trades.0.quantity_t", 201), "at most 200", "201"),
    Plant("REQUEST_OPEN", "picked: done", put("body.settlement", "none"), "a settlement", "none"),
    Plant(
        "REQUEST_OPEN",
        "unwound",
        put("body.settlement", body_of("picked")["settlement"]),
        "a settlement",
        "",
    ),
    Plant("OUTCOME_ENTRY", "picked: done", put("cause", None), "accounts", "None"),
    Plant(
        "OUTCOME_ENTRY",
        "picked: done",
        cause("accounts", "money brought"),
        "not told of",
        "accounts",
    ),
    Plant(
        "OUTCOME_REFUSED",
        "picked: done",
        both(
            put("cause", None),
            instead("unwound", "SettlementRefused", settlement=body_of("picked")["settlement"]),
        ),
        "no entry",
        "did it",
    ),
    # what became of parts
    Plant("REQUEST_OPEN", TEN, put("body.settlements.0.settlement", "none"), "a settlement", ""),
    Plant(
        "ENDED_ONCE",
        TEN,
        lambda e: e["body"]["settlements"].append(e["body"]["settlements"][0]),
        "3",
        "2",
    ),
    Plant("ENDED_SOME", TEN, put("body.settlements", []), "a settlement", "none"),
    Plant("ENDED_ENTRIES", TEN, put("body.settlements.0.entries", [1, 2]), "1", "2"),
    Plant("ENDED_TRADES", TEN, refuses("five, then"), "[]", "/1"),
    Plant("OUTCOME_SETTLED", TEN, refuses("eight, then"), "True", "False"),
    Plant("OUTCOME_SETTLED", TWO, put("body.refused", []), "False", "True"),
    Plant("OUTCOME_ENTRY", TEN, put("body.settlements.0.entries.0", 1), "/1", "1"),
    Plant("OUTCOME_ENTRY", TWO, put("body.settlements.0.entries.0", 0), "/1", "0"),
    Plant("OUTCOME_CAUSE", TEN, put("cause", None), "accounts, from", "None"),
    Plant("OUTCOME_CAUSE", TEN, cause("accounts", "ten, then: part"), "accounts, from", "accounts"),
    Plant(
        "OUTCOME_REFUSED",
        TEN,
        both(
            put("cause", None),
            put("body.settlements.0.entries", []),
            refuses("ten, then"),
        ),
        "None",
        "/1",
    ),
    Plant("OUTCOME_REFUSED", "five, then: done", put("body.refused", []), "refused", "/1"),
    Plant("CAUSE_NONE", "five, then: done", cause("accounts", "taken back"), "None", "accounts"),
    # releases
    Plant("NAME_NEW", "kept", put("body.release", order_of("taken back")), "False", "True"),
    Plant("FREE", "taken back", put("body.amount", 3701), "at most 3700", "3701"),
    Plant("QUANTITY", "taken back", put("body.amount", 0), "1 or more", "0"),
    Plant("REQUEST_OPEN", "taken back: done", put("body.release", "none"), "a release", "none"),
    Plant(
        "OUTCOME_ENTRY",
        "taken back: done",
        cause("accounts", "picked: entry"),
        "market",
        "accounts",
    ),
    Plant(
        "OUTCOME_REFUSED",
        "taken back: done",
        both(
            put("cause", None),
            instead("kept: refused", "ReleaseRefused", release=order_of("taken back")),
        ),
        "no entry",
        "did it",
    ),
    Plant("CAUSE_NONE", "first farm lists", put("cause", ["accounts", 3]), "None", "accounts"),
    Plant(
        "ACT_UNEXPECTED",
        "picked",
        lambda e: e.update(acts=WHOLE.record(I1)["acts"]),
        "no signed",
        "1 acts",
    ),
]

METRO_TRIP, E_BIKE = "metro trip", "declared trip"
INCLUSIVE_PLANTS = [
    Plant("PROPOSER", "SZ-METRO proposed", put("body.proposed_by.sub", "ma"), "gao", "ma"),
    Plant(
        "METHODOLOGY_NEW",
        "REPORT-EBIKE proposed",
        put("body.methodology", "SZ-METRO"),
        "False",
        "True",
    ),
    Plant("FACTOR", "SZ-METRO proposed", put("body.factor_mg_per_km", 999), "1000..", "999"),
    Plant(
        "FACTOR",  # a table with such a figure for the metro is in circulation, and wrong
        "SZ-METRO proposed",
        put("body.factor_mg_per_km", 169_000),
        "..100000",
        "169000",
    ),
    Plant(
        "FACTOR", "REPORT-EBIKE proposed", put("body.factor_mg_per_km", 54_011), "54010", "54011"
    ),
    Plant("METHODOLOGY_PROPOSED", "SZ-METRO approved", put("body.version", "2"), "proposed", "SZ"),
    Plant("TWO_PERSONS", "SZ-METRO approved", put("actor.sub", "gao"), "not gao", "gao"),
    Plant("POINTS", "points set", put("body.points_per_kg", -1), "0..1000000", "-1"),
    Plant("POINTS", "points set", put("body.points_per_kg", 1_000_001), "0..1000000", "1000001"),
    Plant("OPERATOR_NEW", "consent", instead("operator", "OperatorRegistered"), "False", "True"),
    Plant("CITIZEN_NEW", STUDENT, put("body.citizen", COMMUTER), "False", "True"),
    Plant("CITIZEN_KNOWN", "consent", put("body.citizen", NOBODY), "enrolled", NOBODY),
    Plant(
        "CITIZEN_FORGOTTEN",
        "confirmed",
        instead("consent", "ConsentChanged"),
        "forgotten",
        STUDENT,
    ),
    Plant(
        "CITIZEN_FORGOTTEN",
        "confirmed",
        instead("forgotten", "CitizenForgotten"),
        "forgotten",
        STUDENT,
    ),
    Plant(
        "CONSENTS",
        "consent",
        both(put("body.measure", False), put("body.sell", True)),
        "measure",
        "sell",
    ),
    # batches
    Plant("OPERATOR_KNOWN", "batch one", put("body.operator", STRANGER), "registered", STRANGER),
    Plant("TRIP_BATCH_NEW", "batch two", put("body.batch", "one"), "False", "True"),
    Plant("TRIP_BATCH_STATEMENT", "batch one", put("body.count", 6), '"count":6', '"count":5'),
    Plant(
        "TRIP_BATCH_STATEMENT",
        "batch one",
        signed(METRO_KEY, digest="00"),
        "digest",
        '"digest":"00"',
    ),
    Plant("ACT_KEY", "batch one", signed(seeded_key("a thief")), METRO, "unknown"),
    Plant("TRIP_BATCH_KNOWN", METRO_TRIP, put("body.batch", "nine"), "received", "nine"),
    Plant("TRIP_BATCH_KNOWN", "trip again", put("body.batch", "nine"), "received", "nine"),
    Plant("TRIP_BATCH_COUNT", "what-if trip", put("body.batch", "one"), "than were signed", "one"),
    # trips
    Plant("NULLIFIER", METRO_TRIP, put("body.nullifier", "zz" * 32), "SHA-256", "zz"),
    Plant("NULLIFIER", "trip again", put("body.nullifier", "00"), "SHA-256", "00"),
    Plant(
        "NULLIFIER",
        METRO_TRIP,
        lambda e: e["body"].update(nullifier=e["body"]["nullifier"].upper()),
        "SHA-256",
        "",
    ),
    Plant(
        "TRIP_ONCE",
        "student's trip",
        put("body.nullifier", body_of(METRO_TRIP)["nullifier"]),
        "not earned",
        "",
    ),
    Plant("CITIZEN_KNOWN", METRO_TRIP, put("body.citizen", NOBODY), "enrolled", NOBODY),
    Plant("CITIZEN_KNOWN", "trip again", put("body.citizen", NOBODY), "enrolled", NOBODY),
    Plant("TRIP_REASON", "trip again", put("body.reason", ""), "a reason", "none"),
    Plant("TRIP_MODE", METRO_TRIP, put("body.mode", "bus"), "metro", "bus"),
    Plant("TRIP_MODE", METRO_TRIP, put("body.mode", "ebike"), "metro", "ebike"),
    Plant("METHODOLOGY_APPROVED", METRO_TRIP, put("body.version", "2"), "approved", "'2'"),
    Plant(
        "TRIP_DAY", METRO_TRIP, put("body.day", "2026-11-21"), "at most 2026-11-20", "2026-11-21"
    ),
    Plant(
        "TRIP_DAY",
        METRO_TRIP,
        put("body.day", "2020-12-31"),
        "2021-01-01..2030-12-31",
        "2020-12-31",
    ),
    Plant("CONFIRMS_ON", METRO_TRIP, put("body.confirms_on", "2026-11-21"), "2", "1"),
    Plant("NEGATIVE", METRO_TRIP, put("body.reduction_mg", -468_000), "0 or more", "-468000"),
    Plant("NEGATIVE", METRO_TRIP, put("body.points", -1), "0 or more", "-1"),
    Plant("REDUCTION_STEP", METRO_TRIP, put("body.reduction_mg", 468_001), "46800 mg/km", "468001"),
    Plant("TRIP_POINTS", METRO_TRIP, put("body.points", 469), "468", "469"),
    Plant("TRIP_POINTS", "what-if trip", put("body.points", 468), "0", "468"),
    Plant("CONSENT", METRO_TRIP, put("body.citizen", PRIVATE), "to measure", PRIVATE),
    Plant("BECAUSE", METRO_TRIP, put("body.because", "EVIDENCE_TOO_WEAK"), "True", "False"),
    Plant("BECAUSE", METRO_TRIP, put("body.saleable", False), "False", "True"),
    Plant(
        "SALEABLE_CONSENT",
        "student's trip",
        both(put("body.saleable", True), put("body.because", "")),
        "sell",
        STUDENT,
    ),
    Plant(
        "SALEABLE_REAL",
        "what-if trip",
        both(put("body.saleable", True), put("body.because", "")),
        "False",
        "True",
    ),
    Plant(
        "SALEABLE_STATUS",
        E_BIKE,
        both(put("body.saleable", True), put("body.because", "")),
        "filed",
        "report",
    ),
    Plant(
        "SALEABLE_MEASURED",
        E_BIKE,
        both(put("body.saleable", True), put("body.because", "")),
        "a reduction",
        "0",
        {"REPORT-EBIKE proposed": put("body.status", "filed")},
    ),
    Plant(
        "TRIP_FAR",  # ten metres more than three hours at 90 km/h
        METRO_TRIP,
        put("body.reduction_mg", 46_800 * 270_010 // 1000),
        "at most 270000 m by metro",
        "270010",
    ),
    Plant("DECLARED", METRO_TRIP, put("body.reduction_mg", 0), "bike", "metro"),
    Plant("TRIP_POINTS", E_BIKE, put("body.points", 1), "at most 0", "1"),
    Plant(
        "TRIP_DAY",
        METRO_TRIP,
        put("body.day", "2025-11-18"),
        "at most 366 days before 2026-11-20",
        "2025-11-18",
    ),
    Plant(
        "METHODOLOGY_PLACE",
        METRO_TRIP,
        as_it_was,
        "Guangzhou or CN",
        "Shenzhen",
        {"operator": put("body.city", "Guangzhou")},
    ),
    Plant(
        "METHODOLOGY_METRO",
        METRO_TRIP,
        as_it_was,
        "True",
        "False",
        {"SZ-METRO proposed": put("body.has_metro", False)},
    ),
    Plant("DAY_ORDER", "confirmed", put("body.day", ""), "after", ""),
    Plant("DAY_DUE", "confirmed", put("body.day", "2026-11-21"), "to confirm", "2026-11-21"),
    Plant(
        "DAY_BEGUN", "confirmed", put("body.day", "2026-11-24"), "at most 2026-11-23", "2026-11-24"
    ),
    Plant("CAUSE_NONE", METRO_TRIP, put("cause", ["accounts", 3]), "None", "accounts"),
    Plant(
        "ACT_UNEXPECTED",
        METRO_TRIP,
        lambda e: e.update(acts=WHOLE.record(I1)["acts"]),
        "no signed",
        "1 acts",
    ),
    Plant(
        "KEY_AS_REGISTERED",
        f"holder:{METRO} in inclusive",
        put("body.subject", "holder:x"),
        METRO,
        "holder:x",
    ),
    Plant(
        "KEY_ONCE",
        "forgotten",
        both(as_type("KeyAdmitted"), only(**body_of(f"holder:{METRO} in inclusive"))),
        "False",
        "True",
    ),
]


def entry(place: str) -> str:
    return f"{place}: entry"


PLEDGED, FREED = entry(FIRST_ASKED), entry(PART)
NAMED = entry(SECOND_ASKED)
DEALS = WHOLE.record(entry("picked"))["acts"][0]["statement"]


TENS = "ten, then: part"


def one_trade(**changed: object) -> Any:
    """The part's first trade otherwise, signed by the venue's own key."""
    trades = json.loads(WHOLE.record(TENS)["acts"][0]["statement"])["trades"]
    trades[0].update(changed)
    return signed(MARKET_KEY, trades=trades)


def another_trade(record: Json) -> None:
    """A trade of another name, signed by the venue's own key."""
    trades = json.loads(DEALS)["trades"]
    trades[0]["trade"] = "T-9"
    record["body"]["trades"][0] = "T-9"
    signed(MARKET_KEY, trades=trades)(record)


def another_price(record: Json) -> None:
    """A cheaper delivery, signed by the venue's own key, that the market never made."""
    trades = json.loads(DEALS)["trades"]
    trades[0]["price_fen_per_t"] = 1
    record["body"]["legs"][1]["amount"] = trades[0]["quantity_t"]
    signed(MARKET_KEY, trades=trades)(record)


def another_batch(record: Json) -> None:
    for one in record["body"]["legs"]:
        one["serials"][0]["batch"] = "B-9"
    signed(AUTHORITY_KEY, batch="B-9")(record)


ACCOUNTS_PLANTS = [
    Plant("PLEDGE_LEGS", PLEDGED, same_leg_twice, "1", "2"),
    Plant("PLEDGE_LEGS", FREED, same_leg_twice, "1", "2"),
    Plant("PLEDGE_NAMED", PLEDGED, lambda e: e["body"].pop("pledge"), "lien", "None"),
    Plant("PLEDGE_NAMED", PLEDGED, put("body.pledge.release", "x"), "alone", "x"),
    Plant("PLEDGE_NAMED", FREED, lambda e: e["body"].pop("pledge"), "a release", "None"),
    Plant("PLEDGE_NAMED", FREED, put("body.pledge.lien", SECOND_LIEN), FIRST_LIEN, SECOND_LIEN),
    Plant(
        "PLEDGE_TO", PLEDGED, put(f"{LEG}.credit.holder", QINWANGCHUAN), CITY_GROUP, QINWANGCHUAN
    ),
    Plant(
        "PLEDGE_UNITS",
        PLEDGED,
        both(put(f"{LEG}.asset", CNY), put(f"{LEG}.serials", [])),
        "units",
        CNY,
    ),
    Plant("PLEDGE_PARTIES", PLEDGED, put("body.pledge.pledgee", CITY_GROUP), "two", CITY_GROUP),
    Plant(
        "LIEN_NEW",
        NAMED,
        both(put("body.pledge.lien", FIRST_LIEN), put(f"{LEG}.credit.ref", FIRST_LIEN)),
        "False",
        "True",
    ),
    Plant(
        "ACT_KEY", PLEDGED, put("body.pledge.pledgee", SECOND_LENDER), SECOND_LENDER, FIRST_LENDER
    ),
    Plant("ACT_MISSING", PLEDGED, lambda e: e["acts"].pop(), "of holder:", "1 acts"),
    Plant(
        "PLEDGE_STATEMENT",
        PLEDGED,
        signed_by(GROUP_KEY, FIRST_KEY, quantity_t=1),
        "1500",
        '"quantity_t":1,',
    ),
    Plant("PLEDGE_STATEMENT", PLEDGED, signed_by(GROUP_KEY, FIRST_KEY, matures_on=7), '"7"', ":7,"),
    Plant("STATEMENT", PLEDGED, signed_by(GROUP_KEY, FIRST_KEY, serials="all"), "serials", "all"),
    Plant(
        "PLEDGE_SERIALS",
        NAMED,
        signed_by(GROUP_KEY, SECOND_KEY, serials=[{"batch": "B-I-1", "first": 1, "last": 1000}]),
        "last=1000",
        "last=2500",
    ),
    Plant("LIEN_KNOWN", FREED, put(f"{LEG}.debit.ref", THIRD_LIEN), "None", FIRST_LENDER),
    Plant(
        "PLEDGE_BACK", FREED, put(f"{LEG}.credit.holder", FIRST_LENDER), CITY_GROUP, FIRST_LENDER
    ),
    Plant("ACT_KEY", FREED, signed(GROUP_KEY), FIRST_LENDER, CITY_GROUP),
    Plant("RELEASE_STATEMENT", FREED, signed(FIRST_KEY, quantity_t=499), "500", "499"),
    Plant(
        "ONCE",
        entry("paid back asked"),
        both(
            put("body.pledge.release", "paid back in part"),
            signed(FIRST_KEY, release="paid back in part"),
        ),
        FIRST_LIEN,
        "in part",
    ),
    Plant(
        "CITED",
        "retired",
        put("body.pledge", {"lien": FIRST_LIEN, "pledgee": FIRST_LENDER}),
        "no lien",
        FIRST_LIEN,
    ),
    # what other books have asked for
    Plant("CAUSE_NEEDED", entry("picked"), put("cause", None), "market", "None"),
    Plant("PART_ASKED", TENS, one_trade(price_fen_per_t=1), "4250", "1"),
    Plant("PART_ASKED", TENS, one_trade(quantity_t=11), "10", "11"),
    Plant("PART_ASKED", TENS, one_trade(seller_fee_fen=1), "0", "1"),
    Plant("PART_ASKED", TENS, one_trade(trade="T-9"), "a trade without an end", "T-9"),
    Plant(
        "PART_ASKED",  # it has ended already
        TENS,
        one_trade(trade=body_of("picked")["trades"][0]["trade"]),
        "a trade without an end",
        "/1",
    ),
    Plant(
        "PART_DAY",
        TENS,
        both(put("body.session", "2026-11-19"), signed(MARKET_KEY, session="2026-11-19")),
        "2026-11-20",
        "2026-11-19",
    ),
    Plant("PART_CAUSE", TENS, put("cause", None), "market", "None"),
    Plant("PART_CAUSE", TENS, cause("market", "ten, then"), "market", "market"),
    Plant("PART_CAUSE", entry("ten, then"), put("cause", None), "market", "None"),
    Plant("CAUSE_NEEDED", entry("taken back"), put("cause", None), "market", "None"),
    Plant(
        "CAUSE_NEEDED", entry("taken back"), cause("registry", FIRST_ASKED), "market", "registry"
    ),
    Plant("CAUSE_NEEDED", PLEDGED, put("cause", None), "registry", "None"),
    Plant("CAUSE_NEEDED", FREED, cause("market", "taken back"), "registry", "market"),
    Plant("CAUSE_OPEN", entry(I3), cause("registry", I1), "nobody did", "registry"),
    Plant("CAUSE_OPEN", entry(I3), cause("registry", I2), "nobody did", "registry"),
    Plant("CAUSE_OPEN", entry(I3), cause("registry", "I-3 proposed"), "nobody did", "registry"),
    Plant("CAUSE_OPEN", "retired", put("cause", ["ledger", 2]), "nobody did", "ledger"),
    Plant("CAUSE_NONE", TICKET, put("cause", ["ledger", 2]), "None", "ledger"),
    Plant(
        "ASKED_MOVES",
        entry("taken back"),
        both(
            put(f"{LEG}.amount", 3000),
            put(
                f"{LEG}.serials.0.last",
                body_of(entry("taken back"))["legs"][0]["serials"][0]["last"] - 100,
            ),
        ),
        "3100",
        "3000",
    ),
    Plant("ASKED_MOVES", entry("picked"), another_price, "12582000", "3000"),
    Plant("ASKED_SERIALS", entry(I3), another_batch, "B-I-3", "B-9"),
    Plant("ASKED_TRADES", entry("picked"), another_trade, "/1", "T-9"),
    Plant(
        "ASKED_LIEN",
        FREED,
        both(put("body.pledge.release", "x"), signed(FIRST_KEY, release="x")),
        "in part",
        "'x'",
    ),
    Plant(
        "ASKED_STATEMENT",
        PLEDGED,
        signed_by(GROUP_KEY, FIRST_KEY, loan_fen=1),
        "6187500",
        '"loan_fen":1,',
    ),
    Plant("ASKED_STATEMENT", entry(I3), signed(AUTHORITY_KEY, document="other"), "sha", "other"),
]

PLANTS = [*REGISTRY_PLANTS, *MARKET_PLANTS, *INCLUSIVE_PLANTS, *ACCOUNTS_PLANTS]


def folded_before(place: str, also: Mapping[str, Change] | None = None) -> Books:
    """All five books, as they were when that event was told; `also`: what was changed before."""
    books, end = Books(BOOKS), WHOLE.at[place]
    changed = {WHOLE.at[name]: change for name, change in (also or {}).items()}
    for book, position in WHOLE.order:
        if (book, position) == end:
            return books
        event = WHOLE.events[book][position]
        change = changed.get((book, position))
        books.fold(book, [event if change is None else planted(event, change)])
    raise AssertionError(place)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: f"{one.rule}-{one.place}")
def test_one_changed_event_is_named_with_its_rule_and_changes_nothing(plant: Plant) -> None:
    book, _ = WHOLE.at[plant.place]
    truth = WHOLE.event(plant.place)
    books = folded_before(plant.place, plant.also)
    lie = planted(truth, plant.change)
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check(book, lie)
    broken = caught.value
    assert broken.rule == plant.rule, str(broken)
    assert plant.expected in broken.expected, str(broken)
    assert plant.actual in broken.actual, str(broken)
    assert books.picture() == before
    if not plant.also:
        books.fold(book, [truth])  # and the truth still fits


def test_yesterdays_order_takes_nothing_today() -> None:
    """The market has not let it expire, and a new offer meets it."""
    place = "farm offers for a day: expired"
    books = folded_before(place)
    today = "2026-11-21"
    offer = instead("farm offers for a day", "OrderPlaced", day=today, price_fen_per_t=4000)
    books.fold("market", [planted(WHOLE.event(place), both(offer, put("body.order", "new")))])
    (trade,) = body_of(CROSS)["trades"]
    deal = {**trade, "maker": "new", "price_fen_per_t": 4000, "quantity_t": 1}
    taken = instead(
        CROSS,
        "TradesMade",
        day=today,
        settlement="late",
        taker=WHOLE.record("group bids low")["by"],
        trades=[{**deal, "trade": "late/1"}],
    )
    with pytest.raises(RuleBroken) as caught:
        books.check("market", planted(WHOLE.event(place), taken))
    broken = caught.value
    assert (broken.rule, broken.expected, broken.actual) == ("TAKER_DAY", today, "2026-11-20")


# ---- the truth -----------------------------------------------------------------------------------


def the_whole_folded() -> Books:
    books = Books(BOOKS)
    for book, position in WHOLE.order:
        books.fold(book, [WHOLE.events[book][position]])
    return books


def test_the_truthful_history_passes_whole_and_leaves_nothing_unanswered() -> None:
    books = the_whole_folded()
    crossings: Crossings = books.accounts.crossings
    assert not crossings.asked
    assert not crossings.done
    assert not crossings.retirements
    assert not crossings.overridden
    assert not any(crossings.statuses.values())
    assert not any(crossings.allocations.values())


def test_what_holders_have_at_the_market_is_what_the_accounts_book_has_in_trading() -> None:
    books = the_whole_folded()
    book = books.of("market")
    assert isinstance(book, MarketBook)
    keys = {*book.means.free, *book.means.bound}
    assert keys
    there = {
        (holder, asset): balance
        for (holder, asset, purpose, ref), balance in books.accounts.balances.items()
        if (purpose, ref) == ("trading", "market")
    }
    here = {key: book.means.free.get(key, 0) + book.means.bound.get(key, 0) for key in keys}
    assert here == there
    assert all(amount > 0 for amount in (*book.means.free.values(), *book.means.bound.values()))


def test_every_event_type_of_the_services_is_told_and_read() -> None:
    for book in ("registry", "market", "inclusive"):
        types: EventTypes = Books(BOOKS).of(book).types
        assert set(types.by_name) == set(DOMAINS[book].events.by_name)
        told = {json.loads(event.record)["type"] for event in WHOLE.events[book]}
        assert set(types.by_name) - told <= {"KeyWithdrawn"}


def as_without_the_others(event: StoredEvent) -> bytes:
    """Nobody is there who could have asked, but for the ledger's own directory of keys."""
    record = json.loads(event.record)
    if record["cause"] is not None and record["cause"][0] != "ledger":
        record["cause"] = None
    return canonical(record)


def test_a_pledge_needs_both_signatures_also_where_no_registry_is_followed() -> None:
    """And then no cause: there is nobody who could have asked."""
    books = Books()
    for book, position in WHOLE.order:
        if book not in ("accounts", "ledger"):
            continue
        event = WHOLE.events[book][position]
        books.fold(book, [as_without_the_others(event)])
        if (book, position) == WHOLE.at[PLEDGED]:
            break
    unsigned = planted(WHOLE.event(FREED), both(put("cause", None), lambda e: e.pop("acts")))
    with pytest.raises(RuleBroken, match="ACT_MISSING"):
        books.check("accounts", unsigned)


def test_an_issuance_without_a_cause_stands_on_the_authoritys_own_approval() -> None:
    books = folded_before(entry(I3))
    imported = planted(WHOLE.event(entry(I3)), put("cause", None))
    books.fold("accounts", [imported])
    assert books.accounts.balances[PROGRAMME, TICKET, "issued", ""] == -10_900


def test_an_offer_at_any_price_is_no_reason_to_halt() -> None:
    """The market takes it, and nobody ever will: it needs units, and has them."""
    books = folded_before("second farm lists")
    dear = planted(WHOLE.event("second farm lists"), put("body.price_fen_per_t", MAX_INTEGER))
    books.fold("market", [dear])


# ---- what two persons have accepted --------------------------------------------------------------


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: f"{one.rule}-{one.place}")
def test_whatever_was_accepted_can_be_applied_and_the_books_go_on(plant: Plant) -> None:
    """Later events may break rules in turn, each named; nothing ever stops the fold."""
    book, position = WHOLE.at[plant.place]
    books = folded_before(plant.place, plant.also)
    checker = books.of(book)
    raw, body = checker.types.decode_canonical(planted(WHOLE.event(plant.place), plant.change))
    checker.apply(raw, body)
    after = WHOLE.order[WHOLE.order.index((book, position)) + 1 :]
    for later_book, later in after:
        checker = books.of(later_book)
        raw, body = checker.types.decode_canonical(WHOLE.events[later_book][later].record)
        if raw.type in ("BookOpened", "WriterStarted"):
            continue
        for step in checker.steps(type(body)):
            try:
                step(raw, body)
            except RuleBroken:
                continue
        checker.apply(raw, body)


def test_what_was_passed_over_once_stops_nothing_for_ever() -> None:
    """Two persons accept that the registry told of a later retirement first."""
    books = folded_before("retired: told")
    checker = books.of("registry")
    first, second = "both farms retired: told", "both farms retired: told, then"
    raw, body = checker.types.decode_canonical(WHOLE.event(first).record)
    with pytest.raises(RuleBroken, match="RETIREMENT_ORDER"):
        checker.check(raw, body)
    checker.apply(raw, body)
    books.fold("registry", [WHOLE.event(second)])
    assert not books.accounts.crossings.retirements
    with pytest.raises(RuleBroken, match="RETIREMENT_ORDER"):
        books.check("registry", WHOLE.event("retired: told"))


def test_what_was_brought_and_passed_over_stops_no_later_allocation() -> None:
    books = folded_before("money brought: told")
    market = books.of("market")
    raw, body = market.types.decode_canonical(WHOLE.event("more money brought: told").record)
    with pytest.raises(RuleBroken, match="ALLOCATION_ORDER"):
        market.check(raw, body)
    market.apply(raw, body)
    assert not books.accounts.crossings.allocations["market"]


# ---- in logs, each at its own pace ---------------------------------------------------------------


class FiveLogs:
    """Five logs with their readers, in memory."""

    def __init__(self) -> None:
        self.books = Books(BOOKS)
        self.accepted: set[tuple[str, int, str]] = set()
        self.logs = {
            book: BookLog(book, origin_of(book), self.books.of(book), TileTree(), Kept())
            for book in BOOKS
        }
        self.readers = {
            book: LogReader(log, self.logs, lambda *place: place in self.accepted)
            for book, log in self.logs.items()
        }

    async def take(self, book: str) -> None:
        for frame in WHOLE.frames[book]:
            await self.readers[book].frame(frame)


async def test_five_logs_wait_for_one_another_and_all_reach_their_end() -> None:
    logs = FiveLogs()
    # The busiest first: it waits for all the others.
    async with asyncio.timeout(20):
        await asyncio.gather(*(logs.take(book) for book in reversed(BOOKS)))
    for book in BOOKS:
        assert logs.logs[book].next_position == len(WHOLE.events[book])


async def test_an_outcome_that_nobody_asked_for_halts_the_book_that_tells_it() -> None:
    logs = FiveLogs()
    place = "taken back: done"
    book, position = WHOLE.at[place]
    lie = planted(WHOLE.event(place), put("body.release", order_of("kept")))
    events: list[StoredEvent] = list(WHOLE.events[book])
    events[position] = stored(position, lie)
    frames = [
        frame._replace(events=[events[e.position] for e in frame.events])
        for frame in WHOLE.frames[book]
    ]

    async def lied() -> None:
        for frame in frames:
            await logs.readers[book].frame(frame)

    others = asyncio.gather(*(logs.take(one) for one in BOOKS if one not in (book, "accounts")))
    accounts = asyncio.create_task(logs.take("accounts"))
    try:
        async with asyncio.timeout(20):
            with pytest.raises(Halted) as caught:
                await lied()
    finally:
        accounts.cancel()
        others.cancel()
        await asyncio.gather(accounts, others, return_exceptions=True)
    halt = caught.value.halt
    assert (halt.book, halt.position, halt.rule) == (book, position, "OUTCOME_ENTRY")


def test_a_ledger_of_the_core_alone_keeps_nothing_for_books_it_does_not_follow() -> None:
    books = Books()
    for book, position in WHOLE.order:
        if book in ("accounts", "ledger"):
            books.fold(book, [as_without_the_others(WHOLE.events[book][position])])
    crossings = books.accounts.crossings
    assert (crossings.done, crossings.retirements, crossings.allocations) == ({}, {}, {})
