"""One device, its network and its simulated instrument, for the crash harness: made in milliseconds.

- Made here, not by command lines: keys, membership, the gateway's ledger, with the product's own functions.
- The processes of a world are forked from the harness's (`tests.crash.lives`), so they share this object.
- `state` may be a file system of its own (`tests.crash.failing_disk`); everything else lies in `folder`.
- What the forked processes must be told while they live stands in `shared`, memory of all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from agent.keystore import create_key, open_key, open_next_key
from agent.membership import Joined, save
from agent.settings import InstrumentSettings, JournalSettings, MqttSettings, ProofSettings, Settings
from gateway import folder as gateway_folder
from gateway.enrolment import Network
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.service import Inbound, Service
from gateway.store import Store
from proof import joining, wire
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.joining import JoinClaim
from proof.keys import SeedSigner, device_id
from proof.rotation import commitment

NETWORK = "crash"
NAME = "bme280-76"
INTERVAL_S = 10.0
KEEPALIVE_S = 5


class Opened(NamedTuple):
    ledger: Ledger
    register: Register
    service: Service


class Shared:
    """Numbers in memory that outlives processes: how far the wall clock was set and whether it claims a
    source, which the harness says; how far boot time came, which the agent says: in one store, because
    SIGKILL may come between two."""

    _CLOCK = struct.Struct("=qq")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._lived = ctypes.c_int64.from_buffer(self._memory, self._CLOCK.size)
        self.set_clock(0, synced=True)

    def set_clock(self, offset_s: int, synced: bool) -> None:
        self._CLOCK.pack_into(self._memory, 0, offset_s * 10**9, synced)

    def clock(self) -> tuple[int, bool]:
        """(nanoseconds to add to the wall clock, whether it has a source)."""
        offset_ns, synced = self._CLOCK.unpack_from(self._memory, 0)
        return offset_ns, bool(synced)

    def live_until(self, boottime_ns: int) -> None:
        self._lived.value = max(boottime_ns, self._lived.value)

    def lived_ns(self) -> int:
        """No sample of this boot is younger."""
        return self._lived.value

    def reboot(self) -> None:
        self._lived.value = 0


@dataclass
class World:
    """`url` is where the agent finds its broker, `broker_port` where the gateway does."""

    folder: Path
    state: Path
    seed: int
    readings: int
    broker_port: int
    agent_port: int
    shared: Shared = field(default_factory=Shared)
    boot: int = 1

    def __post_init__(self) -> None:
        self.settings = Settings(
            state_dir=self.state,
            key=f"sim:{self.folder}/device.key",
            instrument=(InstrumentSettings(NAME, "bme280", "i2c:1", "0x76", INTERVAL_S),),
            proof=ProofSettings(readings=self.readings, window_s=86_400.0, heartbeat_s=86_400.0),
            journal=JournalSettings(free_floor_bytes=0),
            mqtt=MqttSettings(allow_plain=True, keepalive_s=KEEPALIVE_S),
        )
        self.witness = self.folder / "captured"
        self.ledger = self.folder / "gateway" / gateway_folder.LEDGER
        self.resumed = self.folder / "resumed"  # a line for each time its owner had to say which board it is
        self.log = self.folder / "agent.log"
        self.gateway_log = self.folder / "gateway.log"

    @property
    def boot_id(self) -> bytes:
        return hashlib.sha256(f"boot {self.seed} {self.boot}".encode()).digest()[:16]

    def reboot(self) -> None:
        """Before a life: another boot, whose time begins again."""
        self.boot += 1
        self.shared.reboot()

    @cached_property
    def gateway(self) -> SeedSigner:
        return gateway_folder.load_key(self.ledger.parent)

    @cached_property
    def gateway_id(self) -> str:
        return device_id(self.gateway.public_key)

    @cached_property
    def device(self) -> str:
        return device_id(open_key(self.settings.key).public_key)

    def set_up(self) -> None:
        """Keys, the ledger, and the membership, as `init`, `join` and an operator make them."""
        signer = create_key(self.settings.key, 0)
        broker = f"mqtt://127.0.0.1:{self.broker_port}"
        gateway_folder.create(self.ledger.parent, gateway_folder.Settings(NETWORK, "test", broker))
        Store.create(self.ledger, NETWORK, "test", self.gateway_id).close()
        now_s = int(time.time())
        claim = JoinClaim(
            network=NETWORK,
            kind="test",
            gateway_keys=(self.gateway.public_key,),
            broker_url=f"mqtt://127.0.0.1:{self.agent_port}",
            claim_id=os.urandom(8),
            secret=os.urandom(32),
            expires_s=now_s + 3600,
        )
        following = commitment(open_next_key(self.settings.key).public_key)
        request = joining.sign_enrolment(claim, _descriptor(), following, signer, now_s)
        with self.opened() as gateway:
            with gateway.ledger.transaction():
                gateway.register.add_claim(claim, "owner")
            answers = gateway.service.take([Inbound(wire.topic(NETWORK, self.device, "enrol"), request)])
        (signed,) = [wire.inflate(answer.payload, joining.MAX_BYTES) for answer in answers]
        membership = joining.open_membership(signed, claim.gateway_keys, self.device)
        joined = Joined(claim.broker_url, claim.gateway_keys, signed, membership)
        save(self.settings.membership_path, joined)

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """The gateway's ledger, by a connection of our own."""
        store = Store.open(self.ledger, NETWORK, "test", self.gateway_id)
        with contextlib.closing(store):
            ledger, register = Ledger(store, NETWORK, "test"), Register(store)
            network = Network(NETWORK, "test", {})
            service = Service(ledger, register, network, self.gateway, time.time, os.urandom)
            yield Opened(ledger, register, service)


def _descriptor() -> Descriptor:
    """What the device says when it joins; its proofs say what the instrument says."""
    quantity = QuantityDescriptor("temperature", "Cel", 0.01, 0.5)
    part = InstrumentDescriptor(NAME, "bme280", "i2c:1", "0x76", "BME280", "", "none", (quantity,))
    return Descriptor("fieldproof", "0", "sim", True, "test", (part,))
