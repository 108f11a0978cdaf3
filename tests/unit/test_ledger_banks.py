"""The independent check of money at settlement banks: a planted lie for every rule of it.

As in test_ledger_books.py: one event of a truthful history, changed as somebody with the service's
own key could change it, alone or with the bank's help where only the bank could lie.
"""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from services.ledger.books.port import RuleBroken
from tests.support.bank_story import DAYS, FEE_FEN, PAID_FEN, tell_bank_story
from tests.support.lanzhou import (
    BANK,
    BANK_KEY,
    BUYER,
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    USCCS,
    VENUE_KEY,
    ZHONGCHUAN,
    seeded_key,
)
from tests.support.lanzhou_bank import (
    DEPOSITED_FEN,
    GROUPS_ACCOUNT,
    KEY,
    OTHER_ACCOUNT,
    TREASURER,
)
from tests.support.ledgers import ALLOWANCE, Json, folded_up_to, planted
from tests.support.plants import Change, Plant, as_it_was, as_type, both, drop, only, put, signed

STORY = tell_bank_story()
LEG = "body.legs.0"


def body_of(place: str) -> Json:
    body: Json = json.loads(STORY.accounts[STORY.at[place]].record)["body"]
    return body


def id_of(name: str) -> str:
    return str(body_of(f"{name}: requested")["withdrawal"])


def another(name: str) -> Change:
    """The event speaks of another open withdrawal, of the same amount or not."""
    return both(put("body.withdrawal", id_of(name)), put(f"{LEG}.debit.ref", id_of(name)))


def in_other_words(**changed: object) -> Change:
    """The bank has signed it otherwise, and the event repeats that."""

    def change(record: Json) -> None:
        signed(BANK_KEY, **changed)(record)
        record["body"].update(changed)

    return change


def a_break_that_is_none(record: Json) -> None:
    record["type"] = "BankBreakOpened"
    record["body"].update(new_ours=0, new_theirs=0, ours=[], theirs=[])


def a_break_kept_back(record: Json) -> None:
    record["type"] = "BankStatementReconciled"
    for name in ("new_ours", "new_theirs", "ours", "theirs"):
        del record["body"][name]


def explained_too_early(record: Json) -> None:
    record["type"] = "BankBreakResolved"
    record["body"] = {"asset": CNY, "bank": BANK, "clearing_house": BANK, "day": DAYS[1]}


def an_outcome_of_nothing(record: Json) -> None:
    record.update(type="BankBreakOpened", body=body_of("broken"))


def withdrawing_meanwhile(record: Json) -> None:
    del record["acts"]
    record.update(type="WithdrawalRequested", body=body_of("requested after"))


def with_lines(*lines: tuple[str, int]) -> Change:
    said = [{"amount_fen": fen, "entry": "", "line": line} for line, fen in lines]
    total_fen = sum(fen for _, fen in lines)

    def change(record: Json) -> None:
        fields = {
            "closing_fen": record["body"]["opening_fen"] + total_fen,
            "total_lines": len(lines),
        }
        signed(BANK_KEY, lines=said, **fields)(record)
        record["body"].update(fields)
        record["body"]["lines"] = [{"amount_fen": fen, "line": line} for line, fen in lines]

    return change


def instead_of_the_outcome(record: Json) -> None:
    """The statement is whole, and nobody is told what it comes to."""
    del record["acts"]
    record["type"] = "WithdrawalInstructed"
    record["body"] = {**body_of("open: instructed"), "withdrawal": id_of("waiting")}


def told_again(place: str) -> Change:
    record = json.loads(STORY.accounts[STORY.at[place]].record)
    return lambda one: one.update(type=record["type"], body=record["body"], acts=record["acts"])


def instructing(record: Json) -> None:
    """The waiting withdrawal, at a moment when its money must not leave."""
    instant_ms = int(datetime.fromisoformat(record["at"]).timestamp() * 1000)
    record["type"] = "WithdrawalInstructed"
    record["body"] = {
        **body_of("open: instructed"),
        "instructed_at_ms": instant_ms,
        "withdrawal": id_of("waiting"),
    }
    del record["acts"]


NO_ACTS = {"key_id": "0", "signature": "", "statement": "{}"}
UNASKED = put("acts", [NO_ACTS])

