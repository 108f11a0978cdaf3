"""The books held against one another: what the registry says was issued, pledged and retired, and
what the accounts book did.

The logs are not cut at one moment: what one book cannot have heard of yet is pending and no
difference. Only with both books opened; pending things are looked at again in the next run.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cli.audit.accounts import AccountsBook
from cli.audit.findings import Findings
from cli.audit.registry import APPROVED, COMPLETED, Issuance, RegistryBook, joined

ACCOUNTS: Final = "accounts"
REGISTRY: Final = "registry"


class Pending(msgspec.Struct):
    """How many of each wait for what the other book has not told yet."""

    issuances: int = 0
    retirements: int = 0
    liens: int = 0


def compare(
    accounts: AccountsBook,
    registry: RegistryBook,
    sizes: tuple[int, int],
    findings: Findings,
) -> Pending:
    """`sizes`: how many events of the accounts book and of the registry were looked at."""
    pending = Pending()
    _issuances(accounts, registry, sizes, findings, pending)
    _retirements(accounts, registry, sizes[0], findings, pending)
    _liens(accounts, registry, sizes, findings, pending)
    return pending


def _issuances(
    accounts: AccountsBook,
    registry: RegistryBook,
    sizes: tuple[int, int],
    findings: Findings,
    pending: Pending,
) -> None:
    said = {(one.asset, one.batch): one for one in registry.issuances.values()}
    for key, issue in accounts.issues.items():
        issuance = said.get(key)
        if issuance is None or issuance.stage not in (APPROVED, COMPLETED):
            if issue.cause is not None and issue.cause[1] >= sizes[1]:
                pending.issuances += 1
            elif issuance is not None or not issue.approved:
                what = f"an approved issuance of {key[0]} {key[1]}"
                found = "none" if issuance is None else issuance.stage
                findings.add("ISSUED_WITHOUT_APPROVAL", ACCOUNTS, issue.position, what, found)
            continue
        if (joined(issue.ranges), sorted(issue.owners)) != _approved(issuance):
            findings.add(
                *("ISSUANCE_DIFFERS", ACCOUNTS, issue.position),
                *(_approved(issuance), (joined(issue.ranges), sorted(issue.owners))),
            )
    for issuance in said.values():
        if issuance.stage in (APPROVED, COMPLETED):
            if (issuance.asset, issuance.batch) in accounts.issues:
                continue
            if issuance.stage == APPROVED or (issuance.entry or 0) >= sizes[0]:
                pending.issuances += 1
            else:
                what = f"an entry that issues {issuance.asset} {issuance.batch}"
                findings.add("ISSUANCE_NOT_CARRIED_OUT", REGISTRY, issuance.position, what, "none")


def _approved(issuance: Issuance) -> tuple[list[tuple[str, int, int]], list[tuple[str, int]]]:
    return joined(issuance.ranges), sorted(issuance.owners)


def _retirements(
    accounts: AccountsBook, registry: RegistryBook, size: int, findings: Findings, pending: Pending
) -> None:
    """What agrees is taken out of both: only what is open, or differs, stays in memory."""
    for key, told in list(registry.told.items()):
        entry, holder, asset = key
        done = accounts.retirements.get(key)
        where = f"an entry at {entry} that retires {told.amount} {asset} of {holder}"
        if done is None and entry >= size:
            pending.retirements += 1
        elif done is None:
            findings.add("RETIREMENT_WITHOUT_ENTRY", REGISTRY, told.position, where, "none")
        elif (done.amount, joined(done.ranges)) != (told.amount, joined(told.ranges)):
            found = f"{done.amount} {joined(done.ranges)}"
            what = f"{where}: {joined(told.ranges)}"
            findings.add("RETIREMENT_DIFFERS", REGISTRY, told.position, what, found)
        else:
            del registry.told[key], accounts.retirements[key]
    for (entry, holder, asset), done in accounts.retirements.items():
        if (entry, holder, asset) in registry.told:
            continue
        if entry > registry.heard:
            pending.retirements += 1
            continue
        what = f"the registry to tell of {done.amount} {asset} of {holder}"
        findings.add("RETIREMENT_NOT_TOLD", ACCOUNTS, entry, what, "nothing")


def _liens(
    accounts: AccountsBook,
    registry: RegistryBook,
    sizes: tuple[int, int],
    findings: Findings,
    pending: Pending,
) -> None:
    pledged = accounts.pledged()
    for name in sorted(pledged.keys() | registry.liens.keys()):
        lien = registry.liens.get(name)
        rows = pledged.get(name, [])
        there = joined([one for _, _, ranges in rows for one in ranges])
        amount = sum(row[1] for row in rows)
        said = ([], 0) if lien is None else (joined(lien.ranges), lien.amount)
        assets = {row[0] for row in rows} - {"" if lien is None else lien.asset}
        if (there, amount) == said and not assets:
            continue
        if _under_way(accounts, registry, name, sizes):
            pending.liens += 1
            continue
        at = accounts.lien_moved_at.get(name)
        what = f"lien {name}: {said[1]} {said[0]}"
        findings.add("PLEDGE_DIFFERS", ACCOUNTS, at, what, f"{amount} {there} of {assets or ''}")


def _under_way(
    accounts: AccountsBook, registry: RegistryBook, name: str, sizes: tuple[int, int]
) -> bool:
    """One of the books has not heard yet of what the other did with this lien."""
    if accounts.lien_asked_at.get(name, -1) >= sizes[1]:
        return True  # the registry's own event is not opened yet
    lien = registry.liens.get(name)
    if lien is None:
        return False
    told_of_order = accounts.lien_ordered_at.get(name, -1) <= registry.heard
    return lien.open > 0 or lien.answered >= sizes[0] or not told_of_order
