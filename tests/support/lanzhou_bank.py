"""The settlement bank of the Lanzhou world: what it signs, and the books once it is agreed with.

The bank is its own clearing house here, as in every other scene of that world.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.acts import sign_act
from kernel.values import Act, shanghai_day
from services.accounts.domain.commands import (
    AgreeBank,
    BindBankAccount,
    ConfirmWithdrawal,
    InstructWithdrawal,
    ReceiveBankStatement,
    RequestWithdrawal,
    ReturnWithdrawal,
)
from services.accounts.domain.events import BankAccountBound, SettlementBankAgreed
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    BANK,
    BANK_KEY,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    REGISTRAR,
    USCCS,
    AccountsBook,
    deposit,
    the_place,
)

TODAY = shanghai_day(MORNING_MS)
MIDNIGHT = 1440
GROUPS_ACCOUNT = "acct-" + "abcdefghijklm234567nopqrst"
OTHER_ACCOUNT = "acct-" + "z" * 26
DEPOSITED_FEN = 10_000_000
KEY = (BANK, CNY, BANK)  # clearing house, asset, bank

TREASURER = person("treasurer of the clearing house", roles=[f"clearing:{BANK}"])
CONTROLLER = person("controller of the clearing house", roles=[f"clearing:{BANK}"])
THE_BANK = person("teller at the bank", roles=[f"bank:{BANK}"])

Line = tuple[str, int]  # the bank's number, fen: in above zero, out below


def bank_says(kind: str, **said: object) -> Act:
    """Signed by the bank; of this clearing house's money unless it says otherwise."""
    places = {"asset": CNY, "bank": BANK, "clearing_house": BANK}
    fields = {**places, **said, "kind": kind}
    return sign_act(BANK_KEY, {name: value for name, value in fields.items() if value is not None})


def agreement(
    opening_fen: int = 0, cutoff_minute: int = MIDNIGHT, day: str = TODAY
) -> tuple[AgreeBank, Act]:
    agreed = SettlementBankAgreed(
        CNY, BANK, BANK, cutoff_minute, "sha256 of the agreement", day, opening_fen
    )
    said = {name: getattr(agreed, name) for name in agreed.__struct_fields__}
    return AgreeBank(agreed), bank_says("bank-agreement", **said)


def binding(
    holder: str = CITY_GROUP, account: str = GROUPS_ACCOUNT, uscc: str | None = None
) -> tuple[BindBankAccount, Act]:
    act = bank_says(
        "account-binding", asset=None, account=account, holder=holder, uscc=uscc or USCCS[holder]
    )
    return BindBankAccount(BankAccountBound(account, BANK, BANK, holder)), act


def withdrawing(amount_fen: int, holder: str = CITY_GROUP) -> RequestWithdrawal:
    return RequestWithdrawal(holder, CNY, amount_fen, BANK, BANK)


def confirmation(id: str, amount_fen: int, line: str, account: str = GROUPS_ACCOUNT) -> Act:
    return bank_says(
        "withdrawal-confirmation",
        account=account,
        amount_fen=amount_fen,
        line=line,
        withdrawal=id,
    )


def refusal_of_the_bank(id: str, amount_fen: int, reason: str = "account closed") -> Act:
    return bank_says("withdrawal-return", amount_fen=amount_fen, reason=reason, withdrawal=id)


RECEIVE = ReceiveBankStatement(BANK, CNY, BANK)


def statement(
    day: str,
    opening_fen: int,
    lines: Sequence[Line],
    *,
    part: int = 1,
    parts: int = 1,
    of: Sequence[Line] | None = None,
    **changed: object,
) -> Act:
    """One part of a day's statement; `of`: the lines of all parts together."""
    everything = lines if of is None else of
    fields: dict[str, object] = {
        "closing_fen": opening_fen + sum(fen for _, fen in everything),
        "day": day,
        "lines": [
            {"amount_fen": fen, "entry": "in" if fen > 0 else "out", "line": line}
            for line, fen in lines
        ],
        "opening_fen": opening_fen,
        "part": part,
        "parts": parts,
        "total_lines": len(everything),
    }
    return bank_says("bank-statement", **{**fields, **changed})


def agreed_book() -> AccountsBook:
    """Agreed with the bank this morning, an account bound, and 100,000 CNY paid in: line 1."""
    book = the_place()
    command, act = agreement()
    book.when(command, REGISTRAR, acts=[act])
    command_2, act = binding()
    book.when(command_2, REGISTRAR, acts=[act])
    deposit(book, CITY_GROUP, DEPOSITED_FEN, "line 1")
    return book


def request(book: AccountsBook, amount_fen: int) -> str:
    (event,) = book.when(withdrawing(amount_fen), BUYER)
    return str(event.withdrawal)


def instructed(book: AccountsBook, amount_fen: int) -> str:
    """A withdrawal the bank has been asked for."""
    id = request(book, amount_fen)
    book.when(InstructWithdrawal(id), CASHIER)
    return id


def confirm(book: AccountsBook, id: str, amount_fen: int, line: str) -> list[object]:
    return book.when(ConfirmWithdrawal(id), THE_BANK, acts=[confirmation(id, amount_fen, line)])


def give_back(book: AccountsBook, id: str, amount_fen: int) -> list[object]:
    return book.when(ReturnWithdrawal(id), THE_BANK, acts=[refusal_of_the_bank(id, amount_fen)])


def state_day(book: AccountsBook, day: str, opening_fen: int, *lines: Line) -> list[object]:
    """The bank's whole statement of a day that is over."""
    return book.when(RECEIVE, THE_BANK, acts=[statement(day, opening_fen, lines)])
