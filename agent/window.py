"""Which proofs to hand to the broker, and when again. Pure: times come in, sequence numbers go out.

- At most `in_flight` are without a PUBACK, at most `unreceipted` without a receipt. A connection begins with
  one, until a PUBACK shows that proofs are taken: some brokers hang up on what they refuse, and what they
  answered to the others is lost with it.
- A PUBACK frees a place in flight and nothing else: only a receipt moves the head (§5.4).
- What the gateway misses goes first and moves nothing. Without progress for a while everything after the
  head goes again; the while doubles each time and starts over with the next progress. A beacon shortens it,
  once (§6.1): a gateway that lives has answered soon what reached it.
- After a refused message, or one that found no gateway, nothing is sent before the pause is over.
- What has no PUBACK for `PUBACK_S` never gets one on this connection: it is `stuck`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

RESEND_S, LONGEST_RESEND_S = 10.0, 600.0
ANSWER_S = 5.0  # a gateway that is there has answered after this
PUBACK_S = 60.0


@dataclass(slots=True)
class SendWindow:
    """`head` is the newest receipted sequence number, `sent` the newest handed over in its turn since the
    last reset."""

    in_flight: int
    unreceipted: int = 64
    head: int = 0
    sent: int = 0
    _flights: dict[int, tuple[int, float]] = field(default_factory=dict)  # mid -> (seq, since)
    _wanted: list[int] = field(default_factory=list)
    _resend_s: float = RESEND_S
    _wait_s: float = RESEND_S  # for the next progress; at most `_resend_s`
    _progress_s: float = 0.0
    _pause_until_s: float = 0.0
    _taken: bool = False

    def start(self, head: int, now_s: float) -> None:
        """A new connection, or another log: whatever was under way is not."""
        self.head = self.sent = head
        self._taken = False
        self._flights.clear()
        self._wanted.clear()
        self._wait_anew(now_s)

    def places(self, now_s: float) -> int:
        """How many proofs may be handed over now."""
        if self.paused(now_s):
            return 0
        if self.sent > self.head and now_s - self._progress_s >= self._wait_s:
            self.sent = self.head
            if self._wait_s == self._resend_s:
                self._resend_s = min(LONGEST_RESEND_S, 2 * self._resend_s)
            self._wait_anew(now_s)
        in_flight = self.in_flight if self._taken else 1
        return max(0, min(in_flight - len(self._flights), self.head + self.unreceipted - self.sent))

    def wanted(self, limit: int) -> tuple[int, ...]:
        """Up to `limit` sequence numbers that the gateway asked for; they are not told again."""
        wanted, self._wanted = self._wanted[:limit], self._wanted[limit:]
        return tuple(wanted)

    def handed_over(self, mid: int, seq: int, now_s: float, *, asked: bool = False) -> None:
        """`asked`: out of turn, because the gateway misses it; what lies before it may not have been sent."""
        self._flights[mid] = (seq, now_s)
        if not asked:
            if self.sent == self.head:
                self._wait_anew(now_s)
            self.sent = max(self.sent, seq)

    def flies(self, mid: int) -> bool:
        """Whether `mid` is a proof without a PUBACK."""
        return mid in self._flights

    def stuck(self, now_s: float) -> bool:
        """Whether the broker has answered to something for so long with nothing."""
        return any(now_s - since_s >= PUBACK_S for _, since_s in self._flights.values())

    def delivered(self, mid: int) -> int | None:
        """The sequence number of the proof that `mid` was, if it was one."""
        self._taken = True
        seq, _ = self._flights.pop(mid, (None, 0.0))
        return seq

    def refused(self, mid: int) -> None:
        """It goes again, and so does what was sent after it."""
        self.sent = max(self.head, min(self.sent, self._flights.pop(mid)[0] - 1))
        self._taken = False

    def paused(self, now_s: float) -> bool:
        return now_s < self._pause_until_s

    def pause(self, until_s: float) -> None:
        self._pause_until_s = until_s

    def gateway_lives(self, now_s: float) -> None:
        """It was just heard: a pause for its absence is over; what was sent is answered soon or was lost."""
        self._pause_until_s = 0.0
        self._wait_s = ANSWER_S

    def receipted(self, head: int, missing: tuple[tuple[int, int], ...], now_s: float) -> None:
        """A receipt that fits: what it covers is done, what it misses goes first."""
        if head > self.head:
            self._resend_s = RESEND_S
            self._wait_anew(now_s)
        self.head = max(self.head, head)
        self.sent = max(self.sent, self.head)
        self._wanted = [seq for seq in self._wanted if seq > self.head]
        self._pause_until_s = 0.0
        flying = {seq for seq, _ in self._flights.values()}
        room = self.unreceipted
        for first, last in missing:
            for seq in range(max(first, self.head + 1), min(last, first + room) + 1):
                if (
                    seq <= self.sent
                    and seq not in flying
                    and seq not in self._wanted
                    and len(self._wanted) < room
                ):
                    self._wanted.append(seq)

    @property
    def idle(self) -> bool:
        return not self._flights and not self._wanted and self.sent == self.head

    @property
    def flying(self) -> int:
        return len(self._flights)

    def next_look_s(self, now_s: float) -> float:
        """Seconds until time alone may change what `places` says."""
        if self.paused(now_s):
            return self._pause_until_s - now_s
        if self.sent > self.head:
            return max(0.0, self._progress_s + self._wait_s - now_s)
        return RESEND_S

    def _wait_anew(self, now_s: float) -> None:
        self._progress_s, self._wait_s = now_s, self._resend_s
