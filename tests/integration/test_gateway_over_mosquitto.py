"""The gateway as a process, a real broker, real signals."""

from __future__ import annotations

import random

import pytest
from paho.mqtt import subscribe

from proof import joining, wire
from proof.beacon import open_beacon
from tests.gateway_parts import NETWORK, Device
from tests.integration.gateway_process import GatewayProcess, Node, run

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def gateway(mosquitto, tmp_path):
    made = GatewayProcess(tmp_path / "gateway", mosquitto.url)
    yield made
    made.kill()


@pytest.fixture
def join(gateway, mosquitto, until):
    nodes = []

    def join(seed=1):
        # Before its first subscription the broker keeps nothing for the gateway.
        until(lambda: gateway.starts(), 20, "the gateway's subscription")
        node = Node(Device(seed), mosquitto.port, until, gateway.key)
        nodes.append(node)
        node.enrol(gateway.claim())
        return node

    yield join
    for node in nodes:
        node.close()


def test_a_device_joins_and_gets_receipts_over_mqtt_5(gateway, join):
    gateway.start()
    node = join()
    node.send(*(node.device.seal() for _ in range(30)))
    assert node.await_head(30).missing == ()
    assert "mqtt=MQTTv5" in gateway.log.read_text()
    assert gateway.end() == 0


def test_beacon_membership_and_receipt_are_retained(gateway, mosquitto, join):
    gateway.start()
    node = join()
    node.send(node.device.seal())
    node.await_head(1)
    where = {"hostname": "127.0.0.1", "port": mosquitto.port, "qos": 1}
    membership = subscribe.simple(wire.topic(NETWORK, node.device.id, "membership"), **where)
    joining.open_membership(membership.payload, [gateway.key], node.device.id)
    assert open_beacon(
        subscribe.simple(wire.beacon_topic(NETWORK), **where).payload, [gateway.key], NETWORK
    ).number
    assert subscribe.simple(wire.topic(NETWORK, node.device.id, "receipt"), **where).retain


def test_what_comes_while_the_gateway_is_down_waits_in_the_broker(gateway, join):
    gateway.start()
    node = join()
    assert gateway.end() == 0
    node.send(*(node.device.seal() for _ in range(40)))
    gateway.start()
    node.await_head(40)


def test_a_gateway_killed_again_and_again_neither_forgets_nor_counts_twice(gateway, join, until):
    """Each proof is published once: what the gateway had not committed the broker must bring again."""
    dice = random.Random(7)
    gateway.start()
    node = join()
    total = 0
    for _ in range(6):
        count = dice.randint(20, 60)
        node.send(*(node.device.seal() for _ in range(count)))
        total += count
        heard = total - dice.randint(1, count)
        until(lambda heard=heard: node.newest and node.newest.head_seq >= heard, 20, "some receipts")
        gateway.kill()
        gateway.start()
    node.await_head(total)
    until(lambda: gateway.starts() == 7, 20, "the seventh start")
    assert gateway.end() == 0
    (line,) = gateway.lines()
    assert (line.proofs, line.readings, line.held, line.verdicts) == (total, total, 0, {})
    assert gateway.accepted(node.device.id) == list(node.device.proofs.values())


def test_a_broker_that_dies_and_comes_back_is_found_again(gateway, mosquitto, join, until):
    gateway.start()
    node = join()
    node.send(node.device.seal())
    node.await_head(1)
    mosquitto.kill()
    mosquitto.start()
    until(lambda: gateway.starts() == 2, 20, "the reconnection")
    proof = node.device.seal()

    def answered():
        node.send(proof)
        return node.newest.head_seq == 2

    until(answered, 20, "a receipt after the broker's death")


def test_a_broker_that_forgot_everything_is_given_a_fresh_beacon_at_once(gateway, mosquitto, until):
    gateway.start()
    until(lambda: gateway.starts() == 1, 20, "the gateway's subscription")
    where = {"hostname": "127.0.0.1", "port": mosquitto.port, "qos": 1}
    first = subscribe.simple(wire.beacon_topic(NETWORK), **where)
    assert open_beacon(first.payload, [gateway.key], NETWORK).number == 1
    mosquitto.kill()
    mosquitto.start()
    again = subscribe.simple(wire.beacon_topic(NETWORK), **where)  # well before the next one's turn, at 60 s
    assert open_beacon(again.payload, [gateway.key], NETWORK).number == 2


def test_a_second_listener_on_the_same_folder_is_refused(gateway, join):
    gateway.start()
    join()
    second = run("listen", "--dir", str(gateway.directory))
    assert second.returncode == 1
    assert "Another `fieldproof-gateway listen` runs" in second.stderr
    assert second.stderr.count("\n") == 1


def test_garbage_on_every_topic_stops_nobody(gateway, join):
    gateway.start()
    node = join()
    for payload in (b"", b"\xd2", b"\x78\x9c" * 50, bytes(200_000), b"\xff" * 10):
        node.publish("proof", payload)
        node.publish("enrol", payload)
    node.send(node.device.seal())
    assert node.await_head(1).verdicts == ()
    assert gateway.end() == 0
    assert "Traceback" not in gateway.log.read_text()


def test_a_bundle_written_from_the_ledger_convinces_a_stranger(gateway, join, tmp_path):
    gateway.start()
    node = join()
    node.send(*(node.device.seal() for _ in range(5)))
    node.await_head(5)
    file = tmp_path / "device.bundle"
    device, directory = node.device.id, str(gateway.directory)
    written = run("evidence", device, "--dir", directory, "-o", str(file))
    assert (written.returncode, written.stderr) == (0, "")
    judged = run("verify", str(file), "--gateway-key", gateway.key.hex())
    assert judged.returncode == 0
    assert device in judged.stdout
    assert "5 proofs (seq 1 to 5) with 5 readings" in judged.stdout
