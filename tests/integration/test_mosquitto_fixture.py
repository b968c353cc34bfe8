"""The broker of the other integration tests keeps its promises."""

from __future__ import annotations

import errno
import socket

import paho.mqtt.publish as publish
import paho.mqtt.subscribe as subscribe
import pytest

pytestmark = pytest.mark.mosquitto


def test_the_port_stays_the_brokers_own_while_it_is_stopped(mosquitto):
    mosquitto.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", mosquitto.port), 5)
    with socket.socket() as another, pytest.raises(OSError, match=r"in use") as refused:
        another.bind(("127.0.0.1", mosquitto.port))
    assert refused.value.errno == errno.EADDRINUSE
    mosquitto.start()
    socket.create_connection(("127.0.0.1", mosquitto.port), 5).close()


def test_a_retained_message_outlives_a_restart_and_not_a_kill(mosquitto):
    where = {"hostname": "127.0.0.1", "port": mosquitto.port}
    publish.single("a", b"1", qos=1, retain=True, **where)
    mosquitto.restart()
    assert subscribe.simple("a", qos=1, **where).payload == b"1"
    publish.single("a", b"2", qos=1, retain=True, **where)
    mosquitto.kill()
    mosquitto.start()
    assert subscribe.simple("a", qos=1, **where).payload == b"1"
