"""The services as the gateway calls them: plain JSON values in and out, errors in their families.

The one module here that knows gRPC and protobuf. Values follow the contracts field by field: words
for enums without their prefix, RFC 3339 for instants, base64 for bytes, whole numbers as numbers,
null where a field that can be absent is absent. Nothing is renamed and nothing is left out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import grpc
import msgspec
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel, Field, create_model
from tanzhang.accounts.v1 import accounts_pb2, accounts_pb2_grpc
from tanzhang.inclusive.v1 import inclusive_pb2, inclusive_pb2_grpc
from tanzhang.kernel.v1 import auth_pb2, disclosure_pb2, disclosure_pb2_grpc
from tanzhang.ledger.v1 import (
    ledger_pb2,
    ledger_pb2_grpc,
    receipts_pb2,
    receipts_pb2_grpc,
    states_pb2,
    states_pb2_grpc,
)
from tanzhang.market.v1 import market_pb2, market_pb2_grpc
from tanzhang.registry.v1 import registry_pb2, registry_pb2_grpc

from gateway.problems import ItemRefused
from kernel.crash import crash_point
from kernel.errors import Conflict, Fault, InvariantBroken, Kind, Refused
from kernel.rpc.client import STREAM_DEADLINE_S, call, is_several, metadata, open_channel
from kernel.rpc.items import instant_of, timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.values import MAX_INTEGER, format_instant

DEADLINE_S: Final = 10.0  # a service waits at most five seconds for a position
# The same id goes again, so it is carried out once. A standby takes over within five seconds.
PATIENCE_S: Final = 0.5
TAKEOVER_PATIENCE_S: Final = 6.0
HEALTH_DEADLINE_S: Final = 1.0
RESULTS: Final = frozenset({"result", "results"})  # fields with what became of items
# Waiting again for what has just been waited for only makes the answer late.
WAITED: Final = (
    *("POSITION_NOT_REACHED", "NOT_PROVEN_YET", "NO_STATE_YET"),
    *("DEADLINE", "DEADLINE_EXCEEDED"),
)
# gRPC's own, whose words name addresses inside the house.
TRANSPORT: Final = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "CANCELLED",
)

Values: TypeAlias = dict[str, Any]

_CONTRACTS: Final[Mapping[str, tuple[Any, Any]]] = {
    "accounts": (accounts_pb2, accounts_pb2_grpc.AccountsServiceStub),
    "registry": (registry_pb2, registry_pb2_grpc.RegistryServiceStub),
    "market": (market_pb2, market_pb2_grpc.MarketServiceStub),
    "inclusive": (inclusive_pb2, inclusive_pb2_grpc.InclusiveServiceStub),
    "ledger": (ledger_pb2, ledger_pb2_grpc.LedgerServiceStub),
    "receipts": (receipts_pb2, receipts_pb2_grpc.ReceiptServiceStub),
    "states": (states_pb2, states_pb2_grpc.StateServiceStub),
}
# Spoken by the process of another name; every other contract by its own.
_HOMES: Final[Mapping[str, str]] = {"receipts": "ledger", "states": "ledger"}
# What every service speaks beside its own contract.
_COMMON: Final = disclosure_pb2
_TIMESTAMP: Final = "google.protobuf.Timestamp"
# The words of purposes, by number.
PURPOSES: Final[dict[int, str]] = {
    number: name.removeprefix("PURPOSE_").lower()
    for name, number in accounts_pb2.Purpose.items()
    if number
}


class Accepted(msgspec.Struct, frozen=True):
    """An item is recorded: in which book, where, and whether it had been before."""

    id: str
    book: str
    position: int
    events: int
    repeated: bool
    rest: Values  # what else the service answered


class Services:
    """One channel per service, for as long as the process lives. Safe for concurrent use."""

    def __init__(self, targets: Mapping[str, str], root_certificate: bytes | None = None) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._stubs: dict[str, Any] = {}
        self._common: dict[str, Any] = {}
        self._patience_s: dict[str, float] = {}
        for name, target in targets.items():
            self._channels[name] = open_channel(target, root_certificate)
            self._patience_s[name] = TAKEOVER_PATIENCE_S if is_several(target) else PATIENCE_S
            self._common[name] = disclosure_pb2_grpc.DisclosureServiceStub(self._channels[name])
        for name, (_, stub) in _CONTRACTS.items():
            home = _HOMES.get(name, name)
            if home in self._channels:
                self._stubs[name] = stub(self._channels[home])
                self._patience_s[name] = self._patience_s[home]

    async def ask(self, method: str, values: Values, token: str | None) -> Values:
        """A query, `registry.ListProjects`. Raises Refused, Conflict or Fault."""
        return to_values(await self._call(method, values, token))

    async def write(self, method: str, item: Values, token: str) -> Accepted:
        """One item of a batch call, `accounts.PostEntries`; `item` has its id.

        Raises Refused when the item is refused, with its own reason and kind.
        """
        answer = await self._call(method, request_of(method, item), token)
        # A crash here: it is recorded and the caller does not know. The same key asks again.
        crash_point("gateway.called")
        told = answer if results_type(method) is answer.DESCRIPTOR else _only_part(answer)
        found = told.results[0] if "results" in told.DESCRIPTOR.fields_by_name else told.result
        if found.id != item["id"]:
            raise InvariantBroken(f"{method}: expected an answer to {item['id']}, got {found.id}")
        if found.HasField("refused"):
            raise _refused(found.refused)
        accepted = found.accepted
        return Accepted(
            found.id,
            method.partition(".")[0],
            accepted.first_position,
            accepted.events,
            accepted.repeated,
            {name: value for name, value in to_values(told).items() if name not in RESULTS},
        )

    async def _call(self, method: str, values: Values, token: str | None) -> Any:
        service, _, name = method.partition(".")
        contract = method_of(method)
        request = to_message(contract.input_type, values)
        is_common = contract.containing_service.full_name.startswith(_COMMON.DESCRIPTOR.package)
        rpc = getattr((self._common if is_common else self._stubs)[service], name)
        try:
            return await call(
                rpc,
                request,
                token,
                deadline_s=DEADLINE_S,
                patience_s=self._patience_s[service],
                waited=WAITED,
            )
        except Conflict as conflict:
            raise _for_strangers(conflict, service) from conflict

    async def stream(self, method: str, values: Values, token: str) -> AsyncIterator[Any]:
        """The messages of an answer in parts. Raises Refused, Conflict or Fault, at any of them."""
        service, _, name = method.partition(".")
        request = to_message(method_of(method).input_type, values)
        rpc = getattr(self._stubs[service], name)
        parts = rpc(request, timeout=STREAM_DEADLINE_S, metadata=metadata(token))
        try:
            async for message in parts:
                yield message
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            if isinstance(known, Conflict):
                raise _for_strangers(known, service) from error
            raise known from error
        finally:
            parts.cancel()

    async def health(self) -> dict[str, bool]:
        """Which services serve, asked of all of them at once."""
        names = list(self._channels)
        found = await asyncio.gather(*(self._serves(self._channels[name]) for name in names))
        return dict(zip(names, found, strict=True))

    async def _serves(self, channel: grpc.aio.Channel) -> bool:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_DEADLINE_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)


def _for_strangers(conflict: Conflict, service: str) -> Conflict:
    if conflict.reason not in TRANSPORT:
        return conflict
    message = f"{service} did not answer: ask again"
    return Conflict(conflict.reason, message, conflict.retry_after_ms)


def _refused(refusal: Any) -> ItemRefused:
    word = _word_of(refusal.DESCRIPTOR.fields_by_name["kind"].enum_type, refusal.kind)
    kind = Kind.RULE if word is None else Kind(word)
    return ItemRefused(refusal.reason, refusal.message, kind, **refusal.details)


# ---- the contracts ------------------------------------------------------------------------------


def method_of(method: str) -> MethodDescriptor:
    """`accounts.PostEntries` in its contract; raises Fault for what no contract has."""
    service, _, name = method.partition(".")
    own: Any = _CONTRACTS[service][0]
    for module in (own, _COMMON):
        for contract in module.DESCRIPTOR.services_by_name.values():
            if name in contract.methods_by_name:
                return contract.methods_by_name[name]  # type: ignore[no-any-return]
    raise Fault(f"no contract has {method}")


def is_open(method: str) -> bool:
    """Does the contract let anybody ask, without a token?"""
    return bool(method_of(method).GetOptions().Extensions[auth_pb2.auth].open)


def request_fields(method: str) -> frozenset[str]:
    return frozenset(method_of(method).input_type.fields_by_name)


def is_number(method: str, name: str) -> bool:
    """Is this field of a query's request a whole number?"""
    field = method_of(method).input_type.fields_by_name[name]
    return field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


