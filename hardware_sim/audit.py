"""What came out of verified proofs, held against what went in. Pure, and from outside: no agent code.

- Input: the proofs as a verifier accepted them, the witness's lines (`run`), the recorded rows.
- A reading is known by instrument, boot and the second of its boot time: samples are seconds apart.
- A recorded value must come back within the chip's resolution (BME280 datasheet, table 1), a blank one must
  not come back, and nothing may come back that was not there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from hardware_sim.replay import Row
from proof import wire
from proof.sealing import Proof

Key = tuple[str, bytes, int]
"""Instrument, bootseed (§3.2), boot time in whole seconds."""

# Recorded column -> (quantity, how far off it may come back). Two decimals were recorded: 0.005 is equality.
_COLUMNS = {
    "temperature_degC": ("temperature", 0.005),
    "pressure_Pa": ("pressure", 0.18),
    "humidity_pctRH": ("humidity", 0.008),
}


@dataclass(frozen=True, slots=True)
class Proven:
    """One reading of a proof; `wall_s` is its time as claimed."""

    key: Key
    wall_s: int
    values: dict[str, Decimal | int]
    flags: int


@dataclass(frozen=True, slots=True)
class Tally:
    """The result; `problems` are sentences about values, few of many."""

    captured: int
    receipted: int
    lost: int
    duplicates: int
    proofs: int
    message_bytes: int
    problems: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicates or self.problems) and self.captured == self.receipted > 0

    def line(self) -> str:
        per_reading = self.message_bytes / self.receipted if self.receipted else 0.0
        return (
            f"demo: captured {self.captured} readings, receipted {self.receipted}, lost {self.lost}, "
            f"duplicates {self.duplicates}, proofs {self.proofs}, bytes/reading {per_reading:.1f}"
        )


def proven(proofs: Iterable[Proof]) -> list[Proven]:
    """Every reading, in chain order."""
    found = []
    for proof in proofs:
        claims, readings = proof.claims, proof.readings()
        for reading in readings:
            # §3.5: times are boot-time differences to the first, whose boot time the claims give.
            boottime_s = claims.time.boottime_ns / 1e9 + (reading.time_ms - readings[0].time_ms) / 1e3
            key = (reading.instrument, claims.bootseed, round(boottime_s))
            values = {measured.quantity: measured.value for measured in reading.values}
            found.append(Proven(key, round(reading.time_ms / 1e3), values, reading.flags))
    return found


def witnessed(lines: Iterable[str]) -> dict[Key, dict[str, Decimal]]:
    """The witness's samples, by key."""
    found = {}
    for line in lines:
        sample = json.loads(line)
        bootseed = hashlib.sha256(bytes.fromhex(sample["boot_id"])).digest()[:16]
        key = (sample["instrument"], bootseed, round(sample["boottime_ns"] / 1e9))
        found[key] = {quantity: Decimal(text) for quantity, text in sample["values"].items()}
    return found


def tally(
    proofs: Sequence[Proof], witness: dict[Key, dict[str, Decimal]], journal_captured: int, kills: int
) -> Tally:
    """`journal_captured` is the journal's own count; it may know up to `kills` samples that the witness,
    killed between the journal's commit and its own line, does not."""
    readings = proven(proofs)
    by_key = {reading.key: reading for reading in readings}
    duplicates = len(readings) - len(by_key)
    captured = max(len(witness), journal_captured - duplicates)
    missing = witness.keys() - by_key.keys()
    unwitnessed = by_key.keys() - witness.keys()
    problems = [
        f"{key[0]} at boot time {key[2]} s: captured {witness[key]}, proven {by_key[key].values}"
        for key in sorted(witness.keys() & by_key.keys())
        if by_key[key].values != witness[key]
    ]
    if len(unwitnessed) > kills:
        problems.append(f"{len(unwitnessed)} proven readings were never captured")
    return Tally(
        captured,
        len(by_key),
        max(len(missing), captured - len(by_key)),
        duplicates,
        len(proofs),
        sum(len(wire.deflate(proof.data)) for proof in proofs),
        tuple(problems),
    )


def against_recording(readings: Iterable[Proven], rows: Sequence[Row]) -> list[str]:
    """What is not as recorded: rows that are missing, readings that are not in `rows`, wrong values."""
    expected = {row.t_s: row for row in rows if row.values()}
    counts = Counter(reading.wall_s for reading in readings)
    problems = [f"{_when(t_s)}: recorded, not proven" for t_s in expected.keys() - counts.keys()]
    problems += [f"{_when(t_s)}: proven, not recorded" for t_s in counts.keys() - expected.keys()]
    problems += [f"{_when(t_s)}: proven {count} times" for t_s, count in counts.items() if count > 1]
    for reading in readings:
        if row := expected.get(reading.wall_s):
            problems += _differences(reading, row)
    return sorted(problems)


def _differences(reading: Proven, row: Row) -> list[str]:
    recorded = row.values()
    problems = []
    for column, (quantity, within) in _COLUMNS.items():
        was, now = recorded.get(column), reading.values.get(quantity)
        if was is None and now is None:
            continue
        if was is None or now is None or abs(float(now) - was) > within:
            problems.append(f"{_when(row.t_s)}: {quantity} recorded {was}, proven {now}")
    return problems


def _when(t_s: int) -> str:
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
