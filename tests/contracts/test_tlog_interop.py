"""Our logs, read and checked by other people's programs, and theirs by ours.

A log of the Lanzhou registry is written as the ledger serves it; tlog-scales, sigstore and Go's
sumdb must accept it, and must refuse it after one byte is changed. COSE receipts are read by
scitt-cose, and its by us.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scitt_cose
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sigstore._internal.merkle import verify_merkle_inclusion
from tlog_scales import signing as scales_signing
from tlog_scales import writer as scales_writer
from tlog_scales.tlog import Checkpoint as ScalesCheckpoint
from tlog_scales.tlog import (
    ConsistencyProof,
    ConsistencyProofInvalid,
    InclusionProof,
    InclusionProofInvalid,
)

from kernel.tlog import checkpoint as cp
from kernel.tlog import cose, merkle, note, receipt, tiles
from kernel.tlog.errors import ProofError
from kernel.tlog.policy import parse_policy
from kernel.tlog.proof import TlogProof, verify_proof
from tests.support.checkout import ROOT
from tests.support.logcheckers import (
    Checked,
    LogRejected,
    check_with_go,
    check_with_sigstore,
    check_with_tlog_scales,
    read_entry,
    require_go,
)

ORIGIN = "tanzhang.example/registry"
SEED = sha256(b"registry log").digest()
LOG = note.Signer(ORIGIN, note.ED25519, SEED)
WITNESS = note.Signer("witness.example/lanzhou", note.COSIGNATURE, sha256(b"lanzhou").digest())
POST_QUANTUM = cp.MldsaSigner("witness.example/pq", note.MLDSA44, sha256(b"pq").digest())
NEW_YEAR_S = 1_767_225_600

Check = Callable[[Path, str], Checked]


def entry(position: int) -> bytes:
    return receipt.leaf_data("registry", position, sha256(b"event %d" % position).digest())


def write_tiles(directory: Path, entries: list[bytes]) -> tiles.TileTree:
    """Store a log's tiles and bundles as a static file server would serve them."""
    tree = tiles.TileTree()
    stored = [*tree.append([merkle.leaf_hash(data) for data in entries]), *tree.edge()]
    for level, n, data in stored:
        write_file(directory / tiles.tile_path(level, n, len(data) // 32), data)
    for n, width in tiles.bundles_of(len(entries)):
        bundle = tiles.encode_bundle(entries[n * 256 : n * 256 + width])
        write_file(directory / tiles.entries_path(n, width), bundle)
    return tree


def write_log(directory: Path, size: int) -> None:
    tree = write_tiles(directory, [entry(position) for position in range(size)])
    head = cp.Checkpoint(ORIGIN, size, tree.root())
    signed = cp.sign_checkpoint(head, [LOG, WITNESS, POST_QUANTUM], NEW_YEAR_S)
    write_file(directory / "checkpoint", signed)


def write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry-300")
    write_log(directory, 300)
    return directory


@pytest.fixture(params=["tlog-scales", "sigstore", "go"])
def check(request: pytest.FixtureRequest) -> Check:
    if request.param == "go":
        require_go()
    checks: dict[str, Check] = {
        "tlog-scales": check_with_tlog_scales,
        "sigstore": check_with_sigstore,
        "go": check_with_go,
    }
    return checks[request.param]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 1100])
def test_others_accept_our_log(check: Check, tmp_path: Path, size: int) -> None:
    write_log(tmp_path, size)
    checked = check(tmp_path, LOG.verifier.vkey)
    assert checked.size == size
    assert checked.root == merkle.root([merkle.leaf_hash(entry(n)) for n in range(size)])
    assert checked.proofs >= min(size, 32)


def test_others_accept_a_log_with_tiles_on_three_levels(check: Check, tmp_path: Path) -> None:
    write_log(tmp_path, 66_000)
    assert (tmp_path / "tile/2/000.p/1").exists()
    assert check(tmp_path, LOG.verifier.vkey).size == 66_000


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"]
)
def test_others_refuse_our_log_after_one_bit(
    check: Check, mirror: Path, tmp_path: Path, path: str
) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(mirror, spoilt)
    data = bytearray((spoilt / path).read_bytes())
    # in the checkpoint a digit of the size; elsewhere the first entry or hash, which all sample
    data[len(ORIGIN) + 1 if path == "checkpoint" else 2] ^= 1
    (spoilt / path).write_bytes(data)
    with pytest.raises(LogRejected):
        check(spoilt, LOG.verifier.vkey)


def test_others_refuse_our_log_under_another_key(check: Check, mirror: Path) -> None:
    stranger = note.Signer(ORIGIN, note.ED25519, bytes(32))
    with pytest.raises(LogRejected):
        check(mirror, stranger.verifier.vkey)


