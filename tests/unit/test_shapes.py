"""States become plain values by their annotations, and are read back as they were."""

from __future__ import annotations

import importlib
from collections import OrderedDict, deque
from dataclasses import dataclass, field, make_dataclass
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest

from kernel.snapshot.shape import Codec
from services.__main__ import NAMES
from tests.support.ledgers import Story
from tests.unit import test_ledger_destinations as destinations
from tests.unit import test_ledger_freezes as freezes
from tests.unit import test_ledger_transfers as transfers

S = TypeVar("S")


class Line(StrEnum):
    METRO = "metro"
    BUS = "bus"


class Stop(NamedTuple):
    name: str
    minute: int


class Opened(msgspec.Struct, frozen=True):
    line: Line
    stops: list[str]


class Closed(msgspec.Struct, frozen=True):
    line: Line


@dataclass(slots=True)
class Train:
    number: int
    passengers: set[tuple[str, str]] = field(default_factory=set)
    last: Opened | Closed | None = None


@dataclass
class Network:
    trains: dict[tuple[str, int], Train] = field(default_factory=dict)
    waiting: dict[int, Train] = field(default_factory=dict)
    queue: OrderedDict[str, Stop] = field(default_factory=OrderedDict)
    heap: list[tuple[int, str]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    note: str | None = None
    holidays: list[date] = field(default_factory=list)
    called: deque[Closed] = field(default_factory=deque)


def again(state: S) -> S:
    kind = type(state)
    writing, reading = Codec(kind), Codec(kind)
    values: dict[str, Any] = {}
    for name, (_, form) in writing.fields.items():
        found = getattr(state, name)
        data = msgspec.msgpack.encode(found if form.write is None else form.write(found))
        plain, read = msgspec.msgpack.decode(data), reading.fields[name][1].read
        values[name] = plain if read is None else read(plain)
    return kind(**values)


def shenzhen() -> Network:
    first, second = Train(1, {("罗湖", "1")}), Train(2, last=Closed(Line.BUS))
    return Network(
        {("罗湖", 4): first, ("福田", 9): second},
        {2: second},
        OrderedDict(福田=Stop("福田", 8), 罗湖=Stop("罗湖", 5)),
        [(3, "first"), (9, "second"), (4, "third")],
        {b"b", b"a"},
    )


def test_a_state_is_read_as_it_was_written() -> None:
    assert again(shenzhen()) == shenzhen()
    assert again(Network()) == Network()


def test_days_and_queues_are_read_back_in_their_order() -> None:
    days = [date(2026, 10, 1), date(2026, 2, 17)]
    state = Network(holidays=days, called=deque([Closed(Line.BUS), Closed(Line.METRO)]))
    found = again(state)
    assert found == state
    assert isinstance(found.called, deque)


def test_an_object_that_stands_in_two_places_is_one_object_again() -> None:
    read = again(shenzhen())
    assert read.waiting[2] is read.trains["福田", 9]
    assert read.trains["罗湖", 4] is not read.trains["福田", 9]


def test_the_order_of_a_dict_and_of_a_heap_stays() -> None:
    read = again(shenzhen())
    assert list(read.queue) == ["福田", "罗湖"]
    assert isinstance(read.queue, OrderedDict)
    assert list(read.trains) == [("罗湖", 4), ("福田", 9)]
    assert read.heap == [(3, "first"), (9, "second"), (4, "third")]


def test_a_member_of_a_union_is_of_its_own_type_again() -> None:
    network = shenzhen()
    network.trains["罗湖", 4].last = Opened(Line.METRO, ["罗湖", "国贸"])
    read = again(network)
    assert read.trains["罗湖", 4].last == Opened(Line.METRO, ["罗湖", "国贸"])
    assert read.trains["福田", 9].last == Closed(Line.BUS)


def test_equal_texts_and_tuples_are_one_object() -> None:
    """What is read back is no bigger than what was written."""
    names = ["".join(("罗", "湖")) for _ in range(2)]
    network = Network(trains={(names[0], 1): Train(1), (names[1], 2): Train(2)})
    (first, _), (second, _) = again(network).trains
    assert first is second


@dataclass
class Switches:
    numbers: dict[tuple[str, int], str]
    flags: dict[tuple[str, bool], str]


def test_true_and_one_do_not_become_one_object() -> None:
    codec = Codec(Switches)
    numbers, flags = (codec.fields[name][1].read for name in ("numbers", "flags"))
    assert numbers is not None
    assert flags is not None
    numbers([[["罗湖", 1]], ["light"]])
    ((_, flag),) = flags([[["罗湖", True]], ["light"]])
    assert flag is True


@pytest.mark.parametrize("hint", [Any, msgspec.Struct, object, float, complex])
def test_what_could_not_be_read_back_is_refused_when_the_codec_is_made(hint: Any) -> None:
    vague = make_dataclass("Vague", [("something", dict[str, hint])])
    with pytest.raises(TypeError, match="can be read back"):
        Codec(vague)


def test_another_field_is_another_shape() -> None:
    @dataclass
    class Older:
        note: str

    @dataclass
    class Newer:
        note: str
        minute: int = 0

    assert Codec(Older).shape.split("(")[1] != Codec(Newer).shape.split("(")[1]


@pytest.mark.parametrize("service", NAMES)
def test_the_state_of_every_service_can_be_read_back_by_its_annotations(service: str) -> None:
    main = importlib.import_module(f"services.{service}.main")
    assert Codec(type(main.DOMAIN.new_state())).shape


@pytest.mark.parametrize("story", [freezes.STORY, transfers.STORY, destinations.STORY])
def test_freezes_filed_transfers_and_safeguards_are_read_back_as_they_were(story: Story) -> None:
    restored = again(story.state)
    assert restored == story.state
    assert restored.frozen.live or restored.transfers or restored.safeguards
