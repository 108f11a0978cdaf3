"""Commands of the ledger's own book. Whatever changes trust takes two different persons."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import DAY_MS, Actor, Context, check_text, is_small_order_key
from services.ledger.domain import logkeys
from services.ledger.domain.commands import (
    Approve,
    HaltBook,
    LogKeyNote,
    NoteDisagreement,
    PinFirstIdentities,
    ProposeIdentities,
    ProposeKey,
    ProposeKeyRevocation,
    ProposeLogKey,
    ProposeLogKeyRetirement,
    ProposeOverride,
    Withdraw,
)
from services.ledger.domain.events import (
    BookHalted,
    IdentitiesPinned,
    IdentitiesProposed,
    KeyProposed,
    KeyRegistered,
    KeyRevocationProposed,
    KeyRevoked,
    LogKeyProposed,
    LogKeyRetirementProposed,
    OverrideAccepted,
    OverrideProposed,
    ProposalWithdrawn,
    WitnessDisagreed,
)
from services.ledger.domain.state import Proposal, State

SUITES: Final = frozenset({"ed25519"})
# What an institution's key may speak for: its role, and who it is in that role.
_SUBJECT = re.compile(
    r"(bank|authority|court|venue|holder|verifier|pledgee|operator):[a-z0-9][a-z0-9-]{0,60}"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def decide(state: State, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    """The events of one command, at least one; raises Refused."""
    return _DECIDE[type(command)](state, command, context)


def due(state: State, at_ms: int) -> Iterable[tuple[int, str, msgspec.Struct]]:
    """Nothing in this book falls due by itself."""
    return ()


def _new_proposal(state: State, context: Context) -> tuple[str, Actor]:
    """Id and maker. Ids are unique per caller; an open proposal is named for everyone."""
    if context.id in state.proposals:
        raise Refused("PROPOSAL_EXISTS", f"proposal {context.id} is open", proposal=context.id)
    return context.id, context.caller.actor


def propose_key(state: State, command: ProposeKey, context: Context) -> list[KeyProposed]:
    proposal, by = _new_proposal(state, context)
    if not _SUBJECT.fullmatch(command.subject):
        raise Refused(
            "SUBJECT_MALFORMED",
            f"expected a subject like bank:h-…, got {command.subject[:80]!r}",
            Kind.INVALID,
        )
    if command.suite not in SUITES:
        raise Refused(
            "SUITE_UNKNOWN",
            f"expected one of {sorted(SUITES)}, got {command.suite[:40]!r}",
            Kind.INVALID,
        )
    if len(command.public_key) != 32:
        raise Refused(
            "KEY_MALFORMED",
            f"expected 32 bytes of an Ed25519 key, got {len(command.public_key)}",
            Kind.INVALID,
        )
    if is_small_order_key(command.public_key):
        raise Refused("KEY_WEAK", "anyone could sign with this key: small order", Kind.INVALID)
    id = key_id(command.public_key)
    if id in state.keys:
        raise Refused("KEY_EXISTS", f"key {id} is in the directory", key_id=id)
    public_key = base64.b64encode(command.public_key).decode()
    return [KeyProposed(proposal, by, public_key, command.subject, command.suite)]


def key_id(public_key: bytes) -> str:
    """16 hex digits of SHA-256, as everywhere in this product."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def propose_key_revocation(
    state: State, command: ProposeKeyRevocation, context: Context
) -> list[KeyRevocationProposed]:
    _live_key(state, command.key_id)
    return [KeyRevocationProposed(command.key_id, *_new_proposal(state, context))]


def _live_key(state: State, id: str) -> None:
    key = state.keys.get(id)
    if key is None or key.revoked:
        raise Refused("UNKNOWN_KEY", f"no live key {id[:40]!r}", Kind.UNKNOWN)


def propose_override(
    state: State, command: ProposeOverride, context: Context
) -> list[OverrideProposed]:
    _halted_there(state, command.book, command.position, command.rule)
    check_text(command.justification, "justification", 2000)
    return [
        OverrideProposed(
            command.book,
            command.justification,
            command.position,
            *_new_proposal(state, context),
            command.rule,
        )
    ]


def _halted_there(state: State, book: str, position: int, rule: str) -> None:
    if (book, position, rule) not in state.halts:
        standing = sorted((at, why) for where, at, why in state.halts if where == book)
        found = ", ".join(f"{why} at {at}" for at, why in standing) or "no halt"
        raise Refused(
            "NOT_HALTED_THERE",
            f"{book[:40]}: expected a halt by {rule[:40]} at {position}, got {found}",
            actual=found,
        )


def propose_identities(
    state: State, command: ProposeIdentities, context: Context
) -> list[IdentitiesProposed]:
    if not _DIGEST.fullmatch(command.digest):
        raise Refused("DIGEST_MALFORMED", "expected a SHA-256 in hex", Kind.INVALID)
    if command.digest == state.identities:
        raise Refused("ALREADY_PINNED", "these identities are in force")
    return [IdentitiesProposed(command.digest, *_new_proposal(state, context))]


