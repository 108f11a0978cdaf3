"""Balances of the past and statements of a running service: gRPC, the gateway and the tool."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pyarrow.parquet as pq
import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from cli import app, past
from cli.workspace import Workspace
from kernel.errors import Conflict, Refused
from kernel.rpc.client import metadata
from kernel.rpc.items import timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.values import DAY_MS, Caller, parse_instant, shanghai_day
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    TICKET,
    ZHONGCHUAN,
)
from tests.support.world import FUNDS_FEN, World, Worlds, payment
from tests.support.worldcheck import AUDITOR

WITH_GATEWAY = ("accounts", "ledger", "gateway")
HOUR_MS = 3_600_000


class Story(NamedTuple):
    """A world in which something has happened, and where."""

    world: World
    issued: int
    paid: list[int]
    dated_back: int
    day: str  # whose end has passed since


@pytest.fixture(scope="module")
def story(worlds: Worlds) -> Iterator[Story]:
    with worlds.open(WITH_GATEWAY) as world:
        world.fund(CITY_GROUP, FUNDS_FEN)
        issued = world.issue("LZXQ-2021", {QINWANGCHUAN: 100, ZHONGCHUAN: 50})
        paid = [world.pay(amount_fen) for amount_fen in (100, 200, 300)]
        world.retire(QINWANGCHUAN, 30, FARMER)
        day = shanghai_day(world.clock.now_ms())
        world.advance_clock(2 * DAY_MS)
        on_ms = world.clock.now_ms() - 2 * DAY_MS
        entry = world.entry(payment(7), on_ms=on_ms)
        (result,) = world.send("PostEntries", [entry], BUYER)
        yield Story(world, issued, paid, result.accepted.first_position, day)
        world.check()


def balances(
    world: World, holder: str, caller: Caller = AUDITOR, **question: Any
) -> pb.GetBalancesResponse:
    request = pb.GetBalancesRequest(holder=holder, **question)
    answer: pb.GetBalancesResponse = world.call(world.accounts.GetBalances, request, caller)
    return answer


def fen(answer: pb.GetBalancesResponse) -> int:
    return sum(one.amount for one in answer.balances if one.asset == CNY)


def parts(world: World, caller: Caller = AUDITOR, **question: Any) -> list[pb.GetStatementResponse]:
    request = pb.GetStatementRequest(**question)
    try:
        found = world.accounts.GetStatement(
            request, timeout=30, metadata=metadata(world.token(caller))
        )
        return list(found)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error  # type: ignore[arg-type]


# ---- balances ------------------------------------------------------------------------------------


def test_a_balance_of_a_position_has_what_was_booked_until_then_and_nothing_since(
    story: Story,
) -> None:
    world = story.world
    found = [fen(balances(world, CITY_GROUP, position=position)) for position in story.paid]
    assert found == [FUNDS_FEN - 100, FUNDS_FEN - 300, FUNDS_FEN - 600]
    answer = balances(world, CITY_GROUP, position=story.paid[0])
    assert (answer.moment, answer.as_of_position) == (pb.MOMENT_POSITION, story.paid[0])
    assert fen(balances(world, CITY_GROUP, position=0)) == 0


def test_serial_ranges_are_those_the_account_held_then(story: Story) -> None:
    then = balances(story.world, QINWANGCHUAN, position=story.issued, asset=TICKET)
    now = balances(story.world, QINWANGCHUAN, asset=TICKET, purpose=pb.PURPOSE_AVAILABLE)
    assert [(b.first, b.last) for one in then.balances for b in one.serials] == [(1, 100)]
    assert [(b.first, b.last) for one in now.balances for b in one.serials] == [(31, 100)]


def test_an_instant_of_recording_is_the_last_position_until_then(story: Story) -> None:
    world = story.world
    at_ms = parse_instant(world.records("accounts")[story.paid[1]].at)
    answer = balances(world, CITY_GROUP, at=timestamp_of(at_ms))
    assert answer.moment == pb.MOMENT_AT
    assert answer.instant == timestamp_of(at_ms)
    assert answer == balances(world, CITY_GROUP, at=timestamp_of(at_ms))
    assert answer.as_of_position >= story.paid[1]
    assert fen(answer) == fen(balances(world, CITY_GROUP, position=answer.as_of_position))


def test_by_business_time_what_was_dated_back_counts_before_it_was_recorded(story: Story) -> None:
    world = story.world
    a_day_ago = timestamp_of(world.clock.now_ms() - DAY_MS)
    by_recording = balances(world, CITY_GROUP, at=a_day_ago)
    by_business = balances(world, CITY_GROUP, on=a_day_ago)
    assert fen(by_business) == fen(by_recording) - 7
    assert by_business.as_of_position >= story.dated_back
    known = balances(world, CITY_GROUP, on=a_day_ago, position=story.dated_back - 1)
    assert fen(known) == fen(by_recording)


def test_what_was_just_recorded_is_seen_by_who_names_it(story: Story) -> None:
    position = story.world.pay(1)
    answer = balances(story.world, CITY_GROUP, position=position)
    before = balances(story.world, CITY_GROUP, position=position - 1)
    assert fen(answer) == fen(before) - 1


FAR = timestamp_of(parse_instant("2400-01-01T00:00:00.000Z"))
LONG_AGO = timestamp_of(parse_instant("2001-01-01T00:00:00.000Z"))


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"at": FAR}, "INSTANT_IN_FUTURE"),
        ({"on": FAR}, "INSTANT_IN_FUTURE"),
        ({"at": LONG_AGO}, "INSTANT_BEFORE_BOOK"),
        ({"at": LONG_AGO, "on": LONG_AGO}, "MOMENT_AMBIGUOUS"),
        ({"at": LONG_AGO, "position": 1}, "MOMENT_AMBIGUOUS"),
        ({"position": 2**63}, "POSITION_OUT_OF_RANGE"),
        ({"position": 1, "asset": "CEA-1999"}, "UNKNOWN_ASSET"),
        ({"position": 1, "holder": "h-nobodyofthatname"}, "UNKNOWN_HOLDER"),
        ({"position": 1, "holder": "h\x00"}, "TEXT_NOT_PRINTABLE"),
        ({"position": 1, "purpose": 99}, "UNKNOWN_VALUE"),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),
)
def test_a_question_that_makes_no_sense_gets_its_reason(
    story: Story, question: dict[str, Any], reason: str
) -> None:
    asked = {"holder": CITY_GROUP, **question}
    with pytest.raises(Refused) as refused:
        balances(story.world, **asked)
    assert refused.value.reason == reason


def test_a_position_that_is_not_there_yet_is_waited_for_and_then_not_answered(
    story: Story,
) -> None:
    with pytest.raises(Conflict) as conflict:
        balances(story.world, CITY_GROUP, position=1_000_000)
    assert conflict.value.reason == "POSITION_NOT_REACHED"


def test_the_past_of_others_is_not_shown(story: Story) -> None:
    with pytest.raises(Refused) as refused:
        balances(story.world, CITY_GROUP, FARMER, position=3)
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"
    with pytest.raises(Refused) as refused:
        parts(story.world, FARMER, holder=CITY_GROUP, from_day="2026-01-01")
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"


# ---- statements ----------------------------------------------------------------------------------


def test_a_statement_of_a_day_opens_where_the_day_before_closed(story: Story) -> None:
    world = story.world
    (first,) = (
        part
        for part in parts(world, holder=CITY_GROUP, from_day=story.day, to_day=story.day)
        if part.closings
    )
    later = parts(
        world,
        holder=CITY_GROUP,
        from_day=shanghai_day(parse_instant(f"{story.day}T00:00:00.000Z") + DAY_MS),
    )
    openings = [one for part in later for one in part.openings]
    assert openings == list(first.closings)
    assert openings[0].amount == FUNDS_FEN - 600


def test_a_statement_by_business_time_has_what_was_dated_back_in_its_place(story: Story) -> None:
    world = story.world
    period: dict[str, Any] = {"from_day": story.day, "to_day": story.day}
    recorded = parts(world, BUYER, holder=CITY_GROUP, **period)
    business = parts(world, BUYER, holder=CITY_GROUP, moment=pb.MOMENT_ON, **period)
    amounts = [[line.amount for part in one for line in part.lines] for one in (recorded, business)]
    assert amounts == [[FUNDS_FEN, -100, -200, -300], [FUNDS_FEN, -100, -200, -300, -7]]
    head = business[0].head
    assert head.book_id == world.frames("accounts")[0].book_id.hex()
    assert head.as_of_position >= story.dated_back
    assert business[-1].end.lines == 5
    before = parts(
        world, holder=CITY_GROUP, moment=pb.MOMENT_ON, position=story.dated_back - 1, **period
    )
    assert [line.amount for part in before for line in part.lines] == amounts[0]


def test_a_statement_names_the_other_side_the_serials_and_the_balance(story: Story) -> None:
    found = parts(
        story.world, holder=QINWANGCHUAN, asset=TICKET, purpose=pb.PURPOSE_AVAILABLE, ref="",
        from_day=story.day, to_day=story.day,
    )  # fmt: skip
    lines = [line for part in found for line in part.lines]
    assert [(line.amount, line.balance) for line in lines] == [(100, 100), (-30, 70)]
    assert lines[1].counterpart.purpose == pb.PURPOSE_RETIRED
    assert [(block.first, block.last) for block in lines[1].serials] == [(1, 30)]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({}, "MISSING_VALUE"),
        ({"from_day": "2026-13-01"}, "DAY_MALFORMED"),
        ({"from_day": "2026-11-02", "to_day": "2026-11-01"}, "PERIOD_REVERSED"),
        ({"from_instant": LONG_AGO, "to_instant": LONG_AGO}, "PERIOD_REVERSED"),
        ({"from_day": "2001-01-01", "to_day": "2001-01-02"}, "INSTANT_BEFORE_BOOK"),
        ({"from_day": "2399-01-01"}, "INSTANT_IN_FUTURE"),
        ({"from_day": "2001-01-01", "to_instant": FAR}, "INSTANT_IN_FUTURE"),
        ({"from_day": "2001-01-01", "from_instant": LONG_AGO}, "MOMENT_AMBIGUOUS"),
        ({"from_day": "2001-01-01", "position": 3}, "MOMENT_AMBIGUOUS"),
        ({"from_day": "2001-01-01", "moment": pb.MOMENT_POSITION}, "UNKNOWN_VALUE"),
        ({"from_day": "2001-01-01", "holder": "h-nobodyofthatname"}, "UNKNOWN_HOLDER"),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one) or "nothing",
)
def test_a_period_that_is_none_gets_its_reason(
    story: Story, question: dict[str, Any], reason: str
) -> None:
    asked = {"holder": CITY_GROUP, **question}
    with pytest.raises(Refused) as refused:
        parts(story.world, **asked)
    assert refused.value.reason == reason


def test_an_enormous_period_is_as_good_as_a_short_one(story: Story) -> None:
    whole = parts(story.world, holder=CITY_GROUP, from_day="1970-01-02")
    assert not any(part.openings for part in whole)
    assert whole[-1].end.lines == sum(len(part.lines) for part in whole)


# ---- the gateway ---------------------------------------------------------------------------------


@pytest.fixture
def client(story: Story) -> Iterator[httpx.Client]:
    bearer = {"Authorization": f"Bearer {story.world.token(BUYER)}"}
    url = f"http://{story.world.supervisor.target('gateway')}"
    with httpx.Client(base_url=url, headers=bearer, timeout=30, trust_env=False) as made:
        yield made


def test_the_gateway_answers_balances_of_a_moment(story: Story, client: httpx.Client) -> None:
    path = f"/v1/holders/{CITY_GROUP}/balances"
    answer = client.get(path, params={"position": story.paid[0]}).json()
    assert [one["amount"] for one in answer["balances"]] == [FUNDS_FEN - 100]
    assert (answer["moment"], answer["as_of_position"]) == ("position", story.paid[0])
    assert client.get(path).json()["moment"] == "now"
    refused = client.get(path, params={"at": "2400-01-01T00:00:00Z"})
    assert (refused.status_code, refused.json()["reason"]) == (400, "INSTANT_IN_FUTURE")


def test_the_gateway_writes_the_format_that_is_asked_for(
    story: Story, client: httpx.Client
) -> None:
    path, period = f"/v1/holders/{CITY_GROUP}/statements", {"from": story.day, "to": story.day}
    story.world.prove("accounts", story.dated_back)
    made = client.get(path, params=period).json()
    amounts = [line["amount"] for line in made["lines"]]
    assert amounts == [FUNDS_FEN, -100, -200, -300]
    assert made["statement"]["proven"] is True
    table = client.get(path, params={**period, "bom": "true"}, headers={"Accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"), newline="")))
    assert [int(row["amount"]) for row in rows if row["row"] == "line"] == amounts
    file = client.get(path, params={**period, "format": "parquet"})
    columns = pq.read_table(io.BytesIO(file.content)).to_pydict()
    assert columns["amount"] == amounts


@pytest.mark.parametrize(
    ("params", "headers", "reason"),
    [
        ({"from": "2400-01-01"}, {}, "INSTANT_IN_FUTURE"),
        ({"from": "yesterday"}, {}, "REQUEST_MALFORMED"),
        ({"from": "2026-11-01", "format": "xlsx"}, {}, "REQUEST_MALFORMED"),
        ({"from": "2026-11-01"}, {"Accept": "image/png"}, "FORMAT_UNKNOWN"),
        ({}, {}, "REQUEST_MALFORMED"),
        ({"from": "2026-11-01", "form": "csv"}, {}, "UNKNOWN_FIELD"),
    ],
    ids=["future", "no day", "no format of ours", "nothing we write", "no period", "misspelt"],
)
def test_the_gateway_refuses_before_it_begins(
    client: httpx.Client, params: dict[str, str], headers: dict[str, str], reason: str
) -> None:
    path = f"/v1/holders/{CITY_GROUP}/statements"
    answer = client.get(path, params=params, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    others = client.get(f"/v1/holders/{ZHONGCHUAN}/statements", params={"from": "2026-11-01"})
    assert (others.status_code, others.json()["reason"]) == (403, "NOT_YOUR_ACCOUNT")


# ---- the tool ------------------------------------------------------------------------------------


@pytest.fixture
def tool(story: Story, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`tanzhang` on the world's folder, which no supervisor of its own has noted."""
    monkeypatch.setattr(Workspace, "require_running", lambda self: None)
    return lambda *words: app.run([*words, "--dir", str(story.world.directory)])


