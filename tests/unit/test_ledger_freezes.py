"""Freezes in the independent books: a truthful day passes whole, each planted lie is named.

And any day at all: random entries, holds, settlements, liens and freezes by the service's own
writer pass the ledger's books, and what was frozen never left its holder.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.acts import sign_act
from kernel.errors import Refused
from kernel.values import DAY_MS
from services.accounts.domain import freezes
from services.accounts.domain.commands import (
    ExpireFreeze,
    FreezeUnits,
    PostEntry,
    PostTransfer,
    ReleaseHold,
    UnfreezeUnits,
)
from services.accounts.domain.events import Account, Purpose
from services.accounts.domain.state import State
from services.ledger.books.port import RuleBroken
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    CNY,
    EXCHANGE,
    FARMER,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    STRANGER,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    approval,
    available,
    hold,
    issuance,
    leg,
    pay,
    seeded_key,
    trading,
)
from tests.support.ledgers import (
    Desks,
    Json,
    Story,
    admit,
    folded_up_to,
    found_the_place,
    keep,
    open_desks,
    planted,
    sign_anew,
)
from tests.support.orders import (
    AUTHORITY,
    COURT,
    COURT_KEY,
    freeze,
    freeze_serials,
    moved,
    overriding,
    transfer_order,
    unfreeze,
)
from tests.support.plants import Plant, as_type, both, put, signed
from tests.unit.test_ledger_books import FARMS_AND_CITY, STEPS, Random, check_conservation

BATCH = "LZXQ-2021"
LIEN, LENDER = "l-qinwangchuan2222", CITY_GROUP
FARM_KEY, LENDER_KEY = seeded_key("秦王川林场"), seeded_key("the city group as a lender")
FREEZE, UNFREEZE = FreezeUnits(), UnfreezeUnits()


def pledge_statement(amount: int) -> Json:
    return {
        "asset": TICKET,
        "kind": "pledge",
        "levels": {"call_bp": 0, "enforcement_bp": 0, "warning_bp": 0},
        "lien": LIEN,
        "loan_fen": 100,
        "matures_on": "2027-11-20",
        "notice": "",
        "pledgee": LENDER,
        "pledgor": QINWANGCHUAN,
        "programme": PROGRAMME,
        "quantity_t": amount,
        "rate_bp": 435,
        "serials": [],
        "valuation": {"price_fen_per_t": 4194, "priced_at_ms": 0, "source": "last trade"},
    }


def release_statement(amount: int) -> Json:
    return {
        "kind": "pledge-release",
        "lien": LIEN,
        "pledgee": LENDER,
        "quantity_t": amount,
        "release": "paid back",
    }


async def tell_of_freezes(desks: Desks, at: dict[str, int]) -> None:
    """The farm's units: some pledged, some at the venue, some held; then the court's orders."""
    ask = desks.accounts.ask
    pledged = Account(QINWANGCHUAN, Purpose.PLEDGED, LIEN)
    await ask(issuance(BATCH, FOREST_T), REGISTRY, approval(BATCH, FOREST_T))
    both_sign = [sign_act(key, pledge_statement(100)) for key in (FARM_KEY, LENDER_KEY)]
    entry = PostEntry([leg(100, TICKET, available(QINWANGCHUAN), pledged)])
    await ask(entry, REGISTRY, *both_sign)
    await ask(PostEntry([leg(100, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN))]), FARMER)
    position = await ask(hold(QINWANGCHUAN, ZHONGCHUAN, 50), FARMER)
    held = json.loads(desks.accounts.events()[position].record)["by"]
    at["serials frozen"] = await ask(
        FREEZE, REGISTRAR, freeze_serials("disputed", (BATCH, 51, 300))
    )
    amount = {"asset": TICKET, "holder": ZHONGCHUAN, "purpose": "available", "amount": 4000}
    at["amount frozen"] = await ask(FREEZE, REGISTRAR, freeze("part", AUTHORITY_KEY, **amount))
    at["given past the serials"] = await ask(pay(QINWANGCHUAN, CITY_GROUP, 10), FARMER)
    at["given above the floor"] = await ask(pay(ZHONGCHUAN, CITY_GROUP, 1000), FARMER)
    at["week frozen"] = await ask(
        FREEZE, REGISTRAR, freeze("week", holder=QINWANGCHUAN, until="2026-11-27")
    )
    at["hold released"] = await ask(ReleaseHold(held), FARMER)
    back = PostEntry([leg(100, TICKET, trading(QINWANGCHUAN), available(QINWANGCHUAN))])
    at["brought home"] = await ask(back, EXCHANGE)
    entry = PostEntry([leg(100, TICKET, pledged, available(QINWANGCHUAN))])
    at["lien released"] = await ask(entry, REGISTRY, sign_act(LENDER_KEY, release_statement(100)))
    at["lifted"] = await ask(UNFREEZE, REGISTRAR, unfreeze("part", AUTHORITY_KEY))
    desks.clock.at_ms += 8 * DAY_MS
    at["week over"] = await ask(ExpireFreeze(COURT, "week"), SYSTEM)
    at["given after the week"] = await ask(pay(QINWANGCHUAN, CITY_GROUP, 10), FARMER)


async def court_and_parties(desks: Desks) -> None:
    for key, subject in (
        (COURT_KEY, COURT),
        (FARM_KEY, f"holder:{QINWANGCHUAN}"),
        (LENDER_KEY, f"holder:{LENDER}"),
    ):
        await admit(desks, key, subject)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await court_and_parties(desks)
        await tell_of_freezes(desks, story.at)
        keep(story, desks)
        return story


STORY = asyncio.run(_tell())
GIVEN = "body.legs.0"


def serials(*of: tuple[int, int]) -> list[Json]:
    return [{"batch": BATCH, "first": first, "last": last} for first, last in of]


def frozen_as(key: Any, **fields: object) -> Any:
    """The order says something else, and so does its statement."""

    def change(record: Json) -> None:
        record["body"].update(fields)
        said = {name: value for name, value in fields.items() if name != "liens"}
        sign_anew(record, key, **said)

    return change


PLANTS = [
    # what is frozen moves
    Plant(
        "FROZEN_SERIALS",
        "given past the serials",
        put(f"{GIVEN}.serials", serials((300, 309))),
        f"{BATCH} 51..300 to lie still",
        "300..309 moved",
    ),
    Plant(
        "FROZEN",
        "given above the floor",
        both(put(f"{GIVEN}.amount", 1001), put(f"{GIVEN}.serials", serials((7001, 8001)))),
        "at least 4000",
        "3999",
    ),
    Plant(
        "FROZEN",
        "hold released",
        both(as_type("HoldPosted"), put(f"{GIVEN}.credit.holder", ZHONGCHUAN)),
        "lie still",
        "50 moved",
    ),
    # orders
    Plant("ACT_MISSING", "week frozen", lambda e: e.pop("acts"), COURT, "0 acts"),
    Plant("ACT_KEY", "week frozen", signed(AUTHORITY_KEY), COURT, AUTHORITY),
    Plant("ACT_KEY", "lifted", signed(COURT_KEY), AUTHORITY, COURT),
    Plant("ACT_KEY", "lifted", signed(seeded_key("a thief")), AUTHORITY, "unknown"),
    Plant("FREEZE_STATEMENT", "week frozen", put("body.until", ""), "2026-11-27", '"until":""'),
    Plant("FREEZE_STATEMENT", "amount frozen", put("body.amount", 3999), "4000", "3999"),
    Plant("FREEZE_STATEMENT", "lifted", put("body.reason", "x"), "settled", '"reason":"x"'),
    Plant("FREEZE_AUTHORITY", "week frozen", put("body.authority", "venue:x"), "a court", "venue"),
    Plant("FREEZE_LIENS", "serials frozen", put("body.liens", []), LIEN, "[]"),
    Plant("FREEZE_LIENS", "week frozen", put("body.liens", []), LIEN, "[]"),
    Plant("FREEZE_LIENS", "lifted", put("body.liens", [{"lien": "x", "pledgee": "y"}]), "[]", "x"),
    Plant("ONCE", "week frozen", frozen_as(COURT_KEY, freeze="disputed"), "a new", "disputed"),
    Plant("FREEZE_LIVE", "lifted", put("body.freeze", "week"), "a live freeze", "week"),
    Plant("FREEZE_HOLDER", "lifted", put("body.holder", CITY_GROUP), ZHONGCHUAN, CITY_GROUP),
    Plant("FREEZE_OVER", "week over", put("at", "2026-11-27T15:59:59.999Z"), "2026-11-27", "59.9"),
    Plant(
        "FREEZE_OVER",
        "week over",
        both(put("body.freeze", "disputed"), put("body.holder", "")),
        "after an order",
        "2026-11-28",
    ),
    Plant("ACT_UNEXPECTED", "week over", lambda e: e.update(acts=[]), "no signed", "0 acts"),
    Plant(
        "FREEZE_OVER",
        "week frozen",
        frozen_as(COURT_KEY, until="2026-11-19"),
        "a last day after",
        "2026-11-19",
    ),
    Plant("DAY", "week frozen", put("body.until", "soon"), "a day like", "soon"),
    Plant("FREEZE_WHAT", "week frozen", put("body.holder", ""), "a holder or serials", "holder=''"),
    Plant("FREEZE_WHAT", "week frozen", put("body.purpose", "issued"), "trading", "issued"),
    Plant("FREEZE_WHAT", "week frozen", put("body.amount", 5), "one account", "amount=5"),
    Plant("FREEZE_WHAT", "amount frozen", put("body.amount", -5), "one account", "amount=-5"),
    Plant("FREEZE_WHAT", "serials frozen", put("body.amount", 5), "serials alone", "amount=5"),
    Plant("FREEZE_PROGRAMME", "amount frozen", put("body.asset", CNY), PROGRAMME, ""),
    Plant("ASSET_KNOWN", "serials frozen", put("body.asset", "X-1"), "defined", "X-1"),
    Plant("HOLDER_KNOWN", "week frozen", put("body.holder", STRANGER), "registered", STRANGER),
    Plant(
        "SERIALS_RANGE", "serials frozen", put("body.serials", serials((300, 51))), "1..", "300..51"
    ),
]


def test_a_truthful_day_of_freezes_passes_whole() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    assert books.accounts.balances == {k: h.balance for k, h in STORY.state.accounts.items()}
    assert (
        set(books.accounts._freezes.live) == set(STORY.state.frozen.live) == {(COURT, "disputed")}
    )


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: one.rule)
def test_a_lie_about_what_is_frozen_is_named_and_changes_nothing(plant: Plant) -> None:
    position = STORY.at[plant.place]
    books = folded_up_to(STORY, "accounts", position)
    truth = STORY.accounts[position]
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", planted(truth, plant.change))
    assert caught.value.rule == plant.rule, str(caught.value)
    assert plant.expected in caught.value.expected
    assert plant.actual in caught.value.actual
    assert books.picture() == before
    books.fold("accounts", [truth])


def test_a_pledgees_release_frees_nothing_that_is_frozen_under_its_lien_alone() -> None:
    books = folded_up_to(STORY, "accounts", STORY.at["lien released"])
    there = frozen_as(COURT_KEY, freeze="there", purpose="pledged", ref=LIEN)
    books.fold("accounts", [planted(STORY.accounts[STORY.at["week frozen"]], there)])
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", STORY.accounts[STORY.at["lien released"]])
    assert caught.value.rule == "FROZEN"


# ---- any day -------------------------------------------------------------------------------------

FREEZES = st.lists(
    st.tuples(
        st.sampled_from(("all", "amount", "serials", "serials", "lift", "transfer", "transfer")),
        st.integers(0, 2),
        st.integers(1, 60),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=8,
)


class Freezing(Random):
    """Random days with orders among them."""

    def __init__(self, desks: Desks) -> None:
        super().__init__(desks)
        self.orders = 0

    async def order(self, what: str, who: int, amount: int, choice: int) -> None:
        ask, holder = self.desks.accounts.ask, FARMS_AND_CITY[who]
        self.orders += 1
        name = f"order {self.orders}"
        if what == "lift":
            live = sorted(self.state.frozen.live)
            if live:
                await ask(UNFREEZE, REGISTRAR, unfreeze(live[choice % len(live)][1]))
        elif what == "transfer":
            named = overriding(*sorted(self.state.frozen.live)[: choice % 3])
            to = FARMS_AND_CITY[(who + 1) % 3]
            order = transfer_order(name, moved(amount), source=holder, target=to, freezes=named)
            await ask(PostTransfer(), REGISTRAR, order)
        elif what == "all":
            purpose = ("", "available", "trading")[choice % 3]
            asset = ("", TICKET, CNY)[choice % 3]
            until = ("", "2026-11-20")[choice % 2]
            act = freeze(name, holder=holder, asset=asset, purpose=purpose, until=until)
            await ask(FREEZE, REGISTRAR, act)
        elif what == "amount":
            purpose = ("available", "trading")[choice % 2]
            ref = trading(holder).ref if choice % 2 else ""
            fields: Json = {"purpose": purpose, "ref": ref, "amount": amount, "asset": TICKET}
            await ask(FREEZE, REGISTRAR, freeze(name, holder=holder, **fields))
        else:
            held = self.blocks(holder)
            if held:
                block = held[choice % len(held)]
                first = block.first + choice % 3
                act = freeze_serials(name, (block.batch, first, first + amount))
                await ask(FREEZE, REGISTRAR, act)


def still(state: State) -> tuple[dict[str, dict[tuple[str, int], str]], dict[Any, int]]:
    """Whose the frozen serials are, and how much lies in each holder's frozen accounts."""
    serials: dict[tuple[str, int], str] = {}
    amounts: dict[Any, int] = {}
    for key, holding in state.accounts.items():
        holder, asset, purpose, _ = key
        if purpose not in freezes.FREEZABLE:
            continue
        for block in holding.blocks:
            for first, last in freezes.overlaps(state.frozen, asset, block):
                serials.update({(block.batch, n): holder for n in range(first, last + 1)})
        for name in state.frozen.by_holder.get(holder, ()):
            frozen = state.frozen.live[name]
            if freezes.covers(state, frozen, key):
                amounts[name, asset] = amounts.get((name, asset), 0) + holding.balance
    return {"serials": serials}, amounts


