"""What a proof claims besides its readings (§3.2): CWT claims in protected header 15.

- `seq` counts 1, 2, 3 … in one log; `prev` is the hash of the proof before, or names the lost log.
- The descriptor's hash stands in every proof, the descriptor itself in the first of a boot and after
  each change: the claim is then the map instead of its hash.
- `gaps` are proofs signed and not kept, `lost` are samples that should exist and do not.
- `rotation` are the bytes of the rotation object (§8.4) where a new key takes effect with this proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proof import descriptor as descriptors
from proof.cose import AUD, IAT, ISS
from proof.descriptor import Descriptor
from proof.fields import Fields, finite, row
from proof.reasons import Reason, Refused

NONCE, LOCATION, BOOTCOUNT, BOOTSEED = 10, 264, 267, 268
LOG, SEQ, PREV, TIME, DESCRIPTOR, GAPS, LOST, ROTATION = range(-70001, -70009, -1)
LOG_BYTES, HASH_BYTES, BOOTSEED_BYTES, NONCE_BYTES = 8, 32, 16, 16
MAX_GAPS, MAX_LOST, MAX_ROTATION_BYTES = 64, 256, 2048


@dataclass(frozen=True, slots=True)
class Predecessor:
    """Why this log exists: the log before it and its last known head (None when even that is lost)."""

    log: bytes
    head_hash: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class TimeClaim:
    """`boottime_ns` at the proof's first time; `source` 0 none, 1 ntp, 2 gnss, 3 rtc (§3.2)."""

    boottime_ns: int
    source: int
    maxerror_us: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where the owner says the device stands, at the precision the owner chose."""

    lat: Decimal | int
    lon: Decimal | int
    alt_m: Decimal | int
    accuracy_m: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Proofs this device signed and could not keep."""

    first_seq: int
    last_seq: int
    first_hash: bytes
    last_hash: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples of `instrument` that should exist between two boot times and do not."""

    instrument: str
    from_boottime_ns: int
    to_boottime_ns: int
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Claims:
    """All claims of one proof; `freshness` is (), (beacon hash,) or (beacon hash, challenge nonce)."""

    device: str
    network: str
    sealed_at_s: int
    freshness: tuple[bytes, ...]
    bootcount: int
    bootseed: bytes
    log: bytes
    seq: int
    prev: bytes | Predecessor | None
    time: TimeClaim
    descriptor_hash: bytes
    descriptor: Descriptor | None = None
    location: Location | None = None
    gaps: tuple[Gap, ...] = ()
    lost: tuple[Lost, ...] = ()
    rotation: bytes | None = None

    def to_map(self) -> dict[int, Any]:
        claims: dict[int, Any] = {
            ISS: self.device,
            AUD: self.network,
            IAT: self.sealed_at_s,
            BOOTCOUNT: self.bootcount,
            BOOTSEED: self.bootseed,
            LOG: self.log,
            SEQ: self.seq,
            TIME: [self.time.boottime_ns, self.time.source, self.time.maxerror_us],
            DESCRIPTOR: self.descriptor.to_map() if self.descriptor else self.descriptor_hash,
        }
        if len(self.freshness) == 1:
            claims[NONCE] = self.freshness[0]
        elif self.freshness:
            claims[NONCE] = list(self.freshness)
        if isinstance(self.prev, Predecessor):
            claims[PREV] = [self.prev.log, self.prev.head_hash, self.prev.reason]
        elif self.prev is not None:
            claims[PREV] = self.prev
        if self.location:
            place = self.location
            claims[LOCATION] = {1: place.lat, 2: place.lon, 3: place.alt_m, 4: place.accuracy_m}
        if self.gaps:
            claims[GAPS] = [[g.first_seq, g.last_seq, g.first_hash, g.last_hash, g.reason] for g in self.gaps]
        if self.lost:
            claims[LOST] = [
                [x.instrument, x.from_boottime_ns, x.to_boottime_ns, x.count, x.reason] for x in self.lost
            ]
        if self.rotation is not None:
            claims[ROTATION] = self.rotation
        return claims


def from_map(value: dict[int, Any]) -> Claims:
    """Raises `Refused` malformed."""
    fields = Fields(value, "the proof's claims")
    seq = fields.integer(SEQ, low=1)
    descriptor, descriptor_hash = _descriptor(fields.raw(DESCRIPTOR))
    claims = Claims(
        device=fields.text(ISS),
        network=fields.text(AUD, 32),
        sealed_at_s=fields.integer(IAT),
        freshness=_freshness(fields.raw(NONCE)) if fields.has(NONCE) else (),
        bootcount=fields.integer(BOOTCOUNT, low=1),
        bootseed=fields.data(BOOTSEED, BOOTSEED_BYTES),
        log=fields.data(LOG, LOG_BYTES),
        seq=seq,
        prev=_prev(fields.raw(PREV), seq) if fields.has(PREV) else None,
        time=_time(fields.array(TIME, 3)),
        descriptor_hash=descriptor_hash,
        descriptor=descriptor,
        location=_location(fields.raw(LOCATION)) if fields.has(LOCATION) else None,
        gaps=tuple(map(_gap, fields.array(GAPS, MAX_GAPS))) if fields.has(GAPS) else (),
        lost=tuple(map(_lost, fields.array(LOST, MAX_LOST))) if fields.has(LOST) else (),
        rotation=_rotation(fields.data(ROTATION)) if fields.has(ROTATION) else None,
    )
    fields.end()
    if seq > 1 and claims.prev is None:
        raise Refused(Reason.MALFORMED, "prev is absent in a proof that is not the first")
    if any(gap.last_seq >= seq for gap in claims.gaps):
        raise Refused(Reason.MALFORMED, "a proof declares itself or a later one as lost")
    return claims


def _descriptor(value: Any) -> tuple[Descriptor | None, bytes]:
    if isinstance(value, bytes) and len(value) == HASH_BYTES:
        return None, value
    descriptor = descriptors.from_map(value)
    return descriptor, descriptor.hash()


def _freshness(value: Any) -> tuple[bytes, ...]:
    match value:
        case bytes(beacon) if len(beacon) == HASH_BYTES:
            return (beacon,)
        case [bytes(beacon), bytes(nonce)] if len(beacon) == HASH_BYTES and len(nonce) == NONCE_BYTES:
            return (beacon, nonce)
    raise Refused(Reason.MALFORMED, "eat_nonce is neither a beacon hash nor [beacon hash, challenge nonce]")


def _prev(value: Any, seq: int) -> bytes | Predecessor:
    match row(value):
        case bytes(prev) if len(prev) == HASH_BYTES and seq > 1:
            return prev
        case [bytes(log), None | bytes() as head_hash, str(reason)] if (
            seq == 1 and len(log) == LOG_BYTES and (head_hash is None or len(head_hash) == HASH_BYTES)
        ):
            return Predecessor(log, head_hash, reason)
    raise Refused(
        Reason.MALFORMED, "prev is neither a hash (seq > 1) nor [old log, head hash, reason] (seq 1)"
    )


def _rotation(value: bytes) -> bytes:
    if len(value) > MAX_ROTATION_BYTES:
        raise Refused(Reason.TOO_LARGE, f"the rotation has {len(value)} bytes")
    return value


def _time(value: list[Any]) -> TimeClaim:
    match row(value):
        case [int(boottime_ns), int(source), int(maxerror_us)] if (
            0 <= boottime_ns < 2**63 and 0 <= source <= 3 and 0 <= maxerror_us < 2**63
        ):
            return TimeClaim(boottime_ns, source, maxerror_us)
    raise Refused(Reason.MALFORMED, "time is not [boottime_ns, source 0 to 3, maxerror_us]")


def _location(value: Any) -> Location:
    fields = Fields(value, "the location")
    lat, lon, alt_m = (_exact(fields.raw(label)) for label in (1, 2, 3))
    location = Location(lat, lon, alt_m, fields.integer(4, high=10_000_000))
    fields.end()
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise Refused(Reason.MALFORMED, "the location is not on this planet")
    return location


def _exact(value: Any) -> Decimal | int:
    finite(value, "a coordinate")
    return value if isinstance(value, int | Decimal) else Decimal(repr(value))


def _gap(value: Any) -> Gap:
    match row(value):
        case [int(first), int(last), bytes(first_hash), bytes(last_hash), str(reason)] if (
            0 < first <= last < 2**63 and len(first_hash) == len(last_hash) == HASH_BYTES
        ):
            return Gap(first, last, first_hash, last_hash, reason)
    raise Refused(Reason.MALFORMED, "a gap is not [first seq, last seq, first hash, last hash, reason]")


def _lost(value: Any) -> Lost:
    match row(value):
        case [str(instrument), int(start_ns), int(end_ns), int(count), str(reason)] if (
            len(instrument) <= 32 and 0 <= start_ns <= end_ns < 2**63 and 0 < count < 2**32
        ):
            return Lost(instrument, start_ns, end_ns, count, reason)
    raise Refused(Reason.MALFORMED, "a loss is not [instrument, from, to, count, reason]")
