"""When the market takes no orders: what it settles in is halted, unproven, or nobody says so."""

from __future__ import annotations

import pytest

from kernel.errors import Conflict, Refused
from services.market.clients import BookProgress
from services.market.stops import MAX_UNPROVEN, UNPROVEN_MS, TradingStops

SECOND_MS = 1000


class Market:
    """A stops object with everything it looks at, on a clock moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 5_000
        self.accounts_read = 0
        self.ledger_read = 0
        self.own_halt: str | None = None
        self.stops = TradingStops(
            self._nobody_asks,
            lambda: self.accounts_read,
            lambda: self.ledger_read,
            lambda: self.own_halt,
            lambda: self.now_ms,
        )

    async def _nobody_asks(self) -> dict[str, BookProgress]:
        raise AssertionError("these tests tell what the ledger answers")

    def hear(self, proven: int, ledger_folded: int = 0) -> None:
        self.stops.observe(
            {
                "accounts": BookProgress(proven, proven),
                "ledger": BookProgress(ledger_folded, ledger_folded),
            }
        )

    def wait(self, for_ms: int, proven: int | None = None) -> None:
        """Seconds pass; each of them the ledger answers, or (None) does not."""
        for _ in range(for_ms // SECOND_MS):
            self.now_ms += SECOND_MS
            if proven is None:
                self.stops.observe(None)
            else:
                self.hear(proven)


def open_market() -> Market:
    market = Market()
    market.hear(0)
    assert market.stops.reasons() == []
    return market


def test_before_the_ledger_was_heard_no_orders_are_taken() -> None:
    market = Market()
    assert market.stops.reasons() == ["the ledger has not been heard yet"]
    with pytest.raises(Conflict) as starting:
        market.stops.check()
    assert starting.value.reason == "STARTING"
    market.wait(UNPROVEN_MS + SECOND_MS)
    with pytest.raises(Refused, match="has not been heard") as stopped:
        market.stops.check()
    assert stopped.value.reason == "MARKET_STOPPED"


def test_a_halt_that_was_not_read_of_yet_keeps_a_starting_market_closed() -> None:
    market = Market()
    market.hear(0, ledger_folded=7)
    assert market.stops.reasons() == ["the ledger's book has not been read to its end yet"]
    market.ledger_read = 7
    assert market.stops.reasons() == []
    market.hear(0, ledger_folded=9)
    assert market.stops.reasons() == [], "what comes later is followed as it comes"


def test_while_the_accounts_log_is_halted_orders_are_refused_with_the_reason() -> None:
    market = open_market()
    market.stops.halted("CONSERVATION at position 12")
    with pytest.raises(Refused) as caught:
        market.stops.check()
    assert caught.value.reason == "MARKET_STOPPED"
    assert "CONSERVATION at position 12" in caught.value.message
    market.stops.halted(None)
    market.stops.check()


def test_while_the_markets_own_log_is_halted_it_says_so() -> None:
    market = open_market()
    market.own_halt = "TRADE_PRICE at position 3"
    assert market.stops.reasons() == ["the market log is halted: TRADE_PRICE at position 3"]


def test_accounts_events_unproven_for_more_than_ten_seconds_stop_the_market() -> None:
    market = open_market()
    market.accounts_read = 5
    market.wait(UNPROVEN_MS + SECOND_MS, proven=4)
    assert market.stops.reasons() == []
    market.wait(SECOND_MS, proven=4)
    assert market.stops.reasons() == ["events of the accounts book are unproven for 11 s"]
    market.wait(SECOND_MS, proven=5)
    assert market.stops.reasons() == []


def test_a_ledger_that_keeps_up_stops_nothing_however_much_there_is_to_prove() -> None:
    market = open_market()
    for _ in range(30):
        market.accounts_read += 10
        market.wait(SECOND_MS, proven=market.accounts_read - 10)
        assert market.stops.reasons() == []


def test_a_ledger_that_falls_further_behind_stops_the_market_though_it_proves_something() -> None:
    market = open_market()
    for proven in range(1, 31):
        market.accounts_read += 10
        market.wait(SECOND_MS, proven=proven)
    assert len(market.stops.reasons()) == 1


def test_a_ledger_away_for_more_than_ten_seconds_stops_the_market() -> None:
    market = open_market()
    market.wait(UNPROVEN_MS)
    assert market.stops.reasons() == []
    market.wait(SECOND_MS)
    assert market.stops.reasons() == ["the ledger has not answered for 11 s"]
    market.wait(SECOND_MS, proven=0)
    assert market.stops.reasons() == []


def test_a_long_outage_is_remembered_in_bounded_room_and_forgotten_once_proven() -> None:
    market = open_market()
    for _ in range(MAX_UNPROVEN + 50):
        market.accounts_read += 1
        market.wait(SECOND_MS)
    assert len(market.stops.reasons()) == 2
    market.wait(SECOND_MS, proven=market.accounts_read)
    assert market.stops.reasons() == []
