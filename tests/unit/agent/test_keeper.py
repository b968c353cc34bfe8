"""What is asked of the journal's thread, and what it does of itself."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

import pytest

from agent.batch import next_batch
from agent.errors import TryAgain
from agent.journal import Journal
from agent.sample import Captured
from proof import beacon
from tests.agent_parts import GATEWAY, NETWORK, START_S, captured, make_descriptor
from tests.keeper_parts import Rig, raising


def test_jobs_that_wait_together_share_a_transaction_and_one_failure_is_its_own(tmp_path):
    rig = Rig(tmp_path)
    results: dict[int, object] = {}

    def caller(number: int) -> None:
        def job(journal: Journal) -> int:
            journal.append(captured(rig.clock, number))
            if number == 3:
                raise KeyError("mine")
            return number

        try:
            results[number] = rig.keeper.call(job)
        except KeyError as error:
            results[number] = error.args[0]

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    with rig:
        for thread in threads:
            thread.join(10)
        assert results == {number: "mine" if number == 3 else number for number in range(8)}
        assert rig.numbers() == [0, 1, 2, 4, 5, 6, 7]


def test_what_is_given_out_is_committed_before_its_mark_is_written(tmp_path, until):
    """A power cut between would leave a mark of a proof that nobody has: the log would end as corrupt."""
    with Rig(tmp_path) as rig:
        rig.append()
        rig.keeper.seal_open_window()
        rig.append()
        entered, go = threading.Event(), threading.Event()

        def gate(_: Journal) -> None:
            entered.set()
            go.wait(10)

        def publish(journal: Journal) -> tuple[int, int]:
            next_batch(journal, (), 0, 9)
            with sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True) as disk:
                (committed,) = disk.execute("SELECT max(seq) FROM proofs").fetchone()
            disk.close()
            published = journal.mark.published
            assert published is not None
            return committed, published.seq

        found: list[tuple[int, int]] = []
        jobs: list[Callable[[], object]] = [
            lambda: rig.keeper.call(gate),
            rig.keeper.seal_open_window,
            lambda: found.append(rig.keeper.read(publish)),
        ]
        threads = [threading.Thread(target=job) for job in jobs]
        for number, thread in enumerate(threads):
            thread.start()
            if number == 0:
                assert entered.wait(10)
            else:
                until(lambda number=number: rig.keeper._jobs.qsize() == number, what="a job that waits")
        go.set()
        for thread in threads:
            thread.join(10)
        assert found == [(2, 2)]


def test_a_jobs_own_mistake_in_sql_is_its_own(tmp_path):
    with Rig(tmp_path) as rig:
        with pytest.raises(sqlite3.ProgrammingError):
            rig.keeper.call(lambda journal: journal.execute("SELECT ?", ()))
        assert rig.append()
        assert rig.news == []


def test_a_sealer_that_fails_stops_no_sample(tmp_path):
    with Rig(tmp_path, readings=2) as rig:
        rig.sealer.descriptor = None
        for _ in range(3):
            assert rig.append()
        rig.settle()
        assert rig.keeper.unsealed.startswith("No proof can be sealed: ")
        assert rig.keeper.problem == ""
        rig.sealer.descriptor = make_descriptor()
        rig.clock.advance(10)
        assert rig.append()
        rig.settle()
        assert rig.keeper.unsealed == ""
        assert rig.numbers() == [0, 1, 2, 3]
        assert len(rig.proofs()) == 2


def test_who_looks_on_makes_no_sample_a_loss(tmp_path):
    with Rig(tmp_path) as rig:
        rig.keeper.on_appended = raising(ValueError("a bug of the page"))
        assert rig.append()
        assert rig.numbers() == [0]


def test_after_stop_a_call_is_refused_at_once(tmp_path):
    with Rig(tmp_path) as rig:
        rig.append()
    with pytest.raises(TryAgain, match="is closed"):
        rig.keeper.append(captured(rig.clock))


def heard(number: int) -> tuple[beacon.Beacon, bytes]:
    data = beacon.sign_beacon(NETWORK, number, bytes(16), GATEWAY, START_S)
    return beacon.open_beacon(data, [GATEWAY.public_key], NETWORK), data


def test_a_challenge_is_answered_once_every_instrument_was_read_after_it(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        early: Captured = captured(rig.clock, 90)
        rig.clock.advance(1)
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        rig.keeper.append(early)
        assert rig.append()
        rig.settle()
        assert rig.proofs() == []
        assert rig.append(instrument="b")
        rig.settle()
        rig.append()
        rig.keeper.seal_open_window()
        answer, after = rig.proofs()
        assert answer.claims.freshness == (heard(1)[0].hash, bytes(range(16)))
        assert after.claims.freshness == (heard(1)[0].hash,)


def test_a_proof_sealed_before_the_answer_does_not_carry_the_challenge(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.append()
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.keeper.seal_open_window()
        rig.append()
        rig.settle()
        assert [len(proof.claims.freshness) for proof in rig.proofs()] == [1, 2]


def test_a_challenge_is_answered_when_its_time_is_up_with_what_there_is(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**9, {"bme280-76", "dead"})
        rig.clock.advance(2)
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_a_proof_asked_for_is_sealed_after_all_were_read_and_carries_nobody_s_nonce(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.prove_now(rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        assert rig.append()
        rig.settle()
        assert rig.proofs() == []
        assert rig.append(instrument="b")
        rig.settle()
        (asked_for,) = rig.proofs()
        assert asked_for.claims.freshness == (heard(1)[0].hash,)
        assert len(list(asked_for.readings())) == 2


def test_a_proof_asked_for_does_not_take_the_place_of_a_challenge(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.keeper.challenges.prove_now(rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        rig.append()
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_an_answer_that_could_not_be_stored_is_given_again(tmp_path):
    rig = Rig(tmp_path, readings=100)
    with rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.sealer.descriptor = None
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.append()
        rig.settle()
        rig.sealer.descriptor = make_descriptor()
        rig.clock.advance(10)
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_an_older_beacon_replaces_no_newer_one(tmp_path):
    with Rig(tmp_path) as rig:
        rig.keeper.hear_beacon(*heard(7))
        rig.keeper.hear_beacon(*heard(6))
        rig.append()
        rig.keeper.seal_open_window()
        (proof,) = rig.proofs()
        assert proof.claims.freshness == (heard(7)[0].hash,)
