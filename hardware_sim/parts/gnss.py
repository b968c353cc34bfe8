"""Virtual u-blox M8 receiver, seen from its serial pins: NMEA and UBX at 1 Hz.

Reference: u-blox 8/M8 receiver description UBX-13003221 (§31 NMEA, §32 UBX). Written from it alone.

- Once per second of UTC, a little after it: GNRMC, GNGGA, GNGSA, then NAV-PVT. Seconds nobody had time for
  are left out: a line has no memory.
- Cold start: nothing is known and all fields are empty for `cold_start_s` after power came. Then a fix, as
  long as the world has a position (`lat_deg`, `lon_deg`, `alt_m`) and `sky` is free. Without: status V, but
  the time goes on.
- It answers MON-VER and SEC-UNIQID polls. Without power (the world is None) it is silent and forgets.
- UTC is the clock's wall time. `weeks_off` shifts it, as a receiver does whose week number has rolled over.
- The position wanders by a metre or two around the true one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from typing import Protocol

from agent.clock import Clock

_LATENCY_NS = 80_000_000
_REACQUIRE_S = 1.0
_METRES_PER_DEGREE = 111_320.0
_GPS_EPOCH = datetime(1980, 1, 6, tzinfo=UTC)
_LEAP_S = 18  # since 2017-01-01
_SATELLITES, _HDOP, _GEOID_M = 11, 0.92, 47.0
_HACC_MM, _VACC_MM, _TACC_NS = 2_100, 3_200, 25
_VALID_UTC, _FIX_OK = 0x07, 0x01
_MON_VER, _SEC_UNIQID = b"\x0a\x04", b"\x27\x03"
_POLLS = {key: b"\xb5\x62" + key + b"\0\0" for key in (_MON_VER, _SEC_UNIQID)}


class World(Protocol):
    def at(self, boottime_ns: int) -> Mapping[str, float] | None: ...


class GNSS:
    """One receiver; a `SerialPart`."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        *,
        unique_id: bytes = bytes.fromhex("3857755657"),
        cold_start_s: float = 26.0,
        weeks_off: int = 0,
    ) -> None:
        self.sky = True
        self._world, self._clock = world, clock
        self._unique_id, self._cold_start_s, self._weeks_off = unique_id, cold_start_s, weeks_off
        self._told_s = self._second()
        self._on_since_ns: int | None = None
        self._fixed = False
        self._sky_since_ns: int | None = None
        self._asked = b""

    def heard(self, data: bytes) -> bytes:
        """Answers to polls; a poll may come in pieces."""
        if self._on_since_ns is None:
            return b""
        self._asked += data
        answers = b"".join(self._answer(key) for key, poll in _POLLS.items() if poll in self._asked)
        self._asked = b"" if answers else self._asked[-16:]
        return answers

    def due(self) -> bytes:
        now_ns, second = self._clock.boottime_ns(), self._second()
        values = self._world.at(now_ns)
        if values is None:
            self._on_since_ns, self._fixed = None, False
            return b""
        if self._on_since_ns is None:
            self._on_since_ns = now_ns
        has_fix = self._has_fix(values, now_ns, self._on_since_ns)
        if second == self._told_s:
            return b""
        self._told_s = second
        utc = datetime.fromtimestamp(second, UTC) + timedelta(weeks=self._weeks_off)
        if not has_fix:
            return _nmea(utc if self._fixed else None, None) + _pvt(utc if self._fixed else None, None)
        self._fixed = True
        where = _wandered(values, now_ns)
        return _nmea(utc, where) + _pvt(utc, where)

    def _second(self) -> int:
        return (self._clock.wall().ns - _LATENCY_NS) // 10**9

    def _has_fix(self, values: Mapping[str, float], now_ns: int, on_since_ns: int) -> bool:
        if not self.sky or "lat_deg" not in values:
            self._sky_since_ns = None
            return False
        if self._sky_since_ns is None:
            self._sky_since_ns = now_ns
        wait_s = _REACQUIRE_S if self._fixed else self._cold_start_s
        return now_ns - max(self._sky_since_ns, on_since_ns) >= wait_s * 1e9

    def _answer(self, key: bytes) -> bytes:
        if key == _SEC_UNIQID:
            return _ubx(key, b"\1\0\0\0" + self._unique_id)
        extensions = (b"FWVER=SPG 3.01", b"PROTVER=18.00", b"MOD=NEO-M8N-0")
        texts = (b"ROM CORE 3.01 (107888)".ljust(30, b"\0"), b"00080000".ljust(10, b"\0"))
        return _ubx(key, b"".join((*texts, *(text.ljust(30, b"\0") for text in extensions))))


