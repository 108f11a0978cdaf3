"""The logs' own keys: whose turn it is, what the independent books catch, which files sign."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.errors import InvariantBroken, Kind, Misconfigured, Refused
from kernel.keys import make_note_key
from kernel.tlog.encoding import encode_base64
from kernel.tlog.keychange import KeyChange, sign_key_change
from kernel.tlog.note import COSIGNATURE, ED25519, Signer, Verifier
from kernel.tlog.policy import Policy, parse_policy
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.port import RuleBroken
from services.ledger.domain.commands import (
    Approve,
    LogKeyNote,
    ProposeLogKey,
    ProposeLogKeyRetirement,
    Withdraw,
)
from services.ledger.domain.decide import decide
from services.ledger.domain.events import LogKeyAnnounced, LogKeyProposed, LogKeyRetired
from services.ledger.domain.evolve import evolve
from services.ledger.domain.state import LogKeys, State
from services.ledger.logkeys import KeyFolder, open_keys, policy_of
from tests.support.books import Book, person

PREFIX = "lanzhou.example"
WANG = person("wang", roles=["operator"])  # proposes
LI = person("li", roles=["operator"])  # approves


def key(what: str, book: str = "accounts") -> Signer:
    return Signer(f"{PREFIX}/{book}", ED25519, what.encode().ljust(32, b"."))


FIRST, SECOND, THIRD, THIEF = key("first"), key("second"), key("third"), key("thief")
OURS = {one.verifier.vkey: one for one in (FIRST, SECOND, THIRD)}


def note(old: Signer, new: Signer, *signers: Signer) -> str:
    return encode_base64(sign_key_change(KeyChange(old.verifier, new.verifier, 1), signers))


def spoilt(statement: str) -> str:
    """Of another time than was signed."""
    return encode_base64(base64.b64decode(statement).replace(b"time 1", b"time 2"))


def rotation(old: Signer = FIRST, new: Signer = SECOND) -> ProposeLogKey:
    return ProposeLogKey("accounts", old.verifier.vkey, new.verifier.vkey)


def approval(proposed: Any) -> Approve:
    """As the ledger's RPC makes it of what is proposed: for a log's key with the note of both."""
    if not isinstance(proposed, LogKeyProposed):
        return Approve(proposed.proposal)
    old, new = OURS[proposed.old_vkey], OURS[proposed.new_vkey]
    made = LogKeyNote(proposed.book, proposed.old_vkey, proposed.new_vkey, note(old, new, old, new))
    return Approve(proposed.proposal, made)


def retirement(
    going: Signer, successor: Signer, reason: str = "rotated", statement: str = ""
) -> ProposeLogKeyRetirement:
    return ProposeLogKeyRetirement(
        "accounts", going.verifier.vkey, successor.verifier.vkey, reason, statement
    )


UNDER_ANOTHER_NAME = ProposeLogKey(
    "registry",
    key("first of registry", "registry").verifier.vkey,
    key("first", "registry").verifier.vkey,
)
REPLACED = retirement(FIRST, SECOND, "leaked", note(FIRST, SECOND, SECOND))


class Told:
    """The ledger's book, decided by the domain and checked by the independent books as it goes."""

    def __init__(self) -> None:
        self.book = Book(State, decide, evolve)
        self.checker = LedgerBook()
        self.position = 0

    def when(self, command: msgspec.Struct, who: Any, id: str = "") -> Any:
        (event,) = self.book.when(command, who, id=id or None)
        self.fold(self.record(event, who))
        return event

    def record(self, event: Any, who: Any) -> dict[str, Any]:
        at = "2026-11-20T01:30:00.000Z"
        body = msgspec.to_builtins(event)
        by = body["proposal"] if "Proposed" in type(event).__name__ else "the approval"
        actor = {"iss": who.actor.iss, "sub": who.actor.sub}
        return {
            **{"actor": actor, "at": at, "body": body, "book": "ledger", "by": by, "cause": None},
            **{"on": at, "position": self.position, "type": type(event).__name__, "v": 1},
        }

    def check(self, record: dict[str, Any]) -> tuple[Any, Any]:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        raw, body = self.checker.types.decode_canonical(text.encode())
        self.checker.check(raw, body)
        return raw, body

    def fold(self, record: dict[str, Any]) -> None:
        self.checker.apply(*self.check(record))
        self.position += 1

    def agreed(self, command: msgspec.Struct) -> Any:
        return self.when(approval(self.when(command, WANG)), LI)

    def refusal(self, command: msgspec.Struct) -> str:
        return self.book.refusal(command, WANG).reason


