"""Which loopback port each server and service of one folder listens on, remembered between starts.

A port counts as free when it can be bound now; nothing reserves it until its server binds it, so a
server must still be ready to be refused. Only 127.0.0.1 is looked at.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path

from cli.stack import StackFault

LAST_PORT = 65535
FIRST_PORT = 15_000  # above what is commonly installed
DRAWS = 200


def standby_name(service: str) -> str:
    """What the second process of a service goes by."""
    return f"{service}-2"


def free_port() -> int:
    """A loopback TCP port that nobody uses at this moment, drawn at random.

    Below those that the kernel gives to outgoing connections: one of them could otherwise sit on
    the port of a process that has just died, and keep it from coming back.
    """
    end = _first_outgoing_port()
    for _ in range(DRAWS):
        port = FIRST_PORT + secrets.randbelow(end - FIRST_PORT) if end > FIRST_PORT else 0
        if port and is_free(port):
            return port
    return _port_of_the_kernel()


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):  # not Linux: where most others begin
        return 32_768


def _port_of_the_kernel() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could bind 127.0.0.1:`port` now (closing connections do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As our servers do: without it, a port is refused for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class PortBook:
    """Ports by name, kept in one JSON file: the same names get the same ports at the next start.

    Durable: the file is replaced atomically after each new choice. Idempotent: a name asked twice
    of one book gets one port. With `base`, the first name gets exactly that port and the others the
    next free ones, in the order they are asked; without, the remembered port if it is still free,
    else one drawn at random. The file is a convenience: delete it and others are chosen.
    """

    def __init__(self, path: Path, base: int | None = None) -> None:
        if base is not None and not 1 <= base <= LAST_PORT:
            raise StackFault(f"expected a base port from 1 to {LAST_PORT}, got {base}")
        self._path = path
        self._base = base
        self._given: dict[str, int] = {}
        self._remembered = self._read()

    def port(self, name: str) -> int:
        """The port of `name`. Raises StackFault if the base port is taken or ports run out."""
        if name not in self._given:
            self._given[name] = self._choose(name)
            if self._remembered.get(name) != self._given[name]:
                self._remembered[name] = self._given[name]
                self._write()
        return self._given[name]

    def all(self) -> dict[str, int]:
        """Every port given out by this book since it was opened, by name."""
        return dict(self._given)

    def _choose(self, name: str) -> int:
        if self._base is not None:
            return self._next_from(self._base)
        remembered = self._remembered.get(name)
        if (
            remembered is not None
            and remembered not in self._given.values()
            and is_free(remembered)
        ):
            return remembered
        # Another name's remembered port may be free only because its server is not up yet.
        spoken_for = {*self._given.values(), *self._remembered.values()}
        port = free_port()
        while port in spoken_for:
            port = free_port()
        return port

    def _next_from(self, base: int) -> int:
        if not self._given:
            if not is_free(base):
                raise StackFault(
                    f"port {base} is taken: expected it free, choose another base port"
                )
            return base
        for port in range(max(self._given.values()) + 1, LAST_PORT + 1):
            if is_free(port):
                return port
        raise StackFault(f"no free port between {base} and {LAST_PORT}")

    def _read(self) -> dict[str, int]:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StackFault(f"{self._path} is not JSON: delete it to choose new ports") from error
        if not isinstance(stored, dict) or not all(
            type(port) is int and 1 <= port <= LAST_PORT for port in stored.values()
        ):
            raise StackFault(
                f"expected names with ports from 1 to {LAST_PORT} in {self._path}, got {stored!r}: "
                "delete it to choose new ports"
            )
        return stored

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(self._remembered, file, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
