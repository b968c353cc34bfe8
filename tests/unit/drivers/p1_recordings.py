"""The recorded telegrams: what each has in plain sight, or why it is refused."""

from __future__ import annotations

import pytest

from drivers import dsmr, p1
from drivers.framing import Frames
from tests.unit.drivers.conftest import DATA

CONTENTS = dsmr.Contents()
NAMES = [quantity.name for quantity in dsmr.DSMR.quantities]
# What each recording has in plain sight, or why it is refused.
ENERGIES = ("energy-import-t1", "energy-import-t2", "energy-export-t1", "energy-export-t2")
RECORDED = {
    "dsmr_parser_telegram_esy5q3da1004_v304.p1": {"energy-import": 32549.5061662, "power-import": 1688.21}
    | {"power-import-l1": 557.29, "power-import-l2": 521.62, "power-import-l3": 609.3},
    "dsmr_parser_telegram_fluvius_v171.p1": dict(zip(ENERGIES, (0.034, 15.758, 0.0, 0.011), strict=True))
    | {f"voltage-l{phase}": 234.7 for phase in (1, 2, 3)}
    | {f"current-l{phase}": 0.0 for phase in (1, 2, 3)}
    | {f"power-{way}{phase}": 0.0 for way in ("import", "export") for phase in ("", "-l1", "-l2", "-l3")},
    "dsmr_parser_telegram_v2_2.p1": dict.fromkeys(ENERGIES, 1.001)
    | {"power-import": 1010.0, "power-export": 0.0},
    "dsmr_parser_telegram_v3.p1": dict.fromkeys(ENERGIES, 12345.678)
    | {"power-import": 1190.0, "power-export": 0.0},
    "dsmr_parser_telegram_v4_2.p1": dict(zip(ENERGIES, (1581.123, 1435.706, 0.0, 0.0), strict=True))
    | {"power-import": 2027.0, "power-export": 0.0}
    | {"current-l1": 0.0, "current-l2": 6.0, "current-l3": 2.0}
    | {"power-import-l1": 170.0, "power-import-l2": 1247.0, "power-import-l3": 209.0}
    | {f"power-export-l{phase}": 0.0 for phase in (1, 2, 3)},
    "dsmr_parser_telegram_v5.p1": dict(zip(ENERGIES, (4.426, 2.399, 2.444, 0.0), strict=True))
    | {"power-import": 244.0, "power-export": 0.0}
    | {"voltage-l1": 230.0, "voltage-l2": 230.0, "voltage-l3": 229.0}
    | {"current-l1": 0.48, "current-l2": 0.44, "current-l3": 0.86}
    | {"power-import-l1": 70.0, "power-import-l2": 32.0, "power-import-l3": 142.0}
    | {f"power-export-l{phase}": 0.0 for phase in (1, 2, 3)},
    "smeterd_normal_packet_crc_valid.p1": dict(zip(ENERGIES, (1875.155, 1890.28, 0.0, 0.0), strict=True))
    | {"power-import": 80.0, "power-export": 0.0}
    | {"current-l1": 0.0, "power-import-l1": 80.0, "power-export-l1": 0.0},
    "smeterd_normal_packet_kaifa1.p1": dict(zip(ENERGIES, (498.215, 550.159, 0.001, 0.0), strict=True))
    | {"power-import": 235.0, "power-export": 0.0}
    | {"power-import-l1": 86.0, "power-import-l2": 122.0, "power-import-l3": 27.0}
    | {f"{what}-l{phase}": 0.0 for what in ("current", "power-export") for phase in (1, 2, 3)},
    "dsmr_parser_telegram_unpadded_crc.p1": "a heat meter: says nothing of electricity",
    "lvzon_p1-example-4.0.txt": "CRC wrong: an example that was edited",
    "lvzon_p1-example-5.0.txt": "CRC wrong: an example that was edited",
    "smeterd_normal_packet_crc_invalid.p1": "CRC wrong",
    "smeterd_normal_packet.p1": "no CRC, and a byte that is not printable in its identification",
    "smeterd_broken_packet.p1": "begins in the middle",
}


def recording(name: str) -> bytes:
    path = DATA / "dsmr" / name
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    return path.read_bytes()


def named(values) -> dict[str, float]:
    return {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}


def found(data: bytes) -> list[bytes]:
    return Frames(p1.FORMAT).feed(data)
