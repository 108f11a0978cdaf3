"""`tanzhang keys …`: makes and lists private keys, encrypts them at rest, lets others follow.

The passphrase stands in the file that TANZHANG_KEY_PASSPHRASE_FILE names, else it is asked for. No
secret is ever printed, and no key file overwritten by another key. Exit codes: 0 done, 1 no, 2
could not try.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import NO, CliError

if TYPE_CHECKING:
    from cli.keyfolder import KeyRow

app = typer.Typer(help="Private keys: make, list, encrypt, rotate.", no_args_is_help=True)
rotate_app = typer.Typer(help="Let another key follow, by two persons.", no_args_is_help=True)
app.add_typer(rotate_app, name="rotate")

Folder = Annotated[Path, typer.Option("--dir", help="data folder, or a folder of keys")]
Person = Annotated[str, typer.Option("--person", help="who acts: a ledger operator")]


class What(StrEnum):
    """What a key is made for. The first three sign notes, the others are PEM files."""

    LOG = "log"
    WITNESS = "witness"
    OPERATOR = "operator"
    FRAME = "frame"
    TOKEN = "token"  # noqa: S105 - a kind of key
    INSTITUTION = "institution"


class Reason(StrEnum):
    """Why a log key is retired."""

    ROTATED = "rotated"
    LEAKED = "leaked"
    LOST = "lost"


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

    Of logs and institutions also what the ledger says of them, if it runs. Never a secret.
    """
    from cli.keyfolder import list_keys  # noqa: PLC0415 - who verifies a receipt needs none of it

    folder = _existing(directory)
    rows = list_keys(folder, _told_by_ledger(folder))
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
    pkcs11: Annotated[
        str, typer.Option(help="make it in this token, like pkcs11:token=lanzhou;object=log")
    ] = "",
) -> None:
    """Make one key; prints its public half.

    Encrypted with --encrypt, or when TANZHANG_KEY_PASSPHRASE_FILE is set. With --pkcs11 the file
    only says where it lies.
    """
    from kernel.keys import (  # noqa: PLC0415
        make_note_key,
        make_private_key,
        make_token_key,
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
    if pkcs11 and (what not in NOTES or encrypt):
        raise CliError("--pkcs11: expected a log, witness or operator, and no --encrypt")
    kind = COSIGNATURE if what is What.WITNESS else ED25519
    passphrase = _passphrase(confirm=True) if encrypt else passphrase_of_environment()
    if pkcs11:
        make_token_key(file, pkcs11, name, kind)
    elif what in NOTES:
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


@rotate_app.callback()
def rotate() -> None:
    """Let another key follow, by two persons."""


@rotate_app.command("log")
def rotate_log(
    book: Annotated[str, typer.Argument(help="whose log gets another key")],
    person: Person,
    directory: Folder = Path("var"),
    vkey: Annotated[
        str, typer.Option(help="a key prepared for the ledger; without it one is made here")
    ] = "",
) -> None:
    """Propose the next key of a log; the old one signs that.

    Once another person approves, both sign, until `keys retire` ends the old one.
    """
    from cli.rotating import propose_rotation  # noqa: PLC0415

    _propose(propose_rotation(directory, book, person, vkey))


@rotate_app.command("frame")
def rotate_frame(
    service: Annotated[str, typer.Argument(help="whose frames get another key")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Prepare the next frame key of a service, and propose the identities that name it.

    Once another person approves: `tanzhang down`, `tanzhang keys switch`, `tanzhang up`.
    """
    _rotate_identity(directory, service, "frame", person)


@rotate_app.command("token")
def rotate_token(
    service: Annotated[str, typer.Argument(help="whose tokens get another key, or issuer")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Prepare the next token key of a service, as above. Tokens of the old one end with it."""
    _rotate_identity(directory, service, "token", person)


@app.command("switch")
def switch(directory: Folder = Path("var")) -> None:
    """Put prepared frame and token keys in their place, while nothing runs."""
    from cli.stack.rotation import switch as switch_keys  # noqa: PLC0415

    done = switch_keys(_existing(directory))
    typer.echo(f"switched: {', '.join(done)}" if done else "nothing is prepared")


@app.command("retire")
def retire(
    book: Annotated[str, typer.Argument(help="whose log")],
    person: Person,
    reason: Annotated[Reason, typer.Option(help="why it signs no more")] = Reason.ROTATED,
    vkey: Annotated[str, typer.Option("--key", help="without it the key in force")] = "",
    successor: Annotated[
        str, typer.Option(help="what signs alone; without it the announced key, else a new one")
    ] = "",
    directory: Folder = Path("var"),
) -> None:
    """Propose that a log key signs no more.

    After a leak or a loss nobody's policy follows by itself: tell its readers another way.
    """
    from cli.rotating import propose_retirement  # noqa: PLC0415

    _propose(propose_retirement(directory, book, person, reason, vkey, successor))


@app.command("announcement")
def announcement(
    book: Annotated[str, typer.Argument(help="whose log")],
    directory: Folder = Path("var"),
) -> None:
    """Print the note of a log's last change of key.

    For everybody who keeps a policy: `tanzhang policy follow`.
    """
    import asyncio  # noqa: PLC0415

    from cli.rotating import last_change  # noqa: PLC0415

    typer.echo(asyncio.run(last_change(directory, book)), nl=False)


@app.command("register")
def register(
    subject: Annotated[str, typer.Argument(help="whom it speaks for, like bank:h-lzbank")],
    public_key: Annotated[str, typer.Argument(help="base64 of its public half")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Propose an institution's key for the ledger's directory."""
    from cli.rotating import propose_key  # noqa: PLC0415

    _propose(propose_key(directory, subject, public_key, person))


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="as keys list and the directory show it")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Propose the end of an institution's key."""
    from cli.rotating import propose_revocation  # noqa: PLC0415

    _propose(propose_revocation(directory, key_id, person))


def _rotate_identity(directory: Path, service: str, kind: str, person: str) -> None:
    from cli.rotating import propose_identities  # noqa: PLC0415
    from cli.stack.rotation import prepare  # noqa: PLC0415

    digest = prepare(_existing(directory), service, kind)
    typer.echo(f"{service} {kind}: the next key is prepared; identities {digest}")
    _propose(propose_identities(directory, digest, person))


def _propose(asking: Coroutine[None, None, str]) -> None:
    import asyncio  # noqa: PLC0415

    typer.echo(asyncio.run(asking))


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
    before = "" if changed == len(files) else f", the other {len(files) - changed} were"
    typer.echo(f"{changed} of {len(files)} keys are {now} now{before}")


def _passphrase(*, confirm: bool) -> bytes:
    from kernel.keys import checked_passphrase, passphrase_of_environment  # noqa: PLC0415

    given = passphrase_of_environment()
    if given is not None:
        return given
    asked: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm)
    return checked_passphrase(asked.encode())


def _told_by_ledger(folder: Path) -> Mapping[str, str]:
    """What a running ledger says of keys, by verifier key or key id; nothing where none runs."""
    import asyncio  # noqa: PLC0415

    from cli.rotating import told_by_ledger  # noqa: PLC0415
    from cli.stack.folder import running_note  # noqa: PLC0415

    if (running_note(folder) or {}).get("state") != "ready":
        return {}
    return asyncio.run(told_by_ledger(folder))


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise CliError(f"{directory}: no such folder; tanzhang up makes one")
    return directory.absolute()


def _lines(row: KeyRow) -> list[str]:
    known = "; ".join(row.known_to) or "nobody here knows it"
    told = row.trouble or f"{row.key_id}  {row.at_rest}  since {row.since}  {known}"
    return [f"{row.owner} {row.purpose}  {told}", f"    {row.public or row.file}"]
