"""`tanzhang keys …`: makes and lists private keys, and encrypts them at rest.

The passphrase stands in the file that TANZHANG_KEY_PASSPHRASE_FILE names, else it is asked for. No
secret is ever printed, and no key file overwritten by another key. Exit codes: 0 done, 1 no, 2
could not try.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import NO, CliError

if TYPE_CHECKING:
    from cli.keyfolder import KeyRow

app = typer.Typer(help="Private keys: make, list, encrypt, rotate.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--dir", help="data folder, or a folder of keys")]


class What(StrEnum):
    """What a key is made for. The first three sign notes, the others are PEM files."""

    LOG = "log"
    WITNESS = "witness"
    OPERATOR = "operator"
    FRAME = "frame"
    TOKEN = "token"  # noqa: S105 - a kind of key
    INSTITUTION = "institution"


NOTES = (What.LOG, What.WITNESS, What.OPERATOR)


@app.callback()
def keys() -> None:
    """Private keys: make, list, encrypt, rotate."""


@app.command("list")
def list_(
    directory: Folder = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Every key of a folder: whose, for what, public half, encrypted or not, who knows it.

    Of institutions' keys what the ledger's directory says, if it runs. Never a secret.
    """
    from cli.keyfolder import list_keys  # noqa: PLC0415 - who verifies a receipt needs none of it

    folder = _existing(directory)
    rows = list_keys(folder, _directory(folder))
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], ensure_ascii=False, indent=2))
    else:
        for row in rows:
            typer.echo("\n".join(_lines(row)))
    raise typer.Exit(NO if any(row.trouble for row in rows) else 0)


@app.command("make")
def make(
    what: Annotated[What, typer.Argument(help="what it is for")],
    file: Annotated[Path, typer.Argument(help="the new file: .skey for notes, else .key")],
    name: Annotated[
        str, typer.Option(help="of a log its origin, of a witness or operator its key name")
    ] = "",
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="ask for a passphrase, unless a file names it")
    ] = False,
) -> None:
    """Make one key; prints its public half.

    Encrypted with --encrypt, or when TANZHANG_KEY_PASSPHRASE_FILE is set.
    """
    from kernel.keys import (  # noqa: PLC0415
        make_note_key,
        make_private_key,
        passphrase_of_environment,
        public_of,
    )
    from kernel.tlog.note import COSIGNATURE, ED25519  # noqa: PLC0415

    suffix = ".skey" if what in NOTES else ".key"
    if file.suffix != suffix:
        raise CliError(f"{file}: expected a name that ends in {suffix}")
    if (what in NOTES) != bool(name):
        wanted = "a --name" if what in NOTES else "no --name"
        raise CliError(f"{what}: expected {wanted}, got {name or 'none'}")
    passphrase = _passphrase(confirm=True) if encrypt else passphrase_of_environment()
    if what in NOTES:
        kind = COSIGNATURE if what is What.WITNESS else ED25519
        make_note_key(file, name, kind, passphrase)
    else:
        make_private_key(file, passphrase)
    typer.echo(public_of(file))


@app.command("protect")
def protect(directory: Folder = Path("var")) -> None:
    """Encrypt every key of a folder, in place, while nothing runs there.

    File by file, each whole or not at all; run again it goes on where it was. Passwords of database
    and bus are no keys and stay as they are.
    """
    from kernel.keys import protect as protect_file  # noqa: PLC0415

    _each(directory, protect_file, _passphrase(confirm=True), "encrypted")
    typer.echo("from here on TANZHANG_KEY_PASSPHRASE_FILE must name the passphrase's file")


@app.command("unprotect")
def unprotect(directory: Folder = Path("var")) -> None:
    """The plain files again, byte for byte, while nothing runs there."""
    from kernel.keys import unprotect as unprotect_file  # noqa: PLC0415

    _each(directory, unprotect_file, _passphrase(confirm=False), "in clear")


def _each(
    directory: Path, change: Callable[[Path, bytes], bool], passphrase: bytes, now: str
) -> None:
    from cli.keyfolder import key_files  # noqa: PLC0415
    from cli.stack.folder import running_note  # noqa: PLC0415
    from kernel.keys import check_opens  # noqa: PLC0415

    folder = _existing(directory)
    if running_note(folder) is not None:
        raise CliError(f"{folder} is in use: stop it first, its processes read their keys at start")
    files = list(key_files(folder))
    for path in files:  # before anything is changed: one passphrase for all, and nothing unread
        check_opens(path, passphrase)
    changed = sum(change(path, passphrase) for path in files)
    typer.echo(f"{changed} of {len(files)} keys are {now} now, the others were")


def _passphrase(*, confirm: bool) -> bytes:
    from kernel.keys import checked_passphrase, passphrase_of_environment  # noqa: PLC0415

    given = passphrase_of_environment()
    if given is not None:
        return given
    asked: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm)
    return checked_passphrase(asked.encode())


def _directory(folder: Path) -> Mapping[str, str]:
    """Subjects of the running ledger's directory, by key id; nothing where none runs."""
    import asyncio  # noqa: PLC0415

    from cli.stack.folder import running_note  # noqa: PLC0415

    if (running_note(folder) or {}).get("state") != "ready":
        return {}
    return asyncio.run(_ask_directory(folder))


async def _ask_directory(folder: Path) -> dict[str, str]:
    from cli.clients import Books  # noqa: PLC0415
    from cli.workspace import Workspace  # noqa: PLC0415

    async with Books(Workspace(folder)) as books:
        return {
            one.key_id: f"{one.subject}{', ended' if one.revoked else ''}"
            for one in await books.keys()
        }


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise CliError(f"{directory}: no such folder; tanzhang up makes one")
    return directory.absolute()


def _lines(row: KeyRow) -> list[str]:
    known = "; ".join(row.known_to) or "nobody here knows it"
    told = row.trouble or f"{row.key_id}  {row.at_rest}  since {row.since}  {known}"
    return [f"{row.owner} {row.purpose}  {told}", f"    {row.public or row.file}"]
