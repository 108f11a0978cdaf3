"""A small TCP proxy on loopback: passes, delays, hangs, refuses, and cuts by RST or FIN.

Each `Link` is one way from somebody to somebody, on a port of its own, so that a fault hits one
pair of processes and nobody else. All links run on one thread with one event loop; the proxy's own
methods may be called from any thread. It knows no protocol and no process.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
CONNECT_S = 5.0  # loopback answers at once, or the process there stands still
CALL_S = 10.0  # for the proxy's own thread to do what it is told

T = TypeVar("T")


class Cut(StrEnum):
    """How a connection ends: in the middle of a word, or after what was said."""

    RST = "rst"
    FIN = "fin"


class Link:
    """One listening port, and the port it leads to."""

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.target = target
        self.port = 0
        self.carried = 0  # connections so far
        self._delay_s = 0.0
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut(Cut.RST)

    async def delay(self, delay_ms: int) -> None:
        """What is said from now on arrives so much later, in order."""
        self._delay_s = delay_ms / 1000

    async def hang(self) -> None:
        """Lets everybody in and says nothing; what is said meanwhile arrives after `heal`."""
        self._flowing.clear()

    async def refuse(self) -> None:
        """Whoever comes is sent away; who is there is cut off."""
        self._refusing = True
        await self.cut(Cut.RST)

    async def cut(self, how: Cut) -> None:
        """Ends every connection there is; new ones are let in."""
        pairs, self._pairs = self._pairs, {}
        for task, writers in pairs.items():
            for writer in writers:
                _end(writer, how)
            task.cancel()
        await asyncio.gather(*pairs, return_exceptions=True)

    async def heal(self) -> None:
        self._delay_s, self._refusing = 0.0, False
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if self._refusing or task is None:
            _end(writer, Cut.RST)
            return
        self.carried += 1
        writers = self._pairs[task] = [writer]
        try:
            await self._flowing.wait()
            there, back = await self._reach()
            writers.append(back)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except (OSError, TimeoutError, asyncio.CancelledError):
            for one in writers:
                _end(one, Cut.RST)
        finally:
            self._pairs.pop(task, None)
            for one in writers:
                one.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(LOOPBACK, self.target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _end(writer: asyncio.StreamWriter, how: Cut) -> None:
    if how is Cut.FIN:
        writer.close()
        return
    spoken: socket.socket | None = writer.get_extra_info("socket")
    if spoken is not None and spoken.fileno() >= 0:
        spoken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class TcpProxy:
    """Links by name, on a thread of their own; `with` it."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._guard = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for link in self.links.values():
            self._run(link.close())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()

    def link(self, name: str, target: int) -> Link:
        """The link of this name, opened when it is first asked for."""
        with self._guard:
            if name not in self.links:
                made = self._run(self._made(name, target))
                self.links[name] = made
        found = self.links[name]
        if found.target != target:
            raise ValueError(f"{name}: expected port {found.target}, got {target}")
        return found

    @staticmethod
    async def _made(name: str, target: int) -> Link:
        link = Link(name, target)
        await link.open()
        return link

    def do(self, act: Callable[[Link], Coroutine[Any, Any, None]], *names: str) -> None:
        """One act on some links, on all of them without names."""
        for name in names or tuple(self.links):
            self._run(act(self.links[name]))

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(CALL_S)
