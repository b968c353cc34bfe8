"""`setup`, killed before each thing it does: run again it goes on, with one identity and one membership."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent import membership, settings
from agent.keystore import key_exists, open_key
from proof.joining import JoinClaim
from tests.conftest import Mosquitto
from tests.crash.fault_points import Command, Ended, FaultPoints
from tests.joining_parts import NOW_S, FakeGateway, Rules, claim


class World:
    def __init__(self, folder: Path, one: JoinClaim) -> None:
        self.config, self.state, self.claim = folder / "etc" / "agent.toml", folder / "state", one
        self.devices: set[str] = set()

    def command(self) -> Command:
        where = ("--config", str(self.config), "--state-dir", str(self.state), "--devices-root", "/none")
        answers = ("--claim", self.claim.to_text(), "--allow-plain", "--no-run", "--json")
        return Command(("setup", *where, *answers))

    def look(self) -> str | None:
        """Whose it is; every file is whole or absent, and the configuration names the key that is there."""
        uri = f"sim:{self.state}/device.key"
        if self.config.exists():
            assert settings.load(self.config).key == uri
        if not key_exists(uri):
            return None
        assert self.config.exists(), "a key that no configuration names"
        self.devices.add(open_key(uri).device)
        (device,) = self.devices
        return device


@pytest.mark.mosquitto
@pytest.mark.slow  # two forks for each of some thirty points; `join` alone is in the quick suite
@pytest.mark.timeout(400)
def test_setup_dies_anywhere_and_goes_on(tmp_path: Path, mosquitto: Mosquitto) -> None:
    rules = Rules()
    gateway = FakeGateway(mosquitto.url, rules).start()

    def make_world(folder: Path) -> World:
        world = World(folder, claim(mosquitto.url, len(rules.claims).to_bytes(8, "big")))
        rules.add(world.claim)
        return world

    def after_repeat(world: World, ended: Ended) -> None:
        said = json.loads(ended.stdout)
        assert ended.code == 1, said
        assert said["to_do"][0].startswith("Start the agent: "), said
        device = world.look()
        assert said["device"] == device
        joined = membership.load(world.state / "membership.json", device or "", NOW_S)
        assert joined.membership_bytes == rules.members[joined.membership.device]
        assert rules.claims[world.claim.claim_id].used_by == device
        assert [path.name for path in world.config.parent.glob("[!.]*")] == ["agent.toml"]

    with FaultPoints("tests.crash.entries:set_up_with_what_is_found") as setup:
        points = setup.for_each_fault_point(tmp_path, make_world, World.command, World.look, after_repeat)
    assert gateway.link.close()
    assert len(rules.members) == len(points) + 1
