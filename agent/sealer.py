"""From samples to a signed proof: ONE transaction in which the proof is built, signed and stored and its
samples are removed. The caller begins and commits; a failure leaves the samples where they were.

- A window closes when it holds enough readings, when its first sample is old enough, when a challenge or
  the end asks for it, or (empty, §3.7) after the longest silence.
- A proof holds samples of one boot, and never more than a gateway takes (§3.6). Samples left by an earlier
  boot are sealed under that boot.
- Wall time is told once per proof, by the best clock reading of that boot there is (§3.5).
- With a rotation under way (`turn`) proofs are signed by the new key, and the first one of them in a log
  carries the rotation (`agent.rotation`).
- The descriptor itself goes into the first proof of a boot and after each change (§3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from agent import retention, rotation
from agent.clock import SOURCE_NONE, UNSYNCED_US, Clock, Wall
from agent.journal import Journal, OpenLog, Waiting
from agent.rotation import Turn
from agent.sample import Captured
from agent.settings import LocationSettings, ProofSettings
from proof import cose, sealing, senml
from proof.claims import MAX_GAPS, MAX_LOST, Claims, Location, TimeClaim
from proof.descriptor import Descriptor
from proof.keys import Signer, key_id
from proof.senml import Reading

_EARLIEST_NS = senml.EARLIEST_TIME_MS * 10**6


@dataclass(frozen=True, slots=True)
class Sealed:
    seq: int
    readings: int
    size: int


@dataclass(frozen=True, slots=True)
class _Said:
    """The descriptor that this run's proofs have carried, and the boot time of the newest of them."""

    descriptor_hash: bytes | None
    sealed_ns: int


