"""The publisher over a link that does what a test says: what no real broker does on demand."""

from __future__ import annotations

import threading

import pytest

from agent.errors import TryAgain
from agent.keeper import Keeper
from agent.membership import Joined
from agent.mqtt_events import Connected, Disconnected, Subscribed
from agent.publisher import Publisher
from agent.settings import JournalSettings
from agent.sync import SYNC_GRACE_S
from agent.window import PUBACK_S
from proof.joining import Membership
from tests.agent_parts import DEVICE_ID, GATEWAY, NETWORK, FakeClock, captured, make_sealer, open_test_journal


class SilentLink:
    """A broker that takes the connection and never answers SUBSCRIBE."""

    def __init__(self, on_event):
        self.on_event, self.connects, self.closes = on_event, 0, 0

    def connect(self):
        self.connects += 1
        self.on_event(Connected(5))

    def close(self, timeout_s=5.0):
        self.closes += 1
        self.on_event(Disconnected("closed here"))

    def subscribe(self, topics): ...

    def publish(self, topic, *_, **__):
        assert not topic.endswith("/proof"), "no proof goes before the subscription stands"
        return 0


class DeafLink(SilentLink):
    """A broker that answers SUBSCRIBE, and no PUBLISH."""

    def __init__(self, on_event):
        super().__init__(on_event)
        self.proofs, self.online = [], 0

    def subscribe(self, topics):
        self.on_event(Subscribed(tuple(topics), ()))

    def publish(self, topic, payload, **_):
        self.proofs += [payload] if topic.endswith("/proof") else []
        self.online += topic.endswith("/status")  # said when the answer to SUBSCRIBE was heard
        return 1 + len(self.proofs)


@pytest.fixture
def started(tmp_path):
    """(publisher, its link, a list with the time it goes by) over a journal that has a sealed proof."""
    clock, links, now_s = FakeClock(), [], [0.0]
    journal, sealer = open_test_journal(tmp_path, clock), make_sealer(clock)
    journal.begin()
    journal.append(captured(clock))
    sealer.seal(journal)
    journal.commit()
    keeper = Keeper(journal, sealer, JournalSettings(), clock, lambda: None, lambda _: None)
    joined = Joined("", (GATEWAY.public_key,), b"", Membership(DEVICE_ID, NETWORK, "test", (), (), 0, None))

    def make_link(on_event, _will):
        links.append(DeafLink(on_event))
        return links[0]

    publisher = Publisher(
        DEVICE_ID, joined, keeper, sealer, make_link, 4, lambda: now_s[0], print, lambda _: None
    )
    keeper.start()
    publisher.start()
    yield publisher, links[0], now_s
    publisher.stop(0.0)
    keeper.stop(10.0)


def test_a_broker_that_never_says_puback_is_left_and_gets_the_proof_on_another_connection(started, until):
    publisher, link, now_s = started
    until(lambda: link.online == 1, what="the first connection")
    now_s[0] += SYNC_GRACE_S
    until(lambda: link.proofs, what="the first proof")
    for _ in range(3):
        now_s[0] += PUBACK_S / 4
        turns = publisher.turns
        publisher.wake()
        until(lambda turns=turns: publisher.turns > turns + 1, what="another turn")
    assert (link.connects, len(link.proofs)) == (1, 1)
    now_s[0] += PUBACK_S
    until(lambda: link.closes, what="the end of that connection")
    now_s[0] += 60.0
    until(lambda: link.online == 2, what="another connection")
    now_s[0] += SYNC_GRACE_S
    until(lambda: len(link.proofs) == 2, what="the proof again")


def test_a_journal_that_did_not_answer_once_is_no_trouble_any_more(started, until, monkeypatch):
    publisher, link, now_s = started
    until(lambda: link.online == 1, what="the first connection")
    read, failing = publisher._keeper.read, threading.Event()
    failing.set()

    def sometimes(job):
        if failing.is_set():
            raise TryAgain("The journal did not answer.")
        return read(job)

    monkeypatch.setattr(publisher._keeper, "read", sometimes)
    now_s[0] += SYNC_GRACE_S
    publisher.wake()
    until(lambda: publisher.state().problem == "The journal did not answer.", what="the sentence")
    failing.clear()
    until(lambda: link.proofs, what="the proof")
    until(lambda: not publisher.state().problem, what="the end of it")


def test_a_broker_that_does_not_answer_subscribe_is_left_and_tried_again(tmp_path, until):
    clock, links, now_s = FakeClock(), [], [0.0]
    sealer = make_sealer(clock)
    keeper = Keeper(
        open_test_journal(tmp_path, clock), sealer, JournalSettings(), clock, lambda: None, lambda _: None
    )
    joined = Joined("", (GATEWAY.public_key,), b"", Membership(DEVICE_ID, NETWORK, "test", (), (), 0, None))

    def make_link(on_event, _will):
        links.append(SilentLink(on_event))
        return links[0]

    publisher = Publisher(
        DEVICE_ID, joined, keeper, sealer, make_link, 4, lambda: now_s[0], print, lambda _: None
    )
    keeper.start()
    publisher.start()
    until(lambda: publisher.state().connected, what="the first connection")
    for _ in range(3):
        now_s[0] += 150.0
        publisher.wake()
        turns = publisher.turns
        until(lambda turns=turns: publisher.turns > turns + 1, what="another turn")
    until(lambda: links[0].connects >= 2, what="another connection")
    assert links[0].closes >= 1
    until(lambda: publisher.state().connections >= 2, what="the second connection")
    publisher.stop(0.0)
    keeper.stop(10.0)
