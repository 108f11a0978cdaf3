"""Checks the registry's book: steps in order, one claim for one reduction, issuance within what was
verified and by two persons, liens signed by both parties, and every outcome against its entry.

issuing.py and pledging.py hold its two halves; here are the keys, what the halves share, and the
retirements of the accounts book that the registry makes public, each once and in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from services.ledger.books import registry_events as events
from services.ledger.books.crossings import ACCOUNTS, Crossings, told_of
from services.ledger.books.directory import check_no_acts
from services.ledger.books.issuing import Issuing
from services.ledger.books.keys import KEY_EVENTS, AdmittedKeys
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.pledging import Pledging
from services.ledger.books.port import Checker, RuleBroken, Step, require
from services.ledger.books.registry_events import UnitsRetired
from services.ledger.books.serials import merged

Handler = Callable[[RawRecord, Any], None]

# With an institution's statement; every other event has none.
SIGNED: Final = (
    events.ReductionVerified,
    events.IssuanceApproved,
    events.PledgeRequested,
    events.ReleaseRequested,
)
# Told of another book's event; every other event is somebody's command, with its business time.
TOLD: Final = (
    events.IssuanceCompleted,
    events.IssuanceRefused,
    events.PledgeRegistered,
    events.PledgeRefused,
    events.PledgeReleased,
    events.ReleaseRefused,
    events.PledgeOverridden,
    UnitsRetired,
    *KEY_EVENTS,
)


class RegistryBook(Checker):
    """The registry's book again, by other means."""

    types = EventTypes(
        events.ProgrammeOpened,
        events.TermsSet,
        events.ProjectFiled,
        events.ProjectAdvanced,
        events.ReductionVerified,
        events.IssuanceProposed,
        events.IssuanceApproved,
        events.IssuanceCompleted,
        events.IssuanceRefused,
        events.PledgeRequested,
        events.PledgeRegistered,
        events.PledgeRefused,
        events.ReleaseRequested,
        events.PledgeReleased,
        events.ReleaseRefused,
        events.PledgeOverridden,
        UnitsRetired,
        *KEY_EVENTS,
    )

    def __init__(self, ledger: LedgerBook, crossings: Crossings) -> None:
        self._keys = AdmittedKeys(ledger)
        self._crossings = crossings
        self._issuing = Issuing(self._keys, crossings)
        self._pledging = Pledging(self._keys, crossings, self._issuing)

    def steps(self, kind: type[msgspec.Struct]) -> list[Step]:
        if kind in KEY_EVENTS:
            return [self._keys.check, check_no_acts]
        groups: list[Step] = [self._check_by_type]
        if kind not in SIGNED:
            groups.append(check_no_acts)
        if kind not in TOLD:
            groups.append(_check_command)
        return groups

    def _check_by_type(self, raw: RawRecord, event: msgspec.Struct) -> None:
        self._handlers(event)[0](raw, event)

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        if isinstance(event, KEY_EVENTS):
            self._keys.apply(event)
        else:
            self._handlers(event)[1](raw, event)

    def _handlers(self, event: msgspec.Struct) -> tuple[Handler, Handler]:
        """What checks an event, and what applies it."""
        issuing, pledging = self._issuing, self._pledging
        match event:
            case events.ProgrammeOpened():
                return issuing.check_programme, issuing.apply_programme
            case events.TermsSet():
                return issuing.check_terms, issuing.apply_terms
            case events.ProjectFiled():
                return issuing.check_filed, issuing.apply_filed
            case events.ProjectAdvanced():
                return issuing.check_advanced, issuing.apply_advanced
            case events.ReductionVerified():
                return issuing.check_verified, issuing.apply_verified
            case events.IssuanceProposed():
                return issuing.check_proposed, issuing.apply_proposed
            case events.IssuanceApproved():
                return issuing.check_approved, issuing.apply_approved
            case events.IssuanceCompleted():
                return issuing.check_completed, issuing.apply_completed
            case events.IssuanceRefused():
                return issuing.check_refused, issuing.apply_refused
            case events.PledgeRequested():
                return pledging.check_requested, pledging.apply_requested
            case events.PledgeRegistered():
                return pledging.check_registered, pledging.apply_registered
            case events.PledgeRefused():
                return pledging.check_refused, pledging.apply_refused
            case events.ReleaseRequested():
                return pledging.check_release_requested, pledging.apply_release_requested
            case events.PledgeReleased():
                return pledging.check_released, pledging.apply_released
            case events.ReleaseRefused():
                return pledging.check_release_refused, pledging.apply_release_refused
            case events.PledgeOverridden():
                return pledging.check_overridden, pledging.apply_overridden
            case UnitsRetired():
                return self._check_retired, self._apply_retired
            case _:
                raise TypeError(f"not an event of the registry's book: {event!r}")

    def _check_retired(self, raw: RawRecord, event: UnitsRetired) -> None:
        """The oldest retirement nobody has told of; a lot of it per holder and asset."""
        waiting = self._crossings.retirements
        oldest = next(iter(waiting), None)
        if oldest is None:
            raise RuleBroken("RETIREMENT_ORDER", "a retirement to tell of", raw.cause)
        require("RETIREMENT_ORDER", (ACCOUNTS, oldest), raw.cause)
        retirement = waiting[oldest]
        lot = retirement.lots.get((event.holder, event.asset))
        said = (event.quantity_t, merged(event.serials))
        require("RETIREMENT", (retirement.claim, lot), (_claim_of(event), said))

    def _apply_retired(self, raw: RawRecord, event: UnitsRetired) -> None:
        waiting = self._crossings.retirements
        retirement = None if raw.cause is None else waiting.get(raw.cause[1])
        if retirement is not None:
            retirement.lots.pop((event.holder, event.asset), None)
        told_of(waiting, raw.cause, whole=retirement is None or not retirement.lots)


def _claim_of(event: UnitsRetired) -> tuple[str, str, str]:
    return event.beneficiary, event.details, event.purpose


def _check_command(raw: RawRecord, event: msgspec.Struct) -> None:
    """Nobody's command answers another book, and none speaks of what has not happened yet."""
    require("CAUSE_NONE", None, raw.cause)
    if raw.on > raw.at:  # one fixed form of instant: text order is time order
        raise RuleBroken("ON_AFTER_AT", f"at most {raw.at}", raw.on)
