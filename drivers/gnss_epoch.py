"""Bytes of a GNSS receiver in, epochs out: where and when it says that it is, or why that is not believed.

- Messages of the same moment make an epoch; NMEA and UBX make their own. It ends with the first message of
  another moment, with a message that says so (NAV-PVT, NAV-EOE), or when the line falls silent.
- A position or a time needs a statement that the fix is valid and none that it is not (RMC status V, mode N,
  GGA quality 0, gnssFixOK 0).
- A date outside the 1024 weeks from `earliest` is a week rollover, a receiver that does not know the date, or
  a lie: the whole epoch is refused, for what believes in a wrong week finds satellites in wrong places.
- An altitude needs three dimensions. Estimated and held positions are marked: they were not measured.
- The first epoch of a stream may have begun before it: it is marked as not `whole`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from drivers import nmea, ubx
from drivers.framing import Format, Frames
from drivers.gnss_message import Kind, Message

# Not later than this build was released: nobody can have measured with it before. Moved forward by releases.
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
_ROLLOVER_NS = 1024 * 7 * 86_400 * 10**9

# One standard deviation of a range: GPS SPS performance standard 2020 (3.9 m from space), rounded up.
_RANGE_ERROR_M = 5.0
_FOR_3D = 4
NO_FIX = "no valid fix"
_LONGEST = max(nmea.LONGEST, ubx.LONGEST)


@dataclass(frozen=True, slots=True)
class Fix:
    """A position on WGS 84, altitude above mean sea level; accuracy is horizontal, one standard deviation."""

    kind: Kind
    lat_deg: float
    lon_deg: float
    alt_m: float | None
    accuracy_m: float | None

    @property
    def measured(self) -> bool:
        return self.kind in (Kind.TWO_D, Kind.THREE_D)


@dataclass(frozen=True, slots=True)
class Epoch:
    """`boottime_ns` is when its first byte arrived, `utc_ns` the moment it speaks of (since 1970)."""

    source: str
    boottime_ns: int
    whole: bool
    fix: Fix | None
    satellites: int | None
    utc_ns: int | None
    utc_error_ns: int
    refused: str
    """Why there is neither a position nor a time; "" where there is one."""


def _length(candidate: bytes) -> int | None:
    if candidate.startswith(nmea.START):
        return nmea.length(candidate)
    return ubx.length(candidate)


def _intact(frame: bytes) -> bool:
    return nmea.intact(frame) if frame.startswith(nmea.START) else ubx.intact(frame)


FORMAT = Format(start=b"", longest=_LONGEST, length=_length, intact=_intact)


class Stream:
    """One receiver's bytes. `frames` counts the intact frames so far, `skipped` the bytes of none."""

    def __init__(self, earliest: datetime = RELEASED) -> None:
        self._earliest_ns = int(earliest.timestamp()) * 10**9
        self._frames = Frames(FORMAT)
        self._fed = self._framed = self.frames = 0
        self._held_since_ns = 0
        self._open: dict[str, _Open] = {}
        self._over: dict[str, int] = {}
        self._seen_an_end = False
        self.answers: list[bytes] = []
        """Intact UBX frames that are not of an epoch, the newest few."""

    @property
    def skipped(self) -> int:
        return self._frames.skipped

    def feed(self, data: bytes, boottime_ns: int) -> list[Epoch]:
        """The epochs that ended with `data`, which arrived at `boottime_ns`."""
        holds = self._frames.skipped + self._framed < self._fed
        began_ns = self._held_since_ns if holds else boottime_ns
        self._fed += len(data)
        found = self._frames.feed(data)
        ended: list[Epoch] = []
        for frame in found:
            ended += self._frame(frame, began_ns)
            began_ns = boottime_ns  # only the first frame can have begun in what arrived before
        self._held_since_ns = began_ns
        return ended

    def silence(self) -> list[Epoch]:
        """Nothing came for a while: what is open has ended, and what comes next begins an epoch."""
        ended: list[Epoch] = []
        for frame in self._frames.silence():
            ended += self._frame(frame, self._held_since_ns)
        ended += [self._ended(source) for source in list(self._open)]
        self._seen_an_end = True
        self._over.clear()
        return ended

    def _frame(self, frame: bytes, began_ns: int) -> list[Epoch]:
        self._framed += len(frame)
        self.frames += 1
        message = nmea.decode(frame) if frame.startswith(nmea.START) else ubx.decode(frame)
        if message is None:
            if frame.startswith(ubx.START):
                self.answers = [*self.answers[-7:], frame]
            return []
        ended = []
        source = message.source
        if source in self._open and message.moment not in (None, self._open[source].moment):
            ended.append(self._ended(source))
        if source not in self._open:
            if message.moment in (None, self._over.get(source)):
                return ended  # its epoch is over, or began before we listened
            self._open[source] = _Open(message.moment, began_ns, self._seen_an_end, [])
        self._open[source].messages.append(message)
        if message.ends:
            ended.append(self._ended(source))
        return ended

    def _ended(self, source: str) -> Epoch:
        self._seen_an_end = True
        epoch = self._open.pop(source)
        self._over[source] = epoch.moment
        return _judged(source, epoch, self._earliest_ns)


