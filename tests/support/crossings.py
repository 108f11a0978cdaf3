"""One truthful history of all five books, told by their real writers on journals in memory.

兰州新区's forests are verified, issued, traded, pledged to two banks and partly retired; commuters
of Shenzhen ride meanwhile. What the services' errands and reactions do is done here by hand, entry
after request and outcome after entry, so that every event stands at a known place. `order` is the
order in which it was told: every cause before what it caused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes, sign_act
from kernel.asks import Domain
from kernel.clock import FixedClock
from kernel.errands import Errand
from kernel.frames import Frame, StoredEvent
from kernel.ids import derived_holder_id
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.record import EventTypes, decode_record
from kernel.values import DAY_MS, Act, Caller, Context
from services.accounts.domain.changes import Status, StatusChange
from services.accounts.domain.commands import (
    DefineAsset,
    FreezeUnits,
    OrderStatus,
    PostEntry,
    PostTransfer,
    RegisterHolder,
    SettleTrades,
    UnfreezeUnits,
)
from services.accounts.domain.events import Account, HolderKind, Purpose, SerialRange, Unit
from services.accounts.main import DOMAIN as ACCOUNTS
from services.inclusive.domain import commands as inclusive
from services.inclusive.domain import decide as inclusive_decide
from services.inclusive.domain.events import EVENTS as INCLUSIVE_EVENTS
from services.inclusive.domain.events import MethodologyStatus, Mode
from services.inclusive.domain.evolve import evolve as inclusive_evolve
from services.inclusive.domain.state import State as InclusiveState
from services.ledger.domain.commands import Approve, ProposeKey, ProposeKeyRevocation
from services.ledger.main import DOMAIN as LEDGER
from services.market.domain import commands as market
from services.market.domain import events as market_events
from services.market.domain.state import State as MarketState
from services.market.main import DOMAIN as MARKET
from services.market.parts import statement_of
from services.market.reactions import react_to_accounts as allocations_of
from services.registry.domain import commands as registry
from services.registry.domain import events as registry_events
from services.registry.main import DOMAIN as REGISTRY
from services.registry.reactions import react_to_accounts as retirements_of
from tests.support.books import MORNING_MS, person
from tests.support.companies import PAPER
from tests.support.companies import order as ordered
from tests.support.ending import end
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BANK,
    BANK_KEY,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    SYSTEM,
    TICKET,
    USCCS,
    ZHONGCHUAN,
    advice,
    available,
    deposit_entry,
    leg,
    retired,
    seeded_key,
    trading,
)
from tests.support.ledgers import LI, WANG, Desk
from tests.support.orders import freeze, transfer_order, unfreeze
from tests.support.orders import moved as moved_by

INCLUSIVE = Domain(
    EventTypes(*INCLUSIVE_EVENTS),
    InclusiveState,
    inclusive_decide.decide,
    inclusive_evolve,
    inclusive_decide.due,
)


class CompletedOfOld(msgspec.Struct, frozen=True):
    """What markets were told before settlements ended by the part; their journals still say so."""

    settlement: str


class RefusedOfOld(msgspec.Struct, frozen=True):
    settlement: str
    reason: str
    message: str
    details: dict[str, str]


def as_of_old(
    state: MarketState, command: msgspec.Struct, context: Context
) -> Sequence[msgspec.Struct]:
    if isinstance(command, CompletedOfOld):
        return [market_events.SettlementCompleted(command.settlement)]
    if isinstance(command, RefusedOfOld):
        said = command.details, command.message, command.reason
        return [market_events.SettlementRefused(*said, command.settlement)]
    return MARKET.decide(state, command, context)


DOMAINS: dict[str, Domain[Any]] = {
    "ledger": LEDGER,
    "accounts": ACCOUNTS,
    "registry": REGISTRY,
    "market": dataclasses.replace(MARKET, decide=as_of_old),
    "inclusive": INCLUSIVE,
}
BOOKS = tuple(DOMAINS)

FIRST_LENDER = derived_holder_id("lanzhou", "a bank that lends")
SECOND_LENDER = derived_holder_id("lanzhou", "another bank that lends")
VERIFIER = derived_holder_id("lanzhou", "a forest verifier")
METRO = derived_holder_id("shenzhen", "metro")
FIRST_LIEN, SECOND_LIEN, THIRD_LIEN = (f"l-{name * 8}" for name in ("aa", "bb", "cc"))
COMMUTER, STUDENT = "c-commuter22222222", "c-student222222222"
PRIVATE = "c-private222222222"  # agreed to nothing
NOBODY = "c-nobody2222222222"

GROUP_KEY, VERIFIER_KEY, METRO_KEY = map(seeded_key, ("city group", "verifier", "metro"))
FIRST_KEY, SECOND_KEY = map(seeded_key, ("first lender", "second lender"))
MARKET_KEY = seeded_key("market")
KEYS: tuple[tuple[str, Ed25519PrivateKey, tuple[str, ...]], ...] = (
    (f"authority:{PROGRAMME}", AUTHORITY_KEY, ("accounts", "registry")),
    (f"bank:{BANK}", BANK_KEY, ("accounts",)),
    ("venue:market", MARKET_KEY, ("accounts",)),
    (f"holder:{CITY_GROUP}", GROUP_KEY, ("accounts", "registry")),
    (f"holder:{FIRST_LENDER}", FIRST_KEY, ("accounts", "registry")),
    (f"holder:{SECOND_LENDER}", SECOND_KEY, ("accounts", "registry")),
    (f"holder:{VERIFIER}", VERIFIER_KEY, ("registry",)),
    (f"holder:{METRO}", METRO_KEY, ("inclusive",)),
)

MAKER = person("registry-maker", roles=["registry"])
CHECKER = person("registry-checker", roles=["registry"])
SERVICE = person("the registry", roles=["registry", "book:registry"])
VENUE = person("the market", roles=["venue:market", "book:market"])
STAFF = person("exchange clerk", roles=["exchange"])
LENDERS = person("bank clerk", holders=[FIRST_LENDER, SECOND_LENDER])
PROPOSER = person("gao", roles=["inclusive-operator"])
APPROVER = person("ma", roles=["inclusive-operator"])
OPERATOR = person("metro", holders=[METRO])

HUNDRED_THOUSAND_T_FEN = 100_000_000_00
PICKED, CROSSED = "LZXQ-1", "LZXQ-2"  # two instruments of one asset: by pick, and by price and time
LTV_LIMIT_BP = 9900


@dataclass
class Whole:
    """What stands in every journal, what is where, and in which order it came."""

    events: dict[str, list[StoredEvent]] = field(default_factory=dict)
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    order: list[tuple[str, int]] = field(default_factory=list)
    at: dict[str, tuple[str, int]] = field(default_factory=dict)

    def event(self, place: str) -> StoredEvent:
        book, position = self.at[place]
        return self.events[book][position]

    def events_before(self, place: str) -> Iterator[tuple[tuple[str, int], StoredEvent]]:
        """In the order in which they were told, each with where it stands."""
        for book, position in self.order:
            if (book, position) == self.at[place]:
                return
            yield (book, position), self.events[book][position]

    def record(self, place: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.event(place).record)
        return found


class Teller:
    def __init__(self, desks: dict[str, Desk[Any]], clock: FixedClock) -> None:
        self.desks = desks
        self.clock = clock
        self.whole = Whole()
        self._told = dict.fromkeys(desks, 0)

    async def ask(
        self,
        name: str,
        book: str,
        command: msgspec.Struct,
        caller: Caller,
        *acts: Act,
        on_ms: int | None = None,
        cause: tuple[str, int] | None = None,
    ) -> int:
        """The position of the command's first event; a second one is `<name>, then`."""
        first = await self.desks[book].ask(command, caller, *acts, on_ms=on_ms, cause=cause)
        self._hear(book)
        self.whole.at[name] = (book, first)
        if self._told[book] > first + 1:
            self.whole.at[f"{name}, then"] = (book, first + 1)
        return first

    def _hear(self, book: str) -> None:
        events = self.desks[book].events()
        self.whole.order.extend((book, at) for at in range(self._told[book], len(events)))
        self._told[book] = len(events)
        self.whole.events[book] = events

    def hear_all(self) -> None:
        """What the writers have said by themselves."""
        for book in self.desks:
            self._hear(book)

    def id_of(self, name: str) -> str:
        id: str = self.whole.record(name)["by"]
        return id

    async def carry_out(
        self,
        name: str,
        entry: PostEntry,
        caller: Caller,
        *acts: Act,
        ended: msgspec.Struct | None = None,
    ) -> int:
        """What an errand does: the entry of a request, and how it ended."""
        cause = self.whole.at[name]
        position = await self.ask(f"{name}: entry", "accounts", entry, caller, *acts, cause=cause)
        if ended is not None:
            at = ("accounts", position)
            await self.ask(f"{name}: done", cause[0], ended, SYSTEM, cause=at)
        return position

    async def react(self, name: str, book: str) -> None:
        """What a reaction does with an entry."""
        at = self.whole.at[name]
        raw = decode_record(self.whole.event(name).record)
        command = (allocations_of if book == "market" else retirements_of)(raw)
        assert command is not None
        await self.ask(f"{name}: told", book, command, SYSTEM, cause=at)


