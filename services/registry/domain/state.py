"""What the registry book knows, in memory; rebuilt from the events and their envelopes alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kernel.keyring import Keyring
from kernel.values import Actor, Envelope
from services.registry.domain.events import (
    IssuanceProposed,
    PledgeOverridden,
    PledgeRequested,
    ProgrammeOpened,
    ProjectFiled,
    ReductionVerified,
    SerialRange,
    Terms,
)

NOWHERE = Envelope(0, "", Actor("", ""), 0, None)

SerialLien = tuple[int, int, str]  # first, last, lien


class Stage(StrEnum):
    """Where a process over two books stands."""

    PROPOSED = "proposed"
    REQUESTED = "requested"
    COMPLETED = "completed"
    REFUSED = "refused"


@dataclass(slots=True)
class Refusal:
    """The accounts book's own words."""

    reason: str
    message: str
    details: dict[str, str]


@dataclass(slots=True)
class Process:
    """One request to the accounts book, from its event here to its end."""

    stage: Stage
    requested: Envelope
    refusal: Refusal | None = None
    ended_position: int = 0
    entry_position: int = 0


@dataclass(slots=True)
class Programme:
    opened: ProgrammeOpened
    envelope: Envelope
    # (in force from, in ms; terms), in that order; of two from one instant the later set counts.
    terms: list[tuple[int, Terms]]


@dataclass(slots=True)
class Project:
    filed: ProjectFiled
    envelope: Envelope
    last_on_ms: int  # business time of the filing, then of the last step
    steps_done: list[str] = field(default_factory=list)
    verifications: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Reduction:
    """A verified reduction, and how much of it became units or may at any moment."""

    verified: ReductionVerified
    issued_t: int = 0
    on_the_way_t: int = 0

    @property
    def left_t(self) -> int:
        return self.verified.quantity_t - self.issued_t - self.on_the_way_t


@dataclass(slots=True)
class Issuance:
    proposed: IssuanceProposed
    envelope: Envelope  # of the proposal: its actor is the maker
    process: Process


@dataclass(slots=True)
class Release:
    quantity_t: int
    process: Process
    serials: list[SerialRange] = field(default_factory=list)


@dataclass(slots=True)
class Override:
    """An order that took units out from under a lien, and its entry in the accounts book."""

    said: PledgeOverridden
    entry_position: int


@dataclass(slots=True)
class Lien:
    """A pledge: as asked, and what lies under it now."""

    asked: PledgeRequested
    process: Process
    pledged_t: int = 0
    releasing_t: int = 0
    serials: list[SerialRange] = field(default_factory=list)
    releases: dict[str, Release] = field(default_factory=dict)
    overrides: list[Override] = field(default_factory=list)


@dataclass
class State:
    # Around the event that is folded next.
    envelope: Envelope = NOWHERE
    keyring: Keyring = field(default_factory=Keyring)
    programmes: dict[str, Programme] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)  # in the order they were filed
    filings: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # see on_project_filed
    reductions: dict[str, Reduction] = field(default_factory=dict)
    # Per site: (first day, last day, verification), in whichever programme.
    claims: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    issuances: dict[str, Issuance] = field(default_factory=dict)
    batches: set[tuple[str, str]] = field(default_factory=set)  # (asset, batch) proposed
    liens: dict[str, Lien] = field(default_factory=dict)
    liens_by_holder: dict[str, list[str]] = field(default_factory=dict)
    # (asset, batch) to its pledged ranges, in order of serials.
    serial_liens: dict[tuple[str, str], list[SerialLien]] = field(default_factory=dict)
    # Requests without an end, oldest first.
    waiting_issuances: dict[str, Issuance] = field(default_factory=dict)  # for their checker
    open_issuances: dict[str, Issuance] = field(default_factory=dict)
    open_pledges: dict[str, Lien] = field(default_factory=dict)
    open_releases: dict[tuple[str, str], Release] = field(default_factory=dict)
