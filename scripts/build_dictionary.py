"""Writes proof/dictionary.bin, the preset dictionary of the wire form (§7.3).

The file is part of the protocol: once a network runs, changing it is a new protocol version. The script
stays so that anyone can see what is in it: the shape of proofs with made-up readings of common quantities,
the commonest last, because deflate reaches near bytes with fewer bits.
"""

from __future__ import annotations

from pathlib import Path

from proof import cbor, cose, senml
from proof.claims import Claims, TimeClaim
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.senml import Measured, Reading

QUANTITIES = (
    ("counts", "count"), ("dose-rate", "1/min"), ("voltage", "V"), ("current", "A"), ("power", "W"),
    ("energy", "kWh"), ("frequency", "Hz"), ("ph", "pH"), ("conductivity", "S/m"), ("level", "dB"),
    ("latitude", "lat"), ("longitude", "lon"), ("pm1", "ug/m3"), ("pm10", "ug/m3"), ("pm2.5", "ug/m3"),
    ("co2", "ppm"),
)  # fmt: skip
WEATHER = (("temperature", "Cel", 1500, 2), ("pressure", "Pa", 1013000, 1), ("humidity", "%RH", 6000, 2))
DEVICE = "did:key:z6Mk"


def weather(instrument: str, rows: int) -> list[Reading]:
    return [
        Reading(
            instrument,
            (1_800_000_000 + 60 * row) * 1000 + row * 7,
            tuple(Measured(n, u, cbor.number((base + row * 11) / 10**d, d)) for n, u, base, d in WEATHER),
        )
        for row in range(rows)
    ]


def main() -> None:
    others = [
        Reading("sensor-0", 1_800_000_000_000, (Measured(name, unit, 1),), 32, b"\x80")
        for name, unit in QUANTITIES
    ]
    claims = Claims(
        device=DEVICE, network="test", sealed_at_s=1_800_000_000, freshness=(bytes(32),), bootcount=1,
        bootseed=bytes(16), log=bytes(8), seq=2, prev=bytes(32), time=TimeClaim(2**40, 1, 12_000),
        descriptor_hash=bytes(32),
    )  # fmt: skip
    header = {1: cose.ALG_EDDSA, 3: 112, 4: bytes(8), 15: claims.to_map(), 16: cose.Typ.PROOF.value}
    parts = Descriptor(
        "fieldproof", "0.1.0", "file", False, "Raspberry Pi 4 Model B Rev 1.5",
        (
            InstrumentDescriptor(
                "bme280-76", "bme280", "i2c:1", "0x76", "BME280", "", "trim-sha256",
                tuple(QuantityDescriptor(*q) for q in (
                    ("temperature", "Cel", 0.01, 1 / 3**0.5), ("pressure", "Pa", 0.18, 100 / 3**0.5),
                    ("humidity", "%RH", 0.008, 3 / 3**0.5))),
            ),
        ),
    )  # fmt: skip
    pieces = [
        senml.encode(DEVICE, others),
        cbor.encode(parts.to_map()),
        senml.encode(DEVICE, weather("bme280-77", 3)),
        b"\xd2\x84\x59\x01" + cbor.encode(header),
        senml.encode(DEVICE, weather("bme280-76", 6)),
    ]
    data = b"".join(pieces)
    # Runs of zeros stand where a real proof has a hash: they would only push the useful bytes away.
    while bytes(9) in data:
        data = data.replace(bytes(9), bytes(8))
    Path("proof/dictionary.bin").write_bytes(data)


if __name__ == "__main__":
    main()
