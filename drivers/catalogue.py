"""Which drivers there are and how to make one, by name.

- Asking what is known imports no driver; making one imports that driver and its libraries only.
- A driver not listed here does not exist for the node.
- Of each part it says how it can be recognised without changing anything, for `fieldproof-agent discover`.
- What an address is depends on the bus: 0x76 on I2C, a unit number on a shared serial line, a ROM code on
  1-Wire, nothing where an instrument has a line for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from drivers.contract import Clock, Instrument
from drivers.errors import NeedsHuman
from drivers.framing import Voice

BusKind = Literal["i2c", "serial", "w1"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One part: `module` has `factory(bus, address, clock)`; the first address is the usual one.
    No `addresses`: on a serial line there is none, on 1-Wire it is the part's ROM code.

    `asks` names the method that finds out who it is by asking only, nothing in the part is changed. `speaks`:
    the part says frames by itself, its module's `VOICES`. `deadline_s` is the shortest that a read needs."""

    module: str
    factory: str
    bus: BusKind
    summary: str
    addresses: tuple[int, ...] = ()
    asks: Literal["", "open", "recognise"] = ""
    speaks: bool = False
    deadline_s: float = 2.0


_UNITS = tuple(range(1, 248))  # MODBUS over Serial Line V1.02 §2.2

_ENTRIES = {
    "bme280": Entry(
        "drivers.bme280",
        "BME280",
        "i2c",
        "Bosch BME280: temperature, pressure, humidity",
        (0x76, 0x77),
        asks="recognise",
    ),
    "scd30": Entry(
        "drivers.scd30",
        "SCD30",
        "i2c",
        "Sensirion SCD30: CO2, temperature, humidity",
        (0x61,),
        asks="recognise",
    ),
    "scd41": Entry(
        "drivers.scd41",
        "SCD41",
        "i2c",
        "Sensirion SCD41: CO2, temperature, humidity",
        (0x62,),
        asks="recognise",
    ),
    "sht4x": Entry(
        "drivers.sht4x",
        "SHT4x",
        "i2c",
        "Sensirion SHT40, 41, 43, 45: temperature, humidity",
        (0x44, 0x45, 0x46),
        asks="open",
    ),
    "hdc1080": Entry(
        "drivers.hdc1080",
        "HDC1080",
        "i2c",
        "Texas Instruments HDC1080, HDC1050: temperature, humidity",
        (0x40,),
        asks="recognise",
    ),
    "ds18b20": Entry("drivers.ds18b20", "DS18B20", "w1", "Maxim DS18B20: temperature", asks="open"),
    "mhz19b": Entry("drivers.mhz19b", "MHZ19B", "serial", "Winsen MH-Z19B: CO2", asks="open"),
    "senseair-s8": Entry("drivers.senseair_s8", "SenseAirS8", "serial", "SenseAir S8: CO2", asks="open"),
    "gnss": Entry(
        "drivers.gnss",
        "GNSS",
        "serial",
        "GNSS receiver (NMEA, u-blox UBX): position",
        speaks=True,
        deadline_s=3.0,
    ),
    "pms5003": Entry(
        "drivers.pms5003",
        "PMS5003",
        "serial",
        "Plantower PMS5003: PM1, PM2.5, PM10",
        speaks=True,
        deadline_s=3.0,
    ),
    "pms7003": Entry(
        "drivers.pms5003",
        "PMS7003",
        "serial",
        "Plantower PMS7003: PM1, PM2.5, PM10",
        speaks=True,
        deadline_s=3.0,
    ),
    "sds011": Entry("drivers.sds011", "SDS011", "serial", "Nova SDS011: PM2.5, PM10", speaks=True),
    "sps30": Entry("drivers.sps30", "SPS30", "serial", "Sensirion SPS30: PM1, PM2.5, PM10", asks="recognise"),
    "ezo-ph": Entry("drivers.ezo", "ph", "serial", "Atlas Scientific EZO-pH: pH of water", asks="recognise"),
    "ezo-ec": Entry(
        "drivers.ezo", "ec", "serial", "Atlas Scientific EZO-EC: conductivity of water", asks="recognise"
    ),
    "ezo-do": Entry(
        "drivers.ezo", "do", "serial", "Atlas Scientific EZO-DO: oxygen in water", asks="recognise"
    ),
    "ezo-rtd": Entry(
        "drivers.ezo", "rtd", "serial", "Atlas Scientific EZO-RTD: temperature", asks="recognise"
    ),
    "gmc320": Entry(
        "drivers.gmc320", "GMC320", "serial", "GQ GMC-320: radiation, counts per minute", asks="recognise"
    ),
    "sdm120": Entry(
        "drivers.eastron_sdm",
        "SDM120",
        "serial",
        "Eastron SDM120: mains to 45 A (Modbus RTU)",
        _UNITS,
        asks="open",
    ),
    "sdm230": Entry(
        "drivers.eastron_sdm",
        "SDM230",
        "serial",
        "Eastron SDM230: mains to 100 A (Modbus RTU)",
        _UNITS,
        asks="open",
    ),
    "pzem-004t": Entry(
        "drivers.pzem004t",
        "PZEM004T",
        "serial",
        "Peacefair PZEM-004T V3: mains (Modbus RTU)",
        _UNITS,
        asks="open",
    ),
    "dsmr": Entry(
        "drivers.dsmr",
        "DSMR",
        "serial",
        "Smart meter with a P1 port (DSMR, e-MUCS)",
        speaks=True,
        deadline_s=12.0,
    ),
}


