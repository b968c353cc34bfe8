"""A virtual I2C bus that offers what `busio.I2C` offers.

- A transaction with nobody at the address, or with a part without power, is OSError(EREMOTEIO): a NACK, as
  Linux reports it.
- A transaction without the lock is a RuntimeError, as in CircuitPython; the lock is a bool, as Blinka's.
- A fault plan sees every transaction's index, operation and address before it happens and may disturb it.
- `log` holds the last transactions, the bytes as the part saw and gave them.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from drivers.contract import Clock

_LOGGED = 256


class Part(Protocol):
    """A chip on the bus."""

    @property
    def powered(self) -> bool:
        """False: it acknowledges nothing."""

    def write(self, data: bytes) -> None: ...

    def read(self, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Nack:
    """The part does not acknowledge."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The transaction takes this long; then the adapter gives up (ETIMEDOUT) or it completes."""

    seconds: float
    then_done: bool = False


@dataclass(frozen=True, slots=True)
class ShortRead:
    """One byte too few arrives. Blinka copies byte by byte and raises IndexError."""


@dataclass(frozen=True, slots=True)
class BitFlip:
    """One bit is inverted: of what is read, else of what is written. Bit 0 is the first byte's lowest."""

    bit: int


Fault = Nack | Hang | ShortRead | BitFlip
FaultPlan = Callable[[int, str, int], Fault | None]
"""(index since the bus was made, "write" | "read" | "write-read", address) -> what goes wrong."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What went over the wire."""

    address: int
    written: bytes
    read: bytes


class VirtualI2C:
    """Parts by address. `fault` may be replaced while running."""

    def __init__(self, parts: Mapping[int, Part], clock: Clock, fault: FaultPlan | None = None) -> None:
        self.fault = fault
        self.transactions = 0
        self.log: deque[Transaction] = deque(maxlen=_LOGGED)
        self._parts = parts
        self._clock = clock
        self._locked = False

    def try_lock(self) -> bool:
        if self._locked:
            return False
        self._locked = True
        return True

    def unlock(self) -> None:
        self._locked = False

    def deinit(self) -> None:
        self._locked = False

    def scan(self) -> list[int]:
        return [address for address, part in sorted(self._parts.items()) if part.powered]

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        self._transact("write", address, bytes(buffer[start:end]), 0)

    def readfrom_into(
        self, address: int, buffer: bytearray, *, start: int = 0, end: int | None = None
    ) -> None:
        window = memoryview(buffer)[start:end]
        window[:] = self._transact("read", address, None, len(window))

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
        window = memoryview(buffer_in)[in_start:in_end]
        out = bytes(buffer_out[out_start:out_end])
        window[:] = self._transact("write-read", address, out, len(window))

    def _transact(self, operation: str, address: int, out: bytes | None, length: int) -> bytes:
        if not self._locked:
            raise RuntimeError("Function requires lock")
        index, self.transactions = self.transactions, self.transactions + 1
        fault = self.fault(index, operation, address) if self.fault else None
        part = self._parts.get(address)
        if isinstance(fault, Hang):
            self._clock.wait(fault.seconds)
            if not fault.then_done:
                raise _os_error(errno.ETIMEDOUT)
        if isinstance(fault, Nack) or part is None or not part.powered:
            raise _os_error(errno.EREMOTEIO)
        if isinstance(fault, BitFlip) and not length and out:
            out = flipped(out, fault.bit)
        if out is not None:
            part.write(out)
        data = part.read(length) if length else b""
        self.log.append(Transaction(address, out or b"", data))
        if isinstance(fault, ShortRead) and length:
            raise IndexError("index out of range")
        if isinstance(fault, BitFlip) and length:
            data = flipped(data, fault.bit)
        return data


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit inverted; bits are counted around."""
    mutable = bytearray(data)
    mutable[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(mutable)
