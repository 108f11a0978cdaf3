"""A book that begins at its snapshot: the same book, whatever became of the snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernel.crash import EXIT_CODE
from tests.support.lanzhou import BUYER, CITY_GROUP
from tests.support.world import World, Worlds, accepted, payment, until


@pytest.fixture
def funded(worlds: Worlds) -> Iterator[World]:
    with worlds.open() as world:
        world.fund(CITY_GROUP, 100_000_000)
        yield world


def snapshots(world: World) -> list[int]:
    rows = world.sql("SELECT position FROM accounts.snapshots ORDER BY position")
    return [position for (position,) in rows]


def began_at(world: World) -> str:
    """The last line of the log about where replaying began."""
    lines = world.service("accounts").log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if '"snapshot.' in line][-1]


def restart(world: World) -> None:
    world.supervisor.stop_service("accounts")
    world.bring_back("accounts")


def test_a_book_begins_at_its_snapshot_and_knows_what_was_asked_before_it(funded: World) -> None:
    world = funded
    entry = world.entry(payment(1))
    (first,) = world.send("PostEntries", [entry], BUYER)
    made = world.service("accounts").beside("snapshot")
    assert made.returncode == 0, made.stderr
    (position,) = snapshots(world)
    assert position == accepted(first) + 1
    world.pay(2)

    restart(world)
    assert '"snapshot.restored"' in began_at(world)
    assert f'"position": {position}' in began_at(world)
    (again,) = world.send("PostEntries", [entry], BUYER)
    assert again.accepted.repeated
    assert again.accepted.first_position == accepted(first)
    world.pay(4)
    verified = world.service("accounts").beside("verify")
    assert verified.returncode == 0, verified.stderr
    assert f"the snapshot at {position} equals a replay from zero" in verified.stdout
    assert world.service("accounts").beside("snapshot").stdout.startswith("accounts: at ")
    assert len(snapshots(world)) == 2


def test_a_snapshot_that_somebody_changed_is_not_believed_and_is_found(funded: World) -> None:
    world = funded
    world.service("accounts").beside("snapshot")
    world.sql(
        "UPDATE accounts.snapshot_chunks SET data = set_byte(data, 5, get_byte(data, 5) # 1)"
        " WHERE number = 1"
    )
    restart(world)
    assert '"snapshot.refused"' in began_at(world)
    assert "chunk 1 is not what was signed" in began_at(world)
    world.pay(1)
    verified = world.service("accounts").beside("verify")
    assert verified.returncode == 1
    assert "is not to be believed: chunk 1 is not what was signed" in verified.stdout


def test_a_journal_that_was_changed_before_a_snapshot_is_found_by_verify(worlds: Worlds) -> None:
    with worlds.open(checked=False) as world:
        changed = world.fund(CITY_GROUP, 100_000_000)
        world.pay(1)
        world.service("accounts").beside("snapshot")
        world.sql(
            "UPDATE accounts.events SET record = convert_to(replace("
            "convert_from(record, 'UTF8'), '100000000', '900000000'), 'UTF8')"
            " WHERE position = %s",
            changed,
        )
        verified = world.service("accounts").beside("verify")
        assert verified.returncode == 1
        assert f"EVENT_COMMITMENT at {changed}" in verified.stdout


def test_a_process_that_dies_in_the_middle_of_a_snapshot_leaves_none(funded: World) -> None:
    world = funded
    died = world.service("accounts").beside("snapshot", {"TANZHANG_CRASH": "snapshot.writing"})
    assert died.returncode == EXIT_CODE
    assert snapshots(world) == []
    restart(world)
    world.pay(1)
    assert world.service("accounts").beside("snapshot").returncode == 0
    assert len(snapshots(world)) == 1


def test_a_snapshot_is_made_by_itself_every_so_many_events(funded: World) -> None:
    world = funded
    world.supervisor.stop_service("accounts")
    world.supervisor.start_service("accounts", {"TANZHANG_SNAPSHOT_EVENTS": "10"})
    world.supervisor.await_serving("accounts")
    for _ in range(10):
        world.pay(1)
    until(lambda: bool(snapshots(world)), "a snapshot to be made")
    for _ in range(10):
        world.pay(1)
    until(lambda: len(snapshots(world)) == 2, "the next snapshot to be made")
    assert world.service("accounts").beside("verify").returncode == 0
