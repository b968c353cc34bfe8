"""A long life of one node in minutes, on a clock that jumps from reading to reading (`make year`).

- The product's own journal, keeper, sealer, publisher, window and receipts, and the gateway's service on its
  ledger, in one thread and one process: what their threads do is done here in turn. In the place of MQTT
  stands `Wire`; instruments and their threads are left out.
- Outages: short ones begin after exponential intervals (mean 6 h) and last a lognormal time (median 60 s,
  sigma 1.5): 12 minutes a day, as long as the worse fifth of the stationary mobile broadband connections in
  Baltrunas et al., "Measuring the reliability of mobile broadband networks", IMC 2014. Long ones follow the
  forms that were found for serious failures in Japan, 2008 to 2012 (Reliability Engineering & System Safety,
  2014): a Poisson process, durations a Pareto distribution from 2 h on. The rates are ours, and so is its
  exponent, 0.7, cut at 14 days: harder than a year should be, so that some overflow the journal's cap.
- When the link fails, what is on its way is lost, or arrives and its answer is lost.
- Once in `silent_every_h` hours on average the instrument gives nothing, for up to an hour.
- Every `reboot_every_d` days, in turn: a clean reboot, a power cut, a kill of the agent alone. The last two
  drop the process with a transaction under way; what its files hold then is what the next start finds. After
  a boot the wall clock stands where it stood, without a source, for 1 to 15 minutes.
- The oracle knows how many readings and losses each proof has, from the moment it was sealed.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import structlog

from agent import keeper, publisher, sealer
from agent.clock import SOURCE_NTP
from agent.errors import TryAgain
from agent.journal import Journal
from agent.membership import Joined
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Refused, Subscribed
from agent.sample import Captured, Missed
from agent.settings import JournalSettings, MqttSettings, ProofSettings
from agent.store import open_journal
from gateway.service import Inbound, Outbound
from proof.cose import object_hash
from proof.joining import Membership
from proof.sealing import parse
from tests import gateway_parts
from tests.agent_parts import FakeClock, captured, make_descriptor
from tests.gateway_parts import Device, Gateway

DAY_S, INTERVAL_S = 86_400, 10
_BEACON_EXPIRY_S = 300
_ROUND_TRIPS = 4  # of the wire in one step of the clock


@dataclass(frozen=True, slots=True)
class Plan:
    """`together` readings share a transaction, as they do where they wait at the same time."""

    days: float = 365.0
    seed: int = 1
    max_bytes: int = 2_000_000
    reboot_every_d: float = 30.0
    long_every_d: float = 15.0
    silent_every_h: float = 168.0
    together: int = 30
    readings: int = 60
    raw: int = 0  # bytes of raw words in a sample, that no compression makes smaller
    beacon_s: int = 600


@dataclass(slots=True)
class Totals:
    """What happened; `size` is the largest seen of the journal's files together."""

    captured: int = 0
    missed: int = 0
    receipted: int = 0
    in_gaps: int = 0
    lost: int = 0
    lost_in_gaps: int = 0
    proofs: int = 0
    gaps: int = 0
    outages: int = 0
    longest_outage_s: float = 0.0
    boots: int = 1
    crashes: int = 0
    size: int = 0


class Oracle:
    """Readings and losses of each proof ever sealed, by its sequence number; as large at the end as now."""

    def __init__(self, proofs: int) -> None:
        self.readings, self.lost = array("L", bytes(8 * proofs)), array("L", bytes(8 * proofs))

    def sealed(self, seq: int, readings: int, lost: int) -> None:
        self.readings[seq], self.lost[seq] = readings, lost


class Sealer(sealer.Sealer):
    oracle: Oracle

    def seal(self, journal: Journal) -> sealer.Sealed:
        waiting = "SELECT coalesce(sum(count), 0) FROM losses"
        before = journal.execute(waiting).fetchone()[0]
        sealed = super().seal(journal)
        self.oracle.sealed(sealed.seq, sealed.readings, before - journal.execute(waiting).fetchone()[0])
        return sealed


