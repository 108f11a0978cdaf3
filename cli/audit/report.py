"""The report of an audit: for programs as JSON (docs/reference/audit.md), for people in lines."""

from __future__ import annotations

from typing import Final

import msgspec

from cli.audit.accounts import AccountsBook, Range
from cli.audit.crossing import Pending
from cli.audit.findings import Difference, Findings
from cli.audit.kept import Kept
from cli.audit.logs import LogReport
from cli.audit.registry import COMPLETED

VERSION: Final = 1
MAX_LISTED: Final = 1000  # batches and liens each; totals are of all of them
MAX_TOLD: Final = 20  # differences in the lines for people

# The order of a balance sheet: what came into being, where it is, where it ended.
PURPOSES: Final = (
    *("issued", "external", "available", "trading", "held", "pledged", "custody", "buffer"),
    *("immobilised", "clearing", "fees", "carried_over"),
    *("surrendered", "retired", "cancelled", "expired"),
)


class BookReport(msgspec.Struct):
    """What was opened of a book: `events` by type, out of `tree_size` entries."""

    book: str
    entries: int
    opened: int
    events: dict[str, int]
    acts_verified: int


class AssetReport(msgspec.Struct):
    """Sums over all accounts, by purpose, in the asset's unit; together zero."""

    asset: str
    unit: str
    accounts: int
    purposes: dict[str, int]


class BatchReport(msgspec.Struct):
    """A batch, and how many of its serials are where."""

    asset: str
    batch: str
    issued: int
    purposes: dict[str, int]


class LienReport(msgspec.Struct):
    lien: str
    asset: str
    amount: int
    serials: list[Range]


class RegistryReport(msgspec.Struct):
    programmes: int
    projects: int
    reductions: int
    verified_t: int
    issuances: int
    issued_t: int
    retirements: int
    retired_t: int


class StatesReport(msgspec.Struct):
    """Entries of the state log: looked at in this run, made again, held to no book until now."""

    looked_at: int
    serials_made_again: int
    balances_made_again: int
    not_compared: int


class Report(msgspec.Struct, kw_only=True):
    v: int = VERSION
    ok: bool
    source: str
    policy: str  # its fingerprint: whom this verdict trusts
    opened_as: str  # public or auditor
    logs: list[LogReport]
    books: list[BookReport]
    registry: RegistryReport | None = None  # where anything of its book was opened
    assets: list[AssetReport]
    batches: list[BatchReport]
    liens: list[LienReport]
    states: StatesReport
    overrides: list[dict[str, str | int]]
    pending: Pending
    differences: list[Difference]
    differences_by_rule: dict[str, int]


def registry_report(kept: Kept) -> RegistryReport:
    book = kept.registry
    issued = [one for one in book.issuances.values() if one.stage == COMPLETED]
    return RegistryReport(
        programmes=book.programmes,
        projects=book.projects,
        reductions=len(book.reductions),
        verified_t=sum(one.verified_t for one in book.reductions.values()),
        issuances=len(issued),
        issued_t=sum(amount for one in issued for _, amount in one.owners),
        retirements=book.retirements,
        retired_t=book.retired_t,
    )


def asset_reports(accounts: AccountsBook) -> list[AssetReport]:
    counts: dict[str, int] = {}
    for _, _, _, asset in accounts.balances:
        counts[asset] = counts.get(asset, 0) + 1
    return [
        AssetReport(
            asset,
            accounts.assets[asset].unit if asset in accounts.assets else "",
            counts.get(asset, 0),
            in_order(sums),
        )
        for asset, sums in sorted(accounts.by_purpose().items())
    ]


def batch_reports(accounts: AccountsBook) -> list[BatchReport]:
    found = []
    for (asset, batch), places in sorted(accounts.places.items())[:MAX_LISTED]:
        sums: dict[str, int] = {}
        for first, last, account in places.all():
            sums[account[1]] = sums.get(account[1], 0) + last - first + 1
        issue = accounts.issues.get((asset, batch))
        issued = 0 if issue is None else issue.amount
        found.append(BatchReport(asset, batch, issued, in_order(sums)))
    return found


