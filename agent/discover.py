"""`discover`: which instruments there are, found without changing anything in any of them.

- Nothing is written to what cannot be named. I2C addresses are read (one byte each), and a part's own
  question is asked at its own addresses only: Sensirion's commands at 0x61, 0x62 and 0x44 to 0x46, Bosch's
  chip id at 0x76 and 0x77. Those of the SHT4x and Bosch's are one byte, which parts with registers (INA219,
  SHT3x and other neighbours) take for a register's number: it changes nothing in them. A TCA9548A multiplexer
  set to 0x76 or 0x77 would take it as a choice of channels. At 0x40 the HDC1080's device id, 0xFF, is asked
  first: a register's number to INA219, PCA9685 and HDC2080, no command of Si7021, HTU21D and SHT2x, whose
  reset is the 0xFE that only follows the right answer.
- 0x69 is never touched: a mere read there may lock clock chips (i2cdetect(8), option -r). An address that a
  kernel driver holds is not asked.
- Serial lines are listened to, at each line speed at which a known part speaks by itself. Only with `ask` are
  those that said nothing known asked, too: the questions of all known parts in turn, never a setting. Opening
  a line raises its control lines: some boards restart at that.
- Every place is searched by a thread of its own. One that hangs is named and left behind.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.buses import Buses
from agent.errors import AgentError
from drivers import catalogue, onewire
from drivers.contract import Clock, Identity
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.framing import Frames, Voice
from drivers.i2c import NoAnswer, SharedBus
from drivers.onewire import OneWire
from drivers.serial_line import LineSettings, SerialLine

LISTEN_S = 3.0
PATIENCE_S = 60.0  # all parts' questions to one silent line
_ADDRESSES = tuple(address for address in range(0x08, 0x78) if address != 0x69)
_TRANSFER_S = 1.0
_MOST_HANGS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something at a place. `drivers`: those that would read it, the likeliest first; where there are none,
    `remark` says what is known of it."""

    bus: str
    address: str = ""
    drivers: tuple[str, ...] = ()
    identity: Identity | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What every place's search is given."""

    buses: Buses
    clock: Clock
    listen_s: float = LISTEN_S
    ask: bool = False


def places(dev: Path = Path("/dev"), one_wire: Path = onewire.DEVICES) -> list[str]:
    """The machine's buses as a configuration names them."""
    numbers = [path.name.removeprefix("i2c-") for path in dev.glob("i2c-*")]
    found = [f"i2c:{number}" for number in sorted((n for n in numbers if n.isdecimal()), key=int)]
    found += [f"serial:{path}" for path in sorted((dev / "serial" / "by-id").glob("*"))]
    return found + (["w1:"] if one_wire.is_dir() else [])


def discover(where: Sequence[str], search: Search, patience_s: float = PATIENCE_S) -> list[Finding]:
    """What is at these places, in their order. Never raises; waits at most `patience_s` of real time."""
    answers: queue.SimpleQueue[tuple[str, list[Finding]]] = queue.SimpleQueue()
    for bus in where:
        work = threading.Thread(
            target=lambda bus=bus: answers.put((bus, _searched(bus, search))), name=f"find {bus}", daemon=True
        )
        work.start()
    found: dict[str, list[Finding]] = {}
    until_s = time.monotonic() + patience_s
    while len(found) < len(set(where)):
        try:
            bus, findings = answers.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            break
        found[bus] = findings
    late = f"did not answer within {patience_s:g} s: something there hangs; unplug it or cut its power."
    return [
        finding for bus in dict.fromkeys(where) for finding in found.get(bus, [Finding(bus, remark=late)])
    ]


def _searched(bus: str, search: Search) -> list[Finding]:
    findings: list[Finding] = []
    try:
        match search.buses.get(bus):
            case SharedBus() as wire:
                findings.extend(_on_i2c(bus, wire, search))
            case SerialLine() as line:
                findings.append(_on_serial(bus, line, search))
            case OneWire() as folder:
                findings.extend(_on_one_wire(bus, folder, search))
    except (DriverError, AgentError) as error:
        findings.append(Finding(bus, remark=error.sentence))
    except Exception as error:  # noqa: BLE001 a part of any make may confuse a library; the others are searched
        findings.append(Finding(bus, remark=f"the search failed ({error!r}): please report this."))
    return findings


# I2C


def _on_i2c(bus: str, wire: SharedBus, search: Search) -> Iterator[Finding]:
    asked = {
        address: name for name, part in catalogue.on("i2c").items() if part.asks for address in part.addresses
    }
    hangs = 0
    for address in _ADDRESSES:
        try:
            answers = _answers_a_read(wire, address)
            if address in asked:  # some acknowledge their own commands only
                yield _asked(asked[address], bus, f"0x{address:02x}", search)
            elif answers:
                yield Finding(
                    bus, f"0x{address:02x}", remark="answers; no driver here reads a part of this address."
                )
        except NoAnswer:
            continue
        except NeedsHuman as error:
            yield Finding(bus, remark=error.sentence)
            return
        except DriverError as error:
            yield Finding(bus, f"0x{address:02x}", remark=error.sentence)
            hangs += isinstance(error, InstrumentGone)
            if hangs == _MOST_HANGS:
                yield Finding(
                    bus, remark=f"hung {hangs} times: the addresses above 0x{address:02x} are not searched."
                )
                return


