"""Simulated parts on serial lines that every program of this machine can open, in real time.

The lines stand in `dev/serial/by-id` under a root of their own, so that discovery and agent run as they are
on a real machine: `fieldproof-provision setup --devices-root ROOT`. Who reads them must say that they
are simulated, by a `sim:` key.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.clock import SystemClock
from agent.errors import FixConfig
from drivers import catalogue
from hardware_sim.parts import catalogue as parts
from hardware_sim.pty_line import PtyLine
from hardware_sim.worlds import ClimateWorld


@contextlib.contextmanager
def in_lines(root: Path, names: Sequence[str], climate: int) -> Iterator[list[PtyLine]]:
    """A line for each of the parts; raises `FixConfig` for what is no serial part."""
    makers = {name: parts.maker(name) for name in parts.known() if catalogue.entry(name).bus == "serial"}
    clock, world = SystemClock(), ClimateWorld(climate)
    plugged: Counter[str] = Counter()
    with contextlib.ExitStack() as closing:
        lines = []
        for name in names:
            if (make := makers.get(name)) is None:
                known = ", ".join(makers)
                raise FixConfig(f"--part: {name!r} is no simulated serial part; there are {known}.")
            path = root / "dev" / "serial" / "by-id" / f"usb-simulated-{name}-if{plugged[name]:02d}-port0"
            plugged[name] += 1
            try:
                lines.append(PtyLine(make(world, clock), path))
            except OSError as error:
                raise FixConfig(f"{path} cannot be made: {error.strerror}.") from None
            closing.callback(lines[-1].close)
        yield lines
