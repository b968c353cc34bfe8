"""The synthetic household's mains, and their way to the meters' drivers through the simulated buses."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest

from agent.settings import InstrumentSettings
from drivers import catalogue
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.worlds import ClimateWorld

LINE = "serial:/dev/serial/by-id/usb-rs485-port0"
LOOK = """
import json, sys
from agent import lean
lean.prepare()
import agent.daemon
import drivers.dsmr
before = "pymodbus" in sys.modules
import drivers.eastron_sdm
from drivers import modbus
reply = bytes.fromhex("01041408d1006c000000f400000026000001f4006400005134")
_, answer = modbus._FRAMER.handleFrame(reply, 1, 0)
modbus._FRAMER.buildFrame(modbus.ReadInputRegistersRequest(address=0, count=10, dev_id=1))
print(json.dumps([before, "asyncio.base_events" in sys.modules, answer.registers[0]]))
"""


def test_a_household_takes_power_from_mains_within_their_limits():
    for seed in range(5):
        for hour in range(24 * 20):
            truth = ClimateWorld(seed).at(hour * 3600 * 10**9)
            assert 0.0 < truth["power_W"] < truth["voltage_V"] * truth["current_A"] < 3_000.0
            assert 207.0 < truth["voltage_V"] < 253.0  # EN 50160: 230 V ± 10 %
            assert 49.8 < truth["frequency_Hz"] < 50.2


def test_meters_configured_on_one_line_read_the_world_each_under_its_unit_number():
    clock, world = PacedClock(0, 1_700_000_000 * 10**9), ClimateWorld(seed=4)
    wanted = [("sdm230", "1"), ("pzem-004t", "2"), ("sdm120", "247"), ("pzem-004t", "30")]
    settings = [
        InstrumentSettings(name=f"meter-{unit}", driver=driver, bus=LINE, address=unit)
        for driver, unit in wanted
    ]
    with contextlib.closing(SimulatedBuses(settings, world, clock)) as buses:
        for one in settings:
            address = catalogue.address_of(one.driver, one.address)
            instrument = catalogue.create(one.driver, buses.get(one.bus), address, clock)
            instrument.open()
            values = dict(
                zip((q.name for q in instrument.quantities), instrument.read(2.0).values, strict=True)
            )
            truth = world.at(clock.boottime_ns())
            assert values["power"] == pytest.approx(truth["power_W"], rel=0.01)
            assert values["frequency"] == pytest.approx(50.0, abs=0.1)


def test_a_smart_meter_of_the_catalogue_reads_the_world():
    clock, world = PacedClock(0, 1_700_000_000 * 10**9), ClimateWorld(seed=4)
    settings = InstrumentSettings(name="grid", driver="dsmr", bus="serial:/dev/serial/by-id/usb-p1-port0")
    with contextlib.closing(SimulatedBuses([settings], world, clock)) as buses:
        meter = catalogue.create("dsmr", buses.get(settings.bus), None, clock)
        meter.open()
        values = dict(zip((q.name for q in meter.quantities), meter.read(12.0).values, strict=True))
        truth = world.at(clock.boottime_ns())
    assert values["power-import"] == pytest.approx(truth["power_W"], rel=0.01)
    assert values["energy-import-t1"] == pytest.approx(truth["energy_kWh"], abs=0.01)
    assert values["voltage-l2"] is None  # one phase


def test_the_modbus_library_is_loaded_with_a_meter_only_and_wakes_nothing_that_the_daemon_put_off():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, False, 2257]
