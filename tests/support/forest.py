"""The world of the registry tests: 兰州新区's forest projects, their verifier, authority and banks.

The same people and figures as tests/support/lanzhou.py: 11,700 mu and 12,000 t in two projects (the
split is chosen), 41.94 CNY/t, pledged to two banks for 495,000 CNY together (6,000 t each, and the
loans, are chosen). Keys come from printed seeds and must never sign anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import sign_act
from kernel.ids import derived_holder_id, derived_id
from kernel.values import DAY_MS, Act, Caller, Envelope, day_start_ms
from services.registry.domain.commands import (
    AdvanceProject,
    ApproveIssuance,
    CompleteIssuance,
    CompletePledge,
    FileProject,
    OpenProgramme,
    ProposeIssuance,
    RegisterPledge,
    ReleasePledge,
    VerifyReduction,
)
from services.registry.domain.decide import decide
from services.registry.domain.events import (
    Levels,
    Lot,
    Parts,
    PledgeRequested,
    ProgrammeOpened,
    ProjectFiled,
    ReductionVerified,
    SerialRange,
    Step,
    Terms,
    UnitKind,
    Valuation,
)
from services.registry.domain.evolve import evolve, told
from services.registry.domain.serials import check_ranges, covering
from services.registry.domain.state import Stage, State
from tests.support.books import MORNING_MS, Book, person
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    FOREST_T,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    admitted,
    approval,
    seeded_key,
)

VERIFIER = derived_holder_id("lanzhou", "a verifier of forests")
FIRST_BANK = derived_holder_id("lanzhou", "a first bank")
SECOND_BANK = derived_holder_id("lanzhou", "a second bank")
VERIFIER_KEY = seeded_key("a verifier of forests")
CITY_GROUP_KEY = seeded_key("兰州新区城投")
FIRST_BANK_KEY = seeded_key("a first bank")
SECOND_BANK_KEY = seeded_key("a second bank")
KEYS = {
    f"authority:{PROGRAMME}": AUTHORITY_KEY,
    f"holder:{VERIFIER}": VERIFIER_KEY,
    f"holder:{CITY_GROUP}": CITY_GROUP_KEY,
    f"holder:{FIRST_BANK}": FIRST_BANK_KEY,
    f"holder:{SECOND_BANK}": SECOND_BANK_KEY,
}

MAKER = person("Ma at the registry", roles=["registry"])
CHECKER = person("authority-checker", roles=["registry"])
REGISTRAR = person("registrar", roles=["registrar"])
TREASURER = person("treasurer of the city group", holders=[CITY_GROUP])
CLERK = person("clerk of the first bank", holders=[FIRST_BANK])
OTHER_CLERK = person("clerk of the second bank", holders=[SECOND_BANK])

STEPS = [Step(0, "public notice"), Step(7, "validated"), Step(0, "registered")]
TERMS = Terms(None, None, ["forest"], STEPS)
QIN, ZHONG = "LZXQ-QINWANGCHUAN", "LZXQ-ZHONGCHUAN"
OWNERS = {QIN: QINWANGCHUAN, ZHONG: ZHONGCHUAN}
AREA_MU = {QIN: 6700, ZHONG: 5000}
SITES = {QIN: "sha256 of 秦王川's outline", ZHONG: "sha256 of 中川's outline"}
TONNES = {project: FOREST_T[owner] for project, owner in OWNERS.items()}
ISSUANCE, BATCH, LIEN = "LZXQ-2021", "LZXQ-2021", "l-lanzhoubankaaaaa"
LOAN_FEN = 24_750_000
PLEDGED_T = 6000


class RegistryBook(Book[State]):
    """The registry's domain, which also folds envelopes."""

    def __init__(self) -> None:
        super().__init__(State, decide, evolve)
        self.envelopes: list[Envelope] = []
        self._around: tuple[str, Caller, int, tuple[str, int] | None] | None = None

    def given(self, *events: msgspec.Struct) -> Self:
        for event in events:
            position = len(self.envelopes)
            id, caller, on_ms, cause = self._around or (
                derived_id(MORNING_MS, "given", position),
                SYSTEM,
                MORNING_MS,
                None,
            )
            envelope = Envelope(position, id, caller.actor, on_ms, cause)
            self.envelopes.append(envelope)
            told(self.state, envelope)
            super().given(event)
        return self

    def when(
        self,
        command: msgspec.Struct,
        caller: Caller,
        *,
        acts: Sequence[Act] = (),
        on_ms: int | None = None,
        id: str | None = None,
        cause: tuple[str, int] | None = None,
    ) -> list[Any]:
        at_ms = self.clock.now_ms()
        id = id or derived_id(at_ms, "asked", len(self.envelopes), type(command).__name__)
        self._around = (id, caller, at_ms if on_ms is None else on_ms, cause)
        try:
            return super().when(command, caller, acts=acts, on_ms=on_ms, id=id)
        finally:
            self._around = None

    def replayed(self) -> State:
        state = State()
        for envelope, event in zip(self.envelopes, self.history, strict=True):
            told(state, envelope)
            evolve(state, event)
        return state


