"""I2C buses, shared by instruments that are read from different threads.

- A bus is opened by its number (`/dev/i2c-1` is 1): no pin names, no guessing of the board.
- The lock is a real one with a timeout: Blinka's is a plain bool, and its waiters spin.
- `SharedBus.transaction` is the only doorway: what it lets out is a `DriverError`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow


class NoAnswer(InstrumentGone):
    """Nobody acknowledged the address."""


class I2CBus(Protocol):
    """What `busio.I2C` offers and Adafruit's libraries use."""

    def try_lock(self) -> bool: ...
    def unlock(self) -> None: ...
    def scan(self) -> list[int]: ...
    def deinit(self) -> None: ...

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None: ...

    def readfrom_into(
        self, address: int, buffer: bytearray, *, start: int = 0, end: int | None = None
    ) -> None: ...

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
    ) -> None: ...


class SharedBus:
    """One I2C bus and its lock. `name` is for sentences: "I2C bus 1"."""

    def __init__(self, wire: I2CBus, name: str) -> None:
        self.name = name
        self._wire = wire
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, address: int, timeout_s: float) -> Iterator[I2CBus]:
        """The bus for one transaction with `address`; waits at most `timeout_s` for other instruments."""
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            raise InstrumentGone(
                f"{self.name} was held by another instrument for {timeout_s:.2f} s when 0x{address:02x} "
                "wanted it: an instrument may be stretching the clock; check the wiring, else power-cycle."
            )
        try:
            self._wire.try_lock()
            try:
                yield self._wire
            finally:
                self._wire.unlock()
        except OSError as error:
            raise _translated(error, f"0x{address:02x} on {self.name}") from error
        except IndexError as error:  # Blinka copies a short read byte by byte
            raise RetryNow(f"0x{address:02x} on {self.name} answered with too few bytes.") from error
        finally:
            self._lock.release()

    def scan(self, timeout_s: float = 5.0) -> list[int]:
        """Addresses that answer, 0x08 to 0x77."""
        with self.transaction(0, timeout_s) as wire:
            return wire.scan()

    def close(self) -> None:
        self._wire.deinit()


def open_bus(number: int) -> SharedBus:
    """Open `/dev/i2c-<number>` through Blinka. Raises `NeedsHuman`."""
    name = f"I2C bus {number}"
    try:
        from adafruit_extended_bus import ExtendedI2C

        # Linux sets the speed elsewhere; a number here would only raise a RuntimeWarning.
        return SharedBus(ExtendedI2C(number, frequency=None), name)
    except PermissionError as error:
        raise NeedsHuman(
            f"{name} may not be opened by this user: add it to the group i2c "
            "(sudo usermod -aG i2c USER) and log in again."
        ) from error
    except ImportError as error:
        raise NeedsHuman(f"{name} needs the package adafruit-extended-bus ({error}): install it.") from error
    except (ValueError, RuntimeError, OSError) as error:  # NotImplementedError of an unknown board included
        raise NeedsHuman(
            f"{name} cannot be opened ({error}): enable I2C (sudo raspi-config nonint do_i2c 0), load the "
            "kernel module (sudo modprobe i2c-dev) and see which buses exist with: ls /dev/i2c-*"
        ) from error


def _translated(error: OSError, where: str) -> DriverError:
    """What Linux says of a transaction (kernel Documentation/i2c/fault-codes) as what the caller must do."""
    match error.errno:
        case errno.EREMOTEIO | errno.ENXIO:
            return NoAnswer(f"Nothing answers at {where}: check power, wiring and the address.")
        case errno.ETIMEDOUT:
            return InstrumentGone(f"The bus hung while talking to {where}: a part holds it; power-cycle.")
        case errno.EACCES | errno.EPERM:
            return NeedsHuman(f"No permission to talk to {where}: add this user to the group i2c.")
        case errno.EOPNOTSUPP:
            return NeedsHuman(f"The adapter cannot do the transfer that {where} needs: use another I2C bus.")
        case errno.EIO | errno.EAGAIN | errno.EBUSY | errno.EPROTO | errno.EBADMSG:
            return RetryNow(f"The transfer with {where} was disturbed ({error.strerror}).")
        case _:
            return InstrumentGone(f"The transfer with {where} failed ({error}): does the bus still exist?")
