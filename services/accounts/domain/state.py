"""What the accounts book knows, in memory; rebuilt from the events by evolve alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.keyring import Keyring
from kernel.values import Actor
from services.accounts.domain.bank_state import BankAccount, BankKey
from services.accounts.domain.changes import (
    AccountTerms,
    ChangeProposed,
    HolderKind,
    Mandate,
    Operator,
    Status,
)
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    BankBreakResolutionProposed,
    Purpose,
    ReserveMoveProposed,
    SafeguardRules,
    SafeguardsProposed,
    SerialRange,
    TransferFiled,
)

AccountKey = tuple[str, str, str, str]  # holder, asset, purpose, ref

# Only these two may be below zero: what was issued, and what the banks owe outside.
MAY_BE_NEGATIVE = frozenset({Purpose.ISSUED, Purpose.EXTERNAL})


@dataclass(slots=True)
class Holding:
    """One ledger account: its balance, and its blocks if the asset is serialised."""

    balance: int = 0
    blocks: list[SerialRange] = field(default_factory=list)


@dataclass(slots=True)
class Hold:
    """A live hold; its units lie in the account (holder, asset, held, id)."""

    holder: str
    asset: str
    amount: int
    to: Account
    expires_at_ms: int | None
    proposer: Actor | None = None  # of a transfer that another operator has to approve


@dataclass(slots=True)
class Lien:
    """A registered pledge: in whose favour, and which of its releases have been booked."""

    pledgee: str
    releases: set[str] = field(default_factory=set)
    pledgor: str = ""
    asset: str = ""


FreezeKey = tuple[str, str]  # whose order, and its own name of it


@dataclass(slots=True)
class Freeze:
    """What lies still; empty words mean "every"."""

    holder: str
    asset: str
    purpose: str
    ref: str
    amount: int | None
    serials: list[SerialRange]
    programme: str  # the only one whose assets it reaches
    until: str
    document: str
    reason: str


@dataclass(slots=True)
class Frozen:
    """All live freezes, by what a movement asks for: its holder, and the batch of its serials."""

    live: dict[FreezeKey, Freeze] = field(default_factory=dict)
    by_holder: dict[str, list[FreezeKey]] = field(default_factory=dict)
    by_batch: dict[str, dict[str, list[FreezeKey]]] = field(default_factory=dict)  # asset, batch
    names: set[FreezeKey] = field(default_factory=set)  # there ever were
    ends: list[tuple[int, FreezeKey]] = field(default_factory=list)  # a heap of (ms, freeze)


@dataclass(slots=True)
class Safeguards:
    """What a holder has asked for its own protection; bounded, whatever it sends."""

    rules: SafeguardRules | None = None
    next_rules: SafeguardRules | None = None  # a confirmed change, and from when on it counts
    next_ms: int | None = None
    asked: SafeguardsProposed | None = None  # a change that waits for a second operator
    destinations: dict[str, int] = field(default_factory=dict)  # trusted from when on
    added: dict[str, Actor] = field(default_factory=dict)  # waiting, by whom
    spent: dict[str, tuple[str, int]] = field(default_factory=dict)  # asset: day, amount


COURT = "court:"  # whose orders reach everything
_STRICTNESS = tuple(Status)  # from free to ended


@dataclass(slots=True)
class Standing:
    """A holder's status: what registrars have set, and what authorities and courts have ordered."""

    own: Status = Status.ACTIVE
    orders: dict[str, Status] = field(default_factory=dict)  # by the subject of who ordered

    def status(self, programme: str) -> Status:
        """The strictest of all that reach units of a programme; money without one has none."""
        reaching = [
            status
            for subject, status in self.orders.items()
            if subject == f"authority:{programme}" or subject.startswith(COURT)
        ]
        return max((self.own, *reaching), key=_STRICTNESS.index)


@dataclass(slots=True)
class DatedTerms:
    """A programme's terms on accounts from an instant on, and who is barred for its part."""

    from_ms: int
    terms: AccountTerms
    barred: set[str]


@dataclass(slots=True)
class Control:
    """Who may act for a holder, where the book itself says so."""

    # By issuer and subject. None: there is no register, tokens decide alone.
    operators: dict[str, Operator] | None = None
    manager: str | None = None  # of a fund, empty before it has one; None: this is no fund


