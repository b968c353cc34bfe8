"""When a simulated node reads, on what, and how it knows where it was."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.backoff import LONGEST_S
from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.errors import FixConfig, FixKey
from agent.journal import Journal
from agent.sample import Captured, Missed
from agent.settings import InstrumentSettings, load
from drivers.errors import DriverError
from drivers.i2c import SharedBus
from hardware_sim import run
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.replay import ReplayWorld
from hardware_sim.resume import lived_ns
from hardware_sim.scenario import Instants, Within, attempts_ns, climate, recorded
from hardware_sim.worlds import ClimateWorld
from tests.sim_parts import NAME, joined_config, live, made_up_day, sealed, write_config

S = 10**9
BME280 = InstrumentSettings(NAME, "bme280", "i2c:1", "0x76")


def i2c(buses: SimulatedBuses, bus: str) -> SharedBus:
    found = buses.get(bus)
    assert isinstance(found, SharedBus)
    return found


def _all(schedule, after_ns=0):
    instants = []
    while (after_ns := schedule.next_ns(after_ns)) is not None:
        instants.append(after_ns)
    return instants


# Schedules


def test_given_instants_come_once_each_in_order():
    assert _all(Instants([3, 5, 9])) == [3, 5, 9]
    assert Instants([3, 5, 9]).next_ns(5) == 9
    assert Instants([]).next_ns(0) is None


def test_a_bounded_schedule_leaves_out_what_was_lived_and_what_comes_too_late():
    assert _all(Within(Instants([3, 5, 9]), after_ns=3)) == [5, 9]
    assert _all(Within(Instants([3, 5, 9]), last_ns=5)) == [3, 5]
    assert _all(Within(Instants([3, 5, 9]), after_ns=9)) == []


def test_a_climate_ends_after_as_many_readings_as_asked_for():
    assert _all(climate(1, readings=4).schedule(BME280)) == [60 * S, 120 * S, 180 * S, 240 * S]


def test_every_row_is_read_and_no_attempt_in_a_hole_can_cost_the_row_after_it(tmp_path):
    world = ReplayWorld.from_csv(made_up_day(tmp_path / "day.csv"))
    rows_ns = [row.t_s * S - world.origin_ns for row in world.rows]
    attempts = attempts_ns(world)
    assert [instant for instant in attempts if instant in set(rows_ns)] == rows_ns
    in_hole = sorted(set(attempts) - set(rows_ns))
    assert len(in_hole) >= 12
    after_hole = min(instant for instant in rows_ns if instant > in_hole[-1])
    assert after_hole - in_hole[-1] > LONGEST_S * S


def test_the_same_world_is_the_same_boot_and_another_world_another(tmp_path):
    day = ReplayWorld.from_csv(made_up_day(tmp_path / "day.csv"))
    again = ReplayWorld.from_csv(tmp_path / "day.csv")
    shorter = ReplayWorld.from_csv(made_up_day(tmp_path / "other.csv", 20))
    boots = [recorded(day).boot_id, recorded(shorter).boot_id, climate(1).boot_id, climate(2).boot_id]
    assert len(set(boots)) == 4
    assert recorded(again).boot_id == recorded(day).boot_id
    assert climate(1, readings=5).boot_id == climate(1).boot_id


# Buses


def test_instruments_on_one_bus_share_it_and_each_finds_its_part():
    two = [BME280, replace(BME280, name="second", address="0x77"), replace(BME280, name="third", bus="i2c:2")]
    buses = SimulatedBuses(two, ClimateWorld(1), PacedClock(0, 0))
    assert buses.get("i2c:1") is buses.get("i2c:1")
    assert i2c(buses, "i2c:1").scan() == [0x76, 0x77]
    assert i2c(buses, "i2c:2").scan() == [0x76]
    assert i2c(buses, "i2c:9").scan() == []
    buses.close()


def test_an_address_left_out_is_the_parts_usual_one():
    buses = SimulatedBuses([replace(BME280, address="")], ClimateWorld(1), PacedClock(0, 0))
    assert i2c(buses, "i2c:1").scan() == [0x76]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"driver": "dht22"}, "driver 'dht22' has no simulated part; there are bme280"),
        ({"address": "bus"}, "address 'bus' of a bme280 is not like 0x76"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(FixConfig, match=sentence):
        SimulatedBuses([replace(BME280, **changes)], ClimateWorld(1), PacedClock(0, 0))


def test_a_bus_that_is_no_bus_is_refused_as_on_hardware():
    with pytest.raises(FixConfig, match="is not like i2c:1"):
        SimulatedBuses([BME280], ClimateWorld(1), PacedClock(0, 0)).get("usb:1")


def test_sentences_of_a_simulated_bus_say_that_it_is_simulated():
    with (
        pytest.raises(DriverError, match="simulated I2C bus 1"),
        i2c(SimulatedBuses([], ClimateWorld(1), PacedClock(0, 0)), "i2c:1").transaction(0x76, 1.0) as wire,
    ):
        wire.writeto(0x76, b"\xd0")


# Resuming

BOOT, OTHER = b"b" * 16, b"o" * 16
DEVICE = "did:key:zTest"


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "journal.db", DEVICE)
    opened.begin()
    yield opened
    opened.close()


def _sample(boottime_ns, boot_id=BOOT):
    return Captured(NAME, boot_id, boottime_ns, Wall(S, SOURCE_NTP, 0), ())


def test_a_node_has_lived_to_its_newest_sample_of_this_boot(journal, tmp_path):
    for sample in (_sample(60 * S), _sample(120 * S), _sample(900 * S, OTHER)):
        journal.append(sample)
    journal.commit()
    assert lived_ns(tmp_path / "journal.db", DEVICE, BOOT, [NAME, "second"]) == {NAME: 120 * S}


def test_a_loss_after_the_newest_sample_is_lived_too_and_stays_to_be_told(journal, tmp_path):
    journal.append(_sample(60 * S))
    journal.note_missed(Missed(NAME, BOOT, 120 * S, 180 * S, "instrument gone", 2))
    journal.commit()
    assert lived_ns(tmp_path / "journal.db", DEVICE, BOOT, [NAME]) == {NAME: 180 * S}
    assert journal.waiting().losses == 1


def test_a_journal_that_is_absent_or_broken_says_nothing_and_is_not_touched(tmp_path):
    assert lived_ns(tmp_path / "none.db", DEVICE, BOOT, [NAME]) == {}
    assert not (tmp_path / "none.db").exists()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 500)
    assert lived_ns(broken, DEVICE, BOOT, [NAME]) == {}
    assert broken.read_bytes() == b"no database" * 500


# The node


def test_a_hardware_key_never_signs_simulated_readings(tmp_path):
    settings = load(write_config(tmp_path, scheme="file"))
    with pytest.raises(FixKey, match="A simulated device must say so"):
        run.build(settings, climate(1), math.inf)
    assert not settings.journal_path.exists()


def test_a_second_process_reads_on_where_the_first_one_stopped(tmp_path, until):
    config, device = joined_config(tmp_path)
    settings = load(config)
    for readings in (5, 9):  # the first one's world ends early
        node = run.build(settings, climate(3, readings), math.inf, tmp_path / "captured")
        node.start()
        until(lambda node=node: node.samplers[0].state.ended, 20.0, "the end of the world")
        node.stop()
    lines = (tmp_path / "captured").read_text().splitlines()
    assert len(lines) == 9
    with_boot_times = lived_ns(settings.journal_path, device, climate(3).boot_id, [NAME])
    assert with_boot_times == {NAME: 9 * 60 * S}
    times = [round(int(line.split('"boottime_ns": ')[1].split(",")[0]) / S) for line in lines]
    assert [later - earlier for earlier, later in pairwise(times)] == [60] * 8


def test_virtual_time_claims_no_source(tmp_path, until):
    config, device = joined_config(tmp_path)
    live(load(config), climate(1, readings=2), until)
    proofs, _ = sealed(load(config), device)
    assert [proof.claims.time.source for proof in proofs] == [SOURCE_NONE]


@pytest.mark.parametrize(
    ("answered", "unsealed", "unreceipted", "waiting"),
    [(True, 0, 0, False), (True, 1, 0, True), (True, 0, 1, True), (False, 0, 0, True)],
)
def test_what_a_journal_said_last_that_does_not_answer_is_no_end(answered, unsealed, unreceipted, waiting):
    report = {
        "answered": answered, "readings": {"unsealed": unsealed}, "proofs": {"unreceipted": unreceipted},
    }  # fmt: skip
    assert run._is_waiting(report) is waiting
