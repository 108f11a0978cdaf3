"""The report of a replay of taps: what was read, what each trip earned or why not, what differs.

Everything but what stands under `run` is the same however often the replay is repeated on one data
folder. What a credited trip earned is worked out here a second time, from the network and the
factor; nothing is called equal unseen. No card number stands in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from cli.replay.shenzhen_plan import DATASET, Plan, PlannedTrip

if TYPE_CHECKING:
    from cli.inclusive_client import Sum, Sums, TripOutcome
    from cli.replay.shenzhen_feed import Fed

SOURCES: Final = (
    "taps: in the form of Shenzhen Tong's data of 2018, Shenzhen open data, through haozhang-x",
    "network: stations and lines in the form of HKUST-Trans-Lab's China-Metro-Info",
)
KEY_SENTENCE: Final = (
    "the batches are signed with a key that this replay made for itself: it is ours, not Shenzhen"
    " Tong's, and proves nothing about Shenzhen Tong"
)
COUNTERFACTUAL_SENTENCE: Final = (
    "rides of 2018 are measured by factors of 2021, as if they had been in force: a counterfactual"
    " programme gives no points and nothing in it can be sold"
)
CONSENT_SENTENCE: Final = (
    "each card is enrolled as a citizen who consents to be measured and not to sell; nobody was"
    " asked, which is one more reason why nothing here can be sold"
)
DISTANCE_STEP_M: Final = 10  # domain 6: distances down to 10 m
MAX_SHOWN: Final = 20  # differences named one by one; all of them are counted

Report = dict[str, Any]


def make_report(
    plan: Plan, fed: Fed, methodology: str, factors_mg_per_km: Mapping[str, int]
) -> Report:
    """Plan and answers into one JSON value."""
    differences = list(_differences(plan, fed, factors_mg_per_km))
    reasons = Counter(one.reason for one in plan.refused)
    return {
        "dataset": DATASET,
        "sources": list(SOURCES),
        "rows": {
            "read": plan.counts.rows,
            "taps": plan.counts.taps,
            "refused": plan.counts.refused_rows,
            "refused_by_reason": dict(sorted(reasons.items())),
        },
        "refused": [
            {"file": one.file, "row": one.row, "reason": one.reason, "message": one.message}
            for one in plan.refused
        ],
        "taps": {
            "cards": plan.counts.cards,
            "pairs": plan.counts.pairs,
            "pairs_of_one_station": plan.counts.pairs_of_one_station,
            "pairs_without_network": plan.counts.pairs_without_network,
            "entries_alone": plan.counts.entries_alone,
            "exits_alone": plan.counts.exits_alone,
            "bus_boardings": plan.counts.bus_boardings,
            "named_by_their_gates": plan.counts.named_by_their_gates,
        },
        "unmatched_stations": plan.unmatched_stations,
        "off_line": plan.off_line,
        "fares": _fares(plan),
        "operator": fed.operator,
        "operator_key": fed.key_id,
        "methodology": methodology,
        "factors_mg_per_km": dict(factors_mg_per_km),
        "citizens": fed.citizens,
        "trips": _trips(plan, fed),
        "sums": _sums(fed, methodology),
        "differences": {"count": len(differences), "first": differences[:MAX_SHOWN]},
        "choices": [*plan.choices, COUNTERFACTUAL_SENTENCE, CONSENT_SENTENCE, KEY_SENTENCE],
        "not_known": list(plan.unchecked),
        "run": _run(plan, fed),
    }


def agrees(report: Report) -> bool:
    """Every trip was answered, what was credited is what was worked out here, the sums are theirs.

    Rows and trips that were refused by name are no failure: they are the report.
    """
    trips = report["trips"]
    return (
        trips["reported"] == trips["credited"] + trips["refused"]
        and report["sums"]["agree"]
        and not report["differences"]["count"]
        and not report["off_line"]
    )


def _trips(plan: Plan, fed: Fed) -> dict[str, Any]:
    answers = [fed.trips[one.order] for one in plan.trips if one.order in fed.trips]
    credited = [one for one in answers if one.credited]
    reasons = Counter(one.reason for one in answers if not one.credited)
    because = Counter(one.not_saleable_because for one in credited if not one.saleable)
    flags = Counter(flag for one in credited for flag in one.flags)
    return {
        "reported": len(plan.trips),
        "credited": len(credited),
        "refused": sum(reasons.values()),
        "refused_by_rule": dict(sorted(reasons.items())),
        "distance_m": sum(one.distance_m for one in credited),
        "reduction_mg": sum(one.reduction_mg for one in credited),
        "points": sum(one.points for one in credited),
        "saleable": sum(one.saleable for one in credited),
        "not_saleable_because": dict(sorted(because.items())),
        "flags": dict(sorted(flags.items())),
    }


def _sums(fed: Fed, methodology: str) -> dict[str, Any]:
    """The methodology's sums in the book: what stood there before, and what is new by the answers.

    What an earlier run recorded is in the book's sums already, and is not counted again.
    """
    expected = _summed(fed.before, methodology)
    for one in fed.trips.values():
        if one.credited and _is_new(fed, one):
            expected.update(_figures(one))
    actual = _summed(fed.after, methodology)
    return {"book": _plain(actual), "agree": _plain(actual) == _plain(expected)}


def _is_new(fed: Fed, one: TripOutcome) -> bool:
    """Recorded in this run."""
    return one.position > fed.before.as_of_position


def _summed(sums: Sums, methodology: str) -> Counter[str]:
    total = Counter[str]()
    for one in sums.methodologies:
        if one.methodology == methodology:
            total.update(_figures(one, one.trips))
    return total


def _figures(one: TripOutcome | Sum, trips: int = 1) -> dict[str, int]:
    return {
        "trips": trips,
        "distance_m": one.distance_m,
        "reduction_mg": one.reduction_mg,
        "points": one.points,
    }


def _plain(figures: Mapping[str, int]) -> dict[str, int]:
    return {
        name: figures.get(name, 0) for name in ("trips", "distance_m", "reduction_mg", "points")
    }


def _differences(
    plan: Plan, fed: Fed, factors_mg_per_km: Mapping[str, int]
) -> Iterable[dict[str, Any]]:
    """Trips that were not answered, or credited with another figure than worked out here."""
    for one in plan.trips:
        answer = fed.trips.get(one.order)
        if answer is None:
            yield {"order": one.order, "expected": "an answer", "actual": "none"}
        elif answer.credited:
            expected = _worked_out(one, factors_mg_per_km[one.mode])
            actual = (answer.distance_m, answer.reduction_mg, answer.points, answer.saleable)
            if actual != expected:
                yield {"order": one.order, "expected": str(expected), "actual": str(actual)}


def _worked_out(trip: PlannedTrip, factor_mg_per_km: int) -> tuple[int, int, int, bool] | None:
    """Metres, milligrams, points, saleable: domain 6. None: nothing known of its length."""
    if not trip.is_pair or trip.network_m is None or trip.from_place == trip.to_place:
        return None
    metres = trip.network_m if trip.fare is None else min(trip.network_m, trip.fare.metres)
    metres -= metres % DISTANCE_STEP_M
    return metres, factor_mg_per_km * metres // 1000, 0, False


def _fares(plan: Plan) -> dict[str, Any]:
    """How the fare, a witness of its own, agrees with the length of the network."""
    fares = plan.fares
    return {
        "pairs": sum(band.pairs for band in fares.bands),
        "within": sum(band.within for band in fares.bands),
        "below": _off([-one for one in fares.off_m if one < 0]),
        "above": _off([one for one in fares.off_m if one > 0]),
        "not_in_tariff": fares.not_in_tariff,
        "bands": [
            {
                "fare_fen": band.fare_fen,
                "least_metres": band.least_metres,
                "metres": band.metres,
                "pairs": band.pairs,
                "within": band.within,
                "below": band.below,
                "above": band.above,
            }
            for band in fares.bands
        ],
    }


def _off(off_m: Sequence[int]) -> dict[str, Any]:
    """How many lie outside on one side, and by how many metres: the middle one and the farthest."""
    ordered = sorted(off_m)
    if not ordered:
        return {"pairs": 0, "median_m": None, "most_m": None}
    return {"pairs": len(ordered), "median_m": ordered[len(ordered) // 2], "most_m": ordered[-1]}


def _run(plan: Plan, fed: Fed) -> dict[str, Any]:
    trips = len(plan.trips)
    new = sum(_is_new(fed, one) for one in fed.trips.values())
    return {
        "batches": fed.batches,
        "batches_already_recorded": fed.batches_repeated,
        "trips_already_recorded": len(fed.trips) - new,
        "trips_newly_recorded": new,
        "citizens_already_recorded": fed.citizens_repeated,
        "citizens_newly_recorded": fed.citizens - fed.citizens_repeated,
        "enrolled_s": round(fed.enrolled_s, 3),
        "reported_s": round(fed.reported_s, 3),
        "proven_s": round(fed.proven_s, 3),
        "trips_per_s": round(trips / fed.reported_s) if fed.reported_s else None,
        "trips_per_s_until_proven": round(trips / fed.proven_s) if fed.proven_s else None,
        "seconds": round(fed.total_s, 3),
        "stack_started_here": fed.started_here,
    }


def show(report: Report) -> None:
    """The report for people: figures, refusals by rule, the fares as a table, what was chosen."""
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    rows, taps, trips = report["rows"], report["taps"], report["trips"]
    for source in report["sources"]:
        say(f"data: {source}")
    say(f"{rows['read']:,} rows: {rows['taps']:,} taps, {rows['refused']:,} refused")
    for one in report["refused"]:
        say(f"  {one['file']} row {one['row']}: {one['reason']}: {one['message']}")
    say(
        f"{taps['cards']:,} cards, {taps['pairs']:,} pairs of taps; without a partner"
        f" {taps['entries_alone']:,} in, {taps['exits_alone']:,} out, {taps['bus_boardings']:,} bus"
    )
    for station, count in report["unmatched_stations"].items():
        say(f"station not in the network: {station}, {count:,} taps")
    for where, count in report["off_line"].items():
        say(f"NOT ON ITS LINE: {where}, {count:,} taps")
    say(
        f"{trips['reported']:,} trips reported: {trips['credited']:,} credited,"
        f" {trips['refused']:,} refused"
    )
    for reason, count in trips["refused_by_rule"].items():
        say(f"  {reason}: {count:,}")
    say(
        f"{_decimal(trips['distance_m'], 3)} km by {report['methodology']}:"
        f" {_decimal(trips['reduction_mg'], 6)} kg CO2, {trips['points']:,} points,"
        f" {trips['saleable']:,} trips saleable"
    )
    verdict = "agree" if report["sums"]["agree"] else "DO NOT AGREE"
    say(f"the sums of the book and of its answers {verdict}")
    say(f"worked out here a second time: {report['differences']['count']:,} differences")
    for one in report["differences"]["first"]:
        say(f"  {one['order']}: expected {one['expected']}, got {one['actual']}")
    _show_fares(console, report["fares"])
    for line in report["choices"]:
        say(f"chosen: {line}")
    for line in report["not_known"]:
        say(f"not known: {line}")
    run = report["run"]
    say(
        f"{trips['reported']:,} trips in {run['reported_s']} s ({run['trips_per_s'] or 0:,}/s),"
        f" proven after {run['proven_s']} s; {run['trips_already_recorded']:,} had been recorded"
        f" before, {run['trips_newly_recorded']:,} are new; {run['seconds']} s in all"
    )


def _show_fares(console: Console, fares: Mapping[str, Any]) -> None:
    table = Table(title="the network's length against the fare's band")
    for name in ("fare in CNY", "above m", "up to m", "rides", "within", "below", "above"):
        table.add_column(name, justify="right")
    for band in fares["bands"]:
        names = ("least_metres", "metres", "pairs", "within", "below", "above")
        table.add_row(_decimal(band["fare_fen"], 2), *(f"{band[name]:,}" for name in names))
    console.print(table)
    for side in ("below", "above"):
        off = fares[side]
        if off["pairs"]:
            console.print(
                f"{off['pairs']:,} of {fares['pairs']:,} rides lie {side} their band, by"
                f" {off['median_m']:,} m in the middle and {off['most_m']:,} m at most",
                markup=False,
                soft_wrap=True,
            )


def _decimal(number: int, places: int) -> str:
    """An integer of a small unit in the large one, exactly: 145950, 3 -> 145.950."""
    whole, rest = divmod(number, 10**places)
    return f"{whole:,}.{rest:0{places}d}"
