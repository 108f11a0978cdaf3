"""A witness's folder: its private keys, the logs it knows, what it cosigned, evidence of forks.

    witness.skey           Ed25519 cosigner (0x04), mode 0600
    witness-mldsa44.skey   ML-DSA-44 cosigner (0x06), if it has one
    policy.txt             C2SP tlog-policy: its `log` lines are the logs that are witnessed
    cosigned.sqlite3       store.py
    evidence/              one folder for each refused checkpoint that speaks against its log

policy.txt is read again when it changes. Trust: who holds a key file can cosign as this witness.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from cli.witness.store import Store, StoreMissing
from kernel.errors import Fault, Misconfigured
from kernel.keys import load_note_key, make_note_key, passphrase_of_environment
from kernel.logs import get_logger
from kernel.tlog.checkpoint import Checkpoint, parse_checkpoint
from kernel.tlog.errors import TlogError
from kernel.tlog.note import COSIGNATURE, MLDSA44, Signer, Verifier, parse_note
from kernel.tlog.policy import parse_policy

FORK: Final = "fork"  # two checkpoints of one size under the log's signature: it has two histories
UNPROVEN: Final = "unproven"  # signed by the log, and not shown to lead on from what was cosigned
# A log that forks can sign without end, and anybody can send its checkpoints with a wrong proof.
# Of each kind and log the first ones stay, which no flood washes away, and of the others the
# newest: what is sent in advance leaves room for what comes later.
KEPT_FIRST: Final = 8
KEPT_NEWEST: Final = 8
_WITHOUT_MEMORY: Final = (
    "It holds what this witness has cosigned. Lost, the witness would cosign from size 0 again, a"
    " second history too: retire its key, tell everybody whose policy names it, and begin with a"
    " new one in a new folder. Only if this key has never cosigned anything: tanzhang witness serve"
    " --first-start, once."
)
KEY_FILES: Final = {COSIGNATURE: "witness.skey", MLDSA44: "witness-mldsa44.skey"}

log = get_logger(__name__)


@dataclass(frozen=True)
class Evidence:
    """Two checkpoints that their log signed: what we cosigned, and what we refused."""

    kind: str
    origin: str
    cosigned: bytes
    refused: bytes
    old_size: int
    at_s: int

    def told(self) -> dict[str, Any]:
        """The facts as JSON values."""
        ours, theirs = _head(self.cosigned), _head(self.refused)
        return {
            "kind": self.kind,
            "origin": self.origin,
            "cosigned_size": ours.size,
            "cosigned_root": ours.root.hex(),
            "refused_size": theirs.size,
            "refused_root": theirs.root.hex(),
            "refused_old_size": self.old_size,
            "at_s": self.at_s,
        }

    @property
    def name(self) -> str:
        """One for each refused checkpoint, whatever else it came with."""
        place = sha256(self.origin.encode()).hexdigest()[:16]
        refused = _head(self.refused)
        return f"{self.kind}-{place}-{refused.size}-{refused.root.hex()[:16]}"


class WitnessFolder:
    """Reads and writes one witness's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._logs: list[Verifier] = []
        self._stamp: tuple[int, int, int] | None = None

    @property
    def evidence_path(self) -> Path:
        return self.path / "evidence"

    @property
    def policy_path(self) -> Path:
        return self.path / "policy.txt"

    @property
    def store_path(self) -> Path:
        return self.path / "cosigned.sqlite3"

    def store(self) -> Store:
        """What was cosigned. CliError if it is not there: then this witness has no memory."""
        try:
            return Store(self.store_path)
        except StoreMissing as error:
            raise CliError(f"{error}\n{_WITHOUT_MEMORY}") from error

    def make_store(self) -> None:
        """An empty one. CliError if there is one: it is not made twice."""
        if self.store_path.exists():
            raise CliError(f"{self.store_path}: is there: start without --first-start")
        self._make_store()

    def _make_store(self) -> None:
        try:
            Store.make(self.store_path)
        except StoreMissing as error:
            raise CliError(str(error)) from error
        sync_folder(self.path)

    def make_keys(self, name: str, kinds: list[int]) -> list[Signer]:
        """The keys asked for, made where they are missing. CliError on another name.

        The first key is made together with the empty database, so that one that is missing later
        is known to be lost.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any((self.path / file).exists() for file in KEY_FILES.values()):
            self._make_store()
        for kind in kinds:
            path = self.path / KEY_FILES[kind]
            if not path.exists():
                make_note_key(path, name, kind, passphrase_of_environment())
        signers = self.signers()
        for signer in signers:
            if signer.name != name:
                raise CliError(f"{self.path}: expected the key {name}, got {signer.name}")
        return signers

    def signers(self) -> list[Signer]:
        """The keys that are there, Ed25519 first. CliError if there is none, or a damaged one."""
        paths = [self.path / name for name in KEY_FILES.values()]
        found = [_load(path) for path in paths if path.exists()]
        if not found:
            raise CliError(f"{self.path} has no key: make one with tanzhang witness keys")
        return found

    def logs(self) -> list[Verifier]:
        """The keys of the logs that are witnessed, as the policy file says now.

        A file that cannot be read any more leaves those known before in force; CliError at first.
        """
        try:
            found = self.policy_path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                policy = parse_policy(self.policy_path.read_bytes())
                self._logs, self._stamp = [one.key for one in policy.logs], stamp
        except (OSError, TlogError) as error:
            if self._stamp is None:
                raise CliError(f"{self.policy_path}: {error}") from error
            log.error("witness.policy_unreadable", path=str(self.policy_path), error=str(error))
        return self._logs

    # ------------------------------------------------------------------------ evidence

    def keep_evidence(self, evidence: Evidence) -> bool:
        """Whole and durable, or not at all; False if it is there already."""
        place = self.evidence_path / evidence.name
        if place.exists():
            return False
        fresh = self.evidence_path / f".{evidence.name}.{os.getpid()}.{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700, parents=True)
        about = json.dumps(evidence.told(), indent=2, sort_keys=True).encode() + b"\n"
        for name, data in (
            ("cosigned.checkpoint", evidence.cosigned),
            ("refused.checkpoint", evidence.refused),
            ("about.json", about),
        ):
            _write_synced(fresh / name, data)
        sync_folder(fresh)
        try:
            fresh.rename(place)
        except OSError:  # another process was first
            _remove(fresh)
            return False
        sync_folder(self.evidence_path)
        for late in self._places(evidence)[KEPT_FIRST:-KEPT_NEWEST]:
            self._let_go(late)
        return True

    def evidence(self) -> list[dict[str, Any]]:
        """What is kept, oldest first, each with the folder it lies in."""
        if not self.evidence_path.is_dir():
            return []
        found = []
        for place in sorted(self.evidence_path.glob("[!.]*/about.json")):
            try:
                about = json.loads(place.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise Fault(f"{place}: {error}") from error
            found.append({**about, "folder": str(place.parent)})
        return sorted(found, key=lambda one: (one["at_s"], one["folder"]))

    def _places(self, evidence: Evidence) -> list[Path]:
        """Those of the same kind and log, oldest first."""
        origin = evidence.name.split("-")[1]
        dated = []
        for place in self.evidence_path.glob(f"{evidence.kind}-{origin}-*"):
            try:
                dated.append((place.stat().st_mtime_ns, place))
            except FileNotFoundError:  # another process has let it go
                continue
        return [place for _, place in sorted(dated)]

    def _let_go(self, place: Path) -> None:
        gone = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            place.rename(gone)
        except FileNotFoundError:  # another process was first
            return
        _remove(gone)


def sync_folder(path: Path) -> None:
    """What was made or renamed in a folder is there after a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(path: Path) -> Signer:
    try:
        signer = load_note_key(path)
    except Misconfigured as error:
        raise CliError(f"{path.parent}/{error}") from error
    if KEY_FILES.get(signer.kind) != path.name:
        raise CliError(f"{path}: expected the key of a cosigner, got type 0x{signer.kind:02x}")
    return signer


def _head(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note)[0])


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
