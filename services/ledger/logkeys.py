"""The logs' own keys: which files there are, and which of them sign, as the ledger's book says.

A key file is prepared before anything is said of it: `<book>.skey` is a log's first key, and
`<book>.<key id>.skey` each later one. Events are the truth about which are in force: a file that no
event names signs nothing, and a key in force that has no file here is missing, whereupon its log
is folded on and not signed. So a crash between files and events, in either order, changes nothing.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from kernel.errors import Misconfigured, Refused
from kernel.keys import load_note_key
from kernel.logs import get_logger
from kernel.tlog.encoding import encode_base64
from kernel.tlog.keychange import KeyChange, sign_key_change
from kernel.tlog.note import ED25519, Signer, Verifier, load_verifier
from kernel.tlog.policy import NONE, Policy
from kernel.writer import Writer
from services.ledger.domain.state import LogKeys, State

MAX_FILES: Final = 64  # of one log: every one of them is opened at start

log = get_logger(__name__)


class InForce(NamedTuple):
    """Of one log: who signs now, whose signature its last checkpoint may bear, who is missing."""

    signers: tuple[Signer, ...]
    known: tuple[Verifier, ...]
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Are all keys in force here? Nothing is signed with some of them."""
        return bool(self.signers) and not self.missing


class BookKeys:
    """The keys of one log at this moment. The sealer looks here before each signature."""

    def __init__(self, origin: str, now: InForce) -> None:
        self.origin = origin
        self.now = now


class KeyFolder:
    """The key files of all logs of one ledger."""

    def __init__(self, folder: Path, log_prefix: str) -> None:
        self._folder = folder
        self._prefix = log_prefix

    def origin(self, book: str) -> str:
        return f"{self._prefix}/{book}"

    def first(self, book: str) -> Signer | None:
        """The key the log was begun with, unless its file is gone. Raises Misconfigured."""
        path = self._folder / f"{book}.skey"
        return self._load(path, book) if path.exists() else None

    def signers(self, book: str) -> dict[str, Signer]:
        """Every key that lies here for a log, by verifier key. Raises Misconfigured. Blocks."""
        later = sorted(self._folder.glob(f"{book}.*.skey"))
        if len(later) > MAX_FILES:
            raise Misconfigured(f"{book}: expected at most {MAX_FILES} keys, got {len(later)}")
        loaded = [self._load(path, book) for path in later]
        first = self.first(book)
        return {one.verifier.vkey: one for one in [*([first] if first else []), *loaded]}

    def in_force(self, book: str, keys: LogKeys | None) -> InForce:
        """What the events say of a log, and the files that go with it. Blocks."""
        if keys is None:
            first = self.first(book)
            if first is None:
                return InForce((), (), (f"the first key of {self.origin(book)}",))
            return InForce((first,), (first.verifier,))
        here = self.signers(book)
        named = [keys.current, *([keys.announced] if keys.announced else [])]
        return InForce(
            tuple(here[vkey] for vkey in named if vkey in here),
            tuple(load_verifier(vkey) for vkey in (*named, *keys.retired)),
            tuple(vkey for vkey in named if vkey not in here),
        )

    def followed(self, book: str, keys: LogKeys | None, new_vkey: str) -> str:
        """The key in force, if this one may follow it: both lie here. Signs nothing."""
        here = self.signers(book)
        current = self._current(book, keys) or f"the first key of {self.origin(book)}"
        old, new = _one_of(here, current), _one_of(here, new_vkey)
        KeyChange(old.verifier, new.verifier, 0).check()
        return current

    def announce(self, book: str, old_vkey: str, new_vkey: str, time_s: int) -> str:
        """From one key to another, signed by both: when a second person agrees, not before."""
        here = self.signers(book)
        old, new = _one_of(here, old_vkey), _one_of(here, new_vkey)
        change = KeyChange(old.verifier, new.verifier, time_s)
        return encode_base64(sign_key_change(change, [old, new]))

    def replace(self, book: str, old_vkey: str, new_vkey: str, time_s: int) -> str:
        """From a key that leaked or was lost, signed by the new one alone. Raises Refused."""
        new = _one_of(self.signers(book), new_vkey)
        change = KeyChange(load_verifier(old_vkey), new.verifier, time_s)
        return encode_base64(sign_key_change(change, [new]))

    def _current(self, book: str, keys: LogKeys | None) -> str | None:
        if keys is not None:
            return keys.current
        first = self.first(book)
        return None if first is None else first.verifier.vkey

    def _load(self, path: Path, book: str) -> Signer:
        signer = load_note_key(path)
        if (signer.name, signer.kind) != (self.origin(book), ED25519):
            raise Misconfigured(
                f"{path.name}: expected an Ed25519 key of {self.origin(book)}, got {signer}"
            )
        return signer


def open_keys(folder: KeyFolder, books: tuple[str, ...], state: State) -> dict[str, BookKeys]:
    """As the state says now. Raises Misconfigured for a file that is not what it should be."""
    return {
        book: BookKeys(folder.origin(book), folder.in_force(book, state.log_keys.get(book)))
        for book in books
    }


def policy_of(deployed: Policy, keys: Mapping[str, BookKeys]) -> str:
    """The deployment's policy as it is to be believed now: our logs under the keys in force."""
    ours, served = {one.origin for one in keys.values()}, Policy()
    for known in deployed.logs:
        if known.key.name not in ours:
            served.add_log(known.key.vkey, known.url)
    for one in keys.values():
        urls = [known.url for known in deployed.logs if known.key.name == one.origin and known.url]
        for signer in one.now.signers:
            served.add_log(signer.verifier.vkey, urls[0] if urls else None)
    for name, witness in deployed.witnesses.items():
        served.add_witness(name, witness.key.vkey, witness.url)
    for name, group in deployed.groups.items():
        served.add_group(name, group.rule, group.members)
    served.set_quorum(deployed.quorum or NONE)
    return served.encode().decode()


async def follow_changes(
    folder: KeyFolder, keys: Mapping[str, BookKeys], writer: Writer[State]
) -> None:
    """Takes a change once it is recorded, not before: a signature cannot be taken back."""
    taken: dict[str, LogKeys] | None = None
    while True:
        said, seen = copy.deepcopy(writer.state.log_keys), writer.progress.next_position
        await writer.committed(seen)
        if said != taken:
            for book, one in keys.items():
                one.now = await asyncio.to_thread(folder.in_force, book, said.get(book))
                if one.now.missing:
                    log.error("ledger.log_key_missing", book=book, keys=one.now.missing)
            taken = said
        await writer.committed(seen + 1)


def _one_of(here: Mapping[str, Signer], vkey: str) -> Signer:
    if vkey not in here:
        raise Refused("LOG_KEY_NOT_HERE", f"the ledger has no file with {vkey}", vkey=vkey)
    return here[vkey]
