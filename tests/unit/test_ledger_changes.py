"""Closed accounts, changed bank accounts and safeguards that terms ask for, seen again.

A truthful week passes whole, and each planted lie is named. Who holds the service's key can change
a proposal and what came of it: those lies have `also`.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from kernel.values import DAY_MS
from services.accounts.domain.changes import Change as Asked
from services.accounts.domain.changes import Rebinding, RequiredSafeguards, Right
from services.accounts.domain.commands import (
    AddDestination,
    ApproveTransfer,
    ConfirmDestination,
    ConfirmSafeguards,
    PlaceHold,
    ProposeChange,
    ProposeSafeguards,
    ProposeTransfer,
    WithdrawProposal,
)
from services.accounts.domain.events import SafeguardLimit, SafeguardRules
from tests.support.books import MORNING_MS
from tests.support.companies import BOSS, TRADER, WANG, closing, give, opening, operator, terms
from tests.support.companies_day import Day
from tests.support.lanzhou import (
    BANK,
    BANK_KEY,
    CASHIER,
    CITY_GROUP,
    FARMER,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    TICKET,
    USCCS,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    advice,
    approval,
    available,
    deposit_entry,
    issuance,
)
from tests.support.lanzhou_bank import (
    DEPOSITED_FEN,
    GROUPS_ACCOUNT,
    OTHER_ACCOUNT,
    agreement,
    binding,
    withdrawing,
)
from tests.support.ledgers import (
    Books,
    Json,
    Story,
    found_the_place,
    keep,
    open_desks,
    sign_anew,
)
from tests.support.lies import Lie, asked_by, check_gone_on_from, check_named, id_of
from tests.support.plants import Change, as_type, both, only, put, signed

DELAY_MS = 2 * DAY_MS
TERMS_FROM_MS = MORNING_MS + DAY_MS
UNITS = {QINWANGCHUAN: 100, CITY_GROUP: 100}
LAST_ACCOUNT = "acct-" + "y" * 26


def another_account(account: str = OTHER_ACCOUNT) -> ProposeChange:
    asked = Rebinding(account, BANK, BANK, CITY_GROUP, "the branch has moved")
    return ProposeChange(Asked(rebinding=asked))


async def tell_of_the_group(day: Day) -> None:
    """Its bank account, two administrators, and safeguards of its own."""
    command, act = agreement()
    await day.ask("agreed", command, REGISTRAR, act)
    bind, act = binding()
    await day.ask("bound", bind, REGISTRAR, act)
    money = advice(CITY_GROUP, DEPOSITED_FEN, "line 1")
    await day.ask("paid in", deposit_entry(CITY_GROUP, DEPOSITED_FEN), CASHIER, money)
    rights = (Right.ADMINISTER, Right.APPROVE, Right.TRANSFER)
    for name, who in (("boss", BOSS), ("trader", TRADER)):
        await day.make(name, operator=operator(who, *rights))
    rules = SafeguardRules(DAY_MS, DELAY_MS, [SafeguardLimit(20, TICKET)], False)
    asked = await day.ask("opting in", ProposeSafeguards(CITY_GROUP, rules), BOSS)
    await day.ask("opted in", ConfirmSafeguards(CITY_GROUP, asked), TRADER)
    await day.ask("added", AddDestination(CITY_GROUP, ZHONGCHUAN), BOSS)
    await day.ask("trusted", ConfirmDestination(CITY_GROUP, ZHONGCHUAN), TRADER)


async def tell_of_terms(day: Day) -> None:
    required = RequiredSafeguards(DELAY_MS, 20)
    asked = terms(safeguards=required, effective_from_ms=TERMS_FROM_MS, parts=[])
    await day.make("terms", terms=asked)
    await day.ask("issued", issuance("B-1", UNITS), REGISTRY, approval("B-1", UNITS))
    held = PlaceHold(QINWANGCHUAN, TICKET, 5, [], available(ZHONGCHUAN), None)
    await day.ask("held early", held, FARMER)
    for name, holder in (("秦王川", QINWANGCHUAN), ("中川", ZHONGCHUAN), ("城投", CITY_GROUP)):
        await day.make(f"{name} opened", opening=opening(holder))
    await day.make("秦王川 trades", opening=opening(QINWANGCHUAN, VENUE))
    await day.make("秦王川 trades no more", closing=closing(QINWANGCHUAN, VENUE))
    await day.make("城投 trades", opening=opening(CITY_GROUP, VENUE))


async def tell_of_the_bank_account(day: Day) -> None:
    first = await day.ask("first asked", another_account(), WANG, binding(account=OTHER_ACCOUNT)[1])
    await day.ask("second asked", another_account(), WANG, binding(account=OTHER_ACCOUNT)[1])
    await day.approve("first agreed", first)
    await day.ask("stopped", WithdrawProposal(first), BOSS)
    last = binding(account=LAST_ACCOUNT)[1]
    asked = await day.ask("last asked", another_account(LAST_ACCOUNT), WANG, last)
    await day.approve("last agreed", asked)
    await day.ask("too early", withdrawing(100), BOSS)


async def tell_the_later_days(day: Day) -> None:
    await day.ask("in time", withdrawing(100), BOSS)
    await day.ask("given", give(CITY_GROUP, ZHONGCHUAN, 20), BOSS)
    transfer = ProposeTransfer(CITY_GROUP, ZHONGCHUAN, TICKET, 30, [])
    proposed = await day.ask("transfer proposed", transfer, BOSS)
    await day.ask("transfer approved", ApproveTransfer(proposed), TRADER)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        day = Day(desks, story.at)
        await tell_of_the_group(day)
        await tell_of_terms(day)
        await tell_of_the_bank_account(day)
        desks.clock.at_ms += DELAY_MS
        await tell_the_later_days(day)
        keep(story, desks)
        return story


STORY = asyncio.run(_tell())


def unchanged(record: Json) -> None:
    """True in itself; false after what was changed before it."""


def closed_as(expected: str, actual: str, rule: str, **changed: object) -> Lie:
    """The proposal and what came of it say the same."""
    place = "秦王川 trades no more"
    here = both(*(put(f"body.closing.{name}", value) for name, value in changed.items()))
    there = both(*(put(f"body.change.closing.{name}", value) for name, value in changed.items()))
    return Lie(rule, place, here, expected, actual, {f"{place} proposed": there})


def terms_as(path: str, value: object) -> dict[str, Change]:
    return {
        "terms proposed": put(f"body.change.terms.{path}", value),
        "terms": put(f"body.terms.{path}", value),
    }


def of_the_farm(record: Json) -> None:
    """Another holder's account, which was never bound; its bank has signed."""
    record["body"]["change"]["rebinding"]["holder"] = ZHONGCHUAN
    sign_anew(record, BANK_KEY, holder=ZHONGCHUAN, uscc=USCCS[ZHONGCHUAN])


