"""Which instruments a new device has: found, chosen, named, each read once.

- What the search cannot tell apart the person decides; nothing is changed in any instrument.
- Names are the driver's until the person says otherwise. No two are the same.
- One that does not answer now may still be kept: it may be warming up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import discover, testread
from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.discover import Finding
from agent.errors import FixConfig, TryAgain
from agent.settings import InstrumentSettings
from drivers import catalogue
from provisioning.person import Person

ALL = "all"
_USUAL = InstrumentSettings("x", "x", "w1:")
_CLOSING_S = 2.0


def find(places: Sequence[str], ask: bool) -> list[Finding]:
    """What is there; raises `TryAgain` where nothing can be named."""
    if not places:
        raise TryAgain(
            "There is no I2C bus, no serial line by-id and no 1-Wire bus on this machine: enable them "
            "(sudo raspi-config, Interface Options), plug in the USB adapter, or name a line with --serial."
        )
    clock = SystemClock()
    buses = HardwareBuses(clock)
    found = discover.discover(places, discover.Search(buses, clock, ask=ask))
    # They must be free for the first reading; a bus that hangs is left to the end of this process.
    closing = threading.Thread(target=buses.close, daemon=True)
    closing.start()
    closing.join(_CLOSING_S)
    if not any(finding.drivers for finding in found):
        unnamed = " ".join(f"{finding.bus} {finding.remark}" for finding in found)
        raise TryAgain(f"No instrument was named. Check power and wiring. {unnamed}".strip())
    return found


def choose(
    found: Sequence[Finding], wanted: str, interval_s: float, person: Person
) -> tuple[InstrumentSettings, ...]:
    """`wanted` is `all`, names with commas between, or "" to ask. Raises `FixConfig`, `TryAgain`."""
    named = _named([finding for finding in found if finding.drivers], interval_s)
    for finding in found:
        if not finding.drivers:
            person.tell(f"Not named: {finding.bus} {finding.address} {finding.remark}")
    if wanted not in ("", ALL):
        return _picked(named, [name.strip() for name in wanted.split(",")])
    chosen: list[InstrumentSettings] = []
    for settings, finding in named:
        at = f"{settings.bus} {settings.address}".rstrip()
        if wanted == ALL or person.agrees(f"{_model(finding)} at {at}: use it?", True):
            settings = _told_apart(settings, finding, person)
            taken = {one.name for one in chosen}
            chosen.append(_renamed(settings, taken, person) if wanted != ALL else settings)
    if not chosen:
        raise TryAgain("No instrument was chosen: nothing was set up.")
    return tuple(chosen)


def read_each(
    chosen: Sequence[InstrumentSettings],
    person: Person,
    read_once: Callable[[InstrumentSettings], dict[str, Any]] = testread.read_once,
) -> tuple[tuple[InstrumentSettings, ...], list[dict[str, Any]]]:
    """Those that are kept, and what each of them gave."""
    kept, readings = [], []
    for settings in chosen:
        result = read_once(settings)
        person.tell(f"  {testread.text(result)}")
        later = result["exit_code"] < 2
        if not result["problem"] or person.agrees(f"{settings.name} gave nothing: keep it?", later):
            kept.append(settings)
            readings.append(result)
    if not kept:
        raise TryAgain("No instrument is left: nothing was set up.")
    return tuple(kept), readings


def places(root: Path | None, lines: Sequence[Path]) -> list[str]:
    """The machine's buses, or those under `root`; and these serial lines."""
    if root is None:
        found = discover.places()
    else:
        found = discover.places(root.absolute() / "dev", root / "none")  # 1-Wire has no root of its own
    return found + [f"serial:{path.absolute()}" for path in lines]


def _named(found: Sequence[Finding], interval_s: float) -> list[tuple[InstrumentSettings, Finding]]:
    counts: dict[str, int] = {}
    named = []
    for finding in found:
        driver = finding.drivers[0]
        counts[driver] = counts.get(driver, 0) + 1
        name = driver if counts[driver] == 1 else f"{driver}-{counts[driver]}"
        deadline_s = max(_USUAL.deadline_s, catalogue.entry(driver).deadline_s)
        settings = InstrumentSettings(
            name, driver, finding.bus, finding.address, max(interval_s, deadline_s), deadline_s
        )
        named.append((settings, finding))
    return named


def _picked(
    named: Sequence[tuple[InstrumentSettings, Finding]], names: Sequence[str]
) -> tuple[InstrumentSettings, ...]:
    by_name = {settings.name: settings for settings, _ in named}
    if missing := [name for name in names if name not in by_name]:
        raise FixConfig(f"--instruments: {missing[0]!r} was not found; there are {', '.join(by_name)}.")
    return tuple(by_name[name] for name in dict.fromkeys(names))


def _told_apart(settings: InstrumentSettings, finding: Finding, person: Person) -> InstrumentSettings:
    if len(finding.drivers) == 1:
        return settings
    question = f"It may be {' or '.join(finding.drivers)}, they cannot be told apart. Which is it?"
    while (driver := person.says(question, finding.drivers[0], "--instruments")) not in finding.drivers:
        person.tell(f"{driver!r} is none of them.")
    return replace(settings, driver=driver, name=settings.name.replace(settings.driver, driver, 1))


def _renamed(settings: InstrumentSettings, taken: set[str], person: Person) -> InstrumentSettings:
    while True:
        name = person.says("Its name in every reading", settings.name, "--instruments")
        try:
            if name in taken:
                raise ValueError(f"another instrument is called {name}")
            return replace(settings, name=name)
        except ValueError as error:
            person.tell(f"{error}.")


def _model(finding: Finding) -> str:
    identity = finding.identity
    if identity is None:
        return f"A part that speaks like {finding.drivers[0]}"
    return f"{identity.model} {identity.serial}".rstrip()
