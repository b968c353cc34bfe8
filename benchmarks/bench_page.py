"""What the page costs: memory, and how late samples are while 50 readers ask at once without a pause.

The running daemon reads a virtual BME280 five times a second for 15 s, without a page, with one that nobody
reads, and with one that 50 connections ask for everything a browser asks for, as fast as they are answered. A
sample is late by what its boot time is behind its instant. The readers run on the same two cores. Resident
memory, MALLOC_ARENA_MAX=2.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from agent.settings import PageSettings
from benchmarks import figures
from benchmarks.bench_memory import memory_kB
from benchmarks.field import Field, joined_field, until
from benchmarks.figures import Figure

INTERVAL_S = 0.2
READERS = 50
PATHS = (
    "/",
    "/page.js",
    "/static/uPlot.iife.min.js",
    "/api/status",
    "/api/proofs",
    "/api/log",
    "/api/history?hours=48&instrument=bme280",
    "/metrics",
)


@dataclass(frozen=True, slots=True)
class Run:
    """`late_ms` of each sample, in order; `missed` are instants without one."""

    rss_MiB: float
    late_ms: tuple[float, ...]
    missed: int
    answered: int

    def quantile(self, part: float) -> float:
        return sorted(self.late_ms)[min(len(self.late_ms) - 1, int(part * len(self.late_ms)))]


@contextmanager
def crowd(port: int, readers: int) -> Iterator[Callable[[], int]]:
    """`readers` ask without a pause until the end; how many answers came."""
    stop, counts = threading.Event(), [0] * readers

    def read(number: int) -> None:
        turn = number
        while not stop.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                try:
                    while not stop.is_set():
                        connection.request("GET", PATHS[turn % len(PATHS)])
                        connection.getresponse().read()
                        turn, counts[number] = turn + 1, counts[number] + 1
                except (OSError, http.client.HTTPException):
                    continue

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: sum(counts)
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def one(page: bool, readers: int, seconds: float, interval_s: float = INTERVAL_S) -> Run:
    with joined_field(interval_s=interval_s, readings=1000) as field:
        port = free_port()
        listen = PageSettings(enabled=page, listen=f"127.0.0.1:{port}")
        field.settings = replace(field.settings, page=listen)
        agent = field.start_agent()
        until(lambda: field.status() and (not page or _answers(port)), 60, "the agent")
        began_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        with crowd(port, readers) as answered:
            time.sleep(seconds)
            rss_MiB, count = memory_kB(agent.pid)["Rss"] / 1024, answered()
        ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return _read(field, agent, (began_ns, ended_ns), rss_MiB, count, interval_s)


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False


def _read(
    field: Field,
    agent: subprocess.Popen[bytes],
    span_ns: tuple[int, int],
    rss_MiB: float,
    answered: int,
    interval_s: float,
) -> Run:
    instruments = field.status()["instruments"]
    missed = sum(instrument["missed"] for instrument in instruments)  # type: ignore[index,misc]
    os.kill(agent.pid, signal.SIGKILL)  # what is open stays unsealed
    agent.wait(10)
    with closing(sqlite3.connect(field.settings.journal_path)) as journal:
        rows = journal.execute(
            "SELECT boottime_ns FROM samples WHERE boottime_ns BETWEEN ? AND ? ORDER BY id", span_ns
        ).fetchall()
    step_ns = round(interval_s * 1e9)
    late_ms = tuple(boottime_ns % step_ns / 1e6 for (boottime_ns,) in rows)
    due = span_ns[1] // step_ns - span_ns[0] // step_ns
    return Run(rss_MiB, late_ms, missed + max(0, due - len(rows) - 1), answered)


def measure() -> list[Figure]:
    """Cost of the page, and lateness with and without readers."""
    off, on = one(page=False, readers=0, seconds=15), one(page=True, readers=0, seconds=15)
    read = one(page=True, readers=READERS, seconds=15)
    return [
        Figure("agent without a page, resident", off.rss_MiB, "MiB"),
        Figure("a page that nobody reads, more", on.rss_MiB - off.rss_MiB, "MiB", most=5),
        Figure("a page with 50 readers, more", read.rss_MiB - off.rss_MiB, "MiB", most=5),
        Figure("answers to 50 readers", read.answered / 15, "/s"),
        Figure("samples missed with 50 readers", read.missed, "", most=0),
        *(
            Figure(f"{name}, {part} late by", run.quantile(share), "ms")
            for name, run in (("no page", off), ("nobody reads", on), ("50 readers", read))
            for part, share in (("half of the samples", 0.5), ("99 of 100", 0.99))
        ),
    ]


if __name__ == "__main__":
    figures.run(measure)
