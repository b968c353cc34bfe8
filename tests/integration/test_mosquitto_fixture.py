"""The broker of the other integration tests keeps its promises."""

from __future__ import annotations

import paho.mqtt.publish as publish
import paho.mqtt.subscribe as subscribe
import pytest

pytestmark = pytest.mark.mosquitto


def test_a_retained_message_outlives_a_restart_and_not_a_kill(mosquitto):
    where = {"hostname": "127.0.0.1", "port": mosquitto.port}
    publish.single("a", b"1", qos=1, retain=True, **where)
    mosquitto.restart()
    assert subscribe.simple("a", qos=1, **where).payload == b"1"
    publish.single("a", b"2", qos=1, retain=True, **where)
    mosquitto.kill()
    mosquitto.start()
    assert subscribe.simple("a", qos=1, **where).payload == b"1"