OTHER_HOUSE = {"clearing_house": CITY_GROUP}

PLANTS = [
    Plant("STATEMENT_ANSWERED", "broken", told_again("first part"), "False", "True"),
    Plant(
        "PROPOSAL_SAYS",  # another break than the one that was proposed
        "taken as it is",
        as_it_was,
        "2026-11-19",
        "2026-11-20",
        {"resolution proposed": put("body.day", "2026-11-19")},
    ),
    Plant(
        "MONEY",
        "reserve paid in",
        put(f"{LEG}.asset", ALLOWANCE),
        "fen",
        "t",
        {"reserve proposed": put("body.asset", ALLOWANCE)},
    ),
    Plant(
        "BANK_AGREED",
        "paid: requested",
        put("body.clearing_house", CITY_GROUP),
        "agreed",
        CITY_GROUP,
        {"bound": in_other_words(**OTHER_HOUSE)},
    ),
    # agreed and bound
    Plant("BANK", "agreed", put("body.bank", CITY_GROUP), "settlement_bank", "enterprise"),
    Plant("HOLDER_KNOWN", "agreed", put("body.clearing_house", STRANGER), "a holder", STRANGER),
    Plant("MONEY", "agreed", put("body.asset", TICKET), "fen", "t"),
    Plant("BANK_CUTOFF", "agreed", in_other_words(cutoff_minute=0), "1..1440", "0"),
    Plant("BANK_SAID", "agreed", put("body.cutoff_minute", 900), "900", "1440"),
    Plant("BANK_SAID", "agreed", signed(BANK_KEY, document="another"), "agreement", "another"),
    Plant("BANK_OPENING", "agreed", in_other_words(opening_fen=1), "0", "1"),
    Plant("BANK_FIRST_DAY", "agreed", in_other_words(first_day=DAYS[1]), DAYS[0], DAYS[1]),
    Plant("ACT_KEY", "agreed", signed(VENUE_KEY), f"bank:{BANK}", "venue"),
    Plant("BANK_SAID", "bound", put("body.account", OTHER_ACCOUNT), OTHER_ACCOUNT, GROUPS_ACCOUNT),
    Plant(
        "ACCOUNT_NAME", "bound", signed(BANK_KEY, uscc=USCCS[ZHONGCHUAN]), CITY_GROUP, ZHONGCHUAN
    ),
    # deposits
    Plant("BANK_DAY", "deposited", drop("bank_day"), DAYS[0], "None"),
    Plant("BANK_DAY", "deposited", put("body.bank_day", DAYS[1]), DAYS[0], DAYS[1]),
    # requested
    Plant(
        "WITHDRAWAL_ACCOUNT",
        "paid: requested",
        put("body.account", OTHER_ACCOUNT),
        GROUPS_ACCOUNT,
        OTHER_ACCOUNT,
    ),
    Plant(
        "WITHDRAWAL_ACCOUNT",  # 中川林场 has none
        "paid: requested",
        both(put(f"{LEG}.debit.holder", ZHONGCHUAN), put(f"{LEG}.credit.holder", ZHONGCHUAN)),
        "None",
        GROUPS_ACCOUNT,
    ),
    Plant("WITHDRAWAL_FROM", "paid: requested", put(f"{LEG}.debit.ref", "x"), "available", "x"),
    Plant(
        "WITHDRAWAL_HELD",
        "paid: requested",
        put(f"{LEG}.credit.holder", ZHONGCHUAN),
        CITY_GROUP,
        ZHONGCHUAN,
    ),
    Plant(
        "WITHDRAWAL_NEW",
        "returned: requested",
        put("body.withdrawal", id_of("paid")),
        "False",
        "True",
    ),
    Plant(
        "WITHDRAWAL_LEGS",
        "paid: requested",
        lambda one: one["body"]["legs"].append(dict(one["body"]["legs"][0])),
        "1",
        "2",
    ),
    Plant("SUFFICIENCY", "paid: requested", put(f"{LEG}.amount", DEPOSITED_FEN + 1), "at le", "00"),
    Plant("ACT_UNEXPECTED", "paid: requested", UNASKED, "no signed", "1 acts"),
    Plant(
        "BANK_AGREED", "first part", put("body.clearing_house", CITY_GROUP), "agreed", CITY_GROUP
    ),
    Plant("BANK_AGREED_ONCE", "bound", told_again("agreed"), "False", "True"),
    Plant("ACCOUNT_BOUND_ONCE", "deposited", told_again("bound"), "False", "True"),
    Plant("ACT_MISSING", "explained", lambda one: one.pop("acts"), f"bank:{BANK}", "0 acts"),
    Plant("ACT_KEY", "broken", signed(VENUE_KEY), f"bank:{BANK}", "venue"),
    # instructed
    Plant("INSTRUCTION", "paid: instructed", put("body.amount_fen", PAID_FEN + 1), "", "2500001"),
    Plant("INSTRUCTION", "paid: instructed", put("body.account", OTHER_ACCOUNT), "", OTHER_ACCOUNT),
    Plant("INSTRUCTION", "paid: instructed", put("body.instructed_at_ms", 5), "", "=5"),
    Plant("WITHDRAWAL_OPEN", "paid: instructed", put("body.withdrawal", "none"), "open", "none"),
    Plant(
        "WITHDRAWAL_INSTRUCTED",
        "returned: instructed",
        put("body.withdrawal", id_of("paid")),
        "False",
        "True",
    ),
    Plant("FROZEN", "lifted", instructing, "to lie still", "1000 moved"),
    Plant("STATUS", "free again", instructing, "rank 0", CITY_GROUP),
    # confirmed
    Plant("WITHDRAWAL_INSTRUCTED", "confirmed", another("waiting"), "True", "False"),
    Plant(
        "WITHDRAWAL_LEGS", "confirmed", put(f"{LEG}.amount", PAID_FEN - 1), "=2500000", "=2499999"
    ),
    Plant(
        "WITHDRAWAL_LEGS", "confirmed", put(f"{LEG}.credit.holder", CITY_GROUP), BANK, CITY_GROUP
    ),
    Plant(
        "WITHDRAWAL_LEGS",
        "confirmed",
        put(f"{LEG}.debit", {"holder": CITY_GROUP, "purpose": "available", "ref": ""}),
        "held",
        "available",
    ),
    Plant("BANK_SAID", "confirmed", put("body.bank_line", "line 8"), "line 8", "line 2"),
    Plant("BANK_SAID", "confirmed", signed(BANK_KEY, amount_fen=1), "2500000", ":1,"),
    Plant("BANK_SAID", "confirmed", signed(BANK_KEY, withdrawal="x"), id_of("paid"), '"x"'),
    Plant("ACT_MISSING", "confirmed", lambda one: one.pop("acts"), f"bank:{BANK}", "0 acts"),
    Plant("ACT_KEY", "confirmed", signed(seeded_key("a thief")), f"bank:{BANK}", "unknown"),
    Plant("BANK_DAY", "confirmed", put("body.bank_day", DAYS[1]), DAYS[0], DAYS[1]),
    Plant(
        "ONCE",  # the number of a deposit
        "confirmed",
        both(put("body.bank_line", "line 1"), signed(BANK_KEY, line="line 1")),
        f"a new line of {BANK}",
        "line 1",
    ),
    Plant(
        "ONCE",
        "found",
        both(put("body.bank_line", "line 2"), signed(BANK_KEY, line="line 2")),
        f"a new line of {BANK}",
        "line 2",
    ),
    Plant(
        "HOLD_LIVE",
        "confirmed",
        both(as_type("HoldPosted"), only(hold=id_of("paid"), legs=body_of("confirmed")["legs"])),
        "a live hold",
        id_of("paid"),
    ),
    # returned, cancelled
    Plant(
        "WITHDRAWAL_LEGS",
        "returned",
        put(f"{LEG}.credit.holder", ZHONGCHUAN),
        CITY_GROUP,
        ZHONGCHUAN,
    ),
    Plant("WITHDRAWAL_REASON", "returned", in_other_words(reason=""), "text", "nothing"),
    Plant(
        "BANK_SAID", "returned", put("body.reason", "on our own"), "on our own", "account closed"
    ),
    Plant("WITHDRAWAL_OPEN", "returned", another("paid"), "open", id_of("paid")),
    Plant("WITHDRAWAL_INSTRUCTED", "cancelled", another("open"), "False", "True"),
    Plant("CAUSE_NONE", "cancelled", put("cause", ["ledger", 3]), "None", "ledger"),
    Plant("ON_AFTER_AT", "paid: instructed", put("on", "2027-01-01T00:00:00.000Z"), "", "2027"),
    # the reserve
    Plant(
        "PROPOSED_BY", "draw proposed", put("body.by.sub", "controller"), "treasurer", "controller"
    ),
    Plant(
        "PROPOSAL_NEW",
        "draw withdrawn",
        lambda one: one.update(
            type="ReserveMoveProposed",
            body={**body_of("draw proposed"), "proposal": one["body"]["proposal"]},
        ),
        "False",
        "True",
    ),
    Plant("PROPOSAL_REASON", "draw proposed", put("body.document", ""), "text", "nothing"),
    Plant("PROPOSAL_OPEN", "reserve drawn", put("body.proposal", "none"), "open Reserve", "none"),
    Plant("PROPOSAL_OPEN", "draw withdrawn", put("body.proposal", "none"), "an open", "none"),
    Plant("PROPOSAL_SAYS", "reserve drawn", put("body.document", "another"), "decision", "another"),
    Plant(
        "TWO_PERSONS", "reserve drawn", put("actor.sub", TREASURER.actor.sub), "other than", "treas"
    ),
    Plant(
        "TWO_PERSONS", "reserve paid in", put("actor.sub", BUYER.actor.sub), "other than", "buyer"
    ),
    Plant(
        "RESERVE_LEGS",
        "reserve drawn",
        put(f"{LEG}.credit.holder", CITY_GROUP),
        QINWANGCHUAN,
        CITY_GROUP,
    ),
    Plant("RESERVE_LEGS", "reserve paid in", put(f"{LEG}.amount", 901), "=900", "=901"),
    Plant(
        "RESERVE_LEGS", "reserve paid in", put(f"{LEG}.credit.ref", "a drawer"), "default", "drawer"
    ),
    Plant(
        "DEBITABLE",
        "reserve drawn",
        both(as_type("EntryPosted"), only(legs=body_of("reserve drawn")["legs"])),
        "available",
        "clearing",
    ),
    # statements
    Plant(
        "STATEMENT_SAID",
        "first part",
        put("body.lines.0.amount_fen", 5),
        ":5,",
        f":{DEPOSITED_FEN}",
    ),
    Plant("STATEMENT_SAID", "last part", lambda one: one["body"]["lines"].pop(), "1", "2"),
    Plant("STATEMENT_SAID", "first part", put("body.total_lines", 2), ":2", ":3"),
    Plant("STATEMENT_OPENING", "first part", in_other_words(opening_fen=9), "0", "9"),
    Plant("STATEMENT_DAY", "third day", in_other_words(day=DAYS[1]), DAYS[1], DAYS[1]),
    Plant("STATEMENT_DAY", "first part", in_other_words(day="2026-11-19"), DAYS[0], "2026-11-19"),
    Plant("STATEMENT_EARLY", "third day", in_other_words(day=DAYS[3]), "to be over", "2026"),
    Plant("STATEMENT_PART", "last part", in_other_words(part=3, parts=3), "2", "3"),
    Plant("STATEMENT_PART", "last part", in_other_words(total_lines=4), "3)", "4)"),
    Plant(
        "STATEMENT_ANSWERED",
        "broken",
        instead_of_the_outcome,
        "False",
        "True",
    ),
    Plant("STATEMENT_WHOLE", "third day", an_outcome_of_nothing, "every part", "0"),
    Plant("RECONCILED", "reconciled", put("body.expected_fen", 7), "7500700", "7"),
    Plant("RECONCILED", "broken", put("body.closing_fen", 1), "7499970", "1"),
    Plant("RECONCILED", "reconciled", put("body.late_fen", 700), "", "700"),
    Plant("BREAK_TOLD", "broken", a_break_kept_back, "(0, 0)", "(0, 1)"),
    Plant("BREAK_REAL", "reconciled", a_break_that_is_none, "lines that are new", "(0, 0)"),
    Plant("BREAK_LINES", "broken", put("body.new_theirs", 0), "(0, 1)", "(0, 0)"),
    Plant("BREAK_LINES", "broken", put("body.theirs", []), "fee", "[]"),
    # breaks
    Plant("BREAK_OPEN", "taken as it is", put("body.day", DAYS[2]), "an open break", DAYS[2]),
    Plant("BREAK_EXPLAINED", "found", explained_too_early, "[]", "line 3"),
    Plant("PROPOSAL_OPEN", "taken as it is", put("body.proposal", "x"), "an open", "x"),
    Plant("TWO_PERSONS", "taken as it is", put("actor.sub", TREASURER.actor.sub), "other", "treas"),
    Plant("PROPOSAL_REASON", "resolution proposed", put("body.reason", ""), "text", "nothing"),
    Plant("BREAK_STOPS", "found", withdrawing_meanwhile, "[]", DAYS[1]),
]

