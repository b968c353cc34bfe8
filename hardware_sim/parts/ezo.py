"""Virtual Atlas Scientific EZO circuits (pH, EC, DO, RTD), seen from their UART pins.

Reference: Atlas Scientific datasheets EZO-pH V5.9, EZO-EC V6.2, EZO-DO V5.4, EZO-RTD V3.6, "UART mode".

- A command ends with CR, in upper or lower case; an unknown one is `*ER`. Data lines come before `*OK`.
- From the factory: one reading a second (`C,1`), response codes on. These and outputs and scale are kept
  without power; after power-up comes `*RS`, then `*RE`.
- One reading takes 800 ms (pH) or 600 ms, everything else 300 ms; commands wait for the one before.
- pH and temperature have three decimals, oxygen two, conductivity as many as its table of resolutions says.
- Without a probe temperature is -1023.000.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

_MS = 1_000_000
_REPEAT_NS = 1_000 * _MS
_BOOT_NS = 500 * _MS
_ORDER = {"EC": ("EC", "TDS", "S", "SG"), "DO": ("mg", "%")}
_KEYS = {"pH": "ph", "EC": "conductivity_uScm", "DO": "do_mgL", "RTD": "water_degC"}


class EZO:
    """One circuit. `continuous`, `codes`, `outputs` and `scale` are as the last user left them."""

    def __init__(
        self, kind: str, firmware: str, world: World, clock: Clock, continuous: int = 1, codes: bool = True
    ) -> None:
        self.kind, self.continuous, self.codes, self.scale = kind, continuous, codes, "C"
        self.outputs = _ORDER.get(kind, ())[:1]
        self._firmware, self._world, self._clock = firmware, world, clock
        self._heard = b""
        self._said: deque[tuple[int, bytes]] = deque()
        self._busy_ns = self._next_ns = clock.boottime_ns()
        self._powered = True

    def heard(self, data: bytes) -> bytes:
        if self._has_power():
            *commands, self._heard = (self._heard + data).split(b"\r")
            for command in commands:
                self._obey(command.decode("ascii", "replace").upper())
        return self.due()

    def due(self) -> bytes:
        now_ns = self._clock.boottime_ns()
        if not self._has_power():
            return b""
        if self.continuous and now_ns >= self._next_ns:
            self._next_ns = now_ns + self.continuous * _REPEAT_NS
            self._said.append((now_ns, self._reading(now_ns)))
        said = b""
        while self._said and self._said[0][0] <= now_ns:
            said += self._said.popleft()[1]
        return said

    def _has_power(self) -> bool:
        now_ns = self._clock.boottime_ns()
        has_power = self._world.at(now_ns) is not None
        if not has_power:
            self._said.clear()
            self._heard = b""
        elif not self._powered:
            self._busy_ns = self._next_ns = now_ns + _BOOT_NS
            if self.codes:
                self._said.append((self._busy_ns, b"*RS\r*RE\r"))
        self._powered = has_power
        return has_power

    def _obey(self, command: str) -> None:
        start_ns = max(self._clock.boottime_ns(), self._busy_ns)
        takes_ms = (800 if self.kind == "pH" else 600) if command == "R" else 300
        self._busy_ns = start_ns + takes_ms * _MS
        answer = self._answer(command)
        said = b"*ER\r" if answer is None else answer + (b"*OK\r" if self.codes else b"")
        self._said.append((self._busy_ns, said))

    def _answer(self, command: str) -> bytes | None:
        """Data lines; None for what is not understood."""
        match command.split(","):
            case ["R"]:
                return self._reading(self._busy_ns)
            case ["I"]:
                return f"?I,{self.kind},{self._firmware}\r".encode()
            case ["C", "?"]:
                return f"?C,{self.continuous}\r".encode()
            case ["C", seconds] if seconds.isdecimal() and int(seconds) < 100:
                self.continuous = int(seconds)
                return b""
            case ["O", "?"] if self.outputs or self.kind in _ORDER:
                return ",".join(("?,O", *self.outputs)).encode() + b"\r"
            case ["S", "?"] if self.kind == "RTD":
                return f"?S,{self.scale}\r".encode()
            case ["STATUS"]:
                return b"?STATUS,P,5.038\r"
        return None

    def _reading(self, boottime_ns: int) -> bytes:
        true = self._world.at(boottime_ns) or {}
        value = true.get(_KEYS[self.kind])
        if self.kind == "RTD":
            return (b"-1023.000" if value is None else f"{value:.3f}".encode()) + b"\r"
        value = value or 0.0
        if self.kind == "pH":
            return f"{min(max(value, 0.001), 14.0):.3f}\r".encode()
        if not self.outputs:
            return b"no output\r"
        shown = {"mg": f"{value:.2f}", "%": f"{value / 0.0908:.1f}", "EC": _conductivity(value)}
        shown |= {"TDS": f"{value * 0.54:.0f}", "S": f"{value / 2_000:.2f}", "SG": "1.000"}
        wanted = [name for name in _ORDER[self.kind] if name in self.outputs]
        return ",".join(shown[name] for name in wanted).encode() + b"\r"


def _conductivity(uScm: float) -> str:
    """EZO-EC, "Resolution": 0.01 below 100, 0.1 below 1000, 1 below 10,000, 10 below 100,000, else 100."""
    if uScm < 99.995:
        return f"{uScm:.2f}"
    if uScm < 999.95:
        return f"{uScm:.1f}"
    step = 1 if uScm < 9_999.5 else 10 if uScm < 99_995 else 100
    return str(round(uScm / step) * step)


PH, EC, DO, RTD = (
    partial(EZO, "pH", "2.12"),
    partial(EZO, "EC", "2.16"),
    partial(EZO, "DO", "2.10"),
    partial(EZO, "RTD", "2.11"),
)
