"""Trust policies: which logs, which witnesses, how many of them. c2sp.org/tlog-policy.

Parsed strictly and written back; decides whether a checkpoint is valid: signed by a known log and
cosigned by the quorum. A policy is trusted wholly: it must come from outside of what it judges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from kernel.tlog import note
from kernel.tlog.checkpoint import OpenedCheckpoint, load_verifier, parse_checkpoint
from kernel.tlog.encoding import shorten
from kernel.tlog.errors import FormatError, NoteError, PolicyError

NONE = "none"
MAX_POLICY_BYTES = 1024 * 1024
MAX_ITEMS = 256  # of logs, witnesses and groups each; the specification asks for at least 32
_LOG_KINDS = (note.ED25519, note.MLDSA44)
_WITNESS_KINDS = (note.COSIGNATURE, note.MLDSA44)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Log:
    """A log the policy accepts; its key's name is the origin."""

    key: note.Verifier
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under the name the policy gives it."""

    name: str
    key: note.Verifier
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses or groups of which `rule` ("all", "any" or a number) must have witnessed."""

    name: str
    rule: str
    members: tuple[str, ...]

    @property
    def threshold(self) -> int:
        """How many members must have witnessed."""
        if self.rule == "all":
            return len(self.members)
        return 1 if self.rule == "any" else int(self.rule)


@dataclass(slots=True)
class Policy:
    """Logs, witnesses, groups in order of definition, and the quorum's name (or `none`).

    Built by parse_policy or with the add methods and `set_quorum`, which keep the same rules.
    """

    logs: list[Log] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str | None = None

    def add_log(self, vkey: str, url: str | None = None) -> None:
        """Accept a log by its verifier key. PolicyError on a duplicate or unfit key."""
        key = _load_key(vkey, _LOG_KINDS)
        _refuse_duplicate(key, [log.key for log in self.logs])
        self.logs.append(Log(key, _check_item(url)))
        _check_count("logs", len(self.logs))

    def add_witness(self, name: str, vkey: str, url: str | None = None) -> None:
        """Name a witness. PolicyError on a duplicate name or key, or an unfit key."""
        self._check_new(name)
        key = _load_key(vkey, _WITNESS_KINDS)
        _refuse_duplicate(key, [witness.key for witness in self.witnesses.values()])
        self.witnesses[name] = Witness(name, key, _check_item(url))
        _check_count("witnesses", len(self.witnesses))

    def add_group(self, name: str, rule: str, members: Iterable[str]) -> None:
        """Name a group of what is defined already. PolicyError if a member cannot be one."""
        self._check_new(name)
        group = Group(name, rule, tuple(members))
        taken = {member for other in self.groups.values() for member in other.members}
        for member in group.members:
            if not self._defined(member):
                raise PolicyError(f"group {name}: expected a defined name, got {shorten(member)}")
            if member in taken:  # else one witness would count twice
                raise PolicyError(f"group {name}: {shorten(member)} is a member already")
            taken.add(member)
        if rule not in ("all", "any") and not _THRESHOLD.fullmatch(rule):
            raise PolicyError(f"group {name}: expected all, any or a number, got {shorten(rule)}")
        if not 1 <= group.threshold <= len(group.members):
            raise PolicyError(
                f"group {name}: expected 1..{len(group.members)} of its members, got {rule}"
            )
        self.groups[name] = group
        _check_count("groups", len(self.groups))

    def set_quorum(self, name: str) -> None:
        """Name the quorum, once. PolicyError if the name is not defined."""
        if self.quorum is not None:
            raise PolicyError(f"expected one quorum, got {self.quorum} and {shorten(name)}")
        if name != NONE and not self._defined(name):
            raise PolicyError(f"quorum: expected a defined name, got {shorten(name)}")
        self.quorum = name

    def encode(self) -> bytes:
        """The policy file. PolicyError if there is no quorum yet."""
        if self.quorum is None:
            raise PolicyError("expected a quorum, got none set")
        lines = [["log", log.key.vkey, log.url] for log in self.logs]
        lines += [["witness", w.name, w.key.vkey, w.url] for w in self.witnesses.values()]
        lines += [["group", g.name, g.rule, *g.members] for g in self.groups.values()]
        lines.append(["quorum", self.quorum])
        text = "".join(" ".join(item for item in line if item) + "\n" for line in lines)
        return text.encode("utf-8", "surrogateescape")

    def satisfied_by(self, cosignatures: Iterable[note.VerifiedSignature]) -> bool:
        """Whether these *verified* signatures reach the quorum; those of others do not count."""
        if self.quorum is None:
            raise PolicyError("expected a quorum, got none set")
        keys = {(signed.name, signed.key_id, signed.public) for signed in cosignatures}
        witnessed = {NONE}
        for name, witness in self.witnesses.items():
            key = witness.key
            if (key.name, key.key_id, key.public) in keys:
                witnessed.add(name)
        for name, group in self.groups.items():  # members are defined before their group
            if len(witnessed.intersection(group.members)) >= group.threshold:
                witnessed.add(name)
        return self.quorum in witnessed

    def dated_by(
        self, cosignatures: Iterable[note.VerifiedSignature]
    ) -> note.VerifiedSignature | None:
        """The one by whose time the quorum has signed: later ones alone do not reach it.

        So a tree is as new as the quorum says, not as the last witness does: one that colludes
        cannot make an old tree new. With quorum `none` it is the newest; without any, None.
        """
        timed = [one for one in cosignatures if one.timestamp_s is not None]
        for at_s in sorted({one.timestamp_s or 0 for one in timed}, reverse=True):
            if self.satisfied_by(one for one in timed if (one.timestamp_s or 0) >= at_s):
                return next(one for one in timed if one.timestamp_s == at_s)
        return None

    def open_checkpoint(self, data: bytes) -> OpenedCheckpoint:
        """Verify a signed checkpoint: a known log signed it and the quorum cosigned it.

        PolicyError if no log of that origin is known or the quorum is missing; NoteError if a
        known key's signature is false or the log's is missing; FormatError if malformed.
        """
        origin = parse_checkpoint(note.parse_note(data)[0]).origin
        logs = [log.key for log in self.logs if log.key.name == origin]
        if not logs:
            known = ", ".join(log.key.name for log in self.logs) or "no log at all"
            raise PolicyError(f"policy knows {known}, got a checkpoint of {shorten(origin)}")
        cosigners = [witness.key for witness in self.witnesses.values()]
        opened = note.open_note(data, [*logs, *cosigners])
        by_log = [s for s in opened.verified if any(_is_by(key, s) for key in logs)]
        by_witness = tuple(s for s in opened.verified if any(_is_by(key, s) for key in cosigners))
        if not by_log:
            raise NoteError(f"checkpoint: expected a signature of {logs[0]}, got none")
        if not self.satisfied_by(by_witness):
            actual = ", ".join(signed.name for signed in by_witness) or "no known witness"
            raise PolicyError(f"quorum {self.quorum}: expected its cosignatures, got {actual}")
        return OpenedCheckpoint(
            parse_checkpoint(opened.text), by_log[0], by_witness, opened.unknown
        )

    def _defined(self, name: str) -> bool:
        return name in self.witnesses or name in self.groups

    def _check_new(self, name: str) -> None:
        _check_item(name)
        if name == NONE or self._defined(name):
            raise PolicyError(f"expected a new name, got {shorten(name)} again")


