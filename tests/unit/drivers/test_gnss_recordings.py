"""Logs of real receivers: every fix that gpsd reports is ours too, or is refused for a stated reason.

Tolerances: 2e-7 deg (gpsd prints 9 decimals, receivers 1e-7 or 1.7e-7), 0.02 m, 2 ms. gpsd mends week
rollovers by adding 1024 weeks; we never do, so its times are compared modulo 1024 weeks.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyubx2 import UBXReader, isvalid_checksum

from drivers.gnss_epoch import Epoch, Stream
from drivers.gnss_message import Kind

DATA = Path(__file__).parents[4] / "shared" / "data"
GPSD, SEMU = DATA / "gnss_gpsd", DATA / "gnss_semuconsulting"
pytestmark = pytest.mark.skipif(
    not GPSD.is_dir(), reason="the shared recordings are not beside this checkout"
)

DEGREES, METRES, MILLISECONDS = 2e-7, 0.02, 2
PGRMZ_METRES = 10.0  # it is in whole feet of another filter
ROLLOVER_MS = 1024 * 7 * 86_400_000

# Why a fix of gpsd's is not one of ours.
NOT_OK = "receiver says gnssFixOK 0"
NO_DATE = "no date in this moment (ours has the position, no time)"
GLL = "gpsd takes the time of GLL, 1 s off RMC and GGA, and the height of PGRMZ (ours has the position)"
NO_LEAP = "gpsd did not know the leap seconds yet (ours has the position)"
BAD_DATE = "impossible date"
# log without its ending: (fixes with a time in .chk, agreeing, the others by reason)
EXPECTED: dict[str, tuple[int, int, dict[str, int]]] = {
    "april6_2019": (1, 0, {BAD_DATE: 1}),
    "bt451": (12, 12, {}),
    "firefly-II": (23, 23, {}),
    "garmin-10x": (9, 9, {}),
    "garmin48": (8, 1, {GLL: 7}),
    "gp-320fw-2019-03-28": (19, 19, {}),
    "gp-320fw-2019-04-07-coldboot": (1, 1, {}),
    "gpsdf": (51, 51, {}),
    "hp58534a": (0, 0, {}),  # no sentence of it has a checksum
    "magellan-ec10": (21, 21, {}),
    "mtk-3301": (3, 3, {}),
    "neo-m8n": (22, 22, {}),
    "nmea-fuzzy-cases": (14, 14, {}),
    "quectel-eg25-g": (23, 23, {}),
    "telit-he910": (187, 187, {}),
    "u-blox-m8t-time": (150, 150, {}),
    "ublox-8": (72, 72, {}),
    "ublox-aek-4t": (4, 2, {NO_LEAP: 1, NO_DATE: 1}),
    "ublox-glo": (291, 16, {NOT_OK: 275}),
    "ublox-lea-4s": (2, 2, {}),
    "ublox-lea-5h": (19, 18, {NO_DATE: 1}),
    "ublox-neo-m8n": (22, 22, {}),
    "ublox-neo-m8u": (2, 2, {}),
    "ublox8-uniqid-monhw": (8, 8, {}),
    "ublox-zed-f9p_hpg1.11": (0, 0, {}),  # no .chk stored
}
# Where gpsd has fewer fixes: moments reported without a time, or not at all because the log is cut behind.
UNTIMED, CUT, NO_CHK = (
    "gpsd has this place, not with this time",
    "nothing follows for gpsd to end the moment with",
    "no .chk",
)


OLD = {"april6_2019", "bt451", "firefly-II", "garmin-10x", "garmin48", "mtk-3301"}
OLD |= {"magellan-ec10", "ublox-aek-4t", "ublox-lea-4s", "ublox-lea-5h", "hp58534a"}


def _earliest(log: str) -> datetime:
    """As if built before the recording was made, and within 1024 weeks of it."""
    return datetime(2000 if log in OLD else 2012, 1, 1, tzinfo=UTC)


def _epochs(log: str, piece: int = 4096) -> list[Epoch]:
    stream = Stream(_earliest(log))
    data = (GPSD / f"{log}.log").read_bytes()
    found = [e for at in range(0, len(data), piece) for e in stream.feed(data[at : at + piece], at)]
    return found + stream.silence()


def _gpsd(log: str) -> list[dict[str, Any]]:
    path = GPSD / f"{log}.log.chk"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    reports = [json.loads(line) for line in lines if line.startswith('{"class":"TPV"')]
    return [report for report in reports if report["mode"] >= 2 and "lat" in report]


def _ms(report: dict[str, Any]) -> int:
    return round(datetime.fromisoformat(report["time"].replace("Z", "+00:00")).timestamp() * 1000)


def _same_place(epoch: Epoch, report: dict[str, Any], metres: float = METRES) -> bool:
    fix = epoch.fix
    if fix is None:
        return False
    near = abs(fix.lat_deg - report["lat"]) <= DEGREES and abs(fix.lon_deg - report["lon"]) <= DEGREES
    has_both = fix.alt_m is not None and "alt" in report
    return near and not (has_both and abs((fix.alt_m or 0.0) - report["alt"]) > metres)


def _same_time(epoch: Epoch, report: dict[str, Any], shift_ms: int = 0) -> bool:
    if epoch.utc_ns is None:
        return False
    apart_ms = (epoch.utc_ns / 1e6 + shift_ms - _ms(report)) % ROLLOVER_MS
    return min(apart_ms, ROLLOVER_MS - apart_ms) <= MILLISECONDS


def _moments_not_ok(log: str) -> set[int]:
    """UTC in ms of every NAV-PVT that has a position and gnssFixOK 0, found without our code."""
    data, found, at = (GPSD / f"{log}.log").read_bytes(), set(), 0
    while (at := data.find(b"\xb5\x62\x01\x07\x5c\x00", at)) >= 0:
        message = UBXReader.parse(data[at : at + 100])
        if not message.gnssFixOk:
            date = (message.year, message.month, message.day, message.hour, message.min, message.second)
            found.add(int(datetime(*date, tzinfo=UTC).timestamp()) * 1000)
        at += 6
    return found


def _reason(log: str, report: dict[str, Any], epochs: list[Epoch], not_ok: set[int]) -> str:
    if _ms(report) in not_ok:
        return NOT_OK
    if any(epoch.utc_ns is None and _same_place(epoch, report) for epoch in epochs):
        return NO_DATE
    near = [epoch for epoch in epochs if _same_place(epoch, report, PGRMZ_METRES)]
    if any(_same_time(epoch, report, shift_ms) for epoch in near for shift_ms in (1000, -1000)):
        return GLL
    if any(_same_place(epoch, report) and _same_time(epoch, report, -4000) for epoch in epochs):
        return NO_LEAP
    if any("date" in epoch.refused for epoch in epochs) and _ms(report) < _earliest(log).timestamp() * 1000:
        return BAD_DATE
    return f"unexplained: {report}"


def test_every_fix_of_gpsd_is_ours_or_refused_for_a_stated_reason():
    assert {path.stem for path in GPSD.glob("*.log")} == set(EXPECTED)
    print(f"\n{'log':30} {'.chk':>5} {'agree':>5} {'extra':>5}  why not / why more")
    total: Counter[str] = Counter()
    for log, (fixes, agreeing, reasons) in EXPECTED.items():
        epochs, reports, not_ok = _epochs(log), _gpsd(log), _moments_not_ok(log)
        # The last word on each moment counts.
        timed = {_ms(report): report for report in reports if "time" in report}
        agree = [r for r in timed.values() if any(_same_time(e, r) and _same_place(e, r) for e in epochs)]
        missing = Counter(_reason(log, r, epochs, not_ok) for r in timed.values() if r not in agree)
        extra = Counter(_extra(epochs, reports))
        why = "; ".join(f"{count} {reason}" for reason, count in (missing + extra).items())
        print(f"{log:30} {len(timed):5} {len(agree):5} {extra.total():5}  {why}")
        assert (len(timed), len(agree), dict(missing)) == (fixes, agreeing, reasons), log
        assert not any(reason.startswith("unexplained") for reason in extra), log
        total += Counter(chk=len(timed), agree=len(agree), missing=missing.total(), extra=extra.total())
    print(f"{'all':30} {total['chk']:5} {total['agree']:5} {total['extra']:5}  {total['missing']} refused")


def _extra(epochs: list[Epoch], reports: list[dict[str, Any]]) -> list[str]:
    """Why each timed position that gpsd has no timed position for is right nevertheless."""
    if not reports:
        return [NO_CHK for epoch in epochs if epoch.fix and epoch.utc_ns]
    timed = [report for report in reports if "time" in report]
    found = []
    for index, epoch in enumerate(epochs):
        if not epoch.fix or not epoch.utc_ns or any(_same_time(epoch, report) for report in timed):
            continue
        after = epochs[index + 1].utc_ns if index + 1 < len(epochs) else None
        if any(_same_place(epoch, report) for report in reports):
            found.append(UNTIMED)
        elif index == 0 or after is None or not 0 < after - epoch.utc_ns < 10**10:
            found.append(CUT)
        else:
            found.append(f"unexplained: {epoch}")
    return found


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_what_is_heard_does_not_depend_on_how_the_reads_were_cut(piece):
    for log in ("ublox8-uniqid-monhw", "garmin-10x"):
        told = [(e.source, e.fix, e.utc_ns, e.refused) for e in _epochs(log, piece)]
        assert told == [(e.source, e.fix, e.utc_ns, e.refused) for e in _epochs(log)]


def test_positions_of_a_receiver_that_only_measures_time_are_not_measured():
    fixes = [epoch.fix for epoch in _epochs("u-blox-m8t-time") if epoch.fix]
    assert len(fixes) == 151
    assert {(fix.kind, fix.measured) for fix in fixes} == {(Kind.HELD, False)}


def test_with_the_build_date_of_today_no_recording_gives_a_position_or_a_time():
    for log in EXPECTED:
        stream = Stream()
        epochs = stream.feed((GPSD / f"{log}.log").read_bytes(), 0) + stream.silence()
        assert not [e for e in epochs if e.utc_ns is not None], log
        undated = [e for e in epochs if e.fix]  # moments in which no date came through
        assert len(undated) <= 1, log


@pytest.mark.parametrize("name", sorted(path.name for path in SEMU.glob("*")) if SEMU.is_dir() else [])
def test_every_intact_frame_of_a_mixed_stream_is_found(name):
    """Against a count that looks at every byte for itself, and knows nothing of streams."""
    data = (SEMU / name).read_bytes()
    stream = Stream(datetime(2012, 1, 1, tzinfo=UTC))
    epochs = [
        e for at in range(0, len(data), 50) for e in stream.feed(data[at : at + 50], at)
    ] + stream.silence()
    nmea, ubx = _count(data)
    placed = sum(epoch.fix is not None for epoch in epochs)
    refused = Counter(epoch.refused.split(" cannot")[0] for epoch in epochs if epoch.refused)
    print(
        f"{name:36} nmea {nmea:4} ubx {ubx:4} epochs {len(epochs):3} with position {placed:3} {dict(refused)}"
    )
    assert stream.frames == nmea + ubx


def _count(data: bytes) -> tuple[int, int]:
    """Sentences and used UBX frames with right checksums; what stands inside a UBX frame is part of that."""
    used = {(1, 2): 28, (1, 3): 16, (1, 6): 52, (1, 7): 92, (1, 0x21): 20, (1, 0x61): 4, (0x27, 3): 9}
    nmea = ubx = at = 0
    while at < len(data):
        if data[at : at + 2] == b"\xb5\x62" and len(data) >= at + 6:
            key, length = (data[at + 2], data[at + 3]), int.from_bytes(data[at + 4 : at + 6], "little")
            right = used.get(key) == length or (key == (0x0A, 4) and length % 30 == 10)
            frame = data[at : at + 8 + length]
            if right and len(frame) == 8 + length and isvalid_checksum(frame):
                ubx, at = ubx + 1, at + len(frame)
                continue
        line = data[at : data.find(b"*", at) + 3] if data[at : at + 1] == b"$" else b""
        if (
            len(line) > 4
            and line.count(b"$") == 1
            and len(line) <= 120
            and line[:-3].decode("latin1").isprintable()
        ):
            total = 0
            for byte in line[1:-3]:
                total ^= byte
            if line[-2:].upper() == b"%02X" % total:
                nmea, at = nmea + 1, at + len(line)
                continue
        at += 1
    return nmea, ubx
