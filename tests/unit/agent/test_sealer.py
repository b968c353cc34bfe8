from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.journal import Journal
from agent.sample import Missed
from agent.sealer import Sealer, bootseed, wall_at
from proof import senml
from proof.claims import Gap, Lost
from proof.cose import MAX_BYTES
from proof.sealing import Proof, parse
from proof.senml import Measured
from tests.agent_parts import (
    DEVICE_ID,
    NETWORK,
    START_S,
    FakeClock,
    captured,
    make_descriptor,
    make_sealer,
    open_test_journal,
)

TEN_YEARS_S = 315_576_000


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def journal(tmp_path, clock):
    made = open_test_journal(tmp_path, clock)
    made.execute("PRAGMA synchronous=OFF")  # faster; power cuts are not tested here
    yield made
    made.close()


def add(journal: Journal, clock: FakeClock, *numbers: int, step_s: float = 60) -> None:
    for number in numbers:
        journal.append(captured(clock, number))
        clock.advance(step_s)


def seal(journal: Journal, sealer: Sealer) -> Proof:
    journal.begin()
    seq = sealer.seal(journal).seq
    journal.commit()
    return proof_at(journal, seq)


def proof_at(journal: Journal, seq: int) -> Proof:
    log = journal.open_log()
    assert log is not None
    stored = journal.proof_at(log.id, seq)
    assert stored is not None
    return parse(stored.data)


def numbers(proof: Proof) -> list[int]:
    return [int(reading.values[1].value) - 100_000 for reading in proof.readings()]


def test_a_proof_holds_what_was_sampled_and_leaves_nothing_behind(journal, clock):
    add(journal, clock, 0, 1, 2)
    proof = seal(journal, make_sealer(clock))
    claims = proof.claims
    assert numbers(proof) == [0, 1, 2]
    assert [reading.time_ms for reading in proof.readings()] == [(START_S + 60 * n) * 1000 for n in range(3)]
    assert (claims.device, claims.network, claims.seq, claims.prev) == (DEVICE_ID, NETWORK, 1, None)
    assert (claims.bootcount, claims.bootseed) == (1, bootseed(clock.boot_id))
    assert (claims.time.boottime_ns, claims.time.source) == (100 * 10**9, SOURCE_NTP)
    assert journal.waiting().samples == 0


def test_proofs_are_chained(journal, clock):
    sealer = make_sealer(clock)
    proofs = []
    for number in range(3):
        add(journal, clock, number)
        proofs.append(seal(journal, sealer))
    assert [proof.claims.seq for proof in proofs] == [1, 2, 3]
    assert [proof.claims.prev for proof in proofs] == [None, proofs[0].hash, proofs[1].hash]


def test_a_window_closes_by_readings_by_age_and_by_silence(journal, clock):
    sealer = make_sealer(clock, readings=3, window_s=600, heartbeat_s=3600)
    assert not sealer.due(journal.waiting())
    add(journal, clock, 0, 1)
    assert not sealer.due(journal.waiting())
    add(journal, clock, 2)
    assert sealer.due(journal.waiting())
    seal(journal, sealer)
    add(journal, clock, 3, step_s=599)
    assert not sealer.due(journal.waiting())
    clock.advance(1)
    assert sealer.due(journal.waiting())
    seal(journal, sealer)
    clock.advance(3599)
    assert not sealer.due(journal.waiting())
    clock.advance(1)
    assert sealer.due(journal.waiting())
    heartbeat = seal(journal, sealer)
    assert heartbeat.readings() == ()
    assert not sealer.due(journal.waiting())


def test_a_loss_without_samples_waits_one_window_not_the_longest_silence(journal, clock):
    sealer = make_sealer(clock, window_s=600, heartbeat_s=3600)
    journal.note_missed(Missed("bme280-76", clock.boot_id, 1, 2, "read void"))
    clock.advance(600)
    assert sealer.due(journal.waiting())


@pytest.mark.parametrize("step_s", [-TEN_YEARS_S, TEN_YEARS_S, -START_S])
def test_a_stepping_wall_clock_changes_no_order_and_no_interval(journal, clock, step_s):
    add(journal, clock, 0, 1)
    clock.step_wall(step_s)
    add(journal, clock, 2, 3)
    proof = seal(journal, make_sealer(clock))
    times_ms = [reading.time_ms for reading in proof.readings()]
    assert numbers(proof) == [0, 1, 2, 3]
    assert [later - times_ms[0] for later in times_ms] == [0, 60_000, 120_000, 180_000]


