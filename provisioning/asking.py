"""Joining, the part with a network: asks the claim's gateway through its broker until it answers.

- Connect, subscribe to the answers, then ask; the question is repeated while nobody answers.
- A deadline ends it with a sentence of what was reached: the broker, the subscription, a gateway.
- Messages nobody of the claim signed are remembered and otherwise ignored: a stranger cannot end the wait.
- A membership that the broker had kept is the answer to an earlier question, one that came too late. It is
  taken when nobody answers this one within an attempt.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from agent.errors import HardStop, TryAgain
from agent.membership import Joined
from agent.mqtt import Link
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from proof.reasons import Refused as NotSigned
from provisioning.joining import Request, judge

ATTEMPT_S = 5.0
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`kept`: given earlier, and found at the broker."""

    joined: Joined
    kept: bool = False


class NoGateway(TryAgain):
    """Nobody answered in time."""


class Impostor(HardStop):
    """Somebody answered who is not a gateway of the claim."""


def ask(
    asked: Request,
    make_link: Callable[[Callable[[Event], None]], Link],
    now_s: Callable[[], float],
    deadline_s: float = DEADLINE_S,
) -> Answer:
    """The membership the gateway gives, or gave. Raises `ClaimRefused`, `NoGateway` or `Impostor`."""
    conversation = _Conversation(asked, make_link, now_s)
    end = time.monotonic() + deadline_s
    attempts = Retrying(
        retry=retry_if_exception_type(TryAgain),
        wait=wait_random_exponential(multiplier=0.5, max=ATTEMPT_S),
        stop=stop_after_delay(deadline_s),
        reraise=True,
    )
    try:
        return attempts(lambda: conversation.attempt(min(ATTEMPT_S, end - time.monotonic())))
    except TryAgain:
        if conversation.kept is not None:
            return conversation.kept
        raise conversation.what_was_seen(deadline_s) from None
    finally:
        conversation.close()


class _Conversation:
    def __init__(
        self,
        asked: Request,
        make_link: Callable[[Callable[[Event], None]], Link],
        now_s: Callable[[], float],
    ) -> None:
        self._asked, self._now_s = asked, now_s
        self._events: queue.Queue[Event] = queue.Queue()
        self._link = make_link(self._events.put)
        self._subscribed = False
        self._not_signed: NotSigned | None = None
        self.kept: Answer | None = None
        self._seen = "The broker was not reached."

    def attempt(self, wait_s: float) -> Answer:
        """Ask, and wait for the answer; raises `TryAgain` after `wait_s` or when the link fails."""
        if not self._link.alive:
            self._link.connect()
        elif self._subscribed:
            self._send()
        end = time.monotonic() + wait_s
        while (left_s := end - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                break
            if (joined := self._hear(event)) is not None:
                return Answer(joined)
        if self.kept is not None:
            return self.kept
        raise TryAgain(self._seen)

    def what_was_seen(self, deadline_s: float) -> NoGateway | Impostor:
        if self._not_signed is not None:
            return Impostor(
                f"What answered is not a gateway of this claim ({self._not_signed}). Nothing was changed. "
                "Ask the operator whether the claim is the right one; if it is, do not trust this broker."
            )
        return NoGateway(f"No membership within {deadline_s:g} s. {self._seen}")

    def close(self) -> None:
        self._link.close(timeout_s=2.0)

    def _send(self) -> None:
        self._link.publish(self._asked.topic, self._asked.message)

    def _hear(self, event: Event) -> Joined | None:
        network = self._asked.claim.network
        match event:
            case Connected():
                self._seen = "The broker was reached, but did not answer the subscription."
                self._link.subscribe(self._asked.answer_topics)
            case Subscribed(refused=()):
                self._subscribed = True
                self._seen = "The broker was reached, but did not take the request."
                self._send()
            case Subscribed(refused=refused):
                self._seen = (
                    f"The broker does not let this device read {refused[0]}. "
                    "Ask its operator to check the access rules."
                )
            case Delivered(failed=True, code=code):
                self._seen = (
                    f"The broker refused the request (code {code:#04x}). "
                    "Ask its operator to check the access rules."
                )
            case Delivered(no_subscribers=True):
                self._seen = (
                    f"The broker took the request, but no gateway of {network} is listening there. "
                    "Ask its operator whether it is running, then join again."
                )
            case Delivered():
                self._seen = (
                    f"The broker took the request, but no gateway of {network} answered. "
                    "Ask its operator whether it is running, then join again."
                )
            case Message():
                return self._judged(event)
            case Refused(reason=reason) | Disconnected(reason=reason):
                self._subscribed = False
                self._seen = reason
                raise TryAgain(reason)
        return None

    def _judged(self, message: Message) -> Joined | None:
        try:
            joined = judge(self._asked, message, self._now_s())
        except NotSigned as not_signed:
            self._not_signed = not_signed
            return None
        if joined is not None and message.retain:
            self.kept = Answer(joined, kept=True)
            return None
        return joined
