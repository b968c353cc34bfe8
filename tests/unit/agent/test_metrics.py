"""The status report as Prometheus text: read back by Prometheus' own readers."""

from __future__ import annotations

import copy
import itertools
import math
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent import metrics
from agent.conditions import CODES
from agent.settings import JournalSettings, load
from hardware_sim import run
from hardware_sim.scenario import climate
from tests.agent_parts import FakeClock, captured
from tests.sim_parts import NAME, joined_config

PROMTOOL = shutil.which("promtool")
REPORT: dict[str, Any] = {
    "device": "did:key:z6Mk",
    "network": "moor",
    "kind": "test",
    "key_class": "file",
    "healthy": True,
    "answered": True,
    "conditions": [],
    "last_receipted_reading_age_s": 12.5,
    "readings": {"captured": 70, "unsealed": 3, "not_on_disk": 0, "unreceipted": 7},
    "proofs": {"sealed": 9, "unreceipted": 1, "in_flight": 2, "receipted_at_s": 1_799_999_990},
    "link": {"connected": True},
    "clock": {"maxerror_s": 0.0025},
    "journal": {"bytes": 1_000_000, "max_bytes": 512_000_000, "free_bytes": 10**9},
    "instruments": [
        {
            "name": "bme280-76",
            "model": "BME280",
            "serial": "5d0c39f1",
            "samples": 70,
            "missed": 2,
            "problem": "",
            "latest": {"temperature": [20.01, "Cel"], "pressure": [100000.0, "Pa"]},
        },
        {
            "name": "pms",
            "model": "",
            "serial": "",
            "samples": 0,
            "missed": 9,
            "problem": "It does not answer.",
            "latest": {},
        },
    ],
    "recovery": {"reconnected": 1, "reopened": 0, "restarted": 0, "rebooted": 0, "power_cuts": 0},
}


def read(report):
    """{(name, labels): value} and {name: type} of what is rendered, as Prometheus reads it."""
    families = list(text_string_to_metric_families(metrics.render(report)))
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}
    return samples, {s.name: family.type for family in families for s in family.samples}


def changed(**parts):
    report = copy.deepcopy(REPORT)
    for key, value in parts.items():
        report[key] = {**report[key], **value} if isinstance(value, dict) else value
    return report


def test_values_labels_and_types_survive_the_way():
    samples, types = read(REPORT)
    labels = (("instrument", "bme280-76"), ("quantity", "temperature"), ("unit", "Cel"))
    assert samples["fieldproof_reading", labels] == 20.01
    assert samples["fieldproof_last_receipted_reading_age_seconds", ()] == 12.5
    assert samples["fieldproof_last_receipt_timestamp_seconds", ()] == 1_799_999_990
    assert samples["fieldproof_readings_captured_total", ()] == 70
    assert samples["fieldproof_samples_missed_total", (("instrument", "pms"),)] == 9
    assert samples["fieldproof_recoveries_total", (("stage", "reconnected"),)] == 1
    assert samples["fieldproof_clock_max_error_seconds", ()] == 0.0025
    assert samples["fieldproof_instrument_up", (("instrument", "pms"),)] == 0
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }


def test_what_is_not_known_is_absent():
    samples, _ = read(changed(last_receipted_reading_age_s=None, proofs={"receipted_at_s": None}))
    names = {name for name, _ in samples}
    assert "fieldproof_last_receipted_reading_age_seconds" not in names
    assert "fieldproof_last_receipt_timestamp_seconds" not in names
    assert not any(
        name == "fieldproof_reading" and ("instrument", "pms") in labels for name, labels in samples
    )


def test_each_known_condition_is_0_or_1_and_one_of_a_newer_report_is_told_too():
    samples, _ = read(changed(conditions=[{"code": "offline"}, {"code": "brand_new"}]))
    told = {
        labels[0][1]: value for (name, labels), value in samples.items() if name == "fieldproof_condition"
    }
    assert told == dict.fromkeys(CODES, 0.0) | {"offline": 1.0, "brand_new": 1.0}


def test_what_a_person_or_an_instrument_named_cannot_break_a_line():
    awkward = 'a"b\\n\n# TYPE x counter'
    instrument = {**REPORT["instruments"][0], "serial": awkward}
    samples, _ = read(changed(instruments=[instrument]))
    (found,) = (dict(labels) for name, labels in samples if name == "fieldproof_instrument_info")
    assert found["serial"] == awkward


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package `prometheus`)")
def test_promtool_finds_nothing_to_say():
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=metrics.render(REPORT),
        text=True,
        capture_output=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_is_written_while_the_report_is_made_is_counted_once_and_not_forgotten(tmp_path):
    """With a loss window: the same samples stand in the memory before, and in the journal after."""
    config, _ = joined_config(tmp_path)
    settings = replace(load(config), journal=JournalSettings(loss_window_s=3600))
    node = run.build(settings, climate(1, 1), math.inf)
    read_journal = node.keeper.read

    def read_and_write(job, timeout_s=60.0):
        found = read_journal(job, timeout_s)
        node.keeper.call(lambda journal: None)  # writes what is held
        return found

    node.keeper.start()
    try:
        for number in range(5):
            node.keeper.append(captured(FakeClock(), number))
        node.keeper.read = read_and_write  # type: ignore[method-assign]
        readings = [node.answers.status()["readings"] for _ in range(2)]
    finally:
        node.stop()
    assert [r["captured"] for r in readings] == [5, 5]  # type: ignore[index]
    assert [r["not_on_disk"] for r in readings] == [5, 0]  # type: ignore[index]


@pytest.mark.parametrize("loss_window_s", [0, 600])
def test_of_a_living_node_every_counter_only_grows(tmp_path, until, loss_window_s):
    config, device = joined_config(tmp_path)
    settings = replace(load(config), journal=JournalSettings(loss_window_s=loss_window_s))
    node = run.build(settings, climate(1, 300), math.inf)
    node.start()
    scrapes = []

    def ended():
        scrapes.append(read(node.answers.status()))
        return node.samplers[0].state.ended

    try:
        until(ended, 40, "the world's end")
        scrapes.append(read(node.answers.status()))
    finally:
        node.stop()
    samples, types = scrapes[-1]
    assert samples["fieldproof_readings_captured_total", ()] == 300
    assert samples["fieldproof_samples_total", (("instrument", NAME),)] == 300
    who = {"device": device, "network": "simulated", "kind": "test", "key_class": "sim"}
    assert samples["fieldproof_device_info", tuple(sorted(who.items()))] == 1
    for (earlier, _), (later, _) in itertools.pairwise(scrapes):
        for key, value in earlier.items():
            if types.get(key[0]) == "counter":
                assert later[key] >= value, key


def test_of_a_journal_that_does_not_answer_no_old_number_is_told():
    well, silent = (metrics.render({**REPORT, "answered": answered}) for answered in (True, False))
    gone = {f.name for f in text_string_to_metric_families(well)} - {
        f.name for f in text_string_to_metric_families(silent)
    }
    assert gone == {
        "fieldproof_" + name
        for name in (
            "healthy", "last_receipted_reading_age_seconds", "last_receipt_timestamp_seconds",
            "readings_captured", "readings_unsealed", "readings_not_on_disk", "readings_unreceipted",
            "proofs_sealed", "proofs_unreceipted", "journal_bytes",
        )
    }  # fmt: skip
