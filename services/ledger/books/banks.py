"""Money at settlement banks: what goes out, what the banks state, and the default reserve.

A withdrawal leaves held on the bank's own signature and once; a statement closes with what external
says, or a break is told of; nothing is begun with a bank while a break with it is open; the reserve
moves by two persons. Lines and balances of one bank are in tallies.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import msgspec

from kernel.record import RawRecord
from kernel.values import Actor
from services.ledger.books.accounts_events import (
    Account,
    AssetDefined,
    EntryPosted,
    HolderRegistered,
    Leg,
)
from services.ledger.books.banks_events import (
    BankAccountBound,
    BankBreakOpened,
    BankBreakResolutionProposed,
    BankBreakResolved,
    BankProposalWithdrawn,
    BankStatementReceived,
    BankStatementReconciled,
    ReserveMoved,
    ReserveMoveProposed,
    SettlementBankAgreed,
    WithdrawalCancelled,
    WithdrawalConfirmed,
    WithdrawalInstructed,
    WithdrawalRequested,
    WithdrawalReturned,
)
from services.ledger.books.bindings import Bindings
from services.ledger.books.crossings import Place, canonical
from services.ledger.books.directory import acts_of, require_no_acts
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds, require_text
from services.ledger.books.tallies import Tallies

RESERVE: Final = ("clearing", "default-reserve")
SHOWN_LINES: Final = 50
SHOWN_BEFORE: Final = 100  # characters of a statement, around where it differs
SHOWN_AFTER: Final = 900
BRING_LINES: Final = ("bank-advice", "bank-statement", "withdrawal-confirmation")

Bank = tuple[str, str, str]  # clearing house, asset, bank
Proposal = BankBreakResolutionProposed | ReserveMoveProposed


class Out(NamedTuple):
    """An open withdrawal."""

    asked: WithdrawalRequested
    instructed: bool

    @property
    def leg(self) -> Leg:
        return self.asked.legs[0]

    @property
    def bank(self) -> Bank:
        return (self.asked.clearing_house, self.leg.asset, self.asked.bank)


class Banks:
    """`balances`, `assets` and `lines` are the accounts book's own, looked at and not changed."""

    def __init__(
        self,
        keys: AdmittedKeys,
        balances: Mapping[Place, int],
        assets: Mapping[str, AssetDefined],
        holders: Mapping[str, str],
    ) -> None:
        self._keys = keys
        self._balances = balances
        self._assets = assets
        self._kinds = holders
        self.tallies: dict[Bank, Tallies] = {}
        self.bindings = Bindings(keys)
        self.open: dict[str, Out] = {}
        self._proposals: dict[str, Proposal] = {}
        self._lines: set[tuple[str, str]] = set()  # (bank, line), in or out

    # ---- what is agreed -------------------------------------------------------------------------

    def check_agreed(self, raw: RawRecord, event: SettlementBankAgreed) -> None:
        bank = (event.clearing_house, event.asset, event.bank)
        require("BANK_AGREED_ONCE", False, bank in self.tallies)
        require("BANK", "settlement_bank", self._kinds.get(event.bank))
        require_holds(
            "HOLDER_KNOWN", event.clearing_house in self._kinds, "a holder", event.clearing_house
        )
        asset = self._assets.get(event.asset)
        require("MONEY", "fen", None if asset is None else asset.unit)
        require_holds("BANK_CUTOFF", 1 <= event.cutoff_minute <= 1440, "1..1440", event)
        self._require_said(raw, event.bank, "bank-agreement", msgspec.structs.asdict(event))
        require("BANK_OPENING", -self._external(bank), event.opening_fen)
        fresh = Tallies(event.cutoff_minute, event.first_day, event.opening_fen)
        require("BANK_FIRST_DAY", fresh.day_at(instant_ms(raw.at)), event.first_day)

    # ---- withdrawals ----------------------------------------------------------------------------

    def check_requested(self, raw: RawRecord, event: WithdrawalRequested) -> None:
        require_no_acts(raw)
        require("WITHDRAWAL_LEGS", 1, len(event.legs))
        leg = event.legs[0]
        holder = leg.debit.holder
        held = self._balances.get((holder, leg.asset, "held", event.withdrawal), 0)
        require("WITHDRAWAL_NEW", (False, 0), (event.withdrawal in self.open, held))
        require("WITHDRAWAL_FROM", ("available", ""), (leg.debit.purpose, leg.debit.ref))
        require("WITHDRAWAL_HELD", Account(holder, "held", event.withdrawal), leg.credit)
        place = (holder, event.clearing_house, event.bank)
        bound = self.bindings.at(place, instant_ms(raw.at))
        require("WITHDRAWAL_ACCOUNT", bound, event.account)
        self._require_no_break((event.clearing_house, leg.asset, event.bank))

    def check_instructed(self, raw: RawRecord, event: WithdrawalInstructed) -> None:
        require_no_acts(raw)
        out = self._out(event.withdrawal)
        require("WITHDRAWAL_INSTRUCTED", False, out.instructed)
        self._require_no_break(out.bank)
        expected = WithdrawalInstructed(
            out.asked.account,
            out.leg.amount,
            out.leg.asset,
            out.asked.bank,
            out.asked.clearing_house,
            out.leg.debit.holder,
            instant_ms(raw.at),
            event.withdrawal,
        )
        require("INSTRUCTION", expected, event)

    def check_confirmed(self, raw: RawRecord, event: WithdrawalConfirmed) -> None:
        out = self._answered(event.withdrawal)
        clearing_house, asset, bank = out.bank
        external = Account(clearing_house, "external", bank)
        self._require_leg(event.legs, out, external)
        self._require_said(
            raw,
            bank,
            "withdrawal-confirmation",
            {
                "account": out.asked.account,
                "amount_fen": out.leg.amount,
                "asset": asset,
                "bank": bank,
                "clearing_house": clearing_house,
                "line": event.bank_line,
                "withdrawal": event.withdrawal,
            },
        )
        self.require_new_line(bank, event.bank_line)
        self._require_day(raw, out.bank, event.bank_day)

    def check_returned(self, raw: RawRecord, event: WithdrawalReturned) -> None:
        out = self._answered(event.withdrawal)
        clearing_house, asset, bank = out.bank
        self._require_leg(event.legs, out, out.leg.debit)
        require_text("WITHDRAWAL_REASON", [event.reason])
        self._require_said(
            raw,
            bank,
            "withdrawal-return",
            {
                "amount_fen": out.leg.amount,
                "asset": asset,
                "bank": bank,
                "clearing_house": clearing_house,
                "reason": event.reason,
                "withdrawal": event.withdrawal,
            },
        )

    def check_cancelled(self, raw: RawRecord, event: WithdrawalCancelled) -> None:
        require_no_acts(raw)
        out = self._out(event.withdrawal)
        require("WITHDRAWAL_INSTRUCTED", False, out.instructed)
        self._require_leg(event.legs, out, out.leg.debit)

    def _out(self, id: str) -> Out:
        out = self.open.get(id)
        if out is None:
            raise RuleBroken("WITHDRAWAL_OPEN", "an open withdrawal", id)
        return out

    def _answered(self, id: str) -> Out:
        out = self._out(id)
        require("WITHDRAWAL_INSTRUCTED", True, out.instructed)
        return out

    def _require_leg(self, legs: list[Leg], out: Out, to: Account) -> None:
        """All that was held, and to nobody else."""
        require(
            "WITHDRAWAL_LEGS", [Leg(out.leg.amount, out.leg.asset, to, out.leg.credit, [])], legs
        )

    def require_new_line(self, bank: str, line: str) -> None:
        if not line or (bank, line) in self._lines:
            raise RuleBroken("ONCE", f"a new line of {bank}", line)

    def require_day_of(self, raw: RawRecord, event: EntryPosted) -> None:
        """A deposit names the bank's day exactly where statements are agreed."""
        leg = event.legs[0]
        bank = (leg.debit.holder, leg.asset, leg.debit.ref)
        if bank in self.tallies:
            self._require_day(raw, bank, event.bank_day)
        else:
            require("BANK_DAY", None, event.bank_day)

    def _require_day(self, raw: RawRecord, bank: Bank, day: str | None) -> None:
        require("BANK_DAY", self.tallies[bank].day_at(instant_ms(raw.on)), day)

    def _require_no_break(self, bank: Bank) -> None:
        tallies = self.tallies.get(bank)
        if tallies is None:
            raise RuleBroken("BANK_AGREED", "a bank with which statements are agreed", bank)
        require("BREAK_STOPS", [], sorted(tallies.breaks))
        require("STATEMENT_ANSWERED", False, tallies.is_whole)

    # ---- statements -----------------------------------------------------------------------------

    def check_statement(self, raw: RawRecord, event: BankStatementReceived) -> None:
        tallies = self._tallies(event)
        said = self._keys.statement(raw, [f"bank:{event.bank}"], "bank-statement")
        lines = said.get("lines")
        kinds = [str(one.get("entry")) for one in lines] if isinstance(lines, list) else []
        body = msgspec.to_builtins(event)
        require("STATEMENT_SAID", len(event.lines), len(kinds))
        for line, entry in zip(body["lines"], kinds, strict=True):
            line["entry"] = entry
        expected = {**body, "kind": "bank-statement"}
        ours, theirs = where_they_differ(canonical(expected), canonical(said))
        require("STATEMENT_SAID", ours, theirs)
        require("STATEMENT_OPENING", tallies.closed_fen, event.opening_fen)
        require("STATEMENT_ANSWERED", False, tallies.is_whole)
        closed, first = tallies.closed_day, tallies.first_day
        fresh = event.day > closed and event.day >= first
        require_holds("STATEMENT_DAY", fresh, f"after {closed!r}, from {first} on", event.day)
        over = tallies.day_at(instant_ms(raw.at)) > event.day
        require_holds("STATEMENT_EARLY", over, f"{event.day} to be over", raw.at)
        before = [] if event.part == 1 else tallies.parts
        require("STATEMENT_PART", len(before) + 1, event.part)
        for other in before[:1]:
            require("STATEMENT_PART", _header(other), _header(event))

    def check_outcome(
        self, raw: RawRecord, event: BankStatementReconciled | BankBreakOpened
    ) -> None:
        """A statement that is whole, in itself and against the books."""
        tallies = self._tallies(event)
        self._keys.statement(raw, [f"bank:{event.bank}"], "bank-statement")
        if not tallies.is_whole:
            raise RuleBroken("STATEMENT_WHOLE", "every part of a statement", len(tallies.parts))
        last = tallies.parts[-1]
        lines = [one for part in tallies.parts for one in part.lines]
        names = [one.line for one in lines if one.line not in tallies.stated]
        require("STATEMENT_LINES", last.total_lines, len(set(names)))
        require("STATEMENT_LINES", last.total_lines, len(lines))
        total = last.opening_fen + sum(one.amount_fen for one in lines)
        require("STATEMENT_SUM", total, last.closing_fen)
        found = tallies.verdict(self._external((event.clearing_house, event.asset, event.bank)))
        require(
            "RECONCILED",
            (last.day, last.closing_fen, len(lines), *found[:4]),
            (
                event.day,
                event.closing_fen,
                event.lines,
                event.expected_fen,
                event.late_fen,
                event.ours_fen,
                event.theirs_fen,
            ),
        )
        balance = event.expected_fen + event.late_fen + event.theirs_fen - event.ours_fen
        require("RECONCILED_BALANCE", last.closing_fen, balance)
        new = (len(found.new_ours), len(found.new_theirs))
        if isinstance(event, BankStatementReconciled):
            require("BREAK_TOLD", (0, 0), new)
            return
        require_holds("BREAK_REAL", new != (0, 0), "lines that are new", new)
        require("BREAK_LINES", new, (event.new_ours, event.new_theirs))
        shown = (found.new_ours[:SHOWN_LINES], found.new_theirs[:SHOWN_LINES])
        require("BREAK_LINES", shown, (event.ours, event.theirs))

    def check_resolved(self, raw: RawRecord, event: BankBreakResolved) -> None:
        tallies = self._tallies(event)
        if event.day not in tallies.breaks:
            raise RuleBroken("BREAK_OPEN", "an open break", event.day)
        if event.proposal is None:
            self._require_banks_word(raw, event.bank)
            left = sorted(tallies.breaks[event.day])[:SHOWN_LINES]
            require("BREAK_EXPLAINED", [], left)
            return
        require_no_acts(raw)
        proposed = self._approved(raw, event.proposal, BankBreakResolutionProposed)
        said = (proposed.clearing_house, proposed.asset, proposed.bank, proposed.day)
        require("PROPOSAL_SAYS", said, (event.clearing_house, event.asset, event.bank, event.day))

    def _require_banks_word(self, raw: RawRecord, bank: str) -> None:
        """It follows from a line, and so from whatever brought that line."""
        first = acts_of(raw)[:1]
        kind = next((kind for kind in BRING_LINES if first and kind in first[0].statement), "")
        self._keys.statement(raw, [f"bank:{bank}"], kind or BRING_LINES[0])

    # ---- two persons ----------------------------------------------------------------------------

    def check_proposed(self, raw: RawRecord, event: Proposal) -> None:
        require_no_acts(raw)
        require("PROPOSED_BY", raw.actor, event.by)
        require("PROPOSAL_NEW", False, event.proposal in self._proposals)
        texts = [event.document if isinstance(event, ReserveMoveProposed) else event.reason]
        require_text("PROPOSAL_REASON", texts)

    def check_reserve(self, raw: RawRecord, event: ReserveMoved) -> None:
        require_no_acts(raw)
        asked = self._approved(raw, event.proposal, ReserveMoveProposed)
        require("RESERVE_LEGS", [self.reserve_leg(asked)], event.legs)
        asset = self._assets.get(asked.asset)
        require("MONEY", "fen", None if asset is None else asset.unit)
        require("PROPOSAL_SAYS", asked.document, event.document)

    def reserve_leg(self, asked: ReserveMoveProposed) -> Leg:
        reserve = Account(asked.clearing_house, *RESERVE)
        holder = Account(asked.holder, "available", "")
        ends = (holder, reserve) if asked.draw else (reserve, holder)
        return Leg(asked.amount_fen, asked.asset, *ends, [])

    def check_withdrawn(self, raw: RawRecord, event: BankProposalWithdrawn) -> None:
        require_no_acts(raw)
        require_holds(
            "PROPOSAL_OPEN", event.proposal in self._proposals, "an open proposal", event.proposal
        )

    def _approved(self, raw: RawRecord, id: str, kind: type[Any]) -> Any:
        """What another person has proposed."""
        proposed = self._proposals.get(id)
        if not isinstance(proposed, kind):
            raise RuleBroken("PROPOSAL_OPEN", f"an open {kind.__name__}", id)
        by: Actor = proposed.by
        require_holds("TWO_PERSONS", by.sub != raw.actor.sub, f"other than {by.sub}", raw.actor.sub)
        return proposed

    # ---- reading --------------------------------------------------------------------------------

    def _tallies(self, event: Any) -> Tallies:
        bank = (event.clearing_house, event.asset, event.bank)
        tallies = self.tallies.get(bank)
        if tallies is None:
            raise RuleBroken("BANK_AGREED", "a bank with which statements are agreed", bank)
        return tallies

    def _external(self, bank: Bank) -> int:
        clearing_house, asset, name = bank
        return self._balances.get((clearing_house, asset, "external", name), 0)

    def _require_said(
        self, raw: RawRecord, bank: str, kind: str, said: Mapping[str, object]
    ) -> None:
        statement = self._keys.statement(raw, [f"bank:{bank}"], kind)
        require("BANK_SAID", canonical({**said, "kind": kind}), canonical(statement))

    # ---- applying -------------------------------------------------------------------------------

    def registered(self, event: HolderRegistered) -> None:
        if event.uscc:
            self.bindings.registered(event.uscc, event.holder)

    def booked(self, leg: Leg, external: Account, line: str, day: str | None) -> None:
        """A line of the bank's, in or out."""
        self._lines.add((external.ref, line))
        tallies = self.tallies.get((external.holder, leg.asset, external.ref))
        if tallies is not None and day is not None:
            tallies.book(line, leg.amount if leg.debit == external else -leg.amount, day)

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> bool:
        """Takes an event of these in; False for every other. Its legs are moved elsewhere."""
        match event:
            case SettlementBankAgreed():
                self.tallies[event.clearing_house, event.asset, event.bank] = Tallies(
                    event.cutoff_minute, event.first_day, event.opening_fen
                )
            case BankAccountBound():
                self.bindings.bind(event)
            case WithdrawalRequested():
                if event.legs:  # none only where two persons have accepted that
                    self.open[event.withdrawal] = Out(event, False)
            case WithdrawalInstructed():
                out = self.open.get(event.withdrawal)
                if out is not None:
                    self.open[event.withdrawal] = out._replace(instructed=True)
            case WithdrawalConfirmed():
                self.open.pop(event.withdrawal, None)
                for leg in event.legs:
                    self.booked(leg, leg.credit, event.bank_line, event.bank_day)
            case WithdrawalReturned() | WithdrawalCancelled():
                self.open.pop(event.withdrawal, None)
            case BankStatementReceived() | BankStatementReconciled() | BankBreakOpened():
                self._apply_statement(event)
            case BankBreakResolved():
                tallies = self.tallies.get((event.clearing_house, event.asset, event.bank))
                if tallies is not None:
                    tallies.breaks.pop(event.day, None)
                self._proposals.pop(event.proposal or "", None)
            case BankBreakResolutionProposed() | ReserveMoveProposed():
                self._proposals[event.proposal] = event
            case ReserveMoved() | BankProposalWithdrawn():
                self._proposals.pop(event.proposal, None)
            case _:
                return False
        return True

    def _apply_statement(
        self, event: BankStatementReceived | BankStatementReconciled | BankBreakOpened
    ) -> None:
        tallies = self.tallies.get((event.clearing_house, event.asset, event.bank))
        if tallies is None:
            return
        if isinstance(event, BankStatementReceived):
            tallies.parts = [event] if event.part == 1 else [*tallies.parts, event]
        elif tallies.parts:
            tallies.close()


