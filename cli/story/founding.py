"""Who takes part, whose keys are believed, and the money that comes in."""

from __future__ import annotations

import re
from typing import Final

from cli.clients import Account, Asset, Holder, Leg
from cli.directory import await_admitted, register_keys
from cli.reading import amount as shown
from cli.story.cast import (
    AUDITOR,
    CASHIER,
    MARKET,
    MONEY,
    MONEY_IN_FEN,
    PARTS,
    REGISTRAR,
    TICKETS,
    VENUE,
    invented_uscc,
    name_of,
)
from cli.story.scene import Scene
from cli.telling import expect
from kernel.ids import derived_id, new_holder_id
from kernel.values import format_instant

KEY_READERS: Final = ("accounts", "registry", "inclusive")  # books that believe signatures


async def register_holders(scene: Scene) -> None:
    """Holders and assets in the accounts book; the first free number names this telling."""
    figures = scene.figures
    numbers = [
        int(found[1])
        for one in await scene.books.totals(AUDITOR)
        if (found := re.fullmatch(rf"{TICKETS}-(\d+)", one.asset))
    ]
    figures.instance = max(numbers, default=0) + 1
    figures.ticket = f"{TICKETS}-{figures.instance}"
    scene.holders = figures.holders = {part.key: new_holder_id() for part in PARTS}
    holders = [
        Holder(
            scene.new_id(),
            scene.holders[part.key],
            part.kind,
            part.name,
            "" if part.kind == "programme" else invented_uscc(scene.holders[part.key]),
        )
        for part in PARTS
    ]
    scene.take_all(await scene.books.register_holders(REGISTRAR, holders), "accounts")
    for one in holders:
        scene.say(f"{one.holder}  {one.name}{f', {one.uscc}' if one.uscc else ''}")
    await _define_assets(scene)
    scene.say("names and credit codes are invented")


async def _define_assets(scene: Scene) -> None:
    money = Asset(derived_id(0, "tanzhang", MONEY), MONEY, "fen", "人民币")
    programme = scene.holders["programme"]
    tickets = Asset(scene.new_id(), scene.ticket, "t", "丝路碳票", programme, serialised=True)
    first, second = await scene.books.define_assets(REGISTRAR, [money, tickets])
    if first.reason != "ASSET_EXISTS":  # somebody else's CNY is as good as ours
        scene.take(first, "accounts")
    scene.take(second, "accounts")
    scene.say(f"assets: {MONEY} in fen, {scene.ticket} in whole tonnes with serial numbers")


async def admit_keys(scene: Scene) -> None:
    """Eight institutions' keys into the directory, and from there into the books that need them."""
    holders, number = scene.holders, scene.number
    scene.keys = {"venue": scene.workspace.venue_key()}
    subjects = {"venue": VENUE, "bank": f"bank:{holders['bank']}"}
    subjects["authority"] = f"authority:{holders['programme']}"
    for who in ("verifier", "group", "lender_a", "lender_b", "rides"):
        subjects[who] = f"holder:{holders[who]}"
    for who in subjects.keys() - scene.keys.keys():
        scene.keys[who] = scene.workspace.institution_key(f"demo-{who}-{number}")
    before = {key.key_id for key in await scene.books.keys()}
    since = {book: await scene.books.next_position(AUDITOR, book) for book in KEY_READERS}
    wanted = {subject: scene.keys[who] for who, subject in subjects.items()}
    ids = await register_keys(scene.books, scene.clock, wanted)
    for who, subject in subjects.items():
        known = ", known already" if ids[subject] in before else ""
        named = name_of(who) if who in holders else _ROLES[who]
        scene.say(f"{ids[subject]}  {subject}  {named}{known}")
    newest = list(ids.values())[-1]
    await await_admitted(scene.books, AUDITOR, newest, since, scene.patience_s)
    scene.say("each proposed by one person and approved by another, in the ledger's own book")
    scene.say(f"the books {', '.join(KEY_READERS)} have heard of all of them")


_ROLES: Final = {
    "venue": "the market itself",
    "authority": "兰州新区生态环境局",
}


async def bring_money(scene: Scene) -> None:
    """Money comes in on the settlement bank's own signature, once per statement line."""
    clearing = Account(scene.holders["clearing"], "external", scene.holders["bank"])
    leg = Leg(clearing, Account(scene.holders["group"]), MONEY, MONEY_IN_FEN)
    advice = {
        "kind": "bank-advice",
        "amount_fen": leg.amount,
        "asset": MONEY,
        "bank": scene.holders["bank"],
        "clearing_house": leg.debit.holder,
        "holder": scene.holders["group"],
        "line": f"{format_instant(scene.clock.now_ms())[:10]}/{scene.number}",
    }
    await scene.post(CASHIER, (leg,), scene.sign("bank", advice))
    held = await scene.amount("group", MONEY)
    expect("the group's money, in fen", MONEY_IN_FEN, held)
    scene.say(f"{name_of('group')} has {shown(MONEY, held)} available (chosen)")
    scene.say(f"signed by {name_of('bank')}; {MARKET} has none of it yet")
