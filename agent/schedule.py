"""When an instrument is read: the instants of its schedule, in boot time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Schedule(Protocol):
    def next_ns(self, after_ns: int) -> int | None:
        """Boot time of the first instant after `after_ns`; None when there is none any more."""


class Every:
    """Instants at whole multiples of `interval_s` of boot time: a restart does not move them."""

    def __init__(self, interval_s: float) -> None:
        self._step_ns = max(1, round(interval_s * 1e9))

    def next_ns(self, after_ns: int) -> int:
        return (after_ns // self._step_ns + 1) * self._step_ns


def instants(schedule: Schedule, after_ns: int, until_ns: int) -> Iterator[int]:
    """Those after `after_ns`, up to `until_ns`."""
    while (instant_ns := schedule.next_ns(after_ns)) is not None and instant_ns <= until_ns:
        yield instant_ns
        after_ns = instant_ns
