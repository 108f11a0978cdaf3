"""The demo's own story, told in a world: the whole way through all services, as a user takes it."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Self

from rich.console import Console

from cli.clients import Books
from cli.story import Figures, Story
from cli.telling import Teller
from cli.workspace import Workspace
from tests.support.world import World

PATIENCE_S = 90.0  # with services that die and come back, on a shared machine


class Tale:
    """One telling in a thread of its own, so that the world can be broken meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._said = io.StringIO()
        self._figures: Figures | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tale", daemon=True)

    def begin(self) -> Self:
        self._thread.start()
        return self

    @property
    def going_on(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> Figures:
        """The figures, once it is told; fails with what came out otherwise than told."""
        self._thread.join()
        if self._error is not None:
            raise AssertionError(f"the story broke:\n{self._said.getvalue()}") from self._error
        assert self._figures is not None
        return self._figures

    def _run(self) -> None:
        try:
            self._figures = asyncio.run(self._tell())
        except BaseException as error:
            self._error = error

    async def _tell(self) -> Figures:
        console = Console(file=self._said, width=100, force_terminal=False)
        workspace = Workspace(self._world.directory)
        async with Books(workspace, PATIENCE_S) as books:
            return await Story(workspace, books, Teller(console)).tell()


def tell(world: World) -> Figures:
    return Tale(world).begin().end()
