"""What every service's RPCs do alike: a batch of commands, outcomes by id, disclosure of events.

One result per item, in order: a malformed item is refused and the rest goes in. An event is handed
out, with its salt, to who may see it, and that it was is noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from google.protobuf.message import Message
from tanzhang.kernel.v1 import items_pb2

from kernel import metrics
from kernel.asks import Ask, Result
from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.journal.database import Engine
from kernel.journal.disclosures import log_disclosures
from kernel.journal.port import Refusal
from kernel.linked import MAX_LINKED, group_of, refused_with
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import act_of, cause_of, disclosed_messages, instant_of
from kernel.rpc.problems import refusal_message, refused_item, to_item_result
from kernel.values import MAX_INTEGER, Caller, format_instant
from kernel.writer import MAX_BATCH_ASKS, Writer

MAX_ITEMS: Final = MAX_BATCH_ASKS  # one batch of the writer
MAX_DISCLOSED: Final = 1000

T = TypeVar("T")
ToCommand = Callable[[Any], msgspec.Struct]
Weigh = Callable[[Any], int]  # how many events an item may make, where that is not one


def check_count(count: int, limit: int = MAX_ITEMS) -> None:
    if count > limit:
        raise Refused("TOO_MANY_ITEMS", f"expected at most {limit}, got {count}", Kind.INVALID)


class Shape(NamedTuple):
    """Which of the common parts an item's message type has: asked once per type."""

    on: bool
    acts: bool
    cause: bool
    linked: bool


_SHAPES: dict[type[Message], Shape] = {}


def shape_of(item: Message) -> Shape:
    known = _SHAPES.get(type(item))
    if known is None:
        fields = item.DESCRIPTOR.fields_by_name
        known = Shape(*(name in fields for name in Shape._fields))
        _SHAPES[type(item)] = known
    return known


def ask_of(item: Any, shape: Shape, caller: Caller, to_command: ToCommand) -> Ask:
    """The command of one item, with what its message says of time, signatures and cause."""
    acts = item.acts if shape.acts else ()
    return Ask(
        check_uuid7(item.id),
        caller,
        to_command(item),
        instant_of(item.on, "on") if shape.on and item.HasField("on") else None,
        tuple(map(act_of, acts)) if acts else (),
        cause_of(item.cause, caller) if shape.cause and item.HasField("cause") else None,
    )


async def carry_out(
    writer: Writer[Any],
    method: str,
    items: Sequence[Any],
    to_command: ToCommand,
    *,
    limit: int = MAX_ITEMS,
    weigh: Weigh | None = None,
    while_halted: bool = False,
) -> list[items_pb2.ItemResult]:
    """The results of a batch, counted by method."""
    results, submitted = await _submit(writer, items, to_command, limit, weigh, while_halted)
    for i, result in submitted:
        results[i] = to_item_result(result)
    return counted(method, results)


async def carry_out_briefly(
    writer: Writer[Any], method: str, items: Sequence[Any], to_command: ToCommand
) -> tuple[list[int], list[items_pb2.ItemResult]]:
    """Positions of all, -1 for a refused item, and the results of refused and repeated ones."""
    malformed, submitted = await _submit(writer, items, to_command)
    positions = [-1] * len(items)
    told = {i: result for i, result in enumerate(malformed) if result is not None}
    for i, result in submitted:
        if result.outcome.refusal is None:
            positions[i] = result.outcome.first
        if result.repeated or result.outcome.refusal is not None:
            told[i] = to_item_result(result)
    count(method, sum(position >= 0 for position in positions), len(positions))
    return positions, [told[i] for i in sorted(told)]


async def _submit(
    writer: Writer[Any],
    items: Sequence[Any],
    to_command: ToCommand,
    limit: int = MAX_ITEMS,
    weigh: Weigh | None = None,
    while_halted: bool = False,
) -> tuple[list[items_pb2.ItemResult | None], Iterator[tuple[int, Result]]]:
    """Results of what is malformed, and what the writer answered on the rest, by place."""
    check_count(len(items), limit)
    caller = current_caller()
    weight = len(items) if weigh is None else sum(map(weigh, items))
    writer.check_admission(caller, weight, while_halted=while_halted)
    results, places, asks = read_items(items, caller, to_command)
    submitted = await writer.submit(asks, weight=weight, while_halted=while_halted)
    return results, zip(places, submitted, strict=True)


def read_items(
    items: Sequence[Any], caller: Caller, to_command: ToCommand
) -> tuple[list[items_pb2.ItemResult | None], Sequence[int], Sequence[Ask]]:
    """Results so far, places of the rest, and its asks, linked ones with their group."""
    results: list[items_pb2.ItemResult | None] = [None] * len(items)
    places: list[int] = []
    asks: list[Ask] = []
    kind: type[Message] | None = None
    linked = False
    for i, item in enumerate(items):
        if type(item) is not kind:
            kind, shape = type(item), shape_of(item)
        try:
            asks.append(ask_of(item, shape, caller, to_command))
            places.append(i)
        except Refused as refused:
            results[i] = refused_item(item.id, Refusal.of(refused))
        if shape.linked and item.linked:
            linked = True
    return (results, *link(items, results, places, asks)) if linked else (results, places, asks)


