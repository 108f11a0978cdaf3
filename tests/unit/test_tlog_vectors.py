"""Every vector under tests/vectors/tlog, positive and negative; see tests/vectors/README.md."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from dilithium_py.ml_dsa import ML_DSA_44

from kernel.tlog import checkpoint as cp
from kernel.tlog import cose, errors, merkle, note, receipt, states, tiles, witness
from kernel.tlog.policy import parse_policy
from kernel.tlog.proof import TlogProof, parse_proof, verify_proof
from tests.support.small_states import MAP_KEY, SmallStates

FOLDER = Path(__file__).parents[1] / "vectors" / "tlog"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def cases(name: str, *keys: str) -> pytest.MarkDecorator:
    """A parametrize mark over one list of a vector file, named by each case's `why`."""
    value = load(name)
    for key in keys:
        value = value[key]
    return pytest.mark.parametrize("case", value, ids=[case["why"] for case in value])


def unbase(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


LEDGER = load("carbon_ledger.json")
LEAVES = [merkle.leaf_hash((LEDGER["entry_template"] % n).encode()) for n in range(LEDGER["size"])]
LOG = note.Signer(LEDGER["origin"], note.ED25519, bytes.fromhex(LEDGER["log_seed_hex"]))
WITNESS = note.Signer(
    LEDGER["witness_name"], note.COSIGNATURE, bytes.fromhex(LEDGER["witness_seed_hex"])
)
HEAD = cp.Checkpoint(LEDGER["origin"], LEDGER["size"], merkle.root(LEAVES))


def test_the_empty_root_is_the_published_one() -> None:
    assert merkle.EMPTY_ROOT == unbase(LEDGER["empty_root"]) == merkle.root([])


def test_the_ledger_keys_are_the_published_ones() -> None:
    assert LOG.verifier.vkey == LEDGER["log_vkey"]
    assert LOG.private() == LEDGER["log_private"]
    assert note.load_signer(LEDGER["log_private"]).verifier == LOG.verifier
    assert WITNESS.verifier.vkey == LEDGER["witness_vkey"]


def test_the_ledger_checkpoint_is_made_byte_for_byte() -> None:
    signed = cp.sign_checkpoint(HEAD, [LOG])
    line = cp.cosign_line(signed, WITNESS, LEDGER["timestamp_s"])
    assert note.add_lines(signed, [line]) == LEDGER["checkpoint"].encode()


def test_the_ledger_checkpoint_opens() -> None:
    opened = cp.open_checkpoint(
        LEDGER["checkpoint"].encode(),
        cp.load_verifier(LEDGER["log_vkey"]),
        [cp.load_verifier(LEDGER["witness_vkey"])],
    )
    assert opened.checkpoint == HEAD
    assert opened.cosignatures[0].timestamp_s == LEDGER["timestamp_s"]


def test_the_ledger_leaf_and_path_are_the_published_ones() -> None:
    index, path = LEDGER["index"], [unbase(line) for line in LEDGER["inclusion_path"]]
    assert LEAVES[index] == unbase(LEDGER["leaf_hash"])
    assert merkle.prove_inclusion(index, 300, merkle.ListedLeaves(LEAVES)) == path
    merkle.verify_inclusion(index, 300, LEAVES[index], HEAD.root, path)


def test_the_ledger_consistency_is_the_published_one() -> None:
    path = [unbase(line) for line in LEDGER["consistency_path"]]
    old_root = unbase(LEDGER["old_root"])
    assert merkle.root(LEAVES[: LEDGER["old_size"]]) == old_root
    assert merkle.prove_consistency(100, 300, merkle.ListedLeaves(LEAVES)) == path
    merkle.verify_consistency(100, old_root, 300, HEAD.root, path)


def test_the_ledger_grows_the_same_in_tiles() -> None:
    tree = tiles.TileTree()
    ((level, n, data),) = tree.append(LEAVES)
    assert (level, n, data) == (0, 0, b"".join(LEAVES[:256]))
    assert tree.root() == HEAD.root
    assert [tiles.tile_path(t.level, t.n, len(t.data) // 32) for t in tree.edge()] == [
        "tile/0/001.p/44",
        "tile/1/000.p/1",
    ]


def test_the_ledger_proof_file_verifies() -> None:
    path = tuple(unbase(line) for line in LEDGER["inclusion_path"])
    data = TlogProof(LEDGER["index"], path, LEDGER["checkpoint"].encode()).encode()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 42\n16Nkr+4NiG7u")
    policy = parse_policy(
        f"log {LEDGER['log_vkey']}\nwitness w1 {LEDGER['witness_vkey']}\nquorum w1\n".encode()
    )
    assert verify_proof(data, b'{"seq":42}', policy).root == HEAD.root


def test_mldsa_keys_and_messages_are_the_published_ones() -> None:
    vector = LEDGER["mldsa"]
    signer = cp.MldsaSigner(vector["name"], note.MLDSA44, bytes.fromhex(vector["seed_hex"]))
    verifier = signer.verifier
    assert f"{verifier.key_id:08x}" == vector["key_id"]
    assert sha256(verifier.public).hexdigest() == vector["public_sha256"]
    assert len(verifier.vkey) == vector["vkey_chars"]
    message = cp.subtree_message(
        signer.name, LEDGER["timestamp_s"], HEAD.origin, start=0, end=HEAD.size, root=HEAD.root
    )
    assert len(message) == vector["message_bytes"]
    assert sha256(message).hexdigest() == vector["message_sha256"]
    line = cp.cosign_line(LEDGER["checkpoint"].encode(), signer, LEDGER["timestamp_s"])
    signed = note.add_lines(LEDGER["checkpoint"].encode(), [line])
    opened = note.open_note(signed, [cp.load_verifier(verifier.vkey)])
    assert opened.verified[0].timestamp_s == LEDGER["timestamp_s"]


@cases("notes.json", "accepted")
def test_notes_that_open(case: Any) -> None:
    opened = note.open_note(unbase(case["data_base64"]), map(note.load_verifier, case["vkeys"]))
    assert opened.text == case["text"]
    assert (len(opened.verified), len(opened.unknown)) == (case["verified"], case["unknown"])


@cases("notes.json", "refused")
def test_notes_that_must_be_refused(case: Any) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        note.open_note(unbase(case["data_base64"]), map(note.load_verifier, case["vkeys"]))


@cases("notes.json", "refused_keys")
def test_verifier_keys_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.FormatError):
        note.load_verifier(case["vkey"])


@cases("checkpoints.json", "accepted")
def test_checkpoint_texts_that_read_back(case: Any) -> None:
    parsed = cp.parse_checkpoint(case["text"])
    assert (parsed.origin, parsed.size) == (case["origin"], case["size"])
    assert list(parsed.extensions) == case["extensions"]
    assert parsed.text() == case["text"]


@cases("checkpoints.json", "refused")
def test_checkpoint_texts_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.FormatError):
        cp.parse_checkpoint(case["text"])


