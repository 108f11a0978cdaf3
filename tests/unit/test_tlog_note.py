"""Signed notes, keys, checkpoints and cosignatures, beyond what the vectors fix."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.tlog import checkpoint as cp
from kernel.tlog import merkle, note
from kernel.tlog.errors import FormatError, NoteError, TlogError

ORIGIN = "tanzhang.example/registry"
LOG = note.Signer(ORIGIN, note.ED25519, sha256(b"registry").digest())
LANZHOU = note.Signer("witness.example/lanzhou", note.COSIGNATURE, sha256(b"lanzhou").digest())
POST_QUANTUM = cp.MldsaSigner("witness.example/pq", note.MLDSA44, sha256(b"pq").digest())
NEW_YEAR_S = 1_767_225_600
HEAD = cp.Checkpoint(ORIGIN, 3, merkle.root([bytes(32)] * 3))


def test_a_checkpoint_signed_and_cosigned_opens_with_its_times() -> None:
    signed = cp.sign_checkpoint(HEAD, [LOG])
    signed = note.add_lines(signed, [cp.cosign_line(signed, LANZHOU, NEW_YEAR_S)])
    signed = note.add_lines(signed, [cp.cosign_line(signed, POST_QUANTUM, NEW_YEAR_S + 1)])
    opened = cp.open_checkpoint(signed, LOG.verifier, [LANZHOU.verifier, POST_QUANTUM.verifier])
    assert opened.checkpoint == HEAD
    assert (opened.log.name, opened.log.timestamp_s) == (ORIGIN, None)
    assert [(s.name, s.timestamp_s) for s in opened.cosignatures] == [
        (LANZHOU.name, NEW_YEAR_S),
        (POST_QUANTUM.name, NEW_YEAR_S + 1),
    ]
    assert opened.unknown == ()


def test_all_three_signatures_can_be_made_at_once_by_the_log() -> None:
    own = cp.MldsaSigner(ORIGIN, note.MLDSA44, sha256(b"pq log").digest())
    signed = cp.sign_checkpoint(HEAD, [LOG, own], NEW_YEAR_S)
    opened = cp.open_checkpoint(signed, LOG.verifier, [own.verifier])
    assert [s.kind for s in opened.cosignatures] == [note.MLDSA44]
    assert cp.open_checkpoint(signed, own.verifier).log.timestamp_s == NEW_YEAR_S


def test_a_witness_we_do_not_know_is_reported_and_not_believed() -> None:
    signed = cp.sign_checkpoint(HEAD, [LOG, LANZHOU], NEW_YEAR_S)
    opened = cp.open_checkpoint(signed, LOG.verifier)
    assert opened.cosignatures == ()
    assert [s.name for s in opened.unknown] == [LANZHOU.name]


def test_a_key_that_signs_twice_counts_once() -> None:
    lines = [LANZHOU.line(HEAD.text(), NEW_YEAR_S + n) for n in (1, 2)]
    opened = note.open_note(note.sign_note(HEAD.text(), lines), [LANZHOU.verifier])
    assert [s.timestamp_s for s in opened.verified] == [NEW_YEAR_S + 1]


def test_a_checkpoint_without_its_logs_signature_is_refused() -> None:
    only_witness = note.sign_note(HEAD.text(), [LANZHOU.line(HEAD.text(), NEW_YEAR_S)])
    with pytest.raises(NoteError, match="expected a signature of tanzhang"):
        cp.open_checkpoint(only_witness, LOG.verifier, [LANZHOU.verifier])


def test_the_origin_must_be_the_name_of_the_logs_key() -> None:
    other = cp.Checkpoint("tanzhang.example/market", 3, HEAD.root)
    with pytest.raises(FormatError, match=r"expected a key named tanzhang\.example/market"):
        cp.sign_checkpoint(other, [LOG])
    forced = note.sign_note(other.text(), [LOG.line(other.text())])
    with pytest.raises(NoteError, match=r"expected origin tanzhang\.example/registry"):
        cp.open_checkpoint(forced, LOG.verifier)


def test_an_empty_tree_is_signed_only_with_the_empty_root() -> None:
    cp.sign_checkpoint(cp.Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), [LOG])
    with pytest.raises(FormatError, match="expected the empty root"):
        cp.sign_checkpoint(cp.Checkpoint(ORIGIN, 0, HEAD.root), [LOG])


@pytest.mark.parametrize(
    "head",
    [
        cp.Checkpoint("", 3, HEAD.root),
        cp.Checkpoint("two\nlines", 3, HEAD.root),
        cp.Checkpoint(ORIGIN, -1, HEAD.root),
        cp.Checkpoint(ORIGIN, 2**63, HEAD.root),
        cp.Checkpoint(ORIGIN, 3, bytes(31)),
        cp.Checkpoint(ORIGIN, 3, HEAD.root, ("",)),
        cp.Checkpoint(ORIGIN, 3, HEAD.root, ("a\n\nb",)),
    ],
)
def test_a_checkpoint_that_could_not_be_read_back_is_not_written(head: cp.Checkpoint) -> None:
    with pytest.raises(FormatError, match="expected"):
        head.text()


@pytest.mark.parametrize("timestamp_s", [None, 0, -1, 2**63])
def test_a_cosignature_needs_a_time(timestamp_s: int | None) -> None:
    for signer in (LANZHOU, POST_QUANTUM):
        with pytest.raises(FormatError, match="expected a timestamp"):
            signer.line(HEAD.text(), timestamp_s)


def test_a_plain_signature_takes_no_time() -> None:
    with pytest.raises(FormatError, match="no timestamp"):
        LOG.line(HEAD.text(), NEW_YEAR_S)


def test_a_cosigner_signs_only_checkpoints() -> None:
    poem = note.sign_note("碳账\n", [LOG.line("碳账\n")])
    with pytest.raises(FormatError, match="expected origin, size and root"):
        cp.cosign_line(poem, LANZHOU, NEW_YEAR_S)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_one_bit_of_a_signed_checkpoint_refuses_or_leaves_an_unknown_key(
    data: st.DataObject,
) -> None:
    known = [LANZHOU.verifier, POST_QUANTUM.verifier]
    at = data.draw(st.integers(0, len(FULL) * 8 - 1))
    changed = bytearray(FULL)
    changed[at // 8] ^= 1 << at % 8
    try:
        opened = cp.open_checkpoint(bytes(changed), LOG.verifier, known)
    except TlogError:
        return
    # the only way through: a name or key id was hit, so one signature became a stranger's
    assert opened.checkpoint == HEAD
    assert len(opened.cosignatures) == 1
    assert len(opened.unknown) == 1


FULL = cp.sign_checkpoint(HEAD, [LOG, LANZHOU, POST_QUANTUM], NEW_YEAR_S)


@pytest.mark.parametrize("signer", [LOG, LANZHOU, POST_QUANTUM])
def test_keys_read_back_from_both_their_texts(signer: note.Signer) -> None:
    again = cp.load_signer(signer.private())
    assert again.private() == signer.private()
    assert again.verifier == signer.verifier == cp.load_verifier(signer.verifier.vkey)
    assert hash(again.verifier) == hash(signer.verifier)
    if signer.kind != note.MLDSA44:
        assert note.load_signer(signer.private()).verifier == note.load_verifier(
            signer.verifier.vkey
        )


def test_a_private_key_never_shows_itself_in_text_or_in_an_error() -> None:
    secret = LOG.private()
    assert secret.rsplit("+", 1)[1] not in f"{LOG!r} {LOG.verifier!r} {LOG.verifier}"
    for spoilt in (secret[:-1], secret.replace("PRIVATE", "PRIVAT"), secret[:-3] + "é=="):
        with pytest.raises(FormatError) as caught:
            cp.load_signer(spoilt)
        shown = f"{caught.value} {caught.value.__cause__}"
        assert spoilt.rsplit("+", 1)[1][:12] not in shown


def test_a_private_key_with_anothers_id_is_refused() -> None:
    for load in (cp.load_signer, note.load_signer):
        with pytest.raises(FormatError, match="expected key id"):
            load(LOG.private().replace(f"{LOG.key_id:08x}", "00000000"))


def test_two_known_keys_of_one_name_and_id_are_refused() -> None:
    impostor = note.Verifier(ORIGIN, note.ED25519, bytes(32))
    impostor.key_id = LOG.key_id  # finding such a key takes 2**32 tries, setting it takes none
    with pytest.raises(NoteError, match="share the name and id"):
        note.open_note(FULL, [LOG.verifier, impostor])


def test_a_note_is_not_made_of_text_or_lines_that_would_read_back_otherwise() -> None:
    with pytest.raises(FormatError):
        note.sign_note("no newline", [LOG.line("no newline")])
    with pytest.raises(FormatError):
        note.sign_note("text\n", [])
    with pytest.raises(FormatError):
        note.add_lines(FULL, ["\n", LOG.line(HEAD.text())])
    with pytest.raises(FormatError):
        note.add_lines(FULL, ["— not a signature\n"])


def test_a_note_beyond_the_size_cap_is_refused_unread() -> None:
    with pytest.raises(FormatError, match="at most 262144 bytes"):
        note.parse_note(b"x" * 262_145)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\tb", "x" * 256, "\udcff"])
def test_a_key_name_others_could_not_read_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match="expected a key name"):
        note.Signer(name, note.ED25519, bytes(32))


def test_keys_of_other_kinds_and_lengths_are_refused() -> None:
    with pytest.raises(FormatError, match="expected signature type 0x01 or 0x04, got 0x06"):
        note.load_verifier(POST_QUANTUM.verifier.vkey)
    with pytest.raises(FormatError, match="expected signature type 0x06, got 0x01"):
        cp.MldsaVerifier("witness.example/pq", note.ED25519, bytes(32))
    with pytest.raises(FormatError, match="expected a seed of 32 bytes, got 31"):
        note.Signer(ORIGIN, note.ED25519, bytes(31))


@pytest.mark.parametrize("signer", [LOG, LANZHOU, POST_QUANTUM])
@pytest.mark.parametrize("blob", [b"\0", bytes(8), bytes(9), bytes(64), bytes(3000)])
def test_a_known_keys_signature_of_any_other_length_is_refused(
    signer: note.Signer, blob: bytes
) -> None:
    with pytest.raises(NoteError):
        signer.verifier.verify(HEAD.text(), blob)


def test_a_subtree_that_does_not_start_at_zero_has_no_time() -> None:
    message = cp.subtree_message("w", 0, ORIGIN, start=256, end=512, root=bytes(32))
    assert message.startswith(b"subtree/v1\n\0\x01w" + bytes(8))
    with pytest.raises(FormatError, match="expected timestamp 0"):
        cp.subtree_message("w", 1, ORIGIN, start=256, end=512, root=bytes(32))
    with pytest.raises(FormatError, match="expected a name of"):
        cp.subtree_message("w", 0, "x" * 256, start=0, end=1, root=bytes(32))
