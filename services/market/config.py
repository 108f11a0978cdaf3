"""What the market process is told besides the common settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kernel.config import Environment, Settings, load_settings

SERVICE = "market"
BOOK = "market"  # also the venue's name: the ref of its trading accounts, venue:<it> its key


class Config(msgspec.Struct, frozen=True):
    settings: Settings
    accounts: str  # host:port of the accounts service
    ledger: str  # host:port of the ledger service
    venue_key: Path  # the venue's own private key: it signs what is settled


def load_config(env: Environment) -> Config:
    return Config(
        load_settings(SERVICE, env),
        env.text("PEER_ACCOUNTS"),
        env.text("PEER_LEDGER"),
        env.path("VENUE_KEY"),
    )
