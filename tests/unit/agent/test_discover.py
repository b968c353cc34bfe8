"""Discovery on simulated buses: every part is named or said to be unknown, and nothing in it is changed."""

from __future__ import annotations

import errno
import os
import threading
import tomllib

import pytest

from agent import cli, discover, fragment
from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.discover import Finding, Search
from agent.settings import InstrumentSettings, parse
from drivers import catalogue
from drivers.errors import NeedsHuman
from drivers.i2c import SharedBus
from drivers.serial_line import SerialLine
from hardware_sim.bus import Hang, VirtualI2C
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.parts.bme280 import BME280
from hardware_sim.parts.scd30 import SCD30
from hardware_sim.parts.scd41 import SCD41
from hardware_sim.pty_line import PtyLine
from hardware_sim.worlds import ClimateWorld

START_NS = 10**12
ADDRESSES = {name: f"0x{part.addresses[0]:02x}" for name, part in catalogue.on("i2c").items()}
ADDRESSES |= {"bme280": "0x77", "ds18b20": "28-0316a2794bff"}
PLACES = {"i2c": "i2c:1", "w1": "w1:"}


def clock():
    return PacedClock(START_NS, 1_780_000_000 * 10**9)


def instrument(driver, bus=None, address=None):
    part = catalogue.entry(driver)
    return InstrumentSettings(
        driver,
        driver,
        bus or PLACES.get(part.bus, f"serial:/dev/serial/by-id/{driver}"),
        ADDRESSES.get(driver, "") if address is None else address,
    )


@pytest.fixture
def simulated():
    """simulated(settings…) -> (buses, clock); closed at the end."""
    opened = []

    def make(*instruments, now=None):
        now = now or clock()
        buses = SimulatedBuses(instruments, ClimateWorld(7, now.wall().ns - now.boottime_ns()), now)
        opened.append(buses)
        return buses, now

    yield make
    for buses in opened:
        buses.close()


def found(buses, now, *where, ask=False, listen_s=3.0, patience_s=30.0):
    return discover.discover(where, Search(buses, now, listen_s, ask), patience_s)


class OneBus:
    """Buses that hold one ready-made bus."""

    def __init__(self, bus):
        self._bus = bus

    def get(self, name):
        if isinstance(self._bus, Exception):
            raise self._bus
        return self._bus

    def close(self):
        pass


# I2C


@pytest.mark.parametrize("driver", sorted(catalogue.on("i2c")))
def test_an_i2c_part_is_named_with_its_identity(simulated, driver):
    buses, now = simulated(instrument(driver))
    (finding,) = found(buses, now, "i2c:1")
    assert (finding.drivers, finding.address) == ((driver,), ADDRESSES[driver])
    opened = catalogue.create(driver, buses.get("i2c:1"), int(ADDRESSES[driver], 16), now).open()
    assert finding.identity == opened


def test_all_parts_of_one_bus_are_found_side_by_side(simulated):
    buses, now = simulated(*map(instrument, catalogue.on("i2c")), instrument("bme280", address="0x76"))
    there = sorted(["0x76", *(ADDRESSES[name] for name in catalogue.on("i2c"))])
    assert [finding.address for finding in found(buses, now, "i2c:1")] == there


def logged(parts, fault=None):
    now = clock()
    wire = VirtualI2C({address: make(now) for address, make in parts.items()}, now, fault)
    return wire, found(OneBus(SharedBus(wire, "bus")), now, "i2c:1")


class Stranger:
    """Acknowledges and remembers what it is told."""

    powered = True

    def __init__(self, now=None):
        self.told = []

    def write(self, data):
        self.told.append(data)

    def read(self, length):
        return b"\x5a" * length


def test_nothing_is_written_to_an_address_of_no_known_part():
    strangers = {address: Stranger() for address in range(0x08, 0x78)}
    wire, findings = logged({address: lambda _, s=s: s for address, s in strangers.items()})
    own = {address for part in catalogue.on("i2c").values() for address in part.addresses}
    assert {address for address, s in strangers.items() if s.told} == own
    assert {transaction.address for transaction in wire.log} == set(strangers) - {0x69}
    assert not any(finding.drivers for finding in findings)
    assert len(findings) == len(strangers) - 1


def test_a_stranger_at_a_boschs_address_is_told_a_register_number_and_nothing_else():
    stranger = Stranger()
    _, (finding,) = logged({0x76: lambda _: stranger})
    assert set(stranger.told) == {b"\xd0"}
    assert "not a BME280: found 0x5a" in finding.remark


