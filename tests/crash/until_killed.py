"""Appends and seals until it is killed; says on stderr (stdout has the log) what it was told is on disk.

Lines: `sample <number>` after `append` returned, `proof <seq> <hash>` for what a call read back as sealed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.keeper import Keeper
from agent.settings import JournalSettings
from agent.store import open_journal
from tests.agent_parts import DEVICE_ID, FakeClock, captured, make_sealer


def main(folder: Path, first: int, boot: int) -> None:
    clock = FakeClock(boot=boot)
    journal = open_journal(folder / "journal.db", DEVICE_ID, clock.boot_id).journal
    settings = JournalSettings(free_floor_bytes=0)
    sealer = make_sealer(clock, readings=7)
    keeper = Keeper(journal, sealer, settings, clock, lambda: None, print)
    keeper.start()
    number = first
    while True:
        keeper.append(captured(clock, number))
        say(f"sample {number}")
        number += 1
        clock.advance(1)
        log = keeper.call(lambda journal: journal.open_log())
        if log is not None and log.hash is not None:
            say(f"proof {log.seq} {log.hash.hex()}")


def say(line: str) -> None:
    os.write(2, line.encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