def _answers_a_read(wire: SharedBus, address: int) -> bool:
    """Whether a one-byte read is acknowledged. Raises what says that the address is not to be asked."""
    try:
        with wire.transaction(address, _TRANSFER_S) as i2c:
            i2c.readfrom_into(address, bytearray(1))
        return True
    except NoAnswer:
        return False
    except DriverError as error:
        number = getattr(error.__cause__, "errno", None)
        if number == errno.EBUSY:
            raise InstrumentBusy(
                f"0x{address:02x} is held by a kernel driver: see ls /sys/bus/i2c/devices."
            ) from None
        if number in (errno.EIO, errno.EAGAIN):
            return False  # how some adapters say that nobody is there
        raise


class InstrumentBusy(DriverError):
    """Somebody else has it."""


# Serial


def _on_serial(bus: str, line: SerialLine, search: Search) -> Finding:
    parts = catalogue.on("serial")
    spoken: dict[LineSettings, list[tuple[str, Voice]]] = {}
    for name in parts:
        for voice in catalogue.voices(name):
            spoken.setdefault(voice.line, []).append((name, voice))
    heard = 0
    for settings, voices in spoken.items():
        names, count = _listened(line, settings, voices, search)
        if names:
            return Finding(bus, drivers=names, remark="recognised by what it says by itself")
        heard += count
    at = ", ".join(sorted({str(settings.baudrate) for settings in spoken}, key=int))
    what = f"said {heard} bytes that no driver here knows" if heard else "was silent"
    remark = f"{what} while listened to for {search.listen_s:g} s at each of {at} baud"
    if not search.ask:
        return Finding(bus, remark=f"{remark}: a part that waits to be asked? Try --ask.")
    nobody = Finding(
        bus, remark=f"{remark}, and answered nobody's question (of Modbus units, only 1 was asked)."
    )
    return _first_asked(bus, search) or nobody


def _listened(
    line: SerialLine, settings: LineSettings, voices: list[tuple[str, Voice]], search: Search
) -> tuple[tuple[str, ...], int]:
    """Names of the drivers whose part was heard, and how many bytes were."""
    streams = [(name, voice, Frames(voice.form)) for name, voice in voices]
    until_ns = search.clock.boottime_ns() + round(search.listen_s * 1e9)
    count = 0
    with line.transaction(settings, search.listen_s + 1.0) as wire:
        wire.forget()
        while (left_ns := until_ns - search.clock.boottime_ns()) > 0:
            data = wire.heard(left_ns / 1e9)
            count += len(data)
            names = tuple(name for name, voice, frames in streams if frames.feed(voice.plain(data)))
            if names:
                return names, count
    return (), count


def _first_asked(bus: str, search: Search) -> Finding | None:
    """Who answers first; with it those that its driver's siblings cannot tell from it."""
    parts = {name: part for name, part in catalogue.on("serial").items() if part.asks}
    found: Finding | None = None
    module = ""
    for name, part in parts.items():
        if found is not None and part.module != module:
            continue
        address = str(part.addresses[0]) if part.addresses else ""
        answer = _asked_over_a_line(name, bus, address, search)
        if found is None and answer is not None:
            found, module = answer, part.module
        elif found is not None and answer is not None:
            found = replace(found, drivers=found.drivers + answer.drivers)
    return found


def _asked_over_a_line(name: str, bus: str, address: str, search: Search) -> Finding | None:
    """Asked again where the answer was disturbed: another part's question may have stood before this one."""
    for _ in range(2):
        try:
            answer = _asked(name, bus, address, search)
        except RetryNow:
            continue
        except DriverError:
            return None
        return answer if answer.drivers else None
    return None


# 1-Wire


def _on_one_wire(bus: str, folder: OneWire, search: Search) -> Iterator[Finding]:
    for address in folder.addresses():
        for name in catalogue.on("w1"):
            finding = _asked(name, bus, address, search)
            if finding.drivers:
                break
        yield finding


def _asked(name: str, bus: str, address: str, search: Search) -> Finding:
    """What a part says to one driver's question. Raises `DriverError` where it does not say who it is."""
    part = catalogue.entry(name)
    instrument = catalogue.create(
        name, search.buses.get(bus), catalogue.address_of(name, address), search.clock
    )
    try:
        identity: Identity = getattr(instrument, part.asks)()
    except NeedsHuman as error:
        return Finding(bus, address, remark=error.sentence)
    finally:
        instrument.close()
    return Finding(bus, address, (name,), identity)
