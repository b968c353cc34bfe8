"""`python -m tests.crash.full_start FOLDER`, as root in a mount namespace of its own: a node starts on a disk
on which nothing is left, and samples. Prints what happened."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from agent.errors import TryAgain
from agent.keeper import Keeper
from agent.settings import JournalSettings
from agent.store import open_journal
from tests.agent_parts import DEVICE_ID, FakeClock, captured, make_sealer
from tests.crash.failing_disk import SmallDisk


def start(path: Path, clock: FakeClock) -> Keeper:
    journal = open_journal(path, DEVICE_ID, clock.boot_id).journal
    settings, sealer = JournalSettings(free_floor_bytes=0), make_sealer(clock, readings=10)
    keeper = Keeper(journal, sealer, settings, clock, lambda: None, lambda _: None)
    keeper.start()
    return keeper


def sample(keeper: Keeper, clock: FakeClock, count: int) -> None:
    for number in range(count):
        clock.advance(1)
        keeper.append(captured(clock, number, raw=os.urandom(200)))


def main() -> None:
    folder = Path(sys.argv[1])
    disk, clock = SmallDisk(folder), FakeClock()
    path = folder / "journal.db"
    keeper = start(path, clock)
    sample(keeper, clock, 600)
    keeper.call(lambda journal: journal.mark_receipted(1, 40, 1))
    keeper.stop(10)
    disk.fill(0)
    print("left", shutil.disk_usage(folder).free)
    keeper = start(path, clock)
    sample(keeper, clock, 600)
    count = "SELECT count(*), sum(data IS NULL) FROM proofs WHERE receipted_s IS NULL"
    kept, given_up = keeper.read(lambda journal: journal.execute(count).fetchone())
    keeper.stop(10)
    print("sampled", kept * 10, "given up", given_up * 10)
    disk.fill(0)
    try:
        start(path, clock).stop(10)
        print("started again")
    except TryAgain as error:
        print(error.sentence)
    disk.close()


if __name__ == "__main__":
    main()
