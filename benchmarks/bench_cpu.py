"""CPU time per reading, from the chip's registers to the receipt, beside the naive script's.

Agent and scripts each read a virtual BME280 of their own five times a second at the same time, for as long as
two proofs of 60 readings take, after a warm-up of one. User and system time of the process; what the virtual
bus and chip cost inside it is measured around every transaction and taken off. The naive script starts three
conversions per reading, one per property of Adafruit's class, and polls each; the polite one has its chip in
normal mode and polls nothing. Idle: the same processes when no reading is due.
"""

from __future__ import annotations

import subprocess
import time

from benchmarks import figures
from benchmarks.field import Field, joined_field, until
from benchmarks.figures import Figure

_READINGS, _INTERVAL_S = 120, 0.2
_IDLE_S = 10.0
_PEERS = ("naive", "polite")


def spent(
    field: Field, processes: dict[str, subprocess.Popen[bytes]], seconds: float
) -> dict[str, dict[str, int]]:
    """What each process used in so many seconds."""
    before = {name: field.usage(process, name) for name, process in processes.items()}
    time.sleep(seconds)
    after = {name: field.usage(process, name) for name, process in processes.items()}
    return {name: {key: after[name][key] - before[name][key] for key in after[name]} for name in processes}


def started(field: Field, interval_s: float) -> dict[str, subprocess.Popen[bytes]]:
    field.start_broker()
    field.start_gateway()
    return {"agent": field.start_agent(), **{name: field.start_naive(interval_s, name) for name in _PEERS}}


def measure() -> list[Figure]:
    """CPU per reading of agent and naive script."""
    with joined_field(_INTERVAL_S) as field:
        processes = started(field, _INTERVAL_S)
        until(lambda: field.receipted(1), 60, "the first receipt")
        busy = spent(field, processes, _READINGS * _INTERVAL_S)
    with joined_field(interval_s=3600) as field:
        processes = started(field, 3600)
        time.sleep(4)
        idle = spent(field, processes, _IDLE_S)
    own = {name: (use["cpu_ns"] - use["chip_ns"]) / use["readings"] / 1e3 for name, use in busy.items()}
    chip = {name: use["chip_ns"] / use["readings"] / 1e3 for name, use in busy.items()}
    return [
        Figure("agent against naive script", own["agent"] / own["naive"], "times", most=3),
        Figure("agent against polite script", own["agent"] / own["polite"], "times"),
        *(Figure(name, own[name], "µs/reading") for name in own),
        *(Figure(f"{name}, taken off for the chip", chip[name], "µs/reading") for name in chip),
        *(Figure(f"{name}, idle", idle[name]["cpu_ns"] / _IDLE_S / 1e6 * 60, "ms/minute") for name in idle),
    ]


if __name__ == "__main__":
    figures.run(measure)
