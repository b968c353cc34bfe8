from __future__ import annotations

import pytest

from agent import export, papers
from agent.membership import Joined
from proof import beacon, bundle, joining, receipt
from proof.joining import Membership
from proof.receipt import Receipt
from tests.agent_parts import (
    DEVICE_ID,
    GATEWAY,
    NETWORK,
    START_S,
    FakeClock,
    captured,
    make_sealer,
    open_test_journal,
)

MEMBERSHIP = Membership(DEVICE_ID, NETWORK, "test", (GATEWAY.public_key,), (), START_S - 3600, None)
JOINED = Joined(
    "mqtt://127.0.0.1",
    (GATEWAY.public_key,),
    joining.sign_membership(MEMBERSHIP, GATEWAY, START_S - 3600),
    MEMBERSHIP,
)


@pytest.fixture
def journal(tmp_path):
    clock = FakeClock()
    made = open_test_journal(tmp_path, clock)
    sealer = make_sealer(clock)
    data = beacon.sign_beacon(NETWORK, 1, bytes(16), GATEWAY, START_S - 30)
    heard = beacon.open_beacon(data, [GATEWAY.public_key], NETWORK)
    papers.keep_beacon(made, heard.hash, data)
    sealer.freshness = (heard.hash,)
    for number in range(70):
        made.append(captured(clock, number))
        clock.advance(60)
        sealer.seal(made)
    log = made.open_log()
    assert log is not None
    signed = receipt.sign(Receipt(DEVICE_ID, log.log, 70, log.hash, START_S + 9000), GATEWAY, START_S + 9000)
    made.mark_receipted(log.id, 70, START_S + 9000)
    papers.keep_receipt(made, log.id, signed)
    yield made
    made.close()


def test_a_stranger_with_the_gateways_key_can_check_an_export(journal):
    data = b"".join(export.pieces(lambda job: job(journal), JOINED, 0, 2**40))
    shown = bundle.examine(data, [GATEWAY.public_key])
    assert (shown.device, shown.proofs, shown.readings, shown.receipted_seq) == (DEVICE_ID, 70, 70, 70)
    assert (shown.signed_after_s, shown.signed_before_s) == (START_S - 30, START_S + 9000)


def test_an_export_is_read_in_small_pieces(journal):
    calls = []

    def call(job):
        calls.append(job)
        return job(journal)

    for _ in export.pieces(call, JOINED, 0, 2**40):
        pass
    assert len(calls) >= 4


def test_an_export_of_a_span_holds_what_overlaps_it(journal):
    data = b"".join(export.pieces(lambda job: job(journal), JOINED, START_S + 600, START_S + 660))
    assert bundle.examine(data, [GATEWAY.public_key]).proofs == 2
