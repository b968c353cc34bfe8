"""Joining, the pure part: what may be asked, what is asked, and what an answer is worth (§8.1-8.3).

- A claim is refused here when it is cut off, expired, or of a live network and the device simulated.
- An answer counts only if it is signed by a gateway key of the claim, for this device.
- A refusal is a receipt of no log whose one verdict says why, and only live: what the broker had kept answers
  an earlier question. A membership must be of the claim's network.
- A membership never gives way to one that was issued before it: somebody replays that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.errors import HardStop
from agent.membership import Joined
from agent.mqtt_events import Message
from proof import joining, receipt, wire
from proof.descriptor import Descriptor
from proof.joining import JoinClaim
from proof.keys import Signer
from proof.reasons import Reason, Refused, Verdict

_REASONS = {reason.value: reason for reason in Reason}
_YEAR_2100_S = 4_102_444_800


class ClaimRefused(HardStop):
    """This claim gives no membership; another one may."""


@dataclass(frozen=True, slots=True)
class Request:
    """One enrolment, ready to be sent as often as needed: the same bytes each time."""

    claim: JoinClaim
    device: str
    message: bytes

    @property
    def topic(self) -> str:
        return wire.topic(self.claim.network, self.device, "enrol")

    @property
    def answer_topics(self) -> tuple[str, str]:
        network = self.claim.network
        return wire.topic(network, self.device, "membership"), wire.topic(network, self.device, "receipt")


def read_claim(text: str) -> JoinClaim:
    """The claim in `text`; raises `ClaimRefused`."""
    try:
        claim = joining.parse_claim(text)
    except Refused as refused:
        raise ClaimRefused(
            f"This is not a whole claim: {refused.verdict.detail}. Copy all of it, "
            f"from `{joining.PREFIX}` to its last character."
        ) from None
    return claim


def require_good_for(claim: JoinClaim, now_s: float, member_of: str | None) -> None:
    """Raises `ClaimRefused` for a claim that can do nothing for a member of this network, or of none. A
    member may ask again with a claim that has expired."""
    if member_of is not None and member_of != claim.network:
        raise ClaimRefused(
            f"This device is a member of {member_of}, and its journal belongs there. For "
            f"{claim.network} use another state_dir."
        )
    if member_of is None and now_s >= claim.expires_s:
        raise ClaimRefused(
            f"The claim expired on {date(claim.expires_s)}, and this device's clock says {date(now_s)}. "
            f"If the clock is right, ask the operator of {claim.network} for a new claim."
        )


def request(claim: JoinClaim, descriptor: Descriptor, signer: Signer, next_key: bytes, now_s: int) -> Request:
    """The enrolment of `signer`; `next_key` is the public key of a later rotation. Raises `ClaimRefused`."""
    if descriptor.for_tests_only and claim.kind == "live":
        raise ClaimRefused(
            f"{claim.network} is a live network. {_sentence(Verdict(Reason.SIMULATED_ON_LIVE))}"
        )
    commitment = hashlib.sha256(next_key).digest()
    signed = joining.sign_enrolment(claim, descriptor, commitment, signer, now_s)
    return Request(claim, signer.device, wire.deflate(signed))


def judge(asked: Request, message: Message, now_s: float) -> Joined | None:
    """What `message` is as an answer; None if it is none.

    Raises `ClaimRefused` for a gateway's no, `Refused` for what no gateway of the claim has signed.
    """
    membership_topic, receipt_topic = asked.answer_topics
    if message.topic == receipt_topic and not message.retain:
        data = wire.inflate(message.payload, receipt.MAX_BYTES)
        answer = receipt.open_receipt(data, asked.claim.gateway_keys, asked.device)
        if answer.log == receipt.NO_LOG and answer.verdicts and not _of_a_proof(answer.verdicts[0]):
            code, why = answer.verdicts[0].code, _verdict(answer.verdicts[0])
            raise ClaimRefused(f"{asked.claim.network} refuses this device ({code:.32}). {why}")
        return None
    if message.topic != membership_topic:
        return None
    data = wire.inflate(message.payload, joining.MAX_BYTES)
    membership = joining.open_membership(data, asked.claim.gateway_keys, asked.device)
    if (membership.network, membership.kind) != (asked.claim.network, asked.claim.kind):
        raise Refused(Reason.WRONG_NETWORK, f"a membership of {membership.kind} {membership.network}")
    if membership.expires_s is not None and now_s >= membership.expires_s:
        if message.retain:
            return None
        raise ClaimRefused(
            f"The membership in {membership.network} ended on {date(membership.expires_s)}. "
            "Ask its operator to renew it."
        )
    claim = asked.claim
    return Joined(claim.broker_url, claim.gateway_keys, data, membership, claim.broker_ca)


def _of_a_proof(verdict: receipt.ProofVerdict) -> bool:
    """An agent's business, not the enrolment's (§5.1)."""
    return verdict.seq > 0 or receipt.refused_hash(verdict) is not None


def newer(before: Joined | None, answer: Joined) -> Joined:
    """Which of the two this device goes on with."""
    if before is not None and answer.membership.issued_s < before.membership.issued_s:
        return before
    return answer


def _verdict(verdict: receipt.ProofVerdict) -> str:
    reason = _REASONS.get(verdict.code)
    if reason is None:  # a newer gateway's
        return f"It says {verdict.code}: {verdict.detail}."
    return _sentence(Verdict(reason, verdict.detail))


def _sentence(verdict: Verdict) -> str:
    detail = f" ({verdict.detail})" if verdict.detail else ""
    return f"{verdict.reason.sentence.rstrip('.')}{detail}. {verdict.reason.remedy}"


def date(seconds: float) -> str:
    """For people; what lies after 2099 is shown as 2100: claims and memberships may say any number."""
    return f"{datetime.fromtimestamp(min(seconds, _YEAR_2100_S), UTC):%Y-%m-%d %H:%M} UTC"
