"""What the citizens' book knows, in memory; rebuilt from the events by evolve alone.

No hour, place, order or rider: those are sealed in the records and this never reads them. Of a
credited trip only its nullifier stays (32 bytes), so a million trips fit beside their citizens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.keyring import Keyring
from services.inclusive.domain.events import MethodologyProposed, Mode, OperatorRegistered

MethodologyKey = tuple[str, str]  # methodology, version


@dataclass(slots=True)
class Citizen:
    """Consents and sums of one pseudonym."""

    measure: bool
    sell: bool
    forgotten: bool = False
    points: int = 0
    measured_mg: int = 0
    saleable_pending_mg: int = 0
    saleable_confirmed_mg: int = 0
    trips: int = 0
    trips_refused: int = 0
    # Days with a credited trip: where none is, the overlap rule has nothing to look up.
    days: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Sums:
    """What one methodology has measured. Metres are those of trips with a reduction."""

    trips: int = 0
    distance_m: int = 0
    reduction_mg: int = 0
    saleable_mg: int = 0
    points: int = 0


@dataclass
class State:
    proposed: dict[MethodologyKey, MethodologyProposed] = field(default_factory=dict)
    # Approved ones by mode, in the order of their approval.
    methodologies: dict[Mode, list[MethodologyProposed]] = field(default_factory=dict)
    approved: dict[MethodologyKey, MethodologyProposed] = field(default_factory=dict)
    point_rules: dict[Mode, list[tuple[str, int]]] = field(default_factory=dict)  # (day, per kg)
    operators: dict[str, OperatorRegistered] = field(default_factory=dict)
    citizens: dict[str, Citizen] = field(default_factory=dict)
    batches: set[tuple[str, str]] = field(default_factory=set)  # (operator, batch)
    credited: set[bytes] = field(default_factory=set)  # nullifiers
    # Saleable milligrams by confirmation day and citizen; a day stands here once it has a trip.
    unconfirmed: dict[str, dict[str, int]] = field(default_factory=dict)
    confirmed_through: str = ""  # the last confirmed day
    sums: dict[MethodologyKey, Sums] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)  # trips by reason
    days: dict[str, str] = field(default_factory=dict)  # each day's text once, shared by citizens
    keyring: Keyring = field(default_factory=Keyring)
