"""The instants of a schedule."""

from __future__ import annotations

from agent.schedule import Every, instants


def test_instants_lie_at_whole_multiples_so_a_restart_does_not_move_them():
    every = Every(60)
    assert [every.next_ns(at * 10**9) for at in (0, 59, 60, 61)] == [n * 10**9 for n in (60, 60, 120, 120)]
    assert Every(1e-12).next_ns(5) == 6


def test_those_between_two_times_are_without_the_first_and_with_the_last():
    assert list(instants(Every(60), 60 * 10**9, 180 * 10**9)) == [120 * 10**9, 180 * 10**9]
    assert list(instants(Every(60), 60 * 10**9, 119 * 10**9)) == []
