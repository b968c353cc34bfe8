"""Parts for the gateway's tests: a device that seals proofs without an agent, a gateway without a broker."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from gateway.enrolment import Network
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.service import Inbound, Outbound, Service
from gateway.store import Store
from proof import joining, receipt, rotation, sealing, wire
from proof.claims import Claims, Gap, Predecessor, TimeClaim
from proof.cose import object_hash
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.joining import JoinClaim, Kind
from proof.keys import SeedSigner, device_id
from proof.receipt import Receipt
from proof.senml import Measured, Reading

NOW_S = 1_790_000_000
NETWORK = "test-net"
GATEWAY = SeedSigner(bytes(range(32)), "file")


def descriptor(simulated: bool = True, serial: str = "T1") -> Descriptor:
    quantity = QuantityDescriptor("temperature", "Cel", 0.01, 0.5)
    thermometer = InstrumentDescriptor("t", "bme280", "i2c:1", "0x76", "BME280", serial, "trim", (quantity,))
    return Descriptor("fieldproof", "0.1", "sim" if simulated else "file", simulated, "test", (thermometer,))


def readings(count: int = 1, start_s: int = NOW_S) -> tuple[Reading, ...]:
    return tuple(
        Reading("t", (start_s + 60 * n) * 1000, (Measured("temperature", "Cel", Decimal(2000 + n) / 100),))
        for n in range(count)
    )


@dataclass
class Device:
    """Seals the next proof of its open log; `proofs` are all it sealed, by (log, seq)."""

    seed: int = 1
    log: bytes = b"log-0001"
    bootcount: int = 1
    network: str = NETWORK
    seq: int = 0
    prev: bytes | Predecessor | None = None
    proofs: dict[tuple[bytes, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.turns, self.id = 0, ""
        self.signer = self.key(0)
        self.id = self.signer.device

    def key(self, number: int) -> SeedSigner:
        """Its first key, or the one after `number` rotations."""
        return SeedSigner(number.to_bytes(8, "big") + self.seed.to_bytes(24, "big"), "sim", self.id)

    def commitment(self, number: int) -> bytes:
        return rotation.commitment(self.key(number).public_key)

    def turn(
        self, old: SeedSigner | None = None, new: SeedSigner | None = None, next_hash: bytes | None = None
    ) -> bytes:
        """The rotation object that the next proof may carry."""
        old, new = old or self.key(self.turns), new or self.key(self.turns + 1)
        next_hash = next_hash or self.commitment(self.turns + 2)
        return rotation.sign(self.log, self.seq + 1, old, new, next_hash, NOW_S)

    def rotate(self, **changes: object) -> bytes:
        """The next proof, which carries a rotation; what follows is signed by the new key."""
        turn = self.turn()
        self.turns += 1
        self.signer = self.key(self.turns)
        return self.seal(rotation=turn, **changes)  # type: ignore[arg-type]

    def claims(self, **changes: object) -> Claims:
        parts = descriptor()
        claims = Claims(
            device=self.id,
            network=self.network,
            sealed_at_s=NOW_S,
            freshness=(),
            bootcount=self.bootcount,
            bootseed=bytes(16),
            log=self.log,
            seq=self.seq + 1,
            prev=self.prev,
            time=TimeClaim(1, 1, 1000),
            descriptor_hash=parts.hash(),
            descriptor=parts if self.seq == 0 else None,
        )
        return replace(claims, **changes)  # type: ignore[arg-type]

    def seal(self, rows: tuple[Reading, ...] | None = None, **changes: object) -> bytes:
        """The next proof, which the following ones continue."""
        data = sealing.seal(self.claims(**changes), readings() if rows is None else rows, self.signer)
        self.seq += 1
        self.prev = object_hash(data)
        self.proofs[self.log, self.seq] = data
        return data

    def other(self, signer: SeedSigner | None = None, **changes: object) -> bytes:
        """Another proof in the place of the next one; nothing follows it."""
        return sealing.seal(self.claims(**changes), readings(2), signer or self.signer)

    def start_log(self, log: bytes, named: bytes | None, reason: str = "store lost") -> None:
        self.prev = Predecessor(named, None, reason) if named else None
        self.log, self.seq = log, 0

    def gap(self, first: int, last: int) -> Gap:
        first_hash, last_hash = (object_hash(self.proofs[self.log, seq]) for seq in (first, last))
        return Gap(first, last, first_hash, last_hash, "store full")


class Gateway:
    """A service over a ledger file; `restart` opens the file anew."""

    def __init__(self, folder: Path, kind: Kind = "test", seed: int = 0) -> None:
        self.path, self.kind, self.now_s = folder / "ledger.db", kind, float(NOW_S)
        self._random = random.Random(seed)
        owner = device_id(GATEWAY.public_key)
        self._open(Store.create(self.path, NETWORK, kind, owner))

    def _open(self, store: Store) -> None:
        self.store = store
        self.ledger, self.register = Ledger(store, NETWORK, self.kind), Register(store)
        network = Network(NETWORK, self.kind, {"frozen_s": 3600.0})
        self.service = Service(
            self.ledger, self.register, network, GATEWAY, lambda: self.now_s, self._random.randbytes
        )

    def restart(self) -> None:
        self.store.close()
        self._open(Store.open(self.path, NETWORK, self.kind, device_id(GATEWAY.public_key)))

    def claim(self, valid_for_s: int = 3600, owner: str = "owner") -> JoinClaim:
        claim = JoinClaim(
            network=NETWORK,
            kind=self.kind,
            gateway_keys=(GATEWAY.public_key,),
            broker_url="mqtt://127.0.0.1",
            claim_id=self._random.randbytes(8),
            secret=self._random.randbytes(32),
            expires_s=int(self.now_s) + valid_for_s,
        )
        self.register.add_claim(claim, owner)
        return claim

    def enrol(self, device: Device, claim: JoinClaim | None = None, simulated: bool = True) -> list[Outbound]:
        claim = claim or self.claim()
        request = joining.sign_enrolment(
            claim, descriptor(simulated), device.commitment(1), device.signer, int(self.now_s)
        )
        return self.service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)])

    def member(self, seed: int = 1, **parts: object) -> Device:
        device = Device(seed, **parts)  # type: ignore[arg-type]
        self.enrol(device)
        return device

    def send(self, device: Device, *proofs: bytes) -> list[Outbound]:
        topic = wire.topic(NETWORK, device.id, "proof")
        return self.service.take([Inbound(topic, wire.deflate(proof)) for proof in proofs])

    def receipt(self, device: Device) -> Receipt:
        found = self.ledger.receipt(device.id)
        assert found is not None
        return found

    def contents(self) -> list[object]:
        """Every row of the ledger, to see that nothing changed."""
        tables = [name for (name,) in self.store.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [self.store.rows(f"SELECT * FROM {name}") for name in tables]

    def close(self) -> None:
        self.store.close()


def refused(answers: list[Outbound], device: Device) -> list[tuple[str, bytes]]:
    """(reason, hash) of the proofs that `answers` refuse, which are nothing else."""
    topic, found = wire.topic(NETWORK, device.id, "receipt"), []
    for answer in answers:
        told = receipt.open_receipt(answer.payload, [GATEWAY.public_key], device.id)
        (verdict,), proof_hash = told.verdicts, receipt.refused_hash(told.verdicts[0])
        assert (answer.topic, answer.retain, told.log, told.head_seq) == (topic, False, receipt.NO_LOG, 0)
        assert proof_hash is not None
        found.append((verdict.code, proof_hash))
    return found


def receipt_in(answers: list[Outbound], device: Device) -> Receipt:
    """The one receipt among `answers`, opened as the device would."""
    topic = wire.topic(NETWORK, device.id, "receipt")
    (message,) = [answer for answer in answers if answer.topic == topic]
    return receipt.open_receipt(message.payload, [GATEWAY.public_key], device.id)