# ---- places and their keys -----------------------------------------------------------------------


async def tell_of_keys(tell: Teller) -> None:
    for subject, key, books in KEYS:
        name = subject.partition(":")[0] + " " + subject[-6:]
        command = ProposeKey(subject, "ed25519", public_bytes(key))
        await tell.ask(f"{name} proposed", "ledger", command, WANG)
        approve = Approve(tell.id_of(f"{name} proposed"))
        registered = await tell.ask(f"{name} registered", "ledger", approve, LI)
        body = tell.whole.record(f"{name} registered")["body"]
        admit = AdmitKey(body["key_id"], body["public_key"], subject, "ed25519")
        for book in books:
            cause = ("ledger", registered)
            await tell.ask(f"{name} admitted in {book}", book, admit, SYSTEM, cause=cause)
            tell.whole.at[f"{subject} in {book}"] = tell.whole.at[f"{name} admitted in {book}"]


async def tell_of_holders(tell: Teller) -> None:
    for holder, kind, uscc in (
        (PROGRAMME, HolderKind.PROGRAMME, ""),
        (QINWANGCHUAN, HolderKind.ENTERPRISE, USCCS[QINWANGCHUAN]),
        (ZHONGCHUAN, HolderKind.ENTERPRISE, USCCS[ZHONGCHUAN]),
        (CITY_GROUP, HolderKind.ENTERPRISE, USCCS[CITY_GROUP]),
        (BANK, HolderKind.SETTLEMENT_BANK, USCCS[BANK]),
        (FIRST_LENDER, HolderKind.FOREIGN, ""),
        (SECOND_LENDER, HolderKind.FOREIGN, ""),
    ):
        command = RegisterHolder(holder, kind, uscc, holder)
        await tell.ask(holder, "accounts", command, REGISTRAR)
    for asset, unit, programme, serialised in (
        (TICKET, Unit.T, PROGRAMME, True),
        (CNY, Unit.FEN, "", False),
    ):
        define = DefineAsset(asset, unit, programme, serialised, asset, 0)
        await tell.ask(asset, "accounts", define, REGISTRAR)