def test_a_bmp280_is_said_to_be_one():
    world = ClimateWorld(7)
    _, (finding,) = logged({0x76: lambda now: BME280.bmp280_in_world(world, now)})
    assert (finding.drivers, "a BMP280 without humidity" in finding.remark) == ((), True)


def test_a_bme280_keeps_its_settings():
    now = clock()
    part = BME280.in_world(ClimateWorld(7), now)
    part.write(b"\xf2\x05")
    part.write(b"\xf4\x27")
    wire = VirtualI2C({0x76: part}, now)
    assert found(OneBus(SharedBus(wire, "bus")), now, "i2c:1")[0].drivers == ("bme280",)
    part.write(b"\xf2")
    assert part.read(3)[0] == 0x05
    assert {transaction.written[1:] for transaction in wire.log} == {b""}  # register numbers only


def test_an_scd41_that_measures_goes_on_measuring():
    now = clock()
    part = SCD41(ClimateWorld(7), now)
    part.write(bytes.fromhex("21b1"))
    (finding,) = found(OneBus(SharedBus(VirtualI2C({0x62: part}, now), "bus")), now, "i2c:1")
    assert finding.drivers == ("scd41",)
    assert finding.identity.kind == "none"
    now.wait(6.0)
    part.write(bytes.fromhex("ec05"))
    now.wait(0.01)
    assert len(part.read(9)) == 9  # a measurement was made meanwhile


def test_an_scd30_is_asked_for_its_version_and_its_number_and_is_not_started():
    wire, (finding,) = logged({0x61: lambda now: SCD30(ClimateWorld(7), now)})
    assert finding.drivers == ("scd30",)
    assert {transaction.written for transaction in wire.log} == {b"", b"\xd1\x00", b"\xd0\x33"}


@pytest.mark.parametrize("address", [0x20, 0x61, 0x76])
def test_a_part_that_hangs_is_named_and_the_others_are_found(address):
    world = ClimateWorld(7)
    parts = {
        0x77: lambda now: BME280.in_world(world, now),
        address: lambda now: BME280.in_world(world, now),
    }
    _, findings = logged(parts, lambda index, operation, at: Hang(1.0) if at == address else None)
    assert [finding.drivers for finding in findings] == [(), ("bme280",)]
    assert findings[0].address == f"0x{address:02x}"
    assert "hung" in findings[0].remark


def test_a_bus_that_hangs_at_every_address_is_given_up():
    _, findings = logged({}, lambda index, operation, at: Hang(1.0))
    assert [finding.address for finding in findings] == ["0x08", "0x09", "0x0a", ""]
    assert "hung 3 times" in findings[-1].remark


class Refusing(VirtualI2C):
    def __init__(self, number, parts=None):
        super().__init__(parts or {}, clock())
        self._number = number

    def _transact(self, operation, address, out, length):
        if address == 0x76:
            self.asked = operation
            raise OSError(self._number, os.strerror(self._number))
        return super()._transact(operation, address, out, length)


def test_what_a_kernel_driver_holds_is_not_asked():
    wire = Refusing(errno.EBUSY)
    (finding,) = found(OneBus(SharedBus(wire, "bus")), clock(), "i2c:1")
    assert wire.asked == "read"
    assert "held by a kernel driver" in finding.remark


def test_a_bus_without_permission_is_a_sentence():
    denied = NeedsHuman("I2C bus 1 may not be opened by this user: add it to the group i2c.")
    assert found(OneBus(denied), clock(), "i2c:1") == [Finding("i2c:1", remark=denied.sentence)]
    (finding,) = found(OneBus(SharedBus(Refusing(errno.EACCES), "bus")), clock(), "i2c:1")
    assert "group i2c" in finding.remark


def test_a_place_that_never_answers_is_left_behind():
    held = threading.Event()

    class Stuck(Stranger):
        def read(self, length):
            held.wait(20.0)
            return b"\0"

    now = clock()
    stuck = SharedBus(VirtualI2C({0x10: Stuck()}, now), "stuck")
    well = SharedBus(VirtualI2C({0x76: BME280.in_world(ClimateWorld(7), now)}, now), "well")

    class Two(OneBus):
        def get(self, name):
            return {"i2c:1": stuck, "i2c:2": well}[name]

    findings = found(Two(None), now, "i2c:1", "i2c:2", patience_s=1.0)
    held.set()
    assert "did not answer within 1 s" in findings[0].remark
    assert findings[1].drivers == ("bme280",)


