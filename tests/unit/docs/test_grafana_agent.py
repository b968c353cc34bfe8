"""The nodes' dashboard and alert rules ask for nothing that a node does not say, as Prometheus reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent import metrics
from agent.conditions import CODES
from tests.unit.agent.test_metrics import REPORT

DOCS = Path(__file__).parents[3] / "docs"
BOARD = json.loads((DOCS / "grafana" / "agent.json").read_text())
ALERTS = DOCS / "grafana" / "agent-alerts.yml"
QUESTIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
RULES = re.findall(r"expr: (.*)", ALERTS.read_text())
SAID = {
    family.name: {n for labels, _ in family.samples for n in labels} for family in metrics.families(REPORT)
}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian package `prometheus`)"
)


def names(text):
    return set(re.findall(r"\bfieldproof_\w+", text))


@pytest.mark.parametrize("question", QUESTIONS + RULES)
def test_a_question_names_metrics_and_labels_that_exist(question):
    used = set(re.findall(r"(\w+)=~?\"", question)) | set(
        re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", question)))
    )
    if 'up{job="fieldproof"}' in question:  # Prometheus' own
        return
    assert names(question)
    assert names(question) <= set(SAID)
    assert used <= {"instance"} | set.union(*(SAID[name] for name in names(question)))


def test_legends_and_variables_name_what_exists():
    for panel in BOARD["panels"]:
        (target,) = panel["targets"]
        labels = {"instance"} | set.union(*(SAID[name] for name in names(target["expr"])))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]
    assert names(json.dumps(BOARD["templating"])) <= set(SAID)
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    asked = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(BOARD["panels"])))
    assert asked <= variables


def test_every_condition_in_a_rule_exists():
    codes = {
        code for rule in RULES for found in re.findall(r'code=~"([^"]*)"', rule) for code in found.split("|")
    }
    assert len(codes) > 5
    assert codes <= set(CODES)


def test_every_panel_has_a_place_of_its_own():
    places = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (panel["gridPos"] for panel in BOARD["panels"])
    ]
    assert len(set().union(*places)) == sum(map(len, places))
    assert max(x for place in places for x, _ in place) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_guide_names_every_metric_and_no_other():
    guide = (DOCS / "monitoring.md").read_text()
    assert names(guide) - {"fieldproof_exporter"} == set(SAID)


@needs_promtool
def test_prometheus_reads_every_question(tmp_path):
    rules = [
        {"record": f"panel:{n}", "expr": re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", "5m"))}
        for n, expr in enumerate(QUESTIONS)
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    for checked, count in ((file, len(QUESTIONS)), (ALERTS, len(RULES))):
        done = subprocess.run(
            [str(PROMTOOL), "check", "rules", checked], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{count} rules found" in done.stdout


@needs_promtool
def test_an_alert_rings_when_it_should_and_not_before(tmp_path):
    series = [
        ('fieldproof_instrument_up{instance="n", instrument="roof"}', "1x5 0x40"),
        ('fieldproof_condition{instance="n", code="refused"}', "0x5 1x40"),
        ('fieldproof_condition{instance="n", code="offline"}', "1x45"),
        ('fieldproof_healthy{instance="n"}', "1x45"),
        ('up{job="fieldproof", instance="n"}', "1x45"),
    ]
    trouble = {
        "exp_labels": {"instance": "n", "instrument": "roof"},
        "exp_annotations": {"summary": "n: roof gives no readings."},
    }
    cases = [("FieldproofInstrumentTrouble", "18m", []), ("FieldproofInstrumentTrouble", "22m", [trouble])]
    cases += [(name, "40m", []) for name in ("FieldproofAgentSilent", "FieldproofNothingReceipted")]
    file = tmp_path / "tests.yml"
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(ALERTS)],
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in series],
                        "alert_rule_test": [
                            {"alertname": name, "eval_time": at, "exp_alerts": expected}
                            for name, at, expected in cases
                        ],
                    }
                ],
            }
        )
    )
    done = subprocess.run([str(PROMTOOL), "test", "rules", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
