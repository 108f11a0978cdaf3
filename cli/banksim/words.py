"""What the bank says, as canonical statements under its own key (kernel/acts.py).

Declared here in the bank's own words: nothing of the services is shared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.banksim.store import Line, Terms
from kernel.acts import sign_act
from kernel.values import Act

MAX_PART_LINES: Final = 128  # as many as the accounts service takes in one part


class Words:
    """One bank's voice towards one clearing house."""

    def __init__(self, key: Ed25519PrivateKey, terms: Terms) -> None:
        self._key = key
        self._terms = terms

    def agreement(self, opening_fen: int, first_day: str) -> Act:
        return self._say(
            "bank-agreement",
            cutoff_minute=self._terms.cutoff_minute,
            document=self._terms.document,
            first_day=first_day,
            opening_fen=opening_fen,
        )

    def binding(self, account: str, holder: str, uscc: str) -> Act:
        terms = self._terms
        return sign_act(
            self._key,
            {
                "account": account,
                "bank": terms.bank,
                "clearing_house": terms.clearing_house,
                "holder": holder,
                "kind": "account-binding",
                "uscc": uscc,
            },
        )

    def advice(self, holder: str, amount_fen: int, line: str) -> Act:
        return self._say("bank-advice", amount_fen=amount_fen, holder=holder, line=line)

    def confirmation(self, withdrawal: str, account: str, amount_fen: int, line: str) -> Act:
        return self._say(
            "withdrawal-confirmation",
            account=account,
            amount_fen=amount_fen,
            line=line,
            withdrawal=withdrawal,
        )

    def refusal(self, withdrawal: str, amount_fen: int, reason: str) -> Act:
        return self._say(
            "withdrawal-return", amount_fen=amount_fen, reason=reason, withdrawal=withdrawal
        )

    def statement(self, day: str, opening_fen: int, lines: Sequence[Line]) -> list[Act]:
        """All parts of a day's statement, in order."""
        starts = range(0, max(len(lines), 1), MAX_PART_LINES)
        closing_fen = opening_fen + sum(one.amount_fen for one in lines)
        return [
            self._say(
                "bank-statement",
                closing_fen=closing_fen,
                day=day,
                lines=[
                    {
                        "amount_fen": one.amount_fen,
                        "entry": "in" if one.amount_fen > 0 else "out",
                        "line": one.line,
                    }
                    for one in lines[start : start + MAX_PART_LINES]
                ],
                opening_fen=opening_fen,
                part=number,
                parts=len(starts),
                total_lines=len(lines),
            )
            for number, start in enumerate(starts, 1)
        ]

    def _say(self, kind: str, **said: Any) -> Act:
        terms = self._terms
        places = {"asset": terms.asset, "bank": terms.bank, "clearing_house": terms.clearing_house}
        return sign_act(self._key, {**places, **said, "kind": kind})
