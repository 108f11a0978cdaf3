"""The whole story with one process dying at one crash point, for every process and every point.

The story holds itself to its figures, and its clients repeat by the same ids: when it is told to
its end, nothing was lost and nothing came twice. The world's own check looks at everything again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cli.stack.provision import PROGRAMS
from kernel.crash import EXIT_CODE
from tests.support.tales import Tale, tell
from tests.support.world import World, Worlds

WRITING = ("journal.committing:2", "journal.committed:2", "answer.lost:2", "relay.published:2")
# Process, point, and after how many passings of it: a start passes some points itself.
CRASHES = [
    *((service, point) for service in ("accounts", "registry", "market") for point in WRITING),
    *(("inclusive", point) for point in WRITING),
    *(("ledger", point) for point in WRITING),
    *((service, "projection.applied:2") for service in ("accounts", "registry", "market")),
    ("inclusive", "projection.applied:2"),
    *((service, "reaction.called") for service in ("accounts", "registry", "market", "inclusive")),
    *((service, "errand.answered") for service in ("registry", "market")),
    ("registry", "errand.answered:3"),
    ("market", "errand.answered:2"),
    ("ledger", "ledger.tiles:3"),
    ("ledger", "ledger.signed:3"),
    ("gateway", "gateway.called"),
]
# One of each kind where it matters most; `make faults` runs all of them.
SHORT = {
    ("accounts", "journal.committed:2"),
    ("accounts", "answer.lost:2"),
    ("registry", "journal.committing:2"),
    ("registry", "errand.answered"),
    ("registry", "reaction.called"),
    ("market", "errand.answered"),
    ("market", "relay.published:2"),
    ("market", "reaction.called"),
    ("inclusive", "journal.committed:2"),
    ("inclusive", "projection.applied:2"),
    ("ledger", "ledger.signed:3"),
    ("gateway", "gateway.called"),
}
LONG = os.environ.get("TANZHANG_LONG") == "1"


@pytest.fixture(scope="module")
def place(worlds: Worlds) -> Iterator[World]:
    """All services in one world, in which the story is told again and again."""
    with worlds.open(PROGRAMS) as world:
        yield world


def test_the_story_is_told_with_its_figures(place: World) -> None:
    figures = tell(place)
    assert figures.settlement["quantity_t"] == 12_000
    assert figures.settlement["amount_fen"] == 50_328_000
    assert figures.settlement["legs"] == 4
    assert [pledge["ltv_bp"] for pledge in figures.pledges] == [9835, 9835]
    assert [pledge["break_even_fen_per_t"] for pledge in figures.pledges] == [4125, 4125]
    assert sum(pledge["loan_fen"] for pledge in figures.pledges) == 49_500_000
    earned = {(ride["reduction_mg"], ride["saleable"]) for ride in figures.rides}
    assert {(468_000, True), (269_000, True), (145_950, False)} <= earned


@pytest.mark.parametrize(
    ("service", "point"),
    [
        pytest.param(
            *crash,
            id="-".join(crash),
            marks=pytest.mark.skipif(
                not (LONG or crash in SHORT), reason="TANZHANG_LONG=1 runs it"
            ),
        )
        for crash in CRASHES
    ],
)
def test_the_story_is_told_to_its_end_whoever_dies_on_the_way(
    place: World, service: str, point: str
) -> None:
    place.start_armed(service, point)
    tale = Tale(place).begin()
    assert place.await_death(service) == EXIT_CODE
    assert tale.going_on
    place.bring_back(service)
    tale.end()


def test_without_its_streams_no_read_model_and_no_root_is_another(place: World) -> None:
    """JetStream is transport: what it loses, everybody reads from the owner. The check compares."""
    place.check()
    roots = {book: place.records(book)[-1].position for book in place.supervisor.books}
    place.remove_streams()
    place.stop_services(*place.supervisor.services)
    place.bring_back(*place.supervisor.services)
    place.check()
    assert all(place.head(book) > last for book, last in roots.items())
    tell(place)