def lien_reports(accounts: AccountsBook) -> list[LienReport]:
    return [
        LienReport(lien, asset, amount, ranges)
        for lien, rows in sorted(accounts.pledged().items())[:MAX_LISTED]
        for asset, amount, ranges in rows
    ]


def in_order(sums: dict[str, int]) -> dict[str, int]:
    return {purpose: sums[purpose] for purpose in PURPOSES if sums.get(purpose)}


def differences(*found: Findings) -> tuple[list[Difference], dict[str, int]]:
    by_rule: dict[str, int] = {}
    for one in found:
        for rule, count in one.by_rule.items():
            by_rule[rule] = by_rule.get(rule, 0) + count
    return [one for part in found for one in part.kept], dict(sorted(by_rule.items()))


# ---- for people ---------------------------------------------------------------------------------


def lines_of(report: Report) -> list[str]:
    lines = [f"{report.source}, by the policy {report.policy[:16]}, opened as {report.opened_as}"]
    for log in report.logs:
        grown = "" if log.earlier_tree_size is None else f", grown from {log.earlier_tree_size}"
        by = f", cosigned by {', '.join(log.cosigners)}" if log.cosigners else ", no witness"
        lines.append(f"{log.origin}: {log.tree_size} entries{grown}{by}")
        lines.append(f"  root {log.root}, computed again from the entries")
    for book in report.books:
        acts = f", {book.acts_verified} signatures of institutions" if book.acts_verified else ""
        lines.append(f"{book.book}: {book.opened} of {book.entries} events opened{acts}")
    lines += [*_registry_lines(report), *_asset_lines(report), *_state_lines(report)]
    pending = report.pending
    if waits := pending.issuances + pending.retirements + pending.liens:
        lines.append(f"{waits} things wait for what the other book has not told yet")
    for override in report.overrides:
        lines.append(
            f"let pass by two persons: {override['rule']} at {override['book']}"
            f" {override['position']}"
        )
    return [*lines, *_difference_lines(report)]


def _registry_lines(report: Report) -> list[str]:
    if (found := report.registry) is None:
        return []
    return [
        f"registry: {found.projects} projects, {found.verified_t} t verified,"
        f" {found.issued_t} t issued in {found.issuances} issuances,"
        f" {found.retired_t} retired in {found.retirements} retirements"
    ]


def _asset_lines(report: Report) -> list[str]:
    lines = []
    for asset in report.assets:
        sums = ", ".join(f"{purpose} {amount}" for purpose, amount in asset.purposes.items())
        lines.append(f"{asset.asset}: {sums or 'nothing'} {asset.unit}".rstrip())
    if report.liens:
        amount = sum(one.amount for one in report.liens)
        lines.append(f"{amount} under {len(report.liens)} liens")
    return lines


def _state_lines(report: Report) -> list[str]:
    found = report.states
    left = [f"state: {found.not_compared} entries are held to no book"]
    if not found.looked_at:
        return left if found.not_compared else []
    return [
        f"state: {found.looked_at} entries; the serial map made again of"
        f" {found.serials_made_again}, the balance map of {found.balances_made_again}",
        *(left if found.not_compared else []),
    ]


def _difference_lines(report: Report) -> list[str]:
    if report.ok:
        return ["no difference"]
    count = sum(report.differences_by_rule.values())
    lines = [f"{count} {'difference' if count == 1 else 'differences'}:"]
    for one in report.differences[:MAX_TOLD]:
        place = one.book if one.position is None else f"{one.book} {one.position}"
        lines.append(f"  {one.rule} at {place}: expected {one.expected}, got {one.actual}")
    if count > MAX_TOLD:
        lines.append(f"  and {count - MAX_TOLD} more: --json has them")
    return lines
