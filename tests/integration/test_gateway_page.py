"""`fieldproof-gateway page` as its operators run it: beside a gateway that it cannot disturb."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import folder
from proof.keys import multibase_part
from tests.gateway_parts import NETWORK, Device, Gateway
from tests.integration.gateway_process import GatewayProcess, Node

READERS = 50
_CHECKPOINT_BYTES = (
    1000 * 4096
)  # SQLite begins its log anew when it has a thousand pages, if no reader is in it


class PageProcess:
    """`fieldproof-gateway page` on a port of its own choice."""

    def __init__(self, directory: Path) -> None:
        self.log = directory.with_name("page.log")
        options = ["page", "--dir", str(directory), "--listen", "127.0.0.1:0"]
        with self.log.open("wb") as log:
            command = [sys.executable, "-W", "error", "-m", "gateway.cli", *options]
            self._process = subprocess.Popen(command, stderr=log)

    def wait(self, until: Callable[..., None]) -> None:
        until(
            lambda: "event=serving" in self.log.read_text() or self._process.poll() is not None,
            30,
            "the page",
        )
        found = re.search(r"page=http://127\.0\.0\.1:(\d+)/", self.log.read_text())
        assert found, self.log.read_text()
        self.port = int(found[1])

    def ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)


@contextmanager
def serving(directory: Path, until: Callable[..., None]) -> Iterator[PageProcess]:
    page = PageProcess(directory)
    try:
        page.wait(until)
        yield page
    finally:
        code = page.end()
    assert code == 0, page.log.read_text()
    assert "Traceback" not in page.log.read_text()


@contextmanager
def readers(page: PageProcess, device: str) -> Iterator[list[int]]:
    """READERS that ask without a pause; gives the list of what they were answered."""
    stop, answered = threading.Event(), list[int]()
    paths = ("/api/overview", f"/api/device?device={multibase_part(device)}", "/metrics", "/")

    def read(number: int) -> None:
        while not stop.is_set():
            answered.append(page.ask(paths[number % len(paths)])[0])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert set(answered) == {200}
    assert len(answered) >= READERS


@pytest.fixture
def directory(tmp_path):
    """A folder of a gateway, with settings and a ledger, and no key."""
    settings = folder.Settings(NETWORK, "test", "mqtt://127.0.0.1:1")
    (tmp_path / "gw").mkdir()
    folder.create(tmp_path / "gw", settings)
    (tmp_path / "gw" / folder.KEY).unlink()
    return tmp_path / "gw"


@pytest.fixture
def gateway(directory):
    made = Gateway(directory)
    yield made
    made.close()


@pytest.mark.mosquitto
@pytest.mark.timeout(150)  # three programs and fifty threads, on a machine others may load
def test_a_gateway_commits_on_while_fifty_read_its_page(tmp_path, mosquitto, until):
    gateway = GatewayProcess(tmp_path / "gw", mosquitto.url)
    gateway.start()
    until(gateway.starts, 60, "the gateway")
    device = Device()
    node = Node(device, mosquitto.port, until, gateway.key)
    try:
        node.enrol(gateway.claim())
        with serving(tmp_path / "gw", until) as page, readers(page, device.id):
            for seq in range(1, 11):
                node.send(device.seal())
                node.await_head(seq)
        assert gateway.lines()[0].proofs == 10
    finally:
        node.close()
        assert gateway.end() == 0
    assert gateway.log.read_text().count("not committed") == 0


@pytest.mark.timeout(150)
def test_readers_do_not_keep_the_ledgers_log_from_beginning_anew(gateway, directory, until):
    device, log = gateway.member(), directory / "ledger.db-wal"
    largest = 0
    with serving(directory, until) as page, readers(page, device.id):
        for _ in range(400):
            gateway.send(device, device.seal(()))
            largest = max(largest, log.stat().st_size)
    pages = gateway.store.row("PRAGMA wal_checkpoint(RESTART)")
    assert pages[0] == 0, "a reader is still in it"
    assert largest < 1.25 * _CHECKPOINT_BYTES


def test_the_page_shows_what_was_committed_a_moment_ago(gateway, directory, until):
    device = gateway.member()
    with serving(directory, until) as page:
        assert json.loads(page.ask("/api/overview")[1])["totals"]["proofs"] == 0
        gateway.send(device, device.seal())
        until(lambda: json.loads(page.ask("/api/overview")[1])["totals"]["proofs"] == 1, 20, "the new proof")
        path = f"/api/device?device={multibase_part(device.id)}"
        assert json.loads(page.ask(path)[1])["device"]["proofs"] == 1
    assert not (directory / folder.KEY).exists()
