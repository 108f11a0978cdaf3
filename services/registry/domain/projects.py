"""Programmes, their projects and verified reductions: what may ever become units.

A project takes the steps of its programme in order, each so many days after the last. One site has
one claim for any period, in whichever programme (domain 2.5).
"""

from __future__ import annotations

import re
from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import MAX_INTEGER, Context, check_day, check_on, check_text, shanghai_day
from services.registry.domain import rules
from services.registry.domain.acts import VerificationStatement
from services.registry.domain.commands import (
    AdvanceProject,
    FileProject,
    OpenProgramme,
    SetTerms,
    VerifyReduction,
)
from services.registry.domain.events import (
    ProgrammeOpened,
    ProjectAdvanced,
    ProjectFiled,
    ReductionVerified,
    Terms,
    TermsSet,
)
from services.registry.domain.state import Project, State

MAX_STEPS: Final = 20
MAX_PROJECT_TYPES: Final = 100
MAX_DAYS: Final = 3650
MAX_LIMIT_BP: Final = 1_000_000

_PROJECT = re.compile(r"[A-Z0-9][A-Z0-9.]*(-[A-Za-z0-9.]+)*")


def open_programme(state: State, command: OpenProgramme, context: Context) -> list[ProgrammeOpened]:
    opening = command.opening
    check_on(context)
    rules.check_holder(opening.programme, "programme")
    rules.check_once(
        opening.programme in state.programmes, "PROGRAMME_EXISTS", f"programme {opening.programme}"
    )
    check_text(opening.name, "name", rules.MAX_TEXT_CHARS)
    parts = opening.parts
    for part in parts.__struct_fields__:
        if holder := getattr(parts, part):
            rules.check_holder(holder, f"parts.{part}")
    check_terms(opening.terms)
    return [opening]


def check_terms(terms: Terms) -> None:
    """Bounds, and no step or type twice: a project could not tell which of two it has done."""
    steps = [step.name for step in terms.steps]
    for what, words, limit in (
        ("steps", steps, MAX_STEPS),
        ("project_types", terms.project_types, MAX_PROJECT_TYPES),
    ):
        rules.check_bound(len(words), what, limit)
        for word in words:
            check_text(word, what, rules.MAX_NAME_CHARS)
        if len(set(words)) != len(words):
            raise Refused(
                "NAME_DOUBLED", f"{what}: expected different names", Kind.INVALID, field=what
            )
    for step in terms.steps:
        rules.check_bound(step.min_days, "min_days", MAX_DAYS)
    if terms.max_ltv_bp is not None:
        rules.check_bound(terms.max_ltv_bp, "max_ltv_bp", MAX_LIMIT_BP)
    if terms.max_price_age_days is not None:
        rules.check_bound(terms.max_price_age_days, "max_price_age_days", MAX_DAYS)


def set_terms(state: State, command: SetTerms, context: Context) -> list[TermsSet]:
    check_on(context)
    rules.find_programme(state, command.programme)
    check_terms(command.terms)
    if command.effective_from_ms < context.on_ms:
        raise Refused(
            "TERMS_RETROACTIVE",
            "expected terms in force from their business time on or later:"
            f" {shanghai_day(context.on_ms)}, got {shanghai_day(command.effective_from_ms)}",
            expected=shanghai_day(context.on_ms),
            actual=shanghai_day(command.effective_from_ms),
        )
    return [TermsSet(command.effective_from_ms, command.programme, command.terms)]


def file_project(state: State, command: FileProject, context: Context) -> list[ProjectFiled]:
    filing = command.filing
    check_on(context)
    _check_project_name(filing.project)
    rules.check_once(
        filing.project in state.projects, "PROJECT_EXISTS", f"project {filing.project}"
    )
    terms = rules.terms_at(rules.find_programme(state, filing.programme), context.on_ms)
    if filing.project_type not in terms.project_types:
        raise Refused(
            "PROJECT_TYPE_NOT_ALLOWED",
            f"expected one of {', '.join(terms.project_types)}, got {filing.project_type[:80]!r}",
            expected=", ".join(terms.project_types),
            actual=filing.project_type[:80],
        )
    rules.check_holder(filing.owner, "owner")
    for what in ("name", "region", "site", "document"):
        check_text(getattr(filing, what), what, rules.MAX_TEXT_CHARS)
    rules.check_bound(filing.area_mu, "area_mu", MAX_INTEGER)
    return [filing]


