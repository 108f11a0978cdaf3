"""What the log formats raise, all under one root so that a caller can catch everything at once.

TlogError (a ValueError)
├── FormatError      the bytes are not in the format: nothing was verified
├── NoteError        a signed note must not be believed
├── ProofError       a Merkle proof does not lead to the root
├── TileError        stored tiles are missing, short or do not fit the tree size
├── PolicyError      a policy file is wrong, or a checkpoint does not satisfy it
└── ReceiptError     a receipt is refused; `part` names what differs
"""

from __future__ import annotations


class TlogError(ValueError):
    """Base of everything raised here; the message says what was expected and what came."""


class FormatError(TlogError):
    """Bytes or values outside the format: nothing was verified."""


class NoteError(TlogError):
    """A signed note nobody trusted signed, or one that carries a false signature of a known key."""


class ProofError(TlogError):
    """A Merkle proof that does not lead to the expected root."""


class TileError(TlogError):
    """A tile that is missing, too short, or does not belong to a tree of that size."""


class PolicyError(TlogError):
    """A policy file that is not well formed, or a checkpoint that does not satisfy it."""


class ReceiptError(TlogError):
    """A refused receipt. `part` is stable: one of the names in `kernel.tlog.receipt.PARTS`."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(f"{part}: {message.removeprefix(f'{part}: ')}")
        self.part = part
