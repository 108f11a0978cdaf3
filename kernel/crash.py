"""Named places where a process can be made to die, to prove that dying there loses nothing.

Armed by the environment, `TANZHANG_CRASH=journal.committed` or `journal.committed:3` for the third
time it is reached. Dying is `os._exit`: no handler, no flush, no goodbye, as with kill -9.
Refused in production (kernel/config.py).
"""

from __future__ import annotations

import os
from typing import Final

EXIT_CODE: Final = 86

POINTS: Final = frozenset(
    {
        "journal.committing",  # events are on the connection, the commit is not sent yet
        "journal.committed",  # the journal has it, nobody has been told
        "answer.lost",  # the answer is made, and never sent
        "snapshot.writing",  # the chunks of a snapshot are written, its head is not committed
        "relay.published",  # the bus has the frame, the relay has not noted it
        "projection.applied",  # the read model is written, its transaction is not committed
        "reaction.called",  # the reaction's command is recorded, nothing after it
        "gateway.called",  # a service has answered the gateway, the client has not heard
        "errand.answered",  # another book has done what we asked, ours does not know yet
        "ledger.tiles",  # tiles are committed, the checkpoint is not signed
        "ledger.signed",  # the checkpoint file is durable, nobody has seen it
        "witness.kept",  # a witness has cosigned and kept a checkpoint, its log does not know
    }
)

_armed, _, _after = os.environ.get("TANZHANG_CRASH", "").partition(":")
_left = int(_after or 1)

if _armed and _armed not in POINTS:
    raise SystemExit(f"TANZHANG_CRASH: expected one of {sorted(POINTS)}, got {_armed!r}")


def crash_point(name: str) -> None:
    """Dies here if armed for this point; otherwise costs one comparison."""
    global _left  # noqa: PLW0603 - one countdown per process is what this is
    if name != _armed:
        return
    _left -= 1
    if _left <= 0:
        os._exit(EXIT_CODE)
