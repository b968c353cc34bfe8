"""What lasts is an outage in the diary, what blinks is none; a clock that was set is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.clock import SOURCE_NTP
from agent.conditions import Situation
from agent.diary import Diary
from agent.watch import Watch
from tests.agent_parts import START_S, FakeClock, open_test_journal
from tests.unit.agent.test_conditions import DOWN, WELL, situation


class Rig:
    def __init__(self, folder):
        self.clock = FakeClock(wall_s=START_S)
        self.journal = open_test_journal(folder, self.clock)
        self.diary = Diary(self.clock)
        self.watch = Watch(self.diary)

    def look(self, now: Situation | None = None, after_s: float = 10) -> None:
        self.clock.advance(after_s)
        now = replace(now or situation(), wall=self.clock.wall())
        fresh = replace(now.stored, last_receipted_s=round(self.clock.wall().ns / 1e9))
        self.watch.look(replace(now, stored=fresh), self.clock.boottime_ns())

    def told(self) -> list[tuple[str, int, object]]:
        return [
            (e["code"], e["at_s"] - START_S, e["until_s"] and e["until_s"] - START_S)
            for e in self.diary.entries(self.journal, 9)
        ]


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.journal.close()


def test_an_outage_is_from_the_first_look_that_saw_it_to_the_first_that_did_not(rig):
    for now in (None, situation(link=DOWN), situation(link=DOWN)):
        rig.look(now)
    assert rig.told() == [("offline", 20, None)]
    rig.look(situation(link=DOWN))
    rig.look()
    assert rig.told() == [("offline", 20, 50)]


def test_what_only_one_look_saw_is_not_told(rig):
    for now in (situation(link=DOWN), None, situation(link=DOWN), None):
        rig.look(now)
    assert rig.told() == []


def test_instruments_are_told_apart(rig):
    one, two = (replace(WELL, name=name, problem="Gone.", is_open=False) for name in ("one", "two"))
    rig.look(situation(instruments=[one, two]))
    rig.look(situation(instruments=[one, two]))
    rig.look(situation(instruments=[one, WELL]))
    assert sorted(rig.told(), key=str) == [("instrument_gone", 10, 30), ("instrument_gone", 10, None)]


def test_a_lost_time_source_is_a_span_and_a_clock_that_was_set_an_event(rig):
    rig.look()
    rig.clock.lose_sync()
    rig.look()
    rig.look()
    assert rig.told() == [("clock_unsure", 20, None)]
    rig.clock.step_wall(3600)
    rig.clock.source = SOURCE_NTP
    rig.look()
    codes = {entry["code"]: entry for entry in rig.diary.entries(rig.journal, 9)}
    assert codes["clock_stepped"]["detail"] == "By +3600 s."
    assert codes["clock_unsure"]["clock_sure"], "its times were moved along"
    assert codes["clock_unsure"]["at_s"] == START_S + 3620
    assert codes["clock_unsure"]["until_s"] == START_S + 3640


def test_a_clock_that_only_drifts_was_not_set(rig):
    for _ in range(5):
        rig.look()
        rig.clock.step_wall(1.5)
    assert rig.told() == []
