"""The books looked at whole: every log mirrored, its leaves made again from the journal, the sums.

Also how fast what was recorded became proven. Positions, roots and sums are those of the folder as
it stands, not only of this telling.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.cells import set_cell_size

from cli.clients import OWNERS
from cli.mirror import mirror_log, read_entries
from cli.story.cast import AUDITOR, PLEDGED_T, QUANTITY_T, RETIRED_T
from cli.story.scene import Sample, Scene
from cli.telling import expect
from cli.trust import read_policy
from kernel.tlog.encoding import encode_base64
from kernel.tlog.merkle import Frontier, leaf_hash
from kernel.tlog.receipt import commitment, leaf_data
from kernel.tlog.states import STATE_BOOK

MIN_FOR_P50: Final = 5
MIN_FOR_P99: Final = 100
TITLE_COLUMNS: Final = 51  # with the figures beside them a line of 80


async def check_all(scene: Scene) -> None:
    """Positions without a gap, two ways to one root, sums of zero, no halt."""
    for book in OWNERS:
        await _check_log(scene, book)
    scene.say("in each: positions without a gap, every leaf made again, one root both ways")
    await _check_halts(scene)
    await _check_sums(scene)
    await _check_group(scene)
    await _follow_a_serial(scene)


async def _check_log(scene: Scene, book: str) -> None:
    """Mirror the log, then make its leaves again from the journal."""
    policy = read_policy(scene.workspace.policy_file)
    with tempfile.TemporaryDirectory(prefix="tanzhang-mirror-") as name:
        note = await scene.books.checkpoint(book)
        folder = Path(name)
        copy = await mirror_log(folder, note, policy, lambda path: scene.books.tile(book, path))
        expect(f"{book}: enough entries", True, copy.size > scene.last.get(book, 0))
        entries = read_entries(folder, copy.size)
        frontier, count = Frontier(), 0
        async for event in scene.books.read_events(AUDITOR, book):
            said = json.loads(event.record)["position"]
            expect(f"{book}: position in journal and record", (count,) * 2, (event.position, said))
            if count < copy.size:
                leaf = leaf_data(book, count, commitment(event.salt, event.record))
                expect(f"{book}: entry {count} of the log", next(entries), leaf)
                frontier.extend([leaf_hash(leaf)])
            count += 1
    root, again = encode_base64(copy.root), encode_base64(frontier.root())
    expect(f"{book}: root of the log, from the journal", root, again)
    scene.say(f"{book:<9} {copy.size:>7,} entries, root {root}")
    scene.figures.logs[book] = {
        "origin": copy.origin,
        "tree_size": copy.size,
        "root": root,
        "root_recomputed": again,
        "events": count,
    }


async def _check_halts(scene: Scene) -> None:
    status = {one.book: one.halt for one in await scene.books.status()}
    expect("logs the ledger keeps", {*OWNERS, STATE_BOOK}, set(status))
    expect("halted books", [], [book for book, halt in status.items() if halt])
    market = await scene.until(
        "an open market", scene.market.state, lambda state: state.accepts_orders
    )
    expect("reasons to stop the market", (), market.reasons)
    scene.say("no log is halted, the market takes orders")


async def _check_sums(scene: Scene) -> None:
    for total in await scene.books.totals(AUDITOR):
        expect(f"sum of {total.asset}", 0, total.sum)
        expect(f"accounts of {total.asset} below zero", 0, total.negative_accounts)
        scene.figures.totals.append(
            {
                "asset": total.asset,
                "sum": total.sum,
                "issued": total.issued,
                "retired": total.retired,
            }
        )
        if total.asset == scene.ticket:
            expect("issued, retired", (QUANTITY_T, RETIRED_T), (total.issued, total.retired))
    scene.say(
        f"{len(scene.figures.totals)} assets: every sum over all accounts is zero,"
        " none is below zero that may not be"
    )


async def _check_group(scene: Scene) -> None:
    found = {
        purpose: await scene.amount("group", scene.ticket, purpose)
        for purpose in ("available", "pledged", "retired")
    }
    expected = {
        "available": QUANTITY_T - PLEDGED_T - RETIRED_T,
        "pledged": PLEDGED_T,
        "retired": RETIRED_T,
    }
    expect("the group's tickets", expected, found)
    told = ", ".join(f"{quantity:,} t {purpose}" for purpose, quantity in found.items())
    scene.say(f"the group's {QUANTITY_T:,} t: {told}")


async def _follow_a_serial(scene: Scene) -> None:
    """The way of the first serial retired, from the forest to its end."""
    batch, first, _ = scene.figures.retirement["serials"][0]
    entry = scene.figures.retirement["entry_position"]
    moves = await scene.books.serial_history(AUDITOR, scene.ticket, batch, first, entry)
    way = [moves[0].debit.purpose, *(move.credit.purpose for move in moves)]
    expected = ["issued", "available", "trading", "trading", "available", "pledged", "available"]
    expect("the way of a serial", [*expected, "retired"], way)
    scene.say(f"serial {first}: {', '.join(way)}")


async def measure(scene: Scene) -> None:
    """From the answer "recorded" to a checkpoint that covers it, as the caller sees it."""
    scene.say(f"{_column('ms from recorded to proven')} {'n':>4} {'p50':>6} {'p99':>6} {'max':>6}")
    by_step: dict[str, list[Sample]] = {}
    for sample in scene.samples:
        by_step.setdefault(sample.step, []).append(sample)
    for title, samples in by_step.items():
        _tell_waits(scene, title, samples)
    _tell_waits(scene, "all", scene.samples)
    scene.say(f"p50 from {MIN_FOR_P50} samples on, p99 from {MIN_FOR_P99} on")


def _tell_waits(scene: Scene, title: str, samples: Sequence[Sample]) -> None:
    figures = summary([sample.wait_ms for sample in samples])
    scene.figures.proven_after_ms.append({"step": title, **figures})
    cells = " ".join(f"{_cell(figures[name]):>6}" for name in ("p50_ms", "p99_ms", "max_ms"))
    scene.say(f"{_column(title)} {figures['n']:>4} {cells}")


def _column(text: str) -> str:
    """As wide as the widest title; a Chinese character takes two columns."""
    return set_cell_size(text, TITLE_COLUMNS)


def _cell(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def summary(waits_ms: Sequence[int]) -> dict[str, Any]:
    """n and max always; a percentile only where there are samples enough for one."""
    ordered = sorted(waits_ms)
    return {
        "n": len(ordered),
        "p50_ms": percentile(ordered, 50) if len(ordered) >= MIN_FOR_P50 else None,
        "p99_ms": percentile(ordered, 99) if len(ordered) >= MIN_FOR_P99 else None,
        "max_ms": ordered[-1] if ordered else None,
    }


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile of sorted values, at least one."""
    return ordered[max(-(-len(ordered) * percent // 100), 1) - 1]
