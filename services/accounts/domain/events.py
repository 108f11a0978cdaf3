"""What happened in the accounts book. Facts, never changed; types only grow.

Fields stand in sorted order, so that a plain encoder writes canonical JSON. Every event that moves
value carries its legs in full, serial ranges included: whoever folds the book needs nothing else.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kernel.keyring import KEY_EVENTS
from kernel.values import Actor
from services.accounts.domain.changes import CHANGE_EVENTS
from services.accounts.domain.changes import HolderKind as HolderKind  # noqa: PLC0414 it is ours too


class Purpose(StrEnum):
    AVAILABLE = "available"
    TRADING = "trading"
    HELD = "held"
    PLEDGED = "pledged"
    CUSTODY = "custody"
    ISSUED = "issued"
    EXTERNAL = "external"
    SURRENDERED = "surrendered"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CARRIED_OVER = "carried_over"
    BUFFER = "buffer"
    IMMOBILISED = "immobilised"
    CLEARING = "clearing"
    FEES = "fees"


class Unit(StrEnum):
    T = "t"
    FEN = "fen"
    CERTIFICATE = "certificate"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A ledger account without its asset, which stands in the leg."""

    holder: str
    purpose: Purpose
    ref: str


class SerialRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int

    @property
    def amount(self) -> int:
        return self.last - self.first + 1


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` in the asset's unit leaves `debit` and reaches `credit`."""

    amount: int
    asset: str
    credit: Account
    debit: Account
    serials: list[SerialRange]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a retirement is for."""

    beneficiary: str
    details: str
    purpose: str


class HolderRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A holder got its opaque id. Company facts only: they stand in a public register anyway.

    A natural person (kind `person`) has no name and no code here: what must be forgettable is never
    in clear.
    """

    holder: str
    kind: HolderKind
    name: str
    uscc: str


class AssetDefined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    backdating_days: int
    name: str
    programme: str
    serialised: bool
    unit: Unit


class Pledge(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Which lien an entry moves units under, or out of; `release` names the pledgee's release."""

    lien: str
    pledgee: str
    release: str | None = None


class EntryPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """The atom of bookkeeping: all legs or none. What is absent is not written."""

    # The bank's day it counts for, where the clearing house has agreed statements with the bank.
    bank_day: str | None = None
    # The settlement bank's statement line that brought the money.
    bank_line: str | None = None
    claim: Claim | None = None
    legs: list[Leg]
    # Under which an operator of the agent acted for the principal.
    mandate: str | None = None
    pledge: Pledge | None = None
    # The session of a venue that settles by files: the trade stands in one of them.
    session: str | None = None
    # The day in Shanghai whose limits of its holder's own it counts on.
    spent_on: str | None = None
    # The venue's trades that this entry settles.
    trades: list[str] = []


class HoldPlaced(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Reserved: one leg from available to held."""

    expires_at_ms: int | None
    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the holder's agent
    to: Account


class HoldPosted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Paid out, all or part. A second leg returns the rest and the hold ends, or the rest stays."""

    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the payee's agent
    rest_held: int = 0  # in the asset's unit


class HoldReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the payee's agent


class HoldExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class UnitsFrozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An authority or a court has frozen what its statement names; it lies still where it lies."""

    # Null: all that the accounts hold, and all that comes in.
    amount: int | None
    # Empty: every asset that the authority may freeze.
    asset: str
    authority: str
    document: str
    # The authority's own name of it.
    freeze: str
    # Empty: the serials below, wherever they lie.
    holder: str
    # The liens it lies over: their pledgees are parties of this event.
    liens: list[Pledge]
    # Empty: every account of the holder.
    purpose: str
    reason: str
    # Empty: every venue or lien.
    ref: str
    serials: list[SerialRange]
    # Its last day, in Shanghai; empty: until it is lifted.
    until: str


class UnitsUnfrozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who had frozen it has lifted it."""

    authority: str
    document: str
    freeze: str
    holder: str
    liens: list[Pledge]
    reason: str


class FreezeExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A freeze ended with its last day."""

    authority: str
    freeze: str
    holder: str
    liens: list[Pledge]


class FreezeName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose freeze, and its own name of it."""

    authority: str
    freeze: str


class TransferFiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two holders have signed a merger or a split; another registrar than this one confirms it."""

    document: str
    filer: Actor
    moves: list[Leg]
    nature: str
    source: str
    target: str
    transfer: str


class TransferPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Units or money changed hands without a trade: by an order, or as two holders agreed."""

    # Whose order; absent: an agreement that was filed.
    authority: str = ""
    document: str
    # Freezes that gave way to the order, for what it moved.
    freezes: list[FreezeName] = []
    legs: list[Leg]
    # Liens that ended on what was moved: their pledgees are parties of this event.
    liens: list[Pledge] = []
    # court, merger, split or succession
    nature: str
    source: str
    target: str
    transfer: str


class TransferWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A filed transfer will not be carried out."""

    source: str
    target: str
    transfer: str


class SafeguardLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of an asset one operator may send to others in a day, in the asset's unit."""

    amount: int
    asset: str


class SafeguardRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A holder's own safeguards."""

    # How long a proposed transfer waits for its second operator.
    approve_within_ms: int
    # How long a confirmed change waits before it counts.
    delay_ms: int
    # By asset, in order; an asset without one has no limit to trusted destinations.
    limits: list[SafeguardLimit]
    # Whether a transfer to somebody not on the list may be proposed at all.
    unlisted: bool


class SafeguardsProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator wants these safeguards; null: none any more."""

    holder: str
    proposal: str
    proposer: Actor
    rules: SafeguardRules | None


class SafeguardsConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another operator confirmed them; they count from then on."""

    effective_ms: int
    holder: str
    proposal: str
    rules: SafeguardRules | None


class SafeguardsWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change was given up: what was proposed, and what waited to count."""

    holder: str
    waiting: bool


class DestinationAdded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator wants this holder, or venue:<name>, to be trusted."""

    destination: str
    holder: str
    proposer: Actor


class DestinationConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another operator confirmed it; it is trusted from then on."""

    destination: str
    effective_ms: int
    holder: str


class DestinationRemoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    destination: str
    holder: str


class TransferProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reserved for a transfer that a second operator has to approve."""

    expires_at_ms: int
    hold: str
    legs: list[Leg]
    proposer: Actor
    to: Account


class TransferApproved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another operator approved: paid out, all of it. Ends the hold."""

    hold: str
    legs: list[Leg]


class TransferRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Given up by an operator: it went back. Ends the hold."""

    hold: str
    legs: list[Leg]
    reason: str


class FileTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One trade of a settlement file, as its venue has signed it."""

    asset: str
    buyer: str
    buyer_fee_fen: int
    price_fen_per_t: int
    quantity_t: int
    seller: str
    seller_fee_fen: int
    trade: str


class SettlementReceived(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A part of a venue's settlement file; its trades stand in the act, in their order.

    Right after it, under the same command, one event for each trade that was not known: EntryPosted
    where it was settled, TradeUnsettled where not.
    """

    closes_at_ms: int  # of the whole session
    fee_holder: str
    file: str
    # From here on no entry settles trades of this venue. Absent: recorded before that was a rule.
    files_alone: bool = False
    known: list[int]  # places of the trades that had been settled before
    part: int
    session: str
    trades: int
    unsettled: list[int]  # places of the trades that could not be settled
    venue: str


class TradeUnsettled(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A trade that was not settled, and why; it may come again in a later part."""

    asset: str | None = None  # what there was too little of, and below whose
    available: int | None = None
    holder: str | None = None
    needed: int | None = None
    reason: str
    session: str
    trade: FileTrade
    venue: str


class SessionTotals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What a session has settled of one asset."""

    asset: str
    fees_fen: int
    quantity_t: int
    trades: int
    turnover_fen: int


class SessionClosed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is settled in it any more. With the venue's act, or on the day it said at first."""

    session: str
    totals: list[SessionTotals]  # by asset
    unsettled: int
    venue: str


# ---- settlement banks ----------------------------------------------------------------------------


class SettlementBankAgreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From here on the bank states, day by day, what this clearing house has with it."""

    asset: str
    bank: str
    clearing_house: str
    # Minutes after midnight in Shanghai at which a day of the bank ends; 1440: at midnight.
    cutoff_minute: int
    document: str
    # The first day that is stated; the statement of it opens with `opening_fen`.
    first_day: str
    opening_fen: int


class BankAccountBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a holder's withdrawals go, until two persons change it: in the holder's own name.

    `account` is the bank's random word for it; the number of the account is nowhere here.
    """

    account: str
    bank: str
    clearing_house: str
    holder: str


class WithdrawalRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money is held for the bank to pay out: one leg from available to held."""

    account: str
    bank: str
    clearing_house: str
    legs: list[Leg]
    withdrawal: str


class WithdrawalInstructed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clearing house asks the bank to pay; asked until the bank has answered."""

    account: str
    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    holder: str
    instructed_at_ms: int
    withdrawal: str


class WithdrawalConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bank has paid, by its own signed word: one leg from held to external. Ends it."""

    bank_day: str
    bank_line: str
    legs: list[Leg]
    withdrawal: str


class WithdrawalReturned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bank has not paid and will not, by its own signed word; held goes back. Ends it."""

    legs: list[Leg]
    reason: str
    withdrawal: str


class WithdrawalCancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Taken back by its holder before the bank was asked. Ends it."""

    legs: list[Leg]
    withdrawal: str


class StatedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A line of the bank's statement: what came in is above zero, what went out below."""

    amount_fen: int
    line: str


class BankStatementReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of the bank's statement of a day, as the bank has signed it."""

    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    lines: list[StatedLine]
    opening_fen: int
    part: int
    parts: int
    # Of all parts together.
    total_lines: int


class BankStatementReconciled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole statement of a day has brought nothing unexplained.

    closing_fen = expected_fen + late_fen + theirs_fen - ours_fen, where what is in theirs and ours
    was told of in an earlier break.
    """

    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    # What the books say the bank has, by business time: minus external at the end of that day.
    expected_fen: int
    # Stated for this day or before, and booked for a later one.
    late_fen: int
    lines: int
    # Booked until this day, and in no statement.
    ours_fen: int
    # Stated, and not booked.
    theirs_fen: int


class BankBreakOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The statement of a day and the books differ: nothing is withdrawn until it is resolved.

    As BankStatementReconciled, with the lines that are new; the first fifty of each side by name.
    """

    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    expected_fen: int
    late_fen: int
    lines: int
    new_ours: int
    new_theirs: int
    ours: list[StatedLine]
    ours_fen: int
    theirs: list[StatedLine]
    theirs_fen: int


class BankBreakResolutionProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person would take what is left of a break as it is, for a reason."""

    asset: str
    bank: str
    by: Actor
    clearing_house: str
    day: str
    proposal: str
    reason: str


class BankBreakResolved(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Nothing of a break is left; or two persons take the rest as it is, which `proposal` names."""

    asset: str
    bank: str
    clearing_house: str
    day: str
    proposal: str | None = None


class ReserveMoveProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person would pay into the default reserve for a holder, or pay a holder out of it."""

    amount_fen: int
    asset: str
    by: Actor
    clearing_house: str
    document: str
    draw: bool
    holder: str
    proposal: str


class ReserveMoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another person agreed: one leg into the default reserve, or out of it."""

    document: str
    legs: list[Leg]
    proposal: str


class BankProposalWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    proposal: str


BANK_EVENTS = (
    SettlementBankAgreed,
    BankAccountBound,
    WithdrawalRequested,
    WithdrawalInstructed,
    WithdrawalConfirmed,
    WithdrawalReturned,
    WithdrawalCancelled,
    BankStatementReceived,
    BankStatementReconciled,
    BankBreakOpened,
    BankBreakResolutionProposed,
    BankBreakResolved,
    ReserveMoveProposed,
    ReserveMoved,
    BankProposalWithdrawn,
)

EVENTS = (
    HolderRegistered,
    AssetDefined,
    EntryPosted,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    HoldExpired,
    UnitsFrozen,
    UnitsUnfrozen,
    FreezeExpired,
    TransferFiled,
    TransferPosted,
    TransferWithdrawn,
    SafeguardsProposed,
    SafeguardsConfirmed,
    SafeguardsWithdrawn,
    DestinationAdded,
    DestinationConfirmed,
    DestinationRemoved,
    TransferProposed,
    TransferApproved,
    TransferRefused,
    SettlementReceived,
    TradeUnsettled,
    SessionClosed,
    *BANK_EVENTS,
    *KEY_EVENTS,
    *CHANGE_EVENTS,
)
