"""The connection against brokers that know no MQTT 5, refuse, keep silent or go away."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from gateway import link as links
from gateway.link import Delivery, Link
from gateway.service import Inbound, Outbound

CONNACK, CONNACK_OLD, CONNACK_REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x01", b"\x20\x02\x00\x05"


def packet(client):
    """(first byte, body) of the next MQTT packet; None at the end."""
    head = client.recv(1)
    if not head:
        return None
    size = shift = 0
    while True:
        byte = client.recv(1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    body = b""
    while len(body) < size:
        body += client.recv(size - len(body))
    return head[0], body


class Broker:
    """Speaks 3.1.1 to one client at a time; `on_five(client)` answers a CONNECT of MQTT 5."""

    def __init__(self, on_five, connack=CONNACK):
        self.on_five, self.connack = on_five, connack
        self.levels, self.seen = [], []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.client: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _run(self):
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            with client:
                self._serve(client)

    def _serve(self, client):
        try:
            while (received := packet(client)) is not None:
                kind, body = received
                self.seen.append((kind >> 4, body))
                if kind >> 4 == 1:
                    self.levels.append(body[6])
                    if body[6] == 5:
                        if self.on_five(client):
                            return
                        continue
                    client.sendall(self.connack)
                elif kind >> 4 == 3:
                    client.sendall(b"\x40\x02" + body[3:5])  # PUBACK of a message on topic "c"
                elif kind >> 4 == 8:
                    client.sendall(b"\x90\x04" + body[:2] + b"\x01\x80")
                    self.client = client
        except OSError:
            return


def hangs_up(_client):
    return True


def refuses(client):
    client.sendall(CONNACK_OLD)
    return True


def keeps_silent(_client):
    return False


@pytest.fixture
def connect(monkeypatch):
    monkeypatch.setattr(links, "_CONNECT_S", 0.3)
    monkeypatch.setattr(links, "_FIRST_WAIT_S", 0.01)
    opened = []

    def connect(broker):
        link = Link(("127.0.0.1", broker.port), "g", ["a/+", "b/+"], jitter=lambda: 0.5)
        opened.append((link, broker))
        link.start()
        return link

    yield connect
    for link, broker in opened:
        link.close()
        broker.close()


@pytest.mark.parametrize("on_five", [hangs_up, refuses, keeps_silent])
def test_a_broker_that_knows_no_mqtt_5_is_spoken_to_in_3_1_1(connect, until, on_five):
    broker = Broker(on_five)
    link = connect(broker)
    until(link.connected.is_set)
    assert broker.levels == [5, 4]
    connects = [body for kind, body in broker.seen if kind == 1]
    assert connects[1][7] & 0x02 == 0  # clean session is off: the broker keeps what comes meanwhile


def test_a_lost_connection_is_found_again_and_subscribed_again(connect, until):
    broker = Broker(refuses)
    link = connect(broker)
    until(lambda: broker.client)
    client, broker.client = broker.client, None
    client.shutdown(socket.SHUT_RDWR)
    until(lambda: broker.client, what="a second subscription")
    assert broker.levels == [5, 4, 4]
    assert link.connected.is_set()


def test_a_broker_that_refuses_everything_is_asked_again_without_an_end(connect, until):
    broker = Broker(refuses, CONNACK_REFUSED)
    link = connect(broker)
    until(lambda: len(broker.levels) >= 4)
    assert not link.connected.is_set()


def test_a_message_is_acknowledged_only_when_asked_and_only_in_its_own_connection(connect, until):
    broker = Broker(refuses)
    link = connect(broker)
    until(lambda: broker.client)
    broker.client.sendall(b"\x32\x08\x00\x03a/x\x00\x07!")
    delivery = link.inbox.get(timeout=5)
    assert (delivery.message, delivery.mid) == (Inbound("a/x", b"!"), 7)
    link.ack(Delivery(delivery.message, delivery.connection - 1, 7, 1))
    link.ack(delivery)
    until(lambda: any(kind == 4 for kind, _body in broker.seen), what="a PUBACK")
    assert [body for kind, body in broker.seen if kind == 4] == [b"\x00\x07"]


def test_a_full_inbox_leaves_the_message_unacknowledged(connect, until, monkeypatch):
    monkeypatch.setattr(links, "INBOX", 1)
    broker = Broker(refuses)
    link = connect(broker)
    until(lambda: broker.client)
    broker.client.sendall(b"\x32\x08\x00\x03a/x\x00\x07!" + b"\x32\x08\x00\x03a/x\x00\x08?")
    until(link.inbox.full)
    link.publish(Outbound("c", b""))
    until(lambda: any(kind == 3 for kind, _body in broker.seen), what="a PUBLISH")
    assert link.inbox.get(timeout=5).mid == 7
    assert link.inbox.empty()


def test_no_broker_at_all_is_no_reason_to_end(until, monkeypatch, free_port):
    monkeypatch.setattr(links, "_FIRST_WAIT_S", 0.01)
    problems: list[str] = []
    link = Link(("127.0.0.1", free_port), "g", ["a"], jitter=lambda: 0.5)
    monkeypatch.setattr(link, "_say", problems.append)
    link.start()
    until(lambda: len(problems) >= 3)
    link.close()
    assert not link._thread.is_alive()
    assert "refused" in problems[0]


def test_messages_of_a_kept_session_that_outrun_the_suback_can_be_answered(connect, until):
    broker = Broker(refuses, connack=CONNACK + b"\x32\x08\x00\x03a/x\x00\x07!")
    link = connect(broker)
    delivery = link.inbox.get(timeout=5)
    assert link.connected.is_set()
    link.publish(Outbound("c", b"receipt"))
    link.ack(delivery)
    until(lambda: any(kind == 4 for kind, _body in broker.seen), what="a PUBACK")
    kinds = [kind for kind, _body in broker.seen]
    assert kinds.index(3) < kinds.index(4)
