"""Times and lengths of time as text. A signed time may lie outside the years 1 to 9999, and no text may end
in a traceback for it: it stands there in seconds then, as `@1099511627775`."""

from __future__ import annotations

from datetime import UTC, datetime

_YEAR_1_S, _YEAR_10000_S = -62_135_596_800, 253_402_300_800


def iso(time_ms: int) -> str:
    """To the millisecond, UTC (RFC 3339)."""
    seconds, rest_ms = divmod(time_ms, 1000)
    if not _YEAR_1_S <= seconds < _YEAR_10000_S:
        return f"@{seconds}.{rest_ms:03d}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest_ms:03d}Z"


def utc(seconds: float) -> str:
    """To the second, for people."""
    if not _YEAR_1_S <= seconds < _YEAR_10000_S:
        return f"@{int(seconds)}"
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def length(milliseconds: float) -> str:
    """About how long, in the unit that fits."""
    seconds = milliseconds / 1000
    for name, size_s in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.3g} {name}"
    return f"{seconds:.3g} s"
