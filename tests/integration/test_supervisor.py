"""`tanzhang up`, for real: every service as its own process, killed, restarted, orphaned, refused.

The command line is run as a user runs it, in one folder that several tests share; each leaves it
up and well. Where a single process matters, the supervisor is used as a library.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.app import run
from cli.errors import CliError
from cli.stack import StackFault, is_alive, kill_tree
from cli.stack.folder import AlreadyRunning, orphans, recorded_processes, running_note
from cli.stack.nats import EmbeddedNats
from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.provision import BOOKS, PROGRAMS, identities_file, provision
from cli.stack.supervisor import Supervisor
from cli.workspace import Workspace
from kernel.identities import load_identities
from kernel.rpc.health import SERVING, health
from kernel.tlog.states import STATE_BOOK
from tests.support.checkout import ROOT
from tests.support.world import CORE

PATIENCE_S = 30.0  # a shared machine; what is awaited normally takes a second or two
DAY_MS = 86_400_000


def tanzhang(directory: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command as a user does, under a locale that knows no Chinese; exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments, "--dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "POSIX", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    output = done.stdout.decode()
    assert "Traceback" not in output
    return done.returncode, output


def status(directory: Path) -> tuple[int, Any]:
    code, output = tanzhang(directory, "status", "--json")
    return code, json.loads(output)


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def supervisor_pid(directory: Path) -> int:
    note = running_note(directory)
    assert note is not None
    assert isinstance(note["pid"], int)
    return note["pid"]


def pid_of(directory: Path, name: str) -> int | None:
    return recorded_processes(directory)[name]["pid"]


def end_everything(directory: Path) -> None:
    """Whatever a failed test left: by pid, never by name."""
    note = running_note(directory)
    if note is not None and isinstance(note.get("pid"), int):
        kill_tree(supervisor_pid(directory))
    for pid in orphans(directory):
        kill_tree(pid)


# ------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("碳账") / "var"
    try:
        code, output = tanzhang(
            directory,
            "up",
            "--detach",
            TANZHANG_CRASH="journal.committed",
            TANZHANG_LISTEN="[::]:1",
        )
        assert code == 0, output
        assert str(directory / "policy.txt") in output
        yield directory
    finally:
        end_everything(directory)


def is_well(directory: Path) -> bool:
    return status(directory)[0] == 0


def test_up_returns_once_everything_serves_and_status_says_so(house: Path) -> None:
    until(lambda: status(house)[1]["books"]["accounts"]["root"])
    code, seen = status(house)
    assert (code, seen["problems"]) == (0, [])
    assert seen["health"] == dict.fromkeys(PROGRAMS, SERVING)
    assert set(seen["processes"]) == {*PROGRAMS, "nats", "postgres"}
    assert all(entry["alive"] for entry in seen["processes"].values())
    states = seen["books"].pop(STATE_BOOK)  # a log without a book: nobody writes ahead of it
    assert states["head"] is None
    assert states["folded"] >= states["proven"]
    for figures in seen["books"].values():
        # That the head is known proves that a token of the development issuer is believed.
        assert figures["head"] >= figures["folded"] >= figures["proven"] >= 1
        assert figures["halt"] is None
    code, words = tanzhang(house, "status")
    assert code == 0
    assert "all is well" in words


def test_services_get_nothing_of_the_callers_own_settings(house: Path) -> None:
    environ = Path(f"/proc/{pid_of(house, 'accounts')}/environ")
    if not environ.exists():
        pytest.skip("only /proc shows what a process was told")
    told = dict(entry.split("=", 1) for entry in environ.read_text().split("\0") if entry)
    assert "TANZHANG_CRASH" not in told
    assert told["TANZHANG_LISTEN"] == Workspace(house).target("accounts")
    assert told["PATH"] == os.environ["PATH"]
    assert "LC_ALL" not in told


def test_a_second_up_in_the_same_folder_is_refused(house: Path) -> None:
    for arguments in (["up"], ["up", "--detach"]):
        code, output = tanzhang(house, *arguments)
        assert code == 2
        assert f"already running with pid {supervisor_pid(house)}" in output
    with pytest.raises(AlreadyRunning):
        Supervisor(house).start()


def test_a_killed_service_is_started_again_on_its_port(house: Path) -> None:
    target = Workspace(house).target("accounts")
    before = pid_of(house, "accounts")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(house, "accounts") not in (None, before))
    until(lambda: health(target) == SERVING)
    until(lambda: is_well(house))
    assert status(house)[1]["processes"]["accounts"]["restarts"] >= 1


def test_status_names_what_is_down_and_still_answers(house: Path) -> None:
    ledger = pid_of(house, "ledger")
    assert ledger is not None
    os.kill(ledger, signal.SIGSTOP)
    try:
        code, seen = status(house)
    finally:
        os.kill(ledger, signal.SIGCONT)
    assert code == 1
    assert seen["problems"] == ["ledger is UNREACHABLE"]
    assert seen["books"]["accounts"]["head"] >= 1
    assert seen["books"]["accounts"]["folded"] is None
    until(lambda: is_well(house))


@pytest.mark.parametrize("server", ["nats", "postgres"])
def test_a_killed_server_is_started_again_and_the_services_find_it(
    house: Path, server: str
) -> None:
    before = pid_of(house, server)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(house, server) not in (None, before))
    until(lambda: is_well(house))


def test_a_killed_supervisor_is_followed_by_the_next_up_and_leaves_no_orphan(house: Path) -> None:
    identities, ports = identities_file(house).read_bytes(), Workspace(house).ports
    policy = (house / "policy.txt").read_bytes()
    children = [entry["pid"] for entry in recorded_processes(house).values()]
    os.kill(supervisor_pid(house), signal.SIGKILL)
    until(lambda: running_note(house) is None)
    code, seen = status(house)
    assert code == 2
    assert set(children) == set(orphans(house))
    assert "tanzhang down or up ends them" in seen["problems"][1]
    code, output = tanzhang(house, "up", "--detach")
    assert code == 0, output
    assert not any(is_alive(pid) for pid in children if pid is not None)
    until(lambda: is_well(house))
    assert identities_file(house).read_bytes() == identities
    assert (house / "policy.txt").read_bytes() == policy
    assert Workspace(house).ports == ports


def test_the_clock_moves_forward_for_all_and_never_back(house: Path) -> None:
    def ahead_ms() -> int:
        return Workspace(house).clock.now_ms() - time.time_ns() // 1_000_000

    before_ms = ahead_ms()
    code, output = tanzhang(house, "clock", "advance", "2d")
    assert (code, " ahead\n" in output) == (0, True)
    assert abs(ahead_ms() - before_ms - 2 * DAY_MS) < 1000
    # A token of two days ahead is believed: the services' clocks have moved as well.
    until(lambda: is_well(house))
    for wrong in ("-2d", "0s", "4000d", "tomorrow"):
        assert tanzhang(house, "clock", "advance", wrong)[0] == 2
    code, output = tanzhang(house, "clock", "advance", "2d", TANZHANG_MODE="production")
    assert code == 2
    assert "production" in output
    assert abs(ahead_ms() - before_ms - 2 * DAY_MS) < 1000


def test_down_stops_everything_and_has_nothing_to_do_twice(house: Path) -> None:
    pids = [entry["pid"] for entry in recorded_processes(house).values()]
    supervisor = supervisor_pid(house)
    assert tanzhang(house, "down") == (0, f"stopped {house}\n")
    assert not any(is_alive(pid) for pid in pids if pid is not None)
    until(lambda: not is_alive(supervisor))  # the folder is free a moment before it has ended
    assert orphans(house) == []
    assert "database system is shut down" in (house / "postgres" / "postgres.log").read_text()
    assert tanzhang(house, "down") == (0, f"nothing runs in {house}\n")
    assert status(house)[0] == 2
    with pytest.raises(CliError, match="not running: start it with tanzhang up"):
        Workspace(house).require_running()
    code, output = tanzhang(house, "up", "--detach")
    assert code == 0, output


def test_down_ends_what_a_killed_supervisor_left(house: Path) -> None:
    os.kill(supervisor_pid(house), signal.SIGKILL)
    until(lambda: running_note(house) is None)
    left = orphans(house)
    assert len(left) == len(PROGRAMS) + 2  # and PostgreSQL and NATS
    assert tanzhang(house, "down")[0] == 0
    assert not any(is_alive(pid) for pid in left)


def test_a_detached_up_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = tanzhang(tmp_path / "var", "up", "--detach", "--port", str(port))
    assert code == 2
    assert f"port {port} is taken" in output
    assert running_note(tmp_path / "var") is None
    assert orphans(tmp_path / "var") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_an_up_in_the_foreground_ends_in_order_even_while_it_starts(
    tmp_path: Path, number: signal.Signals
) -> None:
    directory = tmp_path / "var"
    up = subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--dir", str(directory)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with up:
            until((directory / "nats" / "nats.pid").exists)
            up.send_signal(number)
            _, errors = up.communicate(timeout=PATIENCE_S)
        assert up.returncode == 2
        assert "ended before everything was up" in errors
        assert running_note(directory) is None
        assert orphans(directory) == []
    finally:
        end_everything(directory)


def test_up_in_production_is_refused(tmp_path: Path) -> None:
    code, output = tanzhang(tmp_path / "var", "up", TANZHANG_MODE="production")
    assert code == 2
    assert "production" in output
    assert not (tmp_path / "var").exists()


def test_commands_answer_nonsense_with_one_line_and_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["fly"],
        ["status", "--colour"],
        ["clock", "advance"],
        ["clock", "advance", "2d", "--dir", str(tmp_path / "nowhere")],
        ["up", "--port", "ninety"],
    ):
        assert run(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("tanzhang: ")
        assert captured.err.count("\n") == 1


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in ("up", "down", "status", "demo", "verify", "ledger", "clock", "replay"):
        assert f"  {command} " in listed
        assert run([command, "--help"]) == 0
        assert "Usage: tanzhang " in capsys.readouterr().out


# ------------------------------------------------------------------------- as a library


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path_factory.mktemp("library"), services=CORE, restart=False)
    try:
        with supervisor:
            yield supervisor
    finally:
        end_everything(supervisor.directory)


def test_without_restarts_the_dead_stay_dead_until_they_are_started(stack: Supervisor) -> None:
    killed = stack.kill("accounts")
    until(lambda: stack.process("accounts").pid is None)
    time.sleep(0.5)
    assert stack.process("accounts").pid is None
    assert stack.start_service("accounts") == "accounts"
    stack.await_serving("accounts")
    assert stack.process("accounts").pid not in (None, killed)
    assert stack.restarts("accounts") == 0


def test_a_second_instance_runs_beside_the_first_on_a_port_of_its_own(stack: Supervisor) -> None:
    port = free_port()
    second = stack.start_service("accounts", port=port)
    assert second == "accounts-2"
    assert stack.target(second) == f"127.0.0.1:{port}"
    assert stack.process(second).pid not in (None, stack.process("accounts").pid)
    assert pid_of(stack.directory, second) == stack.process(second).pid
    stack.stop_service(second)
    assert stack.process(second).pid is None
    assert health(stack.target("accounts")) == SERVING


def test_with_a_standby_all_is_well_whichever_of_the_two_writes(tmp_path: Path) -> None:
    code, output = tanzhang(tmp_path, "up", "--detach", "--standby", "accounts")
    try:
        assert code == 0, output
        ports = Workspace(tmp_path).ports
        assert f"accounts-2 grpc 127.0.0.1:{ports['accounts-2']}" in output
        first, second = Workspace(tmp_path).target("accounts").split(",")
        assert [first, second] == [f"127.0.0.1:{ports[n]}" for n in ("accounts", "accounts-2")]
        until(lambda: (health(first), health(second)) == (SERVING, "NOT_SERVING"))
        assert status(tmp_path)[0] == 0
        code, output = tanzhang(tmp_path, "book", "compare", "accounts")
        assert (code, "accounts-2   stands by" in output) == (0, True)
        assert tanzhang(tmp_path, "book", "snapshot", "accounts")[0] == 0
        code, output = tanzhang(tmp_path, "book", "verify", "accounts")
        assert (code, "equals a replay from zero" in output) == (0, True)
        code, output = tanzhang(tmp_path, "book", "verify", "clearing")
        assert (code, "expected one of accounts" in output) == (2, True)

        killed = pid_of(tmp_path, "accounts")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        # Either: the killed one is back before its lease is stale, and asks for it as well.
        until(lambda: {health(first), health(second)} == {SERVING, "NOT_SERVING"})
        until(lambda: is_well(tmp_path))  # and the tools find what writes: the head is known
    finally:
        tanzhang(tmp_path, "down")
        end_everything(tmp_path)


def test_a_standby_of_what_has_no_book_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackFault, match=r"standby: expected one of accounts, .*, got gateway"):
        Supervisor(tmp_path, standbys=["gateway"])


def test_a_stopped_process_is_woken_to_end_in_order(stack: Supervisor) -> None:
    stack.kill("ledger", signal.SIGSTOP)
    stack.restart_service("ledger")
    stack.await_serving("ledger")


def test_a_crash_point_is_armed_for_one_life(stack: Supervisor) -> None:
    stack.restart_service("accounts", {"TANZHANG_CRASH": "relay.published"})
    until(lambda: stack.process("accounts").pid is None)  # with its own WriterStarted
    with pytest.raises(StackFault, match="accounts ended with status 86 instead of serving"):
        stack.await_serving("accounts")
    stack.start_service("accounts")
    stack.await_serving("accounts")


def test_servers_can_be_stopped_and_started_as_well(stack: Supervisor) -> None:
    stack.stop_service("nats")
    assert stack.process("nats").pid is None
    stack.start_service("nats")
    assert stack.process("nats").pid is not None
    with pytest.raises(StackFault, match=r"expected one of accounts, .*, gateway, got clearing"):
        stack.start_service("clearing")


def test_a_service_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    provision(tmp_path)
    (tmp_path / "keys" / "accounts" / "frame.key").chmod(0o644)
    with pytest.raises((StackFault, Exception), match="expected mode 0600, got 0644"):
        Supervisor(tmp_path, restart=False).start()
    assert orphans(tmp_path) == []
    assert running_note(tmp_path) is None


def test_servers_of_your_own_are_used_and_left_alone(tmp_path: Path) -> None:
    own, directory = tmp_path / "own", tmp_path / "var"
    with (
        EmbeddedPostgres(own, free_port()) as postgres,
        EmbeddedNats(own, free_port(), provision(directory).nats_users) as nats,
    ):
        admin_url = postgres.admin_url().replace("postgresql+psycopg", "postgresql")
        supervisor = Supervisor(
            directory,
            services=CORE,
            database_url=admin_url,
            nats_url=nats.url("operator"),
            restart=False,
        )
        try:
            with supervisor:
                assert set(recorded_processes(directory)) == {"accounts", "ledger"}
                assert health(supervisor.target("ledger")) == SERVING
        finally:
            end_everything(directory)
        assert postgres.running
        assert nats.running
        with psycopg.connect(admin_url, dbname="tanzhang") as admin:
            found = admin.execute("SELECT count(*) FROM accounts.frames").fetchone()
            assert found is not None
            assert found[0] >= 1


# ------------------------------------------------------------------------- what a folder holds


def test_provisioning_again_changes_no_byte_and_secrets_are_their_owners(tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}

    first = provision(tmp_path, "ledger.lzxq.example")
    before = contents()
    assert provision(tmp_path, "ledger.lzxq.example") == first == provision(tmp_path)
    assert contents() == before
    public = {"policy.txt", "keys/identities.note"}
    for name in before.keys() - public:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name
    identities = load_identities(identities_file(tmp_path), first.operator_vkey)
    assert [key.books for key in identities.frames] == [[book] for book in BOOKS]
    granted = {key.iss: key.roles for key in identities.tokens}
    assert granted.pop("ledger.lzxq.example/issuer") == ["*"]
    assert granted == {
        "service:accounts": ["follow:ledger"],
        "service:registry": ["registry", "book:registry", "follow:accounts", "follow:ledger"],
        "service:market": ["venue:market", "book:market", "follow:accounts", "follow:ledger"],
        "service:inclusive": ["follow:ledger"],
        "service:ledger": [f"follow:{book}" for book in BOOKS],
    }
    assert "secret" not in repr(first)
    assert not any(user.password in repr(first) for user in first.nats_users)


def test_a_folder_keeps_its_origins(tmp_path: Path) -> None:
    provision(tmp_path, "ledger.lzxq.example")
    with pytest.raises(StackFault, match="the origin of a log never changes"):
        provision(tmp_path, "ledger.shenzhen.example")


def test_a_policy_is_its_readers_to_edit_but_must_know_our_logs(tmp_path: Path) -> None:
    provision(tmp_path)
    policy = tmp_path / "policy.txt"
    edited = b"# checked by the Lanzhou bank\n" + policy.read_bytes()
    policy.write_bytes(edited)
    provision(tmp_path)
    assert policy.read_bytes() == edited
    policy.write_bytes(b"".join(edited.splitlines(keepends=True)[:2]) + b"quorum none\n")
    with pytest.raises(StackFault, match=r"expected the keys of .*tanzhang\.local/state, got none"):
        provision(tmp_path)


def test_a_damaged_or_missing_key_is_named(tmp_path: Path) -> None:
    provision(tmp_path)
    key = tmp_path / "keys" / "operator" / "operator.skey"
    key.write_text("PRIVATE+KEY+what\n")
    with pytest.raises(StackFault, match=r"operator\.skey: "):
        provision(tmp_path)
    shutil.rmtree(tmp_path / "keys")
    with pytest.raises(StackFault, match="found no file"):
        Workspace(tmp_path).token("li.registrar")


def test_institutions_keys_are_made_once_and_have_plain_names(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    bank = workspace.institution_key("lzbank")
    assert workspace.institution_key("lzbank").private_bytes_raw() == bank.private_bytes_raw()
    with pytest.raises(StackFault, match="expected letters, digits"):
        workspace.institution_key("../issuer/token")