def morning(day: str) -> int:
    """Half past nine of a day in Lanzhou."""
    return day_start_ms(day) + 34_200_000


def opening(**changed: Any) -> OpenProgramme:
    parts = Parts(PROGRAMME, "", "", PROGRAMME, "")
    fields = {
        "name": "丝路碳票",
        "parts": parts,
        "programme": PROGRAMME,
        "terms": TERMS,
        "unit_kind": UnitKind.TICKET,
    }
    return OpenProgramme(ProgrammeOpened(**{**fields, **changed}))


def filing(project: str = QIN, **changed: Any) -> FileProject:
    fields = {
        "area_mu": AREA_MU.get(project, 100),
        "document": "sha256 of the design document",
        "name": project,
        "owner": OWNERS.get(project, QINWANGCHUAN),
        "programme": PROGRAMME,
        "project": project,
        "project_type": "forest",
        "region": "甘肃省兰州新区",
        "site": SITES.get(project, f"sha256 of {project}"),
    }
    return FileProject(ProjectFiled(**{**fields, **changed}))


def verification(project: str = QIN, **changed: Any) -> VerifyReduction:
    fields = {
        "document": "sha256 of the verification report",
        "period_first": "2018-01-01",
        "period_last": "2020-12-31",
        "project": project,
        "quantity_t": TONNES.get(project, 100),
        "verification": f"V-{project}",
        "verifier": VERIFIER,
    }
    return VerifyReduction(ReductionVerified(**{**fields, **changed}))


def verified_by(
    command: VerifyReduction, key: Ed25519PrivateKey = VERIFIER_KEY, /, **changed: Any
) -> Act:
    said = msgspec.structs.asdict(command.reduction)
    return sign_act(key, {"kind": "verification-statement", **said, **changed})


def proposal(issuance: str = ISSUANCE, **changed: Any) -> ProposeIssuance:
    fields = {
        "issuance": issuance,
        "asset": TICKET,
        "batch": issuance,
        "lots": [Lot(quantity_t, f"V-{project}") for project, quantity_t in TONNES.items()],
        "document": "sha256 of the notice",
    }
    return ProposeIssuance(**{**fields, **changed})


def pledge(lien: str = LIEN, **changed: Any) -> RegisterPledge:
    fields = {
        "asset": TICKET,
        "levels": Levels(0, 0, 0),
        "lien": lien,
        "loan_fen": LOAN_FEN,
        "matures_on": "2027-11-20",
        "notice": "公示 2026-1",
        "pledgee": FIRST_BANK,
        "pledgor": CITY_GROUP,
        "programme": PROGRAMME,
        "quantity_t": PLEDGED_T,
        "rate_bp": 385,
        "serials": [],
        "valuation": Valuation(PRICE_FEN_PER_T, MORNING_MS - DAY_MS, "last trade"),
    }
    return RegisterPledge(PledgeRequested(**{**fields, **changed}))


def pledged_by(
    command: RegisterPledge,
    *keys: Ed25519PrivateKey,
    **changed: Any,
) -> list[Act]:
    """The same statement by each key; by pledgor and first bank if none is given."""
    asked = command.pledge
    said = {"kind": "pledge", **msgspec.to_builtins(asked), **changed}
    return [sign_act(key, said) for key in keys or (CITY_GROUP_KEY, FIRST_BANK_KEY)]


def release(quantity_t: int = PLEDGED_T, name: str = "r-1", lien: str = LIEN) -> ReleasePledge:
    return ReleasePledge(lien, name, quantity_t)


