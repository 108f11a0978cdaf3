"""The event record: canonical bytes, golden vectors, bounds, commitments (design section 3).

The vectors under tests/vectors/events were written by the standard library's json and hashlib, so
two encoders agree on every type. A vector is written once: if one fails, the code is wrong.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.errors import InvariantBroken, Refused
from kernel.record import (
    KERNEL_EVENTS,
    MAX_RECORD_BYTES,
    BookOpened,
    EventTypes,
    Record,
    RecordMaker,
    WriterStarted,
    commit,
    decode_record,
    encode_record,
)
from kernel.values import Act, Actor
from services.accounts.domain.events import EVENTS as ACCOUNTS_EVENTS
from services.inclusive.domain.events import EVENTS as INCLUSIVE_EVENTS
from services.ledger.domain.events import EVENTS as LEDGER_EVENTS
from services.market.domain.events import EVENTS as MARKET_EVENTS
from services.registry.domain.events import EVENTS as REGISTRY_EVENTS
from services.registry.domain.events import PledgeRefused

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "events"
OWNERS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "kernel": KERNEL_EVENTS,
    "accounts": ACCOUNTS_EVENTS,
    "registry": REGISTRY_EVENTS,
    "market": MARKET_EVENTS,
    "inclusive": INCLUSIVE_EVENTS,
    "ledger": LEDGER_EVENTS,
}
TYPES = {owner: EventTypes(*events) for owner, events in OWNERS.items()}

vectors = pytest.mark.parametrize(
    "path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem
)


def owner_and_type(path: Path) -> tuple[str, str]:
    """`accounts.EntryPosted-retired.json`: whose event it is, its type, which of several."""
    owner, _, name = path.stem.partition(".")
    return owner, name.partition("-")[0]


def read(path: Path) -> tuple[bytes, bytes, bytes]:
    vector = json.loads(path.read_text())
    return (
        vector["record"].encode(),
        bytes.fromhex(vector["salt_hex"]),
        bytes.fromhex(vector["commitment_hex"]),
    )


def test_every_event_type_has_a_golden_vector_and_no_vector_is_an_orphan() -> None:
    have = {owner_and_type(path) for path in VECTORS.glob("*.json")}
    assert have == {(owner, event.__name__) for owner, found in OWNERS.items() for event in found}


@vectors
def test_a_vector_is_made_again_byte_for_byte(path: Path) -> None:
    data, salt, commitment = read(path)
    owner, name = owner_and_type(path)
    record = TYPES[owner].decode(data)
    assert type(record.body).__name__ == record.type == name
    assert encode_record(record) == data
    assert commit(salt, data) == commitment


@vectors
def test_the_writers_own_way_of_making_records_gives_the_same_bytes(path: Path) -> None:
    """In a batch after another record, of another person and another time."""
    data, _, _ = read(path)
    raw = TYPES[owner_and_type(path)[0]].decode(data)
    body = raw.body
    maker = RecordMaker(raw.book, raw.at)
    other = Actor('兰州 "issuer"', "someone \\ else")
    maker.make(body, other, (), raw.by, None, "1999-12-31T16:00:00.000Z", 3, None)
    acts = raw.acts if isinstance(raw.acts, list) else ()
    sealed = raw.sealed if isinstance(raw.sealed, str) else None
    for _ in range(2):
        made = maker.make(body, raw.actor, acts, raw.by, raw.cause, raw.on, raw.position, sealed)
        assert made == data


@vectors
def test_a_vector_is_canonical_by_the_readers_check_too(path: Path) -> None:
    data, _, _ = read(path)
    raw, body = TYPES[owner_and_type(path)[0]].decode_canonical(data)
    assert raw.position == json.loads(data)["position"]
    assert msgspec.json.encode(body) == bytes(decode_record(data).body)


@vectors
def test_one_changed_bit_gives_another_commitment(path: Path) -> None:
    data, salt, commitment = read(path)
    assert commit(salt, data[:-2] + b" " + data[-1:]) != commitment
    assert commit(bytes([salt[0] ^ 1]) + salt[1:], data) != commitment


def test_the_commitment_is_sha_256_of_salt_then_record() -> None:
    assert commit(b"s" * 16, b"{}") == hashlib.sha256(b"s" * 16 + b"{}").digest()


def structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    """Every struct type an annotation speaks of, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
        for inner in typing.get_type_hints(annotation).values():
            yield from structs_in(inner)
    for argument in typing.get_args(annotation):
        yield from structs_in(argument)


