"""From samples to a signed proof: ONE transaction in which the proof is built, signed and stored and its
samples are removed. The caller begins and commits; a failure leaves the samples where they were.

- A window closes when it holds enough readings, when its first sample is old enough, when a challenge or
  the end asks for it, or (empty, §3.7) after the longest silence.
- A proof holds samples of one boot (§3.6). Samples left by an earlier boot are sealed under that boot.
- Wall time is told once per proof, by the best clock reading of that boot there is (§3.5).
- The descriptor itself goes into the first proof of a boot and after each change (§3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent import retention
from agent.clock import SOURCE_NONE, Clock, Wall
from agent.journal import Journal, OpenLog, Waiting
from agent.sample import Captured
from agent.settings import LocationSettings, ProofSettings
from proof import cose, sealing, senml
from proof.claims import MAX_GAPS, MAX_LOST, Claims, Location, TimeClaim
from proof.descriptor import Descriptor
from proof.keys import Signer, device_id
from proof.senml import Reading

_EARLIEST_NS = senml.EARLIEST_TIME_MS * 10**6


@dataclass(frozen=True, slots=True)
class Sealed:
    seq: int
    readings: int
    size: int


class Sealer:
    """Owned by the journal's thread. `freshness` is set by whoever hears beacons and challenges."""

    def __init__(
        self,
        signer: Signer,
        network: str,
        settings: ProofSettings,
        clock: Clock,
        location: LocationSettings | None = None,
    ) -> None:
        self._signer, self._network, self._settings, self._clock = signer, network, settings, clock
        self._device = device_id(signer.public_key)
        self._location = (
            Location(location.lat, location.lon, location.alt_m, location.accuracy_m) if location else None
        )
        self._announced: bytes | None = None
        self._last_sealed_ns = clock.boottime_ns()
        self.descriptor: Descriptor | None = None
        self.freshness: tuple[bytes, ...] = ()

    def due(self, waiting: Waiting) -> bool:
        """Whether a window closes now."""
        now_ns = self._clock.boottime_ns()
        if waiting.samples >= self._settings.readings:
            return True
        if waiting.oldest_ns is not None:
            left_by_another_boot = waiting.boot_id != self._clock.boot_id
            return left_by_another_boot or now_ns - waiting.oldest_ns >= self._settings.window_s * 1e9
        silence_s = self._settings.window_s if waiting.losses else self._settings.heartbeat_s
        return now_ns - self._last_sealed_ns >= silence_s * 1e9

    def seal(self, journal: Journal) -> Sealed:
        """Seal the oldest window (or an empty one) inside the caller's transaction."""
        boot_id = journal.oldest_boot() or self._clock.boot_id
        rows = journal.oldest_samples(boot_id, self._settings.readings)
        samples = sorted((sample for _, sample in rows), key=lambda s: (s.boottime_ns, s.instrument))
        here_ns, wall_here = self._clock.boottime_ns(), self._clock.wall()
        start_ns = samples[0].boottime_ns if samples else here_ns
        anchors = [(sample.boottime_ns, sample.wall) for sample in samples]
        if boot_id == self._clock.boot_id:
            anchors.append((here_ns, wall_here))
        wall = wall_at(start_ns, anchors)
        readings = _readings(samples, start_ns, wall)
        log = _require_log(journal)
        claims = Claims(
            device=self._device,
            network=self._network,
            sealed_at_s=max(0, wall_here.ns // 10**9),
            freshness=self.freshness,
            bootcount=journal.bootcount(boot_id),
            bootseed=bootseed(boot_id),
            log=log.log,
            seq=log.seq + 1,
            prev=log.hash if log.seq else log.predecessor,
            time=TimeClaim(start_ns, wall.source, wall.maxerror_us),
            descriptor_hash=self._descriptor().hash(),
            descriptor=self._descriptor() if self._must_announce() else None,
            location=self._location,
            gaps=retention.take_gaps(journal, log.id, log.seq + 1, MAX_GAPS),
            lost=journal.take_losses(boot_id, MAX_LOST),
        )
        sealed = store(journal, log, claims, readings, self._signer)
        journal.retire_samples(rows)
        self._announced = claims.descriptor_hash
        self._last_sealed_ns = here_ns
        return sealed

    def reseal(self, journal: Journal, old: OpenLog) -> list[Sealed]:
        """Seal again, in the log now open, the readings of `old` that no gateway can have accepted (§5.3)."""
        resealed = []
        for stored in journal.unreceipted(old.id):
            proof = sealing.parse(stored.data)
            log = _require_log(journal)
            was = proof.claims
            claims = Claims(
                device=was.device,
                network=was.network,
                sealed_at_s=max(0, self._clock.wall().ns // 10**9),
                freshness=self.freshness,
                bootcount=was.bootcount,
                bootseed=was.bootseed,
                log=log.log,
                seq=log.seq + 1,
                prev=log.hash if log.seq else log.predecessor,
                time=was.time,
                descriptor_hash=was.descriptor_hash,
                descriptor=was.descriptor,
                location=was.location,
                lost=was.lost,
            )
            resealed.append(store(journal, log, claims, proof.readings(), self._signer))
        self.forget_announcement()
        return resealed

    def forget_announcement(self) -> None:
        """The next proof carries the descriptor again."""
        self._announced = None

    def _descriptor(self) -> Descriptor:
        if self.descriptor is None:
            raise RuntimeError("the descriptor is set before the first seal")
        return self.descriptor

    def _must_announce(self) -> bool:
        return self._announced != self._descriptor().hash()


def store(
    journal: Journal, log: OpenLog, claims: Claims, readings: tuple[Reading, ...], signer: Signer
) -> Sealed:
    """Sign and store one proof; its place in the log is allotted by this transaction."""
    data = sealing.seal(claims, readings, signer)
    times_s = [reading.time_ms // 1000 for reading in readings] or [claims.sealed_at_s]
    journal.store_proof(
        log, claims.seq, cose.object_hash(data), data, len(readings), min(times_s), max(times_s)
    )
    return Sealed(claims.seq, len(readings), len(data))


def wall_at(boottime_ns: int, anchors: Sequence[tuple[int, Wall]]) -> Wall:
    """Wall time at `boottime_ns` by the best of `anchors` (clock readings of the same boot): one with a
    source before one without, then the smallest error; never before 2^28 s, which SenML reads as relative."""
    at_ns, best = min(anchors, key=lambda anchor: (anchor[1].source == SOURCE_NONE, anchor[1].maxerror_us))
    ns = best.ns + boottime_ns - at_ns
    if ns < _EARLIEST_NS:
        return Wall(_EARLIEST_NS, SOURCE_NONE, best.maxerror_us)
    return Wall(ns, best.source, best.maxerror_us)


def bootseed(boot_id: bytes) -> bytes:
    """§3.2 label 268."""
    return cose.object_hash(boot_id)[:16]


def _readings(samples: Sequence[Captured], start_ns: int, wall: Wall) -> tuple[Reading, ...]:
    start_ms = round(wall.ns / 1e6)
    return tuple(
        Reading(s.instrument, start_ms + round((s.boottime_ns - start_ns) / 1e6), s.values, s.flags, s.raw)
        for s in samples
    )


def _require_log(journal: Journal) -> OpenLog:
    log = journal.open_log()
    if log is None:
        raise RuntimeError("a journal always has an open log")
    return log
