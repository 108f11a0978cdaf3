"""A layer over a state answers as a copy would, and leaves what is below untouched."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.layers import Layer, SetLayer, layered, own


class Rule(msgspec.Struct, frozen=True):
    words: str


class Counter(msgspec.Struct):
    seen: list[int]


@dataclass(slots=True)
class Lot:
    quantity_t: int
    blocks: list[int] = field(default_factory=list)


@dataclass
class Keys:
    by_id: dict[str, str] = field(default_factory=dict)


@dataclass
class Depot:
    """A small state with one of everything."""

    lots: dict[str, Lot] = field(default_factory=dict)
    by_owner: dict[str, set[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    keys: Keys = field(default_factory=Keys)
    counters: dict[str, Counter] = field(default_factory=dict)
    due: list[int] = field(default_factory=list, metadata={"timer_only": True})
    notes: list[str] = field(default_factory=list)
    rule: Rule = field(default_factory=lambda: Rule("first come"))


def a_depot() -> Depot:
    return Depot(
        lots={"forest": Lot(100, [1, 2]), "wind": Lot(7)},
        by_owner={"farm": {"forest"}},
        closed={"2019"},
        keys=Keys({"k": "public"}),
        counters={"c": Counter([1])},
        due=[5],
        notes=["opened"],
    )


def test_what_is_done_on_a_layer_leaves_no_trace_below() -> None:
    depot = a_depot()
    before = copy.deepcopy(depot)
    trial = layered(depot)
    trial.lots["forest"].quantity_t -= 40
    trial.lots["forest"].blocks.append(3)
    del trial.lots["wind"]
    trial.lots["solar"] = Lot(1)
    trial.by_owner["farm"].add("solar")
    trial.by_owner.setdefault("town", set()).add("solar")
    trial.closed.add("2020")
    trial.closed.discard("2019")
    trial.keys.by_id.pop("k")
    trial.counters["c"].seen.append(2)
    trial.notes.append("tried")
    trial.due.append(1)
    assert trial.lots["forest"] == Lot(60, [1, 2, 3])
    assert sorted(trial.lots) == ["forest", "solar"]
    assert "2019" not in trial.closed
    assert depot == before


def test_what_only_the_timer_reads_is_not_carried_along() -> None:
    assert layered(a_depot()).due == []


def test_a_frozen_value_is_shared_and_one_that_can_change_is_not() -> None:
    rule, counter = Rule("first come"), Counter([1])
    assert own(rule) is rule
    assert own(counter) is not counter
    assert own(counter).seen is not counter.seen


KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["get", "set", "del", "pop", "default", "in", "len", "all", "items"]),
        KEYS,
        st.integers(0, 9),
    )
)


def step(target: dict[str, int], what: str, key: str, value: int) -> Any:
    match what:
        case "get":
            return target.get(key)
        case "set":
            target[key] = value
        case "del":
            target.pop(key, None)
        case "pop":
            return target.pop(key, -1)
        case "default":
            return target.setdefault(key, value)
        case "in":
            return key in target
        case "len":
            return len(target)
        case "all":
            return sorted(target)
        case "items":
            return sorted(target.items())
    return None


@given(st.dictionaries(KEYS, st.integers(0, 9)), STEPS)
def test_a_layer_answers_like_a_copy(below: dict[str, int], steps: list[Any]) -> None:
    copied, layer, before = dict(below), Layer(below), dict(below)
    for what, key, value in steps:
        assert step(layer, what, key, value) == step(copied, what, key, value)
    assert sorted(layer.values()) == sorted(copied.values())
    assert below == before


@given(st.sets(KEYS), st.lists(st.tuples(st.sampled_from(["add", "discard"]), KEYS)))
def test_a_layer_of_a_set_answers_like_a_copy(below: set[str], steps: list[Any]) -> None:
    copied, layer, before = set(below), SetLayer(below), set(below)
    for what, key in steps:
        getattr(layer, what)(key)
        getattr(copied, what)(key)
        assert (key in layer) == (key in copied)
    assert sorted(layer) == sorted(copied)
    assert len(layer) == len(copied)
    assert below == before


def test_a_layer_of_a_set_does_not_answer_for_half_of_itself() -> None:
    with pytest.raises(TypeError):
        SetLayer({"a"}) & {"a"}
    with pytest.raises(KeyError):
        SetLayer({"a"}).remove("b")
    with pytest.raises(KeyError):
        Layer({"a": 1})["b"]
