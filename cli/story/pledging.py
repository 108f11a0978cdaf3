"""The tickets go under two liens, one lender each, and are then neither sold nor pledged again.

No fixed cap on loan over value: this real deal stands at 98.35 %. The source states neither how
many tonnes were traded nor how many were pledged, nor how the banks shared the loan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cli.clients import Account, Entry, Leg, SerialRange
from cli.reading import amount as shown
from cli.registry_client import Pledge, PledgeState, Valuation
from cli.story.cast import (
    EACH_LOAN_FEN,
    FIXED_CAP_BP,
    LENDERS,
    LOAN_FEN,
    MARKET,
    MONEY,
    PLEDGED_T,
    PRICE_FEN,
    PRICE_FEN_PER_T,
    QUANTITY_T,
    name_of,
)
from cli.story.scene import Scene
from cli.telling import expect
from kernel.ids import new_holder_id
from kernel.values import DAY_MS, shanghai_day

BOOK: Final = "registry"
RATE_BP: Final = 435  # chosen
TERM_DAYS: Final = 365  # chosen
CALL_BP: Final = 10_000  # the loan has become the value
LTV_BP: Final = 9_835
BREAK_EVEN_FEN_PER_T: Final = 4_125


async def pledge(scene: Scene) -> None:
    """One lien and one event per lender, each signed by pledgor and pledgee."""
    held = await scene.balances("group", scene.ticket)
    blocks = [block for one in held if one.account.purpose == "available" for block in one.serials]
    for lender in LENDERS:
        taken, blocks = cut(blocks, PLEDGED_T)
        scene.liens[lender] = await _register(scene, lender, taken)
        _tell_lien(scene, lender, scene.liens[lender])
    _tell_coverage(scene)
    scene.say("the split is chosen; the source states neither traded nor pledged tonnes")


async def _register(scene: Scene, lender: str, serials: Sequence[SerialRange]) -> PledgeState:
    done = await _ask(scene, lender, serials)
    expect("state", ("completed", ""), (done.state, done.refusal.message))
    expect("tonnes under the lien", PLEDGED_T, done.pledged_t)
    expect("serials under the lien", tuple(serials), done.serials)
    expect("LTV in bp", LTV_BP, done.ltv_bp)
    expect("break-even", BREAK_EVEN_FEN_PER_T, done.break_even_fen_per_t)
    return done


async def _ask(scene: Scene, lender: str, serials: Sequence[SerialRange]) -> PledgeState:
    """Asked by the lender's clerk with both signatures; what the accounts book made of it."""
    wanted = _pledge(scene, lender, tuple(serials))
    clerk = scene.operator(lender, "clerk")
    (position,) = scene.take_all(await scene.registry.register_pledges(clerk, [wanted]), BOOK)
    (done,) = await scene.until(
        f"pledge {wanted.lien}",
        lambda: scene.registry.pledges(clerk, [wanted.lien], position),
        lambda found: all(one.state != "requested" for one in found),
    )
    return done


def _pledge(scene: Scene, lender: str, serials: tuple[SerialRange, ...]) -> Pledge:
    now_ms = scene.clock.now_ms()
    statement: dict[str, Any] = {
        "asset": scene.ticket,
        "lien": f"l-{new_holder_id().removeprefix('h-')}",
        "loan_fen": EACH_LOAN_FEN,
        "matures_on": shanghai_day(now_ms + TERM_DAYS * DAY_MS),
        "pledgee": scene.holders[lender],
        "pledgor": scene.holders["group"],
        "programme": scene.holders["programme"],
        "quantity_t": PLEDGED_T,
    }
    blocks = [{"batch": one.batch, "first": one.first, "last": one.last} for one in serials]
    valuation = Valuation(PRICE_FEN_PER_T, "last trade", scene.traded_ms)
    signed = {
        "kind": "pledge",
        "levels": {"call_bp": CALL_BP, "enforcement_bp": 0, "warning_bp": 0},
        "notice": "",
        "rate_bp": RATE_BP,
        "serials": blocks,
        "valuation": {
            "price_fen_per_t": valuation.price_fen_per_t,
            "priced_at_ms": valuation.priced_ms,
            "source": valuation.source,
        },
        **statement,
    }
    return Pledge(
        scene.new_id(),
        serials=serials,
        rate_bp=RATE_BP,
        valuation=valuation,
        call_bp=CALL_BP,
        notice="",
        acts=(scene.sign("group", signed), scene.sign(lender, signed)),
        **statement,
    )


