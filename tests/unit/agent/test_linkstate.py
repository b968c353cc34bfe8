"""What is known of the link: what is wrong with it, and since when nobody has answered."""

from __future__ import annotations

import pytest

from agent.linkstate import BROKER_REFUSES, NO_GATEWAY, NOBODY_LISTENS, OFFLINE, LinkHealth
from agent.mqtt_events import Connected


class Watch:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def health(watch):
    return LinkHealth(watch)


def test_before_the_first_connection_nothing_is_known(health):
    state = health.state(0)
    assert (state.connected, state.problem, state.trouble, state.connections) == (False, "", "", 0)
    assert state.unreceipted_s is None


def test_a_broker_that_is_not_there_is_told_from_one_that_refuses(health):
    assert health.down("Nothing listens.", let_in=True)
    assert health.state(0).trouble == OFFLINE
    assert not health.down("Nothing listens.", let_in=True), "no news"
    assert health.down("Not authorized.", let_in=False)
    assert health.state(0).trouble == BROKER_REFUSES


def test_a_refused_proof_is_remembered_over_the_hang_up_that_follows(health):
    health.up(Connected(5))
    assert health.broker_refuses(0x87)
    assert not health.broker_refuses(0x87), "no news"
    health.down("It ended the connection.", let_in=True)
    assert health.state(0).trouble == BROKER_REFUSES
    assert health.state(0).problem.startswith("It ended the connection. The broker refused a proof (0x87)")
    health.up(Connected(5))
    assert health.state(0).trouble == BROKER_REFUSES
    health.down("It ended.", let_in=True)
    health.down("Nothing listens.", let_in=True)
    assert health.state(0).trouble == OFFLINE, "one that is gone refuses nothing"


def test_delivered_without_an_answer_counts_from_the_first_until_everything_is_receipted(health, watch):
    health.up(Connected(5))
    health.delivered(1, 1)
    watch.now_s += 100
    health.delivered(1, 2)
    assert health.state(0).unreceipted_s == 100
    health.receipted(progress=False, all_done=False)
    assert health.state(0).unreceipted_s == 100, "a receipt that moves nothing is no answer"
    health.receipted(progress=True, all_done=False)
    assert health.state(0).unreceipted_s == 0
    health.receipted(progress=True, all_done=True)
    assert health.state(0).unreceipted_s is None
    health.delivered(1, 3)
    health.up(Connected(5))
    assert health.state(0).unreceipted_s is None, "another connection, another try"


def test_a_receipt_ends_what_was_said(health, watch):
    health.up(Connected(4))
    assert health.nobody_listens() == NOBODY_LISTENS
    assert health.nobody_listens() == ""
    assert (health.state(1).trouble, health.state(1).gateway_seen) == (NO_GATEWAY, False)
    health.broker_refuses(0x80)
    health.gateway_heard()
    health.receipted(progress=True, all_done=True)
    watch.now_s += 7
    state = health.state(1)
    assert (state.problem, state.trouble, state.protocol) == ("", "", "MQTT 3.1.1")
    assert (state.gateway_seen, state.heard_s, state.in_flight) == (True, 7, 1)


def test_when_a_proof_was_delivered_is_remembered_of_the_newest(health, watch):
    assert health.sent_ago_s(1, 1) is None
    for seq in range(1, 200):
        health.delivered(1, seq)
    health.delivered(2, 1)
    watch.now_s += 7
    assert (health.sent_ago_s(2, 1), health.sent_ago_s(1, 199)) == (7, 7)
    assert health.sent_ago_s(1, 1) is None
