"""A second pair of eyes: what the accounts service wrongly allows, the ledger does not sign.

One story in order: a build of accounts without its sufficiency rule overdraws an account, the log
halts at exactly that entry, two persons take it as it is, and the next entry puts it right.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.ledger.v1 import ledger_pb2 as lb

from cli.stack.provision import policy_file
from kernel.errors import Conflict, Refused
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import VerifiedReceipt, make_receipt, verify_receipt
from tests.support.lanzhou import BUYER, CITY_GROUP, CNY, FARMER, QINWANGCHUAN, available, pay
from tests.support.world import (
    MAKER,
    World,
    Worlds,
    accepted,
    payment,
    refusal,
    until,
)

FUNDS_FEN = 1_000_000
MISSING_FEN = 500_000


@pytest.fixture(scope="module")
def overdrawn(worlds: Worlds) -> Iterator[tuple[World, int]]:
    """The world, and the position of an entry that pays more than there is."""
    with worlds.open() as world:
        world.fund(CITY_GROUP, FUNDS_FEN)
        world.stop_services("accounts")
        world.supervisor.start_service("accounts", module="tests.support.faulty")
        world.supervisor.await_serving("accounts")
        world.pay(1)
        bad = world.pay(FUNDS_FEN - 1 + MISSING_FEN)
        yield world, bad


def test_the_log_halts_at_exactly_the_entry_that_was_not_covered(
    overdrawn: tuple[World, int],
) -> None:
    world, bad = overdrawn
    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (bad, "SUFFICIENCY")
    assert f"at least {FUNDS_FEN - 1 + MISSING_FEN} CNY" in halt.expected
    assert halt.actual == str(FUNDS_FEN - 1)
    world.prove("accounts", bad - 1)
    status = world.status("accounts")
    assert (status.folded, status.proven) == (bad, bad)


def test_what_was_not_covered_has_no_proof(overdrawn: tuple[World, int]) -> None:
    world, bad = overdrawn
    world.await_halt("accounts")
    request = lb.GetProofsRequest(book="accounts", positions=[bad])
    with pytest.raises(Conflict) as caught:
        world.call(world.ledger.GetProofs, request)
    assert caught.value.reason == "BOOK_HALTED"


def test_a_halted_book_refuses_new_commands_and_still_answers(
    overdrawn: tuple[World, int],
) -> None:
    world, _ = overdrawn
    until(lambda: not world.takes_commands(), "accounts to hear of the halt")
    with pytest.raises(Refused) as caught:
        world.send("PostEntries", [world.entry(payment(1))], BUYER)
    assert caught.value.reason == "BOOK_HALTED"
    assert world.balance(available(CITY_GROUP), CNY) == -MISSING_FEN


def test_the_halt_is_found_again_after_a_restart_and_recorded_once(
    overdrawn: tuple[World, int],
) -> None:
    world, bad = overdrawn
    world.await_halt("accounts")
    world.stop_services("ledger")
    world.bring_back("ledger")
    halt = world.await_halt("accounts")
    assert (halt.position, halt.rule) == (bad, "SUFFICIENCY")
    # A second report of the same halt would be a second event.
    halts = [raw for raw in world.records("ledger") if raw.type == "BookHalted"]
    assert len(halts) == 1


def test_two_persons_resume_it_and_what_follows_is_proven_and_puts_it_right(
    overdrawn: tuple[World, int],
) -> None:
    world, bad = overdrawn
    halt = world.await_halt("accounts")
    proposal = world.propose_override("accounts", halt)
    assert refusal(world.approve(proposal, MAKER)) == "MAKER_IS_CHECKER"
    assert world.status("accounts").HasField("halt")

    accepted(world.approve(proposal))
    until(lambda: not world.status("accounts").HasField("halt"), "the log to go on")
    until(world.takes_commands, "accounts to take commands")
    back = world.post(pay(QINWANGCHUAN, CITY_GROUP, MISSING_FEN, CNY), FARMER)

    assert receipt_of(world, bad).position == bad
    assert receipt_of(world, back).position == back
    (accepted_at,) = [r.position for r in world.records("ledger") if r.type == "OverrideAccepted"]
    told = world.receipts("accounts", [bad, back], BUYER)
    assert [list(one.override_positions) for one in told] == [[accepted_at], []]
    assert receipt_of_override(world, accepted_at).position == accepted_at
    # Folded as it was: the ledger's own books know of the overdraft and of its end.
    assert world.balance(available(CITY_GROUP), CNY) == 0
    world.stop_services("accounts")
    world.bring_back("accounts")
    # It reads the ledger's book from its beginning: for a moment the old halt stands again.
    until(world.takes_commands, "accounts to have read that the halt is over")
    (result,) = world.send("PostEntries", [world.entry(payment(1))], BUYER)
    assert refusal(result) == "INSUFFICIENT_BALANCE"


def receipt_of_override(world: World, position: int) -> VerifiedReceipt:
    (its,) = world.receipts("ledger", [position], BUYER)
    return verify_receipt(its.file, parse_policy(policy_file(world.directory).read_bytes()))


def receipt_of(world: World, position: int) -> VerifiedReceipt:
    """Made by a party of the event, verified as a stranger would."""
    proof = world.prove("accounts", position)
    request = pb.DiscloseEventsRequest(positions=[position])
    (event,) = world.call(world.accounts.DiscloseEvents, request, BUYER).events
    policy = parse_policy(policy_file(world.directory).read_bytes())
    return verify_receipt(make_receipt(event.record, event.salt, proof), policy)
