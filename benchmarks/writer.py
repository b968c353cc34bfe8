"""The measured process of bench_disk: `python -m benchmarks.writer agent|plain FOLDER COUNT`.

- `agent`: the keeper appends each reading in a transaction of its own, seals at 60, and accepts one signed
  receipt per proof.
- `plain`: one INSERT of the same record and its time per transaction, WAL and synchronous=FULL as well.
Prints the bytes this process had written to the device (/proc/self/io), the last checkpoint included.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path

from agent import logs
from agent.clock import SystemClock
from agent.keeper import Keeper
from agent.receipts import accept
from agent.settings import JournalSettings
from agent.store import open_journal
from benchmarks.backlog import captured, sealer
from proof import receipt
from proof.keys import SeedSigner
from proof.receipt import Receipt

_PER_PROOF = 60


def written() -> int:
    found = re.search(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def agent(folder: Path, count: int) -> None:
    logs.configure("text")
    signer, gateway = SeedSigner(bytes(32), "sim"), SeedSigner(bytes(31) + b"\1", "file")
    device, clock = signer.device, SystemClock()
    seal = sealer(signer, _PER_PROOF)
    journal = open_journal(folder / "agent.db", device, clock.boot_id).journal
    keeper = Keeper(journal, seal, JournalSettings(), clock, lambda: None, lambda _sentence: None)
    keeper.start()
    for number, sample in enumerate(captured(count), start=1):
        keeper.append(replace(sample, boot_id=clock.boot_id, boottime_ns=clock.boottime_ns()))
        if number % _PER_PROOF == 0:
            log = keeper.call(lambda store: store.open_log())
            assert log is not None
            body = Receipt(device, log.log, log.seq, log.hash, int(time.time()))
            data = receipt.sign(body, gateway, int(time.time()))
            keeper.call(lambda store, body=body, data=data: accept(store, body, data, seal))  # type: ignore[misc]
    keeper.stop(timeout_s=10)


def plain(folder: Path, count: int) -> None:
    database = sqlite3.connect(folder / "plain.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, wall_ns INTEGER, record BLOB)")
    for sample in captured(count):
        values = (sample.wall.ns, sample.record())
        database.execute("INSERT INTO reading (wall_ns, record) VALUES (?, ?)", values)
    database.close()


if __name__ == "__main__":
    what, folder, count = sys.argv[1:]
    before = written()
    {"agent": agent, "plain": plain}[what](Path(folder), int(count))
    print(written() - before)