# ---- registry ------------------------------------------------------------------------------------


def signed(key: Ed25519PrivateKey, kind: str, **said: Any) -> Act:
    return sign_act(key, {"kind": kind, **said})


async def tell_of_forests(tell: Teller) -> None:
    steps = [registry_events.Step(0, "notice"), registry_events.Step(2, "review")]
    terms = registry_events.Terms(LTV_LIMIT_BP, 30, ["forest"], steps)
    parts = registry_events.Parts(PROGRAMME, "", "", "", "")
    opening = registry_events.ProgrammeOpened(
        "丝路碳票", parts, PROGRAMME, terms, registry_events.UnitKind.TICKET
    )
    now_ms = tell.clock.now_ms()
    command: msgspec.Struct = registry.OpenProgramme(opening)
    await tell.ask("programme opened", "registry", command, REGISTRAR, on_ms=now_ms - 30 * DAY_MS)
    later = registry_events.Terms(8000, 1, ["forest", "meadow"], steps)
    await tell.ask(
        "terms set", "registry", registry.SetTerms(PROGRAMME, now_ms + DAY_MS, later), REGISTRAR
    )
    for name, owner in (("秦王川", QINWANGCHUAN), ("中川", ZHONGCHUAN)):
        project = "LZXQ-QIN" if owner == QINWANGCHUAN else "LZXQ-ZHONG"
        filing = registry_events.ProjectFiled(
            5850, "sha", name, owner, PROGRAMME, project, "forest", "Lanzhou", f"site of {name}"
        )
        days = [now_ms - n * DAY_MS for n in (10, 9, 7, 6)]
        command = registry.FileProject(filing)
        await tell.ask(f"{name} filed", "registry", command, MAKER, on_ms=days[0])
        for n, step in enumerate(("notice", "review"), start=1):
            command = registry.AdvanceProject(project, step, "sha")
            await tell.ask(f"{name} {step}", "registry", command, MAKER, on_ms=days[n])
        await tell_of_verification(tell, name, project, 7000 if owner == QINWANGCHUAN else 5000)


async def tell_of_verification(tell: Teller, name: str, project: str, quantity_t: int) -> None:
    said: dict[str, Any] = {
        "document": "sha",
        "period_first": "2020-01-01",
        "period_last": "2020-12-31",
        "project": project,
        "quantity_t": quantity_t,
        "verification": f"V-{project}",
        "verifier": VERIFIER,
    }
    await tell.ask(
        f"{name} verified",
        "registry",
        registry.VerifyReduction(registry_events.ReductionVerified(**said)),
        MAKER,
        signed(VERIFIER_KEY, "verification-statement", **said),
    )


def issuance_act(issuance: str, lots: Sequence[tuple[str, int]], checker: str) -> Act:
    owners = [
        {"holder": QINWANGCHUAN if one == "LZXQ-QIN" else ZHONGCHUAN, "quantity_t": quantity_t}
        for one, quantity_t in lots
    ]
    return signed(
        AUTHORITY_KEY,
        "issuance-approval",
        asset=TICKET,
        batch=f"B-{issuance}",
        checker=checker,
        document="sha",
        first=1,
        last=sum(quantity_t for _, quantity_t in lots),
        owners=owners,
        programme=PROGRAMME,
    )


