"""The network and a device as the ledger shows them: every trouble is seen, with what to do."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import Mock

import pytest

from gateway import history, overview
from gateway.store import Store
from proof import sealing
from proof.claims import Predecessor
from proof.reasons import Reason
from tests import troubled_network
from tests.gateway_parts import NETWORK, NOW_S, Device, Gateway
from tests.troubled_network import HTML, Network

BEACON_PERIOD_S = 60.0


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """(gateway, network); the tests only read."""
    gateway = Gateway(tmp_path_factory.mktemp("gw"))
    yield gateway, troubled_network.build(gateway)
    gateway.close()


def look(gateway: Gateway) -> overview.Overview:
    with gateway.store.snapshot():
        return overview.read(gateway.store, gateway.path, gateway.now_s, BEACON_PERIOD_S)


def past(gateway: Gateway, device: Device) -> history.History:
    with gateway.store.snapshot():
        found = history.read(gateway.store, device.id, gateway.now_s)
    assert found is not None
    return found


def test_each_device_is_in_the_worst_state_that_is_true(troubled):
    gateway, network = troubled
    seen = {line.device: overview.state(line, gateway.now_s) for line in look(gateway).devices}
    assert seen == {
        network.ada.id: "delivering",
        network.mallory.id: "delivering",
        network.bob.id: "suspended",
        network.carol.id: "two_boards",
        network.dan.id: "silent",
        network.eve.id: "revoked",
        network.frank.id: "never_heard",
    }
    assert sum(look(gateway).states.values()) == 7


def test_a_device_is_silent_after_three_hours_and_not_before(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    (line,) = look(gateway).devices
    assert overview.state(line, NOW_S + overview.SILENT_S) == "delivering"
    assert overview.state(line, NOW_S + overview.SILENT_S + 1) == "silent"


def test_two_boards_are_settled_when_a_log_begins_after_them(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    gives_way = Predecessor(device.log, device.prev, "superseded")
    gateway.now_s += 1
    gateway.send(device, device.other(log=b"log-0002", seq=1, prev=gives_way))
    assert [c.code for c in look(gateway).conditions if c.code != "not_listening"] == ["two_boards"]
    gateway.now_s += 1
    device.start_log(b"log-0003", device.log)
    gateway.send(device, device.seal())
    assert [c.code for c in look(gateway).conditions if c.code != "not_listening"] == []


def test_conditions_come_worst_first_with_what_to_do(troubled):
    found = look(troubled[0]).conditions
    assert [condition.code for condition in found] == ["suspended", "two_boards", "silent"]
    assert all(condition.remedy and condition.sentence.endswith(".") for condition in found)
    assert found[0].sentence.startswith("1 device is suspended")


def test_a_gateway_without_beacons_does_not_listen(gateway):
    assert [c.code for c in look(gateway).conditions] == ["not_listening"]
    gateway.service.beacon()
    assert look(gateway).conditions == []
    gateway.now_s += 4 * BEACON_PERIOD_S
    (condition,) = look(gateway).conditions
    assert (condition.code, condition.severity) == ("not_listening", "error")
    assert condition.sentence.startswith("No beacon for 4 minutes")


def test_a_clock_that_was_set_back_is_said(gateway):
    gateway.service.beacon()
    gateway.now_s -= 86_400
    assert [c.code for c in look(gateway).conditions] == ["clock_behind"]


def test_quality_is_by_instrument_over_a_week_and_the_worst_comes_first(troubled):
    gateway, network = troubled
    found = look(gateway)
    humid, *others = found.quality
    assert (humid.device, humid.instrument) == (network.ada.id, "humid")
    assert (humid.readings, humid.flags) == (24, {"quality_clamped": 3})
    assert all(not line.flags for line in others)
    assert found.instruments == len(found.quality)
    assert found.counted_from_s == (NOW_S - 9 * 86_400) // 86_400 * 86_400


def test_what_became_of_messages_is_counted_strangers_too(troubled):
    found = look(troubled[0])
    assert (found.messages["unknown_device"], found.messages["malformed"]) == (1, 1)
    assert found.messages["accepted"] == sum(line.proofs for line in found.devices)
    assert found.verdicts["equivocation"] == 1


def test_both_proofs_of_an_equivocation_are_there_as_they_were_signed(troubled):
    gateway, network = troubled
    (pair,) = look(gateway).pairs
    assert (pair.device, pair.log, pair.seq, len(pair.proofs)) == (network.bob.id, b"log-0001".hex(), 2, 2)
    for signed in pair.proofs:
        data = history.refused_proof(gateway.store, network.bob.id, bytes.fromhex(signed.hash))
        assert data is not None
        proof = sealing.parse(data)
        proof.signed.require_signature([network.bob.signer.public_key])
        assert proof.claims.seq == 2
    digest = bytes.fromhex(pair.proofs[0].hash)
    assert history.refused_proof(gateway.store, network.ada.id, digest) is None


def test_when_it_committed_last_and_how_large_it_is(troubled):
    gateway, _ = troubled
    found = look(gateway)
    assert found.last_commit_s == found.last_beacon_s == NOW_S - 60
    assert found.ledger_bytes >= gateway.path.stat().st_size > 0


def test_the_newest_beacon_is_found_without_a_look_at_all_of_them(gateway, monkeypatch):
    """SQLite's plan says SEARCH for either way; the steps of its machine tell them apart."""
    row = Mock(wraps=gateway.store.row)
    monkeypatch.setattr(gateway.store, "row", row)
    for number in range(1, 501):
        gateway.register.add_beacon(number, number.to_bytes(32, "big"), NOW_S + number, bytes(16), b"")
    assert look(gateway).last_beacon_s == NOW_S + 500
    (sql,) = [call.args[0] for call in row.call_args_list if "FROM beacon" in call.args[0]]
    steps: list[int] = []
    gateway.store._connection.set_progress_handler(lambda: steps.append(1), 1)
    row(sql)
    gateway.store._connection.set_progress_handler(None, 1)
    assert 0 < len(steps) < 50


