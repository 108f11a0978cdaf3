"""The world of the accounts tests: 兰州新区's forest tickets, their buyer, bank, venue, authority.

Figures from the published deal of 2021: two forest projects, 12,000 t, 41.94 CNY/t. How the tonnes
split over the projects is not published: 7,000 and 5,000 are chosen here. Keys come from printed
seeds and must never sign anything else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes, sign_act
from kernel.ids import derived_holder_id
from kernel.keyring import KeyAdmitted
from kernel.values import Act, Context
from services.accounts.domain.commands import PlaceHold, PostEntry
from services.accounts.domain.decide import decide
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    Claim,
    EntryPosted,
    HolderKind,
    HolderRegistered,
    Leg,
    Purpose,
    SerialRange,
    Unit,
)
from services.accounts.domain.evolve import evolve
from services.accounts.domain.state import State, account_key
from tests.support.books import Book, person

AccountsBook = Book[State]

PROGRAMME = derived_holder_id("lanzhou", "丝路碳票")
QINWANGCHUAN = derived_holder_id("lanzhou", "秦王川 forest farm")
ZHONGCHUAN = derived_holder_id("lanzhou", "中川 forest farm")
CITY_GROUP = derived_holder_id("lanzhou", "兰州新区城投")
BANK = derived_holder_id("lanzhou", "Bank of Lanzhou")
STRANGER = derived_holder_id("shenzhen", "a Shenzhen commuter")  # never registered

TICKET = "TICKET-LZXQ-1"
CNY = "CNY"
VENUE = "market-lzxq"
BACKDATING_DAYS = 5
PRICE_FEN_PER_T = 4194
FOREST_T = {QINWANGCHUAN: 7000, ZHONGCHUAN: 5000}
TOTAL_T = 12_000
TOTAL_FEN = 50_328_000  # 503,280.00 CNY

# Public codes: only the check character matters here, and whose they are does not.
USCCS = {
    QINWANGCHUAN: "914403001922038216",
    ZHONGCHUAN: "9144030071526726XG",
    CITY_GROUP: "91330100799655058B",
    BANK: "91620000224416056W",
}


def seeded_key(name: str) -> Ed25519PrivateKey:
    """A key whose seed is the SHA-256 of its owner's name: for tests alone."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


AUTHORITY_KEY = seeded_key("authority of the tickets")
BANK_KEY = seeded_key("Bank of Lanzhou")
VENUE_KEY = seeded_key("market-lzxq")

REGISTRY = person("registry-maker", roles=["registry"])
CASHIER = person("cashier", roles=["cashier"])
EXCHANGE = person("exchange", roles=[f"venue:{VENUE}"])
FARMER = person("farmer", holders=[QINWANGCHUAN, ZHONGCHUAN])
BUYER = person("buyer", holders=[CITY_GROUP])
SYSTEM = person("writer", roles=["system"])
REGISTRAR = person("registrar", roles=["registrar"])


def admitted(key: Ed25519PrivateKey, subject: str) -> KeyAdmitted:
    public = public_bytes(key)
    return KeyAdmitted(key_id(public), base64.b64encode(public).decode(), subject, "ed25519")


def available(holder: str) -> Account:
    return Account(holder, Purpose.AVAILABLE, "")


def trading(holder: str, venue: str = VENUE) -> Account:
    return Account(holder, Purpose.TRADING, venue)


def retired(holder: str) -> Account:
    return Account(holder, Purpose.RETIRED, "")


def external(bank: str = BANK) -> Account:
    return Account(bank, Purpose.EXTERNAL, bank)


def issued() -> Account:
    return Account(PROGRAMME, Purpose.ISSUED, "")


def leg(amount: int, asset: str, debit: Account, credit: Account, *serials: SerialRange) -> Leg:
    """Debit first, as people say it."""
    return Leg(amount, asset, credit, debit, list(serials))


def pay(holder: str, to: str, amount: int, asset: str = TICKET, *serials: SerialRange) -> PostEntry:
    """From one holder's available account to another's."""
    return PostEntry([leg(amount, asset, available(holder), available(to), *serials)])


def hold(
    holder: str,
    to: str,
    amount: int,
    asset: str = TICKET,
    expires_at_ms: int | None = None,
    serials: Sequence[SerialRange] = (),
) -> PlaceHold:
    return PlaceHold(holder, asset, amount, list(serials), available(to), expires_at_ms)


CLAIM = Claim("兰州新区城投", "2026 annual meeting", "carbon-neutral event")


def the_place(
    decide: Callable[[State, Any, Context], Sequence[msgspec.Struct]] = decide,
    evolve: Callable[[State, Any], None] = evolve,
) -> AccountsBook:
    """Holders, assets and keys; nobody owns anything yet."""
    book = Book(State, decide, evolve)
    names = {
        QINWANGCHUAN: "秦王川林场",
        ZHONGCHUAN: "中川林场",
        CITY_GROUP: "兰州新区城投",
        BANK: "兰州银行",
    }
    kinds = {BANK: HolderKind.SETTLEMENT_BANK}
    book.given(HolderRegistered(PROGRAMME, HolderKind.PROGRAMME, "丝路碳票", ""))
    for holder, name in names.items():
        kind = kinds.get(holder, HolderKind.ENTERPRISE)
        book.given(HolderRegistered(holder, kind, name, USCCS[holder]))
    return book.given(
        AssetDefined(TICKET, BACKDATING_DAYS, "丝路碳票 1", PROGRAMME, True, Unit.T),
        AssetDefined(CNY, BACKDATING_DAYS, "人民币", "", False, Unit.FEN),
        admitted(AUTHORITY_KEY, f"authority:{PROGRAMME}"),
        admitted(BANK_KEY, f"bank:{BANK}"),
        admitted(VENUE_KEY, f"venue:{VENUE}"),
    )


