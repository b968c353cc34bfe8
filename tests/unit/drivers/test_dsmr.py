"""DSMR: smart meters behind a real tty, recorded ones too, and every disturbance."""

from __future__ import annotations

import random

import pytest

from drivers import p1
from drivers.contract import Identity
from drivers.errors import DropSample, InstrumentGone, RetryNow
from hardware_sim.clock import PacedClock
from hardware_sim.parts.dsmr import even_parity
from hardware_sim.parts.recorded_serial import RecordedSerial
from tests.unit.drivers.energy_rig import Faulty, rig
from tests.unit.drivers.p1_recordings import RECORDED, found, named, recording

DEADLINE_S = 12.0
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_meter_of_each_standard_is_found_and_read(tmp_path, dialect):
    with rig(tmp_path, ("dsmr", None), instant=dialect != "5", dialect=dialect) as r:
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
    crc_is_there = p1.has_crc(found(data)[0])
    with rig(tmp_path, ("dsmr", None), part=RecordedSerial(b"", PacedClock(0, 0), bytes_per_s=1.0)) as r:
        sent = data if crc_is_there else even_parity(data)
        r.faulty.part = RecordedSerial(sent, r.clock, bytes_per_s=len(data) / 2, repeat=True)
        r.drivers[0].open()
        assert named(r.drivers[0].read(DEADLINE_S).values) == RECORDED[name]


def test_without_crc_and_parity_nothing_is_believed(tmp_path):
    with rig(tmp_path, ("dsmr", None), instant=True, dialect="2.2") as r:
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
    with rig(tmp_path, ("dsmr", None), instant=True, dialect="4") as r:
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


@pytest.mark.parametrize(
    ("dialect", "fault"),
    [*(("5", fault) for fault in FAULTS), ("2.2", "bit flip"), ("2.2", "middle missing")],
)
def test_a_fault_on_each_telegram_in_turn_is_passed_over(tmp_path, dialect, fault):
    with rig(tmp_path, ("dsmr", None), instant=True, dialect=dialect) as r:
        r.drivers[0].open()
        for place in range(2):
            r.faulty.said = 0

            def spoil(number, message, place=place):
                return FAULTS[fault](message) if number == place else [message]

            r.faulty.spoil = spoil
            while r.faulty.said <= place + 1:
                assert named(r.drivers[0].read(24.0).values) == DIALECTS[dialect]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_first_telegram_of_an_open_is_harmless_or_a_named_error(tmp_path, fault):
    with rig(tmp_path, ("dsmr", None), instant=True, dialect="4") as r:
        identity = r.drivers[0].open()
        r.faulty.said = 0
        r.faulty.spoil = lambda number, message: FAULTS[fault](message) if number == 0 else [message]
        try:
            assert r.drivers[0].open() == identity
        except InstrumentGone:
            # The next telegram of a slow meter comes after both speeds were tried, or at the wrong one.
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
