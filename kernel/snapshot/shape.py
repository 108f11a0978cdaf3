"""The shape of a state, from its type annotations: how it becomes plain values and is read back.

Plain values are what MessagePack writes: lists, text, integers, bytes, None. Dicts keep their
order, sets are sorted, an object that stands in several places is written once and is one object
again when read. What is read is shared: equal texts and equal tuples become one object, as a
million accounts need it. Two states of one shape have the same plain values exactly when they are
equal.

A type that cannot be read back by its annotation (Any, a base class) is a TypeError here, when the
codec is made, and not when a snapshot is needed.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from datetime import date
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec

Convert = Callable[[Any], Any]

_SCALARS: Final = frozenset({int, bool, bytes, type(None)})


class Form(NamedTuple):
    """How values of one type are written and read; None: they are plain as they are."""

    name: str
    write: Convert | None
    read: Convert | None


class _One(dict[Hashable, Any]):
    """Equal values are one object, the first that came. Asked for in C, without a call of ours."""

    __slots__ = ()

    def __missing__(self, value: Hashable) -> Any:
        self[value] = value
        return value


class Codec:
    """For one pass over one state: it remembers which objects it has met. Make a new one each time.

    `shape` names every type, field and enum member there is: another shape is another version.
    """

    def __init__(self, state_type: type) -> None:
        self.state_type = state_type
        self._known: list[str] = []
        self._met: dict[int, int] = {}
        self._made: list[Any] = []
        self._one: dict[str, Convert] = {}
        self._places: Counter[Any] = Counter()
        self._count(state_type, {}, ())
        self.fields: dict[str, tuple[Any, Form]] = {
            name: (hint, self.form(hint)) for name, hint in _fields(state_type, {}).items()
        }
        top = ", ".join(f"{name}: {form.name}" for name, (_, form) in self.fields.items())
        self.shape = "\n".join([*self._known, f"{_name(state_type)}({top})"])

    # ---- forms by kind of type ------------------------------------------------------------------

    def form(self, hint: Any) -> Form:
        """Raises TypeError for what could not be read back."""
        hint = type(None) if hint is None else hint
        if hint in _SCALARS:
            return Form(_name(hint), None, None)
        if hint is str:
            return Form("str", None, self._shared("str"))
        if hint is date:
            return Form("date", date.isoformat, date.fromisoformat)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        make = _CONTAINERS.get(origin)
        if make is not None:
            return make(self, arguments)
        kind = origin or hint
        if not isinstance(kind, type):
            raise _unreadable(hint)
        if issubclass(kind, Enum):
            return self._enum(kind)
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._record(hint, shared=False)
        if dataclasses.is_dataclass(kind):
            frozen = cast(Any, kind).__dataclass_params__.frozen
            return self._record(hint, shared=not frozen and self._places[hint] > 1)
        if issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct:
            if kind.__struct_config__.frozen:
                return self._frozen(kind)
            return self._record(hint, shared=self._places[hint] > 1)
        raise _unreadable(hint)

    def _shared(self, name: str) -> Convert:
        """Equal values of one form are one object. Of one form: 1 and True are equal too."""
        return self._one.setdefault(name, _One().__getitem__)

    def _enum(self, kind: type[Enum]) -> Form:
        self._know(f"{_name(kind)}({', '.join(repr(member.value) for member in kind)})")
        members = {member.value: member for member in kind}
        write = None if issubclass(kind, str) else lambda member: member.value
        return Form(_name(kind), write, members.__getitem__)

    def _frozen(self, kind: type[msgspec.Struct]) -> Form:
        """An event or a part of one: a value, written by msgspec as it stands."""
        fields = {name: self.form(hint).name for name, hint in _fields(kind, {}).items()}
        self._know(f"{_name(kind)}{fields}")
        if any(_holds(hint, set, frozenset) for hint in _fields(kind, {}).values()):
            raise TypeError(
                f"{_name(kind)}: a set in a frozen struct has no order to be written in"
            )
        read = msgspec.msgpack.Decoder(kind).decode
        if not _hashes(kind):
            return Form(_name(kind), msgspec.msgpack.encode, read)
        share = self._shared(_name(kind))
        return Form(_name(kind), msgspec.msgpack.encode, lambda data: share(read(data)))

    def _record(self, hint: Any, *, shared: bool) -> Form:
        kind = typing.get_origin(hint) or hint
        forms = [(name, self.form(one)) for name, one in _fields(kind, _bound(hint)).items()]
        name = _name(hint)
        self._know(f"{name}({', '.join(f'{field}: {form.name}' for field, form in forms)})")
        write, read = _writer(forms), _reader(kind, forms)
        return Form(name, *(self._referring(write, read) if shared else (write, read)))

    def _referring(self, write: Convert, read: Convert) -> tuple[Convert, Convert]:
        """Written where it is met first; afterwards as its number."""
        met, made = self._met, self._made

        def write_once(value: Any) -> Any:
            number = met.get(id(value))
            if number is not None:
                return number
            met[id(value)] = len(met)
            return write(value)

        def read_once(plain: Any) -> Any:
            if type(plain) is int:
                return made[plain]
            number = len(made)
            made.append(None)
            made[number] = value = read(plain)
            return value

        return write_once, read_once

    def _union(self, arguments: tuple[Any, ...]) -> Form:
        """Optional: the value or None. Otherwise the number of its type, and the value."""
        forms = [(one, self.form(one)) for one in arguments if one is not type(None)]
        name = " | ".join(form.name for _, form in forms)
        if len(forms) == 1 and len(arguments) > 1:
            write, read = forms[0][1].write, forms[0][1].read
            return Form(
                f"{name} | None",
                write and (lambda value: None if value is None else write(value)),
                read and (lambda plain: None if plain is None else read(plain)),
            )
        numbers = {typing.get_origin(one) or one: i for i, (one, _) in enumerate(forms)}
        writes = [form.write or _same for _, form in forms]
        reads = [form.read or _same for _, form in forms]

        def write_one(value: Any) -> Any:
            if value is None:
                return None
            number = numbers[type(value)]
            return [number, writes[number](value)]

        def read_one(plain: Any) -> Any:
            return None if plain is None else reads[plain[0]](plain[1])

        return Form(name, write_one, read_one)

    def _list(self, arguments: tuple[Any, ...]) -> Form:
        form = self.form(arguments[0])
        return Form(f"list[{form.name}]", _each(form.write), _each(form.read))

    def _deque(self, arguments: tuple[Any, ...]) -> Form:
        form = self.form(arguments[0])
        read = _each(form.read) or _same
        return Form(
            f"deque[{form.name}]", _each(form.write) or list, lambda plain: deque(read(plain))
        )

    def _tuple(self, arguments: tuple[Any, ...]) -> Form:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            form = self.form(arguments[0])
            read_each = _each(form.read) or _same
            return Form(
                f"tuple[{form.name}, ...]",
                _each(form.write or _same),
                lambda plain: tuple(read_each(plain)),
            )
        forms = [self.form(one) for one in arguments]
        name = f"tuple[{', '.join(form.name for form in forms)}]"
        reads = [form.read or _same for form in forms]

        def write_all(value: Any) -> Any:
            return [(form.write or _same)(one) for form, one in zip(forms, value, strict=True)]

        def read_all(plain: Any) -> Any:
            return tuple([read(one) for read, one in zip(reads, plain, strict=True)])

        def read_alike(plain: Any) -> Any:
            return tuple(map(reads[0], plain))

        if reads and all(read is reads[0] for read in reads):
            read_all = read_alike
        write = None if all(form.write is None for form in forms) else write_all
        if not all(map(_hashes, arguments)):
            return Form(name, write, read_all)
        share = self._shared(name)
        return Form(name, write, lambda plain: share(read_all(plain)))

    def _dict(self, arguments: tuple[Any, ...], make: Convert = dict) -> Form:
        key, value = map(self.form, arguments)
        write_keys, write_values = _each(key.write) or list, _each(value.write) or list
        read_keys, read_values = _each(key.read) or _same, _each(value.read) or _same
        return Form(
            f"{make.__name__}[{key.name}, {value.name}]",
            lambda found: [write_keys(found), write_values(found.values())],
            lambda plain: make(zip(read_keys(plain[0]), read_values(plain[1]), strict=True)),
        )

    def _ordered(self, arguments: tuple[Any, ...]) -> Form:
        return self._dict(arguments, OrderedDict)

    def _set(self, arguments: tuple[Any, ...], make: Convert = set) -> Form:
        form = self.form(arguments[0])
        read = _each(form.read) or _same
        return Form(
            f"{make.__name__}[{form.name}]",
            lambda found: sorted(found if form.write is None else map(form.write, found)),
            lambda plain: make(read(plain)),
        )

    def _frozenset(self, arguments: tuple[Any, ...]) -> Form:
        return self._set(arguments, frozenset)

    # ---- what the types say of themselves -------------------------------------------------------

    def _know(self, line: str) -> None:
        if line not in self._known:
            self._known.append(line)

    def _count(self, hint: Any, bound: Mapping[Any, Any], inside: tuple[Any, ...]) -> None:
        """In how many places of the shape an object of each type may stand."""
        hint = _substituted(hint, bound)
        if hint in inside:
            raise TypeError(f"{_name(hint)}: a state that contains its own type is not supported")
        for argument in typing.get_args(hint):
            if argument is not Ellipsis:
                self._count(argument, bound, inside)
        kind = typing.get_origin(hint) or hint
        if isinstance(kind, type) and _has_fields(kind):
            self._places[hint] += 1
            for one in _fields(kind, _bound(hint)).values():
                self._count(one, {}, (*inside, hint))


def _writer(forms: list[tuple[str, Form]]) -> Convert:
    steps = [(name, form.write) for name, form in forms]

    def write(value: Any) -> Any:
        return [
            getattr(value, name) if step is None else step(getattr(value, name))
            for name, step in steps
        ]

    return write


def _reader(kind: Any, forms: list[tuple[str, Form]]) -> Convert:
    steps = [(i, form.read) for i, (_, form) in enumerate(forms) if form.read is not None]

    def read(plain: Any) -> Any:
        for i, step in steps:
            plain[i] = step(plain[i])  # a list of its own, made by decoding
        return kind(*plain)

    return read


def _each(convert: Convert | None) -> Convert | None:
    return convert and (lambda values: list(map(convert, values)))


def _same(value: Any) -> Any:
    return value


def _has_fields(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or (issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _fields(kind: Any, bound: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields in the order in which they are given to make one, with their types."""
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        names = [one.name for one in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    else:
        names = list(kind._fields)
    return {name: _substituted(hints[name], bound) for name in names}


def _bound(hint: Any) -> dict[Any, Any]:
    """Of `Open[TradesMade]`: what its type variables stand for."""
    origin = typing.get_origin(hint)
    if origin is None:
        return {}
    return dict(zip(origin.__parameters__, typing.get_args(hint), strict=True))


def _substituted(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    free = getattr(hint, "__parameters__", ())
    if not free or not bound or isinstance(hint, type):
        return hint
    return hint[tuple(bound.get(one, one) for one in free)]


def _hashes(hint: Any) -> bool:
    """Are all values of this type hashable, so that equal ones may be one object?"""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, dict, set, OrderedDict, deque):
        return False
    if arguments:
        return all(_hashes(one) for one in arguments if one is not Ellipsis)
    if isinstance(hint, type) and _has_fields(hint):
        frozen = not issubclass(hint, msgspec.Struct) or hint.__struct_config__.frozen
        return frozen and all(map(_hashes, _fields(hint, {}).values()))
    return True


def _holds(hint: Any, *kinds: type) -> bool:
    """Is there one of these anywhere in values of this type?"""
    kind = typing.get_origin(hint) or hint
    if kind in kinds:
        return True
    parts = [one for one in typing.get_args(hint) if one is not Ellipsis]
    if isinstance(kind, type) and _has_fields(kind):
        parts += _fields(kind, _bound(hint)).values()
    return any(_holds(one, *kinds) for one in parts)


def _name(hint: Any) -> str:
    arguments = ", ".join(map(_name, typing.get_args(hint)))
    kind = typing.get_origin(hint) or hint
    name = getattr(kind, "__qualname__", repr(kind))
    return f"{name}[{arguments}]" if arguments else name


def _unreadable(hint: Any) -> TypeError:
    return TypeError(f"expected a type that can be read back from plain values, got {hint!r}")


_CONTAINERS: Final[Mapping[Any, Callable[[Codec, tuple[Any, ...]], Form]]] = {
    list: Codec._list,
    tuple: Codec._tuple,
    dict: Codec._dict,
    OrderedDict: Codec._ordered,
    deque: Codec._deque,
    set: Codec._set,
    frozenset: Codec._frozenset,
}
