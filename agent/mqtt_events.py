"""What a `Link` tells its owner, as values.

- Every attempt to connect ends in exactly one `Refused` or `Disconnected`; everything else lies between.
- `mid` numbers mean something within one connection only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """`protocol` is 5, or 4 for MQTT 3.1.1."""

    protocol: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The connection did not come up. `code` is the CONNACK's, below 1 if there was none."""

    reason: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was up and is no more. `code` is MQTT 5's, 0 if unknown or wanted."""

    reason: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Delivered:
    """PUBACK. `failed`: the broker refused it. `no_subscribers`: it took it and nobody listens (MQTT 5)."""

    mid: int
    code: int
    failed: bool
    no_subscribers: bool


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK; `refused` are those of `topics` the broker does not allow."""

    topics: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """`retain`: the broker had kept it; it may be old."""

    topic: str
    payload: bytes
    retain: bool


Event = Connected | Refused | Disconnected | Delivered | Subscribed | Message
