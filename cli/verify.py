"""`tanzhang verify RECEIPT`: offline, with no account, no network and nothing but the policy.

Checks a receipt (kernel/tlog/receipt.py) against a policy that comes from elsewhere: `--policy`,
else `<dir>/policy.txt`. Prints what the event says, or which part differs. Loads no library that
could speak to a network or a database: whoever verifies runs as little of ours as can be.
Exit codes: 0 valid, 1 refused, 2 could not try.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import NO, CliError
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import PolicyError, ReceiptError
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.receipt import VerifiedReceipt, verify_receipt

YES = 0
MONEY = "CNY"
FEN_PER_CNY = 100


def verify(
    receipt: Annotated[Path, typer.Argument(help="the receipt file")],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust: a C2SP tlog-policy file")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="data folder whose policy.txt is used without --policy")
    ] = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Verify a receipt offline, against a policy that comes from elsewhere."""
    source = policy if policy is not None else directory / "policy.txt"
    try:
        verified = verify_receipt(_read(receipt, "receipt"), read_policy(source))
    except ReceiptError as error:
        told = {"valid": False, "part": error.part, "error": str(error)}
        _answer(told, f"refused: {error}", as_json, NO)
    else:
        told = {"valid": True, "policy": str(source), **facts(verified)}
        lines = ["valid", *readable(verified), f"policy      {source}"]
        _answer(told, "\n".join(lines), as_json, YES)


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


def readable(verified: VerifiedReceipt) -> list[str]:
    """The same for people, one fact a line, free of control characters."""
    try:
        event = event_lines(json.loads(verified.record))
    except (AttributeError, KeyError, TypeError, ValueError):
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


def event_lines(record: dict[str, Any]) -> list[str]:
    """Who, what and when of an event record; what is not legs is shown as it stands.

    Raises KeyError and the like for a record that is not shaped like ours.
    """
    actor, body = record["actor"], record["body"]
    lines = [
        f"event       {record['type']}",
        f"recorded    {record['at']}, for {record['on']}",
        f"asked by    {actor['sub']} ({actor['iss']})",
    ]
    for leg in body.get("legs", []):
        lines.append(f"leg         {amount(leg['asset'], leg['amount'])}")
        lines.append(f"            from {_account(leg['debit'])} to {_account(leg['credit'])}")
        lines += [
            f"            serials {one['first']:,} to {one['last']:,} of {one['batch']}"
            for one in leg["serials"]
        ]
    for name, value in body.items():
        if name != "legs":
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"{name:<11} {shown}")
    for act in record.get("acts", []):
        lines.append(f"statement   {act['statement']}")
        lines.append(f"            names key {act['key_id']} (its signature is not checked here)")
    return lines


def amount(asset: str, quantity: int) -> str:
    """`503,280.00 CNY` or `7,000 TICKET-LZXQ-1`: money in yuan, everything else in its own unit."""
    if asset != MONEY:
        return f"{quantity:,} {asset}"
    yuan, fen = divmod(quantity, FEN_PER_CNY)
    return f"{yuan:,}.{fen:02d} {asset}"


def _account(account: dict[str, str]) -> str:
    ref = f" ({account['ref']})" if account["ref"] else ""
    return f"{account['holder']} {account['purpose']}{ref}"
