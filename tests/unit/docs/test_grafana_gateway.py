"""The gateway's Grafana dashboard asks for nothing that the gateway does not say, as Prometheus reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import metrics, overview
from tests import troubled_network
from tests.gateway_parts import Gateway

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana" / "gateway.json"
BOARD = json.loads(DASHBOARD.read_text())


def expressions():
    return [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """{name: its labels} of every sample of a gateway to which everything happened."""
    gateway = Gateway(tmp_path_factory.mktemp("gw"))
    troubled_network.build(gateway)
    with gateway.store.snapshot():
        found = overview.read(gateway.store, gateway.path, gateway.now_s, 60)
    gateway.close()
    return {
        sample.name: set(sample.labels) for family in metrics.families(found) for sample in family.samples
    }


def test_every_metric_on_the_dashboard_exists(said):
    named = set(re.findall(r"fieldproof_\w+", json.dumps(BOARD["panels"]) + json.dumps(BOARD["templating"])))
    assert named
    assert named <= set(said)


def test_every_label_on_the_dashboard_exists(said):
    for panel in BOARD["panels"]:
        (target,) = panel["targets"]
        labels = {label for name in re.findall(r"fieldproof_\w+", target["expr"]) for label in said[name]}
        used = set(re.findall(r"by \((\w+)\)", target["expr"]))
        used |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert used <= labels | {"instance"}, panel["title"]


def test_every_metric_in_the_operators_guide_exists_and_every_condition_is_there(said):
    guide = (DASHBOARD.parents[1] / "operating-a-gateway.md").read_text()
    section = guide.partition("\n## The page and /metrics\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"\bfieldproof_gateway_\w+", section))
    named |= {f"fieldproof_gateway{tail}" for tail in re.findall(r"…(_\w+)", section)}
    assert len(named) > 10
    assert named <= set(said)
    (row,) = [line for line in section.splitlines() if line.startswith("| `fieldproof_gateway_condition")]
    assert tuple(re.findall(r"`(\w+)`", row)) == metrics.CONDITIONS
    assert f"for the first {metrics.MAX_DEVICES} devices" in section


def test_every_panel_has_a_place_of_its_own():
    places = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (panel["gridPos"] for panel in BOARD["panels"])
    ]
    assert len(set().union(*places)) == sum(map(len, places))
    assert max(x for place in places for x, _ in place) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_prometheus_reads_every_question(tmp_path):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    rules = [
        {"record": f"panel:{n}", "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for n, expr in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
