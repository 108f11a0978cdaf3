"""State proofs: a balance, or a lien with its serials, at a state the ledger has committed to.

A *state entry* is a leaf of the log `<prefix>/state`: canonical JSON with the roots of the two maps
(maps.py) and the size and root of the book they were made from. A `.holding` file shows one account
of the balance map; a `.lien` file shows what lies under one lien, in both maps, and the receipt of
the entry that pledged it. Both are ZIPs with one spelling (container.py) and bring no policy.

What a proof says is what the ledger asserts and its witnesses saw at that size of the log: they
cannot know it to be true. Who replays the books (`tanzhang audit`) can show it to be false.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from kernel.tlog import maps
from kernel.tlog.container import CONTAINER, pack_members, unpack_members
from kernel.tlog.encoding import MAX_UINT63, decode_base64, decode_hash, encode_base64
from kernel.tlog.errors import FormatError, NoteError, PolicyError, ProofError, ReceiptError
from kernel.tlog.maps import Leaf
from kernel.tlog.note import VerifiedSignature
from kernel.tlog.policy import Policy
from kernel.tlog.proof import MAX_PROOF_BYTES, VerifiedProof, verify_proof
from kernel.tlog.receipt import MAX_RECEIPT_BYTES, VerifiedReceipt, verify_receipt

STATE_BOOK = "state"  # the log's name; no journal has it
CLAIM, STATE, PROOF, PLEDGE = "claim.json", "state.bin", "state.tlog-proof", "pledge.receipt"
POLICY, CHECKPOINT = "policy", "checkpoint"
PARTS = (CONTAINER, CLAIM, STATE, PROOF, PLEDGE, POLICY, CHECKPOINT)
MAX_CLAIM_BYTES = 4 * 1024 * 1024
MAX_STATE_BYTES = 65_535
SALT_BYTES = 16
_HOLDING_LIMITS = {CLAIM: MAX_CLAIM_BYTES, STATE: MAX_STATE_BYTES, PROOF: MAX_PROOF_BYTES}
_LIEN_LIMITS = {**_HOLDING_LIMITS, PLEDGE: MAX_RECEIPT_BYTES}
HOLDING, LIEN = "holding", "lien"


class Account(NamedTuple):
    """A ledger account, as the books name it."""

    holder: str
    asset: str
    purpose: str
    ref: str


class SerialRange(NamedTuple):
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StateEntry:
    """What one entry of the state log says. `size` and `root` are those of the book's own log."""

    position: int
    at: str
    book: str
    size: int
    root: bytes
    balances: bytes
    serials: bytes

    def encode(self) -> bytes:
        of = {"book": self.book, "root": encode_base64(self.root), "size": self.size}
        fields = {
            "at": self.at,
            "balances": encode_base64(self.balances),
            "book": STATE_BOOK,
            "of": of,
            "position": self.position,
            "serials": encode_base64(self.serials),
            "v": 1,
        }
        return canonical_json(fields)


@dataclass(frozen=True, slots=True)
class ProvenState:
    """A state entry that a log the policy knows holds."""

    entry: StateEntry
    origin: str
    log_size: int
    log_root: bytes
    cosigners: tuple[VerifiedSignature, ...]
    log: VerifiedSignature


@dataclass(frozen=True, slots=True)
class VerifiedHolding:
    """`amount` is what the account holds in that state."""

    account: Account
    amount: int
    state: ProvenState


@dataclass(frozen=True, slots=True)
class VerifiedLien:
    """All that lies under a lien in that state. `pledge` is the entry that made the lien.

    `serials` are all of it for serialised assets, and empty for others or when nothing is left.
    """

    lien: str
    pledgor: str
    pledgee: str
    asset: str
    quantity: int
    serials: tuple[SerialRange, ...]
    state: ProvenState
    pledge: VerifiedReceipt


# ---- what the maps hold ------------------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8: the one spelling that is accepted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def account_text(account: Account) -> bytes:
    """An account in canonical JSON: what its key is made of."""
    return canonical_json(account._asdict())


def balance_text(account: Account, amount: int) -> bytes:
    """What a leaf of the balance map commits to."""
    return b'{"account":%b,"amount":%d}' % (account_text(account), amount)


def balance_value(salt: bytes, account: Account, amount: int) -> bytes:
    """SHA-256(salt || text), as an event's commitment is."""
    return sha256(salt + balance_text(account, amount)).digest()


