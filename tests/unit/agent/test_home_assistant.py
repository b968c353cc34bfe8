"""Home Assistant's broker where it is mad, over a link that does what a test says."""

from __future__ import annotations

import pytest

from agent.home_assistant import HomeAssistant
from agent.home_entities import Topics
from agent.mqtt_events import Connected, Disconnected, Message
from agent.settings import HomeAssistantSettings
from agent.window import PUBACK_S
from proof.keys import multibase_part
from tests.agent_parts import DEVICE_ID

TOPICS = Topics("homeassistant", multibase_part(DEVICE_ID))
REPORT = {
    "healthy": True,
    "answered": True,
    "state": "healthy",
    "proofs": {"unreceipted": 2},
    "last_receipted_reading_age_s": 1.5,
}


class DeafLink:
    """Takes everything and says no PUBACK."""

    def __init__(self, home: HomeAssistant) -> None:
        self.home, self.sent, self.closes = home, list[str](), 0

    def connect(self) -> None:
        self.home._handle(Connected(5))

    def subscribe(self, topics: list[str]) -> None: ...

    def publish(self, topic: str, *_: object, **__: object) -> int:
        self.sent.append(topic)
        return len(self.sent)

    def close(self, timeout_s: float) -> None:
        self.closes += 1
        self.home._handle(Disconnected("closed here"))


@pytest.fixture
def now_s():
    return [1000.0]


@pytest.fixture
def home(now_s):
    settings = HomeAssistantSettings(enabled=True, broker_url="mqtt://127.0.0.1:1", allow_plain=True)
    made = HomeAssistant(settings, DEVICE_ID, [], lambda: REPORT, lambda: now_s[0])
    made._link = DeafLink(made)  # type: ignore[assignment]
    return made


def test_a_broker_that_never_says_puback_is_left_and_tried_again(home, now_s):
    home._act()
    home._act()
    assert (len(home._link.sent), home._link.closes) == (3, 0)
    now_s[0] += PUBACK_S - 1
    home._act()
    assert home._link.closes == 0
    now_s[0] += 1
    home._act()
    assert home._link.closes == 1
    before = len(home._link.sent)
    now_s[0] += 600
    home._act()
    home._act()
    assert len(home._link.sent) > before


@pytest.mark.parametrize(("name", "taken_back"), [("shed", 2), ("a#", 0), ("+", 0), ("a b", 0), ("", 0)])
def test_only_what_can_be_an_instruments_name_is_taken_back(home, name, taken_back):
    home._handle(Message(TOPICS.config(name), b"{}", True))
    assert len(home._waiting) == taken_back