@dataclass(slots=True)
class Totals:
    """What a session has settled of one asset."""

    trades: int = 0
    quantity_t: int = 0
    turnover_fen: int = 0
    fees_fen: int = 0


@dataclass(slots=True)
class Session:
    """An open session of a venue that settles by files; forgotten when it closes.

    By trade a fingerprint of what the venue signed: a trade's name stands for one content.
    """

    closes_at_ms: int
    fee_holder: str
    settled: dict[str, bytes] = field(default_factory=dict)
    unsettled: dict[str, bytes] = field(default_factory=dict)
    totals: dict[str, Totals] = field(default_factory=dict)  # by asset


BoundKey = tuple[str, str, str]  # holder, clearing house, bank


@dataclass(slots=True)
class Rebound:
    """The bank account of withdrawals that are asked for from an instant on."""

    account: str
    effective_ms: int
    proposal: str


@dataclass(slots=True)
class Withdrawal:
    """One that is open; its money is the live hold of the same id."""

    holder: str
    asset: str
    amount_fen: int
    clearing_house: str
    bank: str
    account: str
    instructed_at_ms: int | None = None


@dataclass
class State:
    holders: dict[str, HolderKind] = field(default_factory=dict)
    holder_by_uscc: dict[str, str] = field(default_factory=dict)
    programmes: list[str] = field(default_factory=list)  # holders of that kind
    assets: dict[str, AssetDefined] = field(default_factory=dict)
    accounts: dict[AccountKey, Holding] = field(default_factory=dict)
    # Keys of `accounts` by holder, so that a holder's balances are not a scan of all accounts.
    keys_by_holder: dict[str, set[AccountKey]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    # A heap of (ms, hold), which only the timer reads: see kernel/layers.py.
    expiries: list[tuple[int, str]] = field(default_factory=list, metadata={"timer_only": True})
    keyring: Keyring = field(default_factory=Keyring)
    liens: dict[str, Lien] = field(default_factory=dict)
    batches: set[tuple[str, str]] = field(default_factory=set)  # (asset, batch) issued
    bank_lines: set[tuple[str, str]] = field(default_factory=set)  # (bank, statement line)
    trades: set[tuple[str, str]] = field(default_factory=set)  # (venue, trade)
    # What changes.py tells of. Only who is not simply free is in standings, only funds and who has
    # a register in controls: for everybody else a rule costs one look-up.
    proposals: dict[str, ChangeProposed] = field(default_factory=dict)  # open ones
    standings: dict[str, Standing] = field(default_factory=dict)
    status_orders: set[tuple[str, str]] = field(default_factory=set)  # (authority, its number)
    account_terms: dict[str, list[DatedTerms]] = field(default_factory=dict)  # by programme
    # (holder, programme): the venue of its trading account, empty with registration alone.
    openings: dict[tuple[str, str], str] = field(default_factory=dict)
    controls: dict[str, Control] = field(default_factory=dict)
    mandates: dict[str, Mandate] = field(default_factory=dict)  # live ones
    mandates_by_holder: dict[str, list[str]] = field(default_factory=dict)  # principal or agent
    frozen: Frozen = field(default_factory=Frozen)
    transfers: set[tuple[str, str]] = field(default_factory=set)  # (authority or "", transfer)
    safeguards: dict[str, Safeguards] = field(default_factory=dict)
    filed: dict[str, TransferFiled] = field(default_factory=dict)  # waiting for a second registrar
    sessions: dict[tuple[str, str], Session] = field(default_factory=dict)  # (venue, session)
    closed_sessions: set[tuple[str, str]] = field(default_factory=set)
    file_venues: set[str] = field(default_factory=set)  # whose trades stand in files from then on

    bank_accounts: dict[BankKey, BankAccount] = field(default_factory=dict)
    # The bank's word for the account; and for those that were changed, the last change.
    bound_accounts: dict[BoundKey, str] = field(default_factory=dict)
    rebound: dict[BoundKey, Rebound] = field(default_factory=dict)
    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)  # open ones
    break_resolutions: dict[str, BankBreakResolutionProposed] = field(default_factory=dict)
    reserve_moves: dict[str, ReserveMoveProposed] = field(default_factory=dict)


def account_key(account: Account, asset: str) -> AccountKey:
    return (account.holder, asset, account.purpose, account.ref)
