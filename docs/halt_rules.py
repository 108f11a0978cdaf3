"""Makes docs/operating/halt-rules.md: for every rule that can halt a log, what an operator does.

Rules are taken together where the same is to be done: by the file that names them, but for those
that are named here. A rule without a group is an error, so that no new one is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from docs.ledger_rules import FRAMES, RULES_OF_BOOKS, Named, documented

PAGE: Final = Path(__file__).resolve().parent / "operating" / "halt-rules.md"


class Group(NamedTuple):
    title: str
    means: str
    does: str  # what an operator does, before two persons resume


GROUPS: Final[Mapping[str, Group]] = {
    "balances": Group(
        "Balances, serials, and what an entry may do",
        "The accounts service recorded an entry that its own rules refuse, or somebody did with its"
        " key: too little was there, serials lay elsewhere, units moved that may not move, or a"
        " purpose was debited that nothing may debit.",
        "Ask which build of accounts wrote it (its log at `at` of the event) and whether that build"
        " refuses the same entry now. If it does, its frame key is in other hands: change it"
        " ([keys.md](keys.md)) before anything else. Ask both holders what they meant. Override,"
        " and have an entry the other way put it right at once: until then the service works on"
        " with the balances it has.",
    ),
    "signatures": Group(
        "What institutions sign",
        "The event claims a statement that the institution has not signed: none, by another key, in"
        " other words, of another kind, or one too many.",
        "Take it for theft of the service's key until the institution itself has said otherwise."
        " Show it the event (`DiscloseEvents`) over a way you know, and ask for what it signed, in"
        " writing. Without its word do not override: a release, a deposit or an order that it has"
        " not signed did not happen. With its word, override, and name that word in the"
        " justification.",
    ),
    "trust": Group(
        "Keys, proposals, two persons",
        "Something that takes two persons was done by one, was done otherwise than proposed, or was"
        " never proposed; or a key stands in a book that the directory does not have.",
        "Ask both persons the event names. An `OVERRIDE_HALT` or a `KEY_*` of the `ledger` book"
        " that neither of them knows means that the ledger's own key is in other hands: stop the"
        " ledger, change its keys, and look at every `KeyRegistered` and `OverrideAccepted` since."
        " A key that should not be there is revoked by two persons before the log goes on.",
    ),
    "agreement": Group(
        "Two books do not agree",
        "An event answers another book with something else than that book asked for, or tells of"
        " what is not there. The log of the later event halts; either may be the wrong one.",
        "Read the event and the one it names as its cause side by side. Look whether both services"
        " run builds of one release. If the later one is wrong, override, and correct by entries;"
        " if the earlier one is, resuming this log is safe, and the earlier one needs a correction"
        " of its own.",
    ),
    "pledges": Group(
        "Pledges, freezes, transfers by order",
        "Units moved past a lien or a freeze, or an order took what it does not say, or a lien was"
        " bound, named or ended otherwise than its parties signed.",
        "Tell the pledgee or the authority at once: its collateral or its order is what is"
        " concerned. Let nothing leave the receiving account (a freeze by the authority does"
        " that). Override only with its consent, and give back what was moved.",
    ),
    "issuing": Group(
        "Projects, verifications, issuance",
        "More was issued, or verified, or claimed than steps, verifiers and the authority allow; or"
        " the same reduction twice.",
        "Ask the authority and the verifier. Have the units that were issued frozen by the"
        " authority before you resume, and cancelled or corrected afterwards.",
    ),
    "market": Group(
        "Orders and trades",
        "The market took an order without means, or made a trade that its orders do not give.",
        "Leave the market stopped. Both sides of the trade are to be asked; a trade that is not"
        " settled yet can be refused, one that is settled is undone by an entry both sides sign"
        " for. Look whether the build is the right one, then override.",
    ),
    "files": Group(
        "Settlement files",
        "An entry is not the trade its venue signed, a trade was told twice or not at all, or a"
        " session closed with other sums.",
        "Ask the venue for the file and its own sums of the session. Override only if the file"
        " says what was booked; otherwise correct by an entry after the override, and tell the"
        " members of the trade.",
    ),
    "banks": Group(
        "Money at settlement banks",
        "Money came or went otherwise than the bank signed, or a statement was answered with"
        " another verdict than the books give.",
        "Stop withdrawals at that bank. Lay the bank's own statement of the day beside the entries;"
        " a difference that stays is a break, and is resolved as one after the override.",
    ),
    "holders": Group(
        "Holders, operators, mandates, safeguards",
        "Something was opened, changed, closed or done for a holder by who may not, or against the"
        " holder's status, safeguards or the programme's terms.",
        "Ask the holder's own administrators and the two registrars. If the holder did not want it,"
        " suspend what was given (an operator, a mandate, a destination) before you resume.",
    ),
    "trips": Group(
        "Citizens' trips",
        "A trip earned twice, too much, by a methodology that does not measure it, or without"
        " consent; or a batch has other trips than its operator signed.",
        "Ask the operator for its signed batch and compare its digest. What was credited wrongly is"
        " taken out of what is sold, never rewritten; the rider keeps the explanation.",
    ),
    "record": Group(
        "The record itself",
        "What the journal says cannot be read as an event of this book, at this place and time.",
        "Look whether the ledger is older than the service (an event type it does not know): then"
        " update the ledger, and two persons have it look again. Otherwise a foreign journal or"
        " database is mounted here, or somebody writes with the service's key.",
    ),
    "frames": Group(
        "Frames, and journals that were changed",
        "A row of the journal is not what its service signed, or the journal was restored and went"
        " on otherwise.",
        "Stop the service at once. Bring the rows back from a backup, a standby or a receipt"
        " ([halts.md](halts.md), *A damaged journal*); only then two persons have the ledger look"
        " again. An override alone repairs nothing here.",
    ),
    "trees": Group(
        "Trees, checkpoint files, forks",
        "The ledger's own tables are not what it signed, or a witness has seen another log under"
        " our name.",
        "`RESTORED_BACKWARDS`: two persons resume, the ledger folds on and signs nothing before it"
        " is where it was. `CHECKPOINT_FILE`: put the file back from its backup, or from the"
        " newest checkpoint a witness or a mirror has. `TREE_DIFFERS`, `FORKED`: there are two"
        " histories; do not resume, keep everything, and find out which one was shown to whom"
        " ([witnesses.md](witnesses.md)). `WITNESS_AHEAD`: find the checkpoint that the witness"
        " has and we have not before you resume.",
    ),
}

FILES: Final[Mapping[str, str]] = {
    "accounts.py": "balances",
    "acting.py": "holders",
    "asking.py": "agreement",
    "banks.py": "banks",
    "barred.py": "market",
    "bindings.py": "banks",
    "closing.py": "holders",
    "crossings.py": "agreement",
    "days.py": "record",
    "destinations.py": "holders",
    "directory.py": "signatures",
    "freezes.py": "pledges",
    "holders.py": "holders",
    "inclusive.py": "trips",
    "issuing.py": "issuing",
    "keys.py": "trust",
    "ledger.py": "trust",
    "liens.py": "pledges",
    "log.py": "record",
    "logkeys.py": "trust",
    "market.py": "market",
    "means.py": "market",
    "pledging.py": "pledges",
    "port.py": "record",
    "reactions.py": "agreement",
    "registry.py": "agreement",
    "serials.py": "balances",
    "settlements.py": "files",
    "statements.py": "signatures",
    "transfers.py": "pledges",
}
NAMED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("CHECKPOINT_FILE", "RESTORED_BACKWARDS", "TREE_DIFFERS"), "trees"),
    **dict.fromkeys(("FORKED", "WITNESS_AHEAD"), "trees"),
    **dict.fromkeys(("JOURNAL_DIFFERS", "EVENT_COMMITMENT"), "frames"),
    **dict.fromkeys(("FRAME_DIGEST", "FRAME_GAP", "FRAME_KEY", "FRAME_SHAPE"), "frames"),
    "FRAME_SIGNATURE": "frames",
    **dict.fromkeys(("ADVICE", "APPROVAL", "BANK_SAID", "SESSION_CLOSE"), "signatures"),
    **dict.fromkeys(("FREEZE_STATEMENT", "ORDER_STATEMENT", "PLEDGE_STATEMENT"), "signatures"),
    **dict.fromkeys(("RELEASE_STATEMENT", "STATEMENT_SAID", "TRANSFER_STATEMENT"), "signatures"),
    **dict.fromkeys(("TRIP_BATCH_STATEMENT", "VERIFICATION_STATEMENT"), "signatures"),
    **dict.fromkeys(("AS_PROPOSED", "PROPOSER", "PROPOSED_BY", "TWO_PERSONS"), "trust"),
    **dict.fromkeys(("PROPOSAL", "PROPOSAL_ID", "PROPOSAL_NEW", "PROPOSAL_OPEN"), "trust"),
    **dict.fromkeys(("PROPOSAL_REASON", "PROPOSAL_SAYS"), "trust"),
    **dict.fromkeys(("CHANGE_DELAY", "CHANGE_WAITING"), "holders"),
    "STATEMENT": "signatures",
    "SUFFICIENCY": "balances",
    "TRANSFER_PARTIES": "pledges",
}

HEAD: Final = """\
# What to do when a rule halts a log