def balance_leaf(map_key: bytes, account: Account, amount: int) -> tuple[Leaf, bytes]:
    """An account's leaf and its salt: for who has the map key."""
    named = account_text(account)
    text = b'{"account":%b,"amount":%d}' % (named, amount)
    salt = hmac.digest(map_key, b"salt:" + text, "sha256")[:SALT_BYTES]
    return Leaf(account_key(map_key, named), sha256(salt + text).digest()), salt


def account_key(map_key: bytes, named: bytes) -> bytes:
    """Where an account (`account_text`) stands in the balance map."""
    return hmac.digest(map_key, named, "sha256")


def batch_key(asset: str, batch: str) -> bytes:
    """Where a batch stands in the serial map."""
    return sha256(canonical_json({"asset": asset, "batch": batch})).digest()


def status_text(purpose: str, ref: str) -> str:
    """The status of serials in an account of this purpose; of liens, which one."""
    if purpose == "pledged":
        return canonical_json({"lien": ref, "status": purpose}).decode()
    return _status_alone(purpose)


@lru_cache(maxsize=64)
def _status_alone(purpose: str) -> str:
    # asked for every range that has moved between two states
    return canonical_json({"status": purpose}).decode()


# ---- files -------------------------------------------------------------------------------------


class StateProof(NamedTuple):
    """A state entry and its proof file, as a `.holding` or `.lien` file carries them."""

    entry: bytes
    proof: bytes


class BalanceProof(NamedTuple):
    """An account's leaf and the siblings down to it."""

    account: Account
    amount: int
    key: bytes
    path: Sequence[bytes]
    salt: bytes

    def fields(self) -> dict[str, Any]:
        return {
            "account": self.account._asdict(),
            "amount": self.amount,
            "key": encode_base64(self.key),
            "path": _path_text(self.path),
            "salt": encode_base64(self.salt),
        }


class BatchProof(NamedTuple):
    """The part of a batch's trie in which these serials lie, and the siblings above the batch."""

    batch: str
    bits: int
    path: Sequence[bytes]
    tokens: Sequence[str]
    serials: Sequence[tuple[int, int]]

    def fields(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "bits": self.bits,
            "path": _path_text(self.path),
            "serials": [list(one) for one in self.serials],
            "tree": list(self.tokens),
        }


def make_holding(state: StateProof, balance: BalanceProof) -> bytes:
    """The `.holding` file."""
    claim = {"holding": balance.fields(), "kind": HOLDING, "v": 1}
    return pack_members({CLAIM: canonical_json(claim), STATE: state.entry, PROOF: state.proof})


def make_lien(
    lien: str,
    state: StateProof,
    balance: BalanceProof,
    batches: Sequence[BatchProof],
    pledge: bytes,
) -> bytes:
    """The `.lien` file; `pledge` is the receipt of the entry that made the lien."""
    claim = {
        "batches": [one.fields() for one in batches],
        "holding": balance.fields(),
        "kind": LIEN,
        "lien": lien,
        "v": 1,
    }
    members = {CLAIM: canonical_json(claim), STATE: state.entry, PROOF: state.proof}
    return pack_members({**members, PLEDGE: pledge})


def kind_of_file(data: bytes) -> str | None:
    """`holding` or `lien` by the members of a ZIP of ours; None for any other bytes."""
    if not data.startswith(b"PK\x03\x04") or data[30 : 30 + len(CLAIM)] != CLAIM.encode():
        return None
    return LIEN if PLEDGE.encode() in data[-400:] else HOLDING


def verify_holding(data: bytes, policy: Policy) -> VerifiedHolding:
    """Verify a `.holding` file against a policy from elsewhere. ReceiptError names the part."""
    members = unpack_members(data, _HOLDING_LIMITS)
    claim = _claim(members[CLAIM], HOLDING, {"holding"})
    state = _state(members, policy)
    account, amount = _check_balance(claim["holding"], state.entry)
    return VerifiedHolding(account, amount, state)


