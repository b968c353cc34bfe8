"""UBX messages of a u-blox receiver: where it is and when (NAV-*), and who it is (MON-VER, SEC-UNIQID).

Reference: u-blox 8/M8 receiver description, UBX-13003221 (§32 the frame and its checksum).

- A frame is B5 62, class, id, length, payload, two checksum bytes. Only messages listed here, with the
  lengths they can have, are taken; all else is skipped, so a false start waits for one short frame at most.
- Field decoding is pyubx2's on frames found here: its own reader blocks on its own terms.
"""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

from pyubx2 import UBXReader
from pyubx2.exceptions import UBXMessageError, UBXParseError, UBXTypeError

from drivers.framing import NEVER, NOT_YET
from drivers.gnss_message import Kind, Message

# A right checksum around wrong fields is not ours to guess at.
_THEIRS = (UBXMessageError, UBXParseError, UBXTypeError)
_FOREIGN = (*_THEIRS, struct.error, ArithmeticError, ValueError, TypeError, AttributeError, LookupError)

START = b"\xb5\x62"
# Class and id.
PVT, POSLLH, SOL, STATUS = b"\x01\x07", b"\x01\x02", b"\x01\x06", b"\x01\x03"
TIMEUTC, EOE = b"\x01\x21", b"\x01\x61"
VER, UNIQID = b"\x0a\x04", b"\x27\x03"
# Lengths of payloads. NAV-PVT had 84 bytes before protocol 15, SEC-UNIQID has 10 since M10.
_LENGTHS = {
    PVT: (84, 92),
    POSLLH: (28,),
    SOL: (52,),
    STATUS: (16,),
    TIMEUTC: (20,),
    EOE: (4,),
    VER: tuple(range(40, 641, 30)),
    UNIQID: (9, 10),
}
_AROUND = 8  # bytes of a frame that are not payload
LONGEST = _AROUND + 640


def length(candidate: bytes) -> int | None:
    """Of the frame that begins here, for `framing.Format`."""
    if not candidate.startswith(START[: len(candidate)]):
        return NEVER
    if not any(key.startswith(candidate[2:4]) for key in _LENGTHS):
        return NEVER
    if len(candidate) < 6:
        return NOT_YET
    payload = int.from_bytes(candidate[4:6], "little")
    return _AROUND + payload if payload in _LENGTHS[candidate[2:4]] else NEVER


def intact(frame: bytes) -> bool:
    return frame[-2:] == _checksum(frame[2:-2])


def poll(key: bytes) -> bytes:
    """The frame that asks for a message; receivers of other makers ignore it."""
    body = key + b"\0\0"
    return START + body + _checksum(body)


def _checksum(body: bytes) -> bytes:
    """The 8-bit Fletcher algorithm, §32.4."""
    a = b = 0
    for byte in body:
        a = a + byte & 0xFF
        b = b + a & 0xFF
    return bytes((a, b))


def decode(frame: bytes) -> Message | None:
    """What an intact frame says of an epoch; None for nothing. Never raises."""
    say = _SAYS.get(frame[2:4])
    if say is None:
        return None
    try:
        return say(UBXReader.parse(frame), int.from_bytes(frame[6:10], "little"))
    except _FOREIGN:
        return None


def unique_id(frame: bytes) -> str:
    """Of SEC-UNIQID, in hex."""
    return frame[10:-2].hex()


def versions(frame: bytes) -> list[str]:
    """Of MON-VER: software, hardware, then extensions like FWVER=… and MOD=…"""
    payload = frame[6:-2]
    fields = [payload[:30], payload[30:40], *(payload[at : at + 30] for at in range(40, len(payload), 30))]
    texts = [field.split(b"\0")[0].decode("ascii", "replace").strip() for field in fields]
    return [text for text in texts if text.isprintable()]


# UBX fix types, NAV-PVT fixType; 0 is none.
_FIXES = {1: Kind.ESTIMATED, 2: Kind.TWO_D, 3: Kind.THREE_D, 4: Kind.THREE_D, 5: Kind.HELD}


def _utc_ns(m: Any, second: int) -> int:
    """`nano` may be negative: the second is the rounded one (NAV-PVT). Raises ValueError in a leap second."""
    whole = datetime(m.year, m.month, m.day, m.hour, m.min, second, tzinfo=UTC)
    return int(whole.timestamp()) * 10**9 + int(m.nano)


def _pvt(m: Any, itow: int) -> Message:
    # Before fullyResolved the whole seconds may still be wrong by some leap seconds.
    timed = m.validDate and m.validTime and m.fullyResolved
    placed = not getattr(m, "invalidLlh", 0)
    return Message(
        "ubx",
        "NAV-PVT",
        itow,
        valid=bool(m.gnssFixOk and m.fixType in _FIXES),
        kind=_FIXES.get(m.fixType),
        lat_deg=float(m.lat) if placed else None,
        lon_deg=float(m.lon) if placed else None,
        alt_m=m.hMSL / 1000 if placed else None,
        accuracy_m=m.hAcc / 1000,
        satellites=m.numSV,
        utc_ns=_utc_ns(m, m.second) if timed else None,
        utc_error_ns=m.tAcc if timed else None,
        ends=True,
    )


def _posllh(m: Any, itow: int) -> Message:
    return Message(
        "ubx",
        "NAV-POSLLH",
        itow,
        lat_deg=float(m.lat),
        lon_deg=float(m.lon),
        alt_m=m.hMSL / 1000,
        accuracy_m=m.hAcc / 1000,
    )


def _sol(m: Any, itow: int) -> Message:
    lat_deg, lon_deg = _geodetic(m.ecefX / 100, m.ecefY / 100, m.ecefZ / 100)
    return Message(
        "ubx",
        "NAV-SOL",
        itow,
        valid=bool(m.gpsfixOK and m.gpsFix in _FIXES),
        kind=_FIXES.get(m.gpsFix),
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        accuracy_m=m.pAcc / 100,
        satellites=m.numSV,
    )


def _status(m: Any, itow: int) -> Message:
    valid = bool(m.gpsFixOk and m.gpsFix in _FIXES)
    return Message("ubx", "NAV-STATUS", itow, valid=valid, kind=_FIXES.get(m.gpsFix))


def _timeutc(m: Any, itow: int) -> Message:
    if not m.validUTC:
        return Message("ubx", "NAV-TIMEUTC", itow)
    return Message("ubx", "NAV-TIMEUTC", itow, utc_ns=_utc_ns(m, m.sec), utc_error_ns=m.tAcc)


def _eoe(m: Any, itow: int) -> Message:
    return Message("ubx", "NAV-EOE", itow, ends=True)


_SAYS = {PVT: _pvt, POSLLH: _posllh, SOL: _sol, STATUS: _status, TIMEUTC: _timeutc, EOE: _eoe}


def _geodetic(x_m: float, y_m: float, z_m: float) -> tuple[float, float]:
    """Latitude and longitude on WGS 84 of an earth-centred position (Bowring 1976)."""
    a, f = 6_378_137.0, 1 / 298.257223563
    b = a * (1 - f)
    p = math.hypot(x_m, y_m)
    theta = math.atan2(z_m * a, p * b)
    lat = math.atan2(
        z_m + (a * a - b * b) / b * math.sin(theta) ** 3, p - f * (2 - f) * a * math.cos(theta) ** 3
    )
    return math.degrees(lat), math.degrees(math.atan2(y_m, x_m))
