"""What other books' events mean here: from the ledger's, keys of operators come and go.

Our own log's halts are watched beside it, see main.py.
"""

from __future__ import annotations

import msgspec

from kernel.directory import react_to_directory
from kernel.record import RawRecord


def react(raw: RawRecord) -> msgspec.Struct | None:
    """A command of ours for an event of the ledger's book, or nothing."""
    return react_to_directory(raw)