def policy_fingerprint(data: bytes) -> str:
    """What a policy file is called where people compare two of them: `sha256:` and hex."""
    return f"sha256:{sha256(data).hexdigest()}"


def parse_policy(data: bytes) -> Policy:
    """Read a policy file. PolicyError with the line's number on whatever is not the format."""
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"policy: expected at most {MAX_POLICY_BYTES} bytes, got {len(data)}")
    if bad := _FORBIDDEN.search(data):
        raise PolicyError(f"policy: expected no control but tab and newline, got {bad[0]!r}")
    if data and not data.endswith(b"\n"):
        # a file cut off in its quorum line may name another quorum
        raise PolicyError("policy: expected a newline after the last line: was the file cut off?")
    policy = Policy()
    # names are opaque octets: surrogateescape keeps them apart and writes them back unchanged
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        items = [item for item in re.split("[ \t]+", line) if item]
        if items and not items[0].startswith("#"):
            try:
                _read_line(policy, items)
            except (FormatError, PolicyError) as error:
                raise PolicyError(f"policy line {number}: {error}") from error
    if policy.quorum is None:
        raise PolicyError("policy: expected one quorum line, got none")
    return policy


def _read_line(policy: Policy, items: list[str]) -> None:
    keyword, *rest = items
    readers: dict[str, tuple[range, Callable[..., None]]] = {
        "log": (range(1, 3), policy.add_log),
        "witness": (range(2, 4), policy.add_witness),
        "group": (range(3, 3 + MAX_ITEMS * 2), lambda n, k, *m: policy.add_group(n, k, m)),
        "quorum": (range(1, 2), policy.set_quorum),
    }
    if keyword not in readers:
        raise PolicyError(f"expected log, witness, group or quorum, got {shorten(keyword)}")
    counts, read = readers[keyword]
    if len(rest) not in counts:
        raise PolicyError(f"{keyword}: expected {counts[0]} to {counts[-1]} items, got {len(rest)}")
    read(*rest)


def _load_key(vkey: str, kinds: tuple[int, ...]) -> note.Verifier:
    try:
        key = load_verifier(vkey)
    except FormatError as error:
        raise PolicyError(str(error)) from error
    if key.kind not in kinds:
        wanted = " or ".join(f"0x{kind:02x}" for kind in kinds)
        raise PolicyError(f"{key.name}: expected signature type {wanted}, got 0x{key.kind:02x}")
    return key


def _refuse_duplicate(key: note.Verifier, known: list[note.Verifier]) -> None:
    for other in known:
        if other.public == key.public:
            raise PolicyError(f"{key} has the same public key as {other}")


def _check_item(item: str | None) -> str | None:
    if item is not None and (not item or re.search("[\x00-\x20\x7f]", item)):
        raise PolicyError(f"expected a word without spaces or controls, got {shorten(item)}")
    return item


def _check_count(what: str, count: int) -> None:
    if count > MAX_ITEMS:
        raise PolicyError(f"expected at most {MAX_ITEMS} {what}, got {count}")


def _is_by(key: note.Verifier, signed: note.VerifiedSignature) -> bool:
    return (key.name, key.key_id, key.public) == (signed.name, signed.key_id, signed.public)
