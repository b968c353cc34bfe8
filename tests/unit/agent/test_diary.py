"""The diary: what happened lately, kept with few writes, over restarts, with a clock that is set right."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from agent import diary as diaries
from agent.diary import MAX_ENTRIES, Diary
from agent.journal import Journal
from agent.words import SENTENCES, sentence_of
from proof.reasons import Reason
from tests.agent_parts import START_S, FakeClock, open_test_journal


@pytest.fixture
def clock():
    return FakeClock(wall_s=START_S)


@pytest.fixture
def journal(tmp_path, clock):
    made = open_test_journal(tmp_path, clock)
    yield made
    made.close()


@pytest.fixture
def diary(clock):
    return Diary(clock)


def write(diary: Diary, journal: Journal) -> int:
    """In a transaction of its own; how many rows it changed."""
    before = journal._db.total_changes
    journal.begin()
    diary.write(journal)
    journal.commit()
    diary.committed()
    return journal._db.total_changes - before


def on_disk(journal: Journal) -> list[dict[str, Any]]:
    return diaries.stored(journal, 100)


def test_an_event_is_told_before_it_is_on_disk_and_after(diary, journal):
    diary.note("started", "Version 1.")
    said = {
        "at_s": START_S, "clock_sure": True, "code": "started", "sentence": "The agent started.",
        "detail": "Version 1.", "count": 1,
    }  # fmt: skip
    assert diary.entries(journal, 9) == [said]
    assert on_disk(journal) == []
    write(diary, journal)
    assert on_disk(journal) == [said] == diary.entries(journal, 9)


def test_an_outage_has_a_beginning_and_an_end(diary, journal, clock):
    diary.begin("offline", "", "Offline: no route.", clock.boottime_ns() - 10 * 10**9)
    write(diary, journal)
    (lasting,) = on_disk(journal)
    assert (lasting["at_s"], lasting["until_s"]) == (START_S - 10, None)
    clock.advance(300)
    diary.end("offline", "")
    write(diary, journal)
    (over,) = on_disk(journal)
    assert (over["at_s"], over["until_s"], over["detail"]) == (
        START_S - 10,
        START_S + 300,
        "Offline: no route.",
    )


def test_what_was_rolled_back_is_written_with_the_next_transaction(diary, journal):
    diary.note("started")
    journal.begin()
    diary.write(journal)
    journal.rollback()
    diary.undo()
    assert on_disk(journal) == []
    assert len(diary.entries(journal, 9)) == 1
    write(diary, journal)
    assert len(on_disk(journal)) == 1


@pytest.mark.parametrize("earlier", [0, 2])
def test_what_two_writes_of_one_transaction_rolled_back_is_written_once_each(diary, journal, clock, earlier):
    """A job that seals writes a second time in its transaction (`agent.keeper`)."""
    for number in range(earlier):
        diary.note(f"before_{number}")
        write(diary, journal)
    journal.begin()
    for code in ("started", "stopped"):
        diary.note(code)
        diary.write(journal)
    journal.rollback()
    diary.undo()
    write(diary, journal)
    codes = sorted(entry["code"] for entry in on_disk(journal))
    assert codes == [*(f"before_{number}" for number in range(earlier)), "started", "stopped"]
    rows = journal.execute("SELECT count(*), count(DISTINCT id) FROM diary").fetchone()
    assert rows == (earlier + 2, earlier + 2)


def test_nothing_new_writes_nothing(diary, journal, clock):
    diary.note("started")
    write(diary, journal)
    for _ in range(100):
        clock.advance(600)
        assert write(diary, journal) == 0


def test_what_flaps_every_few_seconds_for_hours_is_one_entry_written_about_once_an_hour(
    diary, journal, clock
):
    rows = 0
    for _ in range(4 * 360):
        clock.advance(5)
        diary.begin("instrument_gone", "one", "It does not answer.", clock.boottime_ns())
        rows += write(diary, journal)
        clock.advance(5)
        diary.end("instrument_gone", "one")
        rows += write(diary, journal)
    (entry,) = diary.entries(journal, 9)
    assert entry["count"] == 4 * 360
    assert entry["until_s"] - entry["at_s"] == 4 * 3600 - 5
    assert rows <= 10


def test_the_same_after_an_hour_is_another_entry_and_each_subject_has_its_own(diary, journal, clock):
    diary.note("stale_beacon", "Proof 1.")
    clock.advance(1800)
    diary.note("stale_beacon", "Proof 2.")
    clock.advance(3601)
    diary.note("stale_beacon", "Proof 3.")
    for name in ("one", "two"):
        diary.begin("instrument_gone", name, name, clock.boottime_ns())
    write(diary, journal)
    told = [(e["code"], e["count"], e["detail"]) for e in on_disk(journal)]
    assert sorted(told) == [
        ("instrument_gone", 1, "one"), ("instrument_gone", 1, "two"),
        ("stale_beacon", 1, "Proof 3."), ("stale_beacon", 2, "Proof 2."),
    ]  # fmt: skip


def test_a_stop_ends_what_lasts_and_writes_all_at_once(diary, journal, clock):
    diary.begin("offline", "", "Offline.", clock.boottime_ns())
    write(diary, journal)
    clock.advance(5)
    diary.note("stopped")
    diary.close()
    write(diary, journal)
    assert {e["code"]: e.get("until_s") for e in on_disk(journal)} == {
        "offline": START_S + 5, "stopped": None
    }  # fmt: skip


def test_what_a_killed_run_left_open_ended_before_the_next(diary, journal, clock):
    diary.begin("offline", "", "Offline.", clock.boottime_ns())
    write(diary, journal)
    clock.advance(100)
    after = Diary(clock)
    after.note("restarted")
    write(after, journal)
    assert [(e["code"], e.get("until_s")) for e in on_disk(journal)] == [
        ("restarted", None), ("offline", START_S + 100)
    ]  # fmt: skip


def test_a_device_that_dies_again_and_again_has_one_entry_for_it(journal, clock):
    for _ in range(50):
        run = Diary(clock)
        run.note("restarted")
        run.begin("offline", "", "Offline.", clock.boottime_ns())
        write(run, journal)
        clock.advance(60)
    newest = [e for e in on_disk(journal) if e["code"] == "restarted"]
    assert [(e["count"], e["at_s"], e["until_s"]) for e in newest] == [(50, START_S, START_S + 49 * 60)]


def test_a_start_that_could_not_be_written_continues_the_earlier_ones_all_the_same(journal, clock):
    for _ in range(2):
        run = Diary(clock)
        run.note("restarted")
        journal.begin()
        run.write(journal)
        journal.rollback()
        run.undo()
        write(run, journal)
    (entry,) = on_disk(journal)
    assert entry["count"] == 2


def test_only_the_newest_entries_stay(diary, journal, clock):
    for number in range(MAX_ENTRIES + 50):
        diary.note("clock_stepped", f"{number}", subject=str(number))
        if number % 100 == 99:
            write(diary, journal)
    write(diary, journal)
    assert journal.execute("SELECT count(*) FROM diary").fetchone()[0] <= MAX_ENTRIES
    assert diary.entries(journal, 10**30)[0]["detail"] == str(MAX_ENTRIES + 49)


def test_times_of_a_wrong_clock_are_moved_when_it_is_set_right(diary, journal, clock):
    clock.lose_sync()
    clock.set_wall(1000)
    diary.note("started")
    diary.begin("offline", "", "", clock.boottime_ns())
    write(diary, journal)
    assert {e["clock_sure"] for e in on_disk(journal)} == {False}
    clock.step_wall(START_S - 1000)
    diary.clock_moved(START_S - 1000)
    write(diary, journal)
    assert {(e["at_s"], e["clock_sure"]) for e in on_disk(journal)} == {(START_S, True)}


def test_a_detail_is_short_and_can_do_nothing_to_a_terminal_or_a_database(diary, journal):
    diary.note("started", "\x1b[2J\ud800" + "x" * 9999)
    write(diary, journal)
    (entry,) = on_disk(journal)
    assert entry["detail"].startswith("?[2J?xxx")
    assert len(entry["detail"]) == diaries.MAX_DETAIL


def test_every_code_has_a_sentence_and_one_nobody_knows_is_shown_as_it_is():
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())
    assert sentence_of("bad_signature") == Reason.BAD_SIGNATURE.sentence
    assert sentence_of("too_cold") == "too_cold."


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_of_an_earlier_version_is_brought_up_and_keeps_what_it_had(tmp_path, clock, version):
    older(tmp_path, clock, version)
    journal = open_test_journal(tmp_path, clock)
    assert not list(tmp_path.glob("*corrupt*")), "it is no damage"
    assert journal.execute("SELECT count(*) FROM losses").fetchone() == (1,)
    made = Diary(clock)
    made.note("started")
    write(made, journal)
    assert [entry["code"] for entry in on_disk(journal)] == ["started"]
    journal.close()


def older(folder: Any, clock: FakeClock, version: int) -> None:
    """A journal as an agent of `version` left it."""
    from agent.schema import ADDED, SCHEMA
    from tests.agent_parts import DEVICE_ID

    db = sqlite3.connect(folder / "journal.db")
    db.executescript(SCHEMA + "".join(ADDED[number] for number in range(2, version + 1)))
    db.execute("INSERT INTO meta VALUES (?, ?)", (DEVICE_ID, version))
    db.execute("INSERT INTO losses VALUES (1, 'one', ?, 1, 2, 3, 'void')", (clock.boot_id,))
    db.commit()
    db.close()