def verify_lien(data: bytes, policy: Policy) -> VerifiedLien:
    """Verify a `.lien` file against a policy from elsewhere. ReceiptError names the part.

    Proved is: this entry made the lien for this pledgee; the state came after it; the account of
    the lien holds this quantity there; and each of these serials has the one status "pledged under
    this lien", so it is under no other lien and neither retired nor surrendered.
    """
    members = unpack_members(data, _LIEN_LIMITS)
    claim = _claim(members[CLAIM], LIEN, {"batches", "holding", "lien"})
    state = _state(members, policy)
    account, amount = _check_balance(claim["holding"], state.entry)
    lien = claim["lien"]
    if (account.purpose, account.ref) != ("pledged", lien):
        raise ReceiptError(CLAIM, f"expected the account of lien {lien}, got {account}")
    try:
        pledge = verify_receipt(members[PLEDGE], policy)
    except ReceiptError as error:
        raise ReceiptError(PLEDGE, str(error)) from error
    pledgee, serialised = _check_pledge(pledge, account, state)
    serials = _check_serials(claim["batches"], account, state.entry)
    shown = sum(one.last - one.first + 1 for one in serials)
    if shown != (amount if serialised else 0):
        raise ReceiptError(CLAIM, f"expected serials for {amount}, got {shown}")
    return VerifiedLien(
        lien, account.holder, pledgee, account.asset, amount, tuple(serials), state, pledge
    )


# ---- reading -----------------------------------------------------------------------------------


def parse_state(data: bytes) -> StateEntry:
    """A state entry, strictly. FormatError."""
    fields = _object(data, "state entry")
    try:
        of = fields["of"]
        entry = StateEntry(
            position=_number(fields["position"]),
            at=_text(fields["at"]),
            book=_text(of["book"]),
            size=_number(of["size"]),
            root=decode_hash(_text(of["root"]), "state root"),
            balances=decode_hash(_text(fields["balances"]), "state balances"),
            serials=decode_hash(_text(fields["serials"]), "state serials"),
        )
    except (KeyError, TypeError) as error:
        raise FormatError(f"state entry: expected its fields, got {error!r}") from error
    if entry.encode() != data:
        raise FormatError("state entry: expected its one canonical spelling, got another")
    return entry


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        fields: Any = json.loads(data)
        canonical = isinstance(fields, dict) and canonical_json(fields) == data
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON: {error}") from error
    if not canonical:
        raise FormatError(f"{what}: expected one JSON object with sorted keys and no spaces")
    return dict(fields)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text, got {type(value).__name__}")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_UINT63:
        raise TypeError(f"a number in 0..2^63, got {value!r}"[:80])
    return value


def _claim(data: bytes, kind: str, wanted: set[str]) -> dict[str, Any]:
    try:
        claim = _object(data, CLAIM)
    except FormatError as error:
        raise ReceiptError(CLAIM, str(error)) from error
    said = (claim.get("kind"), type(claim.get("v")), claim.get("v"))  # to Python, true is 1
    if said != (kind, int, 1) or set(claim) != wanted | {"kind", "v"}:
        raise ReceiptError(CLAIM, f"expected {kind} version 1 with {sorted(wanted)}")
    return claim


def _state(members: Mapping[str, bytes], policy: Policy) -> ProvenState:
    try:
        entry = parse_state(members[STATE])
    except FormatError as error:
        raise ReceiptError(STATE, str(error)) from error
    proven = _proven(members, policy)
    if not proven.origin.endswith(f"/{STATE_BOOK}"):
        raise ReceiptError(CHECKPOINT, f"expected a log <prefix>/{STATE_BOOK}, got {proven.origin}")
    if entry.position != proven.index:
        raise ReceiptError(STATE, f"expected position {proven.index}, got {entry.position}")
    return ProvenState(entry, proven.origin, proven.size, proven.root, proven.cosigners, proven.log)


def _proven(members: Mapping[str, bytes], policy: Policy) -> VerifiedProof:
    try:
        return verify_proof(members[PROOF], members[STATE], policy)
    except PolicyError as error:
        raise ReceiptError(POLICY, str(error)) from error
    except NoteError as error:
        raise ReceiptError(CHECKPOINT, str(error)) from error
    except (FormatError, ProofError) as error:
        raise ReceiptError(PROOF, str(error)) from error


def _check_balance(fields: Any, entry: StateEntry) -> tuple[Account, int]:
    try:
        balance = _read_balance(fields)
        value = balance_value(balance.salt, balance.account, balance.amount)
        root = maps.present_root(Leaf(balance.key, value), balance.path)
    except (FormatError, ProofError, KeyError, TypeError) as error:
        raise ReceiptError(CLAIM, f"balance: {error}") from error
    if root != entry.balances:
        raise ReceiptError(
            CLAIM,
            f"balance of {balance.account}: expected the root {encode_base64(entry.balances)}, "
            f"got {encode_base64(root)}",
        )
    return balance.account, balance.amount


