"""Checks of the conversation with broker and gateway.

- The client id is the device's, because access rules go by it (§7.4). A second session with it ends the first
  one: while the agent runs, it is asked instead.
- Nothing is retained. What is published is true (`online` is false) or was sent before (the newest proof with
  a receipt, which the gateway answers with a receipt, freshly signed). A device that has none yet is content
  with a young beacon.
"""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable
from typing import Any

from agent.broker import Broker
from agent.clock import Clock
from agent.conditions import HEALTHY_S
from agent.errors import TryAgain
from agent.membership import Joined
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from proof import beacon, receipt, wire
from proof.keys import Signer, multibase_part
from proof.reasons import Refused as NotSigned
from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Finding, failed
from provisioning.checks_state import Books

CONNECT_S, ANSWER_S, BEACON_S, GATEWAY_S = 11.0, 4.0, 4.0, 6.0
OLD_BEACON_S = 3 * beacon.PERIOD_S
_PROTOCOLS = {5: "MQTT 5", 4: "MQTT 3.1.1"}
_RULES = "Ask the broker's operator to check its access rules (protocol §7.4)."
_OPERATOR = "Ask the operator of the network whether its gateway is running."


class Session:
    """One connection and what was heard on it."""

    def __init__(self, broker: Broker, device: str) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self.link = Link(broker, multibase_part(device), self._events.put)
        self.protocol = ""
        self.messages: list[Message] = []

    def await_event(self, wanted: Callable[[Event], bool], within_s: float) -> Event | None:
        """The first such event, None after `within_s`; raises `TryAgain` when the connection ends."""
        end_s = time.monotonic() + within_s
        while (left_s := end_s - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=left_s)
                match event:
                    case Refused(reason=reason) | Disconnected(reason=reason):
                        raise TryAgain(reason)
                    case Message():
                        self.messages.append(event)
                if wanted(event):
                    return event
        return None


def mqtt(broker: Broker, signer: Signer, report: dict[str, Any], closing: contextlib.ExitStack) -> Finding:
    """The value is the session; None where the running agent has it."""
    if report:
        link = report["link"]
        if not link["connected"]:
            return failed(f"The running agent is not connected: {link['problem'] or 'connecting.'}")
        return Finding(PASS, f"{link['protocol']}, the running agent's connection.")
    session = Session(broker, signer.device)
    closing.callback(session.link.close, 2.0)
    session.link.connect()
    connected = session.await_event(lambda event: isinstance(event, Connected), CONNECT_S)
    if not isinstance(connected, Connected):
        return Finding(FAIL, f"{broker} takes connections and does not answer.", "Is it an MQTT broker?")
    session.protocol = _PROTOCOLS.get(connected.protocol, "?")
    return Finding(PASS, f"{session.protocol}; the broker lets this device in.", "", session)


def subscribe(session: Session | None, signer: Signer, joined: Joined, report: dict[str, Any]) -> Finding:
    if session is None:
        return _told(report)
    network = joined.membership.network
    topics = [wire.topic(network, signer.device, leaf) for leaf in ("receipt", "challenge", "membership")]
    session.link.subscribe([*topics, wire.beacon_topic(network)])
    answer = session.await_event(lambda event: isinstance(event, Subscribed), ANSWER_S)
    if not isinstance(answer, Subscribed):
        return Finding(FAIL, f"The broker did not answer within {ANSWER_S:g} s.", _RULES)
    if answer.refused:
        return Finding(FAIL, f"The broker refuses {', '.join(map(_short, answer.refused))}.", _RULES)
    return Finding(PASS, "receipt, challenge, membership, beacon: granted.")


def publish(session: Session | None, signer: Signer, joined: Joined, report: dict[str, Any]) -> Finding:
    if session is None:
        return _told(report)
    topic, content = wire.topic(joined.membership.network, signer.device, "status"), "application/json"
    offline = json.dumps({"online": False}).encode()
    mid = session.link.publish(topic, offline, content_type=content)
    answer = _delivered(session, mid)
    if answer is None:
        return Finding(FAIL, f"The broker did not take a message within {ANSWER_S:g} s.", _RULES)
    if answer.failed:
        return Finding(FAIL, f"The broker refuses {_short(topic)} (code {answer.code:#04x}).", _RULES)
    hint = "" if session.protocol == "MQTT 5" else f"; {session.protocol} would not tell a refusal"
    return Finding(PASS, f"status: taken{hint}.")


