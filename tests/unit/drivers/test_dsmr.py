"""DSMR P1: recorded telegrams of several countries, meters behind a real tty, and every disturbance."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import dsmr, p1
from drivers.contract import Identity
from drivers.errors import DriverError, DropSample, InstrumentGone, RetryNow
from drivers.framing import Frames
from hardware_sim.parts.dsmr import DSMR as Meter
from hardware_sim.parts.dsmr import crc16, even_parity
from hardware_sim.parts.recorded_serial import RecordedSerial
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.energy_rig import Faulty, rig

DEADLINE_S = 12.0
NAMES = [quantity.name for quantity in dsmr.DSMR.quantities]
OF_5 = {
    "energy-import-t1": 1234.5,
    "energy-import-t2": 0.0,
    "energy-export-t1": 0.0,
    "energy-export-t2": 0.0,
    "power-import": 440.0,
    "power-export": 0.0,
    "voltage-l1": 231.5,
    "current-l1": 2.0,
    "power-import-l1": 440.0,
    "power-export-l1": 0.0,
}
OF_4 = {name: value for name, value in OF_5.items() if name != "voltage-l1"}
OF_2 = {name: value for name, value in OF_4.items() if not name.endswith("-l1")}
DIALECTS = {"5": OF_5, "4": OF_4, "2.2": OF_2}

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


def outcome(data: bytes) -> dict[str, float] | str:
    """The values of the one telegram in `data`, or why there are none, looked at independently."""
    telegrams = found(data)
    if telegrams:
        try:
            return named(dsmr.decode(p1.parse(telegrams[0])))
        except DropSample as error:
            return "a heat meter: says nothing of electricity" if "nothing of el" in error.sentence else "?"
    if not data.startswith(b"/"):
        return "begins in the middle"
    message, _, said = data.partition(b"!")
    if said.strip():
        assert crc16(message + b"!") != int(said.strip(), 16)
        return "CRC wrong"
    assert not re.fullmatch(rb"[ -~\r\n]*", message)
    return "no CRC, and a byte that is not printable in its identification"


# Recorded telegrams


def test_every_recorded_telegram_decodes_to_its_values_or_is_refused_for_its_reason():
    counts: Counter[str] = Counter()
    for name, expected in RECORDED.items():
        got = outcome(recording(name))
        if isinstance(expected, str):
            assert isinstance(got, str), name
            assert expected.startswith(got), name
            counts[f"refused, {expected}"] += 1
        else:
            assert got == expected, name
            counts["decoded"] += 1
    print("\nP1 telegrams:", *(f"{what}: {count}" for what, count in counts.items()), sep="\n  ")
    recorded = {path.name for path in (DATA / "dsmr").iterdir()}
    assert recorded == set(RECORDED)
    assert counts["decoded"] == 8


def test_a_crc_without_its_leading_zero_is_taken():
    [telegram] = found(recording("dsmr_parser_telegram_unpadded_crc.p1"))
    assert telegram.endswith(b"!B9F\r\n")
    assert p1.parse(telegram).header == "NWA-WARMTELINK"


def test_what_became_of_an_escaped_backslash_is_all_that_is_wrong_with_the_v2_recording():
    mended = recording("smeterd_normal_packet.p1").replace(b"\x02", b"\\2")
    values = outcome(mended)
    assert values == dict(zip(ENERGIES, (608.4, 490.342, 0.001, 0.0), strict=True)) | {
        "power-import": 1510.0,
        "power-export": 0.0,
    }


def test_a_whole_telegram_behind_a_broken_start_is_found_and_halves_never_join():
    whole = recording("dsmr_parser_telegram_v2_2.p1")
    for broken in (recording("smeterd_broken_packet.p1"), whole[:200], whole[3:], b"!" * 50, b"/" * 50):
        assert found(broken + whole) == [whole], broken[:20]
        assert found(whole + broken + whole) == [whole, whole], broken[:20]


def test_a_telegram_that_lost_its_crc_is_refused():
    for name in ("dsmr_parser_telegram_v5.p1", "dsmr_parser_telegram_v4_2.p1"):
        data = recording(name)
        assert found(data[: data.index(b"!") + 1] + b"\r\n") == []


def test_every_flipped_bit_of_a_telegram_with_crc_is_noticed():
    data = recording("dsmr_parser_telegram_unpadded_crc.p1")
    right = p1.parse(data)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        for telegram in found(bytes(flipped)):  # digits of the CRC may become small letters
            assert p1.parse(telegram) == right, bit


def test_every_flipped_bit_of_a_telegram_with_parity_is_noticed():
    data = recording("dsmr_parser_telegram_v2_2.p1")
    sent = even_parity(data)
    assert p1.seven_bits(sent) == data
    for bit in range(8 * len(sent)):
        flipped = bytearray(sent)
        flipped[bit // 8] ^= 1 << bit % 8
        assert found(p1.seven_bits(bytes(flipped))) == [], bit


@pytest.mark.parametrize(
    "line", ["1-0:1.7.0(00.244*kWh)", "1-0:1.7.0(00.2x4*kW)", "1-0:1.7.0()", "1-0:1.7.0(1e9*kW)"]
)
def test_a_value_that_is_no_number_with_its_unit_voids_the_sample(line):
    [telegram] = found(f"/ABC5x\r\n\r\n{line}\r\n!\r\n".encode())
    with pytest.raises(DropSample, match="for power-import"):
        dsmr.decode(p1.parse(telegram))


def test_the_equipment_identifier_itself_is_never_given():
    for name, values in RECORDED.items():
        for telegram in found(recording(name)):
            equipment = re.search(rb"0-0:96\.1\.(?:1|255)\*?\d*\((\w+)\)", telegram)
            identity = dsmr.identity_of(p1.parse(telegram))
            assert equipment
            assert equipment[1].decode() not in repr(identity)
            assert (identity.kind, len(identity.serial)) == ("equipment-id-sha256", 64), values


# Meters behind a real tty


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_meter_of_each_standard_is_found_and_read(tmp_path, dialect):
    with rig(tmp_path, ("dsmr", None), dialect=dialect) as r:
        [driver] = r.drivers
        identity = driver.open()
        assert identity.kind == "equipment-id-sha256"
        before_ns = r.clock.boottime_ns()
        for power_W in (440.0, 1270.0):
            r.world.mains["power_W"] = power_W
            sample = driver.read(DEADLINE_S)
            assert named(sample.values)["power-import"] == power_W
        r.world.mains["power_W"] = 440.0
        sample = driver.read(DEADLINE_S)
        assert named(sample.values) == DIALECTS[dialect]
        assert (sample.flags, sample.raw) == (0, b"")
        assert r.clock.boottime_ns() - before_ns < (35e9 if dialect != "5" else 5e9)


def test_what_is_fed_back_is_exported(tmp_path):
    with rig(tmp_path, ("dsmr", None)) as r:
        r.world.mains |= {"power_W": -1500.0, "energy_export_kWh": 88.123}
        r.drivers[0].open()
        values = named(r.drivers[0].read(DEADLINE_S).values)
    assert (values["power-import"], values["power-export"]) == (0.0, 1500.0)
    assert values["energy-export-t1"] == 88.123


@pytest.mark.parametrize("name", [name for name, expected in RECORDED.items() if isinstance(expected, dict)])
def test_a_replayed_recording_gives_its_values_through_the_driver(tmp_path, name):
    data = recording(name)
    crc_is_there = p1.parse(found(data)[0]).checked
    with rig(tmp_path, ("dsmr", None), part=RecordedSerial(b"", None, bytes_per_s=1.0)) as r:  # type: ignore[arg-type]
        sent = data if crc_is_there else even_parity(data)
        r.faulty.part = RecordedSerial(sent, r.clock, bytes_per_s=len(data) / 2, repeat=True)
        r.drivers[0].open()
        assert named(r.drivers[0].read(DEADLINE_S).values) == RECORDED[name]


def test_without_crc_and_parity_nothing_is_believed(tmp_path):
    with rig(tmp_path, ("dsmr", None), dialect="2.2") as r:
        r.faulty.spoil = lambda _, message: [p1.seven_bits(message)]
        with pytest.raises(InstrumentGone, match="that are not of a telegram"):
            r.drivers[0].open()


def test_another_meter_is_another_instrument(tmp_path):
    with rig(tmp_path, ("dsmr", None)) as r:
        before = r.drivers[0].open()
        r.part.equipment = "4530303236303030303234343934333135"
        with pytest.raises(InstrumentGone, match="Another smart meter"):
            r.drivers[0].read(DEADLINE_S)
        after = r.drivers[0].open()
        assert isinstance(after, Identity)
        assert after.serial != before.serial


def test_a_heat_meter_gives_no_sample(tmp_path):
    data = recording("dsmr_parser_telegram_unpadded_crc.p1")
    with rig(tmp_path, ("dsmr", None)) as r:
        r.faulty.spoil = lambda _, message: [data]
        assert r.drivers[0].open().model == "NWA-WARMTELINK"
        with pytest.raises(DropSample, match="nothing of electricity"):
            r.drivers[0].read(DEADLINE_S)


def test_a_deadline_shorter_than_the_meters_beat_says_what_to_set(tmp_path):
    with rig(tmp_path, ("dsmr", None), dialect="4") as r:
        r.drivers[0].open()
        with pytest.raises(InstrumentGone, match=r"within 2 s.*set deadline_s to 12"):
            r.drivers[0].read(2.0)


def test_reading_what_is_not_open_says_so_and_closing_twice_is_fine(tmp_path):
    with rig(tmp_path, ("dsmr", None)) as r:
        for _ in range(2):
            with pytest.raises(InstrumentGone, match="is not open: open it"):
                r.drivers[0].read(DEADLINE_S)
            r.drivers[0].open()
            r.drivers[0].close()
            r.drivers[0].close()
        assert r.faulty.questions == []  # a P1 port has no input


# Disturbances


def _flipped(message: bytes) -> bytes:
    bit = 8 * (len(message) // 2) + 2
    return message[: bit // 8] + bytes([message[bit // 8] ^ 1 << bit % 8]) + message[bit // 8 + 1 :]


NOISE = random.Random(3).randbytes(300)
FAULTS = {
    "silence": lambda message: [],
    "end missing": lambda message: [message[:-9]],
    "beginning missing": lambda message: [message[30:]],
    "bit flip": lambda message: [_flipped(message)],
    "middle missing": lambda message: [message[:100] + message[130:]],
    "garbage before": lambda message: [NOISE + message],
    "half a telegram before": lambda message: [message[: len(message) // 2] + message],
    "split": lambda message: [message[:1], message[1:200], message[200:-3], message[-3:]],
}
HARMLESS = {"garbage before", "half a telegram before", "split"}


@pytest.mark.parametrize("dialect", ["5", "2.2"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_each_telegram_in_turn_is_passed_over(tmp_path, dialect, fault):
    with rig(tmp_path, ("dsmr", None), dialect=dialect) as r:
        r.drivers[0].open()
        for place in range(2):
            r.faulty.said = 0

            def spoil(number, message, place=place):
                return FAULTS[fault](message) if number == place else [message]

            r.faulty.spoil = spoil
            while r.faulty.said <= place + 1:
                assert named(r.drivers[0].read(24.0).values) == DIALECTS[dialect]


@pytest.mark.parametrize("dialect", ["5", "4"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_first_telegram_of_an_open_is_harmless_or_a_named_error(tmp_path, dialect, fault):
    with rig(tmp_path, ("dsmr", None), dialect=dialect) as r:
        identity = r.drivers[0].open()
        r.faulty.said = 0
        r.faulty.spoil = lambda number, message: FAULTS[fault](message) if number == 0 else [message]
        try:
            assert r.drivers[0].open() == identity
        except InstrumentGone:
            # The next telegram of a slow meter comes after both speeds were tried, or at the wrong one.
            assert dialect == "4"
            assert fault not in HARMLESS
            assert r.drivers[0].open() == identity
        assert r.faulty.said >= 1


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - HARMLESS))
def test_a_fault_on_all_telegrams_is_a_named_error_at_the_deadline_and_passes(tmp_path, fault):
    with rig(tmp_path, ("dsmr", None)) as r:
        driver: Faulty = r.faulty
        r.drivers[0].open()
        driver.spoil = lambda _, message: FAULTS[fault](message)
        with pytest.raises(InstrumentGone if fault == "silence" else RetryNow) as caught:
            r.drivers[0].read(4.0)
        assert caught.value.sentence.endswith((".", "?"))
        driver.spoil = lambda _, message: [message]
        assert named(r.drivers[0].read(DEADLINE_S).values) == OF_5


def test_pulled_out_is_gone_and_plugged_in_again_it_is_the_same(tmp_path):
    with rig(tmp_path, ("dsmr", None)) as r:
        before = r.drivers[0].open()
        r.plugged.unplug()
        for act in (lambda: r.drivers[0].read(DEADLINE_S), r.drivers[0].open):
            with pytest.raises(InstrumentGone):
                act()
        r.plugged.plug()
        assert r.drivers[0].open() == before
        assert named(r.drivers[0].read(DEADLINE_S).values) == OF_5


def test_a_power_cut_silences_the_meter_until_it_is_back(tmp_path):
    with rig(tmp_path, ("dsmr", None)) as r:
        r.drivers[0].open()
        r.world.power = False
        with pytest.raises(InstrumentGone, match="did not answer within 3 s"):
            r.drivers[0].read(3.0)
        r.world.power = True
        assert named(r.drivers[0].read(DEADLINE_S).values) == OF_5


def test_noise_without_end_stops_at_the_deadline_and_says_what_is_wrong(tmp_path):
    noise = random.Random(9)
    with rig(tmp_path, ("dsmr", None)) as r:
        r.drivers[0].open()
        r.faulty.noise = lambda: noise.randbytes(400)
        before_ns = r.clock.boottime_ns()
        with pytest.raises(RetryNow, match="that are not of a telegram: is it the right line"):
            r.drivers[0].read(3.0)
        assert r.clock.boottime_ns() - before_ns < 4.5e9


# Decoding anything


def test_a_megabyte_of_garbage_costs_no_telegram_behind_it():
    noise = random.Random(4).randbytes(1_000_000)
    data = recording("dsmr_parser_telegram_v5.p1")
    frames = Frames(p1.FORMAT)
    found_all = [
        telegram for at in range(0, len(noise), 4096) for telegram in frames.feed(noise[at : at + 4096])
    ]
    assert found_all == []
    assert frames.feed(data + data) == [data, data]


PIECES = st.sampled_from(
    [
        "/ABC5x\r\n",
        "\r\n",
        "1-0:1.7.0",
        "(",
        ")",
        "00.244*kW",
        "!",
        "!\r\n",
        "!6EEE\r\n",
        "0-0:96.1.1(41)\r\n",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=20).map(lambda data: data.decode("latin-1")), max_size=30))
def test_any_telegram_is_values_or_a_driver_error(pieces):
    message = "".join(pieces).encode("latin-1")
    body = b"/X\r\n" + message.replace(b"/", b"").replace(b"!", b"") + b"!"
    told = [*found(message), *found(body + b"%04X\r\n" % crc16(body))]
    assert len(told) >= 1  # with the right CRC it is a telegram whatever it says
    for telegram in told:
        parsed = p1.parse(telegram)
        assert len(parsed.header) <= 64
        dsmr.identity_of(parsed)
        try:
            values = dsmr.decode(parsed)
        except DriverError:
            continue
        assert all(value is None or abs(value) < 1e14 for value in values)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=8))
def test_any_bytes_before_a_telegram_cost_at_most_that_one(data, cuts):
    whole = b"/ABC5x\r\n\r\n1-0:1.7.0(00.244*kW)\r\n!\r\n"
    frames = Frames(p1.FORMAT)
    said, got = data + whole + whole, []
    for size in cuts:
        got += frames.feed(said[:size])
        said = said[size:]
    got += frames.feed(said)
    assert got[-1] == whole


def test_the_simulated_meters_bytes_are_those_of_the_standard():
    """Against the driver's own parity and CRC, and a recorded CRC."""
    data = recording("dsmr_parser_telegram_v5.p1")
    assert crc16(data[: data.index(b"!") + 1]) == 0x6EEE == p1.crc16(data[: data.index(b"!") + 1])
    assert even_parity(b"/!") == b"\xaf\x21"
    assert Meter.__doc__
