"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.kernel.v1 import items_pb2
from tanzhang.registry.v1 import registry_pb2 as pb
from tanzhang.registry.v1 import registry_pb2_grpc

from kernel.clock import Clock
from kernel.errors import Conflict, Kind, Refused
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.rpc.batch import carry_out, disclose, find_outcomes
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.values import Caller, Envelope, check_text, parse_instant
from kernel.writer import Writer
from services.registry import queries
from services.registry.domain import commands, events, rules, state

SERVICE: Final = "tanzhang.registry.v1.RegistryService"
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024  # half of what a message may hold
SETTLED_WAIT_S: Final = 5.0
ACCOUNTS_WAIT_S: Final = 5.0
ACCOUNTS_POLL_S: Final = 0.02

# Who sees these is pledgor, pledgee and auditors; all other facts of this book are public.
PRIVATE: Final = frozenset(
    {
        "PledgeRequested",
        "PledgeRegistered",
        "PledgeRefused",
        "ReleaseRequested",
        "PledgeReleased",
        "ReleaseRefused",
        "PledgeOverridden",
    }
)

_KINDS: Final = {pb.UnitKind.Value(f"UNIT_KIND_{kind.name}"): kind for kind in events.UnitKind}
_KIND_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}
_STAGES: Final = {
    stage: pb.ProcessState.Value(f"PROCESS_STATE_{stage.name}") for stage in state.Stage
}


M = TypeVar("M", bound=Message)


class Reached(Protocol):
    """A follower: how far it has handled another book."""

    next_position: int


