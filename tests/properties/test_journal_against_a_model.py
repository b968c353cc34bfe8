"""The journal, its sealer and its receipts against a model of lists, through crashes and reboots.

Conservation: every sample whose append was committed is in exactly one place: unsealed, in a kept proof, or
in an evicted proof that a receipt or a gap accounts for.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent import papers, retention
from agent.journal import Journal, OpenLog
from agent.receipts import accept
from agent.sample import Missed
from proof.receipt import Receipt
from proof.sealing import parse
from tests.agent_parts import DEVICE_ID, START_S, FakeClock, captured, make_sealer, open_test_journal


@dataclass
class Sealed:
    """One proof as the model knows it."""

    hash: bytes
    samples: list[int]
    boot: int
    kept: bool = True


@dataclass
class Model:
    """What is committed."""

    unsealed: list[tuple[int, int]] = field(default_factory=list)  # (boot, number) in append order
    losses: list[int] = field(default_factory=list)  # boots
    proofs: list[Sealed] = field(default_factory=list)
    boots: int = 1
    receipted: int = 0

    def next_window(self, limit: int) -> tuple[int, list[int]]:
        boot = min([boot for boot, _ in self.unsealed] + self.losses, default=self.boots)
        return boot, [number for at, number in self.unsealed if at == boot][:limit]

    def seal(self, proof_hash: bytes, limit: int) -> None:
        boot, window = self.next_window(limit)
        self.unsealed = [item for item in self.unsealed if item[1] not in window]
        self.losses = [at for at in self.losses if at != boot]
        self.proofs.append(Sealed(proof_hash, window, boot))

    def evict(self, limit: int, receipted: bool) -> None:
        first, last = (0, self.receipted) if receipted else (self.receipted, len(self.proofs))
        for proof in [proof for proof in self.proofs[first:last] if proof.kept][:limit]:
            proof.kept = False


class JournalMachine(RuleBasedStateMachine):
    LIMIT = 4

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.model = Model()
        self.number = 0
        self.reopen()

    def reopen(self) -> None:
        self.journal: Journal = open_test_journal(Path(self.folder.name), self.clock)
        self.sealer = make_sealer(self.clock, readings=self.LIMIT)

    @property
    def log(self) -> OpenLog:
        log = self.journal.open_log()
        assert log is not None
        return log

    @rule(count=st.integers(1, 6), wall_step_s=st.sampled_from([0, 0, -3e8, 3e8]))
    def append(self, count: int, wall_step_s: float) -> None:
        self.clock.step_wall(wall_step_s)
        self.journal.begin()
        for _ in range(count):
            self.journal.append(captured(self.clock, self.number))
            self.model.unsealed.append((self.model.boots, self.number))
            self.number += 1
            self.clock.advance(60)
        self.journal.commit()

    @rule()
    def miss(self) -> None:
        self.journal.begin()
        now_ns = self.clock.boottime_ns()
        self.journal.note_missed(Missed("bme280-76", self.clock.boot_id, now_ns, now_ns, "read void"))
        self.journal.commit()
        self.model.losses.append(self.model.boots)

    @rule()
    def seal(self) -> None:
        self.journal.begin()
        self.sealer.seal(self.journal)
        self.journal.commit()
        self.sealer.committed()
        assert self.log.hash is not None
        self.model.seal(self.log.hash, self.LIMIT)

    @precondition(lambda self: self.model.proofs)
    @rule(data=st.data())
    def receipt(self, data: st.DataObject) -> None:
        head = data.draw(st.integers(1, len(self.model.proofs)))
        received = Receipt(DEVICE_ID, self.log.log, head, self.model.proofs[head - 1].hash, START_S + head)
        self.journal.begin()
        accept(self.journal, received, b"signed", self.sealer)
        self.journal.commit()
        self.model.receipted = max(self.model.receipted, head)

    @rule(limit=st.integers(1, 3), receipted=st.booleans())
    def evict(self, limit: int, receipted: bool) -> None:
        self.journal.begin()
        if receipted:
            retention.evict_receipted(self.journal, limit)
        else:
            retention.evict_unreceipted(self.journal, self.log.id, limit, "store full")
        self.journal.commit()
        self.model.evict(limit, receipted)

    @rule(half_done=st.sampled_from(["append", "seal", "evict", "nothing"]), reboot=st.booleans())
    def crash(self, half_done: str, reboot: bool) -> None:
        """What was begun and not committed is as if it had never been."""
        self.journal.begin()
        if half_done == "append":
            self.journal.append(captured(self.clock, 999))
        elif half_done == "seal":
            self.sealer.seal(self.journal)
        elif half_done == "evict":
            retention.evict_unreceipted(self.journal, self.log.id, 2, "store full")
        self.journal.close()
        if reboot:
            self.clock.reboot()
            self.model.boots += 1
        self.reopen()

    @invariant()
    def counts_agree(self) -> None:
        found, model = papers.counts(self.journal), self.model
        waiting = [proof for proof in model.proofs[model.receipted :] if proof.kept]
        assert found.unsealed == len(model.unsealed)
        assert found.captured == self.number
        assert (found.proofs, found.receipted_seq) == (len(model.proofs), model.receipted)
        assert found.unreceipted == len(waiting)
        assert found.unreceipted_readings == sum(len(proof.samples) for proof in waiting)
        assert self.journal.bootcount(self.clock.boot_id) == model.boots

    @invariant()
    def every_sample_is_in_exactly_one_place(self) -> None:
        seen = [number for _, number in self.model.unsealed]
        before = None
        for seq, expected in enumerate(self.model.proofs, 1):
            assert self.journal.hash_at(self.log.id, seq) == expected.hash
            stored = self.journal.proof_at(self.log.id, seq)
            assert (stored is not None) == expected.kept
            seen += expected.samples
            if stored:
                proof = parse(stored.data)
                assert (proof.hash, proof.claims.seq, proof.claims.prev) == (expected.hash, seq, before)
                assert proof.claims.bootcount == expected.boot
                values = [int(reading.values[1].value) - 100_000 for reading in proof.readings()]
                assert values == expected.samples
            before = expected.hash
        assert sorted(seen) == list(range(self.number))
        boots = [proof.boot for proof in self.model.proofs]
        assert boots == sorted(boots)

    @invariant()
    def what_was_given_up_without_a_receipt_is_declared(self) -> None:
        gaps = self.journal.execute("SELECT first_seq, last_seq, first_hash, last_hash FROM gaps").fetchall()
        declared = [seq for first, last, _, _ in gaps for seq in range(first, last + 1)]
        assert len(declared) == len(set(declared))
        for seq, proof in enumerate(self.model.proofs, 1):
            assert proof.kept or seq in declared or seq <= self.model.receipted
        for first, last, first_hash, last_hash in gaps:
            assert first_hash == self.model.proofs[first - 1].hash
            assert last_hash == self.model.proofs[last - 1].hash

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestJournalAgainstAModel = JournalMachine.TestCase
