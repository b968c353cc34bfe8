"""A broker that forges, replays, lies and forgets. A running agent and a real gateway."""

from __future__ import annotations

import pytest
import structlog

from agent.succession import SENTENCES
from proof import beacon, receipt, sealing, wire
from proof.keys import SeedSigner
from proof.receipt import Receipt
from tests.attack_parts import NOW_S

pytestmark = pytest.mark.mosquitto
STRANGER = SeedSigner(b"s" * 32, "file")


def test_forged_and_replayed_words_change_nothing_at_a_running_agent(gateway, owner, attacker, until):
    network, honest = gateway(), owner()
    assert honest.join(network.claim()).exit_code == 0
    board, topic = honest.board, wire.topic(network.name, honest.id, "receipt")
    beacons = wire.beacon_topic(network.name)
    evil = attacker(topic, beacons)
    with structlog.testing.capture_logs() as logged:
        board.start()
        board.receipted(1)
        until(lambda: evil.of("receipt"), 20, "a receipt that the attacker heard")
        older = evil.of("receipt")[0]
        board.receipted(1)
        log = sealing.parse(network.accepted(honest.id)[0]).claims.log
        everything = Receipt(honest.id, log, 10**6, bytes(32), NOW_S)
        of_another = Receipt(STRANGER.device, log, 10**6, bytes(32), NOW_S)
        lies = {
            "a stranger's receipt": (topic, receipt.sign(everything, STRANGER, NOW_S)),
            "a receipt of another device": (topic, receipt.sign(of_another, network.signer, NOW_S)),
            "an older receipt": (topic, older),
            "a stranger's beacon": (beacons, beacon.sign_beacon(network.name, 9, bytes(16), STRANGER, 2**40)),
            "a beacon of another network": (
                beacons,
                beacon.sign_beacon("moor", 9, bytes(16), network.signer, 2**40),
            ),
            "no object at all": (topic, b"\xd2"),
        }
        for where, what in lies.values():
            evil.publish(where, what, retain=True)
        until(lambda: sum(e["event"] == "message not accepted" for e in logged) >= 5, 20, "the refusals")
        board.receipted(2)
    report = board.report()
    assert not set(report["news"]) & set(SENTENCES.values())
    assert report["proofs"]["receipted_seq"] < 10**6
    proofs = [sealing.parse(data).claims for data in network.accepted(honest.id)]
    assert {claims.log for claims in proofs} == {log}
    assert [claims.seq for claims in proofs] == list(range(1, len(proofs) + 1))
    (line,) = network.lines()
    assert not {"unknown_beacon", "stale_beacon"} & set(line.verdicts), "none named a beacon of somebody else"
    assert {e["reason"].split(":")[0] for e in logged if e["event"] == "message not accepted"} == {
        "bad_key",
        "unknown_device",
        "wrong_network",
        "malformed",
    }
