"""The replay itself: a plan's instructions as commands, in order of date, and a look at the result.

Ids derive from the plan's keys and dates, so a second run asks for the same and changes nothing.
Business time is the day itself, at 00:00 UTC. Issuances carry an approval signed by a key made
here: it is ours and not the registry's, and the report says so. A refused row stops no other.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.progress import Progress

from cli.clients import (
    MAX_ENTRIES,
    Account,
    Asset,
    Balance,
    Books,
    Claim,
    Entry,
    Holder,
    Leg,
    Movement,
    Outcome,
    Persona,
    SerialRange,
    Total,
    in_parts,
)
from cli.directory import accept, register_keys, wait_until_known
from cli.own_stack import own_stack
from cli.receipts import fetch_receipts, write_receipt
from cli.replay.progress import shown_progress
from cli.replay.vrod_plan import (
    DATASET,
    DefineAsset,
    DefineHolder,
    Instruction,
    Issue,
    Plan,
    Retire,
)
from cli.replay.vrod_report import make_report
from cli.trust import read_policy
from cli.workspace import Workspace
from kernel.acts import sign_act
from kernel.ids import derived_holder_id, derived_id
from kernel.tlog.errors import ReceiptError
from kernel.tlog.receipt import verify_receipt

BOOK: Final = "accounts"
PROGRAMME_NAME: Final = "American Carbon Registry (replayed from the Berkeley database)"
AUTHORITY_KEY: Final = "vrod-authority"
CHECKER: Final = "vrod.authority"  # stands in the approvals; nobody calls under this name
BACKDATING_DAYS: Final = 36_500  # the tables begin in 2001
NOT_STATED: Final = "not stated"
MAX_TOKEN_HOLDERS: Final = 200  # a token is at most 8 KiB, and a holder's id takes 28 bytes of it
BALANCES_AT_A_TIME: Final = 16

REGISTRAR: Final = Persona("vrod.registrar", ("registrar",))
AUDITOR: Final = Persona("vrod.auditor", ("auditor",))
POSTER: Final = "vrod.replay"


@dataclass
class Fed:
    """What the services answered, by the instruction's key, and how long it took."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    balances: list[Balance] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    histories: list[tuple[Retire, list[Movement]]] = field(default_factory=list)
    receipts_made: int = 0
    receipts_refused: list[tuple[int, str]] = field(default_factory=list)
    key_id: str = ""
    started_here: bool = False
    posted_s: float = 0.0
    proven_s: float = 0.0
    total_s: float = 0.0


def replay(directory: Path, plan: Plan) -> dict[str, Any]:
    """Feeds a plan to the services of a data folder (starting them if need be); the report."""
    started_s = time.monotonic()
    with own_stack(directory) as supervisor:
        fed = asyncio.run(_replay(Workspace(directory), plan))
    fed.started_here = supervisor is not None
    fed.total_s = time.monotonic() - started_s
    return make_report(plan, fed)


async def _replay(workspace: Workspace, plan: Plan) -> Fed:
    with shown_progress() as progress:
        async with Books(workspace) as books:
            feed = _Feed(workspace, books, plan, progress)
            await feed.define()
            await feed.post()
            await feed.look()
            await feed.make_receipts()
            return feed.fed


