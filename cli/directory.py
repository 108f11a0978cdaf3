"""Keys of institutions into the ledger's directory: one person proposes, another approves.

Idempotent: what the directory lists already is left alone. A key counts in a book once that book
has heard of it, a moment later, and a refusal that only means "not yet" would be an outcome for
ever: so who signs waits first. `await_admitted` reads the books, which an auditor may;
`wait_until_known` asks the accounts book for something that must be refused either way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.clients import Books, Entry, Leg, Outcome, Persona
from kernel.acts import key_id, public_bytes, sign_act
from kernel.clock import Clock
from kernel.errors import Conflict, Kind, Refused
from kernel.ids import uuid7

PROPOSER: Final = Persona("gao.ledger", ("ledger-operator",))
APPROVER: Final = Persona("ma.ledger", ("ledger-operator",))
KNOWN_WITHIN_S: Final = 15.0  # an event, two hops and a fold; a service may just be starting
ASK_EVERY_S: Final = 0.1
# What a statement that says nothing is refused for, once its key counts.
KEY_IS_KNOWN: Final = frozenset({"ACT_MISSING", "ACT_MALFORMED"})


async def register_keys(
    books: Books, clock: Clock, keys: Mapping[str, Ed25519PrivateKey]
) -> dict[str, str]:
    """Puts the public key of each subject ("bank:h-…") into the directory; key ids by subject.

    Raises Refused when the directory has the key under another subject, or has ended it.
    """
    listed = {key.key_id: key for key in await books.keys()}
    ids = {}
    for subject, key in keys.items():
        public = public_bytes(key)
        ids[subject] = id = key_id(public)
        known = listed.get(id)
        if known is None:
            await _register(books, clock, subject, public)
        elif known.revoked or known.subject != subject:
            actual = "an ended one" if known.revoked else known.subject
            raise Refused("KEY_EXISTS", f"key {id}: expected one of {subject}, got {actual}")
    return ids


async def _register(books: Books, clock: Clock, subject: str, public: bytes) -> None:
    proposal = uuid7(clock.now_ms())
    accept(await books.propose_key(PROPOSER, proposal, subject, public))
    accept(await books.approve(APPROVER, uuid7(clock.now_ms()), proposal))


async def wait_until_known(
    books: Books, clock: Clock, who: Persona, key: Ed25519PrivateKey, legs: tuple[Leg, ...]
) -> None:
    """Returns once the accounts book counts this key; Conflict after KNOWN_WITHIN_S.

    `legs` and `who` are those of an entry the key will sign for: the rules before the signature
    must let them pass. The statement says nothing, so nothing is ever posted.
    """
    act = sign_act(key, {"kind": "nothing"})
    loop = asyncio.get_running_loop()
    end_s = loop.time() + KNOWN_WITHIN_S
    while loop.time() < end_s:
        entry = Entry(uuid7(clock.now_ms()), legs, acts=(act,))
        (outcome,) = await books.post_entries(who, [entry])
        if outcome.reason in KEY_IS_KNOWN:
            return
        if outcome.reason != "ACT_KEY_UNKNOWN":
            accept(outcome)
        await asyncio.sleep(ASK_EVERY_S)
    raise Conflict(
        "KEY_NOT_KNOWN_YET",
        f"expected the accounts book to know key {act.key_id} within {KNOWN_WITHIN_S:.0f} s,"
        " it does not",
    )


async def await_admitted(
    books: Books, reader: Persona, key: str, since: Mapping[str, int], within_s: float
) -> None:
    """Returns once each of these books has admitted a key; Conflict after `within_s`.

    `since`: book to a position from before the key was proposed. Books hear of keys in the order of
    the directory, so the last key of several stands for all of them. `reader` is an auditor.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    for book, start in since.items():
        position, admitted = start, False
        while True:
            async for event in books.read_events(reader, book, position):
                position = event.position + 1
                admitted = admitted or _admits(event.record, key)
            if admitted:
                break
            if loop.time() >= end_s:
                raise Conflict(
                    "KEY_NOT_KNOWN_YET",
                    f"expected the {book} book to admit key {key} within {within_s:.0f} s,"
                    " it has not",
                )
            await asyncio.sleep(ASK_EVERY_S)


def _admits(record: bytes, key: str) -> bool:
    if b'"KeyAdmitted"' not in record:
        return False
    said = json.loads(record)
    return bool(said["type"] == "KeyAdmitted" and said["body"]["key_id"] == key)


def accept(outcome: Outcome) -> Outcome:
    """The outcome of what must have been accepted; raises what refused it."""
    if not outcome.accepted:
        raise Refused(outcome.reason, outcome.message, Kind.RULE, **outcome.details)
    return outcome