def test_a_stranger_has_no_history(gateway):
    assert history.read(gateway.store, "did:key:z6Mkstranger", NOW_S) is None


def test_a_devices_history_is_whole(troubled):
    gateway, network = troubled
    found = past(gateway, network.ada)
    assert (found.device.owner, found.state, found.key_class, found.simulated) == (
        "ada",
        "delivering",
        "sim",
        True,
    )
    assert [i.name for i in found.instruments] == ["t"]
    assert [(log.reason, log.head) for log in found.logs] == [("store lost", 3), ("", 78)]
    assert [(key.number, key.in_force) for key in found.keys] == [(1, True), (0, False)]
    assert found.keys[0].key_id != found.keys[1].key_id
    assert found.keys[0].at_s is not None
    assert [(gap.first_seq, gap.last_seq, gap.reason) for gap in found.gaps] == [(74, 77, "store full")]
    assert [challenge.round_trip_s for challenge in found.challenges] == [1.5]
    assert found.device.held == 1
    assert [line.instrument for line in found.quality] == ["humid", "t"]
    assert found.verdicts[0].at_s is not None
    assert found.verdicts[0].remedy == Reason.__members__[found.verdicts[0].code.upper()].remedy
    assert found.counts == {"log": 2, "gap": 1, "challenge": 1, "key": 2}


def test_a_device_never_heard_has_a_history_without_proofs(troubled):
    gateway, network = troubled
    found = past(gateway, network.frank)
    assert (found.state, found.logs, found.verdicts, found.quality) == ("never_heard", [], [], [])
    assert [key.number for key in found.keys] == [0]


def test_days_are_whole_and_those_without_receipts_are_zero(troubled):
    gateway, network = troubled
    found = past(gateway, network.dan).days
    assert len(found) == history.DAYS
    assert {later.start_s - day.start_s for day, later in pairwise(found)} == {86_400}
    assert sum(day.readings for day in found) == 18
    assert sum(day.proofs == 0 for day in found) == history.DAYS - 1


def test_lists_are_bounded_and_say_how_many_there_are(gateway, monkeypatch):
    monkeypatch.setattr(history, "MAX_LINES", 2)
    device = gateway.member()
    gateway.send(device, device.seal())
    for number in range(4):
        device.start_log(b"log-1%03d" % number, device.log)
        gateway.send(device, device.seal())
    found = past(gateway, device)
    assert [bytes.fromhex(log.log) for log in found.logs] == [b"log-1003", b"log-1002"]
    assert found.counts["log"] == 5


def test_a_history_opens_no_other_devices_lines(troubled):
    gateway, network = troubled
    assert past(gateway, network.dan).refused == []
    assert {refusal.code for refusal in past(gateway, network.bob).refused} == {"equivocation"}


def test_looking_writes_nothing_and_cannot(troubled):
    gateway, network = troubled
    before, bytes_before = gateway.contents(), gateway.path.read_bytes()
    reader = Store.read_only(gateway.path, NETWORK, "test")
    with reader.snapshot():
        overview.read(reader, gateway.path, NOW_S, BEACON_PERIOD_S)
        for device in (getattr(network, name) for name in Network.__slots__):
            assert history.read(reader, device.id, NOW_S) is not None
    reader.close()
    assert (gateway.contents(), gateway.path.read_bytes()) == (before, bytes_before)


def test_what_strangers_wrote_stays_text(troubled):
    gateway, network = troubled
    found = past(gateway, network.mallory)
    assert found.device.owner == HTML
    assert any(HTML[:60] in said.detail for said in found.verdicts) or found.logs[0].reason == HTML[:60]
