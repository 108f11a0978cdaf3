"""A signed accounts log of any length in a folder, and a host that shows it (benchmarks/audit.py).

Made without a service, and honest: every record is what the accounts service would write, money
comes in before it is spent, serials are issued by a signed approval and moved by who has them;
salts are random, tiles and checkpoint are those of the ledger. Only frames and rows are missing,
which an auditor never sees. `python -m benchmarks.audited_log FOLDER` serves it as a gateway does.
"""

from __future__ import annotations

import base64
import hashlib
import mmap
import os
import re
import sys
from array import array
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.projection import START_MS, holder_id
from kernel.acts import key_id, public_bytes, sign_act
from kernel.ids import uuid7
from kernel.keyring import KeyAdmitted
from kernel.record import SALT_BYTES, BookOpened, RecordMaker, commit
from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.merkle import leaf_hash
from kernel.tlog.note import ED25519, Signer
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.receipt import leaf_data
from kernel.tlog.tiles import TILE_WIDTH, TileTree, encode_bundle, entries_path, tile_path
from kernel.values import Act, Actor, format_instant
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    EntryPosted,
    Leg,
    Purpose,
    SerialRange,
    Unit,
)

BOOK: Final = "accounts"
ORIGIN: Final = "bench.example/accounts"
PROGRAMME: Final = holder_id(0)
BANK: Final = holder_id(1)
TICKET, MONEY = "TICKET-BENCH-1", "CNY"
BATCH: Final = "B-1"
BLOCK: Final = 100  # serials that move together
BLOCKS: Final = 10_000
DELIVERY_EVERY: Final = 5  # every fifth entry has two legs, units against money
FUNDS_FEN: Final = 10**12
EVENTS_PER_MS: Final = 20
EVENTS, OFFSETS = "events.bin", "events.offsets"

Event = tuple[msgspec.Struct, list[Act]]


def make_log(folder: Path, events: int, holders: int) -> Policy:
    """The log in `folder`/log/accounts, its events beside; answers the policy that trusts it."""
    log = folder / "log" / BOOK
    writer = _Writer(log)
    offsets = array("Q", [0])
    actor = Actor("issuer", "load-1")
    with (folder / EVENTS).open("wb") as file:
        for position, (event, acts) in enumerate(_story(events, holders)):
            at = format_instant(START_MS + position // EVENTS_PER_MS)
            maker = RecordMaker(BOOK, at)
            record = maker.make(event, actor, acts, uuid7(START_MS), None, at, position, None)
            salt = os.urandom(SALT_BYTES)
            file.write(salt + record)
            offsets.append(offsets[-1] + SALT_BYTES + len(record))
            writer.add(leaf_data(BOOK, position, commit(salt, record)))
    (folder / OFFSETS).write_bytes(offsets.tobytes())
    signer = Signer(ORIGIN, ED25519, hashlib.sha256(b"bench").digest())
    writer.end(signer)
    policy = Policy()
    policy.add_log(signer.verifier.vkey)
    policy.set_quorum(NONE)
    return policy


def _story(events: int, holders: int) -> Iterator[Event]:
    people = [holder_id(n + 2) for n in range(holders)]
    beginning = list(_beginning(people))
    yield from beginning
    owners = [n % holders for n in range(BLOCKS)]
    for n in range(events - len(beginning)):
        if n % DELIVERY_EVERY:
            yield EntryPosted(legs=[_payment(people, n % holders, (n * 7 + 1) % holders, n)]), []
        else:
            yield EntryPosted(legs=_delivery(people, owners, n)), []


def _beginning(people: list[str]) -> Iterator[Event]:
    yield BookOpened("0" * 32, ORIGIN, 1), []
    for asset, unit, serialised in ((MONEY, Unit.FEN, False), (TICKET, Unit.T, True)):
        yield AssetDefined(asset, 0, asset, PROGRAMME, serialised, unit), []
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"authority").digest())
    public = public_bytes(key)
    text = base64.b64encode(public).decode()
    yield KeyAdmitted(key_id(public), text, f"authority:{PROGRAMME}", "ed25519"), []
    for person in people:
        bank = Account(PROGRAMME, Purpose.EXTERNAL, BANK)
        yield EntryPosted(legs=[Leg(FUNDS_FEN, MONEY, _own(person), bank, [])]), []
    said = {"asset": TICKET, "batch": BATCH, "first": 1, "last": BLOCKS * BLOCK}
    issued = Account(PROGRAMME, Purpose.ISSUED, "")
    legs = [
        Leg(BLOCK, TICKET, _own(people[n % len(people)]), issued, [_block(n)])
        for n in range(BLOCKS)
    ]
    for begin in range(0, BLOCKS, LEGS_AT_A_TIME):
        batch = f"{BATCH}-{begin // LEGS_AT_A_TIME}"
        part = [_of_batch(leg, batch) for leg in legs[begin : begin + LEGS_AT_A_TIME]]
        approval = sign_act(key, {"kind": "issuance-approval", **said, "batch": batch})
        yield EntryPosted(legs=part), [approval]


