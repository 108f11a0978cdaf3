"""Events into state. Never refuses."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from services.ledger.domain.events import (
    BookHalted,
    IdentitiesPinned,
    IdentitiesProposed,
    KeyProposed,
    KeyRegistered,
    KeyRevocationProposed,
    KeyRevoked,
    LogKeyAnnounced,
    LogKeyProposed,
    LogKeyRetired,
    LogKeyRetirementProposed,
    OverrideAccepted,
    OverrideProposed,
    ProposalWithdrawn,
    WitnessDisagreed,
)
from services.ledger.domain.state import DirectoryKey, LogKeys, Proposal, Proposed, State


def evolve(state: State, event: msgspec.Struct) -> None:
    """Applies one event."""
    _EVOLVE[type(event)](state, event)


def on_key_proposed(state: State, event: KeyProposed) -> None:
    _open_proposal(state, event)


def on_key_revocation_proposed(state: State, event: KeyRevocationProposed) -> None:
    _open_proposal(state, event)


def on_override_proposed(state: State, event: OverrideProposed) -> None:
    _open_proposal(state, event)


def on_identities_proposed(state: State, event: IdentitiesProposed) -> None:
    _open_proposal(state, event)


def _open_proposal(state: State, event: Proposed) -> None:
    state.proposals[event.proposal] = Proposal(event.proposed_by, event)


def on_proposal_withdrawn(state: State, event: ProposalWithdrawn) -> None:
    state.proposals.pop(event.proposal, None)


def on_key_registered(state: State, event: KeyRegistered) -> None:
    state.proposals.pop(event.proposal, None)
    public_key = base64.b64decode(event.public_key)
    state.keys[event.key_id] = DirectoryKey(event.subject, event.suite, public_key, state.position)


def on_key_revoked(state: State, event: KeyRevoked) -> None:
    state.proposals.pop(event.proposal, None)
    state.keys[event.key_id].revoked = True


def on_override_accepted(state: State, event: OverrideAccepted) -> None:
    state.proposals.pop(event.proposal, None)
    place = (event.book, event.position, event.rule)
    if place in state.halts:  # nobody accepts what has not halted anything, whoever wrote that
        state.overrides.setdefault(place, []).append(state.position)
        del state.halts[place]


def on_identities_pinned(state: State, event: IdentitiesPinned) -> None:
    if event.proposal is not None:
        state.proposals.pop(event.proposal, None)
    state.identities = event.digest


def on_book_halted(state: State, event: BookHalted) -> None:
    state.halts[event.book, event.position, event.rule] = (event.expected, event.actual)
    state.halts_recorded += 1


def on_witness_disagreed(state: State, event: WitnessDisagreed) -> None:
    state.disagreed[event.book, event.witness, event.rule] = event.day


def on_log_key_proposed(state: State, event: LogKeyProposed) -> None:
    _open_proposal(state, event)


def on_log_key_announced(state: State, event: LogKeyAnnounced) -> None:
    state.proposals.pop(event.proposal, None)
    keys = state.log_keys.setdefault(event.book, LogKeys(event.old_vkey))
    keys.announced, keys.statement = event.new_vkey, event.statement


def on_log_key_retirement_proposed(state: State, event: LogKeyRetirementProposed) -> None:
    _open_proposal(state, event)


def on_log_key_retired(state: State, event: LogKeyRetired) -> None:
    """Whatever else was in force is so no more: an announced key that was not chosen, too."""
    state.proposals.pop(event.proposal, None)
    keys = state.log_keys.setdefault(event.book, LogKeys(event.vkey))
    for vkey in (keys.current, keys.announced):
        if vkey not in (None, event.successor):
            keys.retired[str(vkey)] = event.reason
    keys.current, keys.announced = event.successor, None
    keys.statement = event.statement or keys.statement


_EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    KeyProposed: on_key_proposed,
    KeyRevocationProposed: on_key_revocation_proposed,
    OverrideProposed: on_override_proposed,
    IdentitiesProposed: on_identities_proposed,
    ProposalWithdrawn: on_proposal_withdrawn,
    KeyRegistered: on_key_registered,
    KeyRevoked: on_key_revoked,
    OverrideAccepted: on_override_accepted,
    IdentitiesPinned: on_identities_pinned,
    BookHalted: on_book_halted,
    WitnessDisagreed: on_witness_disagreed,
    LogKeyProposed: on_log_key_proposed,
    LogKeyAnnounced: on_log_key_announced,
    LogKeyRetirementProposed: on_log_key_retirement_proposed,
    LogKeyRetired: on_log_key_retired,
}
