"""The judgement of one boot's power cuts, in a process of its own: the next boot runs meanwhile.

- Given are the disk as the boot found it, the log of what it did, what had been promised before, and where
  to cut. Of each cut the disk is rebuilt and judged by `oracle`; the last one is the cut from which the
  machine went on, with what was then left of the unflushed writes: its own dice say it again.
- One judge sees all boots of a device in their order: it remembers every hash.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from proof import sealing
from tests.pi_vm import disk_log
from tests.pi_vm.disk_log import DiskLog, Piece
from tests.pi_vm.oracle import Oracle, Promises, promised


def copy(disk: Path, to: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", disk, to], check=True)
    return to


def write(disk: Path, pieces: Iterable[Piece]) -> None:
    with disk.open("r+b") as file:
        disk_log.write(file, pieces)


@dataclass(frozen=True, slots=True)
class Boot:
    """`folder` holds `before.img` and `disk.log`. `remains_seed` is of the cut at its end."""

    name: str
    folder: Path
    before: Promises
    moments: tuple[int, ...]
    seed: int
    remains_seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    problems: list[str]
    unflushed: int
    """Of the cuts, how many met writes that no flush had followed yet."""


class Judge:
    def __init__(self, device: str, gateway_key: bytes, keep: Path) -> None:
        self._oracle, self._keep = Oracle(device, gateway_key), keep

    def boot(self, boot: Boot) -> Verdict:
        disk, problems, unflushed, done = boot.folder / "before.img", [], 0, 0
        with closing(DiskLog(boot.folder / "disk.log")) as log:
            log.without_last_flush()
            last, dice = len(log.entries), Random(boot.seed)
            for moment in (*sorted(boot.moments), last):
                end = moment == last
                flushed = log.flushed(moment)
                write(disk, log.kept(done, flushed))
                done = max(done, flushed)
                unflushed += flushed < moment
                remains = log.remains(moment, Random(boot.remains_seed) if end else dice)
                promises = promised(log, moment)
                promises.add(boot.before)
                problems += self.disk(f"{boot.name}, entry {moment} of {last}", disk, promises, remains)
        shutil.rmtree(boot.folder)
        return Verdict(problems, unflushed)

    def at_rest(self, name: str, disk: Path, promises: Promises, accepted: Iterable[bytes]) -> list[str]:
        """Of a machine that went down in order; `accepted` are the gateway's proofs: the same ones."""
        return self.disk(name, disk, promises) + list(self._oracle.conflicts(map(sealing.parse, accepted)))

    def disk(self, name: str, disk: Path, promises: Promises, remains: Iterable[Piece] = ()) -> list[str]:
        """The disk, and what else remained, as a machine would find it."""
        with tempfile.TemporaryDirectory(dir=self._keep) as folder:
            scratch = copy(disk, Path(folder) / "disk.img")
            write(scratch, remains)
            found = self._oracle.problems_of(scratch, promises, Path(folder))
            if found:
                copy(scratch, self._keep / f"problem-{name.split()[1].strip(',')}.img")
        return [f"{name}: {problem}" for problem in found]
