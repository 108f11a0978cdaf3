"""One NATS server for many worlds: an account of NATS for each, so that equal subjects never meet.

The server is the embedded one; only its list of users is replaced by rooms, each with the operator
and the services of a world, with the rights they have in a real folder, under names of the room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cli.stack.nats import OPERATOR, EmbeddedNats, NatsUser, _user_entry, operator
from cli.stack.nats import service_permissions as permissions
from cli.stack.provision import SERVICES

ROOMS = 64
# Streams reserve what they may grow to: 2 GiB each, far more than all worlds ever write.
RESERVED_BYTES = ROOMS * 2 * 2 * 2 * 1024**3


class SharedNats(EmbeddedNats):
    """`take_room` hands each world its own urls; rooms are not used twice."""

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory, port, [])
        self._rooms = [_room(f"w{number:02}") for number in range(ROOMS)]
        self._taken = 0

    def take_room(self) -> Mapping[str, str]:
        """Urls by user: `operator` and every service."""
        room = self._rooms[self._taken]
        self._taken += 1
        return {
            name: f"nats://{user.name}:{user.password}@127.0.0.1:{self.port}"
            for name, user in room.items()
        }

    def _configuration(self) -> dict[str, object]:
        configuration = super()._configuration()
        del configuration["authorization"]
        configuration["jetstream"] = {
            "store_dir": str(self.home),
            "max_file_store": RESERVED_BYTES,
        }
        configuration["accounts"] = {
            f"room-{number}": {
                "jetstream": "enabled",
                "users": [_user_entry(user) for user in room.values()],
            }
            for number, room in enumerate(self._rooms)
        }
        return configuration


def _room(name: str) -> dict[str, NatsUser]:
    users = {OPERATOR: operator(f"{name}-in-tests")}
    for service, card in SERVICES.items():
        users[service] = permissions(service, card.books, card.follows, f"{name}-in-tests")
    return {key: replace(user, name=f"{name}-{key}") for key, user in users.items()}
