"""What a process is told, all of it by the environment; read once, at start, into plain values.

In production the development helpers are refused: the clock file, crash points, plain TCP beyond
loopback. A missing variable is one clear line and exit code 2, never a traceback.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from kernel.errors import Misconfigured

DEFAULT_LOG_PREFIX: Final = "tanzhang.local"
# Between two snapshots; 0: none are made. Replaying them again takes about ten seconds.
DEFAULT_SNAPSHOT_EVENTS: Final = 500_000
MODES: Final = ("development", "production")


class Listen(msgspec.Struct, frozen=True):
    """Where a server binds: anything but loopback needs a certificate and its key."""

    host: str
    port: int
    tls_certificate: Path | None
    tls_key: Path | None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class Settings(msgspec.Struct, frozen=True):
    """Common to every service process."""

    service: str
    production: bool
    database_url: str
    nats_url: str
    listen: Listen
    metrics_port: int
    identities: Path
    operator_vkey: str
    frame_key: Path
    token_key: Path
    log_prefix: str
    clock_file: Path | None
    tls_authority: Path | None
    snapshot_events: int

    def root_certificate(self) -> bytes | None:
        """What our calls to other processes trust; None: they speak plainly, over loopback."""
        return None if self.tls_authority is None else self.tls_authority.read_bytes()


class Environment:
    """Typed reading of variables; every failure names the variable."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = os.environ if values is None else values

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.get(f"TANZHANG_{name}", default)
        if value is None or value == "":
            raise Misconfigured(f"TANZHANG_{name} is not set")
        return value

    def optional(self, name: str) -> str | None:
        return self._values.get(f"TANZHANG_{name}") or None

    def integer(self, name: str, default: int | None = None) -> int:
        text = self.text(name, None if default is None else str(default))
        if not text.isdecimal():
            raise Misconfigured(f"TANZHANG_{name}: expected a whole number, got {text!r}")
        return int(text)

    def path(self, name: str) -> Path:
        return Path(self.text(name))

    def optional_path(self, name: str) -> Path | None:
        value = self.optional(name)
        return None if value is None else Path(value)


def load_settings(service: str, env: Environment) -> Settings:
    """Raises Misconfigured with one line that says what is wrong."""
    production, clock_file = load_mode(env)
    return Settings(
        service=service,
        production=production,
        database_url=env.text("DATABASE_URL"),
        nats_url=env.text("NATS_URL"),
        listen=load_listen(env),
        metrics_port=env.integer("METRICS_PORT"),
        identities=env.path("IDENTITIES"),
        operator_vkey=env.text("OPERATOR_VKEY"),
        frame_key=env.path("FRAME_KEY"),
        token_key=env.path("TOKEN_KEY"),
        log_prefix=env.text("LOG_PREFIX", DEFAULT_LOG_PREFIX),
        clock_file=clock_file,
        tls_authority=env.optional_path("TLS_AUTHORITY"),
        snapshot_events=env.integer("SNAPSHOT_EVENTS", DEFAULT_SNAPSHOT_EVENTS),
    )


def load_mode(env: Environment) -> tuple[bool, Path | None]:
    """Is this production, and the development clock's file if it is not."""
    mode = env.text("MODE", "development")
    if mode not in MODES:  # a typing error must not quietly mean the laxer one
        raise Misconfigured(f"TANZHANG_MODE: expected {' or '.join(MODES)}, got {mode!r}")
    production = mode == "production"
    clock_file = env.optional_path("CLOCK_FILE")
    if production and (clock_file is not None or env.optional("CRASH")):
        raise Misconfigured("TANZHANG_CLOCK_FILE and TANZHANG_CRASH are refused in production")
    return production, clock_file


def load_listen(env: Environment) -> Listen:
    """Where to bind. Raises Misconfigured for anything but loopback without TLS."""
    host, _, port = env.text("LISTEN").rpartition(":")
    certificate, key = env.optional_path("TLS_CERTIFICATE"), env.optional_path("TLS_KEY")
    if not port.isdecimal():
        raise Misconfigured(f"TANZHANG_LISTEN: expected host:port, got {env.text('LISTEN')!r}")
    if not is_loopback(host) and (certificate is None or key is None):
        raise Misconfigured(
            f"TANZHANG_LISTEN: {host} is not loopback: a TLS certificate and key are needed"
        )
    return Listen(host, int(port), certificate, key)


def is_loopback(host: str) -> bool:
    """Only addresses count: a name may point anywhere tomorrow."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
