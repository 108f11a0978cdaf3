"""The REST surface says what the contracts say: fields, words of enums, who may ask, every call.

The tables of gateway/routes are compared with the descriptors of the protos, the committed OpenAPI
document and docs/reference/rest.md with the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import BaseModel

from gateway import clients
from gateway.app import make_api
from gateway.edge import FOR_CALLERS
from gateway.openapi import DOCUMENT, document, main
from gateway.resources import Read, Write
from gateway.routes import (
    accounts,
    banks,
    holders,
    inclusive,
    logs,
    market,
    orders,
    registry,
    settling,
    states,
)
from tests.support.checkout import ROOT

WRITING = (accounts, holders, orders, settling, banks, registry, market, inclusive)
READING = (accounts, holders, orders, banks, registry, market, inclusive, logs, states)
WRITES = [row for area in WRITING for row in area.WRITES]
READS = [row for area in READING for row in area.READS]
OWNERS = clients._CONTRACTS.keys() - clients._HOMES.keys()
# Called by routes that are written out; keys and bulk go over gRPC alone.
WRITTEN_OUT = {
    *("ledger.GetCheckpoint", "ledger.GetTile", "ledger.GetProofs"),
    *("receipts.GetReceipts", "states.GetLien", "states.GetHoldings"),
    *(f"{name}.GetOutcomes" for name in OWNERS if name != "ledger"),
    *("accounts.GetStatement", "accounts.ReportSettlements"),
}
NOT_ROUTED = {
    *("ledger.Propose", "ledger.Approve", "ledger.Withdraw"),
    # The ledger calls it for who asks for receipts.
    *(f"{name}.DiscloseEvents" for name in OWNERS),
    *("accounts.PostEntriesInBulk", "accounts.PostBatch", "accounts.StreamBatches"),
}
REST = ROOT / "docs" / "reference" / "rest.md"


def by_method(rows: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.path)


def unwrapped(annotation: Any) -> Any:
    """Without Annotated and without None."""
    if get_origin(annotation) is Annotated:
        return unwrapped(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        (rest,) = [one for one in get_args(annotation) if one not in (type(None), Literal[""])]
        return unwrapped(rest)
    return annotation


def differences(model: type[BaseModel], message: Descriptor, where: str) -> Iterator[str]:
    """Fields a model has and its message does not, or of another kind."""
    for name, info in model.model_fields.items():
        field = message.fields_by_name.get(name)
        if field is None:
            yield f"{where}.{name} is not in {message.full_name}"
        else:
            yield from kind_differences(unwrapped(info.annotation), field, f"{where}.{name}")


def kind_differences(kind: Any, field: FieldDescriptor, where: str) -> Iterator[str]:
    if get_origin(kind) is list:
        if not field.is_repeated:
            yield f"{where} is one in the contract"
        kind = unwrapped(get_args(kind)[0])
    elif field.is_repeated:
        yield f"{where} is a list in the contract"
    if field.enum_type is not None:
        if set(get_args(kind)) != set(clients.words_of(field.enum_type)):
            yield f"{where}: expected {clients.words_of(field.enum_type)}, got {get_args(kind)}"
    elif field.message_type is not None and field.message_type.full_name != clients._TIMESTAMP:
        yield from differences(kind, field.message_type, where)
        unsaid = set(field.message_type.fields_by_name) - set(kind.model_fields)
        yield from (f"{where}.{name} cannot be said" for name in sorted(unsaid))
    elif kind is not expected_kind(field):
        yield f"{where}: expected {expected_kind(field)}, got {kind}"


def expected_kind(field: FieldDescriptor) -> type:
    if field.message_type is not None or field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        return str
    return bool if field.type == field.TYPE_BOOL else int


@by_method([row for row in WRITES if not hasattr(row.body, "item")])
def test_a_body_has_the_fields_of_its_item_and_nothing_else(row: Write) -> None:
    item = clients.item_type(row.method)
    assert list(differences(row.body, item, row.body.__name__)) == []
    # One address, one item: there is no next one that it could be linked to. A cause is named by
    # books of ours alone, which do not come through the gateway.
    said_elsewhere = {"id", "linked", "cause"}
    given = {*row.body.model_fields, *said_elsewhere, *re.findall(r"\{(\w+)\}", row.path)}
    assert set(item.fields_by_name) - given == set(), "a caller cannot say these"


def test_a_body_with_another_field_or_other_words_is_noticed() -> None:
    class Order(BaseModel):
        instrument: list[str]
        side: Literal["buy"]
        price_yuan: int

    found = list(differences(Order, clients.item_type("market.PlaceOrders"), "order"))
    assert found == [
        "order.instrument is one in the contract",
        "order.side: expected ('buy', 'sell'), got ('buy',)",
        "order.price_yuan is not in tanzhang.market.v1.Order",
    ]


def test_a_part_of_a_body_that_leaves_something_out_is_noticed() -> None:
    class Session(BaseModel):
        weekdays: list[int]
        last_minute: int

    class Terms(BaseModel):
        sessions: list[Session]

    terms = clients.item_type("market.SetTerms").fields_by_name["terms"].message_type
    assert terms is not None
    found = list(differences(Terms, terms, "terms"))
    assert found == ["terms.sessions.first_minute cannot be said"]


@by_method(READS)
def test_a_query_has_the_fields_of_its_request_and_nothing_else(row: Read) -> None:
    fields = clients.request_fields(row.method)
    parts = {row.fields.get(one, one) for one in re.findall(r"\{(\w+)\}", row.path)}
    assert {*row.query.model_fields, *parts} <= fields
    alone = {"liens", "holder", "issuances", "releases", "instrument"} if row.one else set()
    missing = fields - {*row.query.model_fields, *parts} - alone
    # All instruments, or the parts of one: its book, its quotes.
    assert missing <= ({"instrument"} if row.path == "/v1/instruments" else set())


def test_every_call_of_the_contracts_has_a_route_but_keys_and_bulk() -> None:
    calls = {
        f"{name}.{method}"
        for name, (module, _) in clients._CONTRACTS.items()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods_by_name
    }
    routed = {row.method for row in (*WRITES, *READS)} | WRITTEN_OUT
    assert calls == routed | NOT_ROUTED
    assert not routed & NOT_ROUTED


def test_a_route_asks_for_a_token_exactly_where_the_contract_does() -> None:
    paths = make_api().openapi()["paths"]
    for row in READS:
        secured = "security" in paths[row.path]["get"]
        assert secured is not clients.is_open(row.method), row.path
    assert all("security" in paths[row.path]["post"] for row in WRITES)
    # The edge asks for one before it reads a body: it knows no more than where bodies are posted.
    posted = {path: one["post"] for path, one in paths.items() if "post" in one}
    assert all(path.startswith(FOR_CALLERS) and "security" in posted[path] for path in posted)
    for path in ("/log/{book}/checkpoint", "/log/{book}/tile/{path}", "/healthz", "/readyz"):
        assert "security" not in paths[path]["get"]


def test_every_write_needs_an_idempotency_key() -> None:
    paths = make_api().openapi()["paths"]
    for row in WRITES:
        keys = [one for one in paths[row.path]["post"]["parameters"] if one["in"] == "header"]
        assert [(one["name"], one["required"]) for one in keys] == [("Idempotency-Key", True)]


def test_the_committed_document_is_what_the_routes_say_now() -> None:
    assert DOCUMENT.read_text() == document(), "run: .venv/bin/python -m gateway.openapi"
    assert main(["--check"]) == 0


def test_the_document_is_openapi_3_1_and_every_reference_in_it_leads_somewhere() -> None:
    text = document()
    made = json.loads(text)
    assert made["openapi"].startswith("3.1.")
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in made["components"]["schemas"]


def test_paths_are_kebab_case_and_fields_snake_case() -> None:
    made = make_api().openapi()
    for path in made["paths"]:
        bare = re.sub(r"\{\w+\}", "x", path)
        assert re.fullmatch(r"(/[a-z0-9]+(-[a-z0-9]+)*)+", bare), path
    for schema in made["components"]["schemas"].values():
        for name in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name


def test_the_reference_page_names_every_route_and_nothing_else() -> None:
    named = set(re.findall(r"`(GET|POST) (/\S*)`", REST.read_text()))
    routes = {
        (verb.upper(), path)
        for path, verbs in make_api().openapi()["paths"].items()
        for verb in verbs
    }
    assert named == routes
