"""A serial part that says what a real one said: recorded bytes, exactly, at the pace of a clock.

- Paced by bytes (`bytes_per_s`, as a line speed would) or by lines (`line_s` from one to the next; `line_end`
  names the end of records that are not lines).
- It hears nothing: a recording does not answer.
- A recording ends in silence; with `repeat` it begins again. Nothing is added or mended; what was due while
  nobody looked comes at the next look, at most one whole recording of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock


class RecordedSerial:
    """A `SerialPart`; time runs from the first look. Raises ValueError for a pace that is none."""

    def __init__(
        self,
        recorded: bytes,
        clock: Clock,
        *,
        bytes_per_s: float | None = None,
        line_s: float | None = None,
        line_end: bytes = b"\n",
        repeat: bool = False,
    ) -> None:
        pace = bytes_per_s if line_s is None else line_s
        if (bytes_per_s is None) == (line_s is None) or pace is None or not pace > 0:
            raise ValueError("give one of bytes_per_s and line_s, above 0")
        self._recorded, self._clock, self._repeat = recorded, clock, repeat
        self._ends: Sequence[int] = range(1, len(recorded) + 1)
        self._per_s = pace
        if line_s is not None:
            self._ends, self._per_s = _line_ends(recorded, line_end), 1 / pace
        self._began_ns: int | None = None
        self._said = 0

    @property
    def ended(self) -> bool:
        return not self._repeat and self._said >= len(self._ends)

    def heard(self, data: bytes) -> bytes:
        return b""

    def due(self) -> bytes:
        now_ns, count = self._clock.boottime_ns(), len(self._ends)
        if self._began_ns is None:
            self._began_ns = now_ns
        due = int((now_ns - self._began_ns) / 1e9 * self._per_s)
        if not self._repeat:
            due = min(due, count)
        first, self._said = max(self._said, due - count), max(self._said, due)
        if first >= due:
            return b""
        begin, end = self._position(first), self._position(due)
        if begin < end:
            return self._recorded[begin:end]
        return self._recorded[begin:] + self._recorded[:end]

    def _position(self, piece: int) -> int:
        """Where this piece begins in the recording; the one after the last begins it again."""
        within = piece % len(self._ends)
        return self._ends[within - 1] if within else (0 if self._repeat or not piece else self._ends[-1])


def _line_ends(recorded: bytes, line_end: bytes) -> list[int]:
    """The last line may have no end."""
    ends, at = [], 0
    while (at := recorded.find(line_end, at)) >= 0:
        at += len(line_end)
        ends.append(at)
    if not ends or ends[-1] < len(recorded):
        ends.append(len(recorded))
    return ends