async def tell_of_issuance(
    tell: Teller, issuance: str, lots: Sequence[tuple[str, int]], *, refused: bool = False
) -> None:
    command: msgspec.Struct = registry.ProposeIssuance(
        issuance,
        TICKET,
        f"B-{issuance}",
        [registry_events.Lot(quantity_t, f"V-{project}") for project, quantity_t in lots],
        "sha",
    )
    await tell.ask(f"{issuance} proposed", "registry", command, MAKER)
    act = issuance_act(issuance, lots, CHECKER.actor.sub)
    name = f"{issuance} approved"
    await tell.ask(name, "registry", registry.ApproveIssuance(issuance), CHECKER, act)
    if refused:
        command = registry.RefuseIssuance(issuance, "UNKNOWN_HOLDER", "no holder", {})
        await tell.ask(f"{issuance} refused", "registry", command, SYSTEM)
        return
    legs, first = [], 1
    for project, quantity_t in lots:
        owner = QINWANGCHUAN if project == "LZXQ-QIN" else ZHONGCHUAN
        block = SerialRange(f"B-{issuance}", first, first + quantity_t - 1)
        issued = Account(PROGRAMME, Purpose.ISSUED, "")
        legs.append(leg(quantity_t, TICKET, issued, available(owner), block))
        first += quantity_t
    ended = registry.CompleteIssuance(issuance)
    await tell.carry_out(name, PostEntry(legs), SERVICE, act, ended=ended)


def pledge_said(
    lien: str,
    pledgee: str,
    quantity_t: int,
    priced_at_ms: int,
    serials: Sequence[SerialRange] = (),
) -> dict[str, Any]:
    return {
        "asset": TICKET,
        "levels": {"call_bp": 9900, "enforcement_bp": 9950, "warning_bp": 9800},
        "lien": lien,
        "loan_fen": quantity_t * 4125,
        "matures_on": "2027-11-20",
        "notice": "",
        "pledgee": pledgee,
        "pledgor": CITY_GROUP,
        "programme": PROGRAMME,
        "quantity_t": quantity_t,
        "rate_bp": 450,
        "serials": [msgspec.structs.asdict(block) for block in serials],
        "valuation": {
            "price_fen_per_t": 4194,
            "priced_at_ms": priced_at_ms,
            "source": "last trade",
        },
    }


async def tell_of_pledge(
    tell: Teller,
    lien: str,
    quantity_t: int,
    *,
    named: Sequence[SerialRange] = (),
    refused: bool = False,
    answered: bool = True,
) -> None:
    """98.35 % of 41.94 CNY/t, as in 2021."""
    pledgee, key = (SECOND_LENDER, SECOND_KEY) if lien == SECOND_LIEN else (FIRST_LENDER, FIRST_KEY)
    said = pledge_said(lien, pledgee, quantity_t, tell.clock.now_ms() - DAY_MS, named)
    acts = [signed(one, "pledge", **said) for one in (GROUP_KEY, key)]
    asked = msgspec.convert(said, registry_events.PledgeRequested)
    await tell.ask(f"{lien} asked", "registry", registry.RegisterPledge(asked), LENDERS, *acts)
    if refused:
        command = registry.RefusePledge(lien, "INSUFFICIENT_BALANCE", "too little", {})
        await tell.ask(f"{lien} refused", "registry", command, SYSTEM)
    elif answered:
        await register(tell, lien)


async def register(tell: Teller, lien: str) -> None:
    """The entry of a pledge that was asked for, and its registration."""
    name = f"{lien} asked"
    asked = tell.whole.record(name)
    acts = [Act(**act) for act in asked["acts"]]
    named = [SerialRange(**block) for block in asked["body"]["serials"]]
    quantity_t: int = asked["body"]["quantity_t"]
    account = Account(CITY_GROUP, Purpose.PLEDGED, lien)
    legs = [leg(quantity_t, TICKET, available(CITY_GROUP), account, *named)]
    entry = await tell.carry_out(name, PostEntry(legs), SERVICE, *acts)
    done = registry.CompletePledge(lien, moved(tell, name))
    await tell.ask(f"{name}: done", "registry", done, SYSTEM, cause=("accounts", entry))


def moved(tell: Teller, name: str) -> list[registry_events.SerialRange]:
    legs = tell.whole.record(f"{name}: entry")["body"]["legs"]
    return [registry_events.SerialRange(**block) for one in legs for block in one["serials"]]


async def tell_of_release(
    tell: Teller, lien: str, release: str, quantity_t: int, *, refused: bool = False
) -> None:
    await ask_release(tell, lien, release, quantity_t)
    if refused:
        command = registry.RefuseRelease(lien, release, "BOOK", "not now", {})
        await tell.ask(f"{release} refused", "registry", command, SYSTEM)
        return
    await free(tell, lien, release, quantity_t)


