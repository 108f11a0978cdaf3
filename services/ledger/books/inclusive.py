"""Checks a citizens' book: methodologies by two persons, batches their operator signed, every trip
earning once, nothing saleable without a filed methodology and consent, days confirmed in order.

What is sealed is never read: hours, places and distances are not judged here, only what follows
from them in clear. A reduction must be one that whole tens of metres give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from services.ledger.books.crossings import canonical
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.directory import check_no_acts
from services.ledger.books.inclusive_events import (
    CitizenEnrolled,
    CitizenForgotten,
    ConsentChanged,
    DayConfirmed,
    MethodologyApproved,
    MethodologyProposed,
    OperatorRegistered,
    PointRuleSet,
    TripBatchReceived,
    TripCredited,
    TripRefused,
)
from services.ledger.books.keys import KEY_EVENTS, AdmittedKeys, KeyAdmitted, KeyWithdrawn
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.port import (
    Checker,
    RuleBroken,
    Step,
    require,
    require_holds,
    require_no_cause,
)

FILED: Final = "filed"
CONFIRMED_AFTER: Final = 2  # days after a trip was recorded
STEP_M: Final = 10  # distances are floored to this before anything is reckoned with them
OLDEST_DAYS: Final = 366  # a year, and the day it began on
FACTOR_MG_PER_KM: Final = (1_000, 100_000)  # no published one is outside
MOST_POINTS_PER_KG: Final = 1_000_000
# The way a person makes at a mode's top speed in its longest time, and never beyond 1,000 km.
LONGEST_M: Final = {"metro": 270_000, "bus": 1_000_000, "bike": 90_000, "ebike": 960_000}
DECLARED: Final = frozenset({"bike", "ebike"})  # what a person's own word earns points for
NATIONWIDE: Final = "CN"
MG_PER_KG: Final = 1_000_000

Version = tuple[str, str]  # methodology, version
Batch = tuple[str, str]  # operator, batch


@dataclass(slots=True)
class Citizen:
    measure: bool
    sell: bool
    forgotten: bool = False


@dataclass
class Methodologies:
    proposed: dict[Version, MethodologyProposed] = field(default_factory=dict)
    approved: dict[Version, MethodologyProposed] = field(default_factory=dict)


class InclusiveBook(Checker):
    """A citizens' book again, by other means."""

    types = EventTypes(
        MethodologyProposed,
        MethodologyApproved,
        PointRuleSet,
        OperatorRegistered,
        CitizenEnrolled,
        ConsentChanged,
        CitizenForgotten,
        TripBatchReceived,
        TripCredited,
        TripRefused,
        DayConfirmed,
        *KEY_EVENTS,
    )

    def __init__(self, ledger: LedgerBook) -> None:
        self._keys = AdmittedKeys(ledger)
        self._methodologies = Methodologies()
        self._points: dict[str, dict[str, int]] = {}  # by mode and first day: points per kg
        self._operators: dict[str, OperatorRegistered] = {}
        self._citizens: dict[str, Citizen] = {}
        self._batches: dict[Batch, int] = {}  # trips of each that may still come
        self._earned: set[bytes] = set()  # nullifiers
        self._confirmed = ""  # the last day
        self._unconfirmed: set[str] = set()  # days on which something is to be confirmed

    def steps(self, kind: type[msgspec.Struct]) -> list[Step]:
        if kind in KEY_EVENTS:
            return [self._keys.check, check_no_acts]
        groups: list[Step] = [partial(_CHECKS[kind], self), require_no_cause]
        if kind is not TripBatchReceived:
            groups.append(check_no_acts)
        return groups

    # ---- methodologies, points, operators -------------------------------------------------------

    def _check_proposed(self, raw: RawRecord, event: MethodologyProposed) -> None:
        key, known = (event.methodology, event.version), self._methodologies
        require("PROPOSER", raw.actor, event.proposed_by)
        require("METHODOLOGY_NEW", False, key in known.proposed or key in known.approved)
        factor, baseline = event.factor_mg_per_km, event.baseline_mg_per_km
        least, most = FACTOR_MG_PER_KM
        require_holds("FACTOR", least <= factor <= most, f"{least}..{most}", factor)
        if baseline or event.project_mg_per_km:  # both are published: they must explain the factor
            require("FACTOR", baseline - event.project_mg_per_km, factor)

    def _check_approved(self, raw: RawRecord, event: MethodologyApproved) -> None:
        proposed = self._methodologies.proposed.get((event.methodology, event.version))
        if proposed is None:
            raise RuleBroken("METHODOLOGY_PROPOSED", "one that was proposed", event.methodology)
        if raw.actor == proposed.proposed_by:
            raise RuleBroken("TWO_PERSONS", f"not {proposed.proposed_by.sub}", raw.actor.sub)

    def _check_points(self, raw: RawRecord, event: PointRuleSet) -> None:
        within = 0 <= event.points_per_kg <= MOST_POINTS_PER_KG
        require_holds("POINTS", within, f"0..{MOST_POINTS_PER_KG}", event.points_per_kg)
        parse_day(event.valid_first)

    def _check_operator(self, raw: RawRecord, event: OperatorRegistered) -> None:
        require("OPERATOR_NEW", False, event.operator in self._operators)

    # ---- citizens -------------------------------------------------------------------------------

    def _check_enrolled(self, raw: RawRecord, event: CitizenEnrolled) -> None:
        require("CITIZEN_NEW", False, event.citizen in self._citizens)
        _check_consents(event)

    def _check_consent(self, raw: RawRecord, event: ConsentChanged) -> None:
        self._live(event.citizen)
        _check_consents(event)

    def _check_forgotten(self, raw: RawRecord, event: CitizenForgotten) -> None:
        self._live(event.citizen)

    def _citizen(self, name: str) -> Citizen:
        citizen = self._citizens.get(name)
        if citizen is None:
            raise RuleBroken("CITIZEN_KNOWN", "an enrolled citizen", name)
        return citizen

    def _live(self, name: str) -> Citizen:
        citizen = self._citizen(name)
        if citizen.forgotten:
            raise RuleBroken("CITIZEN_FORGOTTEN", "nothing more about a forgotten citizen", name)
        return citizen

    # ---- trips ----------------------------------------------------------------------------------

    def _check_batch(self, raw: RawRecord, event: TripBatchReceived) -> None:
        if event.operator not in self._operators:
            raise RuleBroken("OPERATOR_KNOWN", "a registered operator", event.operator)
        require("TRIP_BATCH_NEW", False, (event.operator, event.batch) in self._batches)
        statement = self._keys.statement(raw, [f"holder:{event.operator}"], "trip-batch")
        expected = {
            "batch": event.batch,
            "count": event.count,
            "digest": event.digest,
            "kind": "trip-batch",
            "operator": event.operator,
        }
        require("TRIP_BATCH_STATEMENT", canonical(expected), canonical(statement))

    def _check_of_batch(self, event: TripCredited | TripRefused) -> None:
        left = self._batches.get((event.operator, event.batch))
        if left is None:
            raise RuleBroken("TRIP_BATCH_KNOWN", "a received batch", event.batch)
        if left <= 0:
            raise RuleBroken("TRIP_BATCH_COUNT", "no more trips than were signed", event.batch)

    def _check_refused(self, raw: RawRecord, event: TripRefused) -> None:
        self._check_of_batch(event)
        _nullifier(event.nullifier)
        if event.citizen:
            self._citizen(event.citizen)
        require_holds("TRIP_REASON", bool(event.reason), "a reason", "none")

    def _check_credited(self, raw: RawRecord, event: TripCredited) -> None:
        self._check_of_batch(event)
        if _nullifier(event.nullifier) in self._earned:
            raise RuleBroken("TRIP_ONCE", "a trip that has not earned", event.nullifier)
        citizen = self._live(event.citizen)
        require_holds("CONSENT", citizen.measure, "consent to measure", event.citizen)
        operator = self._operators.get(event.operator)
        if operator is None:
            raise RuleBroken("OPERATOR_KNOWN", "a registered operator", event.operator)
        if event.mode not in operator.modes:
            raise RuleBroken("TRIP_MODE", operator.modes, event.mode)
        methodology = self._judging(event)
        _check_place(operator, methodology)
        self._check_days(raw, event, methodology)
        self._check_amounts(event, methodology)
        self._check_saleable(event, methodology, citizen)

    def _judging(self, event: TripCredited) -> MethodologyProposed:
        key = (event.methodology, event.version)
        methodology = self._methodologies.approved.get(key)
        if methodology is None:
            raise RuleBroken("METHODOLOGY_APPROVED", "an approved methodology", key)
        require("TRIP_MODE", methodology.mode, event.mode)
        return methodology

    def _check_days(
        self, raw: RawRecord, event: TripCredited, methodology: MethodologyProposed
    ) -> None:
        """In the methodology's time, not after the recording, and confirmed on the second day."""
        recorded, day = day_of(raw.at), event.day
        age_days = (recorded - parse_day(day)).days
        if age_days < 0:
            raise RuleBroken("TRIP_DAY", f"at most {recorded}", day)
        first, last = methodology.valid_first, methodology.valid_last
        if day < first or (last and day > last):
            raise RuleBroken("TRIP_DAY", f"{first}..{last}", day)
        if age_days > OLDEST_DAYS and not methodology.counterfactual:
            raise RuleBroken("TRIP_DAY", f"at most {OLDEST_DAYS} days before {recorded}", day)
        require("CONFIRMS_ON", CONFIRMED_AFTER, (parse_day(event.confirms_on) - recorded).days)

    def _check_amounts(self, event: TripCredited, methodology: MethodologyProposed) -> None:
        """Points follow from the reduction; without one, what is declared earns at most so."""
        reduction_mg, points = event.reduction_mg, event.points
        if reduction_mg < 0 or points < 0:
            raise RuleBroken("NEGATIVE", "0 or more", (reduction_mg, points))
        factor = methodology.factor_mg_per_km
        if factor <= 0:  # two persons have accepted the methodology, not what it gives
            raise RuleBroken("FACTOR", "1 or more", factor)
        tens = -(-reduction_mg * 1000 // (factor * STEP_M))
        if factor * STEP_M * tens // 1000 != reduction_mg:
            wanted = f"{factor} mg/km times tens of metres"
            raise RuleBroken("REDUCTION_STEP", wanted, reduction_mg)
        longest_m = LONGEST_M.get(event.mode, 0)
        if tens * STEP_M > longest_m:
            raise RuleBroken("TRIP_FAR", f"at most {longest_m} m by {event.mode}", tens * STEP_M)
        if not reduction_mg and event.mode not in DECLARED:  # only a person's own word has none
            raise RuleBroken("DECLARED", sorted(DECLARED), event.mode)
        if methodology.counterfactual:
            require("TRIP_POINTS", 0, points)
            return
        per_kg = self._points_per_kg(event.mode, event.day)
        if reduction_mg:
            require("TRIP_POINTS", per_kg * reduction_mg // MG_PER_KG, points)
            return
        most = per_kg * (factor * longest_m // 1000) // (2 * MG_PER_KG)  # half, and of any length
        require_holds("TRIP_POINTS", points <= most, f"at most {most}", points)

    def _points_per_kg(self, mode: str, day: str) -> int:
        rules = self._points.get(mode, {})
        in_force = max((first for first in rules if first <= day), default=None)
        return 0 if in_force is None else rules[in_force]

    def _check_saleable(
        self, event: TripCredited, methodology: MethodologyProposed, citizen: Citizen
    ) -> None:
        """Only what is filed, real, measured and consented to; whatever is not, says why."""
        require("BECAUSE", event.saleable, not event.because)
        if not event.saleable:
            return
        require("SALEABLE_STATUS", FILED, methodology.status)
        require("SALEABLE_REAL", False, methodology.counterfactual)
        require_holds("SALEABLE_CONSENT", citizen.sell, "consent to sell", event.citizen)
        require_holds("SALEABLE_MEASURED", event.reduction_mg > 0, "a reduction", 0)

    def _check_confirmed(self, raw: RawRecord, event: DayConfirmed) -> None:
        if event.day <= self._confirmed:
            raise RuleBroken("DAY_ORDER", f"after {self._confirmed}", event.day)
        today = day_of(raw.at)
        require_holds("DAY_BEGUN", parse_day(event.day) <= today, f"at most {today}", event.day)
        due = event.day in self._unconfirmed
        require_holds("DAY_DUE", due, "a day with trips to confirm", event.day)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        match event:
            case TripCredited() | TripRefused():
                self._count_trip(event)
            case TripBatchReceived():
                self._batches[event.operator, event.batch] = event.count
            case CitizenEnrolled() | ConsentChanged():
                self._citizens[event.citizen] = Citizen(event.measure, event.sell)
            case CitizenForgotten():
                self._citizens[event.citizen] = Citizen(False, False, forgotten=True)
            case MethodologyProposed():
                self._methodologies.proposed[event.methodology, event.version] = event
            case MethodologyApproved():
                known, key = self._methodologies, (event.methodology, event.version)
                proposed = known.proposed.pop(key, None)
                if proposed is not None:
                    known.approved[key] = proposed
            case PointRuleSet():
                self._points.setdefault(event.mode, {})[event.valid_first] = event.points_per_kg
            case OperatorRegistered():
                self._operators[event.operator] = event
            case DayConfirmed():
                self._confirmed = max(self._confirmed, event.day)
                self._unconfirmed -= {day for day in self._unconfirmed if day <= event.day}
            case KeyAdmitted() | KeyWithdrawn():
                self._keys.apply(event)
            case _:
                raise TypeError(f"not an event of a citizens' book: {event!r}")

    def _count_trip(self, event: TripCredited | TripRefused) -> None:
        batch = (event.operator, event.batch)
        if batch in self._batches:
            self._batches[batch] -= 1
        if isinstance(event, TripCredited):
            self._unconfirmed.add(event.confirms_on)
            try:
                self._earned.add(_nullifier(event.nullifier))
            except RuleBroken:
                return  # accepted as it is: such a name is nobody's


def _check_consents(event: CitizenEnrolled | ConsentChanged) -> None:
    """What is not measured is not sold."""
    require_holds("CONSENTS", event.measure or not event.sell, "consent to measure", "to sell")


def _check_place(operator: OperatorRegistered, methodology: MethodologyProposed) -> None:
    """One for cities without a metro gives more for the same way."""
    if methodology.region not in (operator.city, NATIONWIDE):
        wanted = f"{operator.city} or {NATIONWIDE}"
        raise RuleBroken("METHODOLOGY_PLACE", wanted, methodology.region)
    if methodology.has_metro is not None:
        require("METHODOLOGY_METRO", operator.city_has_metro, methodology.has_metro)


def _nullifier(text: str) -> bytes:
    """SHA-256 in hex; half the memory as bytes."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32 or found.hex() != text:
        raise RuleBroken("NULLIFIER", "a SHA-256 in hex", text)
    return found


_CHECKS: dict[type[msgspec.Struct], Callable[[InclusiveBook, RawRecord, Any], None]] = {
    MethodologyProposed: InclusiveBook._check_proposed,
    MethodologyApproved: InclusiveBook._check_approved,
    PointRuleSet: InclusiveBook._check_points,
    OperatorRegistered: InclusiveBook._check_operator,
    CitizenEnrolled: InclusiveBook._check_enrolled,
    ConsentChanged: InclusiveBook._check_consent,
    CitizenForgotten: InclusiveBook._check_forgotten,
    TripBatchReceived: InclusiveBook._check_batch,
    TripCredited: InclusiveBook._check_credited,
    TripRefused: InclusiveBook._check_refused,
    DayConfirmed: InclusiveBook._check_confirmed,
}
