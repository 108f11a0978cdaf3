"""Settlement files as they were carried out, read back from the journal: what became of each trade.

A part and the events of its trades are one command's, so where the part stands says where each of
them does. A report goes through the parts of a session one after another; in memory are only the
names of trades that were refused at least once, and the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from kernel.errors import InvariantBroken
from kernel.journal.database import Engine
from kernel.journal.port import Journal
from kernel.record import RawRecord, decode_record
from services.accounts import queries
from services.accounts.domain.acts import SettlementFile
from services.accounts.domain.events import FileTrade, SettlementReceived, TradeUnsettled
from services.accounts.domain.state import Totals


class ToldTrade(NamedTuple):
    """What a part did with one of its trades; `position` -1: an earlier part had settled it."""

    trade: FileTrade
    position: int
    unsettled: TradeUnsettled | None = None

    @property
    def known(self) -> bool:
        return self.position < 0


class ToldPart(NamedTuple):
    position: int
    file: str
    part: int
    trades: list[ToldTrade]


PARTS_AT_A_TIME: Final = 8  # some 2,000 trades, half a megabyte

_received = msgspec.json.Decoder(SettlementReceived)
_unsettled = msgspec.json.Decoder(TradeUnsettled)
_statement = msgspec.json.Decoder(SettlementFile)


def read_parts(journal: Journal, positions: Sequence[int]) -> list[ToldPart]:
    """What became of the parts recorded at these positions. Blocks."""
    found = [_Part(decode_record(event.record)) for event in journal.read_events(positions)]
    if len(found) != len(positions):
        raise InvariantBroken(f"expected {len(positions)} parts of files, found {len(found)}")
    wanted = [position for part in found for position in part.unsettled_positions()]
    refused = {
        event.position: _unsettled.decode(decode_record(event.record).body)
        for event in journal.read_events(wanted)
    }
    return [part.told(refused) for part in found]


class _Part:
    def __init__(self, raw: RawRecord) -> None:
        self._position = raw.position
        self._received = _received.decode(raw.body)
        acts = raw.acts if isinstance(raw.acts, list) else []
        self._trades = _statement.decode(acts[0].statement).trades

    def _places(self) -> Iterator[tuple[int, int]]:
        """Each trade's place in the part and its event's position; -1 where it has none."""
        known, position = set(self._received.known), self._position
        for place in range(len(self._trades)):
            if place in known:
                yield place, -1
            else:
                position += 1
                yield place, position

    def unsettled_positions(self) -> list[int]:
        unsettled = set(self._received.unsettled)
        return [position for place, position in self._places() if place in unsettled]

    def told(self, refused: dict[int, TradeUnsettled]) -> ToldPart:
        trades = [
            ToldTrade(self._trades[place], position, refused.get(position))
            for place, position in self._places()
        ]
        return ToldPart(self._position, self._received.file, self._received.part, trades)


class SessionReport:
    """One reading of a session; `parts` blocks, the sums are of what was kept of them."""

    def __init__(self, engine: Engine, journal: Journal, venue: str, session: str) -> None:
        self._engine = engine
        self._journal = journal
        self._key = (venue, session)
        self.totals: dict[str, Totals] = {}
        self.unsettled = 0

    def parts(self) -> Iterator[ToldPart]:
        """Part after part, each trade where it was settled, else where it was last refused."""
        positions = queries.settlement_parts(self._engine, *self._key)
        last = self._last_refusals(positions)
        for at in range(0, len(positions), PARTS_AT_A_TIME):
            for part in read_parts(self._journal, positions[at : at + PARTS_AT_A_TIME]):
                yield part._replace(trades=[one for one in part.trades if _ends(one, last)])

    def keep(self, part: ToldPart, shown: Callable[[FileTrade], bool]) -> list[ToldTrade]:
        """Those of its trades that are shown; the sums are of them."""
        rows = [one for one in part.trades if shown(one.trade)]
        for one in rows:
            self._count(one)
        return rows

    def _last_refusals(self, positions: list[int]) -> dict[str, int]:
        """Of trades that were refused and not settled: where that was for the last time."""
        last: dict[str, int] = {}
        refusing = queries.settlement_parts(self._engine, *self._key, refusing=True)
        for position in refusing:
            (part,) = read_parts(self._journal, [position])
            last.update((one.trade.trade, one.position) for one in part.trades if one.unsettled)
        for at in range(0, len(positions) if last else 0, PARTS_AT_A_TIME):
            for part in read_parts(self._journal, positions[at : at + PARTS_AT_A_TIME]):
                for one in part.trades:
                    if one.unsettled is None:
                        last.pop(one.trade.trade, None)
        return last

    def _count(self, told: ToldTrade) -> None:
        trade = told.trade
        if told.unsettled is not None:
            self.unsettled += 1
            return
        sums = self.totals.setdefault(trade.asset, Totals())
        sums.trades += 1
        sums.quantity_t += trade.quantity_t
        sums.turnover_fen += trade.quantity_t * trade.price_fen_per_t
        sums.fees_fen += trade.buyer_fee_fen + trade.seller_fee_fen


def _ends(told: ToldTrade, last: dict[str, int]) -> bool:
    """Is this where a trade is told of in a report?"""
    if told.unsettled is not None:
        return last.get(told.trade.trade) == told.position
    return not told.known
