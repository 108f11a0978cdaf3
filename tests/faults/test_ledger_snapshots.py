"""The ledger's checkers begin at a snapshot: the same logs, whatever became of the snapshot."""

from __future__ import annotations

import pytest

from kernel.crash import EXIT_CODE
from tests.support.world import World, until

BEGAN = ('"snapshot.restored"', '"snapshot.refused"')


@pytest.fixture
def bare(world: World) -> World:
    """The module's world, without snapshots, and with something proven that no log had before."""
    for table in ("snapshots", "snapshot_chunks"):
        world.sql(f"DELETE FROM ledger.{table}")
    world.prove("accounts", world.pay(1))
    return world


def make(world: World) -> str:
    made = world.service("ledger").beside("snapshot")
    assert made.returncode == 0, made.stderr
    return made.stdout


def positions(world: World) -> list[int]:
    rows = world.sql("SELECT position FROM ledger.snapshots WHERE book = 'checkers' ORDER BY 1")
    return [position for (position,) in rows]


def told(world: World) -> list[str]:
    """What each start has said about a snapshot of the checkers."""
    lines = world.service("ledger").log.read_text(encoding="utf-8").splitlines()
    return [one for one in lines if '"checkers"' in one and any(said in one for said in BEGAN)]


def restart(world: World) -> None:
    world.supervisor.stop_service("ledger")
    world.bring_back("ledger")


def began(world: World) -> str:
    """Starts the ledger again; answers what it says about the snapshot, which it serves before."""
    before = len(told(world))
    restart(world)
    until(lambda: len(told(world)) > before, "the checkers to begin")
    return told(world)[-1]


def test_the_checkers_begin_at_their_snapshot_and_prove_on(bare: World) -> None:
    world = bare
    assert "checkers: at " in make(world)
    (position,) = positions(world)
    world.prove("accounts", world.pay(2))

    said = began(world)
    assert '"snapshot.restored"' in said
    assert f'"position": {position}' in said
    world.prove("accounts", world.pay(4))
    assert "checkers: at " in make(world)
    verified = world.service("ledger").beside("verify")
    assert verified.returncode == 0, verified.stderr
    for one in positions(world):
        assert f"checkers: the snapshot at {one} equals a replay from zero" in verified.stdout
    restart(world)
    world.prove("accounts", world.pay(8))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            "UPDATE ledger.snapshot_chunks SET data = set_byte(data, 9, get_byte(data, 9) # 1)"
            " WHERE book = 'checkers' AND number = 7",
            "chunk 7 is not what was signed",
        ),
        (
            "UPDATE ledger.snapshots SET digests = set_byte(digests, 3, get_byte(digests, 3) # 1)"
            " WHERE book = 'checkers'",
            "the signature is not by",
        ),
        ("DELETE FROM ledger.snapshot_chunks WHERE number = 2", "chunk 2 is not what was signed"),
    ],
)
def test_a_snapshot_that_somebody_changed_is_refused_and_all_is_folded_from_zero(
    bare: World, change: str, why: str
) -> None:
    world = bare
    make(world)
    world.sql(change)
    said = began(world)
    assert '"snapshot.refused"' in said
    assert why in said
    world.prove("accounts", world.pay(1))
    verified = world.service("ledger").beside("verify")
    assert verified.returncode == 1
    assert f"is not to be believed: {why}" in verified.stdout


def test_a_process_that_dies_in_the_middle_of_one_leaves_none(bare: World) -> None:
    world = bare
    died = world.service("ledger").beside("snapshot", {"TANZHANG_CRASH": "snapshot.writing"})
    assert died.returncode == EXIT_CODE
    assert positions(world) == []
    restart(world)
    world.prove("accounts", world.pay(1))


def test_one_is_made_by_itself_every_so_many_proven_events(bare: World) -> None:
    world = bare
    world.supervisor.stop_service("ledger")
    world.supervisor.start_service("ledger", {"TANZHANG_SNAPSHOT_EVENTS": "20"})
    world.supervisor.await_serving("ledger")
    world.prove("accounts", world.pay(1))
    until(lambda: bool(positions(world)), "a snapshot to be made")
    assert world.service("ledger").beside("verify").returncode == 0
    world.supervisor.restart_service("ledger")
    world.supervisor.await_serving("ledger")
