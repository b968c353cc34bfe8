"""Parts for the agent's tests: a clock that obeys, a key, a descriptor, samples, a journal on disk.

Nothing here waits: time moves when a test or a wait says so.
"""

from __future__ import annotations

import hashlib
import select
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.clock import SOURCE_NONE, SOURCE_NTP, UNSYNCED_US, Clock, Wall
from agent.journal import Journal
from agent.sample import Captured
from agent.sealer import Sealer
from agent.settings import ProofSettings
from agent.store import open_journal
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.keys import SeedSigner, device_id
from proof.senml import Measured

NETWORK = "moor"
START_S = 1_800_000_000
MINUTE_NS = 60 * 10**9


class FakeClock:
    """Satisfies `agent.clock.Clock`. Waiting moves boot time; wall time is boot time + an offset."""

    def __init__(self, boottime_s: float = 100.0, wall_s: float = START_S, boot: int = 1) -> None:
        self._lock = threading.Lock()
        self._now_ns = round(boottime_s * 1e9)
        self._offset_ns = round(wall_s * 1e9) - self._now_ns
        self.source, self.maxerror_us = SOURCE_NTP, 1_000
        self.boot_id = boot_bytes(boot)

    def boottime_ns(self) -> int:
        with self._lock:
            return self._now_ns

    def wall(self) -> Wall:
        return Wall(self.boottime_ns() + self._offset_ns, self.source, self.maxerror_us)

    def wait(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def wait_readable(self, fd: int, seconds: float) -> bool:
        readable = bool(select.select([fd], [], [], 0)[0])
        if not readable:
            self.wait(seconds)
        return readable

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        if stop.is_set():
            return False
        with self._lock:
            self._now_ns = max(self._now_ns, boottime_ns)
        return True

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Somebody set the wall clock; boot time knows nothing of it."""
        self._offset_ns += round(seconds * 1e9)

    def set_wall(self, wall_s: float) -> None:
        self._offset_ns = round(wall_s * 1e9) - self.boottime_ns()

    def lose_sync(self) -> None:
        self.source, self.maxerror_us = SOURCE_NONE, UNSYNCED_US

    def reboot(self, boottime_s: float = 10.0) -> None:
        """Another boot; the wall clock goes on."""
        wall_ns = self.boottime_ns() + self._offset_ns
        self.boot_id = hashlib.sha256(self.boot_id).digest()[:16]
        self._now_ns = round(boottime_s * 1e9)
        self._offset_ns = wall_ns - self._now_ns


def boot_bytes(number: int) -> bytes:
    return number.to_bytes(16, "big")


def make_signer(seed: int = 1) -> SeedSigner:
    return SeedSigner(seed.to_bytes(32, "big"), "sim")


SIGNER, GATEWAY = make_signer(1), make_signer(1000)
DEVICE_ID = device_id(SIGNER.public_key)


class MemoryKeys:
    """`agent.rotation.Keys` in memory, those of `SIGNER` where `key` (number -> signer) says nothing else;
    `settled` are the keys that became current."""

    def __init__(self, key: Callable[[int], SeedSigner] | None = None) -> None:
        self.number, self.is_prepared, self.settled = 0, False, list[bytes]()
        self.key = key or (lambda n: SeedSigner((1 + 2000 * n).to_bytes(32, "big"), "sim", DEVICE_ID))

    def current(self) -> SeedSigner:
        return self.key(self.number)

    def following(self) -> SeedSigner:
        return self.key(self.number + 1)

    def after_next(self) -> SeedSigner:
        self.is_prepared = True
        return self.key(self.number + 2)

    def prepared(self) -> bool:
        return self.is_prepared

    def settle(self, in_force: bytes) -> SeedSigner:
        if self.current().public_key != in_force:
            assert self.following().public_key == in_force
            self.number, self.is_prepared = self.number + 1, False
            self.settled.append(in_force)
        return self.current()


def make_descriptor(serial: str = "5d0c39f1") -> Descriptor:
    quantities = (
        QuantityDescriptor("temperature", "Cel", 0.01, 0.5),
        QuantityDescriptor("pressure", "Pa", 1.0, 100.0),
    )
    instrument = InstrumentDescriptor(
        "bme280-76", "bme280", "i2c:1", "0x76", "BME280", serial, "trim-sha256", quantities
    )
    return Descriptor("fieldproof", "0.1.0", "sim", True, "test", (instrument,))


def captured(clock: Clock, number: int = 0, instrument: str = "bme280-76", **changes: Any) -> Captured:
    """A sample read at `clock`'s now; `number` makes its values its own."""
    values = (
        Measured("temperature", "Cel", Decimal(2001 + number) / 100 if (2001 + number) % 100 else 20),
        Measured("pressure", "Pa", 100_000 + number),
    )
    parts: dict[str, Any] = {
        "boot_id": clock.boot_id,
        "boottime_ns": clock.boottime_ns(),
        "wall": clock.wall(),
        "values": values,
        **changes,
    }
    return Captured(instrument, **parts)


def open_test_journal(folder: Path, clock: Clock | None = None, device: str = DEVICE_ID) -> Journal:
    """The journal `folder`/journal.db with an open log, as the agent opens it."""
    return open_journal(folder / "journal.db", device, (clock or FakeClock()).boot_id).journal


def make_sealer(clock: Clock, **settings: Any) -> Sealer:
    """A sealer of `SIGNER` that has a descriptor; `settings` are those of a proof."""
    sealer = Sealer(SIGNER, NETWORK, ProofSettings(**settings), clock)
    sealer.descriptor = make_descriptor()
    return sealer