@pytest.mark.parametrize("index", [0, 42, 255, 256, 299])
def test_tlog_scales_makes_the_same_proof_file(mirror: Path, index: int) -> None:
    theirs = subprocess.run(
        [sys.executable, "-m", "tlog_scales.cli", "gen-proof", str(mirror), str(index)],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    path = tiles.prove_inclusion(
        index, 300, lambda level, n, w: (mirror / tiles.tile_path(level, n, w)).read_bytes()
    )
    ours = TlogProof(index, tuple(path), (mirror / "checkpoint").read_bytes()).encode()
    assert theirs == ours
    policy = parse_policy(
        f"log {LOG.verifier.vkey}\n"
        f"witness lanzhou {WITNESS.verifier.vkey}\n"
        f"witness pq {POST_QUANTUM.verifier.vkey}\n"
        "group both all lanzhou pq\nquorum both\n".encode()
    )
    assert verify_proof(theirs, read_entry(mirror, index, 300), policy).size == 300


def test_tlog_scales_verifies_all_three_kinds_of_our_signatures(mirror: Path) -> None:
    head = ScalesCheckpoint.from_text((mirror / "checkpoint").read_text(encoding="utf-8"))
    assert len(head.signatures) == 3
    for signer in (LOG, WITNESS, POST_QUANTUM):
        theirs = scales_signing.Vkey.from_string(signer.verifier.vkey)
        assert (theirs.key_id, theirs.pubkey) == (signer.key_id, signer.verifier.public)
        head.verify(theirs)


def test_a_log_tlog_scales_wrote_is_ours_file_for_file(tmp_path: Path) -> None:
    entries = [entry(position) for position in range(700)]
    writer = scales_writer.TilesWriter.create(tmp_path / "theirs", ORIGIN)
    their_log = scales_signing.PlainEd25519Signer(ORIGIN, SEED)
    their_cosigner = scales_signing.MLDSA44CosignatureSigner(
        "witness.example/pq", sha256(b"pq").digest()
    )
    for batch in (entries[:200], entries[200:300], entries[300:]):
        for data in batch:
            writer.add_leaf(data)
        writer.commit([their_log, their_cosigner])
    tree = write_tiles(tmp_path / "ours", entries)
    opened = cp.open_checkpoint(
        (tmp_path / "theirs/checkpoint").read_bytes(), LOG.verifier, [POST_QUANTUM.verifier]
    )
    assert opened.checkpoint == cp.Checkpoint(ORIGIN, 700, tree.root())
    assert [signed.kind for signed in opened.cosignatures] == [note.MLDSA44]
    theirs, ours = files_of(tmp_path / "theirs/tile"), files_of(tmp_path / "ours/tile")
    assert ours.items() <= theirs.items()
    assert set(theirs) - set(ours) == {"1/000.p/1"}  # kept from its checkpoint of size 300


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_tlog_scales_and_we_agree_on_every_proof_of_small_trees_true_or_false() -> None:
    leaves = [merkle.leaf_hash(entry(position)) for position in range(10)]
    roots = [merkle.root(leaves[:size]) for size in range(11)]
    reader = merkle.ListedLeaves(leaves)
    for size, index in ((n, i) for n in range(1, 11) for i in range(n)):
        leaf, root, old_root = leaves[index], roots[size], roots[index + 1]
        path = merkle.prove_inclusion(index, size, reader)
        grown = merkle.prove_consistency(index + 1, size, reader)
        for i, n in ((i, n) for i in range(11) for n in range(1, 12)):
            ours = accepted(merkle.verify_inclusion, i, n, leaf, root, path)
            assert ours == accepted(InclusionProof(i, n, path).check, leaf, root)
            ours = accepted(merkle.verify_consistency, i + 1, old_root, n, root, grown)
            assert ours == accepted(ConsistencyProof(i + 1, n, grown).check, old_root, root)


def accepted(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except (ProofError, InclusionProofInvalid, ConsistencyProofInvalid):
        return False
    return True


VECTORS = ROOT / "tests/vectors/tlog"
MERKLE = json.loads((VECTORS / "merkle.json").read_text(encoding="utf-8"))
COSIGNED = json.loads((VECTORS / "cosignatures.json").read_text(encoding="utf-8"))
# Of all these tlog-scales alone takes a proof from nothing: the protocol knows one, we do not.
LAX = {"old size 0 proves nothing"}


def merkle_cases(kind: str) -> pytest.MarkDecorator:
    rows = [(case, part == "accepted") for part, some in MERKLE[kind].items() for case in some]
    return pytest.mark.parametrize(("case", "holds"), rows, ids=[case["why"] for case, _ in rows])


def hashes_of(case: Any) -> list[bytes]:
    return [base64.b64decode(line) for line in case["proof"]]


@merkle_cases("inclusion")
def test_tlog_scales_agrees_on_our_inclusion_vectors(case: Any, holds: bool) -> None:
    leaf, root = base64.b64decode(case["leaf"]), base64.b64decode(case["root"])
    proof = InclusionProof(case["index"], case["size"], hashes_of(case))
    assert held(proof.check, leaf, root) is holds


@merkle_cases("consistency")
def test_tlog_scales_agrees_on_our_consistency_vectors(case: Any, holds: bool) -> None:
    old, new = base64.b64decode(case["old_root"]), base64.b64decode(case["new_root"])
    proof = ConsistencyProof(case["old_size"], case["new_size"], hashes_of(case))
    assert held(proof.check, old, new) is (holds or case["why"] in LAX)


@merkle_cases("inclusion")
def test_sigstore_agrees_on_our_inclusion_vectors(case: Any, holds: bool) -> None:
    entry = ENTRY_OF.get(base64.b64decode(case["leaf"]), b"no entry has this hash")
    proof = SimpleNamespace(
        log_index=case["index"],
        tree_size=case["size"],
        root_hash=base64.b64decode(case["root"]),
        hashes=hashes_of(case),
    )
    # only these fields of a Rekor entry are read by the function under test
    inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=entry)
    assert held(verify_merkle_inclusion, SimpleNamespace(_inner=inner)) is holds


ENTRY_OF = {merkle.leaf_hash(b'{"seq":%d}' % n): b'{"seq":%d}' % n for n in range(300)}


def held(check: Callable[..., None], *arguments: Any) -> bool:
    """Whether a check of others accepts: they raise what comes to refuse."""
    try:
        check(*arguments)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("part", ["accepted", "refused"])
def test_tlog_scales_agrees_on_our_cosignature_vectors(part: str) -> None:
    for case in COSIGNED[part]:
        if not case.get("ours_alone", False):
            text = base64.b64decode(case["note_base64"]).decode()
            holds = held(scales_verify, text, case["cosigner_vkey"])
            assert holds is (part == "accepted"), case["why"]


def scales_verify(text: str, vkey: str) -> None:
    ScalesCheckpoint.from_text(text).verify(scales_signing.Vkey.from_string(vkey))


COSE = json.loads((ROOT / "tests/vectors/tlog/cose.json").read_text(encoding="utf-8"))
COSE_LOG = cp.load_verifier(COSE["log_vkey"])


def cose_cases(part: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", COSE[part], ids=[case["why"] for case in COSE[part]])


def by_scitt(data: bytes, entry: str, log: note.Verifier = COSE_LOG) -> scitt_cose.ReceiptResult:
    return scitt_cose.verify_receipt(
        data, leaf_entry_hex=entry.encode().hex(), log_public_key_pem=pem_of(log)
    )


def pem_of(log: note.Verifier) -> bytes:
    return Ed25519PublicKey.from_public_bytes(log.public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@cose_cases("accepted")
def test_scitt_accepts_the_cose_receipts_that_hold(case: Any) -> None:
    read = by_scitt(base64.b64decode(case["receipt_base64"]), case["entry"])
    assert (read.ok, read.leaf_index, read.issuer) == (True, case["index"], COSE_LOG.name)


@cose_cases("refused")
def test_scitt_refuses_the_cose_receipts_that_must_be_refused(case: Any) -> None:
    read = by_scitt(base64.b64decode(case["receipt_base64"]), case["entry"])
    assert read.ok is case.get("ours_alone", False), read.errors


@pytest.mark.parametrize("size", [2, 3, 7, 256, 300])
def test_scitt_accepts_a_cose_receipt_of_every_place_in_a_tree(size: int) -> None:
    entries = [entry(position) for position in range(size)]
    leaves = [merkle.leaf_hash(data) for data in entries]
    reader, root = merkle.ListedLeaves(leaves), merkle.root(leaves)
    for index in {0, 1, size // 2, size - 1}:
        path = tuple(merkle.prove_inclusion(index, size, reader))
        made = cose.make_cose_receipt(LOG, f"{ORIGIN}/{index}", index, size, path, root)
        read = by_scitt(made, entries[index].decode(), LOG.verifier)
        assert (read.ok, read.root, read.tree_size) == (True, root.hex(), size), read.errors


def test_a_cose_receipt_that_scitt_made_is_verified_by_ours() -> None:
    entries = [entry(position) for position in range(9)]
    key = Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    theirs = scitt_cose.build_receipt(
        leaf_entry_hex=entries[5].hex(),
        leaf_index=5,
        tree_entries_hex=[data.hex() for data in entries],
        alg="EdDSA",
        log_private_key_pem=key,
        iss=ORIGIN,
        sub="entry 5",
        kid=LOG.key_id.to_bytes(4, "big"),
    )
    read = cose.verify_cose_receipt(theirs, entries[5], LOG.verifier)
    assert (read.index, read.size, read.subject) == (5, 9, "entry 5")