def test_a_clock_in_1970_loses_nothing_and_claims_no_source(journal, clock):
    clock.set_wall(30)
    clock.lose_sync()
    add(journal, clock, 0, 1)
    proof = seal(journal, make_sealer(clock))
    assert numbers(proof) == [0, 1]
    assert proof.claims.time.source == SOURCE_NONE
    first_ms, second_ms = [reading.time_ms for reading in proof.readings()]
    assert first_ms >= senml.EARLIEST_TIME_MS
    assert second_ms - first_ms == 60_000


def test_a_clock_synchronised_later_in_the_boot_dates_the_earlier_samples(journal, clock):
    clock.set_wall(30)
    clock.lose_sync()
    add(journal, clock, 0)
    clock.set_wall(START_S + 60)
    clock.source, clock.maxerror_us = SOURCE_NTP, 500
    add(journal, clock, 1)
    proof = seal(journal, make_sealer(clock))
    assert proof.readings()[0].time_ms == START_S * 1000
    assert (proof.claims.time.source, proof.claims.time.maxerror_us) == (SOURCE_NTP, 500)


def test_the_best_clock_reading_is_one_with_a_source_then_the_most_exact():
    none, coarse, fine = Wall(1, SOURCE_NONE, 1), Wall(2 * 10**18, 1, 900), Wall(3 * 10**18, 1, 20)
    assert wall_at(10, [(0, none), (0, coarse)]).ns == 2 * 10**18 + 10
    assert wall_at(10, [(20, fine), (0, coarse), (0, none)]) == Wall(3 * 10**18 - 10, 1, 20)


def test_samples_of_an_earlier_boot_are_sealed_under_that_boot_and_dated_by_it(journal, clock):
    sealer = make_sealer(clock)
    add(journal, clock, 0, 1)
    earlier = clock.boot_id
    clock.reboot()
    journal.bootcount(clock.boot_id)
    clock.step_wall(TEN_YEARS_S)
    clock.maxerror_us = 1
    sealer = make_sealer(clock)
    add(journal, clock, 2)
    assert sealer.due(journal.waiting())
    left, now = seal(journal, sealer), seal(journal, sealer)
    assert (numbers(left), numbers(now)) == ([0, 1], [2])
    assert (left.claims.bootcount, left.claims.bootseed) == (1, bootseed(earlier))
    assert left.readings()[0].time_ms == START_S * 1000
    assert (now.claims.bootcount, now.claims.bootseed) == (2, bootseed(clock.boot_id))


def test_losses_of_an_earlier_boot_are_said_although_samples_come_in(journal, clock):
    journal.note_missed(Missed("bme280-76", clock.boot_id, 5, 5, "read void"))
    clock.reboot()
    journal.bootcount(clock.boot_id)
    sealer = make_sealer(clock, window_s=600)
    add(journal, clock, 0, step_s=600)
    assert sealer.due(journal.waiting())
    first, second = seal(journal, sealer), seal(journal, sealer)
    assert [x.reason for x in first.claims.lost] == ["read void"]
    assert (first.claims.bootcount, second.claims.bootcount) == (1, 2)


def test_the_descriptor_is_in_the_first_proof_and_after_each_change(journal, clock):
    sealer = make_sealer(clock)
    said = [seal(journal, sealer).claims.descriptor for _ in range(2)]
    sealer.descriptor = other = make_descriptor("another serial")
    said += [seal(journal, sealer).claims.descriptor for _ in range(2)]
    assert said == [make_descriptor(), None, other, None]


def test_losses_and_gaps_are_said_once(journal, clock):
    sealer = make_sealer(clock)
    for _ in range(2):
        seal(journal, sealer)
    journal.execute("INSERT INTO gaps VALUES (1, 1, 2, zeroblob(32), zeroblob(32), 'store full', NULL)")
    journal.note_missed(Missed("bme280-76", clock.boot_id, 1, 2, "read void"))
    first, second = seal(journal, sealer), seal(journal, sealer)
    assert first.claims.gaps == (Gap(1, 2, bytes(32), bytes(32), "store full"),)
    assert first.claims.lost == (Lost("bme280-76", 1, 2, 1, "read void"),)
    assert not second.claims.gaps
    assert not second.claims.lost


