"""Commands into events, or a refusal. Reads the state, never changes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from kernel import keyring
from kernel.errors import Kind, Refused
from kernel.keyring import AdmitKey, KeyAdmitted, KeyWithdrawn, WithdrawKey
from kernel.values import (
    DAY_MS,
    Context,
    check_day,
    check_operates,
    check_role,
    check_text,
    day_start_ms,
    shanghai_day,
)
from services.inclusive.domain import measure, rules
from services.inclusive.domain.commands import (
    ApproveMethodology,
    ChangeConsent,
    ConfirmDay,
    EnrolCitizen,
    Evidence,
    ForgetCitizen,
    ProposeMethodology,
    ReceiveTripBatch,
    RegisterOperator,
    ReportTrip,
    SetPointRule,
)
from services.inclusive.domain.events import (
    CitizenEnrolled,
    CitizenForgotten,
    ConsentChanged,
    DayConfirmed,
    MethodologyApproved,
    MethodologyProposed,
    MethodologyStatus,
    OperatorRegistered,
    PointRuleSet,
    TripBatchReceived,
    TripCredited,
    TripRefused,
)
from services.inclusive.domain.methodologies import check_passport, judging
from services.inclusive.domain.state import Citizen, State

MAX_POINTS_PER_KG: Final = 1_000_000  # a trip's points stay far below 2^53
MAX_TRIPS: Final = 2000  # of one batch: an answer of a few hundred KiB, a commit of tens of ms
STAFF: Final = "inclusive-operator"

_HOLDER_ID = re.compile(r"h-[a-z2-7]{16}")
_CITIZEN_ID = re.compile(r"c-[a-z2-7]{16}")
_TRUSTED = (Evidence.OPERATOR_ORDER, Evidence.FARE_GATE)  # reaches the saleable book


class TripBatch(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="trip-batch", tag_field="kind"
):
    """What an operator signs over its trips, by a key of holder:<operator>."""

    batch: str
    count: int
    digest: str
    operator: str


def decide(state: State, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    """The events of one command, at least one; raises Refused."""
    return _DECIDE[type(command)](state, command, context)


def due(state: State, at_ms: int) -> Iterable[tuple[int, str, ConfirmDay]]:
    """Days that have begun and have trips to confirm: (their start, what makes it unique, command).

    In order: confirming a day confirms what should have been before it.
    """
    return [
        (start_ms, f"confirm {day}", ConfirmDay(day))
        for day in sorted(state.unconfirmed)
        if (start_ms := day_start_ms(day)) <= at_ms
    ]


# ---- methodologies, points, operators -----------------------------------------------------------


def propose_methodology(
    state: State, command: ProposeMethodology, context: Context
) -> list[MethodologyProposed]:
    _check_staff(context)
    _refuse_future(context)
    check_passport(command)
    key = (command.methodology, command.version)
    if key in state.proposed or key in state.approved:
        raise Refused(
            "METHODOLOGY_EXISTS",
            f"{command.methodology} {command.version} has been proposed: take another version",
            methodology=command.methodology,
            version=command.version,
        )
    said = msgspec.structs.asdict(command)
    return [MethodologyProposed(proposed_by=context.caller.actor, **said)]


def approve_methodology(
    state: State, command: ApproveMethodology, context: Context
) -> list[MethodologyApproved]:
    """By another person than the proposer."""
    _check_staff(context)
    _refuse_future(context)
    key = (command.methodology, command.version)
    if key in state.approved:
        raise Refused("METHODOLOGY_EXISTS", f"{' '.join(key)[:150]} is approved")
    proposed = state.proposed.get(key)
    if proposed is None:
        raise Refused(
            "UNKNOWN_METHODOLOGY", f"nobody proposed {' '.join(key)[:150]!r}", Kind.UNKNOWN
        )
    if proposed.proposed_by == context.caller.actor:
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{context.caller.actor.sub} proposed this and may not approve it",
            Kind.FORBIDDEN,
        )
    return [MethodologyApproved(*key)]


def set_point_rule(state: State, command: SetPointRule, context: Context) -> list[PointRuleSet]:
    """From a day on; what was credited before keeps its points."""
    _check_staff(context)
    check_day(command.valid_first, "valid_first")
    if not 0 <= command.points_per_kg <= MAX_POINTS_PER_KG:
        raise Refused(
            "POINTS_OUT_OF_RANGE",
            f"expected 0..{MAX_POINTS_PER_KG} points per kg, got {command.points_per_kg}",
            Kind.INVALID,
            limit=MAX_POINTS_PER_KG,
            actual=command.points_per_kg,
        )
    return [PointRuleSet(command.mode, command.points_per_kg, command.valid_first)]


def register_operator(
    state: State, command: RegisterOperator, context: Context
) -> list[OperatorRegistered]:
    _check_staff(context)
    if not _HOLDER_ID.fullmatch(command.operator):
        raise Refused(
            "HOLDER_MALFORMED",
            f"expected h- and 16 characters of a-z, 2-7, got {command.operator[:40]!r}",
            Kind.INVALID,
        )
    if command.operator in state.operators:
        raise Refused(
            "OPERATOR_EXISTS", f"{command.operator} is registered", operator=command.operator
        )
    check_text(command.name, "name", 200)
    check_text(command.city, "city", 60)
    modes = sorted(set(command.modes))
    if not modes:
        raise Refused("MISSING_VALUE", "modes is missing", Kind.INVALID, field="modes")
    return [
        OperatorRegistered(
            command.city, command.city_has_metro, modes, command.name, command.operator
        )
    ]


# ---- citizens -----------------------------------------------------------------------------------


def enrol_citizen(
    state: State, command: EnrolCitizen, context: Context
) -> list[CitizenEnrolled] | list[ConsentChanged]:
    """A new pseudonym; for one that is known (more riders of hers) the consents it says."""
    _refuse_future(context)
    if not _CITIZEN_ID.fullmatch(command.citizen):
        raise Refused(
            "CITIZEN_MALFORMED",
            f"expected c- and 16 characters of a-z, 2-7, got {command.citizen[:40]!r}",
            Kind.INVALID,
        )
    _check_own(context, command.citizen)
    _check_consents(command)
    if command.citizen in state.citizens:
        _live_citizen(state, command.citizen)
        if STAFF in context.caller.roles:  # what she chose herself is not overwritten in bulk
            raise Refused(
                "CITIZEN_EXISTS", f"{command.citizen} is enrolled", citizen=command.citizen
            )
        return [ConsentChanged(command.citizen, command.measure, command.sell)]
    return [CitizenEnrolled(command.citizen, command.measure, command.sell)]


def change_consent(state: State, command: ChangeConsent, context: Context) -> list[ConsentChanged]:
    """For trips recorded from here on."""
    _check_own(context, command.citizen)
    _live_citizen(state, command.citizen)
    _check_consents(command)
    return [ConsentChanged(command.citizen, command.measure, command.sell)]


def forget_citizen(
    state: State, command: ForgetCitizen, context: Context
) -> list[CitizenForgotten]:
    _check_own(context, command.citizen)
    _live_citizen(state, command.citizen)
    return [CitizenForgotten(command.citizen)]


def _live_citizen(state: State, name: str) -> Citizen:
    citizen = state.citizens.get(name)
    if citizen is None:
        raise Refused("UNKNOWN_CITIZEN", f"no citizen {name[:40]!r}", Kind.UNKNOWN)
    if citizen.forgotten:
        raise Refused("CITIZEN_FORGOTTEN", f"{name} has been forgotten", citizen=name)
    return citizen


def _check_consents(command: EnrolCitizen | ChangeConsent) -> None:
    if command.sell and not command.measure:
        raise Refused("SELL_WITHOUT_MEASURE", "what is not measured cannot be sold", Kind.INVALID)


# ---- trips --------------------------------------------------------------------------------------


def receive_trip_batch(
    state: State, command: ReceiveTripBatch, context: Context
) -> list[TripBatchReceived]:
    """The operator signed these very trips; what becomes of each is decided one by one."""
    check_operates(context, command.operator)
    if command.operator not in state.operators:
        raise Refused(
            "UNKNOWN_OPERATOR",
            f"no operator {command.operator[:40]}",
            Kind.UNKNOWN,
            operator=command.operator[:40],
        )
    check_text(command.batch, "batch", 100)
    signed = keyring.signed_statement(
        state.keyring, context, TripBatch, f"holder:{command.operator}"
    )
    keyring.check_same("operator", signed.operator, command.operator)
    keyring.check_same("batch", signed.batch, command.batch)
    keyring.check_same("count", signed.count, command.count)
    if signed.digest != command.digest:
        raise Refused(
            "BATCH_DIGEST",
            f"the statement is over trips of digest {signed.digest[:64]}, these have"
            f" {command.digest}",
            expected=signed.digest[:64],
            actual=command.digest,
        )
    if (command.operator, command.batch) in state.batches:
        raise Refused(
            "TRIP_BATCH_EXISTS",
            f"batch {command.batch} of {command.operator} has been received",
            batch=command.batch,
        )
    return [TripBatchReceived(command.batch, command.count, command.digest, command.operator)]


def report_trip(
    state: State, command: ReportTrip, context: Context
) -> list[TripCredited] | list[TripRefused]:
    """The hot path: an event either way, because the rider is owed the reason."""
    check_operates(context, command.operator)
    if (command.operator, command.batch) not in state.batches:
        raise Refused("UNKNOWN_TRIP_BATCH", f"no batch {command.batch!r} was received")
    day = rules.day_of(command, context.at_ms)
    try:
        in_force = rules.rules_on(day)
        rules.check_trip(state, command, context, in_force)
        methodology = judging(state, command, day)
        if not methodology.counterfactual:
            rules.check_age(command, context, in_force)
    except Refused as refused:
        return [
            TripRefused(
                command.batch,
                command.citizen if command.citizen in state.citizens else "",
                day,
                {name: str(value) for name, value in refused.details.items()},
                command.mode,
                command.nullifier.hex(),
                command.operator,
                refused.reason,
            )
        ]
    return [_credit(state, command, methodology, day, context.at_ms, in_force)]


def _credit(
    state: State,
    trip: ReportTrip,
    methodology: MethodologyProposed,
    day: str,
    at_ms: int,
    in_force: rules.RuleSet,
) -> TripCredited:
    distance_m = measure.payable_m(trip.distances) or 0
    measured_mg = measure.reduction_mg(methodology.factor_mg_per_km, distance_m)
    declared = trip.evidence == Evidence.SELF_DECLARED
    points_per_kg = 0 if methodology.counterfactual else _points_per_kg(state, trip, day)
    because = _not_saleable(state.citizens[trip.citizen], trip, methodology)
    return TripCredited(
        trip.batch,
        because,
        trip.citizen,
        shanghai_day(at_ms + in_force.confirm_after_days * DAY_MS),
        day,
        ["DISTANCES_DIFFER"] if measure.distances_differ(trip.distances) else [],
        methodology.methodology,
        trip.mode,
        trip.nullifier.hex(),
        trip.operator,
        measure.points_of(points_per_kg, measured_mg, halved=declared),
        0 if declared else measured_mg,
        not because,
        methodology.version,
    )


def _not_saleable(citizen: Citizen, trip: ReportTrip, methodology: MethodologyProposed) -> str:
    """Why a trip's reduction may not be sold; empty when it may."""
    if methodology.counterfactual:
        return "COUNTERFACTUAL"
    if methodology.status != MethodologyStatus.FILED:
        return "METHODOLOGY_IS_REPORT"
    if trip.evidence not in _TRUSTED:
        return "EVIDENCE_TOO_WEAK"
    return "" if citizen.sell else "NO_CONSENT_TO_SELL"