ALL_EVENTS = [event for events in OWNERS.values() for event in events]


@pytest.mark.parametrize("event", [*ALL_EVENTS, Record, Act, Actor], ids=lambda one: one.__name__)
def test_fields_are_declared_in_sorted_order_at_every_depth(event: type[msgspec.Struct]) -> None:
    for struct in structs_in(event):
        names = struct.__struct_encode_fields__
        assert list(names) == sorted(names), struct.__name__


@pytest.mark.parametrize("event", ALL_EVENTS, ids=lambda event: event.__name__)
def test_events_hold_no_floats_and_refuse_fields_they_do_not_know(
    event: type[msgspec.Struct],
) -> None:
    for struct in structs_in(event):
        assert struct.__struct_config__.forbid_unknown_fields, struct.__name__
        hints = typing.get_type_hints(struct)
        assert not [name for name, hint in hints.items() if "float" in str(hint)]


def opened(**changed: Any) -> Record[Any]:
    """Position 0 of the accounts book."""
    fields: dict[str, Any] = {
        "actor": Actor("book:accounts", "writer"),
        "at": "2026-11-20T01:30:00.000Z",
        "body": BookOpened("00" * 16, "tanzhang.local/accounts", 1),
        "book": "accounts",
        "by": "019a9ee7-e2b7-7abc-8def-0123456789ab",
        "cause": None,
        "on": "2026-11-20T01:30:00.000Z",
        "position": 0,
        "type": "BookOpened",
        "v": 1,
    }
    return Record(**{**fields, **changed})


GOOD = encode_record(opened())


def other(old: str, new: str) -> bytes:
    text = GOOD.decode()
    assert text.count(old) == 1, old
    return text.replace(old, new).encode()


SPELLINGS = {
    "a key twice": other('"v":1}', '"v":1,"v":1}'),
    "a key twice, the last one right": other('"book":"accounts"', '"book":"x","book":"accounts"'),
    "a key twice in the body": other('"version":1', '"version":2,"version":1'),
    "a space": other('"v":1}', '"v": 1}'),
    "a newline at the end": GOOD + b"\n",
    "a space before": b" " + GOOD,
    "a float that is whole": other('"version":1', '"version":1.0'),
    "a float in the envelope": other('"position":0', '"position":0.0'),
    "an exponent": other('"position":0', '"position":0e0'),
    "minus zero": other('"position":0', '"position":-0'),
    "unsorted keys": other('"type":"BookOpened","v":1', '"v":1,"type":"BookOpened"'),
    "unsorted keys in the body": other(
        '"origin":"tanzhang.local/accounts","version":1',
        '"version":1,"origin":"tanzhang.local/accounts"',
    ),
    "an escape nobody needs": other("tanzhang.local/", "tanzhang.local\\/"),
    "a letter as an escape": other('"book":"accounts"', '"book":"\\u0061ccounts"'),
    "an absent field spelt out": other('"type"', '"sealed":null,"type"'),
    "a field nobody knows": other('"v":1}', '"v":1,"w":1}'),
    "a field nobody knows in the body": other('"version":1', '"version":1,"w":1'),
    "a missing field": other('"cause":null,', ""),
    "a type nobody knows": other('"type":"BookOpened"', '"type":"BookClosed"'),
    "another shape of body": other('"version":1', '"version":"1"'),
    "text that is not UTF-8": GOOD.replace(b"tanzhang", b"tan\xffhang"),
    "cut off": GOOD[:-1],
    "nothing": b"",
    "two records": GOOD + GOOD,
    "an array": b"[" + GOOD + b"]",
}


def test_the_record_that_all_these_differ_from_is_canonical() -> None:
    raw, body = TYPES["kernel"].decode_canonical(GOOD)
    assert body == opened().body
    assert raw.position == 0


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_no_second_spelling_of_an_event_is_accepted(spelling: str) -> None:
    with pytest.raises(InvariantBroken):
        TYPES["kernel"].decode_canonical(SPELLINGS[spelling])


