"""States as the tools call them: files that prove a lien, through the door of cli/clients.py."""

from __future__ import annotations

from typing import Any, Final

from tanzhang.ledger.v1 import states_pb2 as pb
from tanzhang.ledger.v1 import states_pb2_grpc

from cli.clients import Books, Persona

DEADLINE_S: Final = 30.0  # a state may have to be committed to, and witnessed, first


class States:
    def __init__(self, books: Books) -> None:
        self._books = books

    @property
    def _stub(self) -> Any:
        return states_pb2_grpc.StateServiceStub(self._books.channel("ledger"))

    async def lien(self, who: Persona, lien: str, min_position: int) -> bytes:
        """The `.lien` file of a state that has this event of the accounts book."""
        request = pb.GetLienRequest(lien=lien, min_position=min_position)
        answer = await self._books.call(self._stub.GetLien, request, who, DEADLINE_S)
        return bytes(answer.file)
