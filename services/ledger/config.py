"""What the ledger process is told besides the common settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kernel.config import Environment, Settings, load_settings

SERVICE = "ledger"
BOOK = "ledger"
FOLLOWED = ("accounts", BOOK)


class Config(msgspec.Struct, frozen=True):
    settings: Settings
    accounts: str  # host:port of the accounts service
    log_keys: Path  # a folder with one private note key per log, <book>.skey
    checkpoints: Path  # a folder outside PostgreSQL: the last signed checkpoint of each log


def load_config(env: Environment) -> Config:
    return Config(
        load_settings(SERVICE, env),
        env.text("PEER_ACCOUNTS"),
        env.path("LOG_KEYS"),
        env.path("CHECKPOINTS"),
    )