class Keeper(keeper.Keeper):
    """Whoever calls takes the turn of its thread."""

    def call(self, job: Callable[[Journal], Any], timeout_s: float = 60.0) -> Any:
        return self.call_all([job])[0]

    def call_all(self, jobs: Sequence[Callable[[Journal], Any]]) -> list[Any]:
        """In one transaction, as jobs that wait at the same time."""
        asked = [(job, Future[Any]()) for job in jobs]
        self._transact(asked)
        self._seal_what_is_due()
        return [future.result(0) for _, future in asked]


class Publisher(publisher.Publisher):
    """Whoever calls takes the turn of its thread."""

    def turn(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                self._handle(publisher._Wake())
                return self._act()
            self._handle(event)


class Wire:
    """Link, broker and gateway in one: has what the publisher uses of `agent.mqtt.Link`."""

    def __init__(self, gateway: Gateway, device: Device, rng: random.Random) -> None:
        self.gateway, self.up = gateway, True
        self._device, self._random = device, rng
        self._on_event: Callable[[Event], None] | None = None
        self._connected = False
        self._mid = 0
        self._inbox: list[Inbound] = []
        self._retained: dict[str, tuple[float, bytes]] = {}

    def attach(self, on_event: Callable[[Event], None], _will: tuple[str, bytes]) -> Any:
        """A new process at the device's end."""
        self._on_event, self._connected, self._inbox = on_event, False, []
        return self

    def tell(self, event: Event) -> None:
        assert self._on_event is not None
        self._on_event(event)

    def connect(self) -> None:
        self._connected = self.up
        self.tell(Connected(5) if self.up else Refused("no network"))

    def close(self, timeout_s: float = 5.0) -> bool:
        self._connected = False
        return True

    def subscribe(self, topics: Sequence[str]) -> None:
        self.tell(Subscribed(tuple(topics), ()))
        for topic in topics:
            since_s, payload = self._retained.get(topic, (0.0, b""))
            if payload and (not topic.endswith("beacon") or self.gateway.now_s - since_s < _BEACON_EXPIRY_S):
                self.tell(Message(topic, payload, retain=True))

    def publish(self, topic: str, payload: bytes, **_properties: object) -> int:
        if not self._connected:
            raise TryAgain("not connected")
        self._mid += 1
        if topic.endswith("/proof"):
            self._inbox.append(Inbound(topic, payload))
        self.tell(Delivered(self._mid, 0, failed=False, no_subscribers=False))
        return self._mid

    def cut(self) -> None:
        """What is on its way is lost, or the answer to it."""
        self.up = False
        if self._connected:
            if self._inbox and self._random.random() < 0.5:
                for answer in self.gateway.service.take(self._inbox):
                    self._retained[answer.topic] = (self.gateway.now_s, answer.payload)
            self._connected, self._inbox = False, []
            self.tell(Disconnected("no network"))

    def beacon(self) -> None:
        self._answer([self.gateway.service.beacon()])

    def carry(self) -> bool:
        """To the gateway and back; whether there was anything."""
        inbox, self._inbox = self._inbox, []
        if inbox:
            self._answer(self.gateway.service.take(inbox))
        return bool(inbox)

    def _answer(self, answers: Sequence[Outbound]) -> None:
        for answer in answers:
            self._retained[answer.topic] = (self.gateway.now_s, answer.payload)
            if self._connected:
                self.tell(Message(answer.topic, answer.payload, retain=False))


class Life:
    """One device and its gateway, in `folder`."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        random.seed(plan.seed)  # the publisher's jitter
        self.plan, self.totals, self._random = plan, Totals(), random.Random(plan.seed)
        self.gateway = Gateway(folder, seed=plan.seed)
        self.device = self.gateway.member()
        self.path = folder / "device" / "journal.db"
        self.clock = FakeClock()
        self.clock.set_wall(self.gateway.now_s)
        self.oracle = Oracle(round(1.5 * plan.days * DAY_S / INTERVAL_S / plan.readings) + 100)
        self.wire = Wire(self.gateway, self.device, self._random)
        self._synced_s = self._beacon_s = self.began_s = self.gateway.now_s
        self._outages, self._reboots = self._draw_outages(), self._draw_reboots()
        self._start()

    def run(self) -> Iterator[float]:
        """Live; each day that has passed."""
        end_s, day_s = self.began_s + self.plan.days * DAY_S, self.began_s + DAY_S
        outage, reboot = next(self._outages), next(self._reboots)
        broken_until_s = 0.0
        while self.gateway.now_s < end_s:
            self._step()
            if not self.wire.up and self.gateway.now_s >= broken_until_s:
                self.wire.up = True
            if self.wire.up and self.gateway.now_s >= outage[0]:
                self.wire.cut()
                broken_until_s, self.totals.outages = self.gateway.now_s + outage[1], self.totals.outages + 1
                self.totals.longest_outage_s = max(self.totals.longest_outage_s, outage[1])
                outage = next(self._outages)
            if self.gateway.now_s >= reboot[0]:
                self._interrupt(reboot[1])
                reboot = next(self._reboots)
            if self.gateway.now_s >= day_s:
                day_s += DAY_S
                yield (self.gateway.now_s - self.began_s) / DAY_S
        self._drain()

    def size(self) -> int:
        """Of the journal's files, in bytes."""
        files = (self.path, self.path.with_name("journal.db-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        self.journal.close()
        self.gateway.close()

    # The device

    def _start(self) -> None:
        self.journal = open_journal(self.path, self.device.id, self.clock.boot_id).journal
        self.sealer = Sealer(
            self.device.signer,
            gateway_parts.NETWORK,
            ProofSettings(self.plan.readings, window_s=3600),
            self.clock,
        )
        self.sealer.descriptor, self.sealer.oracle = make_descriptor(), self.oracle
        settings = JournalSettings(max_bytes=self.plan.max_bytes, free_floor_bytes=0)
        self.keeper = Keeper(self.journal, self.sealer, settings, self.clock, self._sealed, self._quarantined)
        keys = (gateway_parts.GATEWAY.public_key,)
        given = Membership(self.device.id, gateway_parts.NETWORK, "test", keys, (), 0, None)
        self.publisher = Publisher(
            *(self.device.id, Joined("", keys, b"", given), self.keeper, self.sealer, self.wire.attach),
            *(MqttSettings().in_flight, lambda: self.clock.boottime_ns() / 1e9),
            *(lambda _challenge: None, self._news),
        )

    def _sealed(self) -> None:
        self.publisher.wake()

    def _quarantined(self, sentence: str) -> None:
        raise AssertionError(sentence)

    def _news(self, sentence: str) -> None:
        raise AssertionError(sentence)

    def _pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.gateway.now_s += seconds
        if self.clock.source != SOURCE_NTP and self.gateway.now_s >= self._synced_s:
            self.clock.set_wall(self.gateway.now_s)
            self.clock.source, self.clock.maxerror_us = SOURCE_NTP, 1_000

    def _step(self) -> None:
        """Some readings, or a short silence of the instrument; then everybody's turn."""
        if self._random.random() < self.plan.together * INTERVAL_S / 3600 / self.plan.silent_every_h:
            self._miss(self._random.randint(1, 400))
        samples = [self._sample(number) for number in range(self.plan.together)]
        self.keeper.call_all([partial(Journal.append, sample=sample) for sample in samples])
        self.totals.captured += len(samples)
        self._exchange()

    def _sample(self, number: int) -> Captured:
        self._pass(INTERVAL_S)
        raw = self._random.randbytes(self.plan.raw)
        return captured(self.clock, self.totals.captured + number, raw=raw)

    def _miss(self, count: int) -> None:
        for _ in range(count):
            self._pass(INTERVAL_S)
            at_ns = self.clock.boottime_ns()
            self.keeper.note_missed(Missed("bme280-76", self.clock.boot_id, at_ns, at_ns, "no answer"))
        self.totals.missed += count

    def _exchange(self) -> None:
        if self.gateway.now_s - self._beacon_s >= self.plan.beacon_s:
            self._beacon_s = self.gateway.now_s
            self.wire.beacon()
        self.publisher.turn()
        for _ in range(_ROUND_TRIPS):
            if not self.wire.carry():
                break
            self.publisher.turn()
        self.totals.size = max(self.totals.size, self.size())

    def _drain(self) -> None:
        """Until nothing more happens: all that is kept is sealed and receipted."""
        self.wire.up = True
        self.keeper.seal_open_window()
        for _ in range(100_000):
            log = self.journal.open_log()
            assert log is not None
            if self.journal.receipted_seq(log.id) == log.seq:
                return
            self._pass(INTERVAL_S)
            self._exchange()
        raise AssertionError("the last proofs were never receipted")

    def _interrupt(self, how: str) -> None:
        self.totals.boots += how != "kill"
        if how == "reboot":
            self.keeper.seal_open_window()
            self.publisher.turn()
            self.journal.close()
        else:
            self._die()
        if how == "kill":
            self._pass(self._random.uniform(1, 30))
        else:
            stood_s = self.clock.wall().ns / 1e9
            self.gateway.now_s += self._random.uniform(20, 600)
            self.clock.reboot()
            self.clock.set_wall(stood_s)
            self.clock.lose_sync()
            self._synced_s = self.gateway.now_s + self._random.uniform(60, 900)
            self.gateway.restart()
        self._start()

    def _die(self) -> None:
        """With a transaction under way; nobody was told that its sample is kept."""
        self.totals.crashes += 1
        self.journal.begin()
        self.journal.append(self._sample(0))
        kept = self.path.parent.with_name("kept")
        shutil.copytree(self.path.parent, kept)
        self.journal.rollback()
        self.journal.close()
        shutil.rmtree(self.path.parent)
        kept.rename(self.path.parent)
        self.path.with_name("journal.db-shm").unlink(missing_ok=True)

    # What will happen

    def _draw_outages(self) -> Iterator[tuple[float, float]]:
        """(begins at, lasts), in order."""
        rng, short_s, long_s = random.Random(self.plan.seed + 1), self.began_s, self.began_s
        short_s += rng.expovariate(1 / 21_600)
        long_s += rng.expovariate(1 / (self.plan.long_every_d * DAY_S))
        while True:
            if short_s < long_s:
                yield short_s, rng.lognormvariate(4.094, 1.5)
                short_s += rng.expovariate(1 / 21_600)
            else:
                yield long_s, min(14.0 * DAY_S, 7_200 * rng.paretovariate(0.7))
                long_s += rng.expovariate(1 / (self.plan.long_every_d * DAY_S))

    def _draw_reboots(self) -> Iterator[tuple[float, str]]:
        at_s = self.began_s
        while True:
            for how in ("reboot", "power cut", "kill"):
                at_s += self.plan.reboot_every_d * DAY_S
                yield at_s, how


@dataclass(slots=True)
class Memory:
    """Resident bytes of the whole process, by day."""

    days: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def sample(self, day: float) -> None:
        self.days.append(day)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident.append(float(pages * resource.getpagesize()))

    def bytes_per_year(self) -> float:
        """Slope of the line through the samples, the first tenth left out: caches fill. Two are needed."""
        start = len(self.days) // 10
        if len(self.days) < 2:
            return math.nan
        return 365 * statistics.linear_regression(self.days[start:], self.resident[start:]).slope


def live(life: Life, say: Callable[[float, Memory], None] = lambda _day, _memory: None) -> Memory:
    """To the end of the plan; `say` is called each day."""
    memory = Memory()
    for day in life.run():
        memory.sample(day)
        say(day, memory)
    return memory


def account(life: Life) -> Totals:
    """Everything the gateway holds, against what the oracle knows; raises AssertionError.

    1. The accepted proofs are of one log, each continues the one before it (§3.2 prev, §4.7).
    2. Where numbers are left out, gaps that accepted proofs signed bridge them, hash by hash.
    3. Each accepted proof holds the readings it was sealed with, none twice, none of another.
    4. What was captured was receipted or stands in a declared gap; what was missed was declared, or is lost
       with a proof in one."""
    totals, oracle = life.totals, life.oracle
    first_number = [0, *accumulate(oracle.readings)]
    gaps: set[tuple[int, int, bytes]] = set()
    jumps: list[
        tuple[int, int, object]
    ] = []  # first and last of what is left out, and what the next continues
    logs: set[bytes] = set()
    seq, head = 0, None
    for data in life.gateway.register.accepted(life.device.id):
        proof = parse(data)
        claims = proof.claims
        proof.signed.require_signature([life.device.signer.public_key])
        logs.add(claims.log)
        if claims.seq != seq + 1:
            jumps.append((seq + 1, claims.seq - 1, claims.prev))
        else:
            assert claims.prev == head, f"proof {claims.seq} does not continue the one before it"
        gaps.update((gap.first_seq, gap.last_seq, gap.last_hash) for gap in claims.gaps)
        numbers = [int(reading.values[1].value) - 100_000 for reading in proof.readings()]
        begin = first_number[claims.seq]
        expected = range(begin, begin + oracle.readings[claims.seq])
        assert numbers == list(expected), f"proof {claims.seq} holds other readings"
        totals.receipted += len(numbers)
        totals.lost += sum(lost.count for lost in claims.lost)
        totals.proofs += 1
        seq, head = claims.seq, object_hash(data)
    assert len(logs) == 1, "the log was left"
    for first, last, prev in jumps:
        bridges = [gap for gap in gaps if gap[0] <= first and gap[1:] == (last, prev)]
        assert bridges, f"{first} to {last} are missing, and no signed gap says so"
        totals.gaps += 1
        totals.in_gaps += sum(oracle.readings[first : last + 1])
        totals.lost_in_gaps += sum(oracle.lost[first : last + 1])
    assert totals.captured == totals.receipted + totals.in_gaps, totals
    assert totals.missed == totals.lost + totals.lost_in_gaps, totals
    return totals


def main() -> None:
    """Live a year, or so many days as are asked for, and say what came of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    days, seed = (float(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 1 else (365.0, 1)
    plan = Plan(days=days, seed=seed, reboot_every_d=days / 12)
    shm = Path("/dev/shm")
    began_s = time.monotonic()

    def say(day: float, memory: Memory) -> None:
        if round(day) % 10 == 0:
            mib, s = memory.resident[-1] / 2**20, time.monotonic() - began_s
            print(
                f"day {day:.0f}: {s:.0f} s, {mib:.1f} MiB resident, {life.size()} bytes of journal",
                flush=True,
            )

    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        life = Life(Path(folder), plan)
        memory = live(life, say)
        lived_s, used_s = time.monotonic() - began_s, time.process_time()
        totals = account(life)
        ledger = (Path(folder) / "ledger.db").stat().st_size
        life.close()
    print(f"{plan}\n{totals}")
    print(
        f"lived {lived_s:.0f} s ({used_s:.0f} s of processor), load {os.getloadavg()[1]:.1f}; memory grows "
        f"{memory.bytes_per_year() / 1e6:.2f} MB a year, at most {max(memory.resident) / 2**20:.1f} MiB; "
        f"journal at most {totals.size - plan.max_bytes} bytes above its cap; ledger {ledger / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