LEGS_AT_A_TIME: Final = 100  # an event has at most 64 KiB


def _of_batch(leg: Leg, batch: str) -> Leg:
    (one,) = leg.serials
    serials = [SerialRange(batch, one.first, one.last)]
    return Leg(leg.amount, leg.asset, leg.credit, leg.debit, serials)


def _own(holder: str) -> Account:
    return Account(holder, Purpose.AVAILABLE, "")


def _block(n: int) -> SerialRange:
    return SerialRange(f"{BATCH}-{n // LEGS_AT_A_TIME}", n * BLOCK + 1, (n + 1) * BLOCK)


def _payment(people: list[str], debit: int, credit: int, n: int) -> Leg:
    credit = (credit + 1) % len(people) if debit == credit else credit
    return Leg(n % 97 + 1, MONEY, _own(people[credit]), _own(people[debit]), [])


def _delivery(people: list[str], owners: list[int], n: int) -> list[Leg]:
    """A block goes to somebody else, for money."""
    block = n * 7919 // DELIVERY_EVERY % BLOCKS
    seller = owners[block]
    buyer = (seller + 1 + n % (len(people) - 1)) % len(people)
    owners[block] = buyer
    given = _own(people[seller])
    taken = _own(people[buyer])
    units = Leg(BLOCK, TICKET, taken, given, [_block(block)])
    return [units, Leg(BLOCK * 4_194, MONEY, given, taken, [])]


class _Writer:
    """Bundles and tiles as they fill, then the edge and the checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = TileTree()
        self._entries: list[bytes] = []
        self._bundles = 0

    def add(self, entry: bytes) -> None:
        self._entries.append(entry)
        if len(self._entries) == TILE_WIDTH:
            self._flush()

    def _flush(self) -> None:
        width = len(self._entries)
        self._write(entries_path(self._bundles, width), encode_bundle(self._entries))
        for tile in self._tree.append(list(map(leaf_hash, self._entries))):
            self._write(tile_path(tile.level, tile.n), tile.data)
        self._entries = []
        self._bundles += 1

    def end(self, signer: Signer) -> None:
        if self._entries:
            self._flush()
        for tile in self._tree.edge():
            self._write(tile_path(tile.level, tile.n, len(tile.data) // 32), tile.data)
        head = Checkpoint(ORIGIN, self._tree.size, self._tree.root())
        self._write("checkpoint", sign_checkpoint(head, [signer]))

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# ---- the host -----------------------------------------------------------------------------------


class _Host(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    events: mmap.mmap
    offsets: array[int]

    def do_GET(self) -> None:
        asked = re.fullmatch(
            r"/v1/logs/accounts/disclosed-events\?begin=(\d+)&limit=(\d+)", self.path
        )
        if asked is None:
            super().do_GET()
            return
        begin = int(asked[1])
        end = min(begin + int(asked[2]), len(self.offsets) - 1)
        body = msgspec.json.encode(
            {
                "events": [self._event(position) for position in range(begin, end)],
                "next_position": max(begin, end),
            }
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _event(self, position: int) -> dict[str, object]:
        data = self.events[self.offsets[position] : self.offsets[position + 1]]
        return {"position": position, "record": data[SALT_BYTES:], "salt": data[:SALT_BYTES]}

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(folder: Path) -> None:
    """Prints its port, then serves until it is ended."""
    offsets = array("Q")
    offsets.frombytes((folder / OFFSETS).read_bytes())
    with (folder / EVENTS).open("rb") as file:
        _Host.events = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _Host.offsets = offsets
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Host, directory=str(folder))) as host:
        host.daemon_threads = True
        print(host.server_port, flush=True)
        host.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
