"""What an evidence bundle shows (§11.3): plain values, for words, for machines and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proof.calibration import SignedCertificate
from proof.claims import Gap, Lost, Predecessor
from proof.descriptor import Descriptor, InstrumentDescriptor


class Why(StrEnum):
    """What the device itself said of a hole in an instrument's readings."""

    LOSS = "declared_loss"
    GAP = "declared_gap"
    NEW_LOG = "new_log"
    OFF = "off"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of the device's key, from `seq` of `log` on."""

    log: bytes
    seq: int
    new_key: bytes
    confirmed: bool


@dataclass(frozen=True, slots=True)
class LogSpan:
    """The proofs of one log that are here."""

    log: bytes
    first_seq: int
    last_seq: int
    proofs: int


@dataclass(frozen=True, slots=True)
class Named:
    """Proof `seq` of `log` names a beacon that is here: it and what follows in its part were signed after."""

    log: bytes
    seq: int
    issued_s: int


@dataclass(frozen=True, slots=True)
class Part:
    """Proofs that hang together, each by what it says of the one before it. `signed_after_s` is of the beacon
    that the first one names, `signed_before_s` of the earliest receipt for the last one; None where it is not
    here. `beacon` is the first that any of them names."""

    first_log: bytes
    first_seq: int
    last_log: bytes
    last_seq: int
    signed_after_s: int | None
    signed_before_s: int | None
    beacon: Named | None


@dataclass(frozen=True, slots=True)
class Hole:
    """No reading from `from_ms` to `to_ms`, which are the readings on its two sides."""

    from_ms: int
    to_ms: int
    why: Why


@dataclass(frozen=True, slots=True)
class Coverage:
    """One instrument's readings. `interval_ms` is the usual distance between two, 0 where there are fewer;
    `covered` the share of the time from first to last that no hole takes away. `flags` are (code, readings).
    `undated` readings have times that only a clock without a source said."""

    instrument: str
    readings: int
    first_ms: int
    last_ms: int
    interval_ms: int
    covered: float
    holes: tuple[Hole, ...]
    flags: tuple[tuple[str, int], ...]
    undated: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What a bundle shows. `signed_after_s` and `signed_before_s` bound all of it, and are None where
    nothing bounds one of its `parts`; `simulated` is None where a proof's descriptor is not known and no
    other says so, `key_class` all classes that descriptors state. `unreadable` are (reason code, proofs)
    whose readings cannot be read. `certificates` are (instrument, certificate) for those that the last
    descriptor names; `former` are instruments that earlier descriptors name otherwise; `undescribed`
    counts proofs whose descriptor is not here. `turns` lead from the device's first key to that of the
    last proof. `elsewhere` are logs that a later one names as the one before it and that are not in the
    bundle there: another board's, or another card's. `descriptors` are all by their hash, `proof_hashes`
    those of the proofs in their order."""

    device: str
    network: str
    network_kind: str
    gateway: str
    key_class: str
    simulated: bool | None
    proofs: int
    readings: int
    unreadable: tuple[tuple[str, int], ...]
    first_seq: int
    last_seq: int
    logs: tuple[LogSpan, ...]
    parts: tuple[Part, ...]
    signed_after_s: int | None
    signed_before_s: int | None
    receipted_seq: int
    instruments: tuple[InstrumentDescriptor, ...]
    former: tuple[InstrumentDescriptor, ...]
    undescribed: int
    coverage: tuple[Coverage, ...]
    gaps: tuple[Gap, ...]
    losses: tuple[Lost, ...]
    lost: int
    flags: tuple[tuple[str, int], ...]
    certificates: tuple[tuple[str, SignedCertificate], ...]
    turns: tuple[Turn, ...]
    elsewhere: tuple[Predecessor, ...]
    descriptors: tuple[tuple[bytes, Descriptor], ...]
    proof_hashes: tuple[bytes, ...]
