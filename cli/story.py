"""The story of the Silk-Road tickets (丝路碳票), told through the services' own RPCs.

Two forest projects in 兰州新区, 12,000 t, sold to the city group at 41.94 CNY/t (the published case
of 2021; how the tonnes divide between the two is not published and chosen here). Every number that
is told comes out of an answer, and each step holds itself to what it announced. Names of holders
and their credit codes are invented; every telling has new holders, a new ticket and new trades.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.clients import (
    Account,
    Asset,
    Balance,
    Books,
    Entry,
    Holder,
    Leg,
    Outcome,
    Persona,
    SerialRange,
)
from cli.directory import register_keys, wait_until_known
from cli.mirror import mirror_log, read_entries
from cli.receipts import fetch_receipts, write_receipt
from cli.telling import Teller, expect
from cli.verify import amount as shown
from cli.verify import read_policy
from cli.workspace import Workspace
from kernel.acts import sign_act
from kernel.ids import derived_id, new_holder_id, uuid7
from kernel.tlog.encoding import encode_base64
from kernel.tlog.merkle import Frontier, leaf_hash
from kernel.tlog.receipt import commitment, leaf_data
from kernel.values import Act, format_instant, uscc_check_character

BOOK: Final = "accounts"
MONEY: Final = "CNY"
MARKET: Final = "market-lz"
VENUE: Final = f"venue:{MARKET}"
TICKETS: Final = "TICKET-LZXQ"

AREA_MU: Final = 11_700
SPLIT_T: Final = (7_000, 5_000)  # chosen: the source gives only the sum
PRICE_FEN_PER_T: Final = 4_194
MONEY_IN_FEN: Final = 60_000_000  # chosen: more than the price, so that some is left
AUDITOR: Final = Persona("an.auditor", ("auditor",))
REGISTRAR: Final = Persona("chen.registrar", ("registrar",))
CASHIER: Final = Persona("zhao.cashier", ("cashier",))
MAKER: Final = Persona("wang.registry", ("registry",))
CHECKER: Final = Persona("li.authority", ("registry",))
OPERATOR: Final = Persona("sun.venue", (VENUE,))


@dataclass(frozen=True)
class Part:
    """A holder of the story."""

    key: str
    kind: str
    name: str


PARTS: Final = (
    Part("group", "enterprise", "兰州新区城市发展集团"),
    Part("north", "enterprise", "兰州新区秦王川林场"),
    Part("south", "enterprise", "兰州新区中川林场"),
    Part("programme", "programme", "兰州新区丝路碳票"),
    Part("clearing", "enterprise", "环交所清算"),
    Part("bank", "settlement_bank", "兰州结算银行"),
    Part("venue", "venue", "环交所 market-lz"),
)
OWNERS: Final = ("north", "south")


@dataclass
class Figures:
    """What the answers said; goes into the report as it is."""

    instance: int = 0
    ticket: str = ""
    holders: dict[str, str] = field(default_factory=dict)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    settlement: dict[str, Any] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    receipt: Path = Path()
    log: dict[str, Any] = field(default_factory=dict)
    totals: list[dict[str, Any]] = field(default_factory=list)
    proven_after_ms: dict[str, int] = field(default_factory=dict)


class Story:
    """One telling; the methods are its steps, in this order."""

    def __init__(self, workspace: Workspace, books: Books, teller: Teller) -> None:
        self._workspace = workspace
        self._clock = workspace.clock
        self._books = books
        self._teller = teller
        self._holders: dict[str, str] = {}
        self._keys: dict[str, Ed25519PrivateKey] = {}
        self._waits_ms: dict[int, int] = {}  # by position
        self._last = 0  # the highest position we were told
        self._sold: Entry | None = None
        self.figures = Figures()

    async def tell(self) -> Figures:
        """Everything that needs the services, up to the receipt. Raises Unexpected."""
        for title, step in (
            ("who takes part", self._register),
            ("keys of bank, authority and venue, each by two persons", self._admit_keys),
            ("the group's money comes in, on the bank's signed advice", self._bring_money),
            ("tickets are issued, on the authority's signed approval", self._issue),
            ("allocation to trading (划转)", self._allocate),
            ("delivery and payment in one entry, on the venue's signed statement", self._settle),
            ("the same tickets are sold a second time", self._sell_again),
            ("how fast recorded becomes proven", self._measure),
            ("the books, looked at whole", self.check_all),
            ("a receipt of the settlement", self._make_receipt),
        ):
            with self._teller.step(title):
                await step()
        return self.figures

    # ---- the steps ------------------------------------------------------------------------------

    async def _register(self) -> None:
        figures, say = self.figures, self._teller.say
        numbers = [
            int(found[1])
            for one in await self._books.totals(AUDITOR)
            if (found := re.fullmatch(rf"{TICKETS}-(\d+)", one.asset))
        ]
        figures.instance = max(numbers, default=0) + 1
        figures.ticket = f"{TICKETS}-{figures.instance}"
        self._holders = figures.holders = {part.key: new_holder_id() for part in PARTS}
        holders = [
            Holder(
                self._id(),
                self._holders[part.key],
                part.kind,
                part.name,
                "" if part.kind == "programme" else invented_uscc(self._holders[part.key]),
            )
            for part in PARTS
        ]
        for outcome in await self._books.register_holders(REGISTRAR, holders):
            self._take(outcome)
        for one in holders:
            code = f", {one.uscc}" if one.uscc else ""
            say(f"{one.holder}  {one.name}{code}")
        money = Asset(derived_id(0, "tanzhang", MONEY), MONEY, "fen", "人民币")
        tickets = Asset(
            self._id(), figures.ticket, "t", "丝路碳票", self._holders["programme"], serialised=True
        )
        first, second = await self._books.define_assets(REGISTRAR, [money, tickets])
        if first.reason != "ASSET_EXISTS":  # somebody else's CNY is as good as ours
            self._take(first)
        self._take(second)
        say(f"assets: {MONEY} in fen, {figures.ticket} in whole tonnes with serial numbers")
        say("names and credit codes are invented")

    async def _admit_keys(self) -> None:
        number, programme = self.figures.instance, self._holders["programme"]
        subjects = {
            "bank": (f"bank:{self._holders['bank']}", f"demo-bank-{number}"),
            "authority": (f"authority:{programme}", f"demo-authority-{number}"),
            "venue": (VENUE, f"demo-{MARKET}"),
        }
        self._keys = {
            who: self._workspace.institution_key(key) for who, (_, key) in subjects.items()
        }
        before = {key.key_id for key in await self._books.keys()}
        ids = await register_keys(
            self._books,
            self._clock,
            {subject: self._keys[who] for who, (subject, _) in subjects.items()},
        )
        for subject, id in ids.items():
            how = "known already" if id in before else "proposed by one person, approved by another"
            self._teller.say(f"{subject}: key {id}, {how}")
        venue = (self._sale_legs("group", SPLIT_T[0])[:1], OPERATOR)
        probes = {
            "bank": ((self._money_leg(MONEY_IN_FEN),), CASHIER),
            "authority": (self._issue_legs(), MAKER),
            "venue": venue,
        }
        for who, (legs, persona) in probes.items():
            await wait_until_known(self._books, self._clock, persona, self._keys[who], legs)
        self._teller.say("the accounts book has heard of all three")

    async def _bring_money(self) -> None:
        leg = self._money_leg(MONEY_IN_FEN)
        advice = {
            "kind": "bank-advice",
            "amount_fen": leg.amount,
            "asset": MONEY,
            "bank": self._holders["bank"],
            "clearing_house": leg.debit.holder,
            "holder": self._holders["group"],
            "line": f"{format_instant(self._clock.now_ms())[:10]}/{self.figures.instance}",
        }
        await self._post(CASHIER, (leg,), sign_act(self._keys["bank"], advice))
        held = await self._amount("group", MONEY)
        expect("the group's money, in fen", MONEY_IN_FEN, held)
        self._teller.say(f"the group has {shown(MONEY, held)} available")

    async def _issue(self) -> None:
        ticket, say = self.figures.ticket, self._teller.say
        legs = self._issue_legs()
        last = legs[-1].serials[0].last
        approval = {
            "kind": "issuance-approval",
            "asset": ticket,
            "batch": legs[0].serials[0].batch,
            "checker": CHECKER.sub,
            "document": f"invented document {self.figures.instance}",
            "first": 1,
            "last": last,
            "owners": [{"holder": leg.credit.holder, "quantity_t": leg.amount} for leg in legs],
            "programme": self._holders["programme"],
        }
        act = sign_act(self._keys["authority"], approval)
        refused = await self._refused(CHECKER, legs, "MAKER_IS_CHECKER", act)
        say(f"asked for by {CHECKER.sub}, who approved it: refused, {refused.message}")
        outcome = await self._post(MAKER, legs, act)
        (total,) = await self._books.totals(AUDITOR, ticket, self._last)
        expect("tonnes issued", sum(SPLIT_T), total.issued)
        say(f"asked for by {MAKER.sub}: {total.issued:,} t issued, at position {outcome.position}")
        for owner in OWNERS:
            (held,) = await self._balances(owner, ticket)
            (serials,) = held.serials
            say(
                f"{self._name(owner)}: {held.amount:,} t, serials {serials.first:,} to"
                f" {serials.last:,} of {serials.batch}"
            )
        say(f"together {AREA_MU:,} mu of forest; how the tonnes divide is chosen, not published")

    async def _allocate(self) -> None:
        ticket, price_fen = self.figures.ticket, sum(SPLIT_T) * PRICE_FEN_PER_T
        for who, asset, quantity in (
            ("north", ticket, SPLIT_T[0]),
            ("south", ticket, SPLIT_T[1]),
            ("group", MONEY, price_fen),
        ):
            holder = self._holders[who]
            leg = Leg(Account(holder), Account(holder, "trading", MARKET), asset, quantity)
            await self._post(Persona(f"{who}.trader", (), (holder,)), (leg,))
            held = await self._amount(who, asset, "trading")
            expect(f"{who} in trading", quantity, held)
            left = await self._amount(who, asset)
            self._teller.say(
                f"{self._name(who)}: {shown(asset, held)} at {MARKET},"
                f" {shown(asset, left)} left outside"
            )

    async def _settle(self) -> None:
        figures, say = self.figures, self._teller.say
        legs, act = self._sale("first")
        outcome = await self._post(OPERATOR, legs, act)
        record = await self._record(outcome)
        paid = [leg["amount"] for leg in record["body"]["legs"] if leg["asset"] == MONEY]
        sold = [leg["amount"] for leg in record["body"]["legs"] if leg["asset"] != MONEY]
        expect("tonnes delivered", list(SPLIT_T), sold)
        expect("fen paid", [quantity * PRICE_FEN_PER_T for quantity in SPLIT_T], paid)
        for owner, quantity_t, amount_fen in zip(OWNERS, sold, paid, strict=True):
            say(f"{self._name(owner)}: {quantity_t:,} t for {shown(MONEY, amount_fen)}")
        say(
            f"one entry of {len(record['body']['legs'])} legs at position {outcome.position}:"
            f" {sum(sold):,} t against {shown(MONEY, sum(paid))},"
            f" {shown(MONEY, sum(paid) // sum(sold))} a tonne"
        )
        figures.settlement = {
            "position": outcome.position,
            "trades": record["body"]["trades"],
            "legs": len(record["body"]["legs"]),
            "quantity_t": sum(sold),
            "amount_fen": sum(paid),
            "paid_fen": dict(zip(OWNERS, paid, strict=True)),
        }
        await self._check_balances()
        say(f"the group has {figures.balances['group_tickets_t']:,} t now")
        await self._ask_again()
        await self._follow_serials(record)

    async def _ask_again(self) -> None:
        """A client that lost its answer asks again with the same id."""
        if self._sold is not None:
            (again,) = await self._books.post_entries(OPERATOR, [self._sold])
            first = self.figures.settlement["position"]
            expect("asked again", (first, True), (again.position, again.repeated))
            await self._check_balances()
            self._teller.say("asked again with the same id: the same position, nothing moved twice")

    async def _follow_serials(self, record: dict[str, Any]) -> None:
        (serials,) = record["body"]["legs"][0]["serials"]
        moves = await self._books.serial_history(
            AUDITOR, self.figures.ticket, serials["batch"], serials["first"], self._last
        )
        way = [moves[0].debit.purpose, *(move.credit.purpose for move in moves)]
        expect("the way of a serial", ["issued", "available", "trading", "trading"], way)
        self._teller.say(
            f"serial {serials['first']} of {serials['batch']}: {' -> '.join(way)},"
            f" now of {self._name_of(moves[-1].credit.holder)}"
        )

    async def _check_balances(self) -> None:
        ticket = self.figures.ticket
        found = {
            "group_tickets_t": await self._amount("group", ticket, "trading"),
            "group_trading_fen": await self._amount("group", MONEY, "trading"),
            "group_available_fen": await self._amount("group", MONEY),
        }
        for owner, quantity in zip(OWNERS, SPLIT_T, strict=True):
            found[f"{owner}_tickets_t"] = await self._amount(owner, ticket, "trading")
            found[f"{owner}_trading_fen"] = await self._amount(owner, MONEY, "trading")
            expect(f"{owner}'s money", quantity * PRICE_FEN_PER_T, found[f"{owner}_trading_fen"])
            expect(f"{owner}'s tickets", 0, found[f"{owner}_tickets_t"])
        price_fen = sum(SPLIT_T) * PRICE_FEN_PER_T
        expect("the group's tickets", sum(SPLIT_T), found["group_tickets_t"])
        expect("the group's money in trading", 0, found["group_trading_fen"])
        expect("the group's money left", MONEY_IN_FEN - price_fen, found["group_available_fen"])
        self.figures.balances = found

    async def _sell_again(self) -> None:
        before = await self._books.next_position(AUDITOR, BOOK)
        legs, act = self._sale("second")
        refused = await self._refused(OPERATOR, legs, "INSUFFICIENT_BALANCE", act)
        needed, available = refused.details["needed"], refused.details["available"]
        expect("needed and available", (str(SPLIT_T[0]), "0"), (needed, available))
        self._teller.say(f"refused: needed {int(needed):,} t, available {int(available):,} t")
        expect("events since", before, await self._books.next_position(AUDITOR, BOOK))
        await self._check_balances()
        self._teller.say("no event, no leaf, nothing moved: both legs of a sale, or neither")

    async def _measure(self) -> None:
        say = self._teller.say
        say("from the answer of PostEntries to the first checkpoint that covers it, in ms:")
        for position, wait_ms in self._waits_ms.items():
            say(f"position {position:>8,}   {wait_ms:>6,}")
        waits = sorted(self._waits_ms.values())
        self.figures.proven_after_ms = {
            "entries": len(waits),
            "p50_ms": percentile(waits, 50),
            "p99_ms": percentile(waits, 99),
            "max_ms": waits[-1],
        }
        for name in ("p50_ms", "p99_ms", "max_ms"):
            value = self.figures.proven_after_ms[name]
            say(f"{name.removesuffix('_ms'):<17}   {value:>6,}")

    async def _make_receipt(self) -> None:
        position = self.figures.settlement["position"]
        group = Persona("group.trader", (), (self._holders["group"],))
        async for place, data in fetch_receipts(self._books, group, BOOK, [position]):
            path = write_receipt(self._workspace.receipts, BOOK, place, data)
            self.figures.receipt = path
            self._teller.say(f"{path}: {len(data):,} bytes, for the group, who is a party of it")

    async def check_all(self) -> None:
        """Positions without a gap, sums of zero, and the log's root computed again from events."""
        events = await self._check_log()
        expect("halted books", [], [one.book for one in await self._books.status() if one.halt])
        for total in await self._books.totals(AUDITOR):
            expect(f"sum of {total.asset}", 0, total.sum)
            expect(f"accounts of {total.asset} below zero", 0, total.negative_accounts)
            self.figures.totals.append(
                {"asset": total.asset, "sum": total.sum, "issued": total.issued}
            )
        self._teller.say(f"positions 0 to {events - 1} without a gap, each at its own place")
        self._teller.say(
            f"{len(self.figures.totals)} assets: every sum over all accounts is zero,"
            " no account is below zero that may not be"
        )

    async def _check_log(self) -> int:
        """Mirror the log, then make its leaves again from the journal: two ways to one root."""
        policy = read_policy(self._workspace.policy_file)
        with tempfile.TemporaryDirectory(prefix="tanzhang-mirror-") as name:
            note = await self._books.checkpoint(BOOK)
            folder = Path(name)
            copy = await mirror_log(folder, note, policy, lambda path: self._books.tile(BOOK, path))
            expect("entries under the checkpoint", True, copy.size > self._last)
            root = encode_base64(copy.root)
            self._teller.say(f"{copy.origin}: a signed tree of {copy.size} entries, root {root}")
            entries = read_entries(folder, copy.size)
            frontier, count = Frontier(), 0
            async for event in self._books.read_events(AUDITOR, BOOK):
                expect("position in the journal", count, event.position)
                expect("position in the record", count, json.loads(event.record)["position"])
                if count < copy.size:
                    leaf = leaf_data(BOOK, count, commitment(event.salt, event.record))
                    expect(f"the log's entry {count}", next(entries), leaf)
                    frontier.extend([leaf_hash(leaf)])
                count += 1
        again = encode_base64(frontier.root())
        expect("the log's root, from the journal", root, again)
        self.figures.log = {
            "origin": copy.origin,
            "tree_size": copy.size,
            "root": root,
            "root_recomputed": again,
            "events": count,
        }
        self._teller.say(f"the same {copy.size} leaves, made from events and salts: {again}")
        return count

    # ---- what the steps are made of -------------------------------------------------------------

    def _id(self) -> str:
        return uuid7(self._clock.now_ms())

    def _name(self, key: str) -> str:
        return next(part.name for part in PARTS if part.key == key)

    def _name_of(self, holder: str) -> str:
        return next(self._name(key) for key, id in self._holders.items() if id == holder)

    def _money_leg(self, amount_fen: int) -> Leg:
        clearing = Account(self._holders["clearing"], "external", self._holders["bank"])
        return Leg(clearing, Account(self._holders["group"]), MONEY, amount_fen)

    def _issue_legs(self) -> tuple[Leg, ...]:
        issued = Account(self._holders["programme"], "issued")
        batch = f"LZXQ-{self.figures.instance}"
        legs, first = [], 1
        for owner, quantity in zip(OWNERS, SPLIT_T, strict=True):
            serials = (SerialRange(batch, first, first + quantity - 1),)
            credit = Account(self._holders[owner])
            legs.append(Leg(issued, credit, self.figures.ticket, quantity, serials))
            first += quantity
        return tuple(legs)

    def _sale_legs(self, buyer: str, quantity_t: int, seller: str = "north") -> tuple[Leg, ...]:
        """Delivery and payment of one trade."""
        sells = Account(self._holders[seller], "trading", MARKET)
        buys = Account(self._holders[buyer], "trading", MARKET)
        return (
            Leg(sells, buys, self.figures.ticket, quantity_t),
            Leg(buys, sells, MONEY, quantity_t * PRICE_FEN_PER_T),
        )

    def _sale(self, which: str) -> tuple[tuple[Leg, ...], Act]:
        """The legs of both owners' sales to the group, and the venue's statement over them."""
        legs: list[Leg] = []
        trades = []
        for owner, quantity_t in zip(OWNERS, SPLIT_T, strict=True):
            legs += self._sale_legs("group", quantity_t, owner)
            trades.append(
                {
                    "asset": self.figures.ticket,
                    "buyer": self._holders["group"],
                    "price_fen_per_t": PRICE_FEN_PER_T,
                    "quantity_t": quantity_t,
                    "seller": self._holders[owner],
                    "trade": f"{self.figures.ticket}/{which}/{owner}",
                }
            )
        statement = {"kind": "settlement", "trades": trades, "venue": MARKET}
        return tuple(legs), sign_act(self._keys["venue"], statement)

    async def _post(self, who: Persona, legs: Sequence[Leg], *acts: Act) -> Outcome:
        """Post an entry that must be accepted, and wait for its proof, with a watch in hand."""
        entry = Entry(self._id(), tuple(legs), acts=acts)
        (outcome,) = await self._books.post_entries(who, [entry])
        answered_ns = time.monotonic_ns()
        position = self._take(outcome)
        await self._books.proofs(BOOK, [position])
        self._waits_ms[position] = (time.monotonic_ns() - answered_ns) // 1_000_000
        if who is OPERATOR:
            self._sold = entry
        return outcome

    async def _refused(self, who: Persona, legs: Sequence[Leg], reason: str, *acts: Act) -> Outcome:
        """Post an entry that must be refused for this reason."""
        entry = Entry(self._id(), tuple(legs), acts=acts)
        (outcome,) = await self._books.post_entries(who, [entry])
        expect("refused because", reason, outcome.reason or f"accepted at {outcome.position}")
        self.figures.refusals.append(
            {"reason": outcome.reason, "message": outcome.message, **outcome.details}
        )
        return outcome

    def _take(self, outcome: Outcome) -> int:
        if outcome.position is None:
            expect("the answer", "accepted", f"{outcome.reason}: {outcome.message}")
            return 0
        self._last = max(self._last, outcome.position)
        return outcome.position

    async def _record(self, outcome: Outcome) -> dict[str, Any]:
        """The recorded event, as it is disclosed to an auditor."""
        (event,) = await self._books.disclose(AUDITOR, BOOK, [outcome.position or 0])
        record: dict[str, Any] = json.loads(event.record)
        return record

    async def _balances(self, who: str, asset: str) -> list[Balance]:
        return await self._books.balances(AUDITOR, self._holders[who], asset, self._last)

    async def _amount(self, who: str, asset: str, purpose: str = "available") -> int:
        return sum(
            one.amount for one in await self._balances(who, asset) if one.account.purpose == purpose
        )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile of sorted values, at least one."""
    return ordered[max(-(-len(ordered) * percent // 100), 1) - 1]


def invented_uscc(holder: str) -> str:
    """A unified social credit code that belongs to no company and to this holder alone.

    Registered by "Y" (others), in 兰州 (620100); the check characters of the organisation code
    (GB 11714-1997) and of the whole (GB 32100-2015) hold.
    """
    digits = f"{int.from_bytes(hashlib.sha256(holder.encode()).digest()[:6], 'big') % 10**8:08d}"
    weighed = sum(int(ch) * weight for ch, weight in zip(digits, _ORGANISATION, strict=True))
    check = "0123456789X"[-weighed % 11]
    first_17 = f"Y1620100{digits}{check}"
    return first_17 + uscc_check_character(first_17)


_ORGANISATION: Final = (3, 7, 9, 10, 5, 8, 4, 2)
