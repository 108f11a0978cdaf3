"""A build of a service whose journal takes a batch and does not keep it, as a lying disk would.

Runs as `python -m tests.support.forgetful <service>`, in place of `python -m services <service>`.
The batch after it does not continue the journal, so the process stops; what was acknowledged of the
first one is lost.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from kernel.journal.port import Batch
from kernel.journal.postgres import PostgresJournal
from services.__main__ import main

AFTER_BATCHES = 100


def run(arguments: list[str]) -> int:
    honest, taken = PostgresJournal.append, [0]

    def append(journal: PostgresJournal, batch: Batch) -> None:
        taken[0] += 1
        if taken[0] != AFTER_BATCHES:
            honest(journal, batch)

    with patch.object(PostgresJournal, "append", append):
        return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
