"""What counts as an answer, event by event; real brokers answer in tests/integration/test_doctor.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.broker import parse_broker_url
from agent.errors import TryAgain
from agent.membership import Joined
from agent.mqtt_events import Delivered, Disconnected, Event, Message, Subscribed
from agent.settings import MqttSettings
from proof import receipt, wire
from proof.joining import Membership
from proof.receipt import Receipt
from provisioning import checks_session as session
from provisioning.checks import FAIL, PASS, SKIPPED
from tests.agent_parts import DEVICE_ID, GATEWAY, NETWORK, SIGNER, START_S, FakeClock

MEMBERSHIP = Membership(DEVICE_ID, NETWORK, "test", (GATEWAY.public_key,), (), START_S, None)
JOINED = Joined("mqtt://127.0.0.1:1", (GATEWAY.public_key,), b"", MEMBERSHIP)
MID = 7


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name in ("ANSWER_S", "BEACON_S", "GATEWAY_S"):
        monkeypatch.setattr(session, name, 0.1)


def hears(*events: Event) -> session.Session:
    broker = parse_broker_url("mqtt://127.0.0.1:1", MqttSettings(allow_plain=True))
    one: Any = session.Session(broker, DEVICE_ID)
    one.link = SimpleNamespace(publish=lambda *_, **__: MID, subscribe=lambda _: None)
    for event in events:
        one._events.put(event)
    return one


def answer(retain: bool = False) -> Message:
    data = receipt.sign(Receipt(DEVICE_ID, bytes(8), 0, None, START_S), GATEWAY, START_S)
    return Message(wire.topic(NETWORK, DEVICE_ID, "receipt"), wire.deflate(data), retain)


def asked(*events: Event):
    return session._receipt_again(hears(*events), SIGNER, JOINED, b"\xd2 a proof")


def test_a_signed_receipt_that_comes_now_is_an_answer_and_a_retained_one_is_not():
    assert asked(Delivered(MID, 0, False, False), answer()).verdict is PASS
    finding = asked(answer(retain=True), Delivered(MID, 0, False, False))
    assert (finding.verdict, "had no receipt" in finding.found) == (FAIL, True)


def test_the_puback_of_another_message_says_nothing():
    assert asked(Delivered(MID - 1, 0x87, True, False), answer()).verdict is PASS
    assert asked(Delivered(MID, 0x87, True, False), answer()).verdict is FAIL


def test_a_connection_that_ends_says_why():
    with pytest.raises(TryAgain, match="Session taken over"):
        asked(Disconnected("The broker ended the connection: Session taken over.", 0x8E))


def test_a_refused_subscription_names_the_topic():
    refused = wire.topic(NETWORK, DEVICE_ID, "challenge")
    finding = session.subscribe(hears(Subscribed((refused,), (refused,))), SIGNER, JOINED, {})
    assert (finding.verdict, finding.found) == (FAIL, "The broker refuses …/challenge.")
    assert session.subscribe(hears(), SIGNER, JOINED, {}).verdict is FAIL


def test_a_running_agent_without_a_young_receipt_speaks_of_the_gateway():
    for age_s, passed in ((10.0, True), (4 * 3600.0, False), (None, False)):
        report = {"last_receipted_reading_age_s": age_s, "answered": True}
        finding = session.gateway(None, SIGNER, JOINED, report, None, FakeClock())
        assert (finding.verdict is PASS) == passed


def test_an_agent_whose_journal_does_not_answer_is_not_asked_for_an_old_receipt():
    report = {"last_receipted_reading_age_s": 10.0, "answered": False}
    finding = session.gateway(None, SIGNER, JOINED, report, None, FakeClock())
    assert (finding.verdict, "does not answer" in finding.found) == (SKIPPED, True)
