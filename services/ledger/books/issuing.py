"""The registry's first half: projects through their steps, verified reductions, issuances.

Issuance never exceeds what was verified, and one site has one claim for a period (domain 2.5).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import date

from kernel.record import RawRecord
from kernel.values import Actor
from services.ledger.books.crossings import REGISTRY, At, Crossings, Move, canonical, sums
from services.ledger.books.crossings import Asked as AskedEntry
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.directory import acts_of
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds
from services.ledger.books.registry_events import (
    ApprovalStep,
    IssuanceApproved,
    IssuanceCompleted,
    IssuanceProposed,
    IssuanceRefused,
    ProgrammeOpened,
    ProjectAdvanced,
    ProjectFiled,
    ReductionVerified,
    Terms,
    TermsSet,
)
from services.ledger.books.serials import Range
from services.ledger.books.terms import Timeline


@dataclass(slots=True)
class Project:
    filed: ProjectFiled
    last_day: date  # of the filing, then of the last step
    steps_done: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Reduction:
    """`taken_t`: issued, or approved to be."""

    project: str
    owner: str
    programme: str
    verified_t: int
    taken_t: int = 0


@dataclass(slots=True)
class Issuance:
    """`asked_at` None: it waits for its checker."""

    proposed: IssuanceProposed
    maker: Actor
    asked_at: At | None = None


@dataclass
class Claims:
    """Which periods of a site are claimed, in whichever programme."""

    by_site: dict[str, list[tuple[date, date, str]]] = field(default_factory=dict)

    def check(self, site: str, first: date, last: date) -> None:
        for begin, end, verification in self.by_site.get(_site_key(site), ()):
            if begin <= last and first <= end:
                wanted = f"a period of {site} that nobody claims"
                raise RuleBroken("REDUCTION_CLAIMED", wanted, f"{begin}..{end} by {verification}")

    def add(self, site: str, first: date, last: date, verification: str) -> None:
        self.by_site.setdefault(_site_key(site), []).append((first, last, verification))


def _site_key(site: str) -> str:
    """Width, case and spaces do not make another place of it."""
    return " ".join(unicodedata.normalize("NFKC", site).casefold().split())


class Issuing:
    """Programmes, projects, reductions and what is issued on them."""

    def __init__(self, keys: AdmittedKeys, crossings: Crossings) -> None:
        self._keys = keys
        self._crossings = crossings
        self.terms: dict[str, Timeline[Terms]] = {}
        self._projects: dict[str, Project] = {}
        self._reductions: dict[str, Reduction] = {}
        self._claims = Claims()
        self._issuances: dict[str, Issuance] = {}  # those without an end
        self._named: set[str] = set()  # issuances there ever were
        self._batches: set[tuple[str, str]] = set()

    def terms_of(self, programme: str, raw: RawRecord) -> Terms:
        """In force at the business time of an event."""
        timeline = self.terms.get(programme)
        if timeline is None:
            raise RuleBroken("PROGRAMME_KNOWN", "an opened programme", programme)
        return timeline.at(instant_ms(raw.on))

    # ---- checking -------------------------------------------------------------------------------

    def check_programme(self, raw: RawRecord, event: ProgrammeOpened) -> None:
        require("PROGRAMME_NEW", False, event.programme in self.terms)

    def check_terms(self, raw: RawRecord, event: TermsSet) -> None:
        self.terms_of(event.programme, raw)
        ahead = event.effective_from_ms >= instant_ms(raw.on)
        require_holds("TERMS_AHEAD", ahead, f"from {raw.on} on", event.effective_from_ms)

    def check_filed(self, raw: RawRecord, event: ProjectFiled) -> None:
        require("PROJECT_NEW", False, event.project in self._projects)
        types = self.terms_of(event.programme, raw).project_types
        require_holds("PROJECT_TYPE", event.project_type in types, types, event.project_type)

    def check_advanced(self, raw: RawRecord, event: ProjectAdvanced) -> None:
        project = self._project(event.project)
        left = self._steps_left(project, raw)
        if not left:
            raise RuleBroken("STEP_ORDER", "no step, all are done", event.step)
        require("STEP_ORDER", left[0].name, event.step)
        _check_days(project, left[0].min_days, raw)

    def _steps_left(self, project: Project, raw: RawRecord) -> list[ApprovalStep]:
        steps = self.terms_of(project.filed.programme, raw).steps
        return [step for step in steps if step.name not in project.steps_done]

    def check_verified(self, raw: RawRecord, event: ReductionVerified) -> None:
        project = self._project(event.project)
        require("STEPS_LEFT", [], [step.name for step in self._steps_left(project, raw)])
        _check_days(project, 0, raw)  # nothing is verified before the day of the last step
        require("VERIFICATION_NEW", False, event.verification in self._reductions)
        require_holds("QUANTITY", event.quantity_t > 0, "1 or more", event.quantity_t)
        owner = project.filed.owner
        require_holds("VERIFIER", event.verifier != owner, f"not {owner}", event.verifier)
        first, last = parse_day(event.period_first), parse_day(event.period_last)
        over = f"from {first} on, over on {raw.on}"
        require_holds("PERIOD", first <= last <= day_of(raw.on), over, last)
        statement = self._keys.statement(
            raw, [f"holder:{event.verifier}"], "verification-statement"
        )
        expected = {
            "document": event.document,
            "kind": "verification-statement",
            "period_first": event.period_first,
            "period_last": event.period_last,
            "project": event.project,
            "quantity_t": event.quantity_t,
            "verification": event.verification,
            "verifier": event.verifier,
        }
        require("VERIFICATION_STATEMENT", canonical(expected), canonical(statement))
        self._claims.check(project.filed.site, first, last)

    def check_proposed(self, raw: RawRecord, event: IssuanceProposed) -> None:
        require("ISSUANCE_NEW", False, event.issuance in self._named)
        require("BATCH_NEW", False, (event.asset, event.batch) in self._batches)
        require_holds("LOTS", bool(event.lots), "a lot", "none")
        for lot in event.lots:
            require_holds("QUANTITY", lot.quantity_t > 0, "1 or more", lot.quantity_t)
            reduction = self._reduction(lot.verification)
            require("LOT_PROGRAMME", reduction.programme, event.programme)
        owners = [(self._reduction(lot.verification).owner, lot.quantity_t) for lot in event.lots]
        require("LOT_OWNERS", owners, [(one.holder, one.quantity_t) for one in event.owners])
        total = sum(lot.quantity_t for lot in event.lots)
        require("ISSUANCE_SERIALS", (1, total), (event.first, event.last))
        self._check_left(event)

    def _check_left(self, event: IssuanceProposed) -> None:
        """Several lots may be of one verification."""
        wanted: dict[str, int] = {}
        for lot in event.lots:
            wanted[lot.verification] = wanted.get(lot.verification, 0) + lot.quantity_t
        for verification, quantity_t in wanted.items():
            reduction = self._reduction(verification)
            left_t = reduction.verified_t - reduction.taken_t
            known = f"at most {left_t} t of {verification}"
            require_holds("VERIFIED", quantity_t <= left_t, known, quantity_t)

    def check_approved(self, raw: RawRecord, event: IssuanceApproved) -> None:
        issuance = self._issuances.get(event.issuance)
        if issuance is None or issuance.asked_at is not None:
            raise RuleBroken("ISSUANCE_PROPOSED", "one that waits for its checker", event.issuance)
        proposed = issuance.proposed
        if raw.actor.sub == issuance.maker.sub:  # as the statement names the checker
            raise RuleBroken("TWO_PERSONS", f"not {issuance.maker.sub}", raw.actor.sub)
        authority = f"authority:{proposed.programme}"
        statement = self._keys.statement(raw, [authority], "issuance-approval")
        expected = {
            "asset": proposed.asset,
            "batch": proposed.batch,
            "checker": raw.actor.sub,
            "document": proposed.document,
            "first": proposed.first,
            "kind": "issuance-approval",
            "last": proposed.last,
            "owners": proposed.owners,
            "programme": proposed.programme,
        }
        require("APPROVAL", canonical(expected), canonical(statement))
        self._check_left(proposed)

    def check_completed(self, raw: RawRecord, event: IssuanceCompleted) -> None:
        self._crossings.carried_out(self._requested(event.issuance), raw.cause)

    def check_refused(self, raw: RawRecord, event: IssuanceRefused) -> None:
        self._crossings.check_refused(self._requested(event.issuance), raw.cause)

    def _project(self, name: str) -> Project:
        project = self._projects.get(name)
        if project is None:
            raise RuleBroken("PROJECT_KNOWN", "a filed project", name)
        return project

    def _reduction(self, name: str) -> Reduction:
        reduction = self._reductions.get(name)
        if reduction is None:
            raise RuleBroken("VERIFICATION_KNOWN", "a verified reduction", name)
        return reduction

    def _requested(self, name: str) -> At:
        issuance = self._issuances.get(name)
        if issuance is None or issuance.asked_at is None:
            raise RuleBroken("REQUEST_OPEN", "an approved issuance without an end", name)
        return issuance.asked_at

    # ---- applying -------------------------------------------------------------------------------

    def apply_programme(self, raw: RawRecord, event: ProgrammeOpened) -> None:
        self.terms[event.programme] = Timeline(event.terms)

    def apply_terms(self, raw: RawRecord, event: TermsSet) -> None:
        timeline = self.terms.setdefault(event.programme, Timeline(event.terms))
        timeline.set(event.effective_from_ms, event.terms)

    def apply_filed(self, raw: RawRecord, event: ProjectFiled) -> None:
        self._projects[event.project] = Project(event, _day_or_first(raw))

    def apply_advanced(self, raw: RawRecord, event: ProjectAdvanced) -> None:
        project = self._projects.get(event.project)
        if project is not None:
            project.steps_done.add(event.step)
            project.last_day = _day_or_first(raw)

    def apply_verified(self, raw: RawRecord, event: ReductionVerified) -> None:
        project = self._projects.get(event.project)
        if project is None:  # accepted as it is: nothing can be issued on it
            return
        filed = project.filed
        self._reductions[event.verification] = Reduction(
            event.project, filed.owner, filed.programme, event.quantity_t
        )
        try:
            first, last = parse_day(event.period_first), parse_day(event.period_last)
        except RuleBroken:
            return
        self._claims.add(filed.site, first, last, event.verification)

    def apply_proposed(self, raw: RawRecord, event: IssuanceProposed) -> None:
        self._named.add(event.issuance)
        self._batches.add((event.asset, event.batch))
        self._issuances[event.issuance] = Issuance(event, raw.actor)

    def apply_approved(self, raw: RawRecord, event: IssuanceApproved) -> None:
        issuance = self._issuances.get(event.issuance)
        if issuance is None:
            return
        issuance.asked_at = (REGISTRY, raw.position)
        self._take(issuance.proposed, 1)
        statements = sorted({act.statement for act in acts_of(raw)})
        self._crossings.asked[issuance.asked_at] = _entry_of(issuance.proposed, statements)

    def apply_completed(self, raw: RawRecord, event: IssuanceCompleted) -> None:
        self._end(raw, event.issuance)

    def apply_refused(self, raw: RawRecord, event: IssuanceRefused) -> None:
        issuance = self._end(raw, event.issuance)
        if issuance is not None:
            self._take(issuance.proposed, -1)

    def _end(self, raw: RawRecord, name: str) -> Issuance | None:
        issuance = self._issuances.pop(name, None)
        if issuance is None or issuance.asked_at is None:
            return None
        self._crossings.end(issuance.asked_at, raw.cause)
        return issuance

    def _take(self, proposed: IssuanceProposed, sign: int) -> None:
        for lot in proposed.lots:
            reduction = self._reductions.get(lot.verification)
            if reduction is not None:
                reduction.taken_t += sign * lot.quantity_t


def _check_days(project: Project, min_days: int, raw: RawRecord) -> None:
    days = (day_of(raw.on) - project.last_day).days
    require_holds("STEP_DAYS", days >= min_days, f"{min_days} days since {project.last_day}", days)


def _day_or_first(raw: RawRecord) -> date:
    """Of an event; the first there is where two persons have accepted an unreadable instant."""
    try:
        return day_of(raw.on)
    except RuleBroken:
        return date.min


def _entry_of(proposed: IssuanceProposed, statements: list[str]) -> AskedEntry:
    issued = (proposed.programme, proposed.asset, "issued", "")
    moves: list[Move] = [
        (issued, (owner.holder, proposed.asset, "available", ""), owner.quantity_t)
        for owner in proposed.owners
    ]
    serials = [Range(proposed.batch, proposed.first, proposed.last)]
    return AskedEntry(sums(moves), statements, serials)
