"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from tanzhang.inclusive.v1 import inclusive_pb2 as pb
from tanzhang.inclusive.v1 import inclusive_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from kernel import metrics
from kernel.asks import Result
from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.journal.database import Engine
from kernel.journal.port import Refusal
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.rpc.batch import (
    carry_out,
    check_count,
    counted,
    disclose,
    find_outcomes,
    split,
)
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import act_of, enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.rpc.problems import refused_item, to_item_result
from kernel.values import MAX_INTEGER, Caller, check_text
from kernel.writer import Writer
from services.inclusive import queries
from services.inclusive.citizens import Citizens, Enrolment
from services.inclusive.domain import commands, events
from services.inclusive.domain.decide import MAX_TRIPS, STAFF
from services.inclusive.domain.measure import (
    SignedDistance,
    SignedTrip,
    digest_of,
    distance_of_m,
    payable_m,
)
from services.inclusive.domain.state import Citizen, State
from services.inclusive.explain import explain_credit, explain_refusal
from services.inclusive.queries import Known
from services.inclusive.reports import (
    RecordedTrip,
    ReportedBatch,
    ReportedTrip,
    Reports,
    TripAnswer,
    read_trips,
)
from services.inclusive.vault import SealedTrip, Vault, unseal

SERVICE: Final = "tanzhang.inclusive.v1.InclusiveService"
MAX_DISTANCES: Final = 8  # of one trip: one of each source, and some
MAX_WORD_CHARS: Final = 100  # an order, a rider, a place

# Facts about rules and institutions, not about anybody's life.
PUBLIC: Final = frozenset(
    one.__name__
    for one in (
        events.MethodologyProposed,
        events.MethodologyApproved,
        events.PointRuleSet,
        events.OperatorRegistered,
        events.DayConfirmed,
    )
)

_MODES: Final = {pb.Mode.Value(f"MODE_{mode.name}"): mode for mode in events.Mode}
_MODE_NUMBERS: Final = {mode: number for number, mode in _MODES.items()}
_STATUSES: Final = {
    pb.MethodologyStatus.Value(f"METHODOLOGY_STATUS_{status.name}"): status
    for status in events.MethodologyStatus
}
_STATUS_NUMBERS: Final = {status: number for number, status in _STATUSES.items()}
_EVIDENCE: Final = {
    pb.Evidence.Value(f"EVIDENCE_{evidence.name}"): evidence for evidence in commands.Evidence
}
_SOURCES: Final = {
    pb.DistanceSource.Value(f"DISTANCE_SOURCE_{source.name}"): source
    for source in commands.DistanceSource
}


