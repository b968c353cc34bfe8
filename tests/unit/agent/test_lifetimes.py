"""Deaths are told apart: of the agent in one boot, and of the machine."""

from __future__ import annotations

import json

import pytest

from agent import lifetimes

BOOT, NEXT_BOOT = b"a" * 16, b"b" * 16


def test_a_stop_in_order_counts_nothing_in_this_boot_or_the_next(tmp_path):
    path = tmp_path / "lifetimes.json"
    for boot in (BOOT, BOOT, NEXT_BOOT):
        now = lifetimes.begin(path, boot)
        assert (now.restarts, now.power_cuts) == (0, 0)
        lifetimes.end(path, now)


def test_a_death_in_one_boot_is_a_restart_and_over_a_boot_a_power_cut(tmp_path):
    path = tmp_path / "lifetimes.json"
    lifetimes.begin(path, BOOT)
    assert lifetimes.begin(path, BOOT).restarts == 1
    now = lifetimes.begin(path, NEXT_BOOT)
    assert (now.restarts, now.power_cuts) == (1, 1)
    lifetimes.end(path, now)
    after = lifetimes.begin(path, NEXT_BOOT)
    assert (after.restarts, after.power_cuts) == (1, 1)


GOOD = {"boot_id": BOOT.hex(), "running": True, "restarts": 3, "power_cuts": 4}


@pytest.mark.parametrize(
    ("damage", "restarts"),
    [
        (b"", 0),
        (b"\xff\x00", 0),
        (b"[" * 900, 0),
        (b"[]", 0),
        (b'{"boot_id": 1, "running": true}', 0),
        (json.dumps({**GOOD, "restarts": -1}).encode(), 1),
        (json.dumps({**GOOD, "restarts": True}).encode(), 1),
        (json.dumps({**GOOD, "restarts": "9"}).encode(), 1),
        (json.dumps(GOOD).encode(), 4),
        (json.dumps(GOOD).encode() + b" " * 2000, 4),
    ],
)
def test_what_cannot_be_read_counts_as_none_and_stops_nothing(tmp_path, damage, restarts):
    path = tmp_path / "lifetimes.json"
    path.write_bytes(damage)
    assert lifetimes.begin(path, BOOT).restarts == restarts


def test_what_cannot_be_written_is_left(tmp_path):
    now = lifetimes.begin(tmp_path / "none" / "lifetimes.json", BOOT)
    lifetimes.end(tmp_path / "none" / "lifetimes.json", now)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("text", "count"), [(b"3\n", 3), (b"", 0), (b"x", 0)])
def test_reboots_are_read_where_the_last_resort_counts_them(tmp_path, text, count):
    (tmp_path / "reboots").write_bytes(text)
    assert lifetimes.reboots(tmp_path / "reboots") == count
    assert lifetimes.reboots(tmp_path / "none") == 0