Generated by `docs/halt_rules.py`; do not edit. How a halt shows and how two persons end one is in
[halts.md](halts.md); what each rule says, in [ledger-rules.md](../reference/ledger-rules.md) and
[errors.md](../reference/errors.md). Three things are always the same:

- Keep what there is: the event (`ReadEvents` as an auditor), the halt's `expected` and `actual`,
  the service's log of that second. The event is never deleted.
- Nothing is lost by waiting. Events recorded meanwhile wait to be proven, commands of the book are
  refused, the market is stopped if it settles there.
- An event that breaks rules of several groups halts once for each. Read the new halt before you
  accept it: the first override said nothing about it.
"""


def halts_page(named: Iterable[Named]) -> str:
    """The whole page as text; raises LookupError for a rule that belongs nowhere."""
    found: dict[str, set[str]] = {}
    for one in named:
        found.setdefault(one.rule, set()).add(Path(one.file).name)
    members: dict[str, list[str]] = {group: [] for group in GROUPS}
    for rule in sorted({*documented(RULES_OF_BOOKS), *documented(FRAMES)}):
        members[_group_of(rule, found.get(rule, set()))].append(rule)
    return HEAD + "".join(_section(group, members[name]) for name, group in GROUPS.items())


def _group_of(rule: str, files: Iterable[str]) -> str:
    for group in (NAMED.get(rule), *(FILES.get(file) for file in sorted(files))):
        if group is not None:
            return group
    raise LookupError(f"{rule}: say in FILES or NAMED of docs/halt_rules.py what is to be done")


def _section(group: Group, rules: list[str]) -> str:
    listed = ", ".join(f"`{rule}`" for rule in rules)
    return f"\n## {group.title}\n\n{group.means}\n\n{group.does}\n\nRules: {listed}.\n"
