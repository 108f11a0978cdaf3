"""The card of each service, its package's docstring, tells the truth.

Commands, events, RPC services and what is followed are read off the card and held against the code
and against what the process is provisioned for.
"""

from __future__ import annotations

import importlib
import re
from functools import cache

import pytest
from google.protobuf import descriptor_pool

from cli.stack.provision import SERVICES

SECTIONS = ("Owns", "Commands", "Events", "Holds", "Trusts", "Speaks")
WORD = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b|\bApprove\b|\bWithdraw\b")

every_service = pytest.mark.parametrize("service", SERVICES)


@cache
def card(service: str) -> dict[str, str]:
    """The sections of a card by name; each begins at the margin with its name."""
    text = importlib.import_module(f"services.{service}").__doc__ or ""
    parts = re.split(rf"^({'|'.join(SECTIONS)})\s", text, flags=re.M)
    return {
        name: " ".join(body.split()) for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@every_service
def test_a_card_has_every_section_in_order(service: str) -> None:
    assert tuple(card(service)) == SECTIONS


@every_service
def test_the_commands_are_those_the_service_decides(service: str) -> None:
    decide = importlib.import_module(f"services.{service}.domain.decide")
    known = {command.__name__ for command in decide._DECIDE}
    assert set(WORD.findall(card(service)["Commands"])) == known


@every_service
def test_the_events_are_those_of_the_book(service: str) -> None:
    events = importlib.import_module(f"services.{service}.domain.events").EVENTS
    assert set(WORD.findall(card(service)["Events"])) == {event.__name__ for event in events}


@every_service
def test_the_rpc_services_are_there_and_the_journal_is_served(service: str) -> None:
    importlib.import_module(f"services.{service}.rpc")
    speaks = card(service)["Speaks"]
    (own,) = re.findall(r"tanzhang\.[a-z]+\.v1\.\w+", speaks)
    assert descriptor_pool.Default().FindServiceByName(own).full_name == own
    assert "JournalService" in speaks


@every_service
def test_it_publishes_its_own_books_and_follows_those_it_may(service: str) -> None:
    speaks = card(service)["Speaks"]
    published, _, followed = speaks.partition("follows")
    assert set(re.findall(r"tanzhang\.([a-z]+)\.\*", published)) == set(SERVICES[service].books)
    if service == "ledger":  # told by its environment, see services/ledger/config.py
        assert followed.startswith(" every book it is told to check")
    else:
        found = set(re.findall(r"tanzhang\.([a-z]+)\.\*", followed))
        assert found == set(SERVICES[service].follows)


@every_service
def test_who_posts_elsewhere_says_so(service: str) -> None:
    """A service with the role of naming its events as causes asks another book for entries."""
    asks = any(role.startswith("book:") for role in SERVICES[service].roles)
    assert ("accounts" in card(service)["Speaks"].partition("follows")[2]) == asks or service in (
        "ledger",
    )
