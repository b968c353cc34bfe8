"""The file form of an evidence bundle (§11.1): a CBOR sequence (RFC 8742) of byte strings.

- The first, number 0, is the header {1: version, 2: device id, 3: network}. Nobody signed it.
- Read piece by piece: a bundle may be larger than memory. A size is bounded before its bytes are read.
- Whatever is wrong is named by its place: number, offset and size in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from proof import cbor, cose
from proof.fields import Fields
from proof.reasons import Reason, Refused

VERSION = 1
_MAX_HEADER_BYTES = 256
Read = Callable[[int], bytes]
"""Up to so many bytes of the file from where the last call ended; b"" at its end."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of one object in the file: the byte string's head and content are its `size` bytes from `offset` on.
    `kind` and `seq` as far as the object says them, "" and 0 where it does not."""

    number: int
    offset: int
    size: int
    kind: str = ""
    seq: int = 0

    def __str__(self) -> str:
        what = [self.kind] * bool(self.kind) + [f"seq {self.seq}"] * bool(self.seq)
        return f"object {self.number} ({', '.join([*what, f'bytes {self.offset} to {self.last}'])})"

    @property
    def last(self) -> int:
        """The offset of its last byte."""
        return self.offset + max(self.size, 1) - 1


@dataclass(frozen=True, slots=True)
class Item:
    place: Place
    data: bytes


class Spoiled(Refused):
    """A bundle's object that is wrong, and where it lies."""

    def __init__(self, place: Place, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, f"{place}: {detail}" if detail else str(place))
        self.place, self.detail = place, detail


def write(device: str, network: str, objects: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a bundle file; `objects` come in the order of §11.1, the membership first."""
    yield cbor.bstr(cbor.encode({1: VERSION, 2: device, 3: network}))
    yield from map(cbor.bstr, objects)


def items(read: Read) -> Iterator[Item]:
    """The byte strings of a file, the header first; raises `Spoiled`."""
    offset = number = 0
    while first := read(1):
        place = Place(number, offset, 1, "header" if number == 0 else "")
        limit = cose.MAX_BYTES if number else _MAX_HEADER_BYTES
        size, head = _size(first, read, place, limit)
        data = _exactly(read, size, place, len(head))
        yield Item(replace(place, size=len(head) + size), data)
        offset, number = offset + len(head) + size, number + 1


def header(item: Item) -> tuple[str, str]:
    """(device, network); raises `Spoiled`."""
    try:
        fields = Fields(cbor.decode(item.data, _MAX_HEADER_BYTES, "the header"), "the bundle's header")
        if fields.integer(1) != VERSION:
            raise Refused(Reason.MALFORMED, f"this verifier reads bundle version {VERSION}")
        found = fields.text(2), fields.text(3, 32)
        fields.end()
    except Refused as refused:
        raise Spoiled(item.place, refused.verdict.reason, refused.verdict.detail) from None
    return found


def reader(data: bytes) -> Read:
    """`data` as `items` reads it."""
    view, position = memoryview(data), 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = bytes(view[position : position + size])
        position += len(piece)
        return piece

    return read


def _size(first: bytes, read: Read, place: Place, limit: int) -> tuple[int, bytes]:
    """(size of the content, the bytes of its head)."""
    kind = first[0]
    if 0x40 <= kind < 0x58:
        return kind & 0x1F, first
    if not 0x58 <= kind <= 0x5A:
        raise Spoiled(place, Reason.MALFORMED, "a byte string was expected")
    width = 1 << (kind - 0x58)
    head = first + _exactly(read, width, place, 1)
    size = int.from_bytes(head[1:], "big")
    if size < (24, 0x100, 0x10000)[kind - 0x58]:
        raise Spoiled(place, Reason.MALFORMED, "the size of a byte string is not in its shortest form")
    if size > limit:
        raise Spoiled(place, Reason.TOO_LARGE, f"it says that it has {size} bytes, the limit is {limit}")
    return size, head


def _exactly(read: Read, size: int, place: Place, before: int) -> bytes:
    data = read(size)
    while len(data) < size and (more := read(size - len(data))):
        data += more
    if len(data) < size:
        place = replace(place, size=before + len(data))
        raise Spoiled(place, Reason.MALFORMED, f"the file ends within object {place.number}")
    return data
