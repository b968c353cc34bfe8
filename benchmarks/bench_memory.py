"""Resident memory of the running daemon, beside the naive script's.

Both run for half a minute at 5 readings a second on a virtual BME280, against a real mosquitto; the agent has
sealed at least two proofs of 60 readings and seen their receipts. RSS counts shared pages in full, PSS its
share of them. MALLOC_ARENA_MAX=2, as the service unit sets it. The virtual chip lives in both processes.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks import figures
from benchmarks.field import joined_field, until
from benchmarks.figures import Figure


def memory_kB(pid: int) -> dict[str, int]:
    """Resident (`Rss`), proportional (`Pss`) and private writable (`Private_Dirty`) memory."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}


def measure() -> list[Figure]:
    """Memory of agent and naive script."""
    with joined_field(interval_s=0.2) as field:
        field.start_broker()
        field.start_gateway()
        agent, naive = field.start_agent(), field.start_naive(0.2)
        time.sleep(20)
        until(lambda: field.receipted(2), 30, "the second receipt")
        ours, theirs = memory_kB(agent.pid), memory_kB(naive.pid)
    return [
        Figure("agent, resident", ours["Rss"] / 1024, "MiB", most=35),
        Figure("agent, proportional", ours["Pss"] / 1024, "MiB"),
        Figure("naive script, resident", theirs["Rss"] / 1024, "MiB"),
        Figure("naive script, proportional", theirs["Pss"] / 1024, "MiB"),
    ]


if __name__ == "__main__":
    figures.run(measure)
