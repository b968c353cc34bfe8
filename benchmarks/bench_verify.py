"""How many proofs one core verifies, beside nothing but the Ed25519 check of the same bytes.

- raw: `nacl.bindings.crypto_sign_open` over signature and signed bytes.
- steps 4.1-4.7: message to verdict (inflate, parse, key, signature, audience, chain) against memory.
- whole verification: the same with the payload and every annotation.
- gateway service: what `fieldproof-gateway listen` does with batches of 256 messages, SQLite's commit with
  its fsync and the signed receipt included.
CPU-bound in one thread; wall time; best of five.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nacl import bindings

from benchmarks import figures
from benchmarks.backlog import DESCRIPTOR, sealed
from benchmarks.field import Field, joined_field
from benchmarks.figures import Figure
from benchmarks.membership import NETWORK, service_of
from gateway import folder
from gateway.service import Inbound
from proof import beacon, cbor, sealing, wire
from proof.beacon import Beacon
from proof.chain import Head
from proof.claims import Gap
from proof.cose import SignedObject
from proof.descriptor import Descriptor
from proof.joining import Kind
from proof.keys import SeedSigner
from proof.rotation import DeviceKey
from proof.verify import DeviceRecord, decide, signed_by, verify

_REPEATS, _BATCH = 5, 256
_PROOFS = {1: 1024, 60: 256}  # readings per proof -> proofs


@dataclass
class Memory:
    """Satisfies `proof.verify.Known` for one device."""

    record: DeviceRecord
    beacons: dict[bytes, Beacon] = field(default_factory=dict)
    network: str = NETWORK
    kind: Kind = "test"

    def device(self, device: str) -> DeviceRecord | None:
        return self.record if device == self.record.device else None

    def key(self, device: str, log: bytes, seq: int) -> DeviceKey:
        return self.record.key

    def hash_at(self, device: str, log: bytes, seq: int) -> bytes | None:
        return None

    def gaps(self, device: str, log: bytes) -> tuple[Gap, ...]:
        return ()

    def beacon(self, beacon_hash: bytes) -> Beacon | None:
        return self.beacons.get(beacon_hash)

    def descriptor(self, device: str, descriptor_hash: bytes) -> Descriptor | None:
        return DESCRIPTOR

    def announced(self, device: str) -> Descriptor | None:
        return None


def best_rates(ways: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Things per second, the best of a few runs of each, which returns how many it did.

    The ways take turns: a busy moment of the machine does not fall on one of them alone.
    """
    found = dict.fromkeys(ways, 0.0)
    for _ in range(_REPEATS):
        for name, work in ways.items():
            began_s = time.perf_counter()
            done = work()
            found[name] = max(found[name], done / (time.perf_counter() - began_s))
    return found


def rates(network: Field, readings_per_proof: int) -> dict[str, float]:
    """Proofs per second of the four ways."""
    gateway, count = folder.load_key(network.gateway), _PROOFS[readings_per_proof]
    service, store = service_of(network.gateway, gateway)
    heard = beacon.open_beacon(service.beacon().payload, [gateway.public_key], NETWORK)
    store.close()
    path = network.folder / f"{readings_per_proof}.db"
    proofs = sealed(path, network.signer, count * readings_per_proof, readings_per_proof, heard.hash)
    messages = [wire.deflate(proof) for proof in proofs]
    opened = [sealing.parse(proof) for proof in proofs]
    heads = [None, *(Head(proof.claims.log, proof.claims.seq, proof.hash) for proof in opened)]
    key = network.signer.public_key
    worlds = [
        Memory(DeviceRecord(network.device, DeviceKey(key), head, 1 if head else 0), {heard.hash: heard})
        for head in heads
    ]
    signed = [signature_input(proof.signed) for proof in opened]
    now_s = time.time()

    def raw() -> int:
        for text in signed:
            bindings.crypto_sign_open(text, key)
        return count

    def accepts(message: bytes, known: Memory) -> bool:
        proof = sealing.parse(wire.inflate(message))
        return decide(proof, known.record, signed_by(proof, known), known).reason == "accepted"

    def steps() -> int:
        return sum(accepts(message, known) for message, known in zip(messages, worlds, strict=False))

    def whole() -> int:
        return sum(
            verify(message, now_s, known).verdict.reason == "accepted"
            for message, known in zip(messages, worlds, strict=False)
        )

    found = best_rates({"raw": raw, "steps 4.1-4.7": steps, "whole verification": whole})
    topic = wire.topic(NETWORK, network.device, "proof")
    inbound = [Inbound(topic, message) for message in messages]
    return found | {"gateway service": max(service_rate(network, gateway, inbound) for _ in range(_REPEATS))}


def service_rate(network: Field, gateway: SeedSigner, messages: list[Inbound]) -> float:
    """Proofs per second into a ledger that has the device and none of its proofs."""
    with tempfile.TemporaryDirectory(dir=network.folder) as name:
        shutil.copy(network.gateway / folder.LEDGER, name)
        service, store = service_of(Path(name), gateway)
        began_s = time.perf_counter()
        for start in range(0, len(messages), _BATCH):
            service.take(messages[start : start + _BATCH])
        rate = len(messages) / (time.perf_counter() - began_s)
        store.close()
    assert service.counts["accepted"] == len(messages), service.counts
    return rate


def signature_input(signed: SignedObject) -> bytes:
    """What `crypto_sign_open` takes: signature, then the Sig_structure of RFC 9052 §4.4."""
    structure = b"\x84\x6aSignature1" + cbor.bstr(signed.protected) + b"\x40" + cbor.bstr(signed.payload)
    return signed.signature + structure


def measure() -> list[Figure]:
    """Verifications per second and core."""
    figures_found = []
    with joined_field() as network:
        for readings_per_proof in _PROOFS:
            found = rates(network, readings_per_proof)
            raw = found.pop("raw")
            what = f"{readings_per_proof} reading{'s' if readings_per_proof > 1 else ''}/proof"
            figures_found.append(Figure(f"{what}: raw Ed25519", raw, "proofs/s"))
            for name, rate in found.items():
                figures_found.append(Figure(f"{what}: {name}", rate, "proofs/s"))
                figures_found.append(Figure(f"{what}: {name} against raw", rate / raw, "times", least=0.5))
    return figures_found


if __name__ == "__main__":
    figures.run(measure)
