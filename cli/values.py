"""What the tools say to the services and hear from them: plain values, no protocol in sight.

Words are those of the events: a purpose is `available`, a kind `enterprise`, a unit `t`. Amounts
are in the asset's unit, instants in milliseconds since 1970. The clients beside this module turn
them into messages and back: cli/clients.py and cli/*_client.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernel.values import Act


@dataclass(frozen=True)
class Persona:
    """Somebody who calls: a subject, its roles, and the holders it operates for."""

    sub: str
    roles: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """A ledger account without its asset; `purpose` is the word the events use: available, …"""

    holder: str
    purpose: str = "available"
    ref: str = ""


@dataclass(frozen=True)
class SerialRange:
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int

    @property
    def amount(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Leg:
    """`amount` in the asset's unit leaves `debit` and reaches `credit`."""

    debit: Account
    credit: Account
    asset: str
    amount: int
    serials: tuple[SerialRange, ...] = ()


@dataclass(frozen=True)
class Claim:
    beneficiary: str
    purpose: str
    details: str = ""


@dataclass(frozen=True)
class Entry:
    """`on_ms` None: the business time is the recording."""

    id: str
    legs: tuple[Leg, ...]
    on_ms: int | None = None
    claim: Claim | None = None
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True)
class Holder:
    """`kind` is the word the events use: enterprise, settlement_bank, venue, programme, foreign."""

    id: str
    holder: str
    kind: str
    name: str
    uscc: str = ""


@dataclass(frozen=True)
class Asset:
    """`unit` is t, fen or certificate; `programme` the holder that issues it, empty for money."""

    id: str
    asset: str
    unit: str
    name: str
    programme: str = ""
    serialised: bool = False
    backdating_days: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a position when it is recorded, a reason when it was refused."""

    id: str
    position: int | None = None
    repeated: bool = False
    reason: str = ""
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return self.position is not None


@dataclass(frozen=True)
class Refusal:
    """Why another book said no to what one of them asked of it."""

    reason: str = ""
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Balance:
    account: Account
    asset: str
    amount: int
    serials: tuple[SerialRange, ...]


@dataclass(frozen=True)
class Total:
    """Sums of one asset over all accounts, in its unit; `sum` must be zero."""

    asset: str
    sum: int
    issued: int
    in_circulation: int
    retired: int
    negative_accounts: int


@dataclass(frozen=True)
class Movement:
    position: int
    debit: Account
    credit: Account
    asset: str
    amount: int
    on_ms: int


@dataclass(frozen=True)
class ReceiptAnswer:
    """The files of one event, or why they were refused; `cose` is empty unless asked for.

    `overrides`: where in the ledger's book two persons have accepted that it broke a rule.
    """

    position: int
    file: bytes = b""
    cose: bytes = b""
    refused: Refusal | None = None
    overrides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Disclosed:
    """An event's stored bytes and the salt of its commitment."""

    position: int
    record: bytes
    salt: bytes


@dataclass(frozen=True)
class Proofs:
    """Inclusion proofs by position; when the first checkpoint over all of them was published."""

    by_position: Mapping[int, bytes]
    proven_at_ms: int


@dataclass(frozen=True)
class DirectoryKey:
    key_id: str
    subject: str
    public_key: bytes
    revoked: bool


@dataclass(frozen=True)
class StandingHalt:
    """Where a log stopped, and by which rule: what an override has to name."""

    position: int
    rule: str
    expected: str
    actual: str


@dataclass(frozen=True)
class WitnessStanding:
    """How it stands with one witness of one log; `said` is "cosigned" when all is well."""

    names: tuple[str, ...]
    cosigned: int
    said: str
    alarm: str


@dataclass(frozen=True)
class BookStatus:
    """`folded` and `proven` count events; `halt` says rule and position, empty when in order.

    `expected` and `actual`: what that rule wanted, and what it found.
    `witnessed` are those under the checkpoint that is shown. While a key is missing none is signed.
    """

    book: str
    folded: int
    proven: int
    halt: str
    expected: str
    actual: str
    witnessed: int
    witnesses: tuple[WitnessStanding, ...]
    missing_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instruction:
    """A withdrawal the bank is asked to pay; `account` is the bank's own word for where."""

    withdrawal: str
    holder: str
    account: str
    amount_fen: int


@dataclass(frozen=True)
class BankBreak:
    """Lines that a statement and the books do not agree on: the bank's number, fen."""

    day: str
    theirs: tuple[tuple[str, int], ...]
    theirs_count: int
    ours: tuple[tuple[str, int], ...]
    ours_count: int


@dataclass(frozen=True)
class BankStanding:
    """How the books of accounts stand with a bank."""

    clearing_house: str
    asset: str
    bank: str
    cutoff_minute: int
    first_day: str
    balance_fen: int
    stated_day: str
    stated_fen: int
    unstated_lines: int
    breaks: tuple[BankBreak, ...]
    default_reserve_fen: int
