"""A venue that matches elsewhere sends its files: settled, told of, proven, reported, closed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from cli import settlements
from kernel.config import DEFAULT_LOG_PREFIX
from kernel.errors import Refused
from kernel.rpc.client import metadata
from kernel.rpc.items import act_message
from kernel.values import Act, Caller
from services.accounts.domain.commands import PostEntry
from tests.support.companies import BOSS, LI, WANG
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    available,
    leg,
    trading,
)
from tests.support.settling import (
    SESSION,
    WUHAN,
    WUHAN_DESK,
    WUHAN_KEY,
    close,
    part,
    totals,
    trade,
)
from tests.support.world import AUDITOR, Command, World, Worlds, accepted, until

ISSUER = f"{DEFAULT_LOG_PREFIX}/issuer"
CLOSES_IN_MS = 5 * 86_400_000


@pytest.fixture(scope="module")
def wuhan(worlds: Worlds) -> Iterator[World]:
    """The forest's tickets and the buyer's money lie at 湖北's exchange."""
    with worlds.open() as world:
        world.register_key(f"venue:{WUHAN}", WUHAN_KEY)
        until(
            lambda: any(
                record.type == "KeyAdmitted" and WUHAN.encode() in bytes(record.body)
                for record in world.records("accounts")
            ),
            "accounts to admit the exchange's key",
        )
        world.issue("LZXQ-2021", {QINWANGCHUAN: 6000})
        world.fund(CITY_GROUP, 60_000_000)
        for holder, amount, asset, caller in (
            (QINWANGCHUAN, 5000, TICKET, FARMER),
            (CITY_GROUP, 50_000_000, CNY, BUYER),
        ):
            one = leg(amount, asset, available(holder), trading(holder, WUHAN))
            world.post(PostEntry([one]), caller)
        yield world


def closes_at_ms(world: World) -> int:
    return world.clock.now_ms() // 86_400_000 * 86_400_000 + CLOSES_IN_MS


def note(world: World, *items: Any) -> None:
    """What the world's own check has to find once in the journal."""
    for item in items:
        world.sent.setdefault(Command("accounts", WUHAN_DESK.actor.sub, item.id), None)


def send(world: World, *acts: Act, caller: Caller = WUHAN_DESK) -> list[Any]:
    parts = [pb.SettlementPart(id=world.new_id(), acts=[act_message(act)]) for act in acts]
    note(world, *parts)
    request = pb.SettleTradesRequest(venue=WUHAN, parts=parts)
    answer = world.call(world.accounts.SettleTrades, request, caller, patience_s=10)
    return list(answer.parts)


def report(world: World, caller: Caller, session: str = SESSION) -> tuple[list[Any], Any]:
    request = pb.ReportSettlementsRequest(
        venue=WUHAN, session=session, min_position=world.head("accounts") - 1
    )
    told = metadata(world.token(caller))
    answers = list(world.accounts.ReportSettlements(request, timeout=20, metadata=told))
    return [row for answer in answers for row in answer.rows], answers[-1].totals


def test_a_file_is_settled_trade_by_trade_proven_reported_and_closed(wuhan: World) -> None:
    at_ms = closes_at_ms(wuhan)
    fees: dict[str, Any] = {"closes_at_ms": at_ms, "fee_holder": PROGRAMME}
    first = [trade("T-1", 100), trade("T-2", 9000), trade("T-3", 50)]
    done, later = send(wuhan, part(*first, **fees), part(trade("T-4", 10), part=2, **fees))
    accepted(done.result)
    kinds = [one.WhichOneof("result") for one in done.trades]
    assert kinds == ["settled_position", "unsettled", "settled_position"]
    short = done.trades[1].unsettled
    assert (short.reason, short.needed, short.available, short.holder) == (
        "INSUFFICIENT_BALANCE",
        9000,
        4900,
        QINWANGCHUAN,
    )
    assert later.trades[0].settled_position == later.result.accepted.first_position + 1
    wuhan.prove("accounts", later.trades[0].settled_position)

    # The short trade's seller brings the rest; the very same part is sent again under a new id.
    wuhan.issue("LZXQ-2022", {QINWANGCHUAN: 9000})
    more = leg(9000, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, WUHAN))
    wuhan.post(PostEntry([more]), FARMER)
    wuhan.fund(CITY_GROUP, 70_000_000)
    money = leg(70_000_000, CNY, available(CITY_GROUP), trading(CITY_GROUP, WUHAN))
    wuhan.post(PostEntry([money]), BUYER)
    (again,) = send(wuhan, part(*first, **fees))
    kinds = [one.WhichOneof("result") for one in again.trades]
    assert kinds == ["settled_before", "settled_position", "settled_before"]

    rows, sums = report(wuhan, WUHAN_DESK)
    assert {row.result.trade for row in rows} == {"T-1", "T-2", "T-3", "T-4"}
    assert len(rows) == 4
    assert all(row.result.settled_position for row in rows)
    (asset,) = sums.assets
    quantity = 100 + 9000 + 50 + 10
    assert (asset.trades, asset.quantity_t, asset.turnover_fen, asset.fees_fen) == (
        4,
        quantity,
        quantity * 7446,
        4 * 600,
    )
    assert sums.unsettled == 0
    said = close([totals(4, quantity, quantity * 7446, 4 * 600)])
    item = pb.SessionClose(id=wuhan.new_id(), session=SESSION, acts=[act_message(said)])
    note(wuhan, item)
    request = pb.CloseSessionsRequest(venue=WUHAN, closes=[item])
    answer = wuhan.call(wuhan.accounts.CloseSessions, request, WUHAN_DESK, patience_s=10)
    accepted(answer.results[0])
    (refused,) = send(wuhan, part(trade("T-9"), **fees))
    assert refused.result.refused.reason == "SESSION_CLOSED"
    assert len(report(wuhan, AUDITOR)[0]) == 4  # a closed session is still told of


