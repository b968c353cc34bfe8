"""The page of a running daemon, asked by HTTP: what it says, what it refuses, that off it costs nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent import metrics
from agent.errors import TryAgain
from agent.history import History
from agent.page import Kept, _last_proofs
from agent.settings import PageSettings, parse
from drivers.contract import Flag
from proof import bundle
from proof.descriptor import KEY_CLASSES
from tests.integration.daemon_parts import ROOT, settings_of
from tests.sim_parts import GATEWAY, NOWHERE
from web.response import STATIC, NotAnswered


@pytest.mark.mosquitto
def test_the_page_says_how_it_is_and_how_a_proof_went(site, gateway, mosquitto, until):
    gateway(mosquitto.port)
    page = site(mosquitto.url)
    until(lambda: any(p["receipted_s"] for p in page.json("/api/proofs")), 30, "a receipt on the page")
    proof = next(p for p in page.json("/api/proofs") if p["receipted_s"])
    assert proof["readings"] == 3
    assert proof["first_s"] <= proof["last_s"] <= proof["sealed_s"] <= proof["sent_s"] + 1

    status = page.json("/api/status")
    (instrument,) = status["instruments"]
    newest = status["newest"][instrument["name"]]
    assert 0 <= status["now_s"] - newest["at_s"] < 10
    assert {(name, places) for name, _, _, places in newest["values"]} == {
        ("temperature", 2),
        ("pressure", 1),
        ("humidity", 2),
    }
    assert status["calibrations"] == {instrument["name"]: []}
    assert status["state"] in {"healthy", *(c["code"] for c in status["conditions"])}

    (told,) = page.json(f"/api/history?hours=1&instrument={instrument['name']}")
    assert page.json("/api/history?hours=1")[0].keys() == told.keys()
    assert {series["quantity"] for series in told["series"]} == {"temperature", "pressure", "humidity"}
    assert sum(filter(None, told["series"][0]["count"])) >= 3


def test_a_history_that_cannot_be_read_is_said_and_read_once_it_can(site, until, monkeypatch):
    monkeypatch.setattr("agent.page._AGAIN_S", 0.1)
    fill, broken = History.fill, threading.Event()
    broken.set()

    def failing(*args: Any) -> None:
        if broken.is_set():
            raise ValueError("a surprise")
        fill(*args)

    monkeypatch.setattr(History, "fill", failing)
    page = site()
    until(lambda: page.json("/api/status")["history"] == "failed", 20, "the failure")
    assert any("a surprise" in said for said in page.json("/api/status")["news"])
    broken.clear()
    until(lambda: page.json("/api/status")["history"] == "filled", 20, "the history")


def test_of_a_journal_that_hangs_one_asks_a_second_and_the_others_are_told_what_it_heard(monkeypatch):
    now_s, asked = [100.0], []
    monkeypatch.setattr("agent.page.time.monotonic", lambda: now_s[0])

    def hang() -> None:
        asked.append(now_s[0])
        now_s[0] += 8.0
        raise TryAgain("The journal did not answer within 8 s.")

    kept = Kept(hang)
    for _ in range(3):
        with pytest.raises(NotAnswered, match="did not answer") as refused:
            kept.get()
        assert refused.value.status == 503
    assert asked == [100.0]
    now_s[0] += 1.1
    with pytest.raises(NotAnswered):
        kept.get()
    assert len(asked) == 2


@pytest.mark.parametrize("path", ["/api/log", "/api/proofs", "/evidence"])
def test_a_journal_that_does_not_answer_is_said_as_such(site, monkeypatch, path):
    page = site()

    def silent(*_args: Any) -> None:
        raise TryAgain("The journal did not answer within 8 s.")

    monkeypatch.setattr(page.served.node.keeper, "read", silent)
    reply = page.ask(path)
    assert (reply.status, b"did not answer within" in reply.body) == (503, True), reply.body


def test_of_the_last_proofs_only_new_ones_are_read_whole(site, until, monkeypatch):
    page = site()
    until(lambda: page.json("/api/proofs"), 30, "a proof")
    read, whole = _last_proofs, list[Any]()

    def counting(journal: Any, known: Any) -> Any:
        rows, new = read(journal, known)
        whole.extend(row[:2] for row in new)
        return rows, new

    monkeypatch.setattr("agent.page._last_proofs", counting)
    (first, *_) = page.json("/api/proofs")
    until(lambda: page.json("/api/proofs")[0]["seq"] >= first["seq"] + 3, 30, "three more proofs")
    assert len(whole) == len(set(whole))
    assert all(proof["sealed_s"] for proof in page.json("/api/proofs"))


def test_metrics_are_the_status_in_prometheus_words(site, until):
    page = site()
    until(lambda: page.json("/api/status")["instruments"][0]["latest"], 20, "a reading")
    reply = page.ask("/metrics")
    assert (reply.status, reply.getheader("Content-Type")) == (200, metrics.CONTENT_TYPE)
    families = text_string_to_metric_families(reply.body.decode())
    samples = [sample for family in families for sample in family.samples]
    assert all(sample.name.startswith("fieldproof_") for sample in samples)
    readings = {s.labels["quantity"]: s.labels["unit"] for s in samples if s.name == "fieldproof_reading"}
    assert readings == {"temperature": "Cel", "pressure": "Pa", "humidity": "%RH"}
    holds = {s.labels["code"] for s in samples if s.name == "fieldproof_condition" and s.value}
    assert holds == {condition["code"] for condition in page.json("/api/status")["conditions"]} >= {"offline"}


def test_the_evidence_is_a_bundle_that_verifies(site, gateway, until, tmp_path):
    page = site()
    until(lambda: page.json("/api/proofs"), 30, "a proof")
    reply = page.ask("/evidence?since=0&until=99999999999")
    assert reply.status == 200
    assert "attachment" in str(reply.getheader("Content-Disposition"))
    finding = bundle.examine(reply.body, [GATEWAY.public_key])
    assert finding.proofs >= 1
    assert finding.simulated


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/history?hours=0", 400),
        ("/api/history?hours=49", 400),
        ("/api/history?instrument=stranger", 404),
        ("/evidence?since=-1", 400),
        ("/evidence?until=soon", 400),
        ("/api/rotate", 404),
        ("/control.sock", 404),
        ("/../journal.db", 404),
        ("/page.py", 404),
    ],
)
def test_what_is_not_offered_is_refused(site, path, status):
    assert site().ask(path).status == status


def test_a_page_elsewhere_whose_name_was_pointed_here_is_refused(site):
    assert site().ask("/api/status", Host="evil.example").status == 421


def test_a_port_that_is_taken_is_told_and_the_node_samples_on(member, run, free_port, until):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_of(member[0], NOWHERE)
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        served = run(replace(settings, page=PageSettings(enabled=True, listen=listen)))
        until(
            lambda: any("cannot listen" in said for said in served.node.answers.status()["news"]),
            20,
            "the news",
        )
        before = served.node.answers.status()["readings"]["captured"]
        until(lambda: served.node.answers.status()["readings"]["captured"] > before + 2, 20, "more readings")


@pytest.mark.parametrize("listen", ["8733", "0.0.0.0", "pi.local:80", "0.0.0.0:x", "", "evil;:1"])
def test_an_address_that_is_none_is_refused_by_the_schema(listen):
    table = {
        "state_dir": "/x",
        "key": "sim:/x",
        "instrument": [{"name": "a", "driver": "bme280", "bus": "i2c:1"}],
        "page": {"listen": listen},
    }
    from agent.errors import FixConfig

    with pytest.raises(FixConfig, match=r"page.*an address and a port"):
        parse(table, "agent.toml")


def imported_by(enabled: bool, folder) -> set[str]:
    """Modules of a daemon that serves for a moment."""
    code = f"""
