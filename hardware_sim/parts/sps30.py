"""Virtual Sensirion SPS30, seen from its UART pins.

Reference: Sensirion "Datasheet SPS30" V1.0 (March 2020); § below are its sections. Written from it, not from
any driver.

- SHDLC (§5.2): `7E`, address 0, command, length, data, checksum, `7E`; answers have a state byte before the
  length. 7E, 7D, 11 and 13 are stuffed; the checksum is the inverted sum. A damaged request is not answered.
- Idle after power-up. Measuring, there are new values every second; a read takes them, and is answered with
  no data until there are others (§5.3.3). Commands out of their state are answered with 0x43.
- Known commands: start (00), stop (01), read (03), device information (D0), status register (D2), reset (D3).
- State bit 7 says that an error flag is set in the status register.
"""

from __future__ import annotations

import struct

from drivers.contract import Clock
from hardware_sim.parts.dust import Air, World

_MARK = b"\x7e"
_STUFF = ((b"\x7d", b"\x7d\x5d"), (b"\x7e", b"\x7d\x5e"), (b"\x11", b"\x7d\x31"), (b"\x13", b"\x7d\x33"))
_WRONG_LENGTH, _UNKNOWN, _BAD_PARAMETER, _NOT_NOW = 0x01, 0x02, 0x04, 0x43
_ERRORS = 1 << 5 | 1 << 4  # laser, fan
_INTERVAL_NS = 10**9
_FLOATS, _INTEGERS = 3, 5


class SPS30:
    """One part in `world`. `status` is its status register, for faults."""

    def __init__(
        self, world: World, clock: Clock, serial: str = "6B7E11D50C0A4F13", product: str = "00080000"
    ) -> None:
        self._clock = clock
        self._air = Air(world, clock.boottime_ns())
        self.serial, self.product = serial, product
        self.status = 0
        self._had_power = True
        self._heard = b""
        self._format: int | None = None
        self._began_ns = self._given = 0

    def heard(self, data: bytes) -> bytes:
        powered = self._air.powered(self._clock.boottime_ns())
        if powered and not self._had_power:
            self._reset()
        self._had_power = powered
        if not powered:
            return b""
        *pieces, self._heard = (self._heard + data)[-512:].split(_MARK)
        return b"".join(self._answered(piece) for piece in pieces if piece)

    def due(self) -> bytes:
        return b""

    def _answered(self, stuffed: bytes) -> bytes:
        body = stuffed
        for plain, replaced in reversed(_STUFF):
            body = body.replace(replaced, plain)
        if len(body) < 4 or body[0] != 0 or sum(body) & 0xFF != 0xFF:
            return b""
        command, data = body[1], body[3:-1]
        state, answer = (_WRONG_LENGTH, b"") if body[2] != len(data) else self._obey(command, data)
        state |= 0x80 * (self.status & _ERRORS != 0)
        content = bytes([0, command, state, len(answer)]) + answer
        content += bytes([~sum(content) & 0xFF])
        for plain, replaced in _STUFF:
            content = content.replace(plain, replaced)
        return _MARK + content + _MARK

    def _obey(self, command: int, data: bytes) -> tuple[int, bytes]:
        """State and data of the answer."""
        now_ns = self._clock.boottime_ns()
        measuring = self._format is not None
        match command:
            case 0x00 if len(data) == 2 and data[0] == 1 and data[1] in (_FLOATS, _INTEGERS):
                if measuring:
                    return _NOT_NOW, b""
                self._format, self._began_ns, self._given = data[1], now_ns, 0
                self._air.blow(now_ns)
            case 0x01 if not data:
                self._format = None
                return (0 if measuring else _NOT_NOW), b""
            case 0x03 if not data:
                return self._measured(now_ns) if measuring else (_NOT_NOW, b"")
            case 0xD0 if data in (b"\x00", b"\x03"):
                return 0, (self.product if data == b"\x00" else self.serial).encode() + b"\0"
            case 0xD2 if len(data) == 1:
                register = self.status.to_bytes(4, "big") + b"\0"
                self.status = 0 if data[0] else self.status
                return 0, register
            case 0xD3 if not data:
                self._reset()
            case 0x00 | 0x01 | 0x03 | 0xD0 | 0xD2 | 0xD3:
                return _BAD_PARAMETER, b""
            case _:
                return _UNKNOWN, b""
        return 0, b""

    def _measured(self, now_ns: int) -> tuple[int, bytes]:
        interval = (now_ns - self._began_ns) // _INTERVAL_NS
        if interval <= self._given:
            return 0, b""
        self._given = interval
        pm1, pm2p5, pm10 = self._air.ugm3(self._began_ns + interval * _INTERVAL_NS)
        pm4 = pm2p5 + 0.7 * (pm10 - pm2p5)
        numbers = (5.4 * pm1, 6.4 * pm1, 6.5 * pm2p5, 6.5 * pm4, 6.5 * pm10)
        values = (pm1, pm2p5, pm4, pm10, *numbers, 0.7)
        if self._format == _INTEGERS:
            return 0, struct.pack(">10H", *(min(round(value), 0xFFFF) for value in (*values[:9], 700)))
        return 0, struct.pack(">10f", *values)

    def _reset(self) -> None:
        self._format = None
        self._began_ns = self._given = 0
        self._heard = b""
        self.status = 0