class RegistryRpc(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(
        self,
        writer: Writer[state.State],
        engine: Engine,
        retirements: Projector,
        accounts: Reached,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._retirements = retirements
        self._accounts = accounts
        self._clock = clock

    # ---- commands -------------------------------------------------------------------------------

    async def OpenProgrammes(self, request: pb.OpenProgrammesRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "OpenProgrammes", request.programmes, open_programme
        )
        return pb.OpenProgrammesResponse(results=results)

    async def SetTerms(self, request: pb.SetTermsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "SetTerms", request.changes, set_terms)
        return pb.SetTermsResponse(results=results)

    async def FileProjects(self, request: pb.FileProjectsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "FileProjects", request.projects, file_project)
        return pb.FileProjectsResponse(results=results)

    async def AdvanceProjects(self, request: pb.AdvanceProjectsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "AdvanceProjects", request.steps, advance_project)
        return pb.AdvanceProjectsResponse(results=results)

    async def VerifyReductions(self, request: pb.VerifyReductionsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "VerifyReductions", request.verifications, verify_reduction
        )
        return pb.VerifyReductionsResponse(results=results)

    async def ProposeIssuances(self, request: pb.ProposeIssuancesRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ProposeIssuances", request.proposals, propose_issuance
        )
        return pb.ProposeIssuancesResponse(results=results)

    async def ApproveIssuances(self, request: pb.ApproveIssuancesRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ApproveIssuances", request.approvals, approve_issuance
        )
        return pb.ApproveIssuancesResponse(results=results)

    async def RegisterPledges(self, request: pb.RegisterPledgesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "RegisterPledges", request.pledges, register_pledge)
        return pb.RegisterPledgesResponse(results=results)

    async def ReleasePledges(self, request: pb.ReleasePledgesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "ReleasePledges", request.releases, release_pledge)
        return pb.ReleasePledgesResponse(results=results)

    # ---- reads ----------------------------------------------------------------------------------

    async def GetProgrammes(self, request: pb.GetProgrammesRequest, context: object) -> Any:
        now_ms = self._clock.now_ms()
        found, position = await self._writer.read(
            lambda known: [
                _programme_message(one, now_ms)
                for one in queries.programmes(known, request.programme)
            ],
            request.min_position,
        )
        return pb.GetProgrammesResponse(programmes=found, as_of_position=position)

    async def ListProjects(self, request: pb.ListProjectsRequest, context: object) -> Any:
        (after,) = page_place(request.page_token, 1)
        limit = page_limit(request.page_size)
        found, position = await self._writer.read(
            lambda known: [
                _project_message(known, one)
                for one in queries.projects(known, request.programme, after, limit)
            ],
            request.min_position,
        )
        page, more = fitting(found, limit)
        return pb.ListProjectsResponse(
            projects=page,
            next_page_token=page_token(page[-1].filed_position) if more else "",
            as_of_position=position,
        )

    async def GetIssuances(self, request: pb.GetIssuancesRequest, context: object) -> Any:
        def is_settled(known: state.State) -> bool:
            found = queries.issuances(known, request.issuances)
            return all(one.process.stage != state.Stage.REQUESTED for one in found)

        if request.settled:
            await self._settle(is_settled, request.min_position)
        found, position = await self._writer.read(
            lambda known: [
                _issuance_message(one) for one in queries.issuances(known, request.issuances)
            ],
            request.min_position,
        )
        _check_fitting(found)
        return pb.GetIssuancesResponse(issuances=found, as_of_position=position)

    async def GetPledges(self, request: pb.GetPledgesRequest, context: object) -> Any:
        caller = current_caller()

        def of(known: state.State) -> list[state.Lien]:
            return queries.pledges(known, caller, request.liens, request.holder)

        if request.settled:
            await self._settle(
                lambda known: all(map(queries.is_settled, of(known))), request.min_position
            )
        found, position = await self._writer.read(
            lambda known: [_pledge_message(one) for one in of(known)], request.min_position
        )
        _check_fitting(found)
        return pb.GetPledgesResponse(pledges=found, as_of_position=position)

    async def _settle(self, is_settled: Callable[[state.State], bool], min_position: int) -> None:
        """Waits (bounded) until what was asked for has ended; then what is, is answered."""
        await self._writer.read(lambda known: None, min_position)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WAIT_S):
                while not is_settled(self._writer.state):
                    await self._writer.next_commit()

    async def GetSerialLiens(self, request: pb.GetSerialLiensRequest, context: object) -> Any:
        serial = request.serial if request.HasField("serial") else None
        found, position = await self._writer.read(
            lambda known: [
                _serial_lien_message(known, request.batch, one)
                for one in queries.serial_liens(known, request.asset, request.batch, serial)
            ],
            request.min_position,
        )
        return pb.GetSerialLiensResponse(liens=found, as_of_position=position)

    async def ListRetirements(self, request: pb.ListRetirementsRequest, context: object) -> Any:
        for what in ("asset", "holder"):
            # The database takes no zero byte, not even in a question.
            check_text(getattr(request, what), what, rules.MAX_NAME_CHARS, required=False)
        (after,) = page_place(request.page_token, 1)
        limit = page_limit(request.page_size)
        if request.min_accounts_position:
            heard = await self._heard(request.min_accounts_position)
            await self._retirements.reached(heard)
        position = await self._retirements.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_retirements, self._engine, request.asset, request.holder, after, limit
        )
        serials = await asyncio.to_thread(
            queries.serials_of, self._engine, [row.position for row in rows]
        )
        found = [_retirement_message(row, serials.get(row.position, [])) for row in rows]
        page, more = fitting(found, limit)
        return pb.ListRetirementsResponse(
            retirements=page,
            next_page_token=page_token(page[-1].position) if more else "",
            as_of_position=position,
        )

    async def _heard(self, accounts_position: int) -> int:
        """Waits (bounded) until we have answered the accounts book; where ours ends then."""
        try:
            async with asyncio.timeout(ACCOUNTS_WAIT_S):
                # Polled: an event that is none of our business wakes nobody here.
                while self._accounts.next_position <= accounts_position:  # noqa: ASYNC110
                    await asyncio.sleep(ACCOUNTS_POLL_S)
        except TimeoutError:
            raise Conflict(
                "POSITION_NOT_REACHED",
                f"accounts: expected position {accounts_position},"
                f" got {self._accounts.next_position - 1}",
            ) from None
        return self._writer.committed_next - 1

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        principal = current_caller().principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt: public facts to everyone, liens to their parties; all of it noted."""
        found = await disclose(
            self._writer,
            self._engine,
            self._clock,
            request.positions,
            self._may_see,
            leave_out=request.leave_out,
        )
        return pb.DiscloseEventsResponse(events=found.events, left_out=found.left_out)

    async def _may_see(self, caller: Caller, record: bytes) -> bool:
        raw = decode_record(record)
        if raw.type not in PRIVATE or raw.actor == caller.actor:
            return True
        lien = self._writer.state.liens.get(msgspec.json.decode(raw.body)["lien"])
        return "auditor" in caller.roles if lien is None else queries.is_party(caller, lien)


def is_public(type: str) -> bool:
    """Programmes, projects, reductions, issuances, retirements and keys are everybody's to see."""
    return type not in PRIVATE


