"""The descriptor: what a device says it is made of (§3.4), inside a signed proof.

- A CBOR map with integer labels; its hash is SHA-256 of the map's deterministic encoding.
- An instrument is identified by a serial number or a fingerprint, and says which of the two it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from proof import cbor
from proof.fields import Fields, finite, row
from proof.reasons import Reason, Refused

KEY_CLASSES = ("file", "credential", "tpm2", "otp", "sim")
_MAX_INSTRUMENTS = 64
_MAX_QUANTITIES = 32


@dataclass(frozen=True, slots=True)
class QuantityDescriptor:
    """`uncertainty` is the standard uncertainty in `unit`."""

    name: str
    unit: str
    resolution: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class InstrumentDescriptor:
    """`evidence` is what a verifier needs to recompute values from raw words (BME280: its trim bytes)."""

    name: str
    driver: str
    bus: str
    address: str
    model: str
    serial: str
    serial_kind: str
    quantities: tuple[QuantityDescriptor, ...]
    calibration_hash: bytes | None = None
    raw_evidence: bool = False
    evidence: bytes = b""


@dataclass(frozen=True, slots=True)
class Descriptor:
    agent: str
    version: str
    key_class: str
    simulated: bool
    hardware: str
    instruments: tuple[InstrumentDescriptor, ...]

    def to_map(self) -> dict[int, Any]:
        return {
            1: self.agent,
            2: self.version,
            3: self.key_class,
            4: self.simulated,
            5: self.hardware,
            6: [_instrument_map(instrument) for instrument in self.instruments],
        }

    @property
    def for_tests_only(self) -> bool:
        """Whether a live network refuses it (§4.5): it is simulated, or its key lies open."""
        return self.simulated or self.key_class == "sim"

    def hash(self) -> bytes:
        return hashlib.sha256(cbor.encode(self.to_map())).digest()


def from_map(value: Any) -> Descriptor:
    """Raises `Refused` malformed."""
    fields = Fields(value, "the descriptor")
    descriptor = Descriptor(
        agent=fields.text(1),
        version=fields.text(2),
        key_class=fields.text(3),
        simulated=fields.boolean(4),
        hardware=fields.text(5),
        instruments=tuple(_instrument(item) for item in fields.array(6, _MAX_INSTRUMENTS)),
    )
    fields.end()
    if descriptor.key_class not in KEY_CLASSES:
        raise Refused(Reason.MALFORMED, f"key class {descriptor.key_class!r} is unknown")
    return descriptor


def _instrument_map(instrument: InstrumentDescriptor) -> dict[int, Any]:
    return {
        1: instrument.name,
        2: instrument.driver,
        3: instrument.bus,
        4: instrument.address,
        5: instrument.model,
        6: instrument.serial,
        7: instrument.serial_kind,
        8: [[q.name, q.unit, float(q.resolution), float(q.uncertainty)] for q in instrument.quantities],
        9: instrument.calibration_hash,
        10: instrument.raw_evidence,
        11: instrument.evidence,
    }


def _instrument(value: Any) -> InstrumentDescriptor:
    fields = Fields(value, "an instrument of the descriptor")
    instrument = InstrumentDescriptor(
        name=fields.text(1, 32),
        driver=fields.text(2, 32),
        bus=fields.text(3),
        address=fields.text(4),
        model=fields.text(5),
        serial=fields.text(6),
        serial_kind=fields.text(7, 32),
        quantities=tuple(_quantity(item) for item in fields.array(8, _MAX_QUANTITIES)),
        calibration_hash=_hash_or_none(fields.raw(9)),
        raw_evidence=fields.boolean(10),
        evidence=fields.data(11),
    )
    fields.end()
    return instrument


def _quantity(value: Any) -> QuantityDescriptor:
    match row(value):
        case [str(name), str(unit), resolution, uncertainty]:
            return QuantityDescriptor(
                name, unit, finite(resolution, "a resolution"), finite(uncertainty, "an uncertainty")
            )
    raise Refused(
        Reason.MALFORMED, "a quantity of the descriptor is not [name, unit, resolution, uncertainty]"
    )


def _hash_or_none(value: Any) -> bytes | None:
    if value is None or (isinstance(value, bytes) and len(value) == 32):
        return value
    raise Refused(Reason.MALFORMED, "a calibration hash is neither 32 bytes nor null")
