"""Mixed batches, linked items and streams of batches, over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from cli import clients
from cli.values import Account, Entry, Leg, Persona
from cli.workspace import Workspace
from kernel.errors import Refused
from kernel.rpc.client import metadata
from kernel.rpc.problems import from_rpc_error
from kernel.values import Caller
from tests.support.books import person
from tests.support.lanzhou import CITY_GROUP, CNY, QINWANGCHUAN, ZHONGCHUAN, available, pay
from tests.support.world import Command, World, Worlds, accepted, account_message, refusal, until

TREASURY = person("treasury", holders=[CITY_GROUP, QINWANGCHUAN, ZHONGCHUAN])
FUNDS_FEN = 1_000_000


@pytest.fixture(scope="module")
def town(worlds: Worlds) -> Iterator[World]:
    with worlds.open() as world:
        world.fund(CITY_GROUP, FUNDS_FEN)
        yield world


def entry(town: World, payer: str, payee: str, amount: int, *, linked: bool = False) -> pb.Entry:
    message = town.entry(pay(payer, payee, amount, CNY))
    message.linked = linked
    note(town, message)
    return message


def note(town: World, *items: Any, caller: Caller = TREASURY) -> None:
    for item in items:
        town.sent.setdefault(Command("accounts", caller.actor.sub, item.id), None)


def hold_of(town: World, amount: int) -> pb.Hold:
    to = account_message(available(QINWANGCHUAN))
    message = pb.Hold(id=town.new_id(), holder=CITY_GROUP, asset=CNY, amount=amount, to=to)
    note(town, message)
    return message


def post_of(
    town: World, hold: pb.Hold, amount: int, *, keep_rest: bool = False, linked: bool = False
) -> pb.HoldPost:
    message = pb.HoldPost(
        id=town.new_id(), hold=hold.id, amount=amount, keep_rest=keep_rest, linked=linked
    )
    note(town, message)
    return message


def send(town: World, *items: Any) -> list[Any]:
    fields = {pb.Entry: "entry", pb.Hold: "hold", pb.HoldPost: "post", pb.HoldRelease: "release"}
    request = pb.PostBatchRequest(items=[pb.BatchItem(**{fields[type(i)]: i}) for i in items])
    answer = town.call(town.accounts.PostBatch, request, TREASURY, patience_s=10)
    assert [one.id for one in answer.results] == [item.id for item in items]
    return list(answer.results)


def test_a_hold_is_placed_posted_in_parts_and_released_beside_entries(town: World) -> None:
    before = town.balance(available(QINWANGCHUAN), CNY)
    hold = hold_of(town, 500)
    release = pb.HoldRelease(id=town.new_id(), hold=hold.id)
    note(town, release)
    results = send(
        town,
        entry(town, CITY_GROUP, ZHONGCHUAN, 10),
        hold,
        post_of(town, hold, 200, keep_rest=True),
        post_of(town, hold, 100, keep_rest=True),
        post_of(town, hold, 201, keep_rest=True),
        release,
        post_of(town, hold, 1),
    )
    *done, too_much, released, ended = results
    for one in (*done, released):
        accepted(one)
    assert refusal(too_much) == "INSUFFICIENT_HOLD"
    assert refusal(ended) == "UNKNOWN_HOLD"
    assert town.balance(available(QINWANGCHUAN), CNY) == before + 300


def test_an_item_that_says_nothing_is_refused_and_the_rest_goes_in(town: World) -> None:
    good = entry(town, CITY_GROUP, ZHONGCHUAN, 1)
    request = pb.PostBatchRequest(items=[pb.BatchItem(), pb.BatchItem(entry=good)])
    answer = town.call(town.accounts.PostBatch, request, TREASURY, patience_s=10)
    assert refusal(answer.results[0]) == "ID_MALFORMED"
    accepted(answer.results[1])


def test_linked_items_of_all_kinds_happen_together_or_not_at_all(town: World) -> None:
    before = town.balance(available(CITY_GROUP), CNY)
    hold = hold_of(town, 50)
    hold.linked = True
    too_much = post_of(town, hold, 51, linked=True)
    last = entry(town, CITY_GROUP, ZHONGCHUAN, 1)
    results = send(town, hold, too_much, last)
    others = "LINKED_GROUP_REFUSED"
    assert [refusal(one) for one in results] == [others, "INSUFFICIENT_HOLD", others]
    assert results[0].refused.details["item"] == too_much.id
    assert town.balance(available(CITY_GROUP), CNY) == before
    assert [refusal(one) for one in send(town, hold, too_much, last)] == [
        others,
        "INSUFFICIENT_HOLD",
        others,
    ]
    together = [
        entry(town, CITY_GROUP, ZHONGCHUAN, 5, linked=True),
        entry(town, ZHONGCHUAN, QINWANGCHUAN, 5),
    ]
    for one in town.send("PostEntries", together, TREASURY):
        accepted(one)


# ---- streams ------------------------------------------------------------------------------------


def stream(town: World, *batches: list[pb.Entry], token: str | None = None) -> list[Any]:
    """All answers of one stream; raises what ended it, in its family."""
    requests = iter([pb.StreamBatchesRequest(entries=batch) for batch in batches])
    bearer = token or town.token(TREASURY)
    try:
        return list(town.accounts.StreamBatches(requests, timeout=20, metadata=metadata(bearer)))
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error  # type: ignore[arg-type]


def test_batches_of_a_stream_are_answered_in_their_order_item_by_item(town: World) -> None:
    batches = [[entry(town, CITY_GROUP, ZHONGCHUAN, 1) for _ in range(3)] for _ in range(12)]
    batches[5][1] = entry(town, CITY_GROUP, ZHONGCHUAN, 10 * FUNDS_FEN)
    answers = stream(town, *batches)
    assert [[one.id for one in answer.results] for answer in answers] == [
        [one.id for one in batch] for batch in batches
    ]
    assert refusal(answers[5].results[1]) == "INSUFFICIENT_BALANCE"
    positions = [
        one.accepted.first_position
        for answer in answers
        for one in answer.results
        if one.HasField("accepted")
    ]
    assert positions == sorted(positions)
    assert len(positions) == 35
    again = stream(town, *batches)
    assert all(one.accepted.repeated for one in again[0].results)


def test_a_stream_opens_for_no_stranger_and_ends_at_an_unknown_field(town: World) -> None:
    with pytest.raises(Refused, match="not a token"):
        stream(town, token="nobody's")
    odd = pb.StreamBatchesRequest.FromString(b"\xfa\x3e\x03abc")
    with pytest.raises(grpc.RpcError) as ended:
        list(
            town.accounts.StreamBatches(
                iter([odd]), timeout=20, metadata=metadata(town.token(TREASURY))
            )
        )
    refused = from_rpc_error(ended.value)  # type: ignore[arg-type]
    assert isinstance(refused, Refused)
    assert refused.reason == "UNKNOWN_FIELD"


async def test_the_client_goes_on_where_a_stream_broke_and_nothing_happens_twice(
    worlds: Worlds,
) -> None:
    with worlds.open() as world:
        world.has_strangers = True  # the client keeps its own notes
        world.fund(CITY_GROUP, FUNDS_FEN)
        who = Persona("treasury", holders=(CITY_GROUP,))
        one_fen = Leg(
            debit=Account(CITY_GROUP, "available"),
            credit=Account(ZHONGCHUAN, "available"),
            asset=CNY,
            amount=1,
        )
        batches = [[Entry(world.new_id(), (one_fen,)) for _ in range(20)] for _ in range(30)]
        positions: list[int] = []
        async with clients.Books(Workspace(world.directory), patience_s=30.0) as books:
            async for outcomes in books.stream_entries(who, batches):
                positions += [one.position for one in outcomes if one.position is not None]
                if len(positions) == 200:
                    world.stop_services("accounts")
                    world.bring_back("accounts")
        assert len(set(positions)) == 600
        until(lambda: world.serves("accounts"), "accounts to serve")
        assert world.balance(available(ZHONGCHUAN), CNY) == 600
