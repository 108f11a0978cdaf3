"""An exchange that matches elsewhere, with its members' units and money laid in for trading.

What a settlement run needs and is in no measurement: the venue's and the authority's keys in the
directory, a batch of serialised units issued to every holder with the authority's signature, and
both allocated to the exchange by those who hold them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from benchmarks.world import REGISTRAR, Bench
from cli.clients import Account, Asset, Books, Entry, Holder, Leg, Outcome, Persona, SerialRange
from cli.directory import accept, register_keys
from kernel.acts import sign_act
from kernel.ids import new_holder_id, uuid7
from kernel.values import Act

VENUE: Final = "hubei-exchange"
ASSET: Final = "HBEA-2025"
UNITS_T: Final = 100_000  # of each holder
MONEY_FEN: Final = 10**11
OWNERS: Final = 50  # per issuance: an entry has at most 64 legs
BATCH: Final = 500
ISSUER: Final = Persona("bench-registry", ("registry",))
NOT_YET: Final = frozenset({"ACT_KEY_UNKNOWN", "UNKNOWN_VENUE"})
ASK_EVERY_S: Final = 0.1
KNOWN_WITHIN_S: Final = 15.0


class Exchange(NamedTuple):
    """Everything there is to settle with; the venue's key is the folder's `VENUE`."""

    programme: str
    members: tuple[str, ...]


def open_exchange(bench: Bench) -> Exchange:
    return asyncio.run(_open(bench))


async def _open(bench: Bench) -> Exchange:
    programme = new_holder_id()
    async with Books(bench.workspace) as books:
        holder = Holder(_id(bench), programme, "programme", "湖北碳市场")
        accept((await books.register_holders(REGISTRAR, [holder]))[0])
        asset = Asset(_id(bench), ASSET, "t", "湖北碳配额", programme, serialised=True)
        accept((await books.define_assets(REGISTRAR, [asset]))[0])
        keys = {
            f"venue:{VENUE}": bench.workspace.institution_key(VENUE),
            f"authority:{programme}": bench.workspace.institution_key("bench-authority"),
        }
        await register_keys(books, bench.workspace.clock, keys)
        await _issue(bench, books, programme)
        for person in bench.people:
            for at in range(0, len(person.holders), BATCH):
                chosen = person.holders[at : at + BATCH]
                await _post(bench, books, person.persona(), [_laid_in(one) for one in chosen])
    return Exchange(programme, tuple(bench.holders))


async def _issue(bench: Bench, books: Books, programme: str) -> None:
    holders = iter(bench.holders)
    number = 0
    while owners := list(islice(holders, OWNERS)):
        number += 1
        legs, act = _issuance(bench, programme, f"HB-{number}", owners)
        await _post(bench, books, ISSUER, [legs], (act,))


def _issuance(
    bench: Bench, programme: str, batch: str, owners: Sequence[str]
) -> tuple[tuple[Leg, ...], Act]:
    statement: dict[str, Any] = {
        "kind": "issuance-approval",
        "asset": ASSET,
        "batch": batch,
        "checker": "bench-authority",
        "document": "https://example.invalid/approval",
        "first": 1,
        "last": UNITS_T * len(owners),
        "owners": [{"holder": owner, "quantity_t": UNITS_T} for owner in owners],
        "programme": programme,
    }
    source = Account(programme, "issued")
    legs = tuple(
        Leg(
            source,
            Account(owner),
            ASSET,
            UNITS_T,
            (SerialRange(batch, i * UNITS_T + 1, (i + 1) * UNITS_T),),
        )
        for i, owner in enumerate(owners)
    )
    return legs, sign_act(bench.workspace.institution_key("bench-authority"), statement)


def _laid_in(holder: str) -> tuple[Leg, ...]:
    """A holder's own units and money into trading."""
    source, target = Account(holder), Account(holder, "trading", VENUE)
    return (
        Leg(source, target, ASSET, UNITS_T),
        Leg(source, target, "CNY", MONEY_FEN),
    )


async def _post(
    bench: Bench,
    books: Books,
    who: Persona,
    wanted: Sequence[tuple[Leg, ...]],
    acts: tuple[Act, ...] = (),
) -> None:
    """Posts them, again for as long as a key is on its way into the book."""
    end_s = asyncio.get_running_loop().time() + KNOWN_WITHIN_S
    while True:
        entries = [Entry(_id(bench), legs, acts=acts) for legs in wanted]
        outcomes = await books.post_entries(who, entries)
        if not any(one.reason in NOT_YET for one in outcomes):
            break
        if asyncio.get_running_loop().time() > end_s:
            break
        wanted = [legs for legs, one in zip(wanted, outcomes, strict=True) if one.reason in NOT_YET]
        _accept([one for one in outcomes if one.reason not in NOT_YET])
        await asyncio.sleep(ASK_EVERY_S)
    _accept(outcomes)


def _accept(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        accept(outcome)


def _id(bench: Bench) -> str:
    return uuid7(bench.workspace.clock.now_ms())
