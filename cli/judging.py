"""Judging files offline: what each of them proves to who trusts this policy, or what differs.

Knows receipts, holdings and liens by their content, and COSE receipts, which stand beside the
receipt of the same name (it has the event they are of). Institutions' acts inside events are
checked against keys the reader has pinned, and against keys that receipts of `KeyRegistered` judged
in the same run have shown. Says nothing: cli/explaining.py does. Reaches no network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from cli.errors import CliError
from cli.trust import Institution, Trust, read_bounded
from kernel.acts import SUITE_ED25519, key_id, verify_act
from kernel.tlog.cose import CoseReceipt, parse_cose_receipt, verify_cose_receipt
from kernel.tlog.errors import FormatError, NoteError, ProofError, ReceiptError
from kernel.tlog.note import ED25519, VerifiedSignature
from kernel.tlog.policy import Policy
from kernel.tlog.receipt import (
    EVENT,
    POLICY,
    VerifiedReceipt,
    book_of,
    commitment,
    leaf_data,
    split_receipt,
    stated_place,
    verify_receipt,
)
from kernel.tlog.states import (
    HOLDING,
    LIEN,
    VerifiedHolding,
    VerifiedLien,
    canonical_json,
    kind_of_file,
    verify_holding,
    verify_lien,
)
from kernel.values import Act

MAX_FILE_BYTES: Final = 8 * 1024 * 1024  # a .lien has at most 4 MiB of claim, and is the largest
RECEIPT, COSE, ACT = "receipt", "cose", "act"
COSE_SUFFIX, RECEIPT_SUFFIX = ".cose", ".receipt"
LEDGER_BOOK: Final = "ledger"


@dataclass(frozen=True, slots=True)
class ProvenCose:
    """What a verified COSE receipt says, with the record its leaf was made of."""

    book: str
    position: int
    record: bytes
    origin: str
    receipt: CoseReceipt
    log: VerifiedSignature


Proven = VerifiedReceipt | VerifiedHolding | VerifiedLien | ProvenCose


class Override(NamedTuple):
    """Two persons took an event as it was; `position` in the ledger's own book."""

    rule: str
    position: int


class CheckedAct(NamedTuple):
    """A signature inside the event. `by` None: nobody here knows its key, it is not checked."""

    key_id: str
    kind: str
    by: Institution | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Exactly one of `proven`, `refused` and `unread` is there."""

    file: Path
    kind: str
    proven: Proven | None = None
    refused: ReceiptError | None = None
    unread: CliError | None = None
    acts: tuple[CheckedAct, ...] = ()
    overrides: tuple[Override, ...] = ()

    @property
    def valid(self) -> bool | None:
        return None if self.unread else self.proven is not None


_VERIFY: Final[dict[str, Callable[[bytes, Policy], Proven]]] = {
    HOLDING: verify_holding,
    LIEN: verify_lien,
    RECEIPT: verify_receipt,
}


def judge_files(paths: Sequence[Path], trust: Trust) -> list[Verdict]:
    """One verdict each, in order."""
    verdicts = [_judge(path, trust.policy) for path in paths]
    shown = _shown_keys(verdicts)
    overrides = list(_shown_overrides(verdicts))
    return [_with_overrides(_with_acts(verdict, trust, shown), overrides) for verdict in verdicts]


def _judge(path: Path, policy: Policy) -> Verdict:
    kind = COSE if path.suffix == COSE_SUFFIX else RECEIPT
    try:
        data = read_bounded(path, "file", MAX_FILE_BYTES)
        if kind == COSE:
            return Verdict(path, COSE, _judge_cose(path, data, policy))
        kind = kind_of_file(data) or RECEIPT
        return Verdict(path, kind, _VERIFY[kind](data, policy))
    except ReceiptError as error:
        return Verdict(path, kind, refused=error)
    except CliError as error:
        return Verdict(path, kind, unread=error)


def _judge_cose(path: Path, data: bytes, policy: Policy) -> ProvenCose:
    """Against the event in the receipt beside it; of that one only event and salt are used."""
    beside = path.with_suffix(RECEIPT_SUFFIX)
    record, salt, _ = split_receipt(read_bounded(beside, "the event's receipt", MAX_FILE_BYTES))
    try:
        origin = parse_cose_receipt(data).issuer
        logs = [log.key for log in policy.logs if log.key.name == origin]
        if not logs:
            raise ReceiptError(POLICY, f"the policy knows no log {origin}")
        book, position = book_of(origin), stated_place(record)[1]
        entry = leaf_data(book, position, commitment(salt, record))
        log = next((one for one in logs if _is_named(one.key_id, data)), logs[0])
        receipt = verify_cose_receipt(data, entry, log)
    except (FormatError, NoteError, ProofError) as error:
        raise ReceiptError(COSE, str(error)) from error
    if stated_place(record) != (book, receipt.index):
        raise ReceiptError(
            EVENT, f"expected {(book, receipt.index)}, the record says {stated_place(record)}"
        )
    by = VerifiedSignature(log.name, log.key_id, ED25519, log.public, None)
    return ProvenCose(book, receipt.index, record, origin, receipt, by)


def _is_named(id: int, data: bytes) -> bool:
    return parse_cose_receipt(data).key_id == id.to_bytes(4, "big")


# ---- institutions' own signatures ----------------------------------------------------------------


def event_of(proven: Proven) -> VerifiedReceipt | ProvenCose | None:
    """The event a file carries: its own, or that by which a lien was made."""
    match proven:
        case VerifiedLien():
            return proven.pledge
        case VerifiedHolding():
            return None
    return proven


def _shown_keys(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], Institution]:
    """(deployment, key id) -> key, of receipts of the ledger's own book that hold."""
    shown: dict[tuple[str, str], Institution] = {}
    for verdict in verdicts:
        event = verdict.proven
        if not isinstance(event, VerifiedReceipt) or event.book != LEDGER_BOOK:
            continue
        id, known = _registered_key(event.record)
        if known is not None:
            shown[_deployment(event.origin), id] = known
    return shown


