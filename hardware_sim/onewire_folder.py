"""A 1-Wire bus in a folder: reading a part's file makes the part work first, as the kernel does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from drivers.onewire import OneWire


class FolderPart(Protocol):
    """What hangs on the bus."""

    def appear(self, folder: Path) -> None:
        """Make or remove the part's folder, as it is now."""

    def convert(self, folder: Path) -> None:
        """Measure, and write the file that shows the result."""


class SimulatedOneWire(OneWire):
    """`parts` by ROM code under `folder`; what is read are real files."""

    def __init__(self, folder: Path, parts: Mapping[str, FolderPart]) -> None:
        super().__init__(folder)
        self._parts = parts
        self._look()

    def read(self, address: str, file: str) -> str:
        self._look()
        if file == "w1_slave" and address in self._parts and (self.folder / address).exists():
            self._parts[address].convert(self.folder / address)
        return super().read(address, file)

    def addresses(self) -> list[str]:
        self._look()
        return super().addresses()

    def _look(self) -> None:
        for address, part in self._parts.items():
            part.appear(self.folder / address)
