"""The states of one ledger, wired: their log with its key, the keeper, and who is shown them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kernel.clock import Clock
from kernel.errors import Misconfigured
from kernel.journal.database import Engine
from kernel.keys import load_secret
from kernel.tlog.states import STATE_BOOK
from services.ledger.books.accounts import AccountsBook
from services.ledger.clients import ACCOUNTS, Owners
from services.ledger.config import MAP_KEY, Config
from services.ledger.log import BookLog
from services.ledger.logkeys import BookKeys
from services.ledger.proving import ServedLog
from services.ledger.queries import StateTiles
from services.ledger.sealing import CheckpointFile, Sealer
from services.ledger.states.keeper import StateKeeper
from services.ledger.states.log import StateLog
from services.ledger.states.maps import StateMaps
from services.ledger.states.proofs import StateProofs
from services.ledger.states.restoring import put_back
from services.ledger.witnessed import WitnessedLog

MAP_KEY_BYTES = 32


class States(NamedTuple):
    served: ServedLog[StateLog]
    keeper: StateKeeper
    proofs: StateProofs


def open_states(
    config: Config,
    engine: Engine,
    clock: Clock,
    keys: BookKeys,
    logs: Mapping[str, ServedLog[BookLog]],
    checker: AccountsBook,
    owners: Owners,
) -> States:
    """Of the accounts book among `logs`. Raises Misconfigured without the keys. Blocks."""
    accounts = logs[ACCOUNTS]
    maps = StateMaps(load_map_key(config))
    tiles = StateTiles(engine)
    own = StateLog(tiles.load_tree())
    file = CheckpointFile(config.checkpoints / f"{STATE_BOOK}.checkpoint")
    sealer = Sealer(own, engine, keys, file, tiles, clock)
    if config.state_mirror is not None and (signed := sealer.last_signed()) is not None:
        put_back(own, engine, signed, config.state_mirror)
    shown = WitnessedLog(STATE_BOOK, sealer, config.policy)
    served = ServedLog(own, sealer, tiles, shown)
    keeper = StateKeeper(
        accounts.log, checker, accounts.sealer, own, sealer, maps, clock, config.state_every_s
    )
    return States(served, keeper, StateProofs(keeper, checker, served, accounts, owners))


def load_map_key(config: Config) -> bytes:
    """The secret of the balance map."""
    text = load_secret(config.log_keys / MAP_KEY).decode("ascii", "replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != MAP_KEY_BYTES:
        raise Misconfigured(f"{MAP_KEY}: expected {2 * MAP_KEY_BYTES} hex digits")
    return key
