"""A keeper whose thread runs, for the tests of what it keeps and of what is asked of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import papers, retention
from agent.errors import TryAgain
from agent.journal import Journal
from agent.keeper import Keeper
from agent.receipts import accept
from agent.settings import JournalSettings
from proof.claims import Gap
from proof.receipt import Receipt
from proof.sealing import Proof, parse
from tests.agent_parts import DEVICE_ID, START_S, FakeClock, captured, make_sealer, open_test_journal

ROOMY = JournalSettings(free_floor_bytes=0)


class Rig:
    """A keeper whose thread runs, with what was acknowledged; `news` is what the owner was told."""

    def __init__(self, folder: Path, settings: JournalSettings = ROOMY, **proof: Any) -> None:
        self.clock, self.news = FakeClock(), list[str]()
        self.journal = open_test_journal(folder, self.clock)
        self.journal.execute("PRAGMA synchronous=OFF")  # faster; power cuts are not tested here
        self.sealer = make_sealer(self.clock, **proof)
        self.keeper = Keeper(self.journal, self.sealer, settings, self.clock, lambda: None, self.news.append)
        self.acknowledged: list[int] = []
        self.tried = 0

    def append(self, **changes: Any) -> bool:
        """One more sample; whether it was acknowledged."""
        self.clock.advance(60)
        number, self.tried = self.tried, self.tried + 1
        try:
            self.keeper.append(captured(self.clock, number, **changes))
        except TryAgain:
            return False
        self.acknowledged.append(number)
        return True

    def settle(self) -> None:
        """Everything handed over before has been done, and what was due is sealed."""
        self.keeper.call(lambda journal: None)
        self.keeper.call(lambda journal: None)

    def proofs(self) -> list[Proof]:
        """Kept proofs of the open log."""

        def job(journal: Journal) -> list[Proof]:
            log = journal.open_log()
            assert log is not None
            kept = (journal.proof_at(log.id, seq) for seq in range(1, log.seq + 1))
            return [parse(stored.data) for stored in kept if stored]

        return self.keeper.call(job)

    def numbers(self) -> list[int]:
        """The numbers of all samples, sealed or not, in the open log."""
        unsealed = self.keeper.call(lambda journal: journal.oldest_samples(self.clock.boot_id, 1000))
        sealed = [reading for proof in self.proofs() for reading in proof.readings()]
        values = [sample.values for _, sample in unsealed] + [reading.values for reading in sealed]
        return sorted(int(value[1].value) - 100_000 for value in values)

    def unsaid_gaps(self) -> list[Gap]:
        def job(journal: Journal) -> list[Gap]:
            log = journal.open_log()
            assert log is not None
            return list(retention.take_gaps(journal, log.id, log.seq + 1, 64))

        return self.keeper.call(job)

    def newest(self) -> int:
        """The newest sequence number of the open log."""
        return self.keeper.call(lambda journal: papers.counts(journal).proofs)

    def receipt(self, head: int) -> None:
        def job(journal: Journal) -> None:
            log = journal.open_log()
            assert log is not None
            received = Receipt(DEVICE_ID, log.log, head, journal.hash_at(log.id, head), START_S)
            accept(journal, received, b"signed", self.sealer)

        self.keeper.call(job)

    def __enter__(self) -> Rig:
        if not self.keeper.alive:
            self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.stop(5)


def sqlite_error(text: str, code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind(text)
    error.sqlite_errorcode = code
    return error


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
