"""A journal's life, to be recorded: `python -m tests.crash.long_run FOLDER ROUNDS SYNCHRONOUS WINDOW_S`.

- Through the keeper, as the daemon does: samples and losses, proofs, receipts that come late, proofs given up
  with and without a receipt (the store's bound is small), boots, a key that changes, logs that end because
  the gateway contradicts them, the owner's `resume`, and at the end a damaged file that is quarantined.
- It claims on stdout, as JSON, what a caller was told: only after the call returned. See `promises`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path

from agent import logs, retention, rotation, succession
from agent.journal import Journal, OpenLog
from agent.keeper import Keeper
from agent.keystore import create_key
from agent.receipts import accept
from agent.rotation import KeptKeys
from agent.sample import Missed
from agent.sealer import Sealed, Sealer
from agent.settings import JournalSettings, ProofSettings
from agent.store import open_journal
from proof import receipt, sealing
from proof.beacon import Beacon
from proof.chain import SUPERSEDED
from proof.receipt import Receipt
from tests.agent_parts import GATEWAY, NETWORK, START_S, FakeClock, captured, make_descriptor

READINGS = 7
ROOM = 4_000  # bytes that the store may grow beyond its empty size
_PROOFS = (
    "SELECT log, seq, hash, EXISTS (SELECT 1 FROM gaps WHERE gaps.log_id = logs.id "
    "AND seq BETWEEN first_seq AND last_seq) FROM proofs JOIN logs ON logs.id = log_id ORDER BY log_id, seq"
)


def say(**claim: object) -> None:
    os.write(1, json.dumps(claim).encode() + b"\n")


def publish(journal: Journal) -> None:
    log = journal.open_log()
    assert log is not None
    journal.publishing(log)


class TellingSealer(Sealer):
    """Says what each proof holds: knowledge, no promise. It may be given up before anybody sees it."""

    def seal(self, journal: Journal) -> Sealed:
        sealed = super().seal(journal)
        self._tell(journal)
        return sealed

    def reseal(self, journal: Journal, log_id: int) -> list[Sealed]:
        resealed = super().reseal(journal, log_id)
        self._tell(journal)
        return resealed

    def _tell(self, journal: Journal) -> None:
        log = journal.open_log()
        assert log is not None
        for stored in journal.unreceipted(log.id):
            proof = sealing.parse(stored.data)
            numbers = [int(reading.values[1].value) - 100_000 for reading in proof.readings()]
            say(holds=proof.hash.hex(), numbers=numbers)


class Life:
    def __init__(self, folder: Path, synchronous: str, loss_window_s: float) -> None:
        self.folder, self.synchronous, self.loss_window_s = folder, synchronous, loss_window_s
        self.clock = FakeClock()
        self.uri = f"sim:{folder}/device.key"
        self.device = create_key(self.uri, START_S).device
        self.number, self.receipts, self.room = 0, 0, 10**9
        self.told: dict[tuple[str, int], tuple[str, bool]] = {}
        say(device=self.device)
        self.boot()
        self.room = self.keeper.call(retention.bytes_used) + ROOM
        self.reboot()

    def reboot(self) -> None:
        self.keeper.stop(10)
        self.clock.reboot()
        self.boot()

    def boot(self) -> None:
        keys = KeptKeys(self.uri, self.clock)
        journal = open_journal(self.folder / "journal.db", self.device, self.clock.boot_id).journal
        if self.synchronous != "FULL":  # else as the journal sets it: that is what is tried
            journal.execute(f"PRAGMA synchronous={self.synchronous}")
        bounds = JournalSettings(max_bytes=self.room, free_floor_bytes=0, **self._window())
        signer, turn = rotation.resume(journal, keys)
        self.sealer = TellingSealer(signer, NETWORK, ProofSettings(readings=READINGS), self.clock, turn=turn)
        self.sealer.descriptor = make_descriptor()
        self.keeper = Keeper(journal, self.sealer, bounds, self.clock, lambda: None, lambda _: None)
        self.keeper.start()
        say(bootcount=self.keeper.call(lambda j: j.bootcount(self.clock.boot_id)))

    def _window(self) -> dict[str, float]:
        return {"loss_window_s": self.loss_window_s} if self.loss_window_s else {}

    def append(self) -> None:
        self.number += 1
        self.clock.advance(10)
        self.keeper.append(captured(self.clock, self.number))
        self.tell()
        say(sample=self.number, at_ns=self.clock.boottime_ns())

    def miss(self) -> None:
        self.clock.advance(10)
        now_ns = self.clock.boottime_ns()
        self.keeper.note_missed(Missed("other", self.clock.boot_id, now_ns, now_ns, "read void"))

    def tell(self) -> None:
        """What was sealed, and what given up, since the last time: the publisher would send it now."""
        rows: list[tuple[bytes, int, bytes, int]]
        rows = self.keeper.read(lambda journal: journal.execute(_PROOFS).fetchall())
        if any((log.hex(), seq) not in self.told for log, seq, _, _ in rows):
            self.keeper.read(publish)
        for log, seq, proof_hash, gap in rows:
            place, standing = (log.hex(), seq), (proof_hash.hex(), bool(gap))
            if place not in self.told:
                say(proof=proof_hash.hex(), log=log.hex(), seq=seq)
            if self.told.get(place) != standing:
                self.told[place] = standing
                if gap:
                    say(gap=proof_hash.hex())

    def log(self) -> OpenLog:
        log = self.keeper.read(lambda journal: journal.open_log())
        assert log is not None
        return log

    def receipt(self, log: OpenLog, seq: int, head: bytes | None) -> str:
        """The gateway says that it holds `log` up to `seq`; why the log ended, or nothing."""
        self.receipts += 1
        body = Receipt(self.device, log.log, seq, head, START_S + self.receipts)
        data = receipt.sign(body, GATEWAY, START_S)
        beacon = Beacon(
            NETWORK, self.receipts, bytes(16), START_S + self.receipts, self.receipts.to_bytes(32)
        )
        self.keeper.hear_beacon(beacon, data)
        outcome = self.keeper.call(lambda journal: accept(journal, body, data, self.sealer, offered=True))
        self.tell()
        return outcome.new_log_because

    def receipted(self, but: int = 0) -> None:
        """All that was sealed, `but` so many that are on their way."""
        log = self.log()
        if (seq := log.seq - but) > 0:
            head = self.keeper.read(lambda journal: journal.hash_at(log.id, seq))
            say(given=log.log.hex(), seq=seq)
            assert not self.receipt(log, seq, head)
            say(receipted=log.log.hex(), seq=seq)
            self.keeper.settle_rotation(KeptKeys(self.uri, self.clock))

    def rotate(self) -> None:
        self.receipted()
        turned = self.keeper.rotate(KeptKeys(self.uri, self.clock))
        say(key=turned.new_key, log=turned.log, seq=turned.seq)
        self.tell()

    def contradict(self) -> None:
        reason = self.receipt(self.log(), self.log().seq + 5, bytes(32))
        assert reason
        say(log=self.log().log.hex(), because=reason)
        if reason == SUPERSEDED:
            self.append()

            def resume(journal: Journal) -> None:
                left = succession.resume(journal)
                assert left is not None
                self.sealer.reseal(journal, left.id)

            self.keeper.call(resume)
            say(log=self.log().log.hex(), because=succession.RESUMED)
            self.tell()

    def damage(self) -> None:
        """A page goes bad while the agent is down; it starts again."""
        self.keeper.stop(10)
        path = self.folder / "journal.db"
        with sqlite3.connect(path) as db:
            page_size = db.execute("PRAGMA page_size").fetchone()[0]
            root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'verdicts'").fetchone()[0]
        db.close()
        descriptor = os.open(path, os.O_RDWR)
        say(damaged=True)
        os.pwrite(descriptor, bytes(page_size), (root - 1) * page_size)
        os.fsync(descriptor)
        os.close(descriptor)
        self.boot()
        self.append()
        say(log=self.log().log.hex(), because="store corrupt")

    def live(self, rounds: int) -> None:
        for number in range(1, rounds + 1):
            for _ in range(20):
                self.append()
            self.miss()
            if number % 4 not in (1, 2):  # else offline: proofs are given up without a receipt
                self.receipted(but=number % 2)
            if number % 5 == 2:
                self.rotate()
            if number % 3 == 2:
                self.reboot()
            if number in (rounds // 2, 3 * rounds // 4):
                self.contradict()
        self.damage()
        self.keeper.seal_open_window()
        self.tell()
        self.keeper.stop(10)
        say(stopped=True)


def main() -> None:
    logs.configure("text")
    folder, rounds, synchronous, window_s = sys.argv[1:]
    Life(Path(folder), synchronous, float(window_s)).live(int(rounds))


if __name__ == "__main__":
    main()