async def ask_release(tell: Teller, lien: str, release: str, quantity_t: int) -> None:
    pledgee, key = (SECOND_LENDER, SECOND_KEY) if lien == SECOND_LIEN else (FIRST_LENDER, FIRST_KEY)
    act = signed(
        key, "pledge-release", lien=lien, pledgee=pledgee, quantity_t=quantity_t, release=release
    )
    command = registry.ReleasePledge(lien, release, quantity_t)
    await tell.ask(f"{release} asked", "registry", command, LENDERS, act)


async def free(tell: Teller, lien: str, release: str, quantity_t: int) -> None:
    """The entry of a release that was asked for, and its outcome."""
    name = f"{release} asked"
    acts = [Act(**act) for act in tell.whole.record(name)["acts"]]
    account = Account(CITY_GROUP, Purpose.PLEDGED, lien)
    legs = [leg(quantity_t, TICKET, account, available(CITY_GROUP))]
    entry = await tell.carry_out(name, PostEntry(legs), SERVICE, *acts)
    command = registry.CompleteRelease(lien, release, moved(tell, name))
    await tell.ask(f"{name}: done", "registry", command, SYSTEM, cause=("accounts", entry))


async def tell_of_retirements(tell: Teller) -> None:
    legs = [leg(200, TICKET, available(CITY_GROUP), retired(CITY_GROUP))]
    await tell.ask("retired", "accounts", PostEntry(legs, CLAIM), BUYER)
    legs = [
        leg(10, TICKET, available(QINWANGCHUAN), retired(QINWANGCHUAN)),
        leg(20, TICKET, available(ZHONGCHUAN), retired(ZHONGCHUAN)),
    ]
    await tell.ask("both farms retired", "accounts", PostEntry(legs, CLAIM), FARMER)
    await tell.react("retired", "registry")
    await tell.react("both farms retired", "registry")


async def tell_of_an_order(tell: Teller) -> None:
    """The authority takes 300 of 1,000 t out from under a lien; the lender gives up the rest."""
    said = transfer_order("succession 1", moved_by(300, lien=SECOND_LIEN), key=AUTHORITY_KEY)
    await tell.ask("ordered", "accounts", PostTransfer(), REGISTRAR, said)
    await tell.react("ordered", "registry")
    await tell_of_release(tell, SECOND_LIEN, "paid back after the order", 700)


# ---- market --------------------------------------------------------------------------------------


def terms_of(mode: market_events.MatchingMode) -> market_events.Terms:
    return market_events.Terms(0, False, 1, mode, 0, [], 1)


async def tell_of_instruments(tell: Teller) -> None:
    for name, mode in (
        (PICKED, market_events.MatchingMode.PICK),
        (CROSSED, market_events.MatchingMode.PRICE_TIME),
    ):
        command = market.DefineInstrument(TICKET, name, name, 4194, terms_of(mode))
        await tell.ask(name, "market", command, STAFF)
    later = market.SetTerms(
        PICKED, tell.clock.now_ms() + 90 * DAY_MS, terms_of(market_events.MatchingMode.PICK)
    )
    await tell.ask("market terms set", "market", later, STAFF)


async def tell_of_allocations(tell: Teller) -> None:
    for name, caller, rows in (
        ("tickets brought", FARMER, [(QINWANGCHUAN, TICKET, 3000), (ZHONGCHUAN, TICKET, 2000)]),
        ("money brought", BUYER, [(CITY_GROUP, CNY, 40_000_000)]),
        ("more money brought", BUYER, [(CITY_GROUP, CNY, 1_000_000)]),
    ):
        legs = [
            leg(amount, asset, available(holder), trading(holder, "market"))
            for holder, asset, amount in rows
        ]
        await tell.ask(name, "accounts", PostEntry(legs), caller)
    for name in ("tickets brought", "money brought", "more money brought"):
        await tell.react(name, "market")


async def place(
    tell: Teller, name: str, instrument: str, holder: str, side: str, price: int, quantity_t: int
) -> None:
    caller = BUYER if holder == CITY_GROUP else FARMER
    order = market.PlaceOrder(instrument, holder, market_events.Side(side), price, quantity_t)
    await tell.ask(name, "market", order, caller)


async def settle_of_old(tell: Teller, name: str) -> None:
    """As before files: one entry for a taker's trades, as the venue signs them, and its end."""
    body = tell.whole.record(name)["body"]
    rows, legs = [], []
    for trade in body["trades"]:
        rows.append({"asset": TICKET, **{k: trade[k] for k in trade if k != "maker"}})
        seller, buyer = trading(trade["seller"], "market"), trading(trade["buyer"], "market")
        quantity_t, value_fen = trade["quantity_t"], trade["quantity_t"] * trade["price_fen_per_t"]
        legs.append(leg(quantity_t, TICKET, seller, buyer))
        legs.append(leg(value_fen, CNY, buyer, seller))
    act = signed(MARKET_KEY, "settlement", trades=rows, venue="market")
    ended = CompletedOfOld(body["settlement"])
    await tell.carry_out(name, PostEntry(legs), VENUE, act, ended=ended)


async def settle(tell: Teller, *names: str) -> None:
    """One part with the trades of all of these, and their end; each one's entries by its name."""
    await end_part(tell, names, await send_part(tell, *names))