def fitting(found: list[M], limit: int) -> tuple[list[M], bool]:
    """The part of a page that one message holds, at least one row; may there be more after it?"""
    size = 0
    for n, one in enumerate(found):
        size += one.ByteSize()
        if size > MAX_ANSWER_BYTES and n:
            return found[:n], True
    return found, len(found) == limit


def _check_fitting(found: list[M]) -> None:
    """For answers without pages: what is too large to be told is refused, not cut."""
    page, _ = fitting(found, len(found))
    if len(page) < len(found):
        raise Refused(
            "TOO_MANY_ITEMS",
            f"expected an answer of at most {MAX_ANSWER_BYTES} bytes: name {len(page)} or fewer",
            Kind.INVALID,
        )


# ---- protobuf to command ----------------------------------------------------------------------


def open_programme(item: pb.Programme) -> commands.OpenProgramme:
    kind = enum_of(_KINDS, item.unit_kind, "unit_kind")
    parts = events.Parts(
        authority=item.parts.authority,
        clearing_house=item.parts.clearing_house,
        pledge_registrar=item.parts.pledge_registrar,
        registrar=item.parts.registrar,
        venue=item.parts.venue,
    )
    return commands.OpenProgramme(
        events.ProgrammeOpened(item.name, parts, item.programme, _terms(item.terms), kind)
    )


def _terms(message: pb.Terms) -> events.Terms:
    days = message.max_price_age_days if message.HasField("max_price_age_days") else None
    return events.Terms(
        max_ltv_bp=message.max_ltv_bp if message.HasField("max_ltv_bp") else None,
        max_price_age_days=days,
        project_types=list(message.project_types),
        steps=[events.Step(step.min_days, step.name) for step in message.steps],
    )


def set_terms(item: pb.TermsChange) -> commands.SetTerms:
    _check_there(item, "effective_from", "effective_from")
    return commands.SetTerms(
        item.programme, instant_of(item.effective_from, "effective_from"), _terms(item.terms)
    )


def _check_there(message: Any, field: str, what: str) -> None:
    if not message.HasField(field):
        raise Refused("MISSING_VALUE", f"{what} is missing", Kind.INVALID, field=what)


def file_project(item: pb.Project) -> commands.FileProject:
    return commands.FileProject(
        events.ProjectFiled(
            area_mu=item.area_mu,
            document=item.document,
            name=item.name,
            owner=item.owner,
            programme=item.programme,
            project=item.project,
            project_type=item.project_type,
            region=item.region,
            site=item.site,
        )
    )


def advance_project(item: pb.ProjectStep) -> commands.AdvanceProject:
    return commands.AdvanceProject(item.project, item.step, item.document)


def verify_reduction(item: pb.Verification) -> commands.VerifyReduction:
    return commands.VerifyReduction(
        events.ReductionVerified(
            document=item.document,
            period_first=item.period_first,
            period_last=item.period_last,
            project=item.project,
            quantity_t=item.quantity_t,
            verification=item.verification,
            verifier=item.verifier,
        )
    )


