"""dsmr-parser behind our list of codes: the values of its own tables, and none of their misreadings."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dsmr_parser import telegram_specifications as its
from dsmr_parser.parsers import TelegramParser

from drivers import catalogue
from drivers.errors import DropSample, NeedsHuman
from hardware_sim.parts.dsmr import crc16
from tests.unit.drivers.p1_recordings import CONTENTS, RECORDED, found, named, recording

NAMES = {
    "ELECTRICITY_IMPORTED_TOTAL": "energy-import",
    "ELECTRICITY_EXPORTED_TOTAL": "energy-export",
    "CURRENT_ELECTRICITY_USAGE": "power-import",
    "CURRENT_ELECTRICITY_DELIVERY": "power-export",
    **{f"ELECTRICITY_USED_TARIFF_{tariff}": f"energy-import-t{tariff}" for tariff in (1, 2)},
    **{f"ELECTRICITY_DELIVERED_TARIFF_{tariff}": f"energy-export-t{tariff}" for tariff in (1, 2)},
    **{f"INSTANTANEOUS_VOLTAGE_L{phase}": f"voltage-l{phase}" for phase in (1, 2, 3)},
    **{f"INSTANTANEOUS_CURRENT_L{phase}": f"current-l{phase}" for phase in (1, 2, 3)},
    **{f"INSTANTANEOUS_ACTIVE_POWER_L{p}_POSITIVE": f"power-import-l{p}" for p in (1, 2, 3)},
    **{f"INSTANTANEOUS_ACTIVE_POWER_L{p}_NEGATIVE": f"power-export-l{p}" for p in (1, 2, 3)},
}
TABLES = {"esy5q3": its.Q3D, "fluvius": its.BELGIUM_FLUVIUS, "v2_2": its.V2_2, "v3": its.V3, "v4_2": its.V4}


def by_its_tables(specification, telegram: str) -> dict[str, float]:
    said = TelegramParser(specification).parse(telegram, throw_ex=True)
    values = {NAMES[name]: value for name, value in vars(said).items() if name in NAMES}
    return {name: float(value.value * (1000 if value.unit == "kW" else 1)) for name, value in values.items()}


@pytest.mark.parametrize("name", [name for name, expected in RECORDED.items() if isinstance(expected, dict)])
def test_every_recorded_telegram_says_the_same_by_the_librarys_own_table_of_its_standard(name):
    table = next((table for key, table in TABLES.items() if key in name), its.V5)
    [telegram] = found(recording(name))
    ours = named(CONTENTS.values(telegram))
    assert by_its_tables(table, telegram.decode("ascii")) == pytest.approx(ours)
    assert ours == RECORDED[name]


def telegram(*lines: str) -> bytes:
    body = "\r\n".join(("/ABC5x", "", *lines, "!")).encode("latin-1")
    return body + b"%04X\r\n" % crc16(body)


VOID = "void"
MISREAD = {  # lines; a value that the library's table gives; what we give, None for nothing of that name
    "a line without value, before another": (
        ["1-0:1.7.0", "1-0:2.7.0(00.244*kW)"],
        ("power-import", 244.0),
        VOID,
    ),
    "a longer code": (["1-0:1.8.10(000001.000*kWh)"], ("energy-import-t1", 1.0), None),
    "another channel": (["1-0:1.7.0(01.000*kW)", "1-1:1.7.0(09.000*kW)"], ("power-import", 9000.0), 1000.0),
    "a heat meter": (["6-0:1.7.0(09.000*kW)"], ("power-import", 9000.0), None),
    "an old reading": (["1-0:1.8.0(5*kWh)", "1-0:1.8.0*01(4*kWh)"], ("energy-import", 4.0), 5.0),
    "one group of two": (["1-0:1.7.0(00.2 4*kW)(00.100*kW)"], ("power-import", 100.0), VOID),
    "said twice": (["1-0:1.7.0(00.244*kW)", "1-0:1.7.0(00.245*kW)"], ("power-import", 245.0), VOID),
    "a power of ten": (["1-0:1.7.0(1e9*kW)"], ("power-import", 1e12), VOID),
}


@pytest.mark.parametrize("what", MISREAD)
def test_what_its_own_table_misreads_is_refused_or_read_right(what):
    lines, (name, wrong), right = MISREAD[what]
    data = telegram(*lines, "1-0:32.7.0(230.1*V)")
    assert found(data) == [data]
    assert by_its_tables(its.V5, data.decode())[name] == wrong
    if right is VOID:
        with pytest.raises(DropSample, match=r" says '.*' for [a-z-]+\."):
            CONTENTS.values(data)
    else:
        assert named(CONTENTS.values(data)).get(name) == right


@pytest.mark.parametrize(
    "line",
    [
        "1-0:1.7.0(NaN*kW)",
        "1-0:1.7.0(Infinity*kW)",
        "1-0:1.7.0(1*kW*kW)",
        "1-0:1.7.0(00.244*kW)\n1-0:2.7.0(1*kW)",
        "1-0:1.7.0(00.244)",
        "1-0:1.7.0 (00.244*kW)",
        "1-0:1.7.0.1(00.244*kW)",
        "1-0:1.7.0(00\r.244*kW)",
        "1-0:1.7.0(00.244*kW)\r\n(00.244*kW)",
        "1-0:1.7.0(00.244*kW)1-0:2.7.0(0*kW)",
        "1-0:1.7.0(00.000000001*kW)",
        "1-0:1.7.0(99999999999*kW)",
        "1-0:1.7.0(" + "9" * 5000 + "*kW)",
    ],
)
def test_a_line_of_ours_is_read_exactly_or_voids_the_sample(line):
    data = telegram("0-0:96.1.1(4B38)", line, "1-0:32.7.0(230.1*V)")
    with pytest.raises(DropSample, match=r"^The meter at here says '.{1,60} for power-import\.$"):
        CONTENTS.values(data)
    assert CONTENTS.identity(data).kind == "equipment-id-sha256"


def test_a_value_behind_which_the_telegram_ends_without_a_line_end_is_not_left_out():
    body = b"/ABC5x\r\n\r\n1-0:32.7.0(230.1*V)\r\n1-0:1.7.0(00.244*kW)!"
    with pytest.raises(DropSample, match="for power-import"):
        CONTENTS.values(body + b"%04X\r\n" % crc16(body))


@pytest.mark.parametrize(
    "line", ["0-0:96.1.1(4B 38)", "0-0:96.1.1(4B38)(4B39)", "0-0:96.1.1()", "0-0:96.1.1"]
)
def test_an_identifier_that_cannot_be_read_is_none(line):
    assert CONTENTS.identity(telegram(line)).kind == "none"


def test_the_librarys_own_crc_check_looks_too():
    good = recording("dsmr_parser_telegram_v5.p1")
    with pytest.raises(DropSample, match="checksum"):
        CONTENTS.values(good.replace(b"00.244", b"00.245"))


def test_a_crc_in_small_letters_is_the_same_crc():
    good = recording("dsmr_parser_telegram_v5.p1")
    small = good.replace(b"!6EEE", b"!6eee")
    assert found(small) == [small]
    assert CONTENTS.values(small) == CONTENTS.values(good)


REFUSED = """
import logging
logging.basicConfig(level=logging.DEBUG)
from drivers import dsmr
from drivers.errors import DropSample
try:
    dsmr.Contents().values(b"/A\\r\\n\\r\\n1-0:1.7.0(00.2x4*kW)\\r\\n!\\r\\n")
except DropSample as error:
    print(error.sentence)
"""


def test_a_refused_line_is_one_sentence_and_nothing_in_the_log():
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60)
    said = "The meter at here says '1-0:1.7.0(00.2x4*kW)' for power-import.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_without_the_library_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dsmr_parser.parsers", None)
    with pytest.raises(NeedsHuman, match="install fieldproof with its extra `dsmr`"):
        catalogue.create("dsmr", object(), None, None)  # type: ignore[arg-type]
    assert catalogue.voices("dsmr")  # `discover` still knows a meter when it hears one
