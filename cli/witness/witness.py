"""A witness: cosigns what a log signed, if it leads on from what was cosigned last.

c2sp.org/tlog-witness, v1.1.0. What may be cosigned is decided in kernel/tlog/witness.py; here it is
decided and kept in one step, and answered after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from cli.witness.folder import FORK, UNPROVEN, Evidence, WitnessFolder
from cli.witness.store import Cosigned, Store
from kernel.clock import Clock
from kernel.crash import crash_point
from kernel.logs import get_logger
from kernel.tlog import note
from kernel.tlog.checkpoint import Checkpoint, parse_checkpoint
from kernel.tlog.errors import FormatError
from kernel.tlog.witness import (
    SIZE_TYPE,
    AddCheckpoint,
    Status,
    WitnessRefused,
    encode_size,
    judge,
    monitoring_path,
    open_by_log,
    parse_add_checkpoint,
)

TEXT: Final = "text/plain; charset=utf-8"

log = get_logger(__name__)


class Answer(NamedTuple):
    """What is answered over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT


class Witness:
    """Safe for concurrent use by threads, and beside other processes on the same folder."""

    def __init__(self, folder: WitnessFolder, signers: Sequence[note.Signer], clock: Clock) -> None:
        self._folder = folder
        self._signers = signers
        self._clock = clock
        self._store: Store = folder.store()

    def close(self) -> None:
        self._store.close()

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to a request; a checkpoint that is cosigned is durable before this returns."""
        try:
            request = parse_add_checkpoint(body)
            head = open_by_log(request.checkpoint, self._folder.logs())
            lines = self._advance(request, head)
        except FormatError as error:
            return _told(Status.MALFORMED, str(error))
        except WitnessRefused as refused:
            log.warning("witness.refused", status=int(refused.status), error=str(refused))
            if refused.status is Status.OTHER_SIZE:
                return Answer(refused.status, encode_size(refused.size or 0), SIZE_TYPE)
            return _told(refused.status, str(refused))
        # A crash here: cosigned and durable, and the log does not know; it asks again, from here.
        crash_point("witness.kept")
        return Answer(Status.COSIGNED, lines.encode())

    def _advance(self, request: AddCheckpoint, head: Checkpoint) -> str:
        """Judges and keeps in one step; answers our signature lines."""
        signed = _by_log_alone(request.checkpoint, self._folder.logs())
        try:
            with self._store.advance() as step:
                newest = step.newest(head.origin)
                judge(request, head, None if newest is None else _head(newest))
                cosigned = self._cosign(signed, head, 1 if newest is None else newest.number + 1)
                step.keep(head.origin, cosigned)
        except WitnessRefused as refused:
            self._look_for_a_fork(request, head, signed, refused)
            raise
        return cosigned.lines

    def _cosign(self, signed: bytes, head: Checkpoint, number: int) -> Cosigned:
        at_s = max(self._clock.now_ms() // 1000, 1)  # 0 would mean: not a time
        text = note.parse_note(signed)[0]
        lines = "".join(signer.line(text, at_s) for signer in self._signers)
        return Cosigned(head.size, at_s, signed, lines, number)

    def _look_for_a_fork(
        self, request: AddCheckpoint, head: Checkpoint, signed: bytes, refused: WitnessRefused
    ) -> None:
        """Keeps what was refused where it speaks against the log that signed it."""
        with self._store.advance() as step:
            known = step.of_size(head.origin, head.size)
            newest = step.newest(head.origin)
        if known is not None and _head(known).root == head.root:
            return  # what we cosigned ourselves, sent again
        if known is not None:
            self._keep(FORK, known, request, head, signed)
        elif refused.status is Status.INCONSISTENT and newest is not None and newest.size:
            self._keep(UNPROVEN, newest, request, head, signed)

    def _keep(
        self, kind: str, ours: Cosigned, request: AddCheckpoint, head: Checkpoint, signed: bytes
    ) -> None:
        at_s = max(self._clock.now_ms() // 1000, 1)
        found = Evidence(kind, head.origin, ours.note, signed, request.old_size, at_s)
        if self._folder.keep_evidence(found):
            log.error("witness.evidence", **found.told())

    def cosigned(self, path: str) -> bytes | None:
        """What monitors are shown at a path below our prefix; None where there is nothing."""
        for key in self._folder.logs():
            if monitoring_path(key.name) == path:
                newest = self._store.newest(key.name)
                return None if newest is None else newest.shown
        return None


def _by_log_alone(checkpoint: bytes, logs: Sequence[note.Verifier]) -> bytes:
    """The note without the lines of others: a submitter may add what it likes to a checkpoint."""
    text, signatures = note.parse_note(checkpoint)
    origin = parse_checkpoint(text).origin
    known = {(key.name, key.key_id) for key in logs if key.name == origin}
    kept: dict[tuple[str, int], str] = {}
    for line, signed in zip(_lines(checkpoint), signatures, strict=True):
        if (signed.name, signed.key_id) in known:
            kept.setdefault((signed.name, signed.key_id), line)
    return note.sign_note(text, list(kept.values()))


def _lines(checkpoint: bytes) -> list[str]:
    block = checkpoint.decode("utf-8").rpartition("\n\n")[2]
    return [f"{line}\n" for line in block.removesuffix("\n").split("\n")]


def _head(cosigned: Cosigned) -> Checkpoint:
    return parse_checkpoint(note.parse_note(cosigned.note)[0])


def _told(status: Status, message: str) -> Answer:
    return Answer(status, message.encode() + b"\n")
