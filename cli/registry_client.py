"""The registry as the tools call it: programmes, projects, issuances, pledges, retirements.

Plain values in and out, as cli/clients.py, through the same door and with its patience. What a
process over two books came to is read with `settled`: the service waits a few seconds for its end
and then answers what is, so who asks looks at `state` and asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tanzhang.registry.v1 import registry_pb2 as registry
from tanzhang.registry.v1 import registry_pb2_grpc

from cli.clients import (
    Books,
    Outcome,
    Persona,
    Refusal,
    SerialRange,
    answered_in_order,
    instant_ms,
    ranges_of,
    refusal_of,
)
from kernel.rpc.items import act_message, timestamp_of
from kernel.values import Act


@dataclass(frozen=True)
class Parts:
    """Holder ids; empty where nobody plays the part."""

    authority: str = ""
    registrar: str = ""
    venue: str = ""
    clearing_house: str = ""
    pledge_registrar: str = ""


@dataclass(frozen=True)
class Step:
    name: str
    min_days: int = 0


@dataclass(frozen=True)
class Programme:
    """`unit_kind` is the word the events use: ticket, …; `programme` its holder id."""

    id: str
    programme: str
    name: str
    unit_kind: str
    parts: Parts
    steps: tuple[Step, ...]
    project_types: tuple[str, ...]
    on_ms: int
    max_ltv_bp: int | None = None


@dataclass(frozen=True)
class Project:
    """`site`: what is claimed and where, as the digest of its geometry or its meter."""

    id: str
    project: str
    programme: str
    name: str
    project_type: str
    owner: str
    region: str
    area_mu: int
    site: str
    document: str
    on_ms: int


@dataclass(frozen=True)
class StepTaken:
    id: str
    project: str
    step: str
    document: str
    on_ms: int


@dataclass(frozen=True)
class Verification:
    id: str
    verification: str
    project: str
    verifier: str
    period_first: str
    period_last: str
    quantity_t: int
    document: str
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class ProjectState:
    """`verified_t` and `issued_t` over all verified periods."""

    project: str
    name: str
    owner: str
    area_mu: int
    steps_done: tuple[str, ...]
    verified_t: int
    issued_t: int


@dataclass(frozen=True)
class Lot:
    verification: str
    quantity_t: int


@dataclass(frozen=True)
class IssuanceProposal:
    id: str
    issuance: str
    asset: str
    batch: str
    lots: tuple[Lot, ...]
    document: str


@dataclass(frozen=True)
class IssuanceApproval:
    id: str
    issuance: str
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class Owner:
    holder: str
    quantity_t: int


@dataclass(frozen=True)
class Issuance:
    """`state`: proposed, requested, completed or refused; `entry_position` in the accounts book."""

    issuance: str
    programme: str
    asset: str
    batch: str
    first: int
    last: int
    owners: tuple[Owner, ...]
    document: str
    state: str
    refusal: Refusal
    proposed_position: int
    ended_position: int
    entry_position: int


@dataclass(frozen=True)
class Valuation:
    price_fen_per_t: int
    source: str
    priced_ms: int


@dataclass(frozen=True)
class Pledge:
    """A lien, signed by both its parties; `call_bp` is the loan over value that calls for more."""

    id: str
    lien: str
    programme: str
    asset: str
    pledgor: str
    pledgee: str
    quantity_t: int
    serials: tuple[SerialRange, ...]
    loan_fen: int
    rate_bp: int
    matures_on: str
    valuation: Valuation
    call_bp: int
    notice: str
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class ReleaseState:
    release: str
    quantity_t: int
    serials: tuple[SerialRange, ...]
    state: str
    refusal: Refusal
    ended_position: int
    entry_position: int


@dataclass(frozen=True)
class PledgeState:
    """`state`: requested, completed or refused; `pledged_t` and `serials` are what is left."""

    lien: str
    state: str
    refusal: Refusal
    pledged_t: int
    serials: tuple[SerialRange, ...]
    value_fen: int
    ltv_bp: int
    break_even_fen_per_t: int
    requested_position: int
    ended_position: int
    entry_position: int
    releases: tuple[ReleaseState, ...]


@dataclass(frozen=True)
class PledgeRelease:
    id: str
    release: str
    lien: str
    quantity_t: int
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class SerialLien:
    serials: SerialRange
    lien: str


@dataclass(frozen=True)
class Retirement:
    """A public fact; its number is its position in the registry's log."""

    position: int
    holder: str
    asset: str
    quantity_t: int
    serials: tuple[SerialRange, ...]
    beneficiary: str
    purpose: str
    details: str
    on_ms: int
    entry_position: int


