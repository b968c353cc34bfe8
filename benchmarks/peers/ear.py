"""The remote side: one subscriber with a session of its own, which notes every reading as it arrives.

- A message that the broker gives twice by itself (DUP set on the way out) is counted once: not the peer.
- The broker keeps for it what comes while it is away, QoS 0 too: what is missing was not delivered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

Decode = Callable[[bytes], Iterable[int]]


class Ear:
    """`arrivals`: (monotonic seconds, reading's number, whether it had come before)."""

    def __init__(self, port: int, topic: str, decode: Decode) -> None:
        self.arrivals: list[tuple[float, int, bool]] = []
        self.seen: set[int] = set()
        self.subscribed = threading.Event()
        self._decode, self._topic = decode, topic
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "ear", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now_s = time.monotonic()
        numbers = list(self._decode(bytes(message.payload)))
        if message.dup and self.seen.issuperset(numbers):
            return
        for number in numbers:
            self.arrivals.append((now_s, number, number in self.seen))
            self.seen.add(number)
