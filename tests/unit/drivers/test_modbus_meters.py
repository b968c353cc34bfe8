"""SDM120, SDM230 and PZEM-004T: recorded frames, meters behind a real tty, and every disturbance."""

from __future__ import annotations

import random
import struct
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers import catalogue, eastron_sdm, pzem004t
from drivers.contract import Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.framing import Frames
from drivers.modbus import answer_format
from drivers.serial_line import LineSettings
from hardware_sim.parts.senseair_s8 import crc16
from hardware_sim.worlds import ClimateWorld
from tests.unit.drivers.energy_rig import DEADLINE_S, rig

PZEM_FIELDS = ("voltage_v", "current_a", "power_w", "energy_wh", "frequency_hz", "power_factor")
SDM_VALUES = (231.5, 2.0, 440.0, 463.0, 144.1145, 0.950324, 50.0, 1234.5, 0.0)
PZEM_VALUES = (231.5, 2.0, 440.0, 1_234_500.0, 50.0, 0.95)
METERS = {"sdm120": SDM_VALUES, "sdm230": SDM_VALUES, "pzem-004t": PZEM_VALUES}


def with_crc(message: bytes) -> bytes:
    return message + struct.pack("<H", crc16(message))


def frames_of(data: bytes, unit: int, count: int) -> list[bytes]:
    return Frames(answer_format(ReadInputRegistersRequest(address=0, count=count, dev_id=unit))).feed(data)


def close_to(values):
    return pytest.approx(values, rel=1e-5)


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


# Disturbances


def _flipped(message: bytes, number: int) -> bytes:
    bit = 37 * (number + 1) % (8 * len(message))
    return message[: bit // 8] + bytes([message[bit // 8] ^ 1 << bit % 8]) + message[bit // 8 + 1 :]


NOISE = random.Random(3).randbytes(200)
FAULTS = {
    "silence": lambda message: [],
    "short": lambda message: [message[:-2]],
    "first byte lost": lambda message: [message[1:]],
    "bit flip": lambda message: [_flipped(message, len(message))],
    "another unit's answer": lambda message: [with_crc(bytes([message[0] + 1]) + message[1:-2])],
    "the question's echo alone": lambda message: [with_crc(message[:2] + b"\x00\x00\x00\x50")],
    "garbage before": lambda message: [NOISE + message],
    "half an answer before": lambda message: [message[: len(message) // 2] + message],
    "a beginning before": lambda message: [message[:3] + message],
    "garbage behind": lambda message: [message + NOISE],
    "split": lambda message: [message[:1], message[1:4], message[4:]],
}
HARMLESS = {"garbage before", "half an answer before", "a beginning before", "garbage behind", "split"}


@pytest.mark.parametrize("name", ["sdm230", "pzem-004t"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_each_answer_in_turn_ends_in_a_named_error_and_recovery(tmp_path, name, fault):
    with rig(tmp_path, (name, 3)) as r:
        driver = r.drivers[0]
        identity = driver.open()
        answers = r.faulty.said
        r.clock.wait(11.0)
        for place in range(answers + 1):  # those of an open, and of the read behind it
            r.faulty.said = 0

            def spoil(number, message, place=place):
                return FAULTS[fault](message) if number == place else [message]

            r.faulty.spoil = spoil
            outcomes = []
            for _ in range(4):
                try:
                    opened = driver.open()
                    values = driver.read(DEADLINE_S).values
                    break
                except (InstrumentGone, RetryNow) as error:
                    outcomes.append(error.sentence)
            assert values == close_to(METERS[name])
            assert opened == identity
            assert len(outcomes) <= 1
            assert all(sentence.endswith((".", "?")) for sentence in outcomes)
            if fault in HARMLESS:
                assert outcomes == []
            elif place == answers:
                assert len(outcomes) == 1
                assert r.faulty.said > place


@pytest.mark.parametrize("name", ["sdm230", "pzem-004t"])
def test_every_flipped_bit_of_an_answer_is_noticed(tmp_path, name):
    said: list[bytes] = []
    with rig(tmp_path, (name, 3)) as r:
        r.drivers[0].open()

        def listen(number, message):
            said.append(message)
            return [message]

        r.faulty.spoil = listen
        r.drivers[0].read(DEADLINE_S)
    [answer] = said
    count = (len(answer) - 5) // 2
    assert frames_of(answer, 3, count) == [answer]
    for bit in range(8 * len(answer)):
        flipped = bytearray(answer)
        flipped[bit // 8] ^= 1 << bit % 8
        assert frames_of(bytes(flipped), 3, count) == [], bit


@pytest.mark.parametrize("name", METERS)
def test_pulled_out_is_gone_and_plugged_in_again_it_is_the_same(tmp_path, name):
    with rig(tmp_path, (name, 1)) as r:
        before = r.drivers[0].open()
        r.plugged.unplug()
        for act in (lambda: r.drivers[0].read(DEADLINE_S), r.drivers[0].open):
            with pytest.raises(InstrumentGone):
                act()
        r.plugged.plug()
        assert r.drivers[0].open() == before
        r.clock.wait(11.0)
        assert r.drivers[0].read(DEADLINE_S).values == close_to(METERS[name])


def test_a_power_cut_of_the_mains_silences_the_meter_until_it_is_back(tmp_path):
    with rig(tmp_path, ("sdm120", 1)) as r:
        r.drivers[0].open()
        r.world.power = False
        with pytest.raises(InstrumentGone, match=r"No answer from an SDM120, unit 1 at .*check power"):
            r.drivers[0].read(DEADLINE_S)
        r.world.power = True
        assert r.drivers[0].read(DEADLINE_S).values == close_to(SDM_VALUES)


def test_noise_without_end_stops_at_the_deadline_and_says_what_is_wrong(tmp_path):
    noise = random.Random(9)
    with rig(tmp_path, ("pzem-004t", 1)) as r:
        r.drivers[0].open()
        r.faulty.noise = lambda: noise.randbytes(300)
        before_ns = r.clock.boottime_ns()
        with pytest.raises(RetryNow, match=r"no answer of unit 1 .* is it a PZEM-004T V3, and the only one"):
            r.drivers[0].read(DEADLINE_S)
        assert r.clock.boottime_ns() - before_ns < 1.5 * DEADLINE_S * 1e9


# Decoding anything


@given(st.binary(max_size=400), st.integers(1, 247), st.integers(1, 80), st.booleans())
def test_any_bytes_give_only_whole_answers_with_right_crc(data, unit, count, is_input):
    kind = ReadInputRegistersRequest if is_input else ReadHoldingRegistersRequest
    form = answer_format(kind(address=0, count=count, dev_id=unit))
    right = with_crc(bytes([unit, 4 if is_input else 3, 2 * count]) + bytes(2 * count))
    frames = Frames(form)
    found = frames.feed(data) + frames.feed(right) + frames.silence()
    assert found[-1:] == [right] or right in data + right  # never lost behind garbage once the line pauses
    assert all(crc16(frame) == 0 and frame[0] == unit for frame in found)


@given(st.binary(min_size=160, max_size=160))
def test_any_registers_are_finite_values_or_a_driver_error(block):
    for decode, data in ((eastron_sdm.decode, block), (pzem004t.decode, block[:20])):
        try:
            values = decode(data)
        except DriverError:
            continue
        assert all(abs(value) < 3.5e38 for value in values)
    assert len(eastron_sdm.evidence(block)) == 36
