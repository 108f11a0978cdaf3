"""The statements institutions sign over entries, and what each must say (domain 2.9).

    bank-advice        settlement bank    money came in: one leg out of its external account
    issuance-approval  authority          a batch may be issued, to these owners
    settlement         venue              trades of that venue, to be settled as one entry

A statement is believed only from a key whose subject is the institution itself, and only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import Act, Context
from services.accounts.domain.state import State


class BankAdvice(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bank-advice", tag_field="kind"
):
    """`line` is the bank's own number of the statement line: it is booked once."""

    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    holder: str
    line: str


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    quantity_t: int


class IssuanceApproval(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="issuance-approval",
    tag_field="kind",
):
    """`checker` is the person at the authority who approved; never the one who asks here."""

    asset: str
    batch: str
    checker: str
    document: str
    first: int
    last: int
    owners: list[Owner]
    programme: str


class Trade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    buyer: str
    price_fen_per_t: int
    quantity_t: int
    seller: str
    trade: str


class Settlement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="settlement", tag_field="kind"
):
    trades: list[Trade]
    venue: str


Statement = BankAdvice | IssuanceApproval | Settlement
T = TypeVar("T", BankAdvice, IssuanceApproval, Settlement)

MAX_SHOWN_CHARS = 200  # of each side in a refusal, which is recorded for ever

_decoder = msgspec.json.Decoder(Statement)


def signed_statement(state: State, context: Context, expected: type[T], subject: str) -> T:
    """The one statement of this kind among the command's acts, signed by this subject's key.

    Raises Refused: ACT_MISSING, ACT_MALFORMED, ACT_KEY_UNKNOWN, ACT_SUBJECT, ACT_SIGNATURE.
    """
    if len(context.acts) != 1:
        raise Refused(
            "ACT_MISSING",
            f"expected one signed {_kind(expected)} of {subject}, got {len(context.acts)} acts",
            needed=f"{_kind(expected)} of {subject}",
        )
    act = context.acts[0]
    key = state.keys.get(act.key_id)
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
    statement = _read(act)
    if not isinstance(statement, expected):
        raise Refused(
            "ACT_MISSING",
            f"expected a signed {_kind(expected)}, got a {_kind(type(statement))}",
            needed=_kind(expected),
        )
    return statement


def _read(act: Act) -> Statement:
    try:
        statement: Statement = _decoder.decode(act.statement)
        canonical = msgspec.json.encode(statement, order="sorted").decode()
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused("ACT_MALFORMED", f"statement: {error}", Kind.INVALID) from error
    if canonical != act.statement:
        raise Refused(
            "ACT_MALFORMED",
            "statement: expected canonical JSON (sorted keys, no spaces)",
            Kind.INVALID,
        )
    return statement


def _kind(statement: type[msgspec.Struct]) -> str:
    return str(statement.__struct_config__.tag)


def check_same(what: str, expected: object, actual: object) -> None:
    """The entry and the signed statement must say the same."""
    if expected != actual:
        said, asked = str(expected)[:MAX_SHOWN_CHARS], str(actual)[:MAX_SHOWN_CHARS]
        raise Refused(
            "ACT_DIFFERS",
            f"{what}: the statement says {said}, the entry {asked}",
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


def check_once(done: bool, reason: str, what: str) -> None:
    if done:
        raise Refused(reason, f"{what} has been booked already", what=what)


def unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)
