"""The publisher over a link that does what a test says: what no real broker does on demand."""

from __future__ import annotations

from agent.keeper import Keeper
from agent.membership import Joined
from agent.mqtt_events import Connected, Disconnected
from agent.publisher import Publisher
from agent.settings import JournalSettings
from proof.joining import Membership
from tests.agent_parts import DEVICE_ID, GATEWAY, NETWORK, FakeClock, make_sealer, open_test_journal


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
