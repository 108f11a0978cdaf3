"""The report of a replay: what was asked, what became of it, what the services hold, what differs.

Everything but what stands under `run` is the same however often the replay is repeated on one data
folder. Figures of the services stand beside those of the source; nothing is called equal unseen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from cli.replay.vrod_plan import (
    DATASET,
    DefineAsset,
    DefineHolder,
    Instruction,
    Issue,
    Plan,
    Retire,
)
from cli.replay.vrod_rows import ISSUANCES_FILE, RETIREMENTS_FILE
from kernel.values import format_instant

if TYPE_CHECKING:
    from cli.clients import Balance, Movement
    from cli.replay.vrod_feed import Fed

SOURCE: Final = (
    "ACR tables in the form of the Berkeley Voluntary Registry Offsets Database v3 (2021), as kept"
    " in hyperledger-labs/blockchain-carbon-accounting (Apache-2.0)"
)
KEY_SENTENCE: Final = (
    "the issuances are approved by a key that this replay made for itself: it is ours, not ACR's,"
    " and proves nothing about ACR"
)
TIME_SENTENCE: Final = "business time is the source's day at 00:00 UTC: it gives no hour"
TOP_PROJECTS: Final = 10

Report = dict[str, Any]


def make_report(plan: Plan, fed: Fed) -> Report:
    """Plan and answers into one JSON value."""
    refused = _refused(plan, fed)
    accepted = [one for one in plan.instructions if fed.outcomes[one.key].accepted]
    repeated = sum(fed.outcomes[one.key].repeated for one in accepted)
    entries = sum(isinstance(one, Issue | Retire) for one in plan.instructions)
    return {
        "dataset": DATASET,
        "source": SOURCE,
        "files": {
            ISSUANCES_FILE: _file(ISSUANCES_FILE, plan.counts.issuance_rows, refused),
            RETIREMENTS_FILE: _file(RETIREMENTS_FILE, plan.counts.retirement_rows, refused),
        },
        "refused": refused,
        "recorded": {
            "holders": sum(isinstance(one, DefineHolder) for one in accepted),
            "assets": sum(isinstance(one, DefineAsset) for one in accepted),
            "issuances": sum(isinstance(one, Issue) for one in accepted),
            "retirements": sum(isinstance(one, Retire) for one in accepted),
        },
        "tonnes": _tonnes(plan, fed),
        "sums_not_zero": [one.asset for one in fed.totals if one.sum or one.negative_accounts],
        "projects": _projects(plan, fed),
        "blocks": _blocks(plan, fed.balances),
        "receipts": {
            "made": fed.receipts_made,
            "verified": fed.receipts_made - len(fed.receipts_refused),
            "refused": [
                {"position": position, "error": error} for position, error in fed.receipts_refused
            ],
        },
        "serials": [_history(plan, one, moves) for one, moves in fed.histories],
        "authority_key": fed.key_id,
        "choices": [*plan.choices, TIME_SENTENCE, KEY_SENTENCE],
        "not_known": list(plan.unchecked),
        "run": {
            "already_recorded": repeated,
            "newly_recorded": len(accepted) - repeated,
            "entries": entries,
            "posted_s": round(fed.posted_s, 3),
            "proven_s": round(fed.proven_s, 3),
            "entries_per_s_until_proven": round(entries / fed.proven_s) if fed.proven_s else None,
            "seconds": round(fed.total_s, 3),
            "stack_started_here": fed.started_here,
        },
    }


def agrees(report: Report) -> bool:
    """Source and services say the same, but for what was refused; and every receipt holds."""
    tonnes, receipts = report["tonnes"], report["receipts"]
    return (
        all(project["agrees"] for project in report["projects"])
        and tonnes["issued"]["agrees"]
        and tonnes["retired"]["agrees"]
        and not report["sums_not_zero"]
        and receipts["made"] == receipts["verified"] == report["recorded"]["retirements"]
    )


def _refused(plan: Plan, fed: Fed) -> list[dict[str, Any]]:
    """Rows that went nowhere: by the reader, by the plan, or by a rule of the books."""
    found = [
        {
            "file": one.file,
            "row": one.row,
            "by": "plan",
            "reason": one.reason,
            "message": one.message,
        }
        for one in plan.refused
    ]
    for one in plan.instructions:
        outcome = fed.outcomes[one.key]
        if not outcome.accepted:
            found.append(
                {
                    "file": _file_of(one),
                    "row": one.row,
                    "by": "service",
                    "reason": outcome.reason,
                    "message": outcome.message,
                }
            )
    return sorted(found, key=lambda one: (str(one["file"]), one["row"], str(one["reason"])))


def _file_of(one: Instruction) -> str:
    return RETIREMENTS_FILE if isinstance(one, Retire) else ISSUANCES_FILE


def _file(name: str, rows: int, refused: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    by_reason: defaultdict[str, list[int]] = defaultdict(list)
    for one in refused:
        if one["file"] == name:
            by_reason[one["reason"]].append(one["row"])
    bad = {row for numbers in by_reason.values() for row in numbers}
    return {
        "rows": rows,
        "accepted": rows - len(bad),
        "refused": len(bad),
        "refused_by_reason": {reason: by_reason[reason] for reason in sorted(by_reason)},
    }


def _refused_t(plan: Plan, fed: Fed, kind: type[Issue] | type[Retire]) -> dict[str, int]:
    """Planned tonnes that a service refused, by asset."""
    tonnes: defaultdict[str, int] = defaultdict(int)
    for one in plan.instructions:
        if isinstance(one, kind) and not fed.outcomes[one.key].accepted:
            tonnes[one.asset] += one.last - one.first + 1
    return tonnes


def _tonnes(plan: Plan, fed: Fed) -> dict[str, Any]:
    def compare(source_t: int, service_t: int, refused_t: int) -> dict[str, Any]:
        return {
            "source_t": source_t,
            "service_t": service_t,
            "refused_t": refused_t,
            "agrees": source_t == service_t + refused_t,
        }

    return {
        "issued": compare(
            sum(plan.issued_t.values()),
            sum(one.issued for one in fed.totals),
            sum(_refused_t(plan, fed, Issue).values()),
        ),
        "retired": compare(
            sum(plan.retired_t.values()),
            sum(one.retired for one in fed.totals),
            sum(_refused_t(plan, fed, Retire).values()),
        ),
        "in_circulation_t": sum(one.in_circulation for one in fed.totals),
    }


def _projects(plan: Plan, fed: Fed) -> list[dict[str, Any]]:
    """Per project, the source's tonnes beside the services': equal but for what was refused."""
    assets: defaultdict[str, list[str]] = defaultdict(list)
    for one in plan.instructions:
        if isinstance(one, DefineAsset):
            assets[one.project].append(one.asset)
    totals = {one.asset: one for one in fed.totals}
    not_issued, not_retired = _refused_t(plan, fed, Issue), _refused_t(plan, fed, Retire)
    found = []
    for project, source_issued_t in plan.issued_t.items():
        known = [totals[asset] for asset in assets[project] if asset in totals]
        row = {
            "source_issued_t": source_issued_t,
            "issued_t": sum(one.issued for one in known),
            "refused_issued_t": sum(not_issued[asset] for asset in assets[project]),
            "source_retired_t": plan.retired_t.get(project, 0),
            "retired_t": sum(one.retired for one in known),
            "refused_retired_t": sum(not_retired[asset] for asset in assets[project]),
        }
        issued = row["issued_t"] + row["refused_issued_t"]
        retired = row["retired_t"] + row["refused_retired_t"]
        same = (row["source_issued_t"], row["source_retired_t"]) == (issued, retired)
        found.append({"project": project, **row, "agrees": same})
    return found


def _blocks(plan: Plan, balances: Iterable[Balance]) -> dict[str, int]:
    """How far the retirements have split the batches."""
    blocks: defaultdict[str, int] = defaultdict(int)
    for one in balances:
        blocks[one.account.purpose] += len(one.serials)
    return {
        "batches_issued": plan.counts.batches,
        "blocks_at_end": sum(blocks.values()),
        "of_them_available": blocks["available"],
        "of_them_retired": blocks["retired"],
    }


def _history(plan: Plan, one: Retire, moves: Iterable[Movement]) -> dict[str, Any]:
    """The way of one serial."""
    return {
        "asset": one.asset,
        "batch": one.batch,
        "serial": one.first,
        "retired_in_row": one.row,
        "beneficiary": one.account_holder,
        "moves": [
            {
                "on": format_instant(move.on_ms)[:10],
                "position": move.position,
                "from": move.debit.purpose,
                "to": move.credit.purpose,
            }
            for move in moves
        ],
    }


def show(report: Report) -> None:
    """The report for people: figures, the largest projects, what was refused, what was chosen."""
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    say(f"data: {report['source']}")
    for name, file in report["files"].items():
        say(
            f"{name}: {file['rows']:,} rows, {file['accepted']:,} accepted,"
            f" {file['refused']:,} refused"
        )
    for one in report["refused"]:
        say(f"  {one['file']} row {one['row']}: {one['reason']}: {one['message']}")
    for word in ("issued", "retired"):
        tonnes = report["tonnes"][word]
        verdict = "agree" if tonnes["agrees"] else "DO NOT AGREE"
        say(
            f"{word}: source {tonnes['source_t']:,} t, services {tonnes['service_t']:,} t,"
            f" refused {tonnes['refused_t']:,} t: they {verdict}"
        )
    console.print(_table(report))
    blocks, receipts, run = report["blocks"], report["receipts"], report["run"]
    say(
        f"{blocks['batches_issued']:,} batches are {blocks['blocks_at_end']:,} blocks now:"
        f" {blocks['of_them_available']:,} available, {blocks['of_them_retired']:,} retired"
    )
    say(f"receipts of retirements: {receipts['made']:,} made, {receipts['verified']:,} verified")
    for one in report["serials"]:
        way = ", ".join(f"{move['on']} {move['from']} -> {move['to']}" for move in one["moves"])
        say(f"serial {one['serial']} of {one['batch']}: {way}")
    for line in report["choices"]:
        say(f"chosen: {line}")
    for line in report["not_known"]:
        say(f"not known: {line}")
    say(
        f"{run['entries']:,} entries in {run['posted_s']} s, proven after {run['proven_s']} s;"
        f" {run['already_recorded']:,} items had been recorded before,"
        f" {run['newly_recorded']:,} are new; {run['seconds']} s in all"
    )


def _table(report: Report) -> Table:
    shown = min(TOP_PROJECTS, len(report["projects"]))
    table = Table(title=f"the {shown} largest of {len(report['projects'])} projects, in t")
    columns = ("source_issued_t", "issued_t", "source_retired_t", "retired_t")
    table.add_column("project")
    for name in columns:
        table.add_column(name.removesuffix("_t").replace("_", " "), justify="right")
    table.add_column("agree")
    largest = sorted(report["projects"], key=lambda one: -one["source_issued_t"])[:TOP_PROJECTS]
    for one in largest:
        numbers = (f"{one[name]:,}" for name in columns)
        table.add_row(one["project"], *numbers, "yes" if one["agrees"] else "NO")
    return table
