"""A device changes its key while it runs and while it does not, over a real broker; then a thief tries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hardware_sim.testnet import NetworkFailed, TestNetwork
from proof import bundle, joining
from proof.keys import key_id
from tests.conftest import Mosquitto, wait_until

SPEED = 3_000  # 50 readings a second
PATIENCE_S = 60.0


class Network(TestNetwork):
    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        super().__init__(folder, readings_per_proof=10)
        self._port = mosquitto.port

    def start_broker(self) -> None:
        """The fixture's runs already."""

    def start_agent(self, config: Path, readings: int, *options: str) -> None:
        world = ("--climate", 7, "--readings", readings, "--speed", SPEED, "--captured", self.captured)
        self.start("agent", "hardware_sim", "run", "--config", config, *world, *options)

    def await_receipts(self, more: int) -> None:
        def seq() -> int:
            status = self.status()
            return int(status["proofs"]["receipted_seq"]) if status else -1  # type: ignore[index]

        wait_until(lambda: seq() >= 0, PATIENCE_S, "an answer of the agent")
        enough = seq() + more
        wait_until(lambda: seq() >= enough, PATIENCE_S, "receipts")

    def rotate(self) -> dict[str, object]:
        return dict(json.loads(self.command("provisioning", "rotate", "--json", "--config", self.config)))

    def await_settled(self) -> None:
        after = self.state / "device.key.after"
        wait_until(lambda: not after.exists(), PATIENCE_S, "the old key to go")

    def devices(self) -> dict[str, object]:
        (line,) = json.loads(self.command("gateway", "devices", "--dir", self.gateway, "--json"))
        return dict(line)


@pytest.mark.mosquitto
@pytest.mark.timeout(400)  # some twelve processes one after the other, on a busy machine
def test_keys_change_under_way_and_at_rest_and_who_stole_the_old_one_gets_nothing(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with Network(tmp_path, mosquitto) as network:
        network.set_up(lambda _phase: None)
        network.start_agent(network.config, 1_000_000)
        network.await_receipts(2)
        network.stop("agent")
        stolen = network.folder / "stolen"
        shutil.copytree(network.state, stolen)
        config = network.folder / "stolen.toml"
        config.write_text(network.config.read_text().replace(str(network.state), str(stolen)))

        network.start_agent(network.config, 1_000_000)
        network.await_receipts(1)
        first = network.rotate()
        assert first["by_running_agent"]
        network.await_settled()
        second = network.rotate()
        assert second["old_key"] == first["new_key"]
        network.await_settled()
        network.await_receipts(1)
        network.stop("agent")

        third = network.rotate()
        assert (third["by_running_agent"], third["old_key"]) == (False, second["new_key"])
        with pytest.raises(NetworkFailed, match="failed with 1"):
            network.rotate()
        network.start_agent(network.config, _witnessed(network) + 100, "--until-done")
        wait_until(lambda: network.exit_code("agent") is not None, PATIENCE_S, "everything receipted")
        assert network.exit_code("agent") == 0
        assert sorted(path.name for path in network.state.glob("device.key*")) == [
            "device.key",
            "device.key.next",
        ]
        network.command("provisioning", "join", "-", "--config", network.config, text=network.claim)

        before = network.devices()
        assert (before["readings"], before["suspended"]) == (_witnessed(network), False)
        kids = [done["new_key"] for done in (first, second, third)]
        assert _turns(network, _evidence(network)) == [(kid, True) for kid in kids]
        assert _turns(network, _export(network)) == [(kid, True) for kid in kids]

        network.start_agent(config, 1_000_000)
        log = network.log("gateway")
        wait_until(lambda: "reason=bad_key" in log.read_text(), PATIENCE_S, "the thief's first proof")
        network.stop("agent")
        after = network.devices()
        assert {**after, "verdicts": {}} == {**before, "verdicts": {}}
        assert network.exit_code("gateway") is None


def _witnessed(network: Network) -> int:
    return len(network.captured.read_text().splitlines())


def _evidence(network: Network) -> Path:
    file = network.folder / "evidence.cbor"
    network.command("gateway", "evidence", network.device, "--dir", network.gateway, "--output", file)
    return file


def _export(network: Network) -> Path:
    """What the device itself shows, when no agent runs."""
    file = network.folder / "export.cbor"
    network.command("agent", "export", "--output", file, "--config", network.config)
    return file


def _turns(network: Network, file: Path) -> list[tuple[str, bool]]:
    keys = joining.parse_claim(network.claim).gateway_keys
    said = network.command("gateway", "verify", file, "--gateway-key", keys[0].hex())
    found = bundle.examine(file.read_bytes(), keys)
    kids = [key_id(turn.new_key).hex() for turn in found.turns]
    assert all(f"{kid}; a gateway confirmed it" in said for kid in kids)
    return [(kid, turn.confirmed) for kid, turn in zip(kids, found.turns, strict=True)]
