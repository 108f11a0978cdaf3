"""Opening of accounts and who is barred from trading: a programme's terms as dated data.

A programme without terms asks for no opening and bars nobody. Terms judge by business time, `on`;
what is open counts from its event on. One registration account for each entity and programme, and
beside it one trading account.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import DAY_MS, MAX_INSTANT_MS, MAX_INTEGER, Context, check_text, shanghai_day
from services.accounts.domain.changes import (
    AccountKind,
    Document,
    HolderKind,
    Opening,
    Status,
    TermsChange,
)
from services.accounts.domain.state import DatedTerms, State

MAX_PARTS: Final = 200  # an event is at most 64 KiB
MAX_DOCUMENTS: Final = 50
MAX_REPRESENTATIVES: Final = 20
MAX_DELAY_MS: Final = 60 * DAY_MS  # of safeguards, their holder's own or what terms ask for

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PERSON = re.compile(r"p-[a-z2-7]{16}")


def terms_at(state: State, programme: str, on_ms: int) -> DatedTerms | None:
    """The programme's terms of a business time; before its first ones there are none."""
    dated = state.account_terms.get(programme)
    if dated is None:
        return None
    later = bisect_right(dated, on_ms, key=lambda one: one.from_ms)
    return dated[later - 1] if later else None


def is_barred(state: State, dated: DatedTerms, holder: str) -> bool:
    """For its kind, or for a part it plays."""
    return holder in dated.barred or state.holders[holder] in dated.terms.barred_kinds


def check_not_barred(state: State, dated: DatedTerms, holder: str, programme: str) -> None:
    if is_barred(state, dated, holder):
        raise Refused(
            "BARRED_FROM_TRADING",
            f"{holder} may not trade units of {programme}",
            holder=holder,
            programme=programme,
        )


def check_terms(state: State, asked: TermsChange, context: Context) -> None:
    check_programme(state, asked.programme)
    if not context.on_ms <= asked.effective_from_ms <= MAX_INSTANT_MS:
        raise Refused(
            "TERMS_RETROACTIVE",
            f"expected terms in force from {shanghai_day(context.on_ms)} on or later",
            expected=shanghai_day(context.on_ms),
        )
    terms = asked.terms
    check_count("parts", len(terms.parts), MAX_PARTS)
    for what, words in (
        ("barred_kinds", list(map(str, terms.barred_kinds))),
        ("barred_parts", list(map(str, terms.barred_parts))),
        ("parts", [f"{one.holder} {one.part}" for one in terms.parts]),
    ):
        check_different(what, words)
    for one in terms.parts:
        check_known(state, one.holder)
    if terms.safeguards is not None:
        check_count("safeguards.delay_ms", terms.safeguards.delay_ms, MAX_DELAY_MS)
        check_count("safeguards.max_units", terms.safeguards.max_units, MAX_INTEGER)


def check_programme(state: State, programme: str) -> None:
    if state.holders.get(programme) != HolderKind.PROGRAMME:
        raise Refused("UNKNOWN_PROGRAMME", f"no programme {programme[:40]!r}", Kind.UNKNOWN)


def check_opening(state: State, asked: Opening, context: Context) -> None:
    """What makes an opening right, when proposed and again when approved."""
    check_known(state, asked.holder)
    check_programme(state, asked.programme)
    _check_papers(asked)
    standing = state.standings.get(asked.holder)
    status = Status.ACTIVE if standing is None else standing.status(asked.programme)
    if status != Status.ACTIVE:
        raise Refused(
            "STATUS_FORBIDS",
            f"{asked.holder} is {status}: nothing is opened for it",
            holder=asked.holder,
            status=status.value,
        )
    venue = state.openings.get((asked.holder, asked.programme))
    dated = terms_at(state, asked.programme, context.on_ms)
    _check_may_open(state.holders[asked.holder], dated, asked)
    if asked.account == AccountKind.REGISTRATION:
        if asked.venue:
            raise Refused("VENUE_UNEXPECTED", "a registration account has no venue", Kind.INVALID)
        if venue is not None:
            raise _exists(asked)
        return
    if venue is None:
        raise account_not_open(asked.holder, asked.programme, "registration")
    if venue:
        raise _exists(asked)
    if not state.keyring.has_subject(f"venue:{asked.venue}"):
        raise Refused("UNKNOWN_VENUE", f"no venue {asked.venue[:40]!r} has a key", Kind.UNKNOWN)
    if dated is not None:
        check_not_barred(state, dated, asked.holder, asked.programme)


def _check_may_open(kind: HolderKind, dated: DatedTerms | None, asked: Opening) -> None:
    if dated is None:
        return
    terms = dated.terms
    if (kind == HolderKind.PERSON and not terms.persons) or (
        kind == HolderKind.FOREIGN and not terms.foreign
    ):
        raise Refused(
            "KIND_MAY_NOT_OPEN",
            f"{asked.programme} opens no account for a holder of kind {kind}",
            holder_kind=kind.value,
            programme=asked.programme,
        )


def _check_papers(asked: Opening) -> None:
    for what, count, limit in (
        ("documents", len(asked.documents), MAX_DOCUMENTS),
        ("representatives", len(asked.representatives), MAX_REPRESENTATIVES),
    ):
        check_count(what, count, limit, least=1)
    check_different("documents", [one.digest for one in asked.documents])
    check_different("representatives", asked.representatives)
    for document in asked.documents:
        check_document(document)
    for person in asked.representatives:
        if not _PERSON.fullmatch(person):
            raise Refused(
                "PERSON_MALFORMED",
                f"expected p- and 16 characters of a-z, 2-7, got {person[:40]!r}",
                Kind.INVALID,
            )


def check_document(document: Document) -> None:
    if not _DIGEST.fullmatch(document.digest):
        raise Refused("DIGEST_MALFORMED", "expected a SHA-256 in hex", Kind.INVALID)
    check_text(document.name, "document.name", 200)


def check_known(state: State, holder: str) -> None:
    if holder not in state.holders:
        raise Refused(
            "UNKNOWN_HOLDER", f"no holder {holder[:40]!r}", Kind.UNKNOWN, holder=holder[:40]
        )


def check_count(what: str, count: int, limit: int, least: int = 0) -> None:
    if not least <= count <= limit:
        raise Refused(
            "NUMBER_OUT_OF_RANGE",
            f"{what}: expected {least}..{limit}, got {count}",
            Kind.INVALID,
            field=what,
            limit=limit,
            actual=count,
        )


def check_different(what: str, words: Sequence[str]) -> None:
    if len(set(words)) != len(words):
        raise Refused("NAME_DOUBLED", f"{what}: expected different ones", Kind.INVALID, field=what)


def check_open(state: State, holder: str, programme: str, venue: str | None) -> None:
    """A registration account of the programme, or a trading account at this venue."""
    found = state.openings.get((holder, programme))
    if found is None:
        raise account_not_open(holder, programme, "registration")
    if venue is not None and found != venue:
        raise account_not_open(holder, programme, f"trading at {venue[:40]}")


def account_not_open(holder: str, programme: str, account: str) -> Refused:
    return Refused(
        "ACCOUNT_NOT_OPEN",
        f"{holder} has no account of {programme} for {account}",
        holder=holder,
        programme=programme,
        account=account,
    )


def _exists(asked: Opening) -> Refused:
    return Refused(
        "ACCOUNT_EXISTS",
        f"{asked.holder} has its {asked.account} account of {asked.programme}",
        holder=asked.holder,
        programme=asked.programme,
    )
