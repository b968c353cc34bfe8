"""`agent.mqtt.Link` against real brokers: mosquitto (MQTT 5) and amqtt (3.1.1 only)."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import queue
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.broker import parse_broker_url
from agent.errors import TryAgain
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.settings import MqttSettings
from proof.wire import MAX_MESSAGE_BYTES

SETTINGS = MqttSettings(allow_plain=True, in_flight=2)
Kind = TypeVar("Kind", bound=Event)


class Peer:
    """A link and the events it gave."""

    def __init__(self, url: str, name: str, settings: MqttSettings = SETTINGS, **options: Any) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.link = Link(parse_broker_url(url, settings), name, self.events.put, **options)

    def next(self, kind: type[Kind], deadline_s: float = 15.0) -> Kind:
        """The next event, which must be a `kind`."""
        event = self.events.get(timeout=deadline_s)
        assert isinstance(event, kind), event
        return event

    def up(self) -> Peer:
        self.link.connect()
        self.next(Connected)
        return self


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(*args: Any, **options: Any) -> Peer:
        made.append(Peer(*args, **options))
        return made[-1]

    yield make
    for one in made:
        assert one.link.close(), "the connection's thread did not end"


@pytest.mark.mosquitto
def test_what_one_publishes_the_other_receives_and_the_puback_is_told(mosquitto, peer):
    sender, receiver = peer(mosquitto.url, "a").up(), peer(mosquitto.url, "b")
    receiver.link.connect()
    assert receiver.next(Connected) == Connected(5)
    receiver.link.subscribe(["x/1", "x/2"])
    assert receiver.next(Subscribed) == Subscribed(("x/1", "x/2"), ())
    mid = sender.link.publish("x/2", b"hello", retain=True, expiry_s=60)
    assert sender.next(Delivered) == Delivered(mid, 0, failed=False, no_subscribers=False)
    assert receiver.next(Message) == Message("x/2", b"hello", retain=False)


@pytest.mark.mosquitto
def test_nobody_listening_is_said(mosquitto, peer):
    sender = peer(mosquitto.url, "a").up()
    mid = sender.link.publish("nobody/here", b"hello")
    assert sender.next(Delivered) == Delivered(mid, 0x10, failed=False, no_subscribers=True)


@pytest.mark.mosquitto
def test_a_retained_message_comes_again_on_every_connection(mosquitto, peer):
    sender, receiver = peer(mosquitto.url, "a").up(), peer(mosquitto.url, "b")
    sender.link.publish("x", b"newest", retain=True)
    sender.next(Delivered)
    for _ in range(2):
        receiver.up().link.subscribe(["x"])
        receiver.next(Subscribed)
        assert receiver.next(Message) == Message("x", b"newest", retain=True)
        receiver.link.close()
        receiver.next(Disconnected)


@pytest.mark.mosquitto
def test_the_window_is_bounded_and_nothing_waits_in_ram(mosquitto, peer):
    sender = peer(mosquitto.url, "a")
    with pytest.raises(TryAgain, match="no connection"):
        sender.link.publish("x", b"")
    sender.up()
    os.kill(mosquitto._process.pid, signal.SIGSTOP)
    try:
        for _ in range(2 * SETTINGS.in_flight):
            sender.link.publish("x", b"")
        with pytest.raises(TryAgain, match="MQTT_ERR_QUEUE_SIZE"):
            sender.link.publish("x", b"")
    finally:
        os.kill(mosquitto._process.pid, signal.SIGCONT)
    for _ in range(2 * SETTINGS.in_flight):
        sender.next(Delivered)


@pytest.mark.mosquitto
def test_a_killed_broker_is_one_disconnected_and_the_same_link_connects_again(mosquitto, peer):
    sender = peer(mosquitto.url, "a").up()
    mosquitto.kill()
    why = sender.next(Disconnected).reason
    assert why.endswith(" was lost."), why  # MQTT's "Unspecified error" tells nobody anything
    sender.link.connect()
    assert "nothing listens there" in sender.next(Refused).reason
    mosquitto.start()
    sender.up()
    sender.link.publish("x", b"")
    assert sender.next(Delivered).no_subscribers


@pytest.mark.mosquitto
def test_the_will_speaks_for_a_killed_link_and_not_for_a_closed_one(mosquitto, peer):
    watcher = peer(mosquitto.url, "w").up()
    watcher.link.subscribe(["status"])
    watcher.next(Subscribed)
    settings = MqttSettings(allow_plain=True)
    polite = peer(mosquitto.url, "polite", settings, will=("status", b"polite is gone")).up()
    polite.link.close()
    killed = peer(mosquitto.url, "killed", settings, will=("status", b"killed is gone")).up()
    peer(mosquitto.url, "killed").up()
    killed.next(Disconnected)
    assert watcher.next(Message).payload == b"killed is gone"


@pytest.mark.mosquitto
def test_a_message_over_the_limit_never_arrives_and_the_link_lives(mosquitto, peer):
    sender, receiver = peer(mosquitto.url, "a").up(), peer(mosquitto.url, "b").up()
    receiver.link.subscribe(["x"])
    receiver.next(Subscribed)
    sender.link.publish("x", bytes(MAX_MESSAGE_BYTES + 1))
    sender.next(Delivered)
    sender.link.publish("x", b"small")
    assert receiver.next(Message).payload == b"small"


@pytest.mark.mosquitto
def test_an_owner_that_raises_loses_its_connection_and_hears_of_it(mosquitto):
    heard: queue.Queue[Event] = queue.Queue()

    def on_event(event: Event) -> None:
        heard.put(event)
        if isinstance(event, Connected):
            raise RuntimeError("a bug in the owner")

    link = Link(parse_broker_url(mosquitto.url, SETTINGS), "a", on_event)
    link.connect()
    assert isinstance(heard.get(timeout=15), Connected)
    end = heard.get(timeout=15)
    assert isinstance(end, Disconnected)
    assert "a bug in the owner" in end.reason
    assert link.close()
    assert not link.alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt loses stream writers
def test_a_broker_that_only_speaks_3_1_1_is_spoken_to_in_3_1_1(old_broker, peer):
    sender, receiver = peer(old_broker, "a"), peer(old_broker, "b")
    for one in (sender, receiver):
        one.link.connect()
        assert one.next(Connected).protocol == 4
    receiver.link.subscribe(["x"])
    receiver.next(Subscribed)
    mid = sender.link.publish("x", b"hello", expiry_s=60)
    assert sender.next(Delivered) == Delivered(mid, 0, failed=False, no_subscribers=False)
    assert receiver.next(Message) == Message("x", b"hello", retain=False)


def _serve_once(answers: list[bytes], tls: ssl.SSLContext | None = None) -> tuple[str, threading.Thread]:
    """A server that answers one connection after the other with the next of `answers` and closes it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            for answer in answers:
                connection, _ = server.accept()
                with connection, contextlib.suppress(ssl.SSLError, ConnectionError):
                    talk = tls.wrap_socket(connection, server_side=True) if tls else connection
                    with talk:
                        talk.recv(4096)
                        talk.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"mqtt://127.0.0.1:{server.getsockname()[1]}", thread


