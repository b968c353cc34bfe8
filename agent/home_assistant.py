"""Readings for Home Assistant, over a broker of the owner's own (`agent.home_entities` says what is told).

- One thread of its own looks, once a second, at what samplers say of themselves anyway: nobody who samples or
  keeps ever waits for it, or calls it. What it could not send in time is replaced by what is newer.
- Whatever that broker does (absent, refusing, slow, mad), the node goes on. It is tried again, ever later.
- Configurations are retained, so the broker knows which instruments were told of before: those that are gone
  from the settings are taken back.
- States are not retained: a value that a broker kept would look new to Home Assistant. They are told again
  when it says that it has started.
"""

from __future__ import annotations

import json
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from agent import home_entities
from agent.backoff import Backoff
from agent.broker import home_broker
from agent.conditions import CODES
from agent.errors import TryAgain
from agent.home_entities import NODE, OFFLINE, ONLINE, REPORT_S, Topics
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.sampler import Sampler
from agent.settings import NAME, HomeAssistantSettings, MqttSettings
from agent.status import HEALTHY
from agent.window import PUBACK_S
from proof.keys import multibase_part

NO_PUBACK = "The broker does not say that it has a message (no PUBACK): connecting again."
_LOOK_S = 1.0
_MOST_HEARD, _MOST_WAITING = 256, 1000  # there are a few messages per instrument, at most 64 of those
_log = structlog.get_logger()


