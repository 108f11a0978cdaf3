"""What must hold in a world at rest, worked out again from the journals, naively.

Nothing of the services' own folding is used: balances are added up leg by leg, serials one by one,
roots by the recursion of RFC 9162 over leaves written with the standard library's JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.ledger.v1 import ledger_pb2 as lb

from cli.stack.provision import identities_file, operator_signer, policy_file
from kernel.frames import Frame, StoredEvent, verify_frame
from kernel.identities import load_identities
from kernel.projection import recorded_by
from kernel.record import EventTypes, RawRecord
from kernel.rpc.items import timestamp_of
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.policy import parse_policy
from kernel.values import parse_instant
from services.accounts import projections as accounts_projections
from services.inclusive import projections as inclusive_projections
from services.inclusive.domain import events as inclusive_events
from services.market import projections as market_projections
from services.market.domain import events as market_events
from services.registry import projections as registry_projections
from services.registry.domain import events as registry_events
from tests.support.books import person

if TYPE_CHECKING:
    from tests.support.world import World

AUDITOR = person("checker of worlds", roles=["auditor"])
TERMINAL = {"surrendered", "retired", "cancelled", "expired", "carried_over"}
REACTIONS_S = 30.0

Place = tuple[str, str, str, str]  # holder, asset, purpose, ref
Serial = tuple[str, str, int]  # asset, batch, number
Raw = dict[str, Any]


def check_world(world: World) -> None:
    """Fails on the first thing that does not hold. Nothing may be written meanwhile."""
    await_answers(world)
    for book in world.supervisor.books:
        events = check_journal(world, book)
        records = [json.loads(event.record) for event in events]
        check_records(book, records)
        check_commands(world, book, records)
        if book == "accounts":
            check_balances(world, records)
            check_past(world, records)
        if book in READ_MODELS:
            check_read_models(world, book, events)


def await_answers(world: World) -> None:
    """What one book says and another has to answer is answered, and what it asked for has ended.

    Sooner or later: else it would be in the middle of the check.
    """
    deadline_s = time.monotonic() + REACTIONS_S
    while open_ones := unanswered(world):
        assert time.monotonic() < deadline_s, f"never answered: {sorted(open_ones)}"
        time.sleep(0.1)


def unanswered(world: World) -> set[tuple[str, str, int]]:
    """Who has not answered which event: (book that should, source, position)."""
    books = {book: world.records(book) for book in world.supervisor.books}
    wanted = {
        (answerer, source, raw.position)
        for (source, answerer), asks in ANSWERS.items()
        for raw in books.get(source, ())
        if answerer in books and asks(raw)
    }
    given = {(book, *raw.cause) for book, records in books.items() for raw in records if raw.cause}
    return (wanted - given) | open_errands(books)


def open_errands(books: Mapping[str, Sequence[RawRecord]]) -> set[tuple[str, str, int]]:
    """Requests of a book to another one that have not ended."""
    found: set[tuple[str, str, int]] = set()
    for book, records in books.items():
        open_ones: dict[tuple[str, ...], int] = {}
        for raw in records:
            name, begins = ERRANDS.get((book, raw.type), ((), False))
            if not name:
                continue
            body = json.loads(bytes(raw.body))
            for told in body.get("settlements", [body]):
                key = (name[0], *(str(told[field]) for field in name[1:]))
                if begins:
                    open_ones[key] = raw.position
                else:
                    assert key in open_ones, (
                        f"{book} at {raw.position}: {key} ended twice, or never was"
                    )
                    del open_ones[key]
        found |= {(book, book, position) for position in open_ones.values()}
    return found


def is_key_news(raw: RawRecord) -> bool:
    return raw.type in ("KeyRegistered", "KeyRevoked")


def is_told_in_the_registry(raw: RawRecord) -> bool:
    """A retirement, or an order over pledged units."""
    body = json.loads(bytes(raw.body))
    if raw.type == "TransferPosted":
        return any(leg["debit"]["purpose"] == "pledged" for leg in body["legs"])
    return raw.type == "EntryPosted" and "claim" in body


def is_told_at_the_market(raw: RawRecord) -> bool:
    """What comes into trading there, or a holder's status."""
    if raw.type == "HolderStatusSet":
        return True
    if raw.type != "EntryPosted":
        return False
    sides = [(leg["debit"], leg["credit"]) for leg in json.loads(bytes(raw.body))["legs"]]
    return any(
        debit["purpose"] == "available"
        and (credit["purpose"], credit["ref"]) == ("trading", "market")
        for debit, credit in sides
    )


