"""Readings for Home Assistant over a real Mosquitto: what stands there, when it goes, and that no broker,
however bad, costs the node anything."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.home_assistant import HomeAssistant
from agent.home_entities import NODE, Topics
from agent.sampler import InstrumentState
from agent.settings import HomeAssistantSettings, load
from drivers.contract import Quantity
from gateway.access import Identity
from hardware_sim import run
from hardware_sim.scenario import climate
from proof.keys import multibase_part
from proof.senml import Measured
from tests.agent_parts import DEVICE_ID
from tests.sim_parts import NAME, joined_config
from tests.tls_parts import Authority, SecureMosquitto
from tests.unit.agent.test_home_entities import check

pytestmark = pytest.mark.mosquitto
TOPICS = Topics("homeassistant", multibase_part(DEVICE_ID))
AVAILABLE, NODE_AVAILABLE = TOPICS.availability("roof"), TOPICS.availability(NODE)
REPORT = {
    "healthy": True,
    "answered": True,
    "state": "healthy",
    "proofs": {"unreceipted": 2},
    "last_receipted_reading_age_s": 1.5,
}


class Home:
    """Somebody at the owner's broker, as Home Assistant is. `now` is the newest payload of each topic,
    `count` how many came, `retained` what the broker had kept when we came."""

    def __init__(self, url: str) -> None:
        self.now: dict[str, bytes] = {}
        self.retained: dict[str, bytes] = {}
        self.count: dict[str, int] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._message
        host, _, port = url.removeprefix("mqtt://").partition(":")
        self._client.connect(host, int(port))
        self._client.loop_start()

    def _message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.retain:
            self.retained[message.topic] = bytes(message.payload)
        self.now[message.topic] = bytes(message.payload)
        self.count[message.topic] = self.count.get(message.topic, 0) + 1

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Roof:
    """What a `Sampler` is to others; the test says its state."""

    name, interval_s = "roof", 60.0
    quantities = (Quantity("temperature", "Cel", 0.01, 0.5, -40.0, 85.0),)

    def __init__(self, name: str = "roof") -> None:
        self.name = name
        self.state = InstrumentState(name, "BME280", "5d0c", 0, 0, "", (), False)

    def read(self, value: float) -> None:
        latest = (Measured("temperature", "Cel", Decimal(str(value))),)
        self.state = replace(self.state, samples=self.state.samples + 1, latest=latest)

    def gone(self) -> None:
        self.state = replace(self.state, latest=(), problem="It is gone.", is_open=False)


@pytest.fixture
def home(mosquitto) -> Iterator[Home]:
    made = Home(mosquitto.url)
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[Callable[..., HomeAssistant]]:
    """told(url, *samplers, **settings) -> what tells Home Assistant, started."""
    made: list[HomeAssistant] = []

    def make(
        url: str, *samplers: Any, monotonic: Callable[[], float] = time.monotonic, **settings: Any
    ) -> HomeAssistant:
        chosen = HomeAssistantSettings(True, url, allow_plain=True, **settings)
        made.append(HomeAssistant(chosen, DEVICE_ID, samplers, lambda: REPORT, monotonic))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_a_home_assistant_that_comes_later_finds_configurations_and_availability_but_no_old_value(
    mosquitto, told, until
):
    roof = Roof()
    roof.read(20.01)
    first = Home(mosquitto.url)
    told(mosquitto.url, roof)
    until(lambda: TOPICS.state("roof") in first.now and TOPICS.state(NODE) in first.now, 20, "the states")
    first.close()
    assert json.loads(first.now[TOPICS.state("roof")]) == {"temperature": 20.01}
    assert json.loads(first.now[TOPICS.state(NODE)]) == {
        "problem": "OFF", "state": "healthy", "unreceipted": 2, "age": 1.5,
    }  # fmt: skip
    later = Home(mosquitto.url)
    kept = {TOPICS.config("roof"), TOPICS.config(NODE), AVAILABLE, NODE_AVAILABLE}
    until(lambda: set(later.retained) == kept, 20, "what is retained")
    later.close()
    for name in ("roof", NODE):
        check(json.loads(later.retained[TOPICS.config(name)]))
    assert (later.retained[AVAILABLE], later.retained[NODE_AVAILABLE]) == (b"online", b"online")


def test_each_new_sample_is_told_once_and_again_when_home_assistant_was_started_anew(
    mosquitto, home, told, until
):
    roof, state = Roof(), TOPICS.state("roof")
    roof.read(20)
    told(mosquitto.url, roof)
    until(lambda: home.count.get(state) == 1, 20, "the first sample")
    roof.read(21)
    until(lambda: home.count[state] == 2, 20, "the second")
    assert json.loads(home.now[state]) == {"temperature": 21}
    home.say("homeassistant/status", b"offline")
    home.say("homeassistant/status", b"online")
    until(lambda: home.count[state] == 3, 20, "the second again")


class Hectic(Roof):
    """Has a new sample whenever somebody looks."""

    looks = 0

    @property
    def state(self) -> InstrumentState:
        self.looks += 1
        return replace(self._state, samples=self.looks, latest=(Measured("temperature", "Cel", self.looks),))

    @state.setter
    def state(self, state: InstrumentState) -> None:
        self._state = state


def test_it_looks_once_a_second_however_fast_samples_come(mosquitto, home, told, until):
    hectic, state, now_s = Hectic(), TOPICS.state("roof"), 100.0
    one = told(mosquitto.url, hectic, monotonic=lambda: now_s)
    until(lambda: home.count.get(state) and home.count.get(TOPICS.state(NODE)), 20, "everything told")
    until(lambda: not one._flying and not one._waiting, 20, "everything acknowledged")
    assert (hectic.looks, home.count[state]) == (1, 1)
    now_s += 1
    until(lambda: home.count[state] == 2, 20, "the next second's")
    assert hectic.looks == 2


def test_a_sensor_that_is_gone_is_unavailable_and_comes_back(mosquitto, home, told, until):
    roof = Roof()
    told(mosquitto.url, roof)
    until(lambda: home.now.get(AVAILABLE) == b"offline", 20, "not yet read")
    roof.read(20)
    until(lambda: home.now[AVAILABLE] == b"online", 20, "available")
    roof.gone()
    until(lambda: home.now[AVAILABLE] == b"offline", 20, "gone")
    assert home.now[NODE_AVAILABLE] == b"online"
    roof.read(21)
    until(lambda: home.now[AVAILABLE] == b"online", 20, "back")


def test_a_node_that_stops_says_so_and_one_that_dies_has_it_said(mosquitto, home, told, until):
    one = told(mosquitto.url, Roof())
    until(lambda: home.now.get(NODE_AVAILABLE) == b"online", 20, "online")
    one.stop()
    until(lambda: home.now[NODE_AVAILABLE] == b"offline", 20, "offline")
    other = told(mosquitto.url, Roof())
    until(lambda: home.now[NODE_AVAILABLE] == b"online", 20, "online again")
    sock = other._link._client.socket()
    other._stopping = True  # nobody says goodbye
    sock.shutdown(socket.SHUT_RDWR)
    until(lambda: home.now[NODE_AVAILABLE] == b"offline", 20, "the last will")


def test_an_instrument_that_left_the_settings_is_taken_back_and_nobody_else_s(mosquitto, home, told, until):
    others = "homeassistant/device/z6MkSomebodyElse/roof/config"
    home.say(others, b"{}", retain=True)
    cellar = Roof("cellar")
    cellar.read(12)
    one = told(mosquitto.url, Roof(), cellar)
    until(lambda: home.now.get(TOPICS.availability("cellar")) == b"online", 20, "the cellar")
    one.stop()
    told(mosquitto.url, Roof())
    gone = [TOPICS.config("cellar"), TOPICS.availability("cellar")]
    until(lambda: [home.now.get(topic) for topic in gone] == [b"", b""], 20, "the end of the cellar")
    later = Home(mosquitto.url)
    until(lambda: TOPICS.config("roof") in later.retained, 20, "what is retained")
    until(lambda: others in later.retained, 20, "somebody else's")
    later.close()
    assert not {*gone} & set(later.retained)


def test_after_an_outage_everything_stands_there_again(mosquitto, told, until):
    roof = Roof()
    roof.read(20)
    one = told(mosquitto.url, roof)
    until(lambda: one._connected and not one._waiting, 20, "told")
    mosquitto.kill()  # a broker that forgets
    until(lambda: not one._connected, 20, "the end of the connection")
    roof.read(21)
    mosquitto.start()
    home = Home(mosquitto.url)
    one._reconnect_at_s = 0.0  # as if the wait were over
    until(lambda: home.now.get(TOPICS.state("roof")) == b'{"temperature":21.0}', 30, "the newest value")
    assert home.now[TOPICS.config("roof")]
    assert home.now[AVAILABLE] == b"online"
    home.close()


def test_with_tls_and_a_password_and_a_wrong_one_is_said_with_its_setting(tmp_path, until, told, capsys):
    authority = Authority(tmp_path)
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = SecureMosquitto(folder, authority, "moor", Identity.PASSWORD)
    broker.add_password("ha", "open sesame")
    (folder / "acl").write_text("user ha\ntopic readwrite #\n")
    broker.start()
    (tmp_path / "right").write_text("open sesame\n")
    (tmp_path / "wrong").write_text("open barley\n")
    roof = Roof()
    options = {"username": "ha", "ca_file": authority.file}
    try:
        right = told(broker.url, roof, password_file=tmp_path / "right", **options)
        until(lambda: right._connected and not right._waiting, 20, "everything told")
        wrong = told(broker.url, roof, password_file=tmp_path / "wrong", **options)
        until(lambda: "home_assistant.username" in wrong._problem, 20, "the refusal")
        distrusting = told(broker.url, roof, username="ha", password_file=tmp_path / "right")
        until(lambda: "home_assistant.ca_file" in distrusting._problem, 20, "distrust")
    finally:
        broker.kill()


class Swallowing:
    """A broker that takes CONNECT, answers well, and then never reads another byte."""

    def __init__(self, port: int, *, answer: bytes = b"\x20\x03\x00\x00\x00") -> None:
        self._listening = socket.create_server(("127.0.0.1", port), backlog=8, reuse_port=False)
        self._answer, self._taken = answer, []  # type: tuple[bytes, list[socket.socket]]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                self._taken.append(taken)
                taken.recv(4096)
                if self._answer:
                    taken.sendall(self._answer)

    def close(self) -> None:
        for one in (self._listening, *self._taken):
            one.close()


@pytest.mark.parametrize(
    "kind",
    # The quick suite has the two kinds that are met; the others are rarer ways to fail.
    ["nobody", "deaf", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mute", "mad"))],
)
def test_no_broker_however_bad_costs_the_node_a_sample(tmp_path, until, free_port, kind):
    """Nobody listens; one that says nothing; that answers and never reads; that answers with rubbish."""
    answers = {"mute": b"", "deaf": b"\x20\x03\x00\x00\x00", "mad": b"\xff" * 2000}
    broker = Swallowing(free_port, answer=answers[kind]) if kind in answers else None
    config, _device = joined_config(tmp_path)
    home = HomeAssistantSettings(True, f"mqtt://127.0.0.1:{free_port}", allow_plain=True)
    node = run.build(replace(load(config), home_assistant=home), climate(1, 200), math.inf)
    began_s = time.monotonic()
    node.start()
    try:
        until(lambda: node.samplers[0].state.ended, 30, "the end of the world")
        until(lambda: node._home is not None and node._home._thread.is_alive(), 5, "its thread")
        assert node.answers.status()["readings"]["captured"] == 200  # type: ignore[index]
        assert node.samplers[0].state.missed == 0
    finally:
        node.stop()
        if broker:
            broker.close()
    assert time.monotonic() - began_s < 45


def test_a_deaf_broker_gets_no_more_than_a_window_and_what_waits_is_the_newest(until, told, free_port):
    broker = Swallowing(free_port)
    roofs = [Roof(f"roof-{number}") for number in range(4)]
    for roof in roofs:
        roof.read(0)
    one = told(f"mqtt://127.0.0.1:{free_port}", *roofs)
    try:
        until(lambda: one._connected and len(one._flying) == one._window, 20, "a full window")
        newest = (b'{"temperature":49.0}', False)
        for number in range(50):
            roofs[-1].read(number)
        until(lambda: one._waiting.get(TOPICS.state("roof-3")) == newest, 20, "the newest value, waiting")
        assert len(one._flying) == one._window
        assert len(one._waiting) < 3 * len(roofs) + 3
    finally:
        broker.close()


def test_a_whole_simulated_node_shows_its_instrument(tmp_path, mosquitto, home, until):
    config, device = joined_config(tmp_path)
    settings = replace(
        load(config), home_assistant=HomeAssistantSettings(True, mosquitto.url, allow_plain=True)
    )
    node = run.build(settings, climate(1, 3600), 600.0)
    topics = Topics("homeassistant", multibase_part(device))
    node.start()
    try:
        until(lambda: topics.state(NAME) in home.now and topics.state(NODE) in home.now, 30, "its states")
    finally:
        node.stop()
    message = json.loads(home.now[topics.config(NAME)])
    check(message)
    assert set(json.loads(home.now[topics.state(NAME)])) == {"temperature", "pressure", "humidity"}
    assert message["device"]["model"] == "BME280"
    until(lambda: home.now[topics.availability(NODE)] == b"offline", 10, "the end said")
    assert json.loads(home.now[topics.state(NODE)])["state"] in ("offline", "no_receipt_yet", "clock_unsure")


def test_files_that_cannot_be_used_switch_it_off_and_nothing_else(tmp_path, mosquitto, until):
    config, _device = joined_config(tmp_path)
    home = HomeAssistantSettings(
        True, mosquitto.url, allow_plain=True, username="ha", password_file=tmp_path / "absent"
    )
    node = run.build(replace(load(config), home_assistant=home), climate(1, 10), math.inf)
    node.start()
    try:
        until(lambda: node.samplers[0].state.ended, 30, "the end of the world")
        (sentence,) = cast(list[str], node.answers.status()["news"])
        assert sentence.startswith("Home Assistant is told nothing. home_assistant.password_file:")
        assert node.answers.status()["readings"]["captured"] == 10  # type: ignore[index]
    finally:
        node.stop()