def propose_issuance(item: pb.IssuanceProposal) -> commands.ProposeIssuance:
    lots = [events.Lot(lot.quantity_t, lot.verification) for lot in item.lots]
    return commands.ProposeIssuance(item.issuance, item.asset, item.batch, lots, item.document)


def approve_issuance(item: pb.IssuanceApproval) -> commands.ApproveIssuance:
    return commands.ApproveIssuance(item.issuance)


def register_pledge(item: pb.Pledge) -> commands.RegisterPledge:
    levels, valuation = item.levels, item.valuation
    _check_there(valuation, "priced_at", "valuation.priced_at")
    return commands.RegisterPledge(
        events.PledgeRequested(
            asset=item.asset,
            levels=events.Levels(levels.call_bp, levels.enforcement_bp, levels.warning_bp),
            lien=item.lien,
            loan_fen=item.loan_fen,
            matures_on=item.matures_on,
            notice=item.notice,
            pledgee=item.pledgee,
            pledgor=item.pledgor,
            programme=item.programme,
            quantity_t=item.quantity_t,
            rate_bp=item.rate_bp,
            serials=[events.SerialRange(b.batch, b.first, b.last) for b in item.serials],
            valuation=events.Valuation(
                price_fen_per_t=valuation.price_fen_per_t,
                priced_at_ms=instant_of(valuation.priced_at, "valuation.priced_at"),
                source=valuation.source,
            ),
        )
    )


def release_pledge(item: pb.PledgeRelease) -> commands.ReleasePledge:
    return commands.ReleasePledge(item.lien, item.release, item.quantity_t)


# ---- what stands, to protobuf -----------------------------------------------------------------


def _programme_message(programme: state.Programme, now_ms: int) -> pb.Programme:
    opened = programme.opened
    return pb.Programme(
        id=programme.envelope.id,
        on=_on(programme.envelope),
        programme=opened.programme,
        name=opened.name,
        unit_kind=_KIND_NUMBERS[opened.unit_kind],
        parts=pb.Parts(**msgspec.structs.asdict(opened.parts)),
        terms=_terms_message(rules.terms_at(programme, now_ms)),
    )


def _terms_message(terms: events.Terms) -> pb.Terms:
    return pb.Terms(
        steps=[pb.Step(name=step.name, min_days=step.min_days) for step in terms.steps],
        project_types=terms.project_types,
        max_ltv_bp=terms.max_ltv_bp,
        max_price_age_days=terms.max_price_age_days,
    )


def _project_message(known: state.State, project: state.Project) -> pb.ProjectState:
    return pb.ProjectState(
        project=pb.Project(
            id=project.envelope.id,
            on=_on(project.envelope),
            **msgspec.structs.asdict(project.filed),
        ),
        steps_done=project.steps_done,
        verifications=[_reduction_message(known.reductions[one]) for one in project.verifications],
        filed_position=project.envelope.position,
    )


def _reduction_message(reduction: state.Reduction) -> pb.VerifiedReduction:
    verified = reduction.verified
    return pb.VerifiedReduction(
        verification=verified.verification,
        verifier=verified.verifier,
        period_first=verified.period_first,
        period_last=verified.period_last,
        quantity_t=verified.quantity_t,
        issued_t=reduction.issued_t,
        document=verified.document,
    )


def _issuance_message(issuance: state.Issuance) -> pb.Issuance:
    proposed, process = issuance.proposed, issuance.process
    return pb.Issuance(
        issuance=proposed.issuance,
        programme=proposed.programme,
        asset=proposed.asset,
        batch=proposed.batch,
        first=proposed.first,
        last=proposed.last,
        lots=[
            pb.Lot(verification=lot.verification, quantity_t=lot.quantity_t)
            for lot in proposed.lots
        ],
        owners=[
            pb.IssuanceOwner(holder=owner.holder, quantity_t=owner.quantity_t)
            for owner in proposed.owners
        ],
        document=proposed.document,
        proposed_position=issuance.envelope.position,
        **_ended(process),
    )