def _points_per_kg(state: State, trip: ReportTrip, day: str) -> int:
    in_force = [points for first, points in state.point_rules.get(trip.mode, ()) if first <= day]
    return in_force[-1] if in_force else 0


def confirm_day(state: State, command: ConfirmDay, context: Context) -> list[DayConfirmed]:
    check_role(context, "system")
    if command.day not in state.unconfirmed:
        raise Refused("DAY_NOT_DUE", f"{command.day} has nothing to confirm", day=command.day)
    if day_start_ms(command.day) > context.at_ms:
        raise Refused("DAY_NOT_DUE", f"{command.day} has not begun", day=command.day)
    return [DayConfirmed(command.day)]


# ---- keys, and who may --------------------------------------------------------------------------


def admit_key(state: State, command: AdmitKey, context: Context) -> list[KeyAdmitted]:
    return keyring.admit_key(command, context)


def withdraw_key(state: State, command: WithdrawKey, context: Context) -> list[KeyWithdrawn]:
    return keyring.withdraw_key(command, context)


def _check_staff(context: Context) -> None:
    check_role(context, STAFF)
    keyring.check_none(context)


def _check_own(context: Context, citizen: str) -> None:
    """The citizen herself, under her pseudonym, or the platform's staff."""
    if STAFF not in context.caller.roles and context.caller.actor.sub != citizen:
        raise Refused(
            "NOT_YOUR_ACCOUNT",
            f"{context.caller.actor.sub} is not {citizen[:40]}",
            Kind.FORBIDDEN,
            holder=citizen[:40],
        )


def _refuse_future(context: Context) -> None:
    if context.on_ms > context.at_ms:
        raise Refused("ON_IN_FUTURE", "business time is after the recording")


_DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    ProposeMethodology: propose_methodology,
    ApproveMethodology: approve_methodology,
    SetPointRule: set_point_rule,
    RegisterOperator: register_operator,
    EnrolCitizen: enrol_citizen,
    ChangeConsent: change_consent,
    ForgetCitizen: forget_citizen,
    ReceiveTripBatch: receive_trip_batch,
    ReportTrip: report_trip,
    ConfirmDay: confirm_day,
    AdmitKey: admit_key,
    WithdrawKey: withdraw_key,
}
