"""PMS5003 and PMS7003 on frames that real ones sent, and on streams that are hard to follow."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from drivers.contract import Flag
from drivers.errors import DriverError, InstrumentGone, NeedsHuman
from drivers.framing import Frames
from drivers.pms5003 import FORMAT, PMS5003, PMS7003
from drivers.serial_line import SerialLine
from hardware_sim.parts.pms5003 import PMS5003 as Part
from hardware_sim.worlds import ClimateWorld
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.dust_rig import AIR, DEADLINE_S, Still, hexdump, rig, table

CLOCK = SystemClock()
DECODER = PMS5003(SerialLine("nowhere", CLOCK), None, CLOCK)
RECORDED = DATA / "pm_co2_pypms"
LONG_FRAME = bytes.fromhex("424d001c0009000b000c0009000b000c095a01e3002b000400010000910002f3")


def decoded(stream: bytes) -> list[tuple[float | None, ...]]:
    return [DECODER._decode(frame).values for frame in Frames(FORMAT).feed(stream)]


def test_every_vector_and_every_recorded_frame_gives_the_atmospheric_values(vectors):
    seen: Counter[str] = Counter()
    for vector in vectors.values():
        if vector["sensor"] == "PMS5003/PMS7003":
            expected = vector["expected"]
            values = [(expected["pm1_atm"], expected["pm25_atm"], expected["pm10_atm"])]
            assert decoded(bytes.fromhex(vector["bytes_hex"])) == values
            seen["vectors decoded"] += 1
    frames, rows = hexdump(RECORDED / "PMSx003.hexdump"), table(RECORDED / "PMSx003.csv")
    for frame, row in zip(frames, rows, strict=True):
        assert decoded(frame) == [(row["pm01"], row["pm25"], row["pm10"])]
        assert Frames(FORMAT).feed(frame) == [frame]
        seen["recorded frames decoded"] += 1
    assert len(decoded(b"".join(frames))) == len(frames)
    for frame in hexdump(RECORDED / "PMS3003.hexdump"):  # 24 bytes: that part has no number concentrations
        assert decoded(frame) == []
        seen["recorded frames of a PMS3003 refused: another length"] += 1
    print("\nPMS5003/PMS7003:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert sorted(seen.values()) == [5, 10, 10]


def test_an_atmospheric_value_is_not_taken_for_the_one_beside_it(vectors):
    vector = vectors["pms_cn_demo"]
    assert decoded(bytes.fromhex(vector["bytes_hex"])) == [(25.0, 41.0, 52.0)]  # CF=1 says 29, 49, 57


def test_no_flipped_bit_passes():
    for bit in range(8 * len(LONG_FRAME)):
        bad = bytearray(LONG_FRAME)
        bad[bit // 8] ^= 1 << bit % 8
        assert decoded(bytes(bad) + LONG_FRAME) == [(9.0, 11.0, 12.0)]


@pytest.mark.parametrize(
    "before", ["42", "4242", "424d", "42424d", "424d00", "424d001c", "424d001c42", "424d0014"]
)
def test_a_start_byte_before_a_frame_does_not_cost_the_frame_behind_it(before):
    assert len(decoded(bytes.fromhex(before) + LONG_FRAME + LONG_FRAME)) == 2


def test_a_sum_that_ends_in_the_start_byte_does_not_hide_the_next_frame(vectors):
    idle = bytes.fromhex(vectors["pms_idle_zero"]["bytes_hex"])
    assert idle[-1] == 0x42
    assert decoded(idle * 5) == [(0.0, 0.0, 0.0)] * 5
    assert len(decoded(idle[-1:] + LONG_FRAME * 2)) == 2  # listening began within a frame: 42 42 4D


def test_a_stream_is_followed_from_wherever_listening_begins():
    stream = LONG_FRAME * 3
    for begin in range(len(LONG_FRAME)):
        assert len(decoded(stream[begin:])) >= 2


def test_after_a_megabyte_of_noise_the_second_frame_is_decoded_at_the_latest():
    noise = random.Random(5)
    frames = Frames(FORMAT)
    # Starts among the noise, so that there is something to be caught in.
    garbage = b"".join(noise.randbytes(1000) + b"\x42\x4d\x00\x1c" for _ in range(1044)) + noise.randbytes(
        100
    )
    for at in range(0, len(garbage), 4096):
        assert frames.feed(garbage[at : at + 4096]) == []
    assert LONG_FRAME in frames.feed(LONG_FRAME * 2)


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_give_values_or_a_driver_error(data, sealed):
    if sealed:  # past the checksum
        body = b"\x42\x4d\x00\x1c" + data[:26].ljust(26, b"\0")
        data = body + sum(body).to_bytes(2, "big")
    for frame in Frames(FORMAT).feed(data):
        try:
            values = DECODER._decode(frame).values
        except DriverError:
            continue
        assert len(values) == 3
        assert all(value is not None and 0 <= value <= 0xFFFF for value in values)


def test_a_part_with_an_error_code_gives_no_values(tmp_path):
    with rig("pms7003", tmp_path, error=4) as r:
        r.warm()
        with pytest.raises(InstrumentGone, match="reports error 4"):
            r.driver.read(DEADLINE_S)


@pytest.mark.parametrize(("name", "model"), [("pms5003", "PMS5003"), ("pms7003", "PMS7003")])
def test_the_identity_is_the_firmware_and_says_so(tmp_path, name, model):
    with rig(name, tmp_path, version=0x91) as r:
        identity = r.driver.open()
        assert (identity.model, identity.serial, identity.kind) == (model, "91", "firmware")
    assert PMS7003.quantities == PMS5003.quantities


@pytest.mark.parametrize("state", ["asleep", "passive"])
def test_a_part_that_was_left_silent_is_made_to_speak(tmp_path, state):
    with rig("pms5003", tmp_path) as r:
        r.part.heard(bytes.fromhex("424de400000173" if state == "asleep" else "424de100000170"))
        assert r.part.due() == b""
        r.warm()
        assert r.driver.read(DEADLINE_S).values == tuple(AIR.values())


def test_a_part_that_speaks_is_not_spoken_to(tmp_path):
    with rig("pms5003", tmp_path) as r:
        r.warm()
        r.driver.read(DEADLINE_S)
        assert r.faulty.told == []


def test_a_frame_from_before_the_read_is_not_taken(tmp_path, until):
    with rig("pms5003", tmp_path) as r:
        r.warm()
        r.driver.read(DEADLINE_S)
        said = r.faulty.said
        r.clock.wait(100.0)
        until(lambda: r.faulty.said > said)
        r.world.air = dict.fromkeys(AIR, 200.0)
        assert r.driver.read(DEADLINE_S).values == (200.0, 200.0, 200.0)


def test_a_deadline_shorter_than_the_part_is_slow_is_a_mistake_of_the_configuration(tmp_path):
    with rig("pms5003", tmp_path) as r:
        r.warm()
        with pytest.raises(NeedsHuman, match=r"deadline_s is 2, make it at least 2\.5"):
            r.driver.read(2.0)


def test_half_a_minute_after_opening_the_flag_goes(tmp_path):
    with rig("pms5003", tmp_path) as r:
        r.driver.open()
        assert r.driver.read(DEADLINE_S).flags == Flag.WARMING_UP
        r.clock.wait(30.0)
        assert r.driver.read(DEADLINE_S).flags == 0


# The simulated part


class _At:
    def __init__(self) -> None:
        self.now_ns = 0

    def boottime_ns(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> None: ...
    def wait_readable(self, fd: int, seconds: float) -> bool:
        raise AssertionError


def test_the_part_speaks_slowly_in_steady_air_and_faster_when_it_changes():
    clock, world = _At(), Still()
    part = Part(world, clock)
    world.air = dict.fromkeys(AIR, 100.0)
    times = []
    for ms in range(90_000):
        clock.now_ns = ms * 10**6
        if ms == 80_000:
            world.air = dict.fromkeys(AIR, 400.0)
        if part.due():
            times.append(ms / 1e3)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert min(gaps[:3]) <= 0.8  # the fan starts
    assert gaps[20] == pytest.approx(2.3)
    assert 0.2 <= min(gaps) < 0.8


def test_the_part_answers_only_what_is_addressed_to_it_and_intact():
    part = Part(ClimateWorld(seed=1), _At())
    assert part.heard(b"\x42\x4d\xe2\x00\x00\x01\x71") == b""  # a read, but in active mode
    assert part.heard(b"\x42\x4d\xe1\x00\x00\x01\x71") == b""  # a wrong sum
    assert part.heard(b"\x42\x4d\xe1\x00") == b""
    assert part.heard(b"\x00\x01\x70") == bytes.fromhex("424d0004e1000174")
    assert len(part.heard(b"\x42\x4d\xe2\x00\x00\x01\x71")) == 32