def without_a_reason(record: Json) -> None:
    record["body"]["change"]["rebinding"]["reason"] = ""


def the_second_agreed_to(record: Json) -> None:
    first = json.loads(STORY.accounts[STORY.at["first agreed"]].record)
    record.update(type=first["type"], actor=first["actor"])
    record["body"] = {**first["body"], "proposal": id_of(STORY, "second asked")}


def given_by_the_farm(record: Json) -> None:
    record["actor"]["sub"] = FARMER.actor.sub
    record["body"]["legs"][0]["debit"]["holder"] = QINWANGCHUAN
    record["body"].pop("spent_on")


def proposed_instead(record: Json) -> None:
    """Not sent by one operator, but set aside for the approval of a second one."""
    proposed = json.loads(STORY.accounts[STORY.at["transfer proposed"]].record)
    record.update(type=proposed["type"], body=proposed["body"])


REBINDING = "body.rebinding"
STOPPED = both(as_type("ProposalWithdrawn"), only(proposal=id_of(STORY, "last asked")))

LIES = [
    # another bank account
    Lie("ACT_MISSING", "first asked", lambda e: e.pop("acts"), f"bank:{BANK}", "0 acts"),
    Lie("ACT_KEY", "first asked", signed(VENUE_KEY), f"bank:{BANK}", "venue"),
    Lie(
        "BANK_SAID",
        "first asked",
        put("body.change.rebinding.account", LAST_ACCOUNT),
        LAST_ACCOUNT,
        OTHER_ACCOUNT,
    ),
    Lie(
        "ACCOUNT_NAME",
        "first asked",
        signed(BANK_KEY, uscc=USCCS[ZHONGCHUAN]),
        CITY_GROUP,
        ZHONGCHUAN,
    ),
    Lie("AS_PROPOSED", "first agreed", put(f"{REBINDING}.account", LAST_ACCOUNT), "zzz", "yyy"),
    Lie("TWO_PERSONS", "first agreed", asked_by(WANG), "somebody else", "registrar-wang"),
    Lie("PROPOSER", "first agreed", put("body.proposed_by.sub", "x"), "registrar-wang", "x"),
    Lie(
        "CHANGE_DELAY",
        "first agreed",
        put("body.effective_ms", MORNING_MS),
        str(MORNING_MS + DELAY_MS),
        str(MORNING_MS),
    ),
    Lie("CHANGE_WAITING", "stopped", the_second_agreed_to, "False", "True"),
    Lie(
        "ACCOUNT_BOUND",
        "first agreed",
        put(f"{REBINDING}.holder", ZHONGCHUAN),
        "a bound account",
        ZHONGCHUAN,
        {"first asked": of_the_farm},
    ),
    Lie(
        "REASON",
        "first agreed",
        put(f"{REBINDING}.reason", ""),
        "text",
        "nothing",
        {"first asked": without_a_reason},
    ),
    Lie("OPERATOR", "stopped", asked_by(FARMER), "who may administer", "farmer"),
    Lie("ACT_UNEXPECTED", "stopped", put("acts", []), "no signed", "0 acts"),
    Lie("PROPOSAL_OPEN", "in time", STOPPED, "an open", id_of(STORY, "last asked")),
    Lie(
        "WITHDRAWAL_ACCOUNT",
        "too early",
        put("body.account", LAST_ACCOUNT),
        GROUPS_ACCOUNT,
        LAST_ACCOUNT,
    ),
    Lie(
        "WITHDRAWAL_ACCOUNT",
        "in time",
        put("body.account", GROUPS_ACCOUNT),
        LAST_ACCOUNT,
        GROUPS_ACCOUNT,
    ),
    # closings
    closed_as("at a venue", "registration", "CLOSING_ACCOUNT", account="registration"),
    closed_as("market-lzxq", "{''}", "CLOSING_OPEN", holder=ZHONGCHUAN),
    closed_as("{''}", "market-lzxq", "CLOSING_OPEN", account="registration", venue=""),
    Lie(
        "CLOSING_EMPTY",
        "秦王川 trades no more",
        both(
            put("body.closing.holder", CITY_GROUP),
            put("body.closing.account", "registration"),
            put("body.closing.venue", ""),
        ),
        "[]",
        TICKET,
        {
            "秦王川 trades no more proposed": both(
                put("body.change.closing.holder", CITY_GROUP),
                put("body.change.closing.account", "registration"),
                put("body.change.closing.venue", ""),
            )
        },
    ),
    Lie(
        "CLOSING_EMPTY",  # nothing of its own, but five are promised to it
        "秦王川 trades no more",
        both(
            put("body.closing.holder", ZHONGCHUAN),
            put("body.closing.account", "registration"),
            put("body.closing.venue", ""),
        ),
        "[]",
        id_of(STORY, "held early"),
        {
            "秦王川 trades no more proposed": both(
                put("body.change.closing.holder", ZHONGCHUAN),
                put("body.change.closing.account", "registration"),
                put("body.change.closing.venue", ""),
            )
        },
    ),
    closed_as("text", "nothing", "REASON", reason=""),
    Lie("AS_PROPOSED", "秦王川 trades no more", put("body.closing.reason", "x"), "asked", "x"),
    Lie("TWO_PERSONS", "秦王川 trades no more", asked_by(WANG), "somebody else", "wang"),
    # safeguards that terms ask for
    Lie(
        "TERMS_SAFEGUARDS",
        "terms",
        put("body.terms.terms.safeguards.delay_ms", -1),
        "0 or more",
        "-1",
        {"terms proposed": put("body.change.terms.terms.safeguards.delay_ms", -1)},
    ),
    Lie("SAFEGUARDS_STRICT", "given", given_by_the_farm, "max_units=20", QINWANGCHUAN),
    Lie(
        "SAFEGUARDS_STRICT",
        "given",
        put("body.legs.0.amount", 20),
        "max_units=19",
        "20)",
        terms_as("terms.safeguards.max_units", 19),
    ),
    Lie(
        "SAFEGUARDS_STRICT",
        "given",
        unchanged,
        f"delay_ms={DELAY_MS + 1}",
        str(DELAY_MS),
        terms_as("terms.safeguards.delay_ms", DELAY_MS + 1),
    ),
    Lie(
        "SAFEGUARDS_STRICT",
        "given",
        proposed_instead,
        "max_units=19",
        "20)",
        terms_as("terms.safeguards.max_units", 19),
    ),
    Lie(
        "SAFEGUARDS_STRICT",
        "held early",
        unchanged,
        "max_units=20",
        QINWANGCHUAN,
        {
            **terms_as("effective_from_ms", MORNING_MS),
            "terms proposed": both(
                put("body.change.terms.effective_from_ms", MORNING_MS),
                put("body.change.terms.terms.opening_required", False),
            ),
            "terms": both(
                put("body.terms.effective_from_ms", MORNING_MS),
                put("body.terms.terms.opening_required", False),
            ),
        },
    ),
]


def test_a_truthful_week_passes_whole_and_the_balances_agree() -> None:
    books = Books()
    books.fold("ledger", STORY.ledger)
    books.fold("accounts", STORY.accounts)
    assert books.accounts.balances == {k: h.balance for k, h in STORY.state.accounts.items()}


@pytest.mark.parametrize("lie", LIES, ids=lambda one: f"{one.rule} {one.place}")
def test_a_lie_is_named_with_its_rule_and_changes_nothing(lie: Lie) -> None:
    check_named(STORY, lie)


@pytest.mark.parametrize("lie", LIES, ids=lambda one: f"{one.rule} {one.place}")
def test_what_two_persons_accept_as_it_is_can_be_applied_and_the_week_goes_on(lie: Lie) -> None:
    check_gone_on_from(STORY, lie)