CONNACK_5_OK = b"\x20\x03\x00\x00\x00"
CONNACK_311_OK = b"\x20\x02\x00\x00"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([b"\x20\x03\x00\x84\x00", CONNACK_311_OK], [Connected, Disconnected]),  # says so in MQTT 5
        ([b"\x20\x02\x00\x01", CONNACK_311_OK], [Connected, Disconnected]),  # says so in MQTT 3.1.1
        ([b"", b"", CONNACK_311_OK], [Connected, Disconnected]),  # says nothing, twice
        ([b"", b"", b""], [Refused]),
        ([b"\x20\x03\x00\x87\x00"], [Refused]),  # not authorized: not a question of the protocol
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], [Refused]),
        ([b"\x20\xff\xff\xff\xff\xff\xff"], [Refused]),
    ],
)
def test_whatever_answers_connect_the_attempt_ends_in_one_event(peer, answers, expected):
    url, server = _serve_once(answers)
    one = peer(url, "a")
    one.link.connect()
    seen = [one.events.get(timeout=15) for _ in expected]
    assert [type(event) for event in seen] == expected
    assert all(event.protocol == 4 for event in seen if isinstance(event, Connected))
    server.join(10)
    assert not server.is_alive(), "fewer connections than answers"
    assert one.link.close()
    assert one.events.empty()


def test_a_second_device_with_the_same_name_shows_in_the_reason(peer):
    url, _server = _serve_once([CONNACK_5_OK + b"\xe0\x01\x8e"])
    first = peer(url, "same").up()
    end = first.next(Disconnected)
    assert (end.code, "Session taken over" in end.reason) == (0x8E, True)


def test_a_port_without_tls_gives_a_sentence(peer):
    url, _server = _serve_once([b"\x20\x02\x00\x00"])
    one = peer(url.replace("mqtt://", "mqtts://"), "a")
    one.link.connect()
    assert "Is this the TLS port?" in one.next(Refused).reason


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate of 127.0.0.1, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test broker")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    signed = builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = tmp_path_factory.mktemp("tls") / "broker.pem"
    file.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()) + signed.public_bytes(pem))
    return file


@pytest.fixture
def tls(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_broker_whose_authority_is_configured_is_trusted(peer, tls, certificate):
    url, _server = _serve_once([CONNACK_5_OK], tls)
    settings = MqttSettings(ca_file=certificate)
    peer(url.replace("mqtt://", "mqtts://"), "a", settings).up().next(Disconnected)


def test_a_broker_of_another_authority_is_not_trusted(peer, tls):
    url, _server = _serve_once([CONNACK_5_OK], tls)
    one = peer(url.replace("mqtt://", "mqtts://"), "a")
    one.link.connect()
    assert "certificate is not trusted: self" in one.next(Refused).reason


def test_a_broker_under_another_name_is_not_trusted(peer, tls, certificate):
    url, _server = _serve_once([CONNACK_5_OK], tls)
    other_name = url.replace("mqtt://127.0.0.1", "mqtts://localhost")
    one = peer(other_name, "a", MqttSettings(ca_file=certificate))
    one.link.connect()
    assert "certificate is not trusted: Hostname mismatch" in one.next(Refused).reason


def test_a_name_without_an_address_gives_a_sentence(peer):
    one = peer("mqtts://no-such-host.invalid", "a")
    one.link.connect()
    assert "has no address" in one.next(Refused, 30).reason