@pytest.fixture
def told() -> Iterator[Told]:
    story = Told()
    yield story
    assert story.book.replayed() == story.book.state


def keys_of(told: Told) -> LogKeys:
    return told.book.state.log_keys["accounts"]


def test_a_key_is_announced_signs_beside_the_old_one_and_then_alone(told: Told) -> None:
    announced = told.agreed(rotation())
    assert isinstance(announced, LogKeyAnnounced)
    assert (keys_of(told).current, keys_of(told).announced) == (
        FIRST.verifier.vkey,
        SECOND.verifier.vkey,
    )
    retired = told.agreed(retirement(FIRST, SECOND))
    assert isinstance(retired, LogKeyRetired)
    assert keys_of(told) == LogKeys(
        SECOND.verifier.vkey, None, announced.statement, {FIRST.verifier.vkey: "rotated"}
    )
    assert told.agreed(rotation(SECOND, THIRD)).old_vkey == SECOND.verifier.vkey


def test_who_proposes_a_key_may_not_approve_it_and_may_take_it_back(told: Told) -> None:
    proposed = told.when(rotation(), WANG)
    assert told.book.refusal(approval(proposed), WANG).reason == "MAKER_IS_CHECKER"
    told.when(Withdraw(proposed.proposal), WANG)
    assert told.book.state.log_keys == {}


def test_a_leaked_key_is_replaced_at_once_without_its_signature(told: Told) -> None:
    told.agreed(REPLACED)
    assert keys_of(told).current == SECOND.verifier.vkey
    assert keys_of(told).retired == {FIRST.verifier.vkey: "leaked"}


def test_when_both_have_leaked_a_third_follows_and_neither_comes_back(told: Told) -> None:
    told.agreed(rotation())
    told.agreed(retirement(FIRST, THIRD, "leaked", note(FIRST, THIRD, THIRD)))
    assert set(keys_of(told).retired) == {FIRST.verifier.vkey, SECOND.verifier.vkey}
    assert told.refusal(rotation(THIRD, SECOND)) == "LOG_KEY_USED"


def test_an_announced_key_that_leaks_goes_and_the_old_one_stays(told: Told) -> None:
    told.agreed(rotation())
    told.agreed(retirement(SECOND, FIRST, "leaked"))
    assert (keys_of(told).current, keys_of(told).announced) == (FIRST.verifier.vkey, None)
    assert told.refusal(rotation()) == "LOG_KEY_USED"


@pytest.mark.parametrize(
    ("before", "command", "reason"),
    [
        ([], retirement(FIRST, SECOND, "rotated", note(FIRST, SECOND, SECOND)), "LOG_KEY_NOT_ANN"),
        ([], retirement(FIRST, SECOND), "LOG_KEY_STATEMENT"),
        ([], retirement(FIRST, SECOND, "bored", note(FIRST, SECOND, SECOND)), "LOG_KEY_REASON"),
        ([rotation()], rotation(FIRST, THIRD), "LOG_KEY_ANNOUNCED"),
        ([rotation()], rotation(THIRD, SECOND), "LOG_KEY_NOT_IN_FORCE"),
        ([rotation()], retirement(FIRST, SECOND, "rotated", "a note"), "LOG_KEY_STATEMENT"),
        ([rotation()], retirement(THIRD, SECOND), "LOG_KEY_NOT_IN_FORCE"),
        ([REPLACED], rotation(SECOND, FIRST), "LOG_KEY_USED"),
        ([REPLACED], UNDER_ANOTHER_NAME, "LOG_KEY_USED"),
        ([REPLACED], rotation(FIRST, THIRD), "LOG_KEY_NOT_IN_FORCE"),
    ],
)
def test_a_change_out_of_turn_is_refused(
    told: Told, before: list[Any], command: Any, reason: str
) -> None:
    for one in before:
        told.agreed(one)
    assert told.refusal(command).startswith(reason)