def _check_project_name(project: str) -> None:
    if len(project) > 60 or not _PROJECT.fullmatch(project):
        raise Refused(
            "PROJECT_MALFORMED",
            "expected a project like LZXQ-QINWANGCHUAN, at most 60 characters,"
            f" got {project[:80]!r}",
            Kind.INVALID,
        )


def advance_project(
    state: State, command: AdvanceProject, context: Context
) -> list[ProjectAdvanced]:
    check_on(context)
    project = rules.find_project(state, command.project)
    check_text(command.document, "document", rules.MAX_TEXT_CHARS)
    terms = rules.terms_at(state.programmes[project.filed.programme], context.on_ms)
    left = [step for step in terms.steps if step.name not in project.steps_done]
    expected = left[0].name if left else "no further step"
    if not left or command.step != expected:
        raise Refused(
            "STEP_OUT_OF_ORDER",
            f"{command.project}: expected {expected}, got {command.step[:80]!r}",
            expected=expected,
            actual=command.step[:80],
        )
    _check_days(project, left[0].min_days, context)
    return [ProjectAdvanced(command.document, command.project, command.step)]


def _check_days(project: Project, min_days: int, context: Context) -> None:
    passed = rules.days_between(project.last_on_ms, context.on_ms)
    if passed < min_days:
        raise Refused(
            "STEP_TOO_EARLY",
            f"{project.filed.project}: expected {min_days} days or more since"
            f" {shanghai_day(project.last_on_ms)}, got {passed}",
            needed=min_days,
            actual=passed,
        )


def verify_reduction(
    state: State, command: VerifyReduction, context: Context
) -> list[ReductionVerified]:
    asked = command.reduction
    check_on(context)
    rules.check_name(asked.verification, "verification")
    rules.check_once(
        asked.verification in state.reductions,
        "VERIFICATION_EXISTS",
        f"verification {asked.verification}",
    )
    project = rules.find_project(state, asked.project)
    rules.check_amount(asked.quantity_t, "quantity_t")
    check_text(asked.document, "document", rules.MAX_TEXT_CHARS)
    _check_period(asked, context)
    _check_steps_done(state, project, context)
    _check_verifier(state, project, asked, context)
    _check_unclaimed(state, project, asked)
    return [asked]


def _check_period(asked: ReductionVerified, context: Context) -> None:
    check_day(asked.period_first, "period_first")
    check_day(asked.period_last, "period_last")
    if asked.period_last < asked.period_first:
        raise Refused(
            "PERIOD_REVERSED",
            f"expected a period that ends on {asked.period_first} or later,"
            f" got {asked.period_last}",
            Kind.INVALID,
        )
    if asked.period_last > shanghai_day(context.on_ms):
        raise Refused(
            "PERIOD_NOT_OVER",
            f"expected a period that is over on {shanghai_day(context.on_ms)},"
            f" it ends on {asked.period_last}",
            expected=shanghai_day(context.on_ms),
            actual=asked.period_last,
        )


def _check_steps_done(state: State, project: Project, context: Context) -> None:
    terms = rules.terms_at(state.programmes[project.filed.programme], context.on_ms)
    left = [step.name for step in terms.steps if step.name not in project.steps_done]
    if left:
        raise Refused(
            "STEPS_MISSING",
            f"{project.filed.project}: expected all {len(terms.steps)} steps done,"
            f" {', '.join(left)} are not",
            needed=len(terms.steps),
            actual=len(terms.steps) - len(left),
            next=left[0],
        )
    _check_days(project, 0, context)  # nothing is verified before the day of the last step


def _check_verifier(
    state: State, project: Project, asked: ReductionVerified, context: Context
) -> None:
    rules.check_holder(asked.verifier, "verifier")
    if asked.verifier == project.filed.owner:
        raise Refused(
            "VERIFIER_IS_OWNER",
            f"{asked.verifier} owns {asked.project} and may not verify it",
            Kind.FORBIDDEN,
            holder=asked.verifier,
        )
    signed = signed_statement(
        state.keyring, context, VerificationStatement, f"holder:{asked.verifier}"
    )
    for what in VerificationStatement.__struct_fields__:
        check_same(what, getattr(signed, what), getattr(asked, what))


def _check_unclaimed(state: State, project: Project, asked: ReductionVerified) -> None:
    """The same reduction is never claimed twice, under whichever project or programme."""
    for first, last, verification in state.claims.get(rules.site_key(project.filed.site), ()):
        if first <= asked.period_last and asked.period_first <= last:
            raise Refused(
                "REDUCTION_CLAIMED",
                f"{project.filed.site[:80]}: {first}..{last} is claimed by {verification}",
                verification=verification,
                first=first,
                last=last,
            )
