"""Serial lines: one instrument on a line, or several that take turns on one (RS-485).

- Opened exclusively (TIOCEXCL and flock) and by a name that stays: `/dev/serial/by-id/…`.
- A line is opened by its first transaction and stays open; one that failed is closed, and the next
  transaction opens it again: that is how an instrument survives being unplugged and plugged in.
- Every read has a deadline on the caller's clock. What a line says while nobody reads is bounded by the
  kernel's buffer (4 KiB) and thrown away by `forget`.
- `SerialLine.transaction` is the only doorway: what it lets out is a `DriverError`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from drivers.contract import Clock
from drivers.errors import InstrumentGone, NeedsHuman

_AT_ONCE = 4096
_WRITE_S = 0.2  # a command fits the kernel's buffer: one that waits at all waits for a dead adapter


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How bytes stand on the wire."""

    baudrate: int
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    bytesize: Literal[7, 8] = 8


class Port(Protocol):
    """What is used of `serial.Serial`."""

    def fileno(self) -> int: ...
    def read(self, size: int = 1, /) -> bytes: ...
    def write(self, data: bytes, /) -> int | None: ...
    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


class SerialLine:
    """One line and its lock; `path` names it in sentences too."""

    def __init__(
        self, path: str, clock: Clock, opener: Callable[[str, LineSettings], Port] | None = None
    ) -> None:
        self.name = path
        self._clock, self._opener = clock, opener or _pyserial
        self._lock = threading.Lock()
        self._port: Port | None = None
        self._settings: LineSettings | None = None

    @contextmanager
    def transaction(self, settings: LineSettings, timeout_s: float) -> Iterator[Conversation]:
        """The open line for one exchange that must be over in `timeout_s`."""
        until_ns = self._clock.boottime_ns() + round(timeout_s * 1e9)
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            raise InstrumentGone(f"{self.name} was held by another instrument for {timeout_s:.2f} s.")
        try:
            port = self._opened(settings)
            yield Conversation(port, self.name, self._clock, until_ns, timeout_s)
        except (OSError, termios.error) as error:  # serial.SerialException is an OSError
            self._shut()
            raise _translated(error, self.name) from error
        except InstrumentGone:
            self._shut()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._shut()

    def _opened(self, settings: LineSettings) -> Port:
        if self._port is not None and self._settings != settings:
            self._shut()
        if self._port is None:
            try:
                self._port, self._settings = self._opener(self.name, settings), settings
            except ValueError as error:  # what pyserial says of a speed or a parity that cannot be set
                raise NeedsHuman(
                    f"{self.name} cannot do {settings}: {error}. Use another adapter."
                ) from error
        return self._port

    def _shut(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        with contextlib.suppress(OSError):  # it was pulled out, or is no tty
            fcntl.ioctl(port.fileno(), termios.TIOCNXCL)  # the mark stays as long as anybody holds the tty
        with contextlib.suppress(OSError):
            port.close()


class Conversation:
    """The line during one transaction."""

    def __init__(self, port: Port, name: str, clock: Clock, until_ns: int, timeout_s: float) -> None:
        self._port, self._name, self._clock = port, name, clock
        self._until_ns, self._timeout_s = until_ns, timeout_s

    def write(self, data: bytes) -> None:
        self.left_s()
        self._port.write(data)

    def forget(self) -> None:
        """Throw away what came in so far."""
        self._port.reset_input_buffer()

    def wait(self, seconds: float) -> None:
        """Part of the same deadline."""
        self._clock.wait(min(seconds, self.left_s()))

    def left_s(self) -> float:
        """Seconds left, more than 0. Raises `InstrumentGone` when there are none."""
        left_ns = self._until_ns - self._clock.boottime_ns()
        if left_ns <= 0:
            raise InstrumentGone(
                f"The instrument at {self._name} did not answer within {self._timeout_s:g} s: "
                "check power and wiring."
            )
        return left_ns / 1e9

    def some(self) -> bytes:
        """What has come in, at least one byte. Raises `InstrumentGone` at the deadline."""
        while not (data := self.heard(self.left_s())):
            pass
        return data

    def heard(self, within_s: float) -> bytes:
        """What has come in, nothing after `within_s` of silence: for instruments that pause between messages.
        Raises `InstrumentGone` at the deadline."""
        if not self._clock.wait_readable(self._port.fileno(), min(within_s, self.left_s())):
            return b""
        data = self._port.read(_AT_ONCE)
        if not data:  # readable and empty: the other end is gone
            raise OSError(errno.EIO, "the line was closed")
        return data

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; for instruments that speak only when asked."""
        data = b""
        while len(data) < count:
            self.left_s()
            if self._clock.wait_readable(self._port.fileno(), self.left_s()):
                piece = self._port.read(count - len(data))
                if not piece:
                    raise OSError(errno.EIO, "the line was closed")
                data += piece
        return data


def _pyserial(path: str, settings: LineSettings) -> Port:
    import serial

    port: Port = serial.Serial(
        path,
        baudrate=settings.baudrate,
        bytesize=settings.bytesize,
        parity=settings.parity,
        stopbits=settings.stopbits,
        timeout=0,  # deadlines are ours: never block inside pyserial
        write_timeout=_WRITE_S,
        exclusive=True,  # flock: against programs that lock too
    )
    fcntl.ioctl(port.fileno(), termios.TIOCEXCL)  # against those that do not
    return port


def _translated(error: BaseException, name: str) -> InstrumentGone | NeedsHuman:
    match _errno(error):
        case errno.EACCES | errno.EPERM:
            return NeedsHuman(
                f"{name} may not be opened by this user: add it to the group dialout "
                "(sudo usermod -aG dialout USER) and log in again."
            )
        case errno.ENOENT:
            return InstrumentGone(f"{name} is not there: is it plugged in? See: ls /dev/serial/by-id/")
        case errno.EBUSY | errno.EAGAIN:
            return InstrumentGone(f"{name} is held by another program: end it, or see: fuser {name}")
        case errno.ENOTTY | errno.EISDIR:
            return NeedsHuman(f"{name} is not a serial line: correct the bus in the configuration.")
        case _:
            return InstrumentGone(f"{name} failed ({error}): was it pulled out?")


def _errno(error: BaseException | None) -> int | None:
    """pyserial tells some failures in words only; the number is then in what it was handling."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None
