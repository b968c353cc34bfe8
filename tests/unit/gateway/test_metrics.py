"""`/metrics` of the gateway as Prometheus reads it: well-formed, bounded, and what the overview says."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics, overview
from gateway.register import DeviceLine
from tests import troubled_network
from tests.gateway_parts import NETWORK, NOW_S, Gateway
from tests.troubled_network import HTML

P = "fieldproof_gateway_"


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gw"))
    troubled_network.build(gateway)
    yield look(gateway)
    gateway.close()


def look(gateway):
    with gateway.store.snapshot():
        return overview.read(gateway.store, gateway.path, gateway.now_s, 60)


def samples(found):
    """{name: {label values in the order of their names: value}}."""
    read: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render(found).decode()):
        for sample in family.samples:
            place = read.setdefault(sample.name, {})
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in place, f"{sample.name} {labels} is said twice"
            place[labels] = sample.value
    return read


def test_what_prometheus_reads_is_what_the_ledger_holds(troubled):
    read = samples(troubled)
    states = {word: count for (word,), count in read[P + "devices"].items()}
    assert states == troubled.states
    assert read[P + "proofs_accepted_total"][()] == sum(line.proofs for line in troubled.devices)
    assert read[P + "readings_accepted_total"][()] == sum(line.readings for line in troubled.devices)
    assert read[P + "proofs_held"][()] == 1
    assert read[P + "equivocations_total"][()] == 1
    assert read[P + "messages_refused_total"]["unknown_device",] == 1
    assert ("accepted",) not in read[P + "messages_refused_total"]
    assert read[P + "messages_taken_total"]["accepted",] == read[P + "proofs_accepted_total"][()]
    assert read[P + "last_beacon_timestamp_seconds"][()] == NOW_S - 60
    assert read[P + "ledger_bytes"][()] == troubled.ledger_bytes
    assert {code for (code,), held in read[P + "condition"].items() if held} == {
        "suspended",
        "two_boards",
        "silent",
    }
    assert read[P + "info"] == {(troubled.gateway, "test", NETWORK): 1}


def test_a_device_is_known_by_id_and_owner_and_never_heard_has_no_time(troubled):
    read = samples(troubled)
    heard = {owner: at_s for (_, owner), at_s in read[P + "device_last_receipt_timestamp_seconds"].items()}
    assert heard["ada"] == NOW_S - 60
    assert "frank" not in heard
    assert HTML[: metrics.MAX_OWNER] in heard
    assert len(read[P + "device_readings_total"]) == 7


def test_every_condition_there_is_has_its_series(troubled):
    conditions = samples(troubled)[P + "condition"]
    assert {code for (code,) in conditions} == set(metrics.CONDITIONS)
    assert {condition.code for condition in troubled.conditions} <= set(metrics.CONDITIONS)


def test_an_empty_gateway_says_what_it_knows_and_no_more(gateway):
    read = samples(look(gateway))
    assert P + "last_beacon_timestamp_seconds" not in read
    assert P + "last_commit_timestamp_seconds" not in read
    assert read[P + "proofs_accepted_total"][()] == 0
    assert read[P + "condition"]["not_listening",] == 1


def test_names_that_hold_quotes_and_newlines_come_through_unharmed(troubled):
    line = replace(troubled.devices[0], owner='a "b"\\ c\nfieldproof_x 1')
    read = samples(replace(troubled, devices=[line]))
    assert ('a "b"\\ c\nfieldproof_x 1') in {owner for _, owner in read[P + "device_readings_total"]}
    assert "fieldproof_x" not in read


def test_series_are_bounded_and_what_is_left_out_is_counted(troubled):
    many = [
        DeviceLine(f"did:key:z6Mk{n}", "o", 0, 0, 0, 1, 1, 1, 1.0, 1, 0, 0)
        for n in range(metrics.MAX_DEVICES + 7)
    ]
    read = samples(replace(troubled, devices=many))
    assert len(read[P + "device_readings_total"]) == metrics.MAX_DEVICES
    assert read[P + "device_series_left_out"][()] == 7
    assert read[P + "proofs_accepted_total"][()] == len(many)
    assert sum(map(len, read.values())) < 2 * metrics.MAX_DEVICES + 60


def test_promtool_finds_nothing_to_say(troubled):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    said = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render(troubled), capture_output=True, timeout=30
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")
