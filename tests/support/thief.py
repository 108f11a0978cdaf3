"""Somebody with every service's key and the database's superuser, and no institution's key.

He writes behind the last event of a journal whose service is down, in a frame that its own key
signs: when the service starts, it believes its journal, and so does everybody who only looks at
signatures of services.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Final

from cli.stack.provision import keys_folder
from kernel.frames import Frame, FrameSigner
from kernel.ids import uuid7
from kernel.keys import load_private_key
from tests.support.ledgers import Json, canonical, stored
from tests.support.world import World

KEYS: Final = "KeyRegistered"
SALT: Final = hashlib.sha256(b"a thief's salt").digest()[:16]


class Thief:
    """Looks at the journals first; `write` is for when the services are down."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last: dict[str, Frame] = {
            book: world.frames(book)[-1] for book in world.supervisor.books
        }
        self._records: dict[str, list[Json]] = {
            book: [
                json.loads(event.record) for frame in world.frames(book) for event in frame.events
            ]
            for book in world.supervisor.books
        }

    def last_of(self, book: str, type: str, field: str = "") -> Json:
        """The last event of a type there is, and with a field; to be changed."""
        records = self._records[book]
        found = (one for one in reversed(records) if one["type"] == type)
        return copy.deepcopy(next(one for one in found if not field or field in one["body"]))

    def key_id_of(self, subject: str) -> str:
        """Of an institution: its key is in the directory, and he has it not."""
        registered = (one["body"] for one in self._records["ledger"] if one["type"] == KEYS)
        return next(str(body["key_id"]) for body in registered if body["subject"] == subject)

    def write(self, book: str, lie: Json, **changed: object) -> int:
        """One more event, as it was but for these fields; answers where it stands."""
        last, at = self._last[book], self._records[book][-1]["at"]
        lie.update(at=at, on=at, position=last.last + 1)
        lie.update({"by": uuid7(self._world.clock.now_ms()), **changed})
        event = stored(last.last + 1, canonical(lie), SALT)
        key = load_private_key(keys_folder(self._world.directory, book) / "frame.key")
        (frame,) = FrameSigner(key).cut(book, last.book_id, [event])
        self._world.sql(
            f"INSERT INTO {book}.events (book, position, record, salt) VALUES (%s, %s, %s, %s)",
            *(book, event.position, event.record, event.salt),
        )
        self._world.sql(
            f"INSERT INTO {book}.frames (book, first, last, book_id, commitments, digest, key_id,"
            " signature) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            *(book, frame.first, frame.last, frame.book_id, event.commitment, frame.digest),
            *(frame.key_id, frame.signature),
        )
        self._last[book] = frame
        self._records[book].append(lie)
        return event.position
