"""Reason codes (§10): one stable name per verdict, with a sentence for the owner and what to do.

- A verdict is a value; `Refused` carries one out of a parser and is caught at the package's doorways.
- Names never change meaning; new ones may be added.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """`sentence` says what happened, `remedy` what the owner can do."""

    sentence: str
    remedy: str

    def __new__(cls, code: str, sentence: str, remedy: str) -> Reason:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        member.remedy = remedy
        return member

    ACCEPTED = "accepted", "The gateway holds this proof.", "Nothing to do."
    DUPLICATE = "duplicate", "The gateway already held this very proof.", "Nothing to do."
    HELD = "held", "The proof came before an earlier one; it waits.", "Nothing to do: the gap is asked for."
    TOO_LARGE = "too_large", "The message exceeds the size limit.", "Lower the readings per proof."
    MALFORMED = "malformed", "The bytes are not a signed object of this protocol.", "Update the sender."
    WRONG_TYP = "wrong_typ", "A signed object of another kind was expected.", "Update the sender."
    UNKNOWN_DEVICE = "unknown_device", "The gateway does not know this device.", "Join the network."
    REVOKED = "revoked", "The device's key was revoked.", "Ask the network's operator why."
    BAD_KEY = (
        "bad_key",
        "The key that signed it is neither the device's in force nor a gateway's that is trusted.",
        "Check that the right key is used.",
    )
    BAD_SIGNATURE = (
        "bad_signature",
        "The signature does not fit the bytes.",
        "Check the device's key file, and who may write its state folder; with the journal moved aside a new "
        "log goes on.",
    )
    BAD_ROTATION = (
        "bad_rotation",
        "The change of the device's key is not signed as it must be, or not to the key announced before.",
        "Were the device's keys put back from an old copy? Restore the newest backup; else ask the operator.",
    )
    WRONG_NETWORK = "wrong_network", "The object belongs to another network.", "Join this network."
    EQUIVOCATION = (
        "equivocation",
        "Two different proofs were signed for one sequence number.",
        "Stop all copies of this device; ask the operator to look at the evidence.",
    )
    BROKEN_CHAIN = (
        "broken_chain",
        "The proof does not continue the chain the gateway holds.",
        "Was the store restored from a copy? Run `fieldproof-agent status`.",
    )
    ROLLED_BACK = (
        "rolled_back",
        "The device's store is older than what the gateway holds, or a copy of it is running.",
        "Stop the copy; the device opens a new log by itself.",
    )
    TWO_BOARDS = (
        "two_boards",
        "Another board signed with this device's key after this one took over, or an old card image ran.",
        "Switch the other off; if you know of none, the key may be stolen: ask the operator to revoke it.",
    )
    KEY_CLASS_CHANGED = (
        "key_class_changed",
        "The device's key is kept in another way than the device announced before.",
        "If you did not move the key yourself, somebody may have copied it: ask the operator.",
    )
    SIMULATED_ON_LIVE = (
        "simulated_on_live",
        "A simulated device cannot join a live network.",
        "Use a test network's claim.",
    )
    STALE_BEACON = "stale_beacon", "The beacon in the proof was old when it arrived.", "Check the link."
    UNKNOWN_BEACON = "unknown_beacon", "The proof names no beacon of this network.", "Check the link."
    CLOCK_AHEAD = "clock_ahead", "The device's clock runs ahead of the receipt.", "Check time sync."
    CLOCK_BEHIND = "clock_behind", "The device's clock lies before the beacon it names.", "Check time sync."
    INSTRUMENT_CHANGED = (
        "instrument_changed",
        "An instrument is not the one the device announced before.",
        "If you replaced the sensor, tell the operator.",
    )
    CALIBRATION_EXPIRED = "calibration_expired", "A calibration certificate has expired.", "Recalibrate."
    BAD_PAYLOAD = "bad_payload", "The readings are not valid SenML.", "Update the agent."
    UNKNOWN_UNIT = "unknown_unit", "A unit is not in the SenML registry.", "Update the driver."
    EVIDENCE_MISMATCH = (
        "evidence_mismatch",
        "The raw words do not give the published value.",
        "Update the driver; if it persists ask for help.",
    )
    QUALITY_RANGE = "quality_range", "A value lies outside the instrument's range.", "Check the sensor."
    QUALITY_JUMP = "quality_jump", "A value jumped faster than physics allows.", "Check the placement."
    QUALITY_FROZEN = "quality_frozen", "A value has not moved for too long.", "Check the sensor."
    QUALITY_WARMING_UP = "quality_warming_up", "The instrument was warming up.", "Nothing to do."
    QUALITY_RETRIED = "quality_retried", "The reading needed a retry.", "Check the wiring if it repeats."
    QUALITY_CLAMPED = "quality_clamped", "A value stands at the end of the scale.", "Dry or move the sensor."
    QUALITY_CROSS_CHECK = "quality_cross_check", "Two quantities contradict each other.", "Check the sensor."
    QUALITY_LATE = "quality_late", "The reading came late.", "Check the load of the machine."
    QUALITY_REOPENED = "quality_reopened", "The instrument was re-opened.", "Check the wiring if it repeats."
    SUSPENDED = "suspended", "The device is suspended after an equivocation.", "Ask the operator."
    OVER_QUOTA = "over_quota", "The device sent more than its share.", "Lower the sampling rate."
    CLAIM_REFUSED = (
        "claim_refused",
        "The claim is unknown, expired, already used or its secret is wrong.",
        "Ask the operator for a new claim.",
    )


# §9: bit of the quality field -> reason; 64 is the calibration's own code.
QUALITY_REASONS = {
    1: Reason.QUALITY_RANGE,
    2: Reason.QUALITY_JUMP,
    4: Reason.QUALITY_FROZEN,
    8: Reason.QUALITY_WARMING_UP,
    16: Reason.QUALITY_RETRIED,
    32: Reason.QUALITY_CLAMPED,
    64: Reason.CALIBRATION_EXPIRED,
    128: Reason.QUALITY_CROSS_CHECK,
    256: Reason.QUALITY_LATE,
    512: Reason.QUALITY_REOPENED,
}


# §4.12: 4.8 to 4.11 say these of a proof that keeps its place; every other code but accepted, duplicate and
# held refuses one.
ANNOTATIONS = frozenset(QUALITY_REASONS.values()) | {
    Reason.STALE_BEACON,
    Reason.UNKNOWN_BEACON,
    Reason.CLOCK_AHEAD,
    Reason.CLOCK_BEHIND,
    Reason.INSTRUMENT_CHANGED,
    Reason.KEY_CLASS_CHANGED,
    Reason.BAD_PAYLOAD,
    Reason.UNKNOWN_UNIT,
    Reason.EVIDENCE_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and a detail for a person (never secret)."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.reason.value}: {self.reason.sentence}"
        return f"{text} ({self.detail})" if self.detail else text


class Refused(Exception):
    """Bytes that are not what they must be. Leaves this package only as a `Verdict`, or as itself
    from the `open_*` functions, whose callers turn it into their own sentence."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.verdict = Verdict(reason, detail)
        super().__init__(str(self.verdict))
