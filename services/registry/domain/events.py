"""What happened in the registry's book. Facts, never changed; types only grow.

Fields stand in sorted order, so that a plain encoder writes canonical JSON. Days are Asia/Shanghai,
`2020-01-01`; quantities whole tonnes; ratios basis points.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kernel.keyring import KEY_EVENTS


class UnitKind(StrEnum):
    ALLOWANCE = "allowance"
    CCER = "ccer"
    TICKET = "ticket"
    PHCER = "phcer"
    GEC = "gec"


class SerialRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int

    @property
    def amount(self) -> int:
        return self.last - self.first + 1


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holder ids; empty where nobody plays the part."""

    authority: str
    clearing_house: str
    pledge_registrar: str
    registrar: str
    venue: str


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An approval step; at least `min_days` calendar days after the one before it."""

    min_days: int
    name: str


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules of a programme as data. None: no such limit."""

    max_ltv_bp: int | None
    max_price_age_days: int | None
    project_types: list[str]
    steps: list[Step]


class ProgrammeOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parts: Parts
    programme: str
    terms: Terms
    unit_kind: UnitKind


class TermsSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In force for business times from `effective_from_ms` on."""

    effective_from_ms: int
    programme: str
    terms: Terms


class ProjectFiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    area_mu: int
    document: str
    name: str
    owner: str
    programme: str
    project: str
    project_type: str
    region: str
    # What is claimed and where: digest of the geometry, or the meter.
    site: str


class ProjectAdvanced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: str
    project: str
    step: str


class ReductionVerified(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With the verifier's signed verification-statement."""

    document: str
    period_first: str
    period_last: str
    project: str
    quantity_t: int
    verification: str
    verifier: str


class Lot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantity_t: int
    verification: str


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    quantity_t: int


class IssuanceProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By the maker. Serials first..last of the batch; `owners` one per lot, in their order."""

    asset: str
    batch: str
    document: str
    first: int
    issuance: str
    last: int
    lots: list[Lot]
    owners: list[Owner]
    programme: str


class IssuanceApproved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By the checker, with the authority's signed approval. Requested of the accounts book."""

    issuance: str


class IssuanceCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its cause is the entry in the accounts book."""

    issuance: str


class IssuanceRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By the accounts book; the lots may be proposed again."""

    details: dict[str, str]
    issuance: str
    message: str
    reason: str


class Valuation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price_fen_per_t: int
    priced_at_ms: int
    source: str


class Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loan over value at which something happens; 0 where nothing does."""

    call_bp: int
    enforcement_bp: int
    warning_bp: int


class PledgeRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by pledgor and pledgee: one event per lender. Requested of the accounts book."""

    asset: str
    levels: Levels
    lien: str
    loan_fen: int
    matures_on: str
    notice: str
    pledgee: str
    pledgor: str
    programme: str
    quantity_t: int
    rate_bp: int
    serials: list[SerialRange]
    valuation: Valuation


class PledgeRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its cause is the entry into pledged:<lien>; `serials` are those the entry moved."""

    lien: str
    serials: list[SerialRange]


class PledgeRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    lien: str
    message: str
    reason: str


class ReleaseRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With the pledgee's signed pledge-release."""

    lien: str
    quantity_t: int
    release: str


class PledgeReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its cause is the entry out of pledged:<lien>."""

    lien: str
    quantity_t: int
    release: str
    serials: list[SerialRange]


class ReleaseRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    lien: str
    message: str
    reason: str
    release: str


class PledgeOverridden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order of an authority or a court took these out from under a lien; the cause tells of it.

    The pledge ends as far as the order reached, and stands on what is left.
    """

    authority: str
    document: str
    lien: str
    quantity_t: int
    serials: list[SerialRange]
    # The authority's own name of its order.
    transfer: str


class UnitsRetired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A retirement in the accounts book (the cause), one asset each, made a public fact."""

    asset: str
    beneficiary: str
    details: str
    holder: str
    purpose: str
    quantity_t: int
    serials: list[SerialRange]


EVENTS = (
    ProgrammeOpened,
    TermsSet,
    ProjectFiled,
    ProjectAdvanced,
    ReductionVerified,
    IssuanceProposed,
    IssuanceApproved,
    IssuanceCompleted,
    IssuanceRefused,
    PledgeRequested,
    PledgeRegistered,
    PledgeRefused,
    ReleaseRequested,
    PledgeReleased,
    ReleaseRefused,
    PledgeOverridden,
    UnitsRetired,
    *KEY_EVENTS,
)
