"""Holders' own safeguards in the independent books: a truthful week passes, each lie is named.

And any week: random changes, proposals, approvals and transfers by the service's own writer pass.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import Refused
from kernel.values import DAY_MS
from services.accounts.domain.commands import (
    AddDestination,
    ApproveTransfer,
    ConfirmDestination,
    ConfirmSafeguards,
    ExpireHold,
    PostHold,
    ProposeSafeguards,
    ProposeTransfer,
    RefuseTransfer,
    RemoveDestination,
    WithdrawSafeguards,
)
from services.accounts.domain.events import SafeguardLimit, SafeguardRules
from services.accounts.main import DOMAIN
from services.ledger.books.port import RuleBroken
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    FARMER,
    QINWANGCHUAN,
    REGISTRY,
    STRANGER,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    approval,
    hold,
    issuance,
    pay,
)
from tests.support.ledgers import (
    Books,
    Desks,
    Json,
    Story,
    folded_up_to,
    found_the_place,
    keep,
    open_desks,
    planted,
)
from tests.support.plants import Change, Plant, as_type, both, drop, only, put
from tests.unit.test_ledger_books import check_conservation

SECOND = person("second buyer", holders=[CITY_GROUP])
BATCH = "LZXQ-2021"
DELAY_MS = 2 * DAY_MS


def rules(limit: int = 100, unlisted: bool = False) -> SafeguardRules:
    return SafeguardRules(DAY_MS, DELAY_MS, [SafeguardLimit(limit, TICKET)], unlisted)


def name_of(desks: Desks, position: int) -> str:
    by: str = json.loads(desks.accounts.events()[position].record)["by"]
    return by


async def tell_of_safeguards(desks: Desks, at: dict[str, int]) -> None:
    ask = desks.accounts.ask
    await ask(issuance(BATCH, {CITY_GROUP: 5000}), REGISTRY, approval(BATCH, {CITY_GROUP: 5000}))
    at["first added"] = await ask(AddDestination(CITY_GROUP, QINWANGCHUAN), BUYER)
    at["first confirmed"] = await ask(ConfirmDestination(CITY_GROUP, QINWANGCHUAN), SECOND)
    at["opting in"] = await ask(ProposeSafeguards(CITY_GROUP, rules()), BUYER)
    name = name_of(desks, at["opting in"])
    at["opted in"] = await ask(ConfirmSafeguards(CITY_GROUP, name), SECOND)
    at["added"] = await ask(AddDestination(CITY_GROUP, ZHONGCHUAN), BUYER)
    at["confirmed"] = await ask(ConfirmDestination(CITY_GROUP, ZHONGCHUAN), SECOND)
    at["given"] = await ask(pay(CITY_GROUP, QINWANGCHUAN, 60), BUYER)
    at["given again"] = await ask(pay(CITY_GROUP, QINWANGCHUAN, 40), BUYER)
    at["held"] = await ask(hold(CITY_GROUP, CITY_GROUP, 5), BUYER)
    at["proposed"] = await ask(ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 500, []), BUYER)
    big = name_of(desks, at["proposed"])
    at["approved"] = await ask(ApproveTransfer(big), SECOND)
    at["proposed in vain"] = await ask(
        ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 7, []), BUYER
    )
    vain = name_of(desks, at["proposed in vain"])
    at["refused"] = await ask(RefuseTransfer(vain, "not ours"), SECOND)
    at["proposed and forgotten"] = await ask(
        ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 9, []), BUYER
    )
    at["opting out"] = await ask(ProposeSafeguards(CITY_GROUP, None), SECOND)
    at["opted out"] = await ask(
        ConfirmSafeguards(CITY_GROUP, name_of(desks, at["opting out"])), BUYER
    )
    at["stayed in"] = await ask(WithdrawSafeguards(CITY_GROUP), SECOND)
    desks.clock.at_ms += DELAY_MS
    at["forgotten"] = await ask(ExpireHold(name_of(desks, at["proposed and forgotten"])), SYSTEM)
    at["given to the new one"] = await ask(pay(CITY_GROUP, ZHONGCHUAN, 100), BUYER)
    at["removed"] = await ask(RemoveDestination(CITY_GROUP, ZHONGCHUAN), BUYER)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await tell_of_safeguards(desks, story.at)
        keep(story, desks)
        return story


STORY = asyncio.run(_tell())
GIVEN = "body.legs.0"
MAKER = {"iss": "lanzhou", "sub": "buyer"}
HELD: str = json.loads(STORY.accounts[STORY.at["held"]].record)["body"]["hold"]
EARLY = "2026-11-22T01:29:59.999Z"  # a millisecond before the new destination is trusted


def serials(first: int, last: int) -> Any:
    return put(f"{GIVEN}.serials", [{"batch": BATCH, "first": first, "last": last}])


def body_of(place: str) -> Any:
    return json.loads(STORY.accounts[STORY.at[place]].record)["body"]


def told_as(place: str) -> Change:
    """The same was said here, by whom and when it was said there."""
    there = json.loads(STORY.accounts[STORY.at[place]].record)
    kept = {name: there[name] for name in ("actor", "at", "body", "by", "on", "type")}
    return lambda record: record.update(kept)


def told_as_released(record: Json) -> None:
    record["type"] = "HoldReleased"
    record["body"] = {name: record["body"][name] for name in ("hold", "legs")}


PLANTS = [
    Plant("HOLD_LEGS", "approved", put("body.legs", []), "1", "0"),
    Plant("HOLD_APPROVAL", "refused", told_as_released, "None", "buyer"),
    Plant(
        "TRANSFER_PROPOSED",  # nobody has proposed what was only held
        "approved",
        both(put("body.hold", HELD), put(f"{GIVEN}.credit", body_of("held")["to"])),
        "a proposed transfer",
        HELD,
    ),
    Plant(
        "SAFEGUARD_RANGE",
        "opting in",
        put("body.rules.limits.0.amount", -1),
        "limits of 0 or more",
        "-1",
    ),
    Plant(
        "SAFEGUARD_RANGE",
        "opting in",
        put("body.rules.limits", [{"amount": n, "asset": TICKET} for n in (1, 2)]),
        TICKET,
        f"'{TICKET}', '{TICKET}'",
    ),
    Plant(
        "CHANGE_WAITING",  # while one change waits, another is confirmed
        "forgotten",
        told_as("opted out"),
        "False",
        "True",
        {"stayed in": told_as("opting out")},
    ),
    Plant(
        "CHANGE_PROPOSED",
        "added",
        both(as_type("SafeguardsWithdrawn"), only(holder=CITY_GROUP, waiting=False)),
        "a change to give up",
        "none",
    ),
    # movements
    Plant(
        "DESTINATION_TRUSTED",
        "given",
        put(f"{GIVEN}.credit.holder", ZHONGCHUAN),
        f"whom {CITY_GROUP} trusts",
        ZHONGCHUAN,
    ),
    Plant(
        "DESTINATION_TRUSTED",
        "given to the new one",
        both(put("at", EARLY), put("on", EARLY), put("body.spent_on", "2026-11-22")),
        f"whom {CITY_GROUP} trusts",
        ZHONGCHUAN,
    ),
    Plant(
        "DESTINATION_TRUSTED",
        "given",
        both(
            put(f"{GIVEN}.credit.holder", CITY_GROUP),
            put(f"{GIVEN}.credit.purpose", "trading"),
            put(f"{GIVEN}.credit.ref", "market-lzxq"),
        ),
        f"whom {CITY_GROUP} trusts",
        "venue:market-lzxq",
    ),
    Plant(
        "OWN_LIMIT",
        "given again",
        both(put(f"{GIVEN}.amount", 41), serials(61, 101)),
        "at most 100",
        "101",
    ),
    Plant("OWN_LIMIT", "held", put("body.to.holder", QINWANGCHUAN), "a second operator", "a hold"),
    Plant("DESTINATION_TRUSTED", "held", put("body.to.holder", ZHONGCHUAN), "trusts", ZHONGCHUAN),
    Plant("SPENT_ON", "given", drop("spent_on"), "2026-11-20", "None"),
    Plant("SPENT_ON", "given", put("body.spent_on", "2026-11-19"), "2026-11-20", "2026-11-19"),
    # proposed transfers
    Plant("PROPOSER", "proposed", put("body.proposer.sub", "x"), "buyer", "x"),
    Plant("APPROVAL_TIME", "proposed", put("body.expires_at_ms", 2**52), "1795", str(2**52)),
    Plant("DESTINATION_TRUSTED", "proposed", put("body.to.holder", ZHONGCHUAN), "trusts", "h-"),
    Plant("TRANSFER_PARTIES", "proposed", put("body.to.holder", CITY_GROUP), "two", CITY_GROUP),
    Plant("HOLD_PAYEE", "proposed", put("body.to.purpose", "retired"), "available", "retired"),
    Plant("TWO_PERSONS", "approved", put("actor", MAKER), "another than buyer", "buyer"),
    Plant(
        "TWO_PERSONS",
        "approved",
        put("actor", {"iss": "shenzhen", "sub": "buyer"}),
        "another than buyer",
        "buyer",
    ),
    Plant("HOLD_APPROVAL", "approved", as_type("HoldPosted"), "None", "buyer"),
    Plant("HOLD_PAID_TO", "approved", put(f"{GIVEN}.credit.holder", ZHONGCHUAN), "h-", ZHONGCHUAN),
    Plant("HOLD_WHOLE", "approved", both(put(f"{GIVEN}.amount", 1), serials(106, 106)), "500", "1"),
    Plant(
        "HOLD_EXPIRED",
        "approved",
        both(put("at", "2026-11-21T01:30:00.000Z"), put("on", "2026-11-21T01:30:00.000Z")),
        "an approval before",
        "2026-11-21",
    ),
    Plant("TRANSFER_PROPOSED", "refused", put("body.hold", HELD), "a proposal", HELD),
    Plant("HOLD_LIVE", "approved", put("body.hold", "none"), "a live hold", "none"),
    Plant("HOLD_BACK", "refused", put(f"{GIVEN}.credit.holder", QINWANGCHUAN), CITY_GROUP, "h-"),
    # changes
    Plant("TWO_PERSONS", "opted in", put("actor", MAKER), "another than buyer", "buyer"),
    Plant("TWO_PERSONS", "confirmed", put("actor", MAKER), "another than buyer", "buyer"),
    Plant("CHANGE_DELAY", "confirmed", put("body.effective_ms", 1), "1795", "1"),
    Plant("CHANGE_DELAY", "opted out", put("body.effective_ms", 1), "1795", "1"),
    Plant("CHANGE_PROPOSED", "opted in", put("body.rules", None), "SafeguardRules", "None"),
    Plant("CHANGE_PROPOSED", "opted in", put("body.proposal", "x"), "was proposed", "x"),
    Plant("CHANGE_PROPOSED", "opted in", as_type("SafeguardsConfirmed", proposal="y"), "was", "y"),
    Plant("CHANGE_WAITING", "stayed in", put("body.waiting", False), "True", "False"),
    Plant("PROPOSER", "opting in", put("body.proposer.sub", "x"), "buyer", "x"),
    Plant("PROPOSAL", "opting in", put("body.proposal", "x"), "-", "x"),
    Plant("SAFEGUARD_RANGE", "opting in", put("body.rules.delay_ms", -1), "a delay", "-1"),
    Plant("SAFEGUARD_RANGE", "opting in", put("body.rules.approve_within_ms", 0), "up to", "0"),
    Plant("SAFEGUARD_RANGE", "opting in", put("body.rules.limits.0.amount", -1), "0 or", "-1"),
    Plant("SAFEGUARDS", "opting in", put("body.rules", None), "in force", "none"),
    Plant("PROPOSER", "added", put("body.proposer.sub", "x"), "buyer", "x"),
    Plant("DESTINATION_KNOWN", "added", put("body.destination", STRANGER), "another", STRANGER),
    Plant("DESTINATION_NEW", "added", put("body.destination", QINWANGCHUAN), "not on", "h-"),
    Plant("DESTINATION_LISTED", "confirmed", put("body.destination", STRANGER), "added", STRANGER),
    Plant("DESTINATION_LISTED", "removed", put("body.destination", STRANGER), "list", STRANGER),
    Plant("HOLDER_KNOWN", "added", put("body.holder", STRANGER), "registered", STRANGER),
    Plant("ACT_UNEXPECTED", "added", lambda e: e.update(acts=[]), "no signed", "0 acts"),
]


def test_a_truthful_week_of_safeguards_passes_whole() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    assert books.accounts.balances == {k: h.balance for k, h in STORY.state.accounts.items()}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: one.rule)
def test_a_lie_about_safeguards_is_named_and_changes_nothing(plant: Plant) -> None:
    position = STORY.at[plant.place]
    books = folded_up_to(STORY, "accounts", position, plant.also)
    truth = STORY.accounts[position]
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", planted(truth, plant.change))
    assert caught.value.rule == plant.rule, str(caught.value)
    assert plant.expected in caught.value.expected, str(caught.value)
    assert plant.actual in caught.value.actual, str(caught.value)
    assert books.picture() == before
    if not plant.also:
        books.fold("accounts", [truth])


def with_operator(books: Books, sub: str, *rights: str) -> None:
    """The holder has a register from now on, as if two registrars had set it."""
    person_ = {"iss": "lanzhou", "sub": sub}
    operator = {"holder": CITY_GROUP, "person": person_, "rights": list(rights)}
    body = both(as_type("OperatorSet"), lambda record: record.update(body={"operator": operator}))
    checker = books.of("accounts")
    record = planted(STORY.accounts[STORY.at["added"]], body)
    checker.apply(*checker.types.decode_canonical(record))


@pytest.mark.parametrize(
    ("place", "right"),
    [
        ("approved", "approve"),
        ("refused", "view"),
        ("proposed", "transfer"),
        ("added", "administer"),
        ("opted out", "administer"),
    ],
)
def test_who_asked_stands_in_the_holders_register_with_the_right(place: str, right: str) -> None:
    truth = STORY.accounts[STORY.at[place]]
    sub = json.loads(truth.record)["actor"]["sub"]
    books = folded_up_to(STORY, "accounts", STORY.at[place])
    with_operator(books, "somebody else", right)
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", truth)
    assert caught.value.rule == "OPERATOR"
    with_operator(books, sub, right)
    books.check("accounts", truth)


# ---- any week ------------------------------------------------------------------------------------

PERSONS = (BUYER, SECOND)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("opt", "opt", "out", "confirm", "withdraw", "add", "add", "trust", "remove"),
                *("give", "give", "give", "hold", "propose", "approve", "refuse", "post", "wait"),
            )
        ),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(1, 60),
    ),
    min_size=10,
    max_size=60,
)
Step = tuple[str, int, int, int]


class Week:
    """Carries out steps on the real writer; what is refused leaves no event."""

    def __init__(self, desks: Desks) -> None:
        self.desks = desks
        self.held: list[str] = []

    async def take(self, step: Step) -> None:
        try:
            await self._take(*step)
        except Refused:
            return

    async def _take(self, what: str, who: int, to: int, amount: int) -> None:
        ask, person_, other = self.desks.accounts.ask, PERSONS[who], (QINWANGCHUAN, ZHONGCHUAN)[to]
        state = self.desks.accounts.writer.state
        kept = state.safeguards.get(CITY_GROUP)
        if what == "opt":
            await ask(ProposeSafeguards(CITY_GROUP, rules(amount, bool(to))), person_)
        elif what == "out":
            await ask(ProposeSafeguards(CITY_GROUP, None), person_)
        elif what == "confirm" and kept is not None and kept.asked is not None:
            await ask(ConfirmSafeguards(CITY_GROUP, kept.asked.proposal), person_)
        elif what == "withdraw":
            await ask(WithdrawSafeguards(CITY_GROUP), person_)
        elif what in ("add", "trust", "remove"):
            kinds: Any = {"add": AddDestination, "trust": ConfirmDestination}
            await ask(kinds.get(what, RemoveDestination)(CITY_GROUP, other), person_)
        elif what == "give":
            await ask(pay(CITY_GROUP, other, amount), person_)
        elif what in ("hold", "propose"):
            command: Any = hold(CITY_GROUP, other, amount)
            if what == "propose":
                command = ProposeTransfer(CITY_GROUP, other, TICKET, amount, [])
            self.held.append(name_of(self.desks, await ask(command, person_)))
        elif what == "wait":
            self.desks.clock.at_ms += amount * DAY_MS // 10
            for _, _, due in list(DOMAIN.due(state, self.desks.clock.now_ms())):
                await ask(due, SYSTEM)
        elif self.held:
            one = self.held[amount % len(self.held)]
            end: Any = {"approve": ApproveTransfer(one), "post": PostHold(one, amount)}
            payee = FARMER if what == "post" else person_
            await ask(end.get(what, RefuseTransfer(one, "no")), payee)


async def random_week(steps: Sequence[Step]) -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        owners = {CITY_GROUP: 2000}
        await desks.accounts.ask(issuance(BATCH, owners), REGISTRY, approval(BATCH, owners))
        week = Week(desks)
        for step in steps:
            await week.take(step)
        keep(story, desks)
        return story


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_the_safeguards_let_pass_the_independent_books_let_pass(
    steps: list[Step],
) -> None:
    story = asyncio.run(random_week(steps))
    books = folded_up_to(story, "accounts", len(story.accounts))
    assert books.accounts.balances == {k: h.balance for k, h in story.state.accounts.items()}
    check_conservation(books)
