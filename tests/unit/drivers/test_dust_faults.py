"""Dust sensors: every fault on every message in turn ends in a named error and a right value."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from drivers.errors import InstrumentGone, RetryNow
from tests.unit.drivers.dust_rig import AIR, DEADLINE_S, Spoil, as_it_is, rig, unplug_soon

EXPECTED = {
    "pms5003": tuple(AIR.values()),
    "sds011": (AIR["pm2p5_ugm3"], AIR["pm10_ugm3"]),
    "sps30": tuple(AIR.values()),
}
NOISE = random.Random(3).randbytes(300)


def _flip(message: bytes, number: int) -> bytes:
    bit = 37 * (number + 1) % (8 * len(message))
    return message[: bit // 8] + bytes([message[bit // 8] ^ 1 << bit % 8]) + message[bit // 8 + 1 :]


FAULTS: dict[str, Callable[[bytes, int], list[bytes]]] = {
    "silence": lambda message, number: [b""],
    "short": lambda message, number: [message[:-2]],
    "bit flip": lambda message, number: [_flip(message, number)],
    "garbage before": lambda message, number: [NOISE + message],
    "half a frame before": lambda message, number: [message[: len(message) // 2] + message],
    "split": lambda message, number: [message[:1], b"", message[1:7], message[7:]],
    "twice": lambda message, number: [message + message],
    "zeros": lambda message, number: [bytes(len(message))],
}
HARMLESS = {"garbage before", "half a frame before", "split", "twice"}


def _only_at(place: int, fault: Callable[[bytes, int], list[bytes]]) -> Spoil:
    return lambda number, message: fault(message, number) if number == place else [message]


def _agrees(name: str, values: tuple[float | None, ...]) -> bool:
    return values == pytest.approx(EXPECTED[name], rel=0.01)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_each_message_in_turn_ends_in_a_named_error_and_recovery(name, fault, tmp_path):
    outcomes: Counter[str] = Counter()
    with rig(name, tmp_path) as r:
        if name == "sds011":
            r.part.query_mode = True  # else it says by itself what it failed to answer
        r.warm()
        r.driver.read(DEADLINE_S)
        count = 0
        while True:
            r.faulty.said = 0
            r.faulty.spoil = _only_at(count, FAULTS[fault])
            started_ns = r.clock.boottime_ns()
            sample, errors = r.recover()
            assert _agrees(name, sample.values), errors
            assert sample.flags == 0
            assert (r.clock.boottime_ns() - started_ns) / 1e9 < 200.0
            outcomes[" ".join(errors) or "none"] += 1
            if r.faulty.said <= count:
                break  # the fault lay behind all that was said
            count += 1
            r.driver.close()
            r.faulty.spoil = as_it_is
            r.warm()
    print(f"\n{name}, {fault}: {dict(outcomes)}")
    assert count >= 1
    if fault in HARMLESS:
        assert set(outcomes) == {"none"}
    else:
        assert outcomes["none"] < outcomes.total() or name == "pms5003"  # which speaks again in time


@pytest.mark.parametrize("name", EXPECTED)
def test_the_same_faults_while_opening(name, tmp_path):
    outcomes: Counter[str] = Counter()
    with rig(name, tmp_path) as r:
        first = r.warm()
        said = r.faulty.said
        for fault, spoil in FAULTS.items():
            for place in range(said):
                r.driver.close()
                r.faulty.said = 0
                r.faulty.spoil = _only_at(place, spoil)
                sample, errors = r.recover()
                assert _agrees(name, sample.values), (fault, place, errors)
                outcomes[" ".join(errors)] += 1
        r.faulty.spoil = as_it_is
        assert r.driver.open() == first
    print(f"\n{name}, opening: {dict(outcomes)}")


@pytest.mark.parametrize("name", EXPECTED)
def test_pulled_out_at_each_message_and_plugged_in_again(name, tmp_path):
    with rig(name, tmp_path) as r:
        identity = r.warm()
        for place in range(3):
            r.faulty.said = 0

            def spoil(number, message, place=place):
                if number == place:
                    unplug_soon(r.plugged)
                    return [b""]
                return [message]

            r.faulty.spoil = spoil
            for _ in range(place + 1):
                sample, errors = r.recover()
                assert _agrees(name, sample.values), errors
            assert r.faulty.said > place
        r.faulty.spoil = as_it_is
        assert r.driver.open() == identity


@pytest.mark.parametrize("name", EXPECTED)
def test_a_part_that_lost_its_power_is_gone_and_comes_back(name, tmp_path):
    with rig(name, tmp_path) as r:
        identity = r.warm()
        r.world.power = False
        with pytest.raises(InstrumentGone):
            r.driver.read(DEADLINE_S)
        with pytest.raises(InstrumentGone):
            r.driver.open()
        r.world.power = True
        sample, _ = r.recover()
        assert _agrees(name, sample.values)
        assert r.driver.open() == identity


@pytest.mark.parametrize("name", EXPECTED)
def test_noise_without_end_stops_at_the_deadline_and_says_what_is_wrong(name, tmp_path):
    noise = random.Random(9)
    with rig(name, tmp_path) as r:
        r.warm()
        r.faulty.noise = lambda: noise.randbytes(500)
        r.faulty.spoil = lambda number, message: [b""]
        began = time.monotonic()
        with pytest.raises((InstrumentGone, RetryNow), match=r"not of an? .*is it the right driver"):
            r.driver.read(DEADLINE_S)
        assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("name", EXPECTED)
def test_reading_what_is_not_open_says_so_and_closing_twice_is_fine(name, tmp_path):
    with rig(name, tmp_path) as r:
        with pytest.raises(InstrumentGone, match="is not open: open it"):
            r.driver.read(DEADLINE_S)
        r.driver.open()
        r.driver.close()
        r.driver.close()
        with pytest.raises(InstrumentGone, match="is not open: open it"):
            r.driver.read(DEADLINE_S)


@pytest.mark.parametrize("name", EXPECTED)
def test_samples_are_flagged_until_the_fan_has_settled(name, tmp_path):
    with rig(name, tmp_path) as r:
        r.driver.open()
        flags = []
        for _ in range(8):
            flags.append(r.driver.read(DEADLINE_S).flags)
            r.clock.wait(5.0)
        assert flags[0] == 8
        assert flags == sorted(flags, reverse=True)
        assert flags[-1] == 0
