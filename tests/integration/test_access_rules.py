"""§7.4 on a real Mosquitto with TLS: its configuration and ACL are the ones the gateway's commands print.

Mosquitto 2.0 grants every subscription and hands over only what the ACL allows: what counts, and what is
asked here, is that nothing arrives.
"""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from agent.broker import parse_broker_url
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.settings import MqttSettings
from gateway.access import GATEWAY_USER, Identity
from proof import wire
from proof.keys import multibase_part
from tests.agent_parts import make_signer
from tests.conftest import MOSQUITTO
from tests.tls_parts import Authority, SecureMosquitto

pytestmark = pytest.mark.mosquitto
NETWORK = "hills"
NOT_AUTHORIZED = 0x87
A, B = (multibase_part(make_signer(seed).device) for seed in (1, 2))
ROOT = f"fieldproof/1/{NETWORK}"
UP, DOWN = ("proof", "enrol", "status"), ("receipt", "challenge", "membership")


class Peer:
    """One client; what it heard is in `heard`, whatever else in `events`."""

    def __init__(self, broker: SecureMosquitto, client_id: str, settings: MqttSettings) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.heard: list[tuple[str, bytes]] = []
        self.link = Link(parse_broker_url(broker.url, settings), client_id, self._on_event)
        self.link.connect()
        self.wait(Connected)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Message):
            self.heard.append((event.topic, event.payload))
        self.events.put(event)

    def wait(self, kind: type[Event]) -> Any:
        while not isinstance(event := self.events.get(timeout=20), kind):
            assert not isinstance(event, Refused | Disconnected), event
        return event

    def subscribe(self, *topics: str) -> Peer:
        self.link.subscribe(topics)
        self.wait(Subscribed)
        return self

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """The code of the PUBACK."""
        self.link.publish(topic, payload, retain=retain)
        return int(self.wait(Delivered).code)

    def hears(self, topic: str, payload: bytes) -> None:
        while (event := self.wait(Message)) != Message(topic, payload, event.retain):
            pass


class Network:
    def __init__(self, folder: Path, identity: Identity) -> None:
        self.identity, self.authority = identity, Authority(folder)
        self.broker = SecureMosquitto(folder, self.authority, NETWORK, identity)
        self._password = folder / "password"
        self._password.write_text("open sesame\n")
        if identity is not Identity.CERTIFICATE:
            self.broker.add_password(GATEWAY_USER, "open sesame")
        if identity is Identity.PASSWORD:
            for name in (A, B):
                self.broker.add_password(name, "open sesame")
        self._peers: list[Peer] = []

    def peer(self, name: str, client_id: str = "") -> Peer:
        """`name` as the broker knows it; `client_id` is what it says it is."""
        ca = self.authority.file
        if self.identity is Identity.CERTIFICATE:
            settings = MqttSettings(ca_file=ca, cert_file=self.authority.issue(name))
        elif self.identity is Identity.PASSWORD or name == GATEWAY_USER:
            settings = MqttSettings(ca_file=ca, username=name, password_file=self._password)
        else:
            settings = MqttSettings(ca_file=ca)
        self._peers.append(Peer(self.broker, client_id or name, settings))
        return self._peers[-1]

    def close(self) -> None:
        for peer in self._peers:
            assert peer.link.close()
        self.broker.kill()


@pytest.fixture(params=list(Identity), ids=str)
def network(request, tmp_path):
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (Debian package `mosquitto`)")
    made = Network(tmp_path, request.param)
    made.broker.start()
    yield made
    made.close()


def test_a_device_writes_its_own_topics_and_no_others(network):
    device = network.peer(A)
    network.peer(GATEWAY_USER).subscribe(f"{ROOT}/#")  # or every PUBACK would say: nobody listens
    codes = {leaf: device.publish(f"{ROOT}/{A}/{leaf}", b"mine") for leaf in UP}
    assert set(codes.values()) == {0}, codes
    foreign = [f"{ROOT}/{B}/{leaf}" for leaf in UP + DOWN] + [f"{ROOT}/{A}/{leaf}" for leaf in DOWN]
    foreign += [f"{ROOT}/beacon", f"{ROOT}/{A}", f"{ROOT}/{A}/proof/x", f"fieldproof/1/moor/{A}/proof"]
    codes = {topic: device.publish(topic, b"forged", retain=True) for topic in foreign}
    assert set(codes.values()) == {NOT_AUTHORIZED}, codes