def test_nesting_without_end_is_refused_like_anything_else() -> None:
    deep = other('"body":{', '"body":{"a":' + "[" * 50_000)
    with pytest.raises(InvariantBroken):
        TYPES["kernel"].decode_canonical(deep)


@pytest.mark.parametrize("epoch", [2**53, 2**63, -(2**53)])
def test_integers_stay_below_two_to_the_53(epoch: int) -> None:
    largest = encode_record(opened(body=WriterStarted(2**53 - 1), type="WriterStarted"))
    assert TYPES["kernel"].decode_canonical(largest)[1] == WriterStarted(2**53 - 1)
    beyond = largest.replace(str(2**53 - 1).encode(), str(epoch).encode())
    with pytest.raises(InvariantBroken):
        TYPES["kernel"].decode_canonical(beyond)


@pytest.mark.parametrize(
    "text", ["", "兰州新区", '"quoted"', "back\\slash", "a/b", "\x7f", "é", "🚲", "<&>", "\u2028"]
)
def test_text_is_spelt_as_the_standard_librarys_encoder_spells_it(text: str) -> None:
    data = encode_record(opened(body=BookOpened("00" * 16, text, 1)))
    expected = json.dumps(
        json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert data == expected.encode()
    assert TYPES["kernel"].decode_canonical(data)[1] == BookOpened("00" * 16, text, 1)


def test_acts_and_sealed_stand_only_where_they_exist() -> None:
    assert b"acts" not in GOOD
    assert b"sealed" not in GOOD
    acts = [Act("0123456789abcdef", "c2ln", "{}")]
    data = encode_record(opened(acts=acts, sealed="AAAA"))
    assert b'"sub":"writer"},"acts":[{"key_id":"0123456789abcdef",' in data
    raw = decode_record(data)
    assert (raw.acts, raw.sealed) == (acts, "AAAA")


def test_names_in_the_details_of_a_refusal_are_sorted_and_older_orders_are_still_read() -> None:
    types = EventTypes(PledgeRefused)
    told = {"needed": "500", "available": "480"}
    event = PledgeRefused(told, "l-qinwangchuan0001", "too little", "INSUFFICIENT_BALANCE")
    maker = RecordMaker("registry", "2026-11-20T08:30:00.000Z")
    actor = Actor("issuer", "registrar")
    data = maker.make(event, actor, [], "id", None, maker.at, 1, None)
    assert b'"details":{"available":"480","needed":"500"}' in data
    assert types.decode_canonical(data)[1] == event
    older = data.replace(
        b'{"available":"480","needed":"500"}', b'{"needed":"500","available":"480"}'
    )
    assert types.decode_canonical(older)[1] == event


def test_a_record_of_64_kib_passes_and_one_byte_more_is_refused() -> None:
    room = MAX_RECORD_BYTES - len(encode_record(opened(sealed="")))
    assert len(encode_record(opened(sealed="s" * room))) == 64 * 1024
    with pytest.raises(Refused) as caught:
        encode_record(opened(sealed="s" * (room + 1)))
    assert caught.value.reason == "EVENT_TOO_LARGE"
    assert caught.value.details == {"limit": 65_536, "actual": 65_537}


def test_the_bound_is_in_bytes_not_in_characters() -> None:
    with pytest.raises(Refused, match="at most 65536 bytes"):
        encode_record(opened(sealed="碳" * 30_000))


def test_an_unknown_type_names_its_position() -> None:
    data = encode_record(opened(type="TripConfirmed", position=41))
    with pytest.raises(InvariantBroken, match=r"position 41: .*got TripConfirmed"):
        TYPES["kernel"].decode(data)


def test_a_type_that_stands_at_the_end_of_the_bytes_and_is_not_the_records_own_is_refused() -> None:
    """What is searched for in the bytes decides nothing by itself."""
    data = encode_record(opened(position=41))
    forged = data.replace(b'"type":"BookOpened"', b'"type":"BookOpened","type":"WriterStarted"')
    with pytest.raises(InvariantBroken, match="position 41"):
        TYPES["kernel"].decode(forged)
    with pytest.raises(InvariantBroken, match="unknown field"):
        TYPES["kernel"].decode(data.replace(b'"v":1', b'"v":1,"x":{"type":"WriterStarted"}'))
