"""SDS011 on frames that real ones sent and on the protocol's own examples."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from drivers.contract import Flag
from drivers.errors import DriverError, InstrumentGone
from drivers.framing import Frames
from drivers.sds011 import SDS011, _answer, _request
from drivers.serial_line import SerialLine
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.dust_rig import AIR, DEADLINE_S, hexdump, rig, table

CLOCK = SystemClock()
QUERY, MODE, SLEEP, FIRMWARE, PERIOD = 4, 2, 6, 7, 8
RECORDED = DATA / "pm_co2_pypms"
FRAME = bytes.fromhex("aac0d4043a0aa1601dab")


def decoded(stream: bytes, device: bytes = b"\xa1\x60") -> list[tuple[float | None, ...]]:
    driver = SDS011(SerialLine("nowhere", CLOCK), None, CLOCK)
    driver._device = device
    return [driver._decode(frame).values for frame in Frames(_answer(QUERY)).feed(stream)]


def test_every_vector_and_every_recorded_frame_is_decoded_or_refused_for_its_reason(vectors):
    seen: Counter[str] = Counter()
    for vector in vectors.values():
        if vector["sensor"] != "SDS011":
            continue
        data, expected = bytes.fromhex(vector["bytes_hex"]), vector["expected"]
        if "pm25" in expected:
            assert decoded(data) == [(expected["pm25"], expected["pm10"])]
            assert data[6:8].hex().upper() == expected["device_id"]
            seen["vectors decoded: data"] += 1
        elif "command" in expected:
            assert data == _request(QUERY)
            assert [f for c in (QUERY, MODE, SLEEP) for f in Frames(_answer(c)).feed(data)] == []
            seen["vectors: our own query, and no answer to anything"] += 1
        else:
            command, value = (MODE, 1) if "report_mode" in expected else (SLEEP, 0)
            assert decoded(data) == []  # an acknowledgement is no data
            assert Frames(_answer(command)).feed(data) == [data]
            assert data[3:5] == bytes([1, value])
            seen["vectors decoded: acknowledgements"] += 1
    frames, rows = hexdump(RECORDED / "SDS01x.hexdump"), table(RECORDED / "SDS01x.csv")
    for frame, row in zip(frames, rows, strict=True):
        assert decoded(frame, b"\x58\xd9") == [(row["pm25"], row["pm10"])]
        seen["recorded frames decoded"] += 1
    print("\nSDS011:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert sorted(seen.values()) == [1, 1, 2, 10]


def test_no_flipped_bit_passes():
    for bit in range(8 * len(FRAME)):
        bad = bytearray(FRAME)
        bad[bit // 8] ^= 1 << bit % 8
        assert decoded(bytes(bad) + FRAME) == [(123.6, 261.8)]


def test_a_stream_is_followed_from_wherever_listening_begins():
    stream = FRAME * 3
    for begin in range(len(FRAME)):
        assert len(decoded(stream[begin:])) >= 2


def test_after_a_megabyte_of_noise_the_second_frame_is_decoded_at_the_latest():
    noise = random.Random(5)
    frames = Frames(_answer(QUERY))
    garbage = b"".join(noise.randbytes(1000) + b"\xaa\xc0" for _ in range(1046)) + b"\xaa\xc0\xaa"
    passed = sum(len(frames.feed(garbage[at : at + 4096])) for at in range(0, len(garbage), 4096))
    assert passed <= 1  # 8 bits of sum and the tail: one start in 65,536 looks right
    assert FRAME in frames.feed(FRAME * 2)


@given(st.binary(max_size=100), st.sampled_from([QUERY, FIRMWARE, SLEEP]))
def test_arbitrary_bytes_give_values_or_a_driver_error(data, command):
    for frame in Frames(_answer(command)).feed(data + FRAME):
        try:
            decoded(frame, frame[6:8])
        except DriverError:
            continue


def test_the_identity_is_the_device_id(tmp_path):
    with rig("sds011", tmp_path, device=b"\x58\xd9") as r:
        identity = r.driver.open()
        assert (identity.model, identity.serial, identity.kind) == ("SDS011", "58D9", "serial")


@pytest.mark.parametrize("query_mode", [False, True])
def test_both_reporting_modes_give_values_and_are_left_as_they_are(tmp_path, query_mode):
    with rig("sds011", tmp_path) as r:
        r.part.query_mode = query_mode
        r.warm()
        assert r.driver.read(DEADLINE_S).values == (AIR["pm2p5_ugm3"], AIR["pm10_ugm3"])
        assert r.part.query_mode == query_mode


def test_a_part_that_sleeps_is_woken(tmp_path):
    with rig("sds011", tmp_path) as r:
        r.part.awake = False
        r.warm()
        assert r.driver.read(DEADLINE_S).values == (AIR["pm2p5_ugm3"], AIR["pm10_ugm3"])


def test_a_part_with_a_working_period_is_set_to_work_all_the_time(tmp_path):
    with rig("sds011", tmp_path) as r:
        r.part.period_min = 5
        r.warm()
        assert r.part.period_min == 0
        r.driver.read(DEADLINE_S)


def test_nothing_is_written_to_the_flash_of_a_part_that_is_well(tmp_path):
    with rig("sds011", tmp_path) as r:
        r.warm()
        r.driver.read(DEADLINE_S)
        sent = b"".join(r.faulty.told)
        commands = [sent[at : at + 19] for at in range(0, len(sent), 19)]
        assert [command[2] for command in commands] == [FIRMWARE, PERIOD, QUERY]
        assert all(command[3] == 0 for command in commands)


def test_a_specimen_exchanged_while_running_is_noticed(tmp_path):
    with rig("sds011", tmp_path) as r:
        r.warm()
        r.part.device = b"\xb2\xc3"
        with pytest.raises(
            InstrumentGone, match=r"not the one that was opened \(B2C3, not A160\): open it again"
        ):
            r.driver.read(DEADLINE_S)
        assert r.driver.open().serial == "B2C3"


def test_a_value_at_the_words_limit_is_flagged(tmp_path):
    with rig("sds011", tmp_path) as r:
        r.world.air = dict.fromkeys(AIR, 2000.0)
        r.warm()
        sample = r.driver.read(DEADLINE_S)
        assert (sample.values, sample.flags) == ((999.9, 999.9), Flag.CLAMPED)


# The simulated part


def test_the_part_answers_the_protocols_own_examples(vectors, tmp_path):
    with rig("sds011", tmp_path) as r:
        r.part.query_mode = True
        assert len(r.part.heard(bytes.fromhex(vectors["sds011_query_cmd"]["bytes_hex"]))) == 10
        for name, command in (("sds011_set_query_mode_reply", MODE), ("sds011_sleep_reply", SLEEP)):
            reply = bytes.fromhex(vectors[name]["bytes_hex"])
            assert r.part.heard(_request(command, *reply[3:5])) == reply
        assert r.part.heard(_request(QUERY)) == b""  # asleep now


def test_the_part_is_silent_on_what_is_damaged_or_meant_for_another(tmp_path):
    with rig("sds011", tmp_path) as r:
        ours = _request(FIRMWARE)
        assert r.part.heard(ours)[2:6] == bytes([FIRMWARE, 18, 11, 16])
        assert r.part.heard(ours[:17] + b"\x00" + ours[18:]) == b""
        body = ours[2:15] + b"\xb2\xc3"
        assert r.part.heard(ours[:2] + body + bytes([sum(body) & 0xFF, 0xAB])) == b""
