"""What exists: programmes, projects, verifications, issuances, liens, public retirements."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import parts
from gateway.models import registry as m
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write("/v1/programmes", "registry.OpenProgrammes", m.Programme, "Open a programme"),
    Write("/v1/programme-terms", "registry.SetTerms", m.TermsChange, "Set terms from a day on"),
    Write("/v1/projects", "registry.FileProjects", m.Project, "File a project"),
    Write("/v1/project-steps", "registry.AdvanceProjects", m.ProjectStep, "The next step is done"),
    Write(
        "/v1/verifications",
        "registry.VerifyReductions",
        m.Verification,
        "Record a verified reduction",
    ),
    Write(
        "/v1/issuance-proposals",
        "registry.ProposeIssuances",
        m.IssuanceProposal,
        "Propose an issuance",
    ),
    Write(
        "/v1/issuance-approvals",
        "registry.ApproveIssuances",
        m.IssuanceApproval,
        "Approve an issuance, as another person",
        begins=True,
    ),
    Write("/v1/pledges", "registry.RegisterPledges", m.Pledge, "Register a pledge", begins=True),
    Write(
        "/v1/pledge-releases",
        "registry.ReleasePledges",
        m.PledgeRelease,
        "Release a pledge, all or part",
        begins=True,
    ),
)
READS = (
    Read("/v1/programmes", "registry.GetProgrammes", m.Programmes, "Programmes, terms in force"),
    Read("/v1/projects", "registry.ListProjects", m.Projects, "Projects, steps, reductions"),
    Read("/v1/issuances", "registry.GetIssuances", m.Issuances, "Named issuances"),
    Read(
        "/v1/issuances/{issuance}",
        "registry.GetIssuances",
        parts.Settled,
        "An issuance",
        one="issuances",
        fields={"issuance": "issuances"},
    ),
    Read("/v1/pledges", "registry.GetPledges", m.Pledges, "Liens, to their parties"),
    Read(
        "/v1/pledges/{lien}",
        "registry.GetPledges",
        parts.Settled,
        "A lien, to its parties",
        one="pledges",
        fields={"lien": "liens"},
    ),
    Read(
        "/v1/serial-liens",
        "registry.GetSerialLiens",
        m.SerialLiens,
        "Which serials are pledged; nothing of loans or parties",
    ),
    Read("/v1/retirements", "registry.ListRetirements", m.Retirements, "The public retirements"),
)


def make_routes() -> APIRouter:
    router = make_router("registry")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
