"""Where the fuzzer starts: well-formed inputs, without checksums where the target puts them on."""

from __future__ import annotations

import struct


def _pvt(second: int) -> bytes:
    """NAV-PVT as the target takes it: 2026-11-20 12:00, valid and fully resolved, 3D, 11 satellites."""
    head = struct.pack(
        "<IHBBBBBBIiBBBB", 475_200_000 + 1000 * second, 2026, 11, 20, 12, 0, second, 0x37, 25, 0, 3, 1, 0, 11
    )
    return b"\0" + (
        head + struct.pack("<iiiiII", 85_000_000, 470_000_000, 547_000, 500_000, 2100, 3200)
    ).ljust(92, b"\0")


SEEDS: tuple[tuple[str, bytes], ...] = (
    (
        "nmea-sealed",
        b"GNRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A\n"
        b"GNGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,",
    ),
    (
        "nmea-sealed",
        b"GNGNS,103600.01,5114.51176,N,00012.29380,W,ANNN,07,1.18,111.5,45.6,,,V\nGPGSA,A,3,1,2,3",
    ),
    ("nmea-sealed", b"GPGST,082356.00,1.8,,,,1.7,1.3,2.2\nGPZDA,082710.00,16,09,2002,00,00"),
    ("gnss", b"$GNRMC,,V,,,,,,,,,,N*4D\r\n$GNGGA,,,,,,0,00,99.99,,,,,,*56\r\n"),
    *(
        ("ubx-sealed", bytes([kind]) + bytes(range(1, 93)) + bytes([kind]) + b"\xff" * 92)
        for kind in range(9)
    ),
    (
        "p1-sealed",
        b"ISk5\\2MT382-1000\n\n0-0:96.1.1(4B384547)\n1-0:1.7.0(01.193*kW)\n1-0:1.8.1(000001.193*kWh)\n",
    ),
    ("p1", b"/ISk5\r\n\r\n1-0:1.7.0(01.193*kW)\r\n0-1:24.3.0(0)\r\n(00000.000)\r\n!\r\n"),
    ("scd30-sealed", struct.pack(">3f", 439.1, 27.2, 48.8)),
    ("scd41-sealed", bytes.fromhex("01f466675eb9")),
    ("sht4x-sealed", bytes.fromhex("66668000")),
    ("sht4x-words", bytes.fromhex("66668000")),
    ("scd41-words", b"\0\1" * 11 + bytes.fromhex("01f466671eb9")),
    ("scd30-words", b"\0\2" * 9 + struct.pack(">3f", 439.1, 27.2, 48.8)),
    ("hdc1080", bytes.fromhex("66648000")),
    ("hdc1080-driver", bytes.fromhex("66648000 02d19a4c3e80 3000")),
    (
        "bme280",  # trim and data of the datasheet's example
        bytes.fromhex(
            "706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017004b 690100140300 1e 655ac07eed006e00"
        ),
    ),
    (
        "gnss-driver-sealed",  # three epochs of NAV-PVT with a fix, a second apart
        b"".join(_pvt(second) for second in range(3)),
    ),
    ("dsmr-driver-sealed", b"ISk5\\2MT382-1000\n\n1-0:1.7.0(01.193*kW)\n1-0:1.8.1(000001.193*kWh)\n"),
    ("ds18b20-sealed", bytes.fromhex("72014b467fff0e10")),
    ("ds18b20", b"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"),
    ("gmc-version", b"GMC-320Re 4.26"),
    ("pms5003-plantower", bytes(24) + b"\x97\0"),
    ("sds011-nova", bytes.fromhex("d4043a0aa160")),
    ("sps30-shdlc", b"\x80" + b"00080000\0"),
    ("sps30-shdlc", b"\0" + struct.pack(">10f", *range(10))),
    ("mhz19b-winsen", bytes.fromhex("019a3c000000")),
    ("senseair-s8-modbus", bytes.fromhex("0000000000000190")),
    ("pzem-004t-modbus", bytes.fromhex("000100c80000113a0000000a000001f4005f0000")),
    ("sdm230-modbus", struct.pack(">f", 50.0) * 40),
    ("sdm120-modbus", b"\xff\x02"),
    ("ezo-ph-raw", b"?i,pH,1.98\r*OK\r"),
    ("ezo-ph-raw", b"7.314\r*OK\r"),
    ("ezo-do-by_question", b"?i,D.O.,1.98\r*OK\r\n?C,0\r*OK\r\n?,O,mg\r*OK\r\n9.12\r*OK\r"),
    ("ezo-rtd-by_question", b"?i,RTD,2.01\r*OK\r\n?C,0\r*OK\r\n?S,c\r*OK\r\n25.104\r*OK\r"),
    ("gmc320-by_question", b"GMC-320Re 4.26\n1234567\n\0\x1c"),
)
