"""What the gateway is told: where it listens, whom it believes, where the services are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from kernel.config import Environment, Listen, load_listen, load_mode

SERVICE: Final = "gateway"
PEERS: Final = ("accounts", "registry", "market", "inclusive", "ledger")


class Config(msgspec.Struct, frozen=True):
    production: bool
    listen: Listen
    metrics_port: int
    identities: Path
    operator_vkey: str
    clock_file: Path | None
    tls_authority: Path | None
    policy: Path | None  # what the verify page suggests to its readers
    peers: Mapping[str, str]  # service to host:port

    def root_certificate(self) -> bytes | None:
        """What our calls to the services trust; None: they speak plainly, over loopback."""
        return None if self.tls_authority is None else self.tls_authority.read_bytes()


def load_config(env: Environment) -> Config:
    """Raises Misconfigured with one line that says what is wrong."""
    production, clock_file = load_mode(env)
    return Config(
        production=production,
        listen=load_listen(env),
        metrics_port=env.integer("METRICS_PORT"),
        identities=env.path("IDENTITIES"),
        operator_vkey=env.text("OPERATOR_VKEY"),
        clock_file=clock_file,
        tls_authority=env.optional_path("TLS_AUTHORITY"),
        policy=env.optional_path("POLICY"),
        peers={peer: env.text(f"PEER_{peer.upper()}") for peer in PEERS},
    )
