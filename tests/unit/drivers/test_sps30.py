"""SPS30 on frames that a real one sent, stuffed bytes included."""

from __future__ import annotations

import random
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from drivers.contract import Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman
from drivers.framing import Frames
from drivers.serial_line import SerialLine
from drivers.sps30 import SPS30, _content, _request, answer_format
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.dust_rig import AIR, DEADLINE_S, hexdump, rig, table

CLOCK = SystemClock()
DECODER = SPS30(SerialLine("nowhere", CLOCK), None, CLOCK)
MEASURED, STATUS = 0x03, 0xD2
RECORDED = DATA / "pm_co2_pypms"


def decoded(stream: bytes) -> list[tuple[float | None, ...]]:
    return [DECODER._decode(_content(frame)).values for frame in Frames(answer_format(MEASURED)).feed(stream)]


def answer(data: bytes, state: int = 0, command: int = MEASURED) -> bytes:
    """As the datasheet builds one."""
    content = bytes([0, command, state, len(data)]) + data
    content += bytes([~sum(content) & 0xFF])
    stuffed = b"".join(bytes([0x7D, b ^ 0x20]) if b in b"\x7d\x7e\x11\x13" else bytes([b]) for b in content)
    return b"\x7e" + stuffed + b"\x7e"


@pytest.fixture
def recorded():
    path = RECORDED / "SPS30.hexdump"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    return hexdump(path)


