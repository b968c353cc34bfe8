"""The gateway's MQTT connection: paho as a pipe.

- Callbacks only hand over; each is wrapped, because an exception in one ends paho's thread in silence.
- Messages are acknowledged by the caller, after its commit, in the order they came. A stable client id and a
  persistent session let the broker keep what comes while the gateway is down.
- MQTT 5; 3.1.1 when the broker says it does not know 5, hangs up or keeps silent (amqtt) instead.
- One connection at a time, each with a client of its own: nothing is carried over. What could not be
  published was not acknowledged either, so it comes again and is answered again.
- After a loss the next attempt waits, longer each time, with jitter; never long: a network has few gateways,
  and all its devices wait for them.
"""

from __future__ import annotations

import functools
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway import tls
from gateway.service import Inbound, Outbound
from proof import wire

INBOX = 1024
SESSION_EXPIRY_S = 7 * 24 * 3600
_RECEIVE_MAXIMUM = 512  # unacknowledged at once; stays below INBOX
_MAX_PACKET = wire.MAX_MESSAGE_BYTES + 1024
_CONNECT_S, _KEEPALIVE_S, _FLUSH_S = 5.0, 60, 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S, _STABLE_S = 0.25, 10.0, 30.0
_log = structlog.get_logger()
_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and what acknowledges it, in the connection it came in."""

    message: Inbound
    connection: int
    mid: int
    qos: int


def _guarded(callback: Callable[_P, None]) -> Callable[_P, None]:
    @functools.wraps(callback)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:  # noqa: BLE001 - would end paho's thread without a word
            _log.exception("callback failed", callback=callback.__name__)

    return guarded


class Link:
    """`start` connects and reconnects until `close`; deliveries appear in `inbox`."""

    def __init__(
        self,
        endpoint: tuple[str, int],
        client_id: str,
        filters: list[str],
        username: str = "",
        password: str = "",
        context: ssl.SSLContext | None = None,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inbox: queue.Queue[Delivery] = queue.Queue(INBOX)
        self.connected = threading.Event()
        self.subscribed = 0  # the connection in which the broker answered SUBSCRIBE last; the first is 1
        self._host, self._port = endpoint
        self._context = context
        self._socket: Any = None
        self._client_id, self._filters = client_id, filters
        self._jitter, self._monotonic = jitter, monotonic
        self._username, self._password = username, password
        self._connection = 0
        self._ended, self._stop = threading.Event(), threading.Event()
        self._problem = ""
        self._protocol = protocol
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._last: paho.MQTTMessageInfo | None = None

    def start(self) -> None:
        self._thread.start()

    def publish(self, message: Outbound) -> None:
        """QoS 1; dropped while not connected."""
        if not self.connected.is_set():
            return
        properties = None
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = wire.CONTENT_TYPE
            if message.expiry_s is not None:
                properties.MessageExpiryInterval = message.expiry_s
        self._last = self._client.publish(message.topic, message.payload, 1, message.retain, properties)

    def ack(self, delivery: Delivery) -> None:
        # A packet id of an earlier connection may name another message by now.
        if delivery.connection == self._connection:
            self._client.ack(delivery.mid, delivery.qos)

    def close(self) -> None:
        """Waits a little for what was published, then says goodbye."""
        if self._last is not None and self.connected.is_set() and self._last.rc == paho.MQTT_ERR_SUCCESS:
            self._last.wait_for_publish(_FLUSH_S)
        self._stop.set()
        self._client.disconnect()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_CONNECT_S)

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            started_s = self._monotonic()
            self._attempt()
            stable = self._monotonic() - started_s > _STABLE_S
            wait_s = _FIRST_WAIT_S if stable else min(wait_s * 2, _LONGEST_WAIT_S)
            self._stop.wait(wait_s * (0.5 + self._jitter()))

    def _attempt(self) -> None:
        """One connection from start to end."""
        client = self._client = self._new_client()
        before = self._connection
        self._ended.clear()
        if self._stop.is_set():  # `close` sets it before it sets `_ended`
            return
        self._problem = "no answer to CONNECT"
        try:
            self._connect(client)
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            self._say(tls.why(error) if isinstance(error, OSError) else str(error))
            return
        client.loop_start()
        if not self._ended.wait(_CONNECT_S) and self.connected.is_set():
            self._ended.wait()
        client.disconnect()  # or loop_stop would wait for messages that never leave
        client.loop_stop()
        self.connected.clear()
        if not self._stop.is_set():
            self._say(self._problem)
            if self._connection == before:
                self._try_other_protocol()

    def _connect(self, client: paho.Client) -> None:
        if self._protocol != MQTTProtocolVersion.MQTTv5:
            client.connect(self._host, self._port, _KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        properties.MaximumPacketSize = _MAX_PACKET
        client.connect(self._host, self._port, _KEEPALIVE_S, clean_start=False, properties=properties)

    def _try_other_protocol(self) -> None:
        five, four = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
        self._protocol = four if self._protocol == five else five

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if self._protocol == MQTTProtocolVersion.MQTTv5 else False,
            protocol=self._protocol,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        if self._username:
            client.username_pw_set(self._username, self._password)
        if self._context is not None:
            client.tls_set_context(self._context)
        client.on_socket_open = self._on_socket_open
        client.on_connect = _guarded(self._on_connect)
        client.on_message = _guarded(self._on_message)
        client.on_subscribe = _guarded(self._on_subscribe)
        client.on_disconnect = _guarded(self._on_disconnect)
        return client

    def _on_socket_open(self, _client: paho.Client, _data: Any, socket: Any) -> None:
        self._socket = socket  # kept: paho may send CONNECT and drop the socket before `connect` returns

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if code.is_failure:
            self._problem = f"refused: {code}"
            return
        self._connection += 1
        # Before the first message of a kept session: what cannot be answered must not be acknowledged.
        self.connected.set()
        client.subscribe([(name, 1) for name in self._filters])

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        refused = [name for name, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            _log.error("subscription refused", topics=refused, problem="Check the broker's access rules.")
        self.subscribed = self._connection
        _log.info("listening", broker=f"{self._host}:{self._port}", mqtt=self._protocol.name)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        inbound = Inbound(message.topic, bytes(message.payload))
        try:
            self.inbox.put_nowait(Delivery(inbound, self._connection, message.mid, message.qos))
        except queue.Full:
            # Not acknowledged: the broker, or the device for want of a receipt, sends it again.
            _log.warning("inbox full", topic=message.topic)

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        failure = getattr(self._socket, "failure", None)
        if failure is not None:
            self._problem = tls.why(failure)
        elif self.connected.is_set():
            self._problem = f"connection lost: {code}"
        self.connected.clear()
        self._ended.set()

    def _say(self, problem: str) -> None:
        _log.warning("not connected", broker=f"{self._host}:{self._port}", problem=problem)
