"""Hostile and clumsy requests against the real shell on a real socket: it answers afterwards, always."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from web import app, server
from web.response import Answer, as_download, as_text


def endless(_query) -> Answer:
    def pieces() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    return as_download(pieces(), "endless.bin")


@pytest.fixture
def page():
    running = server.serve(
        app.make({"/": lambda _: as_text("hello"), "/endless": endless}, {}, home_only=True), "127.0.0.1:0"
    )
    yield running
    running.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_a_page_is_closed_as_often_as_somebody_likes(page) -> None:
    page.close()
    page.close()  # and by its fixture once more


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch):
    """The same deadlines, sooner: the looks at connections are a second apart."""
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    monkeypatch.setattr(server, "STALLED_S", 0.5)


def ask(port: int, path: str = "/", method: str = "GET", timeout_s: float = 20) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def raw(port: int, data: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    with suppress(ConnectionError):
        sock.sendall(data)
    return sock


def everything(sock: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


def still_answers(page: server.Server) -> None:
    assert ask(page.port) == (200, b"hello")


def test_it_answers_and_closes(page):
    still_answers(page)


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % n for n in range(2000)) + b"\r\n", b"431"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"413"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"413"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
        (b"DELETE / HTTP/1.1\r\n" + HOST + b"\r\n", b"405"),
        (b"GET /../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET /%00 HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A\rB: c\r\n\r\n", b"400"),
    ],
)
def test_what_cannot_be_meant_well_is_refused(page, data: bytes, status: bytes):
    reply = b""
    with raw(page.port, data) as sock, suppress(ConnectionError):
        reply = sock.recv(65536)
    # What is too long is refused before it has all come, and the answer may be lost with the rest of it.
    assert reply.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status)) or len(data) > 8192
    assert b"Traceback" not in reply
    still_answers(page)


def test_pipelined_requests_are_answered_in_order(page):
    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with raw(page.port, one * 99 + last) as sock:
        assert everything(sock).count(b"200 OK") == 100
    still_answers(page)


def test_half_closed_and_vanished_readers_do_no_harm(page):
    for data in (b"", b"G", b"GET / HT", b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n"):
        for _ in range(5):
            raw(page.port, data).close()
        with raw(page.port, data) as sock:
            sock.shutdown(socket.SHUT_WR)
    still_answers(page)


@pytest.mark.usefixtures("impatient")
def test_a_request_that_trickles_is_cut_off(page, until: Callable[..., None]):
    with raw(page.port, b"GET / HTTP/1.1\r\n") as sock:
        began_s = time.monotonic()

        def cut_off() -> bool:
            try:
                sock.sendall(b"X")  # each byte would prolong waitress' own timeout
                sock.settimeout(0.1)
                return sock.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        until(cut_off, 20, "the end of the connection")
        assert time.monotonic() - began_s < 15
    still_answers(page)


@pytest.mark.usefixtures("impatient")
def test_answers_that_nobody_takes_are_given_up(page):
    """As many as there are threads to answer, and some more."""
    with ExitStack() as stalled:
        for _ in range(6):
            stalled.enter_context(raw(page.port, b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n"))
        still_answers(page)


def test_silent_connections_keep_nobody_out(page):
    """More than there may be, none of which says anything."""
    with ExitStack() as silent:
        for _ in range(server.MOST_CONNECTIONS + 40):
            silent.enter_context(raw(page.port, b"GET / HTTP/1.1\r\n"))
        began_s = time.monotonic()
        still_answers(page)
        assert time.monotonic() - began_s < server.HEAD_S, "it waited until they were cut off"


def test_fifty_at_once_are_all_answered(page):
    replies: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=lambda: replies.append(ask(page.port))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert replies == [(200, b"hello")] * 50


def test_the_server_says_nothing_of_itself(page):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    connection.request("GET", "/")
    reply = connection.getresponse()
    assert reply.getheader("Server") is None
    connection.close()


@pytest.mark.parametrize("listen", ["", "8733", ":8733", "0.0.0.0:", "0.0.0.0:x", "0.0.0.0:99999", "pi:-1"])
def test_what_is_no_address_is_said(listen):
    with pytest.raises(server.CannotListen, match="an address and a port"):
        server.split_listen(listen)


def test_a_port_that_is_taken_is_said(page):
    with pytest.raises(server.CannotListen, match=r"127.0.0.1:\d+: .*in use"):
        server.serve(app.make({}, {}, home_only=True), f"127.0.0.1:{page.port}")


def test_both_families_are_served_by_one_socket():
    running = server.serve(app.make({"/": lambda _: as_text("hello")}, {}, home_only=True), "[::]:0")
    still_answers(running)
    running.close()
