"""`tanzhang status`: what runs, whether it serves, how far the ledger is, and what is wrong.

Answers also when half of it is down: what could not be asked is null, and is named as a problem.
Exit codes: 0 all is well, 1 something is not, 2 nothing runs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from cli.clients import OWNERS, Books, Persona
from cli.errors import NO, NOT_TRIED
from cli.stack import is_alive
from cli.stack.folder import orphans, recorded_processes, running_note
from cli.stack.process import process_health
from cli.stack.provision import PROGRAMS
from cli.values import BookStatus
from cli.workspace import Workspace
from kernel.errors import TanzhangError
from kernel.rpc.health import SERVING
from kernel.tlog.checkpoint import parse_checkpoint
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import TlogError
from kernel.tlog.note import parse_note

READER: Final = Persona("tanzhang-status", roles=("auditor",))
BOOKS_TIMEOUT_S: Final = 10.0  # a service that hangs must not make this command hang
WELL: Final = 0

Figures = dict[str, Any]


def show(directory: Path, as_json: bool) -> int:
    """Print the status; answers the exit code."""
    figures = collect(directory)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False, indent=2, sort_keys=True))
    else:
        _print(figures)
    if figures["supervisor"] is None:
        return NOT_TRIED
    return NO if figures["problems"] else WELL


def collect(directory: Path) -> Figures:
    """supervisor, processes, health, books and problems of a data folder, as plain values."""
    note = running_note(directory)
    figures: Figures = {
        "directory": str(directory.absolute()),
        "supervisor": note,
        "processes": {},
        "health": {},
        "books": {},
        "problems": [],
    }
    problems: list[str] = figures["problems"]
    if note is None:
        left = orphans(directory)
        problems.append(f"nothing runs in {directory}: start it with tanzhang up --dir {directory}")
        if left:
            problems.append(f"a killed supervisor left {left}: tanzhang down or up ends them")
        return figures
    if note.get("state") != "ready":
        what = note.get("waiting_for")
        problems.append(f"{note.get('state')}" + (f", waiting for {what}" if what else ""))
    figures["processes"] = _processes(directory, problems)
    workspace = Workspace(directory)
    try:
        processes = {name: workspace.processes(name) for name in PROGRAMS}
    except TanzhangError as error:
        problems.append(str(error))
        return figures
    serving = {}
    for name, targets in processes.items():
        health = {one: process_health(name, target) for one, target in targets.items()}
        figures["health"] |= health
        # Of a service and its standby one serves, whichever: the other says that it does not.
        serving[name] = SERVING if SERVING in health.values() else health[name]
    problems += [f"{name} is {how}" for name, how in serving.items() if how != SERVING]
    figures["books"] = asyncio.run(_books(workspace, serving, problems))
    return figures


def _processes(directory: Path, problems: list[str]) -> Figures:
    found: Figures = {}
    for name, entry in recorded_processes(directory).items():
        pid = entry.get("pid")
        alive = pid is not None and is_alive(pid)
        found[name] = {"pid": pid, "alive": alive, "restarts": entry.get("restarts", 0)}
        if not alive:
            problems.append(f"{name} does not run")
    return found


async def _books(workspace: Workspace, serving: dict[str, str], problems: list[str]) -> Figures:
    books: Figures = {
        book: dict.fromkeys(("head", "folded", "proven", "witnessed", "root", "halt"))
        for book in OWNERS
    }
    async with Books(workspace) as services:
        for book, owner in OWNERS.items():
            if serving[owner] == SERVING:
                try:
                    async with asyncio.timeout(BOOKS_TIMEOUT_S):
                        books[book]["head"] = await services.next_position(READER, book)
                except (TanzhangError, TimeoutError) as error:
                    problems.append(f"{book}: its head is not known: {error or 'no answer'}")
        if serving["ledger"] == SERVING:
            try:
                async with asyncio.timeout(BOOKS_TIMEOUT_S):
                    await _ledger(services, books, problems)
            except (TanzhangError, TlogError, TimeoutError) as error:
                problems.append(f"ledger: its logs are not known: {error or 'no answer'}")
    return books


async def _ledger(services: Books, books: Figures, problems: list[str]) -> None:
    for status in await services.status():
        figures = books.setdefault(status.book, {"head": None})
        figures.update(
            folded=status.folded,
            proven=status.proven,
            witnessed=status.witnessed,
            root=None,
            halt=status.halt or None,
            witnesses=[dataclasses.asdict(one) for one in status.witnesses],
        )
        problems += _witness_problems(status)
        problems += [
            f"{status.book} is not signed: no file of {key}" for key in status.missing_keys
        ]
        if status.halt:
            figures.update(expected=status.expected, actual=status.actual)
            found = f"expected {status.expected}, got {status.actual}"
            problems.append(f"{status.book} is halted: {status.halt}: {found}")
        if status.witnessed:
            note = await services.checkpoint(status.book)
            checkpoint = parse_checkpoint(parse_note(note)[0])
            figures["root"] = encode_base64(checkpoint.root)


def _witness_problems(status: BookStatus) -> list[str]:
    """An alarm, and who has not cosigned the newest; who was only just asked is no problem."""
    found = []
    for one in status.witnesses:
        name = ", ".join(one.names)
        if one.alarm:
            found.append(f"{status.book}: ALARM of the witness {name}: {one.alarm}")
        elif one.said not in ("cosigned", "not asked yet"):
            behind = status.proven - one.cosigned
            found.append(f"{status.book}: the witness {name} is {behind} behind: {one.said}")
    return found


def _witness_lines(books: Figures) -> list[str]:
    """One line for each witness: how many of the logs it has cosigned as far as they are proven."""
    found: dict[str, list[bool]] = {}
    for book in books.values():
        for one in book.get("witnesses") or ():
            cosigned = one["cosigned"] >= (book["proven"] or 0)
            found.setdefault(", ".join(one["names"]), []).append(cosigned)
    return [
        f"witness {name}: {sum(logs)} of {len(logs)} logs cosigned up to what is proven"
        for name, logs in found.items()
    ]


def _print(figures: Figures) -> None:
    console = Console(highlight=False, markup=False)
    note = figures["supervisor"]
    if note is not None:
        console.print(
            f"supervisor pid {note.get('pid')}, {note.get('state')}, since {note.get('started_at')}"
        )
        processes = Table("process", "pid", "restarts", "serves", box=None)
        for name, entry in figures["processes"].items():
            serves = figures["health"].get(name, "" if entry["alive"] else "does not run")
            processes.add_row(name, _text(entry["pid"]), _text(entry["restarts"]), serves)
        console.print(processes)
        books = Table("book", "events", "checked", "proven", "shown", "halted", box=None)
        books.add_column("root", overflow="fold")
        for name, book in figures["books"].items():
            row = [_text(book[key]) for key in ("head", "folded", "proven", "witnessed")]
            books.add_row(name, *row, book["halt"] or "no", _text(book["root"]))
        console.print(books)
        for line in _witness_lines(figures["books"]):
            console.print(line, soft_wrap=True)
    for problem in figures["problems"]:
        console.print(f"problem: {problem}", soft_wrap=True)
    if not figures["problems"]:
        console.print("all is well")


def _text(value: object) -> str:
    return "-" if value is None else str(value)
