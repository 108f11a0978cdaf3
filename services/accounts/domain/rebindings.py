"""Another bank account for withdrawals: the bank vouches for its name, and two persons agree.

Whoever could change it at once could have all of a holder's money paid out elsewhere. So where the
holder has safeguards the new account counts only after their delay, as a trusted destination does,
and until then an administrator of the holder can stop it alone. A withdrawal that is under way goes
where it was asked for.
"""

from __future__ import annotations

from kernel.errors import Refused
from kernel.values import Context, check_text
from services.accounts.domain import banks, destinations, operators, rules
from services.accounts.domain.acts import check_once
from services.accounts.domain.changes import (
    BankAccountChanged,
    ChangeProposed,
    ProposalWithdrawn,
    Rebinding,
    Right,
)
from services.accounts.domain.events import BankAccountBound
from services.accounts.domain.state import BoundKey, Rebound, State
from services.accounts.domain.withdrawals import bound_account


def check_rebinding(state: State, asked: Rebinding, context: Context) -> None:
    """When proposed and again when approved."""
    rules.check_holder(state, asked.holder)
    banks.check_word(asked.account)
    check_text(asked.reason, "reason", 500)
    key = key_of(asked)
    account = bound_account(state, key, context.at_ms)
    waiting = state.rebound.get(key)
    if waiting is not None and waiting.effective_ms > context.at_ms:
        raise Refused("CHANGE_WAITING", "an earlier change has yet to come into force")
    if account is None:
        raise Refused(
            "NO_BOUND_ACCOUNT",
            f"{asked.holder} has no account bound at {asked.bank[:40]} that could be changed",
            holder=asked.holder,
            bank=asked.bank[:40],
        )
    check_once(account == asked.account, "ACCOUNT_BOUND", f"this account of {asked.holder}")


def check_vouched(state: State, asked: Rebinding, context: Context) -> None:
    """When proposed: the bank's own signature, as over the first account."""
    banks.check_vouched(
        state,
        BankAccountBound(asked.account, asked.bank, asked.clearing_house, asked.holder),
        context,
    )


def changed(
    state: State, proposed: ChangeProposed, asked: Rebinding, context: Context
) -> BankAccountChanged:
    kept = destinations.in_force(state.safeguards.get(asked.holder), context.at_ms)
    delay_ms = 0 if kept is None else kept.delay_ms
    return BankAccountChanged(
        context.at_ms + delay_ms, proposed.proposal, proposed.proposed_by, asked
    )


def stop(state: State, proposal: str, context: Context) -> list[ProposalWithdrawn] | None:
    """A change that waits to count, given up by its holder's administrator; None: there is none."""
    for key, waiting in state.rebound.items():
        if waiting.proposal == proposal and waiting.effective_ms > context.at_ms:
            operators.check_right(state, context, key[0], Right.ADMINISTER)
            return [ProposalWithdrawn(proposal)]
    return None


def key_of(asked: Rebinding) -> BoundKey:
    return (asked.holder, asked.clearing_house, asked.bank)


# ---- folding ------------------------------------------------------------------------------------


def on_bank_account_changed(state: State, event: BankAccountChanged) -> None:
    state.proposals.pop(event.proposal, None)
    key = key_of(event.rebinding)
    before = state.rebound.get(key)
    if before is not None:  # it has come to count: no second one waits beside it
        state.bound_accounts[key] = before.account
    state.rebound[key] = Rebound(event.rebinding.account, event.effective_ms, event.proposal)


def on_stopped(state: State, proposal: str) -> None:
    for key, waiting in state.rebound.items():
        if waiting.proposal == proposal:
            del state.rebound[key]
            return
