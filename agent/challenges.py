"""The challenge in force (§6.2), and what still has to be read for its answer.

- It is answered by the first proof sealed after every instrument was read since it came, or its time is up; a
  proof that is sealed before for another reason does not carry it.
- Heard by one thread, answered by the journal's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from agent.clock import Clock
from agent.sample import Captured


@dataclass(slots=True)
class Asked:
    nonce: bytes
    heard_ns: int
    deadline_ns: int
    waiting_for: set[str]


class Challenges:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: Asked | None = None
        self._lock = threading.RLock()

    def hear(self, nonce: bytes, deadline_ns: int, instruments: set[str]) -> None:
        """A proof with `nonce` is sealed once each of `instruments` has appended a sample read since now."""
        with self._lock:
            self._asked = Asked(nonce, self._clock.boottime_ns(), deadline_ns, set(instruments))

    def prove_now(self, deadline_ns: int, instruments: set[str]) -> None:
        """Like a challenge, of nobody; one in force will do as well."""
        with self._lock:
            if self._asked is None:
                self.hear(b"", deadline_ns, instruments)

    def appended(self, sample: Captured) -> None:
        asked = self._asked
        if asked is not None and sample.boottime_ns >= asked.heard_ns:
            asked.waiting_for.discard(sample.instrument)

    def answered(self) -> Asked | None:
        """The one in force, if it is time to seal its answer."""
        asked = self._asked
        if asked is None:
            return None
        over = self._clock.boottime_ns() >= asked.deadline_ns
        return asked if over or not asked.waiting_for else None

    def done(self, answered: Asked | None) -> None:
        with self._lock:
            if answered is not None and self._asked is answered:
                self._asked = None