def batch_field(method: str) -> FieldDescriptor | None:
    """The field that holds the items of a batch call; None: the request is the one item."""
    request = method_of(method).input_type
    if "id" in request.fields_by_name:
        return None
    (field,) = [one for one in request.fields if one.is_repeated]
    return field


def request_of(method: str, item: Values) -> Values:
    """A call of one item; what a request says beside its items is said of all of them."""
    batch = batch_field(method)
    if batch is None:
        return item
    beside = request_fields(method) - {batch.name}
    request: Values = {name: value for name, value in item.items() if name in beside}
    return {**request, batch.name: [{k: v for k, v in item.items() if k not in beside}]}


def results_type(method: str) -> Descriptor:
    """The message an item's result stands in: the answer, or the part of it about the item."""
    answer = method_of(method).output_type
    if not RESULTS.isdisjoint(answer.fields_by_name):
        return answer
    (field,) = answer.fields
    return _type_of(field)


def _only_part(answer: Any) -> Any:
    (field,) = answer.DESCRIPTOR.fields
    (part,) = getattr(answer, field.name)
    return part


def item_type(method: str) -> Descriptor:
    """What one item of a call looks like."""
    field = batch_field(method)
    return method_of(method).input_type if field is None else _type_of(field)


def _type_of(field: FieldDescriptor) -> Descriptor:
    if field.message_type is None:
        raise Fault(f"{field.full_name} holds no message")
    return field.message_type