class HomeAssistant:
    """`report` is the node's status. Raises `FixConfig` for an address or files that cannot be used."""

    def __init__(
        self,
        settings: HomeAssistantSettings,
        device: str,
        samplers: Sequence[Sampler],
        report: Callable[[], Mapping[str, Any]],
        monotonic: Callable[[], float],
    ) -> None:
        self._topics = Topics(settings.discovery_prefix, multibase_part(device))
        self._samplers = {sampler.name: sampler for sampler in samplers}
        self._report, self._monotonic = report, monotonic
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._link = Link(
            home_broker(settings),
            f"fieldproof-{multibase_part(device)}",
            self._heard,
            will=(self._topics.availability(NODE), OFFLINE),
        )
        self._backoff = Backoff()
        self._reconnect_at_s: float | None = 0.0
        self._connected = False
        self._flying: dict[int, float] = {}  # since when
        self._window = MqttSettings().in_flight
        self._waiting: dict[str, tuple[bytes, bool]] = {}  # the newest payload of each topic, and retain
        self._said: dict[str, bytes] = {}  # what is retained, in this connection
        self._samples: dict[str, int] = {}
        self._identified: dict[str, tuple[str, str]] = {}
        self._look_at_s = self._report_at_s = 0.0
        self._problem = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Say that the node is gone, if the broker takes it in time."""
        self._stopping = True
        self._events.put(None)  # it may be asleep
        if self._thread.is_alive():  # else the start did not come so far
            self._thread.join(timeout_s)
        self._link.close(timeout_s)

    def _heard(self, event: Event) -> None:
        """From the link's thread. A broker that floods us is not listened to."""
        if not isinstance(event, Message) or self._events.qsize() < _MOST_HEARD:
            self._events.put(event)

    def _run(self) -> None:
        while not self._stopping:
            try:
                with suppress(queue.Empty):
                    self._handle(self._events.get(timeout=_LOOK_S))
                self._act()
            except TryAgain as problem:
                self._say_problem(problem.sentence)
            except Exception:  # noqa: BLE001 a bug here must not end in silence, nor touch the node
                _log.exception("unexpected error", thread="home-assistant")
        if self._connected:
            self._flying.clear()
            self._waiting = {self._topics.availability(NODE): (OFFLINE, True)}
            with suppress(TryAgain):  # then the last will says it
                self._send()

    def _handle(self, event: Event | None) -> None:
        match event:
            case Connected():
                self._backoff.up(round(self._monotonic() * 1e9))
                self._connected, self._problem = True, ""
                self._tell_everything()
                self._link.subscribe([self._topics.birth, self._topics.config("+")])
                _log.info("connected to home assistant")
            case Refused(sentence) | Disconnected(sentence):
                self._say_problem(sentence)
                self._connected = False
                self._backoff.down(round(self._monotonic() * 1e9))
                wait_s = self._backoff.next_delay_s(random.random())  # noqa: S311 jitter is no secret
                self._reconnect_at_s = self._monotonic() + wait_s
            case Delivered(mid, code, failed):
                self._flying.pop(mid, None)
                if failed:
                    self._say_problem(f"The broker refused a message (0x{code:02x}): check its access rules.")
            case Subscribed(_, refused):
                if refused:
                    self._say_problem(f"The broker does not let us read {', '.join(refused)}.")
            case Message(topic, payload, retain):
                self._message(topic, payload, retain)

    def _message(self, topic: str, payload: bytes, retain: bool) -> None:
        if topic == self._topics.birth:
            if payload == ONLINE and not retain:
                self._samples.clear()
                self._look_at_s = self._report_at_s = 0.0
            return
        name = self._topics.named(topic)
        ours = name == NODE or name in self._samplers
        if retain and payload and not ours and NAME.fullmatch(name) and len(self._waiting) < _MOST_WAITING:
            self._waiting[self._topics.config(name)] = (b"", True)
            self._waiting[self._topics.availability(name)] = (b"", True)

    def _tell_everything(self) -> None:
        for kept in (self._flying, self._waiting, self._said, self._samples, self._identified):
            kept.clear()
        self._look_at_s = self._report_at_s = 0.0

    def _act(self) -> None:
        now_s = self._monotonic()
        if self._reconnect_at_s is not None and now_s >= self._reconnect_at_s:
            self._reconnect_at_s = None
            self._link.connect()
        if not self._connected:
            return
        if any(now_s - since_s >= PUBACK_S for since_s in self._flying.values()):
            self._say_problem(NO_PUBACK)
            self._flying.clear()
            self._link.close(timeout_s=0)  # its end is an event, and then comes another connection
            return
        if not self._said:
            self._retain(
                self._topics.config(NODE), _json(home_entities.node(self._topics, (HEALTHY, *CODES)))
            )
            self._retain(self._topics.availability(NODE), ONLINE)
        if now_s >= self._look_at_s:  # not at every event: each message we send is answered by one
            self._look_at_s = now_s + _LOOK_S
            self._look()
        self._send()
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + REPORT_S
            self._waiting[self._topics.state(NODE)] = (_json(home_entities.node_state(self._report())), False)
            self._send()

    def _look(self) -> None:
        for name, sampler in self._samplers.items():
            state = sampler.state
            who = (state.model, state.serial)
            if self._identified.get(name) != who:
                self._identified[name] = who
                config = home_entities.instrument(
                    self._topics, name, sampler.quantities, sampler.interval_s, *who
                )
                self._retain(self._topics.config(name), _json(config))
            self._retain(self._topics.availability(name), ONLINE if state.latest else OFFLINE)
            if state.latest and self._samples.get(name) != state.samples:
                self._samples[name] = state.samples
                self._waiting[self._topics.state(name)] = (_json(home_entities.values(state.latest)), False)

    def _retain(self, topic: str, payload: bytes) -> None:
        if self._said.get(topic) != payload:
            self._said[topic] = payload
            self._waiting[topic] = (payload, True)

    def _send(self) -> None:
        """As much as the broker takes now; the oldest topic first."""
        while self._waiting and len(self._flying) < self._window:
            topic = next(iter(self._waiting))
            payload, retain = self._waiting[topic]
            mid = self._link.publish(topic, payload, retain=retain, content_type="")
            self._flying[mid] = self._monotonic()
            del self._waiting[topic]

    def _say_problem(self, sentence: str) -> None:
        if sentence != self._problem:
            _log.warning("home assistant not told", problem=sentence)
        self._problem = sentence


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
