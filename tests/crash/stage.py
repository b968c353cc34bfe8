"""Broker, gateway, network and disk of one world, and what the faults do to them.

- A fault that lasts is healed after so many lives, or with all others at once (`heal`).
- What a fault excuses is noted for the oracle (`gaps`, `damaged_at`) and for the runner (`trouble`).
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conftest import Mosquitto, hold_port
from tests.crash import damage, failing_disk, faults, lives, oracle, proxy
from tests.crash.faults import Fault
from tests.crash.lives import Child
from tests.crash.world import World

_STEPS_S = {
    "day_on": 86_400,
    "day_back": -86_400,
    "ten_years_on": 315_576_000,
    "ten_years_back": -315_576_000,
    "at_1970": -1_798_761_600,
}
_CALLS = {
    "turned_read_only": failing_disk.READ_ONLY,
    "write_error": failing_disk.WRITE_EIO,
    "half_write": failing_disk.WRITE_EIO | failing_disk.HALF,
    "sync_error": failing_disk.SYNC_EIO,
}
_ANY_CALL = (failing_disk.FULL, *_CALLS.values())
Heal = Callable[[], None]


class Stage:
    """`trouble`: faults in force that may keep the agent from starting or sampling."""

    def __init__(self, folder: Path, seed: int, menus: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.trouble, self.gaps = 0, False
        self.damaged_at: int | None = None
        self._seed, self._folder = seed, folder
        self._healing: list[tuple[int, Heal]] = []  # after how many more lives
        self._modes: Counter[str] = Counter()
        self._dice = random.Random(f"details {seed}")
        self._did = folder / "done-to-packets"
        self._broker = Mosquitto(folder)
        self._broker.start()
        self.has_network = not {"network", "answers"}.isdisjoint(menus)
        self._listening = hold_port()
        self._listening.listen()
        agent_port = self._listening.getsockname()[1] if self.has_network else self._broker.port
        state = folder / "state"
        state.mkdir()
        self._disk = failing_disk.SmallDisk(state) if "disk" in menus else None
        self._failed_before = failing_disk.failed_calls() if self._disk else 0
        self.world = World(folder, state, seed, 3 + seed % 9, self._broker.port, agent_port)
        with (folder / "set-up.log").open("w") as said, contextlib.redirect_stdout(said):
            self.world.set_up()
        self._control: socket.socket | None = None
        self._proxy = self._start_proxy() if self.has_network else None
        self.gateway = lives.gateway(self.world)

    def close(self) -> None:
        self.gateway.kill()
        if self._proxy:
            self._proxy.kill()
        for held in filter(None, (self._control, self._listening)):
            held.close()
        self._broker.kill()
        if self._disk:
            failing_disk.fail(failing_disk.AGENT, 0)
            failing_disk.fail(failing_disk.GATEWAY, 0)
            shutil.copytree(self.world.state, self._folder / "state-at-the-end")
            self._disk.close()

    def met(self) -> Counter[str]:
        """What the network did to packets and connections, and the calls that failed."""
        done = Counter(self._did.read_text().split() if self._did.exists() else [])
        return done + Counter({"failed calls": self.failed_calls()})

    def failed_calls(self) -> int:
        return failing_disk.failed_calls() - self._failed_before if self._disk else 0

    def restart_gateway(self) -> int | None:
        """As its service manager does: its exit code if it has ended by itself."""
        code = self.gateway.ended(0)
        if code is not None:
            self.gateway = lives.gateway(self.world)
        return code

    def strike(self, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        heal: Heal | None
        if fault.kind in _STEPS_S:
            heal = self._step_clock(_STEPS_S[fault.kind], synced=fault.number % 2 == 0)
        elif fault.kind in proxy.MODES:
            heal = self._mode(fault.kind)
        elif fault.kind in damage.KINDS:
            heal = self._damage_later(fault)
        elif fault.kind in faults.DISK:
            heal = self._break_disk(fault)
        else:
            heal = getattr(self, f"_{fault.kind}")()
        if heal:
            self._healing.append((fault.lives, heal))

    def heal(self, *, everything: bool = False) -> None:
        """A life is over."""
        left = [(more - 1, heal) for more, heal in self._healing]
        for more, heal in left:
            if everything or more <= 0:
                heal()
        self._healing = [] if everything else [(more, heal) for more, heal in left if more > 0]

    def _kill_gateway(self) -> None:
        self.gateway.kill()
        self.gateway = lives.gateway(self.world)

    def _kill_broker(self) -> None:
        self._broker.kill()
        self._broker.start()

    def _freeze_gateway(self) -> Heal:
        frozen = self.gateway
        frozen.send(signal.SIGSTOP)

        def heal() -> None:
            if frozen is self.gateway:
                frozen.send(signal.SIGCONT)

        return heal

    def _reboot(self) -> None:
        """From the next life on: its time is that boot's."""
        self._healing.append((1, self.world.reboot))

    def _step_clock(self, by_s: int, *, synced: bool) -> Heal:
        self.world.shared.set_clock(by_s, synced=synced)
        return lambda: self.world.shared.set_clock(0, synced=True)

    def _mode(self, mode: str) -> Heal:
        self._modes[mode] += 1
        self._tell_proxy()

        def heal() -> None:
            self._modes[mode] -= 1
            self._tell_proxy()

        return heal

    def _damage_later(self, fault: Fault) -> Heal:
        """Between this life and the next: nobody has the file open."""

        def strike() -> None:
            if damage.damage(self.world.settings.journal_path, fault.kind, random.Random(fault.number)):
                self.damaged_at = oracle.witnessed(self.world)

        return strike

    def _break_disk(self, fault: Fault) -> Heal | None:
        assert self._disk is not None
        small, whose, every = self._disk, failing_disk.AGENT, self._dice.choice((1, 1, 2, 5))
        if fault.kind == "full":
            small.fill(self._dice.choice((0, 0, 8_192, 65_536)))
            self.gaps, undo = True, small.empty
        elif fault.kind == "read_only":
            if fault.during:
                return None  # files are open for writing there: `turned_read_only`
            small.read_only(True)

            def undo() -> None:
                small.read_only(False)
        else:
            what = _CALLS.get(fault.kind) or self._dice.choice(_ANY_CALL)
            if fault.kind == "turned_read_only":
                every = 1
            if fault.kind == "gateway_disk":
                whose = failing_disk.GATEWAY
            failing_disk.fail(whose, what, every)

            def undo() -> None:
                failing_disk.fail(whose, 0)

        self.trouble += 1

        def heal() -> None:
            undo()
            self.trouble -= 1

        return heal

    def _start_proxy(self) -> Child:
        ours, theirs = socket.socketpair()
        self._control = ours
        made = proxy.Proxy(self._broker.port, self.world.device, self.world.gateway, self._seed, self._did)

        def main() -> int:
            ours.close()
            return proxy.run(made, self._listening, theirs)

        child = lives.fork(main, self._folder / "proxy.log")
        theirs.close()
        return child

    def _tell_proxy(self) -> None:
        assert self._control is not None
        self._control.sendall(json.dumps(sorted(+self._modes)).encode() + b"\n")
