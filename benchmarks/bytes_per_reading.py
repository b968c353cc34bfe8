"""Bytes on the wire per reading, for a recorded day: `python benchmarks/bytes_per_reading.py FILE.csv`.

- FILE is a CSV of sensor.community (`;` between columns, a `timestamp`, one column per quantity) or of
  that shape. A row is one reading of one instrument.
- The rows are sealed as a device seals them, 1 and 60 to a proof: chained, with a new beacon each minute,
  a synced clock, and the descriptor in the first proof. What is counted is the whole signed object.
- Three forms: COSE as signed, zlib, zlib with the preset dictionary (§7.3 of docs/protocol.md).
"""

from __future__ import annotations

import csv
import hashlib
import sys
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from proof import cbor, cose, sealing, wire
from proof.claims import Claims, TimeClaim
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.keys import SeedSigner, device_id
from proof.senml import Measured, Reading

# Column -> quantity, unit, decimal places of the instrument's resolution.
COLUMNS = {
    "temperature": ("temperature", "Cel", 2),
    "pressure": ("pressure", "Pa", 1),
    "humidity": ("humidity", "%RH", 2),
    "P1": ("pm10", "ug/m3", 1),
    "P2": ("pm2.5", "ug/m3", 1),
    "co2": ("co2", "ppm", 0),
}
SIGNER = SeedSigner(hashlib.sha256(b"a benchmark's key").digest(), "file")


def readings(path: Path, whole_seconds: bool) -> Iterator[Reading]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            at = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
            instrument = f"{row.get('sensor_type', 'sensor').lower()}-76"
            values = tuple(
                Measured(quantity, unit, cbor.number(float(row[column]), decimals))
                for column, (quantity, unit, decimals) in COLUMNS.items()
                if row.get(column)
            )
            if values:
                # The recording kept whole seconds; a device's schedule lies between them and jitters.
                offset_ms = (
                    0 if whole_seconds else 437 + hashlib.sha256(row["timestamp"].encode()).digest()[0] % 8
                )
                yield Reading(instrument, round(at.timestamp() * 1000) + offset_ms, values)


def describe(first: Reading) -> Descriptor:
    quantities = tuple(QuantityDescriptor(m.quantity, m.unit, 0.01, 1.0) for m in first.values)
    instrument = InstrumentDescriptor(
        first.instrument, "bme280", "i2c-1", "0x76", "BME280", "5d0c39f18a2b4c6d", "trim-sha256", quantities
    )
    return Descriptor("fieldproof", "0.1.0", "file", False, "Raspberry Pi 4 Model B", (instrument,))


def proofs(rows: Sequence[Reading], per_proof: int) -> Iterator[bytes]:
    descriptor = describe(rows[0])
    prev = None
    for seq, start in enumerate(range(0, len(rows), per_proof), start=1):
        window = tuple(rows[start : start + per_proof])
        sealed_at_s = window[-1].time_ms // 1000 + 1
        claims = Claims(
            device=device_id(SIGNER.public_key),
            network="moor",
            sealed_at_s=sealed_at_s,
            freshness=(hashlib.sha256(b"beacon %d" % (sealed_at_s // 60)).digest(),),
            bootcount=17,
            bootseed=hashlib.sha256(b"boot").digest()[:16],
            log=hashlib.sha256(b"log").digest()[:8],
            seq=seq,
            prev=prev,
            time=TimeClaim(81_000_123_456_789 + (window[0].time_ms - rows[0].time_ms) * 1_000_000, 1, 12_345),
            descriptor_hash=descriptor.hash(),
            descriptor=None if prev else descriptor,
        )
        data = sealing.seal(claims, window, SIGNER)
        prev = cose.object_hash(data)
        yield data


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("name one CSV file of a recorded day: python benchmarks/bytes_per_reading.py FILE.csv")
        return 2
    path = Path(arguments[0])
    rows = [*readings(path, whole_seconds=False)]
    if not rows:
        print(f"{path} has no row with a known quantity: {', '.join(COLUMNS)}")
        return 1
    print(f"{len(rows)} readings of {len(rows[0].values)} values; bytes per reading:")
    print(f"{'per proof':>9} {'times':>13} {'proofs':>7} {'signed':>8} {'zlib':>8} {'dictionary':>11}")
    for per_proof, whole_seconds in ((1, False), (60, False), (60, True)):
        sealed = [*proofs([*readings(path, whole_seconds)], per_proof)]
        forms = (sealed, [zlib.compress(data, 9) for data in sealed], [wire.deflate(data) for data in sealed])
        signed, packed, preset = (sum(map(len, form)) / len(rows) for form in forms)
        times = "whole seconds" if whole_seconds else "milliseconds"
        print(f"{per_proof:>9} {times:>13} {len(sealed):>7} {signed:>8.1f} {packed:>8.1f} {preset:>11.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