async def send_part(tell: Teller, *names: str) -> list[market_events.EndedSettlement]:
    part = [
        Errand("", tell.whole.at[name][1], made)
        for name in names
        for made in [msgspec.convert(tell.whole.record(name)["body"], market_events.TradesMade)]
    ]
    act = sign_act(MARKET_KEY, statement_of(part))
    first = names[0]
    cause = ("market", part[-1].position)
    received = await tell.ask(
        f"{first}: part", "accounts", SettleTrades("market"), VENUE, act, cause=cause
    )
    entry, ended = received + 1, []
    for name, one in zip(names, part, strict=True):
        tell.whole.at[f"{name}: entry"] = ("accounts", entry)
        entries = list(range(entry, entry + len(one.what.trades)))
        ended.append(market_events.EndedSettlement(entries, one.what.settlement))
        entry = entries[-1] + 1
    return ended


async def end_part(
    tell: Teller,
    names: Sequence[str],
    ended: list[market_events.EndedSettlement],
    *refused: market_events.RefusedTrade,
) -> None:
    done = market.EndSettlements(ended, list(refused))
    last = ("accounts", ended[-1].entries[-1])
    await tell.ask(f"{names[0]}: done", "market", done, SYSTEM, cause=last)


def unwind(made: dict[str, Any]) -> market.EndSettlements:
    """The part with these trades was refused as a whole."""
    return market.EndSettlements(
        [market_events.EndedSettlement([], made["settlement"])],
        [
            market_events.RefusedTrade({}, "not now", "BOOK", trade["trade"])
            for trade in made["trades"]
        ],
    )


async def tell_of_trades(tell: Teller) -> None:
    await place(tell, "first farm lists", PICKED, QINWANGCHUAN, "sell", 4194, 3000)
    await place(tell, "second farm lists", PICKED, ZHONGCHUAN, "sell", 4200, 1000)
    pick = market.PickOrders(PICKED, CITY_GROUP, market_events.Side.BUY, 3500, 4200, [])
    await tell.ask("picked", "market", pick, BUYER)
    await settle_of_old(tell, "picked")
    again = market.PickOrders(PICKED, CITY_GROUP, market_events.Side.BUY, 100, 4200, [])
    await tell.ask("picked again", "market", again, BUYER)
    await settle_of_old(tell, "picked again")
    await place(tell, "group bids for a day", PICKED, CITY_GROUP, "buy", 4000, 10)
    await place(tell, "group bids low", CROSSED, CITY_GROUP, "buy", 4000, 200)
    await place(tell, "second farm offers", CROSSED, ZHONGCHUAN, "sell", 4190, 300)
    await place(tell, "group crosses", CROSSED, CITY_GROUP, "buy", 4195, 200)
    crossed = tell.whole.record("group crosses, then")["body"]["settlement"]
    refuse = RefusedOfOld(crossed, "BOOK", "not now", {})
    await tell.ask("unwound", "market", refuse, SYSTEM)
    await place(tell, "group crosses again", CROSSED, CITY_GROUP, "buy", 4195, 150)
    await settle_of_old(tell, "group crosses again, then")
    cancel = market.CancelOrder(tell.id_of("second farm lists"))
    await tell.ask("cancelled", "market", cancel, FARMER)
    await place(tell, "another bid for a day", PICKED, CITY_GROUP, "buy", 4001, 20)
    await place(tell, "farm offers for a day", CROSSED, ZHONGCHUAN, "sell", 4300, 5)


async def tell_of_market_releases(tell: Teller) -> None:
    for name, quantity_t in (("taken back", 3100), ("kept", 10)):
        asked = market.RequestRelease(CITY_GROUP, TICKET, quantity_t)
        await tell.ask(name, "market", asked, BUYER)
    source, target = trading(CITY_GROUP, "market"), available(CITY_GROUP)
    entry = PostEntry([leg(3100, TICKET, source, target)])
    await tell.carry_out(
        "taken back", entry, VENUE, ended=market.CompleteRelease(tell.id_of("taken back"))
    )
    refused = market.RefuseRelease(tell.id_of("kept"), "BOOK", "not now", {})
    await tell.ask("kept: refused", "market", refused, SYSTEM)


TAKEN = {"ten": 10, "eight": 8, "five": 5, "two": 2, "one": 1}  # tonnes, by name


