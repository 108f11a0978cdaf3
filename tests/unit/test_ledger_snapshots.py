"""What the checkers know, written down and read back: they go on as if they had folded everything,
find the same lies, and believe no snapshot of other logs than those that were signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from kernel.frames import FrameSigner, StoredEvent
from kernel.journal.snapshots import Head, MemorySnapshots
from kernel.snapshot.recovery import NotBelieved
from services.ledger.books.memory import Memory
from services.ledger.books.port import RuleBroken
from services.ledger.domain.state import State
from services.ledger.log import Standing
from services.ledger.snapshots import CHECKERS, CheckerSnapshots
from tests.support.crossings import BOOKS, Whole, tell_the_whole
from tests.support.lanzhou import seeded_key
from tests.support.ledgers import Books, Json, frame_key, frame_keys, planted

STEP = 13  # snapshots are tried at every thirteenth event of the story
TOO_MUCH = 10**12


@cache
def story() -> Whole:
    return tell_the_whole()


class Roots:
    """Logs of which so much is signed: a root for each size, another for each book."""

    def __init__(self, book: str, size: int = 10**6, salt: str = "") -> None:
        self._book, self._size, self._salt = book, size, salt

    def root(self, size: int) -> bytes:
        if size > self._size:
            raise NotBelieved(f"no checkpoint covers {size}")
        return hashlib.sha256(f"{self._salt}{self._book} {size}".encode()).digest()


def roots(**changed: Roots) -> dict[str, Roots]:
    return {**{book: Roots(book) for book in BOOKS}, **changed}


def fold(books: Books, begin: int, end: int) -> None:
    for book, position in story().order[begin:end]:
        books.fold(book, [story().events[book][position]])


def folded(end: int) -> Books:
    books = Books(BOOKS)
    fold(books, 0, end)
    return books


def standings(end: int) -> dict[str, Standing]:
    told = story().order[:end]
    return {
        name: Standing(sum(book == name for book, _ in told), name.encode() * 4, 1, "")
        for name in BOOKS
    }


def snapshots(
    books: Books,
    store: MemorySnapshots,
    trees: Mapping[str, Roots] | None = None,
    state: State | None = None,
) -> CheckerSnapshots:
    trees = roots() if trees is None else trees
    return CheckerSnapshots(store, frame_keys, trees, Memory(books.checkers), state or State())


def made(end: int, state: State | None = None) -> MemorySnapshots:
    store = MemorySnapshots(CHECKERS)
    signer = FrameSigner(frame_key("ledger"))
    snapshots(folded(end), store, state=state).make(standings(end), signer)
    return store


def restored(store: MemorySnapshots, end: int) -> Books:
    books = Books(BOOKS)
    assert snapshots(books, store).restore() == standings(end)
    return books


def hash_equal(one: Books, store: MemorySnapshots, end: int) -> bool:
    return snapshots(one, store).equals(store.heads()[0], standings(end))


@pytest.mark.parametrize("part", range(4))
def test_checkers_that_begin_at_a_snapshot_come_to_know_all_that_the_others_know(part: int) -> None:
    whole = len(story().order)
    final = made(whole)
    for end in range(part * STEP, whole, 4 * STEP):
        books = restored(made(end), end)
        fold(books, end, whole)
        assert hash_equal(books, final, whole)


def lies(event: StoredEvent) -> list[bytes]:
    """More than there is, in each leg; and another name for each thing that is named."""

    def more(record: Json) -> None:
        record["body"]["legs"][0]["amount"] += TOO_MUCH

    def renamed(record: Json) -> None:
        for name, value in record["body"].items():
            if isinstance(value, str) and value:
                record["body"][name] = value[:-1] + ("2" if value[-1] != "2" else "3")

    said = [planted(event, renamed)]
    return [planted(event, more), *said] if b'"legs":[{' in event.record else said


def verdict(books: Books, book: str, lie: bytes) -> str:
    try:
        books.check(book, lie)
    except RuleBroken as broken:
        return str(broken)
    except Exception as error:
        return repr(error)
    return "in order"


def test_after_a_snapshot_the_same_lies_are_found_for_the_same_reasons() -> None:
    whole = len(story().order)
    found = set()
    for end in range(0, whole, STEP):
        honest, begun = folded(end), restored(made(end), end)
        book, position = story().order[end]
        for lie in lies(story().events[book][position]):
            said = verdict(begun, book, lie)
            assert said == verdict(honest, book, lie)
            found.add(said.partition(":")[0])
    assert len(found - {"in order"}) > 5


def test_books_in_another_order_of_their_events_know_the_same() -> None:
    """What the registry and a market have asked of the accounts book, in whichever order."""
    end = next(n for n in range(len(story().order)) if len(folded(n).accounts.crossings.asked) > 1)
    other = folded(end)
    asked = list(other.accounts.crossings.asked.items())
    other.accounts.crossings.asked.clear()
    other.accounts.crossings.asked.update(reversed(asked))
    assert hash_equal(other, made(end), end)


END = 120


def refusal(store: MemorySnapshots, **given: Any) -> str:
    books = Books(BOOKS)
    with pytest.raises(NotBelieved) as why:
        snapshots(books, store, **given).read(store.heads()[0])
    assert snapshots(books, store, **given).restore() == {}
    assert books.picture() == Books(BOOKS).picture()
    return str(why.value)


def test_a_snapshot_of_other_logs_than_those_that_were_signed_is_not_believed() -> None:
    store = made(END)
    for book in BOOKS:
        other = roots(**{book: Roots(book, salt="forked ")})
        assert "other logs than those that were signed" in refusal(store, trees=other)


def test_a_snapshot_of_more_than_was_signed_is_not_believed() -> None:
    store = made(END)
    short = roots(accounts=Roots("accounts", standings(END)["accounts"].next_position - 1))
    assert "no checkpoint covers" in refusal(store, trees=short)


def test_a_snapshot_of_other_books_is_not_believed() -> None:
    trees = roots()
    del trees["inclusive"]
    assert "not of" in refusal(made(END), trees=trees)


def test_a_start_does_not_begin_behind_a_halt_that_stands() -> None:
    last = standings(END)["accounts"].next_position - 1
    halted = State(halts={("accounts", last, "SUFFICIENT"): ("5", "4")})
    assert f"stands halted at {last} by SUFFICIENT" in refusal(made(END), state=halted)
    ahead = State(halts={("accounts", last + 1, "SUFFICIENT"): ("5", "4")})
    assert snapshots(Books(BOOKS), made(END), state=ahead).restore() == standings(END)


def test_what_two_persons_accepted_since_is_folded_again() -> None:
    """It may have changed what the books know of what lies before the snapshot."""
    store = made(END)
    accepted = State(overrides={("accounts", 5, "JOURNAL_DIFFERS"): [1]})
    assert "other logs" in refusal(store, state=accepted)
    assert snapshots(Books(BOOKS), made(END, accepted), state=accepted).restore() == standings(END)


def test_a_snapshot_signed_by_another_service_is_not_believed() -> None:
    store = MemorySnapshots(CHECKERS)
    thief = FrameSigner(frame_key("accounts"))
    snapshots(folded(END), store).make(standings(END), thief)
    assert "no key of the book's service" in refusal(store)
    stranger = MemorySnapshots(CHECKERS)
    snapshots(folded(END), stranger).make(standings(END), FrameSigner(seeded_key("a stranger")))
    assert "no key of the book's service" in refusal(stranger)


def test_a_chunk_that_was_changed_is_not_read() -> None:
    store = made(END)
    (head,) = store.heads()
    chunks = [store.chunk(head.position, n) or b"" for n in range(len(head.digests) // 32)]
    at = next(n for n, chunk in enumerate(chunks) if b"accounts_balances" in chunk)
    chunks[at] = chunks[at][:-1] + bytes([chunks[at][-1] ^ 1])
    store.save(head.position, chunks, lambda: head)
    assert refusal(store) == f"chunk {at} is not what was signed"


def test_a_signed_snapshot_is_not_believed_at_another_place() -> None:
    """Who can write to the database moves an old one to the front."""
    store = made(END)
    (head,) = store.heads()
    chunks = [store.chunk(head.position, n) or b"" for n in range(len(head.digests) // 32)]
    later: Head = head._replace(position=head.position + 1)
    store.save(later.position, chunks, lambda: later)
    books = Books(BOOKS)
    with pytest.raises(NotBelieved, match="the signature is not by"):
        snapshots(books, store).read(later)
    assert snapshots(books, store).restore() == standings(END)  # the older one stands


def test_a_lie_that_the_services_own_key_has_signed_differs_from_a_fold_from_zero() -> None:
    store = MemorySnapshots(CHECKERS)
    liar = folded(END)
    place = next(iter(liar.accounts.balances))
    liar.accounts.balances[place] += 1
    snapshots(liar, store).make(standings(END), FrameSigner(frame_key("ledger")))
    assert not hash_equal(folded(END), store, END)


def test_what_a_checker_keeps_without_saying_its_type_is_named_when_it_is_made() -> None:
    books = Books(BOOKS)
    vars(books.accounts)["_remembered"] = {}
    with pytest.raises(TypeError, match=r"accounts\._remembered: expected something with its type"):
        Memory(books.checkers)
