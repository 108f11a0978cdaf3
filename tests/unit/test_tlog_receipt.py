"""Receipts of an event at Lanzhou's forest registry: what they prove and every way they break."""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.tlog import checkpoint as cp
from kernel.tlog import merkle, note, receipt
from kernel.tlog.container import pack_members
from kernel.tlog.errors import FormatError, ReceiptError
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.proof import TlogProof

ORIGIN = "tanzhang.example/registry"
LOG = note.Signer(ORIGIN, note.ED25519, sha256(b"registry").digest())
WITNESS = note.Signer("witness.example/lanzhou", note.COSIGNATURE, sha256(b"lanzhou").digest())


def issuance(position: int) -> bytes:
    body = {"asset": "CCER-LZXQ-2025", "forest": "兰州新区", "quantity_t": 100 + position}
    fields = {"body": body, "book": "registry", "position": position, "type": "UnitsIssued", "v": 1}
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


RECORDS = [issuance(position) for position in range(20)]
SALTS = [sha256(b"salt %d" % position).digest()[:16] for position in range(20)]


def receipt_of(position: int, signers: tuple[note.Signer, ...] = (LOG, WITNESS)) -> bytes:
    leaves = [
        merkle.leaf_hash(receipt.leaf_data("registry", n, receipt.commitment(salt, record)))
        for n, (salt, record) in enumerate(zip(SALTS, RECORDS, strict=True))
    ]
    head = cp.Checkpoint(ORIGIN, len(leaves), merkle.root(leaves))
    path = tuple(merkle.prove_inclusion(position, len(leaves), merkle.ListedLeaves(leaves)))
    proof = TlogProof(position, path, cp.sign_checkpoint(head, signers, 1_767_225_600))
    return receipt.make_receipt(RECORDS[position], SALTS[position], proof.encode())


def pinned_policy() -> Policy:
    text = f"log {LOG.verifier.vkey}\nwitness lanzhou {WITNESS.verifier.vkey}\nquorum lanzhou\n"
    return parse_policy(text.encode())


def test_a_receipt_gives_back_the_record_and_where_the_log_holds_it() -> None:
    verified = receipt.verify_receipt(receipt_of(13), pinned_policy())
    assert (verified.book, verified.position, verified.record) == ("registry", 13, RECORDS[13])
    assert (verified.origin, verified.size) == (ORIGIN, 20)
    assert [signed.name for signed in verified.cosigners] == [WITNESS.name]


def test_the_leaf_is_canonical_json() -> None:
    committed = receipt.commitment(SALTS[3], RECORDS[3])
    assert committed == sha256(SALTS[3] + RECORDS[3]).digest()
    leaf = receipt.leaf_data("inclusive-07of16", 123, committed)
    fields = json.loads(leaf)
    assert leaf == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    assert list(fields) == ["book", "commitment", "position", "v"]
    assert (fields["book"], fields["position"], fields["v"]) == ("inclusive-07of16", 123, 1)