# A part that is in order by itself, and what the whole statement then comes to.
WHOLE = [
    ("STATEMENT_SUM", in_other_words(closing_fen=1)),
    ("STATEMENT_LINES", in_other_words(total_lines=2)),
    ("STATEMENT_LINES", with_lines(("fee", -30))),
    ("STATEMENT_LINES", with_lines(("line 9", 500), ("line 9", 200))),
    (
        "STATEMENT_LINES",
        both(with_lines(("line 9", 500), ("line 9", 200)), in_other_words(total_lines=1)),
    ),
]


def test_a_truthful_history_with_a_bank_passes_whole_and_the_balances_agree() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    state = STORY.state
    assert books.accounts.balances == {key: one.balance for key, one in state.accounts.items()}
    tallies, account = books.accounts._banks.tallies[KEY], state.bank_accounts[KEY]
    assert (tallies.closed_day, tallies.closed_fen) == (account.stated_day, account.stated_fen)
    assert tallies.booked.keys() == account.ours.keys()
    assert {line: one.amount_fen for line, one in tallies.stated.items()} == account.theirs
    assert books.accounts._banks.open.keys() == state.withdrawals.keys()


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: f"{one.rule} {one.place}")
def test_one_changed_event_is_named_with_its_rule_and_changes_nothing(plant: Plant) -> None:
    position = STORY.at[plant.place]
    books = folded_up_to(STORY, "accounts", position, plant.also)
    truth = STORY.accounts[position]
    lie = planted(truth, plant.change)
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", lie)
    broken = caught.value
    assert broken.rule == plant.rule, str(broken)
    assert plant.expected in broken.expected
    assert plant.actual in broken.actual
    assert books.picture() == before
    if not plant.also:
        books.fold("accounts", [truth])  # and the truth still fits