class Registry:
    """The service behind the door that `books` has opened."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._stub: Any = registry_pb2_grpc.RegistryServiceStub(books.channel("registry"))

    # ---- what changes the registry's book -------------------------------------------------------

    async def open_programmes(self, who: Persona, items: Sequence[Programme]) -> list[Outcome]:
        programmes = [_programme_message(one) for one in items]
        request = registry.OpenProgrammesRequest(programmes=programmes)
        return await self._batch(self._stub.OpenProgrammes, request, who, items)

    async def file_projects(self, who: Persona, items: Sequence[Project]) -> list[Outcome]:
        projects = [
            registry.Project(
                id=one.id,
                on=timestamp_of(one.on_ms),
                project=one.project,
                programme=one.programme,
                name=one.name,
                project_type=one.project_type,
                owner=one.owner,
                region=one.region,
                area_mu=one.area_mu,
                site=one.site,
                document=one.document,
            )
            for one in items
        ]
        request = registry.FileProjectsRequest(projects=projects)
        return await self._batch(self._stub.FileProjects, request, who, items)

    async def advance_projects(self, who: Persona, items: Sequence[StepTaken]) -> list[Outcome]:
        steps = [
            registry.ProjectStep(
                id=one.id,
                on=timestamp_of(one.on_ms),
                project=one.project,
                step=one.step,
                document=one.document,
            )
            for one in items
        ]
        request = registry.AdvanceProjectsRequest(steps=steps)
        return await self._batch(self._stub.AdvanceProjects, request, who, items)

    async def verify_reductions(self, who: Persona, items: Sequence[Verification]) -> list[Outcome]:
        verifications = [
            registry.Verification(
                id=one.id,
                verification=one.verification,
                project=one.project,
                verifier=one.verifier,
                period_first=one.period_first,
                period_last=one.period_last,
                quantity_t=one.quantity_t,
                document=one.document,
                acts=[act_message(act) for act in one.acts],
            )
            for one in items
        ]
        request = registry.VerifyReductionsRequest(verifications=verifications)
        return await self._batch(self._stub.VerifyReductions, request, who, items)

    async def propose_issuances(
        self, who: Persona, items: Sequence[IssuanceProposal]
    ) -> list[Outcome]:
        proposals = [
            registry.IssuanceProposal(
                id=one.id,
                issuance=one.issuance,
                asset=one.asset,
                batch=one.batch,
                lots=[
                    registry.Lot(verification=lot.verification, quantity_t=lot.quantity_t)
                    for lot in one.lots
                ],
                document=one.document,
            )
            for one in items
        ]
        request = registry.ProposeIssuancesRequest(proposals=proposals)
        return await self._batch(self._stub.ProposeIssuances, request, who, items)

    async def approve_issuances(
        self, who: Persona, items: Sequence[IssuanceApproval]
    ) -> list[Outcome]:
        approvals = [
            registry.IssuanceApproval(
                id=one.id, issuance=one.issuance, acts=[act_message(act) for act in one.acts]
            )
            for one in items
        ]
        request = registry.ApproveIssuancesRequest(approvals=approvals)
        return await self._batch(self._stub.ApproveIssuances, request, who, items)

    async def register_pledges(self, who: Persona, items: Sequence[Pledge]) -> list[Outcome]:
        request = registry.RegisterPledgesRequest(pledges=[_pledge_message(one) for one in items])
        return await self._batch(self._stub.RegisterPledges, request, who, items)

    async def release_pledges(self, who: Persona, items: Sequence[PledgeRelease]) -> list[Outcome]:
        releases = [
            registry.PledgeRelease(
                id=one.id,
                release=one.release,
                lien=one.lien,
                quantity_t=one.quantity_t,
                acts=[act_message(act) for act in one.acts],
            )
            for one in items
        ]
        request = registry.ReleasePledgesRequest(releases=releases)
        return await self._batch(self._stub.ReleasePledges, request, who, items)

    async def _batch(
        self, method: Any, request: Any, who: Persona, items: Sequence[Any]
    ) -> list[Outcome]:
        return answered_in_order(await self._books.call(method, request, who), items)

    # ---- what reads it --------------------------------------------------------------------------

    async def projects(self, programme: str, min_position: int = 0) -> list[ProjectState]:
        """All of a programme; open to everyone."""
        found: list[ProjectState] = []
        token = ""
        while True:
            request = registry.ListProjectsRequest(
                programme=programme, page_token=token, min_position=min_position
            )
            response = await self._books.call(self._stub.ListProjects, request)
            found += [_project_state(one) for one in response.projects]
            token = response.next_page_token
            if not token:
                return found

    async def issuances(self, names: Sequence[str], min_position: int = 0) -> list[Issuance]:
        """Settled, or what they are after the service's patience; open to everyone."""
        request = registry.GetIssuancesRequest(
            issuances=names, min_position=min_position, settled=True
        )
        response = await self._books.call(self._stub.GetIssuances, request)
        return [_issuance(one) for one in response.issuances]

    async def pledges(
        self, who: Persona, liens: Sequence[str], min_position: int = 0
    ) -> list[PledgeState]:
        """Settled, or what they are after the service's patience; for their parties."""
        request = registry.GetPledgesRequest(liens=liens, min_position=min_position, settled=True)
        response = await self._books.call(self._stub.GetPledges, request, who)
        return [_pledge_state(one) for one in response.pledges]

    async def serial_liens(
        self, asset: str, batch: str, serial: int | None = None, min_position: int = 0
    ) -> list[SerialLien]:
        """Is a serial pledged, and under which lien; open to everyone."""
        request = registry.GetSerialLiensRequest(
            asset=asset, batch=batch, serial=serial, min_position=min_position
        )
        response = await self._books.call(self._stub.GetSerialLiens, request)
        return [
            SerialLien(
                SerialRange(one.serials.batch, one.serials.first, one.serials.last), one.lien
            )
            for one in response.liens
        ]

    async def retirements(self, asset: str, min_accounts_position: int = 0) -> list[Retirement]:
        """The first page of an asset's public record; open to everyone."""
        request = registry.ListRetirementsRequest(
            asset=asset, min_accounts_position=min_accounts_position
        )
        response = await self._books.call(self._stub.ListRetirements, request)
        return [
            Retirement(
                position=one.position,
                holder=one.holder,
                asset=one.asset,
                quantity_t=one.quantity_t,
                serials=ranges_of(one.serials),
                beneficiary=one.beneficiary,
                purpose=one.purpose,
                details=one.details,
                on_ms=instant_ms(one.on),
                entry_position=one.entry_position,
            )
            for one in response.retirements
        ]