class InclusiveRpc(inclusive_pb2_grpc.InclusiveServiceServicer):
    def __init__(
        self,
        writer: Writer[State],
        engine: Engine,
        trips: Projector,
        clock: Clock,
        citizens: Citizens,
        vault: Vault,
        reports: Reports,
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._trips = trips
        self._clock = clock
        self._citizens = citizens
        self._vault = vault
        self._reports = reports

    # ---- methodologies, points, operators -------------------------------------------------------

    async def ProposeMethodologies(
        self, request: pb.ProposeMethodologiesRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ProposeMethodologies", request.methodologies, propose_methodology
        )
        return pb.ProposeMethodologiesResponse(results=results)

    async def ApproveMethodologies(
        self, request: pb.ApproveMethodologiesRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ApproveMethodologies", request.approvals, approve_methodology
        )
        return pb.ApproveMethodologiesResponse(results=results)

    async def SetPointRules(self, request: pb.SetPointRulesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "SetPointRules", request.rules, set_point_rule)
        return pb.SetPointRulesResponse(results=results)

    async def RegisterOperators(self, request: pb.RegisterOperatorsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RegisterOperators", request.operators, register_operator
        )
        return pb.RegisterOperatorsResponse(results=results)

    # ---- citizens -------------------------------------------------------------------------------

    async def EnrolCitizens(self, request: pb.EnrolCitizensRequest, context: object) -> Any:
        check_count(len(request.enrolments))
        results, places, wanted = split(request.enrolments, _enrolment)
        enrolled = await self._citizens.enrol(current_caller(), wanted)
        citizens = [""] * len(results)
        for i, one in zip(places, enrolled, strict=True):
            results[i] = _item(request.enrolments[i].id, one.result)
            citizens[i] = one.citizen
        return pb.EnrolCitizensResponse(
            results=counted("EnrolCitizens", results), citizens=citizens
        )

    async def ChangeConsents(self, request: pb.ChangeConsentsRequest, context: object) -> Any:
        check_count(len(request.changes))
        results, places, wanted = split(request.changes, _with_id(change_consent))
        answers = await self._citizens.change_consents(current_caller(), wanted)
        for i, answer in zip(places, answers, strict=True):
            results[i] = _item(request.changes[i].id, answer)
        return pb.ChangeConsentsResponse(results=counted("ChangeConsents", results))

    async def ForgetCitizens(self, request: pb.ForgetCitizensRequest, context: object) -> Any:
        check_count(len(request.forgettings))
        results, places, wanted = split(request.forgettings, _with_id(forget_citizen))
        answers = await self._citizens.forget(current_caller(), wanted)
        for i, answer in zip(places, answers, strict=True):
            results[i] = _item(request.forgettings[i].id, answer)
        return pb.ForgetCitizensResponse(results=counted("ForgetCitizens", results))

    async def GetCitizen(self, request: pb.GetCitizenRequest, context: object) -> Any:
        name, _ = await self._subject(current_caller(), request.citizen)
        found, position = await self._writer.read(
            lambda state: _citizen_message(name, _known_citizen(state, name)), request.min_position
        )
        return pb.GetCitizenResponse(citizen=found, as_of_position=position)

    async def ListTrips(self, request: pb.ListTripsRequest, context: object) -> Any:
        """Newest first. What is sealed is opened for the citizen herself alone."""
        name, herself = await self._subject(current_caller(), request.citizen)
        (place,) = page_place(request.page_token, 1)
        before = place if request.page_token else MAX_INTEGER  # newest first: all lies below
        limit = page_limit(request.page_size, queries.DEFAULT_PAGE, queries.MAX_PAGE)
        position = await self._trips.reached(request.min_position)
        positions = await asyncio.to_thread(
            queries.trip_positions, self._engine, name, before, limit
        )
        recorded = await read_trips(self._writer, positions)
        key = (await self._vault.keys([name])).get(name) if herself else None
        known = None if key is None else Known(name, key)
        explained, _ = await self._writer.read(
            lambda state: [
                _explained(state, place, recorded[place], known)
                for place in positions
                if place in recorded
            ]
        )
        full = len(positions) == limit
        return pb.ListTripsResponse(
            trips=explained,
            next_page_token=page_token(positions[-1]) if full else "",
            as_of_position=position,
        )

    async def _subject(self, caller: Caller, asked: str) -> tuple[str, bool]:
        """Which citizen, and is it the caller herself?"""
        own = await self._citizens.own(caller) if "citizen" in caller.roles else None
        if own is not None and asked in ("", own):
            return own, True
        if not asked:
            raise Refused("UNKNOWN_CITIZEN", "the caller is not enrolled", Kind.UNKNOWN)
        if not caller.roles & {STAFF, "auditor"}:
            raise Refused(
                "NOT_YOUR_ACCOUNT",
                f"{caller.actor.sub} is not {asked[:40]}",
                Kind.FORBIDDEN,
                holder=asked[:40],
            )
        return check_text(asked, "citizen", MAX_WORD_CHARS), False

    # ---- trips ----------------------------------------------------------------------------------

    async def ReportTrips(self, request: pb.ReportTripsRequest, context: object) -> Any:
        caller = current_caller()
        check_uuid7(request.id)
        if not 1 <= len(request.trips) <= MAX_TRIPS:
            raise Refused(
                "TRIPS_COUNT",
                f"expected 1..{MAX_TRIPS} trips, got {len(request.trips)}",
                Kind.INVALID,
                limit=MAX_TRIPS,
                actual=len(request.trips),
            )
        batch = ReportedBatch(
            request.id,
            request.operator,
            request.batch,
            request.methodology,
            digest_of([_signed(trip) for trip in request.trips]),
            tuple(act_of(act) for act in request.acts),
            [_reported(trip) for trip in request.trips],
        )
        result, answers = await self._reports.report(caller, batch)
        state = self._writer.state
        trips = [
            _trip_result(state, trip, answer)
            for trip, answer in zip(request.trips, answers, strict=bool(answers))
        ]
        credited = sum(trip.HasField("credit") for trip in trips)
        metrics.items_total.labels("ReportTrips", "accepted").inc(credited)
        metrics.items_total.labels("ReportTrips", "refused").inc(len(request.trips) - credited)
        return pb.ReportTripsResponse(result=to_item_result(result), trips=trips)

    # ---- everybody's ----------------------------------------------------------------------------

    async def GetMethodologies(self, request: pb.GetMethodologiesRequest, context: object) -> Any:
        found, position = await self._writer.read(
            lambda state: [_methodology_message(one) for one in state.approved.values()],
            request.min_position,
        )
        return pb.GetMethodologiesResponse(methodologies=found, as_of_position=position)

    async def GetSums(self, request: pb.GetSumsRequest, context: object) -> Any:
        answer, position = await self._writer.read(_sums_message, request.min_position)
        answer.as_of_position = position
        return answer

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        caller = current_caller()
        acting = await self._citizens.acting(caller) if "citizen" in caller.roles else None
        principal = (acting or caller).principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt, to a party of the event; whoever else asks is refused."""
        caller = current_caller()
        own = await self._citizens.own(caller) if "citizen" in caller.roles else None

        async def may_see(caller: Caller, record: bytes) -> bool:
            return _is_party(caller, own, record)

        # A person is never named beside her pseudonym: the pseudonym is noted instead.
        found = await disclose(
            self._writer,
            self._engine,
            self._clock,
            request.positions,
            may_see,
            leave_out=request.leave_out,
            principal=own,
        )
        return pb.DiscloseEventsResponse(events=found.events, left_out=found.left_out)


# ---- requests -----------------------------------------------------------------------------------


def propose_methodology(item: pb.Methodology) -> commands.ProposeMethodology:
    return commands.ProposeMethodology(
        item.baseline_mg_per_km,
        item.counterfactual,
        item.factor_mg_per_km,
        item.gas,
        item.has_metro if item.HasField("has_metro") else None,
        item.methodology,
        enum_of(_MODES, item.mode, "mode"),
        item.project_mg_per_km,
        item.region,
        item.source,
        enum_of(_STATUSES, item.status, "status"),
        item.title,
        item.valid_first,
        item.valid_last,
        item.version,
    )


def approve_methodology(item: pb.MethodologyApproval) -> commands.ApproveMethodology:
    return commands.ApproveMethodology(item.methodology, item.version)


def set_point_rule(item: pb.PointRule) -> commands.SetPointRule:
    return commands.SetPointRule(
        enum_of(_MODES, item.mode, "mode"), item.valid_first, item.points_per_kg
    )


def register_operator(item: pb.Operator) -> commands.RegisterOperator:
    return commands.RegisterOperator(
        item.operator,
        item.name,
        item.city,
        item.city_has_metro,
        [enum_of(_MODES, mode, "modes") for mode in item.modes],
    )


def change_consent(item: pb.ConsentChange) -> commands.ChangeConsent:
    return commands.ChangeConsent(item.citizen, item.measure, item.sell)


def forget_citizen(item: pb.Forgetting) -> commands.ForgetCitizen:
    return commands.ForgetCitizen(item.citizen)


def _enrolment(item: pb.Enrolment) -> Enrolment:
    return Enrolment(
        check_uuid7(item.id),
        instant_of(item.on, "on") if item.HasField("on") else None,
        item.measure,
        item.sell,
        [(rider.operator, rider.rider_ref) for rider in item.riders],
    )


def _with_id(to_command: Callable[[Any], Any]) -> Callable[[Any], tuple[str, Any]]:
    return lambda item: (check_uuid7(item.id), to_command(item))


def _item(id: str, result: Result | Refusal) -> items_pb2.ItemResult:
    return refused_item(id, result) if isinstance(result, Refusal) else to_item_result(result)


def _signed(trip: pb.Trip) -> SignedTrip:
    """A trip as its operator signed it: docs/reference/trip-batches.md."""
    return SignedTrip(
        [
            SignedDistance(one.least_metres, one.metres, _word(_SOURCES, one.source, "source"))
            for one in trip.distances
        ],
        instant_of(trip.ended_at, "ended_at") if trip.HasField("ended_at") else None,
        _word(_EVIDENCE, trip.evidence, "evidence"),
        trip.from_place,
        _word(_MODES, trip.mode, "mode"),
        trip.order,
        trip.rider_ref,
        instant_of(trip.started_at, "started_at") if trip.HasField("started_at") else None,
        trip.to_place,
    )


def _word(known: dict[Any, Any], number: int, field: str) -> str:
    """The word of a value; empty for none at all. What has no word cannot have been signed."""
    return str(enum_of(known, number, field).value) if number else ""


def _reported(trip: pb.Trip) -> ReportedTrip | Refusal:
    """What one trip lacks is told of that trip; the rest of the batch goes in."""
    try:
        check_text(trip.order, "order", MAX_WORD_CHARS)
        check_text(trip.rider_ref, "rider_ref", MAX_WORD_CHARS, required=False)
        check_text(trip.from_place, "from_place", MAX_WORD_CHARS, required=False)
        check_text(trip.to_place, "to_place", MAX_WORD_CHARS, required=False)
        if len(trip.distances) > MAX_DISTANCES:
            raise Refused(
                "TOO_MANY_ITEMS",
                f"expected at most {MAX_DISTANCES} distances, got {len(trip.distances)}",
                Kind.INVALID,
            )
        return ReportedTrip(
            trip.order,
            trip.rider_ref,
            enum_of(_MODES, trip.mode, "mode"),
            enum_of(_EVIDENCE, trip.evidence, "evidence"),
            instant_of(trip.started_at, "started_at") if trip.HasField("started_at") else None,
            instant_of(trip.ended_at, "ended_at") if trip.HasField("ended_at") else None,
            trip.from_place,
            trip.to_place,
            _distances(trip),
        )
    except Refused as refused:
        return Refusal.of(refused)


def _distances(trip: pb.Trip) -> tuple[commands.Distance, ...]:
    return tuple(
        commands.Distance(enum_of(_SOURCES, one.source, "source"), one.metres, one.least_metres)
        for one in trip.distances
    )


# ---- answers ------------------------------------------------------------------------------------


def _trip_result(state: State, trip: pb.Trip, answer: TripAnswer) -> pb.TripResult:
    found = pb.TripResult(order=trip.order, position=answer.position)
    if isinstance(answer.event, events.TripCredited):
        found.credit.CopyFrom(_credit(answer.event, payable_m(_distances(trip)) or 0))
    elif answer.event is not None:
        found.refused.CopyFrom(_refusal(answer.event))
    elif answer.refusal is not None:
        found.refused.CopyFrom(refused_item("", answer.refusal).refused)
    return found


def _credit(event: events.TripCredited, distance_m: int) -> pb.TripCredit:
    return pb.TripCredit(
        distance_m=distance_m,
        reduction_mg=event.reduction_mg,
        points=event.points,
        saleable=event.saleable,
        not_saleable_because=event.because,
        flags=event.flags,
        methodology=event.methodology,
        version=event.version,
    )


def _refusal(event: events.TripRefused) -> items_pb2.Refusal:
    refusal = Refusal(event.reason, explain_refusal(event).en, Kind.RULE, dict(event.details))
    return refused_item("", refusal).refused


def _explained(
    state: State, position: int, recorded: RecordedTrip, known: Known | None
) -> pb.ExplainedTrip:
    event = recorded.event
    opened = unseal(known, recorded.sealed) if known and recorded.sealed else None
    found = pb.ExplainedTrip(position=position, day=event.day, mode=_MODE_NUMBERS[event.mode])
    if isinstance(event, events.TripCredited):
        methodology = state.approved[event.methodology, event.version]
        words = explain_credit(event, methodology)
        derived_m = distance_of_m(event.reduction_mg, methodology.factor_mg_per_km)
        found.credit.CopyFrom(_credit(event, opened.distance_m if opened else derived_m))
        found.confirmed = event.confirms_on <= state.confirmed_through
    else:
        words = explain_refusal(event)
        found.refused.CopyFrom(_refusal(event))
    found.explanation_zh, found.explanation_en = words
    if opened is not None:
        _show_sealed(found, opened)
    return found


def _show_sealed(found: pb.ExplainedTrip, opened: SealedTrip) -> None:
    found.order = opened.order
    found.from_place, found.to_place = opened.from_place, opened.to_place
    if opened.started_ms is not None:
        found.started_at.CopyFrom(timestamp_of(opened.started_ms))


def _known_citizen(state: State, name: str) -> Citizen:
    citizen = state.citizens.get(name)
    if citizen is None:
        raise Refused("UNKNOWN_CITIZEN", f"no citizen {name[:40]!r}", Kind.UNKNOWN)
    return citizen


def _citizen_message(name: str, citizen: Citizen) -> pb.CitizenState:
    return pb.CitizenState(
        citizen=name,
        measure=citizen.measure,
        sell=citizen.sell,
        points=citizen.points,
        measured_mg=citizen.measured_mg,
        saleable_pending_mg=citizen.saleable_pending_mg,
        saleable_confirmed_mg=citizen.saleable_confirmed_mg,
        trips=citizen.trips,
        trips_refused=citizen.trips_refused,
    )


def _methodology_message(one: events.MethodologyProposed) -> pb.Methodology:
    return pb.Methodology(
        methodology=one.methodology,
        version=one.version,
        title=one.title,
        region=one.region,
        mode=_MODE_NUMBERS[one.mode],
        has_metro=one.has_metro,
        status=_STATUS_NUMBERS[one.status],
        factor_mg_per_km=one.factor_mg_per_km,
        baseline_mg_per_km=one.baseline_mg_per_km,
        project_mg_per_km=one.project_mg_per_km,
        gas=one.gas,
        source=one.source,
        valid_first=one.valid_first,
        valid_last=one.valid_last,
        counterfactual=one.counterfactual,
    )


def _sums_message(state: State) -> pb.GetSumsResponse:
    return pb.GetSumsResponse(
        methodologies=[
            pb.MethodologySum(
                methodology=methodology,
                version=version,
                trips=sums.trips,
                distance_m=sums.distance_m,
                reduction_mg=sums.reduction_mg,
                saleable_mg=sums.saleable_mg,
                points=sums.points,
            )
            for (methodology, version), sums in sorted(state.sums.items())
        ],
        refused=[
            pb.RuleCount(reason=reason, trips=count)
            for reason, count in sorted(state.refused.items())
        ],
        citizens=len(state.citizens),
    )


def _is_party(caller: Caller, own: str | None, record: bytes) -> bool:
    """The citizen, her operator, whoever asked for it, auditors; and everybody for public facts."""
    if "auditor" in caller.roles:
        return True
    raw = decode_record(record)
    if raw.type in PUBLIC or raw.actor == caller.actor:
        return True
    body = msgspec.json.decode(raw.body)
    if body.get("operator") in caller.holders:
        return True
    return own is not None and body.get("citizen") == own


def register(servicer: InclusiveRpc) -> Callable[[Any], None]:
    return lambda server: inclusive_pb2_grpc.add_InclusiveServiceServicer_to_server(
        servicer, server
    )
