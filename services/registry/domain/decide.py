"""Commands into events, or a refusal. Reads the state, never changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from kernel import keyring
from kernel.keyring import AdmitKey, KeyAdmitted, KeyWithdrawn, WithdrawKey, check_none
from kernel.values import Context, check_role
from services.registry.domain.commands import (
    AdvanceProject,
    ApproveIssuance,
    CompleteIssuance,
    CompletePledge,
    CompleteRelease,
    FileProject,
    OpenProgramme,
    OverridePledges,
    ProposeIssuance,
    RefuseIssuance,
    RefusePledge,
    RefuseRelease,
    RegisterPledge,
    ReleasePledge,
    RetireUnits,
    SetTerms,
    VerifyReduction,
)
from services.registry.domain.events import UnitsRetired
from services.registry.domain.issuances import (
    approve_issuance,
    complete_issuance,
    propose_issuance,
    refuse_issuance,
)
from services.registry.domain.overrides import override_pledges
from services.registry.domain.pledges import (
    complete_pledge,
    complete_release,
    refuse_pledge,
    refuse_release,
    register_pledge,
    release_pledge,
)
from services.registry.domain.projects import (
    advance_project,
    file_project,
    open_programme,
    set_terms,
    verify_reduction,
)
from services.registry.domain.state import State

SIGNED = (VerifyReduction, ApproveIssuance, RegisterPledge, ReleasePledge)


def decide(state: State, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    """The events of one command, at least one; raises Refused."""
    if not isinstance(command, SIGNED):
        check_none(context)
    return _DECIDE[type(command)](state, command, context)


def due(state: State, at_ms: int) -> Iterable[tuple[int, str, msgspec.Struct]]:
    """Nothing in this book falls due by itself."""
    return ()


def retire_units(state: State, command: RetireUnits, context: Context) -> list[UnitsRetired]:
    """A retirement is decided in the accounts book; here it becomes a public fact."""
    check_role(context, "system")
    return [
        UnitsRetired(
            asset=lot.asset,
            beneficiary=command.beneficiary,
            details=command.details,
            holder=lot.holder,
            purpose=command.purpose,
            quantity_t=lot.quantity_t,
            serials=lot.serials,
        )
        for lot in command.lots
    ]


def admit_key(state: State, command: AdmitKey, context: Context) -> list[KeyAdmitted]:
    return keyring.admit_key(command, context)


def withdraw_key(state: State, command: WithdrawKey, context: Context) -> list[KeyWithdrawn]:
    return keyring.withdraw_key(command, context)


_DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    OpenProgramme: open_programme,
    SetTerms: set_terms,
    FileProject: file_project,
    AdvanceProject: advance_project,
    VerifyReduction: verify_reduction,
    ProposeIssuance: propose_issuance,
    ApproveIssuance: approve_issuance,
    CompleteIssuance: complete_issuance,
    RefuseIssuance: refuse_issuance,
    RegisterPledge: register_pledge,
    CompletePledge: complete_pledge,
    RefusePledge: refuse_pledge,
    ReleasePledge: release_pledge,
    CompleteRelease: complete_release,
    RefuseRelease: refuse_release,
    OverridePledges: override_pledges,
    RetireUnits: retire_units,
    AdmitKey: admit_key,
    WithdrawKey: withdraw_key,
}
