"""Events into state. Never refuses, never looks at a clock: it is what replays the book."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kernel.keyring import KeyAdmitted, KeyWithdrawn
from kernel.values import Envelope
from services.registry.domain.events import (
    IssuanceApproved,
    IssuanceCompleted,
    IssuanceProposed,
    IssuanceRefused,
    Lot,
    PledgeOverridden,
    PledgeRefused,
    PledgeRegistered,
    PledgeReleased,
    PledgeRequested,
    ProgrammeOpened,
    ProjectAdvanced,
    ProjectFiled,
    ReductionVerified,
    ReleaseRefused,
    ReleaseRequested,
    TermsSet,
    UnitsRetired,
)
from services.registry.domain.overrides import (
    on_pledge_overridden,
    take_out,
    take_overridden,
)
from services.registry.domain.rules import site_key
from services.registry.domain.serials import cover
from services.registry.domain.state import (
    Issuance,
    Lien,
    Process,
    Programme,
    Project,
    Reduction,
    Refusal,
    Release,
    Stage,
    State,
)


def told(state: State, envelope: Envelope) -> None:
    """What stands around the next event: its place, who asked, its business time, its cause."""
    state.envelope = envelope


def evolve(state: State, event: msgspec.Struct) -> None:
    """Applies one event."""
    _EVOLVE[type(event)](state, event)


def on_programme_opened(state: State, event: ProgrammeOpened) -> None:
    state.programmes[event.programme] = Programme(event, state.envelope, [(0, event.terms)])


def on_terms_set(state: State, event: TermsSet) -> None:
    terms = state.programmes[event.programme].terms
    place = bisect_right(terms, event.effective_from_ms, key=lambda one: one[0])
    terms.insert(place, (event.effective_from_ms, event.terms))


def on_project_filed(state: State, event: ProjectFiled) -> None:
    told_of = state.envelope
    state.projects[event.project] = Project(event, told_of, told_of.on_ms)
    for programme in (event.programme, ""):  # "": of all programmes
        state.filings.setdefault(programme, []).append((told_of.position, event.project))


def on_project_advanced(state: State, event: ProjectAdvanced) -> None:
    project = state.projects[event.project]
    project.steps_done.append(event.step)
    project.last_on_ms = state.envelope.on_ms


def on_reduction_verified(state: State, event: ReductionVerified) -> None:
    project = state.projects[event.project]
    project.verifications.append(event.verification)
    state.reductions[event.verification] = Reduction(event)
    claim = (event.period_first, event.period_last, event.verification)
    state.claims.setdefault(site_key(project.filed.site), []).append(claim)


def on_issuance_proposed(state: State, event: IssuanceProposed) -> None:
    issuance = Issuance(event, state.envelope, Process(Stage.PROPOSED, state.envelope))
    state.issuances[event.issuance] = issuance
    state.waiting_issuances[event.issuance] = issuance
    state.batches.add((event.asset, event.batch))


def on_issuance_approved(state: State, event: IssuanceApproved) -> None:
    issuance = state.waiting_issuances.pop(event.issuance)
    issuance.process = Process(Stage.REQUESTED, state.envelope)
    state.open_issuances[event.issuance] = issuance
    _take_lots(state, issuance.proposed.lots, 1)


def on_issuance_completed(state: State, event: IssuanceCompleted) -> None:
    issuance = state.open_issuances.pop(event.issuance)
    _end(state, issuance.process, Stage.COMPLETED)
    _take_lots(state, issuance.proposed.lots, -1)
    for lot in issuance.proposed.lots:
        state.reductions[lot.verification].issued_t += lot.quantity_t


def on_issuance_refused(state: State, event: IssuanceRefused) -> None:
    issuance = state.open_issuances.pop(event.issuance)
    refusal = Refusal(event.reason, event.message, event.details)
    _end(state, issuance.process, Stage.REFUSED, refusal)
    _take_lots(state, issuance.proposed.lots, -1)


def _take_lots(state: State, lots: Sequence[Lot], sign: int) -> None:
    for lot in lots:
        state.reductions[lot.verification].on_the_way_t += sign * lot.quantity_t


def _end(state: State, process: Process, stage: Stage, refusal: Refusal | None = None) -> None:
    process.stage = stage
    process.refusal = refusal
    process.ended_position = state.envelope.position
    if stage == Stage.COMPLETED and state.envelope.cause is not None:
        process.entry_position = state.envelope.cause[1]


def on_pledge_requested(state: State, event: PledgeRequested) -> None:
    lien = Lien(event, Process(Stage.REQUESTED, state.envelope))
    state.liens[event.lien] = state.open_pledges[event.lien] = lien
    for holder in (event.pledgor, event.pledgee):
        state.liens_by_holder.setdefault(holder, []).append(event.lien)


def on_pledge_registered(state: State, event: PledgeRegistered) -> None:
    lien = state.open_pledges.pop(event.lien)
    _end(state, lien.process, Stage.COMPLETED)
    lien.pledged_t = lien.asked.quantity_t
    lien.serials = list(event.serials)
    for block in event.serials:
        pledged = state.serial_liens.setdefault((lien.asked.asset, block.batch), [])
        cover(pledged, block, event.lien)
    take_overridden(state, lien)


def on_pledge_refused(state: State, event: PledgeRefused) -> None:
    lien = state.open_pledges.pop(event.lien)
    refusal = Refusal(event.reason, event.message, event.details)
    _end(state, lien.process, Stage.REFUSED, refusal)


def on_release_requested(state: State, event: ReleaseRequested) -> None:
    lien = state.liens[event.lien]
    release = Release(event.quantity_t, Process(Stage.REQUESTED, state.envelope))
    lien.releases[event.release] = release
    lien.releasing_t += event.quantity_t
    state.open_releases[event.lien, event.release] = release


def on_pledge_released(state: State, event: PledgeReleased) -> None:
    lien, release = state.liens[event.lien], state.open_releases.pop((event.lien, event.release))
    _end(state, release.process, Stage.COMPLETED)
    lien.releasing_t -= event.quantity_t
    release.serials = list(event.serials)
    take_out(state, lien, event.quantity_t, event.serials)


def on_release_refused(state: State, event: ReleaseRefused) -> None:
    lien, release = state.liens[event.lien], state.open_releases.pop((event.lien, event.release))
    refusal = Refusal(event.reason, event.message, event.details)
    _end(state, release.process, Stage.REFUSED, refusal)
    lien.releasing_t -= release.quantity_t


def on_units_retired(state: State, event: UnitsRetired) -> None:
    """No decision rests on what is retired: the read model lists it."""


def on_key_admitted(state: State, event: KeyAdmitted) -> None:
    state.keyring.on_key_admitted(event)


def on_key_withdrawn(state: State, event: KeyWithdrawn) -> None:
    state.keyring.on_key_withdrawn(event)


_EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    ProgrammeOpened: on_programme_opened,
    TermsSet: on_terms_set,
    ProjectFiled: on_project_filed,
    ProjectAdvanced: on_project_advanced,
    ReductionVerified: on_reduction_verified,
    IssuanceProposed: on_issuance_proposed,
    IssuanceApproved: on_issuance_approved,
    IssuanceCompleted: on_issuance_completed,
    IssuanceRefused: on_issuance_refused,
    PledgeRequested: on_pledge_requested,
    PledgeRegistered: on_pledge_registered,
    PledgeRefused: on_pledge_refused,
    ReleaseRequested: on_release_requested,
    PledgeReleased: on_pledge_released,
    ReleaseRefused: on_release_refused,
    PledgeOverridden: on_pledge_overridden,
    UnitsRetired: on_units_retired,
    KeyAdmitted: on_key_admitted,
    KeyWithdrawn: on_key_withdrawn,
}
