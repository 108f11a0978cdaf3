"""The pages on keys: every command they show is one of the tool, with options that it has.

What the commands do is tried elsewhere (test_cli_keys.py, test_mirror.py, test_pkcs11.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.app import app
from tests.support.checkout import ROOT

PAGES = sorted((ROOT / "docs" / "operating").glob("keys*.md"))
BLOCK = re.compile(r"^ *```(?:console)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(tanzhang [a-z][^`]*)`")


def commands_of(page: Path) -> list[str]:
    """Of blocks whole, of the running text as far as it is one: `a|b` names several."""
    text = page.read_text()
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    shown = [line.strip().removeprefix("$ ") for line in lines]
    inline = [" ".join(one.split()) for one in INLINE.findall(BLOCK.sub("", text))]
    return [line for line in [*shown, *inline] if line.startswith("tanzhang ")]


def complaint(command: str) -> str:
    """What is wrong with it; empty when the tool knows it."""
    found: Any = get_command(app)
    words = command.replace("…", "").partition(" > ")[0].split()[1:]
    while hasattr(found, "commands"):
        if not words:
            return ""  # a group, named as such
        name = words.pop(0).partition("|")[0]
        if name not in found.commands:
            return f"there is no command {name}"
        found = found.commands[name]
    options = {option for one in found.params for option in one.opts}
    wanted = [word.strip("[]") for word in words]
    unknown = [word for word in wanted if word.startswith("--") and word not in options]
    return f"{found.name} has no {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_on_keys_show_commands_that_there_are(page: Path) -> None:
    commands = commands_of(page)
    assert commands
    assert [f"{one}: {why}" for one in commands if (why := complaint(one))] == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("tanzhang keys lose", "there is no command lose"),
        ("tanzhang keys retire accounts --becuase leaked", "retire has no --becuase"),
    ],
)
def test_a_command_that_is_not_there_is_noticed(command: str, told: str) -> None:
    assert complaint(command) == told