def link(
    items: Sequence[Any],
    results: list[items_pb2.ItemResult | None],
    places: Sequence[int],
    asks: Sequence[Ask],
) -> tuple[list[int], list[Ask]]:
    """Places and asks with each one's group; a group that is none is refused, every item of it."""
    read = dict(zip(places, asks, strict=True))
    for chain in chains_of(items):
        ids = [items[i].id for i in chain]
        refused = _broken(items, results, chain, ids)
        group = group_of(ids)
        for i in chain:
            if refused is None:
                read[i] = msgspec.structs.replace(read[i], group=group)
                continue
            read.pop(i, None)
            results[i] = results[i] or refused_item(items[i].id, Refusal.of(refused))
    return list(read), list(read.values())


def chains_of(items: Sequence[Any]) -> Iterator[range]:
    """Items that are linked to the next, and that next one; a chain may run out of the request."""
    begin = 0
    for i, item in enumerate(items):
        if not item.linked:
            if i > begin:
                yield range(begin, i + 1)
            begin = i + 1
    if begin < len(items):
        yield range(begin, len(items))


def _broken(
    items: Sequence[Any],
    results: Sequence[items_pb2.ItemResult | None],
    chain: range,
    ids: Sequence[str],
) -> Refused | None:
    """Why a chain is no group; nothing of that is recorded, as of all that is malformed."""
    if items[chain[-1]].linked:
        return Refused(
            "LINKED_GROUP_OPEN", "the last item of a request is linked to none", Kind.INVALID
        )
    if len(set(ids)) < len(ids) or len(ids) > MAX_LINKED:
        return Refused(
            "LINKED_GROUP_MALFORMED",
            f"expected at most {MAX_LINKED} linked items, each with an id of its own",
            Kind.INVALID,
            limit=MAX_LINKED,
        )
    for i in chain:
        result = results[i]
        if result is not None:
            return refused_with(result.id, result.refused.reason)
    return None


def split(
    items: Sequence[Any], read: Callable[[Any], T]
) -> tuple[list[items_pb2.ItemResult | None], list[int], list[T]]:
    """Results so far (of what is malformed), places of the rest, and what was read of it."""
    results: list[items_pb2.ItemResult | None] = [None] * len(items)
    places: list[int] = []
    found: list[T] = []
    for i, item in enumerate(items):
        try:
            found.append(read(item))
            places.append(i)
        except Refused as refused:
            results[i] = refused_item(item.id, Refusal.of(refused))
    return results, places, found


def counted(
    method: str, results: Sequence[items_pb2.ItemResult | None]
) -> list[items_pb2.ItemResult]:
    """The results, all of them there by now."""
    done = [result for result in results if result is not None]
    count(method, sum(result.HasField("accepted") for result in done), len(done))
    return done


def count(method: str, accepted: int, of: int) -> None:
    metrics.items_total.labels(method, "accepted").inc(accepted)
    metrics.items_total.labels(method, "refused").inc(of - accepted)


async def find_outcomes(
    writer: Writer[Any], principal: str, ids: Sequence[str], limit: int = MAX_ITEMS
) -> list[items_pb2.ItemResult]:
    """What became of a caller's ids, for one whose answer was lost."""
    check_count(len(ids), limit)
    for id in ids:
        check_uuid7(id)
    found = await writer.find_outcomes(principal, ids)
    return [to_item_result(Result(outcome, repeated=True)) for outcome in found]


class Disclosure(NamedTuple):
    """What a call to DiscloseEvents answers."""

    events: list[items_pb2.DisclosedEvent]
    left_out: list[items_pb2.LeftOut]


async def disclose(
    writer: Writer[Any],
    engine: Engine,
    clock: Clock,
    positions: Sequence[int],
    may_see: Callable[[Caller, bytes], Awaitable[bool]],
    *,
    leave_out: bool,
    principal: str | None = None,
) -> Disclosure:
    """Records and salts, to who may see all of them; `principal` is noted instead of the caller.

    With `leave_out` to who may see any: the others are named. Raises Refused for the first of them
    without it.
    """
    if not 1 <= len(positions) <= MAX_DISCLOSED:
        raise Refused(
            "POSITIONS_COUNT",
            f"expected 1 to {MAX_DISCLOSED} positions, got {len(positions)}",
            Kind.INVALID,
        )
    caller = current_caller()
    asked = [position for position in positions if position <= MAX_INTEGER]
    stored = await asyncio.to_thread(writer.journal.read_events, asked)
    known = {event.position for event in stored}
    no = {position: _unknown(position) for position in positions if position not in known}
    for event in () if no and not leave_out else stored:
        if not await may_see(caller, event.record):
            no[event.position] = _no_party(caller, event.position)
    if no and not leave_out:
        raise next(iter(no.values()))
    shown = [event for event in stored if event.position not in no]
    if shown:
        at, who = format_instant(clock.now_ms()), principal or caller.principal
        noted = sorted({event.position for event in shown})
        await asyncio.to_thread(log_disclosures, engine, at, who, noted)
        metrics.disclosures_total.labels(writer.book).inc(len(shown))
    left_out = [
        items_pb2.LeftOut(position=position, refused=refusal_message(why))
        for position, why in no.items()
    ]
    return Disclosure(disclosed_messages(shown), left_out)


def _unknown(position: int) -> Refused:
    return Refused("UNKNOWN_POSITION", f"no event at {position}", Kind.UNKNOWN, position=position)


def _no_party(caller: Caller, position: int) -> Refused:
    return Refused(
        "NOT_A_PARTY",
        f"{caller.actor.sub} is no party of the event at {position}",
        Kind.FORBIDDEN,
        position=position,
    )
