"""The statements that institutions sign over what the registry is asked (domain 2.9).

    verification-statement  the verifier           so much was reduced there, in that period
    issuance-approval       the authority          a batch may be issued, to these owners
    pledge                  pledgor and pledgee    the same words, signed by both
    pledge-release          the pledgee            all or part of a lien is given up

Each is believed only from a key of that very institution, and must say what is asked.
"""

from __future__ import annotations

import msgspec

from services.registry.domain.events import Levels, Owner, SerialRange, Valuation


class VerificationStatement(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="verification-statement",
    tag_field="kind",
):
    document: str
    period_first: str
    period_last: str
    project: str
    quantity_t: int
    verification: str
    verifier: str


class IssuanceApproval(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="issuance-approval",
    tag_field="kind",
):
    """`checker` is the person who approved: the caller, never the proposer."""

    asset: str
    batch: str
    checker: str
    document: str
    first: int
    last: int
    owners: list[Owner]
    programme: str


class PledgeStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pledge", tag_field="kind"
):
    """All of a pledge, as PledgeRequested has it: neither party alone says what it is worth."""

    asset: str
    levels: Levels
    lien: str
    loan_fen: int
    matures_on: str
    notice: str
    pledgee: str
    pledgor: str
    programme: str
    quantity_t: int
    rate_bp: int
    serials: list[SerialRange]
    valuation: Valuation


class ReleaseStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pledge-release", tag_field="kind"
):
    lien: str
    pledgee: str
    quantity_t: int
    release: str
