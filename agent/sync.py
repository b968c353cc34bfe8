"""Whether proofs may go out on this connection. Pure: times come in.

- The retained receipt is awaited first, or a short grace from the subscription on: a store that is older than
  what the gateway holds must find out before it publishes anything (§5.3). A beacon shortens what is left.
- After the grace a store that has heard a receipt since the start may publish: it is not an older one. Where
  none was heard, one that can ask the gateway asks, and again, until it is answered.
- A broker that does not say within `_SUBACK_S` that it took the subscription is left.
"""

from __future__ import annotations

SYNC_GRACE_S = 2.0
_SUBACK_S = 30.0


class Sync:
    """`done`: proofs may go out. `subscribed`: the broker has said so, on this connection."""

    def __init__(self) -> None:
        self.done = self.subscribed = False
        self.agreed = False
        """A receipt was heard since the start."""
        self._until_s = 0.0

    def connected(self, now_s: float) -> None:
        self.done = self.subscribed = False
        self.await_subscription(now_s)

    def await_subscription(self, now_s: float) -> None:
        self._until_s = now_s + _SUBACK_S

    def has_subscribed(self, now_s: float) -> None:
        self.subscribed, self._until_s = True, now_s + SYNC_GRACE_S

    def gateway_lives(self, now_s: float) -> None:
        """A beacon: what it has to say of this device comes soon."""
        if self.subscribed and not self.done:
            self._until_s = min(self._until_s, now_s + SYNC_GRACE_S)

    def has_asked(self, answer_until_s: float) -> None:
        self._until_s = answer_until_s

    def receipted(self) -> None:
        self.done = self.agreed = True

    def lost(self) -> None:
        self.done = False

    def is_over(self, now_s: float) -> bool:
        """Whether nothing came in the time there was for it."""
        return not self.done and now_s >= self._until_s

    def next_look_s(self, now_s: float) -> float:
        return self._until_s - now_s
