"""What people are told of an event: in plain words, with units, and no more than it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli import words as word_files
from cli.columns import WIDTH, columns
from cli.reading import event_lines, meaning
from cli.words import CHINESE, ENGLISH, LANGUAGES, Words, language_of, words_in
from kernel.record import KERNEL_EVENTS
from services.accounts.domain import events as accounts
from services.inclusive.domain import events as inclusive
from services.ledger.domain import events as ledger
from services.market.domain import events as market
from services.registry.domain import events as registry
from tests.support.checkout import ROOT
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
EVENTS = {
    "accounts": accounts.EVENTS,
    "registry": registry.EVENTS,
    "market": market.EVENTS,
    "inclusive": inclusive.EVENTS,
    "ledger": ledger.EVENTS,
}
EVENT_TYPES = [
    (book, event.__name__) for book, events in EVENTS.items() for event in (*KERNEL_EVENTS, *events)
]
VECTORS = ROOT / "tests/vectors/events"


def told(book: str, type: str, body: dict[str, Any], words: Words = ENGLISH, **more: Any) -> str:
    at = "2026-11-20T08:30:00.000Z"
    actor = {"iss": "tanzhang.test/issuer", "sub": "sun.clerk"}
    record = {"actor": actor, "at": at, "book": book, "body": body, "on": at, "type": type, **more}
    return "\n".join(event_lines(record, words))


def moved(start: str, end: str, **more: Any) -> dict[str, Any]:
    """6,000 tickets of the group from one purpose to another."""
    debit = {"holder": LANZHOU, "purpose": start, "ref": ""}
    credit = {"holder": LANZHOU, "purpose": end, "ref": ""}
    leg = {"amount": 6_000, "asset": "TICKET-LZXQ-1", "serials": PLEDGE["serials"]}
    return {"legs": [{**leg, "debit": debit, "credit": credit}], **more}


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=LANGUAGES)
@pytest.mark.parametrize(("book", "type"), EVENT_TYPES)
def test_every_event_is_told_in_words_of_its_own(book: str, type: str, words: Words) -> None:
    body = sale_body() if type == "EntryPosted" else {}
    assert meaning(book, type, body, words) not in (meaning(book, "Unheard", {}, words), "")


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_every_golden_event_is_told_in_chinese(path: Path) -> None:
    record = json.loads(json.loads(path.read_text(encoding="utf-8"))["record"])
    lines = event_lines(record, CHINESE)
    assert meaning(record["book"], record["type"], record["body"], CHINESE) != "已记录，内容如下"
    labels = [line.split()[0] for line in lines if line[0] != " "]
    assert [label for label in labels if label.isascii()] == []


def test_every_word_is_there_in_both_languages_with_the_same_values() -> None:
    def bare(at: str, value: Any) -> list[str]:
        if not isinstance(value, dict):
            return []
        if set(LANGUAGES) & set(value):
            told = [value.get(language) for language in LANGUAGES]
            holes = [sorted(re.findall(r"{(\w+)}", one or "")) for one in told]
            fits = None not in told and holes[0] == holes[1]
            return [] if fits else [at]
        return [wrong for key, one in value.items() for wrong in bare(f"{at}/{key}", one)]

    paths = sorted(Path(word_files.__file__).parent.glob("*.json"))
    assert [path.name for path in paths]
    for path in paths:
        assert bare(path.name, json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh-CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh-CN"),
    ],
)
def test_the_language_is_the_terminals(environment: dict[str, str], language: str) -> None:
    assert language_of(environment) == language


def test_there_are_no_words_in_another_language() -> None:
    with pytest.raises(ValueError, match="expected en or zh-CN, got fr"):
        words_in("fr")


def test_chinese_is_folded_between_characters_by_the_columns_they_take() -> None:
    lines = told("registry", "PledgeRequested", {"lien": LIEN}, words=CHINESE).split("\n")
    assert all(columns(line) <= WIDTH for line in lines)
    says = next(n for n, line in enumerate(lines) if line.startswith("含义"))
    assert lines[says + 1].startswith(" " * 12)
    assert columns(lines[says]) > WIDTH - 6


def test_a_lien_is_told_to_a_bank_in_its_own_terms() -> None:
    body = {"lien": LIEN, "loan_fen": 24_750_000, "matures_on": "2027-11-20", "rate_bp": 385}
    text = told("registry", "PledgeRequested", {**body, "pledgee": BANK}, words=CHINESE)
    assert "贷款金额    247,500.00 元" in text
    assert "年利率      3.85 %" in text
    assert f"质权人      {BANK}" in text


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
        ("delay_ms", 129_600_000, "delay       1 d 12 h"),
        ("approve_within_ms", 0, "approve within 0 ms"),
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
