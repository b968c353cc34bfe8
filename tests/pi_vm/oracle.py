"""Whether a disk keeps what was promised. From outside: the disk, its log, and the product's own reader.

- Promised is what `witness` wrote between flushes: samples that `append` returned for, proofs that were
  handed to the broker.
- A disk is judged as the machine would find it: the file system is repaired as at its start, then the agent's
  journal is opened by `open_journal`. It must not be quarantined; each promised sample must be in a proof or
  waiting for one, with its values, once; each published proof must be there; all proofs must verify, as one
  chain.
- One sequence number has one hash, on every disk that was ever judged.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agent import export, membership, papers
from agent.errors import AgentError
from agent.journal import Journal
from agent.store import open_journal
from proof import bundle, sealing
from proof.reasons import Refused
from proof.sealing import Proof
from tests.pi_vm.disk_log import DiskLog
from tests.pi_vm.witness import FIRST

# Debian keeps them where ordinary users' PATH does not look.
E2FSCK, DEBUGFS = "/usr/sbin/e2fsck", "/usr/sbin/debugfs"
STATE = "/var/lib/fieldproof"
_WITHIN_MS = 2  # times in proofs are rounded to a millisecond, twice
_ALL = 10**9
Place = tuple[str, bytes, int]
"""Instrument, bootseed (§3.2), boot time in ms."""


@dataclass(slots=True)
class Promises:
    """Values as text, by quantity."""

    samples: dict[Place, dict[str, str]] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)

    def add(self, more: Promises) -> None:
        self.samples |= more.samples
        self.published |= more.published


def promised(log: DiskLog, last: int) -> Promises:
    """By the first `last` entries."""
    found = Promises()
    for entry in log.entries[:last]:
        if not entry.writes or entry.sector * log.sector_bytes < FIRST:
            continue
        line = json.loads(log.data(entry))
        if "published" in line:
            found.published.add(line["published"])
        else:
            bootseed = hashlib.sha256(bytes.fromhex(line["boot_id"])).digest()[:16]
            place = (line["instrument"], bootseed, round(line["boottime_ns"] / 1e6))
            found.samples[place] = line["values"]
    return found


class Readings:
    """What is kept, by place; a place that is taken is a duplicate."""

    def __init__(self) -> None:
        self._found: dict[Place, dict[str, str]] = {}
        self.duplicates = 0

    def __len__(self) -> int:
        return len(self._found)

    def at(self, place: Place) -> dict[str, str] | None:
        name, bootseed, ms = place
        for near in range(ms - _WITHIN_MS, ms + _WITHIN_MS + 1):
            if (values := self._found.get((name, bootseed, near))) is not None:
                return values
        return None

    def add(self, place: Place, values: dict[str, str]) -> None:
        self.duplicates += self.at(place) is not None
        self._found[place] = values

    def add_proofs(self, proofs: Iterable[Proof]) -> None:
        for proof in proofs:
            claims, readings = proof.claims, proof.readings()
            for reading in readings:
                # §3.5: times are boot-time differences to the first, whose boot time the claims give.
                ms = round(claims.time.boottime_ns / 1e6 + reading.time_ms - readings[0].time_ms)
                values = {measured.quantity: str(measured.value) for measured in reading.values}
                self.add((reading.instrument, claims.bootseed, ms), values)

    def problems(self, promises: Promises) -> Iterator[str]:
        if self.duplicates:
            yield f"{self.duplicates} readings twice"
        for place, values in promises.samples.items():
            kept = self.at(place)
            if kept is None:
                yield f"lost: {place[0]} at boot time {place[2]} ms"
            elif kept != values:
                yield f"changed: {place[0]} at boot time {place[2]} ms: {values} became {kept}"


class Oracle:
    """Judges the disks of one device; `hashes` are those of all proofs it ever saw."""

    def __init__(self, device: str, gateway_key: bytes) -> None:
        self.device, self._gateway_key = device, gateway_key
        self.hashes: dict[tuple[bytes, int], bytes] = {}

    def problems_of(self, disk: Path, promises: Promises, folder: Path) -> list[str]:
        """`disk` is changed: its file system is put in order. `folder` must be empty."""
        repaired = subprocess.run([E2FSCK, "-y", disk], capture_output=True, text=True)
        if repaired.returncode not in (0, 1):
            return [f"the file system cannot be put in order: {(repaired.stderr or repaired.stdout)[-300:]}"]
        for name in ("journal.db", "journal.db-wal", "membership.json"):
            wanted = f"dump {STATE}/{name} {folder / name}"
            subprocess.run([DEBUGFS, "-R", wanted, disk], check=True, capture_output=True)
        try:
            return list(self._problems(folder, promises))
        except Refused as refused:
            return [f"what is stored does not verify: {refused.verdict}"]
        except AgentError as error:
            return [error.sentence]

    def _problems(self, folder: Path, promises: Promises) -> Iterator[str]:
        joined = membership.load(folder / "membership.json", self.device, 0)
        opened = open_journal(folder / "journal.db", self.device, bytes(16))
        with closing(opened.journal) as journal:
            if opened.quarantined:
                yield "the journal was damaged"
            rows = export.kept(lambda job, journal=journal: job(journal), (0, 0), (_ALL, _ALL))
            stored = [papers.proof_of(row) for row in rows]
            readings, proofs = Readings(), [sealing.parse(data) for data in stored]
            if proofs:
                pieces = bundle.write(
                    self.device, joined.membership.network, [joined.membership_bytes, *stored]
                )
                bundle.examine(b"".join(pieces), [self._gateway_key])
            readings.add_proofs(proofs)
            for place, values in waiting(journal):
                readings.add(place, values)
        yield from readings.problems(promises)
        if missing := promises.published - {proof.hash.hex() for proof in proofs}:
            yield f"{len(missing)} published proofs are not kept"
        yield from self.conflicts(proofs)

    def conflicts(self, proofs: Iterable[Proof]) -> Iterator[str]:
        for proof in proofs:
            place = (proof.claims.log, proof.claims.seq)
            if self.hashes.setdefault(place, proof.hash) != proof.hash:
                yield f"sequence number {place[1]} has two proofs"


def waiting(journal: Journal) -> Iterator[tuple[Place, dict[str, str]]]:
    """Samples that no proof holds yet."""
    for (boot_id,) in journal.execute("SELECT DISTINCT boot_id FROM samples").fetchall():
        bootseed = hashlib.sha256(boot_id).digest()[:16]
        for _, sample in journal.oldest_samples(boot_id, _ALL):
            values = {measured.quantity: str(measured.value) for measured in sample.values}
            yield (sample.instrument, bootseed, round(sample.boottime_ns / 1e6)), values
