"""What is proposed and ordered about holders: openings, operators, mandates, funds, statuses.

Most of it takes two persons; an administrator sets the operators of its own holder alone.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.models.accounts import HolderKind
from gateway.models.parts import Acts, Asked, Count, Day, HolderId, Instant, Name, Page, Timed

AccountKind = Literal["registration", "trading"]
Part = Literal["authority", "clearing_house", "registrar", "validator", "venue", "verifier"]
Right = Literal["administer", "approve", "hold", "retire", "trade", "transfer", "view"]
Status = Literal["active", "restricted", "suspended", "frozen", "closed"]
Rights = Annotated[list[Right], Field(max_length=16)]
MAX_LISTED = 200  # documents, representatives, assets of one change


class Document(Asked):
    """A paper, by its digest: it stays where it is."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hex.")]
    name: Name = Field(description="Of the paper, never of a person.")


class Role(Asked):
    holder: HolderId
    part: Part


class RequiredSafeguards(Asked):
    """What holders must have asked for themselves before they send units to others."""

    delay_ms: Count = Field(description="At least, before a new destination is trusted.")
    max_units: Count = Field(description="At most, in a day by one operator alone.")


class AccountTerms(Asked):
    """A programme's rules of who may have accounts in it, and who may trade."""

    opening_required: bool
    money_too: bool = Field(False, description="Opening also counts for money.")
    persons: bool = False
    foreign: bool = False
    parts: Annotated[list[Role], Field(max_length=MAX_LISTED)] = Field(default_factory=list)
    barred_kinds: Annotated[list[HolderKind], Field(max_length=16)] = Field(
        default_factory=list, description="Barred from trading."
    )
    barred_parts: Annotated[list[Part], Field(max_length=16)] = Field(default_factory=list)
    safeguards: RequiredSafeguards | None = None


class AccountTermsChange(Asked):
    programme: HolderId
    effective_from: Instant
    terms: AccountTerms


class Opening(Asked):
    """One registration account and one trading account per holder and programme (开户)."""

    holder: HolderId
    programme: HolderId
    account: AccountKind
    venue: str = Field("", max_length=80, description="Of a trading account.")
    documents: Annotated[list[Document], Field(max_length=MAX_LISTED)]
    representatives: Annotated[list[Name], Field(max_length=MAX_LISTED)] = Field(
        default_factory=list, description='Opaque: "p-" and 16 characters of a-z, 2-7.'
    )


class Closing(Asked):
    """Of one account of a programme, with nothing left in it (销户)."""

    holder: HolderId
    programme: HolderId
    account: AccountKind
    venue: str = Field("", max_length=80, description="Of a trading account.")
    reason: Name
    document: Document


class Rebinding(Asked):
    """Another account at the same bank for a holder's withdrawals."""

    holder: HolderId
    clearing_house: HolderId
    bank: HolderId
    account: Name = Field(description="The bank's random word for it, never a number.")
    reason: Name


class Operator(Asked):
    """A person who acts for a holder, and how far."""

    holder: HolderId
    iss: Name = Field(description="Issuer of the person's tokens.")
    sub: Name = Field(description="Their subject.")
    rights: Rights = Field(description="None: may do nothing any more.")
    max_units: Count | None = Field(None, description="Most of one entry: tonnes, certificates.")
    max_fen: Count | None = None


class Fund(Asked):
    fund: HolderId
    manager: HolderId
    document: Document


class Mandate(Asked):
    """An agent may act for a principal (代理)."""

    principal: HolderId
    agent: HolderId
    assets: Annotated[list[Name], Field(max_length=MAX_LISTED)] = Field(
        default_factory=list, description="Neither assets nor programmes: all, and money."
    )
    programmes: Annotated[list[HolderId], Field(max_length=MAX_LISTED)] = Field(
        default_factory=list
    )
    rights: Rights
    first_day: Day
    last_day: Day
    document: Document


class StatusChange(Asked):
    holder: HolderId
    status: Status
    reason: Name
    document: Document


class Change(Asked):
    """Exactly one of them."""

    terms: AccountTermsChange | None = None
    opening: Opening | None = None
    operator: Operator | None = None
    fund: Fund | None = None
    mandate: Mandate | None = None
    status: StatusChange | None = None
    closing: Closing | None = None
    rebinding: Rebinding | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        said = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"expected exactly one change, got {len(said)}")
        return self


class ChangeProposal(Timed):
    """Its key is the proposal's id, and a mandate's own."""

    change: Change
    for_holder: HolderId | Literal[""] = Field(
        "", description="The principal that offers a mandate; empty: by a registrar."
    )
    acts: Acts = Field(
        default_factory=list, description="The bank's account-binding, of a rebinding alone."
    )


class ProposalName(Timed):
    proposal: Name


class ProposalRefusal(ProposalName):
    reason: Name


class OperatorChange(Timed):
    """By an administrator of the holder."""

    operator: Operator


class MandateRevocation(Timed):
    mandate: Name
    for_holder: HolderId | Literal[""] = Field(
        "", description="Principal or agent; empty: by a registrar."
    )


class StatusOrder(Timed):
    """What an authority or a court has ordered and signed; booked by a registrar."""

    authority: Name = Field(description="`authority:<programme>`, or `court:<court>`.")
    number: Name = Field(description="Its own number of this order; it is booked once.")
    status: StatusChange
    acts: Acts


class OfHolder(Page):
    holder: str = Field("", max_length=80, description="Empty: all that the caller may see.")
