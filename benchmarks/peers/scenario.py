"""One scenario for all: 10 readings a second for M minutes, while the network and the peer itself break.

- At 0.2 M the remote broker is stopped (SIGTERM: it saves its sessions), at 0.6 M it is started again. At
  0.4 M and 0.5 M the peer is killed (SIGKILL) and started again at once: what it read since 0.2 M waits then.
- The clock starts when the first reading has arrived, with everything running.
- A reading is due every 100 ms. One that was never read, while the peer was starting or late, is "not read":
  nobody could have delivered it. One that was read and did not arrive is "lost".
- Catch-up: from the broker's return until the last of the readings from before it that ever arrive.
- Costs are those of the M minutes, peak memory that of the peer's life.
- The end comes when all are there, or nothing new came for `QUIET_S`. The peer goes on reading until then.
- A peer that ends by itself is started again a second later, as a service manager does, and it is counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.field import Field, joined_field, until
from benchmarks.membership import NETWORK
from benchmarks.peers import contenders
from benchmarks.peers.contenders import RATE, Contender, Place
from benchmarks.peers.counter import MOST, Counter
from benchmarks.peers.ear import Ear
from benchmarks.peers.meter import Meter, traced
from gateway.folder import LEDGER, load_key
from gateway.register import Register
from gateway.store import Store
from proof import sealing
from proof.keys import device_id

QUIET_S, PATIENCE_S = 45.0, 300.0
DOWN, KILLS, UP = 0.2, (0.4, 0.5), 0.6


@dataclass(frozen=True, slots=True)
class Result:
    """`confirmed_lost`: lost of those whose `append` had returned to the agent (None for others).
    `told`: what the agent's proofs say was not read and why, over its whole life.
    `curve`: (seconds since the start, readings that had come); `load`: the machine's, before and after.
    `beside`: so many others ran in the same minutes."""

    name: str
    minutes: float
    due: int
    read: int
    delivered: int
    confirmed_lost: int | None
    duplicates: int
    out_of_order: int
    peak_MiB: float
    cpu_s: float
    written_bytes: int
    syncs: int
    catch_up_s: float | None
    ended_by_itself: int
    load: tuple[float, float]
    nice: int
    curve: list[tuple[float, int]]
    told: dict[str, int] = field(default_factory=dict)
    beside: int = 0

    @property
    def lost(self) -> int:
        return self.read - self.delivered


@dataclass(frozen=True, slots=True)
class Cost:
    """Since the peer's first start."""

    cpu_s: float
    written_bytes: int
    syncs: int


class Run:
    """A peer's life."""

    def __init__(self, place: Place, contender: Contender, trace: Path) -> None:
        self.place, self._trace = place, trace
        self._commands = contender.prepare(place)
        self.is_agent = contender.prepare is contenders.fieldproof
        self._chip_ns: dict[int, int] = {}
        self.ended_by_itself = self._starts = 0
        self._again_s: float | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._counter, self._read_before = Counter(place.counter), 0
        self.meter = Meter(trace)

    def start(self) -> None:
        self._starts += 1
        self._read_before = self._counter.now
        commands = [
            traced(command, self._trace / f"{self._starts}-{number}.strace")
            for number, command in enumerate(self._commands)
        ]
        self._processes = contenders.start(self.place, commands, self.place.memory / "log")
        self.meter.watch(self._processes)

    def kill(self) -> None:
        self._look()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def supervise(self) -> None:
        """Called often."""
        if self._again_s is not None:
            if time.monotonic() >= self._again_s:
                self._again_s = None
                self.start()
        elif any(process.poll() is not None for process in self._processes):
            self.ended_by_itself += 1
            self.kill()
            self._again_s = time.monotonic() + 1.0

    def cost(self) -> Cost:
        """Until now, without what the virtual chip used inside the agent: a real one costs the Pi nothing."""
        self._look()
        chip_s = sum(self._chip_ns.values()) / 1e9
        return Cost(self.meter.cpu_s - chip_s, self.meter.written, self.meter.syncs)

    def end(self) -> None:
        """Twice is once."""
        self.meter.stop()
        for process in self._processes:
            process.kill()
            process.wait()

    def _look(self) -> None:
        old_enough = self._counter.now > self._read_before  # it has read, so it answers
        if self.is_agent and old_enough and self._processes[0].poll() is None:
            process = self._processes[0]
            self._chip_ns[process.pid] = self.place.field.usage(process, "agent")["chip_ns"]
        self.meter.look()


@dataclass(slots=True)
class Stage:
    """Broker, subscriber and peer of one run, and what is done to them."""

    field: Field
    remote: str
    run: Run
    counter: Counter
    ear: Ear
    broker: subprocess.Popen[bytes]
    returned_s: float = 0.0
    read_by_then: int = 0

    def acts(self) -> list[tuple[float, Callable[[], None]]]:
        kills = [(share, self.break_it) for share in KILLS]
        return [(DOWN, self.stop_broker), *kills, (UP, self.start_broker)]

    def stop_broker(self) -> None:
        self.broker.terminate()
        self.broker.wait(30)

    def break_it(self) -> None:
        self.run.kill()
        self.run.start()

    def start_broker(self) -> None:
        self.field.start_broker(self.remote)
        self.returned_s, self.read_by_then = time.monotonic(), self.counter.now

    def wait_until(self, moment_s: float) -> None:
        while (left_s := moment_s - time.monotonic()) > 0:
            self.run.supervise()
            time.sleep(min(0.2, left_s))

    def await_all(self, wanted: set[int]) -> None:
        began_s = quiet_since_s = time.monotonic()
        missing = len(wanted)
        while missing and time.monotonic() < min(began_s + PATIENCE_S, quiet_since_s + QUIET_S):
            self.wait_until(time.monotonic() + 1.0)
            left = len(wanted - self.ear.seen)
            missing, quiet_since_s = left, quiet_since_s if left == missing else time.monotonic()