def where_they_differ(one: str, other: str) -> tuple[str, str]:
    """Of two long texts the parts that begin to differ, and nothing of two equal ones."""
    if one == other:
        return "", ""
    pairs = enumerate(zip_longest(one, other))
    at = next(i for i, (ours, theirs) in pairs if ours != theirs)
    begin = max(at - SHOWN_BEFORE, 0)
    return one[begin : at + SHOWN_AFTER], other[begin : at + SHOWN_AFTER]


def _header(one: BankStatementReceived) -> tuple[str, int, int, int, int]:
    return (one.day, one.opening_fen, one.closing_fen, one.parts, one.total_lines)


Check = Callable[[Banks, RawRecord, Any], None]

CHECKS: Final[dict[type[msgspec.Struct], Check]] = {
    SettlementBankAgreed: Banks.check_agreed,
    BankAccountBound: lambda banks, raw, event: banks.bindings.check_first(raw, event),
    WithdrawalRequested: Banks.check_requested,
    WithdrawalInstructed: Banks.check_instructed,
    WithdrawalConfirmed: Banks.check_confirmed,
    WithdrawalReturned: Banks.check_returned,
    WithdrawalCancelled: Banks.check_cancelled,
    BankStatementReceived: Banks.check_statement,
    BankStatementReconciled: Banks.check_outcome,
    BankBreakOpened: Banks.check_outcome,
    BankBreakResolutionProposed: Banks.check_proposed,
    BankBreakResolved: Banks.check_resolved,
    ReserveMoveProposed: Banks.check_proposed,
    ReserveMoved: Banks.check_reserve,
    BankProposalWithdrawn: Banks.check_withdrawn,
}
