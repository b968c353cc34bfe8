"""Fixed keys, times and objects that the tests of `proof` and the test vectors share.

Everything here is the same on every machine and in every run. The seeds are published: test keys only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from proof import beacon, rotation, sealing
from proof.beacon import Beacon
from proof.calibration import Certificate
from proof.chain import Head
from proof.claims import Claims, Gap, TimeClaim
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.joining import JoinClaim, Kind, Membership
from proof.keys import SeedSigner, device_id
from proof.rotation import DeviceKey, commitment
from proof.senml import Measured, Reading
from proof.verify import DeviceRecord

NOW_S = 1_800_000_000
NETWORK = "moor"
LOG = bytes.fromhex("a1b2c3d4e5f60718")

DEVICE = SeedSigner(bytes(range(32)), "sim")
NEXT_KEY = SeedSigner(bytes(range(32, 64)), "sim", DEVICE.device)
AFTER_NEXT_KEY = SeedSigner(bytes(range(160, 192)), "sim", DEVICE.device)
STRANGER = SeedSigner(bytes(range(64, 96)), "sim")
GATEWAY = SeedSigner(bytes(range(96, 128)), "file")
DEVICE_ID, STRANGER_ID = device_id(DEVICE.public_key), device_id(STRANGER.public_key)
GATEWAY_ID = device_id(GATEWAY.public_key)

BEACON_BYTES = beacon.sign_beacon(NETWORK, 7, bytes(range(16)), GATEWAY, NOW_S - 30)
BEACON = beacon.open_beacon(BEACON_BYTES, [GATEWAY.public_key], NETWORK)

# Register dump of a real BME280 (periph/devices, bmxx80/bmx280_test.go, Apache-2.0): trim and one burst.
TRIM = bytes.fromhex("106e6c6632005d95b8d5d00b771e9dfff9ffac260ad8bd10004b" + "6e01001305001e")
BURST = bytes.fromhex("4a52c08096c07a76")
# What the double-precision compensation gives for it, rounded to the resolutions below.
VALUES = (
    Measured("temperature", "Cel", Decimal("23.72")),
    Measured("pressure", "Pa", 100943),
    Measured("humidity", "%RH", Decimal("65.31")),
)

BME280 = InstrumentDescriptor(
    name="bme280-76",
    driver="bme280",
    bus="i2c-1",
    address="0x76",
    model="BME280",
    serial="5d0c39f1",
    serial_kind="trim-sha256",
    quantities=(
        QuantityDescriptor("temperature", "Cel", 0.01, 0.5),
        QuantityDescriptor("pressure", "Pa", 1.0, 100.0),
        QuantityDescriptor("humidity", "%RH", 0.01, 3.0),
    ),
    raw_evidence=True,
    evidence=TRIM,
)
DESCRIPTOR = Descriptor("fieldproof", "0.1.0", "sim", True, "simulated", (BME280,))
CERTIFICATE = Certificate(
    instrument_model=BME280.model,
    serial=BME280.serial,
    serial_kind=BME280.serial_kind,
    quantity="temperature",
    unit="Cel",
    model="linear",
    coefficients=(-0.4, 1.02),
    reference="PT100 no. 7, DKD-K-00001",
    uncertainty=0.08,
    low=-5.0,
    high=40.0,
    issued_s=NOW_S - 86_400,
    expires_s=NOW_S + 86_400,
)

CLAIM = JoinClaim(
    network=NETWORK,
    kind="test",
    gateway_keys=(GATEWAY.public_key,),
    broker_url="mqtts://broker.example:8883",
    claim_id=bytes.fromhex("0011223344556677"),
    secret=bytes(range(128, 160)),
    expires_s=NOW_S + 86_400,
)
MEMBERSHIP = Membership(
    DEVICE_ID, NETWORK, "test", (GATEWAY.public_key,), (("jump/temperature", 2.0),), NOW_S - 3600, None
)


def reading(number: int = 0, **changes: Any) -> Reading:
    """The `number`-th minute of a quiet day; readings are whole minutes apart."""
    base = Reading("bme280-76", (NOW_S - 3600 + 60 * number) * 1000, VALUES)
    return replace(base, **changes)


def claims(**changes: Any) -> Claims:
    """The first proof of `DEVICE`'s first log, sealed at `NOW_S`."""
    base = Claims(
        device=DEVICE_ID,
        network=NETWORK,
        sealed_at_s=NOW_S,
        freshness=(BEACON.hash,),
        bootcount=3,
        bootseed=bytes(range(16)),
        log=LOG,
        seq=1,
        prev=None,
        time=TimeClaim(5_000_000_000, 1, 12_000),
        descriptor_hash=DESCRIPTOR.hash(),
        descriptor=DESCRIPTOR,
    )
    return replace(base, **changes)