def test_each_member_sees_its_own_rows_and_not_what_others_were_short_of(wuhan: World) -> None:
    fees: dict[str, Any] = {"closes_at_ms": closes_at_ms(wuhan), "fee_holder": PROGRAMME}
    send(wuhan, part(trade("T-1", 1), trade("T-2", 10**6), session="other", **fees))
    for caller, sees in ((WUHAN_DESK, True), (FARMER, True), (BUYER, False)):
        rows, sums = report(wuhan, caller, "other")
        assert [row.result.trade for row in rows] == ["T-1", "T-2"]
        assert bool(rows[1].result.unsettled.needed) is sees
        assert rows[1].result.unsettled.reason == "INSUFFICIENT_BALANCE"
        assert sums.unsettled == 1
    for stranger in (Caller(BUYER.actor, frozenset(), frozenset({PROGRAMME})),):
        assert report(wuhan, stranger, "other")[0] == []


def test_the_same_call_again_is_answered_with_what_it_did(wuhan: World) -> None:
    fees: dict[str, Any] = {"closes_at_ms": closes_at_ms(wuhan), "fee_holder": PROGRAMME}
    act = act_message(part(trade("T-1", 1), session="repeated", **fees))
    item = pb.SettlementPart(id=wuhan.new_id(), acts=[act])
    note(wuhan, item)
    request = pb.SettleTradesRequest(venue=WUHAN, parts=[item])
    first, second = (
        wuhan.call(wuhan.accounts.SettleTrades, request, WUHAN_DESK, patience_s=10).parts[0]
        for _ in range(2)
    )
    assert (first.result.accepted.repeated, second.result.accepted.repeated) == (False, True)
    assert list(first.trades) == list(second.trades)


def test_another_venue_s_role_does_not_send_these_files(wuhan: World) -> None:
    other = Caller(WUHAN_DESK.actor, frozenset({"venue:market-lzxq"}), frozenset())
    with pytest.raises(Refused, match="venue:hubei-exchange"):
        send(wuhan, part(trade("T-1")), caller=other)


def test_what_a_venue_sent_is_disclosed_to_it_and_an_entry_to_its_parties(wuhan: World) -> None:
    fees: dict[str, Any] = {"closes_at_ms": closes_at_ms(wuhan), "fee_holder": PROGRAMME}
    (done,) = send(wuhan, part(trade("T-1", 1), session="shown", **fees))
    received, settled = done.result.accepted.first_position, done.trades[0].settled_position

    def disclosed(caller: Caller, position: int) -> int:
        request = pb.DiscloseEventsRequest(positions=[position])
        return len(wuhan.call(wuhan.accounts.DiscloseEvents, request, caller).events)

    assert disclosed(WUHAN_DESK, received) == disclosed(BUYER, settled) == 1
    with pytest.raises(Refused, match="no party"):
        disclosed(BUYER, received)


async def test_the_tools_print_a_report_as_it_comes(
    wuhan: World, capsys: pytest.CaptureFixture[str]
) -> None:
    fees: dict[str, Any] = {"closes_at_ms": closes_at_ms(wuhan), "fee_holder": PROGRAMME}
    send(wuhan, part(trade("T-1", 1), trade("T-2", 10**6), session="printed", **fees))
    report(wuhan, AUDITOR, "printed")  # the read model is there
    await settlements._print(WUHAN, "printed", settlements.Form.CSV, False, wuhan.directory)
    told = capsys.readouterr()
    rows = list(csv.DictReader(told.out.splitlines()))
    assert [(row["trade"], row["quantity_t"], row["reason"]) for row in rows] == [
        ("T-1", "1", ""),
        ("T-2", "1000000", "INSUFFICIENT_BALANCE"),
    ]
    assert json.loads(told.err)["totals"][0]["turnover_fen"] == 7446
    await settlements._print(WUHAN, "printed", settlements.Form.JSON, True, wuhan.directory)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("trade") for one in lines] == ["T-1", "T-2", None]
    assert lines[-1]["unsettled"] == 1


def test_a_report_is_for_who_may_view_for_a_member_by_register(wuhan: World) -> None:
    fees: dict[str, Any] = {"closes_at_ms": closes_at_ms(wuhan), "fee_holder": PROGRAMME}
    send(wuhan, part(trade("T-1", 1), session="viewed", **fees))
    assert len(report(wuhan, BUYER, "viewed")[0]) == 1
    rights = [pb.RIGHT_ADMINISTER, pb.RIGHT_VIEW]
    boss = pb.Operator(holder=CITY_GROUP, iss=ISSUER, sub=BOSS.actor.sub, rights=rights)
    proposal = pb.ChangeProposal(id=wuhan.new_id(), change=pb.Change(operator=boss))
    accepted(*wuhan.send("ProposeChanges", [proposal], WANG))
    approval = pb.ProposalApproval(id=wuhan.new_id(), proposal=proposal.id)
    accepted(*wuhan.send("ApproveProposals", [approval], LI))
    for caller, count in ((BUYER, 0), (BOSS, 1), (FARMER, 1)):
        rows, sums = report(wuhan, caller, "viewed")
        assert (len(rows), sum(one.trades for one in sums.assets)) == (count, count)
