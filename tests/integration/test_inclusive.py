"""The inclusive service as its users meet it: operators' bulk, citizens' phones, staff, auditors.

A city of its own: the inclusive and the ledger service as processes, over the session's PostgreSQL
and a NATS. At the end the log is that of the journal, and nobody's name or way is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from tanzhang.inclusive.v1 import inclusive_pb2 as pb
from tanzhang.inclusive.v1 import inclusive_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from cli.stack.nats import OPERATOR
from cli.stack.ports import free_port
from cli.stack.postgres import write_secret
from cli.stack.provision import SERVICES, identities_file, keys_folder, operator_signer
from cli.stack.supervisor import Supervisor
from kernel.errors import Conflict, Refused
from kernel.frames import StoredEvent, verify_frame
from kernel.identities import load_identities
from kernel.record import EventTypes, decode_record
from kernel.rpc.items import act_message, timestamp_of
from kernel.values import DAY_MS, Act, Caller
from services.inclusive.domain.events import EVENTS
from services.inclusive.domain.evolve import evolve
from services.inclusive.domain.state import State
from services.ledger.books.inclusive import InclusiveBook
from tests.support.books import person
from tests.support.database import DatabaseServer
from tests.support.shared_nats import SharedNats
from tests.support.shenzhen import (
    BIKES,
    BIKES_KEY,
    FIRST,
    METRO,
    METRO_KEY,
    MINUTE_MS,
    PASSPORTS,
    POINTS_PER_KG,
    SECOND,
    signed_batch,
)
from tests.support.world import AUDITOR, World, accepted, refusal, until
from tests.support.worldcheck import at_rest, leaf, root

METRO_CLERK = person("clerk of the metro", holders=[METRO])
BIKES_CLERK = person("clerk of the bikes", holders=[BIKES])
KEYS = {METRO: METRO_KEY, BIKES: BIKES_KEY}
CLERKS = {METRO: METRO_CLERK, BIKES: BIKES_CLERK}


def rider(sub: str) -> Caller:
    return person(sub, roles=["citizen"])


class City(World):
    """Shenzhen with its services; `settle_in` makes rules, operators and their keys."""

    @property
    def inclusive(self) -> Any:
        return inclusive_pb2_grpc.InclusiveServiceStub(self.channel("inclusive"))

    def ask(self, method: str, request: Any, caller: Caller | None) -> Any:
        return self.call(getattr(self.inclusive, method), request, caller, patience_s=30.0)

    def settle_in(self) -> None:
        for holder, key in KEYS.items():
            self.register_key(f"holder:{holder}", key)
        proposals = [self.methodology(one) for one in PASSPORTS]
        request = pb.ProposeMethodologiesRequest(methodologies=proposals)
        for result in self.ask("ProposeMethodologies", request, FIRST).results:
            accepted(result)
        approvals = [
            pb.MethodologyApproval(
                id=self.new_id(), methodology=one.methodology, version=one.version
            )
            for one in PASSPORTS
        ]
        approved = pb.ApproveMethodologiesRequest(approvals=approvals)
        for result in self.ask("ApproveMethodologies", approved, SECOND).results:
            accepted(result)
        self._settle_operators()
        until(
            lambda: sum(r.type == "KeyAdmitted" for r in self.records("inclusive")) == len(KEYS),
            "the operators' keys",
        )

    def _settle_operators(self) -> None:
        rules = [
            pb.PointRule(
                id=self.new_id(), mode=mode, valid_first="2021-01-01", points_per_kg=POINTS_PER_KG
            )
            for mode in (pb.MODE_METRO, pb.MODE_BUS, pb.MODE_BIKE, pb.MODE_EBIKE)
        ]
        for result in self.ask(
            "SetPointRules", pb.SetPointRulesRequest(rules=rules), FIRST
        ).results:
            accepted(result)
        operators = [
            self.operator(METRO, "深圳地铁", pb.MODE_METRO, pb.MODE_BUS),
            self.operator(BIKES, "共享单车", pb.MODE_BIKE, pb.MODE_EBIKE),
        ]
        registered = pb.RegisterOperatorsRequest(operators=operators)
        for result in self.ask("RegisterOperators", registered, FIRST).results:
            accepted(result)

    def operator(self, holder: str, name: str, *modes: Any) -> pb.Operator:
        return pb.Operator(
            id=self.new_id(), operator=holder, name=name, city="深圳", city_has_metro=True,
            modes=modes,
        )  # fmt: skip

    def methodology(self, one: Any) -> pb.Methodology:
        fields = {name: getattr(one, name) for name in one.__struct_fields__}
        fields["mode"] = f"MODE_{one.mode.name}"
        fields["status"] = f"METHODOLOGY_STATUS_{one.status.name}"
        return pb.Methodology(id=self.new_id(), **fields)

    # ---- citizens -------------------------------------------------------------------------------

    def enrol(
        self, caller: Caller, *refs: str, sell: bool = True, id: str = "", operator: str = METRO
    ) -> pb.EnrolCitizensResponse:
        enrolment = pb.Enrolment(
            id=id or self.new_id(),
            measure=True,
            sell=sell,
            riders=[pb.Rider(operator=operator, rider_ref=ref) for ref in refs],
        )
        request = pb.EnrolCitizensRequest(enrolments=[enrolment])
        return cast(pb.EnrolCitizensResponse, self.ask("EnrolCitizens", request, caller))

    def enrolled(self, caller: Caller, *refs: str, **more: Any) -> str:
        """Her pseudonym."""
        answer = self.enrol(caller, *refs, **more)
        accepted(answer.results[0])
        return str(answer.citizens[0])

    def forget(self, caller: Caller, citizen: str = "", id: str = "") -> items_pb2.ItemResult:
        request = pb.ForgetCitizensRequest(
            forgettings=[pb.Forgetting(id=id or self.new_id(), citizen=citizen)]
        )
        (result,) = self.ask("ForgetCitizens", request, caller).results
        return cast(items_pb2.ItemResult, result)

    def citizen(self, caller: Caller, name: str = "") -> pb.CitizenState:
        request = pb.GetCitizenRequest(citizen=name)
        return cast(pb.CitizenState, self.ask("GetCitizen", request, caller).citizen)

    def trips(self, caller: Caller, name: str = "") -> list[pb.ExplainedTrip]:
        """Newest first, up to all that is recorded now."""
        head = self.head("inclusive")
        request = pb.ListTripsRequest(citizen=name, min_position=head - 1)
        return list(self.ask("ListTrips", request, caller).trips)

    def sums(self) -> pb.GetSumsResponse:
        return cast(pb.GetSumsResponse, self.ask("GetSums", pb.GetSumsRequest(), None))

    # ---- trips ----------------------------------------------------------------------------------

    def ride(
        self, ref: str, order: str, ago_min: int, minutes: int | None = 30, **changed: Any
    ) -> Any:
        """Ten kilometres of metro that began so many minutes ago; `changed` fields as given."""
        start_ms = self.clock.now_ms() - ago_min * MINUTE_MS
        fields: dict[str, Any] = {
            "order": order,
            "rider_ref": ref,
            "mode": pb.MODE_METRO,
            "evidence": pb.EVIDENCE_FARE_GATE,
            "started_at": timestamp_of(start_ms),
            "from_place": "罗湖",
            "to_place": "世界之窗",
            "distances": [pb.Distance(source=pb.DISTANCE_SOURCE_NETWORK, metres=10_000)],
        }
        if minutes is not None:
            fields["ended_at"] = timestamp_of(start_ms + minutes * MINUTE_MS)
        return pb.Trip(**{**fields, **changed})

    def bike(self, ref: str, order: str, ago_min: int, minutes: int = 20) -> Any:
        track = pb.Distance(source=pb.DISTANCE_SOURCE_TRACK, metres=3_000)
        return self.ride(
            ref, order, ago_min, minutes, mode=pb.MODE_BIKE, distances=[track],
            evidence=pb.EVIDENCE_OPERATOR_ORDER,
        )  # fmt: skip

    def batch(
        self, trips: Sequence[Any], operator: str = METRO, acts: Sequence[Act] | None = None
    ) -> pb.ReportTripsRequest:
        """Signed by its operator, unless other acts are given."""
        id = self.new_id()
        if acts is None:
            digest = hashlib.sha256(canonical(trips)).hexdigest()
            key = KEYS[operator]
            acts = [signed_batch(digest, len(trips), id, key=key, operator=operator)]
        return pb.ReportTripsRequest(
            id=id, operator=operator, batch=id, trips=trips, acts=[act_message(a) for a in acts]
        )

    def report(self, *trips: Any, operator: str = METRO) -> list[pb.TripResult]:
        answer = self.send_batch(self.batch(trips, operator))
        accepted(answer.result)
        assert [one.order for one in answer.trips] == [one.order for one in trips]
        return list(answer.trips)

    def send_batch(self, request: pb.ReportTripsRequest) -> pb.ReportTripsResponse:
        answer = self.ask("ReportTrips", request, CLERKS[request.operator])
        return cast(pb.ReportTripsResponse, answer)

    def vault_rows(self, citizen: str) -> int:
        tables = ("vault_keys", "vault_persons", "vault_riders")
        query = "SELECT count(*) FROM inclusive.{} WHERE citizen = %s"
        return sum(int(self.sql(query.format(one), citizen)[0][0]) for one in tables)

    def bounce(self) -> None:
        """The inclusive service stops in order and starts again: it replays from zero."""
        self.stop_services("inclusive")
        self.bring_back("inclusive")


def canonical(trips: Sequence[Any]) -> bytes:
    """As docs/reference/trip-batches.md says it, in our own words."""
    said = [canonical_trip(one) for one in trips]
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def canonical_trip(trip: Any) -> dict[str, Any]:

    def word(name: str, prefix: str) -> str:
        text = name.removeprefix(prefix).lower()
        return "" if text == "unspecified" else text

    def instant_ms(field: str) -> int | None:
        if not trip.HasField(field):
            return None
        at = getattr(trip, field)
        return int(at.seconds * 1000 + at.nanos // 1_000_000)

    return {
        "distances": [
            {
                "least_metres": one.least_metres,
                "metres": one.metres,
                "source": word(pb.DistanceSource.Name(one.source), "DISTANCE_SOURCE_"),
            }
            for one in trip.distances
        ],
        "ended_ms": instant_ms("ended_at"),
        "evidence": word(pb.Evidence.Name(trip.evidence), "EVIDENCE_"),
        "from_place": trip.from_place,
        "mode": word(pb.Mode.Name(trip.mode), "MODE_"),
        "order": trip.order,
        "rider_ref": trip.rider_ref,
        "started_ms": instant_ms("started_at"),
        "to_place": trip.to_place,
    }


@pytest.fixture(scope="module")
def city(databases: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    folder = tmp_path_factory.mktemp("shenzhen")
    with (
        SharedNats(tmp_path_factory.mktemp("shenzhen-nats"), free_port()) as nats,
        databases.fresh_database() as database,
    ):
        for service in SERVICES:  # roles are the server's: their passwords are those in tests
            password = sa.make_url(database.url(service)).password
            write_secret(keys_folder(folder, service) / "database.password", f"{password}\n")
        room = nats.take_room()
        supervisor = Supervisor(
            folder,
            services=("ledger", "inclusive"),
            database_url=database.admin_url(),
            database=database.name,
            nats_url=room,
            restart=False,
        )
        made = City(supervisor, database.admin_url(), room[OPERATOR])
        made.start()
        try:
            made.settle_in()
            yield made
            check_city(made)
        finally:
            made.stop()


def check_city(city: City) -> None:
    """At rest: what is signed is the journal, all of it; a replay from zero gives the sums."""
    vkey = operator_signer(city.directory).verifier.vkey
    identities = load_identities(identities_file(city.directory), vkey)
    frames, signed = at_rest(city, "inclusive")
    events: list[StoredEvent] = []
    for frame in frames:
        verify_frame(frame, identities.frame_key)
        events.extend(frame.events)
    assert signed.root == root([leaf("inclusive", event) for event in events])
    types, state = EventTypes(*EVENTS), State()
    for event in events:
        _, body = types.decode_canonical(event.record)
        if type(body) in EVENTS:
            evolve(state, body)
    answer = city.sums()
    assert {one.reason: one.trips for one in answer.refused} == state.refused
    assert {(one.methodology, one.version): one.trips for one in answer.methodologies} == {
        key: sums.trips for key, sums in state.sums.items()
    }


# ---- a day in Shenzhen --------------------------------------------------------------------------


def test_a_commuters_trip_is_measured_explained_and_confirmed(city: City) -> None:
    lin = rider("lin")
    pseudonym = city.enrolled(lin, "card-lin")
    (result,) = city.report(city.ride("card-lin", "L-1", 60))
    assert result.credit == pb.TripCredit(
        distance_m=10_000,
        reduction_mg=468_000,
        points=468,
        saleable=True,
        methodology="SZ-2021-PUBLIC-TRAVEL",
        version="1-metro",
    )
    (trip,) = city.trips(lin)
    assert trip.position == result.position
    assert trip.explanation_zh == "10.00 公里 × 46.8 克/公里 = 468 克"
    assert trip.explanation_en == "10.00 km × 46.8 g/km = 468 g"
    assert (trip.order, trip.from_place, trip.to_place) == ("L-1", "罗湖", "世界之窗")
    assert not trip.confirmed
    state = city.citizen(lin)
    assert (state.citizen, state.points, state.saleable_pending_mg) == (pseudonym, 468, 468_000)

    city.advance_clock(2 * DAY_MS)
    until(lambda: city.citizen(lin).saleable_confirmed_mg == 468_000, "the second day")
    assert city.trips(lin)[0].confirmed
    assert city.citizen(lin).saleable_pending_mg == 0


def test_what_earned_nothing_is_listed_with_its_reason_and_numbers(city: City) -> None:
    wu = rider("wu")
    city.enrolled(wu, "card-wu")
    tap, fast, stranger = city.report(
        city.ride("card-wu", "W-1", 90, None),
        city.ride("card-wu", "W-2", 60, 5),
        city.ride("card-nobody", "W-3", 60),
    )
    assert tap.refused.reason == "TAP_WITHOUT_PARTNER"
    assert (fast.refused.reason, dict(fast.refused.details)) == (
        "TOO_FAST",
        {"limit_kmh": "90", "actual_kmh": "120"},
    )
    assert stranger.refused.reason == "UNKNOWN_RIDER"
    listed = city.trips(wu)
    assert [one.order for one in listed] == ["W-2", "W-1"]
    assert listed[0].explanation_zh == "平均 120 公里/小时，上限 90 公里/小时"
    assert listed[0].explanation_en == "120 km/h on average, 90 km/h is the limit"
    assert city.citizen(wu).trips_refused == 2


# ---- operators' bulk ----------------------------------------------------------------------------


def test_a_batch_sent_again_is_answered_the_same_and_happens_once(city: City) -> None:
    city.enrolled(rider("tang"), "card-tang")
    trips = [city.ride("card-tang", f"T-{n}", 600 - 40 * n) for n in range(5)]
    request = city.batch([*trips, city.ride("card-tang", "T-0", 600), city.ride("?", "T-9", 60)])
    first = city.send_batch(request)
    head = city.head("inclusive")
    again = city.send_batch(request)
    assert again.result.accepted.repeated
    assert list(again.trips) == list(first.trips)
    assert [one.WhichOneof("result") for one in first.trips] == ["credit"] * 5 + ["refused"] * 2
    assert first.trips[5].refused.reason == "TRIP_KNOWN"
    assert city.head("inclusive") == head


def test_a_batch_whose_trips_were_lost_in_a_crash_brings_them_when_it_is_sent_again(
    city: City,
) -> None:
    city.enrolled(rider("cao"), "card-cao")
    request = city.batch([city.ride("card-cao", f"CAO-{n}", 600 - 40 * n) for n in range(3)])
    city.start_armed("inclusive", "answer.lost")
    city.supervisor.await_serving("inclusive")
    with pytest.raises(Conflict):
        city.call(city.inclusive.ReportTrips, request, METRO_CLERK)
    city.await_death("inclusive")
    city.bring_back("inclusive")
    recorded = city.records("inclusive")
    assert recorded[-1].type == "WriterStarted"
    assert recorded[-2].type == "TripBatchReceived"
    answer = city.send_batch(request)
    assert answer.result.accepted.repeated
    assert [one.credit.points for one in answer.trips] == [468] * 3
    assert city.citizen(rider("cao")).trips == 3
    assert list(city.send_batch(request).trips) == list(answer.trips)


def test_another_batch_with_the_same_order_earns_nothing(city: City) -> None:
    city.enrolled(rider("luo"), "card-luo")
    trip = city.ride("card-luo", "LUO-1", 60)
    (first,) = city.report(trip)
    (again,) = city.report(trip)
    assert first.credit.reduction_mg == 468_000
    assert again.refused.reason == "TRIP_KNOWN"
    assert city.citizen(rider("luo")).measured_mg == 468_000


def test_a_batch_that_its_operator_did_not_sign_is_refused_and_nobody_is_looked_at(
    city: City,
) -> None:
    trips = [city.ride("card-lin", "X-1", 60)]
    head = city.head("inclusive")
    forged = signed_batch("ab" * 32, 1, "x", key=METRO_KEY)
    for acts, reason in (([], "ACT_MISSING"), ([forged], "ACT_DIFFERS")):
        answer = city.send_batch(city.batch(trips, acts=acts))
        assert refusal(answer.result) == reason
        assert not answer.trips
    signed = city.batch(trips)
    signed.trips[0].distances[0].metres = 90_000  # changed on the way
    assert refusal(city.send_batch(signed).result) == "BATCH_DIGEST"
    assert city.head("inclusive") == head


def test_a_malformed_trip_is_refused_alone_and_the_rest_goes_in(city: City) -> None:
    city.enrolled(rider("gao"), "card-gao")
    good = city.ride("card-gao", "G-1", 60)
    without_mode = city.ride("card-gao", "G-2", 120, mode=pb.MODE_UNSPECIFIED)
    without_order = city.ride("card-gao", "", 180)
    results = city.report(without_mode, good, without_order)
    assert results[0].refused.reason == "UNKNOWN_VALUE"
    assert results[1].credit.points == 468
    assert results[2].refused.reason == "MISSING_VALUE"
    assert results[0].position == results[2].position == 0


def test_a_call_has_bounds(city: City) -> None:
    for count in (0, 2001):
        trips = [city.ride("card-lin", str(n), 60) for n in range(count)]
        with pytest.raises(Refused) as refused:
            city.send_batch(city.batch(trips))
        assert refused.value.reason == "TRIPS_COUNT"
    unknown = city.ride("card-lin", "U-1", 60)
    request = city.batch([unknown])
    request.trips[0].mode = cast(Any, 99)
    with pytest.raises(Refused) as refused:
        city.send_batch(request)
    assert refused.value.reason == "UNKNOWN_VALUE"


def test_two_thousand_trips_of_many_riders_go_in_at_once(city: City) -> None:
    people = [f"card-{n}" for n in range(200)]
    enrolments = [
        pb.Enrolment(
            id=city.new_id(), measure=True, riders=[pb.Rider(operator=METRO, rider_ref=one)]
        )
        for one in people
    ]
    answer = city.ask("EnrolCitizens", pb.EnrolCitizensRequest(enrolments=enrolments), FIRST)
    assert len(set(answer.citizens)) == len(people)
    trips = [
        city.ride(one, f"{one}/{n}", 1200 - 40 * n, distances=[
            pb.Distance(source=pb.DISTANCE_SOURCE_NETWORK, metres=1_000 + 10 * n)
        ])
        for n in range(10)
        for one in people
    ]  # fmt: skip
    results = city.report(*trips)
    assert all(one.HasField("credit") for one in results)
    assert len({one.position for one in results}) == 2000
    assert results[-1].credit.distance_m == 1_090
    assert all(one.credit.not_saleable_because == "NO_CONSENT_TO_SELL" for one in results)


# ---- one place at a time ------------------------------------------------------------------------


def test_no_two_trips_of_a_person_overlap_in_a_batch_between_operators_or_after_a_restart(
    city: City,
) -> None:
    xu = rider("xu")
    city.enrolled(xu, "card-xu")
    city.enrolled(xu, "bike-xu", operator=BIKES)
    first, second = city.report(
        city.ride("card-xu", "XU-1", 300), city.ride("card-xu", "XU-2", 290)
    )
    assert first.credit.reduction_mg == 468_000
    assert second.refused.reason == "TRIPS_OVERLAP"
    (bike,) = city.report(city.bike("bike-xu", "B-1", 280), operator=BIKES)
    assert (bike.refused.reason, bike.refused.details["actual_s"]) == ("TRIPS_OVERLAP", "600")

    city.bounce()  # nothing in memory knows the hours now: they are read from what is sealed
    (bike,) = city.report(city.bike("bike-xu", "B-2", 280), operator=BIKES)
    assert bike.refused.reason == "TRIPS_OVERLAP"
    (bike,) = city.report(city.bike("bike-xu", "B-3", 270), operator=BIKES)
    assert bike.credit.reduction_mg == 145_950
    assert bike.credit.not_saleable_because == "METHODOLOGY_IS_REPORT"


def test_a_trip_over_midnight_overlaps_what_began_the_day_before(city: City) -> None:
    zhu = rider("zhu")
    city.enrolled(zhu, "card-zhu")
    now_ms = city.clock.now_ms()
    midnight_ms = now_ms - (now_ms + 8 * 3_600_000) % DAY_MS - DAY_MS
    late, early = (
        city.ride(
            "card-zhu", order, 0,
            started_at=timestamp_of(midnight_ms + start * MINUTE_MS),
            ended_at=timestamp_of(midnight_ms + end * MINUTE_MS),
        )
        for order, start, end in (("Z-1", -10, 20), ("Z-2", 10, 40))
    )  # fmt: skip
    assert city.report(late)[0].HasField("credit")
    city.bounce()
    assert city.report(early)[0].refused.reason == "TRIPS_OVERLAP"


def test_an_order_that_was_corrected_stands_in_the_way_with_its_right_hours_alone(
    city: City,
) -> None:
    city.enrolled(rider("jia"), "card-jia")
    (wrong,) = city.report(city.ride("card-jia", "JIA-1", 400, 200))  # the gate's clock was off
    assert wrong.refused.reason == "PAID_AREA_EXCEEDED"
    (right,) = city.report(city.ride("card-jia", "JIA-1", 400, 30))
    (later,) = city.report(city.ride("card-jia", "JIA-2", 300, 30))
    assert right.HasField("credit")
    assert later.HasField("credit"), later.refused
    (again,) = city.report(city.ride("card-jia", "JIA-3", 390, 30))
    assert again.refused.reason == "TRIPS_OVERLAP"


# ---- persons ------------------------------------------------------------------------------------


def test_enrolling_twice_gives_one_citizen(city: City) -> None:
    he, id = rider("he"), city.new_id()
    first, again = city.enrol(he, "card-he", id=id), city.enrol(he, "card-he", id=id)
    assert first.citizens == again.citizens
    assert again.results[0].accepted.repeated
    assert accepted(first.results[0]) == accepted(again.results[0])
    # Under another id: her riders grow, her consents are what she says last.
    assert city.enrolled(he, "bike-he", operator=BIKES, sell=False) == first.citizens[0]
    assert not city.citizen(he).sell
    assert city.report(city.bike("bike-he", "HE-1", 60), operator=BIKES)[0].HasField("credit")


def test_nobody_takes_over_anothers_rider_and_staff_overwrites_no_consent(city: City) -> None:
    city.enrolled(rider("ma"), "card-ma", sell=False)
    thief = city.enrol(rider("thief"), "card-ma")
    assert refusal(thief.results[0]) == "RIDER_TAKEN"
    with pytest.raises(Refused) as refused:
        city.citizen(rider("thief"))
    assert refused.value.reason == "UNKNOWN_CITIZEN"
    assert refusal(city.enrol(FIRST, "card-ma").results[0]) == "CITIZEN_EXISTS"
    assert not city.citizen(rider("ma")).sell


@pytest.mark.parametrize(
    ("caller", "refs", "operator", "reason"),
    [
        (FIRST, (), METRO, "MISSING_VALUE"),
        (rider("fan"), ("card-fan",), "h-nobodynobodynobo", "UNKNOWN_OPERATOR"),
        (rider("fan"), ("",), METRO, "MISSING_VALUE"),
        (rider("fan"), ("x" * 101,), METRO, "TEXT_TOO_LONG"),
    ],
)
def test_an_enrolment_names_riders_that_can_be(
    city: City, caller: Caller, refs: tuple[str, ...], operator: str, reason: str
) -> None:
    answer = city.enrol(caller, *refs, operator=operator)
    assert refusal(answer.results[0]) == reason
    assert list(answer.citizens) == [""]


def test_a_refused_enrolment_leaves_nothing_of_the_person(city: City) -> None:
    ahead = pb.Enrolment(
        id=city.new_id(), measure=True, on=timestamp_of(city.clock.now_ms() + DAY_MS),
        riders=[pb.Rider(operator=METRO, rider_ref="card-early")],
    )  # fmt: skip
    request = pb.EnrolCitizensRequest(enrolments=[ahead])
    (result,) = city.ask("EnrolCitizens", request, rider("early")).results
    assert refusal(result) == "ON_IN_FUTURE"
    assert not city.sql("SELECT 1 FROM inclusive.vault_persons WHERE sub = 'early'")
    assert not city.sql("SELECT 1 FROM inclusive.vault_riders WHERE rider_ref = 'card-early'")


def test_a_refused_enrolment_adds_no_rider_to_a_citizen_who_is_known(city: City) -> None:
    jin = rider("jin")
    city.enrolled(jin, "card-jin")
    selling_only = pb.Enrolment(
        id=city.new_id(), measure=False, sell=True,
        riders=[pb.Rider(operator=METRO, rider_ref="card-jin-2")],
    )  # fmt: skip
    request = pb.EnrolCitizensRequest(enrolments=[selling_only])
    (result,) = city.ask("EnrolCitizens", request, jin).results
    assert refusal(result) == "SELL_WITHOUT_MEASURE"
    query = "SELECT rider_ref FROM inclusive.vault_riders WHERE starts_with(rider_ref, %s)"
    known = city.sql(query, "card-jin")
    assert known == [("card-jin",)]


def test_consents_are_changed_by_herself_and_by_nobody_else(city: City) -> None:
    deng = rider("deng")
    name = city.enrolled(deng, "card-deng")
    change = pb.ConsentChange(id=city.new_id(), citizen=name, measure=True, sell=False)
    request = pb.ChangeConsentsRequest(changes=[change])
    (result,) = city.ask("ChangeConsents", request, rider("nobody")).results
    assert refusal(result) == "UNKNOWN_CITIZEN"
    city.enrolled(rider("other"), "card-other")
    change.id = city.new_id()
    request = pb.ChangeConsentsRequest(changes=[change])
    (result,) = city.ask("ChangeConsents", request, rider("other")).results
    assert refusal(result) == "NOT_YOUR_ACCOUNT"
    mine = pb.ConsentChange(id=city.new_id(), measure=True, sell=False)
    request = pb.ChangeConsentsRequest(changes=[mine])
    accepted(city.ask("ChangeConsents", request, deng).results[0])
    assert not city.citizen(deng).sell
    # What became of it she asks under her own token, though it is recorded under her pseudonym.
    outcomes = city.ask("GetOutcomes", pb.GetOutcomesRequest(ids=[mine.id]), deng)
    assert [one.id for one in outcomes.results] == [mine.id]


def test_who_looks_at_somebody_else_sees_no_hour_place_or_order_or_nothing_at_all(
    city: City,
) -> None:
    yu = rider("yu")
    name = city.enrolled(yu, "card-yu")
    city.report(city.ride("card-yu", "YU-1", 60))
    for caller in (FIRST, AUDITOR):
        (trip,) = city.trips(caller, name)
        assert trip.credit.reduction_mg == 468_000
        assert [trip.order, trip.from_place, trip.to_place] == [""] * 3
        assert not trip.HasField("started_at")
    with pytest.raises(Refused) as refused:
        city.trips(rider("lin"), name)
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"
    with pytest.raises(Refused) as refused:
        city.trips(METRO_CLERK, name)
    assert refused.value.reason == "ROLE_MISSING"


def test_events_are_shown_to_their_parties_and_every_disclosure_is_noted(city: City) -> None:
    shen = rider("shen")
    name = city.enrolled(shen, "card-shen")
    (result,) = city.report(city.ride("card-shen", "SHEN-1", 60))
    request = pb.DiscloseEventsRequest(positions=[result.position])
    for caller in (shen, METRO_CLERK, AUDITOR):
        (event,) = city.ask("DiscloseEvents", request, caller).events
        assert decode_record(event.record).position == result.position
    for caller in (BIKES_CLERK, rider("yu"), FIRST):
        with pytest.raises(Refused) as refused:
            city.ask("DiscloseEvents", request, caller)
        assert refused.value.reason == "NOT_A_PARTY"
    noted = city.sql(
        "SELECT principal FROM inclusive.disclosures WHERE position = %s", result.position
    )
    assert (name,) in noted
    assert not [who for (who,) in noted if "shen" in who.split()[-1] and who != name]


def test_pages_of_trips_follow_one_another(city: City) -> None:
    pan = rider("pan")
    city.enrolled(pan, "card-pan")
    city.report(*(city.ride("card-pan", f"PAN-{n}", 1000 - 40 * n) for n in range(5)))
    orders, token = [], ""
    while True:
        request = pb.ListTripsRequest(
            page_size=2, page_token=token, min_position=city.head("inclusive") - 1
        )
        answer = city.ask("ListTrips", request, pan)
        orders += [one.order for one in answer.trips]
        token = answer.next_page_token
        if not token:
            break
    assert orders == [f"PAN-{n}" for n in (4, 3, 2, 1, 0)]
    for wrong in ({"page_size": -1}, {"page_token": "first"}):
        with pytest.raises(Refused):
            city.ask("ListTrips", pb.ListTripsRequest(**cast(Any, wrong)), pan)


# ---- forgetting ---------------------------------------------------------------------------------


def test_a_forgotten_citizens_trips_still_count_still_replay_and_name_nobody(city: City) -> None:
    song = rider("song")
    name = city.enrolled(song, "card-song")
    rode = city.batch(
        [city.ride("card-song", "SONG-1", 120), city.ride("card-song", "SONG-2", 60, None)]
    )
    answered = city.send_batch(rode)
    assert city.vault_rows(name) == 3
    before, frames = city.sums(), city.frames("inclusive")
    id = city.new_id()
    position = accepted(city.forget(song, id=id))

    assert city.vault_rows(name) == 0
    with pytest.raises(Refused) as refused:
        city.trips(song)
    assert refused.value.reason == "UNKNOWN_CITIZEN"
    again = city.forget(song, id=id)  # who repeats it has no pseudonym any more
    assert (again.accepted.first_position, again.accepted.repeated) == (position, True)
    (late,) = city.report(city.ride("card-song", "SONG-3", 30, 20))
    assert late.refused.reason == "UNKNOWN_RIDER"
    # Who asks again about her old trips hears what was recorded, though nobody knows her now.
    assert list(city.send_batch(rode).trips) == list(answered.trips)

    city.bounce()
    after = city.sums()
    assert list(after.methodologies) == list(before.methodologies)
    assert city.citizen(FIRST, name).measured_mg == 468_000
    refused_tap, metro = city.trips(FIRST, name)
    assert metro.explanation_en == "10.00 km × 46.8 g/km = 468 g"
    assert refused_tap.explanation_zh == "只有单次刷卡，缺少终点"
    assert [metro.order, metro.from_place] == [""] * 2
    # No byte of the journal has changed, and the log still leads to it: see check_city.
    assert city.frames("inclusive")[: len(frames)] == frames
    # The same person may come again, as somebody else.
    assert city.enrolled(song, "card-song") != name


def test_forgetting_that_was_cut_short_is_finished_at_the_next_start(city: City) -> None:
    kong = rider("kong")
    name = city.enrolled(kong, "card-kong")
    city.start_armed("inclusive", "answer.lost")
    city.supervisor.await_serving("inclusive")
    request = pb.ForgetCitizensRequest(forgettings=[pb.Forgetting(id=city.new_id())])
    with pytest.raises(Conflict):
        city.call(city.inclusive.ForgetCitizens, request, kong)
    city.await_death("inclusive")
    recorded = city.sql("SELECT convert_from(record, 'UTF8') FROM inclusive.events"
                        " ORDER BY position DESC LIMIT 1")[0][0]  # fmt: skip
    assert "CitizenForgotten" in recorded
    assert city.vault_rows(name) == 3
    city.bring_back("inclusive")
    assert city.vault_rows(name) == 0
    # The same request again is answered as done.
    (result,) = city.ask("ForgetCitizens", request, kong).results
    assert result.accepted.repeated


def test_forgetting_is_finished_though_its_caller_hangs_up_in_the_middle(city: City) -> None:
    wei = rider("wei")
    name = city.enrolled(wei, "card-wei")
    request = pb.ForgetCitizensRequest(forgettings=[pb.Forgetting(id=city.new_id())])
    url = city.admin_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as session:  # nothing can be recorded while this is open
        session.execute("LOCK TABLE inclusive.events IN EXCLUSIVE MODE")
        with pytest.raises(Conflict):
            city.call(city.inclusive.ForgetCitizens, request, wei, deadline_s=1.0)
        assert city.vault_rows(name) == 3
    until(lambda: city.vault_rows(name) == 0, "an empty vault")
    assert city.records("inclusive")[-1].type == "CitizenForgotten"


def test_who_is_forgotten_already_can_have_what_was_left_of_her_destroyed(city: City) -> None:
    name = city.enrolled(rider("fu"), "card-fu")
    accepted(city.forget(FIRST, name))
    city.sql("INSERT INTO inclusive.vault_keys VALUES (%s, %s)", name, b"left behind")
    assert refusal(city.forget(FIRST, name)) == "CITIZEN_FORGOTTEN"
    assert city.vault_rows(name) == 0


def test_a_late_repeat_of_what_she_did_before_she_was_forgotten_does_nothing(city: City) -> None:
    tan, enrolling, changing, forgetting = rider("tan"), *(city.new_id() for _ in range(3))
    first = city.enrol(tan, "card-tan", id=enrolling)
    change = pb.ConsentChange(id=changing, measure=True, sell=False)
    consents = pb.ChangeConsentsRequest(changes=[change])
    accepted(city.ask("ChangeConsents", consents, tan).results[0])
    accepted(city.forget(tan, id=forgetting))

    # Nobody: a repeated enrolment brings her back under no new name.
    again = city.enrol(tan, "card-tan", id=enrolling)
    assert accepted(again.results[0]) == accepted(first.results[0])
    assert (again.results[0].accepted.repeated, list(again.citizens)) == (True, [""])
    assert not city.sql("SELECT 1 FROM inclusive.vault_persons WHERE sub = 'tan'")

    # Somebody else by now: nothing of hers is touched.
    name, head = city.enrolled(tan, "card-tan"), city.head("inclusive")
    assert city.enrol(tan, "card-tan", sell=False, id=enrolling).results[0].accepted.repeated
    assert city.ask("ChangeConsents", consents, tan).results[0].accepted.repeated
    assert city.forget(tan, id=forgetting).accepted.repeated
    assert city.head("inclusive") == head
    assert city.vault_rows(name) == 3
    assert (city.citizen(tan).measure, city.citizen(tan).sell) == (True, True)


def test_nothing_of_a_way_is_kept_of_who_has_not_agreed_to_be_measured(city: City) -> None:
    qian = rider("qian")
    city.enrolled(qian, "card-qian")
    change = pb.ConsentChange(id=city.new_id(), measure=False, sell=False)
    request = pb.ChangeConsentsRequest(changes=[change])
    accepted(city.ask("ChangeConsents", request, qian).results[0])
    (result,) = city.report(city.ride("card-qian", "QIAN-1", 60))
    assert result.refused.reason == "NO_CONSENT"
    record = city.records("inclusive")[result.position]
    assert (record.type, record.sealed) == ("TripRefused", msgspec.UNSET)
    (trip,) = city.trips(qian)
    assert (trip.explanation_en, trip.order) == ("you had not agreed to be measured", "")


def test_no_hash_that_outlives_her_key_covers_hours_or_places(city: City) -> None:
    """What is kept for repeats has no salt: who has the database could try every hour."""
    city.enrolled(rider("lei"), "card-lei")
    (result,) = city.report(city.ride("card-lei", "LEI-1", 60))
    nullifier = hashlib.sha256(f"{METRO}\0LEI-1".encode()).digest()
    said = msgspec.msgpack.encode(("ReportTrip", nullifier, None, (), None))
    rows = city.sql("SELECT digest FROM inclusive.events WHERE position = %s", result.position)
    assert [bytes(row[0]) for row in rows] == [hashlib.sha256(said).digest()]


def test_no_record_and_no_outcome_names_a_person_a_rider_a_place_or_an_order(city: City) -> None:
    city.enrolled(rider("zeng-who-is-named"), "card-zeng-unique")
    city.report(city.ride("card-zeng-unique", "ORDER-ZENG-UNIQUE", 60, from_place="place-unique"))
    for needle in ("zeng-who-is-named", "card-zeng-unique", "ORDER-ZENG-UNIQUE", "place-unique"):
        for event in (one for frame in city.frames("inclusive") for one in frame.events):
            assert needle.encode() not in event.record
        for table in ("events", "outcomes", "trips", "disclosures"):
            rows = city.sql(
                f"SELECT count(*) FROM inclusive.{table} t WHERE t::text LIKE %s", f"%{needle}%"
            )
            assert rows == [(0,)], (table, needle)


def test_the_independent_checker_takes_every_event(city: City) -> None:
    """At rest and signed to the end, and by a fresh fold of the checker's own code."""
    frames, _ = at_rest(city, "inclusive")
    assert frames[-1].last == city.head("inclusive") - 1
    assert set(InclusiveBook.types.by_name) >= {event.__name__ for event in EVENTS}


def test_methodologies_and_sums_are_open_to_everybody(city: City) -> None:
    found = city.ask("GetMethodologies", pb.GetMethodologiesRequest(), None).methodologies
    assert {(one.methodology, one.version) for one in found} == {
        (one.methodology, one.version) for one in PASSPORTS
    }
    assert {one.factor_mg_per_km for one in found} == {
        46_800, 26_900, 48_650, 53_940, 54_010, 59_300
    }  # fmt: skip
    assert sum(one.trips for one in city.sums().methodologies) > 0
