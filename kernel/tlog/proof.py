"""The offline proof of one entry: c2sp.org/tlog-proof@v1, files named `.tlog-proof`.

Index, inclusion path and the checkpoint verbatim. It brings neither the entry nor any key: the
verifier must hold both, the entry's bytes and a policy, from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.tlog import merkle
from kernel.tlog.encoding import (
    HASH_BYTES,
    MAX_UINT63,
    decode_base64,
    decode_hash,
    encode_base64,
    parse_decimal,
    shorten,
)
from kernel.tlog.errors import FormatError
from kernel.tlog.note import MAX_NOTE_BYTES, VerifiedSignature, parse_note
from kernel.tlog.policy import Policy

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 64 * 1024  # the rest is a path of 3 kB and the extra data


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Zero-based index, path (leaf's sibling first), the signed checkpoint as it was received.

    `extra` is not authenticated by anything.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The proof file. FormatError if a field does not fit the format."""
        if not 0 <= self.index <= MAX_UINT63:
            raise FormatError(f"proof: expected an index in 0..{MAX_UINT63}, got {self.index}")
        if any(len(value) != HASH_BYTES for value in self.path):
            raise FormatError(f"proof: expected hashes of {HASH_BYTES} bytes")
        parse_note(self.checkpoint)
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += map(encode_base64, self.path)
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """What a verified proof says: that entry is at `index` of the log, as these cosigners saw."""

    origin: str
    index: int
    size: int
    root: bytes
    cosigners: tuple[VerifiedSignature, ...]
    log: VerifiedSignature


def parse_proof(data: bytes) -> TlogProof:
    """The parts of a proof file, strictly; the checkpoint's signatures are not looked at."""
    if len(data) > MAX_PROOF_BYTES:
        raise FormatError(f"proof: expected at most {MAX_PROOF_BYTES} bytes, got {len(data)}")
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"proof: expected ASCII before the checkpoint: {error}") from error
    if not gap:
        raise FormatError("proof: expected an empty line before the checkpoint, got none")
    if lines.pop(0) != HEADER:
        raise FormatError(f"proof: expected {HEADER} first, got {shorten(head[:40].decode())}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "proof extra")
    if not lines or not lines[0].startswith("index "):
        raise FormatError(f"proof: expected an index line, got {shorten(''.join(lines[:1]))}")
    index = parse_decimal(lines.pop(0).removeprefix("index "), "proof index")
    if len(lines) > merkle.MAX_PROOF_HASHES:
        raise FormatError(
            f"proof: expected at most {merkle.MAX_PROOF_HASHES} hashes, got {len(lines)}"
        )
    path = tuple(decode_hash(line, f"proof hash {n}") for n, line in enumerate(lines))
    parse_note(checkpoint)
    return TlogProof(index, path, checkpoint, extra)


def verify_proof(data: bytes, entry: bytes, policy: Policy) -> VerifiedProof:
    """Verify that a log the policy knows holds `entry`, and that enough witnesses saw that tree.

    FormatError, NoteError, PolicyError or ProofError, each with what was expected and what came.
    """
    proof = parse_proof(data)
    opened = policy.open_checkpoint(proof.checkpoint)
    head = opened.checkpoint
    merkle.verify_inclusion(proof.index, head.size, merkle.leaf_hash(entry), head.root, proof.path)
    return VerifiedProof(
        head.origin, proof.index, head.size, head.root, opened.cosignatures, opened.log
    )
