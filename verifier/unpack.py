"""The readings of a verified bundle for other programs, piece by piece.

- CSV (RFC 4180): a row per value; a row without one where a reading is flags alone. Times are UTC as signed;
  `clock` says what the device's clock went by. Numbers stand as they were signed, digit by digit.
- SenML in JSON (RFC 8428): resolved records (§4.6 there), so no base fields; quality flags (docs/protocol.md
  §9) are the record `<instrument>/quality`, raw words `<instrument>/raw`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator

from proof.claims import Claims
from proof.descriptor import Descriptor
from proof.finding import Finding
from proof.reasons import QUALITY_REASONS, Refused
from proof.sealing import Proof
from proof.senml import QUALITY, RAW, Reading
from verifier.moments import iso

COLUMNS = ("time", "clock", "instrument", "quantity", "value", "unit", "uncertainty", "flags", "seq", "log")
CLOCKS = ("none", "ntp", "gnss", "rtc")


def csv(proofs: Iterable[Proof], finding: Finding) -> Iterator[str]:
    """No field can hold a comma, a quote or a line's end: names and units are from small alphabets."""
    known = dict(finding.descriptors)
    yield ",".join(COLUMNS) + "\r\n"
    for proof in proofs:
        claims = proof.claims
        uncertain = _uncertainties(known.get(claims.descriptor_hash))
        for reading in _readings(proof):
            for cells in _cells(reading, uncertain):
                row = (iso(reading.time_ms), CLOCKS[claims.time.source], reading.instrument, *cells)
                yield ",".join((*row, _flags(reading.flags), str(claims.seq), claims.log.hex())) + "\r\n"


def senml(proofs: Iterable[Proof], _finding: Finding) -> Iterator[str]:
    before = "[\n"
    for proof in proofs:
        for reading in _readings(proof):
            for record in _records(proof.claims, reading):
                yield before + record
                before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def _readings(proof: Proof) -> tuple[Reading, ...]:
    """None of them where they cannot be read: they count for nothing (§4.12)."""
    try:
        return proof.readings()
    except Refused:
        return ()


def _cells(reading: Reading, uncertain: dict[tuple[str, str], float]) -> Iterator[tuple[str, str, str, str]]:
    for measured in reading.values:
        uncertainty = uncertain.get((reading.instrument, measured.quantity))
        said = "" if uncertainty is None else f"{uncertainty:.15g}"
        yield measured.quantity, str(measured.value), measured.unit, said
    if not reading.values:
        yield "", "", "", ""


def _records(claims: Claims, reading: Reading) -> Iterator[str]:
    name = f"{claims.device}/{reading.instrument}/"
    time_s = f"{reading.time_ms // 1000}.{reading.time_ms % 1000:03d}".removesuffix(".000")
    for measured in reading.values:
        said = f'"u":{json.dumps(measured.unit)},"v":{measured.value}'
        yield f'{{"n":{json.dumps(name + measured.quantity)},{said},"t":{time_s}}}'
    if reading.flags:
        yield f'{{"n":{json.dumps(name + QUALITY)},"v":{reading.flags},"t":{time_s}}}'
    if reading.raw:
        data = base64.urlsafe_b64encode(reading.raw).decode().rstrip("=")
        yield f'{{"n":{json.dumps(name + RAW)},"vd":"{data}","t":{time_s}}}'


def _uncertainties(descriptor: Descriptor | None) -> dict[tuple[str, str], float]:
    instruments = descriptor.instruments if descriptor else ()
    return {(i.name, quantity.name): quantity.uncertainty for i in instruments for quantity in i.quantities}


def _flags(flags: int) -> str:
    """Their codes, and the bits that mean nothing yet as a number."""
    codes = [QUALITY_REASONS[bit].value for bit in QUALITY_REASONS if flags & bit]
    unknown = flags & ~sum(QUALITY_REASONS)
    return " ".join([*codes, *([str(unknown)] if unknown else [])])
