"""The command line of `tanzhang audit`: options, progress, and how its end is told."""

from __future__ import annotations

import asyncio
import base64
import binascii
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from cli.errors import NO, NOT_TRIED, CliError
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.errors import ReceiptError, TlogError
from kernel.tlog.policy import Policy
from kernel.tlog.states import LIEN, ProvenState, kind_of_file, verify_holding, verify_lien

MAX_TOKEN_BYTES: Final = 8 * 1024


def audit(
    source: Annotated[
        str, typer.Argument(help="a gateway's URL, or a folder with a folder for each log")
    ],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust; else <dir>/policy.txt, else the pinned")
    ] = None,
    since: Annotated[
        list[Path] | None, typer.Option(help="a checkpoint you have kept; repeatable")
    ] = None,
    token: Annotated[
        Path | None, typer.Option(help="file with an auditor's token; without it public facts only")
    ] = None,
    state: Annotated[Path, typer.Option(help="your own folder between runs")] = Path("audit"),
    events: Annotated[
        str | None, typer.Option(help="who shows the events, if not the gateway at the URL")
    ] = None,
    map_key: Annotated[
        Path | None, typer.Option(help="file with the key of the balance map, hex or base64")
    ] = None,
    proof: Annotated[
        list[Path] | None,
        typer.Option(help=".lien or .holding whose state is made again in any case; repeatable"),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="of the origins, if the policy knows more than one ledger")
    ] = "",
    recheck: Annotated[
        bool, typer.Option("--recheck", help="compute all of every log again, and not what is new")
    ] = False,
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Check everything that can be checked, and say what differs.

    Every log's tiles, entries, signatures and history; the events you are entitled to against their
    leaves; what was issued, is held, pledged, retired. Exit codes: 0 no difference, 1 differences,
    2 could not be tried.
    """
    from cli.audit.report import lines_of  # noqa: PLC0415 - httpx is loaded by who needs it
    from cli.audit.run import Asked, run_audit  # noqa: PLC0415
    from cli.log_sources import is_url  # noqa: PLC0415
    from cli.trust import find_trust  # noqa: PLC0415

    trust = find_trust(policy, directory)
    if not is_url(source) and not Path(source).is_dir():
        raise CliError(f"expected a URL or a folder, got {source}", NOT_TRIED)
    shown_by = events or (source if is_url(source) else None)
    named = [_read_state(path, trust.policy) for path in proof or ()]
    if named and (token is None or shown_by is None):
        raise CliError("--proof needs the events: a gateway and an auditor's --token", NOT_TRIED)
    heads = [Checkpoint(one.origin, one.log_size, one.log_root) for one in named]
    asked = Asked(
        source,
        shown_by,
        trust.policy,
        trust.fingerprint,
        prefix,
        state,
        [*(_read_checkpoint(path, trust.policy) for path in since or ()), *heads],
        None if token is None else _read_token(token),
        None if map_key is None else _read_key(map_key),
        recheck,
        named,
    )
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        report = asyncio.run(run_audit(asked, show))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        typer.echo("\n".join(lines_of(report)))
    raise typer.Exit(0 if report.ok else NO)


def _read_checkpoint(path: Path, policy: Policy) -> Checkpoint:
    """Signed by a log of the policy; CliError when it is none."""
    try:
        return policy.open_checkpoint(path.read_bytes()).checkpoint
    except TlogError as error:
        raise CliError(f"{path}: {error}", NOT_TRIED) from error


def _read_state(path: Path, policy: Policy) -> ProvenState:
    """What a .lien or .holding stands on; CliError when the file proves nothing by the policy."""
    data = path.read_bytes()
    verify = verify_lien if kind_of_file(data) == LIEN else verify_holding
    try:
        return verify(data, policy).state
    except ReceiptError as error:
        raise CliError(f"{path}: {error}", NOT_TRIED) from error


def _read_token(path: Path) -> str:
    text = path.read_bytes()[: MAX_TOKEN_BYTES + 1].decode("ascii", "replace").strip()
    if not text or len(text) > MAX_TOKEN_BYTES or any(not "!" <= char <= "~" for char in text):
        raise CliError(f"{path}: expected a token in one line", NOT_TRIED)
    return text


def _read_key(path: Path) -> bytes:
    text = path.read_bytes()[:200].decode("ascii", "replace").strip()
    for decode in (bytes.fromhex, lambda one: base64.b64decode(one, validate=True)):
        try:
            key = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(key) == 32:
            return key
    raise CliError(f"{path}: expected a key of 32 bytes in hex or base64", NOT_TRIED)
