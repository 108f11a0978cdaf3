"""The registry's book folded again: verified, issued, pledged, retired (domain 2.5, 2.6).

Its public facts are enough for issuances and retirements; pledges are shown to auditors alone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cli.audit.accounts import Range, ranges_of
from cli.audit.findings import Findings
from cli.audit.keys import Keys
from cli.audit.records import Opened

BOOK: Final = "registry"
PROPOSED, APPROVED, COMPLETED, REFUSED = "proposed", "approved", "completed", "refused"


class Reduction(msgspec.Struct):
    verified_t: int
    taken_t: int = 0


class Issuance(msgspec.Struct):
    asset: str
    batch: str
    ranges: list[Range]
    lots: list[tuple[str, int]]
    owners: list[tuple[str, int]]
    programme: str
    maker: str
    position: int
    stage: str = PROPOSED
    entry: int | None = None  # in the accounts book


class Lien(msgspec.Struct):
    """`ranges`: registered, less what was released or taken out; `amount` likewise."""

    asset: str
    pledgee: str
    pledgor: str
    position: int
    amount: int = 0
    ranges: list[Range] = []
    open: int = 0  # requests without an end
    answered: int = -1  # the last entry of the accounts book that it told of


class Told(msgspec.Struct):
    """A retirement as the registry tells of it."""

    position: int
    amount: int
    ranges: list[Range]


class RegistryBook(msgspec.Struct):
    keys: Keys
    reductions: dict[str, Reduction] = {}
    issuances: dict[str, Issuance] = {}
    liens: dict[str, Lien] = {}
    projects: int = 0
    programmes: int = 0
    retired_t: int = 0
    retirements: int = 0
    # Until the entry is found in the accounts book: by its position, holder and asset.
    told: dict[tuple[int, str, str], Told] = {}
    heard: int = -1  # the last entry of the accounts book that it answered in order

    def fold(self, event: Opened, findings: Findings) -> None:
        self.keys.fold(event, findings)
        handler = _FOLD.get(event.type)
        if handler is not None:
            handler(self, event, findings)

    def _programme_opened(self, event: Opened, findings: Findings) -> None:
        self.programmes += 1

    def _project_filed(self, event: Opened, findings: Findings) -> None:
        self.projects += 1

    def _reduction_verified(self, event: Opened, findings: Findings) -> None:
        body = event.body
        self.reductions[body["verification"]] = Reduction(body["quantity_t"])
        names = ("document", "period_first", "period_last", "project", "quantity_t")
        expected = {name: body[name] for name in (*names, "verification", "verifier")}
        subject = f"holder:{body['verifier']}"
        self._require_statement(event, subject, "verification-statement", expected, findings)

    def _require_statement(
        self,
        event: Opened,
        subject: str,
        kind: str,
        expected: dict[str, Any],
        findings: Findings,
    ) -> None:
        said = self.keys.statement(event, subject, kind)
        if said != {"kind": kind, **expected}:
            what = f"a {kind} of {subject} over this"
            findings.add(
                "ACT_MISSING", BOOK, event.position, what, "none" if said is None else said
            )

    # ---- issuances ------------------------------------------------------------------------------

    def _issuance_proposed(self, event: Opened, findings: Findings) -> None:
        body = event.body
        lots = [(one["verification"], one["quantity_t"]) for one in body["lots"]]
        owners = [(one["holder"], one["quantity_t"]) for one in body["owners"]]
        serials = body["last"] - body["first"] + 1
        for what, rows in (("lots", lots), ("owners", owners)):
            total = sum(amount for _, amount in rows)
            if total != serials:
                findings.add("ISSUANCE_AMOUNT", BOOK, event.position, f"{serials} in {what}", total)
        self.issuances[body["issuance"]] = Issuance(
            body["asset"],
            body["batch"],
            [(body["batch"], body["first"], body["last"])],
            lots,
            owners,
            body["programme"],
            event.record["actor"]["sub"],
            event.position,
        )

    def _issuance_approved(self, event: Opened, findings: Findings) -> None:
        issuance = self._issuance(event, findings)
        if issuance is None:
            return
        issuance.stage = APPROVED
        checker = event.record["actor"]["sub"]
        if checker == issuance.maker:
            findings.add(
                "TWO_PERSONS", BOOK, event.position, f"somebody else than {checker}", checker
            )
        self._take(event, issuance, findings)
        (batch, first, last), *_ = issuance.ranges
        said = self.keys.statement(event, f"authority:{issuance.programme}", "issuance-approval")
        wanted = (issuance.asset, batch, first, last, checker)
        got = said and tuple(said.get(n) for n in ("asset", "batch", "first", "last", "checker"))
        if got != wanted:
            what = f"an approval of {issuance.programme}'s authority over {wanted}"
            findings.add("ACT_MISSING", BOOK, event.position, what, got)

    def _take(self, event: Opened, issuance: Issuance, findings: Findings) -> None:
        """Never more than was verified (domain 2.5)."""
        for verification, amount in issuance.lots:
            reduction = self.reductions.get(verification)
            if reduction is None:
                findings.add(
                    "REDUCTION_UNKNOWN", BOOK, event.position, "a verified reduction", verification
                )
                continue
            reduction.taken_t += amount
            if reduction.taken_t > reduction.verified_t:
                what = f"at most {reduction.verified_t} t of {verification}"
                findings.add(
                    "ISSUANCE_OVER_APPROVAL", BOOK, event.position, what, reduction.taken_t
                )

    def _issuance_completed(self, event: Opened, findings: Findings) -> None:
        issuance = self._issuance(event, findings)
        if issuance is not None:
            issuance.stage = COMPLETED
            issuance.entry = _entry_of(event)

    def _issuance_refused(self, event: Opened, findings: Findings) -> None:
        issuance = self._issuance(event, findings)
        if issuance is None:
            return
        issuance.stage = REFUSED
        for verification, amount in issuance.lots:
            if verification in self.reductions:
                self.reductions[verification].taken_t -= amount

    def _issuance(self, event: Opened, findings: Findings) -> Issuance | None:
        name = event.body["issuance"]
        found = self.issuances.get(name)
        if found is None:
            findings.add("ISSUANCE_UNKNOWN", BOOK, event.position, "a proposed issuance", name)
        return found

    # ---- pledges --------------------------------------------------------------------------------

    def _pledge_requested(self, event: Opened, findings: Findings) -> None:
        body = event.body
        lien = Lien(body["asset"], body["pledgee"], body["pledgor"], event.position, open=1)
        self.liens[body["lien"]] = lien

    def _pledge_registered(self, event: Opened, findings: Findings) -> None:
        lien = self._lien(event, findings)
        if lien is not None:
            lien.ranges += ranges_of(event.body["serials"])
            lien.amount += _count(event.body["serials"])
            _answered(lien, event)

    def _release_requested(self, event: Opened, findings: Findings) -> None:
        lien = self._lien(event, findings)
        if lien is not None:
            lien.open += 1

    def _pledge_released(self, event: Opened, findings: Findings) -> None:
        self._taken_out(event, findings)

    def _pledge_overridden(self, event: Opened, findings: Findings) -> None:
        lien = self._taken_out(event, findings)
        if lien is not None:
            lien.open += 1  # it answers no request: _answered took one away
        self._hear(event)

    def _taken_out(self, event: Opened, findings: Findings) -> Lien | None:
        lien = self._lien(event, findings)
        if lien is None:
            return None
        gone = ranges_of(event.body["serials"])
        left = without(lien.ranges, gone)
        if _length(left) != _length(lien.ranges) - _length(gone):
            what = f"serials of lien {event.body['lien']}"
            findings.add("LIEN_SERIALS", BOOK, event.position, what, gone)
        lien.ranges = left
        lien.amount -= event.body["quantity_t"]
        _answered(lien, event)
        return lien

    def _request_refused(self, event: Opened, findings: Findings) -> None:
        lien = self._lien(event, findings)
        if lien is not None:
            lien.open -= 1

    def _lien(self, event: Opened, findings: Findings) -> Lien | None:
        name = event.body["lien"]
        found = self.liens.get(name)
        if found is None:
            findings.add("LIEN_UNKNOWN", BOOK, event.position, "a requested pledge", name)
        return found

    # ---- retirements ----------------------------------------------------------------------------

    def _units_retired(self, event: Opened, findings: Findings) -> None:
        body = event.body
        self.retirements += 1
        self.retired_t += body["quantity_t"]
        entry = _entry_of(event)
        if entry is None:
            findings.add("RETIREMENT_DIFFERS", BOOK, event.position, "an entry as cause", "none")
            return
        told = Told(event.position, body["quantity_t"], ranges_of(body["serials"]))
        self.told[entry, body["holder"], body["asset"]] = told
        self._hear(event)

    def _hear(self, event: Opened) -> None:
        entry = _entry_of(event)
        if entry is not None:
            self.heard = max(self.heard, entry)


def _answered(lien: Lien, event: Opened) -> None:
    lien.open -= 1
    entry = _entry_of(event)
    lien.answered = lien.answered if entry is None else max(lien.answered, entry)


def _entry_of(event: Opened) -> int | None:
    cause = event.cause
    return cause[1] if cause is not None and cause[0] == "accounts" else None


def _count(serials: list[dict[str, Any]]) -> int:
    return _length(ranges_of(serials))


def _length(ranges: list[Range]) -> int:
    return sum(last - first + 1 for _, first, last in ranges)


def joined(ranges: list[Range]) -> list[Range]:
    """In order, neighbours as one."""
    found: list[Range] = []
    for batch, first, last in sorted(ranges):
        if found and found[-1][0] == batch and found[-1][2] + 1 == first:
            found[-1] = (batch, found[-1][1], last)
        else:
            found.append((batch, first, last))
    return found


def without(ranges: list[Range], gone: list[Range]) -> list[Range]:
    """What is left of some ranges."""
    left = list(ranges)
    for batch, first, last in gone:
        cut: list[Range] = []
        for other, low, high in left:
            if other != batch or high < first or last < low:
                cut.append((other, low, high))
                continue
            if low < first:
                cut.append((other, low, first - 1))
            if last < high:
                cut.append((other, last + 1, high))
        left = cut
    return left


_FOLD: Final = {
    "ProgrammeOpened": RegistryBook._programme_opened,
    "ProjectFiled": RegistryBook._project_filed,
    "ReductionVerified": RegistryBook._reduction_verified,
    "IssuanceProposed": RegistryBook._issuance_proposed,
    "IssuanceApproved": RegistryBook._issuance_approved,
    "IssuanceCompleted": RegistryBook._issuance_completed,
    "IssuanceRefused": RegistryBook._issuance_refused,
    "PledgeRequested": RegistryBook._pledge_requested,
    "PledgeRegistered": RegistryBook._pledge_registered,
    "PledgeRefused": RegistryBook._request_refused,
    "ReleaseRequested": RegistryBook._release_requested,
    "PledgeReleased": RegistryBook._pledge_released,
    "ReleaseRefused": RegistryBook._request_refused,
    "PledgeOverridden": RegistryBook._pledge_overridden,
    "UnitsRetired": RegistryBook._units_retired,
}
