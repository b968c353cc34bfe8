"""Calibration certificates (§12): what an instrument's values become, said and signed by a calibrator.

- A certificate corrects one quantity of one instrument, named by model and serial number (or fingerprint).
- It proves who signed it: the key is in the issuer's id. Whom to trust is for the reader to say.
- `apply` is the whole arithmetic, the same at the device, the calibrator and a verifier.
- The humidity correction of particle sensors is the one of Barkjohn, Gantt and Clements, Atmos. Meas. Tech.
  14, 4617-4637 (2021), doi:10.5194/amt-14-4617-2021: PM2.5 = 0.524 PM - 0.0862 RH + 5.75, made for 24 h
  means of a PurpleAir (two PMS5003, channel cf_1) and the humidity its own sensor inside gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from proof import cbor, cose
from proof.cose import IAT, ISS, SUB, Typ
from proof.descriptor import InstrumentDescriptor
from proof.fields import Fields, finite, row
from proof.keys import Signer, device_id, public_key_of
from proof.reasons import Reason, Refused

Model = Literal["linear", "polynomial", "humidity-corrected-pm"]
LINEAR: Model = "linear"
POLYNOMIAL: Model = "polynomial"
HUMIDITY_CORRECTED_PM: Model = "humidity-corrected-pm"
MAX_DEGREE = 5
MAX_BYTES = 4096
BARKJOHN_2021 = (0.524, -0.0862, 5.75)
"""Of PM in ug/m3, of relative humidity in percent, constant in ug/m3."""

_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    LINEAR: (2,),
    POLYNOMIAL: tuple(range(2, MAX_DEGREE + 2)),
    HUMIDITY_CORRECTED_PM: (3,),
}
_LARGEST = 1e12  # a larger result is no measurement, and no SenML number of §3.3


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is said. All numbers in `unit`; `uncertainty` is a standard one (GUM 2.3.1).

    `coefficients`: [offset, gain]; [c0, c1 … c5]; or, with humidity, [a, b, c] of a·PM + b·RH + c.
    `low` to `high`: values before correction for which it is valid.
    `humidity_serial`: whose humidity is meant; "" is the instrument's own, and what no humidity is used for.
    """

    instrument_model: str
    serial: str
    serial_kind: str
    quantity: str
    unit: str
    model: Model
    coefficients: tuple[float, ...]
    reference: str
    uncertainty: float
    low: float
    high: float
    issued_s: int
    expires_s: int | None = None
    humidity_serial: str = ""

    @property
    def needs_humidity(self) -> bool:
        return self.model == HUMIDITY_CORRECTED_PM

    def is_for(self, model: str, serial: str, serial_kind: str) -> bool:
        return (self.instrument_model, self.serial, self.serial_kind) == (model, serial, serial_kind)


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate whose signature fits the key of `calibrator`; `data` are the complete bytes."""

    certificate: Certificate
    calibrator: str
    data: bytes

    @property
    def hash(self) -> bytes:
        return cose.object_hash(self.data)


def apply(certificate: Certificate, value: float, humidity: float | None = None) -> float | None:
    """The corrected value. None where the humidity it needs is not known, or the result is no number a
    proof can hold. Nothing is clamped: a negative concentration says how uncertain it is."""
    if certificate.needs_humidity:
        if humidity is None:
            return None
        of_pm, of_humidity, corrected = certificate.coefficients
        corrected += of_pm * value + of_humidity * humidity
    else:
        corrected = 0.0
        for coefficient in reversed(certificate.coefficients):
            corrected = corrected * value + coefficient
    return corrected if abs(corrected) <= _LARGEST else None


def sign(certificate: Certificate, signer: Signer) -> bytes:
    """The signed object; raises `Refused` for a certificate nobody would accept."""
    payload = {
        1: [certificate.instrument_model, certificate.serial, certificate.serial_kind],
        2: certificate.quantity,
        3: certificate.unit,
        4: certificate.model,
        5: [float(coefficient) for coefficient in certificate.coefficients],
        6: certificate.humidity_serial if certificate.needs_humidity else None,
        7: certificate.reference,
        8: float(certificate.uncertainty),
        9: [float(certificate.low), float(certificate.high)],
        10: certificate.issued_s,
        11: certificate.expires_s,
    }
    claims = {ISS: device_id(signer.public_key), SUB: certificate.serial, IAT: certificate.issued_s}
    data = cose.sign(Typ.CALIBRATION, claims, cbor.encode(payload), signer)
    open_certificate(data)
    return data


def open_certificate(data: bytes) -> SignedCertificate:
    """A certificate whose signature fits the issuer it names (he may be a stranger); raises `Refused`."""
    signed = cose.parse(data, Typ.CALIBRATION, MAX_BYTES)
    claims = Fields(signed.claims, "the certificate's claims")
    calibrator, subject, signed_at_s = claims.text(ISS), claims.text(SUB), claims.integer(IAT)
    claims.end()
    signed.require_signature([public_key_of(calibrator)])
    certificate = _certificate(cbor.decode(signed.payload, MAX_BYTES, "the certificate"))
    if (subject, signed_at_s) != (certificate.serial, certificate.issued_s):
        raise Refused(Reason.MALFORMED, "the claims name another instrument or date than the certificate")
    return SignedCertificate(certificate, calibrator, data)


def combined_hash(certificates: Iterable[SignedCertificate]) -> bytes | None:
    """What the descriptor says of one instrument's certificates, in the order of its quantities (§3.4)."""
    hashes = [signed.hash for signed in certificates]
    return hashlib.sha256(b"".join(hashes)).digest() if len(hashes) > 1 else next(iter(hashes), None)


