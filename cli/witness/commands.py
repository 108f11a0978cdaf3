"""`tanzhang witness …`: be a witness of signed logs, with a folder of your own.

Exit codes: 0 done, 1 there is evidence of a fork (`show`), 2 could not try.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import NO, CliError

app = typer.Typer(
    help="Be a witness of signed logs, with a folder of your own.", no_args_is_help=True
)
Folder = Annotated[Path, typer.Option("--dir", help="the witness's own folder")]
DEFAULT_FOLDER = Path("witness")


@app.callback()
def witness() -> None:
    """Be a witness of signed logs, with a folder of your own."""


@app.command("keys")
def keys(
    name: Annotated[str, typer.Option(help="of the witness, like witness.bank.example/w1")],
    directory: Folder = DEFAULT_FOLDER,
    ml_dsa: Annotated[
        bool, typer.Option("--ml-dsa", help="an ML-DSA-44 key beside the Ed25519 one")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="where logs will reach it, for the policy lines")
    ] = None,
) -> None:
    """Make the witness's keys, and print the lines that others put into their policy."""
    from cli.witness.folder import WitnessFolder  # noqa: PLC0415 - what costs time is loaded here
    from kernel.tlog.errors import FormatError  # noqa: PLC0415
    from kernel.tlog.note import COSIGNATURE, MLDSA44  # noqa: PLC0415

    folder = WitnessFolder(directory)
    try:
        signers = folder.make_keys(name, [COSIGNATURE, *([MLDSA44] if ml_dsa else [])])
    except FormatError as error:
        raise CliError(str(error)) from error
    for signer in signers:
        label = name if signer.kind == COSIGNATURE else f"{name}#ml-dsa-44"
        typer.echo(" ".join(filter(None, ["witness", label, signer.verifier.vkey, url])))


@app.command("serve")
def serve(
    directory: Folder = DEFAULT_FOLDER,
    listen: Annotated[str, typer.Option(help="host:port")] = "127.0.0.1:7480",
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM")] = None,
    first_start: Annotated[
        bool,
        typer.Option(
            "--first-start",
            help="make the missing database: only if this key has never cosigned anything",
        ),
    ] = False,
    clock_file: Annotated[
        Path | None, typer.Option(help="development: offset of the clock", hidden=True)
    ] = None,
) -> None:
    """Witness the logs of <dir>/policy.txt, until told to end.

    Ends with 2 if the database of what was cosigned is missing: without it a witness can be led to
    cosign a second history.
    """
    from cli.witness.folder import WitnessFolder  # noqa: PLC0415
    from cli.witness.server import serve  # noqa: PLC0415
    from cli.witness.witness import Witness  # noqa: PLC0415
    from kernel.clock import SystemClock  # noqa: PLC0415
    from kernel.logs import configure_logs  # noqa: PLC0415

    configure_logs("witness")
    folder = WitnessFolder(directory)
    signers, logs = folder.signers(), folder.logs()
    where = _listen(listen, tls_certificate, tls_key)
    if first_start:
        folder.make_store()
    found = Witness(folder, signers, SystemClock(clock_file))
    typer.echo(
        f"witness {signers[0].name} of {len(logs)} logs on {where.address},"
        f" keys {', '.join(f'{one.key_id:08x}' for one in signers)}"
    )
    try:
        serve(found, where)
    finally:
        found.close()


def _listen(text: str, certificate: Path | None, key: Path | None) -> Any:
    from kernel.config import Listen, is_loopback  # noqa: PLC0415

    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise CliError(f"--listen: expected host:port, got {text!r}")
    if not is_loopback(host) and (certificate is None or key is None):
        raise CliError(
            f"--listen: {host} is not loopback: give --tls-certificate and --tls-key, or listen"
            " on 127.0.0.1 behind a proxy that has them"
        )
    return Listen(host, int(port), certificate, key)


@app.command("show")
def show(
    directory: Folder = DEFAULT_FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What this witness has cosigned last of each log, and evidence of forks.

    Exit codes: 0 no log has forked, 1 one has.
    """
    from cli.witness.folder import FORK, WitnessFolder  # noqa: PLC0415

    told = _collect(WitnessFolder(directory))
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for line in _lines(told):
            typer.echo(line)
    forked = any(one["kind"] == FORK for one in told["evidence"])
    raise typer.Exit(NO if forked else 0)


def _collect(folder: Any) -> dict[str, Any]:
    from kernel.tlog.checkpoint import parse_checkpoint  # noqa: PLC0415
    from kernel.tlog.encoding import encode_base64  # noqa: PLC0415
    from kernel.tlog.note import parse_note  # noqa: PLC0415

    store = folder.store()
    try:
        logs = []
        known = {key.name for key in folder.logs()}
        for origin in sorted({*known, *store.origins()}):
            newest = store.newest(origin)
            head = None if newest is None else parse_checkpoint(parse_note(newest.note)[0])
            logs.append(
                {
                    "origin": origin,
                    "witnessed": origin in known,
                    "tree_size": None if head is None else head.size,
                    "root": None if head is None else encode_base64(head.root),
                    "at": None if newest is None else _instant(newest.at_s),
                }
            )
    finally:
        store.close()
    return {
        "keys": [signer.verifier.vkey for signer in folder.signers()],
        "logs": logs,
        "evidence": folder.evidence(),
    }


def _lines(told: dict[str, Any]) -> list[str]:
    lines = [f"key  {vkey if len(vkey) < 200 else vkey[:80] + '…'}" for vkey in told["keys"]]
    for one in told["logs"]:
        size = "nothing cosigned yet"
        if one["tree_size"] is not None:
            size = f"{one['tree_size']:,} entries, root {one['root']}, cosigned {one['at']}"
        known = "" if one["witnessed"] else " (not in the policy any more)"
        lines.append(f"log  {one['origin']}{known}: {size}")
    for one in told["evidence"]:
        lines.append(
            f"{one['kind'].upper()}  {one['origin']}: cosigned {one['cosigned_size']}"
            f" {one['cosigned_root'][:16]}…, refused {one['refused_size']}"
            f" {one['refused_root'][:16]}…, {_instant(one['at_s'])}: {one['folder']}"
        )
    if not told["evidence"]:
        lines.append("no evidence of a fork")
    return lines


def _instant(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