@dataclass(slots=True)
class _Open:
    moment: int
    boottime_ns: int
    whole: bool
    messages: list[Message]


def _judged(source: str, epoch: _Open, earliest_ns: int) -> Epoch:
    said = _merged(epoch.messages)
    utc_ns = _utc_ns(said)
    refused = _refusal(said, utc_ns, earliest_ns)
    fix = None if refused else _fix(said)
    return Epoch(
        source,
        epoch.boottime_ns,
        epoch.whole,
        fix,
        said.satellites,
        None if refused else utc_ns,
        said.utc_error_ns or 0,
        refused,
    )


def _merged(messages: Iterable[Message]) -> Message:
    """All that is said of one moment: the later word counts, but of validity and kind the worst."""
    # NAV-SOL has the position in another form: it counts only where there is no other.
    parts = sorted(messages, key=lambda message: message.name != "NAV-SOL")
    whole = parts[0]
    for part in parts[1:]:
        news = {
            field.name: value
            for field in dataclasses.fields(part)
            if (value := getattr(part, field.name)) is not None
        }
        whole = dataclasses.replace(whole, **news)
    kinds = {part.kind for part in parts}
    said = {part.valid for part in parts} - {None}
    return dataclasses.replace(
        whole,
        valid=said == {True},
        kind=next((k for k in (Kind.ESTIMATED, Kind.HELD, Kind.THREE_D, Kind.TWO_D) if k in kinds), None),
    )


def _utc_ns(said: Message) -> int | None:
    if said.utc_ns is not None or said.day is None or said.time_of_day_ns is None:
        return said.utc_ns
    midnight = datetime(said.day.year, said.day.month, said.day.day, tzinfo=UTC)
    return int(midnight.timestamp()) * 10**9 + said.time_of_day_ns


def _refusal(said: Message, utc_ns: int | None, earliest_ns: int) -> str:
    if not said.valid:
        return NO_FIX
    if said.nonsense:
        return said.nonsense
    if utc_ns is not None and not 0 <= utc_ns - earliest_ns < _ROLLOVER_NS:
        day = datetime.fromtimestamp(utc_ns // 10**9, UTC).date()
        return f"the date {day} cannot be: the receiver does not know it, or its week number has rolled over"
    return ""


def _fix(said: Message) -> Fix | None:
    lat_deg, lon_deg = said.lat_deg, said.lon_deg
    if lat_deg is None or lon_deg is None or not (-90 <= lat_deg <= 90 and -180 <= lon_deg <= 180):
        return None
    kind = said.kind
    if kind is None:
        has_3d = said.alt_m is not None and (said.satellites or 0) >= _FOR_3D
        kind = Kind.THREE_D if has_3d else Kind.TWO_D
    accuracy_m = said.accuracy_m
    if accuracy_m is None and said.hdop is not None:
        accuracy_m = said.hdop * _RANGE_ERROR_M
    return Fix(kind, lat_deg, lon_deg, None if kind is Kind.TWO_D else said.alt_m, accuracy_m)
