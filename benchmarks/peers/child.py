"""A peer's process: `python -m benchmarks.peers.child agent|naive|mqtt_io COUNTER …`.

- `agent`: the daemon, its virtual BME280 measuring the counter: a conversion is a reading.
  What its journal confirmed is written down beside the counter.
- `naive`: the script of `benchmarks.naive`; its sensor object gives the counter, no chip behind it.
- `mqtt_io`: its own command line, with the folder of our sensor module added to where it looks for them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import counter
from benchmarks.peers.counter import Counter


def agent(path: Path, report: str, settings_file: str) -> None:
    from benchmarks import child
    from hardware_sim.parts.bme280 import BME280
    from hardware_sim.parts.bme280_physics import Physics, Words

    source = Counter(path)

    class Constant:
        def at(self, _boottime_ns: int) -> dict[str, float]:
            pressure = counter.pressure_Pa(source.now)
            return {"temperature_degC": 20.0, "humidity_pctRH": 50.0, "pressure_Pa": pressure}

    class Counting(Physics):
        def words(self, boottime_ns: int, temperature_bits: int, pressure_bits: int) -> Words | None:
            source.next()
            return super().words(boottime_ns, temperature_bits, pressure_bits)

    _witness(path.with_name("kept"))
    child.agent(Path(report), Path(settings_file), lambda clock: BME280(Counting(Constant()), clock))


def _witness(path: Path) -> None:
    """Write down each reading once `append` has returned: the moment from which it must not be lost."""
    from agent.keeper import Keeper
    from agent.sample import Captured

    append, fd = Keeper.append, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def witnessed(keeper: Keeper, sample: Captured) -> None:
        append(keeper, sample)
        (pressure,) = (measured.value for measured in sample.values if measured.quantity == "pressure")
        os.write(fd, b"%d\n" % counter.number_of(float(pressure)))

    Keeper.append = witnessed  # type: ignore[method-assign]


def naive(path: Path, port: str) -> None:
    from benchmarks import naive as script

    source = Counter(path)

    class Sensor:
        temperature, relative_humidity = 20.0, 50.0

        def __init__(self, _i2c: Any, address: int) -> None:
            pass

        @property
        def pressure(self) -> float:
            return counter.pressure_Pa(source.next()) / 100

    script.Adafruit_BME280_I2C = Sensor  # type: ignore[attr-defined,misc] # imported there
    script.run(None, "127.0.0.1", int(port), 0.1)


def mqtt_io(path: Path, config: str) -> None:
    from mqtt_io import __main__ as program  # type: ignore[import-not-found]
    from mqtt_io.modules import sensor  # type: ignore[import-not-found]

    os.environ["PEER_COUNTER"] = str(path)
    sensor.__path__.append(str(Path(__file__).with_name("mqtt_io_modules")))
    sys.argv = ["mqtt_io", config]
    program.main()


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    {"agent": agent, "naive": naive, "mqtt_io": mqtt_io}[what](Path(path), *rest)
