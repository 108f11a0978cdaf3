"""Other people's log checkers, run over a mirrored log directory.

A directory holds `checkpoint`, `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]` as
c2sp.org/tlog-tiles serves them. Each check reads it with code that is not ours and raises
LogRejected with that tool's reason: tlog-scales (signature, bytes, tiles, entries, proofs),
sigstore (signature, and inclusion by proofs *we* made) and Go's sumdb (everything, in another
language).
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.tlog import checkpoint, note, tiles

GO_PROGRAM = Path(__file__).parents[1] / "contracts" / "go" / "checklog.go"
GO_SOURCES = Path("/usr/share/gocode")  # where Debian's golang-golang-x-mod-dev puts sumdb
_SUMDB = GO_SOURCES / "src/golang.org/x/mod/sumdb/tlog/tlog.go"
_MAX_GO_SECONDS = 300  # the first run compiles Go's standard library


class LogRejected(AssertionError):
    """An independent checker does not accept the log; the message is its reason."""


@dataclass(frozen=True)
class Checked:
    """What a checker vouched for: tree size, root, and how many proofs it verified."""

    tool: str
    size: int
    root: bytes
    proofs: int


def check_with_tlog_scales(directory: Path, vkey: str) -> Checked:
    """Signature, checkpoint bytes, all tiles and entries, sampled inclusion and consistency."""
    from tlog_scales import backend, reader, signing
    from tlog_scales import tiles as their_tiles

    try:
        tree = reader.TilesReader(backend.LocalBackend(directory))
        head = tree.get_checkpoint()
        head.verify(signing.Vkey.from_string(vkey))
        if head.serialize().encode() != (directory / "checkpoint").read_bytes():
            raise LogRejected("tlog-scales: it writes this checkpoint in other bytes")
        _same_root("tlog-scales", head.root_hash, tree.calculate_root_hash())
        for index in range(head.size):
            stored = tree._get_from_tile(0, *divmod(index, 256))
            if their_tiles.leaf_hash(tree.get_entry(index)) != stored:
                raise LogRejected(f"tlog-scales: entry {index} is not what its tile says")
        # a path through a tile takes all its 256 hashes: one index per tile checks them all
        indexes = {*range(0, head.size, 256), *_sampled(head.size)}
        for index in sorted(indexes):
            stored = tree._get_from_tile(0, *divmod(index, 256))
            tree.get_inclusion_proof(index, head.size).check(stored, head.root_hash)
        sizes = [index + 1 for index in _sampled(head.size)]
        for size in sizes:
            proof = tree.get_consistency_proof(size, head.size)
            proof.check(tree.mth(0, size), head.root_hash)
    except LogRejected:
        raise
    except Exception as error:  # it raises what comes: InvalidSignature, IndexError, its own
        raise LogRejected(f"tlog-scales: {type(error).__name__} {error}") from error
    return Checked("tlog-scales", head.size, head.root_hash, len(indexes) + len(sizes))


def check_with_sigstore(directory: Path, vkey: str) -> Checked:
    """The log's signature, and sampled inclusion proofs that we make from the stored tiles."""
    from sigstore._internal.merkle import verify_merkle_inclusion
    from sigstore._internal.rekor.checkpoint import SignedCheckpoint, verify_checkpoint
    from sigstore._internal.trust import Keyring, RekorKeyring
    from sigstore.errors import Error
    from sigstore_models.common.v1 import PublicKey, PublicKeyDetails

    _, _, public = note.parse_vkey(vkey)
    der = Ed25519PublicKey.from_public_bytes(public).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key = PublicKey(raw_bytes=base64.b64encode(der), key_details=PublicKeyDetails.PKIX_ED25519)
    keyring = RekorKeyring(Keyring([key]))
    key_id = checkpoint.load_verifier(vkey).key_id.to_bytes(4, "big")
    envelope = (directory / "checkpoint").read_text(encoding="utf-8")
    try:
        head = SignedCheckpoint.from_text(envelope).checkpoint
        root = bytes.fromhex(head.log_hash)
        indexes = _sampled(head.log_size)
        for index in indexes:
            proof = SimpleNamespace(
                log_index=index,
                tree_size=head.log_size,
                root_hash=root,
                hashes=tiles.prove_inclusion(index, head.log_size, _tile_reader(directory)),
                checkpoint=SimpleNamespace(envelope=envelope),
            )
            inner = SimpleNamespace(
                inclusion_proof=proof,
                log_id=SimpleNamespace(key_id=key_id),
                canonicalized_body=read_entry(directory, index, head.log_size),
            )
            # only these fields of a Rekor entry are read by the two functions under test
            entry = cast(Any, SimpleNamespace(_inner=inner))
            verify_checkpoint(keyring, entry)
            verify_merkle_inclusion(entry)
    except (Error, OSError, ValueError) as error:
        raise LogRejected(f"sigstore: {type(error).__name__} {error}") from error
    return Checked("sigstore", head.log_size, root, len(indexes))


def check_with_go(directory: Path, vkey: str) -> Checked:
    """Everything, by Go's sumdb/note and sumdb/tlog: see tests/contracts/go/checklog.go."""
    done = subprocess.run(
        ["go", "run", str(GO_PROGRAM), str(directory), vkey],
        env={
            **os.environ,
            "GOPATH": str(GO_SOURCES),
            "GO111MODULE": "off",  # Debian's sources, no module proxy, no network
            "GOFLAGS": "",
        },
        capture_output=True,
        text=True,
        timeout=_MAX_GO_SECONDS,
        check=False,
    )
    answer = done.stdout.split()
    if done.returncode or answer[:1] != ["OK"]:
        raise LogRejected(f"go: {done.stderr.strip() or done.stdout.strip()}")
    return Checked("go", int(answer[1]), base64.b64decode(answer[2]), int(answer[3]))


def require_go() -> None:
    """Skip the test, saying why, where Go is not installed; fail if TANZHANG_REQUIRE_GO=1."""
    if shutil.which("go") and _SUMDB.exists():
        return
    reason = "Go is not installed: apt-get install golang-go golang-golang-x-mod-dev"
    if os.environ.get("TANZHANG_REQUIRE_GO") == "1":
        pytest.fail(f"{reason} (TANZHANG_REQUIRE_GO=1 forbids skipping)")
    pytest.skip(reason)


def read_entry(directory: Path, index: int, size: int) -> bytes:
    """The entry at `index` of a mirrored log of `size` entries."""
    n, at = divmod(index, tiles.TILE_WIDTH)
    width = min(tiles.TILE_WIDTH, size - n * tiles.TILE_WIDTH)
    bundle = (directory / tiles.entries_path(n, width)).read_bytes()
    return tiles.decode_bundle(bundle, width)[at]


def _tile_reader(directory: Path) -> tiles.ReadTile:
    def read_tile(level: int, n: int, width: int) -> bytes:
        return (directory / tiles.tile_path(level, n, width)).read_bytes()

    return read_tile


def _sampled(size: int) -> list[int]:
    return sorted({*range(0, size, size // 64 + 1), size - 1}) if size else []


def _same_root(tool: str, expected: bytes, actual: bytes) -> None:
    if expected != actual:
        raise LogRejected(f"{tool}: expected root {expected.hex()}, got {actual.hex()}")