def released_by(
    command: ReleasePledge, key: Ed25519PrivateKey = FIRST_BANK_KEY, /, **changed: Any
) -> Act:
    said = {
        "kind": "pledge-release",
        "lien": command.lien,
        "pledgee": FIRST_BANK,
        "quantity_t": command.quantity_t,
        "release": command.release,
        **changed,
    }
    return sign_act(key, said)


# ---- scenes, each a step further than the one before --------------------------------------------


def the_office() -> RegistryBook:
    """The institutions' keys, and the ticket programme."""
    book = RegistryBook()
    book.given(*(admitted(key, subject) for subject, key in KEYS.items()))
    book.when(opening(), REGISTRAR, on_ms=morning("2020-06-01"))
    return book


def filed(*projects: str) -> RegistryBook:
    book = the_office()
    for project in projects or (QIN, ZHONG):
        book.when(filing(project), MAKER, on_ms=morning("2021-03-01"))
    return book


def stepped(*projects: str) -> RegistryBook:
    """All steps done, the last one on 9 March 2021."""
    book = filed(*projects)
    days = ["2021-03-01", "2021-03-08", "2021-03-09"]
    for project in list(book.state.projects):
        for step, day in zip(STEPS, days, strict=True):
            done = AdvanceProject(project, step.name, f"sha256 of {step.name}")
            book.when(done, MAKER, on_ms=morning(day))
    return book


def verified() -> RegistryBook:
    """12,000 t in two projects."""
    book = stepped()
    for project in (QIN, ZHONG):
        verify(book, verification(project))
    return book


def verify(book: RegistryBook, command: VerifyReduction) -> list[Any]:
    return book.when(command, MAKER, acts=[verified_by(command)], on_ms=morning("2021-05-01"))


def proposed() -> RegistryBook:
    book = verified()
    book.when(proposal(), MAKER)
    return book


def approve(book: RegistryBook, issuance: str = ISSUANCE, **changed: Any) -> list[Any]:
    asked = book.state.issuances[issuance].proposed
    owners = {owner.holder: owner.quantity_t for owner in asked.owners}
    act = approval(asked.batch, owners, **changed)
    return book.when(ApproveIssuance(issuance), CHECKER, acts=[act])


def approved() -> RegistryBook:
    book = proposed()
    approve(book)
    return book


def issued() -> RegistryBook:
    book = approved()
    book.when(CompleteIssuance(ISSUANCE), SYSTEM, cause=("accounts", 17))
    return book


def pledge_requested() -> RegistryBook:
    book = issued()
    command = pledge()
    book.when(command, TREASURER, acts=pledged_by(command))
    return book


def pledged() -> RegistryBook:
    """6,000 t under the first bank's lien: the oldest ones."""
    book = pledge_requested()
    moved = [SerialRange(BATCH, 1, PLEDGED_T)]
    book.when(CompletePledge(LIEN, moved), SYSTEM, cause=("accounts", 23))
    return book


def check_registry(book: RegistryBook) -> None:
    """What must always hold: nothing over-issued, no serial under two liens, replay is equal."""
    state = book.state
    for reduction in state.reductions.values():
        assert min(reduction.issued_t, reduction.on_the_way_t, reduction.left_t) >= 0
    for one in state.claims.values():
        ordered = sorted(one)
        assert all(a[1] < b[0] for a, b in pairwise(ordered)), ordered
    under: dict[str, int] = {}
    for ranges in state.serial_liens.values():
        assert ranges
        assert all(a[1] < b[0] for a, b in pairwise(ranges)), ranges
        for first, last, name in ranges:
            under[name] = under.get(name, 0) + last - first + 1
    for name, lien in state.liens.items():
        assert 0 <= lien.releasing_t <= lien.pledged_t
        assert lien.pledged_t == under.get(name, 0)
        check_ranges(lien.pledged_t, lien.serials)
        for block in lien.serials:
            pledged_ranges = state.serial_liens[lien.asked.asset, block.batch]
            found = covering(pledged_ranges, block.first)
            assert found is not None
            assert found[2] == name
    open_names = {n for n, one in state.liens.items() if one.process.stage == Stage.REQUESTED}
    assert set(state.open_pledges) == open_names
    assert book.replayed() == state
