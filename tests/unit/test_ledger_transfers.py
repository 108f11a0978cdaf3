"""Non-trade transfers in the independent books: a truthful day passes whole, each lie is named."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kernel.acts import sign_act
from services.accounts.domain.commands import (
    ConfirmTransfer,
    FreezeUnits,
    PostEntry,
    PostTransfer,
    WithdrawTransfer,
)
from services.accounts.domain.events import Account, Purpose
from services.ledger.books.port import RuleBroken
from tests.support.books import person
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    TICKET,
    VENUE_KEY,
    ZHONGCHUAN,
    approval,
    available,
    issuance,
    leg,
    seeded_key,
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
    agreement,
    freeze,
    freeze_serials,
    moved,
    overriding,
    transfer_order,
)
from tests.support.plants import Plant, both, drop, put, same_leg_twice, signed, signed_by
from tests.unit.test_ledger_freezes import (
    BATCH,
    FARM_KEY,
    LENDER,
    LENDER_KEY,
    LIEN,
    court_and_parties,
    frozen_as,
    pledge_statement,
    serials,
)

POST, FREEZE = PostTransfer(), FreezeUnits()
OTHER_COURT, OTHER_KEY = "court:shenzhen-qianhai", seeded_key("the court of Qianhai")
SECOND = person("second registrar", roles=["registrar"])
FARMS: Any = {"source": QINWANGCHUAN, "target": ZHONGCHUAN}
AGREED: Any = {"source": ZHONGCHUAN, "target": CITY_GROUP}
ZHONGCHUAN_KEY = seeded_key("中川林场")


async def tell_of_transfers(desks: Desks, at: dict[str, int]) -> None:
    ask = desks.accounts.ask
    await admit(desks, ZHONGCHUAN_KEY, f"holder:{ZHONGCHUAN}")
    await admit(desks, OTHER_KEY, OTHER_COURT)
    await ask(issuance(BATCH, FOREST_T), REGISTRY, approval(BATCH, FOREST_T))
    pledged = Account(QINWANGCHUAN, Purpose.PLEDGED, LIEN)
    both_sign = [sign_act(key, pledge_statement(100)) for key in (FARM_KEY, LENDER_KEY)]
    entry = PostEntry([leg(100, TICKET, available(QINWANGCHUAN), pledged)])
    await ask(entry, REGISTRY, *both_sign)
    amount = {"asset": TICKET, "holder": QINWANGCHUAN, "purpose": "available", "amount": 6000}
    await ask(FREEZE, REGISTRAR, freeze("part", AUTHORITY_KEY, **amount))
    await ask(FREEZE, REGISTRAR, freeze_serials("disputed", (BATCH, 1, 300)))
    theirs = freeze_serials("theirs", (BATCH, 7001, 7010), key=OTHER_KEY, authority=OTHER_COURT)
    await ask(FREEZE, REGISTRAR, theirs)
    named = overriding((AUTHORITY, "part"), (COURT, "disputed"))
    order = transfer_order(
        "88",
        moved(40, TICKET, LIEN),
        moved(1000, TICKET, "", (BATCH, 201, 1200)),
        **FARMS,
        freezes=named,
    )
    at["ordered"] = await ask(POST, REGISTRAR, order)
    at["succeeded"] = await ask(
        POST, REGISTRAR, transfer_order("s-1", moved(5), key=AUTHORITY_KEY, source=ZHONGCHUAN)
    )
    acts = agreement("m-1", moved(100), keys=(ZHONGCHUAN_KEY, LENDER_KEY), **AGREED)
    at["filed"] = await ask(POST, REGISTRAR, *acts)
    at["confirmed"] = await ask(ConfirmTransfer("m-1"), SECOND)
    ten = moved(10, TICKET, "", (BATCH, 7201, 7210))
    acts = agreement("m-2", ten, keys=(ZHONGCHUAN_KEY, LENDER_KEY), **AGREED)
    at["filed named"] = await ask(POST, REGISTRAR, *acts)
    at["confirmed named"] = await ask(ConfirmTransfer("m-2"), SECOND)
    acts = agreement("m-3", moved(1), keys=(ZHONGCHUAN_KEY, LENDER_KEY), **AGREED)
    at["filed in vain"] = await ask(POST, REGISTRAR, *acts)
    at["withdrawn"] = await ask(WithdrawTransfer("m-3"), REGISTRAR)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await court_and_parties(desks)
        await tell_of_transfers(desks, story.at)
        keep(story, desks)
        return story


STORY = asyncio.run(_tell())
FIRST = "body.legs.0"
PARTIES = (ZHONGCHUAN_KEY, LENDER_KEY)


def from_a_lien_of_nobody(record: Json) -> None:
    """The court was told of a lien that there never was."""
    record["body"]["legs"][0]["debit"]["ref"] = "l-none"
    first, *others = json.loads(record["acts"][0]["statement"])["moves"]
    sign_anew(record, COURT_KEY, moves=[{**first, "lien": "l-none"}, *others])


PLANTS = [
    Plant("LIEN_KNOWN", "ordered", from_a_lien_of_nobody, "a lien there is", "l-none"),
    Plant(
        "AS_FILED",  # what is pledged goes with a merger, its pledgee unasked
        "confirmed",
        both(put(f"{FIRST}.debit.purpose", "pledged"), put(f"{FIRST}.debit.ref", LIEN)),
        "available",
        "pledged",
    ),
    # orders
    Plant("ACT_MISSING", "ordered", lambda e: e.pop("acts"), COURT, "0 acts"),
    Plant("ACT_KEY", "ordered", signed(VENUE_KEY), COURT, "venue:"),
    Plant("ACT_KEY", "succeeded", signed(COURT_KEY), AUTHORITY, COURT),
    Plant("TRANSFER_STATEMENT", "succeeded", put("body.document", "x"), "执 88", '"x"'),
    Plant("TRANSFER_STATEMENT", "ordered", put("body.nature", "split"), "court", "split"),
    Plant(
        "TRANSFER_MOVES",
        "succeeded",
        both(same_leg_twice, put("body.legs.1.serials", serials((7100, 7104)))),
        "1",
        "2",
    ),
    Plant(
        "TRANSFER_SERIALS",
        "ordered",
        put("body.legs.1.serials", serials((202, 1201))),
        "first=201",
        "first=202",
    ),
    Plant("TRANSFER_AUTHORITY", "ordered", put("body.authority", "venue:x"), "a court", "venue:x"),
    Plant("TRANSFER_NATURE", "succeeded", put("body.nature", "court"), AUTHORITY, "court"),
    Plant("TRANSFER_NATURE", "ordered", put("body.nature", "gift"), COURT, "gift"),
    Plant(
        "TRANSFER_PROGRAMME",
        "succeeded",
        both(put(f"{FIRST}.asset", "CNY"), put(f"{FIRST}.serials", [])),
        PROGRAMME,
        "",
    ),
    Plant("TRANSFER_TO", "ordered", put(f"{FIRST}.credit.holder", CITY_GROUP), ZHONGCHUAN, LENDER),
    Plant("TRANSFER_FROM", "ordered", put(f"{FIRST}.debit.holder", CITY_GROUP), QINWANGCHUAN, "h-"),
    Plant(
        "TRANSFER_FROM", "succeeded", put(f"{FIRST}.debit.purpose", "trading"), "pledged", "trading"
    ),
    Plant("TRANSFER_PARTIES", "ordered", put("body.target", QINWANGCHUAN), "two", QINWANGCHUAN),
    Plant("TRANSFER_LIENS", "ordered", drop("liens"), LIEN, "[]"),
    Plant("TRANSFER_LIENS", "ordered", put("body.liens.0.pledgee", ZHONGCHUAN), LENDER, ZHONGCHUAN),
    Plant(
        "TRANSFER_FREEZE",
        "succeeded",
        frozen_as(AUTHORITY_KEY, freezes=overriding((OTHER_COURT, "theirs"))),
        f"a freeze that {AUTHORITY} may override",
        OTHER_COURT,
    ),
    Plant(
        "FROZEN_SERIALS",  # the order did not name the freeze it goes through
        "ordered",
        frozen_as(COURT_KEY, freezes=overriding((AUTHORITY, "part"))),
        "1..300 to lie still",
        "1..40 moved",
    ),
    Plant(
        "FROZEN",
        "ordered",
        frozen_as(COURT_KEY, freezes=overriding((COURT, "disputed"))),
        "at least 6000",
        "5900",
    ),
    Plant("ONCE", "succeeded", frozen_as(COURT_KEY, authority=COURT, transfer="88"), "a new", "88"),
    # as two holders agreed
    Plant("ACT_MISSING", "filed", lambda e: e["acts"].pop(), "holder:", "1 acts"),
    Plant("ACT_KEY", "filed", signed_by(ZHONGCHUAN_KEY, COURT_KEY), LENDER, COURT),
    Plant("TRANSFER_STATEMENT", "filed", put("body.moves.0.amount", 101), ":100", ":101"),
    Plant("TRANSFER_FILER", "filed", put("body.filer.sub", "second registrar"), "registrar", "sec"),
    Plant("TRANSFER_NATURE", "filed", put("body.nature", "court"), "merger or split", "court"),
    Plant(
        "TRANSFER_FROM",
        "filed",
        both(put("body.moves.0.debit.purpose", "pledged"), put("body.moves.0.debit.ref", LIEN)),
        "available",
        "pledged",
    ),
    Plant("ONCE", "filed named", put("body.transfer", "m-1"), "a new transfer", "m-1"),
    Plant("TWO_PERSONS", "confirmed", put("actor.sub", "registrar"), "another than", "registrar"),
    Plant("TRANSFER_FILED", "confirmed", put("body.transfer", "m-2"), "that waits", "m-2"),
    Plant("AS_FILED", "confirmed", put("body.document", "another"), "contract", "another"),
    Plant(
        "AS_FILED",
        "confirmed",
        both(put(f"{FIRST}.amount", 101), put(f"{FIRST}.serials", serials((7016, 7116)))),
        "100",
        "101",
    ),
    Plant(
        "AS_FILED",
        "confirmed",
        put("body.freezes", overriding((OTHER_COURT, "theirs"))),
        "[]",
        "th",
    ),
    Plant("TRANSFER_MOVES", "confirmed", same_leg_twice, "1", "2"),
    Plant(
        "TRANSFER_SERIALS",
        "confirmed named",
        put(f"{FIRST}.serials", serials((7202, 7211))),
        "first=7201",
        "first=7202",
    ),
    Plant("ACT_UNEXPECTED", "confirmed", lambda e: e.update(acts=[]), "no signed", "0 acts"),
    Plant("TRANSFER_FILED", "withdrawn", put("body.transfer", "m-1"), "that waits", "m-1"),
    Plant("AS_FILED", "withdrawn", put("body.source", CITY_GROUP), ZHONGCHUAN, CITY_GROUP),
]


def test_a_truthful_day_of_transfers_passes_whole() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    assert books.accounts.balances == {k: h.balance for k, h in STORY.state.accounts.items()}
    live = books.accounts._freezes.live
    assert set(live) == set(STORY.state.frozen.live)
    for name, ours in STORY.state.frozen.live.items():
        theirs = live[name]
        assert (theirs.amount, len(theirs.serials)) == (ours.amount, len(ours.serials))
    assert live[AUTHORITY, "part"].amount == 5000
    assert [(one.first, one.last) for one in live[COURT, "disputed"].serials] == [(41, 200)]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: one.rule)
def test_a_lie_about_a_transfer_is_named_and_changes_nothing(plant: Plant) -> None:
    position = STORY.at[plant.place]
    books = folded_up_to(STORY, "accounts", position)
    truth = STORY.accounts[position]
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", planted(truth, plant.change))
    assert caught.value.rule == plant.rule, str(caught.value)
    assert plant.expected in caught.value.expected, str(caught.value)
    assert plant.actual in caught.value.actual, str(caught.value)
    assert books.picture() == before
    books.fold("accounts", [truth])
