"""Lines for people, for machines and for journald; words for systemd."""

from __future__ import annotations

import io
import json
import os
import socket
import sys

import pytest
import structlog

from agent import logs, notify


@pytest.fixture
def log(monkeypatch):
    """log(format) -> (logger, lines()): what a daemon writes to stderr."""

    def make(log_format):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(log_format)
        return structlog.get_logger(), lambda: stream.getvalue().splitlines()

    yield make
    structlog.reset_defaults()


def failing():
    raise ValueError("two\nlines")


def test_text_is_one_line_of_pairs_with_time_level_and_event_first(log):
    logger, lines = log("text")
    logger.warning("instrument", problem="gone away", count=2)
    (line,) = lines()
    assert line.startswith("timestamp=20")
    assert line.endswith('level=warning event=instrument problem="gone away" count=2')


def test_json_is_one_object_per_line(log):
    logger, lines = log("json")
    logger.error("proof not sealed", seq=5)
    (line,) = lines()
    made = json.loads(line)
    assert made.pop("timestamp").endswith("Z")
    assert made == {"event": "proof not sealed", "seq": 5, "level": "error"}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_exception_stays_on_its_line(log, log_format):
    logger, lines = log(log_format)
    try:
        failing()
    except ValueError:
        logger.exception("unexpected error")
    assert len(lines()) == 1
    assert "ValueError: two" in lines()[0]


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_under_journald_each_line_has_its_priority_and_no_time_of_its_own(log, monkeypatch, level, priority):
    monkeypatch.setattr(logs, "_is_journal", lambda: True)
    logger, lines = log("text")
    getattr(logger, level)("hello")
    assert lines() == [f"<{priority}>level={level} event=hello"]


def test_journald_is_known_by_its_stream_not_by_a_variable_a_terminal_inherits(tmp_path, monkeypatch):
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
        assert not logs._is_journal()
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert logs._is_journal()
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not logs._is_journal()


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A notification socket as systemd opens one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "n"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        yield sock


def test_a_state_is_one_datagram(systemd):
    notify.notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_an_abstract_socket_is_one_too(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0fieldproof-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@fieldproof-test-{os.getpid()}")
        notify.notify("READY=1")
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "vsock:1:2"])
def test_no_service_manager_is_no_error(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("60000000", None, 30.0),
        ("60000000", "ours", 30.0),
        ("60000000", "1", None),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_fed_twice_per_interval_where_it_is_ours(monkeypatch, usec, pid, expected):
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "ours" else value)
    assert notify.watchdog_s() == expected
