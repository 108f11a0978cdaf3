"""An event record in plain words: what it says, and its fields in the units people read.

Says no more than the event does: what was only asked for is called asked for, and where another
book decides, that is said. Amounts come as `247,500.00 CNY`, `6,000 t`, `468 g`, `4.35 %`, from the
unit at the end of a field's name. Prints nothing and checks nothing: cli/verify.py does.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from kernel.values import format_fen, format_instant

MONEY: Final = "CNY"
WIDTH: Final = 80
INDENT: Final = 12

Fields = dict[str, Any]

# By book and type, "" for every book; what an entry says depends on its fields (_entry).
_MEANINGS: Final[dict[tuple[str, str], str]] = {
    ("", "BookOpened"): "this book was opened, with this identity for ever",
    ("", "WriterStarted"): "a process took over writing this book",
    ("", "KeyAdmitted"): "this book believes an institution's key from here on",
    ("", "KeyWithdrawn"): "this book no longer believes an institution's key",
    ("accounts", "HolderRegistered"): "a holder of accounts got its opaque id",
    ("accounts", "AssetDefined"): "what may be held was defined",
    ("accounts", "HoldPlaced"): "an amount was reserved for somebody: it can go nowhere else"
    " until it is paid out, let go or expired",
    ("accounts", "HoldPosted"): "what was reserved was paid out; what was over went back, or stays"
    " reserved where that is said",
    ("accounts", "HoldReleased"): "what was reserved was let go and went back",
    ("accounts", "HoldExpired"): "what was reserved went back, for its time was over",
    ("accounts", "ChangeProposed"): "one person asks for the change below; it is none before"
    " another agrees",
    ("accounts", "ProposalRefused"): "another person said no to what was proposed",
    ("accounts", "ProposalWithdrawn"): "who proposed it took it back",
    ("accounts", "AccountTermsSet"): "two persons agreed: a programme's rules on accounts, from an"
    " instant on",
    ("accounts", "AccountOpened"): "two persons agreed: a holder has an account in a programme",
    ("accounts", "AccountClosed"): "two persons agreed: one account of a holder in a programme is"
    " closed; nothing was left in it",
    ("accounts", "BankAccountChanged"): "two persons agreed: from the instant named here on a"
    " holder's money goes to another bank account, which the bank vouches for on the proposal",
    ("accounts", "OperatorSet"): "what one person may do for a holder from here on; without rights,"
    " nothing any more",
    ("accounts", "FundEntrusted"): "two persons agreed: operators of this manager alone move the"
    " fund",
    ("accounts", "MandateGranted"): "two persons agreed: operators of the agent may act for the"
    " principal, within this scope and these days",
    ("accounts", "MandateRevoked"): "nobody acts under this mandate any more",
    ("accounts", "HolderStatusSet"): "a holder's status, by two persons or by an authority's signed"
    " order; it limits what may happen to its units",
    ("accounts", "UnitsFrozen"): "an authority or a court has frozen what is named here: it lies"
    " still where it lies",
    ("accounts", "UnitsUnfrozen"): "who had frozen it has lifted the freeze",
    ("accounts", "FreezeExpired"): "a freeze ended with its last day",
    ("accounts", "TransferFiled"): "two holders have signed a merger or a split; nothing moves"
    " before another registrar confirms it",
    ("accounts", "TransferPosted"): "units or money changed hands without a trade, by the document"
    " named here",
    ("accounts", "TransferWithdrawn"): "a filed transfer will not be carried out",
    ("accounts", "SafeguardsProposed"): "one operator wants to change its holder's safeguards;"
    " nothing changes before another confirms",
    ("accounts", "SafeguardsConfirmed"): "another operator confirmed a change of safeguards: it"
    " counts from the instant named here",
    ("accounts", "SafeguardsWithdrawn"): "a change of safeguards was given up",
    ("accounts", "DestinationAdded"): "one operator wants somebody to be trusted; it is not before"
    " another confirms",
    ("accounts", "DestinationConfirmed"): "another operator confirmed a destination: it is trusted"
    " from the instant named here",
    ("accounts", "DestinationRemoved"): "a destination is not trusted any more",
    ("accounts", "TransferProposed"): "one operator proposed a transfer: it is reserved until"
    " another approves or its time is over",
    ("accounts", "TransferApproved"): "another operator approved a transfer: it was paid out",
    ("accounts", "TransferRefused"): "a proposed transfer was given up: it went back",
    ("accounts", "SettlementReceived"): "a venue sent a part of its settlement file, signed: each"
    " trade of it has an event of its own, right after this one",
    ("accounts", "TradeUnsettled"): "a trade that a venue has signed was not settled, and why;"
    " nothing moved",
    ("accounts", "SessionClosed"): "a venue's session ended: nothing more is settled in it",
    ("accounts", "SettlementBankAgreed"): "from here on a bank states, day by day, what it keeps"
    " for a clearing house",
    ("accounts", "BankAccountBound"): "withdrawals of a holder go to this account of its own name;"
    " the word for it is the bank's, and no account number",
    ("accounts", "WithdrawalRequested"): "money was held, for the bank to pay out; nothing is paid"
    " by that",
    ("accounts", "WithdrawalInstructed"): "the bank was asked to pay; it has not answered by that",
    ("accounts", "WithdrawalConfirmed"): "the bank has paid, with its statement",
    ("accounts", "WithdrawalReturned"): "the bank has not paid, with its statement; the money is"
    " the holder's again",
    ("accounts", "WithdrawalCancelled"): "a withdrawal was taken back before the bank was asked",
    ("accounts", "BankStatementReceived"): "one part of the bank's statement of a day; what it"
    " comes to is told once all are there",
    (
        "accounts",
        "BankStatementReconciled",
    ): "the bank's statement of a day and the books agree, but for what was known before",
    ("accounts", "BankBreakOpened"): "the bank's statement of a day and the books differ: nothing"
    " goes out through this bank until that is resolved",
    ("accounts", "BankBreakResolutionProposed"): "one person would take a difference as it is; it"
    " is not before another agrees",
    ("accounts", "BankBreakResolved"): "a difference with a bank is resolved: explained line by"
    " line, or taken as it is by two persons where a proposal is named",
    ("accounts", "ReserveMoveProposed"): "one person would move money into the default reserve, or"
    " out of it; it does not before another agrees",
    ("accounts", "ReserveMoved"): "two persons have moved money into the default reserve, or out of"
    " it",
    ("accounts", "BankProposalWithdrawn"): "a proposal was taken back",
    ("registry", "ProgrammeOpened"): "a programme was opened, with its rules",
    ("registry", "TermsSet"): "a programme's rules from an instant on",
    ("registry", "ProjectFiled"): "a project was filed; nothing is verified by that",
    ("registry", "ProjectAdvanced"): "a project's next approval step was recorded as done",
    ("registry", "ReductionVerified"): "a verifier's figure for a project and a period was"
    " recorded, with its statement; no units exist by that",
    ("registry", "IssuanceProposed"): "one person proposed to issue units; nothing is issued"
    " before another approves",
    ("registry", "IssuanceApproved"): "another person approved an issuance, with the authority's"
    " statement; an entry of accounts has to carry it out",
    ("registry", "IssuanceCompleted"): "an issuance was carried out, by the entry under cause",
    ("registry", "IssuanceRefused"): "accounts said no to an issuance: nothing was issued",
    ("registry", "PledgeRequested"): "a lien was asked for, with the statement of both sides. It"
    " stands once an entry of accounts has set the units aside: that one has a receipt of its own",
    ("registry", "PledgeRegistered"): "a lien stands: the entry under cause has set the units"
    " aside",
    ("registry", "PledgeRefused"): "accounts said no to a lien: nothing was set aside",
    ("registry", "ReleaseRequested"): "the release of a lien, all or part, was asked for, with the"
    " pledgee's statement; an entry of accounts has to carry it out",
    ("registry", "PledgeReleased"): "units came free of a lien, by the entry under cause",
    ("registry", "ReleaseRefused"): "accounts said no to a release: the lien stands as it did",
    (
        "registry",
        "PledgeOverridden",
    ): "an order of an authority or a court took these out from under"
    " a lien, by the transfer under cause: the pledge ends as far as that reached",
    ("registry", "UnitsRetired"): "units were retired for a claim, for ever, by the entry under"
    " cause",
    ("market", "InstrumentDefined"): "what may be traded, and by which rules",
    ("market", "TermsSet"): "an instrument's rules from an instant on",
    ("market", "AllocationsReceived"): "what the entry under cause set aside may be traded here",
    ("market", "OrderPlaced"): "an order was taken into the book; it is no trade",
    ("market", "TradesMade"): "trades were made. Each is delivered and paid once an entry of"
    " accounts has settled it",
    ("market", "SettlementsEnded"): "trades of several takers were delivered and paid, each by the"
    " entry of accounts at the position named here; those that accounts refused are undone",
    ("market", "SettlementCompleted"): "trades were delivered and paid, by the entry under cause",
    ("market", "SettlementRefused"): "accounts said no to a settlement: its trades are undone",
    (
        "market",
        "OrderCancelled",
    ): "an order was taken back, or ended because its holder may not trade"
    " any more; what had not traded is free again",
    (
        "market",
        "StandingHeard",
    ): "a holder's status in the accounts book has reached the market: only"
    " who is active may trade",
    ("market", "OrderExpired"): "an order ended with its trading day",
    ("market", "ReleaseRequested"): "a holder asked for something back from trading; an entry of"
    " accounts has to carry it out",
    ("market", "ReleaseCompleted"): "it came back from trading, by the entry under cause",
    ("market", "ReleaseRefused"): "accounts said no to giving it back: it is still in trading",
    ("inclusive", "MethodologyProposed"): "one person proposed a methodology and its factor; it"
    " does not count before another approves",
    ("inclusive", "MethodologyApproved"): "another person approved a methodology: it counts from"
    " here on",
    ("inclusive", "PointRuleSet"): "how many points a kilogram earns, from a day on",
    ("inclusive", "OperatorRegistered"): "somebody may report rides from here on",
    ("inclusive", "CitizenEnrolled"): "a citizen enrolled under a pseudonym, with these consents",
    ("inclusive", "ConsentChanged"): "a citizen changed what she consents to",
    ("inclusive", "CitizenForgotten"): "a citizen withdrew every consent: her key and the link to"
    " her person have to be destroyed",
    ("inclusive", "TripBatchReceived"): "an operator reported rides under one statement; each has"
    " an event of its own",
    ("inclusive", "TripCredited"): "one ride was measured; grams and points are pending until the"
    " day under confirms on",
    ("inclusive", "TripRefused"): "one ride earned nothing, for the reason given",
    ("inclusive", "DayConfirmed"): "what was pending until this day is confirmed",
    ("ledger", "KeyProposed"): "one person wants an institution's key to be believed; it is not"
    " before another agrees",
    ("ledger", "KeyRevocationProposed"): "one person wants a key revoked; it is not before another"
    " agrees",
    ("ledger", "OverrideProposed"): "one person wants a halted log to go on with an event that"
    " breaks a rule; it does not before another agrees",
    ("ledger", "IdentitiesProposed"): "one person wants another identities file in force; it is"
    " not before another agrees",
    ("ledger", "ProposalWithdrawn"): "a proposal was taken back",
    ("ledger", "KeyRegistered"): "two persons agreed: what this key signs binds its subject",
    ("ledger", "KeyRevoked"): "two persons agreed: what this key signs binds nobody any more",
    ("ledger", "OverrideAccepted"): "two persons took an event as it is although it breaks the"
    " rule named here",
    ("ledger", "IdentitiesPinned"): "this identities file is in force",
    ("ledger", "BookHalted"): "an event breaks a rule: its log is signed no further",
}

# What an entry is whose legs all go one way, from and to these purposes.
_WAYS: Final[dict[tuple[str, str], str]] = {
    ("issued", "available"): "units were issued, with the authority's statement",
    ("available", "trading"): "set aside to be traded at a market",
    ("trading", "available"): "came back from trading at a market",
}

# In the unit of the asset that stands beside them; in a refusal's details they are text.
_OF_ASSET: Final = frozenset(("amount", "available", "needed"))

# Zero means that there is no such level or limit, not that it is nought.
_NO_LIMIT_AT_ZERO: Final = frozenset(
    ("band_bp", "call_bp", "enforcement_bp", "max_quantity_t", "warning_bp")
)


def amount(asset: str, quantity: int) -> str:
    """`503,280.00 CNY` or `7,000 TICKET-LZXQ-1`: money in yuan, everything else in its own unit."""
    return f"{format_fen(quantity) if asset == MONEY else f'{quantity:,}'} {asset}"


def event_lines(record: Fields) -> list[str]:
    """What it says, who, when, and every field of an event record, as lines for people.

    Raises KeyError and the like for a record that is not shaped like ours.
    """
    actor, body = record["actor"], record["body"]
    on = "" if record["on"] == record["at"] else f", for {record['on']}"
    lines = [
        f"event       {record['type']}",
        *_line("says", meaning(record.get("book", ""), record["type"], body)),
        f"recorded    {record['at']}{on}",
        f"asked by    {actor['sub']} ({actor['iss']})",
    ]
    if record.get("cause"):
        book, position = record["cause"]
        lines.append(f"cause       {book}, position {position:,}")
    for leg in body.get("legs", []):
        lines.append(f"leg         {amount(leg['asset'], leg['amount'])}")
        lines.append(f"            from {_account(leg['debit'])}")
        lines.append(f"            to   {_account(leg['credit'])}")
        lines += [f"            serials {_serials(one)}" for one in leg["serials"]]
    for name, value in body.items():
        if name != "legs":
            lines += _field(name, value, body)
    if "sealed" in record:
        lines += _line("sealed", "hour, places and distance, under the citizen's own key")
    return [*lines, *_statements(record.get("acts", []))]


def meaning(book: str, type: str, body: Fields) -> str:
    """What this event says, in a sentence; of a type that is not known, that it is recorded."""
    if (book, type) == ("accounts", "EntryPosted"):
        return _entry(body)
    known = _MEANINGS.get((book, type)) or _MEANINGS.get(("", type))
    return known or "this was recorded, in the words below"


def _entry(body: Fields) -> str:
    """What an entry is: all its legs were booked, or none would have been."""
    legs, pledge = body["legs"], body.get("pledge")
    if pledge is not None and "release" in pledge:
        return "units came free of a lien, with the pledgee's statement"
    if pledge is not None:
        return "units went under a lien: only its pledgee can let them go"
    if "session" in body:
        return (
            "a trade of a venue's settlement file was settled: delivery, payment and fees in this"
            " one entry; what the venue signed stands in the part before it"
        )
    if body.get("trades"):
        return "trades were settled: delivery and payment in this one entry"
    if "claim" in body:
        return "units were retired for a claim, for ever"
    if "bank_line" in body:
        return "money came in, with the settlement bank's statement"
    ways = {(leg["debit"]["purpose"], leg["credit"]["purpose"]) for leg in legs}
    known = _WAYS.get(ways.pop()) if len(ways) == 1 else None
    return known or "these legs were booked together"


def _statements(acts: list[Fields]) -> Iterator[str]:
    """What institutions signed; where several signed the same words, once."""
    keys: dict[str, list[str]] = {}
    for act in acts:
        keys.setdefault(act["statement"], []).append(act["key_id"])
    for statement, ids in keys.items():
        fields = json.loads(statement)
        yield f"statement   {fields.pop('kind')}"
        for name, value in fields.items():
            yield from _field(name, value, fields, " " * INDENT)
        for id in ids:
            yield f"            names key {id} (its signature is not checked here)"


def _field(name: str, value: Any, beside: Fields, indent: str = "") -> Iterator[str]:
    """A field in one line, a list of objects in one for each."""
    for one in _parts(name, value):
        label, text = _labelled(name, one, beside)
        yield from _line(label, text, indent)


def _parts(name: str, value: Any) -> list[Any]:
    """The objects of a list stand alone; every other value is one part."""
    objects = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return value if objects else [value]


def _labelled(name: str, value: Any, beside: Fields) -> tuple[str, str]:
    """`loan_fen` 24750000 as ("loan", "247,500.00 CNY"); `beside` are the fields it stands with."""
    for ending, shown in _UNITS.items():
        if name.endswith(ending) and (value is None or _whole(value)):
            none = value is None or (value == 0 and name in _NO_LIMIT_AT_ZERO)
            return _words(name.removesuffix(ending)), "none" if none else shown(value)
    if name in _OF_ASSET and "asset" in beside and _digits(value):
        return name, amount(beside["asset"], int(value))
    return _words(name), _shown(value)


def _shown(value: Any) -> str:
    """A value without a unit."""
    match value:
        case None | "" | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case {"batch": _, "first": _, "last": _} if len(value) == 3:
            return _serials(value)
        case dict():
            pairs = (_labelled(name, one, value) for name, one in value.items())
            return ", ".join(f"{label} {text}" for label, text in pairs) or "none"
        case list():
            return "; ".join(map(_shown, value))
    return str(value)


def _line(label: str, text: str, indent: str = "") -> list[str]:
    """`loan        247,500.00 CNY`, wrapped; a line that goes on is set in, and begins no field."""
    head = f"{indent}{label} " if indent else f"{label:<11} "
    wrapped = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * (INDENT + 2 * bool(indent)),
        replace_whitespace=False,
        expand_tabs=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped or [head]


def _serials(one: Fields) -> str:
    return f"{one['first']:,} to {one['last']:,} of {one['batch']}"


def _account(account: dict[str, str]) -> str:
    ref = f" ({account['ref']})" if account["ref"] else ""
    return f"{account['holder']} {account['purpose']}{ref}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _digits(value: Any) -> bool:
    return _whole(value) or (isinstance(value, str) and value.isascii() and value.isdigit())


def _grams(amount_mg: int) -> str:
    """Milligrams as grams, exact: `145.95`."""
    whole, rest = divmod(abs(amount_mg), 1000)
    fraction = f".{rest:03d}".rstrip("0").rstrip(".")
    return f"{'-' if amount_mg < 0 else ''}{whole:,}{fraction}"


# Longest first: `_fen_per_t` ends with `_t` too.
_UNITS: Final[dict[str, Callable[[int], str]]] = {
    "_fen_per_t": lambda value: f"{format_fen(value)} CNY/t",
    "_mg_per_km": lambda value: f"{_grams(value)} g/km",
    "_fen": lambda value: f"{format_fen(value)} CNY",
    "_mg": lambda value: f"{_grams(value)} g",
    "_bp": lambda value: f"{value // 100:,}.{value % 100:02d} %",
    "_mu": lambda value: f"{value:,} mu",
    "_ms": format_instant,
    "_t": lambda value: f"{value:,} t",
}