@pytest.mark.parametrize(("rule", "change"), WHOLE, ids=[rule for rule, _ in WHOLE])
def test_a_statement_that_contradicts_itself_has_no_outcome(rule: str, change: Change) -> None:
    position = STORY.at["second day"]
    books = folded_up_to(STORY, "accounts", position)
    books.fold("accounts", [planted(STORY.accounts[position], change)])
    with pytest.raises(RuleBroken, match=rule):
        books.check("accounts", STORY.accounts[position + 1])


def test_money_that_two_persons_let_past_the_banks_lines_is_missed_by_the_next_statement() -> None:
    position = STORY.at["deposited"]
    books = folded_up_to(STORY, "accounts", position)
    lie = planted(STORY.accounts[position], both(drop("bank_line"), drop("bank_day")))
    raw, body = books.accounts.types.decode_canonical(lie)
    books.accounts.apply(raw, body)
    outcome = STORY.at["broken"]
    books.fold("accounts", STORY.accounts[position + 1 : outcome])
    with pytest.raises(RuleBroken, match="RECONCILED_BALANCE"):
        books.check(
            "accounts",
            planted(STORY.accounts[outcome], put("body.theirs_fen", DEPOSITED_FEN - FEE_FEN)),
        )


def test_an_event_about_a_bank_that_two_persons_accepted_can_be_applied() -> None:
    """Whatever it says; later events are then named or taken, never another exception."""
    for plant in PLANTS:
        position = STORY.at[plant.place]
        books = folded_up_to(STORY, "accounts", position)
        lie = planted(STORY.accounts[position], plant.change)
        raw, body = books.accounts.types.decode_canonical(lie)
        books.accounts.apply(raw, body)
        for later in STORY.accounts[position + 1 :]:
            raw, body = books.accounts.types.decode_canonical(later.record)
            try:
                books.accounts.check(raw, body)
            except RuleBroken:
                continue
            books.accounts.apply(raw, body)
