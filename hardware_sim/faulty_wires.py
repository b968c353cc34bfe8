"""Faults that happen on wires: when they strike, and what becomes of a transaction then.

- A stuck I2C bus lets nobody's transaction through: the adapter gives up after a second (Linux's default).
- Of several faults the first that strikes an I2C transaction is the one that happens; a serial message goes
  through all of them, in the order of the file.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drivers.contract import Clock
from hardware_sim import bus
from hardware_sim.faults import LASTING, Fault
from hardware_sim.pty_line import SerialPart

_ADAPTER_S = 1.0
_GARBAGE, _FLOOD, _SPLIT_S = 32, 64, 0.05
_I2C = ("nack", "short-read", "bit-flip", "hang")
_MOST_BITS = 512
_MOST_PIECES = 256  # a part that hangs for long forgets what it wanted to say


Pieces = list[tuple[int, bytes]]  # (boot time in ns, bytes), in their order


class Striking:
    """One fault of one instrument, and when it strikes."""

    def __init__(self, fault: Fault, rng: random.Random) -> None:
        self.fault, self.rng = fault, rng
        self._until_ns = 0

    def strikes(self, number: int, now_ns: int) -> bool:
        """Whether it hits the transaction `number`, which begins now."""
        if not self.fault.holds(now_ns):
            return False
        if self.fault.transactions is not None:
            return number in self.fault.transactions
        return self.fault.rate is None or self.rng.random() < self.fault.rate

    def begin(self, number: int, now_ns: int) -> None:
        """A fault that lasts may begin with this transaction."""
        if self.fault.seconds is not None and self.strikes(number, now_ns):
            self._until_ns = now_ns + round(self.fault.seconds * 1e9)

    def lasts(self, now_ns: int) -> bool:
        return now_ns < self._until_ns if self.fault.seconds is not None else self.fault.holds(now_ns)


class I2CFaults:
    """A `bus.FaultPlan`: faults by address. The first that strikes a transaction is the one that happens."""

    def __init__(self, faults: Mapping[int, Sequence[Striking]], clock: Clock) -> None:
        self._faults, self._clock = faults, clock
        self._numbers: Counter[int] = Counter()

    def __call__(self, index: int, operation: str, address: int) -> bus.Fault | None:
        now_ns = self._clock.boottime_ns()
        number = self._numbers[address]
        self._numbers[address] += 1
        own = self._faults.get(address, ())
        for striking in own:
            if striking.fault.fault in LASTING:
                striking.begin(number, now_ns)
        everybodys = (striking for of_one in self._faults.values() for striking in of_one)
        if any(striking.fault.fault == "bus-stuck" and striking.lasts(now_ns) for striking in everybodys):
            return bus.Hang(_ADAPTER_S)
        for striking in own:
            if action := _action(striking, number, now_ns):
                return action
        return None


def _action(striking: Striking, number: int, now_ns: int) -> bus.Fault | None:
    fault = striking.fault
    if fault.fault not in _I2C or not striking.strikes(number, now_ns):
        return None
    match fault.fault:
        case "nack":
            return bus.Nack()
        case "short-read":
            return bus.ShortRead()
        case "bit-flip":
            return bus.BitFlip(striking.rng.randrange(_MOST_BITS) if fault.bit is None else fault.bit)
    return bus.Hang(fault.seconds or 0.0, then_done=True)


class FaultySerial:
    """A `SerialPart` around another: what that one says arrives late, in pieces, changed, or not alone."""

    def __init__(self, part: SerialPart, faults: Sequence[Striking], clock: Clock) -> None:
        self._part, self._faults, self._clock = part, faults, clock
        self._messages = 0
        self._later: Pieces = []

    def heard(self, data: bytes) -> bytes:
        self._take(self._part.heard(data))
        return self.due()

    def due(self) -> bytes:
        self._take(self._part.due())
        now_ns = self._clock.boottime_ns()
        if any(s.fault.fault == "unplug" and s.lasts(now_ns) for s in self._faults):
            self._later.clear()
            return b""
        said = b""
        while self._later and self._later[0][0] <= now_ns:
            said += self._later.pop(0)[1]
        for striking in self._faults:
            if striking.fault.fault == "flood" and striking.fault.holds(now_ns):
                said += striking.rng.randbytes(striking.fault.count or _FLOOD)
        return said

    def _take(self, message: bytes) -> None:
        if not message:
            return
        now_ns, number = self._clock.boottime_ns(), self._messages
        self._messages += 1
        pieces = [(now_ns, message)]
        for striking in self._faults:
            if striking.fault.fault in LASTING:
                striking.begin(number, now_ns)
            elif striking.fault.fault in _SPOILING and striking.strikes(number, now_ns):
                pieces = _SPOILING[striking.fault.fault](pieces, striking)
        self._later = sorted([*self._later, *pieces], key=lambda piece: piece[0])[:_MOST_PIECES]


def _short(pieces: Pieces, striking: Striking) -> Pieces:
    at_ns, data = pieces[-1]
    return [*pieces[:-1], (at_ns, data[:-1])]


def _flip(pieces: Pieces, striking: Striking) -> Pieces:
    bit = striking.rng.randrange(_MOST_BITS) if striking.fault.bit is None else striking.fault.bit
    return [(at_ns, bus.flipped(data, bit) if data else data) for at_ns, data in pieces[:1]] + pieces[1:]


def _hang(pieces: Pieces, striking: Striking) -> Pieces:
    return [(at_ns + round((striking.fault.seconds or 0.0) * 1e9), data) for at_ns, data in pieces]


def _garbage(pieces: Pieces, striking: Striking) -> Pieces:
    return [(pieces[0][0], striking.rng.randbytes(striking.fault.count or _GARBAGE)), *pieces]


def _split(pieces: Pieces, striking: Striking) -> Pieces:
    *others, (at_ns, data) = pieces
    seconds = _SPLIT_S if striking.fault.seconds is None else striking.fault.seconds
    cut = striking.rng.randrange(1, max(2, len(data)))
    return [*others, (at_ns, data[:cut]), (at_ns + round(seconds * 1e9), data[cut:])]


_SPOILING: Mapping[str, Callable[[Pieces, Striking], Pieces]] = {
    "short-read": _short,
    "bit-flip": _flip,
    "hang": _hang,
    "garbage": _garbage,
    "split": _split,
}


class Swapped:
    """Another part in the place of the right one, while the fault holds; I2C or serial."""

    def __init__(self, right: Any, wrong: Any, fault: Fault, clock: Clock) -> None:
        self._right, self._wrong, self._fault, self._clock = right, wrong, fault, clock

    def __getattr__(self, name: str) -> Any:
        holds = self._fault.holds(self._clock.boottime_ns())
        return getattr(self._wrong if holds else self._right, name)
