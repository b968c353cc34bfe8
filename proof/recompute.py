"""Raw evidence (§4.10): published values recomputed from the chip's own words.

- BME280: trim bytes are the descriptor's evidence (registers 0x88-0xa1 and 0xe1-0xe7: 33 bytes),
  raw words are registers 0xf7-0xfe in one burst (8 bytes). Double-precision compensation of the
  datasheet BST-BME280-DS002, appendix 8.1.
- A value agrees when it lies within the instrument's resolution of the recomputed one; calibrated
  instruments (a certificate changes the value) are not compared.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from proof.descriptor import Descriptor
from proof.senml import Reading


def mismatches(descriptor: Descriptor, readings: Iterable[Reading]) -> Iterable[str]:
    """A sentence for each reading whose raw words do not give its values."""
    instruments = {instrument.name: instrument for instrument in descriptor.instruments}
    for reading in readings:
        instrument = instruments.get(reading.instrument)
        if instrument is None or not reading.raw or instrument.calibration_hash is not None:
            continue
        compute = _DRIVERS.get(instrument.driver)
        if compute is None:
            continue
        expected = compute(instrument.evidence, reading.raw)
        resolution = {quantity.name: quantity.resolution for quantity in instrument.quantities}
        for measured in reading.values:
            value = expected.get(measured.quantity)
            allowed = 1.5 * resolution.get(measured.quantity, 0.0)
            if value is None or abs(float(measured.value) - value) > allowed:
                yield f"{reading.instrument}/{measured.quantity} {measured.value}, raw words give {value}"


def bme280(trim: bytes, raw: bytes) -> dict[str, float]:
    """Quantity -> value; words of the wrong length give none. Words of a channel that was switched off
    give a value too: the device does not publish it, so nothing is compared with it."""
    if len(trim) != 33 or len(raw) != 8:
        return {}
    t1, t2, t3, p1, *p = struct.unpack_from("<HhhHhhhhhhhh", trim)
    h1 = trim[25]
    h2, h3, e4, e5, e6, h6 = struct.unpack_from("<hBbBbb", trim, 26)
    h4, h5 = (e4 << 4) | (e5 & 0xF), (e6 << 4) | (e5 >> 4)
    adc_p = int.from_bytes(raw[0:3], "big") >> 4
    adc_t = int.from_bytes(raw[3:6], "big") >> 4
    adc_h = int.from_bytes(raw[6:8], "big")
    var1 = (adc_t / 16384 - t1 / 1024) * t2
    var2 = (adc_t / 131072 - t1 / 8192) ** 2 * t3
    t_fine = var1 + var2
    values = {"temperature": t_fine / 5120}
    if (pressure_Pa := _pressure_Pa(t_fine, adc_p, p1, p)) is not None:
        values["pressure"] = pressure_Pa
    base = t_fine - 76800
    humidity = (adc_h - (h4 * 64 + h5 / 16384 * base)) * (
        h2 / 65536 * (1 + h6 / 67108864 * base * (1 + h3 / 67108864 * base))
    )
    humidity *= 1 - h1 * humidity / 524288
    values["humidity"] = min(100.0, max(0.0, humidity))
    return values


def _pressure_Pa(t_fine: float, adc_p: int, p1: int, p: list[int]) -> float | None:
    p2, p3, p4, p5, p6, p7, p8, p9 = p
    var1 = t_fine / 2 - 64000
    var2 = var1 * var1 * p6 / 32768 + var1 * p5 * 2
    var2 = var2 / 4 + p4 * 65536
    var1 = (p3 * var1 * var1 / 524288 + p2 * var1) / 524288
    var1 = (1 + var1 / 32768) * p1
    if var1 == 0:
        return None
    pressure = (1048576 - adc_p - var2 / 4096) * 6250 / var1
    return pressure + (p9 * pressure * pressure / 2147483648 + pressure * p8 / 32768 + p7) / 16


_DRIVERS: dict[str, Callable[[bytes, bytes], dict[str, float]]] = {"bme280": bme280}