def _wandered(values: Mapping[str, float], now_ns: int) -> tuple[float, float, float]:
    """Slow errors of the ionosphere and of reflections, in metres north, east and up."""
    t_s = now_ns / 1e9
    north, east, up = (
        size_m * math.sin(2 * math.pi * t_s / period_s)
        for size_m, period_s in ((1.1, 700.0), (0.9, 1100.0), (1.8, 900.0))
    )
    lat_deg = values["lat_deg"] + north / _METRES_PER_DEGREE
    lon_deg = values["lon_deg"] + east / (_METRES_PER_DEGREE * math.cos(math.radians(lat_deg)))
    return lat_deg, (lon_deg + 180.0) % 360.0 - 180.0, values.get("alt_m", 0.0) + up


def _nmea(utc: datetime | None, where: tuple[float, float, float] | None) -> bytes:
    time, date = (utc.strftime("%H%M%S.00"), utc.strftime("%d%m%y")) if utc else ("", "")
    if where is None:
        return (
            _sentence(f"GNRMC,{time},V,,,,,,,{date},,,N")
            + _sentence(f"GNGGA,{time},,,,,0,00,99.99,,,,,,")
            + _sentence("GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99")
        )
    lat_deg, lon_deg, alt_m = where
    place = f"{_angle(lat_deg, 2, 'NS')},{_angle(lon_deg, 3, 'EW')}"
    return (
        _sentence(f"GNRMC,{time},A,{place},0.012,,{date},,,A")
        + _sentence(f"GNGGA,{time},{place},1,{_SATELLITES:02d},{_HDOP:.2f},{alt_m:.1f},M,{_GEOID_M:.1f},M,,")
        + _sentence(f"GNGSA,A,3,02,05,07,09,13,15,20,21,27,28,30,,1.61,{_HDOP:.2f},1.32")
    )


def _angle(degrees: float, digits: int, signs: str) -> str:
    """(d)ddmm.mmmmm and its hemisphere."""
    minutes_e5 = round(abs(degrees) * 60 * 1e5)
    whole, rest = divmod(minutes_e5, 60 * 10**5)
    return f"{whole:0{digits}d}{rest / 1e5:08.5f},{signs[degrees < 0]}"


def _sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode(), 0):02X}\r\n".encode()


def _pvt(utc: datetime | None, where: tuple[float, float, float] | None) -> bytes:
    """NAV-PVT, §32.17.15."""
    moment = utc or datetime(2015, 10, 18, tzinfo=UTC)  # what an M8 shows while it knows nothing
    itow_ms = int((moment - _GPS_EPOCH).total_seconds() + _LEAP_S) % (7 * 86_400) * 1000
    lat_deg, lon_deg, alt_m = where or (0.0, 0.0, 0.0)
    payload = struct.pack(
        "<IHBBBBBBIiBBBBiiiiIIiiiiiIIH6xihH",
        itow_ms,
        *(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second),
        _VALID_UTC if utc else 0,
        _TACC_NS if utc else 0xFFFFFFFF,
        0,
        *((3, _FIX_OK, 0, _SATELLITES) if where else (0, 0, 0, 0)),
        *(round(lon_deg * 1e7), round(lat_deg * 1e7)),
        *(round((alt_m + _GEOID_M) * 1e3), round(alt_m * 1e3)),
        *((_HACC_MM, _VACC_MM) if where else (0xFFFFFFFF, 0xFFFFFFFF)),
        *(0, 0, 0, 0, 0, 120, 18_000_000, 161 if where else 9999, 0, 0, 0),
    )
    return _ubx(b"\x01\x07", payload)


def _ubx(key: bytes, payload: bytes) -> bytes:
    body = key + struct.pack("<H", len(payload)) + payload
    a = b = 0
    for byte in body:
        a = (a + byte) % 256
        b = (b + a) % 256
    return b"\xb5\x62" + body + bytes((a, b))
