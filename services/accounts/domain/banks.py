"""Settlement banks: what is agreed with them, whose accounts are bound, and their statements.

A clearing house agrees with a bank once, from a day on; before that nothing is stated and nothing
can be withdrawn. A statement comes in parts, each signed; the last one reconciles the day.
"""

from __future__ import annotations

import re
from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import (
    MAX_INTEGER,
    Context,
    check_day,
    check_on,
    check_role,
    check_text,
    format_instant,
)
from services.accounts.domain import rules
from services.accounts.domain.acts import (
    AccountBinding,
    BankAgreement,
    BankStatement,
    check_once,
)
from services.accounts.domain.bank_state import (
    MINUTES_A_DAY,
    BankAccount,
    PendingStatement,
    Reconciliation,
    ended_by,
    reconcile,
)
from services.accounts.domain.commands import AgreeBank, BindBankAccount, ReceiveBankStatement
from services.accounts.domain.events import (
    Account,
    BankAccountBound,
    BankBreakOpened,
    BankBreakResolved,
    BankStatementReceived,
    BankStatementReconciled,
    HolderKind,
    Purpose,
    SettlementBankAgreed,
    StatedLine,
    Unit,
)
from services.accounts.domain.state import State, account_key
from services.accounts.domain.withdrawals import Move, check_bank, find_bank_account

MAX_PART_LINES: Final = 128  # stand twice in the record, in the act and beside it: half of 64 KiB
MAX_PARTS: Final = 1000  # held in memory until the last one has come
MAX_SHOWN: Final = 50  # lines of each side that a break names; all of them can be asked for

# A random word of the bank's: 128 bits in base32. A number in clear does not look like this.
_ACCOUNT = re.compile(r"acct-[a-z2-7]{26}")


def agree_bank(
    state: State, command: AgreeBank, context: Context, move: Move
) -> list[SettlementBankAgreed]:
    check_role(context, "registrar")
    check_on(context)
    agreed = command.agreement
    _check_banks_money(state, agreed)
    check_once(
        (agreed.clearing_house, agreed.asset, agreed.bank) in state.bank_accounts,
        "BANK_AGREED",
        f"{agreed.asset} of {agreed.clearing_house} at {agreed.bank}",
    )
    if not 1 <= agreed.cutoff_minute <= MINUTES_A_DAY:
        raise Refused(
            "CUTOFF_OUT_OF_RANGE",
            f"expected a minute in 1..{MINUTES_A_DAY}, got {agreed.cutoff_minute}",
            Kind.INVALID,
            actual=agreed.cutoff_minute,
        )
    check_text(agreed.document, "document", 200)
    said = signed_statement(state.keyring, context, BankAgreement, f"bank:{agreed.bank}")
    for what in agreed.__struct_fields__:
        check_same(what, getattr(said, what), getattr(agreed, what))
    has_fen = external_fen(state, agreed.clearing_house, agreed.asset, agreed.bank)
    today = BankAccount(agreed.cutoff_minute, "", 0, 0).day_of(context.at_ms)
    for what, expected, actual in (
        ("opening_fen", has_fen, agreed.opening_fen),
        ("first_day", today, agreed.first_day),
    ):
        if expected != actual:
            raise Refused(
                "AGREEMENT_DIFFERS",
                f"{what}: expected {expected} by the books, got {actual}",
                field=what,
                expected=expected,
                actual=actual,
            )
    return [agreed]


def external_fen(state: State, clearing_house: str, asset: str, bank: str) -> int:
    """What the bank has of this clearing house's money, by the books."""
    key = account_key(Account(clearing_house, Purpose.EXTERNAL, bank), asset)
    holding = state.accounts.get(key)
    return 0 if holding is None else -holding.balance


