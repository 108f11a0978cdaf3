"""`tanzhang verify FILE...`: offline, with no account, no network and nothing but the policy.

Judges receipts, holdings, liens and COSE receipts (cli/judging.py) by whom the reader trusts
(cli/trust.py), and prints a page about each (cli/explaining.py), or JSON as
docs/reference/verify.md says. Loads no library that could speak to a network or a database: whoever
verifies runs as little of ours as can be.
Exit codes: 0 all verify, 1 one does not, 2 one could not be read or nothing could be tried.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.errors import NO, NOT_TRIED, CliError
from cli.explaining import cosigners_of, explain, instant, newer_states, signed_log
from cli.judging import Proven, ProvenCose, Verdict, event_of, judge_files
from cli.trust import Trust, find_trust
from cli.words import LANGUAGES, Words, language_of, words_in
from kernel.tlog.encoding import encode_base64
from kernel.tlog.note import VerifiedSignature
from kernel.tlog.states import ProvenState, VerifiedHolding, VerifiedLien

YES: Final = 0
FORMAT_VERSION: Final = 1
Language = Annotated[str, typer.Option("--lang", help="zh-CN or en; else that of the terminal")]


def verify(
    files: Annotated[
        list[Path], typer.Argument(help="receipts, .holding, .lien or .cose files", metavar="FILE")
    ],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust: a C2SP tlog-policy file")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="folder whose policy.txt is used without --policy")
    ] = Path("var"),
    institutions: Annotated[
        Path | None,
        typer.Option("--keys", help="institutions' keys; else institutions.json by the policy"),
    ] = None,
    lang: Language = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Verify receipts and proofs of liens, offline.

    By --policy, else <dir>/policy.txt, else the one you have pinned: never take it from who hands
    you the file.
    """
    words = language(lang)
    trust = find_trust(policy, directory, institutions)
    verdicts = judge_files(files, trust)
    if as_json:
        typer.echo(json.dumps(_told(verdicts, trust), ensure_ascii=False, indent=2))
    else:
        _print(verdicts, trust, words)
    raise typer.Exit(_code(verdicts))


def language(asked: str) -> Words:
    """The words to speak; CliError for a language there are none in."""
    chosen = asked or language_of(os.environ)
    if chosen not in LANGUAGES:
        raise CliError(f"--lang: expected {' or '.join(LANGUAGES)}, got {chosen}")
    return words_in(chosen)


def _print(verdicts: Sequence[Verdict], trust: Trust, words: Words) -> None:
    for number, verdict in enumerate(verdicts):
        if number:
            typer.echo()
        page = "\n".join(explain(verdict, trust, words))
        typer.echo(page, err=verdict.unread is not None)


def _code(verdicts: Sequence[Verdict]) -> int:
    """The worst: a file that does not verify is worse than one that could not be read."""
    found = {verdict.valid for verdict in verdicts}
    return NO if False in found else NOT_TRIED if None in found else YES


# ---- JSON: docs/reference/verify.md --------------------------------------------------------------


def _told(verdicts: Sequence[Verdict], trust: Trust) -> dict[str, Any]:
    values = {verdict.valid for verdict in verdicts}
    return {
        "v": FORMAT_VERSION,
        "valid": False if False in values else None if None in values else True,
        "policy": {
            "source": str(trust.source),
            "fingerprint": trust.fingerprint,
            "pinned": trust.pinned,
            "quorum": trust.policy.quorum,
        },
        "files": [_file(verdict, trust) for verdict in verdicts],
    }


def _file(verdict: Verdict, trust: Trust) -> dict[str, Any]:
    told = {"file": str(verdict.file), "kind": verdict.kind, "valid": verdict.valid}
    if verdict.unread is not None:
        return {**told, "error": str(verdict.unread)}
    if verdict.refused is not None:
        return {**told, "part": verdict.refused.part, "error": str(verdict.refused)}
    proven = verdict.proven
    return told if proven is None else {**told, **_proof(proven, verdict, trust)}


def _proof(proven: Proven, verdict: Verdict, trust: Trust) -> dict[str, Any]:
    cosigners, log = cosigners_of(proven), signed_log(proven)
    seen = None if _is_outdated(proven) else trust.policy.dated_by(cosigners)
    told: dict[str, Any] = {
        "log": {"origin": log.name, "key_id": f"{log.key_id:08x}"},
        "as_of": None if seen is None else instant(seen.timestamp_s or 0),
        "witnesses": _witnesses(cosigners, trust),
    }
    event = event_of(proven)
    if event is not None:
        told["acts"] = [
            {
                "key_id": act.key_id,
                "kind": act.kind,
                "checked": act.by is not None,
                "subject": None if act.by is None else act.by.subject,
                "revoked": None if act.by is None else act.by.revoked,
            }
            for act in verdict.acts
        ]
        told["overrides"] = [one._asdict() for one in verdict.overrides]
        told |= {"book": event.book, "position": event.position, "origin": event.origin}
        told["record"] = json.loads(event.record)
    return told | _own(proven)


def _is_outdated(proven: Proven) -> bool:
    """The witnesses saw newer states: their time is no time of this one."""
    return isinstance(proven, VerifiedHolding | VerifiedLien) and newer_states(proven.state) > 0


def _own(proven: Proven) -> dict[str, Any]:
    """What only files of this kind say."""
    match proven:
        case VerifiedHolding():
            account = proven.account._asdict()
            return {"holding": {"account": account, "amount": proven.amount}} | _state(proven.state)
        case VerifiedLien():
            names = ("lien", "pledgor", "pledgee", "asset", "quantity")
            lien = {name: getattr(proven, name) for name in names}
            lien["serials"] = [one._asdict() for one in proven.serials]
            return {"lien": lien} | _state(proven.state)
        case ProvenCose():
            return {"subject": proven.receipt.subject}
    return {"tree_size": proven.size, "root": encode_base64(proven.root)}


def _state(state: ProvenState) -> dict[str, Any]:
    return {
        "state": {
            "at": state.entry.at,
            "position": state.entry.position,
            "newer_states": newer_states(state),
            "tree_size": state.log_size,
            "root": encode_base64(state.log_root),
            "of": {
                "book": state.entry.book,
                "size": state.entry.size,
                "root": encode_base64(state.entry.root),
            },
        }
    }


def _witnesses(cosigners: Sequence[VerifiedSignature], trust: Trust) -> list[dict[str, Any]]:
    """Every witness of the policy; `signed_at` is null of those that have not signed."""
    signed = {one.public: one for one in cosigners}
    return [
        {
            "name": witness.name,
            "key": str(witness.key),
            "signed_at": instant(signed[witness.key.public].timestamp_s or 0)
            if witness.key.public in signed
            else None,
        }
        for witness in trust.policy.witnesses.values()
    ]
