"""Events into state. Never refuses, never looks at a clock: it is what replays the book."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kernel.keyring import KeyAdmitted, KeyWithdrawn
from services.inclusive.domain.events import (
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
from services.inclusive.domain.measure import distance_of_m
from services.inclusive.domain.state import Citizen, State, Sums


def evolve(state: State, event: msgspec.Struct) -> None:
    """Applies one event."""
    _EVOLVE[type(event)](state, event)


def on_methodology_proposed(state: State, event: MethodologyProposed) -> None:
    state.proposed[event.methodology, event.version] = event


def on_methodology_approved(state: State, event: MethodologyApproved) -> None:
    key = (event.methodology, event.version)
    approved = state.approved[key] = state.proposed.pop(key)
    state.methodologies.setdefault(approved.mode, []).append(approved)


def on_point_rule_set(state: State, event: PointRuleSet) -> None:
    rules = state.point_rules.setdefault(event.mode, [])
    rules[:] = [rule for rule in rules if rule[0] != event.valid_first]
    rules.append((event.valid_first, event.points_per_kg))
    rules.sort()


def on_operator_registered(state: State, event: OperatorRegistered) -> None:
    state.operators[event.operator] = event


def on_citizen_enrolled(state: State, event: CitizenEnrolled) -> None:
    state.citizens[event.citizen] = Citizen(event.measure, event.sell)


def on_consent_changed(state: State, event: ConsentChanged) -> None:
    citizen = state.citizens[event.citizen]
    citizen.measure, citizen.sell = event.measure, event.sell


def on_citizen_forgotten(state: State, event: CitizenForgotten) -> None:
    citizen = state.citizens[event.citizen]
    citizen.measure = citizen.sell = False
    citizen.forgotten = True
    citizen.days.clear()


def on_trip_batch_received(state: State, event: TripBatchReceived) -> None:
    state.batches.add((event.operator, event.batch))


def on_trip_credited(state: State, event: TripCredited) -> None:
    """The hot path."""
    state.credited.add(bytes.fromhex(event.nullifier))
    saleable_mg = event.reduction_mg if event.saleable else 0
    citizen = state.citizens[event.citizen]
    citizen.trips += 1
    citizen.points += event.points
    citizen.measured_mg += event.reduction_mg
    citizen.saleable_pending_mg += saleable_mg
    citizen.days.add(state.days.setdefault(event.day, event.day))
    waiting = state.unconfirmed.setdefault(event.confirms_on, {})
    if saleable_mg:
        waiting[event.citizen] = waiting.get(event.citizen, 0) + saleable_mg
    key = (event.methodology, event.version)
    sums = state.sums.get(key)
    if sums is None:
        sums = state.sums[key] = Sums()
    sums.trips += 1
    sums.distance_m += distance_of_m(event.reduction_mg, state.approved[key].factor_mg_per_km)
    sums.reduction_mg += event.reduction_mg
    sums.saleable_mg += saleable_mg
    sums.points += event.points


def on_trip_refused(state: State, event: TripRefused) -> None:
    state.refused[event.reason] = state.refused.get(event.reason, 0) + 1
    citizen = state.citizens.get(event.citizen)
    if citizen is not None:
        citizen.trips_refused += 1


def on_day_confirmed(state: State, event: DayConfirmed) -> None:
    state.confirmed_through = event.day
    for day in [day for day in state.unconfirmed if day <= event.day]:
        for name, saleable_mg in state.unconfirmed.pop(day).items():
            citizen = state.citizens[name]
            citizen.saleable_pending_mg -= saleable_mg
            citizen.saleable_confirmed_mg += saleable_mg


def on_key_admitted(state: State, event: KeyAdmitted) -> None:
    state.keyring.on_key_admitted(event)


def on_key_withdrawn(state: State, event: KeyWithdrawn) -> None:
    state.keyring.on_key_withdrawn(event)


_EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    MethodologyProposed: on_methodology_proposed,
    MethodologyApproved: on_methodology_approved,
    PointRuleSet: on_point_rule_set,
    OperatorRegistered: on_operator_registered,
    CitizenEnrolled: on_citizen_enrolled,
    ConsentChanged: on_consent_changed,
    CitizenForgotten: on_citizen_forgotten,
    TripBatchReceived: on_trip_batch_received,
    TripCredited: on_trip_credited,
    TripRefused: on_trip_refused,
    DayConfirmed: on_day_confirmed,
    KeyAdmitted: on_key_admitted,
    KeyWithdrawn: on_key_withdrawn,
}
