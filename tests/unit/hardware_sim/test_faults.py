"""Faults by file: what is refused and why, and each kind on the wire it belongs to."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.errors import FixConfig
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from hardware_sim import toml_file
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.faults import Fault, FaultFile
from hardware_sim.faulty import Faults
from hardware_sim.faulty_wires import FaultySerial, Striking
from tests.sim_parts import joined_config

S = 10**9
LINE = "serial:/dev/serial/by-id/usb-one"
CLIMATE = {"temperature_degC": 20.0, "pressure_Pa": 100_000.0, "humidity_pctRH": 50.0, "co2_ppm": 700.0}


class Still:
    def at(self, boottime_ns):
        return CLIMATE


class Rising:
    """One degree an hour."""

    def at(self, boottime_ns):
        return CLIMATE | {"temperature_degC": 20.0 + boottime_ns / 3.6e12}


def _file(*tables, seed=0):
    return toml_file.checked(FaultFile, {"seed": seed, "fault": list(tables)}, "f.toml")


@pytest.fixture
def node_of():
    """node_of((name, driver, bus, address), ..., faults=[tables]) -> (clock, {name: driver})."""
    open_buses = []

    def make(*instruments, wrong=(), world=None, speed=math.inf):
        settings = [InstrumentSettings(name, d, bus, address) for name, d, bus, address in instruments]
        clock = PacedClock(0, 0, speed)
        buses = SimulatedBuses(settings, world or Still(), clock, _file(*wrong))
        open_buses.append(buses)
        made = {
            i.name: catalogue.create(
                i.driver, buses.get(i.bus), catalogue.address_of(i.driver, i.address), clock
            )
            for i in settings
        }
        return clock, made

    yield make
    for buses in open_buses:
        buses.close()


def _ready(clock, driver):
    driver.open()
    return lambda: (clock.wait(5.0), driver.read(5.0))[1]


# Files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fault = 3", "Input should be a valid tuple"),
        ("what = 1", "what: there is no such key"),
        ('[[fault]]\nfault = "nack"\ninstrument = "a"\nwho = 1', r"fault\.0\.who: there is no such key"),
        ('[[fault]]\nfault = "gremlin"\ninstrument = "a"', "there is no fault 'gremlin'; there are nack"),
        ('[[fault]]\nfault = "nack"', "either instrument or bus"),
        ('[[fault]]\nfault = "nack"\ninstrument = "a"\nbus = "i2c:1"', "either instrument or bus"),
        ('[[fault]]\nfault = "nack"\ninstrument = "a"\nbit = 1', "nack has no bit"),
        ('[[fault]]\nfault = "hang"\ninstrument = "a"', "hang needs seconds"),
        ('[[fault]]\nfault = "drift"\ninstrument = "a"\nkey = "x"', "drift needs per_hour"),
        ('[[fault]]\nfault = "drift"\ninstrument = "a"\nkey = "x"\nper_hour = nan', "per_hour"),
        ('[[fault]]\nfault = "nack"\ninstrument = "a"\nrate = 1.5', "less than or equal to 1"),
        (
            '[[fault]]\nfault = "nack"\ninstrument = "a"\nrate = 0.5\ntransactions = [1]',
            "either transactions or",
        ),
        ('[[fault]]\nfault = "nack"\ninstrument = "a"\ntransactions = [-1]', "greater than or equal to 0"),
        (
            '[[fault]]\nfault = "nack"\ninstrument = "a"\nfrom_s = 9\nuntil_s = 3',
            "until_s is not after from_s",
        ),
        ('[[fault]]\nfault = "unplug"\ninstrument = "a"\nrate = 0.1', "lasts seconds after a transaction"),
        ('[[fault]]\nfault = "unplug"\ninstrument = "a"\nseconds = 3', "lasts seconds after a transaction"),
        ("[[fault", "is not TOML"),
        ("a = " + "[" * 9999, "is not TOML"),
        ("\xff", "is not TOML"),
        ("#" * 300_000, "more than 262144 bytes"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_wrong_file_is_refused_with_one_sentence(tmp_path, text, said):
    path = tmp_path / "faults.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FixConfig, match=said) as caught:
        toml_file.load(FaultFile, path)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.sentence.rstrip("\n").replace("\\n", "") or "TOML" in said


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"fault": "nack", "instrument": "b"}, "no instrument 'b'"),
        ({"fault": "nack", "bus": "i2c:2"}, "no bus 'i2c:2'"),
        ({"fault": "garbage", "instrument": "a"}, "garbage is no fault of i2c:; it is one of serial"),
        ({"fault": "jump", "instrument": "a", "key": "gold", "by": 1}, "no world has 'gold'"),
        (
            {"fault": "wrong-chip", "instrument": "a", "chip": "gnat"},
            "no chip 'gnat'; there are bme280, bmp280",
        ),
        ({"fault": "wrong-chip", "instrument": "a", "chip": "sds011"}, "another bus"),
    ],
)
def test_a_fault_that_cannot_happen_here_is_refused(node_of, table, said):
    with pytest.raises(FixConfig, match=said):
        node_of(("a", "bme280", "i2c:1", ""), wrong=[table])


def test_transactions_on_1_wire_are_refused():
    instrument = InstrumentSettings("a", "ds18b20", "w1:", "28-000000000001")
    file = _file({"fault": "unplug", "instrument": "a", "rate": 0.5, "seconds": 1})
    with pytest.raises(FixConfig, match="has no transactions"):
        Faults(file, [instrument], PacedClock(0, 0))


def test_the_command_says_what_is_wrong_with_the_file_and_exits_with_2(tmp_path):
    config, _ = joined_config(tmp_path)
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\nfault = "nack"\ninstrument = "nobody"\n')
    arguments = ["run", "-c", str(config), "--climate", "1", "--readings", "3", "--faults", str(path)]
    command = [sys.executable, "-m", "hardware_sim.cli", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "fieldproof-sim: --faults: fault.0: the configuration has no instrument 'nobody'.\n"
    )


def test_help_tells_of_faults():
    from hardware_sim.cli import app

    assert (
        "--faults" in CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["run", "--help"]).output
    )


# I2C


BME = ("a", "bme280", "i2c:1", "")


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"fault": "nack", "rate": 1.0}, InstrumentGone),
        ({"fault": "short-read"}, RetryNow),
        ({"fault": "bit-flip", "bit": 11}, InstrumentGone),
        ({"fault": "hang", "seconds": 20}, InstrumentGone),
        ({"fault": "bus-stuck"}, InstrumentGone),
        ({"fault": "unplug"}, InstrumentGone),
    ],
)
def test_a_fault_of_a_time_holds_in_that_time_only(node_of, table, error):
    table |= {"instrument": "a", "from_s": 100, "until_s": 200}
    clock, made = node_of(BME, wrong=[table])
    read = _ready(clock, made["a"])
    assert read().values[0] == pytest.approx(20.0, abs=0.01)
    clock.wait(100.0)
    with pytest.raises(error):
        read()
    clock.wait(200.0)
    made["a"].close()
    assert _ready(clock, made["a"])().values[0] == pytest.approx(20.0, abs=0.01)


def test_a_fault_of_a_transaction_hits_that_one(node_of):
    _, made = node_of(BME)
    made["a"].open()
    count = _transactions(made["a"])
    for number in (0, count - 1):
        _, made = node_of(BME, wrong=[{"fault": "nack", "instrument": "a", "transactions": [number]}])
        with pytest.raises(InstrumentGone):
            made["a"].open()
        made["a"].open()
    _, made = node_of(BME, wrong=[{"fault": "nack", "instrument": "a", "transactions": [count]}])
    made["a"].open()
    with pytest.raises(DriverError):
        made["a"].read(2.0)


def _transactions(driver):
    return driver._registers._bus._wire.transactions


def test_a_rate_is_met_and_repeats(node_of):
    def hits(seed):
        file = _file({"fault": "nack", "instrument": "a", "rate": 0.05}, seed=seed)
        plan = Faults(file, [InstrumentSettings(*BME)], PacedClock(0, 0)).plan({0x76: "a"})
        assert plan
        return [number for number in range(4000) if plan(number, "read", 0x76)]

    assert 140 < len(hits(1)) < 260
    assert hits(1) == hits(1) != hits(2)


def test_numbers_are_counted_per_instrument_and_other_instruments_are_left_alone():
    file = _file({"fault": "nack", "instrument": "a", "transactions": [1]})
    instruments = [InstrumentSettings(*BME), InstrumentSettings("b", "scd41", "i2c:1")]
    plan = Faults(file, instruments, PacedClock(0, 0)).plan({0x76: "a", 0x62: "b"})
    assert plan
    order = [0x62, 0x76, 0x62, 0x62, 0x76, 0x76]
    assert [bool(plan(index, "read", address)) for index, address in enumerate(order)] == [0, 0, 0, 0, 1, 0]


def test_a_stuck_bus_lets_nobody_through_until_its_time_is_over(node_of):
    stuck = {"fault": "bus-stuck", "instrument": "a", "transactions": [0], "seconds": 30}
    clock, made = node_of(BME, ("b", "scd41", "i2c:1", ""), wrong=[stuck])
    for name in ("a", "b", "b"):
        with pytest.raises(InstrumentGone, match="hung"):
            made[name].open()
    clock.wait(30.0)
    for name in ("a", "b"):
        made[name].open()


def test_pulled_out_after_a_transaction_it_comes_back_after_its_seconds(node_of):
    clock, made = node_of(
        BME, wrong=[{"fault": "unplug", "instrument": "a", "transactions": [2], "seconds": 10}]
    )
    with pytest.raises(InstrumentGone):
        made["a"].open()
    clock.wait(9.0)
    with pytest.raises(InstrumentGone):
        made["a"].open()
    clock.wait(1.0)
    made["a"].open()


@pytest.mark.parametrize(("chip", "said"), [("bmp280", "BMP280 without humidity"), ("scd41", ".")])
def test_a_wrong_chip_is_for_a_human_or_gone(node_of, chip, said):
    _, made = node_of(BME, wrong=[{"fault": "wrong-chip", "instrument": "a", "chip": chip}])
    with pytest.raises(NeedsHuman if chip == "bmp280" else DriverError, match=said):
        made["a"].open()


# Worlds


def test_frozen_drifting_and_jumping_values_come_out_of_the_driver(node_of):
    key = "temperature_degC"
    wrong = [
        {"fault": "frozen", "instrument": "a", "from_s": 3600, "until_s": 10_800},
        {
            "fault": "drift",
            "instrument": "a",
            "key": key,
            "per_hour": 2.0,
            "from_s": 14_400,
            "until_s": 21_600,
        },
        {"fault": "jump", "instrument": "a", "key": key, "by": -7.0, "from_s": 25_200},
    ]
    clock, made = node_of(BME, wrong=wrong, world=Rising())
    made["a"].open()

    def at_hour(hour):
        clock.wait(hour * 3600 - clock.boottime_ns() / 1e9)
        return made["a"].read(2.0).values[0]

    def about(degC):
        return pytest.approx(degC, abs=0.01)

    assert at_hour(0.5) == about(20.5)
    assert at_hour(2.0) == at_hour(2.5) == about(21.0)
    assert at_hour(3.5) == about(23.5)
    assert at_hour(5.0) == about(25.0 + 2.0)
    assert at_hour(6.5) == about(26.5)
    assert at_hour(8.0) == about(28.0 - 7.0)


def test_faults_of_one_instrument_leave_the_world_of_others_alone(node_of):
    wrong = [{"fault": "jump", "instrument": "a", "key": "temperature_degC", "by": 9.0}]
    _, made = node_of(BME, ("b", "bme280", "i2c:1", "0x77"), wrong=wrong)
    values = {}
    for name in ("a", "b"):
        made[name].open()
        values[name] = made[name].read(2.0).values[0]
    assert values == pytest.approx({"a": 29.0, "b": 20.0}, abs=0.01)


# Serial lines


class Speaker:
    """Says one message per question."""

    def heard(self, data):
        return b"ABCDEFGH" if data else b""

    def due(self):
        return b""


def _said(table, seconds=(0.0,)):
    """What a speaker with this fault says, asked once, looked at after each of `seconds`."""
    clock = PacedClock(0, 0)
    striking = [Striking(Fault(instrument="a", **table), random.Random(1))]
    part = FaultySerial(Speaker(), striking, clock)
    said = [part.heard(b"?")]
    for wait_s in seconds:
        clock.wait(wait_s)
        said.append(part.due())
    return said


def test_what_becomes_of_a_message():
    assert b"".join(_said({"fault": "short-read"})) == b"ABCDEFG"
    assert _said({"fault": "bit-flip", "bit": 9})[0] == b"A@CDEFGH"
    assert _said({"fault": "hang", "seconds": 3.0}, (1.0, 1.0, 1.0)) == [b"", b"", b"", b"ABCDEFGH"]
    garbage = _said({"fault": "garbage", "count": 10})[0]
    assert (len(garbage), garbage[10:]) == (18, b"ABCDEFGH")
    head, tail = _said({"fault": "split", "seconds": 0.5}, (0.5,))
    assert head + tail == b"ABCDEFGH"
    assert head
    assert tail
    flood = _said({"fault": "flood", "count": 7}, (0.0, 0.0))
    assert [len(piece) for piece in flood] == [8 + 7, 7, 7]
    assert _said({"fault": "bit-flip", "transactions": (1,), "bit": 0})[0] == b"ABCDEFGH"


def _opens(driver):
    try:
        driver.open()
    except DriverError:
        return False
    return True


CO2 = ("a", "mhz19b", LINE, "")


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"fault": "short-read"}, InstrumentGone),
        ({"fault": "bit-flip", "bit": 20}, RetryNow),
        ({"fault": "hang", "seconds": 60}, InstrumentGone),
        ({"fault": "unplug"}, InstrumentGone),
        ({"fault": "garbage"}, None),
        ({"fault": "split"}, None),
    ],
)
def test_a_serial_fault_is_noticed_behind_a_real_tty_or_harmless(node_of, until, table, error):
    wrong = table | {"instrument": "a", "from_s": 300, "until_s": 400}
    clock, made = node_of(CO2, wrong=[wrong])
    made["a"].open()
    clock.wait(310.0)
    if error is None:
        assert made["a"].read(2.0).values == (700.0,)
    else:
        with pytest.raises(error):
            made["a"].read(2.0)
    made["a"].close()
    clock.wait(100.0)
    until(lambda: _opens(made["a"]), 2.0, "the instrument to open again")
    clock.wait(200.0)
    assert made["a"].read(2.0).values == (700.0,)


def test_in_a_flood_there_is_the_right_value_or_a_named_error(node_of):
    clock, made = node_of(CO2, wrong=[{"fault": "flood", "instrument": "a", "from_s": 300}])
    made["a"].open()
    clock.wait(310.0)
    began_ns = clock.boottime_ns()
    try:
        assert made["a"].read(2.0).values == (700.0,)
    except DriverError:
        assert clock.boottime_ns() - began_ns < 3 * S


def test_the_name_of_a_line_goes_with_its_plug_and_comes_back(node_of, until):
    wrong = {"fault": "unplug", "bus": LINE, "from_s": 100, "until_s": 200}
    clock, made = node_of(CO2, wrong=[wrong])
    path = Path(made["a"]._line.name)
    assert path.exists()
    clock.wait(100.0)
    until(lambda: not path.exists(), 2.0, "the name to go")
    clock.wait(100.0)
    until(lambda: path.exists(), 2.0, "the name to come back")


def test_without_faults_nothing_stands_between():
    instrument = InstrumentSettings(*CO2)
    none = Faults(FaultFile(), [instrument], PacedClock(0, 0))
    part, world = Speaker(), Still()
    assert none.world("a", world) is world
    assert none.part("a", part, world) is part
    assert none.plan({0x76: "a"}) is None
    assert none.present(["a"]) is None
