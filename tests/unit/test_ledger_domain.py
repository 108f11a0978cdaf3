"""The ledger's own book: two persons behind whatever changes trust, and its golden vectors.

The vectors `ledger.*.json` under tests/vectors/events were written by the standard library's json
and hashlib. A vector is written once: if one fails, the code is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.acts import key_id, public_bytes
from kernel.errors import Kind
from kernel.record import EventTypes
from kernel.values import DAY_MS
from services.ledger.domain.commands import (
    Approve,
    HaltBook,
    NoteDisagreement,
    PinFirstIdentities,
    ProposeIdentities,
    ProposeKey,
    ProposeKeyRevocation,
    ProposeOverride,
    Withdraw,
)
from services.ledger.domain.decide import decide, due
from services.ledger.domain.events import (
    EVENTS,
    BookHalted,
    IdentitiesPinned,
    IdentitiesProposed,
    KeyProposed,
    KeyRegistered,
    KeyRevocationProposed,
    KeyRevoked,
    OverrideAccepted,
    OverrideProposed,
    ProposalWithdrawn,
    WitnessDisagreed,
)
from services.ledger.domain.evolve import evolve
from services.ledger.domain.state import State
from tests.support.books import MORNING_MS, Book, person
from tests.support.lanzhou import BANK, BANK_KEY, SYSTEM, VENUE_KEY

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "events"
TYPES = EventTypes(*EVENTS)

WANG = person("wang", roles=["operator"])  # proposes
LI = person("li", roles=["operator"])  # approves
WANG_ELSEWHERE = person("wang", roles=["operator"], iss="shenzhen")  # another person altogether
BANK_PUBLIC = public_bytes(BANK_KEY)
BANKS_ID = key_id(BANK_PUBLIC)
BANKS_KEY = ProposeKey(f"bank:{BANK}", "ed25519", BANK_PUBLIC)
HALT = HaltBook("accounts", 41, "SUFFICIENCY", "at least 500", "480")
DISAGREEMENT = NoteDisagreement("accounts", "lzbank", "WITNESS_AHEAD", "up to 300", "999999")
OVERRIDE = ProposeOverride("accounts", 41, "SUFFICIENCY", "booked a day late, statement of 20 Nov")
OLD_DIGEST, NEW_DIGEST = "ab" * 32, "cd" * 32

LedgerBook = Book[State]


@pytest.fixture
def book() -> Iterator[LedgerBook]:
    """An empty ledger's book; whatever a test did to it, its events make the same state again."""
    book = Book(State, decide, evolve)
    yield book
    assert book.replayed() == book.state


def proposed(book: LedgerBook, command: msgspec.Struct) -> str:
    """A proposal by the first person; its id."""
    (event,) = book.when(command, WANG)
    id: str = event.proposal
    return id


def registered(book: LedgerBook) -> LedgerBook:
    book.when(Approve(proposed(book, BANKS_KEY)), LI)
    return book


def halted(book: LedgerBook) -> LedgerBook:
    book.when(HALT, SYSTEM)
    return book


def pinned(book: LedgerBook) -> LedgerBook:
    book.when(PinFirstIdentities(OLD_DIGEST), SYSTEM)
    return book


def nothing(book: LedgerBook) -> LedgerBook:
    return book


# What two persons decide: the scene before it, the proposal, and what the approval makes of it.
DECISIONS = {
    "a key": (nothing, BANKS_KEY, KeyRegistered),
    "a revocation": (registered, ProposeKeyRevocation(BANKS_ID), KeyRevoked),
    "an override": (halted, OVERRIDE, OverrideAccepted),
    "identities": (pinned, ProposeIdentities(NEW_DIGEST), IdentitiesPinned),
}
decisions = pytest.mark.parametrize(
    ("before", "command", "outcome"), DECISIONS.values(), ids=DECISIONS.keys()
)


