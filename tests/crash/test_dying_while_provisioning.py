"""`init` and `join`, killed before each thing they do: the old state or the new, and one identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent import membership
from agent.keystore import key_exists, open_key, open_next_key
from proof.joining import JoinClaim
from tests.conftest import Mosquitto
from tests.crash.fault_points import Command, Ended, FaultPoints
from tests.joining_parts import CONFIG, NOW_S, FakeGateway, Rules, claim


class World:
    """A device's folder, and who it ever said it was."""

    claim: JoinClaim

    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "agent.toml", folder / "state"
        self.config.write_text(CONFIG.format(state=self.state))
        self.uri = f"sim:{self.state}/device.key"
        self.seen: set[tuple[str, bytes]] = set()

    def look(self) -> None:
        """No key, or a whole pair; `seen` are all that were ever there."""
        if key_exists(self.uri):
            self.seen.add((open_key(self.uri).device, open_next_key(self.uri).public_key))

    def device(self) -> str:
        """The only one it ever was."""
        ((device, _),) = self.seen
        return device

    @property
    def member(self) -> bool:
        return (self.state / "membership.json").exists()

    def membership(self) -> bytes:
        """The signed one; raises for a file that is not whole or not this device's."""
        return membership.load(self.state / "membership.json", self.device(), NOW_S).membership_bytes


@pytest.mark.timeout(240)
def test_init_dies_anywhere_and_repeating_it_gives_one_identity(
    tmp_path: Path, provision: FaultPoints
) -> None:
    def ended(world: World, ended: Ended) -> None:
        assert ended.code == 0, ended.stderr
        world.look()
        assert json.loads(ended.stdout)["device"] == world.device()
        assert sorted(path.name for path in world.state.glob("[!.]*")) == ["device.key", "device.key.next"]

    points = provision.for_each_fault_point(
        tmp_path, World, lambda world: Command(("init", "--json", "-c", str(world.config))), World.look, ended
    )
    kinds = [point.split()[0] for point in points]
    linked = [place for place, kind in enumerate(kinds) if kind == "os.link"]
    assert len(linked) == 2, points
    assert all("os.fsync" in kinds[place - 2 : place] for place in linked), "named before it is on disk"


def test_an_example_configuration_is_whole_or_absent(tmp_path: Path) -> None:
    def after_death(config: Path) -> None:
        assert not config.exists() or config.read_text().endswith("# accuracy_m = 1000\n")

    def after_repeat(config: Path, ended: Ended) -> None:
        assert (ended.code, config.exists()) == (0, True), ended.stderr
        after_death(config)
        assert [path.name for path in config.parent.iterdir()] == ["agent.toml"], "litter"

    with FaultPoints("tests.crash.entries:write_an_example") as entry:
        entry.for_each_fault_point(
            tmp_path,
            lambda folder: folder / "etc" / "agent.toml",
            lambda config: Command((str(config),)),
            after_death,
            after_repeat,
        )


@pytest.mark.mosquitto
@pytest.mark.timeout(240)  # two forks for each of some thirty points, on a busy machine
def test_join_dies_anywhere_and_repeating_it_gives_the_one_membership(
    tmp_path: Path, provision: FaultPoints, mosquitto: Mosquitto
) -> None:
    rules = Rules()
    gateway = FakeGateway(mosquitto.url, rules).start()

    def make_world(folder: Path) -> World:
        world = World(folder)
        world.claim = claim(mosquitto.url, len(rules.claims).to_bytes(8, "big"))
        rules.add(world.claim)
        return world

    def after_death(world: World) -> None:
        world.look()
        if world.member:
            assert world.membership() == rules.members[world.device()]

    def after_repeat(world: World, ended: Ended) -> None:
        assert ended.code == 0, ended.stderr
        world.look()
        assert json.loads(ended.stdout)["device"] == world.device()
        assert world.membership() == rules.members[world.device()]
        used_by = rules.claims[world.claim.claim_id].used_by
        assert used_by == world.device()

    points = provision.for_each_fault_point(
        tmp_path,
        make_world,
        lambda world: Command(("join", world.claim.to_text(), "--json", "-c", str(world.config))),
        after_death,
        after_repeat,
    )
    assert gateway.link.close()
    kinds = [point.split()[0] for point in points]
    assert kinds[kinds.index("os.rename") - 1] == "os.fsync", "named before it is on disk"
    assert len(rules.members) == len(points) + 1, "a device and no other for each world"
