"""The shared bus: its lock, its doorway, its catalogue."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from drivers import catalogue
from drivers.bme280 import BME280
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.i2c import SharedBus, open_bus
from hardware_sim.bus import VirtualI2C
from hardware_sim.clock import PacedClock
from hardware_sim.parts.bme280 import BME280 as Chip
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM
from hardware_sim.worlds import ClimateWorld


class _Strict(VirtualI2C):
    """Notices two users at once, which a bus without a real lock would let through."""

    def __init__(self, *args):
        super().__init__(*args)
        self.busy = threading.Lock()

    def _transact(self, *args):
        assert self.busy.acquire(blocking=False), "two threads on the wire at once"
        try:
            return super()._transact(*args)
        finally:
            self.busy.release()


def test_two_instruments_on_one_bus_are_read_from_two_threads():
    clock = PacedClock(10**9, 0)
    trims = {0x76: DEFAULT_TRIM, 0x77: bytes([DEFAULT_TRIM[0] ^ 1]) + DEFAULT_TRIM[1:]}
    world = ClimateWorld(seed=7)
    wire = _Strict({address: Chip.in_world(world, clock, trim) for address, trim in trims.items()}, clock)
    bus = SharedBus(wire, "I2C bus 1")
    failures: list[BaseException] = []
    samples: dict[int, int] = dict.fromkeys(trims, 0)

    def run(address):
        try:
            driver = BME280(bus, address, clock)
            assert driver.open().evidence == trims[address]
            for _ in range(100):
                # The other thread moves the common virtual time too, so the deadline is generous.
                values = driver.read(60.0).values
                assert values[0] == pytest.approx(world.at(clock.boottime_ns())["temperature_degC"], abs=0.2)
                samples[address] += 1
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(address,)) for address in trims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(switch)
    assert failures == []
    assert samples == {0x76: 100, 0x77: 100}


def test_a_bus_held_by_another_is_not_waited_for_forever():
    bus = SharedBus(VirtualI2C({}, PacedClock(0, 0)), "I2C bus 1")
    with (
        bus.transaction(0x76, 1.0),
        pytest.raises(InstrumentGone, match="held by another instrument"),
        bus.transaction(0x77, 0.0),
    ):
        pass
    with bus.transaction(0x77, 0.0):
        pass  # free again


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EREMOTEIO, InstrumentGone),
        (errno.ENXIO, InstrumentGone),
        (errno.ETIMEDOUT, InstrumentGone),
        (errno.ENODEV, InstrumentGone),
        (errno.EIO, RetryNow),
        (errno.EAGAIN, RetryNow),
        (errno.EBUSY, RetryNow),
        (errno.EACCES, NeedsHuman),
        (errno.EOPNOTSUPP, NeedsHuman),
    ],
)
def test_what_linux_reports_leaves_as_a_driver_error_and_frees_the_bus(number, error):
    bus = SharedBus(VirtualI2C({}, PacedClock(0, 0)), "I2C bus 1")
    for _ in range(2):
        with pytest.raises(error, match="0x76 on I2C bus 1"), bus.transaction(0x76, 0.1):
            raise OSError(number, os.strerror(number))


def test_scan_finds_what_answers():
    clock = PacedClock(0, 0)
    bus = SharedBus(VirtualI2C({0x77: Chip.in_world(ClimateWorld(1), clock)}, clock), "I2C bus 1")
    assert bus.scan() == [0x77]


def test_a_bus_that_does_not_exist_is_for_a_human_with_what_to_do():
    with pytest.raises(NeedsHuman, match=r"I2C bus 9999 .*raspi-config") as caught:
        open_bus(9999)
    assert isinstance(caught.value, DriverError)


def test_an_unknown_driver_or_address_is_refused_with_what_exists():
    clock = PacedClock(0, 0)
    bus = SharedBus(VirtualI2C({}, clock), "I2C bus 1")
    with pytest.raises(NeedsHuman, match=r"no driver 'bme281': use one of .*bme280"):
        catalogue.create("bme281", bus, None, clock)
    with pytest.raises(NeedsHuman, match="0x76, 0x77"):
        catalogue.create("bme280", bus, 0x40, clock)


@pytest.mark.parametrize("name", catalogue.known())
def test_every_catalogue_entry_can_be_made_for_each_of_its_addresses(name):
    clock = PacedClock(0, 0)
    bus = SharedBus(VirtualI2C({}, clock), "I2C bus 1")
    for address in (None, *catalogue.entry(name).addresses):
        instrument = catalogue.create(name, bus, address, clock)
        assert len({quantity.name for quantity in instrument.quantities}) == len(instrument.quantities) > 0


def test_no_hardware_library_is_imported_before_a_bus_is_opened():
    program = (
        "import sys, drivers.catalogue as c, drivers.bme280, drivers.i2c; c.known();"
        "print([m for m in sys.modules if m.startswith(('adafruit', 'busio', 'board', 'digitalio'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
