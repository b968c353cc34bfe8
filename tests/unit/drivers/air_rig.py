"""A part for temperature and humidity on a virtual I2C bus, and what every driver of such a part must do."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.contract import Instrument, Sample
from drivers.errors import InstrumentGone, RetryNow
from drivers.i2c import SharedBus
from hardware_sim.bus import BitFlip, Hang, Nack, ShortRead, VirtualI2C
from hardware_sim.clock import PacedClock

S = 10**9


class Air:
    """In ten seconds 5 °C and 5 %RH, or what it is set to: an old value cannot pass for now."""

    power = True
    fixed: dict[str, float] | None = None

    def at(self, boottime_ns: int) -> dict[str, float] | None:
        x = boottime_ns / 2e9 % 30.0
        ramp = {"temperature_degC": 5.0 + x, "humidity_pctRH": 30.0 + x}
        return (self.fixed or ramp) if self.power else None


@dataclass
class Rig:
    clock: PacedClock
    world: Air
    chip: Any
    wire: VirtualI2C
    driver: Instrument

    def disturb(self, index: int, fault: Any) -> None:
        """The transaction that is `index` from now."""
        at = self.wire.transactions + index
        self.wire.fault = lambda i, operation, address: fault if i == at else None

    def is_of_now(self, sample: Sample) -> bool:
        true = self.world.at(self.clock.boottime_ns())
        assert true is not None, "it has no power"
        wanted = (true["temperature_degC"], true["humidity_pctRH"])
        return sample.flags == 0 and sample.values == pytest.approx(wanted, abs=0.03)


def make_rig(chip: Any, driver: Any, address: int, fixed: dict[str, float], powered_s: float = 0.0) -> Rig:
    """`powered_s`: so long ago it got its power."""
    clock, world = PacedClock(60 * S, 1_700_000_000 * S), Air()
    world.fixed = fixed or None
    part = chip(world, clock)
    clock.wait(powered_s)
    wire = VirtualI2C({address: part}, clock)
    return Rig(clock, world, part, wire, driver(SharedBus(wire, "I2C bus 1"), address, clock))


def faults(bits: int) -> Sequence[Any]:
    """`bits`: of the longest answer."""
    return [Nack(), Hang(5.0), Hang(5.0, then_done=True), ShortRead(), *map(BitFlip, range(bits))]


# What must hold


def gone_without_power_and_back_at_once(rig: Rig, where: str) -> None:
    rig.driver.open()
    rig.world.power = False
    for act in (lambda: rig.driver.read(2.0), rig.driver.open):
        with pytest.raises(InstrumentGone, match=f"Nothing answers at {where}: check power"):
            act()
    rig.world.power = True
    rig.driver.open()
    assert rig.is_of_now(rig.driver.read(2.0))


def what_is_not_open_says_so(rig: Rig) -> None:
    for _ in range(2):
        with pytest.raises(InstrumentGone, match="is not open: open it"):
            rig.driver.read(1.0)
        rig.driver.open()
        rig.driver.close()
        rig.driver.close()


def a_short_deadline_ends_at_it(rig: Rig, deadline_s: float) -> None:
    rig.driver.open()
    began_ns = rig.clock.boottime_ns()
    with pytest.raises(InstrumentGone, match=f"did not finish within {deadline_s:g} s"):
        rig.driver.read(deadline_s)
    assert rig.clock.boottime_ns() - began_ns <= (deadline_s + 0.001) * S


def disturbed_opens(make: Callable[[], Rig], opens: int, faults: Sequence[Any]) -> Counter[str]:
    """Each fault in each of the `opens` transactions is harmless or noticed, and the next open is well."""
    identity = make().driver.open()
    counts: Counter[str] = Counter()
    for index, fault in itertools.product(range(opens), faults):
        rig = make()
        rig.disturb(index, fault)
        try:
            opened = rig.driver.open()
            counts["harmless"] += 1
        except (RetryNow, InstrumentGone) as error:  # never NeedsHuman for what passes
            counts[type(error).__name__] += 1
            rig.clock.wait(0.5)
            opened = rig.driver.open()
        assert opened == identity, (index, fault)
        assert rig.is_of_now(rig.driver.read(2.0)), (index, fault)
    return counts


def one_missed_acknowledge_is_retried_and_silence_is_gone(rig: Rig, reads: int, where: str) -> None:
    rig.driver.open()
    for index in range(reads):
        rig.disturb(index, Nack())
        with pytest.raises(RetryNow, match="answers again"):
            rig.driver.read(2.0)
    rig.wire.fault = lambda i, operation, address: Nack()
    with pytest.raises(InstrumentGone, match=f"Nothing answers at {where}"):
        rig.driver.read(2.0)
