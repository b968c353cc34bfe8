"""What a disk was asked to do, in order; and what may be left of it when the power goes.

- Format: that of Linux's dm-log-writes, version 1, as qemu's `blklogwrites` writes it. Sector 0 holds magic,
  version, number of entries and sector size; then entries, each a header sector and the sectors written. A
  discard has no data. The number of entries is only as new as the last flush: entries are read to the end.
- qemu logs an entry when it is done, before the guest hears of it. So what stands before a flush was on the
  disk when that flush was answered, and what the guest did because of the answer stands behind it.
- The power goes at `position`: `position` entries were done. Flushed ones stay. Of each write since the last
  flush, any of its sectors may be there or not, whatever became of the others: kept, lost, torn, reordered.
- An entry cut short at the end was never answered; it is left out.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_KNOWN_FLAGS = 0x1F  # with marks and metadata, which only Linux writes

Piece = tuple[int, bytes]
"""Where on the disk, in bytes, and what."""


class LogError(Exception):
    """This is no log of a disk."""


@dataclass(frozen=True, slots=True)
class Entry:
    """In sectors; `at` is where its data lies in the log, in bytes."""

    sector: int
    sectors: int
    flags: int
    at: int

    @property
    def writes(self) -> bool:
        return self.sectors > 0 and not self.flags & DISCARD


class DiskLog:
    """`entries` are those that were done, in that order."""

    def __init__(self, path: Path) -> None:
        self._data: mmap.mmap | bytes = b""
        self.entries: list[Entry] = []
        if path.stat().st_size:  # else nothing was ever written
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            magic, version, announced, self.sector_bytes = _SUPER.unpack_from(self._data)
            if (magic, version) != (MAGIC, 1):
                raise LogError(f"{path} is no log of a disk, version 1")
            self.entries = list(self._read())
            if len(self.entries) < announced:
                raise LogError(f"{path} announces {announced} entries and has {len(self.entries)}")
        self._flushes = [n for n, entry in enumerate(self.entries) if entry.flags & FLUSH]

    def close(self) -> None:
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def data(self, entry: Entry) -> bytes:
        return self._data[entry.at : entry.at + entry.sectors * self.sector_bytes]

    def without_last_flush(self) -> None:
        """Forget a flush at the very end: qemu flushes by itself when the machine is stopped."""
        if self._flushes and self._flushes[-1] == len(self.entries) - 1:
            self._flushes.pop()
            self.entries.pop()

    def flushed(self, position: int) -> int:
        """How many entries stay whatever happens when the power goes at `position`."""
        before = bisect_left(self._flushes, position)
        return self._flushes[before - 1] + 1 if before else 0

    def kept(self, first: int, last: int) -> Iterator[Piece]:
        """The writes among the entries from `first` to before `last`, whole."""
        for entry in self.entries[first:last]:
            if entry.writes:
                yield entry.sector * self.sector_bytes, self.data(entry)

    def remains(self, position: int, dice: Random) -> Iterator[Piece]:
        """What is left of the unflushed writes. All and none are as likely as something in between."""
        share = dice.choice((0.0, 1.0, dice.random()))
        torn = dice.choice((0.0, 0.3))
        for entry in self.entries[self.flushed(position) : position]:
            if not entry.writes:
                continue
            start, data = entry.sector * self.sector_bytes, self.data(entry)
            if entry.flags & FUA:
                yield start, data
            elif dice.random() < torn:
                for at in range(0, len(data), self.sector_bytes):
                    if dice.random() < 0.5:
                        yield start + at, data[at : at + self.sector_bytes]
            elif dice.random() < share:
                yield start, data

    def _read(self) -> Iterator[Entry]:
        at = self.sector_bytes
        while at + self.sector_bytes <= len(self._data):
            sector, sectors, flags, _ = _ENTRY.unpack_from(self._data, at)
            at += self.sector_bytes
            entry = Entry(sector, sectors, flags, at)
            if flags & ~_KNOWN_FLAGS or not (sectors or flags):
                return  # never written: a hole that was reserved when the machine was killed
            if not flags & DISCARD:
                at += sectors * self.sector_bytes
            if at > len(self._data):
                return
            yield entry


def write(disk: BinaryIO, pieces: Iterable[Piece]) -> None:
    for start, data in pieces:
        disk.seek(start)
        disk.write(data)
    disk.flush()
