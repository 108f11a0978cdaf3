"""A log's change of key: who signed the note, and who may follow it."""

from __future__ import annotations

import hashlib

import pytest

from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.errors import FormatError, NoteError, PolicyError
from kernel.tlog.keychange import KeyChange, follow, open_key_change, sign_key_change
from kernel.tlog.note import COSIGNATURE, ED25519, Signer, sign_note
from kernel.tlog.policy import parse_policy

ORIGIN = "lanzhou.example/accounts"
WHEN_S = 1_795_138_200


def key(what: str, name: str = ORIGIN, kind: int = ED25519) -> Signer:
    return Signer(name, kind, hashlib.sha256(what.encode()).digest())


OLD, NEW, NEXT, THIEF = key("old"), key("new"), key("next"), key("thief")
WITNESS = key("witness", "witness.lzbank.example", COSIGNATURE)
POLICY = f"""# whom 兰州银行 trusts
log {OLD.verifier.vkey} https://logs.lanzhou.example/accounts
log {key("registry", "lanzhou.example/registry").verifier.vkey}
witness w1 {WITNESS.verifier.vkey}
quorum w1
""".encode()


def change(old: Signer = OLD, new: Signer = NEW) -> KeyChange:
    return KeyChange(old.verifier, new.verifier, WHEN_S)


def announced(old: Signer = OLD, new: Signer = NEW) -> bytes:
    return sign_key_change(change(old, new), [old, new])


def test_an_announcement_says_which_key_follows_which_and_that_both_agree() -> None:
    opened = open_key_change(announced())
    assert (opened.change, opened.announced) == (change(), True)
    assert opened.change.origin == ORIGIN


def test_without_the_old_keys_signature_nothing_was_announced() -> None:
    assert not open_key_change(sign_key_change(change(), [NEW])).announced
    assert not open_key_change(sign_key_change(change(), [NEW, THIEF])).announced


def test_whoever_does_not_hold_the_new_key_cannot_name_it() -> None:
    with pytest.raises(NoteError, match="expected a signature of the new key"):
        open_key_change(sign_key_change(change(), [OLD]))


def test_a_note_changed_afterwards_is_not_believed() -> None:
    forged = announced().replace(f"time {WHEN_S}".encode(), b"time 1")
    with pytest.raises(NoteError, match="does not verify"):
        open_key_change(forged)
    other = sign_key_change(change(OLD, THIEF), [THIEF])
    line = announced().split(b"\n\n")[1].split(b"\n")[0]
    with pytest.raises(NoteError, match="does not verify"):
        open_key_change(other + line + b"\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, OLD),
        (OLD, key("new", "lanzhou.example/registry")),
        (OLD, key("new", ORIGIN, COSIGNATURE)),
        (key("old", ORIGIN, COSIGNATURE), NEW),
    ],
)
def test_only_another_log_key_of_the_same_log_can_follow(old: Signer, new: Signer) -> None:
    with pytest.raises(FormatError):
        change(old, new).text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("tanzhang-log-key/v1", "tanzhang-log-key/v2"),
        lambda text: text.replace("origin lanzhou", "origin shenzhen"),
        lambda text: text.replace("time ", "time 0"),
        lambda text: text + "more\n",
        lambda text: text.replace("old ", "new "),
        lambda text: text.replace("\norigin", "\n\norigin"),
    ],
)
def test_only_the_one_spelling_is_a_change(spoil: object) -> None:
    text = spoil(change().text())  # type: ignore[operator]
    with pytest.raises(FormatError):
        open_key_change(sign_note(text, [OLD.line(text), NEW.line(text)]))


def test_a_checkpoint_is_no_change_of_a_key() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), [OLD, NEW])
    with pytest.raises(FormatError):
        open_key_change(note)


def test_a_policy_follows_and_keeps_the_old_key_for_what_it_has_signed() -> None:
    followed, what = follow(POLICY, announced())
    assert what == change()
    address = " https://logs.lanzhou.example/accounts\n"
    old, new = f"log {OLD.verifier.vkey}{address}", f"log {NEW.verifier.vkey}{address}"
    assert followed.decode() == POLICY.decode().replace(old, old + new)
    instead, _ = follow(POLICY, announced(), instead=True)
    assert instead.decode() == POLICY.decode().replace(old, new)


def test_a_followed_policy_opens_checkpoints_of_either_key_and_of_both() -> None:
    both = parse_policy(follow(POLICY, announced())[0])
    new = parse_policy(follow(POLICY, announced(), instead=True)[0])
    checkpoint = Checkpoint(ORIGIN, 7, bytes(32))
    for policy, signers, opens in (
        (both, [OLD], True),
        (both, [NEW], True),
        (both, [OLD, NEW], True),
        (new, [OLD, NEW], True),
        (new, [OLD], False),
        (parse_policy(POLICY), [OLD, NEW], True),
        (parse_policy(POLICY), [NEW], False),
    ):
        note = sign_checkpoint(checkpoint, [*signers, WITNESS], WHEN_S)
        if opens:
            assert policy.open_checkpoint(note).checkpoint == checkpoint
        else:
            with pytest.raises(NoteError, match="expected a signature of"):
                policy.open_checkpoint(note)


def test_a_policy_follows_one_key_after_another() -> None:
    once, _ = follow(POLICY, announced())
    twice, _ = follow(once, announced(NEW, NEXT))
    keys = [log.key for log in parse_policy(twice).logs if log.key.name == ORIGIN]
    assert keys == [OLD.verifier, NEW.verifier, NEXT.verifier]
    assert follow(twice, announced())[0] == twice  # and the same note again changes nothing


def test_nobody_follows_a_thief_or_a_key_they_do_not_know() -> None:
    for note, told in (
        (announced(THIEF, NEW), "a change of a key the policy knows"),
        (sign_key_change(change(), [NEW]), "got the new one's alone"),
        (announced(NEW, NEXT), "a change of a key the policy knows"),
    ):
        with pytest.raises(PolicyError, match=told):
            follow(POLICY, note)
