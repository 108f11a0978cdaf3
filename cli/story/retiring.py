"""A lender lets its lien go, with its own signature and not without; some tickets are retired.

A retirement is decided in the accounts book; the registry makes it a public fact with beneficiary,
purpose and exact serials, which nobody needs a token to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cli.clients import Claim, SerialRange
from cli.registry_client import PledgeRelease, PledgeState, Retirement
from cli.story.cast import LENDERS, PLEDGED_T, RETIRED_T, name_of
from cli.story.pledging import cut
from cli.story.scene import Scene
from cli.telling import expect

BOOK: Final = "registry"
CLAIM: Final = Claim("中川商务中心", "碳中和", "carbon neutrality of the business centre, 2021")


async def release(scene: Scene) -> None:
    """Nobody else can let collateral go: registry, accounts and ledger each check the signature."""
    lender = LENDERS[0]
    lien = scene.liens[lender]
    statement: dict[str, Any] = {
        "lien": lien.lien,
        "quantity_t": lien.pledged_t,
        "release": f"{lien.lien}/1",
    }
    clerk = scene.operator(lender, "clerk")
    bare = PledgeRelease(scene.new_id(), acts=(), **statement)
    (outcome,) = await scene.registry.release_pledges(clerk, [bare])
    refused = scene.refused(outcome, "ACT_MISSING")
    scene.say(f"without {name_of(lender)}'s signature: refused, {refused.reason}")
    pledgee = {"kind": "pledge-release", "pledgee": scene.holders[lender]}
    act = scene.sign(lender, {**pledgee, **statement})
    signed = PledgeRelease(scene.new_id(), acts=(act,), **statement)
    (position,) = scene.take_all(await scene.registry.release_pledges(clerk, [signed]), BOOK)
    (done,) = await scene.until(
        "release of the lien",
        lambda: scene.registry.pledges(clerk, [lien.lien], position),
        lambda found: all(_is_over(one, signed.release) for one in found),
    )
    await _tell_release(scene, lender, done)


def _is_over(lien: PledgeState, release: str) -> bool:
    return any(one.release == release and one.state != "requested" for one in lien.releases)


async def _tell_release(scene: Scene, lender: str, lien: PledgeState) -> None:
    (done,) = lien.releases
    expect("state", ("completed", ""), (done.state, done.refusal.message))
    expect("tonnes left under the lien", 0, lien.pledged_t)
    held = await scene.amount("group", scene.ticket, min_position=done.entry_position)
    expect("the group's tickets", PLEDGED_T, held)
    blocks = ", ".join(f"{one.first:,} to {one.last:,}" for one in done.serials)
    scene.say(f"with it: {done.quantity_t:,} t free, serials {blocks}")
    other = LENDERS[1]
    scene.say(f"{name_of('group')} has {held:,} t available; {name_of(other)}'s lien stands")


async def retire(scene: Scene) -> None:
    """Used up for a claim, once and for ever: through the gateway, as an app does it."""
    holder = scene.holders["group"]
    (held,) = [
        one
        for one in await scene.balances("group", scene.ticket)
        if one.account.purpose == "available"
    ]
    serials, _ = cut(held.serials, RETIRED_T)
    entry = await _retire_by_app(scene, holder, serials)
    found = await scene.until(
        "the public record",
        lambda: scene.registry.retirements(scene.ticket, entry),
        lambda rows: any(one.entry_position == entry for one in rows),
    )
    (public,) = [one for one in found if one.entry_position == entry]
    expect("retired by, and for", (holder, CLAIM), (public.holder, _claim(public)))
    expect("serials retired", tuple(serials), public.serials)
    expect("tonnes retired", RETIRED_T, public.quantity_t)
    _tell_retirement(scene, public)


async def _retire_by_app(scene: Scene, holder: str, serials: Sequence[SerialRange]) -> int:
    """One POST under one key; the same again, as after a lost answer, retires nothing more."""
    asked = {
        "holder": holder,
        "asset": scene.ticket,
        "amount": RETIRED_T,
        "serials": [{"batch": one.batch, "first": one.first, "last": one.last} for one in serials],
        "beneficiary": CLAIM.beneficiary,
        "purpose": CLAIM.purpose,
        "details": CLAIM.details,
    }
    who, key = scene.operator("group"), scene.new_id()
    outcome = await scene.gateway.post("/v1/retirements", who, key, asked)
    entry = scene.take(outcome, "accounts")
    scene.say(f"POST /v1/retirements at the gateway: recorded, position {entry} in accounts")
    again = await scene.gateway.post("/v1/retirements", who, key, asked)
    expect("the same key again", (entry, True), (again.position, again.repeated))
    scene.say("the same Idempotency-Key again: the same position, nothing retired twice")
    return entry


def _claim(public: Retirement) -> Claim:
    return Claim(public.beneficiary, public.purpose, public.details)


def _tell_retirement(scene: Scene, public: Retirement) -> None:
    (block,) = public.serials
    scene.say(
        f"{public.quantity_t:,} t for {public.beneficiary}, {public.purpose} ({public.details})"
    )
    scene.say(
        f"serials {block.first:,} to {block.last:,} of {block.batch}, for ever:"
        f" position {public.position} of the registry's log"
    )
    scene.say("what is retired never moves again; how much of it is chosen")
    scene.figures.retirement = {
        "position": public.position,
        "entry_position": public.entry_position,
        "quantity_t": public.quantity_t,
        "serials": [[one.batch, one.first, one.last] for one in public.serials],
        "beneficiary": public.beneficiary,
        "purpose": public.purpose,
        "details": public.details,
    }