def on(bus: BusKind) -> dict[str, Entry]:
    """The entries of all parts that are read over this kind of bus."""
    return {name: part for name, part in _ENTRIES.items() if part.bus == bus}


def voices(name: str) -> tuple[Voice, ...]:
    """What a part says by itself; imports its driver. Nothing for one that speaks only when asked."""
    part = entry(name)
    said: tuple[Voice, ...] = import_module(part.module).VOICES if part.speaks else ()
    return said


def known() -> tuple[str, ...]:
    """Names of all drivers."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """The entry of one driver. Raises `NeedsHuman` for a name that is not known."""
    try:
        return _ENTRIES[name]
    except KeyError:
        raise NeedsHuman(f"There is no driver {name!r}: use one of {', '.join(known())}.") from None


def address_of(name: str, text: str) -> int | str | None:
    """`text` of a configuration as driver `name` wants it; empty is the usual one. Raises `NeedsHuman`."""
    part = entry(name)
    if part.bus == "w1":
        if not text:
            raise NeedsHuman(f"A {name} needs its ROM code as address: see ls /sys/bus/w1/devices.")
        return text
    if not part.addresses:
        if text:
            raise NeedsHuman(f"A {name} has its line for itself: remove the address {text!r}.")
        return None
    if not text:
        return part.addresses[0]
    try:
        address = int(text, 16 if part.bus == "i2c" else 10)
    except ValueError:
        example = f"0x{part.addresses[0]:02x}" if part.bus == "i2c" else str(part.addresses[0])
        raise NeedsHuman(f"The address {text!r} of a {name} is not like {example}.") from None
    if address not in part.addresses:
        raise NeedsHuman(f"A {name} is never at address {text}: use one of {_legal(part)}.")
    return address


def create(name: str, bus: object, address: int | str | None, clock: Clock) -> Instrument:
    """An unopened instrument on an open bus of the kind its entry names. Raises `NeedsHuman`."""
    part = entry(name)
    factory: Callable[..., Instrument] = getattr(import_module(part.module), part.factory)
    if address is None and part.addresses:
        address = part.addresses[0]
    if part.addresses and address not in part.addresses:
        raise NeedsHuman(f"A {name} is never at address {address}: use one of {_legal(part)}.")
    return factory(bus, address, clock)


def _legal(part: Entry) -> str:
    if part.bus == "i2c":
        return ", ".join(f"0x{address:02x}" for address in part.addresses)
    return f"{part.addresses[0]} to {part.addresses[-1]}"
