"""Several parts on one RS-485 line: all hear everything, at most the one that is meant answers."""

from __future__ import annotations

from collections.abc import Mapping

from hardware_sim.pty_line import SerialPart


class SharedLine:
    """`parts` by unit number; each must stay silent on what is not addressed to it."""

    def __init__(self, parts: Mapping[int, SerialPart]) -> None:
        self._parts = parts

    def heard(self, data: bytes) -> bytes:
        return b"".join(part.heard(data) for part in self._parts.values())

    def due(self) -> bytes:
        return b"".join(part.due() for part in self._parts.values())