@cases("witness.json", "requests")
def test_a_witness_answers_a_request_with_this_status(case: Any) -> None:
    assert answered(case) == (case["status"], case.get("size"))


def answered(case: Any) -> tuple[int, int | None]:
    latest = case["latest"]
    before = (
        None
        if latest is None
        else cp.Checkpoint(HEAD.origin, latest["size"], unbase(latest["root"]))
    )
    try:
        request = witness.parse_add_checkpoint(case["body"].encode())
        head = witness.open_by_log(request.checkpoint, [LOG.verifier])
        witness.judge(request, head, before)
    except errors.FormatError:
        return witness.Status.MALFORMED, None
    except witness.WitnessRefused as refused:
        return refused.status, refused.size
    assert request.encode().decode() == case["body"]
    return witness.Status.COSIGNED, None


@cases("witness.json", "answers", "accepted")
def test_answers_of_a_witness_of_which_these_lines_are_kept(case: Any) -> None:
    assert kept_of(case) == case["kept"]


@cases("witness.json", "answers", "refused")
def test_answers_of_a_witness_that_must_be_refused(case: Any) -> None:
    with pytest.raises((errors.FormatError, errors.NoteError)):
        kept_of(case)


def kept_of(case: Any) -> list[str]:
    checkpoint = load("witness.json")["checkpoint"].encode()
    keys = [LOG.verifier], [WITNESS.verifier]
    return witness.take_cosignatures(checkpoint, case["body"].encode(), *keys)[1]


@cases("witness.json", "sizes", "accepted")
def test_sizes_in_a_conflict_that_read_back(case: Any) -> None:
    assert witness.parse_size(case["body"].encode()) == case["size"]
    assert witness.encode_size(case["size"]).decode() == case["body"]


@cases("witness.json", "sizes", "refused")
def test_sizes_in_a_conflict_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.FormatError):
        witness.parse_size(case["body"].encode())


def test_a_witness_shows_a_log_under_the_published_path() -> None:
    assert witness.monitoring_path(HEAD.origin) == load("witness.json")["monitoring_path"]


@cases("merkle.json", "inclusion", "accepted")
def test_inclusion_proofs_that_hold(case: Any) -> None:
    check_inclusion(case)


@cases("merkle.json", "inclusion", "refused")
def test_inclusion_proofs_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.ProofError):
        check_inclusion(case)


