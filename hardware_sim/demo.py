"""The demo: a simulated node, a broker and a gateway; then things go wrong; then everything is counted.

- Half way the broker is stopped and the agent killed (SIGKILL); both come back. Later the agent is killed
  once more, at a random moment.
- At the end, from outside: the gateway's evidence bundle is verified with the key of the claim and held
  against what the witness saw captured, and against the recording where there is one.
- The last line is always `Tally.line`; the result is good only if nothing is lost, doubled or different.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent import papers
from agent.journal import Journal
from hardware_sim import audit
from hardware_sim.audit import Tally
from hardware_sim.display import Display, Snapshot, snapshot
from hardware_sim.replay import ReplayWorld, Row
from hardware_sim.scenario import attempts_ns
from hardware_sim.testnet import INTERVAL_S, NetworkFailed, TestNetwork
from proof import bundle, cbor, cose, joining, sealing
from proof.cose import Typ
from proof.reasons import Refused

READINGS_PER_PROOF = 60
_LOOK_S = 0.2
_OUTAGE_S, _DOWN_S = 3.0, 0.5
_PHASE_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the agent is started with, how many readings it will capture, and what they should be."""

    arguments: tuple[object, ...]
    total: int
    rows: tuple[Row, ...] = ()


def recorded(path: Path, seconds: float) -> Plan:
    """A recorded day in about `seconds`. Raises `RecordingError`."""
    world = ReplayWorld.from_csv(path)
    speed = attempts_ns(world)[-1] / 1e9 / seconds
    rows = tuple(row for row in world.rows if row.values())
    return Plan(("--world", path, "--speed", speed), len(rows), rows)


def climate(seed: int, readings: int, seconds: float) -> Plan:
    """`readings` of a synthetic climate in about `seconds`."""
    speed = readings * INTERVAL_S / seconds
    return Plan(("--climate", seed, "--readings", readings, "--speed", speed), readings)


def run(plan: Plan, folder: Path) -> Tally:
    """Everything, in an empty `folder`. Raises `NetworkFailed`."""
    with TestNetwork(folder, READINGS_PER_PROOF) as network, Display(plan.total) as display:
        network.set_up(display.phase)
        kills = _Play(network, display, plan).run()
        display.phase("counting what the verified proofs hold")
        return _count(network, plan, kills)


class _Play:
    def __init__(self, network: TestNetwork, display: Display, plan: Plan) -> None:
        self._network, self._display, self._plan = network, display, plan
        self._seen = Snapshot()

    def run(self) -> int:
        """From the agent's start to its end by itself; how often it was killed."""
        total = self._plan.total
        self._display.phase("capturing")
        self._start_agent()
        self._follow(self._captured(total // 2), "to capture half", "gateway", "broker")
        self._display.phase("the broker is stopped")
        self._network.stop("broker")
        self._follow(_after(_OUTAGE_S), "an outage")
        self._kill_agent("the agent is killed (SIGKILL) while the broker is down")
        self._display.phase("the agent is started again, the broker is still down")
        self._start_agent()
        self._follow(self._captured(self._seen.captured + 1), "to capture without a broker", "gateway")
        self._display.phase("the broker is started again")
        self._network.start_broker()
        moment = random.randint(total * 6 // 10, total * 9 // 10)
        self._follow(self._captured(moment), "to capture on", "gateway", "broker")
        self._kill_agent("the agent is killed again (SIGKILL), at a random moment")
        self._start_agent()
        self._display.phase("the agent is started again; waiting until all is receipted")
        self._follow(lambda: False, "to get everything receipted", "gateway", "broker")
        return 2

    def _start_agent(self) -> None:
        self._network.start(
            "agent",
            "hardware_sim",
            *("run", "--config", self._network.config, "--captured", self._network.captured),
            *("--until-done", *self._plan.arguments),
        )

    def _kill_agent(self, text: str) -> None:
        self._display.phase(text)
        self._network.kill("agent")
        self._seen = replace(self._seen, link="agent not running", in_flight=0, ended=False)
        end = _after(_DOWN_S)
        while not end():
            self._display.update(self._seen)
            time.sleep(_LOOK_S)

    def _captured(self, count: int) -> Callable[[], bool]:
        """True once `count` readings were captured, or all there are."""
        return lambda: self._seen.ended or self._seen.captured >= count

    def _follow(self, reached: Callable[[], bool], what: str, *needed: str) -> None:
        """Show the agent's status until `reached`, or until the agent has ended by itself."""
        too_late = _after(_PHASE_S)
        while not reached():
            self._network.require(*needed)
            code = self._network.exit_code("agent")
            if code is not None:
                if code:
                    raise self._network.failure(f"the agent ended with {code}", "agent")
                return
            if too_late():
                raise self._network.failure(f"the agent had {_PHASE_S:.0f} s {what}", "agent")
            if report := self._network.status():
                self._seen = snapshot(report)
            self._display.update(self._seen)
            time.sleep(_LOOK_S)


def _count(network: TestNetwork, plan: Plan, kills: int) -> Tally:
    claim = joining.parse_claim(network.claim)
    file = network.folder / "evidence.cbor"
    network.command("gateway", "evidence", network.device, "--dir", network.gateway, "--output", file)
    try:
        data = file.read_bytes()
        finding = bundle.examine(data, claim.gateway_keys)
    except Refused as refused:
        raise NetworkFailed(f"The evidence {file} does not verify: {refused.verdict}.") from None
    proofs = [sealing.parse(item) for item in _items(data) if cose.typ_of(item) is Typ.PROOF]
    receipted = [proof for proof in proofs if proof.claims.seq <= finding.receipted_seq]
    with contextlib.closing(Journal(network.state / "journal.db", network.device)) as journal:
        journal_captured = papers.counts(journal).captured
    witness = audit.witnessed(network.captured.read_text().splitlines())
    counted = audit.tally(receipted, witness, journal_captured, kills)
    if not plan.rows:
        return counted
    differences = audit.against_recording(audit.proven(receipted), plan.rows)
    return replace(counted, problems=(*counted.problems, *differences))


def _items(data: bytes) -> list[bytes]:
    """The signed objects of a bundle, behind its header (§11)."""
    rest, items = memoryview(data), []
    while rest:
        item, rest = cbor.take_bstr(rest)
        items.append(item)
    return items[1:]


def _after(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= end_s
