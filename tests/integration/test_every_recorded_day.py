"""Every recorded day of a real station through the whole node, without waiting: chip registers, driver,
sampler, journal, sealer; then its proofs are verified and held against the recording.

The demo does the same with processes, a broker and a gateway in between (`test_demo`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from agent.settings import load
from drivers.contract import Flag
from hardware_sim import audit
from hardware_sim.audit import Proven, Tally
from hardware_sim.replay import ReplayWorld
from hardware_sim.scenario import attempts_ns, recorded
from proof import verify, wire
from proof.chain import Head
from proof.claims import Lost
from proof.keys import public_key_of
from proof.reasons import Reason
from proof.rotation import DeviceKey
from proof.sealing import Proof
from proof.verify import DeviceRecord
from tests.conftest import wait_until
from tests.proof_samples import World as Known
from tests.sim_parts import NETWORK, joined_config, live, sealed

DATA = Path(__file__).parents[3] / "shared" / "data" / "bme280_sds011_aberdeen"
DAYS = sorted(DATA.glob("*bme280*.csv"))
MEMORY = Path("/dev/shm")
# Among these is whatever the others hold too; the last test looks. `make test-all` lives all 47.
QUICK = ("2018-07-09", "2018-07-28", "2018-12-16", "2018-12-29", "2019-04-15", "2019-05-24")
ABSENT = "the shared recordings are not beside this checkout"


@dataclass(frozen=True)
class Day:
    world: ReplayWorld
    readings: list[Proven]
    losses: list[Lost]
    tally: Tally

    def lost_between(self, first_s: int, last_s: int) -> int:
        """Samples declared lost between two wall times."""
        begin_ns, end_ns = (t_s * 10**9 - self.world.origin_ns for t_s in (first_s, last_s))
        inside = (lost for lost in self.losses if begin_ns <= lost.from_boottime_ns < end_ns)
        return sum(lost.count for lost in inside)


def accepted(proofs: list[Proof], device: str) -> list[Proof]:
    """What a verifier that knows only the device's key accepts; each proof travels as its message."""
    record = DeviceRecord(device, DeviceKey(public_key_of(device)))
    known = Known(network=NETWORK, members={device: record}, beacons={}, descriptors={})
    passed = []
    for proof in proofs:
        judged = verify.verify(wire.deflate(proof.data), proof.claims.sealed_at_s, known)
        assert judged.verdict.reason is Reason.ACCEPTED, judged.verdict
        assert judged.readings is not None
        assert judged.proof is not None
        claims = proof.claims
        known.hashes[device, claims.log, claims.seq] = proof.hash
        if claims.descriptor:
            known.descriptors[claims.descriptor_hash] = claims.descriptor
        record = replace(record, head=Head(claims.log, claims.seq, proof.hash), bootcount=claims.bootcount)
        known.members[device] = record
        passed.append(judged.proof)
    return passed


def lived(folder: Path, *paths: Path) -> Day:
    folder.mkdir(exist_ok=True)
    config, device = joined_config(folder)
    settings, world = load(config), ReplayWorld.from_csv(*paths)
    live(settings, recorded(world), wait_until, folder / "captured")
    kept, captured = sealed(settings, device)
    proofs = accepted(kept, device)
    witness = audit.witnessed((folder / "captured").read_text().splitlines())
    return Day(
        world,
        audit.proven(proofs),
        [lost for proof in proofs for lost in proof.claims.lost],
        audit.tally(proofs, witness, captured, kills=0),
    )


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """In memory where there is such a place: 21,000 commits that survive a power cut are tested elsewhere."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def each_day() -> Iterator[object]:
    """One that skips where there are none."""
    for path in DAYS or [DATA]:
        name = path.name[:10]
        yield pytest.param(path, id=name, marks=pytest.mark.slow if DAYS and name not in QUICK else ())


@pytest.fixture(scope="module", params=list(each_day()))
def day(request: pytest.FixtureRequest, scratch: Path) -> Day:
    if not request.param.is_file():
        pytest.skip(ABSENT)
    folder = tempfile.mkdtemp(dir=scratch)  # the same day again, where its tests came in several turns
    return lived(Path(folder), request.param)


def test_every_row_comes_out_of_verified_proofs_once_and_as_recorded(day):
    assert day.tally.good, day.tally
    assert day.tally.receipted == sum(bool(row.values()) for row in day.world.rows)
    assert audit.against_recording(day.readings, day.world.rows) == []


def test_a_blank_field_is_no_value_and_fog_is_flagged_clamped(day):
    rows = {row.t_s: row for row in day.world.rows}
    for reading in day.readings:
        row = rows[reading.wall_s]
        assert ("pressure" in reading.values) == (row.pressure_Pa is not None)
        assert ("humidity" in reading.values) == (row.humidity_pctRH is not None)
        assert bool(reading.flags & Flag.CLAMPED) == (row.humidity_pctRH == 100.0), row


def test_every_hole_is_a_signed_loss_and_nothing_else_is(day):
    assert {lost.reason for lost in day.losses} <= {"instrument gone"}
    declared = 0
    for before, after in pairwise(day.world.rows):
        in_hole = day.lost_between(before.t_s + 1, after.t_s)
        beats = (after.t_s - before.t_s) / day.world.nominal_s
        assert in_hole == 0 if beats <= 2.5 else beats - 3 <= in_hole <= beats, (before, after)
        declared += in_hole
    assert declared == sum(lost.count for lost in day.losses)
    assert declared == len(attempts_ns(day.world)) - len(day.world.rows)


def test_a_night_without_power_is_one_honest_gap_and_the_same_specimen_after_it(tmp_path):
    nights = [path for path in DAYS if path.name[:10] in ("2018-07-11", "2018-07-12")]
    if not nights:
        pytest.skip(ABSENT)
    two_days = lived(tmp_path, *nights)
    before, after = max(pairwise(two_days.world.rows), key=lambda pair: pair[1].t_s - pair[0].t_s)
    assert after.t_s - before.t_s == 26_451
    lost = two_days.lost_between(before.t_s + 1, after.t_s)
    assert 26_451 // two_days.world.nominal_s - 2 <= lost <= 26_451 // two_days.world.nominal_s
    assert not any(before.t_s < reading.wall_s < after.t_s for reading in two_days.readings)
    back = next(reading for reading in two_days.readings if reading.wall_s == after.t_s)
    assert back.flags & Flag.REOPENED
    assert audit.against_recording(two_days.readings, two_days.world.rows) == []


def test_the_recordings_hold_what_the_tests_above_claim_to_have_seen():
    if not DAYS:
        pytest.skip(ABSENT)
    worlds = [ReplayWorld.from_csv(path) for path in DAYS]
    assert len(worlds) == 47
    quick = [ReplayWorld.from_csv(path) for path in DAYS if path.name[:10] in QUICK]
    assert len(quick) == len(QUICK)
    for some, foggy, missed in ((worlds, 1_000, 4_000), (quick, 500, 400)):
        rows = [row for world in some for row in world.rows]
        assert any(0 < len(row.values()) < 3 for row in rows)
        assert sum(row.humidity_pctRH == 100.0 for row in rows) > foggy
        assert sum(len(attempts_ns(world)) - len(world.rows) for world in some) > missed
