"""Where holders' withdrawals go: bank accounts that the bank vouches for, and changes of them.

A change takes two persons and the bank's word. Where the holder has safeguards of its own it counts
only after their delay, and until then the holder alone can stop it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from kernel.record import RawRecord
from services.ledger.books.banks_events import BankAccountBound
from services.ledger.books.crossings import canonical
from services.ledger.books.holders_events import (
    BankAccountChanged,
    ProposalWithdrawn,
    Rebinding,
)
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import instant_ms, require, require_holds

Bound: TypeAlias = tuple[str, str, str]  # holder, clearing house, bank


class Bindings:
    def __init__(self, keys: AdmittedKeys) -> None:
        self._keys = keys
        self._usccs: dict[str, str] = {}  # whose a credit code is
        self._bound: dict[Bound, str] = {}
        self._changes: dict[Bound, tuple[BankAccountChanged, ...]] = {}  # the last two of each

    def check_first(self, raw: RawRecord, event: BankAccountBound) -> None:
        require("ACCOUNT_BOUND_ONCE", False, place_of(event) in self._bound)
        self._check_vouched(raw, msgspec.structs.asdict(event))

    def _check_vouched(self, raw: RawRecord, binding: dict[str, object]) -> None:
        """The bank's word that the account is in the holder's own name."""
        said = self._keys.statement(raw, [f"bank:{binding['bank']}"], "account-binding")
        uscc = str(said.get("uscc"))
        expected = {**binding, "kind": "account-binding", "uscc": uscc}
        require("BANK_SAID", canonical(expected), canonical(said))
        require("ACCOUNT_NAME", binding["holder"], self._usccs.get(uscc))

    def check_proposed(self, raw: RawRecord, asked: Rebinding) -> None:
        """Another account: by the bank's word again, which stands on the proposal."""
        binding = msgspec.structs.asdict(asked)
        del binding["reason"]
        self._check_vouched(raw, binding)

    def check_changed(self, raw: RawRecord, event: BankAccountChanged, delay_ms: int) -> None:
        """Two persons and the bank's word are seen to; this is of when it may count."""
        at_ms, place = instant_ms(raw.at), place_of(event.rebinding)
        bound = self.at(place, at_ms)
        require_holds("ACCOUNT_BOUND", bound is not None, "a bound account to change", place)
        waits = any(one.effective_ms > at_ms for one in self._changes.get(place, ()))
        require("CHANGE_WAITING", False, waits)
        require("CHANGE_DELAY", at_ms + delay_ms, event.effective_ms)

    def whose_waits(self, proposal: str, at_ms: int) -> str | None:
        """Whose bank account a change that does not count yet is about; None: there is none."""
        for place, changes in self._changes.items():
            if any(one.proposal == proposal and one.effective_ms > at_ms for one in changes):
                return place[0]
        return None

    def at(self, place: Bound, at_ms: int) -> str | None:
        counting = [one for one in self._changes.get(place, ()) if one.effective_ms <= at_ms]
        return counting[-1].rebinding.account if counting else self._bound.get(place)

    def take(self, event: BankAccountChanged | ProposalWithdrawn) -> None:
        """Agreed, or given up before it counts. What counted before the last never counts again."""
        if isinstance(event, BankAccountChanged):
            place = place_of(event.rebinding)
            self._changes[place] = (*self._changes.get(place, ())[-1:], event)
            return
        for place, changes in self._changes.items():
            if any(one.proposal == event.proposal for one in changes):
                left = tuple(one for one in changes if one.proposal != event.proposal)
                self._changes[place] = left

    # ---- applying -------------------------------------------------------------------------------

    def registered(self, uscc: str, holder: str) -> None:
        self._usccs[uscc] = holder

    def bind(self, event: BankAccountBound) -> None:
        self._bound[place_of(event)] = event.account


def place_of(binding: BankAccountBound | Rebinding) -> Bound:
    return (binding.holder, binding.clearing_house, binding.bank)
