r"""Telegrams of a smart meter's P1 port: found in a stream and checked. What they say: `p1_values`.

References: Netbeheer Nederland "P1 Companion Standard" (DSMR) V5.0.2 and V2.2; IEC 62056-21 mode D for the
frame; Fluvius e-MUCS P1 (Belgium).

    /ISk5\2MT382-1000 CR LF CR LF     identification
    1-0:1.7.0(00.244*kW) CR LF        OBIS code, one or more groups in parentheses; a line that begins with
    ...                               a parenthesis belongs to the line before
    !6EEE CR LF                       CRC-16 of all from "/" to "!", sometimes without its leading zeros

- Neither "/" nor "!" occurs inside a telegram, so two halves never pass for one.
- A telegram with a time (OBIS 0-0:1.0.0) or a version (1-3:0.2.8) must have a CRC: those came with DSMR 4.
- One without CRC must be printable and well-formed in every line.
"""

from __future__ import annotations

import re

from drivers.framing import NEVER, NOT_YET, Format

_LONGEST = 8192  # the longest text message (2048 characters) and some hundred lines
_LONGEST_HEADER = 64  # 21 in IEC 62056-21; some meters say more
_END = re.compile(rb"!([0-9A-Fa-f]{0,4})\r\n")
_BEGUN_END = re.compile(rb"![0-9A-Fa-f]{0,4}\r?")
_LINE = re.compile(r"\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(?:\*\d{1,3})?(?:\([^()]*\))+")
_CONTINUED = "\r\n("
_NEEDS_CRC = (b"\n0-0:1.0.0(", b"\n1-3:0.2.8(")


def _length(candidate: bytes) -> int | None:
    end = candidate.find(b"!")
    again = candidate.find(b"/", 1)
    if again >= 0 and (end < 0 or again < end):
        return NEVER
    if end < 0:
        return NOT_YET
    if match := _END.match(candidate, end):
        return match.end()
    return NOT_YET if _BEGUN_END.fullmatch(candidate, end) else NEVER


def is_intact(candidate: bytes) -> bool:
    """The CRC is right; or there is none, need not be one, and all looks right."""
    match = _END.search(candidate)
    if match is None:
        return False
    if match[1]:
        return int(match[1], 16) == crc16(candidate[: match.start() + 1])
    if any(code in candidate for code in _NEEDS_CRC):
        return False
    text = candidate.replace(b"\r\n", b"")
    if any(byte < 0x20 or byte > 0x7E for byte in text):
        return False
    return all(_LINE.fullmatch(line) for line in _lines(candidate))


FORMAT = Format(b"/", _LONGEST, _length, is_intact)


def has_crc(telegram: bytes) -> bool:
    return not telegram.endswith(b"!\r\n")


def header_of(telegram: bytes) -> str:
    """Its identification, shortened and printable."""
    header = telegram[1 : telegram.find(b"\r\n")][:_LONGEST_HEADER].decode("ascii", "replace")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in header)


def crc16(data: bytes) -> int:
    """CRC-16 of DSMR 4 and 5: polynomial x16 + x15 + x2 + 1, lowest bit first, starting at 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def seven_bits(data: bytes) -> bytes:
    """Characters sent with seven bits and even parity (DSMR 2.2 and 3), received as eight; one whose parity
    is wrong becomes 0, which is in no telegram."""
    return bytes(byte & 0x7F if byte.bit_count() % 2 == 0 else 0 for byte in data)


def _lines(telegram: bytes) -> list[str]:
    """The data lines, continued ones joined, without identification and end."""
    text = telegram.decode("ascii", "replace").replace(_CONTINUED, "(")
    return [line for line in text.split("\r\n")[1:] if line and not line.startswith("!")]