class Sealer:
    """Owned by the journal's thread. `freshness` is set by whoever hears beacons and challenges."""

    def __init__(
        self,
        signer: Signer,
        network: str,
        settings: ProofSettings,
        clock: Clock,
        location: LocationSettings | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._signer, self._network, self._settings, self._clock = signer, network, settings, clock
        self._device = signer.device
        self._location = (
            Location(location.lat, location.lon, location.alt_m, location.accuracy_m) if location else None
        )
        self._said = self._said_on_disk = _Said(None, clock.boottime_ns())
        self.turn = self._turn_on_disk = turn
        self.descriptor: Descriptor | None = None
        self.freshness: tuple[bytes, ...] = ()

    @property
    def settled_key(self) -> str:
        """The id (§2.2) of the device's key in hex; "" while a rotation is under way, when it has two."""
        return "" if self.turn else key_id(self._signer.public_key).hex()

    def due(self, waiting: Waiting) -> bool:
        """Whether a window closes now."""
        now_ns = self._clock.boottime_ns()
        if waiting.samples >= self._settings.readings:
            return True
        if waiting.oldest_ns is not None:
            left_by_another_boot = waiting.boot_id != self._clock.boot_id
            return left_by_another_boot or now_ns - waiting.oldest_ns >= self._settings.window_s * 1e9
        silence_s = self._settings.window_s if waiting.losses else self._settings.heartbeat_s
        return now_ns - self._said.sealed_ns >= silence_s * 1e9

    def seal(self, journal: Journal) -> Sealed:
        """Seal the oldest window (or an empty one) inside the caller's transaction; then `committed`, or
        `undo` where that was not."""
        boot_id = journal.oldest_boot() or self._clock.boot_id
        rows = _within_records(journal.oldest_samples(boot_id, self._settings.readings))
        here = self._clock.boottime_ns(), self._clock.wall()
        log, descriptor = _require_log(journal), self._descriptor()
        signer, turning = self._signing(journal, log)
        claims = Claims(
            device=self._device,
            network=self._network,
            sealed_at_s=max(0, here[1].ns // 10**9),
            freshness=self.freshness,
            bootcount=journal.bootcount(boot_id),
            bootseed=bootseed(boot_id),
            log=log.log,
            seq=log.seq + 1,
            prev=log.hash if log.seq else log.predecessor,
            time=TimeClaim(here[0], SOURCE_NONE, UNSYNCED_US),
            descriptor_hash=descriptor.hash(),
            descriptor=descriptor if self._said.descriptor_hash != descriptor.hash() else None,
            location=self._location,
            gaps=retention.take_gaps(journal, log.id, log.seq + 1, MAX_GAPS),
            lost=journal.take_losses(boot_id, MAX_LOST),
            rotation=turning,
        )
        while True:
            samples = [sample for _, sample in rows]
            time, readings = _dated(samples, [here] if boot_id == self._clock.boot_id else [])
            try:
                sealed = store(journal, log, replace(claims, time=time), readings, signer)
                break
            except ValueError:  # more bytes than a proof holds (§3.6): what is left goes into the next one
                if len(rows) < 2:
                    raise
                rows = rows[: len(rows) // 2]
        journal.retire_samples(rows)
        self._said = _Said(claims.descriptor_hash, here[0])
        return sealed

    def committed(self) -> None:
        """What was sealed since the last call is on disk."""
        self._said_on_disk, self._turn_on_disk = self._said, self.turn

    def undo(self) -> None:
        """What was sealed since `committed` is not on disk."""
        self._said, self.turn = self._said_on_disk, self._turn_on_disk

    def settled(self, signer: Signer) -> None:
        """The rotation is receipted, and `signer` the current key."""
        self._signer, self.turn, self._turn_on_disk = signer, None, None

    def reseal(self, journal: Journal, log_id: int) -> list[Sealed]:
        """Seal again, in the log now open, the readings of a closed one that were not receipted (§5.3);
        declare as lost those it had given up."""
        retention.declare_given_up(journal, log_id, self._clock.boot_id)
        resealed = []
        for stored in journal.unreceipted(log_id):
            proof = sealing.parse(stored.data)
            log = _require_log(journal)
            signer, turning = self._signing(journal, log)
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
                rotation=turning,
            )
            resealed.append(store(journal, log, claims, proof.readings(), signer))
            journal.drop_bytes(log_id, stored.seq)
        self.forget_announcement()
        return resealed

    def forget_announcement(self) -> None:
        """The next proof carries the descriptor again."""
        self._said = replace(self._said, descriptor_hash=None)
        self._said_on_disk = replace(self._said_on_disk, descriptor_hash=None)

    def _signing(self, journal: Journal, log: OpenLog) -> tuple[Signer, bytes | None]:
        now_s = max(0, self._clock.wall().ns // 10**9)
        return rotation.signing(journal, log, self._signer, self.turn, now_s)

    def _descriptor(self) -> Descriptor:
        if self.descriptor is None:
            raise RuntimeError("the descriptor is set before the first seal")
        return self.descriptor


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


def _within_records(rows: list[tuple[int, Captured]]) -> list[tuple[int, Captured]]:
    """The first of `rows` that fit into one proof by their number of records (§3.6)."""
    totals = accumulate(len(s.values) + bool(s.flags) + bool(s.raw) for _, s in rows)
    return [row for row, total in zip(rows, totals, strict=True) if total <= senml.MAX_RECORDS]


def _dated(
    samples: Sequence[Captured], anchors: Sequence[tuple[int, Wall]]
) -> tuple[TimeClaim, tuple[Reading, ...]]:
    """Readings in the order of boot time, dated by the best of `anchors` and their own clock readings."""
    samples = sorted(samples, key=lambda sample: (sample.boottime_ns, sample.instrument))
    anchors = [*((sample.boottime_ns, sample.wall) for sample in samples), *anchors]
    if not anchors:  # losses of an earlier boot, and nobody read its clock
        return TimeClaim(0, SOURCE_NONE, UNSYNCED_US), ()
    start_ns = anchors[0][0]
    wall = wall_at(start_ns, anchors)
    start_ms = round(wall.ns / 1e6)
    readings = tuple(
        Reading(s.instrument, start_ms + round((s.boottime_ns - start_ns) / 1e6), s.values, s.flags, s.raw)
        for s in samples
    )
    return TimeClaim(start_ns, wall.source, wall.maxerror_us), readings


def _require_log(journal: Journal) -> OpenLog:
    log = journal.open_log()
    if log is None:
        raise RuntimeError("a journal always has an open log")
    return log
