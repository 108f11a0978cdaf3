"""Pledges: a lien that pledgor and pledgee have signed, and its release, signed by the pledgee.

No fixed loan-to-value cap: a programme's terms may set one (domain 3, Pledges). Whether the pledgor
holds the units, only the accounts book knows: it answers the request.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_by_all, signed_statement
from kernel.values import (
    DAY_MS,
    MAX_INTEGER,
    Context,
    check_day,
    check_on,
    check_role,
    check_text,
    shanghai_day,
)
from services.registry.domain import rules
from services.registry.domain.acts import PledgeStatement, ReleaseStatement
from services.registry.domain.commands import (
    CompletePledge,
    CompleteRelease,
    RefusePledge,
    RefuseRelease,
    RegisterPledge,
    ReleasePledge,
)
from services.registry.domain.events import (
    Levels,
    PledgeRefused,
    PledgeRegistered,
    PledgeReleased,
    PledgeRequested,
    ReleaseRefused,
    ReleaseRequested,
    Terms,
)
from services.registry.domain.serials import check_amount, check_ranges
from services.registry.domain.state import Lien, Release, Stage, State

MAX_RATE_BP: Final = 1_000_000
MAX_LEVEL_BP: Final = 1_000_000
MAX_NOTICE_CHARS: Final = 300

_LIEN = re.compile(r"l-[a-z2-7]{16}")


def register_pledge(
    state: State, command: RegisterPledge, context: Context
) -> list[PledgeRequested]:
    pledge = command.pledge
    check_on(context)
    if not _LIEN.fullmatch(pledge.lien):
        raise Refused(
            "LIEN_MALFORMED",
            f"expected l- and 16 characters of a-z, 2-7, got {pledge.lien[:40]!r}",
            Kind.INVALID,
        )
    rules.check_once(pledge.lien in state.liens, "LIEN_EXISTS", f"lien {pledge.lien}")
    programme = rules.find_programme(state, pledge.programme)
    rules.check_asset(pledge.asset)
    _check_parties(pledge, context)
    rules.check_amount(pledge.quantity_t, "quantity_t")
    check_ranges(pledge.quantity_t, pledge.serials)
    _check_loan(pledge, context)
    _check_valuation(pledge, rules.terms_at(programme, context.on_ms), context)
    check_text(pledge.notice, "notice", MAX_NOTICE_CHARS, required=False)
    signed = signed_by_all(
        state.keyring,
        context,
        PledgeStatement,
        [f"holder:{pledge.pledgor}", f"holder:{pledge.pledgee}"],
    )
    for what in PledgeStatement.__struct_fields__:
        check_same(what, getattr(signed, what), getattr(pledge, what))
    return [pledge]


def _check_parties(pledge: PledgeRequested, context: Context) -> None:
    rules.check_holder(pledge.pledgor, "pledgor")
    rules.check_holder(pledge.pledgee, "pledgee")
    if pledge.pledgor == pledge.pledgee:
        raise Refused(
            "PLEDGED_TO_ONESELF", f"{pledge.pledgor} cannot be its own pledgee", Kind.INVALID
        )
    if not context.caller.holders & {pledge.pledgor, pledge.pledgee}:
        raise _not_theirs(context, pledge.pledgor)


def _not_theirs(context: Context, holder: str) -> Refused:
    return Refused(
        "NOT_YOUR_ACCOUNT",
        f"{context.caller.actor.sub} does not operate for {holder}",
        Kind.FORBIDDEN,
        holder=holder,
    )


def _check_loan(pledge: PledgeRequested, context: Context) -> None:
    rules.check_amount(pledge.loan_fen, "loan_fen")
    rules.check_bound(pledge.rate_bp, "rate_bp", MAX_RATE_BP)
    check_day(pledge.matures_on, "matures_on")
    if pledge.matures_on < shanghai_day(context.on_ms):
        raise Refused(
            "MATURITY_PASSED",
            f"expected a maturity on {shanghai_day(context.on_ms)} or later,"
            f" got {pledge.matures_on}",
            expected=shanghai_day(context.on_ms),
            actual=pledge.matures_on,
        )
    _check_levels(pledge.levels)


def _check_levels(levels: Levels) -> None:
    """Warning, call, enforcement: those that are set never stand in the wrong order."""
    named = [
        ("warning_bp", levels.warning_bp),
        ("call_bp", levels.call_bp),
        ("enforcement_bp", levels.enforcement_bp),
    ]
    for what, level_bp in named:
        rules.check_bound(level_bp, what, MAX_LEVEL_BP)
    for (one, lower_bp), (other, upper_bp) in pairwise([x for x in named if x[1]]):
        if upper_bp < lower_bp:
            raise Refused(
                "LEVELS_DESCEND",
                f"expected {other} at {lower_bp} bp or more, like {one}, got {upper_bp} bp",
                Kind.INVALID,
                expected=lower_bp,
                actual=upper_bp,
            )


def _check_valuation(pledge: PledgeRequested, terms: Terms, context: Context) -> None:
    valuation = pledge.valuation
    rules.check_amount(valuation.price_fen_per_t, "price_fen_per_t")
    check_text(valuation.source, "valuation.source", rules.MAX_TEXT_CHARS)
    if valuation.priced_at_ms > context.on_ms:
        raise Refused("PRICE_FROM_FUTURE", "expected a price of the business time or before")
    age_ms, limit_days = context.on_ms - valuation.priced_at_ms, terms.max_price_age_days
    if limit_days is not None and age_ms > limit_days * DAY_MS:
        raise Refused(
            "PRICE_TOO_OLD",
            f"expected a price of the last {limit_days} days, it is {age_ms // DAY_MS} days old",
            limit_days=limit_days,
            actual=age_ms // DAY_MS,
        )
    value_fen = pledge.quantity_t * valuation.price_fen_per_t
    if value_fen > MAX_INTEGER:
        raise Refused(
            "VALUE_TOO_LARGE", f"expected a value of at most {MAX_INTEGER} fen, got {value_fen}"
        )
    ltv_bp, limit_bp = rules.ltv_bp(pledge.loan_fen, value_fen), terms.max_ltv_bp
    if limit_bp is not None and ltv_bp > limit_bp:
        raise Refused(
            "LTV_TOO_HIGH",
            f"expected a loan of at most {limit_bp} bp of {value_fen} fen, got {ltv_bp} bp",
            limit=limit_bp,
            actual=ltv_bp,
        )


def complete_pledge(
    state: State, command: CompletePledge, context: Context
) -> list[PledgeRegistered]:
    check_role(context, "system")
    lien = find_lien(state, command.lien, Stage.REQUESTED)
    if command.serials:  # an asset without serials moves without any
        check_amount(lien.asked.quantity_t, command.serials)
    return [PledgeRegistered(command.lien, command.serials)]


def refuse_pledge(state: State, command: RefusePledge, context: Context) -> list[PledgeRefused]:
    check_role(context, "system")
    find_lien(state, command.lien, Stage.REQUESTED)
    return [PledgeRefused(command.details, command.lien, command.message, command.reason)]


def find_lien(state: State, name: str, stage: Stage) -> Lien:
    lien = state.liens.get(name)
    if lien is None:
        raise Refused("UNKNOWN_LIEN", f"no lien {name[:40]!r}", Kind.UNKNOWN, lien=name[:40])
    if lien.process.stage != stage:
        raise Refused(
            "LIEN_STAGE",
            f"{name}: expected it {stage}, it is {lien.process.stage}",
            expected=stage.value,
            actual=lien.process.stage.value,
        )
    return lien


def release_pledge(
    state: State, command: ReleasePledge, context: Context
) -> list[ReleaseRequested]:
    check_on(context)
    lien = find_lien(state, command.lien, Stage.COMPLETED)
    pledgee = lien.asked.pledgee
    if pledgee not in context.caller.holders and "registry" not in context.caller.roles:
        raise _not_theirs(context, pledgee)
    rules.check_name(command.release, "release")
    rules.check_once(
        command.release in lien.releases, "RELEASE_EXISTS", f"release {command.release}"
    )
    rules.check_amount(command.quantity_t, "quantity_t")
    left_t = lien.pledged_t - lien.releasing_t
    if command.quantity_t > left_t:
        raise Refused(
            "INSUFFICIENT_PLEDGE",
            f"{command.lien}: needed {command.quantity_t} t, available {left_t} t",
            needed=command.quantity_t,
            available=left_t,
        )
    signed = signed_statement(state.keyring, context, ReleaseStatement, f"holder:{pledgee}")
    check_same("pledgee", signed.pledgee, pledgee)
    for what in ("lien", "quantity_t", "release"):
        check_same(what, getattr(signed, what), getattr(command, what))
    return [ReleaseRequested(command.lien, command.quantity_t, command.release)]


def complete_release(
    state: State, command: CompleteRelease, context: Context
) -> list[PledgeReleased]:
    check_role(context, "system")
    release = _open_release(state, command.lien, command.release)
    if command.serials:
        check_amount(release.quantity_t, command.serials)
    return [PledgeReleased(command.lien, release.quantity_t, command.release, command.serials)]


def refuse_release(state: State, command: RefuseRelease, context: Context) -> list[ReleaseRefused]:
    check_role(context, "system")
    _open_release(state, command.lien, command.release)
    return [
        ReleaseRefused(
            command.details, command.lien, command.message, command.reason, command.release
        )
    ]


def _open_release(state: State, lien: str, name: str) -> Release:
    release = state.open_releases.get((lien, name))
    if release is None:
        raise Refused(
            "UNKNOWN_RELEASE",
            f"no open release {name[:80]!r} of {lien[:40]!r}",
            Kind.UNKNOWN,
            release=name[:80],
        )
    return release
