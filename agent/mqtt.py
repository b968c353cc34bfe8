"""One MQTT connection: a thin wrapper over paho, used by the publisher and by provisioning.

- paho is a codec and a socket here. The thread is ours, reconnecting is the caller's: every `connect()`
  ends in exactly one `Refused` (it never came up) or `Disconnected` (it did), whatever happens inside,
  so nothing dies in silence. (In paho's own thread an exception in a callback ends the thread while
  `is_connected()` stays true.)
- A new paho client per connection: its RAM queue never outlives the connection, nothing is sent twice
  behind the caller's back. What was not `Delivered` before `Disconnected` is for the caller to send again.
- QoS 1, and no session at the broker: what a device must hear is retained (§7.1), what it must say is in
  its journal. So CONNECT carries no MQTT 5 properties, over which brokers of 3.1.1 only stumble in silence.
- MQTT 5 first. 3.1.1 when the broker says it does not speak 5, or twice has no answer to CONNECT.
- Events come one after the other from the connection's thread; `on_event` should only queue them. One may
  come before the call that caused it returns. If `on_event` raises, the connection is closed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.broker import Broker, password, tls_context, why_unreachable
from agent.errors import TryAgain
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.tls import TlsSocket
from proof.wire import CONTENT_TYPE, MAX_MESSAGE_BYTES

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
NO_SUBSCRIBERS = 0x10
_QOS = 1
_UNSPECIFIED, _UNSUPPORTED_PROTOCOL = 0x80, 0x84
_CREDENTIALS = (0x86, 0x87)  # bad user name or password, not authorized
_NO_ANSWER = -1
_TICK_S = 1.0  # how often paho looks at its keepalive when nothing happens
_ANSWER_TICKS = 10  # this long a broker may be silent after CONNECT

_log = structlog.get_logger()


class Link:
    """One MQTT connection to `broker`; owned by its caller. Raises `FixConfig` for unusable TLS files.

    `will` is (topic, payload), retained.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        on_event: Callable[[Event], None],
        *,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self._broker, self._client_id, self._on_event = broker, client_id, on_event
        self._will = will
        self._tls, self._password = tls_context(broker), password(broker.settings, broker.table)
        self._protocol = V5
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running = self._closing = False
        self._client: Client | None = None  # between CONNACK and the end of the connection
        self._end: Refused | Disconnected | None = None
        self._waker: socket.socket | None = None
        self._socket: object = None
        self._subscribing: dict[int, tuple[str, ...]] = {}

    @property
    def alive(self) -> bool:
        """Whether the connection's thread runs (also while it is connecting)."""
        return self._running and self._thread is not None and self._thread.is_alive()

    def connect(self) -> None:
        """Start one attempt and return at once; nothing to do while one is under way."""
        if self._running:
            return
        self._running, self._closing = True, False
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Say goodbye (no last will); True if the thread has ended within `timeout_s`."""
        self._closing = True
        self._wake()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Raises `TryAgain` without a connection."""
        with self._lock:  # the SUBACK may be faster than the next line
            _rc, mid = self._connected().subscribe([(topic, _QOS) for topic in topics])
            if mid is not None:
                self._subscribing[mid] = tuple(topics)
        self._wake()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        content_type: str = CONTENT_TYPE,
        expiry_s: int | None = None,
    ) -> int:
        """Hand one message over, return its mid; `TryAgain` without a connection or over the window."""
        client, properties = self._connected(), None
        if client.protocol == V5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if content_type:
                properties.ContentType = content_type
            if expiry_s is not None:
                properties.MessageExpiryInterval = expiry_s
        info = client.publish(topic, payload, _QOS, retain, properties)
        self._wake()
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise TryAgain(f"The broker {self._broker} was not given the message: {info.rc.name}.")
        return info.mid

    def _connected(self) -> Client:
        if (client := self._client) is None:
            raise TryAgain(f"There is no connection to the broker {self._broker}.")
        return client

    def _wake(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # no thread that sleeps: nothing to wake
            self._waker.send(b"!")  # type: ignore[union-attr]

    # Everything below runs in the connection's thread.

    def _run(self) -> None:
        try:
            end = self._attempts()
        except Exception as error:  # noqa: BLE001 - a bug in paho, here or in on_event must not end in silence
            _log.exception("connection failed")
            ended = Refused if self._client is None else Disconnected
            end = ended(f"The connection to {self._broker} was given up after an error: {error!r}.")
        self._client = None
        self._running = False
        try:
            self._on_event(end)
        except Exception:  # noqa: BLE001 - on_event is the caller's; the thread ends here anyway
            _log.exception("connection handler failed")

    def _attempts(self) -> Refused | Disconnected:
        unanswered = 0
        while True:
            end = self._session(self._protocol)
            unanswered += end.code == _NO_ANSWER
            older = end.code in (_NO_ANSWER, _UNSUPPORTED_PROTOCOL)
            if self._protocol == V311 or not older or self._closing:
                if isinstance(end, Refused):
                    self._protocol = V5
                return end
            if end.code == _UNSUPPORTED_PROTOCOL or unanswered == 2:
                self._protocol = V311

    def _session(self, protocol: MQTTProtocolVersion) -> Refused | Disconnected:
        """One connection from its first packet to its last."""
        self._end = None
        self._subscribing.clear()
        client = self._new_client(protocol)
        try:
            client.connect(self._broker.host, self._broker.port, self._broker.settings.keepalive_s)
        except OSError as error:
            return Refused(why_unreachable(error, self._broker))
        self._socket = client.socket()
        waker, wakened = socket.socketpair()
        with waker, wakened:
            waker.setblocking(False)
            self._waker = waker
            try:
                self._pump(client, wakened)
            finally:
                self._waker = self._socket = None
                if (left := client.socket()) is not None:
                    left.close()
        return self._end or Refused(f"The connection to {self._broker} ended without a reason.")

    def _pump(self, client: Client, wakened: socket.socket) -> None:
        said_goodbye, silent_ticks = False, 0
        while (sock := client.socket()) is not None:
            if self._closing and not said_goodbye:
                said_goodbye = True
                client.disconnect()
            # TLS may hold decrypted bytes that select() does not see.
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            writing = [sock] if client.want_write() else []
            readable, writable, _ = select.select([sock, wakened], writing, [], 0 if pending else _TICK_S)
            silent_ticks += not readable
            if self._client is None and silent_ticks == _ANSWER_TICKS:
                self._end = Refused(
                    f"The broker {self._broker} took the connection and says nothing.", _NO_ANSWER
                )
                return
            if wakened in readable:
                wakened.recv(4096)
            if pending or sock in readable:
                client.loop_read()
            if writable:
                client.loop_write()
            client.loop_misc()

    def _new_client(self, protocol: MQTTProtocolVersion) -> Client:
        settings = self._broker.settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages = settings.in_flight
        client.max_queued_messages = 2 * settings.in_flight
        # Having this callback makes paho leave writing to our thread: two writers would mix their packets.
        client.on_socket_register_write = lambda _client, _userdata, _sock: None
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_subscribe = self._on_publish, self._on_subscribe
        client.on_message = self._on_message
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if settings.username or self._password is not None:
            client.username_pw_set(settings.username or self._client_id, self._password)
        if self._will is not None:
            client.will_set(*self._will, qos=_QOS, retain=True)
        return client

    def _on_connect(
        self, client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            remedy = (
                f" Check {self._broker.table}.username and its files." if reason.value in _CREDENTIALS else ""
            )
            why = f"The broker {self._broker} refused the connection: {reason.getName()}.{remedy}"
            self._end = Refused(why, reason.value)
            return
        self._client = client
        self._on_event(Connected(int(client.protocol)))

    def _on_disconnect(
        self, _client: Client, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._end is not None:
            return
        failure = self._socket.failure if isinstance(self._socket, TlsSocket) else None
        if failure is not None and self._client is None:
            self._end = Refused(why_unreachable(failure, self._broker))
        elif self._client is not None:
            self._client = None
            if flags.is_disconnect_packet_from_server:
                why = f"The broker {self._broker} ended the connection: {reason.getName()}."
            elif self._closing:
                why = "The connection was closed here."
            else:
                said = "" if reason.value == _UNSPECIFIED else f": {reason.getName()}"
                why = f"The connection to the broker {self._broker} was lost{said}."
            self._end = Disconnected(why, 0 if self._closing else reason.value)
        else:
            code = _NO_ANSWER if reason.value == _UNSPECIFIED else 0
            self._end = Refused(
                f"The broker {self._broker} did not answer CONNECT: {reason.getName()}.", code
            )

    def _on_publish(
        self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        code = reason.value
        self._on_event(Delivered(mid, code, reason.is_failure, code == NO_SUBSCRIBERS))

    def _on_subscribe(
        self, _client: Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        with self._lock:
            topics = self._subscribing.pop(mid, ())
        refused = tuple(topic for topic, reason in zip(topics, reasons, strict=False) if reason.is_failure)
        self._on_event(Subscribed(topics, refused))

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if len(message.payload) <= MAX_MESSAGE_BYTES:
            self._on_event(Message(topic, bytes(message.payload), message.retain))