def test_what_was_in_turn_when_proposed_must_be_so_when_approved(told: Told) -> None:
    one, other = told.when(rotation(), WANG), told.when(rotation(FIRST, THIRD), WANG)
    told.when(approval(one), LI)
    assert told.book.refusal(approval(other), LI).reason == "LOG_KEY_ANNOUNCED"


def test_a_key_is_approved_with_the_note_of_this_very_change(told: Told) -> None:
    proposed, other = told.when(rotation(), WANG), told.when(rotation(FIRST, THIRD), WANG)
    for note in (None, approval(other).note):
        asked = Approve(proposed.proposal, note)
        assert told.book.refusal(asked, LI).reason == "LOG_KEY_STATEMENT"
    told.when(approval(proposed), LI)


# ---- the independent books ----------------------------------------------------------------------

Lie = Callable[[dict[str, Any]], None]


def body(**changed: Any) -> Lie:
    return lambda record: record["body"].update(changed)


NEIGHBOUR, ITS_NEXT = key("first", "registry"), key("second", "registry")
ANNOUNCING = {
    "LOG_KEY_SIGNED": [
        body(statement=note(FIRST, SECOND, SECOND)),  # the old key's signature is missing
        body(statement=note(FIRST, SECOND, SECOND, THIEF)),
        body(statement="nothing"),
        body(statement=spoilt(note(FIRST, SECOND, FIRST, SECOND))),
    ],
    "LOG_KEY_STATEMENT": [
        body(statement=note(FIRST, THIEF, FIRST, THIEF)),
        body(statement=note(THIRD, SECOND, THIRD, SECOND)),
    ],
    "LOG_KEY_ORIGIN": [body(statement=note(NEIGHBOUR, ITS_NEXT, NEIGHBOUR, ITS_NEXT))],
    "PROPOSER": [lambda record: record["body"]["proposed_by"].update(sub="zhao")],
}
LIES = [(rule, lie) for rule, lies in ANNOUNCING.items() for lie in lies]


@pytest.mark.parametrize(("rule", "lie"), LIES, ids=lambda one: one if isinstance(one, str) else "")
def test_an_announcement_that_the_old_key_did_not_sign_is_named(
    told: Told, rule: str, lie: Lie
) -> None:
    (event,) = told.book.when(approval(told.when(rotation(), WANG)), LI)
    record = told.record(event, LI)
    lie(record)
    with pytest.raises(RuleBroken) as broken:
        told.check(record)
    assert broken.value.rule == rule


def test_a_proposal_that_brings_the_old_keys_signature_is_no_record(told: Told) -> None:
    (event,) = told.book.when(rotation(), WANG)
    record = told.record(event, WANG)
    record["body"]["statement"] = note(FIRST, SECOND, FIRST, SECOND)
    with pytest.raises(InvariantBroken, match="statement"):
        told.check(record)


def test_what_is_announced_is_what_was_proposed_by_somebody_else(told: Told) -> None:
    proposed = told.when(rotation(), WANG)
    (event,) = told.book.when(approval(proposed), LI)
    other = note(FIRST, THIRD, FIRST, THIRD)
    for rule, who, changed in (
        ("TWO_PERSONS", WANG, {}),
        ("AS_PROPOSED", LI, {"new_vkey": THIRD.verifier.vkey, "statement": other}),
        ("PROPOSAL_OPEN", LI, {"proposal": "another"}),
    ):
        record = told.record(event, who)
        record["body"].update(changed)
        with pytest.raises(RuleBroken) as broken:
            told.check(record)
        assert broken.value.rule == rule
    told.fold(told.record(event, LI))