def play(contender: Contender, minutes: float) -> Result:
    seconds = minutes * 60
    if seconds * RATE * 1.1 > MOST:
        raise SystemExit(f"{minutes:g} minutes are too long: the sensor counts to {MOST:,}.")
    load_before = os.getloadavg()[0]
    with staged(contender) as stage:
        run, counter, ear = stage.run, stage.counter, stage.ear
        began_s, first, before = time.monotonic(), counter.now, run.cost()
        for share, act in stage.acts():
            stage.wait_until(began_s + share * seconds)
            act()
        stage.wait_until(began_s + seconds)
        last, after = counter.now, run.cost()
        wanted = set(range(first + 1, last + 1))
        stage.await_all(wanted)
        ear.close()
        run.end()
        arrived, told = ledger(stage.field) if run.is_agent else (ear.seen, {})
        kept = confirmed(run.place) & wanted if run.is_agent else None
    firsts = [(at_s - began_s, n) for at_s, n, again in ear.arrivals if n in wanted and not again]
    returned_s = stage.returned_s - began_s
    backlog = [at_s for at_s, n in firsts if n <= stage.read_by_then and at_s > returned_s]
    return Result(
        name=contender.name,
        minutes=minutes,
        due=round(seconds * RATE),
        read=last - first,
        delivered=len(wanted & arrived),
        confirmed_lost=None if kept is None else len(kept - arrived),
        duplicates=sum(again for _, n, again in ear.arrivals if n in wanted),
        out_of_order=sum(1 for _ in overtaken([n for _, n in firsts])),
        peak_MiB=run.meter.peak_kB / 1024,
        cpu_s=after.cpu_s - before.cpu_s,
        written_bytes=after.written_bytes - before.written_bytes,
        syncs=after.syncs - before.syncs,
        catch_up_s=max(backlog) - returned_s if backlog else None,
        ended_by_itself=run.ended_by_itself,
        load=(load_before, os.getloadavg()[0]),
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        curve=curve([at_s for at_s, _ in firsts], seconds),
        told=told,
    )


@contextmanager
def staged(contender: Contender) -> Iterator[Stage]:
    """Everything runs, and the first reading has arrived."""
    with joined_field(interval_s=1 / RATE) as field, memory_folder() as memory:
        disk, sessions, trace = field.folder / "peer", field.folder / "remote", memory / "trace"
        for folder in (disk, sessions, trace):
            folder.mkdir()
        remote = f"user root\npersistence true\npersistence_location {sessions}/\nqueue_qos0_messages true\n"
        place = Place(field, memory / "counter", disk, memory)
        counter, run = Counter(place.counter), Run(place, contender, trace)
        broker = field.start_broker(remote)
        if run.is_agent:
            field.start_gateway()
        ear = Ear(field.port, contender.topic, contender.decode)
        until(ear.subscribed.is_set, 10, "the subscription")
        try:
            run.start()
            until(lambda: ear.seen, 60, f"the first reading of {contender.name}")
            run.meter.start()
            yield Stage(field, remote, run, counter, ear, broker)
        except BaseException:  # whatever it is: show what the peer said, and raise it again
            print((memory / "log").read_text()[-3000:])
            raise
        finally:
            run.end()


def overtaken(numbers: list[int]) -> Iterator[int]:
    """Those that came after a later one."""
    newest = 0
    for number in numbers:
        if number < newest:
            yield number
        newest = max(newest, number)


def curve(arrivals_s: list[float], seconds: float, points: int = 200) -> list[tuple[float, int]]:
    """How many had arrived, for the plot."""
    end_s = max([seconds, *arrivals_s])
    moments = [end_s * index / points for index in range(points + 1)]
    return [(round(moment_s, 2), sum(at_s <= moment_s for at_s in arrivals_s)) for moment_s in moments]


def ledger(field: Field) -> tuple[set[int], dict[str, int]]:
    """The readings of the proofs that the gateway accepted, and what they say was not read, by reason."""
    gateway = device_id(load_key(field.gateway).public_key)
    with closing(Store.open(field.gateway / LEDGER, NETWORK, "test", gateway)) as store:
        accepted = list(Register(store).accepted(field.device))
    told: Counts[str] = Counts()
    for data in accepted:
        for lost in sealing.parse(data).claims.lost:
            told[lost.reason] += lost.count
    return {number for data in accepted for number in contenders.from_proof(data)}, dict(told)


def confirmed(place: Place) -> set[int]:
    """What the agent's journal said it had."""
    return {int(line) for line in (place.memory / "kept").read_text().split()}


@contextmanager
def memory_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-peers-", dir="/dev/shm"))  # in memory
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
