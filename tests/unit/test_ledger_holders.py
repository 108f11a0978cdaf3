"""What the independent books make of openings, operators, mandates, funds and statuses.

A truthful day of 兰州新区's companies passes whole, and each planted lie is named with its rule.
"""

from __future__ import annotations

from tests.support.companies_day import tell_the_companies
from tests.support.ledgers import folded_up_to

STORY = tell_the_companies()


def test_a_truthful_day_passes_whole_and_the_balances_agree() -> None:
    books = folded_up_to(STORY, "accounts", len(STORY.accounts))
    assert books.accounts.balances == {
        key: holding.balance for key, holding in STORY.state.accounts.items()
    }