def test_what_is_retired_is_what_was_proposed(told: Told) -> None:
    proposed = told.when(REPLACED, WANG)
    (event,) = told.book.when(Approve(proposed.proposal), LI)
    record = told.record(event, LI)
    record["body"]["reason"] = "lost"
    with pytest.raises(RuleBroken, match="AS_PROPOSED"):
        told.check(record)


RETIREMENTS: list[tuple[list[Any], Any, dict[str, Any], str]] = [
    (
        [rotation()],
        retirement(FIRST, SECOND),
        {"vkey": THIRD.verifier.vkey},
        "LOG_KEY_IN_FORCE",
    ),
    ([rotation()], retirement(FIRST, SECOND), {"reason": "bored"}, "LOG_KEY_REASON"),
    ([rotation()], retirement(FIRST, SECOND), {"statement": "a note"}, "LOG_KEY_STATEMENT"),
    (
        [rotation()],
        retirement(FIRST, SECOND),
        {"successor": THIEF.verifier.vkey},
        "LOG_KEY_UNDER_WAY",
    ),
    ([], REPLACED, {"successor": THIEF.verifier.vkey}, "LOG_KEY_STATEMENT"),
    ([], REPLACED, {"statement": spoilt(REPLACED.statement)}, "LOG_KEY_SIGNED"),
    ([], REPLACED, {"reason": "rotated"}, "LOG_KEY_UNDER_WAY"),
    (
        [REPLACED],
        retirement(SECOND, THIRD, "lost", note(SECOND, THIRD, THIRD)),
        {"successor": FIRST.verifier.vkey, "statement": note(SECOND, FIRST, FIRST)},
        "LOG_KEY_NEW",
    ),
    ([rotation()], retirement(FIRST, SECOND), {"book": "registry"}, "LOG_KEY_UNDER_WAY"),
    ([], REPLACED, {"book": "registry"}, "LOG_KEY_ORIGIN"),
    ([], REPLACED, {"vkey": THIRD.verifier.vkey}, "LOG_KEY_STATEMENT"),
]
# Told by a writer that lets everything pass: what came before, and what comes out of turn.
LATE: list[tuple[list[Any], Any, str]] = [
    ([rotation(), retirement(FIRST, SECOND)], rotation(FIRST, THIRD), "LOG_KEY_IN_FORCE"),
    ([rotation()], rotation(FIRST, THIRD), "LOG_KEY_UNDER_WAY"),
    ([REPLACED], rotation(SECOND, FIRST), "LOG_KEY_NEW"),
]


@pytest.mark.parametrize(("before", "command", "rule"), LATE)
def test_an_announcement_out_of_turn_is_named(before: list[Any], command: Any, rule: str) -> None:
    told = Told()
    for one in before:
        told.agreed(one)
    (event,) = Told().book.when(command, WANG)
    with pytest.raises(RuleBroken) as broken:
        told.check(told.record(event, WANG))
    assert broken.value.rule == rule


@pytest.mark.parametrize(("before", "command", "changed", "rule"), RETIREMENTS)
def test_a_retirement_out_of_turn_is_named(
    told: Told, before: list[Any], command: Any, changed: dict[str, Any], rule: str
) -> None:
    for one in before:
        told.agreed(one)
    (event,) = told.book.when(command, WANG)
    record = told.record(event, WANG)
    record["body"].update(changed)
    with pytest.raises(RuleBroken) as broken:
        told.check(record)
    assert broken.value.rule == rule


# ---- files --------------------------------------------------------------------------------------


def write(folder: Path, name: str, signer: Signer) -> None:
    path = folder / name
    path.write_text(signer.private() + "\n")
    path.chmod(0o600)


@pytest.fixture
def files(tmp_path: Path) -> KeyFolder:
    write(tmp_path, "accounts.skey", FIRST)
    write(tmp_path, f"accounts.{SECOND.key_id:08x}.skey", SECOND)
    write(tmp_path, "registry.skey", key("first of registry", "registry"))
    return KeyFolder(tmp_path, PREFIX)


def signing(files: KeyFolder, told: Told) -> list[Verifier]:
    now = open_keys(files, ("accounts", "registry"), told.book.state)["accounts"].now
    return [one.verifier for one in now.signers]


