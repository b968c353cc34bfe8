"""What became of messages is counted once each, and kept with the beacons."""

from __future__ import annotations

import pytest

from gateway.errors import TryAgain
from gateway.service import Inbound
from proof import wire
from tests.gateway_parts import NETWORK, Device


def kept(gateway):
    return dict(gateway.store.rows("SELECT code, count FROM message_count"))


def rubbish(gateway, count=1):
    topic = wire.topic(NETWORK, Device(9).id, "proof")
    gateway.service.take([Inbound(topic, b"rubbish")] * count)


def test_counts_are_kept_with_the_next_beacon_and_each_once(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal())
    rubbish(gateway, 3)
    assert kept(gateway) == {}
    gateway.service.beacon()
    assert kept(gateway) == {"enrolled": 1, "accepted": 2, "malformed": 3}
    gateway.service.beacon()
    assert kept(gateway)["malformed"] == 3
    rubbish(gateway)
    gateway.service.keep_counts()
    gateway.service.beacon()
    assert kept(gateway)["malformed"] == 4


def test_counts_go_on_after_a_restart(gateway):
    rubbish(gateway)
    gateway.service.keep_counts()
    gateway.restart()
    rubbish(gateway)
    gateway.service.keep_counts()
    assert kept(gateway) == {"malformed": 2}


def test_a_flood_of_rubbish_writes_nothing(gateway):
    before = gateway.contents()
    rubbish(gateway, 200)
    assert gateway.contents() == before


def test_a_batch_that_was_not_committed_is_counted_when_it_is(gateway, monkeypatch):
    device = gateway.member()
    proof = device.seal()
    before = gateway.service.counts.copy()

    run = gateway.store.run

    def full(sql, values=()):
        if sql == "COMMIT":
            raise TryAgain("The disk is full.")
        return run(sql, values)

    with monkeypatch.context() as patched:
        patched.setattr(gateway.store, "run", full)
        with pytest.raises(TryAgain):
            gateway.send(device, proof)
    assert gateway.service.counts == before
    gateway.send(device, proof)
    assert gateway.service.counts - before == {"accepted": 1}


def test_counts_that_could_not_be_kept_are_kept_later(gateway, monkeypatch):
    rubbish(gateway)

    def full(_counts):
        raise TryAgain("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.register, "add_counts", full)
        with pytest.raises(TryAgain):
            gateway.service.beacon()
    gateway.service.beacon()
    assert kept(gateway) == {"malformed": 1}
