"""A witness in process: what it cosigns, what it refuses, what it keeps as evidence."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dilithium_py.ml_dsa import ML_DSA_44

from cli.errors import CliError
from cli.witness import store
from cli.witness.folder import KEPT_FIRST, KEPT_NEWEST, WitnessFolder
from cli.witness.witness import Witness
from kernel.clock import FixedClock
from kernel.tlog import note
from kernel.tlog.checkpoint import (
    load_verifier,
    open_checkpoint,
    parse_checkpoint,
    subtree_message,
)
from kernel.tlog.note import COSIGNATURE, MLDSA44
from kernel.tlog.witness import (
    SIZE_TYPE,
    AddCheckpoint,
    monitoring_path,
    parse_add_checkpoint,
    take_cosignatures,
)
from tests.support.books import MORNING_MS
from tests.support.witnesses import Tree, policy_of, witness_folder

NAME = "witness.lzbank.example/w1"
ACCOUNTS = Tree("tanzhang.example/accounts", 400)
REGISTRY = Tree("tanzhang.example/registry", 50)


@pytest.fixture
def folder(tmp_path: Path) -> WitnessFolder:
    return witness_folder(tmp_path / "lzbank", NAME, ACCOUNTS, REGISTRY)


@pytest.fixture
def bank(folder: WitnessFolder) -> Iterator[Witness]:
    witness = opened(folder)
    yield witness
    witness.close()


def opened(folder: WitnessFolder) -> Witness:
    return Witness(folder, folder.signers(), FixedClock(MORNING_MS))


def sizes(folder: WitnessFolder, *trees: Tree) -> list[int | None]:
    """What it would tell a monitor that it has cosigned last."""
    witness = opened(folder)
    found = [witness.cosigned(monitoring_path(tree.signer.name)) for tree in trees]
    witness.close()
    heads = [None if one is None else parse_checkpoint(note.parse_note(one)[0]) for one in found]
    return [None if head is None else head.size for head in heads]


def test_a_growing_log_is_cosigned_at_every_step_and_shown_to_monitors(
    bank: Witness, folder: WitnessFolder
) -> None:
    old = 0
    for size in (1, 100, 256, 256, 400):
        answer = bank.add_checkpoint(ACCOUNTS.request(old, size))
        assert answer.status == 200, answer.body
        (key,) = [signer.verifier for signer in folder.signers()]
        logs, checkpoint = [ACCOUNTS.signer.verifier], ACCOUNTS.checkpoint(size)
        opened_note, lines = take_cosignatures(checkpoint, answer.body, logs, [key])
        assert opened_note.cosignatures[0].timestamp_s == MORNING_MS // 1000
        shown = bank.cosigned(monitoring_path(ACCOUNTS.signer.name))
        assert shown == checkpoint + "".join(lines).encode()
        old = size
    assert sizes(folder, ACCOUNTS, REGISTRY) == [400, None]
    assert bank.cosigned("../../etc/passwd") is None
    assert folder.evidence() == []


def test_who_asks_from_another_size_is_told_the_size_and_goes_on_from_there(bank: Witness) -> None:
    assert bank.add_checkpoint(ACCOUNTS.request(0, 300)).status == 200
    answer = bank.add_checkpoint(ACCOUNTS.request(0, 400))
    assert (answer.status, answer.body, answer.content_type) == (409, b"300\n", SIZE_TYPE)
    assert bank.add_checkpoint(ACCOUNTS.request(300, 400)).status == 200


def test_another_tree_of_the_same_size_is_refused_and_both_checkpoints_are_kept(
    bank: Witness, folder: WitnessFolder
) -> None:
    lie = ACCOUNTS.other(400)
    assert bank.add_checkpoint(ACCOUNTS.request(0, 400)).status == 200
    assert bank.add_checkpoint(lie.request(400, 400)).status == 422
    assert bank.add_checkpoint(lie.request(400, 400)).status == 422  # once is enough
    (found,) = folder.evidence()
    assert (found["kind"], found["origin"]) == ("fork", ACCOUNTS.signer.name)
    place = Path(found["folder"])
    for name, tree in (("cosigned", ACCOUNTS), ("refused", lie)):
        kept = (place / f"{name}.checkpoint").read_bytes()
        assert open_checkpoint(kept, ACCOUNTS.signer.verifier).checkpoint == tree.head()
    assert sizes(folder, ACCOUNTS) == [400]


def test_a_smaller_tree_that_was_never_cosigned_as_such_is_refused_and_kept(
    bank: Witness, folder: WitnessFolder
) -> None:
    for old, size in ((0, 100), (100, 400)):
        assert bank.add_checkpoint(ACCOUNTS.request(old, size)).status == 200
    lie = ACCOUNTS.other(100)
    assert bank.add_checkpoint(lie.request(400, 100)).status == 400
    assert bank.add_checkpoint(lie.request(0, 100)).status == 409
    (found,) = folder.evidence()
    assert (found["kind"], found["refused_size"], found["cosigned_size"]) == ("fork", 100, 100)
    assert found["refused_root"] != found["cosigned_root"]


def test_an_old_checkpoint_sent_again_is_refused_and_is_no_evidence(
    bank: Witness, folder: WitnessFolder
) -> None:
    """Checkpoints are public: anybody may send one again."""
    for old, size in ((0, 100), (100, 400)):
        bank.add_checkpoint(ACCOUNTS.request(old, size))
    assert bank.add_checkpoint(ACCOUNTS.request(0, 100)).status == 409
    assert bank.add_checkpoint(ACCOUNTS.request(400, 100)).status == 400
    assert folder.evidence() == []


def test_what_is_signed_and_not_proven_is_kept_as_such(
    bank: Witness, folder: WitnessFolder
) -> None:
    """Of another past, or a true one with a wrong proof: who holds both can find out."""
    bank.add_checkpoint(ACCOUNTS.request(0, 300))
    assert bank.add_checkpoint(ACCOUNTS.other(400).request(300, 400)).status == 422
    (found,) = folder.evidence()
    assert (found["kind"], found["cosigned_size"], found["refused_size"]) == ("unproven", 300, 400)
    assert bank.add_checkpoint(ACCOUNTS.request(300, 400)).status == 200


def unproven(witness: Witness, folder: WitnessFolder, size: int) -> None:
    """A true checkpoint with a wrong proof, as anybody can send it; dated by its size."""
    before = {one["folder"] for one in folder.evidence()}
    wrong = AddCheckpoint(300, (), ACCOUNTS.checkpoint(size)).encode()
    assert witness.add_checkpoint(wrong).status == 422
    for one in folder.evidence():
        if one["folder"] not in before:
            os.utime(one["folder"], (size, size))


def test_evidence_sent_in_advance_leaves_room_for_what_comes_later_and_the_first_stays(
    bank: Witness, folder: WitnessFolder
) -> None:
    bank.add_checkpoint(ACCOUNTS.request(0, 300))
    for size in range(301, 340):
        unproven(bank, folder, size)
    found = sorted(one["refused_size"] for one in folder.evidence())
    first = list(range(301, 301 + KEPT_FIRST))
    assert found == [*first, *range(340 - KEPT_NEWEST, 340)]
    assert bank.add_checkpoint(ACCOUNTS.other(399).request(300, 399)).status == 422
    kept = {one["refused_size"] for one in folder.evidence()}
    assert kept >= {*first, 399}
    assert len(kept) == KEPT_FIRST + KEPT_NEWEST
    assert bank.add_checkpoint(ACCOUNTS.other(300).request(300)).status == 422
    assert [one["kind"] for one in folder.evidence()].count("fork") == 1
    assert not list(folder.evidence_path.glob(".*"))


def test_what_was_cosigned_and_is_sent_again_with_a_wrong_proof_is_no_evidence(
    bank: Witness, folder: WitnessFolder
) -> None:
    bank.add_checkpoint(ACCOUNTS.request(0, 300))
    again = AddCheckpoint(300, (bytes(32),), ACCOUNTS.checkpoint(300)).encode()
    assert bank.add_checkpoint(again).status == 422
    assert folder.evidence() == []


def test_what_strangers_add_to_a_checkpoint_is_neither_kept_nor_shown(
    bank: Witness, folder: WitnessFolder
) -> None:
    stranger = note.Signer("stranger.example", note.ED25519, b"s" * 32)
    text = ACCOUNTS.head().text()
    request = parse_add_checkpoint(ACCOUNTS.request(0))
    padded = note.add_lines(request.checkpoint, [stranger.line(text)] * 30)
    assert bank.add_checkpoint(AddCheckpoint(0, (), padded).encode()).status == 200
    shown = bank.cosigned(monitoring_path(ACCOUNTS.signer.name))
    assert shown is not None
    assert [one.name for one in note.parse_note(shown)[1]] == [ACCOUNTS.signer.name, NAME]


def test_an_unknown_log_is_witnessed_from_the_moment_the_policy_names_it(
    bank: Witness, folder: WitnessFolder
) -> None:
    market = Tree("tanzhang.example/market", 5)
    assert bank.add_checkpoint(market.request(0)).status == 404
    folder.policy_path.write_bytes(policy_of(ACCOUNTS, REGISTRY, market).encode())
    assert bank.add_checkpoint(market.request(0)).status == 200
    folder.policy_path.write_bytes(b"damaged")
    assert bank.add_checkpoint(market.request(5)).status == 200


def test_a_malformed_request_is_told_what_was_expected(bank: Witness) -> None:
    answer = bank.add_checkpoint(b"old 1\n")
    assert (answer.status, answer.body) == (
        400,
        b"add-checkpoint: expected an empty line before the checkpoint, got none\n",
    )


def test_two_keys_give_two_lines_and_another_library_verifies_the_ml_dsa_one(
    tmp_path: Path,
) -> None:
    folder = witness_folder(tmp_path, NAME, ACCOUNTS, kinds=(COSIGNATURE, MLDSA44))
    witness = opened(folder)
    answer = witness.add_checkpoint(ACCOUNTS.request(0))
    witness.close()
    keys = [signer.verifier for signer in folder.signers()]
    logs = [ACCOUNTS.signer.verifier]
    _, lines = take_cosignatures(ACCOUNTS.checkpoint(), answer.body, logs, keys)
    assert len(lines) == 2
    key = load_verifier(folder.signers()[1].verifier.vkey)
    (blob,) = [
        one.blob
        for one in note.parse_note(ACCOUNTS.checkpoint() + answer.body)[1]
        if one.key_id == key.key_id
    ]
    at_s = int.from_bytes(blob[:8], "big")
    head = ACCOUNTS.head()
    message = subtree_message(NAME, at_s, head.origin, start=0, end=head.size, root=head.root)
    assert at_s == MORNING_MS // 1000
    assert ML_DSA_44.verify(key.public, message, blob[8:])
    assert not ML_DSA_44.verify(key.public, message + b"!", blob[8:])


def test_of_many_at_once_the_tree_only_ever_grows(folder: WitnessFolder) -> None:
    """Two witnesses on one folder, as two processes would be, each asked by four threads."""
    witnesses = [opened(folder), opened(folder)]
    statuses: list[tuple[int, int]] = []

    def ask(witness: Witness, first: int) -> None:
        old = 0
        for size in range(first, 400, 8):
            answer = witness.add_checkpoint(ACCOUNTS.request(old, size))
            if answer.status == 409:
                old = int(answer.body)
                answer = witness.add_checkpoint(ACCOUNTS.request(min(old, size), size))
            if answer.status == 200:
                statuses.append((old, size))
                old = size

    threads = [threading.Thread(target=ask, args=(witnesses[n % 2], n + 1)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for witness in witnesses:
        witness.close()
    cosigned = [size for _, size in statuses]
    assert cosigned
    assert all(old <= size for old, size in statuses)
    assert sizes(folder, ACCOUNTS) == [max(cosigned)]
    # Each advance began where another had ended: nobody was rolled back, nobody cosigned twice.
    assert len({old for old, size in statuses if old != size}) == sum(a != b for a, b in statuses)
    assert folder.evidence() == []


def test_old_checkpoints_are_let_go_and_the_newest_of_every_log_stays(
    folder: WitnessFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "KEPT_CHECKPOINTS", 10)
    monkeypatch.setattr(store, "PRUNE_EVERY", 16)
    witness = opened(folder)
    assert witness.add_checkpoint(REGISTRY.request(0)).status == 200
    for size in range(1, 65):
        assert witness.add_checkpoint(ACCOUNTS.request(size - 1, size)).status == 200
    witness.close()
    kept = folder.store()
    with kept.advance() as step:
        found = [size for size in range(1, 65) if step.of_size(ACCOUNTS.signer.name, size)]
    kept.close()
    assert found == list(range(54, 65))
    assert sizes(folder, ACCOUNTS, REGISTRY) == [64, 50]


# ---- its memory ----------------------------------------------------------------------------------


def test_a_witness_that_has_lost_its_database_does_not_begin_at_size_zero_again(
    bank: Witness, folder: WitnessFolder
) -> None:
    assert bank.add_checkpoint(ACCOUNTS.request(0)).status == 200
    bank.close()
    folder.store_path.unlink()
    folder.make_keys(NAME, [COSIGNATURE, MLDSA44])  # asked for again, and for one more
    with pytest.raises(CliError, match="would cosign from size 0 again") as caught:
        opened(folder)
    assert caught.value.exit_code == 2
    assert not folder.store_path.exists()


def test_a_file_without_a_witness_s_table_is_no_memory(folder: WitnessFolder) -> None:
    folder.store_path.write_bytes(b"")
    with pytest.raises(CliError, match="expected the table cosigned, got none"):
        opened(folder)


def test_a_first_start_makes_the_database_once(folder: WitnessFolder) -> None:
    folder.store_path.unlink()
    folder.make_store()
    witness = opened(folder)
    assert witness.add_checkpoint(ACCOUNTS.request(0)).status == 200
    witness.close()
    with pytest.raises(CliError, match="start without --first-start"):
        folder.make_store()
    assert sizes(folder, ACCOUNTS) == [400]


# ---- keys ----------------------------------------------------------------------------------------


def test_keys_are_made_once_and_belong_to_one_name(folder: WitnessFolder) -> None:
    before = [signer.verifier.vkey for signer in folder.signers()]
    again = folder.make_keys(NAME, [COSIGNATURE])
    assert [signer.verifier.vkey for signer in again] == before
    with pytest.raises(CliError, match=r"expected the key other\.example"):
        folder.make_keys("other.example", [COSIGNATURE])
    assert (folder.path / "witness.skey").stat().st_mode & 0o777 == 0o600


def test_a_log_key_is_not_taken_for_a_witness_key(folder: WitnessFolder) -> None:
    (folder.path / "witness.skey").write_text(ACCOUNTS.signer.private() + "\n")
    with pytest.raises(CliError, match="expected the key of a cosigner, got type 0x01"):
        folder.signers()


def test_evidence_is_readable_by_others_than_us(bank: Witness, folder: WitnessFolder) -> None:
    bank.add_checkpoint(ACCOUNTS.request(0))
    bank.add_checkpoint(ACCOUNTS.other(400).request(400))
    (found,) = folder.evidence()
    about = json.loads((Path(found["folder"]) / "about.json").read_text())
    assert about["at_s"] == MORNING_MS // 1000
    assert about["refused_old_size"] == 400