def test_a_prepared_file_signs_nothing_until_the_events_say_so(
    files: KeyFolder, told: Told
) -> None:
    assert signing(files, told) == [FIRST.verifier]
    told.agreed(rotation())
    assert signing(files, told) == [FIRST.verifier, SECOND.verifier]
    told.agreed(retirement(FIRST, SECOND))
    assert signing(files, told) == [SECOND.verifier]


def test_what_is_served_as_policy_names_the_keys_in_force_and_the_deployments_witnesses(
    files: KeyFolder, told: Told
) -> None:
    told.agreed(rotation())
    deployed, url = Policy(), "https://logs.lanzhou.example/accounts"
    deployed.add_log(THIEF.verifier.vkey, url)  # as the ledger's own key was named before
    deployed.add_witness("w1", Signer("w1.example", COSIGNATURE, bytes(32)).verifier.vkey)
    deployed.set_quorum("w1")
    told_now = policy_of(deployed, open_keys(files, ("accounts", "registry"), told.book.state))
    served = parse_policy(told_now.encode())
    neighbour = key("first of registry", "registry")
    keys = [FIRST.verifier, SECOND.verifier, neighbour.verifier]
    assert [log.key for log in served.logs] == keys
    assert [log.url for log in served.logs] == [url, url, None]
    assert (list(served.witnesses), served.quorum) == (["w1"], "w1")


def test_a_key_in_force_without_a_file_is_missing_and_nothing_is_complete(
    files: KeyFolder, told: Told, tmp_path: Path
) -> None:
    told.agreed(rotation())
    (tmp_path / "accounts.skey").unlink()
    now = files.in_force("accounts", told.book.state.log_keys["accounts"])
    assert (now.missing, now.complete) == ((FIRST.verifier.vkey,), False)
    told.agreed(retirement(FIRST, SECOND, "lost"))
    assert files.in_force("accounts", told.book.state.log_keys["accounts"]).complete
    (tmp_path / "registry.skey").unlink()
    assert files.in_force("registry", None).missing == (
        "the first key of lanzhou.example/registry",
    )


def test_the_ledger_announces_only_a_key_whose_file_it_has(files: KeyFolder, told: Told) -> None:
    first, second, third = OURS
    assert files.followed("accounts", None, second) == first
    assert files.announce("accounts", first, second, 1) == note(FIRST, SECOND, FIRST, SECOND)
    asks: list[Callable[[], str]] = [
        lambda: files.followed("accounts", None, third),
        lambda: files.announce("accounts", first, third, 1),
    ]
    for ask in asks:
        with pytest.raises(Refused) as refused:
            ask()
        assert (refused.value.reason, refused.value.kind) == ("LOG_KEY_NOT_HERE", Kind.RULE)


def test_a_key_of_another_log_in_a_logs_file_is_misconfigured(
    files: KeyFolder, tmp_path: Path
) -> None:
    write(tmp_path, "accounts.skey", key("first of registry", "registry"))
    with pytest.raises(Misconfigured, match="expected an Ed25519 key of lanzhou"):
        files.first("accounts")
    (tmp_path / "accounts.skey").unlink()
    make_note_key(tmp_path / "accounts.skey", f"{PREFIX}/accounts", COSIGNATURE)
    with pytest.raises(Misconfigured, match="expected an Ed25519 key"):
        files.first("accounts")


# ---- every place that can name a rule (test_ledger_rules.py) -------------------------------------


def test_every_lie_about_a_logs_key_is_named_by_its_place() -> None:
    for rule, lie in LIES:
        test_an_announcement_that_the_old_key_did_not_sign_is_named(Told(), rule, lie)
    for before, command, changed, rule in RETIREMENTS:
        test_a_retirement_out_of_turn_is_named(Told(), before, command, changed, rule)
    test_what_is_announced_is_what_was_proposed_by_somebody_else(Told())
    test_what_is_retired_is_what_was_proposed(Told())
    for before, command, rule in LATE:
        test_an_announcement_out_of_turn_is_named(before, command, rule)
