"""What changes the registry: programmes, projects, verified reductions, issuances, liens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.models.parts import (
    MAX_NAMED,
    Acts,
    Amount,
    Asked,
    Count,
    Day,
    HolderId,
    Instant,
    Name,
    Page,
    Query,
    Ranges,
    Settled,
    Small,
    Timed,
)

UnitKind = Literal["allowance", "ccer", "ticket", "phcer", "gec"]


class Parts(Asked):
    """Who plays which part: holder ids, empty where nobody does."""

    authority: str = ""
    registrar: str = ""
    venue: str = ""
    clearing_house: str = ""
    pledge_registrar: str = ""


class Step(Asked):
    """An approval step, so many days after the one before or later."""

    name: Name
    min_days: Small = 0


class Terms(Asked):
    steps: Annotated[list[Step], Field(max_length=64)]
    project_types: Annotated[list[Name], Field(max_length=64)]
    max_ltv_bp: Count | None = Field(None, description="Absent: no limit.")
    max_price_age_days: Small | None = Field(None, description="Absent: no limit.")


class Programme(Timed):
    programme: HolderId
    name: Name
    unit_kind: UnitKind
    parts: Parts
    terms: Terms


class TermsChange(Timed):
    programme: HolderId
    effective_from: Instant
    terms: Terms


class Project(Timed):
    project: Name = Field(examples=["LZXQ-QINWANGCHUAN"])
    programme: HolderId
    name: Name
    project_type: Name
    owner: HolderId
    region: str = ""
    area_mu: Count = 0
    site: str = Field("", description="Digest of the geometry, or the meter.")
    document: str = ""


class ProjectStep(Timed):
    project: Name
    step: Name
    document: str = ""


class Verification(Timed):
    """With the verifier's signed verification-statement, which says the same."""

    verification: Name
    project: Name
    verifier: HolderId
    period_first: Day
    period_last: Day
    quantity_t: Amount
    document: str = ""
    acts: Acts


class Lot(Asked):
    verification: Name
    quantity_t: Amount


class IssuanceProposal(Timed):
    """The maker's part."""

    issuance: Name
    asset: Name
    batch: Name
    lots: Annotated[list[Lot], Field(min_length=1, max_length=64)]
    document: str = ""


class IssuanceApproval(Timed):
    """The checker's part: another person, with the authority's signed issuance-approval."""

    issuance: Name
    acts: Acts


class Valuation(Asked):
    price_fen_per_t: Amount
    source: Name = Field(examples=["last trade"])
    priced_at: Instant


class Levels(Asked):
    """Loan over value at which something happens; 0 where nothing does."""

    warning_bp: Count = 0
    call_bp: Count = 0
    enforcement_bp: Count = 0


class Pledge(Timed):
    """A lien (质押). The same statement twice: signed by pledgor and by pledgee."""

    lien: Name = Field(description="l- and 16 characters of a-z, 2-7, chosen before signing.")
    programme: HolderId
    asset: Name
    pledgor: HolderId
    pledgee: HolderId
    quantity_t: Amount
    serials: Ranges = Field(default_factory=list)
    loan_fen: Amount
    rate_bp: Count = 0
    matures_on: Day
    valuation: Valuation | None = None
    levels: Levels | None = None
    notice: str = ""
    acts: Acts


class PledgeRelease(Timed):
    """All or part of a lien, with the pledgee's signed pledge-release."""

    release: Name
    lien: Name
    quantity_t: Amount
    acts: Acts


class Programmes(Query):
    programme: str = Field("", max_length=80, description="Empty: all.")


class Projects(Page):
    programme: str = Field("", max_length=80, description="Empty: all programmes.")


class Issuances(Settled):
    issuances: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMED)]


class Pledges(Settled):
    liens: Annotated[list[Name], Field(max_length=MAX_NAMED)] = Field(default_factory=list)
    holder: str = Field("", max_length=80, description="All liens of this pledgor or pledgee.")


class SerialLiens(Query):
    asset: Name
    batch: Name
    serial: Amount | None = Field(None, description="Absent: every pledged range of the batch.")


class Retirements(Page):
    asset: str = Field("", max_length=80, description="Empty: of all assets.")
    holder: str = Field("", max_length=80, description="Empty: of all holders.")
    min_accounts_position: Count = Field(
        0, description="Wait, at most five seconds, until accounts is heard of up to here."
    )
