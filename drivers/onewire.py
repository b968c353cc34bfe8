"""1-Wire parts as the kernel shows them: a folder per part under /sys/bus/w1/devices.

- A bus is that folder; an address is the part's ROM code as the folder's name, such as `28-0316a2794bff`.
- The kernel's file is read whole, bounded, in one go; the conversion happens inside that read.
"""

from __future__ import annotations

from pathlib import Path

from drivers.errors import InstrumentGone, NeedsHuman

DEVICES = Path("/sys/bus/w1/devices")
_MAX_BYTES = 4096


class OneWire:
    """The folder of all parts. `name` is for sentences."""

    def __init__(self, folder: Path = DEVICES) -> None:
        self.folder, self.name = folder, str(folder)

    def read(self, address: str, file: str) -> str:
        """The text of one of a part's files. Raises `InstrumentGone` or `NeedsHuman`."""
        path = self.folder / address / file
        try:
            with path.open("rb") as opened:
                return opened.read(_MAX_BYTES).decode("ascii", "replace")
        except PermissionError:
            raise NeedsHuman(f"{path} may not be read by this user: check its permissions.") from None
        except OSError as error:
            raise InstrumentGone(
                f"{path} cannot be read ({error.strerror}): check the wiring, and that 1-Wire is enabled "
                "(sudo raspi-config nonint do_onewire 0)."
            ) from None

    def addresses(self) -> list[str]:
        """ROM codes of all parts the kernel has found."""
        try:
            return sorted(entry.name for entry in self.folder.iterdir() if entry.name[2:3] == "-")
        except OSError:
            return []

    def close(self) -> None:
        pass
