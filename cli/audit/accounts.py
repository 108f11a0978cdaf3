"""The accounts book folded again: who has what, and where every serial is (domain 2.1 to 2.4, 2.6).

Every event with `legs` moves value, whatever its type: nothing else is needed. What a leg says is
carried out even where it breaks a rule, so that one lie does not become a hundred differences.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cli.audit.findings import Findings
from cli.audit.keys import Keys
from cli.audit.places import Account, Places
from cli.audit.records import Opened

BOOK: Final = "accounts"
MAY_BE_NEGATIVE: Final = frozenset({"issued", "external"})
TERMINAL: Final = frozenset({"surrendered", "retired", "cancelled", "expired"})

Held = tuple[str, str, str, str]  # holder, purpose, ref, asset
Range = tuple[str, int, int]  # batch, first, last


class Asset(msgspec.Struct):
    unit: str
    serialised: bool
    programme: str


class Issue(msgspec.Struct):
    """Serials that came into being, and where."""

    position: int
    amount: int
    ranges: list[Range]
    owners: list[tuple[str, int]]
    # The registry's event that asked for it; or None, by the authority's signed approval alone.
    cause: tuple[str, int] | None
    approved: bool


class Retired(msgspec.Struct):
    """What one entry retired of one asset for one holder."""

    amount: int
    ranges: list[Range]


class AccountsBook(msgspec.Struct):
    """All that is kept of the book; plain values."""

    keys: Keys
    assets: dict[str, Asset] = {}
    balances: dict[Held, int] = {}
    places: dict[tuple[str, str], Places] = {}  # by asset and batch
    issues: dict[tuple[str, str], Issue] = {}
    # Until the registry has told of them (crossing.py).
    retirements: dict[tuple[int, str, str], Retired] = {}  # by position, holder and asset
    # The last event that moved something under a lien; the registry's event that asked for it; the
    # last one that nobody asked the registry for: an order of an authority, of which it hears.
    lien_moved_at: dict[str, int] = {}
    lien_asked_at: dict[str, int] = {}
    lien_ordered_at: dict[str, int] = {}
    entries: int = 0

    def fold(self, event: Opened, findings: Findings) -> None:
        self.keys.fold(event, findings)
        body = event.body
        if event.type == "AssetDefined":
            self.assets[body["asset"]] = Asset(body["unit"], body["serialised"], body["programme"])
        legs = body.get("legs")
        if legs:
            self.entries += 1
            self._move(event, legs, findings)

    def _move(self, event: Opened, legs: list[dict[str, Any]], findings: Findings) -> None:
        balances = self.balances
        touched: list[Held] = []
        for leg in legs:
            amount, asset = leg["amount"], leg["asset"]
            source, target = account_of(leg["debit"]), account_of(leg["credit"])
            if type(amount) is not int or amount <= 0:
                findings.add("AMOUNT", BOOK, event.position, "an amount above 0", amount)
                continue
            if source[1] in TERMINAL:
                what = f"{source[1]} units that stay where they are"
                findings.add("TERMINAL_MOVED", BOOK, event.position, what, _words(leg))
            here, there = (*source, asset), (*target, asset)
            balances[here] = balances.get(here, 0) - amount
            balances[there] = balances.get(there, 0) + amount
            touched += (here, there)
            if leg["serials"] or source[1] not in MAY_BE_NEGATIVE:
                self._move_serials(event, leg, source, target, findings)
            if target[1] == "retired":
                self._retire(event.position, leg, target)
            for account in (source, target):
                if account[1] == "pledged":
                    self._lien_moved(account[2], event)
        for one in touched:
            left = balances.get(one)
            if left is not None and left < 0 and one[1] not in MAY_BE_NEGATIVE:
                findings.add("NEGATIVE_BALANCE", BOOK, event.position, f"0 or more in {one}", left)
            elif left == 0 and one[1] != "pledged":  # states show that a lien is over
                del balances[one]
        if legs[0]["debit"]["purpose"] == "issued":
            self._issue(event, legs, findings)

    def _lien_moved(self, lien: str, event: Opened) -> None:
        self.lien_moved_at[lien] = event.position
        cause = event.cause
        self.lien_asked_at[lien] = cause[1] if cause is not None and cause[0] == "registry" else -1
        if event.type == "TransferPosted":
            self.lien_ordered_at[lien] = event.position

    def _move_serials(
        self,
        event: Opened,
        leg: dict[str, Any],
        source: Account,
        target: Account,
        findings: Findings,
    ) -> None:
        asset = self.assets.get(leg["asset"])
        if asset is None:
            findings.add("ASSET_UNKNOWN", BOOK, event.position, "a defined asset", leg["asset"])
            return
        ranges = ranges_of(leg["serials"])
        count = sum(last - first + 1 for _, first, last in ranges)
        expected = leg["amount"] if asset.serialised else 0
        if count != expected:
            findings.add("SERIALS_COUNT", BOOK, event.position, f"{expected} serials", count)
        for batch, first, last in ranges:
            if not 1 <= first <= last:
                findings.add("SERIALS_COUNT", BOOK, event.position, "1 <= first <= last", ranges)
                continue
            places = self.places.setdefault((leg["asset"], batch), Places())
            wrong = places.move(first, last, None if source[1] == "issued" else source, target)
            for low, high, where in wrong:
                rule = "SERIAL_TWICE" if source[1] == "issued" else "SERIAL_NOT_THERE"
                wanted = "nowhere yet" if source[1] == "issued" else f"in {source}"
                found = "nowhere" if where is None else f"in {where}"
                what = f"{leg['asset']} {batch} {low}..{high} {wanted}"
                findings.add(rule, BOOK, event.position, what, found)

    def _issue(self, event: Opened, legs: list[dict[str, Any]], findings: Findings) -> None:
        for leg in legs:
            asset = leg["asset"]
            ranges = ranges_of(leg["serials"])
            if not ranges:  # nothing would tell that it was issued
                findings.add("SERIALS_COUNT", BOOK, event.position, f"serials of {asset}", "none")
                continue
            issue = self.issues.get((asset, ranges[0][0]))
            if issue is None or issue.position != event.position:
                if issue is not None:
                    what = f"{asset} {ranges[0][0]} issued once, at {issue.position}"
                    findings.add("ISSUED_TWICE", BOOK, event.position, what, "again")
                issue = Issue(event.position, 0, [], [], event.cause, self._approved(event, asset))
                self.issues[asset, ranges[0][0]] = issue
            issue.amount += leg["amount"]
            issue.ranges += ranges
            issue.owners.append((leg["credit"]["holder"], leg["amount"]))

    def _approved(self, event: Opened, asset: str) -> bool:
        """With the authority's own signed approval in the entry."""
        known = self.assets.get(asset)
        if known is None:
            return False
        subject = f"authority:{known.programme}"
        return self.keys.statement(event, subject, "issuance-approval") is not None

    def _retire(self, position: int, leg: dict[str, Any], target: Account) -> None:
        key = (position, target[0], leg["asset"])
        retired = self.retirements.setdefault(key, Retired(0, []))
        retired.amount += leg["amount"]
        retired.ranges += ranges_of(leg["serials"])

    # ---- sums -----------------------------------------------------------------------------------

    def check_sums(self, findings: Findings) -> None:
        """Over all accounts of an asset: zero; and a batch has as many serials as were issued."""
        sums: dict[str, int] = {}
        for (_, _, _, asset), amount in self.balances.items():
            sums[asset] = sums.get(asset, 0) + amount
        for asset, total in sums.items():
            if total:
                findings.add("SUM_NOT_ZERO", BOOK, None, f"{asset}: 0 over all accounts", total)
        for (asset, batch), places in self.places.items():
            issue = self.issues.get((asset, batch))
            issued = 0 if issue is None else issue.amount
            there = sum(last - first + 1 for first, last, _ in places.all())
            if there != issued:
                what = f"{asset} {batch}: {issued} serials, as issued"
                findings.add("BATCH_COUNT", BOOK, None, what, there)
        self._check_counts(findings)

    def _check_counts(self, findings: Findings) -> None:
        """Of a serialised asset each account's balance is the number of its serials."""
        counts: dict[Held, int] = {}
        for (asset, _), places in self.places.items():
            for first, last, account in places.all():
                held = (*account, asset)
                counts[held] = counts.get(held, 0) + last - first + 1
        for held, amount in self.balances.items():
            known = self.assets.get(held[3])
            if known is None or not known.serialised or held[1] == "issued":
                continue
            if counts.get(held, 0) != amount:
                findings.add(
                    "BALANCE_DIFFERS", BOOK, None, f"{counts.get(held, 0)} in {held}", amount
                )

    def by_purpose(self) -> dict[str, dict[str, int]]:
        """Asset to purpose to amount."""
        found: dict[str, dict[str, int]] = {asset: {} for asset in self.assets}
        for (_, purpose, _, asset), amount in self.balances.items():
            sums = found.setdefault(asset, {})
            sums[purpose] = sums.get(purpose, 0) + amount
        return found

    def pledged(self) -> dict[str, list[tuple[str, int, list[Range]]]]:
        """Lien to what lies under it: asset, amount, ranges in order."""
        found: dict[str, list[tuple[str, int, list[Range]]]] = {}
        for (_, purpose, lien, asset), amount in self.balances.items():
            if purpose == "pledged":
                found.setdefault(lien, []).append((asset, amount, []))
        for (asset, batch), places in self.places.items():
            for first, last, account in places.all():
                if account[1] == "pledged":
                    for row in found.get(account[2], ()):
                        if row[0] == asset:
                            row[2].append((batch, first, last))
        return found


def account_of(fields: dict[str, str]) -> Account:
    return fields["holder"], fields["purpose"], fields["ref"]


def ranges_of(serials: list[dict[str, Any]]) -> list[Range]:
    return [(one["batch"], one["first"], one["last"]) for one in serials]


def _words(leg: dict[str, Any]) -> str:
    moved = " ".join(f"{batch} {first}..{last}" for batch, first, last in ranges_of(leg["serials"]))
    to = "/".join(account_of(leg["credit"]))
    return f"{leg['amount']} {leg['asset']} to {to} {moved}".strip()
