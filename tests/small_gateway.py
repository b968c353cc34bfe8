"""The least that answers a device: it keeps proofs, signs receipts, and does what a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from proof import beacon, chain, receipt, sealing, wire
from proof.chain import Head
from proof.keys import SeedSigner
from proof.receipt import Receipt
from proof.sealing import Proof

NOW_S = 1_800_000_000


class SmallGateway:
    """Of one device. `proofs` are all that came, in order; it answers each while `answering`."""

    def __init__(
        self,
        port: int,
        network: str,
        device: str,
        signer: SeedSigner,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.proofs: list[Proof] = []
        self.presence: list[bytes] = []
        self.answering, self.blind_to_gaps = True, False
        self.receipts = 0
        self._network, self._device, self._signer = network, device, signer
        self._port, self._protocol = port, protocol
        self._client: paho.Client | None = None

    def topic(self, leaf: str) -> str:
        return wire.topic(self._network, self._device, leaf)

    def connect(self) -> SmallGateway:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=self._protocol)
        ready = threading.Event()
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", self._port)
        client.subscribe([(self.topic("proof"), 1), (self.topic("status"), 1)])
        client.loop_start()
        assert ready.wait(10), "the gateway could not subscribe"
        self._client = client
        return self

    def disconnect(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def send(self, leaf: str, data: bytes, retain: bool = True) -> None:
        """Publish and wait for the PUBACK. A leaf that is a whole topic is taken as it is."""
        topic = leaf if "/" in leaf else self.topic(leaf)
        if self._client is None:
            self.connect()
        assert self._client is not None
        self._client.publish(topic, data, 1, retain).wait_for_publish(10)

    def beacon(self, number: int, signer: SeedSigner | None = None) -> bytes:
        data = beacon.sign_beacon(
            self._network, number, number.to_bytes(16, "big"), signer or self._signer, NOW_S
        )
        self.send(wire.beacon_topic(self._network), data)
        return data

    def receipt(self, log: bytes, head: Proof | None, **changes: object) -> Receipt:
        made = Receipt(self._device, log, head.claims.seq if head else 0, head.hash if head else None, NOW_S)
        return replace(made, **changes)  # type: ignore[arg-type]

    def sign(self, made: Receipt, signer: SeedSigner | None = None) -> bytes:
        return receipt.sign(made, signer or self._signer, NOW_S)

    def seqs(self) -> list[int]:
        return [proof.claims.seq for proof in self.proofs]

    def holds(self, count: int) -> Callable[[], bool]:
        """Whether 1 to `count` of the newest log came."""
        return lambda: (
            set(range(1, count + 1))
            <= {p.claims.seq for p in self.proofs if p.claims.log == self.proofs[-1].claims.log}
        )

    def answer(self) -> None:
        """Sign what is held of the log of the newest proof."""
        log = self.proofs[-1].claims.log
        held = {proof.claims.seq: proof for proof in self.proofs if proof.claims.log == log}
        gaps = [] if self.blind_to_gaps else [gap for proof in held.values() for gap in proof.claims.gaps]
        seq, head_hash = 0, None
        while True:
            seq, head_hash = chain.reach(Head(log, seq, head_hash), gaps)
            if seq + 1 not in held:
                break
            seq, head_hash = seq + 1, held[seq + 1].hash
        missing = chain.missing(held, seq, receipt.MAX_MISSING, gaps)
        self._publish(self.sign(Receipt(self._device, log, seq, head_hash, NOW_S, missing)))
        self.receipts += 1

    def takes(self, proof: Proof) -> bool:
        """Whether it is held at all; for a gateway that looks closer."""
        return True

    def _publish(self, data: bytes) -> None:
        assert self._client is not None
        self._client.publish(self.topic("receipt"), data, 1, True)

    def _on_message(self, client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        if message.topic == self.topic("status"):
            self.presence.append(bytes(message.payload))
            return
        proof = sealing.parse(wire.inflate(bytes(message.payload)))
        if not self.takes(proof):
            return
        self.proofs.append(proof)
        if self.answering and self._client is client:
            self.answer()
