"""The registry's events again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec

from services.ledger.books.serials import Range


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    clearing_house: str
    pledge_registrar: str
    registrar: str
    venue: str


class ApprovalStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    min_days: int
    name: str


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_ltv_bp: int | None
    max_price_age_days: int | None
    project_types: list[str]
    steps: list[ApprovalStep]


class ProgrammeOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parts: Parts
    programme: str
    terms: Terms
    unit_kind: str


class TermsSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    site: str


class ProjectAdvanced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: str
    project: str
    step: str


class ReductionVerified(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    issuance: str


class IssuanceCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issuance: str


class IssuanceRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    issuance: str
    message: str
    reason: str


class Valuation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price_fen_per_t: int
    priced_at_ms: int
    source: str


class Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    call_bp: int
    enforcement_bp: int
    warning_bp: int


class PledgeRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    serials: list[Range]
    valuation: Valuation


class PledgeRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lien: str
    serials: list[Range]


class PledgeRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    lien: str
    message: str
    reason: str


class ReleaseRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lien: str
    quantity_t: int
    release: str


class PledgeReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lien: str
    quantity_t: int
    release: str
    serials: list[Range]


class ReleaseRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    lien: str
    message: str
    reason: str
    release: str


class PledgeOverridden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    document: str
    lien: str
    quantity_t: int
    serials: list[Range]
    transfer: str


class UnitsRetired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    beneficiary: str
    details: str
    holder: str
    purpose: str
    quantity_t: int
    serials: list[Range]
