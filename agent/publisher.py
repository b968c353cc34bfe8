"""Proofs go out, receipts come in. One thread; paho is a pipe (`agent.mqtt`).

- A proof is published only from disk, only while connected, and only within the agent's own window.
- After each connection the retained receipt is awaited first (`agent.sync`). Where the broker has forgotten
  it, a start sends a proof again that was receipted once, and nothing new until that is answered.
- A superseded store publishes one proof, so that the gateway learns of it, and then leaves the broker to the
  board that took over (they have one client id) until its owner resumes.
- Reconnects and resends wait with jitter and grow; a link must be stable before they start small again.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.backoff import Backoff
from agent.batch import next_batch, receipted_proof
from agent.errors import TryAgain
from agent.keeper import Keeper
from agent.linkstate import BROKER_REFUSES, NO_GATEWAY, UNANSWERED, LinkHealth, LinkState
from agent.membership import Joined
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.receipts import Outcome, accept
from agent.sealer import Sealer
from agent.succession import SENTENCES
from agent.sync import Sync
from agent.verdicts import Verdicts
from agent.window import SendWindow
from proof import beacon, receipt, wire
from proof.beacon import Challenge
from proof.chain import SUPERSEDED
from proof.reasons import Refused as NotAccepted

NO_PUBACK = "The broker does not say that it has a proof (no PUBACK): connecting again."
_IDLE_S = 1.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Wake:
    """Something was sealed, or the thread should look whether it is to stop."""


@dataclass(frozen=True, slots=True)
class _Resume:
    """The owner said that this board is the one; its new log is open."""


class Publisher:
    """Owns the link. `make_link` builds one for an event handler; `monotonic` drives every wait."""

    def __init__(
        self,
        device: str,
        joined: Joined,
        keeper: Keeper,
        sealer: Sealer,
        make_link: Callable[[Callable[[Event], None], tuple[str, bytes]], Link],
        in_flight: int,
        monotonic: Callable[[], float],
        on_challenge: Callable[[Challenge], None],
        on_news: Callable[[str], None],
        on_receipt: Callable[[Outcome], None] = lambda _outcome: None,
    ) -> None:
        self._device, self._network = device, joined.membership.network
        self._gateway_keys = joined.membership.gateway_keys
        self._keeper, self._sealer, self._monotonic = keeper, sealer, monotonic
        self._on_challenge, self._on_news = on_challenge, on_news
        self._verdicts = Verdicts(keeper, sealer, on_news, on_receipt)
        self._events: queue.Queue[Event | _Wake | _Resume] = queue.Queue()
        self._topics = {
            leaf: wire.topic(self._network, device, leaf)
            for leaf in ("proof", "receipt", "challenge", "status")
        }
        self._topics["beacon"] = wire.beacon_topic(self._network)
        self._link = make_link(self._events.put, (self._topics["status"], _presence(False)))
        self._window = SendWindow(in_flight)
        self._backoff, self._gateway_backoff = Backoff(), Backoff()
        self._reconnect_at_s: float | None = 0.0
        self._sync = Sync()
        self._health = LinkHealth(monotonic)
        self._log_id = 0
        self._gives_way = self._resting = False
        self._challenges: set[tuple[int, bytes]] = set()  # of the newest second that had one
        self._stop_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.turns = 0

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._events.put(_Wake())

    def resume(self) -> None:
        """Connect and publish again, after `agent.succession.resume`."""
        self._events.put(_Resume())

    def stop(self, timeout_s: float) -> None:
        """Publish what can be published within `timeout_s`, then say goodbye."""
        self._stop_at_s = self._monotonic() + timeout_s
        self.wake()
        if self._thread.is_alive():  # else it ended, or the start did not come so far
            self._thread.join(timeout_s + 1.0)
        self._link.close(timeout_s=1.0)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def state(self) -> LinkState:
        return self._health.state(self._window.flying)

    def sent_ago_s(self, log_id: int, seq: int) -> float | None:
        return self._health.sent_ago_s(log_id, seq)

    def _run(self) -> None:
        finished = False
        while not finished:
            try:
                event = self._events.get(timeout=self._wait_s())
            except queue.Empty:
                event = _Wake()
            stop_at_s = self._stop_at_s  # before acting: what was sealed before the stop is offered once
            try:
                self._handle(event)
                self._act()
                self._health.turn_went_well()
            except TryAgain as problem:  # the journal or the link did not answer: the next turn tries again
                self._health.turn_failed(problem.sentence)
            except Exception:  # noqa: BLE001 a bug here must not end publishing in silence
                _log.exception("unexpected error", thread="publisher")
            self.turns += 1
            finished = stop_at_s is not None and self._is_done(stop_at_s)
        self._announce(online=False)  # the last will is for those who could not say goodbye

    def _is_done(self, stop_at_s: float) -> bool:
        if self._health.connected is None or self._monotonic() >= stop_at_s:
            return True
        return self._sync.done and self._window.idle

    def _announce(self, online: bool) -> None:
        with contextlib.suppress(TryAgain):  # only a hint for dashboards
            self._link.publish(
                self._topics["status"], _presence(online), retain=True, content_type="application/json"
            )

    def _wait_s(self) -> float:
        now_s = self._monotonic()
        waits = [_IDLE_S]
        if self._reconnect_at_s is not None:
            waits.append(self._reconnect_at_s - now_s)
        if self._health.connected:
            look = self._window.next_look_s if self._sync.done else self._sync.next_look_s
            waits.append(look(now_s))
        return max(0.01, min(waits))

    def _handle(self, event: Event | _Wake | _Resume) -> None:
        now_s = self._monotonic()
        match event:
            case Connected():
                self._health.up(event)
                self._sync.connected(now_s)
                self._backoff.up(round(now_s * 1e9))
                self._link.subscribe([self._topics[leaf] for leaf in ("receipt", "challenge", "beacon")])
                _log.info("connected", protocol=event.protocol)
            case Subscribed():
                self._sync.has_subscribed(now_s)
                if event.refused:
                    topics = ", ".join(event.refused)
                    said = f"The broker does not let this device read {topics}: check its ACL."
                    self._health.trouble_is(said, BROKER_REFUSES)
                    self._on_news(said)
                self._announce(online=True)
            case Refused(sentence, code):
                self._lost(sentence, now_s, let_in=code < 1)
            case Disconnected(sentence):
                self._lost(sentence, now_s)
            case Delivered(mid, code, failed, no_subscribers):
                self._delivered(mid, code, failed, no_subscribers, now_s)
            case Message():
                self._message(event)
            case _Resume():
                self._gives_way = self._resting = False
                self._window.start(0, now_s)
                if self._health.connected is None:
                    self._reconnect_at_s = now_s

    def _lost(self, sentence: str, now_s: float, let_in: bool = True) -> None:
        if self._health.down(sentence, let_in):
            _log.warning("not connected", problem=sentence)
        self._sync.lost()
        self._window.start(self._window.head, now_s)
        self._backoff.down(round(now_s * 1e9))
        self._reconnect_at_s = None if self._resting else now_s + _jittered_s(self._backoff)

    def _delivered(self, mid: int, code: int, failed: bool, no_subscribers: bool, now_s: float) -> None:
        if not self._window.flies(mid):
            return  # not a proof: nobody needs to listen to the status
        if not failed and not no_subscribers:
            if (seq := self._window.delivered(mid)) is not None:
                self._health.delivered(self._log_id, seq)
            if self._gives_way:  # it was all there is to say: the broker is the other board's now
                self._resting = True
                self._link.close(timeout_s=0)
            return
        if news := self._health.broker_refuses(code) if failed else self._health.nobody_listens():
            _log.warning("proof not taken", problem=news)
        self._window.refused(mid)
        if not self._window.paused(now_s):
            self._window.pause(now_s + _jittered_s(self._gateway_backoff))

    def _message(self, message: Message) -> None:
        try:
            data = wire.inflate(
                message.payload,
                beacon.MAX_BYTES if message.topic == self._topics["beacon"] else receipt.MAX_BYTES,
            )
            if message.topic == self._topics["receipt"]:
                self._receipt(receipt.open_receipt(data, self._gateway_keys, self._device), data)
                if not message.retain:
                    self._health.gateway_heard()
            elif message.topic == self._topics["beacon"]:
                self._keeper.hear_beacon(beacon.open_beacon(data, self._gateway_keys, self._network), data)
                if not message.retain:
                    self._health.gateway_heard()
                    self._window.gateway_lives(self._monotonic())
                    self._sync.gateway_lives(self._monotonic())
            elif message.topic == self._topics["challenge"]:
                self._challenge(beacon.open_challenge(data, self._gateway_keys, self._device))
        except NotAccepted as refused:
            _log.warning("message not accepted", topic=message.topic, reason=str(refused.verdict))

    def _challenge(self, challenge: Challenge) -> None:
        """Each once: a broker that repeats old ones gets no samples for them."""
        issued = (challenge.issued_at_s, challenge.nonce)
        if issued in self._challenges or any(challenge.issued_at_s < at_s for at_s, _ in self._challenges):
            return
        self._challenges = {held for held in self._challenges if held[0] == challenge.issued_at_s} | {issued}
        self._on_challenge(challenge)

    def _receipt(self, received: receipt.Receipt, data: bytes) -> None:
        if received.log == receipt.NO_LOG:
            self._verdicts.refused(received, self._window.head)
            return
        offered = self._window.sent > self._window.head
        outcome = self._keeper.call(
            lambda journal: accept(journal, received, data, self._sealer, offered=offered)
        )
        now_s = self._monotonic()
        self._sync.receipted()
        self._gateway_backoff = Backoff()
        if outcome.new_log_because:
            self._gives_way = outcome.new_log_because == SUPERSEDED
            self._window.start(0, now_s)
            self._on_news(SENTENCES[outcome.new_log_because])
        progress = outcome.head > self._window.head
        self._window.receipted(
            outcome.head, received.missing if received.head_seq == outcome.head else (), now_s
        )
        self._health.receipted(progress, all_done=self._window.sent == outcome.head)
        self._verdicts.heard(outcome)

    def _act(self) -> None:
        now_s = self._monotonic()
        if self._reconnect_at_s is not None and now_s >= self._reconnect_at_s and self._stop_at_s is None:
            self._reconnect_at_s = None
            self._link.connect()
        if self._health.connected and self._sync.is_over(now_s):
            if self._sync.subscribed:
                self._sync.done = self._sync.agreed or not self._ask(now_s)
            else:  # a broker that does not answer SUBSCRIBE: begin again, its end is an event
                self._sync.await_subscription(now_s)
                self._link.close(timeout_s=0)
        if self._health.connected and self._window.stuck(now_s):  # only another connection sends it again
            _log.warning("no PUBACK", problem=NO_PUBACK)
            self._window.start(self._window.head, now_s)
            self._link.close(timeout_s=0)
        elif self._health.connected and self._sync.done:
            self._send(now_s)

    def _ask(self, now_s: float) -> bool:
        """Without a retained receipt: whether the gateway can be asked what it holds of the open log."""
        known = self._keeper.read(receipted_proof)
        if known is None:  # a new device, or a new log: no number of it was ever delivered
            return False
        self._link.publish(self._topics["proof"], known.message)
        self._sync.has_asked(now_s + _jittered_s(self._gateway_backoff))
        self._health.trouble_is(UNANSWERED, NO_GATEWAY)
        return True

    def _send(self, now_s: float) -> None:
        places = self._window.places(now_s)
        if not places:
            return
        asked, after = self._window.wanted(places), self._window.sent
        batch = self._keeper.read(lambda journal: next_batch(journal, asked, after, places))
        self._gives_way = batch.gives_way
        if batch.log_id != self._log_id:  # at the start, and after a damaged store was replaced
            self._log_id = batch.log_id
            self._window.start(batch.receipted_seq, now_s)
            self._send(now_s)
            return
        for proofs, was_asked in ((batch.asked, True), (batch.in_turn, False)):
            for proof in proofs:
                mid = self._link.publish(self._topics["proof"], proof.message)
                self._window.handed_over(mid, proof.seq, now_s, asked=was_asked)


def _jittered_s(backoff: Backoff) -> float:
    return backoff.next_delay_s(random.random())  # noqa: S311 jitter is no secret


def _presence(online: bool) -> bytes:
    """§7.1: a hint for dashboards, unsigned, proves nothing."""
    return json.dumps({"online": online}).encode()
