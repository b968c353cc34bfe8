"""Modbus meters: every fault on every answer in turn, and any bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers import eastron_sdm, pzem004t
from drivers.errors import DriverError, InstrumentGone, RetryNow
from drivers.framing import Frames
from drivers.modbus import answer_format
from hardware_sim.parts.senseair_s8 import crc16
from tests.unit.drivers.energy_rig import (
    DEADLINE_S,
    METERS,
    SDM_VALUES,
    close_to,
    frames_of,
    rig,
    with_crc,
)


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
