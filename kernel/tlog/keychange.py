"""A log's change of key: a signed note in which the old key names the new one.

    tanzhang-log-key/v1
    origin <origin>
    old <verifier key>
    new <verifier key>
    time <POSIX seconds, decimal>

The new key always signs it, which shows that somebody holds it; the old one signs it too when it
announces its successor, and only then may who trusts the old key follow by this note alone. A text
like this is no checkpoint: its second line is no size. Decides nothing about trust: the
policy's owner does, with `follow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernel.tlog import note
from kernel.tlog.encoding import MAX_UINT63, parse_decimal, shorten
from kernel.tlog.errors import FormatError, NoteError, PolicyError
from kernel.tlog.policy import parse_policy

HEAD = "tanzhang-log-key/v1"
_FIELDS = ("origin", "old", "new", "time")


@dataclass(frozen=True, slots=True)
class KeyChange:
    """From `old` to `new`, both Ed25519 keys under the log's origin as their name."""

    old: note.Verifier
    new: note.Verifier
    time_s: int

    @property
    def origin(self) -> str:
        return self.new.name

    def text(self) -> str:
        """The note's text. FormatError unless both are different keys of one log."""
        self.check()
        fields = (self.origin, self.old.vkey, self.new.vkey, str(self.time_s))
        lines = [f"{name} {value}" for name, value in zip(_FIELDS, fields, strict=True)]
        return "\n".join([HEAD, *lines]) + "\n"

    def check(self) -> None:
        if self.old.name != self.new.name:
            raise FormatError(f"expected a key of {self.old.name}, got one of {self.new.name}")
        if self.old.public == self.new.public:
            raise FormatError(f"expected another key than {self.old}, got the same")
        if (self.old.kind, self.new.kind) != (note.ED25519, note.ED25519):
            raise FormatError("expected Ed25519 log keys, got a cosigner's")
        if not 0 <= self.time_s <= MAX_UINT63:
            raise FormatError(f"expected a time in 0..{MAX_UINT63} seconds, got {self.time_s}")


@dataclass(frozen=True, slots=True)
class OpenedKeyChange:
    """A change that the new key signed; `announced` when the old one did too."""

    change: KeyChange
    announced: bool


def sign_key_change(change: KeyChange, signers: Sequence[note.Signer]) -> bytes:
    """The note, signed by these: by old and new, or by the new one alone."""
    text = change.text()
    return note.sign_note(text, [signer.line(text) for signer in signers])


def open_key_change(data: bytes) -> OpenedKeyChange:
    """Verify that the keys it names signed it. FormatError, NoteError.

    That the old key is one to be believed is for the caller: anybody can write such a note.
    """
    change = parse_key_change(note.parse_note(data)[0])
    opened = note.open_note(data, [change.old, change.new])
    signed = {one.public for one in opened.verified}
    if change.new.public not in signed:
        raise NoteError(f"key change: expected a signature of the new key {change.new}, got none")
    return OpenedKeyChange(change, change.old.public in signed)


def parse_key_change(text: str) -> KeyChange:
    """The change in a note's text, strictly. FormatError."""
    lines = text.split("\n")
    names = [line.partition(" ")[0] for line in lines[1:-1]]
    if lines[0] != HEAD or lines[-1] or tuple(names) != _FIELDS:
        raise FormatError(f"expected {HEAD} with {', '.join(_FIELDS)}, got {shorten(text)}")
    origin, old, new, time_s = (line.partition(" ")[2] for line in lines[1:-1])
    change = KeyChange(
        note.load_verifier(old), note.load_verifier(new), parse_decimal(time_s, "time")
    )
    if change.text() != text or origin != change.origin:
        raise FormatError(f"expected a change of the key of {shorten(origin)}, got {change.new}")
    return change


def follow(policy: bytes, data: bytes, *, instead: bool = False) -> tuple[bytes, KeyChange]:
    """The policy file that knows the new key as well, or `instead` of the old one.

    All its other lines stay as they are, and so does the old one's address. PolicyError unless the
    policy trusts the old key and the old key signed; FormatError, NoteError.
    """
    opened = open_key_change(data)
    change = opened.change
    known = [log.key for log in parse_policy(policy).logs]
    if change.old not in known:
        raise PolicyError(f"expected a change of a key the policy knows, got one of {change.old}")
    if not opened.announced:
        raise PolicyError(
            f"expected the signature of the old key {change.old}, got the new one's alone: a key"
            " that was lost or has leaked is replaced by hand, on somebody's word"
        )
    lines: list[bytes] = []
    for line in policy.splitlines(keepends=True):
        items = line.split()
        if items[:2] != [b"log", change.old.vkey.encode()]:
            lines.append(line)
            continue
        lines += [] if instead else [line]
        if change.new not in known:
            lines.append(b" ".join([b"log", change.new.vkey.encode(), *items[2:]]) + b"\n")
    followed = b"".join(lines)
    parse_policy(followed)
    return followed, change