async def tell_of_parts(tell: Teller) -> None:
    """Many takers' trades under one signature: settled, refused with their part, refused alone."""
    await place(tell, "farm offers by the tonne", CROSSED, ZHONGCHUAN, "sell", 4250, 26)
    for name, quantity_t in TAKEN.items():
        await place(tell, name, CROSSED, CITY_GROUP, "buy", 4250, quantity_t)
    ten, eight, five, two, one = (f"{name}, then" for name in TAKEN)
    await settle(tell, ten, eight)
    await tell.ask(f"{five}: done", "market", unwind(tell.whole.record(five)["body"]), SYSTEM)
    still = freeze("F-market", AUTHORITY_KEY, asset=TICKET, holder=ZHONGCHUAN, purpose="trading")
    await tell.ask("frozen", "accounts", FreezeUnits(), REGISTRAR, still)
    ended = await send_part(tell, two, one)
    names = [tell.whole.record(name)["body"]["trades"][0]["trade"] for name in (two, one)]
    why = tell.whole.record(f"{two}: entry")["body"]["reason"]
    refused = [market_events.RefusedTrade({}, "it lies still", why, name) for name in names]
    await end_part(tell, (two,), ended, *refused)
    lift = unfreeze("F-market", AUTHORITY_KEY)
    await tell.ask("lifted", "accounts", UnfreezeUnits(), REGISTRAR, lift)


async def tell_of_the_next_day(tell: Teller) -> None:
    tell.clock.at_ms += DAY_MS
    for name in ("group bids for a day", "farm offers for a day"):
        await tell.ask(f"{name}: expired", "market", market.ExpireOrder(tell.id_of(name)), SYSTEM)


async def tell_of_a_suspension(tell: Teller) -> None:
    """The authority suspends the group, whose orders end with that, and lets it go again."""
    for name, to in (("suspended", Status.SUSPENDED), ("free again", Status.ACTIVE)):
        said = StatusChange(PAPER, CITY_GROUP, "an investigation", to)
        command = OrderStatus(f"authority:{PROGRAMME}", name, said)
        await tell.ask(name, "accounts", command, REGISTRAR, ordered(CITY_GROUP, to, name))
        await tell.react(name, "market")
    await place(tell, "group bids again", PICKED, CITY_GROUP, "buy", 4000, 1)


# ---- inclusive -----------------------------------------------------------------------------------


def methodology(name: str, mode: Mode, **changed: Any) -> inclusive.ProposeMethodology:
    said: dict[str, Any] = {
        "baseline_mg_per_km": 0,
        "counterfactual": False,
        "factor_mg_per_km": 46_800,
        "gas": "CO2",
        "has_metro": None,
        "methodology": name,
        "mode": mode,
        "project_mg_per_km": 0,
        "region": "Shenzhen",
        "source": "Shenzhen 2021",
        "status": MethodologyStatus.FILED,
        "title": name,
        "valid_first": "2021-01-01",
        "valid_last": "2030-12-31",
        "version": "1",
        **changed,
    }
    return inclusive.ProposeMethodology(**said)


METHODOLOGIES = (
    methodology("SZ-METRO", Mode.METRO),
    methodology(
        "REPORT-EBIKE",
        Mode.EBIKE,
        factor_mg_per_km=54_010,
        baseline_mg_per_km=61_030,
        project_mg_per_km=7_020,
        status=MethodologyStatus.REPORT,
    ),
    methodology("WHAT-IF", Mode.METRO, counterfactual=True),
)


async def tell_of_methodologies(tell: Teller) -> None:
    for one in METHODOLOGIES:
        await tell.ask(f"{one.methodology} proposed", "inclusive", one, PROPOSER)
        approve = inclusive.ApproveMethodology(one.methodology, one.version)
        await tell.ask(f"{one.methodology} approved", "inclusive", approve, APPROVER)
    rule = inclusive.SetPointRule(Mode.METRO, "2026-01-01", 1000)
    await tell.ask("points set", "inclusive", rule, APPROVER)
    operator = inclusive.RegisterOperator(
        METRO, "metro", "Shenzhen", True, [Mode.METRO, Mode.EBIKE]
    )
    await tell.ask("operator", "inclusive", operator, APPROVER)
    for name, sell in ((COMMUTER, True), (STUDENT, False)):
        await tell.ask(name, "inclusive", inclusive.EnrolCitizen(name, True, sell), APPROVER)
    await tell.ask(PRIVATE, "inclusive", inclusive.EnrolCitizen(PRIVATE, False, False), APPROVER)
    change = inclusive.ChangeConsent(STUDENT, True, False)
    await tell.ask("consent", "inclusive", change, APPROVER)


def batch_act(batch: str, count: int) -> Act:
    digest = hashlib.sha256(batch.encode()).hexdigest()
    return signed(METRO_KEY, "trip-batch", batch=batch, count=count, digest=digest, operator=METRO)


def trip(
    order: str, citizen: str, batch: str, mode: Mode = Mode.METRO, **changed: Any
) -> inclusive.ReportTrip:
    said: dict[str, Any] = {
        "operator": METRO,
        "batch": batch,
        "citizen": citizen,
        "nullifier": hashlib.sha256(f"{METRO}\0{order}".encode()).digest(),
        "mode": mode,
        "evidence": inclusive.Evidence.FARE_GATE,
        "started_ms": MORNING_MS - 3_600_000,
        "ended_ms": MORNING_MS - 1_800_000,
        "from_place": "福田",
        "to_place": "深圳北",
        "distances": (inclusive.Distance(inclusive.DistanceSource.NETWORK, 10_000),),
        **changed,
    }
    return inclusive.ReportTrip(**said)