import sys, threading
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from agent import lean
lean.prepare()
from dataclasses import replace
from agent import daemon, membership
from agent.clock import SystemClock
from agent.node import Node
from agent.rotation import KeptKeys
from agent.settings import PageSettings, load
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld
settings = load(Path({str(folder)!r}))
settings = replace(settings, page=PageSettings(enabled={enabled}, listen="127.0.0.1:0"),
                   mqtt=replace(settings.mqtt, broker_url="mqtt://127.0.0.1:1"))
clock = SystemClock()
keys = KeptKeys(settings.key, clock)
joined = membership.load(settings.membership_path, keys.current().device, 1)
node = Node(settings, keys, joined, clock, SimulatedBuses(settings.instrument, ClimateWorld(1), clock))
before = set(sys.modules)
stop = threading.Event()
threading.Timer(0.5, stop.set).start()
daemon.serve(node, settings, stop)
sys.stdout.write("\\n".join(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_off_it_costs_nothing(member):
    """Neither a module of it nor one that it needs is imported."""
    on, off = imported_by(True, member[0]), imported_by(False, member[0])
    assert {"agent.page", "agent.history", "web.server", "waitress"} <= on
    assert not [name for name in off if name.split(".")[0] in ("web", "waitress")]
    assert not {"agent.page", "agent.history"} & off


def test_every_flag_clock_and_key_has_words_on_the_page(site):
    words = site().json("/api/status")["words"]
    assert words["flags"]["2"] == "a value jumped faster than physics allows"
    assert set(words["flags"]) == {str(flag.value) for flag in Flag}
    assert set(words["clocks"]) == {"0", "1", "2", "3"}
    assert set(words["keys"]) == set(KEY_CLASSES)


def test_what_a_browser_is_given_asks_nothing_of_others():
    for path in [*(ROOT / "agent" / "www").iterdir(), *STATIC.iterdir()]:
        if path.suffix in (".html", ".css", ".js") and not path.name.startswith("uPlot"):
            assert "http://" not in path.read_text(), path
            assert "https://" not in path.read_text(), path


def test_the_pages_markup_has_no_inline_script_or_style():
    page = (ROOT / "agent" / "www" / "index.html").read_text()
    assert "<style" not in page
    assert " style=" not in page
    assert " on" not in "".join(part.split("=")[0] for part in page.split("<") if "=" in part)
    assert all("src=" in part.split(">")[0] for part in page.split("<script")[1:])
