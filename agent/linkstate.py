"""What is known of the link and of who answers at its end: the publisher notes it, `agent.conditions` judges.

- `problem` is the newest sentence, `trouble` what kind it is of. A receipt ends both, and a refusal of the
  broker too; another connection ends what was said of the one before, but not a refusal.
- What was delivered and had no answer counts from the first PUBACK after the newest progress.
- Written by the publisher's thread, read by any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from agent.mqtt_events import Connected

_SENT = 128  # proofs, of which it is remembered when they were delivered
OFFLINE, BROKER_REFUSES, NO_GATEWAY = "offline", "broker_refuses", "no_gateway"
UNANSWERED = "The gateway has not said yet what it holds of this device: proofs are kept until it does."
NOBODY_LISTENS = "No gateway listens at the broker: proofs are kept and tried again."


@dataclass(frozen=True, slots=True)
class LinkState:
    """What `status` says of the link; `problem` is the newest sentence about it and `trouble` its kind, ""
    where it has none. `unreceipted_s`: so long proofs are delivered without an answer; `heard_s`: so long ago
    the gateway was heard."""

    connected: bool
    protocol: str
    problem: str
    in_flight: int
    gateway_seen: bool
    connections: int = 0  # since the start; one is how it should be
    trouble: str = ""
    unreceipted_s: float | None = None
    heard_s: float | None = None


class LinkHealth:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.connected: Connected | None = None
        self.problem = self.trouble = self.refusal = ""
        self._turn_failed = ""
        self.connections = 0
        self._gateway_seen = False
        self._delivered_s: float | None = None
        self._heard_s: float | None = None
        self._sent: OrderedDict[tuple[int, int], float] = OrderedDict()

    def up(self, connected: Connected) -> None:
        self.connected = connected
        self.problem = self.trouble = ""
        self.connections += 1
        self._delivered_s = None

    def down(self, sentence: str, let_in: bool) -> bool:
        """Whether that is news. `let_in`: the broker has not refused us, it ended or cannot be reached."""
        if self.connected is None and let_in:
            self.refusal = ""  # it is not there
        news = self.connected is not None or sentence != self.problem
        self.connected = None
        self.problem, self.trouble = sentence, OFFLINE if let_in else BROKER_REFUSES
        return news

    def trouble_is(self, sentence: str, kind: str = "") -> None:
        self.problem, self.trouble = sentence, kind

    def turn_failed(self, sentence: str) -> None:
        """Journal or link did not answer the publisher."""
        self._turn_failed = sentence
        self.trouble_is(sentence)

    def turn_went_well(self) -> None:
        if self._turn_failed and self.connected and self.problem == self._turn_failed:
            self.problem = self._turn_failed = ""

    def nobody_listens(self) -> str:
        """The sentence, "" where it is no news."""
        if self.problem == NOBODY_LISTENS:
            return ""
        self._gateway_seen = False
        self.trouble_is(NOBODY_LISTENS, NO_GATEWAY)
        return NOBODY_LISTENS

    def broker_refuses(self, code: int) -> str:
        """The sentence, "" where it is no news. It stays: some brokers hang up after it."""
        if self.refusal:
            return ""
        self.refusal = f"The broker refused a proof (0x{code:02x}): check its ACL; proofs are kept."
        return self.refusal

    def delivered(self, log_id: int, seq: int) -> None:
        """The broker has proof `seq`."""
        now_s = self._monotonic()
        self._sent[log_id, seq] = now_s
        while len(self._sent) > _SENT:
            self._sent.popitem(last=False)
        if self._delivered_s is None:
            self._delivered_s = now_s

    def sent_ago_s(self, log_id: int, seq: int) -> float | None:
        """How long ago the broker had that proof the last time; None where that is not known any more."""
        sent_s = self._sent.get((log_id, seq))
        return None if sent_s is None else self._monotonic() - sent_s

    def gateway_heard(self) -> None:
        self._heard_s = self._monotonic()

    def receipted(self, progress: bool, all_done: bool) -> None:
        """A receipt came: `progress` where it covers more than the one before, `all_done` what was sent."""
        self.problem = self.trouble = self.refusal = ""
        self._gateway_seen = True
        if all_done:
            self._delivered_s = None
        elif progress:
            self._delivered_s = self._monotonic()

    def state(self, in_flight: int) -> LinkState:
        connected, now_s = self.connected, self._monotonic()
        delivered_s, heard_s = self._delivered_s, self._heard_s
        return LinkState(
            connected is not None,
            {5: "MQTT 5", 4: "MQTT 3.1.1"}.get(connected.protocol, "?") if connected else "",
            " ".join(filter(None, (self.problem, self.refusal))),
            in_flight,
            self._gateway_seen,
            self.connections,
            BROKER_REFUSES if self.refusal else self.trouble,
            None if delivered_s is None else now_s - delivered_s,
            None if heard_s is None else now_s - heard_s,
        )
