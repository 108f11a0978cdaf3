"""A build of the accounts service that forgets to look whether the money is there.

Runs as `python -m tests.support.faulty accounts`, in place of `python -m services accounts`: the
same service but for one rule, as a bug, or somebody who owns the process, would have it.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from services.__main__ import main
from services.accounts.domain import decide
from services.accounts.domain.state import AccountKey

ENOUGH_FEN = 10**12


class GenerousDraft(decide.Draft):
    """Every account seems to hold more than anybody asks for."""

    def _balance(self, key: AccountKey) -> int:
        return super()._balance(key) + ENOUGH_FEN


if __name__ == "__main__":
    with patch.object(decide, "Draft", GenerousDraft):
        sys.exit(main(sys.argv[1:]))
