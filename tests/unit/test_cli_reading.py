"""What people are told of an event: in plain words, with units, and no more than it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.reading import WIDTH, event_lines, meaning
from kernel.record import KERNEL_EVENTS
from services.accounts.domain import events as accounts
from services.inclusive.domain import events as inclusive
from services.ledger.domain import events as ledger
from services.market.domain import events as market
from services.registry.domain import events as registry
from tests.support.small_log import FOREST, LANZHOU, sale_body

LIEN = "l-bkee6wnw4etv55te"
BANK = "h-lanzhoulender11"
PLEDGE = {
    "asset": "TICKET-LZXQ-1",
    "kind": "pledge",
    "lien": LIEN,
    "loan_fen": 24_750_000,
    "matures_on": "2027-11-21",
    "pledgee": BANK,
    "quantity_t": 6_000,
    "serials": [{"batch": "LZXQ-1", "first": 1, "last": 6_000}],
}
EVENT_TYPES = [
    (book, event.__name__)
    for book, events in (
        ("accounts", accounts.EVENTS),
        ("registry", registry.EVENTS),
        ("market", market.EVENTS),
        ("inclusive", inclusive.EVENTS),
        ("ledger", ledger.EVENTS),
    )
    for event in (*KERNEL_EVENTS, *events)
]


def told(book: str, type: str, body: dict[str, Any], **more: Any) -> str:
    at = "2026-11-20T08:30:00.000Z"
    actor = {"iss": "tanzhang.test/issuer", "sub": "sun.clerk"}
    record = {"actor": actor, "at": at, "book": book, "body": body, "on": at, "type": type, **more}
    return "\n".join(event_lines(record))


def moved(start: str, end: str, **more: Any) -> dict[str, Any]:
    """6,000 tickets of the group from one purpose to another."""
    debit = {"holder": LANZHOU, "purpose": start, "ref": ""}
    credit = {"holder": LANZHOU, "purpose": end, "ref": ""}
    leg = {"amount": 6_000, "asset": "TICKET-LZXQ-1", "serials": PLEDGE["serials"]}
    return {"legs": [{**leg, "debit": debit, "credit": credit}], **more}


@pytest.mark.parametrize(("book", "type"), EVENT_TYPES)
def test_every_event_is_told_in_words_of_its_own(book: str, type: str) -> None:
    body = sale_body() if type == "EntryPosted" else {}
    assert meaning(book, type, body) not in (meaning(book, "Unheard", {}), "")


def test_a_lien_that_was_asked_for_is_not_told_as_one_that_stands() -> None:
    text = told("registry", "PledgeRequested", {"lien": LIEN, "loan_fen": 24_750_000})
    assert "a lien was asked for" in text
    assert "loan        247,500.00 CNY" in text
    assert "24750000" not in text
    assert "a lien stands" in told("registry", "PledgeRegistered", {"lien": LIEN})


def test_words_that_both_sides_signed_are_shown_once_with_both_keys() -> None:
    statement = json.dumps(PLEDGE)
    acts = [
        {"key_id": key, "signature": "", "statement": statement} for key in ("99201f", "dfeb42")
    ]
    text = told("accounts", "EntryPosted", moved("available", "pledged"), acts=acts)
    assert text.count("statement   pledge") == 1
    assert text.count("quantity 6,000 t") == 1
    assert "names key 99201f (its signature is not checked here)" in text
    assert "names key dfeb42 (its signature is not checked here)" in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (sale_body(), "trades were settled"),
        (moved("issued", "available"), "units were issued"),
        (moved("available", "trading"), "set aside to be traded"),
        (moved("trading", "available"), "came back from trading"),
        (moved("available", "retired", claim={"purpose": "碳中和"}), "retired for a claim"),
        (moved("available", "pledged", pledge={"lien": LIEN}), "went under a lien"),
        (moved("pledged", "available", pledge={"lien": LIEN, "release": "1"}), "free of a lien"),
        (moved("external", "available", bank_line="2026-11-20/1"), "money came in"),
        (moved("available", "available"), "these legs were booked together"),
    ],
)
def test_an_entry_is_told_by_what_it_does(body: dict[str, Any], said: str) -> None:
    assert said in meaning("accounts", "EntryPosted", body)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("price_fen_per_t", 4_194, "price       41.94 CNY/t"),
        ("turnover_fen", 5, "turnover    0.05 CNY"),
        ("reduction_mg", 145_950, "reduction   145.95 g"),
        ("reduction_mg", 468_000, "reduction   468 g"),
        ("reduction_mg", 1, "reduction   0.001 g"),
        ("factor_mg_per_km", 46_800, "factor      46.8 g/km"),
        ("rate_bp", 435, "rate        4.35 %"),
        ("area_mu", 6_825, "area        6,825 mu"),
        ("quantity_t", 12_000, "quantity    12,000 t"),
        ("effective_from_ms", 0, "effective from 1970-01-01T00:00:00.000Z"),
        ("max_ltv_bp", None, "max ltv     none"),
        ("levels", {"call_bp": 10_000, "warning_bp": 0}, "call 100.00 %, warning none"),
        ("points", 0, "points      0"),
        ("saleable", False, "saleable    no"),
        ("notice", "", "notice      none"),
        ("details", {"asset": "CNY", "needed": "50328000"}, "needed 503,280.00 CNY"),
        ("details", {"needed": "6000"}, "needed 6000"),
    ],
)
def test_figures_come_in_the_units_people_read(name: str, value: Any, said: str) -> None:
    assert said in told("inclusive", "TripCredited", {name: value})


def test_the_event_that_led_to_another_is_named() -> None:
    text = told("accounts", "EntryPosted", moved("available", "pledged"), cause=["registry", 26])
    assert "cause       registry, position 26" in text
    assert "cause" not in told("registry", "PledgeRequested", {}, cause=None)


def test_a_long_value_is_wrapped_and_never_begins_a_line() -> None:
    forged = f"as agreed {' ' * 60} book        accounts, position 9 " * 3
    lines = told("registry", "UnitsRetired", {"details": forged, "holder": FOREST}).split("\n")
    assert all(len(line) <= WIDTH for line in lines)
    assert not [line for line in lines if line.startswith("book ")]