def gateway(
    session: Session | None,
    signer: Signer,
    joined: Joined,
    report: dict[str, Any],
    books: Books | None,
    clock: Clock,
) -> Finding:
    if session is None:
        if not report["answered"]:
            return Finding(SKIPPED, "The running agent's journal does not answer: its receipts are unknown.")
        age_s = report["last_receipted_reading_age_s"]
        if age_s is None or age_s > HEALTHY_S:
            return Finding(WARN, "The running agent has no young receipt.", _OPERATOR)
        return Finding(PASS, f"It receipted a reading of {age_s:.0f} s ago to the running agent.")
    if books is not None and books.known is not None:
        return _receipt_again(session, signer, joined, books.known)
    return _beacon(session, joined, clock)


def _receipt_again(session: Session, signer: Signer, joined: Joined, proof: bytes) -> Finding:
    network, keys = joined.membership.network, joined.membership.gateway_keys
    asked, answers = (wire.topic(network, signer.device, leaf) for leaf in ("proof", "receipt"))
    begun_s = time.monotonic()
    mid = session.link.publish(asked, wire.deflate(proof))

    def answered(event: Event) -> bool:
        refused = isinstance(event, Delivered) and event.mid == mid and (event.failed or event.no_subscribers)
        return refused or (isinstance(event, Message) and event.topic == answers and not event.retain)

    match session.await_event(answered, GATEWAY_S):
        case Delivered(failed=True, code=code):
            return Finding(FAIL, f"The broker refuses {_short(asked)} (code {code:#04x}).", _RULES)
        case Delivered():
            return Finding(FAIL, "The broker says that no gateway listens.", _OPERATOR)
        case Message(payload=payload):
            took_ms = (time.monotonic() - begun_s) * 1000
            try:
                said = receipt.open_receipt(wire.inflate(payload, receipt.MAX_BYTES), keys, signer.device)
            except NotSigned as refused:
                return Finding(FAIL, f"Who answers is not the gateway: {refused.verdict}", _IMPOSTOR)
            head = f"up to seq {said.head_seq}"
            return Finding(
                PASS, f"It signed a receipt {head} for a proof sent again, after {took_ms:.0f} ms."
            )
    return Finding(FAIL, f"A proof sent again had no receipt within {GATEWAY_S:g} s.", _OPERATOR)


_IMPOSTOR = "Do not trust this broker; tell the network's operator."


def _beacon(session: Session, joined: Joined, clock: Clock) -> Finding:
    network, keys = joined.membership.network, joined.membership.gateway_keys
    topic = wire.beacon_topic(network)
    if not any(message.topic == topic for message in session.messages):
        session.await_event(lambda event: isinstance(event, Message) and event.topic == topic, BEACON_S)
    heard = [message for message in session.messages if message.topic == topic]
    if not heard:
        to_do = f"{_OPERATOR} If it is: {_RULES[0].lower()}{_RULES[1:]}"
        return Finding(FAIL, "No beacon was heard.", to_do)
    try:
        said = beacon.open_beacon(wire.inflate(heard[-1].payload, beacon.MAX_BYTES), keys, network)
    except NotSigned as refused:
        return Finding(FAIL, f"The beacon is not the gateway's: {refused.verdict}", _IMPOSTOR)
    age_s = clock.wall().ns / 1e9 - said.issued_at_s
    if age_s > OLD_BEACON_S:
        return Finding(FAIL, f"Its newest beacon is {age_s / 60:,.0f} min old by this clock.", _OPERATOR)
    if age_s < -OLD_BEACON_S:
        return Finding(WARN, "Its beacon is newer than this clock.", "See the line of the clock.")
    return Finding(PASS, f"Its newest beacon is {max(0.0, age_s):.0f} s old, and signed by it.")


def _told(report: dict[str, Any]) -> Finding:
    if report["link"]["problem"]:  # it says one thing, which may be of the other direction
        told = failed(f"The running agent says: {report['link']['problem']}")
        return Finding(WARN, told.found, told.to_do)
    return Finding(PASS, "The running agent's; no refusal.")


def _delivered(session: Session, mid: int) -> Delivered | None:
    event = session.await_event(lambda event: isinstance(event, Delivered) and event.mid == mid, ANSWER_S)
    return event if isinstance(event, Delivered) else None


def _short(topic: str) -> str:
    """The last part: a whole topic does not fit a line."""
    return "…/" + topic.rpartition("/")[2]