def _tell_lien(scene: Scene, lender: str, lien: PledgeState) -> None:
    blocks = ", ".join(f"{one.first:,} to {one.last:,}" for one in lien.serials)
    scene.say(f"{name_of(lender)}: lien {lien.lien}")
    scene.say(f"   {lien.pledged_t:,} t, serials {blocks}, for {shown(MONEY, EACH_LOAN_FEN)}")
    scene.figures.pledges.append(
        {
            "lender": lender,
            "lien": lien.lien,
            "quantity_t": lien.pledged_t,
            "serials": [[one.batch, one.first, one.last] for one in lien.serials],
            "loan_fen": EACH_LOAN_FEN,
            "value_fen": lien.value_fen,
            "ltv_bp": lien.ltv_bp,
            "break_even_fen_per_t": lien.break_even_fen_per_t,
            "requested_position": lien.requested_position,
            "registered_position": lien.ended_position,
            "entry_position": lien.entry_position,
        }
    )


def _tell_coverage(scene: Scene) -> None:
    value_fen = sum(lien.value_fen for lien in scene.liens.values())
    expect("value of both", PRICE_FEN, value_fen)
    cap_fen = value_fen * FIXED_CAP_BP // 10_000
    scene.say(
        f"{shown(MONEY, LOAN_FEN)} on {shown(MONEY, value_fen)}:"
        f" LTV {LTV_BP // 100}.{LTV_BP % 100:02d} %, break-even"
        f" {BREAK_EVEN_FEN_PER_T // 100}.{BREAK_EVEN_FEN_PER_T % 100:02d} CNY/t"
    )
    scene.say(
        f"a fixed cap of {FIXED_CAP_BP // 100} % would have refused it: at most"
        f" {shown(MONEY, cap_fen)}"
    )


async def sell_and_pledge_again(scene: Scene) -> None:
    """What is pledged lies in an account of its own: there is nothing left to sell or to pledge."""
    holder = scene.holders["group"]
    leg = Leg(Account(holder), Account(holder, "trading", MARKET), scene.ticket, QUANTITY_T)
    entry = Entry(scene.new_id(), (leg,))
    (outcome,) = await scene.books.post_entries(scene.operator("group"), [entry])
    refused = scene.refused(outcome, "INSUFFICIENT_BALANCE")
    _tell_lack(scene, f"to sell {QUANTITY_T:,} t", QUANTITY_T, refused.details)
    first = scene.liens[LENDERS[0]]
    again = await _ask(scene, LENDERS[1], first.serials)
    expect("state", "refused", again.state)
    expect("refused because", "INSUFFICIENT_BALANCE", again.refusal.reason)
    no = again.refusal
    scene.note_refusal(no.reason, no.message, no.details)
    _tell_lack(scene, "to pledge the first lender's to the second", PLEDGED_T, no.details)
    (block, *_) = first.serials
    liens = await scene.registry.serial_liens(scene.ticket, block.batch, block.first)
    expect("liens on a serial", [first.lien], [one.lien for one in liens])
    scene.say(f"anybody may ask: serial {block.first:,} lies under {first.lien}, and no other")


def _tell_lack(scene: Scene, what: str, needed_t: int, details: Any) -> None:
    expect("needed and available", (str(needed_t), "0"), (details["needed"], details["available"]))
    needed, available = int(details["needed"]), int(details["available"])
    scene.say(f"{what}: refused, needed {needed:,} t, available {available:,} t")


def cut(
    blocks: Sequence[SerialRange], quantity: int
) -> tuple[list[SerialRange], list[SerialRange]]:
    """The first `quantity` serials of some blocks, and what is left of them."""
    taken: list[SerialRange] = []
    left = list(blocks)
    while quantity > 0:
        block = left.pop(0)
        if block.amount > quantity:
            left.insert(0, SerialRange(block.batch, block.first + quantity, block.last))
            block = SerialRange(block.batch, block.first, block.first + quantity - 1)
        taken.append(block)
        quantity -= block.amount
    return taken, left
