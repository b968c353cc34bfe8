"""When proofs may go out on a connection."""

from __future__ import annotations

import pytest

from agent.sync import SYNC_GRACE_S, Sync


@pytest.fixture
def sync() -> Sync:
    """Connected at 100 s, subscribed at 105 s."""
    made = Sync()
    made.connected(100.0)
    made.has_subscribed(105.0)
    return made


def test_the_grace_counts_from_the_subscription(sync):
    assert not sync.is_over(105.0 + SYNC_GRACE_S - 0.1)
    assert sync.is_over(105.0 + SYNC_GRACE_S)
    assert sync.next_look_s(105.5) == SYNC_GRACE_S - 0.5


def test_a_receipt_ends_the_wait_and_is_remembered_over_connections(sync):
    assert not sync.agreed
    sync.receipted()
    assert sync.done
    assert not sync.is_over(1000.0)
    sync.lost()
    sync.connected(200.0)
    assert (sync.done, sync.subscribed, sync.agreed) == (False, False, True)


def test_a_beacon_shortens_the_wait_for_an_answer_and_lengthens_none(sync):
    sync.has_asked(150.0)
    sync.gateway_lives(120.0)
    assert not sync.is_over(120.0)
    assert sync.is_over(120.0 + SYNC_GRACE_S)
    sync.gateway_lives(121.0)
    assert sync.is_over(120.0 + SYNC_GRACE_S)


def test_a_beacon_before_the_subscription_says_nothing_of_this_device():
    sync = Sync()
    sync.connected(100.0)
    sync.gateway_lives(101.0)
    assert not sync.is_over(120.0)
    assert sync.is_over(130.0)
