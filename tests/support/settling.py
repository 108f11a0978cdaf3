"""A venue that matches elsewhere, its members and its settlement files: 湖北's exchange in Wuhan.

Members, amounts and trades are chosen here; the price is the order of magnitude of the national
market in 2026. The key comes from a printed seed and must never sign anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernel.acts import sign_act
from kernel.ids import derived_holder_id
from kernel.values import DAY_MS, Act
from services.accounts.domain.commands import CloseSession, PostEntry, SettleTrades
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    HolderKind,
    HolderRegistered,
    Purpose,
    Unit,
)
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    TOTAL_FEN,
    AccountsBook,
    admitted,
    available,
    deposit,
    issue,
    leg,
    seeded_key,
    the_place,
    trading,
)

WUHAN = "hubei-exchange"
WUHAN_KEY = seeded_key(WUHAN)
WUHAN_DESK = person("wuhan", iss="wuhan", roles=[f"venue:{WUHAN}"])
FEES = derived_holder_id("wuhan", "湖北碳排放权交易中心")
SESSION = "2026-11-20"
CLOSES_AT_MS = MORNING_MS + 10 * DAY_MS
MEMBER_T = 5000

Trade = dict[str, Any]


def trade(
    name: str,
    quantity_t: int = 100,
    price_fen_per_t: int = 7446,
    *,
    fees: tuple[int, int] = (300, 300),
    seller: str = QINWANGCHUAN,
    buyer: str = CITY_GROUP,
    asset: str = TICKET,
) -> Trade:
    """Fees of the buyer and of the seller."""
    return {
        "asset": asset,
        "buyer": buyer,
        "buyer_fee_fen": fees[0],
        "price_fen_per_t": price_fen_per_t,
        "quantity_t": quantity_t,
        "seller": seller,
        "seller_fee_fen": fees[1],
        "trade": name,
    }


def file_of(*trades: Trade, **changed: object) -> dict[str, Any]:
    """What the venue signs over one part; `changed` fields as given."""
    return {
        "closes_at_ms": CLOSES_AT_MS,
        "fee_holder": FEES,
        "file": "F-1",
        "kind": "settlement-file",
        "part": 1,
        "session": SESSION,
        "trades": list(trades),
        "venue": WUHAN,
        **changed,
    }


def part(*trades: Trade, **changed: object) -> Act:
    return sign_act(WUHAN_KEY, file_of(*trades, **changed))


def close(
    totals: Sequence[dict[str, Any]], unsettled: int = 0, session: str = SESSION, **changed: object
) -> Act:
    """What the venue signs over a whole session."""
    statement = {
        "kind": "session-close",
        "session": session,
        "totals": list(totals),
        "unsettled": unsettled,
        "venue": WUHAN,
        **changed,
    }
    return sign_act(WUHAN_KEY, statement)


def totals(
    trades: int, quantity_t: int, turnover_fen: int, fees_fen: int, asset: str = TICKET
) -> dict[str, Any]:
    return {
        "asset": asset,
        "fees_fen": fees_fen,
        "quantity_t": quantity_t,
        "trades": trades,
        "turnover_fen": turnover_fen,
    }


SETTLE = SettleTrades(WUHAN)
CLOSE = CloseSession(SESSION, WUHAN)


def at_wuhan(holder: str) -> Account:
    return trading(holder, WUHAN)


def fees_of(holder: str = FEES) -> Account:
    return Account(holder, Purpose.AVAILABLE, "")


def members_in_wuhan() -> AccountsBook:
    """秦王川's tickets and the buyer's money lie at the venue; 中川 has nothing there."""
    book = the_place()
    book.given(
        HolderRegistered(FEES, HolderKind.VENUE, "湖北碳排放权交易中心", "91420000562732692H"),
        AssetDefined("CEA-2024", 5, "配额", PROGRAMME, False, Unit.T),
        admitted(WUHAN_KEY, f"venue:{WUHAN}"),
    )
    issue(book, "LZXQ-2021", {QINWANGCHUAN: MEMBER_T})
    deposit(book, CITY_GROUP, TOTAL_FEN, "line 1")
    tickets = leg(MEMBER_T, TICKET, available(QINWANGCHUAN), at_wuhan(QINWANGCHUAN))
    money = leg(TOTAL_FEN, CNY, available(CITY_GROUP), at_wuhan(CITY_GROUP))
    book.when(PostEntry([tickets]), FARMER)
    book.when(PostEntry([money]), BUYER)
    return book
