"""Several parts on one RS-485 line: all hear everything, at most the one that is meant answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hardware_sim.pty_line import SerialPart


class UnitPart(SerialPart, Protocol):
    """A part with a unit number, set like its switches or registers are before it is wired up."""

    unit: int


class SharedLine:
    """`parts` by unit number, which they are given; each stays silent on what is not addressed to it."""

    def __init__(self, parts: Mapping[int, UnitPart]) -> None:
        self._parts = parts
        for unit, part in parts.items():
            part.unit = unit

    def heard(self, data: bytes) -> bytes:
        return b"".join(part.heard(data) for part in self._parts.values())

    def due(self) -> bytes:
        return b"".join(part.due() for part in self._parts.values())
