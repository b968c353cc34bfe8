"""NMEA 0183 sentences of a GNSS receiver: RMC, GGA, GNS, GSA, GST, ZDA.

Reference: NMEA 0183 v4.11, as u-blox prints it in UBX-13003221 §31.

- A sentence is `$`, printable characters, `*` and two hex digits: the exclusive or of what is between. One
  without a checksum is none. The line end after it is not waited for.
- Field decoding is pynmeagps' on sentences found here: its own reader blocks on its own terms.
- Other sentences, and fields that are not what they should be, say nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, time
from functools import reduce
from operator import xor
from typing import Any

from pynmeagps import NMEAReader
from pynmeagps.exceptions import NMEAMessageError, NMEAParseError, NMEATypeError

from drivers.framing import NEVER, NOT_YET
from drivers.gnss_message import NO_TIME, Kind, Message

# A right checksum around wrong fields is not ours to guess at.
_THEIRS = (NMEAMessageError, NMEAParseError, NMEATypeError)
_FOREIGN = (*_THEIRS, ArithmeticError, ValueError, TypeError, AttributeError, LookupError)

START = b"$"
LONGEST = 120  # 82 by the standard (§5.3); receivers with more digits need a few more
_BODY = re.compile(rb"\$[ -#%-)+-~]*")  # printable, neither the start nor the checksum's mark
_SUM = re.compile(rb"\*[0-9A-Fa-f]{2}")
_TIME_OF_DAY = re.compile(r"\d{6}(\.\d{1,6})?")
_DATE = re.compile(r"\d{6}")


def length(candidate: bytes) -> int | None:
    """Of the sentence that begins here, for `framing.Format`."""
    match = _BODY.match(candidate[:LONGEST])
    end = match.end() if match else 0
    if end == len(candidate) < LONGEST:
        return NOT_YET
    return end + 3 if candidate[end : end + 1] == b"*" else NEVER


def intact(sentence: bytes) -> bool:
    given = _SUM.fullmatch(sentence, len(sentence) - 3)
    return given is not None and reduce(xor, sentence[1:-3], 0) == int(sentence[-2:], 16)


def decode(sentence: bytes) -> Message | None:
    """What an intact sentence says of an epoch; None for nothing. Never raises."""
    say = _SENTENCES.get(sentence[3:6])
    if say is None or sentence[1:2] == b"P":  # proprietary
        return None
    try:
        fields: Any = NMEAReader.parse(sentence)
        return say(fields, lambda name: _some(getattr(fields, name, None)))
    except _FOREIGN:
        return None


def _some(value: Any) -> Any:
    """pynmeagps gives "" for an empty field and for one that is not what it should be."""
    return None if value == "" else value


def _moment(raw: str, value: object) -> int:
    """Nanoseconds of the day; its own strptime takes five digits for six, we do not."""
    if not isinstance(value, time) or not _TIME_OF_DAY.fullmatch(raw):
        return NO_TIME
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000


_MODES = {"E": Kind.ESTIMATED, "M": Kind.ESTIMATED, "S": Kind.ESTIMATED}
_QUALITIES = {6: Kind.ESTIMATED, 7: Kind.ESTIMATED, 8: Kind.ESTIMATED}


def _rmc(fields: Any, get: Callable[[str], Any]) -> Message:
    raw_date, mode = fields.payload[8], get("posMode")
    moment, day = _moment(fields.payload[0], fields.time), get("date")
    bad_date = bool(raw_date) and (day is None or not _DATE.fullmatch(raw_date))
    return Message(
        "nmea",
        "RMC",
        moment,
        valid=fields.status == "A" and mode != "N",
        kind=_MODES.get(mode),
        lat_deg=get("lat"),
        lon_deg=get("lon"),
        day=None if bad_date else day,
        time_of_day_ns=None if moment == NO_TIME else moment,
        nonsense=f"the date {raw_date!r}" if bad_date else None,
    )


def _gga(fields: Any, get: Callable[[str], Any]) -> Message:
    return Message(
        "nmea",
        "GGA",
        _moment(fields.payload[0], fields.time),
        valid=bool(get("quality")),
        kind=_QUALITIES.get(get("quality")),
        lat_deg=get("lat"),
        lon_deg=get("lon"),
        alt_m=get("alt"),
        hdop=get("HDOP"),
        satellites=get("numSV"),
    )


def _gns(fields: Any, get: Callable[[str], Any]) -> Message:
    modes = set(get("posMode") or "N") - {"N"}
    return Message(
        "nmea",
        "GNS",
        _moment(fields.payload[0], fields.time),
        valid=bool(modes),
        kind=Kind.ESTIMATED if modes and modes <= set(_MODES) else None,
        lat_deg=get("lat"),
        lon_deg=get("lon"),
        alt_m=get("alt"),
        hdop=get("HDOP"),
        satellites=get("numSV"),
    )


def _gsa(fields: Any, get: Callable[[str], Any]) -> Message:
    # One sentence per constellation, and some say 1 for the idle ones: not a statement that there is no fix.
    return Message("nmea", "GSA", kind={2: Kind.TWO_D, 3: Kind.THREE_D}.get(get("navMode")))


def _gst(fields: Any, get: Callable[[str], Any]) -> Message:
    north, east = get("stdLat"), get("stdLong")
    accuracy_m = None if north is None or east is None else math.hypot(north, east)
    return Message("nmea", "GST", _moment(fields.payload[0], fields.time), accuracy_m=accuracy_m)


def _zda(fields: Any, get: Callable[[str], Any]) -> Message:
    moment = _moment(fields.payload[0], fields.time)
    day = None
    if get("year") is not None:
        day = date(int(fields.year), int(fields.month), int(fields.day))
    return Message("nmea", "ZDA", moment, day=day, time_of_day_ns=None if moment == NO_TIME else moment)


_SENTENCES = {b"RMC": _rmc, b"GGA": _gga, b"GNS": _gns, b"GSA": _gsa, b"GST": _gst, b"ZDA": _zda}
