"""Virtual Plantower PMS5003 or PMS7003, seen from its serial pins.

Reference: Plantower, "PMS5003 series data manual" V2.3 and "PMS7003 series data manual" V2.5,
appendices I and II. Written from them, not from any driver.

- After power-up: awake, active mode. Active: a frame every 2.3 s in steady air, every 0.2 to 0.8 s (the
  faster the more dust) while it changes. Passive: a frame when asked. Asleep: fan off, silent.
- A command is `42 4D`, command, two bytes, sum of all before. E1 sets the mode, E2 asks for a frame, E4 sends
  to sleep and wakes; parts of today acknowledge E1 and E4 with `42 4D 00 04`, command, data, sum.
- Atmospheric values stand beside those for "CF=1", which are higher in dusty air.
- Without power it is silent; with power again it starts anew.
"""

from __future__ import annotations

import struct

from drivers.contract import Clock
from hardware_sim.parts.dust import Air, World

_START = b"\x42\x4d"
_COMMAND_LENGTH = 7
_MODE, _READ, _SLEEP = 0xE1, 0xE2, 0xE4
_STEADY_NS, _FAST_NS, _FASTEST_NS = 2_300_000_000, 800_000_000, 200_000_000
_CHANGE_UGM3 = 5.0


class PMS5003:
    """One part in `world`. `version` and `error` are the two bytes before the sum."""

    def __init__(self, world: World, clock: Clock, version: int = 0x97, error: int = 0) -> None:
        self._clock = clock
        self.version, self.error = version, error
        self._air = Air(world, clock.boottime_ns())
        self._heard = b""
        self._had_power = self._awake = self._active = True
        self._last_ugm3 = 0.0
        self._next_ns = 0
        self._power_on()

    def heard(self, data: bytes) -> bytes:
        if not self._has_power():
            return b""
        self._heard = (self._heard + data)[-64:]
        answers = b""
        while (begin := self._heard.find(_START)) >= 0 and len(self._heard) >= begin + _COMMAND_LENGTH:
            command = self._heard[begin : begin + _COMMAND_LENGTH]
            self._heard = self._heard[begin + _COMMAND_LENGTH :]
            if sum(command[:5]) == int.from_bytes(command[5:], "big"):
                answers += self._obey(command[2], command[4])
        return answers

    def due(self) -> bytes:
        now_ns = self._clock.boottime_ns()
        if not self._has_power() or not (self._awake and self._active) or now_ns < self._next_ns:
            return b""
        pm2p5 = self._air.ugm3(now_ns)[1]
        steady = abs(pm2p5 - self._last_ugm3) < _CHANGE_UGM3
        fast_ns = max(_FASTEST_NS, _FAST_NS - round(pm2p5 * 1e6))
        self._next_ns, self._last_ugm3 = now_ns + (_STEADY_NS if steady else fast_ns), pm2p5
        return self.frame()

    def frame(self) -> bytes:
        """The frame of this moment."""
        atmospheric = [min(round(value), 0xFFFF) for value in self._air.ugm3(self._clock.boottime_ns())]
        standard = [value if value < 30 else value * 3 // 2 - 15 for value in atmospheric]
        fine = atmospheric[1]
        counts = [min(fine * factor, 0xFFFF) for factor in (180, 50, 9, 1)] + [fine // 8, fine // 16]
        body = _START + struct.pack(">H12HBB", 28, *standard, *atmospheric, *counts, self.version, self.error)
        return body + sum(body).to_bytes(2, "big")

    def _obey(self, command: int, data: int) -> bytes:
        now_ns = self._clock.boottime_ns()
        if command == _READ:
            return self.frame() if self._awake and not self._active else b""
        if command == _MODE:
            self._active = data == 1
        elif command == _SLEEP:
            if data == 1 and not self._awake:
                self._air.blow(now_ns)
            self._awake = data == 1
        else:
            return b""
        self._next_ns = now_ns + _FAST_NS
        answer = _START + bytes([0, 4, command, data])
        return answer + sum(answer).to_bytes(2, "big")

    def _has_power(self) -> bool:
        powered = self._air.powered(self._clock.boottime_ns())
        if powered and not self._had_power:
            self._power_on()
        self._had_power = powered
        return powered

    def _power_on(self) -> None:
        now_ns = self._clock.boottime_ns()
        self._air.blow(now_ns)
        self._had_power = self._awake = self._active = True
        self._heard = b""
        self._last_ugm3 = 0.0
        self._next_ns = now_ns + _FAST_NS
