"""What the inclusive process is told besides the common settings."""

from __future__ import annotations

import msgspec

from kernel.config import Environment, Settings, load_settings

SERVICE = "inclusive"
BOOK = "inclusive"


class Config(msgspec.Struct, frozen=True):
    settings: Settings
    ledger: str  # host:port of the ledger service


def load_config(env: Environment) -> Config:
    return Config(load_settings(SERVICE, env), env.text("PEER_LEDGER"))
