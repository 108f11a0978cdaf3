"""Changes to what is kept about holders: protobuf to values and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from google.protobuf.message import Message
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errors import Kind, Refused
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.values import Actor
from services.accounts.domain import changes
from services.accounts.domain.state import DatedTerms

KINDS: Final = {
    pb.HolderKind.Value(f"HOLDER_KIND_{kind.name}"): kind for kind in changes.HolderKind
}
_ACCOUNTS: Final = {
    pb.AccountKind.Value(f"ACCOUNT_KIND_{kind.name}"): kind for kind in changes.AccountKind
}
_PARTS: Final = {pb.Part.Value(f"PART_{part.name}"): part for part in changes.Part}
_RIGHTS: Final = {pb.Right.Value(f"RIGHT_{right.name}"): right for right in changes.Right}
_STATUSES: Final = {pb.Status.Value(f"STATUS_{one.name}"): one for one in changes.Status}

KIND_NUMBERS: Final = {kind: number for number, kind in KINDS.items()}
ACCOUNT_NUMBERS: Final = {kind: number for number, kind in _ACCOUNTS.items()}
_PART_NUMBERS: Final = {part: number for number, part in _PARTS.items()}
_RIGHT_NUMBERS: Final = {right: number for number, right in _RIGHTS.items()}
STATUS_NUMBERS: Final = {one: number for number, one in _STATUSES.items()}


def change_of(change: pb.Change) -> changes.Change:
    match change.WhichOneof("change"):
        case "terms":
            return changes.Change(terms=_terms_change(change.terms))
        case "opening":
            return changes.Change(opening=_opening(change.opening))
        case "operator":
            return changes.Change(operator=operator_of(change.operator))
        case "fund":
            fund = change.fund
            return changes.Change(
                fund=changes.Fund(_document(fund.document), fund.fund, fund.manager)
            )
        case "mandate":
            return changes.Change(mandate=_mandate(change.mandate))
        case "status":
            return changes.Change(status=status_of(change.status))
        case "closing":
            return changes.Change(closing=_closing(change.closing))
        case "rebinding":
            one = change.rebinding
            return changes.Change(
                rebinding=changes.Rebinding(
                    one.account, one.bank, one.clearing_house, one.holder, one.reason
                )
            )
        case _:
            raise Refused("CHANGE_NOT_ONE", "expected exactly one change, got 0", Kind.INVALID)


def _document(document: pb.Document) -> changes.Document:
    return changes.Document(document.digest, document.name)


def _terms_change(message: pb.AccountTermsChange) -> changes.TermsChange:
    terms = message.terms
    return changes.TermsChange(
        instant_of(message.effective_from, "effective_from"),
        message.programme,
        changes.AccountTerms(
            barred_kinds=[enum_of(KINDS, one, "barred_kinds") for one in terms.barred_kinds],
            barred_parts=[enum_of(_PARTS, one, "barred_parts") for one in terms.barred_parts],
            foreign=terms.foreign,
            money_too=terms.money_too,
            opening_required=terms.opening_required,
            parts=[
                changes.Role(one.holder, enum_of(_PARTS, one.part, "parts")) for one in terms.parts
            ],
            persons=terms.persons,
            safeguards=changes.RequiredSafeguards(
                terms.safeguards.delay_ms, terms.safeguards.max_units
            )
            if terms.HasField("safeguards")
            else None,
        ),
    )


def _closing(closing: pb.Closing) -> changes.Closing:
    return changes.Closing(
        account=enum_of(_ACCOUNTS, closing.account, "account"),
        document=_document(closing.document),
        holder=closing.holder,
        programme=closing.programme,
        reason=closing.reason,
        venue=closing.venue,
    )


def _opening(opening: pb.Opening) -> changes.Opening:
    return changes.Opening(
        account=enum_of(_ACCOUNTS, opening.account, "account"),
        documents=[_document(one) for one in opening.documents],
        holder=opening.holder,
        programme=opening.programme,
        representatives=list(opening.representatives),
        venue=opening.venue,
    )


def operator_of(operator: pb.Operator) -> changes.Operator:
    return changes.Operator(
        holder=operator.holder,
        max_fen=operator.max_fen if operator.HasField("max_fen") else None,
        max_units=operator.max_units if operator.HasField("max_units") else None,
        person=Actor(operator.iss, operator.sub),
        rights=_rights(operator.rights),
    )


def _rights(numbers: Sequence[int]) -> list[changes.Right]:
    return [enum_of(_RIGHTS, number, "rights") for number in numbers]


def _mandate(mandate: pb.Mandate) -> changes.Mandate:
    return changes.Mandate(
        agent=mandate.agent,
        assets=list(mandate.assets),
        document=_document(mandate.document),
        first_day=mandate.first_day,
        last_day=mandate.last_day,
        principal=mandate.principal,
        programmes=list(mandate.programmes),
        rights=_rights(mandate.rights),
    )


def status_of(status: pb.StatusChange) -> changes.StatusChange:
    return changes.StatusChange(
        _document(status.document),
        status.holder,
        status.reason,
        enum_of(_STATUSES, status.status, "status"),
    )


# ---- and back -----------------------------------------------------------------------------------


def change_message(change: changes.Change) -> pb.Change:
    parts: dict[str, Message] = {}
    if change.terms is not None:
        parts["terms"] = _terms_message(change.terms)
    if change.opening is not None:
        parts["opening"] = _opening_message(change.opening)
    if change.operator is not None:
        parts["operator"] = operator_message(change.operator)
    if change.fund is not None:
        fund = change.fund
        document = _document_message(fund.document)
        parts["fund"] = pb.Fund(fund=fund.fund, manager=fund.manager, document=document)
    if change.mandate is not None:
        parts["mandate"] = mandate_message(change.mandate)
    if change.status is not None:
        status = change.status
        parts["status"] = pb.StatusChange(
            holder=status.holder,
            status=STATUS_NUMBERS[status.status],
            reason=status.reason,
            document=_document_message(status.document),
        )
    if change.closing is not None:
        parts["closing"] = _closing_message(change.closing)
    if change.rebinding is not None:
        parts["rebinding"] = pb.Rebinding(**msgspec.structs.asdict(change.rebinding))
    return pb.Change(**parts)  # type: ignore[arg-type]  # one message of the oneof, by its name


def _document_message(document: changes.Document) -> pb.Document:
    return pb.Document(digest=document.digest, name=document.name)


def dated_message(programme: str, dated: DatedTerms) -> pb.AccountTermsChange:
    return _terms_message(changes.TermsChange(dated.from_ms, programme, dated.terms))


def _terms_message(change: changes.TermsChange) -> pb.AccountTermsChange:
    terms = change.terms
    return pb.AccountTermsChange(
        programme=change.programme,
        effective_from=timestamp_of(change.effective_from_ms),
        terms=pb.AccountTerms(
            opening_required=terms.opening_required,
            money_too=terms.money_too,
            persons=terms.persons,
            foreign=terms.foreign,
            parts=[pb.Role(holder=one.holder, part=_PART_NUMBERS[one.part]) for one in terms.parts],
            barred_kinds=[KIND_NUMBERS[kind] for kind in terms.barred_kinds],
            barred_parts=[_PART_NUMBERS[part] for part in terms.barred_parts],
            safeguards=None
            if terms.safeguards is None
            else pb.RequiredSafeguards(**msgspec.structs.asdict(terms.safeguards)),
        ),
    )


def _closing_message(closing: changes.Closing) -> pb.Closing:
    return pb.Closing(
        holder=closing.holder,
        programme=closing.programme,
        account=ACCOUNT_NUMBERS[closing.account],
        venue=closing.venue,
        reason=closing.reason,
        document=_document_message(closing.document),
    )


def _opening_message(opening: changes.Opening) -> pb.Opening:
    return pb.Opening(
        holder=opening.holder,
        programme=opening.programme,
        account=ACCOUNT_NUMBERS[opening.account],
        venue=opening.venue,
        documents=[_document_message(one) for one in opening.documents],
        representatives=opening.representatives,
    )


def operator_message(operator: changes.Operator) -> pb.Operator:
    return pb.Operator(
        holder=operator.holder,
        iss=operator.person.iss,
        sub=operator.person.sub,
        rights=[_RIGHT_NUMBERS[right] for right in operator.rights],
        max_units=operator.max_units,
        max_fen=operator.max_fen,
    )


def mandate_message(mandate: changes.Mandate) -> pb.Mandate:
    return pb.Mandate(
        principal=mandate.principal,
        agent=mandate.agent,
        assets=mandate.assets,
        programmes=mandate.programmes,
        rights=[_RIGHT_NUMBERS[right] for right in mandate.rights],
        first_day=mandate.first_day,
        last_day=mandate.last_day,
        document=_document_message(mandate.document),
    )
