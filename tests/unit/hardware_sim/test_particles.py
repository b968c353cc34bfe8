"""The synthetic climate's dust, and its way to the drivers through the simulated buses."""

from __future__ import annotations

import contextlib

import pytest

from agent.settings import InstrumentSettings
from drivers import catalogue
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.worlds import ClimateWorld

HOUR_NS = 3600 * 10**9


def test_finer_dust_is_part_of_coarser_and_a_town_is_neither_clean_nor_deadly():
    for seed in range(5):
        for hour in range(24 * 20):
            truth = ClimateWorld(seed).at(hour * HOUR_NS)
            assert 0.5 < truth["pm1_ugm3"] < truth["pm2p5_ugm3"] < truth["pm10_ugm3"] < 150.0


@pytest.mark.parametrize("name", ["pms5003", "pms7003", "sds011", "sps30"])
def test_a_dust_sensor_of_the_catalogue_reads_the_world_on_its_simulated_bus(name):
    clock, world = PacedClock(0, 1_700_000_000 * 10**9), ClimateWorld(seed=4)
    settings = InstrumentSettings(name=name, driver=name, bus="serial:/dev/serial/by-id/usb-dust-port0")
    with contextlib.closing(SimulatedBuses([settings], world, clock)) as buses:
        instrument = catalogue.create(name, buses.get(settings.bus), None, clock)
        instrument.open()
        clock.wait(60.0)
        sample = instrument.read(3.0)
        truth = world.at(clock.boottime_ns())
        instrument.close()
    names = [quantity.name.replace(".", "p") + "_ugm3" for quantity in instrument.quantities]
    assert sample.values == pytest.approx([truth[name] for name in names], abs=1.0)
    assert len(sample.raw) <= 64
