"""Witnesses for tests: a log that can also lie, and a witness as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cli.stack.ports import free_port
from cli.witness.folder import WitnessFolder
from cli.witness.server import make_server
from cli.witness.witness import Witness
from kernel.clock import SystemClock
from kernel.config import Listen
from kernel.tlog.checkpoint import Checkpoint, make_signer, sign_checkpoint
from kernel.tlog.merkle import ListedLeaves, leaf_hash, prove_consistency, root
from kernel.tlog.note import COSIGNATURE, ED25519, Signer
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.witness import AddCheckpoint
from tests.support.checkout import ROOT
from tests.support.world import until

PATIENCE_S = 30.0
HTTP_S = 10.0


class Tree:
    """A log with its key and its leaves; `other` is a second history under the same key."""

    def __init__(self, origin: str, count: int = 0, story: str = "the truth") -> None:
        self.signer = Signer(origin, ED25519, sha256(origin.encode()).digest())
        self.leaves: list[bytes] = []
        self._story = story
        self.grow(count)

    def grow(self, count: int) -> None:
        first = len(self.leaves)
        names = (f"{self._story} {n}" for n in range(first, first + count))
        self.leaves += [leaf_hash(name.encode()) for name in names]

    def other(self, count: int) -> Tree:
        return Tree(self.signer.name, count, "another story")

    def root(self, size: int | None = None) -> bytes:
        return root(self.leaves[:size])

    def head(self, size: int | None = None) -> Checkpoint:
        leaves = self.leaves[:size]
        return Checkpoint(self.signer.name, len(leaves), root(leaves))

    def checkpoint(self, size: int | None = None) -> bytes:
        return sign_checkpoint(self.head(size), [self.signer])

    def request(self, old: int, size: int | None = None) -> bytes:
        """An honest request: the proof leads from `old` to `size`."""
        size = len(self.leaves) if size is None else size
        proof: Sequence[bytes] = ()
        if 0 < old <= size:
            proof = prove_consistency(old, size, ListedLeaves(self.leaves[:size]))
        return AddCheckpoint(old, tuple(proof), self.checkpoint(size)).encode()


def policy_of(*trees: Tree) -> Policy:
    policy = Policy()
    for tree in trees:
        policy.add_log(tree.signer.verifier.vkey)
    policy.set_quorum(NONE)
    return policy


def witness_signer(name: str, kind: int = COSIGNATURE) -> Signer:
    return make_signer(name, kind, sha256(f"{name} {kind}".encode()).digest())


def witness_folder(
    path: Path, name: str, *trees: Tree, kinds: Sequence[int] = (COSIGNATURE,)
) -> WitnessFolder:
    """A folder with fresh keys that knows these logs."""
    folder = WitnessFolder(path)
    folder.make_keys(name, list(kinds))
    folder.policy_path.write_bytes(policy_of(*trees).encode())
    return folder


@contextmanager
def serving(folder: WitnessFolder, port: int = 0, tls: Path | None = None) -> Iterator[str]:
    """The same server in a thread of this process: its address. `tls` has its certificate."""
    witness = Witness(folder, folder.signers(), SystemClock())
    files = (None, None) if tls is None else (tls / "tls.crt", tls / "tls.key")
    server, listening = make_server(witness, Listen("127.0.0.1", port, *files))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        witness.close()


class HttpAnswer(NamedTuple):
    status: int
    body: bytes
    content_type: str


class RunningWitness(NamedTuple):
    """`tanzhang witness serve` at work."""

    process: subprocess.Popen[bytes]
    url: str

    def add(self, body: bytes) -> HttpAnswer:
        return ask(f"{self.url}/add-checkpoint", body)


def ask(url: str, body: bytes | None = None) -> HttpAnswer:
    """One request; any status is an answer."""
    try:
        with urlopen(Request(url, body), timeout=HTTP_S) as found:
            return HttpAnswer(found.status, found.read(), found.headers["Content-Type"])
    except HTTPError as error:
        return HttpAnswer(error.code, error.read(), error.headers["Content-Type"])


@contextmanager
def running_witness(
    folder: WitnessFolder,
    port: int | None = None,
    crash: str | None = None,
    flags: Sequence[str] = (),
) -> Iterator[RunningWitness]:
    """A process on this folder, killed at the end if it still lives."""
    port = port or free_port()
    environment = {"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    if crash is not None:
        environment["TANZHANG_CRASH"] = crash
    arguments = [
        "witness",
        "serve",
        "--dir",
        str(folder.path),
        "--listen",
        f"127.0.0.1:{port}",
        *flags,
    ]
    process = subprocess.Popen([sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=environment)
    running = RunningWitness(process, f"http://127.0.0.1:{port}")
    try:
        _await_answer(running)
        yield running
    finally:
        process.kill()
        process.wait()


def _await_answer(running: RunningWitness) -> None:
    until(lambda: _answers(running), "the witness to answer", PATIENCE_S)


def _answers(running: RunningWitness) -> bool:
    assert running.process.poll() is None, "the witness ended instead of serving"
    try:
        return ask(f"{running.url}/none/checkpoint").status == 404
    except OSError:
        return False
