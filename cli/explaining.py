"""A verdict in plain words, on one page: what is proved, as of when, by whom, and what is not.

The words are cli/words/verify.json, which the verify page reads too. Says no more than was checked.
Every line is free of control characters: what a file holds must not steer the reader's terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cli.columns import INDENT, fold, labelled
from cli.judging import COSE, CheckedAct, Proven, ProvenCose, Verdict, event_of
from cli.reading import amount, event_lines
from cli.trust import Trust
from cli.words import ZH_CN, Words
from kernel.tlog.note import VerifiedSignature
from kernel.tlog.policy import NONE, Policy, Witness
from kernel.tlog.receipt import VerifiedReceipt
from kernel.tlog.states import ProvenState, VerifiedHolding, VerifiedLien
from kernel.values import parse_instant

GROUP: Final = 8  # hex digits of a fingerprint that are read aloud together
MAX_RANGES: Final = 12  # of serials, on one page
CLOCKS_DIFFER_S: Final = 60  # at most, of machines that keep time
_BEIJING: Final = timedelta(hours=8)


def explain(verdict: Verdict, trust: Trust, words: Words) -> list[str]:
    """The page of one file."""
    page = _Page(verdict, trust, words)
    if verdict.unread is not None:
        lines = page.headline("unread", str(verdict.unread))
    elif verdict.refused is not None:
        lines = [*page.headline("refused", str(verdict.file)), *page.refusal()]
    else:
        lines = [*page.headline(_how(verdict), str(verdict.file)), *page.proof()]
    return [_safe(line) for line in lines]


def _how(verdict: Verdict) -> str:
    """What holds is not always what its reader hoped for: that stands in the first line."""
    proven = verdict.proven
    if isinstance(proven, VerifiedLien) and not proven.quantity:
        return "verified_ended"
    if isinstance(proven, VerifiedLien | VerifiedHolding) and newer_states(proven.state):
        return "verified_older"
    return "verified"


def newer_states(state: ProvenState) -> int:
    """How many newer states the log held by the time it was signed like this."""
    return state.log_size - 1 - state.entry.position


def explain_policy(trust: Trust, words: Words) -> list[str]:
    """Whom the reader trusts: the policy's place, fingerprint, logs and witnesses."""
    lines = labelled(words.say("policy"), str(trust.source))
    lines += _fingerprint(trust, words)
    lines += _block(words.say("logs"), [f"{log.key}" for log in trust.policy.logs])
    names = [_witness_name(one) for one in trust.policy.witnesses.values()]
    needed = words.say("quorum", needed=_needed(trust.policy, words))
    lines += _block(words.say("witnesses"), [*(names or [words.say("no_witness")]), needed])
    return [_safe(line) for line in [*lines, *fold(" " * INDENT, words.say("compare"))]]


