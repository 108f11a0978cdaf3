"""Makes docs/reference/events.md from the event structs of the services; run it after a change.

`python -m docs.generate` writes the page, tests/unit/test_reference_docs.py holds it to the code;
and the pages of ledger_rules.py and halt_rules.py beside it.
Field comments come from the source beside the field. Nothing here is read by a running system.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from docs import halt_rules, ledger_rules
from kernel.record import KERNEL_EVENTS, Record
from kernel.values import Act, Actor
from services.accounts.domain import events as accounts
from services.inclusive.domain import events as inclusive
from services.ledger.domain import events as ledger
from services.market.domain import events as market
from services.registry.domain import events as registry
from tests.unit.test_ledger_rules import named_by_lies

PAGE: Final = Path(__file__).resolve().parent / "reference" / "events.md"
BOOKS: Final[tuple[tuple[str, str, Sequence[type[msgspec.Struct]]], ...]] = (
    ("every book", "The kernel appends these two to every book.", KERNEL_EVENTS),
    ("accounts", "Who holds what. Owner: the accounts service.", accounts.EVENTS),
    ("registry", "What exists. Owner: the registry service.", registry.EVENTS),
    ("market", "Orders and trades. Owner: the market service.", market.EVENTS),
    ("inclusive", "Citizens' trips. Owner: the inclusive service.", inclusive.EVENTS),
    ("ledger", "Keys, halts and overrides. Owner: the ledger service.", ledger.EVENTS),
)
ENVELOPE: Final = {
    "actor": "who is answerable: token issuer and subject",
    "acts": "institutions' own signatures over what binds them",
    "at": "recorded at this instant; never goes back within a book",
    "book": "the record says itself where it belongs",
    "by": "the id of the command, a UUIDv7",
    "cause": "book and position of the event this one answers",
    "on": "the business time it claims",
    "position": "from 0 without a gap; equals the index of its leaf",
    "sealed": "ciphertext that only its subject's key opens; nothing decides by it",
    "type": "names the shape of `body`",
    "v": "of this envelope: 1",
}
PLAIN: Final = {str: "text", int: "integer", bool: "true or false", type(None): "null"}
HEAD: Final = """\
# Events

Generated from the event structs by `docs/generate.py`; do not edit. Events are kept for ever, so a
type only grows: a new field has a default, a new meaning is a new type.

An event record is one canonical JSON object: sorted keys, no spaces, integers below 2^53, UTF-8, at
most 64 KiB. It is made once and never serialised again. The fields around the `body`:
"""


def events_page() -> str:
    """The whole page as text; the same structs, the same text."""
    parts = [HEAD, _table(Record, ENVELOPE), _shape(Act), _shape(Actor)]
    for book, about, events in BOOKS:
        title = "Every book" if book == "every book" else f"The `{book}` book"
        parts.append(f"## {title}\n\n{about}\n")
        shapes: dict[str, type[Any]] = {}
        for event in events:
            parts.append(
                f"### {event.__name__}\n\nBook: {book}.\n{_paragraph(event)}\n{_table(event)}"
            )
            for shape in _shapes_of(event):
                shapes.setdefault(shape.__name__, shape)
        parts += [_shape(shapes[name]) for name in sorted(shapes)]
    return "\n".join(parts)


def _shape(shape: type[Any]) -> str:
    if issubclass(shape, StrEnum):
        words = ", ".join(f"`{member.value}`" for member in shape)
        return f"### {shape.__name__}\n\nOne of {words}.\n"
    return f"### {shape.__name__}\n{_paragraph(shape)}\n{_table(shape)}"


def _paragraph(shape: type[msgspec.Struct]) -> str:
    text = _docstring(shape)
    return f"\n{text}\n" if text else ""


def _docstring(struct: type[msgspec.Struct]) -> str:
    # Only what the class itself says: msgspec's own docstring is inherited.
    text = struct.__dict__.get("__doc__") or ""
    return inspect.cleandoc(text)


def _table(struct: type[msgspec.Struct], notes: Mapping[str, str] | None = None) -> str:
    comments = _comments(struct) if notes is None else notes
    rows = ["| field | type | note |", "|---|---|---|"]
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        told = [comments.get(field.name, "").rstrip(".")]
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT:
            told.append("may be absent")
        cells = [f"`{field.name}`", _name(hints[field.name]), "; ".join(filter(None, told))]
        rows.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(rows) + "\n"


def _name(hint: Any) -> str:
    """A type in words: `Leg`, list of `Leg`, text or null."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if isinstance(hint, typing.TypeVar):
        return "an event below"
    if origin is list:
        return f"list of {_name(inner[0])}"
    if origin is tuple:
        return "[" + ", ".join(_name(one) for one in inner) + "]"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_name(one) for one in inner if one is not msgspec.UnsetType)
    return f"`{hint.__name__}`"


def _shapes_of(struct: type[msgspec.Struct]) -> Iterator[type[Any]]:
    """Structs and word lists that the fields use, and theirs."""
    for hint in typing.get_type_hints(struct).values():
        yield from _named(hint)


def _named(hint: Any) -> Iterator[type[Any]]:
    for inner in typing.get_args(hint):
        yield from _named(inner)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
        yield from _shapes_of(hint)
    elif isinstance(hint, type) and issubclass(hint, StrEnum):
        yield hint


def _comments(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the source says beside or just above each field."""
    source = inspect.getsource(struct)
    lines = source.splitlines()
    body = ast.parse(source).body[0]
    found: dict[str, str] = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        beside = lines[node.lineno - 1].partition("#")[2].strip()
        above: list[str] = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip().lstrip("# "))
        found[node.target.id] = beside or " ".join(above)
    return found


def main() -> int:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(events_page(), encoding="utf-8")
    named = named_by_lies()
    ledger_rules.PAGE.write_text(ledger_rules.rules_page(named), encoding="utf-8")
    halt_rules.PAGE.write_text(halt_rules.halts_page(named), encoding="utf-8")
    print(PAGE.name, ledger_rules.PAGE.name, halt_rules.PAGE.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
