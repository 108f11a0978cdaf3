"""Rows of a journal changed by the superuser of its database: found at the next start, by position.

Each test puts back what it changed, two persons have the ledger look again, and everything goes on
with nothing lost: that is how an operator would repair it from a backup.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from cli import status
from kernel.errors import Refused
from tests.support.lanzhou import BUYER, CITY_GROUP
from tests.support.world import AUDITOR, World, accepted, payment, until

Change = Callable[[World, int], None]


def edit_record(world: World, position: int) -> None:
    """More money reached the farm than was paid."""
    world.sql(
        "UPDATE accounts.events SET record = convert_to(replace(convert_from(record, 'UTF8'),"
        " '\"amount\":7,', '\"amount\":8,'), 'UTF8') WHERE position = %s",
        position,
    )


def edit_salt(world: World, position: int) -> None:
    world.sql(
        "UPDATE accounts.events SET salt = decode(repeat('00', 16), 'hex') WHERE position = %s",
        position,
    )


def delete_row(world: World, position: int) -> None:
    world.sql("DELETE FROM accounts.events WHERE position = %s", position)


def rows_from(world: World, table: str, column: str, position: int) -> list[Any]:
    return world.sql(f"SELECT * FROM accounts.{table} WHERE {column} >= %s", position)


def put_back(world: World, table: str, column: str, position: int, rows: list[Any]) -> None:
    """Exactly these rows from the position on."""
    world.sql(f"DELETE FROM accounts.{table} WHERE {column} >= %s", position)
    for row in rows:
        marks = ", ".join(["%s"] * len(row))
        world.sql(f"INSERT INTO accounts.{table} VALUES ({marks})", *row)


def some_payments(world: World) -> int:
    """Three in a row, proven; answers the position of the middle one, of seven fen."""
    world.pay(1)
    middle = world.pay(7)
    world.prove("accounts", world.pay(2))
    return middle


def refusal_of_a_payment(world: World) -> str:
    with pytest.raises(Refused) as caught:
        world.send("PostEntries", [world.entry(payment(1))], BUYER)
    return caught.value.reason


CHANGES = [edit_record, edit_salt, delete_row]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_row_changed_while_all_is_down_halts_the_log_exactly_there(
    world: World, change: Change
) -> None:
    position = some_payments(world)
    world.stop_services("accounts", "ledger")
    before = rows_from(world, "events", "position", position)
    change(world, position)
    world.bring_back("accounts", "ledger")

    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (position, "EVENT_COMMITMENT")
    assert halt.expected != halt.actual
    # The owner found it too: it serves its journal for whoever looks for the change, nothing else.
    assert refusal_of_a_payment(world) == "JOURNAL_DIFFERS"
    with pytest.raises(Refused, match="not what was signed") as caught:
        world.call(world.accounts.GetBalances, pb.GetBalancesRequest(holder=CITY_GROUP), AUDITOR)
    assert caught.value.reason == "JOURNAL_DIFFERS"
    assert world.frames("accounts")[-1].last >= position

    world.stop_services("accounts", "ledger")
    put_back(world, "events", "position", position, before)
    world.bring_back("accounts", "ledger")
    world.accept_halt("accounts", halt)
    world.pay(3)
    world.check()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_row_changed_while_both_run_halts_the_log_there_once_the_ledger_starts_again(
    world: World, change: Change
) -> None:
    position = some_payments(world)
    before = rows_from(world, "events", "position", position)
    change(world, position)
    world.pay(3)  # accounts is in memory and goes on, until the ledger has looked
    world.stop_services("ledger")
    world.bring_back("ledger")

    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (position, "EVENT_COMMITMENT")
    until(lambda: not world.takes_commands(), "accounts to hear of the halt")
    assert refusal_of_a_payment(world) == "BOOK_HALTED"

    later = rows_from(world, "events", "position", before[-1][1] + 1)
    put_back(world, "events", "position", position, [*before, *later])
    world.accept_halt("accounts", halt)
    world.pay(3)
    world.check()


def test_a_frame_whose_signature_was_edited_halts_the_log_at_its_first_position(
    world: World,
) -> None:
    results = world.send("PostEntries", [world.entry(payment(1)) for _ in range(5)], BUYER)
    first = accepted(results[0])
    assert [accepted(result) for result in results] == list(range(first, first + 5))
    world.prove("accounts", first + 4)
    world.stop_services("accounts", "ledger")
    before = rows_from(world, "frames", "first", first)
    world.sql(
        "UPDATE accounts.frames SET signature = set_byte(signature, 0, get_byte(signature, 0) # 1)"
        " WHERE first = %s",
        first,
    )
    world.bring_back("accounts", "ledger")

    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (first, "FRAME_SIGNATURE")
    assert refusal_of_a_payment(world) == "JOURNAL_DIFFERS"

    world.stop_services("accounts", "ledger")
    put_back(world, "frames", "first", first, before)
    world.bring_back("accounts", "ledger")
    world.accept_halt("accounts", halt)
    world.check()


def test_a_journal_that_was_cut_and_went_on_otherwise_halts_where_it_was_cut(
    world: World,
) -> None:
    position = some_payments(world)
    world.stop_services("accounts", "ledger")
    events = rows_from(world, "events", "position", position)
    frames = rows_from(world, "frames", "first", position)
    put_back(world, "events", "position", position, [])
    put_back(world, "frames", "first", position, [])
    world.bring_back("accounts", "ledger")  # which knows no better, and signs what follows anew

    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (position, "JOURNAL_DIFFERS")
    until(lambda: not world.takes_commands(), "accounts to hear of the halt")

    world.stop_services("accounts", "ledger")
    put_back(world, "events", "position", position, events)
    put_back(world, "frames", "first", position, frames)
    world.bring_back("accounts", "ledger")
    world.accept_halt("accounts", halt)
    world.pay(3)
    world.check()


TREE = ("checkpoints", "commitments", "tiles")  # the ledger's own tables of a log


def test_a_ledger_whose_database_went_back_signs_nothing_before_it_is_where_it_was(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.prove("accounts", world.pay(1))
    world.stop_services("ledger")
    mine = "WHERE book = 'accounts'"
    backup = {name: world.sql(f"SELECT * FROM ledger.{name} {mine}") for name in TREE}
    world.bring_back("ledger")
    last = world.pay(2)
    world.prove("accounts", last)
    world.stop_services("ledger")
    signed = checkpoint_file(world).read_bytes()
    for name, rows in backup.items():
        world.sql(f"DELETE FROM ledger.{name} {mine}")
        for row in rows:
            world.sql(f"INSERT INTO ledger.{name} VALUES ({', '.join(['%s'] * len(row))})", *row)
    world.bring_back("ledger")

    halt = world.await_halt("accounts")
    assert halt.rule == "RESTORED_BACKWARDS"
    least = int(signed.splitlines()[1])
    assert least > last
    assert halt.expected == f"a tree of at least {least} entries"
    assert status.show(world.directory, as_json=False) == 1
    assert f"accounts is halted: RESTORED_BACKWARDS at {halt.position}" in capsys.readouterr().out
    assert checkpoint_file(world).read_bytes() == signed

    world.accept_halt("accounts", halt)  # it folds on, and what was signed is the same root again
    world.prove("accounts", world.pay(3))
    world.check()


def checkpoint_file(world: World) -> Path:
    return world.directory / "checkpoints" / "accounts.checkpoint"