def _read_balance(fields: Any) -> BalanceProof:
    account = Account(**{name: _text(fields["account"][name]) for name in Account._fields})
    salt = decode_base64(_text(fields["salt"]), "salt")
    amount = fields["amount"]
    if type(amount) is not int or abs(amount) > MAX_UINT63:
        raise FormatError(f"expected an amount, got {amount!r}"[:120])
    if len(salt) != SALT_BYTES:
        raise FormatError(f"expected a salt of {SALT_BYTES} bytes, got {len(salt)}")
    key, path = decode_hash(_text(fields["key"]), "key"), _read_path(fields["path"])
    balance = BalanceProof(account, amount, key, path, salt)
    if balance.fields() != fields:
        raise FormatError("expected the fields of a balance and nothing else")
    return balance


def _check_serials(rows: Any, account: Account, entry: StateEntry) -> list[SerialRange]:
    """Each listed range is shown with the status of this account, under the state's root."""
    status = status_text(account.purpose, account.ref)
    found: list[SerialRange] = []
    try:
        if not isinstance(rows, list):
            raise FormatError(f"expected a list of batches, got {type(rows).__name__}")
        for row in rows:
            batch = BatchProof(
                _text(row["batch"]),
                _number(row["bits"]),
                _read_path(row["path"]),
                [_text(one) for one in row["tree"]],
                [(_number(first), _number(last)) for first, last in row["serials"]],
            )
            if batch.fields() != row:
                raise FormatError("expected the fields of a batch and nothing else")
            inner, pieces = maps.shown_serials(batch.tokens, batch.bits)
            leaf = Leaf(batch_key(account.asset, batch.batch), maps.batch_value(batch.bits, inner))
            root = maps.present_root(leaf, batch.path)
            if root != entry.serials:
                raise ProofError(
                    f"{batch.batch}: expected the root {encode_base64(entry.serials)}, "
                    f"got {encode_base64(root)}"
                )
            for first, last in batch.serials:
                _require_next(found, batch.batch, first, last)
                maps.require_status(pieces, first, last, status)
                found.append(SerialRange(batch.batch, first, last))
    except (FormatError, ProofError, KeyError, TypeError, ValueError) as error:
        raise ReceiptError(CLAIM, f"serials: {error}") from error
    return found


def _require_next(found: list[SerialRange], batch: str, first: int, last: int) -> None:
    """In order and disjoint: else one range could be counted twice."""
    before = found[-1] if found else SerialRange("", 0, 0)
    if last < first or (batch, first) <= (before.batch, before.last):
        raise FormatError(
            f"expected ranges in order, got {batch} {first}..{last} after "
            f"{before.batch} {before.first}..{before.last}"
        )


def _check_pledge(
    pledge: VerifiedReceipt, account: Account, state: ProvenState
) -> tuple[str, bool]:
    """(pledgee, does it name serials) of the entry that made the lien."""
    prefix = state.origin.removesuffix(STATE_BOOK)
    if pledge.origin != prefix + state.entry.book:
        raise ReceiptError(
            PLEDGE, f"expected the log {prefix}{state.entry.book}, got {pledge.origin}"
        )
    if pledge.position >= state.entry.size:
        raise ReceiptError(
            STATE, f"expected a state after position {pledge.position}, got {state.entry.size}"
        )
    try:
        record = json.loads(pledge.record)
        body = record["body"]
        (leg,) = body["legs"]
        made = body["pledge"]
        credit = Account(asset=leg["asset"], **leg["credit"])
        named = (record["type"], credit, made["lien"])
        if named != ("EntryPosted", account, account.ref) or "release" in made:
            raise ReceiptError(PLEDGE, f"expected the pledge of {account}, got {credit}")
        return _text(made["pledgee"]), bool(leg["serials"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ReceiptError):
            raise
        raise ReceiptError(PLEDGE, f"expected an entry that pledges: {error!r}") from error


def _path_text(path: Sequence[bytes]) -> list[str]:
    return ["" if one == maps.EMPTY else encode_base64(one) for one in path]


def _read_path(texts: Any) -> list[bytes]:
    """Siblings from the root's child down; an empty text is an empty subtree."""
    if not isinstance(texts, list) or len(texts) > maps.KEY_BITS:
        raise FormatError(f"path: expected a list of at most {maps.KEY_BITS} hashes")
    return [
        maps.EMPTY if text == "" else decode_hash(_text(text), f"path hash {n}")
        for n, text in enumerate(texts)
    ]
