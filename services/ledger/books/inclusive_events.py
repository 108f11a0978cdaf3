"""The events of a citizens' book again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec

from kernel.values import Actor


class MethodologyProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    baseline_mg_per_km: int
    counterfactual: bool
    factor_mg_per_km: int
    gas: str
    has_metro: bool | None
    methodology: str
    mode: str
    project_mg_per_km: int
    proposed_by: Actor
    region: str
    source: str
    status: str
    title: str
    valid_first: str
    valid_last: str
    version: str


class MethodologyApproved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    methodology: str
    version: str


class PointRuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: str
    points_per_kg: int
    valid_first: str


class OperatorRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    city: str
    city_has_metro: bool
    modes: list[str]
    name: str
    operator: str


class CitizenEnrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    citizen: str
    measure: bool
    sell: bool


class ConsentChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    citizen: str
    measure: bool
    sell: bool


class CitizenForgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    citizen: str


class TripBatchReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch: str
    count: int
    digest: str
    operator: str


class TripCredited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch: str
    because: str
    citizen: str
    confirms_on: str
    day: str
    flags: list[str]
    methodology: str
    mode: str
    nullifier: str
    operator: str
    points: int
    reduction_mg: int
    saleable: bool
    version: str


class TripRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch: str
    citizen: str
    day: str
    details: dict[str, str]
    mode: str
    nullifier: str
    operator: str
    reason: str


class DayConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    day: str