def _check_banks_money(state: State, agreed: SettlementBankAgreed) -> None:
    rules.check_holder(state, agreed.clearing_house)
    if state.holders.get(agreed.bank) != HolderKind.SETTLEMENT_BANK:
        raise Refused("NOT_A_SETTLEMENT_BANK", f"{agreed.bank[:40]!r} is no settlement bank")
    asset = state.assets.get(agreed.asset)
    if asset is None:
        raise Refused("UNKNOWN_ASSET", f"no asset {agreed.asset[:60]!r}", Kind.UNKNOWN)
    if asset.unit != Unit.FEN:
        raise Refused("NOT_MONEY", f"banks keep money, got {agreed.asset}")


def bind_bank_account(
    state: State, command: BindBankAccount, context: Context, move: Move
) -> list[BankAccountBound]:
    """The registrar asks, the bank vouches for the name: two who do not work for one another."""
    check_role(context, "registrar")
    check_on(context)
    binding = command.binding
    rules.check_holder(state, binding.holder)
    rules.check_holder(state, binding.clearing_house)
    check_word(binding.account)
    check_once(
        (binding.holder, binding.clearing_house, binding.bank) in state.bound_accounts,
        "ACCOUNT_BOUND",
        f"an account of {binding.holder} at {binding.bank[:40]}",
    )
    check_vouched(state, binding, context)
    return [binding]


def check_word(account: str) -> None:
    if not _ACCOUNT.fullmatch(account):
        # What came instead may be somebody's account number: it is not repeated anywhere.
        raise Refused(
            "BANK_ACCOUNT_MALFORMED",
            "expected the bank's random word for the account, acct- and 26 characters of a-z, 2-7;"
            " an account number must not be sent",
            Kind.INVALID,
        )


def check_vouched(state: State, binding: BankAccountBound, context: Context) -> None:
    """By the bank's signature, and in the holder's own name."""
    said = signed_statement(state.keyring, context, AccountBinding, f"bank:{binding.bank}")
    for what in binding.__struct_fields__:
        check_same(what, getattr(said, what), getattr(binding, what))
    if state.holder_by_uscc.get(said.uscc) != binding.holder:
        raise Refused(
            "BANK_ACCOUNT_NAME",
            f"the bank knows the account under another credit code than that of {binding.holder}",
            holder=binding.holder,
        )


def receive_bank_statement(
    state: State, command: ReceiveBankStatement, context: Context, move: Move
) -> list[BankStatementReceived | BankStatementReconciled | BankBreakOpened | BankBreakResolved]:
    check_bank(context, command.bank)
    check_on(context)
    account = find_bank_account(state, command.clearing_house, command.asset, command.bank)
    said = signed_statement(state.keyring, context, BankStatement, f"bank:{command.bank}")
    for what in ("asset", "bank", "clearing_house"):
        check_same(what, getattr(said, what), getattr(command, what))
    _check_day(account, said, context)
    _check_part(account, said)
    lines = [StatedLine(one.amount_fen, one.line) for one in said.lines]
    received = BankStatementReceived(
        said.asset,
        said.bank,
        said.clearing_house,
        said.closing_fen,
        said.day,
        lines,
        said.opening_fen,
        said.part,
        said.parts,
        said.total_lines,
    )
    if said.part < said.parts:
        return [received]
    if said.part > 1 and account.pending is not None:
        lines = [*account.pending.lines, *lines]
    _check_whole(account, said, lines)
    return [received, *_outcome(account, said, lines)]


def _check_day(account: BankAccount, said: BankStatement, context: Context) -> None:
    check_day(said.day, "day")
    if said.day <= account.stated_day or said.day < account.first_day:
        raise Refused(
            "STATEMENT_BOOKED",
            f"{said.day}: the bank's statement is known up to {account.stated_day or 'nothing'},"
            f" the first day is {account.first_day}",
            day=said.day,
        )
    end_ms = account.end_ms(said.day)
    if context.at_ms < end_ms:
        raise Refused(
            "STATEMENT_EARLY",
            f"{said.day} ends at {format_instant(end_ms)}: no statement of it before",
            day=said.day,
        )
    if said.opening_fen != account.stated_fen:
        raise Refused(
            "STATEMENT_GAP",
            f"{said.day}: expected it to open with {account.stated_fen} fen, with which"
            f" {account.stated_day or 'the agreement'} closed, got {said.opening_fen}",
            expected=account.stated_fen,
            actual=said.opening_fen,
        )


