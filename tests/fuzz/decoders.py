"""What the fuzzer aims at: every decoder of `drivers`, by name, as a function of arbitrary bytes.

- A target returns for whatever it is given, or raises `DriverError`; anything else is a finding. It must end.
- What a checksum would keep away from a decoder is tried too: `sealed` targets put a right one around the
  bytes, as a defective or hostile part can.
- Frames are the same however a stream is cut, and every byte is in a frame or counted as skipped.
- A driver whose answers cannot be told from its questions is run whole, with a part that answers the bytes,
  on a clock on which only waiting takes time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from operator import xor

from drivers import (
    ds18b20,
    dsmr,
    gmc320,
    hdc1080,
    mhz19b,
    p1,
    scd30,
    scd41,
    senseair_s8,
    sensirion,
    sht4x,
    ubx,
)
from drivers.errors import DriverError
from drivers.framing import Format, Frames
from drivers.gnss_epoch import FORMAT as GNSS_FORMAT
from drivers.gnss_epoch import Stream
from drivers.gnss_time import UtcSource
from tests.fuzz import chips
from tests.fuzz.parts import by_question, driver, modbus, nova, plantower, raw, shdlc, winsen

Target = Callable[[bytes], object]
_EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)


def framed(form: Format, decode: Callable[[bytes], object] = bytes) -> Target:
    """A stream, cut in the middle and not at all."""

    def run(data: bytes) -> None:
        found = _frames(form, (data,))
        assert found == _frames(form, (data[: len(data) // 2], data[len(data) // 2 :])), "depends on the cut"
        for frame in found:
            decode(frame)

    return run


def _frames(form: Format, pieces: tuple[bytes, ...]) -> list[bytes]:
    frames = Frames(form)
    found = [frame for piece in pieces for frame in frames.feed(piece)] + frames.silence()
    assert sum(map(len, found)) + frames.skipped == sum(map(len, pieces)), "a byte is lost"
    assert all(0 < len(frame) <= form.longest and form.intact(frame) for frame in found)
    return found


def gnss(data: bytes) -> None:
    """Epochs of a stream that comes in three pieces, and the time they give."""
    stream, utc = Stream(_EARLIEST), UtcSource()
    third = len(data) // 3 + 1
    for second, at in enumerate(range(0, len(data), third)):
        for epoch in stream.feed(data[at : at + third], second * 10**9):
            utc.add(epoch)
    for epoch in stream.silence():
        utc.add(epoch)
        assert epoch.fix is None or -90 <= epoch.fix.lat_deg <= 90
    utc.at(10**10)
    for frame in stream.answers:
        ubx.versions(frame)
        ubx.unique_id(frame)
    assert stream.skipped <= len(data)


def nmea_sealed(data: bytes) -> bytes:
    """Each line as a sentence."""
    return b"".join(b"$%b*%02X\r\n" % (line, reduce(xor, line, 0)) for line in data.split(b"\n"))


def ubx_sealed(data: bytes) -> bytes:
    """Messages one after another, a byte says which: payloads of right lengths."""
    whole = b""
    while data:
        key, length = _UBX[data[0] % len(_UBX)]
        body = key + length.to_bytes(2, "little") + data[1 : 1 + length].ljust(length, b"\0")
        a = b = 0
        for byte in body:
            a = a + byte & 0xFF
            b = b + a & 0xFF
        whole, data = whole + ubx.START + body + bytes((a, b)), data[1 + length :]
    return whole


_UBX = (
    (ubx.PVT, 92),
    (ubx.PVT, 84),
    (ubx.POSLLH, 28),
    (ubx.SOL, 52),
    (ubx.STATUS, 16),
    (ubx.TIMEUTC, 20),
    (ubx.EOE, 4),
    (ubx.VER, 100),
    (ubx.UNIQID, 9),
)


_METER = dsmr.Contents()


def telegram(data: bytes) -> None:
    _METER.identity(data)
    _METER.values(data)


def p1_sealed(data: bytes) -> bytes:
    body = b"/" + data.replace(b"\n", b"\r\n") + b"!"
    return body + b"%04X\r\n" % p1.crc16(body)


def w1_text(data: bytes) -> str:
    """The kernel's text around eight bytes; what follows them is the kernel's own number."""
    scratchpad = data[:8].ljust(8, b"\0")
    scratchpad += bytes([ds18b20.crc8(scratchpad)])
    shown = "".join(f"{byte:02x} " for byte in scratchpad)
    celsius = int.from_bytes(scratchpad[:2], "little", signed=True) / 16
    said = data[8:].decode("latin-1") or str(int(celsius * 1000))
    return f"{shown}: crc={scratchpad[8]:02x} YES\n{shown}t={said}\n"


DECODERS: dict[str, Target] = {
    "gnss": gnss,
    "gnss-frames": framed(GNSS_FORMAT),
    "nmea-sealed": lambda data: gnss(nmea_sealed(data)),
    "ubx-sealed": lambda data: gnss(ubx_sealed(data)),
    "p1": framed(p1.FORMAT, telegram),
    "p1-sealed": lambda data: framed(p1.FORMAT, telegram)(p1_sealed(data)),
    "p1-seven-bits": lambda data: framed(p1.FORMAT, telegram)(p1.seven_bits(data)),
    "sensirion-words": lambda data: sensirion.words(data, len(data) // 3),
    "scd30": scd30.decode,
    "scd30-sealed": lambda data: scd30.decode(chips.words(data[:12].ljust(12, b"\0"))),
    "scd41": scd41.decode,
    "scd41-sealed": lambda data: scd41.decode(chips.words(data[:6].ljust(6, b"\0"))),
    "sht4x": sht4x.decode,
    "sht4x-sealed": lambda data: sht4x.decode(chips.words(data[:4].ljust(4, b"\0"))),
    "hdc1080": hdc1080.decode,
    "hdc1080-any": chips.driver("hdc1080", chips.Chip),
    "hdc1080-driver": chips.driver("hdc1080", chips.Texas),
    "ds18b20": lambda data: ds18b20.decode(data.decode("latin-1")),
    "ds18b20-sealed": lambda data: ds18b20.decode(w1_text(data)),
    "gmc-version": lambda data: gmc320.version_of(data, "here"),
    "mhz19b-frames": framed(mhz19b.answer_format(), mhz19b.decode),
    "senseair-frames": framed(senseair_s8.answer_format(4), senseair_s8.decode),
    "gnss-driver": driver("gnss", lambda question, data: data),
    "gnss-driver-sealed": driver("gnss", lambda question, data: ubx_sealed(data)),
    "dsmr-driver": driver("dsmr", lambda question, data: data),
    "dsmr-driver-sealed": driver("dsmr", lambda question, data: p1_sealed(data)),
    "bme280": chips.driver("bme280", chips.Bosch),
    "bme280-any": chips.driver("bme280", chips.Chip),
    **{f"{name}-any": chips.driver(name, chips.Chip) for name in ("scd30", "scd41", "sht4x")},
    **{f"{name}-words": chips.driver(name, chips.Words) for name in ("scd30", "scd41", "sht4x")},
    **{
        f"{name}-{answer.__name__}": driver(name, answer)
        for names, answers in (
            (("pms5003", "pms7003"), (raw, plantower)),
            (("sds011",), (raw, nova)),
            (("sps30",), (raw, shdlc)),
            (("mhz19b",), (raw, winsen)),
            (("senseair-s8", "sdm120", "sdm230", "pzem-004t"), (raw, modbus)),
            (("ezo-ph", "ezo-ec", "ezo-do", "ezo-rtd", "gmc320"), (raw, by_question)),
        )
        for name in names
        for answer in answers
    },
}


def run(data: bytes) -> None:
    """One input of the fuzzer: its first byte chooses the decoder."""
    if not data:
        return
    try:
        list(DECODERS.values())[data[0] % len(DECODERS)](data[1:])
    except DriverError as error:
        if not error.sentence:
            raise AssertionError("an error without a sentence") from error


def input_for(name: str, data: bytes) -> bytes:
    return bytes([list(DECODERS).index(name)]) + data
