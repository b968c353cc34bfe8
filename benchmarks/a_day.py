"""The measured process of bench_day: `python -m benchmarks.a_day FOLDER READINGS LOSS_WINDOW_S`.

- A node's day on a clock that runs as fast as the journal: a reading of three values every ten seconds
  through the keeper, a proof per 60 readings naming a beacon of its own, a signed receipt a second after
  each.
- Each proof is taken out for the broker, which writes the mark of how far was published.
- Prints the bytes this process had written to the device (/proc/self/io), the last checkpoint included.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from agent import logs
from agent.batch import next_batch
from agent.clock import SOURCE_NTP, SystemClock, Wall
from agent.keeper import Keeper
from agent.receipts import accept
from agent.settings import JournalSettings
from agent.store import open_journal
from benchmarks.backlog import captured, sealer
from benchmarks.membership import NETWORK
from benchmarks.writer import written
from proof import beacon, receipt
from proof.keys import SeedSigner
from proof.receipt import Receipt

_INTERVAL_NS, _PER_PROOF, _START_S = 10 * 10**9, 60, 1_800_000_000


class DayClock(SystemClock):
    """Boot time moves when a reading is due."""

    now_ns = 0

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall(self) -> Wall:
        return Wall(_START_S * 10**9 + self.now_ns, SOURCE_NTP, 20_000)


def live(folder: Path, count: int, loss_window_s: float) -> None:
    logs.configure("text")
    signer, gateway = SeedSigner(bytes(32), "sim"), SeedSigner(bytes(31) + b"\1", "file")
    device, clock, sealed = signer.device, DayClock(), threading.Event()
    seal = sealer(signer, _PER_PROOF, clock=clock)
    settings = JournalSettings(loss_window_s=loss_window_s)
    journal = open_journal(folder / f"day-{loss_window_s:g}.db", device, clock.boot_id).journal
    keeper = Keeper(journal, seal, settings, clock, sealed.set, lambda _sentence: None)
    keeper.start()
    for number, sample in enumerate(captured(count), start=1):
        clock.now_ns = number * _INTERVAL_NS
        keeper.append(replace(sample, boot_id=clock.boot_id, boottime_ns=clock.now_ns))
        turns = keeper.turns
        keeper.read(lambda store: store.open_log())  # as the publisher does: the thread goes round
        while keeper.turns <= turns:
            keeper.read(lambda store: store.open_log())
        if number % _PER_PROOF == 0:
            sealed.wait(60)
            sealed.clear()
            now_s = _START_S + clock.now_ns // 10**9
            log = keeper.read(lambda store: store.open_log())
            assert log is not None
            keeper.read(lambda store: next_batch(store, (), 0, 1))
            body = Receipt(device, log.log, log.seq, log.hash, now_s)
            data = receipt.sign(body, gateway, now_s)
            keeper.call(lambda store, body=body, data=data: accept(store, body, data, seal))  # type: ignore[misc]
            given = beacon.sign_beacon(NETWORK, number, os.urandom(16), gateway, now_s)
            heard = beacon.open_beacon(given, [gateway.public_key], NETWORK)
            keeper.hear_beacon(heard, given)
    keeper.stop(timeout_s=10)


if __name__ == "__main__":
    folder, count, loss_window_s = sys.argv[1:]
    before = written()
    live(Path(folder), int(count), float(loss_window_s))
    print(written() - before)