def test_a_device_hears_its_own_topics_and_no_others_kept_or_live(network):
    gateway, other = network.peer(GATEWAY_USER), network.peer(B)

    def all_speak() -> None:
        for leaf in UP:
            other.publish(f"{ROOT}/{B}/{leaf}", b"of B", retain=True)
        for leaf in DOWN:
            gateway.publish(f"{ROOT}/{B}/{leaf}", b"for B", retain=True)
            gateway.publish(f"{ROOT}/{A}/{leaf}", b"for A", retain=True)
        gateway.publish(f"{ROOT}/beacon", b"for all", retain=True)

    all_speak()
    wishes = [f"{ROOT}/{B}/{leaf}" for leaf in UP + DOWN]
    wishes += ["#", f"{ROOT}/#", f"{ROOT}/+/receipt", f"{ROOT}/{B}/#", "+/+/+/+/+", "$SYS/#"]
    device = network.peer(A).subscribe(*wishes, *(f"{ROOT}/{A}/{leaf}" for leaf in DOWN), f"{ROOT}/beacon")
    all_speak()
    gateway.publish(f"{ROOT}/{A}/receipt", b"the end")
    device.hears(f"{ROOT}/{A}/receipt", b"the end")
    mine = {f"{ROOT}/{A}/{leaf}" for leaf in DOWN} | {f"{ROOT}/beacon"}
    assert {topic for topic, _payload in device.heard} == mine


def test_the_gateway_hears_every_device_and_answers_each(network):
    gateway = network.peer(GATEWAY_USER).subscribe(f"{ROOT}/+/proof", f"{ROOT}/+/enrol", f"{ROOT}/+/status")
    for name in (A, B):
        device = network.peer(name).subscribe(*(f"{ROOT}/{name}/{leaf}" for leaf in DOWN), f"{ROOT}/beacon")
        for leaf in UP:
            assert device.publish(f"{ROOT}/{name}/{leaf}", b"up") == 0
            gateway.hears(f"{ROOT}/{name}/{leaf}", b"up")
        for topic in (*(f"{ROOT}/{name}/{leaf}" for leaf in DOWN), f"{ROOT}/beacon"):
            assert gateway.publish(topic, b"down") == 0
            device.hears(topic, b"down")


def test_a_device_that_says_it_is_another_gains_nothing_where_the_broker_knows_it(network):
    gateway, other = network.peer(GATEWAY_USER), network.peer(B).subscribe(f"{ROOT}/{B}/receipt")
    if network.identity is Identity.CLIENT_ID:  # as the documents say: whoever claims to be B is B
        network.peer(B)
        assert isinstance(other.events.get(timeout=20), Disconnected)
        return
    liar = network.peer(A, client_id=B)
    assert liar.publish(f"{ROOT}/{B}/proof", b"forged") == NOT_AUTHORIZED
    gateway.publish(f"{ROOT}/{B}/receipt", b"for B")
    other.hears(f"{ROOT}/{B}/receipt", b"for B")
    assert liar.heard == []


@pytest.mark.parametrize("name", ["+", "#", f"{B}/receipt", "z6Mk+", "$SYS", "%c"])
def test_a_client_id_that_is_a_wildcard_opens_nothing(tmp_path, name):
    """Client ids are the one name that anybody may choose: a rule made of `+` would fit everyone's topics."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (Debian package `mosquitto`)")
    network = Network(tmp_path, Identity.CLIENT_ID)
    network.broker.start()
    try:
        gateway, other = network.peer(GATEWAY_USER), network.peer(B).subscribe(f"{ROOT}/{B}/receipt")
        gateway.publish(f"{ROOT}/{B}/receipt", b"for B", retain=True)
        stranger = network.peer(name).subscribe("#", f"{ROOT}/{B}/receipt", f"{ROOT}/+/receipt")
        for leaf in UP:
            assert stranger.publish(f"{ROOT}/{B}/{leaf}", b"forged") == NOT_AUTHORIZED
        gateway.publish(f"{ROOT}/{B}/receipt", b"the end")
        other.hears(f"{ROOT}/{B}/receipt", b"the end")
        assert stranger.heard == []
    finally:
        network.close()


def test_the_rules_are_those_of_the_protocol():
    assert (wire.DEVICE_WRITES, wire.DEVICE_READS) == (UP, DOWN)
