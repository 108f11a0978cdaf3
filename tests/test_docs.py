"""The README is run: every command in its ```console blocks, in order, in a copy of this checkout.

A command is a line that begins with `$ `. HOW says how each kind is run; a command it does not know
fails, so nothing can be promised that is not tried. The copy uses this checkout's .venv by a link,
and its own code before the installed one. Output shown in the blocks is not compared.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, checkout_files, copy_checkout

COMMAND_TIMEOUT_S = 600  # make demo on a slow machine; anything longer is a hang
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def console_commands(markdown: str) -> list[str]:
    """Every command of the ```console blocks in order; a trailing backslash joins the next line."""
    text = "".join(BLOCK.findall(markdown)).replace("\\\n", " ")
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [" ".join(line.split()) for line in lines]


def run(command: str, copy: Path) -> None:
    """Run a command as a reader would, in the copy; its output is shown when it fails."""
    path = f"{copy / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    code = f"{copy}{os.pathsep}{copy / 'proto'}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=copy,
        env={**os.environ, "PATH": path, "PYTHONPATH": code},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    shown = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        pytest.fail(f"README's `{command}` ended with {done.returncode}:\n{shown}", pytrace=False)


def would_run_pytest(command: str, copy: Path) -> None:
    """Being inside it, look only whether `make test` runs pytest; .ci/run is who runs it whole."""
    dry = subprocess.run(
        ["make", "-n", *command.split()[1:]], cwd=copy, capture_output=True, text=True, check=True
    )
    assert dry.stdout.splitlines()[-1].split()[0] == ".venv/bin/pytest"
    assert command in (copy / ".ci" / "run").read_text().splitlines()


def is_done_already(command: str, copy: Path) -> None:
    """Getting the checkout and entering it: the copy stands for both."""


How = Callable[[str, Path], None]
HOW: dict[str, How] = {
    "git clone *": is_done_already,
    "cd *": is_done_already,
    "make test": would_run_pytest,
    "make demo": run,
    "make up": run,
    "make down": run,
    "tanzhang *": run,
    ".venv/bin/tanzhang *": run,
}


def how_to_run(command: str) -> How:
    for pattern, how in HOW.items():
        if fnmatchcase(command, pattern):
            return how
    pytest.fail(f"README shows a command that no test runs: {command}", pytrace=False)


README_COMMANDS = console_commands((ROOT / "README.md").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A copy of the checkout; whatever its README left running is stopped."""
    copy_checkout(tmp_path)
    yield tmp_path
    if (tmp_path / "var" / "ports.json").exists():
        run("tanzhang down", tmp_path)


def test_readme_shows_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(README_COMMANDS)


def test_every_command_of_the_readme_runs(copy: Path) -> None:
    fresh = subprocess.run(["make", "-q", "setup"], cwd=copy, capture_output=True, check=False)
    # Otherwise `make demo` in the copy would install the copy into this checkout's .venv.
    assert fresh.returncode == 0, "this .venv is not what the locks say: run `make setup` first"
    for how, command in [(how_to_run(command), command) for command in README_COMMANDS]:
        how(command, copy)


def test_make_test_runs_pytest(copy: Path) -> None:
    would_run_pytest("make test", copy)


def test_commands_are_found_in_console_blocks_only() -> None:
    markdown = """
Rides in Shenzhen:

```console
$ tanzhang import trips \\
    shenzhen.json
imported 480 trips
$ make  demo
```

```python
$ not a command
```

    $ neither

```console
$ tanzhang down
```
"""
    commands = console_commands(markdown)
    assert commands == ["tanzhang import trips shenzhen.json", "make demo", "tanzhang down"]


def test_a_command_no_test_runs_is_refused() -> None:
    with pytest.raises(pytest.fail.Exception, match="no test runs: helm install tanzhang"):
        how_to_run("helm install tanzhang")


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="ended with 3:\n兰州新区 has no such forest"):
        run("echo 兰州新区 has no such forest; exit 3", tmp_path)


def test_a_copy_has_what_git_would_have_and_runs_its_own_code(copy: Path) -> None:
    (copy / "kernel" / "__init__.py").write_text("")
    run(
        'test "$(python -c "import kernel; print(kernel.__file__)")" = "$PWD/kernel/__init__.py"',
        copy,
    )
    there = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert set(checkout_files()) <= there
    assert not any(name.startswith(("var/", ".git/", ".mypy_cache/")) for name in there)
