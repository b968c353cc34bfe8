"""Bytes on the wire per reading of three values, on the recorded day 2018-07-09, beside JSON per reading.

Whole signed objects with every claim, a beacon's hash in each, the descriptor in the first, as messages of
§7.3 (zlib with the preset dictionary); see `bytes_per_reading.py`. MQTT 5 adds a PUBLISH header with topic
and content type to each message, shown by itself; TCP, TLS and the receipts that come back are not counted.
"""

from __future__ import annotations

from benchmarks import figures, naive
from benchmarks.bytes_per_reading import SIGNER, proofs, readings
from benchmarks.field import ROOT
from benchmarks.figures import Figure
from proof import wire
from proof.keys import device_id

DAY = ROOT.parent / "shared/data/bme280_sds011_aberdeen/2018-07-09_bme280_sensor_15093.csv"


def publish_bytes(topic: str, payload: int, content_type: str = "") -> int:
    """Size of an MQTT 5 PUBLISH at QoS 1 around its payload (OASIS MQTT 5.0 §3.3)."""
    properties = 3 + len(content_type) if content_type else 0
    variable = 2 + len(topic) + 2 + 1 + properties
    return 1 + (1 if variable + payload < 128 else 2) + variable


def measure() -> list[Figure]:
    """Bytes per reading at 1 and at 60 readings per proof."""
    if not DAY.is_file():
        raise SystemExit(f"The recording {DAY} is not here: see `bytes_per_reading.py` for any other day.")
    rows = [*readings(DAY, whole_seconds=False)]
    found = []
    for per_proof, most in ((1, None), (60, 20)):
        messages = [wire.deflate(data) for data in proofs(rows, per_proof)]
        topic = wire.topic("moor", device_id(SIGNER.public_key), "proof")
        around = sum(publish_bytes(topic, len(message), wire.CONTENT_TYPE) for message in messages)
        name = f"{per_proof} per proof"
        found += [
            Figure(name, sum(map(len, messages)) / len(rows), "bytes/reading", most=most),
            Figure(f"{name}, MQTT around it", around / len(rows), "bytes/reading"),
        ]
    whole = [wire.deflate(data) for data in proofs([*readings(DAY, whole_seconds=True)], 60)]
    found.append(
        Figure("60 per proof, times of whole seconds", sum(map(len, whole)) / len(rows), "bytes/reading")
    )
    by_name = [{m.quantity: float(m.value) for m in row.values} for row in rows]
    texts = [
        naive.message(v["temperature"], v["pressure"] / 100, v["humidity"]) for v in by_name if len(v) == 3
    ]
    around = sum(publish_bytes("station/bme280", len(text)) for text in texts)
    return [
        *found,
        Figure("naive script, JSON", sum(map(len, texts)) / len(texts), "bytes/reading"),
        Figure("naive script, MQTT around it", around / len(texts), "bytes/reading"),
    ]


if __name__ == "__main__":
    figures.run(measure)
