"""Checks what is said about holders in the accounts book: two persons behind every change, one
opening each, statuses that only who set them lifts, and nothing closed while something is left.

What follows from it for entries and holds is in acting.py. Roles of tokens are not in a record, so
that a proposer was a registrar cannot be seen here; that two persons did it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from kernel.record import RawRecord
from kernel.values import Actor
from services.ledger.books.accounts_events import AssetDefined
from services.ledger.books.closing import Closings, Promise
from services.ledger.books.crossings import Place, canonical
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.directory import require_no_acts
from services.ledger.books.holders_events import (
    AccountClosed,
    AccountOpened,
    AccountTerms,
    AccountTermsSet,
    BankAccountChanged,
    Change,
    ChangeProposed,
    FundEntrusted,
    HolderStatusSet,
    Mandate,
    MandateGranted,
    MandateRevoked,
    Opening,
    Operator,
    OperatorSet,
    ProposalRefused,
    ProposalWithdrawn,
)
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.liens import Liens
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds, require_text
from services.ledger.books.terms import Timeline

# From free to ended: how strict each is.
RANK: Final = {"active": 0, "restricted": 1, "suspended": 2, "frozen": 3, "closed": 4}
REGISTRARS: Final = ""  # nobody's subject
RIGHTS: Final = frozenset({"administer", "approve", "hold", "retire", "trade", "transfer", "view"})


class Holders:
    """The other maps are the accounts book's own: only looked at."""

    def __init__(
        self,
        keys: AdmittedKeys,
        kinds: Mapping[str, str],
        balances: Mapping[Place, int],
        holds: Mapping[str, Promise],
        liens: Liens,
        assets: Mapping[str, AssetDefined],
    ) -> None:
        self._keys = keys
        self.kinds = kinds
        self._balances = balances
        self._holds = holds
        self._liens = liens
        self._proposals: dict[str, ChangeProposed] = {}
        self.terms: dict[str, Timeline[AccountTerms | None]] = {}
        # By holder and programme: nothing for registration, and the venue of the trading account.
        self.opened: dict[tuple[str, str], set[str]] = {}
        self._closings = Closings(balances, holds, assets, self.opened)
        self.registers: dict[str, dict[Actor, Operator]] = {}
        self.managers: dict[str, str] = {}
        self.mandates: dict[str, Mandate] = {}
        # Funds, and whoever has ever had a register or a status: all others are judged by nothing.
        self.ruled: set[str] = set()
        # (holder, who set it) to a rank; registrars are nobody's name.
        self._layers: dict[str, dict[str, int]] = {}
        self._orders: set[tuple[str, str]] = set()

    # ---- what stands ----------------------------------------------------------------------------

    def rank(self, holder: str, programme: str) -> int:
        """How strict it is for units of a programme: whose authority, courts and registrars."""
        layers = self._layers.get(holder, {})
        own = (REGISTRARS, f"authority:{programme}")
        return max(
            (rank for who, rank in layers.items() if who in own or who.startswith("court:")),
            default=0,
        )

    def is_closed(self, holder: str) -> bool:
        return self._layers.get(holder, {}).get(REGISTRARS) == RANK["closed"]

    def terms_at(self, programme: str, on_ms: int) -> AccountTerms | None:
        line = self.terms.get(programme)
        return None if line is None else line.at(on_ms)

    def is_barred(self, terms: AccountTerms, holder: str) -> bool:
        if self.kinds.get(holder) in terms.barred_kinds:
            return True
        return any(one.holder == holder and one.part in terms.barred_parts for one in terms.parts)

    # ---- checking -------------------------------------------------------------------------------

    def check(self, raw: RawRecord, event: msgspec.Struct) -> None:
        if instant_ms(raw.on) > instant_ms(raw.at):
            raise RuleBroken("ON_AFTER_AT", f"at most {raw.at}", raw.on)
        if not _is_signed(event):
            require_no_acts(raw)
        _CHECKS[type(event)](self, raw, event)

    def _check_proposed(self, raw: RawRecord, event: ChangeProposed) -> None:
        require("PROPOSER", raw.actor, event.proposed_by)
        require("PROPOSAL_ID", raw.by, event.proposal)
        taken = event.proposal in self._proposals or event.proposal in self.mandates
        require("PROPOSAL_NEW", False, taken)
        require("CHANGE_ONE", 1, len(_parts(event.change)))
        if event.for_holder is not None:
            offered = event.change.mandate
            require("OFFER", event.for_holder, offered.principal if offered else None)
            self.check_operator(raw.actor, event.for_holder, {"administer"})

    def _asked(self, raw: RawRecord, event: Any) -> ChangeProposed:
        """The open proposal an event decides, made by another person than who decides it."""
        found = self._proposals.get(event.proposal)
        if found is None:
            raise RuleBroken("PROPOSAL_OPEN", "an open proposal", event.proposal)
        require("PROPOSER", found.proposed_by, event.proposed_by)
        # One subject is one person, whichever issuer it comes from.
        if raw.actor.sub == found.proposed_by.sub:
            raise RuleBroken(
                "TWO_PERSONS", f"somebody else than {found.proposed_by.sub}", raw.actor.sub
            )
        if found.for_holder is not None and found.change.mandate is not None:
            self.check_operator(raw.actor, found.change.mandate.agent, {"administer"})
        return found

    def _as_proposed(self, raw: RawRecord, event: Any, said: Change) -> None:
        asked = self._asked(raw, event)
        require("AS_PROPOSED", canonical(asked.change), canonical(said))

    def _check_refused(self, raw: RawRecord, event: ProposalRefused) -> None:
        self._asked(raw, event)
        require_text("REASON", [event.reason])

    def _check_withdrawn(self, raw: RawRecord, event: ProposalWithdrawn) -> None:
        found = self._proposals.get(event.proposal)
        if found is None:
            raise RuleBroken("PROPOSAL_OPEN", "an open proposal", event.proposal)
        require("PROPOSER", found.proposed_by, raw.actor)

    def _check_terms(self, raw: RawRecord, event: AccountTermsSet) -> None:
        self._as_proposed(raw, event, Change(terms=event.terms))
        require("PROGRAMME", "programme", self.kinds.get(event.terms.programme))
        asked = event.terms.terms.safeguards
        if asked is not None:
            least = min(asked.delay_ms, asked.max_units)
            require_holds("TERMS_SAFEGUARDS", least >= 0, "0 or more", least)
        if event.terms.effective_from_ms < instant_ms(raw.on):
            raise RuleBroken("TERMS_FROM", f"{raw.on} or later", event.terms.effective_from_ms)

    def _check_opened(self, raw: RawRecord, event: AccountOpened) -> None:
        self._as_proposed(raw, event, Change(opening=event.opening))
        self._check_opening(event.opening, self._terms_of(raw, event.opening))

    def _terms_of(self, raw: RawRecord, opening: Opening) -> AccountTerms | None:
        return self.terms_at(opening.programme, instant_ms(raw.on))

    def _check_opening(self, opening: Opening, terms: AccountTerms | None) -> None:
        kind = self.kinds.get(opening.holder)
        require_holds("HOLDER_KNOWN", kind is not None, "a registered holder", opening.holder)
        require("PROGRAMME", "programme", self.kinds.get(opening.programme))
        require_holds("OPENING_PAPERS", bool(opening.documents), "a document", "none")
        require("STATUS", 0, self.rank(opening.holder, opening.programme))
        if (opening.account, bool(opening.venue)) not in (
            ("registration", False),
            ("trading", True),
        ):
            raise RuleBroken("OPENING_ACCOUNT", "registration, or trading at a venue", opening)
        own = self.opened.get((opening.holder, opening.programme), set())
        if opening.venue:
            require_holds("OPENING_FIRST", bool(own), "a registration account", "none")
            require("OPENING_NEW", {""}, own)
        else:
            require("OPENING_NEW", set(), own)
        if terms is None:
            return
        allowed = {"person": terms.persons, "foreign": terms.foreign}
        require("OPENING_KIND", True, allowed.get(str(kind), True))
        if opening.venue and self.is_barred(terms, opening.holder):
            raise RuleBroken("BARRED", f"who may trade {opening.programme}", opening.holder)

    def _check_closed(self, raw: RawRecord, event: AccountClosed) -> None:
        self._as_proposed(raw, event, Change(closing=event.closing))
        self._closings.check(event.closing)

    def _check_rebound(self, raw: RawRecord, event: BankAccountChanged) -> None:
        self._as_proposed(raw, event, Change(rebinding=event.rebinding))
        require_text("REASON", [event.rebinding.reason])

    def _check_operator_set(self, raw: RawRecord, event: OperatorSet) -> None:
        operator = event.operator
        require_holds(
            "HOLDER_KNOWN", operator.holder in self.kinds, "a registered holder", operator.holder
        )
        require_holds(
            "FUND_OPERATOR", self.kinds.get(operator.holder) != "fund", "no fund", operator.holder
        )
        if unknown := sorted(set(operator.rights) - RIGHTS):
            raise RuleBroken("RIGHTS", sorted(RIGHTS), unknown)
        if event.proposal is not None:
            self._as_proposed(raw, event, Change(operator=operator))
            return
        require("PROPOSER", None, event.proposed_by)
        if operator.holder not in self.registers:
            raise RuleBroken("OPERATOR", "a first operator by two persons", raw.actor.sub)
        self.check_operator(raw.actor, operator.holder, {"administer"})

    def _check_fund(self, raw: RawRecord, event: FundEntrusted) -> None:
        self._as_proposed(raw, event, Change(fund=event.fund))
        require("FUND", "fund", self.kinds.get(event.fund.fund))
        kind = self.kinds.get(event.fund.manager)
        if kind in (None, "fund", "person"):
            raise RuleBroken("FUND_MANAGER", "a company", kind)

    def _check_granted(self, raw: RawRecord, event: MandateGranted) -> None:
        self._as_proposed(raw, event, Change(mandate=event.mandate))
        require("OFFER", self._proposals[event.proposal].for_holder, event.for_holder)
        mandate = event.mandate
        parties = {mandate.principal, mandate.agent}
        kinds = [self.kinds.get(holder) for holder in parties]
        if len(parties) != 2 or None in kinds or "fund" in kinds:
            raise RuleBroken("MANDATE_PARTIES", "two holders, neither a fund", sorted(parties))
        for holder in parties:
            require_holds("STATUS", not self.is_closed(holder), "not closed", holder)
        if not mandate.rights or set(mandate.rights) - (RIGHTS - {"administer"}):
            raise RuleBroken("RIGHTS", "rights, but not to administer", mandate.rights)
        first, last = parse_day(mandate.first_day), parse_day(mandate.last_day)
        if not max(first, day_of(raw.at)) <= last:
            raise RuleBroken("MANDATE_DAYS", f"{first} or later, and not over", last)

    def _check_revoked(self, raw: RawRecord, event: MandateRevoked) -> None:
        mandate = self.mandate(event.mandate)
        if event.by_holder not in (mandate.principal, mandate.agent, ""):
            raise RuleBroken("MANDATE_PARTIES", "one of its parties", event.by_holder)
        if event.by_holder:
            self.check_operator(raw.actor, event.by_holder, {"administer"})

    def mandate(self, id: str) -> Mandate:
        found = self.mandates.get(id)
        if found is None:
            raise RuleBroken("MANDATE_LIVE", "a live mandate", id)
        return found

    def _check_status(self, raw: RawRecord, event: HolderStatusSet) -> None:
        said = event.status
        require_holds("HOLDER_KNOWN", said.holder in self.kinds, "a registered holder", said.holder)
        require_holds("STATUS_WORD", said.status in RANK, sorted(RANK), said.status)
        require_holds("STATUS_OVER", not self.is_closed(said.holder), "not closed", said.holder)
        require_text("REASON", [said.reason])
        if event.authority is not None:
            self._check_order(raw, event)
            return
        require("ORDER_WHOLE", None, event.number)
        if event.proposal is None:
            raise RuleBroken("PROPOSAL_OPEN", "an open proposal or an order", "neither")
        self._as_proposed(raw, event, Change(status=said))
        if said.status == "closed":
            self._check_empty(said.holder)

    def _check_order(self, raw: RawRecord, event: HolderStatusSet) -> None:
        require("ORDER_WHOLE", (None, None), (event.proposal, event.proposed_by))
        said = event.status
        require_holds("ORDER_CLOSES", said.status != "closed", "no order to close", said.holder)
        ordering = str(event.authority)
        may_order = ordering.startswith(("authority:", "court:"))
        require_holds("ORDER_BY", may_order, "an authority or a court", ordering)
        statement = self._keys.statement(raw, [ordering], "holder-status")
        expected = {
            "authority": event.authority,
            "document": said.document.digest,
            "holder": said.holder,
            "kind": "holder-status",
            "number": event.number,
            "reason": said.reason,
            "status": said.status,
        }
        require("ORDER_STATEMENT", canonical(expected), canonical(statement))
        if (str(event.authority), str(event.number)) in self._orders:
            raise RuleBroken("ONCE", f"a new order of {event.authority}", event.number)

    def _check_empty(self, holder: str) -> None:
        """Nothing of its own in any account, and nothing that others have bound to it."""
        own = self._liens.of(holder)
        left: list[object] = [
            *(place for place in self._balances if place[0] == holder),
            *(id for id, hold in self._holds.items() if hold.to.holder == holder),
            *(place for place in self._balances if place[2] == "pledged" and place[3] in own),
            *(m for m, one in self.mandates.items() if holder in (one.principal, one.agent)),
            *(fund for fund, manager in self.managers.items() if manager == holder),
        ]
        require("CLOSED_EMPTY", [], left)

    def check_operator(
        self, actor: Actor, holder: str, rights: set[str], units: int = 0, fen: int = 0
    ) -> None:
        """Who acts for a holder with a register stands in it, with these rights and limits."""
        register = self.registers.get(holder)
        if register is None:
            return
        operator = register.get(actor)
        if operator is None or rights - set(operator.rights):
            words = " ".join(sorted(rights))
            raise RuleBroken("OPERATOR", f"an operator of {holder} who may {words}", actor.sub)
        for most, asked in ((operator.max_units, units), (operator.max_fen, fen)):
            if most is not None and asked > most:
                raise RuleBroken("OPERATOR_LIMIT", f"at most {most} by {actor.sub}", asked)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        proposal = getattr(event, "proposal", None)
        if proposal is not None:
            self._proposals.pop(proposal, None)
        match event:
            case ChangeProposed():
                self._proposals[event.proposal] = event
            case AccountTermsSet():
                line = self.terms.setdefault(event.terms.programme, Timeline(None))
                line.set(event.terms.effective_from_ms, event.terms.terms)
            case AccountOpened():
                row = event.opening
                self.opened.setdefault((row.holder, row.programme), set()).add(row.venue)
            case AccountClosed():
                gone = event.closing
                own = self.opened.get((gone.holder, gone.programme), set())
                own.discard(gone.venue)
                if not own:
                    self.opened.pop((gone.holder, gone.programme), None)
            case OperatorSet():
                register = self.registers.setdefault(event.operator.holder, {})
                register[event.operator.person] = event.operator
                self.ruled.add(event.operator.holder)
            case FundEntrusted():
                self.managers[event.fund.fund] = event.fund.manager
            case MandateGranted():
                self.mandates[event.proposal] = event.mandate
            case MandateRevoked():
                self.mandates.pop(event.mandate, None)
            case HolderStatusSet():
                self._set_layer(event)
            case _:
                pass  # refused and withdrawn: the proposal is gone, nothing else follows

    def _set_layer(self, event: HolderStatusSet) -> None:
        holder, who = event.status.holder, event.authority or REGISTRARS
        layers = self._layers.setdefault(holder, {})
        layers[who] = RANK.get(event.status.status, 0)
        self.ruled.add(holder)
        if not any(layers.values()):
            del self._layers[holder]
        if event.authority is not None:
            self._orders.add((event.authority, str(event.number)))


def _is_signed(event: msgspec.Struct) -> bool:
    """An order by who ordered; another bank account by the bank, when it is proposed."""
    if isinstance(event, HolderStatusSet):
        return event.authority is not None
    return isinstance(event, ChangeProposed) and event.change.rebinding is not None


def _parts(change: Change) -> list[object]:
    return [one for one in msgspec.structs.astuple(change) if one is not None]


_CHECKS: Final[dict[type[msgspec.Struct], Callable[[Holders, RawRecord, Any], None]]] = {
    ChangeProposed: Holders._check_proposed,
    ProposalRefused: Holders._check_refused,
    ProposalWithdrawn: Holders._check_withdrawn,
    AccountTermsSet: Holders._check_terms,
    AccountOpened: Holders._check_opened,
    AccountClosed: Holders._check_closed,
    BankAccountChanged: Holders._check_rebound,
    OperatorSet: Holders._check_operator_set,
    FundEntrusted: Holders._check_fund,
    MandateGranted: Holders._check_granted,
    MandateRevoked: Holders._check_revoked,
    HolderStatusSet: Holders._check_status,
}