def proof(*readings: Reading, signer: SeedSigner = DEVICE, **changes: Any) -> bytes:
    """The COSE bytes of a proof with `claims(**changes)`; one reading where none is given."""
    return sealing.seal(claims(**changes), readings or (reading(),), signer)


def following(before: bytes, *readings: Reading, **changes: Any) -> bytes:
    """The proof after `before` in the same log; its descriptor is known by its hash."""
    head = sealing.parse(before)
    return proof(
        *readings,
        **{
            "seq": head.claims.seq + 1,
            "prev": head.hash,
            "log": head.claims.log,
            "descriptor": None,
            **changes,
        },
    )


def turn(seq: int = 1, log: bytes = LOG, old: SeedSigner = DEVICE, new: SeedSigner = NEXT_KEY) -> bytes:
    """The rotation object for proof `seq` of `log`."""
    return rotation.sign(log, seq, old, new, rotation.commitment(AFTER_NEXT_KEY.public_key), NOW_S)


def heartbeat(before: bytes) -> bytes:
    """The empty proof after `before` (§3.7)."""
    return sealing.seal(sealing.parse(following(before)).claims, (), DEVICE)


FIRST_KEY = DeviceKey(DEVICE.public_key, commitment(NEXT_KEY.public_key))


@dataclass
class World:
    """A `Known` in memory: one member, `DEVICE`, of which nothing was seen yet."""

    network: str = NETWORK
    kind: Kind = "test"
    members: dict[str, DeviceRecord] = field(
        default_factory=lambda: {DEVICE_ID: DeviceRecord(DEVICE_ID, FIRST_KEY)}
    )
    turns: dict[tuple[bytes, int], DeviceKey] = field(default_factory=dict)
    hashes: dict[tuple[str, bytes, int], bytes] = field(default_factory=dict)
    declared: tuple[Gap, ...] = ()
    beacons: dict[bytes, Beacon] = field(default_factory=lambda: {BEACON.hash: BEACON})
    descriptors: dict[bytes, Descriptor] = field(default_factory=lambda: {DESCRIPTOR.hash(): DESCRIPTOR})
    in_force: Descriptor | None = None

    def device(self, device: str) -> DeviceRecord | None:
        return self.members.get(device)

    def key(self, device: str, log: bytes, seq: int) -> DeviceKey:
        before = [key for (in_log, at), key in self.turns.items() if in_log == log and at <= seq]
        return before[-1] if before else FIRST_KEY if log == LOG else self.members[device].key

    def hash_at(self, device: str, log: bytes, seq: int) -> bytes | None:
        return self.hashes.get((device, log, seq))

    def gaps(self, device: str, log: bytes) -> Iterable[Gap]:
        return self.declared

    def beacon(self, beacon_hash: bytes) -> Beacon | None:
        return self.beacons.get(beacon_hash)

    def descriptor(self, device: str, descriptor_hash: bytes) -> Descriptor | None:
        return self.descriptors.get(descriptor_hash)

    def announced(self, device: str) -> Descriptor | None:
        return self.in_force

    def change(self, **changes: Any) -> World:
        """The member's record changed in place."""
        self.members[DEVICE_ID] = replace(self.members[DEVICE_ID], **changes)
        return self

    def accept(self, data: bytes) -> World:
        """As if this proof had been accepted."""
        opened = sealing.parse(data)
        now = opened.claims
        self.hashes[DEVICE_ID, now.log, now.seq] = opened.hash
        if now.rotation is not None:
            key = rotation.succeed(rotation.parse(now.rotation), self.members[DEVICE_ID].key)
            self.turns[now.log, now.seq] = key
            self.change(key=key)
        return self.change(head=Head(now.log, now.seq, opened.hash), bootcount=now.bootcount)