def _check_part(account: BankAccount, said: BankStatement) -> None:
    """Parts come in order; the first one begins anew."""
    if not 1 <= said.part <= said.parts <= MAX_PARTS or len(said.lines) > MAX_PART_LINES:
        raise Refused(
            "STATEMENT_PARTS",
            f"expected up to {MAX_PARTS} parts of up to {MAX_PART_LINES} lines, got part"
            f" {said.part} of {said.parts} with {len(said.lines)}",
            Kind.INVALID,
        )
    for one in said.lines:
        check_text(one.line, "line", 80)
        check_text(one.entry, "entry", 40)
        if not 1 <= abs(one.amount_fen) <= MAX_INTEGER:
            raise Refused("AMOUNT_OUT_OF_RANGE", f"line {one.line}: {one.amount_fen}", Kind.INVALID)
    pending = account.pending
    if said.part > 1 and (
        pending is None
        or (pending.received + 1, header_of(pending)) != (said.part, header_of(said))
    ):
        got = 0 if pending is None else pending.received
        raise Refused(
            "STATEMENT_PART_ORDER",
            f"{said.day}: expected part {got + 1} of one and the same statement, or part 1 again,"
            f" got part {said.part}",
            expected=got + 1,
            actual=said.part,
        )


def header_of(one: PendingStatement | BankStatement) -> tuple[str, int, int, int, int]:
    """What every part of one statement says alike."""
    return (one.day, one.opening_fen, one.closing_fen, one.parts, one.total_lines)


def _check_whole(account: BankAccount, said: BankStatement, lines: list[StatedLine]) -> None:
    """A statement that contradicts itself is no statement: the bank has to make another."""
    names = {one.line for one in lines}
    doubled = len(names) != len(lines) or bool(names & account.theirs.keys())
    moved_fen = sum(one.amount_fen for one in lines)
    if doubled or len(lines) != said.total_lines:
        raise Refused(
            "STATEMENT_LINES",
            f"{said.day}: expected {said.total_lines} lines, none of them stated before,"
            f" got {len(lines)} of {len(names)} numbers",
            expected=said.total_lines,
            actual=len(lines),
        )
    if said.opening_fen + moved_fen != said.closing_fen:
        raise Refused(
            "STATEMENT_SUM",
            f"{said.day}: {said.opening_fen} fen and lines of {moved_fen} are not the"
            f" {said.closing_fen} it closes with",
            expected=said.opening_fen + moved_fen,
            actual=said.closing_fen,
        )


def _outcome(
    account: BankAccount, said: BankStatement, lines: list[StatedLine]
) -> list[BankStatementReconciled | BankBreakOpened | BankBreakResolved]:
    found = reconcile(account, said.day, lines)
    first = (
        _break(said, found, len(lines))
        if found.new_ours or found.new_theirs
        else BankStatementReconciled(
            said.asset,
            said.bank,
            said.clearing_house,
            said.closing_fen,
            said.day,
            found.expected_fen,
            found.late_fen,
            len(lines),
            found.ours_fen,
            found.theirs_fen,
        )
    )
    ended = [
        BankBreakResolved(
            asset=said.asset, bank=said.bank, clearing_house=said.clearing_house, day=day
        )
        for day in ended_by(account, found.matched)
    ]
    return [first, *ended]


def _break(said: BankStatement, found: Reconciliation, lines: int) -> BankBreakOpened:
    return BankBreakOpened(
        said.asset,
        said.bank,
        said.clearing_house,
        said.closing_fen,
        said.day,
        found.expected_fen,
        found.late_fen,
        lines,
        len(found.new_ours),
        len(found.new_theirs),
        found.new_ours[:MAX_SHOWN],
        found.ours_fen,
        found.new_theirs[:MAX_SHOWN],
        found.theirs_fen,
    )
