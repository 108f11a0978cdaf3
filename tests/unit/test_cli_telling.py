"""How the tools tell: lines that fit, commands to be typed, files and times in plain words."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.app import INTERRUPTED, run
from cli.clock import format_duration
from cli.errors import NOT_TRIED, of_file
from cli.telling import Teller, our_command, shown_path

LINE = "兰州新区城市发展集团 has 6,000 t available; 兰州新区第二贷款银行's lien stands as it stood"


def lines(width: int, *, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    teller = Teller(console)
    teller.say(LINE)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_long_line_fits_the_terminal_and_goes_on_set_in(width: int) -> None:
    first, *rest = lines(width, terminal=True)
    assert rest
    assert all(cell_len(line) <= width for line in (first, *rest))
    assert first.startswith("   兰州")
    assert all(line.startswith("      ") for line in rest)


def test_a_line_is_left_whole_where_it_fits_or_nobody_looks() -> None:
    assert lines(100, terminal=True) == [f"   {LINE}"]
    assert lines(40, terminal=False) == [f"   {LINE}"]


def test_a_command_is_told_as_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "tanzhang"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/tanzhang", "demo"])
    assert our_command() == ".venv/bin/tanzhang"
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    assert our_command() == ".venv/bin/tanzhang"
    monkeypatch.setenv("PATH", str(program.parent))
    assert our_command() == "tanzhang"
    monkeypatch.setattr(sys, "argv", ["/lib/cli/__main__.py", "demo"])
    assert our_command() == "tanzhang"


def test_a_path_is_told_from_where_the_reader_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "var" / "policy.txt") == "var/policy.txt"
    assert shown_path("/srv/兰州 data") == "'/srv/兰州 data'"


@pytest.mark.parametrize(
    ("duration_ms", "said"),
    [(172_800_000, "2d"), (97_200_000, "1d 3h"), (90_250, "1m 30s 250ms"), (0, "0ms")],
)
def test_a_time_ahead_is_told_in_its_largest_units(duration_ms: int, said: str) -> None:
    assert format_duration(duration_ms) == said


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "README.md"
    taken.touch()
    with pytest.raises(OSError, match="README") as made:
        taken.mkdir()
    assert of_file(made.value) == f"{taken}: expected a folder, found a file"
    with pytest.raises(OSError, match="README") as read:
        (taken / "ports.json").read_bytes()
    assert of_file(read.value) == f"{taken}: expected a folder, found a file"
    with pytest.raises(OSError, match="README") as missing:
        (tmp_path / "no-README.md").read_bytes()
    assert of_file(missing.value) == f"{tmp_path}/no-README.md: No such file or directory"


def test_an_interrupted_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*anything: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "open", interrupted)
    assert run(["verify", "sale.receipt", "--policy", "policy.txt"]) == INTERRUPTED
    assert capsys.readouterr().err.endswith("tanzhang: interrupted\n")


def test_without_a_command_the_help_is_shown_as_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["ledger"], ["replay"], ["clock"]):
        assert run(arguments) == NOT_TRIED
        assert capsys.readouterr().err.startswith("Usage: tanzhang ")


def test_every_command_is_listed_in_a_line_that_is_not_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in ([], ["ledger"], ["replay"], ["clock"]):
        run([*arguments, "--help"])
        listed = capsys.readouterr().out.partition("Commands:")[2]
        assert listed
        assert "..." not in listed
