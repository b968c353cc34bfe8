"""Checks of the instruments on simulated parts: chips at the wire, and a real pseudo-terminal."""

from __future__ import annotations

import threading

import pytest

from agent import testread
from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.settings import InstrumentSettings
from drivers.errors import RetryLater
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld
from provisioning import checks_instruments
from provisioning import checks_machine as machine
from provisioning.checks import FAIL, PASS, SKIPPED, WARN
from provisioning.checks_instruments import instrument
from tests.doctor_parts import Patient


@pytest.fixture
def patient(tmp_path):
    one = Patient(tmp_path)
    yield one
    one.buses.close()


def test_an_instrument_that_answers_passes_with_its_values_and_units(patient):
    line = patient.examine()["bme280-76"]
    assert line.verdict is PASS
    assert line.found.startswith("BME280 ")
    assert all(unit in line.found for unit in ("Cel", "Pa", "%RH"))


def test_an_address_where_nothing_answers_fails(patient):
    patient.configure("0x76", "0x77")  # the simulated bus was wired before
    line = patient.examine()["bme280-76"]
    assert (line.verdict, "Nothing answers at 0x77" in line.found) == (FAIL, True), line


def test_an_instrument_on_a_bus_that_is_not_there_is_skipped_and_names_the_bus(patient):
    (patient.folder / "dev/i2c-1").unlink()
    line = patient.examine()["bme280-76"]
    assert (line.verdict, "`bus i2c:1`" in line.found) == (SKIPPED, True)


def test_an_instrument_that_is_warming_up_is_a_warning(patient, monkeypatch):
    def warming_up(*_):
        raise RetryLater("It is warming up: 20 s left.", 20.0)

    monkeypatch.setattr(testread, "read", warming_up)
    finding = instrument(patient.settings.instrument[0], "i2c:1", patient.buses, patient.clock, {})
    assert (finding.verdict, "20 s left" in finding.found) == (WARN, True)


def test_one_that_hangs_costs_its_deadline_and_the_others_are_read(patient, monkeypatch):
    more = patient.config.read_text().replace('name = "bme280-76"', 'name = "hangs"').partition("[proof]")[0]
    patient.configure("[proof]", more[more.index("[[instrument]]") :] + "[proof]")
    hung, read = threading.Event(), testread.read

    def some_hang(settings, *rest):
        if settings.name == "hangs":
            hung.wait()
        return read(settings, *rest)

    monkeypatch.setattr(testread, "read", some_hang)
    monkeypatch.setattr(checks_instruments, "deadline_s", lambda item: 0.3 if item.name == "hangs" else 20.0)
    lines = patient.examine()
    hung.set()
    assert (lines["hangs"].verdict, lines["bme280-76"].verdict) == (FAIL, PASS)
    assert lines["key"].verdict is PASS


@pytest.fixture
def meter(patient):
    """An energy meter on a real tty; the patient's only instrument, read through the machine's own buses."""
    clock = SystemClock()
    item = InstrumentSettings("meter", "sdm120", "serial:/dev/serial/by-id/usb-meter", deadline_s=2.0)
    simulated = SimulatedBuses([item], ClimateWorld(seed=1), clock)
    simulated.get(item.bus)
    line = simulated.lines[item.bus]
    text = patient.config.read_text()
    start, end = text.index("[[instrument]]"), text.index("[proof]")
    table = f'[[instrument]]\nname = "meter"\ndriver = "sdm120"\nbus = "serial:{line.path}"\n\n'
    patient.config.write_text(text[:start] + table + text[end:])
    patient.buses, virtual = HardwareBuses(clock), patient.buses
    yield line
    virtual.close()
    simulated.close()


def test_a_serial_instrument_on_a_real_tty_passes(patient, meter):
    line = patient.examine()["meter"]
    assert (line.verdict, "voltage" in line.found) == (PASS, True), line


def test_an_unplugged_instrument_fails_at_its_bus(patient, meter):
    meter.unplug()
    bus = machine.bus(f"serial:{meter.path}", patient.machine)
    assert (bus.verdict, "Plug it in" in bus.to_do) == (FAIL, True)
    assert patient.examine()["meter"].verdict is SKIPPED


def test_a_dead_part_on_a_living_line_fails(patient, meter):
    meter.part.heard = lambda _data: b""
    line = patient.examine()["meter"]
    assert (line.verdict, "No answer from an SDM120" in line.found) == (FAIL, True), line