def _ended(process: state.Process) -> dict[str, Any]:
    """The fields every message of a process over two books has."""
    refusal = process.refusal
    return {
        "state": _STAGES[process.stage],
        "refusal": None
        if refusal is None
        else items_pb2.Refusal(
            reason=refusal.reason, message=refusal.message, details=refusal.details
        ),
        "ended_position": process.ended_position,
        "entry_position": process.entry_position,
    }


def _pledge_message(lien: state.Lien) -> pb.PledgeState:
    asked, pledged_t = lien.asked, lien.pledged_t
    value_fen = pledged_t * asked.valuation.price_fen_per_t
    return pb.PledgeState(
        pledge=_asked_message(lien),
        pledged_t=pledged_t,
        serials=_range_messages(lien.serials),
        value_fen=value_fen,
        ltv_bp=rules.ltv_bp(asked.loan_fen, value_fen),
        break_even_fen_per_t=rules.break_even_fen_per_t(asked.loan_fen, pledged_t),
        requested_position=lien.process.requested.position,
        releases=[_release_message(name, release) for name, release in lien.releases.items()],
        overrides=[_override_message(one) for one in lien.overrides],
        **_ended(lien.process),
    )


def _override_message(one: state.Override) -> pb.PledgeOverride:
    return pb.PledgeOverride(
        authority=one.said.authority,
        document=one.said.document,
        transfer=one.said.transfer,
        quantity_t=one.said.quantity_t,
        serials=_range_messages(one.said.serials),
        entry_position=one.entry_position,
    )


def _asked_message(lien: state.Lien) -> pb.Pledge:
    asked, valuation = lien.asked, lien.asked.valuation
    return pb.Pledge(
        id=lien.process.requested.id,
        on=_on(lien.process.requested),
        lien=asked.lien,
        programme=asked.programme,
        asset=asked.asset,
        pledgor=asked.pledgor,
        pledgee=asked.pledgee,
        quantity_t=asked.quantity_t,
        serials=_range_messages(asked.serials),
        loan_fen=asked.loan_fen,
        rate_bp=asked.rate_bp,
        matures_on=asked.matures_on,
        valuation=pb.Valuation(
            price_fen_per_t=valuation.price_fen_per_t,
            source=valuation.source,
            priced_at=timestamp_of(valuation.priced_at_ms),
        ),
        levels=pb.Levels(**msgspec.structs.asdict(asked.levels)),
        notice=asked.notice,
    )


def _release_message(name: str, release: state.Release) -> pb.ReleaseState:
    return pb.ReleaseState(
        release=name,
        quantity_t=release.quantity_t,
        serials=_range_messages(release.serials),
        requested_position=release.process.requested.position,
        **_ended(release.process),
    )


def _serial_lien_message(known: state.State, batch: str, one: state.SerialLien) -> pb.SerialLien:
    first, last, lien = one
    return pb.SerialLien(
        serials=pb.SerialRange(batch=batch, first=first, last=last),
        lien=lien,
        registered_position=known.liens[lien].process.ended_position,
    )


def _retirement_message(
    row: queries.RetirementRow, serials: Sequence[events.SerialRange]
) -> pb.Retirement:
    return pb.Retirement(
        position=row.position,
        holder=row.holder,
        asset=row.asset,
        quantity_t=row.quantity_t,
        serials=_range_messages(serials),
        beneficiary=row.beneficiary,
        purpose=row.purpose,
        details=row.details,
        on=timestamp_of(parse_instant(row.on)),
        entry_position=row.entry_position,
    )


def _range_messages(ranges: Sequence[events.SerialRange]) -> list[pb.SerialRange]:
    return [pb.SerialRange(batch=b.batch, first=b.first, last=b.last) for b in ranges]


def _on(envelope: Envelope) -> Timestamp:
    return timestamp_of(envelope.on_ms)


def register(servicer: RegistryRpc) -> Callable[[Any], None]:
    return lambda server: registry_pb2_grpc.add_RegistryServiceServicer_to_server(servicer, server)