def test_a_library_that_fails_in_its_own_way_stops_only_its_place(simulated):
    findings = found(OneBus(ZeroDivisionError("oops")), clock(), "i2c:1")
    assert findings[0].remark == "the search failed (ZeroDivisionError('oops')): please report this."


# Serial


SPEAKING = sorted(name for name, part in catalogue.on("serial").items() if part.speaks)
ASKED = sorted(name for name, part in catalogue.on("serial").items() if part.asks)
ALIKE = {
    "pms5003": ("pms5003", "pms7003"),
    "pms7003": ("pms5003", "pms7003"),
    "sdm120": ("sdm120", "sdm230"),
    "sdm230": ("sdm120", "sdm230"),
}


def test_every_serial_part_can_be_found_in_one_of_the_two_ways():
    assert sorted({*SPEAKING, *ASKED}) == sorted(catalogue.on("serial"))


@pytest.mark.parametrize("driver", SPEAKING)
def test_a_part_that_speaks_is_named_by_listening_alone(simulated, driver):
    settings = instrument(driver)
    buses, now = simulated(settings)
    told = []

    def hear(data):
        told.append(data)
        return b""

    buses.part(settings.bus).heard = hear
    (finding,) = found(buses, now, settings.bus)
    assert finding.drivers == ALIKE.get(driver, (driver,))
    assert told == []


@pytest.mark.parametrize("driver", ASKED)
def test_a_part_that_speaks_only_when_asked_is_named_when_asking_is_allowed(simulated, driver):
    settings = instrument(driver)
    buses, now = simulated(settings)
    (finding,) = found(buses, now, settings.bus, ask=True, listen_s=0.2)
    assert finding.drivers == ALIKE.get(driver, (driver,))
    address = 1 if catalogue.entry(driver).addresses else None
    opened = catalogue.create(driver, buses.get(settings.bus), address, now).open()
    assert (finding.identity.serial, finding.identity.kind) == (opened.serial, opened.kind)


class Babble:
    """Says bytes of nothing known."""

    def __init__(self):
        self.told = b""

    def heard(self, data):
        self.told += data
        return b""

    def due(self):
        return b"\x11\x22\x33"


class Silence(Babble):
    def due(self):
        return b""


@pytest.mark.parametrize(
    ("part", "words"), [(Babble, "bytes that no driver here knows"), (Silence, "was silent")]
)
def test_a_line_without_a_known_part_is_told_nothing(tmp_path, part, words):
    now, there = clock(), part()
    line = PtyLine(there, tmp_path / "adapter")
    try:
        (finding,) = found(OneBus(SerialLine(str(line.path), now)), now, f"serial:{line.path}", listen_s=0.3)
    finally:
        line.close()
    assert words in finding.remark
    assert "Try --ask" in finding.remark
    assert there.told == b""


SETTINGS = (
    b"HEARTBEAT",
    b"C,0",
    b"\x7e\x00\x00",
    b"\x7e\x00\x01",
)  # of a GMC, an EZO; start, stop of an SPS30


@pytest.mark.parametrize("part", [Babble, Silence])
def test_a_stranger_is_asked_questions_and_nothing_is_set_where_asking_is_allowed(tmp_path, part):
    now, there = clock(), part()
    line = PtyLine(there, tmp_path / "adapter")
    try:
        buses = OneBus(SerialLine(str(line.path), now))
        (finding,) = found(buses, now, f"serial:{line.path}", ask=True, listen_s=0.3)
    finally:
        line.close()
    assert "answered nobody's question" in finding.remark
    assert b"<GETVER>>" in there.told
    assert not any(command in there.told for command in SETTINGS)


def test_a_line_that_went_away_is_a_sentence():
    (finding,) = found(OneBus(SerialLine("/dev/serial/by-id/none", clock())), clock(), "serial:/dev/x")
    assert "is not there: is it plugged in?" in finding.remark


def test_a_line_without_permission_is_a_sentence():
    def denied(path, settings):
        raise PermissionError(errno.EACCES, "Permission denied")

    (finding,) = found(OneBus(SerialLine("/dev/ttyUSB0", clock(), denied)), clock(), "serial:/dev/ttyUSB0")
    assert "add it to the group dialout" in finding.remark


# 1-Wire


def test_a_1_wire_part_is_named_by_its_rom_code_and_another_family_is_not(simulated):
    settings = instrument("ds18b20")
    buses, now = simulated(settings)
    (buses.get("w1:").folder / "10-000802824e58").mkdir()
    unknown, named = found(buses, now, "w1:")
    assert (unknown.drivers, unknown.address) == ((), "10-000802824e58")
    assert "is no DS18B20" in unknown.remark
    assert (named.drivers, named.identity.serial) == (("ds18b20",), settings.address)