def issue(
    book: AccountsBook, batch: str, owners: dict[str, int], first: int = 1
) -> list[EntryPosted]:
    """Issues one approved batch to these owners, in order."""
    return book.when(
        issuance(batch, owners, first), REGISTRY, acts=[approval(batch, owners, first)]
    )


def issuance(batch: str, owners: dict[str, int], first: int = 1) -> PostEntry:
    legs = []
    for holder, amount in owners.items():
        block = SerialRange(batch, first, first + amount - 1)
        legs.append(leg(amount, TICKET, issued(), available(holder), block))
        first += amount
    return PostEntry(legs)


def approval(
    batch: str,
    owners: dict[str, int],
    first: int = 1,
    /,
    key: Ed25519PrivateKey = AUTHORITY_KEY,
    **changed: object,
) -> Act:
    """What the authority signs; `changed` fields as given."""
    return sign_act(
        key,
        {
            "asset": TICKET,
            "batch": batch,
            "checker": "authority-checker",
            "document": "sha256 of the notice",
            "first": first,
            "kind": "issuance-approval",
            "last": first + sum(owners.values()) - 1,
            "owners": [{"holder": h, "quantity_t": q} for h, q in owners.items()],
            "programme": PROGRAMME,
            **changed,
        },
    )


def deposit(book: AccountsBook, holder: str, amount_fen: int, line: str) -> list[EntryPosted]:
    """Money comes in on the bank's signed advice."""
    return book.when(
        deposit_entry(holder, amount_fen), CASHIER, acts=[advice(holder, amount_fen, line)]
    )


def deposit_entry(holder: str, amount_fen: int) -> PostEntry:
    return PostEntry([leg(amount_fen, CNY, external(), available(holder))])


def advice(
    holder: str,
    amount_fen: int,
    line: str,
    /,
    key: Ed25519PrivateKey = BANK_KEY,
    **changed: object,
) -> Act:
    """What the settlement bank signs over one line of its statement; `changed` fields as given."""
    return sign_act(
        key,
        {
            "amount_fen": amount_fen,
            "asset": CNY,
            "bank": BANK,
            "clearing_house": BANK,
            "holder": holder,
            "kind": "bank-advice",
            "line": line,
            **changed,
        },
    )


Deal = tuple[str, str, str, int, int]  # trade, seller, buyer, t, fen per t


def settlement_entry(*deals: Deal, venue: str = VENUE) -> PostEntry:
    """Delivery and payment of every deal as one entry."""
    legs = []
    for _, seller, buyer, quantity_t, price_fen_per_t in deals:
        ours, theirs = trading(seller, venue), trading(buyer, venue)
        legs.append(leg(quantity_t, TICKET, ours, theirs))
        legs.append(leg(quantity_t * price_fen_per_t, CNY, theirs, ours))
    return PostEntry(legs)


def settlement(
    *deals: Deal, key: Ed25519PrivateKey = VENUE_KEY, venue: str = VENUE, **changed: object
) -> Act:
    """What the venue signs over its trades."""
    trades = [
        {
            "asset": TICKET,
            "buyer": buyer,
            "price_fen_per_t": price_fen_per_t,
            "quantity_t": quantity_t,
            "seller": seller,
            "trade": trade,
        }
        for trade, seller, buyer, quantity_t, price_fen_per_t in deals
    ]
    return sign_act(key, {"kind": "settlement", "trades": trades, "venue": venue, **changed})


def ready_to_trade() -> AccountsBook:
    """Both farms' tonnes and the buyer's money, all of it moved to the venue."""
    book = the_place()
    issue(book, "LZXQ-2021", FOREST_T)
    deposit(book, CITY_GROUP, TOTAL_FEN, "line 1")
    for farm, quantity_t in FOREST_T.items():
        book.when(PostEntry([leg(quantity_t, TICKET, available(farm), trading(farm))]), FARMER)
    book.when(PostEntry([leg(TOTAL_FEN, CNY, available(CITY_GROUP), trading(CITY_GROUP))]), BUYER)
    return book


def balance(state: State, account: Account, asset: str = TICKET) -> int:
    holding = state.accounts.get(account_key(account, asset))
    return 0 if holding is None else holding.balance


def serials(state: State, account: Account, asset: str = TICKET) -> list[tuple[str, int, int]]:
    """Blocks of an account, oldest first."""
    holding = state.accounts.get(account_key(account, asset))
    return [] if holding is None else [msgspec.structs.astuple(b) for b in holding.blocks]


def check_books(book: AccountsBook) -> None:
    """What must always hold: sums are zero, nobody is below it, each serial lies in one place."""
    state = book.state
    sums: dict[str, int] = {}
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for (_, asset, purpose, _), holding in state.accounts.items():
        sums[asset] = sums.get(asset, 0) + holding.balance
        if purpose in (Purpose.ISSUED, Purpose.EXTERNAL):
            assert holding.balance < 0
            assert not holding.blocks
            continue
        assert holding.balance > 0
        if state.assets[asset].serialised:
            assert holding.balance == sum(block.amount for block in holding.blocks)
        else:
            assert not holding.blocks
        for block in holding.blocks:
            places.setdefault((asset, block.batch), []).append((block.first, block.last))
    assert all(total == 0 for total in sums.values()), sums
    for where, ranges in places.items():
        ranges.sort()
        overlaps = [(one, other) for one, other in pairwise(ranges) if one[1] >= other[0]]
        assert not overlaps, (where, overlaps)
    for holder, keys in state.keys_by_holder.items():
        assert keys == {key for key in state.accounts if key[0] == holder}
    assert book.replayed() == state
