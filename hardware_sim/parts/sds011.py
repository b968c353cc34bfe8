"""Virtual Nova Fitness SDS011, seen from its serial pins.

Reference: Nova Fitness, "Laser Dust Sensor Control Protocol" V1.3 (2015-07-20); § below are its sections.
Written from it, not from any driver.

- A command is `AA B4`, 15 bytes of data ending with a device id (FF FF: all), their sum, `AB`; an answer is
  `AA C5` (data: `AA C0`), 6 bytes of data ending with the device id, their sum, `AB` (§1).
- Mode (§3.1), sleep (§3.4) and working period (§3.5) outlive a power failure. Device ids are set by §3.3.
- Active mode: a data frame every second; query mode: when asked. Asleep it hears only the command to work.
- A working period of n minutes: 30 s of work, a data frame, then silence to the end of the n minutes.
"""

from __future__ import annotations

from enum import IntEnum

from drivers.contract import Clock
from hardware_sim.parts.dust import Air, World

_COMMAND_START, _COMMAND_LENGTH, _TAIL = b"\xaa\xb4", 19, 0xAB
_DATA, _REPLY = 0xC0, 0xC5
_ALL = b"\xff\xff"
_SECOND_NS = 10**9
_WORK_NS, _MINUTE_NS = 30 * _SECOND_NS, 60 * _SECOND_NS


class Command(IntEnum):
    """First byte of a command's data."""

    MODE = 2
    QUERY = 4
    SET_ID = 5
    SLEEP = 6
    FIRMWARE = 7
    PERIOD = 8


class SDS011:
    """One part in `world`; `device` is its id, `firmware` year, month, day."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        device: bytes = b"\xa1\x60",
        firmware: tuple[int, int, int] = (18, 11, 16),
    ) -> None:
        self._clock = clock
        self._air = Air(world, clock.boottime_ns())
        self.device, self._firmware = device, bytes(firmware)
        self.query_mode, self.awake, self.period_min = False, True, 0
        self._heard = b""
        self._had_power = True
        self._began_ns = self._next_ns = clock.boottime_ns()
        self._begin()

    def heard(self, data: bytes) -> bytes:
        if not self._has_power():
            return b""
        self._heard = (self._heard + data)[-256:]
        answers = b""
        while (at := self._heard.find(_COMMAND_START)) >= 0 and len(self._heard) >= at + _COMMAND_LENGTH:
            command = self._heard[at : at + _COMMAND_LENGTH]
            self._heard = self._heard[at + _COMMAND_LENGTH :]
            whole = command[-1] == _TAIL and sum(command[2:17]) & 0xFF == command[17]
            if whole and command[15:17] in (_ALL, self.device):
                answers += self._obey(command[2:15])
        return answers

    def due(self) -> bytes:
        now_ns = self._clock.boottime_ns()
        if not self._has_power() or not self.awake or self.query_mode or now_ns < self._next_ns:
            return b""
        self._next_ns = now_ns + _SECOND_NS
        if self.period_min:
            passed = (now_ns - self._began_ns) // (self.period_min * _MINUTE_NS)
            self._next_ns = self._began_ns + (passed + 1) * self.period_min * _MINUTE_NS + _WORK_NS
        return self.frame()

    def frame(self) -> bytes:
        """The data frame of this moment; words are limited to 999.9 µg/m3."""
        _, pm2p5, pm10 = self._air.ugm3(self._clock.boottime_ns())
        words = (min(round(value * 10), 9999).to_bytes(2, "little") for value in (pm2p5, pm10))
        return self._answer(_DATA, b"".join(words))

    def _obey(self, data: bytes) -> bytes:
        command, setting, value = data[0], data[1] == 1, data[2]
        if not self.awake and not (command == Command.SLEEP and setting and value == 1):
            return b""
        match command:
            case Command.QUERY:
                return self.frame()
            case Command.FIRMWARE:
                return self._answer(_REPLY, bytes([command]) + self._firmware)
            case Command.SET_ID:
                self.device = data[11:13]
                return self._answer(_REPLY, bytes([command, 0, 0, 0]))
            case Command.MODE:
                self.query_mode = value == 1 if setting else self.query_mode
                value = int(self.query_mode)
            case Command.SLEEP:
                if setting:
                    woken, self.awake = value == 1 and not self.awake, value == 1
                    if woken:
                        self._begin()
                value = int(self.awake)
            case Command.PERIOD:
                if setting and value <= 30:
                    self.period_min = value
                    self._begin()
                value = self.period_min
            case _:
                return b""
        return self._answer(_REPLY, bytes([command, int(setting), value, 0]))

    def _answer(self, kind: int, data: bytes) -> bytes:
        body = data + self.device
        return bytes([0xAA, kind]) + body + bytes([sum(body) & 0xFF, _TAIL])

    def _has_power(self) -> bool:
        powered = self._air.powered(self._clock.boottime_ns())
        if powered and not self._had_power:
            self._begin()
        self._had_power = powered
        return powered

    def _begin(self) -> None:
        """Fan and laser start."""
        now_ns = self._clock.boottime_ns()
        self._air.blow(now_ns)
        self._began_ns, self._next_ns = now_ns, now_ns + (_WORK_NS if self.period_min else _SECOND_NS)
