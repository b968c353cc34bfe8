"""Readings that were taken while nobody listened: journals filled by the agent's own sealer.

The readings are a synthetic climate, one per minute, of an earlier boot that ended just now.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from agent.clock import SOURCE_NTP, Clock, SystemClock, Wall
from agent.journal import Journal
from agent.sample import Captured
from agent.sealer import Sealer
from agent.settings import ProofSettings
from agent.store import open_journal
from benchmarks.membership import NETWORK
from drivers.bme280 import BME280
from hardware_sim.worlds import ClimateWorld
from proof import cbor, wire
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.keys import Signer
from proof.senml import Measured

BOOT_ID = bytes(range(16))
_STEP_NS = 60 * 10**9
_TRUTHS = ("temperature_degC", "pressure_Pa", "humidity_pctRH")
_DECIMALS = (2, 1, 2)
_WORLD = ClimateWorld(seed=2)

DESCRIPTOR = Descriptor(
    agent="fieldproof",
    version="0.1.0",
    key_class="sim",
    simulated=True,
    hardware="Raspberry Pi 4 Model B Rev 1.4",
    instruments=(
        InstrumentDescriptor(
            name="bme280",
            driver="bme280",
            bus="i2c:1",
            address="0x76",
            model="BME280",
            serial="0123456789abcdef",
            serial_kind="trim-sha256",
            quantities=tuple(
                QuantityDescriptor(q.name, q.unit, q.resolution, q.uncertainty) for q in BME280.quantities
            ),
        ),
    ),
)


def captured(count: int) -> Iterator[Captured]:
    """`count` readings, the last of them a minute ago."""
    first_wall_ns = time.time_ns() - count * _STEP_NS
    for number in range(count):
        boottime_ns = number * _STEP_NS
        truth = _WORLD.at(boottime_ns)
        values = tuple(
            Measured(q.name, q.unit, cbor.number(truth[name], decimals))
            for q, name, decimals in zip(BME280.quantities, _TRUTHS, _DECIMALS, strict=True)
        )
        wall = Wall(first_wall_ns + boottime_ns, SOURCE_NTP, 20_000)
        yield Captured("bme280", BOOT_ID, boottime_ns, wall, values)


def sealer(
    signer: Signer, readings_per_proof: int, beacon_hash: bytes = bytes(32), clock: Clock | None = None
) -> Sealer:
    made = Sealer(signer, NETWORK, ProofSettings(readings=readings_per_proof), clock or SystemClock())
    made.descriptor = DESCRIPTOR
    made.freshness = (beacon_hash,)
    return made


def fill(
    journal: Journal,
    signer: Signer,
    count: int,
    readings_per_proof: int = 60,
    beacon_hash: bytes = bytes(32),
) -> None:
    """Append and seal `count` readings, one transaction per proof; all name one beacon."""
    seal, readings = sealer(signer, readings_per_proof, beacon_hash), captured(count)
    while batch := list(itertools.islice(readings, readings_per_proof)):
        journal.begin()
        for sample in batch:
            journal.append(sample)
        seal.seal(journal)
        journal.commit()


def sealed(
    path: Path, signer: Signer, count: int, readings_per_proof: int, beacon_hash: bytes
) -> list[bytes]:
    """The proofs of `count` readings, in order; the journal stays at `path`."""
    journal = open_journal(path, signer.device, BOOT_ID).journal
    fill(journal, signer, count, readings_per_proof, beacon_hash)
    rows = journal.execute("SELECT data FROM proofs ORDER BY seq").fetchall()
    journal.close()
    return [wire.inflate(row[0]) for row in rows]