# The machine, and what is printed


def test_places_are_read_from_the_machines_own_lists(tmp_path):
    dev, one_wire = tmp_path / "dev", tmp_path / "devices"
    assert discover.places(dev, one_wire) == []
    (dev / "serial" / "by-id").mkdir(parents=True)
    one_wire.mkdir()
    for name in ("i2c-10", "i2c-2", "i2c-foo", "ttyUSB0", "serial/by-id/usb-B", "serial/by-id/usb-A"):
        (dev / name).touch()
    assert discover.places(dev, one_wire) == [
        "i2c:2",
        "i2c:10",
        f"serial:{dev}/serial/by-id/usb-A",
        f"serial:{dev}/serial/by-id/usb-B",
        "w1:",
    ]


def test_the_printed_fragment_is_a_configuration_that_check_config_accepts(simulated):
    """Several at once, two of a kind among them, with what could not be named in comments."""
    all_i2c = [instrument(name) for name in catalogue.on("i2c")]
    buses, now = simulated(
        *all_i2c, instrument("bme280", address="0x76"), instrument("pms5003"), instrument("ds18b20")
    )
    findings = found(buses, now, "i2c:1", "serial:/dev/serial/by-id/pms5003", "w1:")
    printed = fragment.text([*findings, Finding("i2c:9", remark="a\nstrange = 1 remark")])
    whole = tomllib.loads(f'state_dir = "/tmp/x"\nkey = "sim:/tmp/k"\n{printed}\n')
    checked = cli.check(parse(whole, "printed"))
    there = sorted([("0x76", "bme280"), *((ADDRESSES[name], name) for name in catalogue.on("i2c"))])
    assert [(i.name, i.driver, i.address) for i in checked.instrument] == [
        *(("bme280-2" if at == "0x77" else name, name, at) for at, name in there),
        ("pms5003", "pms5003", ""),
        ("ds18b20", "ds18b20", "28-0316a2794bff"),
    ]
    assert '# Or driver = "pms7003": they cannot be told apart.' in printed
    assert "# i2c:9: a?strange = 1 remark" in printed
    (dust,) = (i for i in checked.instrument if i.driver == "pms5003")
    assert dust.deadline_s == 3.0  # its driver refuses less


def test_for_machines_every_finding_is_a_row_of_the_same_keys(simulated):
    buses, now = simulated(instrument("scd30"))
    named, not_named = fragment.table([*found(buses, now, "i2c:1"), Finding("w1:", remark="nothing")])
    assert (named["drivers"], named["serial_kind"], not_named["drivers"]) == (["scd30"], "serial", [])
    assert named.keys() == not_named.keys()


# The command


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    def call(*arguments, where=(), buses=HardwareBuses):
        monkeypatch.setattr(discover, "places", lambda: list(where))
        monkeypatch.setattr("agent.buses.HardwareBuses", buses)
        argv = ["fieldproof-agent", "discover", "-c", str(tmp_path / "none.toml"), *arguments]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    return call


def test_a_machine_without_buses_gets_a_sentence(command):
    code, out, err = command()
    assert (code, out) == (1, "")
    assert "no I2C bus, no serial line by-id and no 1-Wire bus" in err


def test_nothing_found_is_a_sentence_and_comments(command):
    now = SystemClock()
    code, out, err = command(
        "--listen-s", "0.1", where=["i2c:1"], buses=lambda _: OneBus(SharedBus(VirtualI2C({}, now), "bus"))
    )
    assert code == 1
    assert "No instrument was named at i2c:1: check power and wiring" in err
    assert all(line.startswith("#") for line in out.splitlines())


def test_what_is_found_is_printed_and_the_command_is_content(command):
    now = SystemClock()
    part = BME280.in_world(ClimateWorld(7, now.wall().ns - now.boottime_ns()), now)
    code, out, _ = command(
        where=["i2c:1"], buses=lambda _: OneBus(SharedBus(VirtualI2C({0x76: part}, now), "bus"))
    )
    assert code == 0
    assert tomllib.loads(out)["instrument"][0]["driver"] == "bme280"


def test_while_the_agent_runs_nothing_is_searched(command, monkeypatch):
    class Loaded:
        control_socket = "there"

    monkeypatch.setattr("agent.settings.load", lambda _: Loaded())
    monkeypatch.setattr("agent.control.ask_status", lambda _: {"healthy": True})
    code, out, err = command(where=["i2c:1"])
    assert (code, out) == (2, "")
    assert "stop it first" in err
