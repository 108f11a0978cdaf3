"""`tanzhang bench`: every measurement once, as small as it can be, in one stack.

What is asserted is that figures come, that every peer was as durable as we are, and that a kill in
mid load loses nothing that was acknowledged. How fast anything is, is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import audit, failover, memory, proven, recovery, replay, settlement, unary
from benchmarks.world import Bench, bench_world
from cli.app import run

HOLDERS = 120  # two persons: one for the bulk, one for the single commands


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with bench_world(HOLDERS) as world:
        yield world


def test_settlement_is_measured_beside_every_peer_and_loses_nothing(bench: Bench) -> None:
    options = settlement.Options(
        accounts=(HOLDERS,),
        callers=(2,),
        batch=100,
        rounds=1,
        seconds=0.4,
        peer_seconds=1,
        kill_after_s=0.5,
        tpcb_scale=1,
        trade_callers=(1,),
    )

    figures = settlement.measure_in(bench, options)

    (row,) = figures["one_leg"]
    assert row["proven_per_s"] > 0
    assert row["cpu_us"]["accounts"] > 0
    assert set(row["peers"]) == {"plpgsql", "tpcb", "eventsourcing", "eventsourcing_1000"}
    assert all(peer["per_s"] > 0 for peer in row["peers"].values())
    (trades,) = figures["trades"]
    assert trades["proven_per_s"] > 0
    assert trades["peers"]["plpgsql"]["per_s"] > 0
    assert {one["fsync"] for one in figures["settings"].values()} == {"on"}
    assert figures["crash"]["acknowledged"] > 0
    assert (figures["crash"]["lost"], figures["crash"]["doubled"], figures["crash"]["moved"]) == (
        0,
        0,
        0,
    )


def test_a_single_command_is_timed_idle_and_beside_a_bulk_load(bench: Bench) -> None:
    options = unary.Options(calls=10, loaded_calls=10, rounds=1, peer_seconds=1, full_s=0.3)

    figures = unary.measure_in(bench, options)

    assert figures["idle"]["tanzhang_ms"]["p50"] > 0
    assert figures["idle"]["plpgsql_ms"]["p50"] > 0
    assert figures["half_load"]["tanzhang_ms"]["p99"] > 0


def test_proving_is_timed_idle_and_beside_a_bulk_load(bench: Bench) -> None:
    figures = proven.measure_in(bench, proven.Options(calls=5, loaded_calls=5, full_s=0.3))

    assert figures["idle_ms"]["p50"] > 0
    assert figures["half_load"]["proven_ms"]["p50"] > 0


def test_a_journal_is_replayed_and_checked_from_its_beginning(bench: Bench) -> None:
    figures = replay.measure_in(bench, replay.Options(events=4000, rounds=1))

    assert figures["events"] > 4000
    assert figures["replayed_per_s"] > 0
    assert figures["checked_and_hashed_per_s"] > 0
    assert 0 < figures["tail"] < figures["snapshot_at"]
    assert figures["from_snapshot_s"] > 0
    assert figures["ledger_from_zero_s"] > 0
    assert figures["ledger_from_snapshot_s"] > 0


def test_memory_is_read_as_accounts_and_entries_grow(bench: Bench) -> None:
    figures = memory.measure_in(bench, memory.Options(accounts=500, entries=2000, samples=2))

    assert figures["accounts"] == 500
    assert [row["entries"] for row in figures["rows"]] == [0, 0, 1000, 2000]
    assert figures["fits"]


def test_a_start_is_timed_from_zero_and_from_a_snapshot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = recovery.run(recovery.Options(accounts=2000, entries=4000))

    events = figures["journal"]
    assert events == 2000 + 4000 + 3
    assert (figures["from zero"]["began_at"], figures["from zero"]["events"]) == (0, events)
    tail = figures["from snapshot and tail"]
    assert events * 9 // 10 <= tail["began_at"] < events
    assert tail["began_at"] + tail["events"] == events
    assert figures["loading alone"]["began_at"] == events
    assert all(figures[name]["resident_mb"] > 0 for name in ("from zero", "loading alone"))
    assert "from snapshot and tail" in capsys.readouterr().out


def test_callers_are_timed_when_the_writer_loses_its_database(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = failover.Options(rounds=1, callers=2, batch=5, faults=("database hangs",))

    figures = failover.run(options)

    (row,) = figures.values()
    assert 0 < row["median_s"] <= row["max_s"]
    assert row["acknowledged"] > 0
    assert (row["lost"], row["doubled"], row["moved"]) == (0, 0, 0)
    assert "database hangs: callers waited" in capsys.readouterr().out


def test_the_tool_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0

    told = capsys.readouterr().out
    names = ("settlement", "unary", "proven", "replay", "memory", "failover", "recovery")
    assert all(name in told for name in names)


def test_an_audit_is_measured_by_an_auditor_that_finds_no_difference() -> None:
    figures = audit.run(audit.Options(entries=600, holders=20, parts=(1,)))
    (row,) = figures["rows"]
    assert row["entries"] == 600
    assert row["entries_per_s"] > 0
    assert row["peak_mb"] > 0