def test_other_tools_open_a_receipt_as_a_plain_zip() -> None:
    with zipfile.ZipFile(io.BytesIO(receipt_of(0))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["event.bin", "salt", "event.tlog-proof"]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("event.bin") == RECORDS[0]
        assert archive.read("salt") == SALTS[0]


def test_equal_parts_make_equal_bytes() -> None:
    assert receipt_of(7) == receipt_of(7)
    assert receipt.make_receipt(*receipt.split_receipt(receipt_of(7))) == receipt_of(7)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_one_bit_of_a_receipt_refuses(data: st.DataObject) -> None:
    changed = bytearray(FIFTH)
    at = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[at // 8] ^= 1 << at % 8
    with pytest.raises(ReceiptError) as caught:
        receipt.verify_receipt(bytes(changed), pinned_policy())
    assert caught.value.part in receipt.PARTS


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_one_bit_refuses_even_in_a_freshly_made_container(data: st.DataObject) -> None:
    parts = [bytearray(part) for part in receipt.split_receipt(FIFTH)]
    which = data.draw(st.integers(0, 2))
    at = data.draw(st.integers(0, len(parts[which]) * 8 - 1))
    parts[which][at // 8] ^= 1 << at % 8
    record, salt, proof = map(bytes, parts)
    with pytest.raises(ReceiptError) as caught:
        receipt.verify_receipt(receipt.make_receipt(record, salt, proof), pinned_policy())
    expected = {
        0: {"event.bin", "event.bin or salt"},
        1: {"event.bin or salt"},
        # a hit in the path looks like another event; in the policy's own names, like no quorum
        2: {"proof", "checkpoint", "policy", "event.bin or salt"},
    }
    assert caught.value.part in expected[which]


FIFTH = receipt_of(5)


@given(st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    for data in (noise, b"PK\x03\x04" + noise, FIFTH[:60] + noise, FIFTH[: -len(noise) or None]):
        if data != FIFTH:
            with pytest.raises(ReceiptError):
                receipt.verify_receipt(data, pinned_policy())


def test_a_receipt_brings_no_trust_of_its_own() -> None:
    stranger = parse_policy(
        f"log {note.Signer('other.example/registry', 1, bytes(32)).verifier.vkey}\n"
        "quorum none\n".encode()
    )
    with pytest.raises(ReceiptError, match="policy knows other") as caught:
        receipt.verify_receipt(FIFTH, stranger)
    assert caught.value.part == "policy"
    policy_inside = pack_members(
        {
            **dict(zip(("event.bin", "salt"), receipt.split_receipt(FIFTH)[:2], strict=True)),
            "event.tlog-proof": receipt.split_receipt(FIFTH)[2],
            "policy.txt": b"quorum none\n",
        }
    )
    with pytest.raises(ReceiptError, match=r"got 'policy\.txt'"):
        receipt.verify_receipt(policy_inside, pinned_policy())


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 60_000,
        b'{"position":5}',
        b'{"book":"registry","position":"5"}',
        b'{"book":"registry","position":true}',
        b'{"book":"registry","position":5.0}',
        b'{"book":"registry","position":-5}',
        b'{"book":"registry","position":' + b"9" * 5000 + b"}",
        b'{"book":"registry","book":"registry","position":5}',
    ],
)
def test_a_record_that_does_not_say_where_it_stands_is_refused_even_if_logged(
    record: bytes,
) -> None:
    leaf = merkle.leaf_hash(receipt.leaf_data("registry", 0, receipt.commitment(SALTS[0], record)))
    signed = cp.sign_checkpoint(cp.Checkpoint(ORIGIN, 1, leaf), (LOG, WITNESS), 1)
    data = receipt.make_receipt(record, SALTS[0], TlogProof(0, (), signed).encode())
    with pytest.raises(ReceiptError) as caught:
        receipt.verify_receipt(data, pinned_policy())
    assert caught.value.part == "event.bin"


def test_parts_outside_their_bounds_are_neither_packed_nor_unpacked() -> None:
    record, salt, proof = receipt.split_receipt(FIFTH)
    for part, event, seasoning, evidence in (
        ("event.bin", bytes(65_537), salt, proof),
        ("salt", record, bytes(15), proof),
        ("salt", record, bytes(17), proof),
        ("proof", record, salt, bytes(65_537)),
    ):
        with pytest.raises(ReceiptError) as caught:
            receipt.make_receipt(event, seasoning, evidence)
        assert caught.value.part == part
        packed = pack_members({"event.bin": event, "salt": seasoning, "event.tlog-proof": evidence})
        with pytest.raises(ReceiptError) as caught:
            receipt.verify_receipt(packed, pinned_policy())
        assert caught.value.part == part
    with pytest.raises(ReceiptError, match="container: expected at most"):
        receipt.verify_receipt(bytes(200_000), pinned_policy())


def test_the_largest_event_fits() -> None:
    padding = "碳" * 21_000
    record = json.dumps({"book": "registry", "note": padding, "position": 0}, ensure_ascii=False)
    salt = bytes(16)
    committed = receipt.commitment(salt, record.encode())
    leaf = merkle.leaf_hash(receipt.leaf_data("registry", 0, committed))
    signed = cp.sign_checkpoint(cp.Checkpoint(ORIGIN, 1, leaf), (LOG, WITNESS), 1)
    data = receipt.make_receipt(record.encode(), salt, TlogProof(0, (), signed).encode())
    assert receipt.verify_receipt(data, pinned_policy()).position == 0


@pytest.mark.parametrize("book", ["", "Registry", "碳账", 'a"b', "a/b", "-a", "a" * 64])
def test_a_book_whose_name_would_need_escaping_has_no_leaf(book: str) -> None:
    with pytest.raises(FormatError, match="expected a book name"):
        receipt.leaf_data(book, 0, bytes(32))


def test_the_book_is_the_last_part_of_the_origin() -> None:
    assert receipt.book_of("tanzhang.example/log/market-gd") == "market-gd"
    for origin in ("registry", "/registry", "tanzhang.example/", "tanzhang.example/Registry"):
        with pytest.raises(FormatError, match="expected"):
            receipt.book_of(origin)
