"""The error of the tool itself: a command that could not be tried, or whose answer is no.

One line for people; the exit code for programs: 1 no, 2 could not try (cli/app.py has the rest).
"""

from __future__ import annotations

from kernel.errors import TanzhangError

NO = 1
NOT_TRIED = 2


class CliError(TanzhangError):
    """Ends the command with this message on standard error and this exit code."""

    def __init__(self, message: str, exit_code: int = NOT_TRIED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
