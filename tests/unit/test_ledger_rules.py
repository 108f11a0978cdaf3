"""Every place in the ledger that can name a rule is shown to name it, by a planted lie.

Not every rule alone: the same rule may be named from several places, and each of them is there for
a lie of its own. The lies of all the other files are told once more here, at one fold of each
history, and the lines that named them are compared with those that can.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from docs import halt_rules, ledger_rules
from kernel.acts import sign_act
from services.ledger.books.port import RuleBroken
from tests.support.crossings import BOOKS
from tests.support.lanzhou import STRANGER, seeded_key
from tests.support.ledgers import Books, Json, folded_up_to, planted
from tests.support.plants import put
from tests.support.shown import (
    History,
    Made,
    Told,
    Watch,
    places_that_raise,
    rules_broken,
    was_shown,
    watched,
)
from tests.unit import test_ledger_banks as banks
from tests.unit import test_ledger_books as core
from tests.unit import test_ledger_changes as changes
from tests.unit import test_ledger_crossings as crossings
from tests.unit import test_ledger_destinations as destinations
from tests.unit import test_ledger_freezes as freezes
from tests.unit import test_ledger_holders as holders
from tests.unit import test_ledger_settlements as settlements
from tests.unit import test_ledger_transfers as transfers
from tests.unit import test_log_keys as log_keys


def told_in(module: Any, lie: Any, book: str = "accounts") -> Told:
    """At its place in the story's own order: the ledger's events come first."""
    story = module.STORY
    begin = 0 if book == "ledger" else len(story.ledger)
    also = {begin + story.at[place]: change for place, change in lie.also.items()}
    name = f"{lie.place} ({name_of(module)})"
    at = begin + story.at[lie.place]
    return Told(lie.rule, at, lie.change, lie.expected, lie.actual, also, name)


def told_in_whole(lie: Any) -> Told:
    order, at = crossings.WHOLE.order, crossings.WHOLE.at
    also = {order.index(at[place]): change for place, change in lie.also.items()}
    name, where = f"{lie.place} ({name_of(crossings)})", order.index(at[lie.place])
    return Told(lie.rule, where, lie.change, lie.expected, lie.actual, also, name)


def name_of(module: Any) -> str:
    name: str = module.__name__.rpartition(".")[2]
    return name


def tell_every_lie(watch: Watch) -> None:
    """Those that are told by one event first: what a rule is shown by is the simplest of them."""
    for module in (banks, freezes, transfers, destinations, settlements):
        lies = [told_in(module, lie) for lie in module.PLANTS]
        History.of_story(module.STORY).tell_all(lies, watch)
    for other in (holders, changes):
        lies = [told_in(other, lie) for lie in other.LIES]
        History.of_story(other.STORY).tell_all(lies, watch)
    lies = [told_in(core, lie, book) for book, lie in core.PLANTS]
    History.of_story(core.STORY).tell_all(lies, watch)
    lies = [told_in_whole(lie) for lie in crossings.PLANTS]
    History.of_whole(crossings.WHOLE).tell_all(lies, watch)
    for rule, change in banks.WHOLE:
        watch.event, watch.lie = "", name_of(banks)
        banks.test_a_statement_that_contradicts_itself_has_no_outcome(rule, change)
    for plant in core.EVERY_LOG_PLANT:
        watch.event, watch.lie = "", f"{plant.place} ({name_of(core)})"
        asyncio.run(core.test_a_log_halts_at_exactly_the_changed_event(plant))
    for test in BY_HAND:
        watch.event, watch.lie = "", test.__name__
        done = test()
        if inspect.iscoroutine(done):
            asyncio.run(done)


# ---- after two persons have accepted something ---------------------------------------------------


def accepted(books: Books, book: str, record: bytes) -> None:
    """Taken as it is, whatever rule it breaks."""
    raw, body = books.of(book).types.decode_canonical(record)
    books.of(book).apply(raw, body)


def test_an_asset_that_nobody_defined_is_named_by_every_group_that_asks_for_it() -> None:
    """Who accepts it in one has not accepted that nobody could say what may be done with it."""
    position = core.STORY.at["given"]
    books = folded_up_to(core.STORY, "accounts", position)
    lie = planted(core.STORY.accounts[position], put("body.legs.0.asset", "TICKET-LZXQ-9"))
    assert rules_broken(books, "accounts", lie).count("ASSET_KNOWN") == 2


def test_a_methodology_that_was_accepted_without_a_factor_measures_nothing() -> None:
    factor, trip = "SZ-METRO proposed", crossings.METRO_TRIP
    books = Books(BOOKS)
    for place, event in crossings.WHOLE.events_before(trip):
        if place == crossings.WHOLE.at[factor]:
            accepted(books, place[0], planted(event, put("body.factor_mg_per_km", 0)))
        else:
            books.fold(place[0], [event])
    with pytest.raises(RuleBroken, match="FACTOR"):
        books.check("inclusive", crossings.WHOLE.event(trip))


def test_the_trips_of_a_batch_that_was_accepted_without_an_operator_earn_nothing() -> None:
    trip = crossings.METRO_TRIP
    books = crossings.folded_before(trip)
    stranger = put("body.operator", STRANGER)
    accepted(books, "inclusive", planted(crossings.WHOLE.event("batch one"), stranger))
    with pytest.raises(RuleBroken, match="OPERATOR_KNOWN"):
        books.check("inclusive", planted(crossings.WHOLE.event(trip), stranger))


def test_a_part_that_was_accepted_with_a_settled_trade_settles_it_no_second_time() -> None:
    story = settlements.STORY
    position = story.at["part again"]
    books = folded_up_to(story, "accounts", position)
    accepted(books, "accounts", planted(story.accounts[position], put("body.known", [])))
    first = json.loads(story.accounts[story.at["settled"]].record)["body"]
    first["legs"][0]["serials"] = [settlements.later_tickets(100)]
    again = planted(story.accounts[position + 1], put("body", first))
    with pytest.raises(RuleBroken, match="not settled before") as caught:
        books.check("accounts", again)
    assert (caught.value.rule, caught.value.actual) == ("ONCE", "T-1")


# ---- every place ---------------------------------------------------------------------------------

# Lies that take more than one change: each is a test of its own.
BY_HAND: tuple[Callable[[], Any], ...] = (
    banks.test_money_that_two_persons_let_past_the_banks_lines_is_missed_by_the_next_statement,
    core.test_another_books_id_on_a_frame_is_named,
    core.test_a_journal_that_says_something_else_than_what_was_signed_is_named,
    core.test_the_same_frames_again_change_nothing_and_other_ones_are_a_fork,
    core.test_every_event_changed_under_a_frames_signature_needs_its_own_acceptance,
    crossings.test_yesterdays_order_takes_nothing_today,
    log_keys.test_every_lie_about_a_logs_key_is_named_by_its_place,
    test_an_asset_that_nobody_defined_is_named_by_every_group_that_asks_for_it,
    test_a_methodology_that_was_accepted_without_a_factor_measures_nothing,
    test_the_trips_of_a_batch_that_was_accepted_without_an_operator_earn_nothing,
    test_a_part_that_was_accepted_with_a_settled_trade_settles_it_no_second_time,
    settlements.test_a_close_that_says_something_else_than_the_venue_is_named,
    settlements.test_a_trade_whose_buyer_had_enough_may_not_be_told_to_be_short,
    settlements.test_nothing_else_comes_between_the_trades_of_a_part,
    settlements.test_a_trade_is_not_settled_without_a_part,
    settlements.test_a_trade_that_was_unsettled_is_settled_only_in_the_words_it_first_came_in,
    settlements.test_a_trade_that_an_entry_has_settled_is_not_settled_again_in_a_file,
    settlements.test_a_trade_that_no_entry_has_settled_may_not_be_told_to_be_settled,
    settlements.test_a_journal_of_before_that_rule_may_have_entries_beside_files,
    settlements.test_also_in_an_old_journal_no_entry_settles_what_a_file_has_settled,
)


@cache
def named_by_lies() -> tuple[Made, ...]:
    with watched() as watch:
        tell_every_lie(watch)
    return tuple(watch.made)


def test_every_place_that_can_name_a_rule_has_named_it_for_a_planted_lie() -> None:
    made = named_by_lies()
    left = [str(place) for place in places_that_raise() if not was_shown(place, made)]
    assert left == []


def test_a_rule_that_no_lie_was_told_about_is_missed() -> None:
    """Of every lie about one rule nothing is known: then its places are left."""
    made = [one for one in named_by_lies() if one.rule != "SERIALS_PLACE"]
    left = {place.rule for place in places_that_raise() if not was_shown(place, made)}
    assert left == {"SERIALS_PLACE"}


def test_the_pages_of_rules_are_what_the_lies_say_now() -> None:
    """Of every rule that can halt a log one says what it is, the other what is to be done."""
    named, stale = named_by_lies(), "run: .venv/bin/python -m docs.generate"
    assert ledger_rules.PAGE.read_text() == ledger_rules.rules_page(named), stale
    assert halt_rules.PAGE.read_text() == halt_rules.halts_page(named), stale


# ---- every event ---------------------------------------------------------------------------------

THIEF = seeded_key("a thief of every service's key")
HISTORIES = {
    **{
        module.__name__.rpartition("_")[2]: History.of_story(module.STORY)
        for module in (core, banks, freezes, transfers, destinations, settlements, holders, changes)
    },
    "whole": History.of_whole(crossings.WHOLE),
}


def with_one_more(record: Json) -> None:
    act = sign_act(THIEF, {"kind": "permission"})
    record.setdefault("acts", []).append(
        {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}
    )


def without_them(record: Json) -> None:
    del record["acts"]


def by_a_key_of_the_thief(record: Json) -> None:
    for act in record["acts"]:
        signed = sign_act(THIEF, json.loads(act["statement"]))
        act.update(key_id=signed.key_id, signature=signed.signature)


def under_the_institutions_names(record: Json) -> None:
    for act in record["acts"]:
        signed = sign_act(THIEF, json.loads(act["statement"]))
        act.update(signature=signed.signature)


def by_the_first_alone(record: Json) -> None:
    """One institution signs for all of them."""
    record["acts"] = [record["acts"][0]] * len(record["acts"])


FORGERIES = (
    without_them,
    by_a_key_of_the_thief,
    under_the_institutions_names,
    by_the_first_alone,
)


@pytest.mark.parametrize("name", HISTORIES)
def test_with_every_services_key_nobody_says_what_institutions_have_not_signed(name: str) -> None:
    """A thief writes whatever he likes into every journal: the statements he cannot sign."""
    signed = 0
    for told in HISTORIES[name].events():
        acts = told.record.get("acts", [])
        signed += len(acts)
        assert told.rules_broken(with_one_more), f"{told.name} with one more"
        for forge in FORGERIES if acts else ():
            if forge is by_the_first_alone and len(acts) == 1:
                continue
            assert told.rules_broken(forge), f"{told.name} {forge.__name__}"
    assert signed


def with_a_cause(record: Json) -> None:
    record["cause"] = ["ledger", 2]


def with_another_cause(record: Json) -> None:
    book, position = record["cause"]
    record["cause"] = [book, position - 1]  # before it: nobody may tell of what has not been


@pytest.mark.parametrize("name", HISTORIES)
def test_no_event_names_a_cause_that_did_not_lead_to_it(name: str) -> None:
    for told in HISTORIES[name].events():
        caused = told.record["cause"] is not None
        lie = with_another_cause if caused else with_a_cause
        assert told.rules_broken(lie), f"{told.name} {lie.__name__}"
