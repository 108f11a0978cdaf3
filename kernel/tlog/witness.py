"""What a log and a witness say to each other: c2sp.org/tlog-witness, v1.1.0, `add-checkpoint`.

Requests and answers, byte for byte, and the judgement of a witness as a plain function of what it
cosigned last. Keeps nothing and sends nothing: that the judgement and the keeping of what was
cosigned are one atomic step, and durable before the answer, is for the witness (cli/witness).
Does not do `sign-subtree`, which is optional.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from kernel.tlog import note
from kernel.tlog.checkpoint import Checkpoint, OpenedCheckpoint, parse_checkpoint
from kernel.tlog.encoding import HASH_BYTES, decode_hash, encode_base64, parse_decimal, shorten
from kernel.tlog.errors import FormatError, NoteError, ProofError, TlogError
from kernel.tlog.merkle import EMPTY_ROOT, verify_consistency

ADD_CHECKPOINT = "add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_PROOF_LINES = 63  # a client must not send more
MAX_REQUEST_BYTES = note.MAX_NOTE_BYTES + 4096  # the old size and 63 hashes of 45 bytes
MAX_SIZE_BYTES = 20  # the decimal of 2**63-1 and a newline
MAX_ANSWER_BYTES = note.MAX_NOTE_BYTES


class Status(IntEnum):
    """The HTTP status codes of `add-checkpoint`, as its section of v1.1.0 gives them."""

    COSIGNED = 200
    MALFORMED = 400
    NOT_SIGNED_BY_LOG = 403
    UNKNOWN_ORIGIN = 404
    OTHER_SIZE = 409
    INCONSISTENT = 422


class WitnessRefused(TlogError):
    """A checkpoint that must not be cosigned; `status` is the answer's HTTP status.

    `size` is that of the last cosigned checkpoint, for OTHER_SIZE.
    """

    def __init__(self, status: Status, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: what the witness is believed to have cosigned last, and what leads on from it."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The request's body. FormatError if a field does not fit."""
        if len(self.proof) > MAX_PROOF_LINES or any(len(one) != HASH_BYTES for one in self.proof):
            raise FormatError(
                f"add-checkpoint: expected at most {MAX_PROOF_LINES} hashes of {HASH_BYTES} bytes, "
                f"got {len(self.proof)}"
            )
        lines = [f"old {parse_decimal(str(self.old_size), 'old size')}"]
        lines += map(encode_base64, self.proof)
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """The parts of a request, strictly; nothing is verified. FormatError."""
    if len(body) > MAX_REQUEST_BYTES:
        raise FormatError(
            f"add-checkpoint: expected at most {MAX_REQUEST_BYTES} bytes, got {len(body)}"
        )
    head, gap, checkpoint = body.partition(b"\n\n")
    if not gap:
        raise FormatError("add-checkpoint: expected an empty line before the checkpoint, got none")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"add-checkpoint: expected ASCII before the checkpoint: {error}"
        ) from error
    if not first.startswith("old "):
        raise FormatError(f"add-checkpoint: expected 'old <size>' first, got {shorten(first)}")
    if len(hashes) > MAX_PROOF_LINES:
        raise FormatError(
            f"add-checkpoint: expected at most {MAX_PROOF_LINES} hashes, got {len(hashes)}"
        )
    old_size = parse_decimal(first.removeprefix("old "), "old size")
    proof = tuple(decode_hash(line, f"consistency hash {n}") for n, line in enumerate(hashes))
    parse_checkpoint(note.parse_note(checkpoint)[0])
    return AddCheckpoint(old_size, proof, checkpoint)


def open_by_log(checkpoint: bytes, logs: Iterable[note.Verifier]) -> Checkpoint:
    """The checkpoint, if a trusted key of its origin signed it, and none of them falsely.

    WitnessRefused with the status to answer; FormatError if malformed.
    """
    head = parse_checkpoint(note.parse_note(checkpoint)[0])
    keys = [key for key in logs if key.name == head.origin]
    if not keys:
        raise WitnessRefused(Status.UNKNOWN_ORIGIN, f"unknown log {shorten(head.origin)}")
    try:
        note.open_note(checkpoint, keys)
    except NoteError as error:
        raise WitnessRefused(Status.NOT_SIGNED_BY_LOG, str(error)) from error
    return head