def named(
    instrument: InstrumentDescriptor, certificates: Iterable[SignedCertificate]
) -> tuple[SignedCertificate, ...]:
    """Those of `certificates` that the descriptor of `instrument` names by their hash; none, or all of them.
    Of several for one quantity the last counts."""
    found = {
        signed.certificate.quantity: signed
        for signed in certificates
        if signed.certificate.is_for(instrument.model, instrument.serial, instrument.serial_kind)
    }
    ordered = in_order((quantity.name for quantity in instrument.quantities), found)
    return ordered if ordered and combined_hash(ordered) == instrument.calibration_hash else ()


def in_order(
    quantities: Iterable[str], certificates: Mapping[str, SignedCertificate]
) -> tuple[SignedCertificate, ...]:
    return tuple(certificates[name] for name in quantities if name in certificates)


def _certificate(value: Any) -> Certificate:
    fields = Fields(value, "the certificate")
    instrument_model, serial, serial_kind = _instrument(fields.raw(1))
    quantity, unit = fields.text(2, 32), fields.text(3, 32)
    model = fields.text(4, 32)
    coefficients = _numbers(fields.array(5, MAX_DEGREE + 1), "a coefficient")
    if model not in _COEFFICIENTS or len(coefficients) not in _COEFFICIENTS[model]:
        raise Refused(Reason.MALFORMED, f"{model[:32]!r} with {len(coefficients)} coefficients is no model")
    humidity_serial = ""
    if model == HUMIDITY_CORRECTED_PM:
        humidity_serial = fields.text(6)
    elif fields.raw(6) is not None:
        raise Refused(Reason.MALFORMED, f"a {model} certificate needs no humidity")
    reference, uncertainty = fields.text(7), fields.number(8)
    low, high = _range(fields.array(9, 2))
    issued_s, expires_s = fields.integer(10), _expiry(fields.raw(11))
    fields.end()
    if uncertainty <= 0:
        raise Refused(Reason.MALFORMED, "the uncertainty is not above 0")
    if expires_s is not None and expires_s <= issued_s:
        raise Refused(Reason.MALFORMED, "it expires before it was issued")
    return Certificate(
        instrument_model=instrument_model,
        serial=serial,
        serial_kind=serial_kind,
        quantity=quantity,
        unit=unit,
        model=cast(Model, model),
        coefficients=coefficients,
        reference=reference,
        uncertainty=uncertainty,
        low=low,
        high=high,
        issued_s=issued_s,
        expires_s=expires_s,
        humidity_serial=humidity_serial,
    )


def _instrument(value: Any) -> tuple[str, str, str]:
    match row(value, longest=128):
        case [str(model), str(serial), str(kind)] if kind:
            return model, serial, kind
    raise Refused(Reason.MALFORMED, "the instrument is not [model, serial, kind of serial]")


def _numbers(values: list[Any], what: str) -> tuple[float, ...]:
    return tuple(finite(value, what) for value in values)


def _range(values: list[Any]) -> tuple[float, float]:
    match _numbers(values, "a limit of the range"):
        case (low, high) if low < high:
            return low, high
    raise Refused(Reason.MALFORMED, "the range of validity is not [low, high]")


def _expiry(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 <= value < 2**63):
        return value
    raise Refused(Reason.MALFORMED, "expires is neither seconds nor null")
