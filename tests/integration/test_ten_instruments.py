"""Ten instruments in one node, three of them failing in different ways: the others must not notice."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace

import pytest

from agent.settings import InstrumentSettings, load
from drivers.contract import Flag
from hardware_sim import run, toml_file
from hardware_sim.faults import FaultFile
from hardware_sim.scenario import climate
from tests.sim_parts import joined_config, sealed

MINUTE_S, DEADLINE_S = 60.0, 10.0
BY_ID = "serial:/dev/serial/by-id/usb-"
HEALTHY = {
    "air": ("bme280", "i2c:1", ""),
    "co2": ("scd41", "i2c:1", ""),
    "co2-room": ("scd30", "i2c:1", ""),
    "soil": ("ds18b20", "w1:", "28-0000075f1d2c"),
    "co2-out": ("senseair-s8", BY_ID + "s8", ""),
    "mains": ("sdm230", BY_ID + "rs485", ""),
    "radiation": ("gmc320", BY_ID + "gmc", ""),
}
FAILING = {
    "pulled-out": ("mhz19b", BY_ID + "mhz", ""),
    "drowned": ("ezo-ph", BY_ID + "ezo", ""),
    "silent": ("pms5003", BY_ID + "pms", ""),
}


@pytest.mark.parametrize(
    "minutes",
    [15, pytest.param(24 * 60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_three_failing_serial_instruments_cost_the_others_nothing(tmp_path, until, minutes):
    config, device = joined_config(tmp_path)
    instruments = tuple(
        InstrumentSettings(name, driver, bus, address, MINUTE_S, DEADLINE_S)
        for name, (driver, bus, address) in (HEALTHY | FAILING).items()
    )
    settings = replace(load(config), instrument=instruments)
    when = {"from_s": 0.2 * minutes * MINUTE_S, "until_s": 0.6 * minutes * MINUTE_S}
    wrong: list[dict[str, object]] = [
        {"fault": "unplug", "instrument": "pulled-out"},
        {"fault": "flood", "instrument": "drowned", "count": 4096},
        {"fault": "hang", "instrument": "silent", "seconds": 31_536_000},
    ]
    file = toml_file.checked(FaultFile, {"fault": [{**fault, **when} for fault in wrong]}, "faults")

    began_s = time.monotonic()
    node = run.build(settings, climate(1, minutes), math.inf, faults=file)
    node.start()
    try:
        until(lambda: all(s.state.ended for s in node.samplers), 1.0 * minutes + 30.0, "the end of the world")
    finally:
        node.stop()
    print(f"\nten instruments, {minutes} simulated minutes: {time.monotonic() - began_s:.1f} s")

    readings = [reading for proof in sealed(settings, device)[0] for reading in proof.readings()]
    counts = Counter(reading.instrument for reading in readings)
    late = {reading.instrument for reading in readings if reading.flags & Flag.LATE}
    states = {sampler.state.name: sampler.state for sampler in node.samplers}
    for name, state in sorted(states.items()):
        print(f"  {name:10} {counts[name]:5} samples, {state.missed:5} missed {state.problem}")
    for name in HEALTHY:
        assert (counts[name], states[name].missed, states[name].problem) == (minutes, 0, ""), name
        assert name not in late
    for name in FAILING:
        assert states[name].missed >= 0.35 * minutes, name
        assert counts[name] + states[name].missed == minutes, name
        assert states[name].problem == "", name  # it is well again
        assert any(r.flags & Flag.REOPENED for r in readings if r.instrument == name), name
