"""`tanzhang proof lien|holding`: files that show how things stand, fetched from a gateway.

What comes is judged before it is kept, against a policy from elsewhere. Judging it later, where
there is no network, is `tanzhang verify`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import httpx
import typer

from cli.errors import NO, NOT_TRIED, CliError
from cli.log_sources import is_loopback
from cli.mirror import write_whole
from cli.trust import read_policy
from kernel.tlog.errors import ReceiptError
from kernel.tlog.policy import Policy
from kernel.tlog.states import CLAIM, Account, VerifiedLien, verify_holding, verify_lien

app = typer.Typer(help="Files that prove a lien or a holding.", no_args_is_help=True)

DEADLINE_S: Final = 40.0  # a state may have to be committed to first
MAX_FILE_BYTES: Final = 8 * 1024 * 1024

Url = Annotated[str, typer.Option(help="of the gateway; without it that of --dir")]
Token = Annotated[Path | None, typer.Option(help="file with your token; without it one of --dir")]
Holder = Annotated[str, typer.Option(help="with --dir: the holder you act for, in development")]
PolicyFile = Annotated[Path | None, typer.Option(help="whom you trust; without it that of --dir")]
Folder = Annotated[Path, typer.Option("--dir", help="data folder")]
Out = Annotated[Path, typer.Option("--out", help="folder for the file")]


class Desk:
    """A gateway, as somebody with a token meets it."""

    def __init__(self, url: str, token: Path | None, holder: str, directory: Path) -> None:
        from cli.workspace import Workspace  # noqa: PLC0415 - who verifies loads none of it

        if token is None and not holder:
            raise CliError("expected --token FILE, or --holder with the folder of --dir", NOT_TRIED)
        workspace = Workspace(directory)
        self.url = url.rstrip("/") or f"http://{workspace.target('gateway')}"
        self._token_file = token
        self._workspace = workspace
        self._holder = holder

    @property
    def policy_file(self) -> Path:
        return self._workspace.policy_file

    def _token(self) -> str:
        if self._token_file is not None:
            return self._token_file.read_text(encoding="ascii").strip()
        return self._workspace.token("tanzhang-proof", holders=[self._holder])

    async def file(self, path: str, parameters: dict[str, Any] | None = None) -> bytes:
        """The bytes at a path. Raises CliError with the gateway's own reason."""
        headers = {"Authorization": f"Bearer {self._token()}"}
        trusting = not is_loopback(self.url)
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=trusting) as client:
                answer = await client.get(self.url + path, params=parameters, headers=headers)
        except httpx.HTTPError as error:
            raise CliError(f"{self.url}: {type(error).__name__} {error}", NOT_TRIED) from error
        if answer.status_code == HTTPStatus.OK and len(answer.content) <= MAX_FILE_BYTES:
            return answer.content
        raise _problem(answer)


def _problem(answer: httpx.Response) -> CliError:
    try:
        problem = answer.json()
        reason, detail = str(problem["reason"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return CliError(f"{answer.url}: expected a file, got HTTP {answer.status_code}", NOT_TRIED)
    if answer.status_code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT):
        return CliError(f"not now: {detail} ({reason})", NOT_TRIED)
    return CliError(f"refused: {detail} ({reason})", NO)


async def fetch_lien(desk: Desk, name: str, policy: Policy) -> tuple[bytes, VerifiedLien]:
    """The newest file of a lien, and what it shows.

    Raises ReceiptError for one that is not to be believed, or is of another lien.
    """
    data = await desk.file(f"/v1/liens/{quote(name, safe='')}/proof")
    shown = verify_lien(data, policy)
    if shown.lien != name:
        raise ReceiptError(CLAIM, f"expected lien {name}, got {shown.lien}")
    return data, shown


@app.command("lien")
def lien(
    name: Annotated[str, typer.Argument(help="the lien's id")],
    url: Url = "",
    token: Token = None,
    holder: Holder = "",
    policy: PolicyFile = None,
    out: Out = Path(),
    directory: Folder = Path("var"),
) -> None:
    """Fetch the proof of a lien: its serials, and that they are under no other."""
    desk = Desk(url, token, holder, directory)
    trusted = read_policy(policy or desk.policy_file)
    try:
        data, shown = asyncio.run(fetch_lien(desk, name, trusted))
    except ReceiptError as error:
        raise CliError(f"the file is not to be believed: {error}", NO) from error
    _keep(out / f"{name}.lien", data)
    typer.echo(f"{shown.quantity} {shown.asset} under {name}, for {shown.pledgee}")


@app.command("holding")
def holding(
    holder: Annotated[str, typer.Argument(help="the holder's id")],
    asset: Annotated[str, typer.Argument(help="the asset")],
    purpose: Annotated[str, typer.Option(help="available, trading, held, pledged, ...")] = (
        "available"
    ),
    ref: Annotated[str, typer.Option(help="of the account, where it has one")] = "",
    url: Url = "",
    token: Token = None,
    policy: PolicyFile = None,
    out: Out = Path(),
    directory: Folder = Path("var"),
) -> None:
    """Fetch the proof of what one account holds."""
    desk = Desk(url, token, holder, directory)
    asked = {"asset": asset, "purpose": purpose, "ref": ref}
    path = f"/v1/holders/{quote(holder, safe='')}/holding-proof"
    data = asyncio.run(desk.file(path, asked))
    try:
        shown = verify_holding(data, read_policy(policy or desk.policy_file))
        if shown.account != Account(holder, asset, purpose, ref):
            raise ReceiptError(CLAIM, f"expected {purpose} of {holder}, got {shown.account}")
    except ReceiptError as error:
        raise CliError(f"the file is not to be believed: {error}", NO) from error
    _keep(out / f"{holder}-{asset}-{purpose}.holding", data)
    typer.echo(f"{shown.amount} {asset} in {purpose} of {holder}")


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    typer.echo(str(path))
