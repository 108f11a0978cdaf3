"""What the checkers of all books know, as one state that can be written down and read back.

They are plain objects that look into one another: one map of balances, one directory of keys. What
one of them keeps, it says where it makes it, `self._holds: dict[str, LiveHold] = {}`: the type of
an empty container has to stand there for mypy too, and here it is read from there. Everything else
in a checker is a part, which is gone through as well, or a view of what another one keeps; what is
neither is a TypeError when the ledger starts, and not a thing that a snapshot forgets. What says of
itself that it is `passing` is left out.

All books are one state, because what is open between them (crossings.py) belongs to none of them.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass, make_dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec

from services.ledger.books.port import Checker
from services.ledger.log import Standing

_PLAIN: Final = (str, int, bool, bytes)
_BOOKS: Final = __name__.rpartition(".")[0]


class Slot(NamedTuple):
    """One thing that is kept, and where."""

    owner: Any
    name: str
    hint: Any
    field: str  # its name in the state

    @property
    def value(self) -> Any:
        return getattr(self.owner, self.name)


class Memory:
    """Of checkers that know one another, as `make_checkers` makes them."""

    def __init__(self, checkers: Mapping[str, Checker]) -> None:
        self._slots: list[Slot] = []
        self._book_of: dict[int, str] = {id(one): book for book, one in checkers.items()}
        self._between: set[int] = set()  # parts that several books write
        self._views: list[tuple[str, Any]] = []
        for book, checker in sorted(checkers.items()):
            self._walk(book, book, checker)
        for path, view in self._views:
            self._require_view(path, view)
        said = [(slot.field, slot.hint) for slot in self._slots]
        self.state_type = make_dataclass("Known", [("logs", dict[str, Standing]), *said])

    def new_state(self) -> Any:
        """One of the right type."""
        return self.state({})

    def state(self, logs: Mapping[str, Standing]) -> Any:
        """As it stands, not copied: it must not change while it is read."""
        known = {slot.field: self._ordered(slot) for slot in self._slots}
        return self.state_type(logs=dict(sorted(logs.items())), **known)

    def fill(self, state: Any) -> None:
        """Puts what was read into checkers that have seen nothing yet."""
        for slot in self._slots:
            value: Any = getattr(state, slot.field)
            kept = slot.value
            if isinstance(kept, dict | set):
                kept.update(value)
            elif isinstance(kept, list | deque):
                kept.extend(value)
            else:
                setattr(slot.owner, slot.name, value)

    def _ordered(self, slot: Slot) -> Any:
        """Between the books: which of them came first is nobody's knowledge."""
        if id(slot.owner) in self._between and isinstance(slot.value, dict):
            return dict(sorted(slot.value.items()))
        return slot.value

    # ---- finding it -----------------------------------------------------------------------------

    def _walk(self, book: str, path: str, part: Any) -> None:
        said = _said_types(type(part))
        for name, value in vars(part).items():
            inside = f"{path}.{name}"
            if getattr(type(value), "passing", False):
                continue
            if name in said or isinstance(value, _PLAIN):
                hint = said.get(name, type(value))
                self._slots.append(Slot(part, name, hint, re.sub(r"\W", "_", inside)))
            elif not _is_part(value):
                self._views.append((inside, value))
            elif id(value) not in self._book_of:
                self._book_of[id(value)] = book
                self._walk(book, inside, value)
            elif self._book_of[id(value)] != book and not isinstance(value, Checker):
                self._between.add(id(value))

    def _require_view(self, path: str, value: Any) -> None:
        if isinstance(value, tuple):
            for one in value:
                self._require_view(path, one)
            return
        kept = self._book_of.keys() if _is_part(value) else {id(slot.value) for slot in self._slots}
        if not isinstance(value, frozenset) and id(value) not in kept:
            raise TypeError(
                f"{path}: expected something with its type where it is made, a part, or a view of"
                f" what another one keeps, got {type(value).__name__}"
            )


def _is_part(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.startswith(_BOOKS) and not isinstance(
        value, tuple | msgspec.Struct | Enum
    )


def _said_types(kind: type) -> dict[str, Any]:
    """By attribute: the type that stands where `__init__` makes it, or at a dataclass's field."""
    if is_dataclass(kind):
        return get_type_hints(kind)
    said: dict[str, Any] = {}
    for one in kind.__mro__:
        if "__init__" in vars(one) and one is not object:
            made = ast.parse(textwrap.dedent(inspect.getsource(vars(one)["__init__"])))
            texts = {
                node.target.attr: ast.unparse(node.annotation)
                for node in ast.walk(made)
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute)
            }
            holder = type("Said", (), {"__annotations__": texts, "__module__": one.__module__})
            said.update(get_type_hints(holder))
    return said