def test_every_vector_and_every_recorded_frame_is_decoded(vectors, recorded):
    seen: Counter[str] = Counter()
    for vector in vectors.values():
        if vector["sensor"] == "SPS30":
            assert decoded(bytes.fromhex(vector["bytes_hex"])) == [(0.0, 0.0, 0.0)]
            seen["vectors decoded"] += 1
    for frame, row in zip(recorded, table(RECORDED / "SPS30.csv"), strict=True):
        (values,) = decoded(frame)
        assert values == pytest.approx((row["pm01"], row["pm25"], row["pm10"]), abs=0.051)
        seen["recorded frames decoded"] += 1
        seen["of them with stuffed bytes"] += b"\x7d" in frame
    assert len(decoded(b"".join(recorded))) == len(recorded)
    print("\nSPS30:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert seen["vectors decoded"] == 1
    assert seen["recorded frames decoded"] == 10
    assert seen["of them with stuffed bytes"] == 6


def test_no_flipped_bit_passes(recorded):
    good = decoded(recorded[0])
    for frame in recorded:
        for bit in range(8, 8 * len(frame) - 8):  # a damaged delimiter is below
            bad = bytearray(frame)
            bad[bit // 8] ^= 1 << bit % 8
            assert decoded(bytes(bad) + recorded[0]) == good


def test_a_lost_or_damaged_delimiter_costs_at_most_one_frame(recorded):
    two = b"".join(recorded[1:3])
    for first in (recorded[0][1:], recorded[0][:-1], b"\x7f" + recorded[0][1:], recorded[0][:-1] + b"\x7f"):
        assert decoded(first + two)[-1:] == decoded(recorded[2])


def test_a_stream_is_followed_from_wherever_listening_begins(recorded):
    stream = b"".join(recorded[:3])
    for begin in range(len(recorded[0])):
        assert decoded(stream[begin:])[-1:] == decoded(recorded[2])


def test_after_a_megabyte_of_noise_the_second_frame_is_decoded_at_the_latest(recorded):
    noise = random.Random(5)
    frames = Frames(answer_format(MEASURED))
    garbage = b"".join(noise.randbytes(1000) + b"\x7e\x00\x03" for _ in range(1046)) + b"\x7e\x00\x03\x00"
    for at in range(0, len(garbage), 4096):
        assert frames.feed(garbage[at : at + 4096]) == []
    assert recorded[1] in frames.feed(recorded[0] + recorded[1])


@given(st.binary(max_size=48), st.integers(0, 255))
def test_what_the_datasheet_stuffs_we_unstuff(data, state):
    sent = answer(data[:40], state)
    assert Frames(answer_format(MEASURED)).feed(sent) == [sent]
    assert _content(sent)[2] == state
    assert _content(sent)[4:-1] == data[:40]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_values_or_a_driver_error(data):
    for stream in (data, b"\x7e\x00\x03" + data + b"\x7e", answer(data[:40].ljust(40, b"\xff"))):
        for frame in Frames(answer_format(MEASURED)).feed(stream):
            content = _content(frame)
            if len(content) != 45:
                continue  # as `read` does
            try:
                values = DECODER._decode(content).values
            except DriverError:
                continue
            assert all(isinstance(value, float) for value in values)


def test_values_that_are_no_numbers_are_dropped():
    for bad in (float("nan"), float("inf")):
        with pytest.raises(DropSample, match="no numbers"):
            decoded(answer(struct.pack(">10f", 1.0, bad, *[1.0] * 8)))


def test_our_requests_are_those_of_the_datasheet():
    assert _request(0x00, b"\x01\x03") == bytes.fromhex("7e0000020103f97e")  # §5.3.1
    assert _request(0x01, b"") == bytes.fromhex("7e000100fe7e")  # §5.3.2
    assert _request(0x03, b"") == bytes.fromhex("7e000300fc7e")  # §5.3.3
    assert _request(0xD0, b"\x03") == bytes.fromhex("7e00d001032b7e")  # §5.3.8
    assert _request(0x13, b"\x7e\x7d") == bytes.fromhex("7e007d33027d5e7d5def7e")


# On the simulated part


def test_the_identity_is_the_serial_number(tmp_path):
    with rig("sps30", tmp_path, serial="D1A5C3B2E4F60718") as r:
        identity = r.driver.open()
        assert (identity.model, identity.serial, identity.kind) == ("SPS30", "D1A5C3B2E4F60718", "serial")


def test_stuffed_values_come_through_the_line(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.world.air = {"pm1_ugm3": 17.0, "pm2p5_ugm3": 126.0, "pm10_ugm3": 19.0}
        r.clock.wait(2.0)
        stuffed = r.part.heard(_request(MEASURED, b""))
        assert b"\x7d" in stuffed
        r.clock.wait(2.0)
        assert r.driver.read(DEADLINE_S).values == pytest.approx((17.0, 126.0, 19.0), rel=1e-3)


def test_another_product_needs_a_human(tmp_path):
    product = "00080001"
    with (
        rig("sps30", tmp_path, product=product) as r,
        pytest.raises(NeedsHuman, match=f"is no SPS30: its product type is '{product}'"),
    ):
        r.driver.open()


def test_values_are_not_given_twice(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.driver.read(DEADLINE_S)
        before_ns = r.clock.boottime_ns()
        r.driver.read(DEADLINE_S)
        assert 0.3 <= (r.clock.boottime_ns() - before_ns) / 1e9 <= 2.0  # the next ones were waited for
        with pytest.raises(InstrumentGone, match=r"no new values within 0\.2 s|did not answer"):
            r.driver.read(0.2)


def test_a_part_that_measures_already_is_started_anew(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.driver._open = False  # as after a crash: nobody stopped it
        r.warm()
        assert r.driver.read(DEADLINE_S).values == pytest.approx(tuple(AIR.values()), rel=0.01)


def test_a_closed_part_does_not_go_on_measuring(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.driver.close()
        assert r.part.heard(_request(MEASURED, b"")) == answer(b"", 0x43)


@pytest.mark.parametrize(
    ("bit", "error", "sentence"),
    [
        (5, NeedsHuman, "laser of the SPS30 .* has failed"),
        (4, InstrumentGone, "fan of the SPS30 .* stands still"),
    ],
)
def test_what_the_part_says_is_broken_is_said_to_the_operator(tmp_path, bit, error, sentence):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.part.status = 1 << bit
        with pytest.raises(error, match=sentence):
            r.driver.read(DEADLINE_S)
        r.warm()  # it was cleared
        assert r.driver.read(DEADLINE_S).flags == 0


def test_a_fan_that_turns_too_fast_is_a_warning_and_gives_values(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.part.status = 1 << 21
        assert r.driver.read(DEADLINE_S).values == pytest.approx(tuple(AIR.values()), rel=0.01)


def test_a_part_that_restarted_is_opened_again(tmp_path):
    with rig("sps30", tmp_path) as r:
        r.warm()
        r.part.heard(_request(0xD3, b""))
        with pytest.raises(InstrumentGone, match="lost power: open it again"):
            r.driver.read(DEADLINE_S)
        r.driver.open()
        assert r.driver.read(DEADLINE_S).flags == Flag.WARMING_UP


def test_the_part_does_not_answer_what_is_damaged(tmp_path):
    with rig("sps30", tmp_path) as r:
        request = _request(STATUS, b"\x00")
        assert r.part.heard(request) == answer(bytes(5), 0, STATUS)
        assert r.part.heard(request[:4] + b"\x02" + request[5:]) == b""
        assert r.part.heard(_request(0x55, b"")) == answer(b"", 0x02, 0x55)
        assert r.part.heard(_request(STATUS, b"\x00\x00")) == answer(b"", 0x04, STATUS)