@cases("merkle.json", "consistency", "accepted")
def test_consistency_proofs_that_hold(case: Any) -> None:
    check_consistency(case)


@cases("merkle.json", "consistency", "refused")
def test_consistency_proofs_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.ProofError):
        check_consistency(case)


def check_inclusion(case: Any) -> None:
    proof = [unbase(line) for line in case["proof"]]
    leaf, root = unbase(case["leaf"]), unbase(case["root"])
    merkle.verify_inclusion(case["index"], case["size"], leaf, root, proof)


def check_consistency(case: Any) -> None:
    proof = [unbase(line) for line in case["proof"]]
    old_root, new_root = unbase(case["old_root"]), unbase(case["new_root"])
    merkle.verify_consistency(case["old_size"], old_root, case["new_size"], new_root, proof)


def test_tile_paths_both_ways() -> None:
    for case in load("tiles.json")["paths"]:
        level, n, width, path = case["level"], case["n"], case["width"], case["path"]
        assert tiles.parse_tile_path(path) == (level, n, width)
        made = tiles.entries_path(n, width) if level is None else tiles.tile_path(level, n, width)
        assert made == path


@cases("tiles.json", "refused_paths")
def test_tile_paths_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.FormatError):
        tiles.parse_tile_path(case["path"])


@cases("tiles.json", "refused_bundles")
def test_entry_bundles_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.FormatError):
        tiles.decode_bundle(bytes.fromhex(case["data_hex"]), case["width"])


@pytest.mark.parametrize("case", load("tiles.json")["sizes"], ids=lambda case: str(case["size"]))
def test_a_tree_has_exactly_the_tiles_of_its_size(case: Any) -> None:
    expected = []
    for level, (full, width) in enumerate(zip(case["full"], case["partial"], strict=True)):
        expected += [(level, n, 256) for n in range(full)]
        if width:
            expected.append((level, full, width))
        assert tiles.partial_width(case["size"], level) == width
    assert list(tiles.tiles_of(case["size"])) == expected
    assert tiles.edge_of(case["size"]) == [tile for tile in expected if tile[2] < 256]
    assert list(tiles.bundles_of(case["size"])) == [t[1:] for t in expected if t[0] == 0]


@cases("policies.json", "accepted")
def test_policies_decide_as_written(case: Any) -> None:
    policy = parse_policy(case["policy"].encode())
    assert parse_policy(policy.encode()) == policy
    for decision in case["cases"]:
        signed = [witness_signature(number) for number in decision["signed"]]
        assert policy.satisfied_by(signed) is decision["satisfied"], decision


@cases("policies.json", "refused")
def test_policies_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.PolicyError):
        parse_policy(unbase(case["policy_base64"]))


def witness_signature(number: int) -> note.VerifiedSignature:
    seed = sha256(b"wit%d" % number).digest()
    key = note.Signer(f"witness{number}.example", note.COSIGNATURE, seed).verifier
    return note.VerifiedSignature(key.name, key.key_id, key.kind, key.public, 1_767_225_600)


def test_the_receipt_vector_verifies_and_is_made_byte_for_byte() -> None:
    vector = load("receipts.json")
    data, salt = unbase(vector["receipt_base64"]), bytes.fromhex(vector["salt_hex"])
    record = vector["record"].encode()
    verified = receipt.verify_receipt(data, parse_policy(vector["policy"].encode()))
    assert (verified.book, verified.position) == (vector["book"], vector["position"])
    assert (verified.origin, verified.size) == (vector["origin"], vector["size"])
    assert verified.record == record
    committed = receipt.commitment(salt, record)
    leaf = receipt.leaf_data(vector["book"], vector["position"], committed)
    assert leaf == vector["leaf"].encode()
    proof = receipt.split_receipt(data)[2]
    assert parse_proof(proof).encode() == proof
    assert receipt.make_receipt(record, salt, proof) == data
    assert sha256(data).hexdigest() == vector["receipt_sha256"]


@cases("receipts.json", "refused")
def test_receipts_that_must_be_refused_by_the_part_that_differs(case: Any) -> None:
    policy = parse_policy(load("receipts.json")["policy"].encode())
    with pytest.raises(errors.ReceiptError) as caught:
        receipt.verify_receipt(unbase(case["receipt_base64"]), policy)
    assert caught.value.part == case["part"]
    assert str(caught.value).startswith(f"{case['part']}: ")


STATES = load("states.json")


