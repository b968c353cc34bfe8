"""How far a store has published: `journal.db.mark`, apart from the journal so that it tells of its loss.

- It says log, number and hash of the newest proof that was sealed when one was handed to the broker, and is
  on disk before that. A journal that does not know this proof was put back (SQLite ends a damaged write-ahead
  log at an older state without a word), and must sign no number of that log again (decision 0012).
- Written in place, in one sector, in turn in two blocks: a torn write leaves the other. It is made whole
  beside its place; so where neither block can be read it is damaged.
- It goes with the folder: a copy of the whole card finds nothing. The gateway does (decisions 0004, 0008).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from agent.errors import TryAgain
from proof.claims import HASH_BYTES, LOG_BYTES

_BLOCK, _SECTOR = 4096, 512
_FIELDS = struct.Struct(f">8s8sQ{LOG_BYTES}sQ{HASH_BYTES}s")
_MAGIC = b"fpmark\0\1"
_SUM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Published:
    """`hash` is that of proof `seq` of `log`, zeros before the first."""

    log: bytes
    seq: int
    hash: bytes


class Mark:
    """Of `device` at `path`. `damaged`: there is one, and it cannot be read."""

    def __init__(self, path: Path, device: str) -> None:
        self._path, self._device = path, hashlib.sha256(device.encode()).digest()[:8]
        self._turn = 0
        self.published: Published | None = None
        data = path.read_bytes() if path.exists() else b""
        slots = [found for at in (0, _BLOCK) if (found := _read(data[at : at + _BLOCK])) is not None]
        self.damaged = path.exists() and not slots
        if slots:
            device_, self._turn, self.published = max(slots, key=lambda slot: slot[1])
            if device_ != self._device:
                self.published = None

    def begin(self, published: Published) -> None:
        """A new file. Raises `OSError`."""
        making = self._path.with_name(f"{self._path.name}.new")
        with making.open("wb") as file:
            file.write(self._slot(published).ljust(_BLOCK, b"\0") * 2)
            file.flush()
            os.fsync(file.fileno())
        making.rename(self._path)
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._turn, self.published, self.damaged = self._turn + 1, published, False

    def cover(self, published: Published) -> None:
        """Before any proof up to this one is handed over. Raises `TryAgain`: then none may be."""
        known = self.published
        if known == published:
            return
        if known is not None and known.log == published.log and known.seq > published.seq:
            return
        try:
            if known is None or not self._path.exists():
                self.begin(published)
            else:
                self._write(published)
        except OSError as error:
            sentence = f"{self._path} cannot be written ({error}): no proof is published before."
            raise TryAgain(sentence) from None

    def _write(self, published: Published) -> None:
        """One sector past the page cache, which would make two blocks of 4 KiB of it; where that cannot be,
        through it."""
        with mmap.mmap(-1, mmap.PAGESIZE) as aligned:
            aligned.write(self._slot(published))
            with memoryview(aligned)[:_SECTOR] as sector:
                try:
                    self._put(os.O_DIRECT, sector)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._put(0, sector)
        self._turn, self.published = self._turn + 1, published

    def _put(self, how: int, sector: memoryview) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | how)
        try:
            os.pwrite(descriptor, sector, self._turn % 2 * _BLOCK)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _slot(self, published: Published) -> bytes:
        fields = (_MAGIC, self._device, self._turn + 1, published.log, published.seq, published.hash)
        data = _FIELDS.pack(*fields)
        return data + hashlib.sha256(data).digest()[:_SUM_BYTES]


def _read(block: bytes) -> tuple[bytes, int, Published] | None:
    data, told = block[: _FIELDS.size], block[_FIELDS.size : _FIELDS.size + _SUM_BYTES]
    if len(data) < _FIELDS.size or told != hashlib.sha256(data).digest()[:_SUM_BYTES]:
        return None
    magic, device, turn, log, seq, proof_hash = _FIELDS.unpack(data)
    return (device, turn, Published(log, seq, proof_hash)) if magic == _MAGIC else None