# ---- values to messages -------------------------------------------------------------------------


def to_message(descriptor: Descriptor, values: Values) -> Any:
    """A protobuf message; None leaves a field out. Raises Refused for what it cannot hold."""
    message: Any = GetMessageClass(descriptor)()
    for name, value in values.items():
        if value is None:
            continue
        field = descriptor.fields_by_name[name]
        try:
            _fill(message, field, value)
        except (ValueError, TypeError) as error:  # a lone surrogate, a number too large
            raise Refused(
                "REQUEST_MALFORMED", f"{name}: {str(error)[:200]}", Kind.INVALID, field=name
            ) from error
    return message


def _fill(message: Any, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).extend(_scalar(field, one) for one in value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_scalar(field, value))
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _number_of(field.enum_type, value)
    if field.message_type is not None:
        if field.message_type.full_name == _TIMESTAMP:
            return timestamp_of(parse_rfc3339(value, field.name))
        return to_message(field.message_type, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _decode_base64(value, field.name)
    return value


def parse_rfc3339(text: str, field: str) -> int:
    """Milliseconds of an instant like 2026-11-20T08:30:00.250Z; UTC, at most three decimals."""
    try:
        if (
            not text.isascii()
            or not text.endswith("Z")
            or len(text) > len("2026-11-20T08:30:00.000Z")
        ):
            raise ValueError(text)
        at = datetime.fromisoformat(text)
        return int(at.timestamp()) * 1000 + at.microsecond // 1000
    except ValueError:
        raise Refused(
            "INSTANT_MALFORMED",
            f"{field}: expected an instant like 2026-11-20T08:30:00.000Z, got {text[:40]!r}",
            Kind.INVALID,
            field=field,
        ) from None


def _decode_base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            "REQUEST_MALFORMED", f"{field}: expected base64", Kind.INVALID, field=field
        ) from None


# ---- messages to values -------------------------------------------------------------------------


def to_values(message: Message) -> Values:
    """All fields of a message, in the contract's order."""
    return {name: _value(message, field) for name, field in _fields(message)}