def _programme_message(one: Programme) -> registry.Programme:
    return registry.Programme(
        id=one.id,
        on=timestamp_of(one.on_ms),
        programme=one.programme,
        name=one.name,
        unit_kind=registry.UnitKind.Value(f"UNIT_KIND_{one.unit_kind.upper()}"),
        parts=registry.Parts(
            authority=one.parts.authority,
            registrar=one.parts.registrar,
            venue=one.parts.venue,
            clearing_house=one.parts.clearing_house,
            pledge_registrar=one.parts.pledge_registrar,
        ),
        terms=registry.Terms(
            steps=[registry.Step(name=step.name, min_days=step.min_days) for step in one.steps],
            project_types=one.project_types,
            max_ltv_bp=one.max_ltv_bp,
        ),
    )


def _pledge_message(one: Pledge) -> registry.Pledge:
    return registry.Pledge(
        id=one.id,
        lien=one.lien,
        programme=one.programme,
        asset=one.asset,
        pledgor=one.pledgor,
        pledgee=one.pledgee,
        quantity_t=one.quantity_t,
        serials=[
            registry.SerialRange(batch=block.batch, first=block.first, last=block.last)
            for block in one.serials
        ],
        loan_fen=one.loan_fen,
        rate_bp=one.rate_bp,
        matures_on=one.matures_on,
        valuation=registry.Valuation(
            price_fen_per_t=one.valuation.price_fen_per_t,
            source=one.valuation.source,
            priced_at=timestamp_of(one.valuation.priced_ms),
        ),
        levels=registry.Levels(call_bp=one.call_bp),
        notice=one.notice,
        acts=[act_message(act) for act in one.acts],
    )


def _project_state(one: registry.ProjectState) -> ProjectState:
    return ProjectState(
        project=one.project.project,
        name=one.project.name,
        owner=one.project.owner,
        area_mu=one.project.area_mu,
        steps_done=tuple(one.steps_done),
        verified_t=sum(period.quantity_t for period in one.verifications),
        issued_t=sum(period.issued_t for period in one.verifications),
    )


def _issuance(one: registry.Issuance) -> Issuance:
    return Issuance(
        issuance=one.issuance,
        programme=one.programme,
        asset=one.asset,
        batch=one.batch,
        first=one.first,
        last=one.last,
        owners=tuple(Owner(owner.holder, owner.quantity_t) for owner in one.owners),
        document=one.document,
        state=_state(one.state),
        refusal=refusal_of(one.refusal),
        proposed_position=one.proposed_position,
        ended_position=one.ended_position,
        entry_position=one.entry_position,
    )


def _pledge_state(one: registry.PledgeState) -> PledgeState:
    return PledgeState(
        lien=one.pledge.lien,
        state=_state(one.state),
        refusal=refusal_of(one.refusal),
        pledged_t=one.pledged_t,
        serials=ranges_of(one.serials),
        value_fen=one.value_fen,
        ltv_bp=one.ltv_bp,
        break_even_fen_per_t=one.break_even_fen_per_t,
        requested_position=one.requested_position,
        ended_position=one.ended_position,
        entry_position=one.entry_position,
        releases=tuple(_release_state(release) for release in one.releases),
    )


def _release_state(one: registry.ReleaseState) -> ReleaseState:
    return ReleaseState(
        release=one.release,
        quantity_t=one.quantity_t,
        serials=ranges_of(one.serials),
        state=_state(one.state),
        refusal=refusal_of(one.refusal),
        ended_position=one.ended_position,
        entry_position=one.entry_position,
    )


def _state(number: registry.ProcessState.ValueType) -> str:
    return registry.ProcessState.Name(number).removeprefix("PROCESS_STATE_").lower()