def test_a_proof_that_was_not_committed_gives_everything_back(journal, clock):
    sealer = make_sealer(clock, heartbeat_s=3600)
    seal(journal, sealer)
    sealer.descriptor = make_descriptor("another serial")
    journal.execute("INSERT INTO gaps VALUES (1, 1, 1, zeroblob(32), zeroblob(32), 'store full', NULL)")
    journal.note_missed(Missed("bme280-76", clock.boot_id, 1, 2, "read void"))
    add(journal, clock, 0, 1)
    journal.begin()
    sealer.seal(journal)
    journal.rollback()
    sealer.undo()
    proof = seal(journal, sealer)
    assert proof.claims.seq == 2
    assert numbers(proof) == [0, 1]
    assert len(proof.claims.gaps) == len(proof.claims.lost) == 1
    assert proof.claims.descriptor == make_descriptor("another serial")


def test_a_heartbeat_that_was_not_committed_is_still_due(journal, clock):
    sealer = make_sealer(clock, heartbeat_s=3600)
    clock.advance(3600)
    journal.begin()
    sealer.seal(journal)
    journal.rollback()
    sealer.undo()
    assert sealer.due(journal.waiting())


def wide(clock: FakeClock, quantities: int, name_chars: int = 8):
    values = tuple(
        Measured(f"{number:02d}".ljust(name_chars, "q"), "ug/m3", Decimal("-1234567890.123456789"))
        for number in range(quantities)
    )
    return captured(clock, values=values, raw=bytes(64), flags=0xFFFF)


@pytest.mark.parametrize(
    ("quantities", "name_chars", "count"), [(3, 8, 1000), (6, 32, 700), (32, 8, 250), (32, 32, 150)]
)
def test_a_proof_never_exceeds_what_a_gateway_takes(journal, clock, quantities, name_chars, count):
    """§3.6: 4,096 records, 256 KiB; 1000 readings of many quantities are more."""
    sealer = make_sealer(clock, readings=1000)
    journal.begin()
    for seq in range(1, 65):
        sealer.seal(journal)
        journal.execute(
            "INSERT INTO gaps VALUES (1, ?1, ?1, randomblob(32), randomblob(32), '', ?1)",
            (seq,),
        )
    for _ in range(count):
        journal.append(wide(clock, quantities, name_chars))
        clock.advance(1)
    for number in range(256):
        journal.execute(
            "INSERT INTO losses (instrument, boot_id, from_ns, to_ns, count, reason) VALUES (?,?,?,?,?,?)",
            ("i" * 32, clock.boot_id, 2**62 + number, 2**62 + number, 2**31, "x" * 64),
        )
    journal.execute("UPDATE gaps SET carrier_seq = NULL, reason = ?", ("x" * 64,))
    journal.commit()
    sealed = 0
    while journal.waiting().samples:
        proof = seal(journal, sealer)
        assert sum(reading.records() for reading in proof.readings()) <= senml.MAX_RECORDS
        assert len(proof.signed.payload) <= senml.MAX_BYTES
        assert len(proof.data) <= MAX_BYTES
        sealed += len(proof.readings())
    assert sealed == count


def test_proofs_of_many_quantities_are_filled_not_halved(journal, clock):
    sealer = make_sealer(clock, readings=1000)
    journal.begin()
    for _ in range(600):
        journal.append(captured(clock, values=tuple(Measured(f"q{n}", "Pa", n) for n in range(8))))
        clock.advance(1)
    journal.commit()
    assert len(seal(journal, sealer).readings()) == senml.MAX_RECORDS // 8


def test_resealed_readings_keep_their_boot_time_and_losses(journal, clock):
    sealer = make_sealer(clock)
    journal.note_missed(Missed("bme280-76", clock.boot_id, 1, 2, "read void"))
    add(journal, clock, 0, 1)
    was = seal(journal, sealer)
    old = journal.open_log()
    assert old is not None
    journal.start_log(b"another!", None)
    clock.reboot()
    assert [sealed.seq for sealed in sealer.reseal(journal, old.id)] == [1]
    now = proof_at(journal, 1)
    assert now.readings() == was.readings()
    assert now.claims == replace(was.claims, log=b"another!", sealed_at_s=now.claims.sealed_at_s)
    assert journal.proof_at(old.id, 1) is None
    assert journal.hash_at(old.id, 1) == was.hash
    assert seal(journal, sealer).claims.descriptor == make_descriptor()
