"""The network between agent and broker, and what it may do to them. A process of its own, told what to do.

- It speaks TCP to both and understands as much of MQTT as `mqtt_packets`: packets are delayed, doubled,
  swapped, swallowed whole.
- `drop` swallows PUBLISHes; `forget` does so with proofs and says PUBACK as a broker would.
- `half_open`: the connections of that moment are dead for ever and never closed; `reset` ends them with RST.
- What answers like a gateway that is late, doubles, garbles or repeats itself, or like a stranger's or for
  another device (`ANSWERS`), is made here from the real receipts and the proofs that went by.
- Modes are on or off; several at once. Each packet meets them by the proxy's own dice, drawn from the seed.
- What it did is written down, a word a line: a fault that met nobody has shown nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
from dataclasses import replace
from pathlib import Path

from proof import receipt, sealing, wire
from proof.keys import SeedSigner, device_id
from proof.receipt import Receipt
from proof.sealing import Proof
from tests.crash import mqtt_packets
from tests.crash.mqtt_packets import CONNECT, PUBLISH, Packet, Publish

NETWORK = ("drop", "forget", "delay", "duplicate", "reorder", "slow", "refuse", "half_open", "reset")
ANSWERS = ("late", "twice", "garbled", "stale", "stranger", "other_device", "contradiction")
MODES = NETWORK + ANSWERS
_RST = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
_STRANGER = SeedSigner(b"\x07" * 32, "file")


class Proxy:
    """`gateway` is the network's own key: a gateway that errs signs well."""

    def __init__(self, broker_port: int, device: str, gateway: SeedSigner, seed: int, did: Path) -> None:
        self._broker_port, self._device, self._gateway = broker_port, device, gateway
        self._did = os.open(did, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._dice = random.Random(seed)
        self._modes: set[str] = set()
        self._connections: set[_Connection] = set()
        self._newest: Proof | None = None
        self._first_receipt, self._contradicted = b"", False

    async def serve(self, listening: socket.socket, control: socket.socket) -> None:
        server = await asyncio.start_server(self._accepted, sock=listening)
        told, _writer = await asyncio.open_connection(sock=control)
        async with server:
            while line := await told.readline():
                self._set(set(json.loads(line)))

    def _set(self, modes: set[str]) -> None:
        begun = modes - self._modes
        self._modes = modes
        for connection in list(self._connections):
            if "half_open" in begun:
                connection.dead = self._note("half_open")
            if "reset" in begun:
                self._note("reset")
                connection.reset()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        if "refuse" in self._modes:
            self._note("refuse")
            connection.reset()
            return
        try:
            broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            connection.reset()
            return
        connection.broker = broker[1]
        self._connections.add(connection)
        up = asyncio.create_task(self._pump(connection, reader, broker[1], up=True))
        down = asyncio.create_task(self._pump(connection, broker[0], writer, up=False))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        self._connections.discard(connection)
        connection.close()

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                packet = await mqtt_packets.read(reader)
                if connection.dead:
                    await asyncio.Event().wait()  # it hears nothing more, and nobody hears of it
                if packet.kind == CONNECT:
                    connection.version = mqtt_packets.version_of(packet)
                for passed in await self._through(connection, packet, up):
                    await self._write(writer, passed)

    async def _write(self, writer: asyncio.StreamWriter, packet: Packet) -> None:
        data = packet.data()
        if "slow" in self._modes:
            self._note("slow")
            for start in range(0, len(data), 128):
                writer.write(data[start : start + 128])
                await asyncio.sleep(0.01)
        else:
            writer.write(data)
        await writer.drain()

    async def _through(self, connection: _Connection, packet: Packet, up: bool) -> list[Packet]:
        """What goes on of `packet`."""
        if "delay" in self._modes:
            self._note("delay")
            await asyncio.sleep(self._dice.uniform(0.005, 0.1))
        if packet.kind != PUBLISH:
            return [packet]
        message = mqtt_packets.publish(packet, connection.version)
        out = [packet]
        if up and message.topic.endswith("/proof"):
            self._newest = sealing.parse(wire.inflate(message.payload))
        if not up and message.topic.endswith("/receipt"):
            out = self._answers(connection, message)
        if up and message.topic.endswith("/proof") and self._chance("forget"):
            connection.say(message.acknowledged())
            return []
        if self._chance("drop"):
            return []
        if self._chance("duplicate"):
            out = [*out, *out]
        if self._chance("reorder"):
            out, connection.held[up] = connection.held[up], out
        elif connection.held[up]:
            out, connection.held[up] = [*out, *connection.held[up]], []
        return out

    def _answers(self, connection: _Connection, message: Publish) -> list[Packet]:
        """What the agent hears instead of a receipt."""
        real = wire.inflate(message.payload)
        self._first_receipt = self._first_receipt or real
        packet, modes = message.packet(), self._modes.intersection(ANSWERS)
        if not modes or self._dice.random() < 0.3:
            return [packet]
        kind = self._dice.choice(sorted(modes))
        self._note(kind)
        if kind == "late":
            asyncio.get_running_loop().call_later(self._dice.uniform(0.05, 0.6), connection.say, packet)
            return []
        if kind == "twice":
            return [packet, packet]
        return [message.carrying(data) for data in self._instead(kind, real)]

    def _instead(self, kind: str, real: bytes) -> list[bytes]:
        opened = receipt.open_receipt(real, [self._gateway.public_key], self._device)
        newest = self._newest
        if kind == "stale":
            return [self._first_receipt]
        if kind == "garbled":
            at = self._dice.randrange(len(real))
            return [real[:at] + bytes([real[at] ^ 1 << self._dice.randrange(8)]) + real[at + 1 :], real]
        if newest is None:
            return [real]
        claims = newest.claims
        ahead = replace(opened, log=claims.log, head_seq=claims.seq, head_hash=newest.hash, missing=())
        if kind == "stranger":
            return [self._signed(ahead, _STRANGER), real]
        if kind == "other_device":
            return [self._signed(replace(ahead, device=device_id(_STRANGER.public_key)), self._gateway), real]
        if self._contradicted:  # once: a second one would be a second board's
            return [real]
        self._contradicted = True
        return [self._signed(replace(ahead, head_hash=os.urandom(32)), self._gateway), real]

    def _signed(self, body: Receipt, signer: SeedSigner) -> bytes:
        return receipt.sign(body, signer, body.received_at_s)

    def _chance(self, mode: str) -> bool:
        return mode in self._modes and self._dice.random() < 0.5 and self._note(mode)

    def _note(self, what: str) -> bool:
        os.write(self._did, what.encode() + b"\n")
        return True


class _Connection:
    def __init__(self, device: asyncio.StreamWriter) -> None:
        self.device: asyncio.StreamWriter | None = device
        self.broker: asyncio.StreamWriter | None = None
        self.version, self.dead = 5, False
        self.held: dict[bool, list[Packet]] = {True: [], False: []}

    def say(self, packet: Packet) -> None:
        if self.device is not None and not self.dead:
            self.device.write(packet.data())

    def reset(self) -> None:
        for writer in (self.device, self.broker):
            if writer is not None:
                with contextlib.suppress(OSError):  # closed meanwhile
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.close()

    def close(self) -> None:
        for writer in (self.device, self.broker):
            if writer is not None:
                writer.transport.abort()
        self.device = self.broker = None


def run(proxy: Proxy, listening: socket.socket, control: socket.socket) -> int:
    """Until the control's other end is closed; the exit code."""
    asyncio.run(proxy.serve(listening, control))
    return 0
