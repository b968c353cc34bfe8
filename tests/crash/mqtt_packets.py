"""As much of MQTT (3.1.1 and 5) as stands between two that speak it: where a packet ends, and what a
PUBLISH carries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

CONNECT, PUBLISH, PUBACK = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Packet:
    """`head` is the first byte; `body` what follows the remaining length."""

    head: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.head >> 4

    def data(self) -> bytes:
        return bytes([self.head]) + _varint(len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class Publish:
    head: int
    topic: str
    mid: bytes  # empty at QoS 0
    properties: bytes  # with their length; empty in 3.1.1
    payload: bytes

    def packet(self) -> Packet:
        topic = self.topic.encode()
        body = len(topic).to_bytes(2, "big") + topic + self.mid + self.properties + self.payload
        return Packet(self.head, body)

    def carrying(self, payload: bytes) -> Packet:
        return replace(self, payload=payload).packet()

    def acknowledged(self) -> Packet:
        """What a broker answers that took it."""
        return Packet(PUBACK << 4, self.mid)


def publish(packet: Packet, version: int) -> Publish:
    length = int.from_bytes(packet.body[:2], "big")
    topic, rest = packet.body[2 : 2 + length].decode(), packet.body[2 + length :]
    mid, rest = (rest[:2], rest[2:]) if packet.head & 0x06 else (b"", rest)
    size = 0
    if version >= 5:
        count = value = 0
        while True:
            value |= (rest[count] & 0x7F) << (7 * count)
            count += 1
            if not rest[count - 1] & 0x80:
                break
        size = count + value
    return Publish(packet.head, topic, mid, rest[:size], rest[size:])


def version_of(connect: Packet) -> int:
    """Protocol level of a CONNECT: it stands behind the name `MQTT`."""
    return connect.body[6]


async def read(stream: asyncio.StreamReader) -> Packet:
    head = (await stream.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await stream.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return Packet(head, await stream.readexactly(length))


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)
