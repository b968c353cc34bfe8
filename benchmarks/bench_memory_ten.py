"""Resident memory of the running daemon with ten different instruments.

Three on I2C, one on 1-Wire, six on serial lines (dust, CO2, a Modbus meter, GNSS, a Geiger counter, pH), so
that every library a driver may need is loaded. Each is read every 6 s, until all have given three samples and
two proofs of 30 readings have receipts. Then once more with a P1 meter in the pH circuit's place: its library
is the heaviest. The serial parts live in another process, behind real ttys; the I2C
chips and the 1-Wire part live in the daemon's and are counted. Otherwise as `bench_memory`.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace

from benchmarks import figures, ten
from benchmarks.bench_memory import memory_kB
from benchmarks.field import Field, joined_field, until
from benchmarks.figures import Figure

_SAMPLES = 3


def measure() -> list[Figure]:
    """Memory of the agent with ten instruments, and with a smart meter among them."""
    return [
        *_measured("agent with ten instruments", ten.SERIAL),
        *_measured("one of the ten a P1 meter", ten.WITH_P1),
    ]


def _measured(what: str, serial: tuple[str, ...]) -> list[Figure]:
    with joined_field(readings=30) as field:
        field.start_broker()
        field.start_gateway()
        field.settings = replace(field.settings, instrument=ten.instruments(field.folder, serial))
        (field.folder / ten.SETTINGS).write_bytes(pickle.dumps(field.settings))
        field.spawn("parts", [sys.executable, "-m", "benchmarks.ten", "parts", str(field.folder)])
        until((field.folder / ten.PLUGGED_IN).exists, 20, "the serial lines")
        agent = field.spawn("agent", [sys.executable, "-m", "benchmarks.ten", "agent", str(field.folder)])
        until(lambda: fewest_samples(field) >= _SAMPLES, 120, f"the {_SAMPLES} samples of all ten")
        until(lambda: field.receipted(2), 60, "the second receipt")
        used = memory_kB(agent.pid)
    return [
        Figure(f"{what}, resident", used["Rss"] / 1024, "MiB", most=45),
        Figure(f"{what}, proportional", used["Pss"] / 1024, "MiB"),
        Figure(f"{what}, private and written", used["Private_Dirty"] / 1024, "MiB"),
    ]


def fewest_samples(field: Field) -> int:
    """Of the instrument that has given the fewest; 0 while the agent does not answer."""
    found = field.status().get("instruments", [])
    return min((one["samples"] for one in found), default=0)


if __name__ == "__main__":
    figures.run(measure)
