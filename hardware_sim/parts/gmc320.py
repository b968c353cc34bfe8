"""Virtual GQ GMC-320 Geiger counter, seen from its USB serial port.

Reference: GQ-RFC1201 1.40; an answer to what it does not know is no answer.

- Counts are a Poisson process of the world's rate (`cpm`), drawn per second from a seed; CPM is what fell
  into the last 60 whole seconds since power-up.
- With the heartbeat on, the counts of each second are said at its end: 16 bits, the upper two mean nothing.
- The heartbeat is off after power-up.
"""

from __future__ import annotations

import math
import random
import re

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

_COMMAND = re.compile(rb"<([A-Z0-9]{1,16})>>")
_LONGEST = 64
_S = 10**9


class GMC320:
    """One counter with its version (14 characters) and serial number (7 bytes)."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        version: bytes = b"GMC-320Re 4.26",
        serial: bytes = bytes.fromhex("f48800671c42c2"),
        seed: int = 0,
    ) -> None:
        self._world, self._clock, self._seed = world, clock, seed
        self._version, self._serial = version, serial
        self._heard = b""
        self.heartbeat = False
        self._said_s = 0
        self._powered_s: int | None = clock.boottime_ns() // _S

    def heard(self, data: bytes) -> bytes:
        if not self._has_power():
            return b""
        self._heard += data
        said = b""
        while command := _COMMAND.search(self._heard):
            self._heard = self._heard[command.end() :]
            said += self._answer(command[1])
        self._heard = self._heard[-_LONGEST:]
        return said

    def due(self) -> bytes:
        now_s = self._clock.boottime_ns() // _S
        if not self._has_power() or not self.heartbeat or now_s <= self._said_s:
            return b""
        self._said_s = now_s
        return (self._counts(now_s - 1) & 0x3FFF).to_bytes(2, "big")

    def _has_power(self) -> bool:
        now_ns = self._clock.boottime_ns()
        has_power = self._world.at(now_ns) is not None
        if not has_power:
            self._powered_s, self.heartbeat, self._heard = None, False, b""
        elif self._powered_s is None:
            self._powered_s = now_ns // _S
        return has_power

    def _answer(self, command: bytes) -> bytes:
        now_s = self._clock.boottime_ns() // _S
        match command:
            case b"GETVER":
                return self._version
            case b"GETSERIAL":
                return self._serial
            case b"GETCPM":
                begin_s = max(now_s - 60, self._powered_s or 0)
                return min(sum(map(self._counts, range(begin_s, now_s))), 0xFFFF).to_bytes(2, "big")
            case b"GETVOLT":
                return b"\x2a"
            case b"HEARTBEAT1":
                self.heartbeat, self._said_s = True, now_s
            case b"HEARTBEAT0":
                self.heartbeat = False
        return b""

    def _counts(self, second: int) -> int:
        """Of one second; the number of waiting times that fit into it, which is Poisson distributed."""
        rate = (self._world.at(second * _S) or {}).get("cpm", 0.0) / 60.0
        rng = random.Random(f"{self._seed} {second}")
        if rate > 50.0:
            return max(0, round(rng.gauss(rate, math.sqrt(rate))))
        count, passed = 0, rng.expovariate(rate) if rate > 0 else math.inf
        while passed < 1.0:
            count, passed = count + 1, passed + rng.expovariate(rate)
        return count