def _shown_overrides(verdicts: Sequence[Verdict]) -> Iterator[tuple[tuple[str, int], Override]]:
    """((log, position), override) of receipts of the ledger's own book that hold."""
    for verdict in verdicts:
        event = verdict.proven
        if not isinstance(event, VerifiedReceipt) or event.book != LEDGER_BOOK:
            continue
        fields = json.loads(event.record)
        try:
            if fields["type"] == "OverrideAccepted":
                body = fields["body"]
                place = f"{_deployment(event.origin)}/{body['book']}", int(body["position"])
                yield place, Override(str(body["rule"]), event.position)
        except (KeyError, TypeError, ValueError):
            continue  # not an event of ours to read: it shows nothing


def _with_overrides(
    verdict: Verdict, overrides: Sequence[tuple[tuple[str, int], Override]]
) -> Verdict:
    event = None if verdict.proven is None else event_of(verdict.proven)
    if event is None:
        return verdict
    own = (one for place, one in overrides if place == (event.origin, event.position))
    return replace(verdict, overrides=tuple(own))


def _registered_key(record: bytes) -> tuple[str, Institution | None]:
    fields = json.loads(record)
    try:
        body = fields["body"]
        if fields["type"] == "KeyRegistered" and body["suite"] == SUITE_ED25519:
            public = base64.b64decode(body["public_key"], validate=True)
            return key_id(public), Institution(str(body["subject"]), public, False)
    except (KeyError, TypeError, ValueError):
        pass  # not an event of ours to read: it shows no key
    return "", None


def _with_acts(
    verdict: Verdict, trust: Trust, shown: Mapping[tuple[str, str], Institution]
) -> Verdict:
    event = None if verdict.proven is None else event_of(verdict.proven)
    if event is None:
        return verdict
    checked, lien = [], verdict.proven
    for act in _acts(event.record):
        by = trust.institutions.get(act.key_id) or shown.get(
            (_deployment(event.origin), act.key_id)
        )
        if by is not None and not verify_act(by.public_key, act):
            wrong = f"the signature of {by.subject} with key {act.key_id} does not hold"
            return replace(verdict, proven=None, refused=ReceiptError(ACT, wrong))
        if by is not None and isinstance(lien, VerifiedLien) and not _is_over_pledge(act, lien):
            wrong = f"{by.subject} signed something else with key {act.key_id} than this pledge"
            return replace(verdict, proven=None, refused=ReceiptError(ACT, wrong))
        checked.append(CheckedAct(act.key_id, _kind(act), by))
    return replace(verdict, acts=tuple(checked))


def _is_over_pledge(act: Act, lien: VerifiedLien) -> bool:
    """What services/ledger/books/liens.py asks of the parties' statement, as a lien shows it."""
    names = ("lien", "pledgor", "pledgee", "asset")
    try:
        (leg,) = json.loads(lien.pledge.record)["body"]["legs"]
        expected = {name: getattr(lien, name) for name in names}
        expected |= {"kind": "pledge", "quantity_t": leg["amount"]}
        statement = json.loads(act.statement)
        signed = {name: statement[name] for name in expected}
        if statement.get("serials") not in (None, []):  # else the oldest that the pledgor holds
            signed["serials"] = _merged(statement["serials"])
            expected["serials"] = _merged(leg["serials"])
        # spelled out, for 1, 1.0 and true are equal to Python
        return (canonical_json(statement), canonical_json(signed)) == (
            act.statement.encode(),
            canonical_json(expected),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _merged(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Ranges of serials, in order, those that touch as one."""
    found: list[list[Any]] = []
    for batch, first, last in sorted((one["batch"], one["first"], one["last"]) for one in rows):
        if found and found[-1][0] == batch and found[-1][2] + 1 == first:
            found[-1][2] = last
        else:
            found.append([batch, first, last])
    return found


def _deployment(origin: str) -> str:
    return origin.rpartition("/")[0]


def _acts(record: bytes) -> list[Act]:
    """Of a record that is shaped like ours; of any other none is found, and none is checked."""
    acts: Any = json.loads(record).get("acts", [])
    try:
        return [Act(str(a["key_id"]), str(a["signature"]), str(a["statement"])) for a in acts]
    except (KeyError, TypeError):
        return []


def _kind(act: Act) -> str:
    try:
        return str(json.loads(act.statement)["kind"])
    except (KeyError, TypeError, ValueError):
        return ""