def judge(request: AddCheckpoint, head: Checkpoint, latest: Checkpoint | None) -> None:
    """Return if `head`, the request's opened checkpoint, may be cosigned after `latest`.

    WitnessRefused, with the status to answer. `latest` is what this witness cosigned last of this
    origin; the caller must let nothing come between this and keeping `head` in its place.
    """
    size = 0 if latest is None else latest.size
    if request.old_size > head.size:
        raise WitnessRefused(
            Status.MALFORMED, f"expected an old size up to {head.size}, got {request.old_size}"
        )
    if request.old_size != size:
        raise WitnessRefused(
            Status.OTHER_SIZE, f"expected old size {size}, got {request.old_size}", size
        )
    _check_proof(request, head, latest)


def _check_proof(request: AddCheckpoint, head: Checkpoint, latest: Checkpoint | None) -> None:
    if head.size == 0 and head.root != EMPTY_ROOT:
        raise WitnessRefused(
            Status.INCONSISTENT,
            f"expected the empty root at size 0, got {encode_base64(head.root)}",
        )
    if latest is None or latest.size == 0:
        if request.proof:
            raise WitnessRefused(
                Status.INCONSISTENT, f"expected no hashes from size 0, got {len(request.proof)}"
            )
        return
    try:
        verify_consistency(latest.size, latest.root, head.size, head.root, request.proof)
    except ProofError as error:
        raise WitnessRefused(Status.INCONSISTENT, str(error)) from error


def monitoring_path(origin: str) -> str:
    """Below a witness's monitoring prefix: where it shows what it cosigned last of a log."""
    return f"{sha256(origin.encode()).hexdigest()}/checkpoint"


def encode_size(size: int) -> bytes:
    """The body of a 409."""
    return f"{size}\n".encode()


def parse_size(body: bytes) -> int:
    """The size in a 409's body, strictly. FormatError."""
    if len(body) > MAX_SIZE_BYTES or not body.endswith(b"\n"):
        raise FormatError(f"409: expected a size and a newline, got {shorten(repr(body[:40]))}")
    return parse_decimal(body[:-1].decode("ascii", "replace"), "size")


def take_cosignatures(
    checkpoint: bytes,
    answer: bytes,
    logs: Sequence[note.Verifier],
    witnesses: Sequence[note.Verifier],
) -> tuple[OpenedCheckpoint, list[str]]:
    """What of a 200's body may be kept: verified lines of known witnesses, one for each key.

    `checkpoint` is the log's own signed note. NoteError if a known key's line is false or none is
    there; FormatError if the body is not signature lines alone.
    """
    if len(answer) > MAX_ANSWER_BYTES:
        raise FormatError(f"200: expected at most {MAX_ANSWER_BYTES} bytes, got {len(answer)}")
    try:
        text = answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"200: expected UTF-8: {error}") from error
    if not text.endswith("\n") or "\n\n" in f"\n{text}":
        raise FormatError("200: expected signature lines, each with its newline, and nothing else")
    extended = note.add_lines(checkpoint, [text])
    opened = note.open_note(extended, [*logs, *witnesses])
    head = parse_checkpoint(opened.text)
    by_log = [one for one in opened.verified if any(_is_by(key, one) for key in logs)]
    by_witness = [one for one in opened.verified if any(_is_by(key, one) for key in witnesses)]
    if not by_log or not by_witness:
        expected = ", ".join(str(key) for key in witnesses)
        raise NoteError(f"expected a cosignature of {expected}, got none")
    _refuse_time_zero(by_witness)
    lines = [_line_of(text, one) for one in by_witness]
    return OpenedCheckpoint(head, by_log[0], tuple(by_witness), opened.unknown), lines


def _refuse_time_zero(signed: Iterable[note.VerifiedSignature]) -> None:
    for one in signed:
        if not one.timestamp_s:
            raise NoteError(f"cosignature of {one}: expected a time above 0, got {one.timestamp_s}")


def _line_of(text: str, signed: note.VerifiedSignature) -> str:
    """The first line of that key, as it came."""
    for line in text.removesuffix("\n").split("\n"):
        (parsed,) = note.parse_note(f"x\n\n{line}\n".encode())[1]
        if (parsed.name, parsed.key_id) == (signed.name, signed.key_id):
            return f"{line}\n"
    raise NoteError(f"expected a line of {signed}, got none")


def _is_by(key: note.Verifier, signed: note.VerifiedSignature) -> bool:
    return (key.name, key.key_id, key.public) == (signed.name, signed.key_id, signed.public)
