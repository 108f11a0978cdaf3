"""What a log and a witness say to each other, byte for byte, and what may be cosigned."""

from __future__ import annotations

from hashlib import sha256

import pytest

from kernel.tlog import note
from kernel.tlog.checkpoint import Checkpoint, cosign_line, sign_checkpoint
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import FormatError, NoteError
from kernel.tlog.merkle import EMPTY_ROOT
from kernel.tlog.witness import (
    MAX_PROOF_LINES,
    AddCheckpoint,
    Status,
    WitnessRefused,
    encode_size,
    judge,
    monitoring_path,
    open_by_log,
    parse_add_checkpoint,
    parse_size,
    take_cosignatures,
)
from tests.support.witnesses import Tree, witness_signer

NOON_S = 1_764_500_400
LOG = Tree("tanzhang.example/accounts", 300)
BANK = witness_signer("witness.lzbank.example/w1")
REGULATOR = witness_signer("witness.mee.example/w1", note.MLDSA44)
HASH = encode_base64(bytes(32))
NOTE = LOG.checkpoint(300).decode()


# ---- requests ------------------------------------------------------------------------------------


def test_a_request_reads_back_the_same_and_its_bytes_are_those_of_the_specification() -> None:
    body = LOG.request(100, 300)
    request = parse_add_checkpoint(body)
    assert (request.old_size, len(request.proof)) == (100, 8)
    assert request.checkpoint == LOG.checkpoint(300)
    assert request.encode() == body
    lines = body.decode().split("\n")
    assert lines[0] == "old 100"
    assert lines[9:13] == ["", LOG.signer.name, "300", encode_base64(LOG.root(300))]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        f"old 0\n{NOTE}".encode(),
        f"\n{NOTE}".encode(),
        f"old 00\n\n{NOTE}".encode(),
        f"old -1\n\n{NOTE}".encode(),
        f"old +1\n\n{NOTE}".encode(),
        f"old  1\n\n{NOTE}".encode(),
        f"old 1 \n\n{NOTE}".encode(),
        f"old 1\r\n\n{NOTE}".encode(),
        f"OLD 1\n\n{NOTE}".encode(),
        f"old 9223372036854775808\n\n{NOTE}".encode(),
        f"old ١\n\n{NOTE}".encode(),
        f"old 1\n{HASH[:-4]}\n\n{NOTE}".encode(),
        f"old 1\n{HASH[:-2]}B=\n\n{NOTE}".encode(),
        f"old 1\n{HASH} \n\n{NOTE}".encode(),
        f"{HASH}\nold 1\n\n{NOTE}".encode(),
        ("old 1\n" + f"{HASH}\n" * (MAX_PROOF_LINES + 1) + f"\n{NOTE}").encode(),
        b"old 0\n\n",
        f"old 0\n\n\n{NOTE}".encode(),
        f"old 0\n\n{NOTE[:-1]}".encode(),
        f"old 0\n\n{NOTE}\x00".encode(),
        b"old 0\n\n" + NOTE.encode() + b"\xff",
        f"old 0\n\n{NOTE.replace('300', '0300', 1)}".encode(),
        b"old 0\n\n" + NOTE.encode() + b"a" * 300_000,
    ],
    ids=range(24),
)
def test_another_spelling_of_a_request_is_malformed(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse_add_checkpoint(body)


def test_as_many_hashes_as_a_client_may_send_are_read() -> None:
    body = ("old 1\n" + f"{HASH}\n" * MAX_PROOF_LINES + f"\n{NOTE}").encode()
    assert len(parse_add_checkpoint(body).proof) == MAX_PROOF_LINES
    with pytest.raises(FormatError, match="at most 63 hashes"):
        AddCheckpoint(1, (bytes(32),) * 64, NOTE.encode()).encode()


def test_the_monitoring_path_is_the_hash_of_the_origin() -> None:
    expected = sha256(b"tanzhang.example/accounts").hexdigest()
    assert monitoring_path("tanzhang.example/accounts") == f"{expected}/checkpoint"


def test_a_conflict_says_one_size_and_nothing_else() -> None:
    assert parse_size(encode_size(20852163)) == 20852163
    for body in (b"", b"12", b"12\n\n", b"012\n", b"-1\n", b"1 \n", b"9" * 30 + b"\n", b"\xff\n"):
        with pytest.raises(FormatError):
            parse_size(body)


# ---- who signed it -------------------------------------------------------------------------------


def status_of(checkpoint: bytes) -> Status:
    with pytest.raises(WitnessRefused) as caught:
        open_by_log(checkpoint, [LOG.signer.verifier])
    return caught.value.status


def test_a_checkpoint_of_an_unknown_log_is_not_found() -> None:
    assert status_of(Tree("tanzhang.example/market", 3).checkpoint()) is Status.UNKNOWN_ORIGIN


def test_a_checkpoint_that_no_trusted_key_signed_is_forbidden() -> None:
    thief = note.Signer(LOG.signer.name, note.ED25519, b"a thief's seed, thirty-two bytes")
    assert status_of(sign_checkpoint(LOG.head(), [thief])) is Status.NOT_SIGNED_BY_LOG


def test_a_trusted_key_with_a_false_signature_is_forbidden_whoever_else_signed() -> None:
    changed = LOG.checkpoint(300).replace(b"\n300\n", b"\n299\n")
    assert status_of(changed) is Status.NOT_SIGNED_BY_LOG
    good = LOG.signer.line(LOG.head().text())
    bad = LOG.signer.line(LOG.head(299).text())
    assert status_of(note.sign_note(LOG.head().text(), [good, bad])) is Status.NOT_SIGNED_BY_LOG


def test_lines_of_unknown_keys_are_ignored() -> None:
    other = note.Signer("somebody.example", note.ED25519, b"s" * 32)
    checkpoint = note.add_lines(LOG.checkpoint(300), [other.line("another text\n")])
    assert open_by_log(checkpoint, [LOG.signer.verifier]) == LOG.head(300)


# ---- what may be cosigned ------------------------------------------------------------------------


def judged(body: bytes, latest: Checkpoint | None) -> tuple[Status, int | None]:
    request = parse_add_checkpoint(body)
    head = open_by_log(request.checkpoint, [LOG.signer.verifier])
    try:
        judge(request, head, latest)
    except WitnessRefused as refused:
        return refused.status, refused.size
    return Status.COSIGNED, None


def changed_proof(body: bytes) -> bytes:
    request = parse_add_checkpoint(body)
    proof = (bytes(32), *request.proof[1:])
    return AddCheckpoint(request.old_size, proof, request.checkpoint).encode()


def with_hashes(body: bytes, count: int) -> bytes:
    request = parse_add_checkpoint(body)
    return AddCheckpoint(request.old_size, (bytes(32),) * count, request.checkpoint).encode()


EMPTY = Checkpoint(LOG.signer.name, 0, EMPTY_ROOT)
NOT_EMPTY = note.sign_note(
    Checkpoint(LOG.signer.name, 0, bytes(32)).text(),
    [LOG.signer.line(Checkpoint(LOG.signer.name, 0, bytes(32)).text())],
)


@pytest.mark.parametrize(
    ("body", "latest", "expected"),
    [
        (LOG.request(0, 300), None, (Status.COSIGNED, None)),
        (LOG.request(0, 0), None, (Status.COSIGNED, None)),
        (LOG.request(0, 0), EMPTY, (Status.COSIGNED, None)),
        (LOG.request(0, 7), EMPTY, (Status.COSIGNED, None)),
        (LOG.request(100, 300), LOG.head(100), (Status.COSIGNED, None)),
        (LOG.request(128, 129), LOG.head(128), (Status.COSIGNED, None)),
        (LOG.request(300, 300), LOG.head(300), (Status.COSIGNED, None)),
        (LOG.request(300, 200), LOG.head(300), (Status.MALFORMED, None)),
        (LOG.request(300, 200), None, (Status.MALFORMED, None)),
        (LOG.request(100, 300), None, (Status.OTHER_SIZE, 0)),
        (LOG.request(100, 300), LOG.head(200), (Status.OTHER_SIZE, 200)),
        (LOG.request(0, 300), LOG.head(300), (Status.OTHER_SIZE, 300)),
        (LOG.request(100, 200), LOG.head(300), (Status.OTHER_SIZE, 300)),
        (with_hashes(LOG.request(0, 300), 1), None, (Status.INCONSISTENT, None)),
        (with_hashes(LOG.request(0, 7), 1), EMPTY, (Status.INCONSISTENT, None)),
        (with_hashes(LOG.request(300, 300), 1), LOG.head(300), (Status.INCONSISTENT, None)),
        (with_hashes(LOG.request(100, 300), 0), LOG.head(100), (Status.INCONSISTENT, None)),
        (changed_proof(LOG.request(100, 300)), LOG.head(100), (Status.INCONSISTENT, None)),
        (LOG.other(300).request(300, 300), LOG.head(300), (Status.INCONSISTENT, None)),
        (LOG.other(400).request(300, 400), LOG.head(300), (Status.INCONSISTENT, None)),
        (AddCheckpoint(0, (), NOT_EMPTY).encode(), None, (Status.INCONSISTENT, None)),
        (AddCheckpoint(0, (), NOT_EMPTY).encode(), EMPTY, (Status.INCONSISTENT, None)),
    ],
    ids=[
        *("the first one", "an empty tree", "an empty tree again", "the first after empty"),
        *("grown", "grown from a power of two", "the same again"),
        *("smaller than its old size", "smaller, never cosigned", "never cosigned"),
        *("another old size", "asked from zero", "an older one"),
        *("hashes from zero", "hashes from empty", "hashes for equal sizes", "no hashes"),
        *("a wrong hash", "another root", "another past", "empty with a root", "empty, two roots"),
    ],
)
def test_a_request_is_judged_as_the_specification_says(
    body: bytes, latest: Checkpoint | None, expected: tuple[Status, int | None]
) -> None:
    assert judged(body, latest) == expected


# ---- what a log keeps of the answer --------------------------------------------------------------


def taken(answer: bytes, *witnesses: note.Signer) -> list[str]:
    keys = [one.verifier for one in witnesses]
    logs = [LOG.signer.verifier]
    return take_cosignatures(LOG.checkpoint(300), answer, logs, keys)[1]


def line_of(signer: note.Signer, at_s: int = NOON_S) -> bytes:
    return cosign_line(LOG.checkpoint(300), signer, at_s).encode()


def test_only_verified_lines_of_known_witnesses_are_kept_and_one_of_each_key() -> None:
    stranger = witness_signer("stranger.example")
    answer = line_of(stranger) + line_of(BANK) + line_of(REGULATOR) + line_of(BANK, NOON_S + 9)
    kept = taken(answer, BANK, REGULATOR)
    assert kept == [line_of(BANK).decode(), kept[1]]
    opened, _ = take_cosignatures(
        LOG.checkpoint(300), answer, [LOG.signer.verifier], [BANK.verifier, REGULATOR.verifier]
    )
    assert [one.name for one in opened.cosignatures] == [BANK.name, REGULATOR.name]
    assert opened.checkpoint == LOG.head(300)


def test_an_answer_without_a_line_of_the_witness_is_not_believed() -> None:
    with pytest.raises(NoteError, match="expected a cosignature of"):
        taken(line_of(witness_signer("stranger.example")), BANK)


def test_a_false_line_of_the_witness_is_not_believed() -> None:
    false = cosign_line(LOG.checkpoint(299), BANK, NOON_S).encode()
    with pytest.raises(NoteError, match="does not verify"):
        taken(false, BANK)


def test_a_cosignature_of_no_time_is_not_believed() -> None:
    text = LOG.head(300).text()
    signed = BANK._key.sign(note.cosigned_message(text, 0))
    blob = BANK.key_id.to_bytes(4, "big") + bytes(8) + signed
    with pytest.raises(NoteError, match="expected a time above 0"):
        taken(f"— {BANK.name} {encode_base64(blob)}\n".encode(), BANK)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"ok\n",
        line_of(BANK)[:-1],
        b"\n" + line_of(BANK),
        line_of(BANK) + b"\n",
        b"\xff",
    ],
)
def test_an_answer_that_is_not_signature_lines_alone_is_malformed(answer: bytes) -> None:
    with pytest.raises(FormatError):
        taken(answer, BANK)
