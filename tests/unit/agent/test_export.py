from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from agent import export, papers, retention
from agent.membership import Joined
from proof import beacon, bundle, joining, receipt, sealing, sequence
from proof.joining import Membership
from proof.reasons import Refused
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
def clock():
    return FakeClock()


@pytest.fixture
def sealer(clock):
    return make_sealer(clock)


@pytest.fixture
def journal(tmp_path, clock, sealer):
    made = open_test_journal(tmp_path, clock)
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


def exported(journal, since_s, until_s, **more):
    data = b"".join(export.pieces(lambda job: job(journal), JOINED, since_s, until_s, **more))
    return data, bundle.examine(data, [GATEWAY.public_key])


def test_an_export_from_the_middle_of_a_boot_has_the_descriptor_its_proofs_name(journal):
    data, shown = exported(journal, START_S + 2400, START_S + 2460)
    assert (shown.proofs, shown.undescribed, len(shown.instruments) > 0) == (2, 0, True)
    assert sum(item.data[:1] == b"\xa6" for item in sequence.items(sequence.reader(data))) == 1


def test_a_descriptor_that_is_not_kept_any_more_is_the_one_in_force_or_said_to_be_missing(journal):
    (first,) = papers.kept_proofs(journal, (0, 0), (1, 1), 1)
    described = sealing.parse(papers.proof_of(first)).claims.descriptor
    assert described is not None
    assert first[:2] == (1, 1)
    journal.execute("UPDATE proofs SET data = NULL WHERE seq < 20")
    assert exported(journal, START_S + 2400, START_S + 2460)[1].undescribed == 2
    assert exported(journal, START_S + 2400, START_S + 2460, descriptor=described)[1].undescribed == 0
    other = replace(described, version="9.9.9")
    assert exported(journal, START_S + 2400, START_S + 2460, descriptor=other)[1].undescribed == 2


def test_a_proof_whose_clock_was_wrong_stays_in_the_chain_of_its_neighbours(journal):
    journal.execute("UPDATE proofs SET first_s = 1, last_s = 2 WHERE seq = 30")
    shown = exported(journal, START_S + 60 * 27, START_S + 60 * 33)[1]
    assert shown.last_seq - shown.first_seq + 1 == shown.proofs


def test_an_export_goes_on_until_a_gap_in_it_is_declared(journal, sealer, clock):
    journal.execute("UPDATE proofs SET receipted_s = NULL WHERE seq >= 50")
    gap = retention.evict_unreceipted(journal, 1, 3, retention.EVICTED)
    assert gap is not None
    assert (gap.first_seq, gap.last_seq) == (50, 52)
    behind = exported(journal, START_S + 60 * 45, START_S + 60 * 60)[1]
    assert (behind.first_seq, behind.gaps) == (53, ()), "no kept proof declares it yet"
    journal.append(captured(clock, 70))
    sealer.seal(journal)
    shown = exported(journal, START_S + 60 * 45, START_S + 60 * 60)[1]
    assert (shown.first_seq < 50, shown.last_seq, shown.gaps) == (True, 71, (gap,))


@pytest.mark.parametrize(
    ("since_s", "until_s"), [(0, 2**40), (2**39, 2**40), (0, 1), (START_S, START_S + 60)]
)
def test_no_job_of_an_export_reads_more_than_a_piece_of_a_large_store(journal, since_s, until_s):
    steps = []
    journal.begin()
    journal.executemany(
        "INSERT INTO proofs VALUES (0, ?, ?, 1, 5, 6, 7, NULL)", [(n, bytes(32)) for n in range(1, 5001)]
    )
    journal.executemany(
        "INSERT INTO beacons (hash, data) VALUES (?, ?)", [(n.to_bytes(4), b"b") for n in range(5000)]
    )
    journal.commit()

    def call(job):
        count = 0

        def step():
            nonlocal count
            count += 1

        journal._db.set_progress_handler(step, 100)
        try:
            return job(journal)
        finally:
            journal._db.set_progress_handler(None, 0)
            steps.append(count * 100)

    with suppress(Refused):
        for _ in export.pieces(call, JOINED, since_s, until_s):
            pass
    assert max(steps) < 10_000, "steps of SQLite's machine; some 10 a row"