@decisions
def test_another_person_approves_and_it_happens_with_the_proposer_named(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    id = proposed(before(book), command)
    (event,) = book.when(Approve(id), LI)
    assert type(event) is outcome
    assert (event.proposal, event.proposed_by) == (id, WANG.actor)
    assert book.state.proposals == {}


@decisions
def test_who_proposed_may_not_approve(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    id = proposed(before(book), command)
    refused = book.refusal(Approve(id), WANG)
    assert (refused.reason, refused.kind) == ("MAKER_IS_CHECKER", Kind.FORBIDDEN)
    assert id in book.state.proposals  # somebody else still may


@decisions
def test_a_name_alone_is_not_a_person_its_issuer_belongs_to_it(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    id = proposed(before(book), command)
    (event,) = book.when(Approve(id), WANG_ELSEWHERE)
    assert type(event) is outcome


@decisions
def test_nothing_follows_from_a_proposal_alone(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    before(book)
    keys, overrides, identities = (
        {id: key.revoked for id, key in book.state.keys.items()},
        dict(book.state.overrides),
        book.state.identities,
    )
    proposed(book, command)
    assert {id: key.revoked for id, key in book.state.keys.items()} == keys
    assert (book.state.overrides, book.state.identities) == (overrides, identities)


@decisions
def test_a_withdrawn_proposal_cannot_be_approved(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    id = proposed(before(book), command)
    assert book.when(Withdraw(id), WANG) == [ProposalWithdrawn(id)]
    for again in (Approve(id), Withdraw(id)):
        refused = book.refusal(again, LI)
        assert (refused.reason, refused.kind) == ("UNKNOWN_PROPOSAL", Kind.UNKNOWN)


@decisions
def test_a_proposal_is_carried_out_once(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    id = proposed(before(book), command)
    book.when(Approve(id), LI)
    assert book.refusal(Approve(id), LI).reason == "UNKNOWN_PROPOSAL"
    assert book.refusal(Withdraw(id), WANG).reason == "UNKNOWN_PROPOSAL"


@decisions
def test_nobody_replaces_an_open_proposal_by_one_of_the_same_id(
    book: LedgerBook, before: Any, command: Any, outcome: Any
) -> None:
    """Ids are unique per caller: a second person's command may carry the first one's id."""
    id = proposed(before(book), command)
    refused = book.refusal(command, LI, id=id)
    assert refused.reason == "PROPOSAL_EXISTS"
    assert book.state.proposals[id].by == WANG.actor


def test_unknown_proposals_are_refused_by_name(book: LedgerBook) -> None:
    refused = book.refusal(Approve("no such proposal"), LI)
    assert refused.reason == "UNKNOWN_PROPOSAL"
    assert "'no such proposal'" in refused.message


# ---- keys ---------------------------------------------------------------------------------------


def test_a_registered_key_is_in_the_directory_under_its_hash(book: LedgerBook) -> None:
    registered(book)
    assert hashlib.sha256(BANK_PUBLIC).hexdigest()[:16] == BANKS_ID
    key = book.state.keys[BANKS_ID]
    assert (key.subject, key.suite, key.public_key) == (f"bank:{BANK}", "ed25519", BANK_PUBLIC)
    assert not key.revoked


def test_a_key_is_registered_once_for_whomever(book: LedgerBook) -> None:
    registered(book)
    for subject in (f"bank:{BANK}", "authority:lanzhou"):
        refused = book.refusal(ProposeKey(subject, "ed25519", BANK_PUBLIC), WANG)
        assert (refused.reason, refused.details) == ("KEY_EXISTS", {"key_id": BANKS_ID})


def test_of_two_proposals_for_one_key_the_second_finds_it_taken(book: LedgerBook) -> None:
    first, second = proposed(book, BANKS_KEY), proposed(book, BANKS_KEY)
    book.when(Approve(second), LI)
    assert book.refusal(Approve(first), LI).reason == "KEY_EXISTS"
    book.when(Withdraw(first), LI)
    assert len(book.state.keys) == 1


def test_a_revoked_key_never_comes_back(book: LedgerBook) -> None:
    registered(book)
    book.when(Approve(proposed(book, ProposeKeyRevocation(BANKS_ID))), LI)
    assert book.state.keys[BANKS_ID].revoked
    assert book.refusal(BANKS_KEY, WANG).reason == "KEY_EXISTS"
    assert book.refusal(ProposeKeyRevocation(BANKS_ID), WANG).reason == "UNKNOWN_KEY"


def test_of_two_revocations_the_second_finds_nothing_to_revoke(book: LedgerBook) -> None:
    registered(book)
    revocation = ProposeKeyRevocation(BANKS_ID)
    first, second = proposed(book, revocation), proposed(book, revocation)
    book.when(Approve(first), LI)
    assert book.refusal(Approve(second), LI).reason == "UNKNOWN_KEY"


def test_an_unknown_key_cannot_be_revoked(book: LedgerBook) -> None:
    refused = book.refusal(ProposeKeyRevocation("00" * 8), WANG)
    assert (refused.reason, refused.kind) == ("UNKNOWN_KEY", Kind.UNKNOWN)


@pytest.mark.parametrize(
    "subject",
    [
        "bank:h-2",
        "authority:a",
        "venue:market-lzxq",
        "holder:h-2",
        "verifier:v",
        "pledgee:p",
        "operator:o",
    ],
)
def test_every_role_an_institution_may_sign_in_can_have_a_key(
    book: LedgerBook, subject: str
) -> None:
    book.when(Approve(proposed(book, ProposeKey(subject, "ed25519", BANK_PUBLIC))), LI)
    assert book.state.keys[BANKS_ID].subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        *("", "bank", "bank:", ":h-2", "clerk:h-2", "BANK:h-2", "bank:H-2", "bank:-2", "bank: h"),
        *("bank:h-2\n", "bank:h-2 ", " bank:h-2", "bank:兰州", "bank:h:2", "bank:" + "h" * 62),
    ],
)
def test_a_malformed_subject_is_refused(book: LedgerBook, subject: str) -> None:
    refused = book.refusal(ProposeKey(subject, "ed25519", BANK_PUBLIC), WANG)
    assert (refused.reason, refused.kind) == ("SUBJECT_MALFORMED", Kind.INVALID)


@pytest.mark.parametrize("suite", ["", "ED25519", "sm2", "rsa"])
def test_a_suite_nobody_can_verify_is_refused(book: LedgerBook, suite: str) -> None:
    refused = book.refusal(ProposeKey(f"bank:{BANK}", suite, BANK_PUBLIC), WANG)
    assert (refused.reason, refused.kind) == ("SUITE_UNKNOWN", Kind.INVALID)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(book: LedgerBook, length: int) -> None:
    refused = book.refusal(ProposeKey(f"bank:{BANK}", "ed25519", bytes(length)), WANG)
    assert (refused.reason, refused.kind) == ("KEY_MALFORMED", Kind.INVALID)
    assert f"got {length}" in refused.message


# ---- halts and overrides ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        msgspec.structs.replace(OVERRIDE, book="registry"),
        msgspec.structs.replace(OVERRIDE, position=40),
        msgspec.structs.replace(OVERRIDE, rule="CLAIM"),
    ],
)
def test_an_override_is_proposed_only_where_the_log_is_halted(
    book: LedgerBook, elsewhere: ProposeOverride
) -> None:
    refused = halted(book).refusal(elsewhere, WANG)
    assert refused.reason == "NOT_HALTED_THERE"
    expected = "no halt" if elsewhere.book == "registry" else "SUFFICIENCY at 41"
    assert refused.details == {"actual": expected}


def test_without_a_halt_there_is_nothing_to_override(book: LedgerBook) -> None:
    assert book.refusal(OVERRIDE, WANG).reason == "NOT_HALTED_THERE"


def test_an_accepted_override_ends_the_halt_and_is_counted(book: LedgerBook) -> None:
    book.when(Approve(proposed(halted(book), OVERRIDE)), LI)
    assert book.state.halts == {}
    assert book.state.overrides == {("accounts", 41, "SUFFICIENCY"): [0]}
    assert book.refusal(OVERRIDE, WANG).reason == "NOT_HALTED_THERE"
    book.when(Approve(proposed(halted(book), OVERRIDE)), LI)  # the same halt, found anew
    assert book.state.overrides == {("accounts", 41, "SUFFICIENCY"): [0, 0]}


def test_an_override_ahead_of_its_halt_accepts_nothing(book: LedgerBook) -> None:
    """However it came into the journal: the halt stands when it comes."""
    asked = (OVERRIDE.book, OVERRIDE.justification, OVERRIDE.position, "p", WANG.actor)
    book.given(OverrideProposed(*asked, OVERRIDE.rule), OverrideAccepted(*asked, OVERRIDE.rule))
    assert book.state.overrides == {}
    assert halted(book).state.halts == {("accounts", 41, "SUFFICIENCY"): ("at least 500", "480")}


def test_of_two_overrides_of_one_halt_the_second_finds_no_halt(book: LedgerBook) -> None:
    halted(book)
    first, second = proposed(book, OVERRIDE), proposed(book, OVERRIDE)
    book.when(Approve(first), LI)
    assert book.refusal(Approve(second), LI).reason == "NOT_HALTED_THERE"


def test_an_override_of_one_halt_leaves_the_next_standing(book: LedgerBook) -> None:
    id = proposed(halted(book), OVERRIDE)
    book.when(msgspec.structs.replace(HALT, position=42, rule="CLAIM"), SYSTEM)
    book.when(Approve(id), LI)
    assert book.state.halts.keys() == {("accounts", 42, "CLAIM")}
    assert book.refusal(OVERRIDE, WANG).details == {"actual": "CLAIM at 42"}


@pytest.mark.parametrize(
    ("justification", "reason"),
    [("", "MISSING_VALUE"), ("x" * 2001, "TEXT_TOO_LONG"), ("a\x00b", "TEXT_NOT_PRINTABLE")],
)
def test_an_override_says_why(book: LedgerBook, justification: str, reason: str) -> None:
    asked = msgspec.structs.replace(OVERRIDE, justification=justification)
    assert halted(book).refusal(asked, WANG).reason == reason


def test_a_halt_of_one_book_leaves_the_others_alone(book: LedgerBook) -> None:
    halted(book)
    book.when(msgspec.structs.replace(HALT, book="registry", position=3), SYSTEM)
    book.when(Approve(proposed(book, OVERRIDE)), LI)
    assert book.state.halts.keys() == {("registry", 3, "SUFFICIENCY")}


def test_a_halt_says_what_was_found_in_bounded_words(book: LedgerBook) -> None:
    long = msgspec.structs.replace(HALT, expected="e" * 5000, actual="a" * 5000)
    (event,) = book.when(long, SYSTEM)
    assert event == BookHalted("a" * 1000, "accounts", "e" * 1000, 41, "SUFFICIENCY")


def test_a_witness_that_disagrees_is_noted_once_a_day(book: LedgerBook) -> None:
    day = MORNING_MS // DAY_MS
    assert book.when(DISAGREEMENT, SYSTEM) == [
        WitnessDisagreed("999999", "accounts", day, "up to 300", "WITNESS_AHEAD", "lzbank")
    ]
    again = msgspec.structs.replace(DISAGREEMENT, actual="1000000")
    assert book.refusal(again, SYSTEM).reason == "DISAGREEMENT_NOTED"
    (other,) = book.when(msgspec.structs.replace(DISAGREEMENT, rule="FORKED"), SYSTEM)
    assert other.rule == "FORKED"
    assert book.state.disagreed == {
        ("accounts", "lzbank", "WITNESS_AHEAD"): day,
        ("accounts", "lzbank", "FORKED"): day,
    }


@pytest.mark.parametrize("command", [HALT, DISAGREEMENT, PinFirstIdentities(OLD_DIGEST)])
def test_what_the_ledger_says_by_itself_nobody_else_may_say(
    book: LedgerBook, command: msgspec.Struct
) -> None:
    for caller in (WANG, LI):
        refused = book.refusal(command, caller)
        assert (refused.reason, refused.kind) == ("ROLE_MISSING", Kind.FORBIDDEN)


# ---- identities ---------------------------------------------------------------------------------


def test_the_first_identities_are_taken_as_found_and_only_once(book: LedgerBook) -> None:
    assert book.when(PinFirstIdentities(OLD_DIGEST), SYSTEM) == [
        IdentitiesPinned(OLD_DIGEST, None, None)
    ]
    assert book.state.identities == OLD_DIGEST
    refused = book.refusal(PinFirstIdentities(NEW_DIGEST), SYSTEM)
    assert refused.reason == "ALREADY_PINNED"


def test_two_persons_can_change_the_identities(book: LedgerBook) -> None:
    book.when(Approve(proposed(pinned(book), ProposeIdentities(NEW_DIGEST))), LI)
    assert book.state.identities == NEW_DIGEST
    assert book.refusal(PinFirstIdentities(OLD_DIGEST), SYSTEM).reason == "ALREADY_PINNED"


def test_identities_in_force_need_no_proposal(book: LedgerBook) -> None:
    refused = pinned(book).refusal(ProposeIdentities(OLD_DIGEST), WANG)
    assert refused.reason == "ALREADY_PINNED"


@pytest.mark.parametrize(
    "digest", ["", "ab" * 31, "AB" * 32, "ab" * 33, "zz" * 32, "ab" * 32 + "\n"]
)
def test_a_digest_is_a_sha_256_in_lower_case_hex(book: LedgerBook, digest: str) -> None:
    refused = book.refusal(ProposeIdentities(digest), WANG)
    assert (refused.reason, refused.kind) == ("DIGEST_MALFORMED", Kind.INVALID)


def test_nothing_falls_due_in_this_book(book: LedgerBook) -> None:
    halted(book)
    assert list(due(book.state, MORNING_MS + 10**12)) == []


# ---- vectors ------------------------------------------------------------------------------------

FILES = sorted(VECTORS.rglob("ledger.*.json"))
vectors = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@vectors
def test_a_vector_can_be_evolved(path: Path) -> None:
    _, body = TYPES.decode_canonical(json.loads(path.read_text())["record"].encode())
    state = State()
    if isinstance(body, KeyRevoked):
        public_key = base64.b64encode(public_bytes(VENUE_KEY)).decode()
        subject = "venue:market-lzxq"
        evolve(
            state, KeyRegistered(body.key_id, "", body.proposed_by, public_key, subject, "ed25519")
        )
    evolve(state, body)


PROPOSALS = (KeyProposed, KeyRevocationProposed, OverrideProposed, IdentitiesProposed)


@pytest.mark.parametrize("event", PROPOSALS, ids=lambda event: event.__name__)
def test_every_proposal_names_its_maker(event: type[msgspec.Struct]) -> None:
    assert {"proposal", "proposed_by"} <= set(event.__struct_fields__)
