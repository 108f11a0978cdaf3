"""Planted lies about a story: each is named with its rule, and the books go on after it.

Who holds the service's key can change an event and what led to it: those lies have `also`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from kernel.values import Caller
from services.ledger.books.port import RuleBroken
from tests.support.ledgers import Books, Story, planted
from tests.support.plants import Change, put


class Lie(NamedTuple):
    rule: str
    place: str
    change: Change
    expected: str
    actual: str
    also: Mapping[str, Change] = {}  # earlier events that tell the same lie


def asked_by(who: Caller) -> Change:
    return put("actor", {"iss": who.actor.iss, "sub": who.actor.sub})


def id_of(story: Story, place: str) -> str:
    by: str = json.loads(story.accounts[story.at[place]].record)["by"]
    return by


def check_named(story: Story, lie: Lie) -> None:
    """By its rule, with what was expected and what came, and nothing is changed by it."""
    books = _folded_with(story, lie)
    told = planted(story.accounts[story.at[lie.place]], lie.change)
    before = books.picture()
    with pytest.raises(RuleBroken) as caught:
        books.check("accounts", told)
    broken = caught.value
    assert broken.rule == lie.rule, str(broken)
    assert lie.expected in broken.expected
    assert lie.actual in broken.actual
    assert books.picture() == before


def check_gone_on_from(story: Story, lie: Lie) -> None:
    """Two persons accept it as it is: it can be applied, and so can what is right of the rest."""
    books = _folded_with(story, lie)
    position = story.at[lie.place]
    told = planted(story.accounts[position], lie.change)
    raw, body = books.accounts.types.decode_canonical(told)
    books.accounts.apply(raw, body)
    for later in story.accounts[position + 1 :]:
        raw, body = books.accounts.types.decode_canonical(later.record)
        try:
            books.accounts.check(raw, body)
        except RuleBroken:
            continue  # named, one after the other; never another exception
        books.accounts.apply(raw, body)


def _folded_with(story: Story, lie: Lie) -> Books:
    """The books before the lie, its own past changed with it."""
    books = Books()
    books.fold("ledger", story.ledger)
    changed = {story.at[place]: change for place, change in lie.also.items()}
    for event in story.accounts[: story.at[lie.place]]:
        change = changed.get(event.position)
        books.fold("accounts", [event if change is None else planted(event, change)])
    return books
