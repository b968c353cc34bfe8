"""A node lives long: nothing lost but what it says, bounded memory, bounded disk (`tests.crash.year`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import structlog

from tests.crash.year import DAY_S, INTERVAL_S, Life, Plan, account, live

SLACK_BYTES = 2_500_000  # of the write-ahead log (4,000 pages) and one step of eviction, above max_bytes
GROWTH_BYTES = 4_000_000  # of the process in a year: device, gateway and test
_SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line for each of 52,560 proofs says nothing and takes its time."""
    with structlog.testing.capture_logs(processors=[_drop]):
        yield


def _drop(*_event: object) -> NoReturn:
    raise structlog.DropEvent


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: what a disk does to a store is shown elsewhere."""
    with tempfile.TemporaryDirectory(dir=_SHM if _SHM.is_dir() else None) as made:
        yield Path(made)


@pytest.mark.timeout(180)  # some seconds of processor time, on machines that do other work too
def test_four_days_with_an_outage_longer_than_the_store_lasts(folder):
    plan = Plan(
        days=4.3, seed=4, max_bytes=1_000_000, reboot_every_d=0.8, long_every_d=1.5, silent_every_h=8, raw=64
    )
    life = Life(folder, plan)
    try:
        live(life)
        totals = account(life)
    finally:
        life.close()
    assert totals.gaps >= 1
    assert totals.crashes >= 2
    assert totals.missed > 0
    assert totals.size <= plan.max_bytes + SLACK_BYTES


@pytest.mark.slow  # a year: ten minutes of processor time
@pytest.mark.timeout(3 * 3600)
def test_a_year(folder):
    plan = Plan()
    life = Life(folder, plan)
    try:
        memory = live(life)
        totals = account(life)
    finally:
        life.close()
    assert totals.captured + totals.missed > 0.99 * plan.days * DAY_S / INTERVAL_S
    assert totals.gaps >= 1
    assert totals.crashes >= 8
    assert totals.size <= plan.max_bytes + SLACK_BYTES
    assert memory.bytes_per_year() <= GROWTH_BYTES
