"""Whole drivers of I2C parts against a chip with arbitrary contents; the bus itself does not fail."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from drivers import catalogue, sensirion
from drivers.i2c import SharedBus
from tests.fuzz.parts import Line, raw, steps


class Chip:
    """The only one on its bus; satisfies `drivers.i2c.I2CBus`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._asked = data, b"\0"

    def said(self, asked: bytes, length: int) -> bytes:
        """What it answers after `asked` was written: as it is in the bytes."""
        return self._data[:length].ljust(length, b"\0")

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        self._asked = bytes(buffer[start:end])

    def readfrom_into(
        self, address: int, buffer: bytearray, *, start: int = 0, end: int | None = None
    ) -> None:
        length = len(buffer[start:end])
        buffer[start:end] = self.said(self._asked, length)

    def writeto_then_readfrom(
        self,
        address: int,
        buffer_out: bytes,
        buffer_in: bytearray,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
    ) -> None:
        self.writeto(address, buffer_out, start=out_start, end=out_end)
        self.readfrom_into(address, buffer_in, start=in_start, end=in_end)

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def scan(self) -> list[int]:
        return []

    def deinit(self) -> None:
        pass


class Bosch(Chip):
    """Registers: a BME280's id, 33 bytes of trim, 8 of data; what is written is kept, conversions take no
    time. A last byte gives the settings that are found instead, as of a part that forgot them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        trim, burst = data[:33].ljust(33, b"\0"), data[33:41].ljust(8, b"\0")
        self._registers = bytearray(256)
        self._registers[0x88:0xA2], self._registers[0xE1:0xE8] = trim[:26], trim[26:]
        self._registers[0xD0], self._registers[0xF7:0xFF] = 0x60, burst
        self._found = data[41:42]

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        super().writeto(address, buffer, start=start, end=end)
        for register, value in zip(self._asked[::2], self._asked[1::2], strict=False):
            self._registers[register] = value & 0xFC if register == 0xF4 else value

    def said(self, asked: bytes, length: int) -> bytes:
        if self._found and asked[:1] == b"\xf2":
            return (self._found * length)[:length]
        return bytes(self._registers[asked[0] : asked[0] + length]).ljust(length, b"\0")


class Texas(Chip):
    """An HDC1080: right ids; data, serial number and settings are the bytes; what is written is kept."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        head, at_start = data[4:10].ljust(6, b"\0"), data[10:12] or b"\x10\0"
        self._words = {0xFB: head[:2], 0xFC: head[2:4], 0xFD: head[4:]}
        self._words |= {0x02: at_start, 0xFE: b"TI", 0xFF: b"\x10\x50"}

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        super().writeto(address, buffer, start=start, end=end)
        if self._asked[1:]:
            self._words[self._asked[0]] = self._asked[1:]

    def said(self, asked: bytes, length: int) -> bytes:
        return self._words.get(asked[0], self._data[:4])[:length].ljust(length, b"\0")


class Words(Chip):
    """Sensirion's: words with their CRC, from a place in the bytes that the command gives."""

    def said(self, asked: bytes, length: int) -> bytes:
        at = 3 * (asked[0] ^ asked[-1]) % 16  # what a driver asks for lies apart
        return words(self._data[2 * at :].ljust(length, b"\0"))[:length]


def words(data: bytes) -> bytes:
    pairs = (data[at : at + 2].ljust(2, b"\0") for at in range(0, len(data), 2))
    return b"".join(pair + bytes([sensirion.crc8(pair)]) for pair in pairs)


def driver(name: str, chip: Callable[[bytes], Chip]) -> Callable[[bytes], int]:
    """As `parts.driver`."""
    import_module(catalogue.entry(name).module)  # now, while imports are instrumented

    def run(data: bytes) -> int:
        clock = Line(b"", raw, speaks=False)
        return steps(catalogue.create(name, SharedBus(chip(data), "a bus"), None, clock))

    return run
