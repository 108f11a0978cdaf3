"""兰州新区's companies with what the registrars keep of them: terms, openings, operators, mandates.

城投 is the group: it has a register of operators, acts for 秦王川林场 under a mandate, manages a
fund. The exchange and the verifier hold accounts too, and may not trade. Two registrars, 王 and 李.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from kernel.acts import sign_act
from kernel.ids import derived_holder_id
from kernel.values import Act, Caller
from services.accounts.domain.changes import (
    AccountKind,
    AccountTerms,
    Change,
    Closing,
    Document,
    Fund,
    HolderKind,
    Mandate,
    Opening,
    Operator,
    Part,
    Right,
    Role,
    Status,
    StatusChange,
    TermsChange,
)
from services.accounts.domain.commands import ApproveProposal, PostEntry, ProposeChange
from services.accounts.domain.events import HolderRegistered
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    VENUE,
    AccountsBook,
    available,
    leg,
    the_place,
    trading,
)

WANG = person("registrar-wang", roles=["registrar"])
LI = person("registrar-li", roles=["registrar"])
# Another issuer, the same subject: one person all the same.
WANG_AGAIN = person("registrar-wang", roles=["registrar"], iss="gansu")

FUND = derived_holder_id("lanzhou", "丝路碳基金")
EXCHANGE_HOUSE = derived_holder_id("lanzhou", "the exchange")
VERIFIER = derived_holder_id("lanzhou", "a verifier of forests")
CITIZEN = derived_holder_id("lanzhou", "a citizen")
FOREIGNER = derived_holder_id("lanzhou", "a buyer abroad")

# People of 城投; the token of each names the group.
BOSS = person("boss", holders=[CITY_GROUP])
TRADER = person("trader", holders=[CITY_GROUP])
LEFT = person("who has left", holders=[CITY_GROUP])
# Somebody whose token says that he acts for the fund itself.
FUND_CLERK = person("fund clerk", holders=[FUND])
VERIFIERS_CLERK = person("verifier's clerk", holders=[VERIFIER])

PAPER = Document(hashlib.sha256(b"a paper").hexdigest(), "business licence")
FIRST_DAY, LAST_DAY = "2026-11-01", "2026-12-31"


def terms(**changed: Any) -> TermsChange:
    """As at the start of a programme: companies of the country open, who runs it does not trade."""
    fields: dict[str, Any] = {
        "barred_kinds": [HolderKind.VENUE],
        "barred_parts": [Part.VERIFIER],
        "foreign": False,
        "money_too": False,
        "opening_required": True,
        "parts": [Role(VERIFIER, Part.VERIFIER)],
        "persons": False,
        **changed,
    }
    from_ms = fields.pop("effective_from_ms", MORNING_MS)
    return TermsChange(from_ms, PROGRAMME, AccountTerms(**fields))


def opening(holder: str, venue: str = "", /, **changed: Any) -> Opening:
    fields: dict[str, Any] = {
        "account": AccountKind.TRADING if venue else AccountKind.REGISTRATION,
        "documents": [PAPER],
        "holder": holder,
        "programme": PROGRAMME,
        "representatives": ["p-" + "a" * 16],
        "venue": venue,
        **changed,
    }
    return Opening(**fields)


def operator(who: Caller, *rights: Right, holder: str = CITY_GROUP, **limits: int) -> Operator:
    return Operator(holder=holder, person=who.actor, rights=list(rights), **limits)


def mandate(*rights: Right, **changed: Any) -> Mandate:
    """秦王川林场 lets 城投 act for it."""
    fields: dict[str, Any] = {
        "agent": CITY_GROUP,
        "assets": [],
        "document": PAPER,
        "first_day": FIRST_DAY,
        "last_day": LAST_DAY,
        "principal": QINWANGCHUAN,
        "programmes": [PROGRAMME],
        "rights": list(rights),
        **changed,
    }
    return Mandate(**fields)


def status(holder: str, to: Status, reason: str = "its papers are out of date") -> StatusChange:
    return StatusChange(PAPER, holder, reason, to)


def fund() -> Fund:
    return Fund(PAPER, FUND, CITY_GROUP)


def proposal_of(**change: Any) -> ProposeChange:
    return ProposeChange(Change(**change))


def agree(book: AccountsBook, asked: ProposeChange, maker: Caller, checker: Caller) -> Any:
    """Proposed by one and approved by the other: what came of it."""
    (proposed,) = book.when(asked, maker)
    (made,) = book.when(ApproveProposal(proposed.proposal), checker)
    return made


def make(book: AccountsBook, **change: Any) -> Any:
    """By both registrars."""
    return agree(book, proposal_of(**change), WANG, LI)


def order(
    holder: str, to: Status, number: str, /, key: Any = AUTHORITY_KEY, **changed: object
) -> Act:
    """What the authority of the tickets signs over a holder's status."""
    return sign_act(
        key,
        {
            "authority": f"authority:{PROGRAMME}",
            "document": PAPER.digest,
            "holder": holder,
            "kind": "holder-status",
            "number": number,
            "reason": "an investigation",
            "status": to.value,
            **changed,
        },
    )


def the_companies() -> AccountsBook:
    """兰州新区 before any terms: the place, and those who are not simply companies."""
    return the_place().given(
        HolderRegistered(FUND, HolderKind.FUND, "丝路碳基金", ""),
        HolderRegistered(EXCHANGE_HOUSE, HolderKind.VENUE, "交易所", "91310000MA1K35H92H"),
        HolderRegistered(VERIFIER, HolderKind.ENTERPRISE, "核查机构", "911100007109250324"),
        HolderRegistered(CITIZEN, HolderKind.PERSON, "", ""),
        HolderRegistered(FOREIGNER, HolderKind.FOREIGN, "a buyer abroad", ""),
    )


def with_terms(*opened: str, traders: Sequence[str] = (), **changed: Any) -> AccountsBook:
    """Terms in force, and these holders opened."""
    book = the_companies()
    make(book, terms=terms(**changed))
    for holder in opened:
        make(book, opening=opening(holder))
    for holder in traders:
        make(book, opening=opening(holder, VENUE))
    return book


def give(holder: str, to: str, amount: int = 10, under: Any = None) -> PostEntry:
    legs = [leg(amount, TICKET, available(holder), available(to))]
    return PostEntry(legs, mandate=under) if under else PostEntry(legs)


def allocate(holder: str, amount: int = 10, under: Any = None) -> PostEntry:
    legs = [leg(amount, TICKET, available(holder), trading(holder))]
    return PostEntry(legs, mandate=under) if under else PostEntry(legs)


def closing(holder: str, venue: str = "", /, **changed: Any) -> Closing:
    fields: dict[str, Any] = {
        "account": AccountKind.TRADING if venue else AccountKind.REGISTRATION,
        "document": PAPER,
        "holder": holder,
        "programme": PROGRAMME,
        "reason": "it has asked for it",
        "venue": venue,
        **changed,
    }
    return Closing(**fields)
