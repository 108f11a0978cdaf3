"""The error of the tool itself: a command that could not be tried, or whose answer is no.

One line for people; the exit code for programs: 1 no, 2 could not try (cli/app.py has the rest).
"""

from __future__ import annotations

from pathlib import Path

from kernel.errors import TanzhangError

NO = 1
NOT_TRIED = 2


class CliError(TanzhangError):
    """Ends the command with this message on standard error and this exit code."""

    def __init__(self, message: str, exit_code: int = NOT_TRIED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def of_file(error: OSError) -> str:
    """What went wrong with which file, as a person says it."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        path = Path(error.filename)
        found = path.parent if isinstance(error, NotADirectoryError) else path
        return f"{found}: expected a folder, found a file"
    if error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