class _Feed:
    """One run over one plan."""

    def __init__(self, workspace: Workspace, books: Books, plan: Plan, progress: Progress) -> None:
        self._workspace = workspace
        self._books = books
        self._plan = plan
        self._progress = progress
        self._programme = derived_holder_id(DATASET, f"{DATASET}/programme/ACR")
        self._authority: Ed25519PrivateKey = workspace.institution_key(AUTHORITY_KEY)
        self._dated = [one for one in plan.instructions if isinstance(one, Issue | Retire)]
        self._last = 0
        self.fed = Fed()

    # ---- definitions ----------------------------------------------------------------------------

    async def define(self) -> None:
        """The programme, the account holders, the assets, and the key that approves issuances."""
        programme = Holder(
            derived_id(0, DATASET, "programme"), self._programme, "programme", PROGRAMME_NAME
        )
        (outcome,) = await self._books.register_holders(REGISTRAR, [programme])
        accept(outcome)
        holders = [one for one in self._plan.instructions if isinstance(one, DefineHolder)]
        for holder_part in self._parts("holders", holders):
            people = [
                Holder(derived_id(0, one.key), _holder(one.key), "foreign", one.name)
                for one in holder_part
            ]
            self._keep(holder_part, await self._books.register_holders(REGISTRAR, people))
        assets = [one for one in self._plan.instructions if isinstance(one, DefineAsset)]
        for asset_part in self._parts("assets", assets):
            credits = [self._asset(one) for one in asset_part]
            self._keep(asset_part, await self._books.define_assets(REGISTRAR, credits))
        await self._admit_key()

    def _asset(self, one: DefineAsset) -> Asset:
        return Asset(
            derived_id(0, one.key),
            one.asset,
            one.unit,
            one.name,
            self._programme,
            one.serialised,
            BACKDATING_DAYS,
        )

    async def _admit_key(self) -> None:
        subject = f"authority:{self._programme}"
        clock = self._workspace.clock
        ids = await register_keys(self._books, clock, {subject: self._authority})
        self.fed.key_id = ids[subject]
        for one in self._dated:
            if isinstance(one, Issue) and self._is_defined(one):
                legs = self._entry(one).legs
                who = Persona(POSTER, ("registry",))
                await wait_until_known(self._books, clock, who, self._authority, legs)
                return

    def _is_defined(self, issue: Issue) -> bool:
        """Its asset and holders are known: the rules before the signature let it pass."""
        wanted = {f"{DATASET}/asset/{issue.asset}", *(leg.holder for leg in issue.legs)}
        return all(key in self.fed.outcomes and self.fed.outcomes[key].accepted for key in wanted)

    # ---- issuances and retirements --------------------------------------------------------------

    async def post(self) -> None:
        """By date, in batches: what is retired may have been issued in the same call."""
        started_s = time.monotonic()
        task = self._progress.add_task("entries", total=len(self._dated))
        for part in cut(self._dated):
            holders = {_holder(one.holder) for one in part if isinstance(one, Retire)}
            who = Persona(POSTER, ("registry",), tuple(sorted(holders)))
            self._keep(part, await self._books.post_entries(who, list(map(self._entry, part))))
            self._progress.advance(task, len(part))
        self.fed.posted_s = time.monotonic() - started_s
        if self._last:
            await self._books.proofs(BOOK, [self._last])
        self.fed.proven_s = time.monotonic() - started_s

    def _entry(self, one: Issue | Retire) -> Entry:
        on_ms = _midnight_ms(one.on)
        id = derived_id(on_ms, one.key)
        if isinstance(one, Retire):
            holder = _holder(one.holder)
            serials = (SerialRange(one.batch, one.first, one.last),)
            legs: tuple[Leg, ...] = (
                Leg(
                    Account(holder), Account(holder, "retired"), one.asset, one.quantity_t, serials
                ),
            )
            claim = Claim(one.account_holder or NOT_STATED, one.reason or NOT_STATED, one.details)
            return Entry(id, legs, on_ms, claim)
        issued = Account(self._programme, "issued")
        legs = tuple(
            Leg(
                issued,
                Account(_holder(leg.holder)),
                one.asset,
                leg.quantity_t,
                (SerialRange(one.batch, leg.first, leg.last),),
            )
            for leg in one.legs
        )
        approval = {
            "kind": "issuance-approval",
            "asset": one.asset,
            "batch": one.batch,
            "checker": CHECKER,
            "document": f"ACR_issuances.csv row {one.row}",
            "first": one.first,
            "last": one.last,
            "owners": [{"holder": leg.credit.holder, "quantity_t": leg.amount} for leg in legs],
            "programme": self._programme,
        }
        return Entry(id, legs, on_ms, acts=(sign_act(self._authority, approval),))

    # ---- what came of it ------------------------------------------------------------------------

    async def look(self) -> None:
        """Totals, every account of the plan's holders, and the way of a few serials."""
        assets = {one.asset for one in self._plan.instructions if isinstance(one, DefineAsset)}
        totals = await self._books.totals(AUDITOR, "", self._last)
        self.fed.totals = [one for one in totals if one.asset in assets]
        holders = [one for one in self._plan.instructions if isinstance(one, DefineHolder)]
        task = self._progress.add_task("accounts", total=len(holders))
        for part in in_parts(holders, BALANCES_AT_A_TIME):
            asked = (self._books.balances(AUDITOR, _holder(one.key)) for one in part)
            for found in await asyncio.gather(*asked):
                self.fed.balances += [one for one in found if one.asset in assets]
            self._progress.advance(task, len(part))
        retired = self._retired()
        for one in (
            retired[at] for at in sorted({0, len(retired) // 2, len(retired) - 1}) if retired
        ):
            moves = await self._books.serial_history(
                AUDITOR, one.asset, one.batch, one.first, self._last
            )
            self.fed.histories.append((one, moves))

    def _retired(self) -> list[Retire]:
        """The retirements that are recorded."""
        return [
            one
            for one in self._dated
            if isinstance(one, Retire) and self.fed.outcomes[one.key].accepted
        ]

    async def make_receipts(self) -> None:
        """A receipt of every recorded retirement, each of them verified against the policy."""
        policy = read_policy(self._workspace.policy_file)
        positions = [self.fed.outcomes[one.key].position or 0 for one in self._retired()]
        task = self._progress.add_task("receipts", total=len(positions))
        async for position, data in fetch_receipts(self._books, AUDITOR, BOOK, positions):
            write_receipt(self._workspace.receipts, BOOK, position, data)
            self.fed.receipts_made += 1
            try:
                verified = verify_receipt(data, policy)
                if verified.position != position:
                    raise ReceiptError("proof", f"expected {position}, got {verified.position}")
            except ReceiptError as error:
                self.fed.receipts_refused.append((position, str(error)))
            self._progress.advance(task)

    # ---- keeping --------------------------------------------------------------------------------

    def _parts(self, name: str, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        task = self._progress.add_task(name, total=len(items))
        for part in in_parts(items, MAX_ENTRIES):
            yield part
            self._progress.advance(task, len(part))

    def _keep(self, part: Sequence[Instruction], outcomes: Sequence[Outcome]) -> None:
        for one, outcome in zip(part, outcomes, strict=True):
            self.fed.outcomes[one.key] = outcome
            self._last = max(self._last, outcome.position or 0)


def cut(dated: Sequence[Issue | Retire]) -> Iterator[list[Issue | Retire]]:
    """Consecutive batches of at most MAX_ENTRIES that retire for at most MAX_TOKEN_HOLDERS."""
    part: list[Issue | Retire] = []
    holders: set[str] = set()
    for one in dated:
        more = holders | {one.holder} if isinstance(one, Retire) else holders
        if len(part) == MAX_ENTRIES or len(more) > MAX_TOKEN_HOLDERS:
            yield part
            part, more = [], {one.holder} if isinstance(one, Retire) else set()
        part.append(one)
        holders = more
    if part:
        yield part


def _holder(key: str) -> str:
    """The holder id of a plan's holder key."""
    return derived_holder_id(DATASET, key)


def _midnight_ms(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * 86_400_000
