"""Commands into events, or a refusal. Reads the state, never changes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from kernel import keyring
from kernel.errors import Kind, Refused
from kernel.keyring import AdmitKey, KeyAdmitted, KeyWithdrawn, WithdrawKey
from kernel.values import MAX_INTEGER, Context, check_role, check_text, check_uscc
from services.accounts.domain import (
    bank_proposals,
    banks,
    blocks,
    destinations,
    freezes,
    freezing,
    operators,
    required,
    rules,
    safeguards,
    second_operator,
    standing,
    timers,
    transfers,
    withdrawals,
)
from services.accounts.domain.commands import (
    AgreeBank,
    ApproveBankProposal,
    BindBankAccount,
    CancelWithdrawal,
    CloseSession,
    ConfirmWithdrawal,
    DefineAsset,
    ExpireHold,
    InstructWithdrawal,
    OrderStatus,
    PlaceHold,
    PostEntry,
    PostHold,
    ProposeBreakResolution,
    ProposeReserveMove,
    ReceiveBankStatement,
    RegisterHolder,
    ReleaseHold,
    RequestWithdrawal,
    ReturnWithdrawal,
    SettleTrades,
    WithdrawBankProposal,
)
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    BankBreakResolved,
    EntryPosted,
    HolderKind,
    HolderRegistered,
    HoldExpired,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    Leg,
    Purpose,
    SerialRange,
    Unit,
)
from services.accounts.domain.proposals import DECIDE_CHANGES
from services.accounts.domain.sessions import close_session, due_sessions
from services.accounts.domain.settling import settle_trades
from services.accounts.domain.state import (
    MAY_BE_NEGATIVE,
    AccountKey,
    FreezeKey,
    Hold,
    State,
    account_key,
)
from services.accounts.domain.statuses import order_status

MAX_BACKDATING_DAYS: Final = 36_500

_HOLDER_ID = re.compile(r"h-[a-z2-7]{16}")
_ASSET_ID = re.compile(r"[A-Z][A-Z0-9.]*(-[A-Za-z0-9.]+)*")
_WITHOUT_USCC = frozenset(
    {HolderKind.FOREIGN, HolderKind.PROGRAMME, HolderKind.FUND, HolderKind.PERSON}
)


def decide(state: State, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    """The events of one command, at least one; raises Refused."""
    events = _DECIDE[type(command)](state, command, context)
    if state.standings or state.account_terms:
        standing.check_events(state, events, context)
    return events


def due(state: State, at_ms: int) -> Iterable[tuple[int, str, msgspec.Struct]]:
    """What has come to its end: (when in ms, what makes it unique, command).

    Holds, then freezes, soonest first of each, then sessions.
    """
    holds = [
        (expires_at_ms, f"expire {hold}", ExpireHold(hold))
        for expires_at_ms, hold in timers.passed(state.expiries, at_ms)
        if hold in state.holds
    ]
    return [*holds, *freezes.due(state, at_ms), *due_sessions(state, at_ms)]


def register_holder(
    state: State, command: RegisterHolder, context: Context
) -> list[HolderRegistered]:
    if not _HOLDER_ID.fullmatch(command.holder):
        raise Refused(
            "HOLDER_MALFORMED",
            f"expected h- and 16 characters of a-z, 2-7, got {command.holder[:40]!r}",
            Kind.INVALID,
        )
    if command.holder in state.holders:
        raise Refused("HOLDER_EXISTS", f"{command.holder} is registered", holder=command.holder)
    if command.kind == HolderKind.PERSON and (command.name or command.uscc):
        raise Refused("PERSON_NAMED", "a natural person is an opaque id alone", Kind.INVALID)
    check_text(command.name, "name", 200, required=command.kind != HolderKind.PERSON)
    if command.uscc or command.kind not in _WITHOUT_USCC:
        check_uscc(command.uscc)
    if known := state.holder_by_uscc.get(command.uscc):
        raise Refused("USCC_EXISTS", f"{command.uscc} belongs to {known}", holder=known)
    _refuse_future(context)
    return [HolderRegistered(command.holder, command.kind, command.name, command.uscc)]


def define_asset(state: State, command: DefineAsset, context: Context) -> list[AssetDefined]:
    if len(command.asset) > 60 or not _ASSET_ID.fullmatch(command.asset):
        raise Refused(
            "ASSET_MALFORMED",
            f"expected an asset like CEA-2024, at most 60 characters, got {command.asset[:80]!r}",
            Kind.INVALID,
        )
    if command.asset in state.assets:
        raise Refused("ASSET_EXISTS", f"{command.asset} is defined", asset=command.asset)
    check_text(command.name, "name", 200)
    if command.serialised and command.unit == Unit.FEN:
        raise Refused("MONEY_WITHOUT_SERIALS", "money has no serials", Kind.INVALID)
    if not 0 <= command.backdating_days <= MAX_BACKDATING_DAYS:
        raise Refused(
            "BACKDATING_OUT_OF_RANGE",
            f"expected 0..{MAX_BACKDATING_DAYS} days, got {command.backdating_days}",
            Kind.INVALID,
        )
    if command.programme and state.holders.get(command.programme) != HolderKind.PROGRAMME:
        raise Refused("UNKNOWN_PROGRAMME", f"no programme {command.programme[:40]!r}", Kind.UNKNOWN)
    _refuse_future(context)
    return [
        AssetDefined(
            command.asset,
            command.backdating_days,
            command.name,
            command.programme,
            command.serialised,
            command.unit,
        )
    ]


def post_entry(
    state: State, command: PostEntry, context: Context
) -> list[EntryPosted | BankBreakResolved]:
    basis = rules.check_entry(state, command, context)
    legs = Draft(state).move_all(command.legs)
    if basis is rules.ITS_HOLDER and command.claim is None and not command.mandate:
        return [EntryPosted(legs=legs)]
    posted = EntryPosted(
        bank_day=basis.bank_day,
        bank_line=basis.bank_line,
        claim=command.claim,
        legs=legs,
        mandate=command.mandate or None,
        pledge=basis.pledge,
        spent_on=basis.spent_on,
        trades=list(basis.trades),
    )
    if basis.bank_line is None:
        return [posted]
    (leg,) = legs
    key = (leg.debit.holder, leg.asset, leg.debit.ref)
    return [posted, *withdrawals.breaks_ended(state, key, basis.bank_line, leg.amount)]


class Draft:
    """Balances and blocks as they would be, leg after leg, without touching the state."""

    __slots__ = ("_balances", "_blocks", "_state", "_yielding")

    def __init__(self, state: State, yielding: Collection[FreezeKey] = ()) -> None:
        self._state = state
        self._yielding = yielding  # freezes that make way for an order
        self._balances: dict[AccountKey, int] = {}
        self._blocks: dict[AccountKey, list[SerialRange]] = {}

    def move_all(self, legs: Sequence[Leg]) -> list[Leg]:
        """The legs with their serials settled; raises Refused for the first that cannot be."""
        return [self._move(leg) for leg in legs]

    def _move(self, leg: Leg) -> Leg:
        debit, asset, amount = leg.debit, leg.asset, leg.amount
        source, target = account_key(debit, asset), account_key(leg.credit, asset)
        available = self._balance(source)
        left = available - amount
        if left < 0 and (debit.purpose not in MAY_BE_NEGATIVE or left < -MAX_INTEGER):
            raise _insufficient(leg, available)
        reached = self._balance(target) + amount
        if reached > MAX_INTEGER:
            raise Refused("BALANCE_TOO_LARGE", f"expected at most {MAX_INTEGER}, got {reached}")
        if self._state.frozen.live:
            freezes.check_leg(self._state, leg, left, self._yielding)
        self._balances[source], self._balances[target] = left, reached
        if not self._state.assets[asset].serialised:
            return leg
        return self._move_serials(leg, source, target)

    def _move_serials(self, leg: Leg, source: AccountKey, target: AccountKey) -> Leg:
        taken = leg.serials
        if leg.debit.purpose != Purpose.ISSUED:  # new serials come from nowhere: see rules
            held = self._held(source)
            if taken:
                blocks.take_named(held, taken)
            else:
                taken = freezes.take_oldest(self._state, held, leg, self._yielding)
        if len(taken) > rules.MAX_RANGES:
            raise Refused(
                "TOO_MANY_RANGES",
                f"expected at most {rules.MAX_RANGES} ranges in a leg, it would take {len(taken)}:"
                " move less at a time",
            )
        blocks.put(self._held(target), taken)
        return Leg(leg.amount, leg.asset, leg.credit, leg.debit, taken)

    def _balance(self, key: AccountKey) -> int:
        known = self._balances.get(key)
        if known is not None:
            return known
        holding = self._state.accounts.get(key)
        return holding.balance if holding is not None else 0

    def _held(self, key: AccountKey) -> list[SerialRange]:
        """A copy, made once per account and entry."""
        if key not in self._blocks:
            holding = self._state.accounts.get(key)
            self._blocks[key] = list(holding.blocks) if holding is not None else []
        return self._blocks[key]


def _insufficient(leg: Leg, available: int) -> Refused:
    return Refused(
        "INSUFFICIENT_BALANCE",
        f"{leg.asset} in {leg.debit.purpose} of {leg.debit.holder}:"
        f" needed {leg.amount}, available {available}",
        needed=leg.amount,
        available=available,
        asset=leg.asset,
        holder=leg.debit.holder,
    )


def moved(state: State, legs: Sequence[Leg], yielding: Collection[FreezeKey] = ()) -> list[Leg]:
    """The legs with their serials settled; raises Refused for the first that cannot be."""
    return Draft(state, yielding).move_all(legs)


def place_hold(state: State, command: PlaceHold, context: Context) -> list[HoldPlaced]:
    if context.id in state.holds:  # ids are unique per caller; holds are named for everyone
        raise Refused("HOLD_EXISTS", f"hold {context.id} is live", hold=context.id)
    leg = Leg(
        command.amount,
        command.asset,
        Account(command.holder, Purpose.HELD, context.id),
        Account(command.holder, Purpose.AVAILABLE, ""),
        command.serials,
    )
    rules.check_leg(state, leg)
    rules.check_holder(state, command.to.holder)
    agent = operators.check_holding(state, command.holder, leg, command.mandate or None, context)
    rules.check_business_time(state.assets[command.asset], context)
    promised = Leg(command.amount, command.asset, command.to, leg.credit, [])
    standing.check_moves(state, [promised], context, agent)
    required.check_promised(state, msgspec.structs.replace(leg, credit=command.to), context)
    if command.to.purpose != Purpose.AVAILABLE or command.to.ref:
        raise Refused("CREDIT_NOT_ALLOWED", "a hold is paid out to somebody's available account")
    destinations.check_hold(state, command.holder, command.to, command.asset, context.at_ms)
    if command.expires_at_ms is not None and command.expires_at_ms <= context.at_ms:
        raise Refused("EXPIRY_PASSED", "expected an expiry after the recording", Kind.INVALID)
    return [
        HoldPlaced(
            expires_at_ms=command.expires_at_ms,
            hold=context.id,
            legs=Draft(state).move_all([leg]),
            mandate=command.mandate or None,
            to=command.to,
        )
    ]


def post_hold(state: State, command: PostHold, context: Context) -> list[HoldPosted]:
    hold = _live_hold(state, command.hold, context)
    paid = _leg_of_hold(command.hold, hold, command.amount, hold.to)
    agent = operators.check_holding(state, hold.to.holder, paid, command.mandate or None, context)
    rules.check_business_time(state.assets[hold.asset], context)
    rules.check_amount(command.amount)
    if command.amount > hold.amount:
        raise Refused(
            "INSUFFICIENT_HOLD",
            f"hold {command.hold}: needed {command.amount}, held {hold.amount}",
            needed=command.amount,
            available=hold.amount,
        )
    standing.check_moves(state, [paid], context, agent)
    legs, rest = [paid], hold.amount - command.amount
    if rest and not command.keep_rest:
        legs.append(_leg_of_hold(command.hold, hold, rest, _back(hold)))
        rest = 0
    return [HoldPosted(command.hold, Draft(state).move_all(legs), command.mandate or None, rest)]


def release_hold(state: State, command: ReleaseHold, context: Context) -> list[HoldReleased]:
    """By whom it is held for: the holder alone could otherwise take back what was promised."""
    hold = _live_hold(state, command.hold, context)
    back = _leg_of_hold(command.hold, hold, hold.amount, _back(hold))
    operators.check_holding(state, hold.to.holder, back, command.mandate or None, context)
    rules.check_business_time(state.assets[hold.asset], context)
    legs = Draft(state).move_all([back])
    return [HoldReleased(command.hold, legs, command.mandate or None)]


def expire_hold(state: State, command: ExpireHold, context: Context) -> list[HoldExpired]:
    check_role(context, "system")
    hold = state.holds.get(command.hold)
    if hold is None:
        raise _unknown_hold(command.hold)
    if hold.expires_at_ms is None or hold.expires_at_ms > context.at_ms:
        raise Refused("HOLD_NOT_DUE", f"hold {command.hold} has not expired")
    return [HoldExpired(command.hold, _all_back(state, command.hold, hold))]


def _live_hold(state: State, id: str, context: Context) -> Hold:
    hold = state.holds.get(id)
    if hold is None:
        raise _unknown_hold(id)
    if hold.to.purpose == Purpose.EXTERNAL:
        raise Refused(
            "HOLD_IS_WITHDRAWAL",
            f"hold {id} is a withdrawal: it ends by the bank's signed word alone",
            hold=id,
        )
    # By the time of recording, even before the timer has recorded the expiry.
    if hold.expires_at_ms is not None and hold.expires_at_ms <= context.at_ms:
        raise Refused("HOLD_EXPIRED", f"hold {id} has expired", hold=id)
    if hold.proposer is not None:
        raise Refused(
            "APPROVAL_NEEDED", f"hold {id} waits for a second operator of its holder", hold=id
        )
    return hold


def _unknown_hold(id: str) -> Refused:
    return Refused(
        "UNKNOWN_HOLD", f"no live hold {id[:60]!r}: it never was, or has ended", Kind.UNKNOWN
    )


def _leg_of_hold(id: str, hold: Hold, amount: int, to: Account) -> Leg:
    return Leg(amount, hold.asset, to, Account(hold.holder, Purpose.HELD, id), [])


def _back(hold: Hold) -> Account:
    return Account(hold.holder, Purpose.AVAILABLE, "")


def _all_back(state: State, id: str, hold: Hold) -> list[Leg]:
    return Draft(state).move_all([_leg_of_hold(id, hold, hold.amount, _back(hold))])


def admit_key(state: State, command: AdmitKey, context: Context) -> list[KeyAdmitted]:
    return keyring.admit_key(command, context)


def withdraw_key(state: State, command: WithdrawKey, context: Context) -> list[KeyWithdrawn]:
    return keyring.withdraw_key(command, context)


def _moving(
    decide: Callable[[State, Any, Context, withdrawals.Move], Sequence[msgspec.Struct]],
) -> Callable[[State, Any, Context], Sequence[msgspec.Struct]]:
    """A rule that moves legs of its own making, on the same draft as every other."""
    return lambda state, command, context: decide(
        state, command, context, lambda legs: Draft(state).move_all(legs)
    )


def _refuse_future(context: Context) -> None:
    if context.on_ms > context.at_ms:
        raise Refused("ON_IN_FUTURE", "business time is after the recording")


_DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    RegisterHolder: register_holder,
    DefineAsset: define_asset,
    PostEntry: post_entry,
    PlaceHold: place_hold,
    PostHold: post_hold,
    ReleaseHold: release_hold,
    ExpireHold: expire_hold,
    AdmitKey: admit_key,
    WithdrawKey: withdraw_key,
    OrderStatus: order_status,
    **DECIDE_CHANGES,
    **freezing.DECIDE,
    **transfers.deciders(moved),
    **safeguards.DECIDE,
    **second_operator.deciders(moved),
    SettleTrades: settle_trades,
    CloseSession: close_session,
    AgreeBank: _moving(banks.agree_bank),
    BindBankAccount: _moving(banks.bind_bank_account),
    RequestWithdrawal: _moving(withdrawals.request_withdrawal),
    CancelWithdrawal: _moving(withdrawals.cancel_withdrawal),
    InstructWithdrawal: _moving(withdrawals.instruct_withdrawal),
    ConfirmWithdrawal: _moving(withdrawals.confirm_withdrawal),
    ReturnWithdrawal: _moving(withdrawals.return_withdrawal),
    ReceiveBankStatement: _moving(banks.receive_bank_statement),
    ProposeBreakResolution: _moving(bank_proposals.propose_break_resolution),
    ProposeReserveMove: _moving(bank_proposals.propose_reserve_move),
    ApproveBankProposal: _moving(bank_proposals.approve_bank_proposal),
    WithdrawBankProposal: _moving(bank_proposals.withdraw_bank_proposal),
}
