"""`tanzhang bank-sim`: one settlement bank as a process of its own, beside what `up` has started.

Reads the data folder for where the services are and for tokens of development, as every tool does.
Its own key and books lie in a folder of its own, `<dir>/bank-sim/<name>`, and no service of ours
opens them. SIGTERM ends it in order; kill -9 loses nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.banksim.bank import Bank, terms_with
from cli.banksim.chance import Chance
from cli.banksim.control import Counter, make_server
from cli.banksim.founding import found_bank
from cli.banksim.sending import Sender
from cli.banksim.store import Store, Terms
from cli.banksim.words import Words
from cli.clients import Books
from cli.workspace import Workspace
from kernel.acts import key_id, public_bytes
from kernel.errors import Conflict, Fault
from kernel.ids import derived_holder_id
from kernel.keys import create_private_key
from kernel.logs import configure_logs

PATIENCE_S: Final = 30.0
DOCUMENT: Final = "sha256 of the settlement agreement"


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    directory: Path
    name: str
    bank: str
    clearing_house: str
    asset: str
    cutoff_minute: int
    port: int
    found: bool
    chance: Chance


def home_of(directory: Path, name: str) -> Path:
    return directory.absolute() / "bank-sim" / name


def run(asked: Asked) -> None:
    """Until it is told to end."""
    asyncio.run(_run(asked))


async def _run(asked: Asked) -> None:
    configure_logs("bank-sim")
    workspace = Workspace(asked.directory)
    home = home_of(asked.directory, asked.name)
    key = create_private_key(home / "bank.key")
    store = Store(home / "books.sqlite3")
    terms = terms_with(store.terms(), _terms(asked))
    store.set_terms(terms)
    bank = Bank(store, terms, asked.chance)
    words = Words(key, terms)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Books(workspace, PATIENCE_S) as books:
        work = asyncio.create_task(_work(asked, bank, words, books, workspace, key))
        server = make_server(Counter(bank, words, workspace.clock), asked.port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _note(home, server.server_port)
        typer.echo(
            f"bank-sim {asked.name}: holder {terms.bank}, clearing house {terms.clearing_house},"
            f" key {key_id(public_bytes(key))}, seed {asked.chance.seed},"
            f" counter http://127.0.0.1:{server.server_port}"
        )
        try:
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if work.done():
                work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            server.shutdown()
            store.close()


async def _work(
    asked: Asked,
    bank: Bank,
    words: Words,
    books: Books,
    place: Workspace,
    key: Ed25519PrivateKey,
) -> None:
    """Founds the bank, if that is asked for, and then is it for ever."""
    while asked.found:
        try:
            await found_bank(bank, words, key, books, place.clock, asked.name)
            break
        except (Conflict, Fault) as error:  # services that are only just starting, or away
            typer.echo(f"waiting: {error}", err=True)
            await asyncio.sleep(1.0)
    await Sender(bank, words, books, place.clock).run()


def _terms(asked: Asked) -> Terms:
    bank = asked.bank or derived_holder_id("bank-sim", asked.name)
    house = asked.clearing_house or derived_holder_id("bank-sim", asked.name, "clearing house")
    return Terms(bank, house, asked.asset, asked.cutoff_minute, DOCUMENT)


def _note(home: Path, port: int) -> None:
    """Where its counter is, for who has started it."""
    fresh = home / "counter.new"
    fresh.write_text(json.dumps({"port": port, "pid": os.getpid()}) + "\n", encoding="utf-8")
    fresh.replace(home / "counter.json")