def propose_log_key(state: State, command: ProposeLogKey, context: Context) -> list[LogKeyProposed]:
    logkeys.check_announcement(state, command.book, command.old_vkey, command.new_vkey)
    return [
        LogKeyProposed(
            command.book,
            command.new_vkey,
            command.old_vkey,
            *_new_proposal(state, context),
        )
    ]


def propose_log_key_retirement(
    state: State, command: ProposeLogKeyRetirement, context: Context
) -> list[LogKeyRetirementProposed]:
    proposed = LogKeyRetirementProposed(
        command.book,
        *_new_proposal(state, context),
        command.reason,
        command.statement,
        command.successor,
        command.vkey,
    )
    logkeys.check_retirement(state, proposed)
    return [proposed]


def approve(state: State, command: Approve, context: Context) -> Sequence[msgspec.Struct]:
    """By another person than the proposer. What was true when proposed must be true still."""
    proposal = _open_proposal(state, command.proposal)
    if proposal.by == context.caller.actor:
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{proposal.by.sub} proposed this and may not approve it",
            Kind.FORBIDDEN,
        )
    return [_carry_out(state, proposal, command.note)]


def _carry_out(state: State, proposal: Proposal, note: LogKeyNote | None) -> msgspec.Struct:
    asked = proposal.asked
    match asked:
        case KeyProposed():
            id = key_id(base64.b64decode(asked.public_key))
            if id in state.keys:
                raise Refused("KEY_EXISTS", f"key {id} is in the directory", key_id=id)
            return KeyRegistered(
                id, asked.proposal, proposal.by, asked.public_key, asked.subject, asked.suite
            )
        case KeyRevocationProposed():
            _live_key(state, asked.key_id)
            return KeyRevoked(asked.key_id, asked.proposal, proposal.by)
        case OverrideProposed():
            _halted_there(state, asked.book, asked.position, asked.rule)
            return OverrideAccepted(
                asked.book,
                asked.justification,
                asked.position,
                asked.proposal,
                proposal.by,
                asked.rule,
            )
        case IdentitiesProposed():
            return IdentitiesPinned(asked.digest, asked.proposal, proposal.by)
        case LogKeyProposed():
            logkeys.check_announcement(state, asked.book, asked.old_vkey, asked.new_vkey)
            return logkeys.announced(asked, note)
        case LogKeyRetirementProposed():
            logkeys.check_retirement(state, asked)
            return logkeys.retired(asked)
        case _:
            raise TypeError(f"not a proposal: {asked!r}")


def withdraw(state: State, command: Withdraw, context: Context) -> list[ProposalWithdrawn]:
    _open_proposal(state, command.proposal)
    return [ProposalWithdrawn(command.proposal)]


def _open_proposal(state: State, id: str) -> Proposal:
    proposal = state.proposals.get(id)
    if proposal is None:
        raise Refused("UNKNOWN_PROPOSAL", f"no open proposal {id[:60]!r}", Kind.UNKNOWN)
    return proposal


def halt_book(state: State, command: HaltBook, context: Context) -> list[BookHalted]:
    _only_system(context)
    return [
        BookHalted(
            command.actual[:1000],
            command.book,
            command.expected[:1000],
            command.position,
            command.rule,
        )
    ]


def note_disagreement(
    state: State, command: NoteDisagreement, context: Context
) -> list[WitnessDisagreed]:
    _only_system(context)
    day = context.at_ms // DAY_MS
    if state.disagreed.get((command.book, command.witness, command.rule)) == day:
        raise Refused("DISAGREEMENT_NOTED", f"{command.witness} has said so today")
    return [
        WitnessDisagreed(
            command.actual[:1000],
            command.book,
            day,
            command.expected[:1000],
            command.rule,
            command.witness,
        )
    ]


def pin_first_identities(
    state: State, command: PinFirstIdentities, context: Context
) -> list[IdentitiesPinned]:
    _only_system(context)
    if state.identities is not None:
        raise Refused("ALREADY_PINNED", "identities are pinned: a change takes two persons")
    return [IdentitiesPinned(command.digest, None, None)]


def _only_system(context: Context) -> None:
    if "system" not in context.caller.roles:
        raise Refused("ROLE_MISSING", "expected role system", Kind.FORBIDDEN, needed="system")


_DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    ProposeKey: propose_key,
    ProposeKeyRevocation: propose_key_revocation,
    ProposeOverride: propose_override,
    ProposeIdentities: propose_identities,
    Approve: approve,
    Withdraw: withdraw,
    HaltBook: halt_book,
    NoteDisagreement: note_disagreement,
    PinFirstIdentities: pin_first_identities,
    ProposeLogKey: propose_log_key,
    ProposeLogKeyRetirement: propose_log_key_retirement,
}
