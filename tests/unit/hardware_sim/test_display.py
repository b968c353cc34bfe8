"""The demo's display: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hardware_sim.display import Display, Snapshot, snapshot

REPORT = {
    "readings": {"captured": 130, "unsealed": 10, "unreceipted": 60},
    "proofs": {"sealed": 2, "in_flight": 1},
    "link": {"connected": False, "protocol": "", "problem": "The broker cannot be reached."},
    "instruments": [{"latest": {"temperature": [20.5, "Cel"]}, "ended": False}],
}


def test_a_status_report_becomes_counts_of_readings():
    now = snapshot(REPORT)
    assert (now.captured, now.sealed, now.receipted, now.in_flight, now.ended) == (130, 120, 60, 1, False)
    assert now.link == "offline: The broker cannot be reached."
    assert now.latest == "temperature 20.5 Cel"


@pytest.mark.parametrize("terminal", [True, False])
def test_phases_and_counts_are_shown_on_a_terminal_and_without_one(terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, soft_wrap=not terminal)
    with Display(200, console) as display:
        display.phase("the broker is stopped")
        display._spoke_s -= 60  # plain lines come every few seconds
        display.update(snapshot(REPORT))
    shown = out.getvalue()
    assert "the broker is stopped" in shown
    assert "130" in shown
    assert "offline: The broker cannot be reached." in shown
    assert ("╭" in shown) == terminal


def test_a_plain_line_says_everything_at_once():
    assert Snapshot(5, 4, 3, 2, 1, "connected").line() == (
        "captured 5, sealed 4 in 1 proofs, in flight 2, receipted 3; connected"
    )
