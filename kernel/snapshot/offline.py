"""A book read beside its writer, by a process of its own that only reads the journal.

`make_snapshot` follows the journal from the newest snapshot to its end and writes the next one:
off the writer's loop, at the lowest priority. `verify_book` replays from position 0 and holds every
stored snapshot against what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kernel.acts import verify_act
from kernel.asks import Domain
from kernel.clock import SystemClock
from kernel.config import Settings
from kernel.errors import InvariantBroken
from kernel.frames import FrameError, FrameSigner, KeyLookup
from kernel.identities import load_identities
from kernel.journal.database import Engine, open_engine
from kernel.journal.postgres import PostgresJournal
from kernel.journal.snapshots import Head, PostgresSnapshots, Snapshots
from kernel.keys import load_private_key
from kernel.logs import get_logger
from kernel.migrate import check_current
from kernel.snapshot.image import hash_of
from kernel.snapshot.recovery import (
    NotBelieved,
    OtherVersion,
    make,
    recover,
    same_state,
    show_progress,
)
from kernel.writer import Writer

log = get_logger(__name__)

Say = Callable[[str], None]


class Reading(NamedTuple):
    """A book, opened for reading."""

    writer: Writer[Any]
    store: Snapshots
    signer: FrameSigner
    keys: KeyLookup
    engine: Engine


@contextmanager
def opened(name: str, book: str, settings: Settings, domain: Domain[Any]) -> Iterator[Reading]:
    """Without a lease: what this writes is a snapshot and nothing else."""
    identities = load_identities(settings.identities, settings.operator_vkey)
    signer = FrameSigner(load_private_key(settings.frame_key))
    engine = open_engine(settings.database_url)
    try:
        check_current(engine, name)
        writer = Writer(
            PostgresJournal(engine, book),
            domain,
            signer,
            identities.frame_key,
            SystemClock(settings.clock_file),
            origin=f"{settings.log_prefix}/{book}",
            verify=verify_act,
        )
        yield Reading(writer, PostgresSnapshots(engine, book), signer, identities.frame_key, engine)
        writer.close()
    finally:
        engine.dispose()


def make_snapshot(book: Reading) -> Head | None:
    """The next snapshot; None when there is nothing new since the last one."""
    writer = book.writer
    begun = recover(writer, book.store, book.keys)
    if writer.progress.next_position == begun:
        return None
    head = make(writer, book.store, book.signer)
    log.info("snapshot.made", book=writer.book, position=head.position)
    return head


def verify_book(book: Reading, say: Say) -> bool:
    """Replays from zero; says what it finds. False when anything differs from what was signed."""
    writer, equal = book.writer, True
    try:
        for head in reversed(book.store.heads()):
            equal &= _verify_snapshot(book, head, say)
        writer.catch_up(show_progress(writer.book))
    except (FrameError, InvariantBroken) as error:
        say(f"{writer.book}: the journal is not what was signed: {error}")
        return False
    found = hash_of(writer.book, writer.domain, writer.state, writer.progress).hex()
    say(f"{writer.book}: {writer.progress.next_position} events replayed, state {found}")
    return equal


def _verify_snapshot(book: Reading, head: Head, say: Say) -> bool:
    writer, name = book.writer, f"{book.writer.book}: the snapshot at {head.position}"
    if head.position <= writer.journal.head():
        writer.catch_up(show_progress(writer.book), head.position)
    try:
        equal = same_state(writer, book.store, book.keys, head)
    except OtherVersion as why:
        say(f"{name} is not used: {why}")
        return True
    except NotBelieved as why:
        say(f"{name} is not to be believed: {why}")
        return False
    say(f"{name} {'equals' if equal else 'DIFFERS FROM'} a replay from zero")
    return equal
