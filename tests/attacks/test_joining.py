"""Attacks on joining: with somebody's claim, id or words. A real gateway at a real broker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proof import joining, wire
from proof.keys import SeedSigner
from proof.reasons import Reason
from tests.attack_parts import NOW_S
from tests.gateway_parts import descriptor

pytestmark = pytest.mark.mosquitto
THIEF = SeedSigner(b"t" * 32, "file")
SPENT = "unknown, expired, already used or its secret is wrong (the claim was used by another device)"


def request(claim: joining.JoinClaim, signer: SeedSigner, **changes: object) -> bytes:
    told = replace(descriptor(simulated=False), **changes)  # type: ignore[arg-type]
    return joining.sign_enrolment(claim, told, bytes(32), signer, NOW_S)


def test_who_joins_with_a_stolen_claim_first_is_seen_by_owner_and_operator(gateway, owner):
    network, honest, thief = gateway(), owner(), owner("thief")
    claim = network.claim()  # seen over a shoulder, photographed, read from a process list
    assert thief.join(claim).exit_code == 0
    refused = honest.join(claim)
    assert refused.exit_code == 2
    assert SPENT in refused.stderr
    assert "Ask the operator for a new claim." in refused.stderr
    assert not honest.board.settings.membership_path.exists()
    part = thief.id.removeprefix("did:key:")
    assert f"used by {part}  Ada" in network.operator("claim", "list")
    network.operator("revoke", thief.id)
    assert f"{part} REVOKED" in network.operator("devices")
    assert honest.join(network.claim()).exit_code == 0


def test_a_claim_that_was_used_admits_nobody_else(gateway, owner):
    network, honest, thief = gateway(), owner(), owner("thief")
    claim = network.claim()
    assert honest.join(claim).exit_code == 0
    refused = thief.join(claim)
    assert (refused.exit_code, SPENT in refused.stderr) == (2, True)
    assert [line.device for line in network.lines()] == [honest.id]
    assert network.refused(Reason.CLAIM_REFUSED) == 1


def test_a_recorded_request_sent_again_gives_its_sender_nothing(gateway, owner, attacker, until):
    network, honest = gateway(), owner()
    listener = attacker(f"fieldproof/1/{network.name}/#")
    assert honest.join(network.claim()).exit_code == 0
    (recorded,), (given,) = listener.of("enrol"), listener.of("membership")
    before = network.lines()
    listener.publish(wire.topic(network.name, THIEF.device, "enrol"), recorded)
    listener.publish(wire.topic(network.name, honest.id, "enrol"), recorded)
    until(lambda: len(listener.of("membership")) == 2, 20, "the answer to the second")
    assert listener.of("membership") == [given, given]
    assert network.refused(Reason.UNKNOWN_DEVICE) == 1
    assert network.lines() == before


def test_a_claim_of_another_network_is_refused_on_both_sides(gateway, owner, attacker, until):
    hills, moor = gateway("hills"), gateway("moor")
    member = owner()
    assert member.join(hills.claim()).exit_code == 0
    kept = member.board.settings.membership_path.read_bytes()
    refused = member.join(moor.claim())
    assert refused.exit_code == 2
    assert "is a member of hills, and its journal belongs there. For moor use another" in refused.stderr
    assert member.board.settings.membership_path.read_bytes() == kept
    # Whoever says otherwise on the wire: the request names its network in what it signs.
    thief = attacker(f"fieldproof/1/hills/{THIEF.device.removeprefix('did:key:')}/receipt")
    thief.publish(wire.topic("hills", THIEF.device, "enrol"), request(moor.claim(), THIEF))
    until(lambda: thief.refusal(THIEF.device, hills), 20, "the refusal")
    assert thief.refusal(THIEF.device, hills).code == Reason.WRONG_NETWORK
    assert len(hills.lines()) == 1


def test_nobody_joins_under_the_id_of_another_device(gateway, owner, attacker, until):
    network, honest = gateway(), owner()
    assert honest.join(network.claim()).exit_code == 0
    before = network.lines()
    victim = SeedSigner(b"v" * 32, "file").device  # not a member yet
    thief = attacker(f"fieldproof/1/{network.name}/#")
    for device in (honest.id, victim):
        forged = request(network.claim(), SeedSigner(b"t" * 32, "file", device))
        thief.publish(wire.topic(network.name, device, "enrol"), forged)
    until(lambda: network.refused(Reason.BAD_KEY) == 2, 20, "both requests heard")
    thief.publish(wire.topic(network.name, THIEF.device, "enrol"), request(network.claim(), THIEF))
    until(lambda: len(network.lines()) == 2, 20, "an honest request after them")
    until(
        lambda: len([name for name, _ in thief.heard if name.endswith("/membership")]) == 2, 20, "its answer"
    )
    assert network.lines()[:1] == before
    assert thief.refusal(honest.id, network) is None
    assert thief.refusal(victim, network) is None


def test_a_claim_with_a_plain_broker_is_refused_where_its_owner_did_not_allow_that(gateway, owner, mosquitto):
    network, careful = gateway(), owner(allow_plain=False)
    heard = mosquitto.log.read_text().count("New client connected")
    refused = careful.join(network.claim())
    assert refused.exit_code == 2
    assert f"The broker's address {mosquitto.url} is without TLS. Use mqtts://" in refused.stderr
    assert list(careful.board.folder.iterdir()) == [careful.board.config]
    assert mosquitto.log.read_text().count("New client connected") == heard


@pytest.mark.parametrize("told", [{"simulated": True}, {"key_class": "sim"}])
def test_a_simulated_device_on_a_live_network_is_refused_on_both_sides(gateway, owner, attacker, until, told):
    network, honest = gateway(kind="live"), owner()
    refused = honest.join(network.claim())
    assert refused.exit_code == 2
    assert "test-net is a live network. A simulated device cannot join a live network." in refused.stderr
    pretender = attacker(wire.topic(network.name, THIEF.device, "receipt"))
    pretender.publish(
        wire.topic(network.name, THIEF.device, "enrol"), request(network.claim(), THIEF, **told)
    )
    until(lambda: pretender.refusal(THIEF.device, network), 20, "the refusal")
    assert pretender.refusal(THIEF.device, network).code == Reason.SIMULATED_ON_LIVE
    assert network.lines() == []


def test_a_claim_cannot_draw_on_its_owners_terminal(owner, gateway):
    """A claim comes from a chat or a picture: whatever it holds, only plain words are shown."""
    claim, victim = gateway().claim(), owner()
    for hostile in (
        {"broker_url": "mqtt://\x1b[2Jx"},
        {"network": "\x1b]0;x\x07"},
        {"broker_url": "mqtt://\u202e"},
    ):
        refused = victim.join(replace(claim, **hostile))
        assert refused.exit_code == 2
        assert refused.stderr.rstrip("\n").isprintable()
    assert not (Path(victim.board.folder) / "device.key").exists()
