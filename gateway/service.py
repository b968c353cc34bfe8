"""A batch of messages in, one transaction, and what may be said once it is committed.

- Nothing leaves `take` before the commit (§5.2): if that fails the caller has no receipt to publish and
  nothing to acknowledge, so the broker delivers the batch again.
- One receipt per device and batch, signed last; memberships and refusals beside them.
- A message that breaks the program is isolated, logged and dropped: it must not stop the others for ever.
- What became of messages is counted (`counts`), strangers' too, and kept with each beacon: a flood of
  rubbish writes nothing by itself.
- Time and randomness are arguments. One thread calls this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from gateway import rules
from gateway.enrolment import Network, Refusal, enrol
from gateway.errors import GatewayError
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.throttle import Throttle
from proof import beacon, receipt, wire
from proof.claims import NONCE_BYTES
from proof.cose import object_hash
from proof.keys import Signer
from proof.reasons import Reason, Verdict
from proof.receipt import ProofVerdict, Receipt

BEACON_EXPIRY_S = 300
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as the broker delivered it."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message to publish at QoS 1. `expiry_s` where the broker knows message expiry (§7.2)."""

    topic: str
    payload: bytes
    retain: bool = True
    expiry_s: int | None = None


class Service:
    def __init__(
        self,
        ledger: Ledger,
        register: Register,
        network: Network,
        signer: Signer,
        now_s: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._ledger, self._register, self._network, self._signer = ledger, register, network, signer
        self._now_s, self._random = now_s, random
        self._log_throttle = Throttle(burst=5, period_s=60)
        self._refusal_throttle = Throttle(burst=3, period_s=60)
        self._proof_throttle = Throttle(burst=3, period_s=60)
        self._strangers = Throttle(burst=30, period_s=60)
        self.counts: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()

    def take(self, messages: Sequence[Inbound]) -> list[Outbound]:
        """Raises `GatewayError` if the ledger could not commit; nothing is to be acknowledged then."""
        try:
            return self._batch(messages)
        except GatewayError:
            raise
        except Exception:  # noqa: BLE001 - a defect met by one message; which one is found below
            return [answer for message in messages for answer in self._alone(message)]

    def beacon(self) -> Outbound:
        """The next beacon (§6.1), kept before it is published."""
        now_s, nonce = int(self._now_s()), self._random(NONCE_BYTES)
        with self._ledger.transaction():
            number = self._register.last_beacon_number() + 1
            data = beacon.sign_beacon(self._network.name, number, nonce, self._signer, now_s)
            self._register.add_beacon(number, object_hash(data), now_s, nonce, data)
            self._register.add_counts(self.counts - self._kept)
        self._kept = self.counts.copy()
        return Outbound(wire.beacon_topic(self._network.name), data, expiry_s=BEACON_EXPIRY_S)

    def keep_counts(self) -> list[Outbound]:
        """What was counted since the last beacon; for the end."""
        with self._ledger.transaction():
            self._register.add_counts(self.counts - self._kept)
        self._kept = self.counts.copy()
        return []

    def challenges(self) -> list[Outbound]:
        """Challenges somebody asked for since the last call (§6.2)."""
        if not (waiting := self._register.unsent_challenges()):
            return []
        now_s = self._now_s()
        with self._ledger.transaction():
            for _device, nonce, _deadline_s in waiting:
                self._register.mark_sent(nonce, now_s)
        return [
            Outbound(
                wire.topic(self._network.name, device, "challenge"),
                beacon.sign_challenge(device, nonce, deadline_s, self._signer, int(now_s)),
                retain=False,
                expiry_s=deadline_s,
            )
            for device, nonce, deadline_s in waiting
        ]

    def _alone(self, message: Inbound) -> list[Outbound]:
        try:
            return self._batch([message])
        except GatewayError:
            raise
        except Exception:  # noqa: BLE001 - this message breaks the program: dropped, the trace goes to the log
            self.counts["defect"] += 1
            _log.exception("message dropped", topic=message.topic, size=len(message.payload))
            return []

    def _batch(self, messages: Sequence[Inbound]) -> list[Outbound]:
        now_s = self._now_s()
        answers: list[Outbound] = []
        members: dict[str, None] = {}
        with self._counted_once(), self._ledger.transaction():
            for message in messages:
                match wire.parse_topic(message.topic):
                    case (self._network.name, device, "proof"):
                        outcome = self._take_proof(message.payload, device, now_s)
                        if outcome.member:
                            members[device] = None
                        else:  # it would wait for ever for a receipt
                            answers += self._refused_proof(message.payload, outcome, device, now_s)
                    case (self._network.name, device, "enrol"):
                        answers += self._take_enrolment(message.payload, device, now_s)
                    case _:
                        self._note(
                            Verdict(Reason.MALFORMED, "no topic of this network"), message.topic, now_s
                        )
        # §5.2: the ledger has committed.
        return answers + [self._receipt(device, now_s) for device in members]

    @contextmanager
    def _counted_once(self) -> Iterator[None]:
        """A batch that was not committed comes again, and is counted then."""
        before = self.counts.copy()
        try:
            yield
        except BaseException:  # whatever it is: tidy up and raise it again
            self.counts = before
            raise

    def _take_proof(self, payload: bytes, device: str, now_s: float) -> rules.Outcome:
        outcome = rules.receive(payload, device, now_s, self._ledger)
        self._apply(outcome, device, now_s)
        if outcome.proof is not None and outcome.keep in (rules.Keep.ACCEPTED, rules.Keep.HELD):
            log = outcome.proof.claims.log
            while (waiting := rules.release(device, log, self._ledger)) is not None:
                self._apply(waiting, device, now_s)
        return outcome

    def _apply(self, outcome: rules.Outcome, device: str, now_s: float) -> None:
        self._ledger.apply(outcome)
        self._note(outcome.verdict, device, now_s)

    def _take_enrolment(self, payload: bytes, device: str, now_s: float) -> list[Outbound]:
        answer = enrol(payload, device, int(now_s), self._network, self._register, self._signer)
        if isinstance(answer, Refusal):
            self._note(answer.verdict, device, now_s)
            return self._refusal(answer, now_s)
        if answer.new:
            self._register.admit(answer, int(now_s))
            _log.info("enrolled", device=device, owner=answer.owner, claim=answer.enrolment.claim_id.hex())
        self.counts["enrolled" if answer.new else "membership_again"] += 1
        return [Outbound(wire.topic(self._network.name, device, "membership"), answer.membership)]

    def _refusal(self, refusal: Refusal, now_s: float) -> list[Outbound]:
        """Signed, and not retained: a receipt for no log whose only verdict says why (§5.1)."""
        if refusal.device is None or not self._refusal_throttle.allows(refusal.device, now_s):
            return []
        verdict = ProofVerdict(0, refusal.verdict.reason.value, refusal.verdict.detail)
        return [self._said_no(refusal.device, verdict, now_s)]

    def _refused_proof(
        self, payload: bytes, outcome: rules.Outcome, device: str, now_s: float
    ) -> list[Outbound]:
        """The same of a proof whose signature is not trusted, to whom it may concern."""
        proof_hash = rules.to_be_told(payload, outcome, device, self._ledger)
        if proof_hash is None:
            return []
        stranger = self._ledger.device(device) is None
        if stranger and not self._strangers.allows("", now_s):
            return []
        if not self._proof_throttle.allows(device, now_s):
            return []
        verdict = receipt.of_refused(outcome.verdict.reason.value, outcome.verdict.detail, proof_hash)
        return [self._said_no(device, verdict, now_s)]

    def _said_no(self, device: str, verdict: ProofVerdict, now_s: float) -> Outbound:
        body = Receipt(device, receipt.NO_LOG, 0, None, int(now_s), verdicts=(verdict,))
        data = receipt.sign(body, self._signer, int(now_s))
        return Outbound(wire.topic(self._network.name, device, "receipt"), data, retain=False)

    def _receipt(self, device: str, now_s: float) -> Outbound:
        body = self._ledger.receipt(device)
        if body is None:
            raise LookupError(f"no member {device}")
        data = receipt.sign(body, self._signer, int(now_s))
        return Outbound(wire.topic(self._network.name, device, "receipt"), data)

    def _note(self, verdict: Verdict, device: str, now_s: float) -> None:
        """Count; and one line for what was refused, at most a few per minute and reason."""
        self.counts[verdict.reason.value] += 1
        if verdict.reason in (Reason.ACCEPTED, Reason.DUPLICATE, Reason.HELD):
            return
        if self._log_throttle.allows(verdict.reason.value, now_s):
            _log.warning("refused", reason=verdict.reason.value, detail=verdict.detail, device=_shown(device))


def _shown(name: str) -> str:
    """A topic as it may stand in a log that a terminal shows: whoever may publish chose its letters."""
    return "".join(char if char.isprintable() else "?" for char in name[:128])
