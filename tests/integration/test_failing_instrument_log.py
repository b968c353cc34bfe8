"""What a node writes to its log while an instrument fails every second: simulated hours, real parts."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from dataclasses import replace

import pytest
import structlog

from agent import logs, repeats
from agent.settings import load
from hardware_sim import run, toml_file
from hardware_sim.faults import FaultFile
from hardware_sim.scenario import climate
from tests.sim_parts import NAME, joined_config

EVENTS = {"instrument problem", "instrument opened", "loss not noted", "unexpected error"}


@pytest.mark.parametrize(
    "hours",
    [1, pytest.param(24, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],  # a day of seconds
)
def test_an_instrument_that_fails_every_second_writes_a_few_lines_an_hour(
    tmp_path, monkeypatch, until, hours
):
    config, _device = joined_config(tmp_path)
    settings = load(config)
    instrument = replace(settings.instrument[0], interval_s=1.0, deadline_s=0.5)
    settings = replace(settings, instrument=(instrument,))
    fault = {"fault": "nack", "instrument": NAME, "rate": 0.05}  # it is opened and lost again, all the time
    wrong = toml_file.checked(FaultFile, {"fault": [fault]}, "faults")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    node = run.build(settings, climate(1, 3600 * hours), math.inf, faults=wrong)
    logs.configure("text", lambda: node.samplers[0]._clock.boottime_ns() / 1e9)
    try:
        node.start()
        until(lambda: node.samplers[0].state.ended, 30.0 + 50.0 * hours, "the end of the world")
    finally:
        node.stop()
        structlog.reset_defaults()
    lines = [line for line in stream.getvalue().splitlines() if f"instrument={NAME}" in line]
    counts = Counter(event for event in EVENTS for line in lines if f'event="{event}"' in line)
    missed = node.samplers[0].state.missed
    print(f"\n{hours} h, {missed} of {3600 * hours} missed: {sum(map(len, lines))} bytes, {dict(counts)}")
    assert 300 * hours < missed < 3600 * hours
    assert all(count <= (hours + 1) * (repeats.ALIKE + 1) for count in counts.values())
    assert sum(map(len, lines)) <= 15_000 * (hours + 1)
