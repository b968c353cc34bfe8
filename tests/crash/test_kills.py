"""SIGKILL at random moments, over a real Mosquitto: nothing is lost, nothing is signed twice.

- The oracle is outside: what the agent's `append` returned from, one line each, written by a witness.
- The seed of a run is in its name; the moments also depend on the machine, so a seed is a starting point.
- After the last fault everything must be receipted within a bound: liveness is part of the claim.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
from pathlib import Path

import pytest

from agent import papers
from agent.journal import Journal
from hardware_sim import audit
from hardware_sim.testnet import TestNetwork
from proof import bundle, cbor, cose, joining, sealing
from proof.cose import Typ
from tests.conftest import Mosquitto

READINGS_PER_PROOF = 20
SPEED = 12_000  # one reading a virtual minute: 200 a second
EVERYTHING_RECEIPTED_S = 240


class ChaosNetwork(TestNetwork):
    """The demo's network over a real broker."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        super().__init__(folder, READINGS_PER_PROOF)
        self._mosquitto, self._port = mosquitto, mosquitto.port

    def start_broker(self) -> None:
        """The fixture's runs already."""

    def start_agent(self, readings: int) -> None:
        options = ("--config", self.config, "--captured", self.captured, "--until-done")
        world = ("--climate", 7, "--readings", readings, "--speed", SPEED)
        self.start("agent", "hardware_sim", "run", *options, *world)

    def runs_for(self, seconds: float) -> None:
        """The agent has to stay alive that long, whatever happens around it."""
        with pytest.raises(subprocess.TimeoutExpired):
            self._running["agent"].wait(seconds)

    def ends_well(self) -> None:
        try:
            code = self._running["agent"].wait(EVERYTHING_RECEIPTED_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not everything was receipted: {json.dumps(self.status())}")
        assert code == 0, self.log("agent").read_text()[-2000:]

    def witnessed(self) -> int:
        return len(self.captured.read_text().splitlines()) if self.captured.exists() else 0


@pytest.mark.mosquitto
@pytest.mark.parametrize(
    ("kills", "seed"),
    [
        pytest.param(10, 1, marks=pytest.mark.timeout(400)),
        pytest.param(200, 2, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_no_reading_is_lost_or_signed_twice_by_kills_of_agent_gateway_and_broker(
    kills: int, seed: int, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    dice = random.Random(seed)
    with ChaosNetwork(tmp_path, mosquitto) as network:
        network.set_up(lambda _phase: None)
        for kill in range(1, kills + 1):
            network.start_agent(readings=1_000_000)
            network.runs_for(dice.uniform(0.2, 2.2))
            if kill % 5 == 0:
                network.kill("gateway")
            if kill % 7 == 0:
                mosquitto.kill()
            network.kill("agent")
            if kill % 7 == 0:
                mosquitto.start()
            if kill % 5 == 0:
                network.start("gateway", "gateway", "listen", "--dir", network.gateway)
        network.start_agent(readings=network.witnessed() + 200)
        network.ends_well()
        tally, suspended, verdicts = judge(network, kills)
    print(f"{kills} kills, seed {seed}: {tally.line()}")
    assert tally.captured > kills, "the agent was never alive long enough to capture anything"
    assert (tally.lost, tally.duplicates, tally.problems) == (0, 0, ())
    assert not suspended
    assert not {"equivocation", "rolled_back", "broken_chain"} & verdicts.keys()


def judge(network: TestNetwork, kills: int) -> tuple[audit.Tally, bool, dict[str, int]]:
    """What the gateway can prove, held against the witness; and what it thinks of the device."""
    file = network.folder / "evidence.cbor"
    network.command("gateway", "evidence", network.device, "--dir", network.gateway, "--output", file)
    data = file.read_bytes()
    bundle.examine(data, joining.parse_claim(network.claim).gateway_keys)  # every signature, the whole chain
    rest, proofs = cbor.take_bstr(memoryview(data))[1], []
    while rest:
        item, rest = cbor.take_bstr(rest)
        if cose.typ_of(item) is Typ.PROOF:
            proofs.append(sealing.parse(item))
    with contextlib.closing(Journal(network.state / "journal.db", network.device)) as journal:
        captured = papers.counts(journal).captured
    witness = audit.witnessed(network.captured.read_text().splitlines())
    (line,) = json.loads(network.command("gateway", "devices", "--dir", network.gateway, "--json"))
    return audit.tally(proofs, witness, captured, kills), line["suspended"], line["verdicts"]
