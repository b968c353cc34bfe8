"""`rotate` without an agent, killed before each thing it does: the old key or the new, and one rotation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import rotation
from agent.clock import SystemClock
from agent.journal import Journal
from agent.rotation import KeptKeys
from agent.sealer import Sealer
from agent.settings import ProofSettings
from agent.store import open_journal
from proof import rotation as rotations
from proof import sealing
from proof.keys import public_key_of
from proof.rotation import DeviceKey
from tests.agent_parts import captured, make_descriptor
from tests.crash.fault_points import Command, Ended, FaultPoints
from tests.sim_parts import NETWORK, joined_config


class World:
    """A member that has sealed two proofs and holds two more samples."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.clock, self.samples = folder, folder / "state", SystemClock(), 0
        self.state.mkdir()
        self.config, self.device = joined_config(self.state)
        with self.opened(self.state) as (journal, sealer):
            for _ in range(2):
                self.seal(journal, sealer)
            self.sample(journal)
            self.sample(journal)

    @contextmanager
    def opened(self, state: Path) -> Iterator[tuple[Journal, Sealer]]:
        """As an agent that starts opens it."""
        journal = open_journal(state / "journal.db", self.device, self.clock.boot_id).journal
        try:
            signer, turn = rotation.resume(journal, KeptKeys(f"sim:{state}/device.key", self.clock))
            sealer = Sealer(signer, NETWORK, ProofSettings(), self.clock, turn=turn)
            sealer.descriptor = make_descriptor()
            yield journal, sealer
        finally:
            journal.close()

    def seal(self, journal: Journal, sealer: Sealer) -> None:
        self.sample(journal)
        journal.begin()
        sealer.seal(journal)
        journal.commit()

    def sample(self, journal: Journal) -> None:
        self.samples += 1  # each a second of its own: a proof names none twice
        read_ns = self.clock.boottime_ns() + 10**9 * self.samples
        journal.append(captured(self.clock, self.samples, boottime_ns=read_ns))

    def carriers(self, copy: str) -> list[int]:
        """The proofs that carry a rotation. Found in a copy in which an agent started and sealed once more:
        every proof is signed by the key that those before it say."""
        state = self.folder / copy
        shutil.copytree(self.state, state)
        with self.opened(state) as (journal, sealer):
            self.seal(journal, sealer)
            assert not journal.waiting().samples
            proofs = [sealing.parse(stored.data) for stored in journal.unreceipted(1)]
        key, found = DeviceKey(public_key_of(self.device)), []
        for seq, proof in enumerate(proofs, start=1):
            assert (proof.claims.seq, proof.claims.device) == (seq, self.device)
            if turn := rotations.of_proof(proof.claims):
                key = rotations.succeed(turn, key)
                found.append(seq)
            proof.signed.require_signature([key.public_key])
        assert sum(len(proof.readings()) for proof in proofs) == 5
        return found


@pytest.mark.timeout(300)  # three forks for each of some thirty points, on a busy machine
def test_rotate_dies_anywhere_and_repeating_it_gives_one_rotation(
    tmp_path: Path, provision: FaultPoints
) -> None:
    deaths = []

    def after_death(world: World) -> None:
        deaths.append(world.carriers("dead"))
        assert deaths[-1] in ([], [3])

    def after_repeat(world: World, ended: Ended) -> None:
        said = json.loads(ended.stdout)
        if ended.code == 0:
            assert said["seq"] == 3
        else:  # it had been sealed before the death
            assert (ended.code, deaths[-1]) == (1, [3])
            assert "with proof 3" in said["error"]
        assert world.carriers("repeated") == [3]

    points = provision.for_each_fault_point(
        tmp_path,
        World,
        lambda world: Command(("rotate", "--json", "-c", str(world.config))),
        after_death,
        after_repeat,
    )
    assert any("INTO rotations" in point for point in points), points
    assert [] in deaths
    assert [3] in deaths or points[-1].endswith("COMMIT")
