"""The proxy of the fault runs does each of its tricks: else a run would prove nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.stack.ports import free_port
from tests.support.tcp_proxy import LOOPBACK, Cut, Link, TcpProxy

QUIET_S = 0.3
SOON_S = 5.0


@contextmanager
def echo() -> Iterator[int]:
    """A server that says everything again, once for each connection; its port."""
    listener = socket.create_server((LOOPBACK, 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join(SOON_S)


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with TcpProxy() as made:
        yield made


@pytest.fixture
def link(proxy: TcpProxy) -> Iterator[Link]:
    with echo() as port:
        yield proxy.link("farmer→bank", port)


@contextmanager
def caller(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, link.port), SOON_S) as made:
        yield made


def said(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    return connection.recv(1024)


def test_what_is_said_arrives_and_the_answer_comes_back(link: Link) -> None:
    with caller(link) as one, caller(link) as other:
        assert said(one, b"ticket") == b"ticket"
        assert said(other, b"fen") == b"fen"
    assert link.carried == 2


def test_the_end_of_what_is_said_is_passed_on(link: Link) -> None:
    with caller(link) as one:
        one.sendall(b"last words")
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1024) == b"last words"
        assert one.recv(1024) == b""


def test_a_delayed_link_answers_later_and_a_healed_one_as_before(
    proxy: TcpProxy, link: Link
) -> None:
    proxy.do(lambda one: one.delay(200))
    with caller(link) as one:
        begun_s = time.monotonic()
        assert said(one, b"slowly") == b"slowly"
        assert time.monotonic() - begun_s >= 0.4  # there and back
        proxy.do(Link.heal)
        one.settimeout(SOON_S)
        assert said(one, b"quickly") == b"quickly"


def test_a_hanging_link_lets_in_and_says_nothing_until_it_is_healed(
    proxy: TcpProxy, link: Link
) -> None:
    with caller(link) as before:
        assert said(before, b"good morning") == b"good morning"
        proxy.do(Link.hang)
        with caller(link) as during:
            for one in (before, during):
                one.sendall(b"anybody?")
                one.settimeout(QUIET_S)
                with pytest.raises(TimeoutError):
                    one.recv(1024)
            proxy.do(Link.heal)
            for one in (before, during):
                one.settimeout(SOON_S)
                assert one.recv(1024) == b"anybody?"


def test_a_cut_by_rst_is_an_error_and_one_by_fin_an_end(proxy: TcpProxy, link: Link) -> None:
    with caller(link) as one:
        assert said(one, b"x") == b"x"
        proxy.do(lambda cut: cut.cut(Cut.RST))
        with pytest.raises(ConnectionResetError):
            one.recv(1024)
    with caller(link) as one:
        assert said(one, b"x") == b"x"
        proxy.do(lambda cut: cut.cut(Cut.FIN))
        assert one.recv(1024) == b""
    with caller(link) as one:
        assert said(one, b"again") == b"again"


def test_a_hanging_link_can_be_cut(proxy: TcpProxy, link: Link) -> None:
    proxy.do(Link.hang)
    with caller(link) as one:
        one.sendall(b"anybody?")
        until_carried(link, 1)
        proxy.do(lambda cut: cut.cut(Cut.RST))
        with pytest.raises(ConnectionResetError):
            one.recv(1024)


def test_a_refusing_link_sends_away_who_comes_and_who_is_there(proxy: TcpProxy, link: Link) -> None:
    with caller(link) as one:
        assert said(one, b"x") == b"x"
        proxy.do(Link.refuse)
        with pytest.raises(ConnectionResetError):
            one.recv(1024)
    with pytest.raises(ConnectionResetError), caller(link) as one:
        one.recv(1024)


def test_one_link_can_hang_while_another_to_the_same_place_passes(proxy: TcpProxy) -> None:
    with echo() as port:
        hanging, passing = proxy.link("ledger→accounts", port), proxy.link("market→accounts", port)
        proxy.do(Link.hang, hanging.name)
        with caller(passing) as one:
            assert said(one, b"x") == b"x"


def test_where_nobody_listens_the_caller_is_cut_off(proxy: TcpProxy) -> None:
    link = proxy.link("farmer→nobody", free_port())
    with pytest.raises(ConnectionResetError), caller(link) as one:
        one.recv(1024)


def test_a_name_stands_for_one_way_alone(proxy: TcpProxy) -> None:
    proxy.link("farmer→bank", 1)
    with pytest.raises(ValueError, match="expected port"):
        proxy.link("farmer→bank", 2)


def until_carried(link: Link, count: int) -> None:
    give_up_s = time.monotonic() + SOON_S
    while link.carried < count:
        assert time.monotonic() < give_up_s
        time.sleep(0.01)
