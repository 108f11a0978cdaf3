"""Checks the ledger's own book: two different persons behind everything that changes trust."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from kernel.values import DAY_MS, Actor, is_small_order_key
from services.ledger.books.directory import SUITES, Directory, check_no_acts, key_id_of
from services.ledger.books.logkeys import LogKeyBook
from services.ledger.books.port import (
    Checker,
    RuleBroken,
    Step,
    instant_ms,
    require,
    require_holds,
    require_no_cause,
)
from services.ledger.domain.events import (
    EVENTS,
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

WITNESS_RULES: Final = frozenset({"FORKED", "WITNESS_AHEAD"})
OURSELVES: Final = Actor("book:ledger", "checker")

Proposed = (
    KeyProposed
    | KeyRevocationProposed
    | OverrideProposed
    | IdentitiesProposed
    | LogKeyProposed
    | LogKeyRetirementProposed
)


class LedgerBook(Checker):
    """Open proposals with their makers, the directory that results, and the halts that stand."""

    types = EventTypes(*EVENTS)

    def __init__(self) -> None:
        self.directory = Directory()
        # Every key ever registered, as the accounts book may still have to name it.
        self.registered: dict[str, KeyRegistered] = {}
        self._proposals: dict[str, tuple[Actor, Proposed]] = {}
        # When each key was ended, in ms: what it signs for later is not believed, whoever says so.
        self.revoked_at_ms: dict[str, int] = {}
        # By key: which event here registered it, and which one ended it.
        self.registered_at: dict[str, int] = {}
        self.revoked_at: dict[str, int] = {}
        # Nothing is accepted ahead of its halt: such a lie would never be seen by anybody.
        self._halts: set[tuple[str, int, str]] = set()
        self._pinned = False
        # The day on which a witness was last noted to disagree, by log, witness and rule.
        self._disagreed: dict[str, int] = {}
        self.log_keys = LogKeyBook()

    def steps(self, kind: type[msgspec.Struct]) -> list[Step]:
        check = _CHECKS.get(kind)
        own: list[Step] = [] if check is None else [partial(check, self)]
        return [*own, require_no_cause, check_no_acts]

    def _check_proposed(self, raw: RawRecord, event: Proposed) -> None:
        require("PROPOSER", raw.actor, event.proposed_by)
        require("PROPOSAL_ID", raw.by, event.proposal)
        require("PROPOSAL_NEW", False, event.proposal in self._proposals)

    def _check_key_proposed(self, raw: RawRecord, event: KeyProposed) -> None:
        self._check_proposed(raw, event)
        try:
            public_key = base64.b64decode(event.public_key, validate=True)
        except ValueError:
            public_key = b""
        if len(public_key) != 32 or is_small_order_key(public_key):
            raise RuleBroken("KEY_WEAK", "a key that only its holder signs with", event.public_key)
        # Signatures of another suite would be judged as if they were of this one.
        require_holds("KEY_SUITE", event.suite in SUITES, f"one of {sorted(SUITES)}", event.suite)

    def _check_revocation_proposed(self, raw: RawRecord, event: KeyRevocationProposed) -> None:
        self._check_proposed(raw, event)
        self._require_live(event.key_id)

    def _require_live(self, key_id: str) -> None:
        live = key_id in self.directory.keys
        require_holds("KEY_LIVE", live, "a live key of the directory", key_id)

    def _check_override_proposed(self, raw: RawRecord, event: OverrideProposed) -> None:
        self._check_proposed(raw, event)
        self._require_halted(event)

    def _require_halted(self, event: OverrideProposed | OverrideAccepted) -> None:
        place = (event.book, event.position, event.rule)
        require_holds("OVERRIDE_HALT", place in self._halts, "a halt that stands", place)

    def _check_withdrawn(self, raw: RawRecord, event: ProposalWithdrawn) -> None:
        self._open(event.proposal)

    def _open(self, proposal: str) -> tuple[Actor, Proposed]:
        found = self._proposals.get(proposal)
        if found is None:
            raise RuleBroken("PROPOSAL_OPEN", "an open proposal", proposal)
        return found

    def _asked(self, raw: RawRecord, proposal: str, proposed_by: Actor) -> msgspec.Struct:
        """What was proposed, if somebody else proposed it."""
        maker, asked = self._open(proposal)
        require("PROPOSER", maker, proposed_by)
        if raw.actor == maker:
            raise RuleBroken("TWO_PERSONS", f"somebody else than {maker.sub}", raw.actor.sub)
        return asked

    def _check_key_registered(self, raw: RawRecord, event: KeyRegistered) -> None:
        asked = self._asked(raw, event.proposal, event.proposed_by)
        expected = KeyProposed(
            event.proposal, event.proposed_by, event.public_key, event.subject, event.suite
        )
        require("AS_PROPOSED", asked, expected)
        require("KEY_ID", key_id_of(event.public_key), event.key_id)
        if event.key_id in self.registered:
            raise RuleBroken("KEY_NEW", "a key not registered before", event.key_id)

    def _check_key_revoked(self, raw: RawRecord, event: KeyRevoked) -> None:
        asked = self._asked(raw, event.proposal, event.proposed_by)
        expected = KeyRevocationProposed(event.key_id, event.proposal, event.proposed_by)
        require("AS_PROPOSED", asked, expected)
        self._require_live(event.key_id)

    def _check_override(self, raw: RawRecord, event: OverrideAccepted) -> None:
        asked = self._asked(raw, event.proposal, event.proposed_by)
        expected = OverrideProposed(
            event.book,
            event.justification,
            event.position,
            event.proposal,
            event.proposed_by,
            event.rule,
        )
        require("AS_PROPOSED", asked, expected)
        self._require_halted(event)

    def _check_identities(self, raw: RawRecord, event: IdentitiesPinned) -> None:
        if event.proposal is None or event.proposed_by is None:
            require("IDENTITIES_FIRST", False, self._pinned)
            return
        asked = self._asked(raw, event.proposal, event.proposed_by)
        expected = IdentitiesProposed(event.digest, event.proposal, event.proposed_by)
        require("AS_PROPOSED", asked, expected)

    def _check_disagreed(self, raw: RawRecord, event: WitnessDisagreed) -> None:
        """Only our own feeding says so, and no witness can fill the book with it."""
        require("DISAGREEMENT_BY", OURSELVES, raw.actor)
        require_holds(
            "DISAGREEMENT_RULE",
            event.rule in WITNESS_RULES,
            " or ".join(sorted(WITNESS_RULES)),
            event.rule,
        )
        require("DISAGREEMENT_DAY", instant_ms(raw.at) // DAY_MS, event.day)
        before = self._disagreed.get(_who_disagrees(event), -1)
        require_holds("DISAGREEMENT_ONCE", before < event.day, f"after {before}", event.day)

    def _check_log_key_proposed(self, raw: RawRecord, event: LogKeyProposed) -> None:
        self._check_proposed(raw, event)
        self.log_keys.check_announcing(event)

    def _check_log_key_announced(self, raw: RawRecord, event: LogKeyAnnounced) -> None:
        asked = self._asked(raw, event.proposal, event.proposed_by)
        expected = LogKeyProposed(
            event.book, event.new_vkey, event.old_vkey, event.proposal, event.proposed_by
        )
        require("AS_PROPOSED", asked, expected)
        self.log_keys.check_announced(event)

    def _check_retirement_proposed(self, raw: RawRecord, event: LogKeyRetirementProposed) -> None:
        self._check_proposed(raw, event)
        self.log_keys.check_retiring(event)

    def _check_log_key_retired(self, raw: RawRecord, event: LogKeyRetired) -> None:
        asked = self._asked(raw, event.proposal, event.proposed_by)
        require("AS_PROPOSED", asked, LogKeyRetirementProposed(**msgspec.structs.asdict(event)))
        self.log_keys.check_retiring(event)

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        match event:
            case (
                KeyProposed()
                | KeyRevocationProposed()
                | OverrideProposed()
                | IdentitiesProposed()
                | LogKeyProposed()
                | LogKeyRetirementProposed()
            ):
                self._proposals[event.proposal] = (raw.actor, event)
            case ProposalWithdrawn():
                self._proposals.pop(event.proposal, None)
            case KeyRegistered():
                self._proposals.pop(event.proposal, None)
                self.registered[event.key_id] = event
                self.registered_at[event.key_id] = raw.position
                self.directory.add(event.key_id, event.subject, event.public_key)
            case KeyRevoked():
                self._proposals.pop(event.proposal, None)
                self.directory.remove(event.key_id)
                self.revoked_at_ms[event.key_id] = instant_ms(raw.at)
                self.revoked_at[event.key_id] = raw.position
            case OverrideAccepted():
                self._proposals.pop(event.proposal, None)
                self._halts.discard((event.book, event.position, event.rule))
            case IdentitiesPinned():
                self._proposals.pop(event.proposal or "", None)
                self._pinned = True
            case WitnessDisagreed():
                self._disagreed[_who_disagrees(event)] = event.day
            case LogKeyAnnounced():
                self._proposals.pop(event.proposal, None)
                self.log_keys.on_announced(event)
            case LogKeyRetired():
                self._proposals.pop(event.proposal, None)
                self.log_keys.on_retired(event)
            case BookHalted():
                self._halts.add((event.book, event.position, event.rule))
            case _:
                raise TypeError(f"not an event of the ledger's book: {event!r}")


def _who_disagrees(event: WitnessDisagreed) -> str:
    return f"{event.book} {event.witness} {event.rule}"


_CHECKS: dict[type[msgspec.Struct], Callable[[LedgerBook, RawRecord, Any], None]] = {
    KeyProposed: LedgerBook._check_key_proposed,
    KeyRevocationProposed: LedgerBook._check_revocation_proposed,
    OverrideProposed: LedgerBook._check_override_proposed,
    IdentitiesProposed: LedgerBook._check_proposed,
    KeyRegistered: LedgerBook._check_key_registered,
    KeyRevoked: LedgerBook._check_key_revoked,
    OverrideAccepted: LedgerBook._check_override,
    IdentitiesPinned: LedgerBook._check_identities,
    ProposalWithdrawn: LedgerBook._check_withdrawn,
    WitnessDisagreed: LedgerBook._check_disagreed,
    LogKeyProposed: LedgerBook._check_log_key_proposed,
    LogKeyAnnounced: LedgerBook._check_log_key_announced,
    LogKeyRetirementProposed: LedgerBook._check_retirement_proposed,
    LogKeyRetired: LedgerBook._check_log_key_retired,
}
