"""Two witnesses beside the real services: a proof bears both names, a fork stops the log.

One story in order, at whose end everything is well again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tanzhang.ledger.v1 import ledger_pb2 as lb

from cli.stack.provision import policy_file
from cli.stack.witnesses import process_name, witness_home
from cli.status import collect
from cli.witness.folder import WitnessFolder
from cli.witness.witness import Witness
from kernel.clock import SystemClock
from kernel.keys import load_note_key
from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.proof import parse_proof
from kernel.tlog.witness import AddCheckpoint
from tests.support.lanzhou import CITY_GROUP
from tests.support.world import FUNDS_FEN, World, Worlds, until

BANK, REGULATOR = process_name("bank"), process_name("regulator")


@pytest.fixture(scope="module")
def witnessed(worlds: Worlds) -> Iterator[World]:
    with worlds.open(witnesses=2) as world:
        world.fund(CITY_GROUP, FUNDS_FEN)
        yield world


def policy_of(world: World) -> Policy:
    return parse_policy(policy_file(world.directory).read_bytes())


def cosigners(world: World, position: int) -> list[str]:
    """Who cosigned the checkpoint that the position is proven under, by the reader's policy."""
    proof = parse_proof(world.prove("accounts", position))
    opened = policy_of(world).open_checkpoint(proof.checkpoint)
    assert opened.checkpoint.size > position
    return sorted(one.name.rpartition("/")[2] for one in opened.cosignatures)


def standing(world: World, name: str) -> lb.WitnessStatus:
    (found,) = [one for one in world.status("accounts").witnesses if one.names == [name]]
    return found


def test_a_proof_bears_the_cosignatures_of_both_witnesses(witnessed: World) -> None:
    assert cosigners(witnessed, witnessed.pay(1)) == ["bank", "regulator"]
    until(lambda: standing(witnessed, "bank").said == "cosigned", "the bank's answer")
    assert 'tanzhang_witness_alarm{book="accounts",witness="bank"} 0.0' in witnessed.metrics(
        "ledger"
    )


def test_while_one_is_killed_the_log_is_signed_on_and_shown_once_it_is_back(
    witnessed: World,
) -> None:
    world = witnessed
    world.supervisor.kill(BANK)
    position = world.pay(2)
    until(lambda: world.status("accounts").proven > position, "the payment to be signed")
    until(lambda: standing(world, "bank").said != "cosigned", "its absence to be noticed")
    status = world.status("accounts")
    assert status.witnessed <= position
    assert not status.HasField("halt")
    world.supervisor.start_service(BANK)
    assert cosigners(world, position) == ["bank", "regulator"]


def test_after_a_restart_of_the_ledger_what_was_shown_is_cosigned_again(witnessed: World) -> None:
    head = witnessed.head("accounts")
    witnessed.prove("accounts", head - 1)
    witnessed.stop_services("ledger")
    witnessed.bring_back("ledger")
    assert cosigners(witnessed, head - 1) == ["bank", "regulator"]


def fork(world: World, size: int) -> Path:
    """Somebody with the log's key shows the bank another history; where the true one is kept."""
    folder = WitnessFolder(witness_home(world.directory, "bank"))
    database = folder.path / "cosigned.sqlite3"
    kept = database.rename(folder.path / "true.sqlite3")
    folder.make_store()
    signer = load_note_key(world.directory / "keys" / "ledger" / "logs" / "accounts.skey")
    lie = sign_checkpoint(Checkpoint(signer.name, size, bytes(32)), [signer])
    witness = Witness(folder, folder.signers(), SystemClock())
    assert witness.add_checkpoint(AddCheckpoint(0, (), lie).encode()).status == 200
    witness.close()
    return kept


def test_a_witness_that_holds_another_tree_under_our_key_halts_the_log_until_two_persons_agree(
    witnessed: World,
) -> None:
    world = witnessed
    position = world.pay(3)
    world.prove("accounts", position)
    world.supervisor.stop_service(BANK)
    truth = fork(world, position)
    world.supervisor.start_service(BANK)
    later = world.pay(4)
    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (position, "FORKED")
    assert halt.actual == bytes(32).hex()
    assert standing(world, "bank").alarm.startswith("FORKED")
    until(lambda: not world.takes_commands(), "accounts to hear of the halt")
    found = collect(world.directory)
    assert any("ALARM of the witness bank" in one for one in found["problems"])
    disagreed = noted(world, "WitnessDisagreed")
    assert [(one["book"], one["witness"], one["rule"]) for one in disagreed] == [
        ("accounts", "bank", "FORKED")
    ]

    # A restart ends no halt, and signs nothing more.
    world.stop_services("ledger")
    world.bring_back("ledger")
    world.await_halt("accounts")
    signed = world.status("accounts").proven
    assert len(noted(world, "BookHalted")) == 1

    # The bank finds its true records again, two persons look at both and let the log go on.
    world.supervisor.stop_service(BANK)
    truth.replace(truth.with_name("cosigned.sqlite3"))
    world.supervisor.start_service(BANK)
    assert world.status("accounts").proven == signed
    world.accept_halt("accounts", world.status("accounts").halt)
    assert cosigners(world, later) == ["bank", "regulator"]
    assert standing(world, "bank").alarm == ""


def noted(world: World, type: str) -> list[dict[str, Any]]:
    """The bodies of the events of a type in the ledger's own book."""
    return [json.loads(bytes(raw.body)) for raw in world.records("ledger") if raw.type == type]
