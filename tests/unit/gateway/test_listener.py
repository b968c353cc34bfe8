"""Order of things in the running gateway: commit, then receipts, then acknowledgements."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from gateway import listener
from gateway.errors import FixFolder, TryAgain
from gateway.link import Delivery
from gateway.service import Inbound, Outbound
from gateway.throttle import Throttle


class FakeLink:
    def __init__(self, events):
        self.inbox: queue.Queue[Delivery] = queue.Queue()
        self.connected = threading.Event()
        self.connected.set()
        self.subscribed = 1
        self.events = events

    def start(self):
        self.events.append("start")

    def publish(self, message):
        self.events.append(("publish", message.topic))

    def ack(self, delivery):
        self.events.append(("ack", delivery.mid))

    def close(self):
        self.events.append("close")


class FakeService:
    """Answers each batch once; `failures` are raised first. Sets `stop` when the inbox is done."""

    def __init__(self, events, stop, failures=()):
        self.events, self.stop, self.failures = events, stop, list(failures)
        self.counts = {}

    def take(self, messages):
        if self.failures:
            self.events.append("failed")
            raise self.failures.pop(0)
        self.events.append(("commit", [message.payload for message in messages]))
        self.stop.set()
        return [Outbound("receipt", b"")]

    def challenges(self):
        return []

    def keep_counts(self):
        return []

    def beacon(self):
        self.events.append("beacon committed")
        return Outbound("beacon", b"")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(listener, "_POLL_S", 0.001)
    monkeypatch.setattr(listener, "_RETRY_S", 0.001)


def run(failures=(), messages=2, connected=True):
    events: list[Any] = []
    stop = threading.Event()
    link: Any = FakeLink(events)
    if not connected:
        link.connected.clear()
    for mid in range(1, messages + 1):
        link.inbox.put(Delivery(Inbound("t", b"%d" % mid), 1, mid, 1))
    service: Any = FakeService(events, stop, failures)
    try:
        listener.listen(service, link, stop, 60, monotonic=lambda: 0.0)
    except FixFolder:
        events.append("raised")
    return events


def test_receipts_follow_the_commit_and_acknowledgements_follow_them():
    assert run() == [
        "start",
        "beacon committed",
        ("publish", "beacon"),
        ("commit", [b"1", b"2"]),
        ("publish", "receipt"),
        ("ack", 1),
        ("ack", 2),
        "close",
    ]


def test_a_ledger_that_is_busy_gets_the_same_batch_again():
    events = run(failures=[TryAgain("locked"), TryAgain("disk full")])
    assert events[3:] == [
        "failed",
        "failed",
        ("commit", [b"1", b"2"]),
        ("publish", "receipt"),
        ("ack", 1),
        ("ack", 2),
        "close",
    ]


def test_a_damaged_ledger_ends_the_program_with_nothing_acknowledged():
    assert run(failures=[FixFolder("damaged")])[3:] == ["failed", "close", "raised"]


def test_a_batch_interrupted_by_the_stop_is_not_acknowledged(monkeypatch):
    stop = threading.Event()

    def busy():
        stop.set()
        raise TryAgain("locked")

    assert listener._committed(busy, stop) is None


def test_no_beacon_is_made_while_there_is_no_broker():
    assert "beacon committed" not in run(connected=False)


class Reconnecting(FakeLink):
    """Comes up `times`, the broker's SUBACK a little later than the connection; and stays up for long."""

    def __init__(self, events, times):
        super().__init__(events)
        self.subscribed, self.times, self.looks = 0, times, 0

    def look(self):
        """The time: each look is a second."""
        self.looks += 1
        if self.looks % 20 == 10 and self.subscribed < self.times:
            self.subscribed += 1
            self.events.append("subscribed")
        return float(self.looks)


def test_a_beacon_follows_every_subscription_and_then_each_period():
    events: list[Any] = []
    link: Any = Reconnecting(events, times=3)
    stop = threading.Event()

    def beacon():
        events.append("beacon")
        if events.count("beacon") == 5:
            stop.set()
        return Outbound("beacon", b"")

    service: Any = FakeService(events, stop)
    service.beacon = beacon
    listener.listen(service, link, stop, 100, monotonic=link.look)
    told = [event for event in events if event in ("subscribed", "beacon")]
    assert told == ["subscribed", "beacon"] * 3 + ["beacon"] * 2
    assert 200 <= link.looks <= 300


def test_a_batch_is_bounded(monkeypatch):
    monkeypatch.setattr(listener, "BATCH", 3)
    inbox: queue.Queue[Delivery] = queue.Queue()
    for mid in range(5):
        inbox.put(Delivery(Inbound("t", b""), 1, mid, 1))
    assert [[item.mid for item in listener.collect(inbox)] for _ in range(3)] == [[0, 1, 2], [3, 4], []]


def test_a_throttle_forgets_the_oldest_key_and_survives_a_clock_that_steps_back():
    throttle = Throttle(burst=1, period_s=10, keys=2)
    assert throttle.allows("a", 100)
    assert not throttle.allows("a", 109)
    assert throttle.allows("a", 50)
    assert throttle.allows("b", 50)
    assert throttle.allows("c", 50)
    assert not throttle.allows("c", 51)
    assert throttle.allows("a", 51)
