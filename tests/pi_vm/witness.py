"""In the machine, the agent with a witness: what it promises, the disk itself writes down.

- `witness.py SETTINGS` takes the place of `fieldproof-agent run` in the unit, for this test only. The agent
  is the installed one; of two of its methods the calls are watched. `witness.py check CONFIG SETTINGS` does
  once what the command line does at each start: check the configuration and hand it on.
- When `append` has returned, and before a proof is handed to the broker, one line goes to the sectors behind
  the file system, past every cache of the kernel. In the log of the disk (`disk_log`) it stands where the
  promise was made: behind the flush that made it true.
- An instrument that HANGING names never comes back from its next read.
- Each line has a slot of 4096 bytes; slots are used in turn, for the log keeps all of them anyway.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

DISK = "/dev/vda"
HANGING = Path("/run/hanging-instruments")
FIRST, SLOTS, SLOT = 1008 * 2**20, 4096, 4096


class Witness:
    def __init__(self) -> None:
        self._fd = os.open(DISK, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        self._slot = mmap.mmap(-1, SLOT)  # O_DIRECT wants whole pages
        self._lock, self._count = threading.Lock(), 0

    def note(self, line: dict[str, object]) -> None:
        with self._lock:
            self._slot[:] = json.dumps(line).encode().ljust(SLOT)
            os.pwrite(self._fd, self._slot, FIRST + self._count % SLOTS * SLOT)
            self._count += 1


def main(settings: str) -> int:
    from agent import lean

    lean.prepare()
    from agent import daemon, keeper, memory, mqtt, sampler
    from agent.sample import Captured
    from proof import cose, wire

    witness = Witness()
    append, publish, turn = keeper.Keeper.append, mqtt.Link.publish, sampler.Sampler._turn

    def turn_or_hang(self: sampler.Sampler, instant_ns: int) -> None:
        if HANGING.exists() and self.name in HANGING.read_text().split():
            threading.Event().wait()
        turn(self, instant_ns)

    def witnessed_append(self: keeper.Keeper, sample: Captured) -> None:
        append(self, sample)
        witness.note(
            {
                "instrument": sample.instrument,
                "boot_id": sample.boot_id.hex(),
                "boottime_ns": sample.boottime_ns,
                "values": {measured.quantity: str(measured.value) for measured in sample.values},
            }
        )

    def witnessed_publish(self: mqtt.Link, topic: str, payload: bytes, **options: Any) -> int:
        if topic.endswith("/proof"):
            witness.note({"published": cose.object_hash(wire.inflate(payload)).hex()})
        return publish(self, topic, payload, **options)

    keeper.Keeper.append = witnessed_append  # type: ignore[method-assign]
    mqtt.Link.publish = witnessed_publish  # type: ignore[method-assign]
    sampler.Sampler._turn = turn_or_hang  # type: ignore[method-assign]
    memory.close()
    return daemon.main(os.open(settings, os.O_RDONLY | os.O_CLOEXEC))


def check(config: str, settings: str) -> None:
    from agent import cli
    from agent.settings import load

    Path(settings).write_bytes(pickle.dumps(cli.check(load(Path(config)))))


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1]))