# What an event of a source asks of another book: the answer names it as its cause.
ANSWERS = {
    ("ledger", "accounts"): is_key_news,
    ("ledger", "registry"): is_key_news,
    ("ledger", "inclusive"): is_key_news,
    ("accounts", "registry"): is_told_in_the_registry,
    ("accounts", "market"): is_told_at_the_market,
}
# Requests and their ends: a name and the fields that tell one from another; does it begin here?
ERRANDS: dict[tuple[str, str], tuple[tuple[str, ...], bool]] = {
    ("registry", "IssuanceApproved"): (("issue", "issuance"), True),
    ("registry", "IssuanceCompleted"): (("issue", "issuance"), False),
    ("registry", "IssuanceRefused"): (("issue", "issuance"), False),
    ("registry", "PledgeRequested"): (("pledge", "lien"), True),
    ("registry", "PledgeRegistered"): (("pledge", "lien"), False),
    ("registry", "PledgeRefused"): (("pledge", "lien"), False),
    ("registry", "ReleaseRequested"): (("release", "lien", "release"), True),
    ("registry", "PledgeReleased"): (("release", "lien", "release"), False),
    ("registry", "ReleaseRefused"): (("release", "lien", "release"), False),
    ("market", "TradesMade"): (("settle", "settlement"), True),
    ("market", "SettlementsEnded"): (("settle", "settlement"), False),
    ("market", "ReleaseRequested"): (("release", "release"), True),
    ("market", "ReleaseCompleted"): (("release", "release"), False),
    ("market", "ReleaseRefused"): (("release", "release"), False),
}


def check_journal(world: World, book: str) -> list[StoredEvent]:
    """Every frame is signed, positions have no gap, and the log's root is that of these events."""
    identities = load_identities(
        identities_file(world.directory), operator_signer(world.directory).verifier.vkey
    )
    frames, signed = at_rest(world, book)
    events: list[StoredEvent] = []
    for frame in frames:
        verify_frame(frame, identities.frame_key)
        assert frame.first == len(events)
        assert frame.book_id == frames[0].book_id
        events.extend(frame.events)
    leaves = [leaf(book, event) for event in events]
    assert signed.root == root(leaves), f"{book}: the log is not that of the journal"
    rows = world.sql(f"SELECT position FROM {book}.events WHERE book = %s ORDER BY 1", book)
    assert [position for (position,) in rows] == list(range(len(events)))
    return events


def at_rest(world: World, book: str) -> tuple[list[Frame], Checkpoint]:
    """The journal and the published checkpoint over exactly all of it."""
    policy = parse_policy(policy_file(world.directory).read_bytes())
    while True:
        frames = world.frames(book)
        status = world.status(book)
        assert not status.HasField("halt"), f"{book} is halted: {status.halt}"
        world.prove(book, frames[-1].last)
        request = lb.GetCheckpointRequest(book=book)
        note = world.call(world.ledger.GetCheckpoint, request).checkpoint
        signed = policy.open_checkpoint(note).checkpoint
        if signed.size == frames[-1].last + 1:  # else something was recorded meanwhile
            return frames, signed


def leaf(book: str, event: StoredEvent) -> bytes:
    """What stands in the public tree for an event."""
    commitment = base64.b64encode(hashlib.sha256(event.salt + event.record).digest()).decode()
    fields = {"book": book, "commitment": commitment, "position": event.position, "v": 1}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def check_records(book: str, records: Sequence[Raw]) -> None:
    """Records name their own place; time never goes back; epochs rise."""
    assert [(raw["book"], raw["position"]) for raw in records] == [
        (book, position) for position in range(len(records))
    ]
    instants = [raw["at"] for raw in records]
    assert instants == sorted(instants)
    epochs = [raw["body"]["epoch"] for raw in records if raw["type"] == "WriterStarted"]
    assert epochs == sorted(set(epochs))


