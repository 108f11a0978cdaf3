"""Lies for the ledger's tests: one event of a truthful history, changed in one place.

A plant says where it stands, what it says, and what the independent books must answer.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.support.ledgers import Json, sign_anew

Change = Callable[[Json], None]


class Plant(NamedTuple):
    """One lie: where it stands, what it says, and what the books must answer."""

    rule: str
    place: str  # which event of the story
    change: Change
    expected: str  # stands in what the rule expected
    actual: str  # stands in what it found
    also: Mapping[str, Change] = {}  # earlier events that tell the same lie


def put(path: str, value: object) -> Change:
    """Sets one field: `body.legs.0.amount`."""

    def change(record: Json) -> None:
        *way, last = path.split(".")
        target: Any = record
        for step in way:
            target = target[int(step)] if isinstance(target, list) else target[step]
        target[int(last) if isinstance(target, list) else last] = value

    return change


def as_it_was(record: Json) -> None:
    """True, had what came before it not been changed."""


def both(*changes: Change) -> Change:
    def change(record: Json) -> None:
        for one in changes:
            one(record)

    return change


def drop(field: str) -> Change:
    """Leaves a field of the body out."""

    def change(record: Json) -> None:
        del record["body"][field]

    return change


def signed(key: Any, **changed: object) -> Change:
    return lambda record: sign_anew(record, key, **changed)


def statement_text(rewrite: Callable[[str], str], key: Any) -> Change:
    """The institution signs its statement in another spelling."""

    def change(record: Json) -> None:
        text = rewrite(record["acts"][0]["statement"])
        signature = base64.b64encode(key.sign(b"tanzhang-act/v1\n" + text.encode())).decode()
        record["acts"][0].update(statement=text, signature=signature)

    return change


def same_leg_twice(record: Json) -> None:
    record["body"]["legs"].append(copy.deepcopy(record["body"]["legs"][0]))


def as_type(name: str, **body: object) -> Change:
    """Another event at this place."""

    def change(record: Json) -> None:
        record["type"] = name
        record["body"].update(body)

    return change


def only(**body: object) -> Change:
    return lambda record: record.update(body=body)


def signed_by(*keys: Any, **changed: object) -> Change:
    """The same statement with these fields changed, signed by all of its institutions."""

    def change(record: Json) -> None:
        acts = []
        for key in keys:
            one = copy.deepcopy(record)
            sign_anew(one, key, **changed)
            acts += one["acts"]
        record["acts"] = acts

    return change
