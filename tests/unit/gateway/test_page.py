"""The operator's page against a ledger: what it answers, to whom, and that it only looks."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import history, metrics, overview, page
from gateway.folder import Settings
from gateway.register import DeviceLine
from proof.keys import multibase_part
from proof.reasons import Reason
from tests import troubled_network
from tests.gateway_parts import NETWORK, NOW_S, Gateway
from tests.troubled_network import HTML
from web.server import HELD_BYTES

STATIC = page._STATIC


class Site:
    """The page of `gateway`, asked as a browser on this machine asks."""

    def __init__(self, gateway):
        self.now_s, self.monotonic_s = float(NOW_S), 0.0
        settings = Settings(NETWORK, "test", "mqtt://127.0.0.1")
        self.view = page.View(gateway.path.parent, settings, lambda: self.now_s, lambda: self.monotonic_s)
        self._app: Any = page.make(self.view, name="station")
        self.headers: dict[str, str] = {}

    def ask(self, path, status="200", **more):
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1:8734",
            **more,
        }
        said = []
        pieces = self._app(environ, lambda *start: said.append(start))
        body = b"".join(pieces)
        getattr(pieces, "close", lambda: None)()
        ((got, headers),) = said
        self.headers = dict(headers)
        assert got[:3] == status, (got, body)
        return body

    def json(self, path):
        return json.loads(self.ask(path))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gw"))
    network = troubled_network.build(gateway)
    yield gateway, network, Site(gateway)
    gateway.close()


@pytest.fixture
def site(gateway):
    return Site(gateway)


def part(device):
    return multibase_part(device.id)


def test_the_network_is_shown_with_those_first_that_need_the_operator(troubled):
    _, network, site = troubled
    found = site.json("/api/overview")
    assert [line["owner"] for line in found["devices"]] == [
        "bob",
        "carol",
        "dan",
        "frank",
        "ada",
        HTML,
        "eve",
    ]
    assert [line["state"] for line in found["devices"]][:2] == ["suspended", "two_boards"]
    assert (found["joined"], found["found"], found["totals"]["held"]) == (7, 7, 1)
    assert found["owners"][network.ada.id] == "ada"
    assert found["reasons"]["equivocation"]["remedy"] == Reason.EQUIVOCATION.remedy


@pytest.mark.parametrize(("find", "owners"), [("ADA", ["ada"]), ("nobody", []), ("%3Cscript", [HTML])])
def test_a_device_is_found_by_its_owner(troubled, find, owners):
    found = troubled[2].json(f"/api/overview?find={find}")
    assert ([line["owner"] for line in found["devices"]], found["joined"]) == (owners, 7)


def test_a_device_is_found_by_its_id(troubled):
    _, network, site = troubled
    found = site.json(f"/api/overview?find={part(network.dan)[4:20]}")
    assert [line["owner"] for line in found["devices"]] == ["dan"]


def test_a_device_has_a_page_of_its_own(troubled):
    _, network, site = troubled
    found = site.json(f"/api/device?device={part(network.bob)}")
    assert (found["state"], found["device"]["owner"]) == ("suspended", "bob")
    assert set(found["reasons"]) >= {"equivocation"}
    assert len(found["days"]) == history.DAYS


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/device", "400", "device must be an id"),
        ("/api/device?device=../../etc/passwd", "400", "device must be an id"),
        ("/api/device?device=z6Mk' OR 1=1 --", "400", "device must be an id"),
        ("/api/device?device=z6Mk" + "A" * 44, "404", "No such device"),
        ("/api/device?device=z6Mk" + "A" * 4000, "400", "device must be an id"),
        ("/refused?device=z6Mk" + "A" * 44, "400", "hash must be 64"),
        ("/refused?device=z6Mk" + "A" * 44 + "&hash=" + "g" * 64, "400", "hash must be 64"),
        ("/refused?device=z6Mk" + "A" * 44 + "&hash=" + "0" * 64, "404", "No such proof"),
        ("/gateway.key", "404", "no such page"),
        ("/../gateway.key", "404", "no such page"),
        ("/static/../gateway.key", "404", "no such page"),
    ],
)
def test_a_hostile_question_gets_one_sentence(troubled, path, status, sentence):
    assert sentence in troubled[2].ask(path, status).decode()


def test_a_refused_proof_is_handed_out_as_it_was_signed(troubled):
    gateway, network, site = troubled
    (pair,) = site.json("/api/overview")["pairs"]
    signed = {data for code, data in gateway.register.evidence(network.bob.id)}
    got = {site.ask(f"/refused?device={part(network.bob)}&hash={proof['hash']}") for proof in pair["proofs"]}
    assert got == signed
    assert re.fullmatch(
        r'attachment; filename="z6Mk\w+-[0-9a-f]{16}\.cose"', site.headers["Content-Disposition"]
    )
    assert site.headers["Content-Type"] == "application/cose"
    site.ask(f"/refused?device={part(network.ada)}&hash={pair['proofs'][0]['hash']}", "404")


def test_metrics_are_served_as_prometheus_reads_them(troubled):
    site = troubled[2]
    text = site.ask("/metrics").decode()
    assert site.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "fieldproof_gateway_devices" in {f.name for f in text_string_to_metric_families(text)}


def test_what_others_wrote_goes_out_as_data_never_as_a_page(troubled):
    _, network, site = troubled
    for path in ("/api/overview", f"/api/device?device={part(network.mallory)}"):
        assert HTML[:40] in json.loads(site.ask(path)).__repr__().replace('\\"', '"')
        assert site.headers["Content-Type"] == "application/json"
        assert site.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/", "/device.html", "/network.js", "/device.js", "/gateway.js", "/gateway.css"):
        assert HTML.encode() not in site.ask(path)


def test_the_pages_fetch_nothing_from_elsewhere_and_hold_no_script_of_their_own():
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|[\"'(]//|innerHTML|insertAdjacent|document\.write|eval\(", text), (
            path
        )
        if path.suffix == ".html":
            assert re.findall(r"<script(.*?)>(.*?)</script>", text, re.DOTALL)[0][1] == ""
            assert not re.search(r"\son\w+=|style=|javascript:", text), path


def test_all_readers_share_one_overview_for_a_few_seconds(gateway, site, monkeypatch):
    looks = []
    read = overview.read

    def looked(*given):
        looks.append(1)
        return read(*given)

    monkeypatch.setattr(overview, "read", looked)
    for _ in range(5):
        site.ask("/api/overview")
        site.ask("/metrics")
    assert len(looks) == 1
    gateway.member()
    site.monotonic_s += page.KEPT_S + 0.1
    assert site.json("/api/overview")["joined"] == 1
    assert len(looks) == 2


def test_an_answer_copies_no_device_that_it_does_not_show(troubled, monkeypatch):
    copied = Mock(wraps=asdict)
    monkeypatch.setattr(page, "asdict", copied)
    troubled[2].ask("/api/overview?find=nobody")
    given = [call.args[0] for call in copied.call_args_list]
    (whole,) = [one for one in given if isinstance(one, overview.Overview)]
    assert (whole.devices, whole.quality, whole.pairs) == ([], [], [])


def test_texts_are_cut_and_ours_never_need_it(troubled):
    ours = [text for reason in Reason for text in (reason.sentence, reason.remedy)]
    conditions = overview._conditions(dict.fromkeys(page._STATES, 9999), None, 0.0, 60)
    ours += [text for condition in conditions for text in (condition.sentence, condition.remedy)]
    assert max(map(len, ours)) <= page.MAX_TEXT
    assert page._cut({"a": ["x" * 999]}) == {"a": ["x" * (page.MAX_TEXT - 1) + "…"]}


def test_answers_stay_small_whatever_the_network_holds(troubled, monkeypatch):
    """A longer answer would keep one of the two threads until its reader took it."""
    gateway, _, _ = troubled
    site = Site(gateway)
    found = troubled[2].view._overview()
    device = "did:key:z6Mk" + "x" * 44
    lines = [
        DeviceLine(
            f"{device[:-5]}{n:05}",
            "\N{SNOWMAN}" * 999,
            NOW_S,
            0,
            0,
            10**9,
            10**9,
            10**9,
            NOW_S + 0.123,
            9,
            999,
            64,
        )
        for n in range(5000)
    ]
    flags = {reason.value: 10**6 for reason in Reason if reason.value.startswith("quality")}
    quality = [overview.Quality(lines[n].device, f"i{n}" * 4, 10**9, flags) for n in range(200)]
    signed = [overview.Signed("f" * 64, NOW_S + 0.5)] * 2
    pairs = [overview.Pair(device, "f" * 16, 10**9, signed)] * 100
    counts = {reason.value: 10**9 for reason in Reason}
    full = replace(found, devices=lines, quality=quality, pairs=pairs, messages=counts, verdicts=counts)
    monkeypatch.setattr(overview, "read", lambda *_: full)
    answer = site.json("/api/overview")
    assert (len(answer["devices"]), answer["found"]) == (page.MOST_DEVICES, 5000)
    assert len(site.ask("/api/overview")) < HELD_BYTES
    assert len(site.ask("/metrics")) < HELD_BYTES
    assert len(metrics.render(full)) == len(site.ask("/metrics"))


def test_a_page_needs_no_key_and_writes_nothing(troubled):
    gateway, network, _ = troubled
    folder = gateway.path.parent
    assert not (folder / "gateway.key").exists()
    before = (
        gateway.contents(),
        gateway.path.read_bytes(),
        gateway.path.with_name("ledger.db-wal").read_bytes(),
    )
    site = Site(gateway)
    for path in ("/api/overview", f"/api/device?device={part(network.ada)}", "/metrics"):
        site.ask(path)
    assert before == (
        gateway.contents(),
        gateway.path.read_bytes(),
        gateway.path.with_name("ledger.db-wal").read_bytes(),
    )


def test_a_ledger_that_is_away_is_said_and_one_put_back_is_read(gateway, site, tmp_path):
    away = tmp_path / "away.db"
    gateway.member()
    gateway.close()
    gateway.path.rename(away)
    assert "is missing" in site.ask("/api/overview", "503").decode()
    gateway.path.write_bytes(b"rubbish" * 999)
    assert "is damaged" in site.ask("/api/overview", "503").decode()
    gateway.path.unlink()
    away.rename(gateway.path)
    assert site.json("/api/overview")["joined"] == 1


def test_only_this_machine_is_answered_unless_the_operator_says_otherwise(gateway, site):
    site.ask("/", "403", REMOTE_ADDR="203.0.113.9")
    site.ask("/", "421", HTTP_HOST="evil.example")
    site.ask("/", HTTP_HOST="station")
    site._app = page.make(site.view, allow_remote=True, name="gw.example.net")
    site.ask("/", REMOTE_ADDR="203.0.113.9", HTTP_HOST="gw.example.net")
