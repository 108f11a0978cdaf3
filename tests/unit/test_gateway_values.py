"""Values of the REST surface to messages of the contracts and back; problems for every error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2
from tanzhang.inclusive.v1 import inclusive_pb2
from tanzhang.kernel.v1 import items_pb2
from tanzhang.market.v1 import market_pb2

from gateway.clients import _refused, batch_field, item_type, parse_rfc3339, to_message, to_values
from gateway.problems import ItemRefused, problem_response
from kernel.errors import Conflict, Fault, InvariantBroken, Kind, Refused
from kernel.journal.port import Refusal
from kernel.rpc.items import timestamp_of
from kernel.rpc.problems import refused_item
from kernel.values import MAX_INTEGER
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, TICKET

RETIREMENT = {
    "id": "019a0000-0000-7000-8000-000000000000",
    "on": "2026-11-20T08:30:00.250Z",
    "legs": [
        {
            "debit": {"holder": CITY_GROUP, "purpose": "available", "ref": ""},
            "credit": {"holder": CITY_GROUP, "purpose": "retired", "ref": ""},
            "asset": TICKET,
            "amount": 12_000,
            "serials": [{"batch": "LZXQ-2021", "first": 1, "last": 12_000}],
        }
    ],
    "claim": {"beneficiary": "兰州新区城投", "purpose": "carbon-neutral event", "details": ""},
    "acts": [{"key_id": "00ff", "signature": "AAEC", "statement": "{}"}],
    "cause": None,
    "linked": False,
    "mandate": "",
}


def test_an_entry_goes_to_its_message_and_comes_back_the_same() -> None:
    message = to_message(item_type("accounts.PostEntries"), RETIREMENT)
    assert isinstance(message, accounts_pb2.Entry)
    assert message.legs[0].credit.purpose == accounts_pb2.PURPOSE_RETIRED
    assert message.on == timestamp_of(1_795_163_400_250)
    assert message.acts[0].signature == b"\x00\x01\x02"
    assert not message.HasField("cause")
    assert to_values(message) == RETIREMENT


def test_what_is_absent_is_null_and_what_is_zero_is_zero() -> None:
    status = market_pb2.OrderStatus(open_t=0)
    values = to_values(status)
    assert (values["order"], values["placed_at"], values["state"]) == (None, None, None)
    assert (values["open_t"], values["position"]) == (0, 0)


def test_an_empty_part_of_a_request_is_not_an_absent_one() -> None:
    message = to_message(item_type("registry.RegisterPledges"), {"levels": {}})
    assert message.HasField("levels")
    assert not message.HasField("valuation")


def test_a_trip_is_credited_or_refused_and_the_other_is_null() -> None:
    refused = items_pb2.Refusal(reason="TRIP_OVERLAPS", details={"overlap_s": "90"})
    values = to_values(inclusive_pb2.TripResult(order="SZ-1", refused=refused))
    assert values["credit"] is None
    assert values["refused"]["details"] == {"overlap_s": "90"}


def test_a_word_that_only_a_newer_service_knows_is_null() -> None:
    assert to_values(market_pb2.Order(side=77))["side"] is None  # type: ignore[arg-type]


def test_a_large_number_stays_exact() -> None:
    assert to_values(accounts_pb2.Balance(amount=MAX_INTEGER))["amount"] == MAX_INTEGER


@pytest.mark.parametrize(
    "values",
    [
        {"asset": "\ud800"},
        {"amount": 2**64},
        {"acts": [{"signature": "no base64"}]},
        {"legs": [{"debit": {"purpose": "unspecified"}}]},
        {"legs": [{"debit": {"purpose": "stolen"}}]},
        {"on": "2026-02-30T00:00:00Z"},
    ],
)
def test_what_a_message_cannot_hold_is_refused_and_no_fault(values: dict[str, Any]) -> None:
    entry = {"legs": [values]} if {"asset", "amount"} & set(values) else values
    with pytest.raises(Refused) as refusal:
        to_message(item_type("accounts.PostEntries"), entry)
    assert refusal.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-20T08:30:00.5Z", 1_795_163_400_500),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_an_instant_is_read_to_the_millisecond(text: str, at_ms: int) -> None:
    assert parse_rfc3339(text, "on") == at_ms


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-20T08:30:00", "2026-11-20T08:30:00+08:00", "2026-11-20T08:30:00.0001Z"),
        *("2026-11-20", "２026-11-20T08:30:00Z", "", "Z"),
    ],
)
def test_another_spelling_of_an_instant_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_rfc3339(text, "on")
    assert refusal.value.reason == "INSTANT_MALFORMED"


def test_a_call_has_many_items_or_is_one() -> None:
    field = batch_field("registry.FileProjects")
    assert field is not None
    assert field.name == "projects"
    assert batch_field("inclusive.ReportTrips") is None


def problem(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    response = problem_response(error)
    assert response.media_type == "application/problem+json"
    return response.status_code, json.loads(bytes(response.body)), dict(response.headers)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("AMOUNT_OUT_OF_RANGE", "no", Kind.INVALID), 400),
        (Refused("TOKEN_EXPIRED", "no", Kind.UNAUTHENTICATED), 401),
        (Refused("NOT_YOUR_ACCOUNT", "no", Kind.FORBIDDEN), 403),
        (Refused("UNKNOWN_HOLDER", "no", Kind.UNKNOWN), 404),
        (ItemRefused("UNKNOWN_HOLDER", "no", Kind.UNKNOWN), 422),
        (ItemRefused("MAKER_IS_CHECKER", "no", Kind.FORBIDDEN), 403),
        (Refused("INSUFFICIENT_BALANCE", "no"), 422),
        (Refused("BOOK_HALTED", "no"), 503),
        (Conflict("POSITION_NOT_REACHED", "no"), 409),
        (Conflict("DEADLINE", "no"), 504),
        (Conflict("UNAVAILABLE", "no"), 503),
        (Fault("the disk of Lanzhou is full"), 500),
        (InvariantBroken("the sum is 3"), 500),
        (KeyError("secret"), 500),
    ],
)
def test_every_family_of_errors_has_its_status(error: Exception, status: int) -> None:
    answered, body, headers = problem(error)
    assert (answered, body["status"]) == (status, status)
    assert ("retry-after" in headers) is (status in (409, 503, 504))
    assert ("www-authenticate" in headers) is (status == 401)


def test_a_refusal_says_its_reason_and_its_numbers() -> None:
    error = Refused("INSUFFICIENT_BALANCE", "needed 500, available 480", needed=500, available=480)
    _, body, _ = problem(error)
    assert body == {
        "type": "/problems/insufficient-balance",
        "title": "A rule says no",
        "status": 422,
        "detail": "needed 500, available 480",
        "reason": "INSUFFICIENT_BALANCE",
        "details": {"needed": 500, "available": 480},
    }


def test_a_refusal_keeps_its_kind_and_numbers_on_the_way_through_a_service() -> None:
    refused = Refused(
        "INSUFFICIENT_BALANCE", "no", Kind.RULE, needed=500, holder=QINWANGCHUAN, batch="2021"
    )
    item = refused_item("id", Refusal.of(refused)).refused
    _, body, _ = problem(_refused(item))
    # A batch may be called 2021 and is no number for it.
    assert body["details"] == {"needed": 500, "holder": QINWANGCHUAN, "batch": "2021"}
    for kind in Kind:
        passed = _refused(refused_item("id", Refusal.of(Refused("X", "no", kind))).refused)
        assert passed.kind is kind


def test_a_fault_does_not_say_what_broke() -> None:
    _, body, _ = problem(Fault("password of the database"))
    assert "password" not in json.dumps(body)
    assert body["reason"] == "FAULT"


def test_a_retry_is_said_in_whole_seconds_and_never_as_at_once() -> None:
    _, _, soon = problem(Conflict("QUEUE_FULL", "no", retry_after_ms=200))
    _, _, later = problem(Conflict("QUEUE_FULL", "no", retry_after_ms=2500))
    assert (soon["retry-after"], later["retry-after"]) == ("1", "3")
