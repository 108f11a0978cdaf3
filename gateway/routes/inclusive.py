"""Carbon inclusion (碳普惠): methodologies, citizens and their trips, what operators report."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import inclusive as m
from gateway.models import parts
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write(
        "/v1/methodologies",
        "inclusive.ProposeMethodologies",
        m.Methodology,
        "Propose a methodology with its factor's passport",
    ),
    Write(
        "/v1/methodology-approvals",
        "inclusive.ApproveMethodologies",
        m.MethodologyApproval,
        "Approve a methodology, as another person",
    ),
    Write("/v1/point-rules", "inclusive.SetPointRules", m.PointRule, "Set points from a day on"),
    Write("/v1/operators", "inclusive.RegisterOperators", m.Operator, "Register an operator"),
    Write("/v1/citizens", "inclusive.EnrolCitizens", m.Enrolment, "Enrol a citizen"),
    Write(
        "/v1/citizens/{citizen}/consents",
        "inclusive.ChangeConsents",
        m.ConsentChange,
        "Consent to measure, and to sell; `me` is the caller",
    ),
    Write(
        "/v1/citizens/{citizen}/forgettings",
        "inclusive.ForgetCitizens",
        m.Forgetting,
        "Forget a citizen: key and link are destroyed",
    ),
    Write(
        "/v1/trip-batches",
        "inclusive.ReportTrips",
        m.TripBatch,
        "Report trips under one signature; each is answered",
    ),
)
READS = (
    Read(
        "/v1/methodologies",
        "inclusive.GetMethodologies",
        parts.Query,
        "Approved methodologies with their factors",
    ),
    Read(
        "/v1/citizens/{citizen}",
        "inclusive.GetCitizen",
        parts.Query,
        "Points and grams of a citizen; `me` is the caller",
    ),
    Read(
        "/v1/citizens/{citizen}/trips",
        "inclusive.ListTrips",
        parts.Page,
        "Trips, each explained: the formula, or why it earned nothing",
    ),
    Read("/v1/inclusion-sums", "inclusive.GetSums", parts.Query, "Sums by methodology and rule"),
)


def make_routes() -> APIRouter:
    router = make_router("inclusion")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
