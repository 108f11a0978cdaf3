"""Receipts judged where there is no network, and forgeries to be judged: for the demo and tests.

The verifier runs as a process of its own. Where the system allows it, in a network namespace that
has no interface up; elsewhere an audit hook (PEP 578) ends the process at the first socket, and
`Isolation.how` says which of the two it was. That the namespace is closed is tried, not assumed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cli
from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.container import pack_members
from kernel.tlog.merkle import ListedLeaves, leaf_hash, prove_inclusion, root
from kernel.tlog.note import ED25519, Signer
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.proof import TlogProof, parse_proof
from kernel.tlog.receipt import (
    book_of,
    commitment,
    leaf_data,
    make_receipt,
    split_receipt,
)

VERIFY_DEADLINE_S: Final = 60.0
_PROJECT: Final = Path(cli.__file__).resolve().parent.parent
_NAMESPACES: Final = (
    ("unshare", "--net", "--"),
    ("unshare", "--map-current-user", "--net", "--"),
)
_RUN: Final = "import sys; from cli.app import main; sys.exit(main())"
_HOOK: Final = """
import os, sys
def refuse(event, args):
    if event.startswith("socket."):
        os.write(2, b"a socket was asked for\\n")
        os._exit(9)
sys.addaudithook(refuse)
"""
_TRY: Final = """
import socket, sys
with socket.socket() as one:
    one.settimeout(2)
    sys.exit(one.connect_ex((sys.argv[1], int(sys.argv[2]))) == 0)
"""  # exit code 1: it could connect


@dataclass(frozen=True)
class Isolation:
    """How a process is kept from the network."""

    how: str
    prefix: tuple[str, ...] = ()
    hook: str = ""


@dataclass(frozen=True)
class Judged:
    """What `tanzhang verify --json` answered of the one file."""

    code: int
    told: dict[str, Any]


def find_isolation(reachable: str | None = None) -> Isolation:
    """The closest one this system allows.

    `reachable` (host:port of something that listens now) is tried from inside: a namespace from
    which it can be reached is not believed.
    """
    host, _, port = (reachable or "127.0.0.1:9").rpartition(":")
    for prefix in _NAMESPACES:
        command = [*prefix, sys.executable, "-c", _TRY, host, port]
        if _succeeds(command):
            tried = f", from where {reachable} cannot be reached" if reachable else ""
            return Isolation(f"in a network namespace of its own{tried}", prefix)
    return Isolation(
        "with sockets refused inside the process (no network namespace is allowed here)",
        hook=_HOOK,
    )


def _succeeds(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=VERIFY_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def judge(receipt: Path, policy: Path, isolation: Isolation) -> Judged:
    """Runs `tanzhang verify` on a receipt, in isolation and with nothing but these two files."""
    command = [
        *(*isolation.prefix, sys.executable, "-c", isolation.hook + _RUN),
        *("verify", str(receipt.absolute()), "--policy", str(policy.absolute()), "--json"),
    ]
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "PYTHONPATH": str(_PROJECT),
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=VERIFY_DEADLINE_S,
        check=False,
        env=environment,
    )
    try:
        return Judged(done.returncode, json.loads(done.stdout)["files"][0])
    except (KeyError, ValueError):
        words = done.stderr.decode(errors="replace").strip()
        return Judged(done.returncode, {"valid": None, "error": words[-1000:]})


def change_byte(receipt: bytes) -> bytes:
    """The receipt with one digit of its event changed, in a sound container."""
    record, salt, proof = split_receipt(receipt)
    at = record.index(b'"amount":') + len(b'"amount":')
    digit = b"1" if record[at : at + 1] != b"1" else b"2"
    return make_receipt(record[:at] + digit + record[at + 1 :], salt, proof)


def forge(receipt: bytes) -> tuple[bytes, Policy]:
    """The same event, changed, in a log of the forger's own under the same name, and the policy
    that trusts it. Everything holds but whom it comes from.
    """
    record, salt, proof = split_receipt(change_byte(receipt))
    index = parse_proof(proof).index
    origin = _origin(proof)
    leaf = leaf_hash(leaf_data(book_of(origin), index, commitment(salt, record)))
    leaves = [leaf_hash(b"")] * index + [leaf]
    signer = Signer(origin, ED25519, os.urandom(32))
    note = sign_checkpoint(Checkpoint(origin, len(leaves), root(leaves)), [signer])
    path = prove_inclusion(index, len(leaves), ListedLeaves(leaves))
    policy = Policy()
    policy.add_log(signer.verifier.vkey)
    policy.set_quorum(NONE)
    return make_receipt(record, salt, TlogProof(index, tuple(path), note).encode()), policy


def _origin(proof: bytes) -> str:
    return parse_proof(proof).checkpoint.decode().partition("\n")[0]


def bring_own_policy(receipt: bytes, policy: Policy) -> bytes:
    """A receipt that brings the policy it wants to be judged by."""
    record, salt, proof = split_receipt(receipt)
    return pack_members(
        {
            "event.bin": record,
            "salt": salt,
            "event.tlog-proof": proof,
            "policy.txt": policy.encode(),
        }
    )
