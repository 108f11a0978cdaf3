"""Holders' own safeguards in the accounts book, again.

Two operators for every change and for what one may not send alone; nothing before its delay; the
sums of a day counted by the day of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from kernel.record import RawRecord
from kernel.values import Actor
from services.ledger.books.accounts_events import (
    Account,
    DestinationAdded,
    DestinationConfirmed,
    DestinationRemoved,
    EntryPosted,
    HoldPlaced,
    Leg,
    SafeguardRules,
    SafeguardsConfirmed,
    SafeguardsProposed,
    SafeguardsWithdrawn,
    TransferApproved,
    TransferProposed,
)
from services.ledger.books.days import day_of
from services.ledger.books.directory import require_no_acts
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds

SAFEGUARD_EVENTS: Final = (
    SafeguardsProposed,
    SafeguardsConfirmed,
    SafeguardsWithdrawn,
    DestinationAdded,
    DestinationConfirmed,
    DestinationRemoved,
)
MAX_DELAY_MS: Final = 60 * 86_400_000
MAX_APPROVAL_MS: Final = 30 * 86_400_000


@dataclass(slots=True)
class Kept:
    """All of one holder's: changes by the instant they count from, the list, the day's sums."""

    changes: list[tuple[int, SafeguardRules | None]] = field(default_factory=list)
    asked: SafeguardsProposed | None = None
    trusted: dict[str, int] = field(default_factory=dict)
    added: dict[str, Actor] = field(default_factory=dict)
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)

    def rules(self, at_ms: int) -> SafeguardRules | None:
        """The last change that has come to count."""
        counting = [rules for since, rules in self.changes if since <= at_ms]
        return counting[-1] if counting else None

    def waits(self, at_ms: int) -> bool:
        return bool(self.changes) and self.changes[-1][0] > at_ms


class Destinations:
    def __init__(self, holders: dict[str, str]) -> None:
        self._holders = holders
        self._kept: dict[str, Kept] = {}

    # ---- movements ------------------------------------------------------------------------------

    def check_entry(self, raw: RawRecord, event: EntryPosted) -> None:
        if not self._kept:
            require("SPENT_ON", None, event.spent_on)
            return
        day = str(day_of(raw.at))
        counts = False
        total: dict[tuple[str, str], int] = {}
        for leg, kept, rules, to in self._guarded(raw, event.legs):
            self._require_trusted(kept, leg.debit.holder, to, raw)
            limit = _limit(rules, leg.asset)
            if limit is None or to.startswith("venue:"):
                continue
            counts = True
            key = (leg.debit.holder, leg.asset)
            total[key] = total.get(key, _sent(kept, leg.asset, day)) + leg.amount
            within = total[key] <= limit
            require_holds("OWN_LIMIT", within, f"at most {limit} of {key} a day", total[key])
        require("SPENT_ON", day if counts else None, event.spent_on)

    def _guarded(
        self, raw: RawRecord, legs: list[Leg]
    ) -> Iterator[tuple[Leg, Kept, SafeguardRules, str]]:
        """The legs that one operator has taken out of a guarded holder's `available`."""
        at_ms = instant_ms(raw.at)
        for leg in legs:
            kept, to = self._kept.get(leg.debit.holder), _destination(leg)
            rules = None if kept is None else kept.rules(at_ms)
            if kept is not None and rules is not None and to and leg.debit.purpose == "available":
                yield leg, kept, rules, to

    def check_hold(self, raw: RawRecord, event: HoldPlaced) -> None:
        holder, asset = event.legs[0].debit.holder, event.legs[0].asset
        kept = self._kept.get(holder)
        rules = None if kept is None else kept.rules(instant_ms(raw.at))
        if kept is None or rules is None or event.to.holder == holder:
            return
        self._require_trusted(kept, holder, event.to.holder, raw)
        limit = _limit(rules, asset)
        require_holds("OWN_LIMIT", limit is None, "a second operator", f"a hold of {asset}")

    def check_proposed(self, raw: RawRecord, event: TransferProposed) -> None:
        require("PROPOSER", raw.actor, event.proposer)
        holder = event.legs[0].debit.holder
        kept, rules = self._rules(holder, raw)
        require_holds("TRANSFER_PARTIES", event.to.holder != holder, "two holders", holder)
        require("APPROVAL_TIME", instant_ms(raw.at) + rules.approve_within_ms, event.expires_at_ms)
        if not rules.unlisted:
            self._require_trusted(kept, holder, event.to.holder, raw)

    def check_approved(
        self, raw: RawRecord, event: TransferApproved, proposer: Actor | None, to: Account
    ) -> None:
        if proposer is None:
            raise RuleBroken("TRANSFER_PROPOSED", "a proposed transfer", event.hold)
        if raw.actor.sub == proposer.sub:
            raise RuleBroken("TWO_PERSONS", f"another than {proposer.sub}", raw.actor.sub)
        holder = event.legs[0].debit.holder
        kept = self._kept.get(holder)
        rules = None if kept is None else kept.rules(instant_ms(raw.at))
        if kept is not None and rules is not None and not rules.unlisted:
            self._require_trusted(kept, holder, to.holder, raw)

    def strictness(self, holder: str, asset: str, at_ms: int) -> tuple[int, int | None]:
        """The delay of its safeguards, and how much one may send alone; of nothing: below any."""
        kept = self._kept.get(holder)
        rules = None if kept is None else kept.rules(at_ms)
        return (-1, None) if rules is None else (rules.delay_ms, _limit(rules, asset))

    def delay_ms(self, holder: str, at_ms: int) -> int:
        """How long its own safeguards hold up what is agreed about where its units go."""
        return _delay_ms(self._kept.get(holder, Kept()), at_ms)

    def _rules(self, holder: str, raw: RawRecord) -> tuple[Kept, SafeguardRules]:
        kept = self._kept.get(holder)
        rules = None if kept is None else kept.rules(instant_ms(raw.at))
        if kept is None or rules is None:
            raise RuleBroken("SAFEGUARDS", f"safeguards of {holder} in force", "none")
        return kept, rules

    def _require_trusted(self, kept: Kept, holder: str, to: str, raw: RawRecord) -> None:
        since_ms = kept.trusted.get(to)
        known = since_ms is not None and since_ms <= instant_ms(raw.at)
        require_holds("DESTINATION_TRUSTED", known, f"whom {holder} trusts by then", to)

    # ---- changes --------------------------------------------------------------------------------

    def check(self, raw: RawRecord, event: Any) -> None:
        require_no_acts(raw)
        if event.holder not in self._holders:
            raise RuleBroken("HOLDER_KNOWN", "a registered holder", event.holder)
        match event:
            case SafeguardsProposed():
                self._check_proposal(raw, event)
            case SafeguardsConfirmed():
                self._check_confirmed(raw, event)
            case SafeguardsWithdrawn():
                kept = self._kept.get(event.holder, Kept())
                require("CHANGE_WAITING", kept.waits(instant_ms(raw.at)), event.waiting)
                some = event.waiting or kept.asked is not None
                require_holds("CHANGE_PROPOSED", some, "a change to give up", "none")
            case DestinationAdded():
                self._check_added(raw, event)
            case DestinationConfirmed():
                self._check_destination(raw, event)
            case DestinationRemoved():
                kept = self._kept.get(event.holder, Kept())
                listed = event.destination in kept.trusted or event.destination in kept.added
                require_holds("DESTINATION_LISTED", listed, "one on the list", event.destination)

    def _check_proposal(self, raw: RawRecord, event: SafeguardsProposed) -> None:
        require("PROPOSER", raw.actor, event.proposer)
        require("PROPOSAL", raw.by, event.proposal)
        rules = event.rules
        if rules is None:
            self._rules(event.holder, raw)
            return
        within = 0 <= rules.delay_ms <= MAX_DELAY_MS
        require_holds("SAFEGUARD_RANGE", within, f"a delay up to {MAX_DELAY_MS}", rules.delay_ms)
        within = 0 < rules.approve_within_ms <= MAX_APPROVAL_MS
        most = f"up to {MAX_APPROVAL_MS}"
        require_holds("SAFEGUARD_RANGE", within, most, rules.approve_within_ms)
        names = [limit.asset for limit in rules.limits]
        require("SAFEGUARD_RANGE", sorted(set(names)), names)
        low = min((limit.amount for limit in rules.limits), default=0)
        require_holds("SAFEGUARD_RANGE", low >= 0, "limits of 0 or more", low)

    def _check_confirmed(self, raw: RawRecord, event: SafeguardsConfirmed) -> None:
        kept = self._kept.get(event.holder, Kept())
        asked = kept.asked
        if asked is None or asked.proposal != event.proposal:
            raise RuleBroken("CHANGE_PROPOSED", "the change that was proposed", event.proposal)
        require("CHANGE_PROPOSED", asked.rules, event.rules)
        _require_another(raw, asked.proposer)
        at_ms = instant_ms(raw.at)
        require("CHANGE_WAITING", False, kept.waits(at_ms))
        require("CHANGE_DELAY", at_ms + _delay_ms(kept, at_ms), event.effective_ms)

    def _check_added(self, raw: RawRecord, event: DestinationAdded) -> None:
        require("PROPOSER", raw.actor, event.proposer)
        kept, to = self._kept.get(event.holder, Kept()), event.destination
        known = to.startswith("venue:") or (to in self._holders and to != event.holder)
        require_holds("DESTINATION_KNOWN", known, "another holder or a venue", to)
        listed = to in kept.trusted or to in kept.added
        require_holds("DESTINATION_NEW", not listed, "one not on the list", to)

    def _check_destination(self, raw: RawRecord, event: DestinationConfirmed) -> None:
        kept = self._kept.get(event.holder, Kept())
        proposer = kept.added.get(event.destination)
        if proposer is None:
            raise RuleBroken("DESTINATION_LISTED", "one that was added", event.destination)
        _require_another(raw, proposer)
        at_ms = instant_ms(raw.at)
        require("CHANGE_DELAY", at_ms + _delay_ms(kept, at_ms), event.effective_ms)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, event: Any) -> None:
        kept = self._kept.setdefault(event.holder, Kept())
        match event:
            case SafeguardsProposed():
                kept.asked = event
            case SafeguardsConfirmed():
                kept.asked = None
                # What counted before the last one can never count again: two are enough.
                kept.changes = [*kept.changes[-1:], (event.effective_ms, event.rules)]
            case SafeguardsWithdrawn():
                kept.asked = None
                if event.waiting:
                    kept.changes = kept.changes[:-1]
            case DestinationAdded():
                kept.added[event.destination] = event.proposer
            case DestinationConfirmed():
                kept.added.pop(event.destination, None)
                kept.trusted[event.destination] = event.effective_ms
            case DestinationRemoved():
                kept.added.pop(event.destination, None)
                kept.trusted.pop(event.destination, None)

    def spend(self, raw: RawRecord, event: EntryPosted) -> None:
        """What an entry that counts has sent to others."""
        day = str(day_of(raw.at))
        for leg in event.legs:
            kept, to = self._kept.get(leg.debit.holder), _destination(leg)
            if kept is not None and to and not to.startswith("venue:"):
                kept.sent[leg.asset] = (day, _sent(kept, leg.asset, day) + leg.amount)


def _require_another(raw: RawRecord, proposer: Actor) -> None:
    if raw.actor.sub == proposer.sub:
        raise RuleBroken("TWO_PERSONS", f"another than {proposer.sub}", raw.actor.sub)


def _delay_ms(kept: Kept, at_ms: int) -> int:
    rules = kept.rules(at_ms)
    return 0 if rules is None else rules.delay_ms


def _sent(kept: Kept, asset: str, day: str) -> int:
    on, amount = kept.sent.get(asset, (day, 0))
    return amount if on == day else 0


def _limit(rules: SafeguardRules, asset: str) -> int | None:
    for limit in rules.limits:
        if limit.asset == asset:
            return limit.amount
    return None


def _destination(leg: Leg) -> str:
    """Another holder, a venue, or nobody: what stays or ends with its own holder."""
    if leg.credit.purpose == "trading":
        return f"venue:{leg.credit.ref}"
    if leg.credit.purpose == "available" and leg.credit.holder != leg.debit.holder:
        return leg.credit.holder
    return ""
