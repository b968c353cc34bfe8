"""Attacks with a device's own key, or from a weaker place. A running agent, a real gateway and broker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent import control
from agent.keystore import export_seeds
from proof import joining, rotation, sealing, wire
from proof.cose import object_hash
from proof.keys import SeedSigner
from proof.reasons import Reason
from tests.attack_parts import NOW_S, AttackedGateway, Attacker, Owner
from tests.gateway_parts import descriptor

pytestmark = pytest.mark.mosquitto


def told(reason: Reason) -> str:
    return f"{reason.sentence} {reason.remedy}"


def running(owner: Owner, network: AttackedGateway) -> Owner:
    assert owner.join(network.claim()).exit_code == 0
    owner.board.start()
    owner.board.receipted(1)
    return owner


def forged(network: AttackedGateway, device: str, thief: SeedSigner, **changes: object) -> bytes:
    """The newest accepted proof, as the thief would have it."""
    claims = replace(sealing.parse(network.accepted(device)[-1]).claims, rotation=None)
    return sealing.seal(replace(claims, **changes), (), thief)  # type: ignore[arg-type]


def send(thief: Attacker, network: AttackedGateway, device: str, proof: bytes) -> None:
    thief.publish(wire.topic(network.name, device, "proof"), wire.deflate(proof))


def test_a_stolen_current_key_stops_the_device_once_and_a_rotation_ends_it(gateway, owner, attacker, until):
    network, thief = gateway(), attacker()
    honest = running(owner(), network)
    key = SeedSigner(export_seeds(honest.board.settings.key).current, "sim", honest.id)
    # What he can do: sign, as the device does. The two contradict each other, and both hear of it.
    send(thief, network, honest.id, forged(network, honest.id, key))
    honest.board.told(told(Reason.EQUIVOCATION))
    honest.board.told(told(Reason.SUSPENDED))
    explained = control.ask_explain(honest.board.settings.control_socket, None)["verdicts"]
    assert {"equivocation", "suspended"} <= {verdict["code"] for verdict in explained if verdict["refuses"]}
    assert honest.board.report()["state"] == "refused"
    assert network.evidence(honest.id).count(Reason.EQUIVOCATION) == 2, "both proofs, for a judge"
    assert " SUSPENDED" in network.operator("devices")
    # What ends it: the operator looks, the owner rotates. The thief has no key that was committed to.
    network.operator("restore", honest.id)
    rotated = control.ask_rotate(honest.board.settings.control_socket)
    until(lambda: not honest.board.folder.joinpath("device.key.after").exists(), 30, "the rotation's receipt")
    before = network.refused(Reason.BAD_KEY)
    head = sealing.parse(network.accepted(honest.id)[-1])
    send(thief, network, honest.id, forged(network, honest.id, key, seq=head.claims.seq + 1, prev=head.hash))
    until(lambda: network.refused(Reason.BAD_KEY) > before, 20, "his proof refused")
    honest.board.receipted(1)
    (line,) = network.lines()
    assert not line.suspended
    assert rotated["device"] == honest.id


def test_a_stolen_old_key_says_nothing_more_and_stops_nobody(gateway, owner, attacker, until):
    network, thief = gateway(), attacker()
    honest = running(owner(), network)
    key = SeedSigner(export_seeds(honest.board.settings.key).current, "sim", honest.id)
    old = network.accepted(honest.id)[0]
    control.ask_rotate(honest.board.settings.control_socket)
    until(lambda: not honest.board.folder.joinpath("device.key.after").exists(), 30, "the rotation's receipt")
    claims = sealing.parse(old).claims
    send(thief, network, honest.id, sealing.seal(claims, (), key))  # another proof in an old place
    send(thief, network, honest.id, forged(network, honest.id, key, seq=10**6))
    until(
        lambda: network.refused(Reason.EQUIVOCATION) and network.refused(Reason.BAD_KEY), 20, "both refused"
    )
    honest.board.receipted(1)
    (line,) = network.lines()
    assert not line.suspended
    assert set(network.evidence(honest.id)) == {Reason.EQUIVOCATION}
    until(lambda: told(Reason.EQUIVOCATION) in honest.board.report()["news"], 20, "the owner's news")


def test_a_stolen_next_key_alone_opens_nothing(gateway, owner, attacker, until):
    network, thief = gateway(), attacker()
    honest = running(owner(), network)
    following = SeedSigner(export_seeds(honest.board.settings.key).next, "sim", honest.id)
    honest.board.stop()
    accepted = network.accepted(honest.id)
    head = sealing.parse(accepted[-1])
    seq = head.claims.seq + 1
    place = {"seq": seq, "prev": object_hash(accepted[-1])}
    turn = rotation.sign(head.claims.log, seq, following, following, bytes(32), NOW_S)
    send(thief, network, honest.id, forged(network, honest.id, following, **place))
    send(thief, network, honest.id, forged(network, honest.id, following, rotation=turn, **place))
    until(
        lambda: network.refused(Reason.BAD_KEY) and network.refused(Reason.BAD_ROTATION), 20, "both refused"
    )
    assert network.accepted(honest.id) == accepted
    assert network.evidence(honest.id) == []


def test_a_key_that_moved_to_a_weaker_place_is_told_to_owner_and_operator(gateway, owner, attacker, until):
    """The network was told `tpm2`; what signs now says of itself that it is another class."""
    network, honest = gateway(), owner()
    assert honest.say("init").exit_code == 0
    seeds, claim = export_seeds(honest.board.settings.key), network.claim()
    announced = replace(descriptor(), key_class="tpm2")
    key = SeedSigner(seeds.current, "tpm2")
    request = joining.sign_enrolment(claim, announced, bytes(32), key, NOW_S)
    attacker().publish(wire.topic(network.name, honest.id, "enrol"), request)
    until(network.lines, 20, "the member")
    assert honest.join(claim).exit_code == 0
    honest.board.start()
    honest.board.told(told(Reason.KEY_CLASS_CHANGED))
    explained = control.ask_explain(honest.board.settings.control_socket, None)["verdicts"]
    (verdict,) = [verdict for verdict in explained if verdict["code"] == "key_class_changed"]
    assert verdict["remedy"] == Reason.KEY_CLASS_CHANGED.remedy
    assert "key_class_changed 1" in network.operator("devices")
