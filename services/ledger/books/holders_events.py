"""The accounts book's events about holders again, in the words of whoever checks them."""

from __future__ import annotations

from typing import Final

import msgspec

from kernel.values import Actor


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is absent is not written."""


class Document(Said, frozen=True, kw_only=True):
    digest: str
    name: str


class Role(Said, frozen=True, kw_only=True):
    holder: str
    part: str


class RequiredSafeguards(Said, frozen=True, kw_only=True):
    delay_ms: int
    max_units: int


class AccountTerms(Said, frozen=True, kw_only=True):
    barred_kinds: list[str]
    barred_parts: list[str]
    foreign: bool
    money_too: bool
    opening_required: bool
    parts: list[Role]
    persons: bool
    safeguards: RequiredSafeguards | None = None


class TermsChange(Said, frozen=True, kw_only=True):
    effective_from_ms: int
    programme: str
    terms: AccountTerms


class Opening(Said, frozen=True, kw_only=True):
    account: str
    documents: list[Document]
    holder: str
    programme: str
    representatives: list[str]
    venue: str


class Operator(Said, frozen=True, kw_only=True):
    holder: str
    max_fen: int | None = None
    max_units: int | None = None
    person: Actor
    rights: list[str]


class Fund(Said, frozen=True, kw_only=True):
    document: Document
    fund: str
    manager: str


class Mandate(Said, frozen=True, kw_only=True):
    agent: str
    assets: list[str]
    document: Document
    first_day: str
    last_day: str
    principal: str
    programmes: list[str]
    rights: list[str]


class StatusChange(Said, frozen=True, kw_only=True):
    document: Document
    holder: str
    reason: str
    status: str


class Closing(Said, frozen=True, kw_only=True):
    account: str
    document: Document
    holder: str
    programme: str
    reason: str
    venue: str


class Rebinding(Said, frozen=True, kw_only=True):
    account: str
    bank: str
    clearing_house: str
    holder: str
    reason: str


class Change(Said, frozen=True, kw_only=True):
    closing: Closing | None = None
    fund: Fund | None = None
    mandate: Mandate | None = None
    opening: Opening | None = None
    operator: Operator | None = None
    rebinding: Rebinding | None = None
    status: StatusChange | None = None
    terms: TermsChange | None = None


class ChangeProposed(Said, frozen=True, kw_only=True):
    change: Change
    for_holder: str | None = None
    proposal: str
    proposed_by: Actor


class ProposalRefused(Said, frozen=True, kw_only=True):
    proposal: str
    proposed_by: Actor
    reason: str


class ProposalWithdrawn(Said, frozen=True, kw_only=True):
    proposal: str


class AccountTermsSet(Said, frozen=True, kw_only=True):
    proposal: str
    proposed_by: Actor
    terms: TermsChange


class AccountOpened(Said, frozen=True, kw_only=True):
    opening: Opening
    proposal: str
    proposed_by: Actor


class AccountClosed(Said, frozen=True, kw_only=True):
    closing: Closing
    proposal: str
    proposed_by: Actor


class BankAccountChanged(Said, frozen=True, kw_only=True):
    effective_ms: int
    proposal: str
    proposed_by: Actor
    rebinding: Rebinding


class OperatorSet(Said, frozen=True, kw_only=True):
    operator: Operator
    proposal: str | None = None
    proposed_by: Actor | None = None


class FundEntrusted(Said, frozen=True, kw_only=True):
    fund: Fund
    proposal: str
    proposed_by: Actor


class MandateGranted(Said, frozen=True, kw_only=True):
    for_holder: str | None = None
    mandate: Mandate
    proposal: str
    proposed_by: Actor


class MandateRevoked(Said, frozen=True, kw_only=True):
    by_holder: str
    mandate: str


class HolderStatusSet(Said, frozen=True, kw_only=True):
    authority: str | None = None
    number: str | None = None
    proposal: str | None = None
    proposed_by: Actor | None = None
    status: StatusChange


HOLDER_EVENTS: Final = (
    ChangeProposed,
    ProposalRefused,
    ProposalWithdrawn,
    AccountTermsSet,
    AccountOpened,
    AccountClosed,
    BankAccountChanged,
    OperatorSet,
    FundEntrusted,
    MandateGranted,
    MandateRevoked,
    HolderStatusSet,
)
