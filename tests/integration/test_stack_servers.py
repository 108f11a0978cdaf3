"""The embedded servers, for real: PostgreSQL and NATS started, killed, orphaned and refused.

Everything runs on loopback in temporary folders, with the settings a user gets (fsync on). The
services here are those of the house; their rows are people's and places'.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString, NamedTuple

import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig, DeliverPolicy, StorageType, StreamConfig, StreamSource

from cli.stack import StackFault, children_of, is_alive, kill_tree
from cli.stack.nats import (
    EmbeddedNats,
    NatsUser,
    StreamKeeper,
    operator,
    service_permissions,
    stream_name,
)
from cli.stack.ports import PortBook, free_port, is_free
from cli.stack.postgres import EmbeddedPostgres, drop_database, ensure_database, ensure_service

PASSWORDS = {"accounts": "wind-over-meishan", "registry": "lanzhou-new-area"}
PATIENCE_S = 10.0  # a shared machine; everything awaited normally takes milliseconds

Row = tuple[object, ...]


def connect(url: str) -> psycopg.Connection[Row]:
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(plain, autocommit=True, connect_timeout=10)


def ask(url: str, query: LiteralString) -> list[Row]:
    with connect(url) as session:
        return session.execute(query).fetchall()


# ---------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("var"), free_port()) as server:
        ensure_database(server.admin_url(), "tanzhang")
        for service, password in PASSWORDS.items():
            ensure_service(server.admin_url(), "tanzhang", service, password)
        yield server


def service_url(server: EmbeddedPostgres, service: str, database: str = "tanzhang") -> str:
    return server.url(service, PASSWORDS[service], database)


def test_postgres_keeps_its_promises_of_durability_and_of_loopback(
    postgres: EmbeddedPostgres,
) -> None:
    shown = ask(
        postgres.admin_url(),
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
        " current_setting('full_page_writes'), current_setting('data_checksums'),"
        " current_setting('listen_addresses'), current_setting('unix_socket_directories'),"
        " current_setting('server_encoding')",
    )
    assert shown == [("on", "on", "on", "on", "127.0.0.1", "", "UTF8")]
    provider = ask(
        postgres.admin_url(),
        "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = 'tanzhang'",
    )
    assert provider == [("b", "C.UTF-8")]


def test_the_superusers_password_is_random_and_for_its_owner_only(
    postgres: EmbeddedPostgres,
) -> None:
    password = postgres.home.parent / "keys" / "postgres" / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.parent.stat().st_mode & 0o777 == 0o700
    assert len(password.read_text().strip()) == 48
    stored = ask(postgres.admin_url(), "SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    assert all(str(verifier).startswith("SCRAM-SHA-256$") for (verifier,) in stored)


@pytest.mark.parametrize("role", ["postgres", "accounts"])
def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(postgres.url(role, "guessed", "tanzhang"))


def test_a_service_reads_its_own_schema_and_no_other(postgres: EmbeddedPostgres) -> None:
    with connect(service_url(postgres, "accounts")) as accounts:
        accounts.execute("CREATE TABLE IF NOT EXISTS holders (name text, quantity_t bigint)")
        accounts.execute("INSERT INTO holders VALUES ('兰州新区 forest farm', 500)")
        assert accounts.execute("SHOW search_path").fetchall() == [("accounts",)]
    with connect(service_url(postgres, "registry")) as registry:
        for forbidden in (
            "SELECT * FROM accounts.holders",
            "CREATE TABLE accounts.intruder (a int)",
            "CREATE TABLE public.intruder (a int)",
            "CREATE SCHEMA intruder",
            "CREATE TEMPORARY TABLE intruder (a int)",
            "SET ROLE accounts",
            "CREATE ROLE intruder",
            "SELECT rolpassword FROM pg_authid",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                registry.execute(forbidden)


def test_a_service_connects_to_its_database_only(postgres: EmbeddedPostgres) -> None:
    ensure_database(postgres.admin_url(), "elsewhere")
    for database in ("postgres", "template1", "elsewhere"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(service_url(postgres, "accounts", database))


def test_a_service_ends_the_sessions_of_its_own_role_and_no_others(
    postgres: EmbeddedPostgres,
) -> None:
    with (
        connect(service_url(postgres, "accounts")) as old_writer,
        connect(service_url(postgres, "registry")) as stranger,
        connect(service_url(postgres, "accounts")) as taker,
    ):
        seen = taker.execute(
            "SELECT pid, state, query FROM pg_stat_activity"
            " WHERE usename = 'accounts' AND pid <> pg_backend_pid()"
        ).fetchall()
        assert [pid for pid, state, _ in seen if state is not None] == [old_writer.info.backend_pid]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            taker.execute("SELECT pg_terminate_backend(%s)", [stranger.info.backend_pid])
        taker.execute("SELECT pg_terminate_backend(%s, 5000)", [old_writer.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            old_writer.execute("SELECT 1")


def test_provisioning_again_changes_nothing_but_the_password(postgres: EmbeddedPostgres) -> None:
    admin_url = postgres.admin_url()
    assert ensure_database(admin_url, "again") is True
    ensure_service(admin_url, "again", "inclusive", "first-ride")
    with connect(postgres.url("inclusive", "first-ride", "again")) as session:
        session.execute("CREATE TABLE riders (name text)")
    assert ensure_database(admin_url, "again") is False
    ensure_service(admin_url, "again", "inclusive", 'it\'s "quoted" @ 深圳/%41')
    url = postgres.url("inclusive", 'it\'s "quoted" @ 深圳/%41', "again")
    assert ask(url, "SELECT * FROM riders") == []
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(postgres.url("inclusive", "first-ride", "again"))


def test_a_database_from_a_template_has_its_tables_and_its_rights(
    postgres: EmbeddedPostgres,
) -> None:
    admin_url = postgres.admin_url()
    ensure_database(admin_url, "template_accounts")
    ensure_service(admin_url, "template_accounts", "accounts", PASSWORDS["accounts"])
    with connect(service_url(postgres, "accounts", "template_accounts")) as session:
        session.execute("CREATE TABLE holders (name text)")
        session.execute("INSERT INTO holders VALUES ('Shenzhen commuter')")
    assert ensure_database(admin_url, "copy_1", template="template_accounts") is True
    copied = ask(service_url(postgres, "accounts", "copy_1"), "SELECT name FROM holders")
    assert copied == [("Shenzhen commuter",)]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(service_url(postgres, "registry", "copy_1"))


def test_dropping_a_database_ends_its_sessions_and_can_be_repeated(
    postgres: EmbeddedPostgres,
) -> None:
    ensure_database(postgres.admin_url(), "shortlived")
    with connect(postgres.admin_url("shortlived")) as session:
        drop_database(postgres.admin_url(), "shortlived")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    drop_database(postgres.admin_url(), "shortlived")


def test_a_second_supervisor_is_refused_and_harms_nothing(postgres: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(postgres.home.parent, free_port())
    with pytest.raises(StackFault, match="in use by another running supervisor"):
        second.start()
    assert ask(postgres.admin_url(), "SELECT 1") == [(1,)]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path, free_port())
    server.start()
    with connect(server.admin_url()) as session:
        session.execute("CREATE TABLE retired (who text, quantity_t bigint)")
    yield server
    server.kill()


def retire(server: EmbeddedPostgres, who: str) -> None:
    with connect(server.admin_url()) as session:
        session.execute("INSERT INTO retired VALUES (%s, 12)", [who])


def retired(server: EmbeddedPostgres) -> list[Row]:
    return ask(server.admin_url(), "SELECT who FROM retired ORDER BY who")


def test_what_was_committed_survives_every_way_to_end_and_the_death_of_the_postmaster(
    own_postgres: EmbeddedPostgres,
) -> None:
    retire(own_postgres, "1 Meishan wind farm")
    own_postgres.kill()
    assert not own_postgres.running
    assert own_postgres.pid is None
    own_postgres.start()
    retire(own_postgres, "2 Panzhihua steel")
    own_postgres.stop(fast=False)
    own_postgres.start()
    retire(own_postgres, "3 兰州新区 forest farm")
    own_postgres.stop()
    own_postgres.start()
    retire(own_postgres, "4 Shenzhen commuter")

    # The postmaster alone: its children still hold the shared memory when we start again.
    assert own_postgres.pid is not None
    with connect(own_postgres.admin_url()) as busy:
        busy.execute("SELECT 1")
        os.kill(own_postgres.pid, signal.SIGKILL)
        while own_postgres.running:
            time.sleep(0.001)
        own_postgres.start()
    assert [str(who)[0] for (who,) in retired(own_postgres)] == ["1", "2", "3", "4"]


def test_start_waits_for_a_backend_that_outlives_the_postmaster(
    own_postgres: EmbeddedPostgres,
) -> None:
    retire(own_postgres, "Meishan wind farm")
    assert own_postgres.pid is not None
    with connect(own_postgres.admin_url()) as session:
        backend = session.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # it still holds the shared memory and cannot let go
        os.kill(own_postgres.pid, signal.SIGKILL)
        while own_postgres.running:
            time.sleep(0.001)
        release = threading.Timer(0.5, os.kill, (backend, signal.SIGCONT))
        release.start()
        own_postgres.start()
        release.join()
    assert retired(own_postgres) == [("Meishan wind farm",)]
    assert "pre-existing shared memory block" in own_postgres.log.read_text()


def test_kill_leaves_no_child_behind(own_postgres: EmbeddedPostgres) -> None:
    assert own_postgres.pid is not None
    children = children_of(own_postgres.pid)
    assert len(children) >= 4
    own_postgres.kill()
    assert not [pid for pid in children if is_alive(pid)]


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.kill()
    pid_file = own_postgres.data / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        own_postgres.start()
        assert retired(own_postgres) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_wrong_or_missing_password_file_is_named(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.stop()
    (own_postgres.home.parent / "keys" / "postgres" / "password").write_text("another\n")
    with pytest.raises(StackFault, match=r"expected the password of postgres in .*keys"):
        own_postgres.start()
    (own_postgres.home.parent / "keys" / "postgres" / "password").unlink()
    with pytest.raises(StackFault, match="found no file"):
        own_postgres.start()
    assert not own_postgres.running


def test_a_failed_start_shows_the_servers_own_last_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedPostgres(tmp_path, taken.getsockname()[1])
        with pytest.raises(StackFault, match=r"could not bind(.|\n)*Address already in use"):
            server.start()
    server.start()  # the folder was left usable, and free
    server.stop()


def test_root_without_user_namespaces_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root needs a user namespace")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackFault, match="run as an ordinary user, or allow user namespaces"):
        EmbeddedPostgres(tmp_path, free_port()).start()


ORPHAN_MAKER = """
import os, sys
from pathlib import Path
from cli.stack.nats import EmbeddedNats
from cli.stack.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]), int(sys.argv[2]))
broker = EmbeddedNats(Path(sys.argv[1]), int(sys.argv[3]), [])
postgres.start()
broker.start()
print(postgres.pid, broker.pid, flush=True)
os._exit(9)
"""


def test_servers_orphaned_by_a_killed_supervisor_are_ended_before_the_next_start(
    tmp_path: Path,
) -> None:
    ports = [free_port(), free_port()]
    made = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, str(tmp_path), *map(str, ports)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    orphans = [int(pid) for pid in made.stdout.split()]
    try:
        assert len(orphans) == 2
        assert all(is_alive(pid) for pid in orphans)
        with EmbeddedPostgres(tmp_path, ports[0]) as server, EmbeddedNats(tmp_path, ports[1], []):
            assert ask(server.admin_url(), "SELECT 1") == [(1,)]
            assert not any(is_alive(pid) for pid in orphans)
    finally:
        for pid in filter(is_alive, orphans):
            kill_tree(pid)


# ---------------------------------------------------------------------------------------- NATS

FRAMES = "tanzhang.accounts.frames"
STREAM = "TANZHANG_ACCOUNTS"
HEARD_NOTHING_S = 0.3

USERS = [
    operator("op-secret"),
    service_permissions("accounts", ["accounts"], ["registry"], "acc-secret"),
    service_permissions("ledger", ["ledger"], ["accounts", "registry"], "led-secret"),
    NatsUser("nobody", "no-secret", publish=(), subscribe=()),
]


class Voice(NamedTuple):
    """A connected user and what the server refused it."""

    client: Client
    refused: list[str]

    async def was_refused(self, subject: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(f'"{subject.lower()}"' in text.lower() for text in self.refused):
            assert time.monotonic() < deadline, f"{subject} was not refused: {self.refused}"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def speaking(server: EmbeddedNats, user: str) -> AsyncIterator[Voice]:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(
        server.url(user), inbox_prefix=f"_INBOX.{user}", error_cb=note, allow_reconnect=False
    )
    try:
        yield Voice(client, refused)
    finally:
        await client.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(tmp_path, free_port(), USERS) as server:
        yield server


def accounts_stream() -> StreamConfig:
    return StreamConfig(
        name=STREAM,
        subjects=[FRAMES],
        storage=StorageType.FILE,
        max_bytes=64 * 1024 * 1024,
        deny_delete=True,
        deny_purge=True,
    )


async def make_stream(server: EmbeddedNats) -> None:
    """As the operator, who alone may."""
    async with speaking(server, "operator") as everyone:
        await everyone.client.jetstream().add_stream(accounts_stream())


async def test_frames_of_accounts_reach_the_ledger_through_an_ordered_consumer(
    broker: EmbeddedNats,
) -> None:
    await make_stream(broker)
    async with speaking(broker, "accounts") as accounts, speaking(broker, "ledger") as ledger:
        owner, follower = accounts.client.jetstream(), ledger.client.jetstream()
        await owner.publish(FRAMES, b"before the ledger listens")
        heads = await ledger.client.subscribe("tanzhang.accounts.head")
        frames = await follower.subscribe(
            FRAMES,
            stream=stream_name("accounts"),
            ordered_consumer=True,
            config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
        )
        # 12 MiB, so that the server asks for flow control on the way.
        sent = [bytes([n]) * (512 * 1024 - 1024) for n in range(24)]
        for frame in sent:
            await owner.publish(FRAMES, frame)
        got = [(await frames.next_msg(PATIENCE_S)).data for _ in sent]
        assert got == sent
        await accounts.client.publish("tanzhang.accounts.head", b"24")
        assert (await heads.next_msg(PATIENCE_S)).data == b"24"
        assert (await follower.stream_info(STREAM)).state.messages == 25
        info = await frames.consumer_info()
        assert await follower.delete_consumer(STREAM, info.name)
        await frames.unsubscribe()
        assert (accounts.refused, ledger.refused) == ([], [])


async def test_a_service_speaks_for_its_own_books_only(broker: EmbeddedNats) -> None:
    async with (
        speaking(broker, "operator") as everyone,
        speaking(broker, "accounts") as accounts,
        speaking(broker, "ledger") as ledger,
    ):
        heard = await everyone.client.subscribe("tanzhang.>")
        await everyone.client.flush()
        await make_stream(broker)
        for voice, subject in (
            (accounts, "tanzhang.ledger.frames"),
            (accounts, "tanzhang.ledger.head"),
            (accounts, "tanzhang.registry.head"),
            (ledger, FRAMES),
            (ledger, "tanzhang.accounts.head"),
            (ledger, "_INBOX.accounts.forged"),
        ):
            await voice.client.publish(subject, b"forged")
            await voice.was_refused(subject)
        with pytest.raises(NatsTimeout):
            await heard.next_msg(HEARD_NOTHING_S)
        info = await everyone.client.jetstream().stream_info(STREAM)
        assert info.state.messages == 0


async def test_a_service_hears_its_own_inbox_and_the_heads_it_follows_only(
    broker: EmbeddedNats,
) -> None:
    async with speaking(broker, "accounts") as accounts:
        for subject in (
            "tanzhang.ledger.head",
            "tanzhang.registry.frames",
            "tanzhang.>",
            "_INBOX.ledger.>",
            "_INBOX.>",
            "$JS.>",
            ">",
        ):
            await accounts.client.subscribe(subject)
            await accounts.was_refused(subject)


async def test_no_service_makes_or_changes_a_stream_not_even_its_own(
    broker: EmbeddedNats,
) -> None:
    async with speaking(broker, "accounts") as accounts:
        own = accounts.client.jetstream(timeout=0.2)
        with pytest.raises((NatsTimeout, NatsError)):
            await own.add_stream(accounts_stream())
        await accounts.was_refused(f"$JS.API.STREAM.CREATE.{STREAM}")
        await make_stream(broker)
        # What a thief would want: frames of the ledger under the name of accounts.
        thief = accounts_stream().evolve(sources=[StreamSource(name="TANZHANG_LEDGER")])
        with pytest.raises((NatsTimeout, NatsError)):
            await own.update_stream(thief)
        await accounts.was_refused(f"$JS.API.STREAM.UPDATE.{STREAM}")
    async with speaking(broker, "operator") as everyone:
        streams = await everyone.client.jetstream().streams_info()
        assert [(one.config.name, one.config.sources) for one in streams] == [(STREAM, None)]


def test_a_vanished_stream_is_made_again_by_the_operator(broker: EmbeddedNats) -> None:
    told: list[str] = []
    keeper = StreamKeeper(broker.url("operator"), ["accounts", "ledger"], told.append)
    keeper.start()
    try:
        assert asyncio.run(stream_names(broker)) == {STREAM, "TANZHANG_LEDGER"}
        broker.stop()
        shutil.rmtree(broker.store)
        broker.start()
        deadline = time.monotonic() + PATIENCE_S
        while asyncio.run(stream_names(broker)) != {STREAM, "TANZHANG_LEDGER"}:
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
    finally:
        keeper.stop()
    assert [line for line in told if "had vanished" in line and STREAM in line]


async def stream_names(server: EmbeddedNats) -> set[str | None]:
    async with speaking(server, "operator") as everyone:
        return {one.config.name for one in await everyone.client.jetstream().streams_info()}


async def test_no_service_deletes_or_purges_a_stream_or_touches_one_it_does_not_follow(
    broker: EmbeddedNats,
) -> None:
    async with (
        speaking(broker, "operator") as everyone,
        speaking(broker, "accounts") as accounts,
        speaking(broker, "ledger") as ledger,
    ):
        await make_stream(broker)
        await accounts.client.jetstream().publish(FRAMES, b"position 0")
        for voice, subject in (
            (accounts, f"$JS.API.STREAM.DELETE.{STREAM}"),
            (accounts, f"$JS.API.STREAM.PURGE.{STREAM}"),
            (accounts, f"$JS.API.STREAM.MSG.DELETE.{STREAM}"),
            (accounts, "$JS.API.STREAM.CREATE.TANZHANG_LEDGER"),
            (accounts, "$JS.API.STREAM.INFO.TANZHANG_LEDGER"),
            (accounts, "$JS.API.CONSUMER.CREATE.TANZHANG_LEDGER"),
            (accounts, "$JS.API.STREAM.NAMES"),
            (ledger, f"$JS.API.STREAM.DELETE.{STREAM}"),
            (ledger, f"$JS.API.STREAM.PURGE.{STREAM}"),
            (ledger, f"$JS.API.STREAM.UPDATE.{STREAM}"),
            (ledger, f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.stays"),
            (ledger, f"$JS.API.STREAM.MSG.GET.{STREAM}"),
        ):
            with pytest.raises(NatsTimeout):
                await voice.client.request(subject, b"", timeout=0.05)
            await voice.was_refused(subject)
        manager = everyone.client.jetstream()
        assert (await manager.stream_info(STREAM)).state.messages == 1
        with pytest.raises(NatsError, match="purge"):
            await manager.purge_stream(STREAM)  # deny_purge binds even the operator


async def test_a_user_without_subjects_may_do_nothing(broker: EmbeddedNats) -> None:
    async with speaking(broker, "nobody") as nobody:
        await nobody.client.publish(FRAMES, b"")
        await nobody.was_refused(FRAMES)
        await nobody.client.subscribe("tanzhang.accounts.head")
        await nobody.was_refused("tanzhang.accounts.head")


@pytest.mark.parametrize(
    "credentials",
    [{}, {"user": "accounts", "pass": "guessed"}, {"user": "stranger", "pass": "acc-secret"}],
)
def test_a_stranger_or_a_wrong_password_does_not_connect(
    broker: EmbeddedNats, credentials: dict[str, str]
) -> None:
    with (
        socket.create_connection(("127.0.0.1", broker.port), PATIENCE_S) as wire,
        wire.makefile("rb") as answers,
    ):
        assert answers.readline().startswith(b"INFO ")
        wire.sendall(b"CONNECT " + json.dumps(credentials).encode() + b"\r\nPING\r\n")
        assert answers.readline() == b"-ERR 'Authorization Violation'\r\n"


async def test_a_stream_survives_kill_and_is_gone_with_its_folder(broker: EmbeddedNats) -> None:
    await make_stream(broker)
    async with speaking(broker, "accounts") as accounts:
        await accounts.client.jetstream().publish(FRAMES, b"position 0")
    broker.kill()
    assert not broker.running
    broker.start()
    async with speaking(broker, "operator") as everyone:
        assert (await everyone.client.jetstream().stream_info(STREAM)).state.messages == 1
    broker.stop()
    shutil.rmtree(broker.store)
    broker.start()
    async with speaking(broker, "operator") as everyone:
        assert await everyone.client.jetstream().streams_info() == []


def test_nats_keeps_its_passwords_to_itself_and_names_what_stopped_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedNats(tmp_path, taken.getsockname()[1], USERS)
        with pytest.raises(StackFault, match="address already in use"):
            server.start()
    assert (tmp_path / "nats" / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert "secret" not in server.log.read_text()


@pytest.mark.parametrize("name", ["*", ">", "accounts.>", "Accounts", "", "accounts\n", "a b"])
def test_names_that_would_open_more_subjects_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a lower-case word"):
        service_permissions("accounts", [name], [], "secret")
    with pytest.raises(ValueError, match="expected a lower-case word"):
        service_permissions("accounts", [], [name], "secret")
    with pytest.raises(ValueError, match="expected a lower-case word"):
        service_permissions(name, [], [], "secret")


def test_a_password_that_would_break_a_url_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a password of letters"):
        operator("p@ss/word")
    with pytest.raises(ValueError, match="expected every user once"):
        EmbeddedNats(Path("var"), 4222, [operator("a"), operator("b")])


# --------------------------------------------------------------------------------------- ports


def test_ports_are_remembered_and_given_up_only_when_taken(tmp_path: Path) -> None:
    path = tmp_path / "var" / "ports.json"
    first = PortBook(path)
    chosen = {name: first.port(name) for name in ("postgres", "nats", "gateway")}
    assert len(set(chosen.values())) == 3
    assert first.port("nats") == chosen["nats"]
    with socket.create_server(("127.0.0.1", chosen["nats"])):
        second = PortBook(path)
        again = {name: second.port(name) for name in chosen}
    assert again["postgres"] == chosen["postgres"]
    assert again["gateway"] == chosen["gateway"]
    assert again["nats"] not in chosen.values()
    assert PortBook(path).port("nats") == again["nats"]
    assert [entry.name for entry in path.parent.iterdir()] == ["ports.json"]


def test_a_base_port_goes_to_the_first_and_the_others_follow_it(tmp_path: Path) -> None:
    base = next(port for port in range(21000, 29000) if all(map(is_free, range(port, port + 4))))
    with socket.create_server(("127.0.0.1", base + 1)):
        book = PortBook(tmp_path / "ports.json", base=base)
        assert [book.port(name) for name in ("gateway", "postgres", "nats")] == [
            base,
            base + 2,
            base + 3,
        ]
        assert book.all() == {"gateway": base, "postgres": base + 2, "nats": base + 3}
    with (
        socket.create_server(("127.0.0.1", base)),
        pytest.raises(StackFault, match=f"port {base} is taken"),
    ):
        PortBook(tmp_path / "ports.json", base=base).port("gateway")


@pytest.mark.parametrize("text", ["{", "[]", '{"nats": "4222"}', '{"nats": 70000}'])
def test_a_damaged_port_file_is_named_not_guessed_around(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(text)
    with pytest.raises(StackFault, match="delete it to choose new ports"):
        PortBook(path)