def check_commands(world: World, book: str, records: Sequence[Raw]) -> None:
    """What was acknowledged is there once, at the position that was named; the rest at most once.

    The events of one command stand together, so an id that comes again later happened twice.
    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)  # where each run of events begins
    before: tuple[str, str] | None = None
    for raw in records:
        key = (raw["actor"]["sub"], raw["by"])
        if key != before and not raw["actor"]["iss"].startswith("book:"):
            found[key].append(raw["position"])
        before = key
    sent = {(c.sub, c.id): first for c, first in world.sent.items() if c.book == book}
    for key, first in sent.items():
        positions = found.pop(key, [])
        if first is not None:
            assert positions == [first], f"{key}: acknowledged at {first}, found at {positions}"
        assert len(positions) <= 1, f"{key}: happened {len(positions)} times"
    for key, positions in found.items():  # of tools and services that keep their own notes
        assert len(positions) == 1, f"{key}: happened {len(positions)} times"
        assert world.has_strangers, f"an event nobody asked for: {key} at {positions}"


def fold(records: Sequence[Raw]) -> tuple[dict[Place, int], dict[Serial, Place]]:
    """Balances that are not zero, and where each serial lies."""
    balances: dict[Place, int] = defaultdict(int)
    places: dict[Serial, Place] = {}
    for raw in records:
        for leg in raw["body"].get("legs", ()):
            source, target = (
                (leg[side]["holder"], leg["asset"], leg[side]["purpose"], leg[side]["ref"])
                for side in ("debit", "credit")
            )
            assert source[2] not in TERMINAL, f"position {raw['position']} moves {source}"
            balances[source] -= leg["amount"]
            balances[target] += leg["amount"]
            for serial in serials_of(leg):
                if source[2] == "issued":
                    assert serial not in places, f"{serial} was issued twice"
                else:
                    assert places[serial] == source, f"{serial} was not in {source}"
                places[serial] = target
    return {place: amount for place, amount in balances.items() if amount}, places


def serials_of(leg: Raw) -> Iterator[Serial]:
    for block in leg["serials"]:
        for number in range(block["first"], block["last"] + 1):
            yield leg["asset"], block["batch"], number


def check_balances(world: World, records: Sequence[Raw]) -> None:
    """The service answers what the journal adds up to, for every holder and every serial."""
    balances, places = fold(records)
    answered: dict[Place, int] = {}
    lying: dict[Serial, Place] = {}
    holders = [raw["body"]["holder"] for raw in records if raw["type"] == "HolderRegistered"]
    for holder in holders:
        request = pb.GetBalancesRequest(holder=holder, min_position=len(records) - 1)
        for one in world.call(world.accounts.GetBalances, request, AUDITOR).balances:
            purpose = pb.Purpose.Name(one.account.purpose).removeprefix("PURPOSE_").lower()
            place = (one.account.holder, one.asset, purpose, one.account.ref)
            answered[place] = one.amount
            for block in one.serials:
                for number in range(block.first, block.last + 1):
                    assert (one.asset, block.batch, number) not in lying
                    lying[one.asset, block.batch, number] = place
    assert answered == balances
    assert lying == places
    for total in world.call(world.accounts.GetTotals, pb.GetTotalsRequest(), AUDITOR).totals:
        assert total.sum == 0
        assert total.negative_accounts == 0
        assert total.issued == -sum(
            amount for (_, asset, kind, _), amount in balances.items()
            if (asset, kind) == (total.asset, "issued")
        )  # fmt: skip


def check_past(world: World, records: Sequence[Raw]) -> None:
    """At some positions and instants of the past the service answers what was there then.

    And every anchor of the read models is what the journal adds up to there.
    """
    last = len(records) - 1
    recorded = [raw["at"] for raw in records]
    for position in sorted({0, last // 3, last // 2, last * 4 // 5, last}):
        at = recorded[position]
        seen = bisect_right(recorded, at) - 1
        for question, shown in (({"position": position}, position), ({"at": instant(at)}, seen)):
            answered = held_then(world, records, shown, question)
            assert answered == fold(records[: shown + 1]), f"at {question}"
    anchors = world.sql("SELECT holder, position, holdings FROM accounts.anchors")
    for holder, position, data in anchors:
        balances, _ = fold(records[: position + 1])
        anchored = {
            (holder, asset, purpose, ref): held["amount"]
            for asset, purpose, ref, held in json.loads(bytes(data))
        }
        assert anchored == {place: n for place, n in balances.items() if place[0] == holder}


def held_then(
    world: World, records: Sequence[Raw], shown: int, question: Mapping[str, Any]
) -> tuple[dict[Place, int], dict[Serial, Place]]:
    """What GetBalances says of every holder at a moment: amounts, and where each serial lay."""
    answered: dict[Place, int] = {}
    lying: dict[Serial, Place] = {}
    for raw in records:
        if raw["type"] != "HolderRegistered":
            continue
        request = pb.GetBalancesRequest(holder=raw["body"]["holder"], **question)
        answer = world.call(world.accounts.GetBalances, request, AUDITOR, patience_s=REACTIONS_S)
        assert answer.as_of_position == shown
        for one in answer.balances:
            purpose = pb.Purpose.Name(one.account.purpose).removeprefix("PURPOSE_").lower()
            place = (one.account.holder, one.asset, purpose, one.account.ref)
            answered[place] = one.amount
            for block in one.serials:
                for number in range(block.first, block.last + 1):
                    lying[one.asset, block.batch, number] = place
    return answered, lying


def instant(text: str) -> Any:
    return timestamp_of(parse_instant(text))


def check_read_models(world: World, book: str, events: Sequence[StoredEvent]) -> None:
    """The read models, made again from zero in tables of our own, are those of the service."""
    model = READ_MODELS[book]
    await_projected(world, book, model.reader, len(events))
    recorded = [model.decode(event) for event in events]
    engine = sa.create_engine(world.admin_url)
    try:
        with engine.connect() as connection:
            for table in (
                *model.tables,
                *model.kept_now_and_then,
            ):  # temporary tables come first in the search path
                connection.exec_driver_sql(
                    f"CREATE TEMP TABLE {table} (LIKE {book}.{table} INCLUDING ALL)"
                )
            model.make()(connection, recorded)
            for table in model.tables:
                mine, theirs = f"SELECT * FROM {table}", f"SELECT * FROM {book}.{table}"
                for one, other in ((mine, theirs), (theirs, mine)):
                    left = connection.exec_driver_sql(f"{one} EXCEPT ALL {other}").all()
                    assert not left, f"{table}: {left[:3]}"
    finally:
        engine.dispose()


def await_projected(world: World, book: str, reader: str, next_position: int) -> None:
    query = f"SELECT next_position FROM {book}.watermarks WHERE reader = %s AND book = %s"
    deadline_s = time.monotonic() + REACTIONS_S
    while (world.sql(query, reader, book) or [(0,)])[0][0] < next_position:
        assert time.monotonic() < deadline_s, f"{reader} does not reach {next_position}"
        time.sleep(0.1)


class ReadModel(NamedTuple):
    """How the tables of a book are made: by which reader, from what it sees of an event."""

    reader: str
    decode: Callable[[StoredEvent], Any]
    make: Callable[[], Callable[[sa.Connection, Sequence[Any]], None]]
    tables: tuple[str, ...]
    # What is right wherever it stands, and stands where the process happened to put it.
    kept_now_and_then: tuple[str, ...] = ()


READ_MODELS = {
    "accounts": ReadModel(
        accounts_projections.READER,
        accounts_projections.decode_moves,
        lambda: accounts_projections.MovesProjection().project_moves,
        ("moves", "moved_serials", "public_transfers", "settlement_parts"),
        ("anchors",),
    ),
    "registry": ReadModel(
        registry_projections.READER,
        recorded_by(EventTypes(*registry_events.EVENTS)),
        lambda: registry_projections.project_retirements,
        ("retirements", "retired_serials"),
    ),
    "market": ReadModel(
        market_projections.READER,
        recorded_by(EventTypes(*market_events.EVENTS)),
        lambda: market_projections.project_orders,
        ("orders", "trades", "releases", "endings"),
    ),
    "inclusive": ReadModel(
        inclusive_projections.READER,
        recorded_by(EventTypes(*inclusive_events.EVENTS)),
        lambda: inclusive_projections.project_trips,
        ("trips",),
    ),
}
