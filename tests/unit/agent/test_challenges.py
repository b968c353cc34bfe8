"""The challenge in force where two threads ask at once."""

from __future__ import annotations

import threading

from agent.challenges import Challenges
from tests.agent_parts import FakeClock


class Interrupted(FakeClock):
    """The first time it is looked at a challenge comes in, by another thread."""

    challenges: Challenges
    thread: threading.Thread | None = None

    def boottime_ns(self) -> int:
        if self.thread is None:
            self.thread = threading.Thread(target=self.challenges.hear, args=(b"nonce", 0, set()))
            self.thread.start()
            self.thread.join(0.3)  # it waits for us, or was faster
        return super().boottime_ns()


def test_a_proof_asked_for_meanwhile_does_not_take_the_place_of_a_challenge():
    clock = Interrupted()
    clock.challenges = Challenges(clock)
    clock.challenges.prove_now(0, set())
    assert clock.thread is not None
    clock.thread.join(10)
    answered = clock.challenges.answered()
    assert answered is not None
    assert answered.nonce == b"nonce"
