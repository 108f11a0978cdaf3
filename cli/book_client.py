"""What each process of a book holds, asked of that very process: the hash of its state."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tanzhang.kernel.v1 import journal_pb2, journal_pb2_grpc

from cli.workspace import Workspace
from kernel.rpc.client import call, open_channel

AGAIN: Final = 5  # a book that is written has gone on between two answers


class StateHash(NamedTuple):
    """Of one process: what it holds, as of which position, and whether it stands by."""

    position: int
    sha256: str
    standby: bool


async def state_hashes(workspace: Workspace, book: str) -> dict[str, StateHash]:
    """By process, of one position if that can be had: the book may be written meanwhile."""
    token = workspace.token("tanzhang-book", roles=["auditor"])
    channels = {name: open_channel(target) for name, target in workspace.processes(book).items()}
    try:
        found: dict[str, StateHash] = {}
        for _ in range(AGAIN):
            least = max((one.position for one in found.values()), default=0)
            found = {name: await _ask(one, book, least, token) for name, one in channels.items()}
            if len({one.position for one in found.values()}) == 1:
                break
        return found
    finally:
        for channel in channels.values():
            await channel.close(None)


async def _ask(channel: Any, book: str, min_position: int, token: str) -> StateHash:
    stub = journal_pb2_grpc.JournalServiceStub(channel)
    request = journal_pb2.GetStateHashRequest(book=book, min_position=min_position)
    answer = await call(stub.GetStateHash, request, token)
    return StateHash(answer.as_of_position, answer.sha256.hex(), answer.standby)