def instant(timestamp_s: int) -> str:
    """Seconds since 1970 as `2026-11-20T08:30:10Z`; of a year beyond 9999 the seconds."""
    try:
        return datetime.fromtimestamp(timestamp_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{timestamp_s} s"


class _Page:
    def __init__(self, verdict: Verdict, trust: Trust, words: Words) -> None:
        self._verdict = verdict
        self._trust = trust
        self._words = words
        self._say = words.say

    def headline(self, key: str, text: str) -> list[str]:
        return fold(f"{self._say(key)}: ", text)

    def refusal(self) -> Iterator[str]:
        error = self._verdict.refused
        if error is None:
            return
        yield from labelled(self._say("differs"), self._say(f"part_{error.part}"))
        yield from labelled(self._say("detail"), str(error))
        yield from fold(" " * INDENT, self._say("do_not_rely"))
        yield from self._policy()

    def proof(self) -> Iterator[str]:
        proven = self._verdict.proven
        if proven is None:
            return
        overridden = [
            self._say("overridden", rule=one.rule, position=f"{one.position:,}")
            for one in self._verdict.overrides
        ]
        yield from _block(self._say("proved"), [*self._claim(proven), *overridden])
        yield from _block(self._say("as_of"), self._as_of(proven))
        yield from labelled(self._say("signed_by"), self._log_key(proven))
        yield from _block(self._say("witnesses"), self._witnesses(proven))
        if isinstance(proven, VerifiedLien):
            yield from _block(self._say("made_by"), self._origin(proven))
        elif not isinstance(proven, VerifiedHolding):
            yield from self._event(proven)
        yield from _block(self._say("not_proved"), self._open(proven))
        yield from self._policy()

    # ---- what -----------------------------------------------------------------------------------

    def _claim(self, proven: Proven) -> list[str]:
        match proven:
            case VerifiedLien():
                return self._lien(proven)
            case VerifiedHolding():
                account = proven.account
                purpose = self._words.value("purpose", account.purpose)
                name = f"{purpose} ({account.ref})" if account.ref else purpose
                held = amount(account.asset, proven.amount, self._words)
                return [self._say("holding_held", account=name, holder=account.holder, amount=held)]
        key = "cose_held" if isinstance(proven, ProvenCose) else "event_held"
        return [self._say(key, origin=proven.origin, position=f"{proven.position:,}")]

    def _lien(self, proven: VerifiedLien) -> list[str]:
        parties = {name: getattr(proven, name) for name in ("lien", "pledgor", "pledgee", "asset")}
        if not proven.quantity:
            return [self._say("lien_ended", **parties)]
        held = self._say(
            "lien_held", amount=amount(proven.asset, proven.quantity, self._words), **parties
        )
        serials = [
            self._say("serial_range", first=f"{one.first:,}", last=f"{one.last:,}", batch=one.batch)
            for one in proven.serials[:MAX_RANGES]
        ]
        if more := len(proven.serials) - len(serials):
            serials.append(self._say("more_serials", count=f"{more:,}"))
        return [held, *serials, self._say("lien_alone" if serials else "lien_amount")]

    def _event(self, proven: VerifiedReceipt | ProvenCose) -> list[str]:
        fields = json.loads(proven.record)
        by_key = {one.key_id: one for one in self._verdict.acts}
        try:
            return event_lines(fields, self._words, lambda act: self._act(by_key[act["key_id"]]))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raw = self._say("unreadable", text=proven.record.decode())
            return labelled(self._say("event"), raw)

    def _origin(self, proven: VerifiedLien) -> list[str]:
        event = event_of(proven)
        if event is None:
            return []
        record = json.loads(event.record)
        made = self._say(
            "lien_made", book=event.book, position=f"{event.position:,}", at=record.get("at")
        )
        return [made, *map(self._act, self._verdict.acts)]

    def _act(self, act: CheckedAct) -> str:
        if act.by is None:
            return self._say("act_unknown", key=act.key_id)
        key = "act_revoked" if act.by.revoked else "act_holds"
        return self._say(key, subject=act.by.subject, key=act.key_id)

    # ---- when, and by whom ----------------------------------------------------------------------

    def _as_of(self, proven: Proven) -> list[str]:
        if isinstance(proven, VerifiedLien | VerifiedHolding):
            return self._as_of_state(proven.state)
        seen = self._trust.policy.dated_by(cosigners_of(proven))
        if seen is None:
            return [self._say("as_of_claim", at=json.loads(proven.record).get("at"))]
        return [self._say("as_of_witness", time=self._time(seen), name=self._named(seen))]

    def _as_of_state(self, state: ProvenState) -> list[str]:
        claimed = self._say("as_of_state", at=self._clock(state.entry.at.partition(".")[0] + "Z"))
        seen = self._trust.policy.dated_by(state.cosigners)
        if seen is None:
            return [claimed, self._say("state_alone")]
        newer = newer_states(state)
        key = "state_older" if newer else "state_newest"
        told = self._say(key, name=self._named(seen), time=self._time(seen), newer=f"{newer:,}")
        ahead = _seconds(state.entry.at) > (seen.timestamp_s or 0) + CLOCKS_DIFFER_S
        return [claimed, told, *([self._say("state_ahead")] if ahead else [])]

    def _log_key(self, proven: Proven) -> str:
        log = signed_log(proven)
        return self._say("log_key", name=log.name, key=f"{log.key_id:08x}")

    def _witnesses(self, proven: Proven) -> list[str]:
        if isinstance(proven, ProvenCose):
            return [self._say("no_witness_cose")]
        witnesses = list(self._trust.policy.witnesses.values())
        cosigned = {one.public: one for one in cosigners_of(proven)}
        lines = []
        for witness in witnesses:
            signed, name = cosigned.get(witness.key.public), _witness_name(witness)
            told = {} if signed is None else {"time": self._time(signed)}
            lines.append(self._say("agrees" if told else "silent", name=name, **told))
        needed = self._say("quorum", needed=_needed(self._trust.policy, self._words))
        return [*(lines or [self._say("no_witness")]), needed]

    def _named(self, signed: VerifiedSignature) -> str:
        witnesses = self._trust.policy.witnesses.values()
        return next((one.name for one in witnesses if one.key.public == signed.public), signed.name)

    def _time(self, signed: VerifiedSignature) -> str:
        return self._clock(instant(signed.timestamp_s or 0))

    def _clock(self, utc: str) -> str:
        try:
            local = datetime.fromisoformat(utc) + _BEIJING
        except (OverflowError, ValueError):
            return utc
        same_day = local.strftime("%Y-%m-%d") == utc[:10] and self._words.language != ZH_CN
        shown = local.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")
        return self._say("instant", utc=utc, local=shown)

    # ---- what is not proved ---------------------------------------------------------------------

    def _open(self, proven: Proven) -> list[str]:
        acts = self._verdict.acts
        unknown = sum(act.by is None for act in acts)
        lines = []
        if isinstance(proven, VerifiedLien | VerifiedHolding):
            lines += [self._say(key) for key in ("not_right", "not_later", "not_frozen")]
        else:
            lines += [self._say(key) for key in ("not_true", "not_now")]
        if unknown:
            lines.append(self._say("not_acts", count=unknown, of=len(acts)))
        elif acts:
            lines.append(self._say("not_rights"))
        if isinstance(proven, VerifiedLien):
            lines.append(self._say("not_who", id=proven.pledgee))
        return [*lines, self._say(self._about_witnesses())]

    def _about_witnesses(self) -> str:
        if self._verdict.kind == COSE:
            return "not_same_cose"
        return "not_same_log" if self._trust.policy.quorum == NONE else "not_witnessed"

    def _policy(self) -> Iterator[str]:
        yield from labelled(self._say("policy"), str(self._trust.source))
        yield from _fingerprint(self._trust, self._words)


def cosigners_of(proven: Proven) -> Sequence[VerifiedSignature]:
    """The policy's witnesses that saw the tree; a COSE receipt has none."""
    match proven:
        case VerifiedLien() | VerifiedHolding():
            return proven.state.cosigners
        case ProvenCose():
            return ()
    return proven.cosigners


def signed_log(proven: Proven) -> VerifiedSignature:
    """The log's own signature."""
    return proven.state.log if isinstance(proven, VerifiedLien | VerifiedHolding) else proven.log


def _seconds(at: str) -> int:
    """Of a text that is no instant 0: it claims no time."""
    try:
        return parse_instant(at) // 1000
    except ValueError:
        return 0


def _needed(policy: Policy, words: Words) -> str:
    """What the policy asks of witnesses."""
    quorum = policy.quorum or NONE
    group = policy.groups.get(quorum)
    if group is not None:
        members, of = words.say("pairs").join(group.members), len(group.members)
        return words.say("quorum_group", n=group.threshold, of=of, members=members)
    key = "quorum_none" if quorum == NONE else "quorum_one"
    return words.say(key, name=quorum)


def _witness_name(witness: Witness) -> str:
    same = witness.name == witness.key.name
    return witness.name if same else f"{witness.name} ({witness.key.name})"


def _fingerprint(trust: Trust, words: Words) -> Iterator[str]:
    digits = trust.fingerprint.partition(":")[2]
    yield f"{' ' * INDENT}{trust.fingerprint}"
    groups = [digits[at : at + GROUP] for at in range(0, len(digits), GROUP)]
    for half in (groups[:4], groups[4:]):
        yield f"{' ' * INDENT}{' '.join(half)}"
    if trust.pinned not in (None, trust.fingerprint):
        yield from fold(" " * INDENT, words.say("not_pinned", pinned=trust.pinned))


def _block(label: str, texts: Sequence[str]) -> Iterator[str]:
    """Texts under one label, each on lines of its own."""
    for number, text in enumerate(texts):
        yield from labelled("" if number else label, text)


def _safe(line: str) -> str:
    # what stands in a file or its name is as somebody wrote it
    return "".join(ch if ch.isprintable() else "\ufffd" for ch in line)
