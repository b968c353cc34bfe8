"""Whether a calibration certificate was in force while an instrument was read."""

from __future__ import annotations

from enum import StrEnum

from proof.calibration import Certificate
from proof.finding import Coverage


class Standing(StrEnum):
    ALWAYS = "always"
    PARTLY = "partly"
    NEVER = "never"
    NO_READINGS = "no_readings"


def of(certificate: Certificate, span: Coverage | None) -> Standing:
    """From the first to the last reading that is here; the times are the device's (§3.5)."""
    if span is None:
        return Standing.NO_READINGS
    begins_ms = certificate.issued_s * 1000
    ends_ms = certificate.expires_s * 1000 if certificate.expires_s is not None else span.last_ms + 1
    if begins_ms <= span.first_ms and span.last_ms < ends_ms:
        return Standing.ALWAYS
    return Standing.PARTLY if begins_ms <= span.last_ms and span.first_ms < ends_ms else Standing.NEVER
