"""Receipts in batches: an answer for each, and no more bytes than a message holds."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tanzhang.kernel.v1 import items_pb2
from tanzhang.ledger.v1 import ledger_pb2
from tanzhang.ledger.v1 import receipts_pb2 as pb

from kernel.rpc import interceptors
from kernel.tlog.merkle import ListedLeaves, leaf_hash, prove_inclusion
from kernel.tlog.proof import TlogProof
from kernel.tlog.receipt import verify_receipt
from services.ledger.clients import Disclosed, Disclosure
from services.ledger.receipts_rpc import MAX_ANSWER_BYTES, MAX_PART, ReceiptRpc
from tests.support.small_log import SmallLog

EVENTS = 120
LARGE = 60_000
PRIVATE = frozenset({3, 77})  # events of others


class Owner:
    """A book's owner: shows what is not private, and remembers what it was asked, by whom."""

    def __init__(self, log: SmallLog) -> None:
        self._log = log
        self.asked: list[int] = []
        self.tokens: set[str] = set()

    async def disclose_any(self, book: str, positions: Sequence[int], token: str) -> Disclosure:
        self.asked += positions
        self.tokens.add(token)
        shown = [one for one in positions if one not in PRIVATE]
        return Disclosure(
            [Disclosed(n, self._log.records[n], self._log.salt(n)) for n in shown],
            {one: items_pb2.Refusal(reason="NOT_A_PARTY") for one in PRIVATE & set(positions)},
        )


class Prover:
    """The ledger's proofs."""

    def __init__(self, log: SmallLog) -> None:
        self._leaves = [leaf_hash(one) for one in log.entries]
        self._note = log.checkpoint()

    async def GetProofs(self, request: ledger_pb2.GetProofsRequest, context: object) -> Any:
        reader = ListedLeaves(self._leaves)
        paths = {n: prove_inclusion(n, len(self._leaves), reader) for n in request.positions}
        return ledger_pb2.GetProofsResponse(
            proofs=[
                ledger_pb2.Proof(
                    position=n, tlog_proof=TlogProof(n, tuple(path), self._note).encode()
                )
                for n, path in paths.items()
            ]
        )


@pytest.fixture
def log() -> SmallLog:
    log = SmallLog()
    for _ in range(EVENTS):
        log.append({"details": "x" * LARGE}, "HolderRegistered")
    return log


@pytest.fixture
def owner(log: SmallLog) -> Owner:
    return Owner(log)


@pytest.fixture
def rpc(log: SmallLog, owner: Owner) -> ReceiptRpc:
    interceptors._bearer.set("the caller's own token")
    ledger: Any = Prover(log)
    owners: Any = owner
    sealer: Any = SimpleNamespace(signer=log.signer)
    return ReceiptRpc(
        ledger, "ledger", owners, {"accounts": sealer}, lambda *at: OVERRIDDEN.get(at, [])
    )


OVERRIDDEN = {("accounts", 1): [57, 60], ("registry", 0): [61]}


async def test_of_an_event_that_was_accepted_it_is_said_where_two_persons_did(
    rpc: ReceiptRpc,
) -> None:
    told = await ask(rpc, [0, 1])
    assert [list(one.override_positions) for one in told] == [[], [57, 60]]


async def ask(rpc: ReceiptRpc, positions: Sequence[int]) -> Sequence[pb.Receipt]:
    request = pb.GetReceiptsRequest(book="accounts", positions=positions)
    answer: pb.GetReceiptsResponse = await rpc.GetReceipts(request, None)
    return answer.receipts


async def test_an_answer_holds_the_first_of_them_and_no_more_is_asked_of_the_owner(
    rpc: ReceiptRpc, owner: Owner
) -> None:
    found = await ask(rpc, range(EVENTS))
    assert [one.position for one in found] == owner.asked == list(range(len(found)))
    assert len(found) % MAX_PART == 0
    assert MAX_ANSWER_BYTES < sum(one.ByteSize() for one in found) < 7 * 1024 * 1024
    assert [one.position for one in found if one.HasField("refused")] == [3]
    assert owner.tokens == {"the caller's own token"}


async def test_asked_for_the_rest_all_of_them_come_each_with_its_own_proof(
    rpc: ReceiptRpc, log: SmallLog
) -> None:
    found: list[pb.Receipt] = []
    while len(found) < EVENTS:
        found += await ask(rpc, range(len(found), EVENTS))
    files = {one.position: one.file for one in found if not one.HasField("refused")}
    assert files.keys() == set(range(EVENTS)) - PRIVATE
    assert [verify_receipt(files[n], log.policy).position for n in files] == list(files)


async def test_a_position_asked_for_twice_is_answered_once(rpc: ReceiptRpc, owner: Owner) -> None:
    assert [one.position for one in await ask(rpc, [7, 7, 3, 7])] == [7, 3]
    assert owner.asked == [7, 3]
