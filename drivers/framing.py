"""Frames out of a stream of bytes: finds the next good one after any amount of garbage.

- A candidate begins with `start`; one that turns out bad costs its first byte only, so that a good frame that
  began inside it is still found: `42 42 4D` loses one byte, not the frame.
- What is held is bounded: after `feed`, less than one whole frame.
- Garbage is counted in `skipped`, so that an operator can be told a silent line from a talking one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.errors import InstrumentGone
from drivers.serial_line import Conversation, LineSettings

NOT_YET, NEVER = None, 0


class Garbled(InstrumentGone):
    """Something speaks on the line, but nothing whole came in."""


@dataclass(frozen=True, slots=True)
class Format:
    """How frames of one kind look.

    `length` takes bytes that begin with `start` (perhaps not all of the frame) and gives the whole frame's
    length, `NOT_YET` while that cannot be told, `NEVER` when no frame begins like this. No frame is longer
    than `longest`. `intact` checks a whole candidate: its checksum, and all else that is constant.
    """

    start: bytes
    longest: int
    length: Callable[[bytes], int | None]
    intact: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Voice:
    """What a part says without being asked: frames of `form`, in what `plain` makes of the line's bytes."""

    line: LineSettings
    form: Format
    plain: Callable[[bytes], bytes] = bytes


class Frames:
    """Collects one stream. `skipped` is how many bytes belonged to no frame."""

    def __init__(self, form: Format) -> None:
        self._form = form
        self._held = b""
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """All frames that are complete with `data`, in their order."""
        data, at, found = self._held + data, 0, []
        while at < len(data):
            begin = self._begin(data, at)
            self.skipped += begin - at
            at = begin
            # No candidate needs to be looked at beyond the longest frame.
            length = self._length(data[at : at + self._form.longest])
            if length is NOT_YET:
                break
            if length and self._form.intact(data[at : at + length]):
                found.append(data[at : at + length])
                at += length
            else:
                self.skipped += 1
                at += 1
        self._held = data[at:]
        return found

    def silence(self) -> list[bytes]:
        """The line pauses: what is unfinished is no frame, but a whole one may have begun inside it."""
        found: list[bytes] = []
        while self._held:
            self._held, self.skipped = self._held[1:], self.skipped + 1
            found += self.feed(b"")
        return found

    def forget(self) -> None:
        """Drop an unfinished frame."""
        self._held = b""

    def _begin(self, data: bytes, at: int) -> int:
        """Where the next frame may begin; the end of `data` may be half a start."""
        start = self._form.start
        begin = data.find(start, at)
        if begin >= 0:
            return begin
        for half in range(min(len(start) - 1, len(data) - at), 0, -1):
            if data.endswith(start[:half]):
                return len(data) - half
        return len(data)

    def _length(self, candidate: bytes) -> int | None:
        """Like `Format.length`, and `NOT_YET` for a frame that is still coming in."""
        if len(candidate) < len(self._form.start):
            return NOT_YET
        length = self._form.length(candidate)
        if length is NOT_YET:
            return NEVER if len(candidate) >= self._form.longest else NOT_YET
        if length > self._form.longest:
            return NEVER
        return length if length <= len(candidate) else NOT_YET


def next_frame(line: Conversation, frames: Frames, what: str) -> bytes:
    """The first frame that comes in from now on. Raises `InstrumentGone` at the line's deadline; `Garbled`
    if it was not silent.

    Frames that came in behind it are dropped: for a sensor that repeats itself. `what` is for the sentence.
    """
    skipped = frames.skipped
    while True:
        try:
            data = line.some()
        except InstrumentGone as gone:
            if frames.skipped == skipped:
                raise
            raise Garbled(
                f"{gone.sentence} It sent {frames.skipped - skipped} bytes that are not of {what}: "
                "is it the right driver for this line?"
            ) from gone
        if found := frames.feed(data):
            return found[0]
