"""A state to try commands on: what is read comes from below, what is changed stays in the layer.

`layered` makes one of any state out of dataclasses, dicts, sets and plain values, at a cost that
does not grow with the state: a value is copied when it is first looked at. What the layer cannot
answer like the real thing (an operator of sets) it refuses loudly, never from its own half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar, cast

import msgspec

TIMER_ONLY: Final = "timer_only"  # in the metadata of a field no command reads: empty in a layer

K = TypeVar("K")
V = TypeVar("V")
S = TypeVar("S")

_MISSING: Final = object()


def layered(state: S) -> S:
    """A state of the same type whose changes leave no trace in this one."""
    fields = {
        field.name: type(getattr(state, field.name))()
        if field.metadata.get(TIMER_ONLY)
        else _layer_over(getattr(state, field.name))
        for field in dataclasses.fields(cast(Any, state))
    }
    return type(state)(**fields)


def _layer_over(value: Any) -> Any:
    if type(value) is dict:
        return Layer(value)
    if type(value) is set:
        return SetLayer(value)
    return layered(value) if dataclasses.is_dataclass(value) else own(value)


def own(value: Any) -> Any:
    """A copy down to what cannot change."""
    if type(value) is dict:
        return {key: own(inner) for key, inner in value.items()}
    if type(value) is list:
        return [own(inner) for inner in value]
    if type(value) is set:
        return set(value)
    if isinstance(value, msgspec.Struct):
        return value if value.__struct_config__.frozen else _own_struct(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = {f.name: own(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return type(value)(**copied)
    return value


def _own_struct(value: msgspec.Struct) -> msgspec.Struct:
    copied = {name: own(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.structs.replace(value, **copied)


class Layer(dict[K, V]):
    """A dict over another one, which it never changes."""

    __slots__ = ("_below", "_gone")

    def __init__(self, below: dict[K, V]) -> None:
        super().__init__()
        self._below = below
        self._gone: set[K] = set()

    def __missing__(self, key: K) -> V:
        if key in self._gone:
            raise KeyError(key)
        value: V = own(self._below[key])
        super().__setitem__(key, value)
        return value

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key in self._below and key not in self._gone)

    def get(self, key: K, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: K, value: V) -> None:
        self._gone.discard(key)
        super().__setitem__(key, value)

    def setdefault(self, key: K, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        super().pop(key, None)
        if key in self._below:
            self._gone.add(key)

    def pop(self, key: K, default: Any = _MISSING) -> Any:
        if key not in self:
            if default is _MISSING:
                raise KeyError(key)
            return default
        value = self[key]
        del self[key]
        return value

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._below if key not in self._gone)
        yield from (key for key in list(super().__iter__()) if key not in self._below)

    def __len__(self) -> int:
        return sum(1 for _ in self) if self._gone or super().__len__() else len(self._below)

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class SetLayer(set[K]):
    """A set over another one, which it never changes."""

    def __init__(self, below: set[K]) -> None:
        super().__init__()
        self._below = below
        self._gone: set[K] = set()

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key in self._below and key not in self._gone)

    def add(self, key: K) -> None:
        self._gone.discard(key)
        super().add(key)

    def discard(self, key: object) -> None:
        super().discard(key)
        if key in self._below:
            self._gone.add(key)

    def remove(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self.discard(key)

    def update(self, *others: Iterable[K]) -> None:
        for other in others:
            for key in other:
                self.add(key)

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._below if key not in self._gone)
        yield from (key for key in list(super().__iter__()) if key not in self._below)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _refuse(self, *others: object) -> Any:
        raise TypeError("a set in a layer is asked for its members alone")

    __and__ = __or__ = __sub__ = __xor__ = __rand__ = __ror__ = __rsub__ = __rxor__ = _refuse
    __iand__ = __ior__ = __isub__ = __ixor__ = __le__ = __lt__ = __ge__ = __gt__ = _refuse
    intersection = union = difference = symmetric_difference = _refuse
    issubset = issuperset = isdisjoint = copy = pop = clear = _refuse
