"""Every way TLS with a real Mosquitto can fail is one sentence, on the device and at the gateway."""

from __future__ import annotations

import queue
import re
import socket

import pytest

from agent.broker import parse_broker_url
from agent.mqtt import Link
from agent.mqtt_events import Event, Refused
from agent.settings import MqttSettings
from gateway import link as gateway_link
from gateway import tls
from gateway.access import Identity
from gateway.folder import Settings
from tests.conftest import MOSQUITTO
from tests.tls_parts import Authority, SecureMosquitto

pytestmark = pytest.mark.mosquitto
BAD_CASES = {
    "an authority that is not ours": (
        r"its certificate is not trusted: .*certificate.*\. Set mqtt\.ca_file to the authority",
        r"not trusted: .*certificate.*\. Is ca_file the authority that signed it\?",
    ),
    "a certificate of another host": (
        r"not trusted: IP address mismatch.*\. Is the broker's address right",
        r"not trusted: IP address mismatch.*\. Is broker the name that stands in the certificate\?",
    ),
    "a certificate that has expired": (
        r"not trusted: certificate has expired\. If this device's clock is right",
        r"not trusted: certificate has expired\. Renew the broker's certificate, unless",
    ),
    "a client without a certificate": (
        r"it demands a client certificate\. Set mqtt\.cert_file and mqtt\.key_file\.",
        r"it demands a client certificate: set cert_file and key_file",
    ),
    "a client of another authority": (
        r"it does not know the authority that signed mqtt\.cert_file\.",
        r"it does not know the authority that signed cert_file",
    ),
    "a client whose certificate has expired": (
        r"it says that mqtt\.cert_file has expired\.",
        r"it says that cert_file has expired",
    ),
}


@pytest.fixture
def failing(tmp_path):
    """`failing(case)` -> (URL, ca_file, cert_file) of a broker and a client that do not get on."""
    started = []

    def start(case):
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed (Debian package `mosquitto`)")
        ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
        server = {
            "a certificate of another host": lambda: ours.issue("broker", "192.0.2.1", "elsewhere.example"),
            "a certificate that has expired": lambda: ours.issue("broker", "127.0.0.1", expired=True),
        }.get(case, lambda: ours.issue("broker", "127.0.0.1"))
        client = {
            "a client without a certificate": lambda: None,
            "a client of another authority": lambda: other.issue("z6Mk"),
            "a client whose certificate has expired": lambda: ours.issue("z6Mk", expired=True),
        }.get(case, lambda: ours.issue("z6Mk"))
        broker = SecureMosquitto(tmp_path, ours, "hills", Identity.CERTIFICATE, server())
        started.append(broker)
        broker.start()
        trusted = other if case == "an authority that is not ours" else ours
        return broker.url, trusted.file, client()

    yield start
    for broker in started:
        broker.kill()


def device_says(url: str, settings: MqttSettings) -> str:
    events: queue.Queue[Event] = queue.Queue()
    link = Link(parse_broker_url(url, settings), "z6Mk", events.put)
    link.connect()
    event = events.get(timeout=30)
    assert link.close()
    assert isinstance(event, Refused), event
    assert event.reason.count("\n") == 0
    assert event.reason.endswith((".", "?"))
    return event.reason


def gateway_says(monkeypatch, until, settings: Settings) -> str:
    problems: list[str] = []
    monkeypatch.setattr(gateway_link, "_FIRST_WAIT_S", 0.01)
    host, port, _tls = settings.endpoint()
    link = gateway_link.Link((host, port), "g", ["a"], context=tls.context(settings))
    monkeypatch.setattr(link, "_say", problems.append)
    link.start()
    until(lambda: problems, 30, "a problem")
    link.close()
    return problems[0]


@pytest.mark.parametrize("case", BAD_CASES)
def test_each_failure_has_its_sentence(case, failing, monkeypatch, until):
    url, ca_file, cert_file = failing(case)
    device_words, gateway_words = BAD_CASES[case]
    assert re.search(device_words, device_says(url, MqttSettings(ca_file=ca_file, cert_file=cert_file)))
    settings = Settings("n", "test", url, ca_file=str(ca_file), cert_file=str(cert_file or ""))
    assert re.search(gateway_words, gateway_says(monkeypatch, until, settings))


def test_a_plain_broker_in_place_of_the_tls_one_is_refused_and_hears_nothing(
    mosquitto, tmp_path, monkeypatch, until
):
    """Downgrade: whoever stands on the way cannot make us speak without TLS."""
    url, ca_file = mosquitto.url.replace("mqtt://", "mqtts://"), Authority(tmp_path).file
    password = tmp_path / "password"
    password.write_text("open sesame")
    settings = MqttSettings(ca_file=ca_file, password_file=password, allow_plain=True)
    assert "Is this the TLS port?" in device_says(url, settings)
    problem = gateway_says(monkeypatch, until, Settings("n", "test", url, ca_file=str(ca_file)))
    assert "is this the broker's TLS port?" in problem or "is this its TLS port?" in problem
    assert "New client connected" not in mosquitto.log.read_text()


def test_what_a_stripped_connection_would_have_carried_never_leaves(tmp_path):
    """The bytes that reach a plain listener are a TLS handshake, never CONNECT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        events: queue.Queue[Event] = queue.Queue()
        settings = MqttSettings(ca_file=Authority(tmp_path).file, username="z6Mk", allow_plain=True)
        url = f"mqtts://127.0.0.1:{server.getsockname()[1]}"
        link = Link(parse_broker_url(url, settings), "z6Mk", events.put)
        link.connect()
        connection, _address = server.accept()
        with connection:
            heard = connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK, as if all were well
        assert isinstance(events.get(timeout=30), Refused)
        assert link.close()
    assert heard[:2] == b"\x16\x03"  # a TLS handshake record
    assert b"MQTT" not in heard
