"""`tanzhang verify RECEIPT`: offline, with no account, no network and nothing but the policy.

Checks a receipt (kernel/tlog/receipt.py) against a policy that comes from elsewhere: `--policy`,
else `<dir>/policy.txt`. Prints what the event says (cli/reading.py), or which part differs. Loads
no library that could speak to a network or a database: whoever verifies runs as little of ours as
can be.
Exit codes: 0 valid, 1 refused, 2 could not try.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import NO, CliError
from cli.reading import event_lines
from cli.words import ENGLISH, LANGUAGES, Words, language_of, words_in
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import PolicyError, ReceiptError
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.receipt import VerifiedReceipt, verify_receipt

YES = 0


def verify(
    receipt: Annotated[Path, typer.Argument(help="the receipt file")],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust: a C2SP tlog-policy file")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="data folder whose policy.txt is used without --policy")
    ] = Path("var"),
    language: Annotated[
        str, typer.Option("--lang", help="zh-CN or en; without it that of the terminal")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Verify a receipt, offline.

    Against a policy that comes from elsewhere: never take it from who hands you the receipt.
    """
    words = _words(language)
    source = policy if policy is not None else directory / "policy.txt"
    try:
        verified = verify_receipt(_read(receipt, "receipt"), read_policy(source))
    except ReceiptError as error:
        told = {"valid": False, "part": error.part, "error": str(error)}
        _answer(told, f"refused: {error}", as_json, NO)
    else:
        told = {"valid": True, "policy": str(source), **facts(verified)}
        lines = [_proved(verified), *readable(verified, words), f"policy      {source}"]
        _answer(told, "\n".join(lines), as_json, YES)


def _words(language: str) -> Words:
    chosen = language or language_of(os.environ)
    if chosen not in LANGUAGES:
        raise CliError(f"--lang: expected {' or '.join(LANGUAGES)}, got {chosen}")
    return words_in(chosen)


def _proved(verified: VerifiedReceipt) -> str:
    """What holds whatever the event says."""
    place = f"{verified.origin} holds this event, unchanged, at position {verified.position:,}"
    return f"valid: {place}"


def _answer(told: dict[str, Any], text: str, as_json: bool, code: int) -> None:
    typer.echo(json.dumps(told, ensure_ascii=False, indent=2) if as_json else text)
    raise typer.Exit(code)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{what} {path}: {error.strerror}") from error


def read_policy(path: Path) -> Policy:
    """The policy in a file; CliError (exit 2) when it is missing or is none."""
    try:
        return parse_policy(_read(path, "policy"))
    except PolicyError as error:
        raise CliError(f"policy {path}: {error}") from error


def facts(verified: VerifiedReceipt) -> dict[str, Any]:
    """What a verified receipt says, as JSON values: its place in which log, and the record."""
    return {
        "book": verified.book,
        "position": verified.position,
        "origin": verified.origin,
        "tree_size": verified.size,
        "root": encode_base64(verified.root),
        "cosigners": [signed.name for signed in verified.cosigners],
        "record": json.loads(verified.record),
    }


def readable(verified: VerifiedReceipt, words: Words = ENGLISH) -> list[str]:
    """The same for people, one fact a line, free of control characters."""
    try:
        event = event_lines(json.loads(verified.record), words)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        event = [f"event       not one of ours to read: {verified.record.decode()}"]
    cosigners = ", ".join(signed.name for signed in verified.cosigners) or "none asked for"
    lines = [
        *event,
        f"book        {verified.book}, position {verified.position}",
        f"log         {verified.origin}, tree of {verified.size}",
        f"root        {encode_base64(verified.root)}",
        f"witnesses   {cosigners}",
    ]
    # The record is as somebody wrote it: it must not steer the reader's terminal.
    return ["".join(ch if ch.isprintable() else "\ufffd" for ch in line) for line in lines]
