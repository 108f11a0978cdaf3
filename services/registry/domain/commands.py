"""What the registry book can be asked. Orders; each carries its own id in the context.

Where an order says all that its event will say, it holds that event as it would be recorded.
"""

from __future__ import annotations

import msgspec

from services.registry.domain.events import (
    Lot,
    PledgeRequested,
    ProgrammeOpened,
    ProjectFiled,
    ReductionVerified,
    SerialRange,
    Terms,
)


class OpenProgramme(msgspec.Struct, frozen=True):
    opening: ProgrammeOpened


class SetTerms(msgspec.Struct, frozen=True):
    programme: str
    effective_from_ms: int
    terms: Terms


class FileProject(msgspec.Struct, frozen=True):
    filing: ProjectFiled


class AdvanceProject(msgspec.Struct, frozen=True):
    project: str
    step: str
    document: str


class VerifyReduction(msgspec.Struct, frozen=True):
    reduction: ReductionVerified


class ProposeIssuance(msgspec.Struct, frozen=True):
    issuance: str
    asset: str
    batch: str
    lots: list[Lot]
    document: str


class ApproveIssuance(msgspec.Struct, frozen=True):
    issuance: str


class CompleteIssuance(msgspec.Struct, frozen=True):
    """From the errand alone, like all Complete… and Refuse… below."""

    issuance: str


class RefuseIssuance(msgspec.Struct, frozen=True):
    issuance: str
    reason: str
    message: str
    details: dict[str, str]


class RegisterPledge(msgspec.Struct, frozen=True):
    pledge: PledgeRequested


class CompletePledge(msgspec.Struct, frozen=True):
    """`serials` are those the entry moved."""

    lien: str
    serials: list[SerialRange]


class RefusePledge(msgspec.Struct, frozen=True):
    lien: str
    reason: str
    message: str
    details: dict[str, str]


class ReleasePledge(msgspec.Struct, frozen=True):
    lien: str
    release: str
    quantity_t: int


class CompleteRelease(msgspec.Struct, frozen=True):
    lien: str
    release: str
    serials: list[SerialRange]


class RefuseRelease(msgspec.Struct, frozen=True):
    lien: str
    release: str
    reason: str
    message: str
    details: dict[str, str]


class TakenLot(msgspec.Struct, frozen=True):
    lien: str
    quantity_t: int
    serials: list[SerialRange]


class OverridePledges(msgspec.Struct, frozen=True):
    """From the reaction to the accounts book alone: one order, a lot per lien."""

    authority: str
    document: str
    transfer: str
    taken: list[TakenLot]


class RetiredLot(msgspec.Struct, frozen=True):
    asset: str
    holder: str
    quantity_t: int
    serials: list[SerialRange]


class RetireUnits(msgspec.Struct, frozen=True):
    """From the reaction to the accounts book alone: one entry, a lot per holder and asset."""

    beneficiary: str
    purpose: str
    details: str
    lots: list[RetiredLot]