def test_the_tool_tells_a_balance_of_a_day(
    story: Story, tool: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool("balance", "--holder", CITY_GROUP, "--at", story.day, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["moment"], told["balances"][0]["amount"]) == ("at", FUNDS_FEN - 600)
    assert tool("balance", "--holder", QINWANGCHUAN, "--at", str(story.issued)) == 0
    assert "serials 1 to 100 of LZXQ-2021" in capsys.readouterr().out


def test_the_tool_writes_a_statement_whole_or_not_at_all(
    story: Story, tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("statement", "--holder", CITY_GROUP, "--from", story.day, "--to", story.day)
    for format in ("json", "csv", "parquet"):
        out = tmp_path / f"statement.{format}"
        assert tool(*words, "--format", format, "--out", str(out)) == 0
    made = json.loads((tmp_path / "statement.json").read_text())
    assert [line["amount"] for line in made["lines"]] == [FUNDS_FEN, -100, -200, -300]
    kept = (tmp_path / "statement.csv").read_bytes()

    def breaks_off(*rest: Any) -> bytes:
        raise Conflict("STATEMENT_CUT_OFF", "the line is gone")

    monkeypatch.setattr(past, "write_part", breaks_off)
    out = tmp_path / "statement.csv"
    assert tool(*words, "--format", "csv", "--out", str(out)) == 2
    assert out.read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "statement.csv",
        "statement.json",
        "statement.parquet",
    ]


def test_the_tool_says_what_is_wrong_in_one_line(
    tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "never")
    for words in (
        ("balance", "--holder", CITY_GROUP, "--at", "yesterday"),
        ("statement", "--holder", CITY_GROUP, "--from", "2026-11-01", "--by", "day", "--out", out),
        (
            "statement",
            "--holder",
            CITY_GROUP,
            "--from",
            "2026-11-01",
            "--format",
            "x",
            "--out",
            out,
        ),
        ("statement", "--holder", CITY_GROUP, "--from", "2400-01-01", "--out", out),
    ):
        assert tool(*words) == 2
        said = capsys.readouterr().err
        assert said.startswith("tanzhang: ")
        assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_after_a_restart_the_past_is_the_same(story: Story) -> None:
    world = story.world
    world.pay(2)
    at = timestamp_of(world.clock.now_ms() - HOUR_MS)
    before = (
        balances(world, CITY_GROUP, at=at),
        parts(world, holder=CITY_GROUP, from_day=story.day, to_day=story.day),
    )
    world.stop_services("accounts")
    world.bring_back("accounts")
    after = (
        balances(world, CITY_GROUP, at=at),
        parts(world, holder=CITY_GROUP, from_day=story.day, to_day=story.day),
    )
    assert before == after
