"""`tanzhang policy …`: whom you trust, kept where `verify` finds it, called by its fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.explaining import explain_policy
from cli.following import follow
from cli.trust import find_trust, pin_policy
from cli.verify import Language, language

app = typer.Typer(help="Whom you trust when you verify.", no_args_is_help=True)


@app.callback()
def policy() -> None:
    """Whom you trust when you verify."""


@app.command("pin")
def pin(
    file: Annotated[Path, typer.Argument(help="a C2SP tlog-policy file")],
    replace: Annotated[
        bool, typer.Option("--replace", help="give up another one that is pinned")
    ] = False,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="institutions' keys, as /v1/keys answers")
    ] = None,
    lang: Language = "",
) -> None:
    """Keep a policy for every later `verify`.

    Compare the fingerprint it prints with one you were given by another way.
    """
    words = language(lang)
    path = pin_policy(file, keys, replace=replace)
    typer.echo(words.say("pinned"))
    typer.echo("\n".join(explain_policy(find_trust(path), words)))


@app.command("show")
def show(
    file: Annotated[
        Path | None, typer.Argument(help="a policy file; without it the pinned one")
    ] = None,
    lang: Language = "",
) -> None:
    """Print a policy's fingerprint, logs and witnesses."""
    words = language(lang)
    typer.echo("\n".join(explain_policy(find_trust(file), words)))


app.command("follow")(follow)
