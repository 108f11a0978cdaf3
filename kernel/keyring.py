"""The keys of institutions as a book knows them, and what they signed (domain 2.9).

A book admits a key when the ledger's directory has registered it, and withdraws it when the
directory has ended it (kernel/directory.py is the reaction). A statement is believed only from a
key whose subject is the institution itself. Plain values and functions: domains import this.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import Act, Context, check_role

MAX_SHOWN_CHARS: Final = 200  # of each side in a refusal, which is recorded for ever


class AdmitKey(msgspec.Struct, frozen=True):
    """From the reaction to the ledger's key directory alone."""

    key_id: str
    public_key: str
    subject: str
    suite: str


class WithdrawKey(msgspec.Struct, frozen=True):
    key_id: str


class KeyAdmitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger's key directory has a key; from here on its acts count in this book."""

    key_id: str
    public_key: str  # base64
    subject: str
    suite: str


class KeyWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The directory has ended a key; its acts do not count any more."""

    key_id: str


KEY_EVENTS: Final = (KeyAdmitted, KeyWithdrawn)


@dataclass(slots=True)
class Key:
    subject: str
    public_key: bytes


@dataclass
class Keyring:
    """Keys by id."""

    keys: dict[str, Key] = field(default_factory=dict)

    def has_subject(self, subject: str) -> bool:
        return any(key.subject == subject for key in self.keys.values())

    def on_key_admitted(self, event: KeyAdmitted) -> None:
        self.keys[event.key_id] = Key(event.subject, base64.b64decode(event.public_key))

    def on_key_withdrawn(self, event: KeyWithdrawn) -> None:
        self.keys.pop(event.key_id, None)


def admit_key(command: AdmitKey, context: Context) -> list[KeyAdmitted]:
    check_role(context, "system")
    return [KeyAdmitted(command.key_id, command.public_key, command.subject, command.suite)]


def withdraw_key(command: WithdrawKey, context: Context) -> list[KeyWithdrawn]:
    check_role(context, "system")
    return [KeyWithdrawn(command.key_id)]


T = TypeVar("T", bound=msgspec.Struct)


def signed_statement(keyring: Keyring, context: Context, expected: type[T], subject: str) -> T:
    """The one statement of this kind among the command's acts, signed by this subject's key.

    For commands that carry one act. `expected` is a tagged struct with its fields in sorted order.
    Raises Refused: ACT_MISSING, ACT_MALFORMED, ACT_KEY_UNKNOWN, ACT_SUBJECT, ACT_SIGNATURE.
    """
    if len(context.acts) != 1:
        raise _missing(expected, subject, len(context.acts))
    return _believed(keyring, context, context.acts[0], expected, subject)


def signed_by_all(
    keyring: Keyring, context: Context, expected: type[T], subjects: Sequence[str]
) -> T:
    """The one statement that each of these subjects has signed, one act each and no other.

    Raises Refused like `signed_statement`, and ACT_DIFFERS when they did not sign the same.
    """
    if len(context.acts) != len(subjects):
        raise _missing(expected, " and ".join(subjects), len(context.acts))
    known = [keyring.keys.get(act.key_id) for act in context.acts]
    # None of its own: shown is an act of a key we may yet hear of, else one that is another's.
    unknown = [a for a, k in zip(context.acts, known, strict=True) if k is None]
    statements: list[T] = []
    for subject in subjects:
        own = [a for a, k in zip(context.acts, known, strict=True) if k and k.subject == subject]
        act = (own or unknown or context.acts[len(statements) :])[0]
        statements.append(_believed(keyring, context, act, expected, subject))
    for act in context.acts[1:]:
        check_same("statement", context.acts[0].statement, act.statement)
    return statements[0]


def _missing(expected: type[msgspec.Struct], subject: str, count: int) -> Refused:
    kind = statement_kind(expected)
    return Refused(
        "ACT_MISSING",
        f"expected one signed {kind} of {subject}, got {count} acts",
        needed=f"{kind} of {subject}",
    )


def _believed(keyring: Keyring, context: Context, act: Act, expected: type[T], subject: str) -> T:
    key = keyring.keys.get(act.key_id)
    if key is None:
        raise Refused("ACT_KEY_UNKNOWN", f"no key {act.key_id[:40]} in the directory")
    if key.subject != subject:
        raise Refused(
            "ACT_SUBJECT",
            f"expected a key of {subject}, got one of {key.subject}",
            expected=subject,
            actual=key.subject,
        )
    if not context.verify(key.public_key, act):
        raise Refused(
            "ACT_SIGNATURE", f"the signature by key {act.key_id} does not hold", subject=subject
        )
    return _read(act, expected)


def _read(act: Act, expected: type[T]) -> T:
    try:
        statement: T = msgspec.json.decode(act.statement, type=expected)
        canonical = msgspec.json.encode(statement, order="sorted").decode()
    except (msgspec.MsgspecError, RecursionError) as error:
        _refuse_other_kind(act, expected)
        raise Refused("ACT_MALFORMED", f"statement: {error}", Kind.INVALID) from error
    if canonical != act.statement:
        raise Refused(
            "ACT_MALFORMED",
            "statement: expected canonical JSON (sorted keys, no spaces)",
            Kind.INVALID,
        )
    return statement


def _refuse_other_kind(act: Act, expected: type[msgspec.Struct]) -> None:
    """A statement of another kind is named as what it is, not as a malformed one of ours."""
    try:
        said = msgspec.json.decode(act.statement)
    except (msgspec.MsgspecError, RecursionError):
        return
    kind = statement_kind(expected)
    actual = said.get("kind") if isinstance(said, dict) else None
    if isinstance(actual, str) and actual != kind:
        raise Refused(
            "ACT_MISSING",
            f"expected a signed {kind}, got a {actual[:MAX_SHOWN_CHARS]}",
            needed=kind,
        )


def statement_kind(statement: type[msgspec.Struct]) -> str:
    return str(statement.__struct_config__.tag)


def check_same(what: str, expected: object, actual: object) -> None:
    """The command and the signed statement must say the same."""
    if expected != actual:
        said, asked = str(expected)[:MAX_SHOWN_CHARS], str(actual)[:MAX_SHOWN_CHARS]
        raise Refused(
            "ACT_DIFFERS",
            f"{what}: the statement says {said}, the command {asked}",
            field=what,
            expected=said,
            actual=asked,
        )


def check_none(context: Context) -> None:
    """What nobody checked is not recorded: in the log it would look like a signature that holds."""
    if context.acts:
        raise Refused(
            "ACT_UNEXPECTED",
            f"expected no signed statement here, got {len(context.acts)}",
            Kind.INVALID,
            actual=len(context.acts),
        )
