"""What is proposed about holders by one person and made so by another, and what came of it.

Terms of a programme, openings, operators, funds, mandates and a holder's status (domain section 3,
"Opening"). Every effect repeats what was proposed word for word and names who proposed it; who
agreed is the record's actor. Documents are a SHA-256 and a name, persons opaque ids: nothing here
may ever have to be forgotten.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kernel.values import Actor


class HolderKind(StrEnum):
    ENTERPRISE = "enterprise"
    SETTLEMENT_BANK = "settlement_bank"
    VENUE = "venue"
    PROGRAMME = "programme"
    FOREIGN = "foreign"
    FUND = "fund"
    PERSON = "person"


class AccountKind(StrEnum):
    REGISTRATION = "registration"
    TRADING = "trading"


class Part(StrEnum):
    """What a holder is in a programme."""

    AUTHORITY = "authority"
    CLEARING_HOUSE = "clearing_house"
    REGISTRAR = "registrar"
    VALIDATOR = "validator"
    VENUE = "venue"
    VERIFIER = "verifier"


class Right(StrEnum):
    """What an operator may do for a holder. Pledges are signed with the holder's own key instead.

    `administer`: set its operators, offer and accept mandates; never given by a mandate.
    `hold`: reserve for somebody, and take or let go what is reserved for the holder.
    """

    ADMINISTER = "administer"
    APPROVE = "approve"
    HOLD = "hold"
    RETIRE = "retire"
    TRADE = "trade"
    TRANSFER = "transfer"
    VIEW = "view"


class Status(StrEnum):
    """From free to ended; what each allows is the table in standing.py."""

    ACTIVE = "active"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"
    FROZEN = "frozen"
    CLOSED = "closed"


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str  # SHA-256 in hex
    name: str  # of the paper, never of a person


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    part: Part


class RequiredSafeguards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a holder must have asked for its own protection before it sends units to others."""

    delay_ms: int  # at least, before a new destination is trusted
    max_units: int  # at most, by one operator in a day: more takes a second one


class AccountTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A programme's rules on accounts, as data."""

    barred_kinds: list[HolderKind]  # from trading
    barred_parts: list[Part]  # from trading
    foreign: bool  # may foreign holders open?
    money_too: bool  # does opening also count for money of this programme?
    opening_required: bool
    parts: list[Role]  # who plays which part
    persons: bool  # may natural persons open?
    safeguards: RequiredSafeguards | None = None  # that holders must have


class TermsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In force for business times from `effective_from_ms` on."""

    effective_from_ms: int
    programme: str
    terms: AccountTerms


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registration account, or a trading account at a venue (empty for the first)."""

    account: AccountKind
    documents: list[Document]
    holder: str
    programme: str
    representatives: list[str]  # opaque ids
    venue: str


class Operator(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """What one person may do for a holder from now on; no rights: nothing any more."""

    holder: str
    max_fen: int | None = None  # money out of the holder in one entry
    max_units: int | None = None  # tonnes or certificates, all assets of one entry together
    person: Actor
    rights: list[Right]


class Fund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose operators alone move a fund's units."""

    document: Document
    fund: str
    manager: str


class Mandate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operators of the agent act for the principal, within this scope and these Shanghai days.

    Neither assets nor programmes: all of them, and money. Else money only if its asset is named.
    """

    agent: str
    assets: list[str]
    document: Document
    first_day: str
    last_day: str
    principal: str
    programmes: list[str]
    rights: list[Right]


class StatusChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: Document
    holder: str
    reason: str
    status: Status


class Closing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one account: a registration account, or the trading account at a venue."""

    account: AccountKind
    document: Document
    holder: str
    programme: str
    reason: str
    venue: str


class Rebinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another account at the same bank for a holder's withdrawals; the bank vouches for its name.

    `account` is the bank's random word for it, as when the first one was bound.
    """

    account: str
    bank: str
    clearing_house: str
    holder: str
    reason: str


class Change(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Exactly one of these."""

    closing: Closing | None = None
    fund: Fund | None = None
    mandate: Mandate | None = None
    opening: Opening | None = None
    operator: Operator | None = None
    rebinding: Rebinding | None = None
    status: StatusChange | None = None
    terms: TermsChange | None = None


class ChangeProposed(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A first person asks for it; nothing has changed by that."""

    change: Change
    # The principal that offers a mandate to its agent; absent: a registrar proposes.
    for_holder: str | None = None
    proposal: str  # the command's id
    proposed_by: Actor


class ProposalRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another person said no."""

    proposal: str
    proposed_by: Actor
    reason: str


class ProposalWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By who proposed it; or by its holder, of a change that was agreed and does not count yet."""

    proposal: str


class AccountTermsSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    proposal: str
    proposed_by: Actor
    terms: TermsChange


class AccountOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    opening: Opening
    proposal: str
    proposed_by: Actor


class AccountClosed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It was empty; opened again it takes two persons and papers, as the first time."""

    closing: Closing
    proposal: str
    proposed_by: Actor


class BankAccountChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Withdrawals asked for from the instant on go there; the bank's act is on the proposal."""

    effective_ms: int
    proposal: str
    proposed_by: Actor
    rebinding: Rebinding


class OperatorSet(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """By two registrars or, without a proposal, by the holder's own administrator.

    From a holder's first one on, only who is registered acts for it.
    """

    operator: Operator
    proposal: str | None = None
    proposed_by: Actor | None = None


class FundEntrusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fund: Fund
    proposal: str
    proposed_by: Actor


class MandateGranted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Offered by the principal and accepted by the agent, or made by two registrars."""

    for_holder: str | None = None  # as in the proposal
    mandate: Mandate
    proposal: str  # also the mandate's id
    proposed_by: Actor


class MandateRevoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From here on nobody acts under it. `by_holder`: principal or agent, empty for a registrar."""

    by_holder: str
    mandate: str


class HolderStatusSet(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """By two registrars, or by an order of an authority or a court: its signed holder-status."""

    # `authority:…` for the units of its programme, `court:…` for everything.
    authority: str | None = None
    number: str | None = None  # the authority's own of its order
    proposal: str | None = None
    proposed_by: Actor | None = None
    status: StatusChange


CHANGE_EVENTS = (
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