async def random_days(steps: Sequence[Any], orders: Sequence[Any]) -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await court_and_parties(desks)
        walker = Freezing(desks)
        for i, step in enumerate(steps):
            (before, amounts), live = still(walker.state), dict(walker.state.frozen.live)
            await walker.take(step)
            (after, amounts_after) = still(walker.state)
            if walker.state.frozen.live == live:
                moved = {
                    unit
                    for unit, holder in before["serials"].items()
                    if after["serials"].get(unit) != holder
                }
                assert not moved, step
                for (name, asset), amount in amounts.items():
                    kept = live[name].amount
                    floor = amount if kept is None else min(amount, kept)
                    assert amounts_after.get((name, asset), 0) >= floor, (step, live[name])
            if i < len(orders) * 3 and i % 3 == 0:
                try:
                    await walker.order(*orders[i // 3])
                except Refused:
                    continue
        keep(story, desks)
        return story


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, FREEZES)
def test_what_is_frozen_never_leaves_and_the_independent_books_agree(
    steps: list[Any], orders: list[Any]
) -> None:
    opening = [("issue", who, 60, 5) for who in (0, 4, 8)]
    story = asyncio.run(random_days([*opening, *steps], orders))
    books = folded_up_to(story, "accounts", len(story.accounts))
    assert books.accounts.balances == {k: h.balance for k, h in story.state.accounts.items()}
    assert left_of(books.accounts._freezes.live) == left_of(story.state.frozen.live)
    check_conservation(books)


def left_of(live: Mapping[Any, Any]) -> dict[Any, Any]:
    """What each freeze still covers, in one order of its ranges."""
    return {
        name: (one.amount, sorted((b.batch, b.first, b.last) for b in one.serials))
        for name, one in live.items()
    }