async def tell_of_trips(tell: Teller) -> None:
    await tell_of_methodologies(tell)
    for batch, count in (("one", 5), ("two", 1)):
        digest = hashlib.sha256(batch.encode()).hexdigest()
        received = inclusive.ReceiveTripBatch(METRO, batch, count, digest)
        act = batch_act(batch, count)
        await tell.ask(f"batch {batch}", "inclusive", received, OPERATOR, act)
    declared = inclusive.Evidence.SELF_DECLARED
    for name, one in (
        ("metro trip", trip("1", COMMUTER, "one")),
        ("student's trip", trip("2", STUDENT, "one")),
        ("trip again", trip("1", COMMUTER, "one")),
        ("declared trip", trip("3", COMMUTER, "one", Mode.EBIKE, evidence=declared)),
        ("unknown rider", trip("4", NOBODY, "one")),
        ("what-if trip", trip("5", STUDENT, "two", methodology="WHAT-IF")),
    ):
        await tell.ask(name, "inclusive", one, OPERATOR)
    await tell.ask("forgotten", "inclusive", inclusive.ForgetCitizen(STUDENT), APPROVER)


async def tell_of_confirmation(tell: Teller) -> None:
    tell.clock.at_ms += 2 * DAY_MS
    for _, _, due in INCLUSIVE.due(tell.desks["inclusive"].writer.state, tell.clock.now_ms()):
        await tell.ask("confirmed", "inclusive", due, SYSTEM)


# ---- the whole -----------------------------------------------------------------------------------


async def tell_the_days(tell: Teller) -> None:
    await tell_of_keys(tell)
    await tell_of_holders(tell)
    await tell_of_forests(tell)
    await tell_of_issuance(tell, "I-1", [("LZXQ-QIN", 6000), ("LZXQ-ZHONG", 4000)])
    await tell_of_issuance(tell, "I-2", [("LZXQ-QIN", 1000)], refused=True)
    await tell_of_issuance(tell, "I-3", [("LZXQ-QIN", 400), ("LZXQ-QIN", 500)])
    deposit = deposit_entry(CITY_GROUP, HUNDRED_THOUSAND_T_FEN)
    act = advice(CITY_GROUP, HUNDRED_THOUSAND_T_FEN, "line 1")
    await tell.ask("deposited", "accounts", deposit, CASHIER, act)
    await tell_of_instruments(tell)
    await tell_of_allocations(tell)
    await tell_of_trades(tell)
    await tell_of_market_releases(tell)
    await tell_of_parts(tell)
    await tell_of_pledge(tell, FIRST_LIEN, 1500)
    await tell_of_pledge(tell, SECOND_LIEN, 1000, named=[SerialRange("B-I-1", 1501, 2500)])
    await tell_of_pledge(tell, THIRD_LIEN, 9000, refused=True)
    await tell_of_release(tell, FIRST_LIEN, "paid back in part", 500)
    await tell_of_release(tell, FIRST_LIEN, "too soon", 100, refused=True)
    await tell_of_release(tell, FIRST_LIEN, "paid back", 1000)
    await tell_of_retirements(tell)
    await tell_of_an_order(tell)
    await tell_of_trips(tell)
    await tell_of_the_next_day(tell)
    await tell_of_a_suspension(tell)
    await tell_of_confirmation(tell)
    await tell_of_a_revoked_key(tell)


async def tell_of_a_revoked_key(tell: Teller) -> None:
    id = key_id(public_bytes(VERIFIER_KEY))
    await tell.ask("revocation proposed", "ledger", ProposeKeyRevocation(id), WANG)
    approve = Approve(tell.id_of("revocation proposed"))
    revoked = await tell.ask("revoked", "ledger", approve, LI)
    command = WithdrawKey(id)
    await tell.ask("key withdrawn", "registry", command, SYSTEM, cause=("ledger", revoked))


@asynccontextmanager
async def running_desks() -> AsyncIterator[Teller]:
    """All five writers at work, for as long as a story takes."""
    clock = FixedClock(MORNING_MS)
    desks = {book: Desk(book, domain, clock) for book, domain in DOMAINS.items()}
    for desk in desks.values():
        desk.writer.start(1)
    running = [asyncio.create_task(desk.writer.run()) for desk in desks.values()]
    try:
        tell = Teller(desks, clock)
        tell.hear_all()
        yield tell
        for book, desk in desks.items():
            tell.whole.frames[book] = list(desk.journal.read_frames(0))
    finally:
        for task in running:
            await end(task)
        for desk in desks.values():
            desk.writer.close()


async def _tell() -> Whole:
    async with running_desks() as tell:
        await tell_the_days(tell)
    return tell.whole


def tell_the_whole() -> Whole:
    """The history of all five books, made anew."""
    return asyncio.run(_tell())