def _fields(message: Any) -> list[tuple[str, FieldDescriptor]]:
    return [(field.name, field) for field in message.DESCRIPTOR.fields]


def _value(message: Any, field: FieldDescriptor) -> Any:
    if field.is_repeated:
        if _is_map(field):
            return dict(getattr(message, field.name))
        return [_shown(field, one) for one in getattr(message, field.name)]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _shown(field, getattr(message, field.name))


def _shown(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _word_of(field.enum_type, value)
    if field.message_type is not None:
        if field.message_type.full_name == _TIMESTAMP:
            return format_instant(instant_of(value, field.name))
        return to_values(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return value


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _prefix_of(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def words_of(enum: EnumDescriptor) -> tuple[str, ...]:
    """SIDE_BUY is `buy`; the unspecified one has no word."""
    prefix = _prefix_of(enum)
    return tuple(one.name.removeprefix(prefix).lower() for one in enum.values if one.number)


def _word_of(enum: EnumDescriptor, number: int) -> str | None:
    found = enum.values_by_number.get(number)
    if number == 0 or found is None:  # null, or a word that only a newer service knows
        return None
    return str(found.name).removeprefix(_prefix_of(enum)).lower()


def _number_of(enum: EnumDescriptor, word: str) -> int:
    found = enum.values_by_name.get(_prefix_of(enum) + word.upper())
    if found is None or not found.number:
        known = ", ".join(words_of(enum))
        raise ValueError(f"expected one of {known}, got {word[:40]!r}")
    return int(found.number)


# ---- what an answer looks like, for the OpenAPI document ----------------------------------------

_MADE: dict[str, type[BaseModel]] = {}


def answer_model(method: str) -> type[BaseModel]:
    """The shape of a query's answer, made from its contract."""
    return _model_of(method_of(method).output_type)


def one_model(method: str, name: str) -> type[BaseModel]:
    """The shape of one thing of a list, with the position it was seen at."""
    answer = method_of(method).output_type
    element = _type_of(answer.fields_by_name[name])
    title = f"{_title_of(element)}Answer"
    if title not in _MADE:
        _MADE[title] = create_model(title, __base__=_model_of(element), as_of_position=(int, ...))
    return _MADE[title]


def recorded_model(method: str, base: type[BaseModel]) -> type[BaseModel]:
    """`base`, and what else the service answers to a write."""
    answer = results_type(method)
    rest: dict[str, Any] = {
        field.name: _field_of(field) for field in answer.fields if field.name not in RESULTS
    }
    if not rest:
        return base
    title = f"{_title_of(answer)}Recorded"
    if title not in _MADE:
        _MADE[title] = create_model(title, __base__=base, **rest)
    return _MADE[title]


def _title_of(descriptor: Descriptor) -> str:
    """Each service has a Terms and a ProcessState of its own."""
    return f"{descriptor.full_name.split('.')[1].capitalize()}{descriptor.name}"


def _model_of(descriptor: Descriptor) -> type[BaseModel]:
    name = _title_of(descriptor)
    if name not in _MADE:
        fields: dict[str, Any] = {field.name: _field_of(field) for field in descriptor.fields}
        _MADE[name] = create_model(name, **fields)
    return _MADE[name]


def _field_of(field: FieldDescriptor) -> tuple[Any, Any]:
    if _is_map(field):
        return dict[str, str], ...
    kind: Any = _kind_of(field)
    if field.is_repeated:
        return list[kind], ...
    if field.has_presence or field.enum_type is not None:
        return kind | None, ...
    return kind, ...


def _kind_of(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return Literal[words_of(field.enum_type)]
    if field.message_type is not None:
        if field.message_type.full_name == _TIMESTAMP:
            return _annotated(str, format="date-time")
        return _model_of(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _annotated(str, contentEncoding="base64")
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL):
        return str if field.type == FieldDescriptor.TYPE_STRING else bool
    return _annotated(int, maximum=MAX_INTEGER)


def _annotated(kind: type, **schema: Any) -> Any:
    return Annotated[kind, Field(json_schema_extra=schema)]