def test_the_state_proofs_say_what_they_say() -> None:
    policy = parse_policy(STATES["policy"].encode())
    lien = states.verify_lien(unbase(STATES["lien"]["file_base64"]), policy)
    for name in ("lien", "pledgor", "pledgee", "asset", "quantity"):
        assert getattr(lien, name) == STATES["lien"][name]
    assert [list(one) for one in lien.serials] == STATES["lien"]["serials"]
    assert lien.pledge.position == STATES["lien"]["pledge_position"]
    assert lien.state.entry.encode() == STATES["state"].encode()
    assert {one.timestamp_s for one in lien.state.cosigners} == {STATES["lien"]["witnessed_at_s"]}
    ended = states.verify_lien(unbase(STATES["ended"]["file_base64"]), policy)
    assert (ended.quantity, ended.serials) == (0, ())
    holding = states.verify_holding(unbase(STATES["holding"]["file_base64"]), policy)
    assert holding.account._asdict() == STATES["holding"]["account"]
    assert holding.amount == STATES["holding"]["amount"]


@cases("states.json", "refused")
def test_a_state_proof_that_must_not_be_believed_names_its_part(case: dict[str, str]) -> None:
    with pytest.raises(errors.ReceiptError) as refused:
        states.verify_lien(unbase(case["file_base64"]), parse_policy(STATES["policy"].encode()))
    assert refused.value.part == case["part"]
    assert refused.value.part in states.PARTS


def test_the_state_proofs_are_made_byte_for_byte() -> None:
    made = SmallStates()
    made.commit()
    assert MAP_KEY.hex() == STATES["map_key_hex"]
    assert made.lien(0) == unbase(STATES["lien"]["file_base64"])
    account = states.Account(**STATES["holding"]["account"])
    assert made.holding(account, 0) == unbase(STATES["holding"]["file_base64"])


@cases("cosignatures.json", "accepted")
def test_cosignatures_that_hold(case: Any) -> None:
    (signed,) = opened_cosignature(case).cosignatures
    assert signed.timestamp_s == case["timestamp_s"]


@cases("cosignatures.json", "refused")
def test_cosignatures_that_must_be_refused(case: Any) -> None:
    with pytest.raises(errors.NoteError):
        opened_cosignature(case)


def opened_cosignature(case: Any) -> cp.OpenedCheckpoint:
    cosigner = cp.load_verifier(case["cosigner_vkey"])
    return cp.open_checkpoint(unbase(case["note_base64"]), LOG.verifier, [cosigner])


@pytest.mark.parametrize("part", ["accepted", "refused"])
def test_dilithium_agrees_on_the_mldsa_cosignatures(part: str) -> None:
    judged = [case for case in load("cosignatures.json")[part] if "ML-DSA" in case["why"]]
    assert len(judged) >= 3
    for case in judged:
        text, lines = note.parse_note(unbase(case["note_base64"]))
        name, _, public = note.parse_vkey(case["cosigner_vkey"])
        timestamp_s, signature = note.split_timestamp(note.MLDSA44, lines[1].blob + b"\0")
        head = cp.parse_checkpoint(text)
        message = cp.subtree_message(
            name, timestamp_s or 0, head.origin, start=0, end=head.size, root=head.root
        )
        holds = ML_DSA_44.verify(public, message, signature[:-1])
        assert holds is (part == "accepted"), case["why"]


def test_the_cose_receipt_is_made_byte_for_byte() -> None:
    vector = load("cose.json")
    path = tuple(merkle.prove_inclusion(vector["index"], 300, merkle.ListedLeaves(LEAVES)))
    made = cose.make_cose_receipt(LOG, vector["subject"], vector["index"], 300, path, HEAD.root)
    assert made == unbase(vector["receipt_base64"])
    assert sha256(made).hexdigest() == vector["receipt_sha256"]
    read = cose.verify_cose_receipt(made, vector["entry"].encode(), LOG.verifier)
    assert (read.issuer, read.subject, read.index) == (HEAD.origin, vector["subject"], 42)


@cases("cose.json", "accepted")
def test_cose_receipts_that_hold(case: Any) -> None:
    data, entry = unbase(case["receipt_base64"]), case["entry"].encode()
    assert cose.verify_cose_receipt(data, entry, LOG.verifier).index == case["index"]


@cases("cose.json", "refused")
def test_cose_receipts_that_must_be_refused(case: Any) -> None:
    data, entry = unbase(case["receipt_base64"]), case["entry"].encode()
    with pytest.raises(getattr(errors, case["error"])):
        cose.verify_cose_receipt(data, entry, LOG.verifier)


def test_a_log_of_one_entry_has_no_cose_receipt() -> None:
    with pytest.raises(errors.FormatError, match="expected a path and a root, got 0 hashes"):
        cose.make_cose_receipt(LOG, "first", 0, 1, (), LEAVES[0])
    with pytest.raises(errors.FormatError, match="expected a log's Ed25519 key, got 0x04"):
        cose.make_cose_receipt(WITNESS, "first", 0, 2, (LEAVES[1],), HEAD.root)
