"""Fifty readers at once and requests that mean ill, against a running daemon: it samples on, in time, and the
page answers afterwards."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack, suppress

import pytest

from benchmarks import bench_page
from web.server import MOST_CONNECTIONS

HOST = b"Host: 127.0.0.1\r\n"
HOSTILE = (
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    b"POST /api/status HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n" + b"z" * 70_000,
    b"DELETE /api/log HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /../../device.key HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /static/%2e%2e/%2e%2e/journal.db HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /api/history?hours=" + b"9" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /api/history?instrument=%00%ff<script> HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /api/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    (b"GET /api/status HTTP/1.1\r\n" + HOST + b"\r\n") * 50,
    b"\x00" * 5000,
    b"\x16\x03\x01" + bytes(range(256)) * 8 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def test_requests_that_mean_ill_do_no_harm(site, until):
    page = site()

    def samples() -> int:
        (now,) = page.served.node.answers.status()["instruments"]
        return int(now["samples"])

    with ExitStack() as open_ones:

        def send(data: bytes) -> socket.socket:
            sock = open_ones.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=20))
            with suppress(OSError):
                sock.sendall(data)
            return sock

        for data in HOSTILE:
            send(data).settimeout(5)
            with suppress(OSError):
                send(data).shutdown(socket.SHUT_WR)
        for _ in range(MOST_CONNECTIONS + 20):
            send(b"GET /api/status HTTP/1.1\r\nX")
        for _ in range(4):  # a download that nobody takes
            send(b"GET /evidence HTTP/1.1\r\n" + HOST + b"\r\n")
        assert page.json("/api/status")["device"]  # while all of them hang on

        count = samples()
        until(lambda: samples() >= count + 5, 20, "five samples while they hang on")
    assert page.ask("/").status == 200
    count = samples()
    until(lambda: samples() >= count + 5, 20, "five samples afterwards")
    assert not [said for said in page.served.node.answers.status()["news"] if "page" in said.lower()]


@pytest.mark.slow  # three daemons, a quarter of a minute each
@pytest.mark.timeout(180)
def test_fifty_readers_delay_no_sample_and_cost_little():
    """Missed is a whole interval behind its instant. A busy machine misses some without readers, too: with
    them it may be two more of the sixteen."""
    quiet = bench_page.one(page=False, readers=0, seconds=8, interval_s=0.5)
    read = bench_page.one(page=True, readers=bench_page.READERS, seconds=8, interval_s=0.5)
    assert read.answered > 500
    assert read.missed <= quiet.missed + 2
    assert len(read.late_ms) >= 14 - quiet.missed
    assert read.quantile(0.5) < quiet.quantile(0.5) + 50
    assert read.rss_MiB - quiet.rss_MiB < 5


def test_a_reader_who_never_finishes_does_not_keep_the_page_from_others(site):
    page = site()
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as slow:
        slow.sendall(b"GET /")
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
        connection.request("GET", "/api/status")
        assert connection.getresponse().status == 200
        connection.close()
