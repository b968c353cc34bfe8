"""SDM120, SDM230 and PZEM-004T: recorded frames, and meters behind a real tty, several on one line."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from typing import Any

import pytest

from drivers import catalogue, eastron_sdm, pzem004t
from drivers.contract import Flag
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.serial_line import LineSettings
from hardware_sim.parts.senseair_s8 import crc16
from hardware_sim.worlds import ClimateWorld
from tests.unit.drivers.energy_rig import (
    DEADLINE_S,
    METERS,
    PZEM_VALUES,
    SDM_VALUES,
    close_to,
    frames_of,
    rig,
)

PZEM_FIELDS = ("voltage_v", "current_a", "power_w", "energy_wh", "frequency_hz", "power_factor")


# Recorded frames


def test_every_recorded_frame_decodes_to_its_value_or_is_refused_for_its_reason(vectors):
    counts: Counter[str] = Counter()
    for name in ("pzem004t_tasmota", "pzem004t_lora_a", "pzem004t_lora_b"):
        expected = vectors[name]["expected"]
        data = bytes.fromhex(vectors[name]["bytes_hex"])
        [frame] = frames_of(data, expected["address"], 10)
        assert pzem004t.decode(frame[3:-2]) == tuple(expected[field] for field in PZEM_FIELDS)
        counts["PZEM answer decoded"] += 1
    for name, value in (("sdm_manual_230v", 230.2), ("sdm_capture_2299v", 229.9)):
        [frame] = frames_of(bytes.fromhex(vectors[name]["bytes_hex"]), 1, 2)
        assert struct.unpack(">f", frame[3:-2])[0] == pytest.approx(value)
        counts["SDM answer decoded"] += 1
    cut = vectors["sdm230_block_truncated_esphome3912"]
    assert frames_of(bytes.fromhex(cut["bytes_hex"]), 3, 80) == []
    counts["SDM answer refused: 13 data bytes and CRC missing"] += 1
    for name in ("modbus_rtu_reply_emodbus186", "sunspec_read_suns_reply", "sunspec_model_len_reply"):
        assert frames_of(bytes.fromhex(vectors[name]["bytes_hex"]), 1, 10) == []
        counts["other devices' answers refused: not what was asked"] += 1
    print("\nModbus vectors:", *(f"{what}: {count}" for what, count in counts.items()), sep="\n  ")
    assert counts.total() == 9


def test_the_recorded_block_of_an_sdm230_gives_what_its_owner_saw(vectors):
    """The logger cut the reply in the import energy: its last byte is mended, all behind it left out."""
    vector = vectors["sdm230_block_truncated_esphome3912"]
    data, seen = bytes.fromhex(vector["bytes_hex"]), vector["expected"]["whole_reply_decoded"]
    block = data[3:147] + struct.pack(">f", seen["import_energy"])
    assert block[:-4] + block[-4:-1] == data[3:]
    values = eastron_sdm.decode(block.ljust(160, b"\0"))
    fields = ("voltage_v", "current_a", "active_power_w", "apparent_power_va", "reactive_power_var")
    expected = [seen[field] for field in (*fields, "power_factor", "frequency_hz", "import_energy")]
    assert values[:-1] == pytest.approx(expected, abs=0.0006)


def test_our_questions_are_the_recorded_ones(tmp_path, vectors):
    with rig(tmp_path, ("pzem-004t", 1), ("sdm230", 3)) as r:
        for driver in r.drivers:
            driver.open()
            driver.read(DEADLINE_S)
        asked = {question.hex() for question in r.faulty.questions}
    assert vectors["pzem004t_read_cmd"]["bytes_hex"] in asked
    assert vectors["sdm230_request_block"]["bytes_hex"] in asked


# Meters behind a real tty


@pytest.mark.parametrize("name", METERS)
def test_a_meter_gives_what_the_mains_have(tmp_path, name):
    with rig(tmp_path, (name, 17)) as r:
        [driver] = r.drivers
        driver.open()
        r.clock.wait(11.0)
        sample = driver.read(DEADLINE_S)
        assert sample.values == close_to(METERS[name])
        assert len(sample.values) == len(driver.quantities)
        assert sample.flags == 0
        assert 0 < len(sample.raw) <= 64


def test_identity_is_the_serial_number_where_there_is_one(tmp_path):
    with rig(tmp_path, ("sdm230", 1), ("sdm120", 2), ("pzem-004t", 3)) as r:
        r.part[2].serial = None
        identities = [driver.open() for driver in r.drivers]
    assert [(i.model, i.serial, i.kind) for i in identities] == [
        ("SDM230", "18012345", "serial"),
        ("SDM120", "", "none"),
        ("PZEM-004T V3", "", "none"),
    ]


def test_a_meter_that_is_silent_about_its_serial_number_alone_has_none(tmp_path):
    with rig(tmp_path, ("sdm120", 1)) as r:
        r.faulty.spoil = lambda _, message: [] if message[1] & 0x7F == 3 else [message]
        assert r.drivers[0].open().kind == "none"
        r.faulty.spoil = lambda number, message: [message] if number == 0 else []
        r.faulty.said = 0
        with pytest.raises(InstrumentGone):  # silent about everything: not a meter without serial number
            r.drivers[0].open()


def test_meters_on_one_line_answer_for_themselves_and_a_dead_one_costs_the_others_little(tmp_path):
    with rig(tmp_path, ("sdm230", 1), ("pzem-004t", 2), ("sdm120", 247), ("pzem-004t", 9)) as r:
        dead = r.drivers.pop()
        r.part[9].unit = 99
        for driver in r.drivers:
            driver.open()
        r.clock.wait(11.0)
        failed: list[BaseException] = []
        values: dict[int, list[Any]] = {number: [] for number in range(len(r.drivers))}

        def sample(number: int) -> None:
            try:
                for _ in range(5):
                    values[number].append(r.drivers[number].read(10.0).values)
            except BaseException as error:  # noqa: BLE001 what ends a thread is shown by the test
                failed.append(error)

        def ask_the_dead() -> None:
            with pytest.raises(InstrumentGone, match="unit 9"):
                dead.open()

        threads = [threading.Thread(target=sample, args=(number,)) for number in values]
        threads.append(threading.Thread(target=ask_the_dead))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(8.0)
        assert failed == []
        assert values[0] == [close_to(SDM_VALUES)] * 5
        assert values[1] == [close_to(PZEM_VALUES)] * 5
        assert values[2] == [close_to(SDM_VALUES)] * 5
        before_ns = r.clock.boottime_ns()
        with pytest.raises(InstrumentGone, match="unit 9"):
            dead.open()
        assert (
            r.clock.boottime_ns() - before_ns < 1.5e9
        )  # holds the line for half a second, not for a deadline


def test_a_meter_as_delivered_is_found_at_2400_baud(tmp_path):
    with rig(tmp_path, ("sdm120", 1)) as r:
        speeds: list[int] = []
        opener = r.line._opener

        def counted(path: str, settings: LineSettings) -> Any:
            speeds.append(settings.baudrate)
            return opener(path, settings)

        r.line._opener = counted
        # A pseudo-terminal has no speed: what comes at another one is garbage here too.
        r.faulty.spoil = lambda _, message: [message if speeds[-1] == 2400 else b"\xf8\x00\xe6"]
        driver = r.drivers[0]
        assert driver.open().kind == "serial"
        assert speeds[-1] == 2400
        r.clock.wait(11.0)
        assert driver.read(DEADLINE_S).values == close_to(SDM_VALUES)
        asked = len(r.faulty.questions)
        driver.open()
        assert len(r.faulty.questions) == asked + 2  # it begins with the speed it knows


def test_samples_are_flagged_while_the_meter_may_be_warming_up(tmp_path):
    with rig(tmp_path, ("sdm230", 1)) as r:
        r.drivers[0].open()
        assert r.drivers[0].read(DEADLINE_S).flags == Flag.WARMING_UP
        r.clock.wait(10.0)
        assert r.drivers[0].read(DEADLINE_S).flags == 0


def test_import_export_and_reactive_power_keep_their_sign(tmp_path):
    with rig(tmp_path, ("sdm230", 1)) as r:
        r.world.mains |= {"power_W": -300.0, "energy_export_kWh": 77.25}
        r.drivers[0].open()
        values = r.drivers[0].read(DEADLINE_S).values
        assert (values[2], values[7], values[8]) == (-300.0, 1234.5, 77.25)


def test_a_counter_beyond_16_bits_is_joined_low_word_first(tmp_path):
    with rig(tmp_path, ("pzem-004t", 1)) as r:
        r.world.mains |= {"energy_kWh": 9_999.99, "current_A": 99.5, "power_W": 22_000.0}
        r.drivers[0].open()
        values = r.drivers[0].read(DEADLINE_S).values
        assert (values[1], values[2], values[3]) == (99.5, 22_000.0, 9_999_990.0)


def test_the_synthetic_household_reaches_the_meter_and_its_energy_is_its_power(tmp_path):
    world = ClimateWorld(seed=4, origin_ns=1_700_000_000 * 10**9)
    hours = [world.at(second * 10**9) for second in range(0, 3 * 3600, 10)]
    mean_W = sum(hour["power_W"] for hour in hours) / len(hours)
    assert min(hour["power_W"] for hour in hours) > 0
    assert hours[-1]["energy_kWh"] - hours[0]["energy_kWh"] == pytest.approx(mean_W * 3 / 1000, rel=0.01)
    with rig(tmp_path, ("sdm230", 1)) as r:
        r.part[1]._world = world
        r.drivers[0].open()
        values = r.drivers[0].read(DEADLINE_S).values
        true = world.at(r.clock.boottime_ns())
        assert values[7] == pytest.approx(true["energy_kWh"], abs=0.01)
        assert values[2] == pytest.approx(true["power_W"], rel=0.01)
        assert values[5] == pytest.approx(0.93, abs=0.001)


# Refusals


@pytest.mark.parametrize("name", METERS)
@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        (1, NeedsHuman, "illegal function.*Correct the driver"),
        (2, NeedsHuman, "illegal data address.*Correct the driver"),
        (3, NeedsHuman, "illegal data value"),
        (4, InstrumentGone, "device failure.*cut its power"),
        (6, RetryNow, "busy"),
        (11, InstrumentGone, "gateway target silent"),
        (77, RetryNow, "not a standard one"),
    ],
)
def test_an_exception_response_is_an_error_named_by_its_code(tmp_path, name, code, error, says):
    with rig(tmp_path, (name, 5)) as r:
        r.drivers[0].open()
        r.part[5].exception = code
        with pytest.raises(error, match=rf"unit 5 at .*\(exception {code}, {says}"):
            r.drivers[0].read(DEADLINE_S)
        with pytest.raises(error):
            r.drivers[0].open()
        r.part[5].exception = None
        r.drivers[0].open()
        r.clock.wait(11.0)
        assert r.drivers[0].read(DEADLINE_S).values == close_to(METERS[name])


def test_another_meter_at_the_unit_number_is_not_taken_for_ours(tmp_path):
    with rig(tmp_path, ("pzem-004t", 1)) as r:
        sdm = catalogue.create("sdm230", r.line, 1, r.clock)
        with pytest.raises(NeedsHuman, match="it is not an SDM230"):
            sdm.open()
    with rig(tmp_path, ("sdm230", 1)) as r:
        pzem = catalogue.create("pzem-004t", r.line, 1, r.clock)
        with pytest.raises(NeedsHuman, match="it is not a PZEM-004T"):
            pzem.open()
        r.part[1].registers = lambda function, true: dict.fromkeys(range(0x60), 0)  # another that has them
        with pytest.raises(InstrumentGone, match="has 0 where a PZEM-004T V3 has its unit number"):
            pzem.open()
        with pytest.raises(InstrumentGone, match=r"says 0 Hz where an SDM230 has the mains frequency"):
            r.drivers[0].open()


@pytest.mark.parametrize(("factor", "alarm"), [(101, 0), (95, 1)])
def test_a_field_with_a_value_it_never_has_voids_the_sample(factor, alarm):
    with pytest.raises(DropSample, match="is it the right driver"):
        pzem004t.decode(struct.pack(">10H", 2315, 2000, 0, 4400, 0, 1, 0, 500, factor, alarm))


@pytest.mark.parametrize("word", ["7fc00000", "7f800000", "ff800000"])
def test_a_float_that_is_no_number_voids_the_sample(word):
    block = bytearray(160)
    block[24:28] = bytes.fromhex(word)
    with pytest.raises(DropSample, match="for power"):
        eastron_sdm.decode(bytes(block))


@pytest.mark.parametrize("name", METERS)
def test_reading_what_is_not_open_says_so_and_closing_twice_is_fine(tmp_path, name):
    with rig(tmp_path, (name, 1)) as r:
        for _ in range(2):
            with pytest.raises(InstrumentGone, match="is not open: open it"):
                r.drivers[0].read(DEADLINE_S)
            r.drivers[0].open()
            r.drivers[0].close()
            r.drivers[0].close()


@pytest.mark.parametrize("name", METERS)
def test_nothing_is_ever_written_to_a_meter(tmp_path, name):
    with rig(tmp_path, (name, 1)) as r:
        r.drivers[0].open()
        r.drivers[0].read(DEADLINE_S)
        assert {question[1] for question in r.faulty.questions} <= {3, 4}
        assert all(len(question) == 8 and crc16(question) == 0 for question in r.faulty.questions)
