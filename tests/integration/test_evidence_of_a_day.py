"""A day of a real station, replayed through the whole node and exported: both verifiers judge it, and one
flipped byte anywhere is named."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import papers
from agent.journal import Journal
from agent.settings import load
from hardware_sim.replay import ReplayWorld
from hardware_sim.scenario import recorded
from proof import bundle, receipt, sequence
from proof.receipt import Receipt
from proof.sequence import Spoiled
from tests.conftest import wait_until
from tests.node_parts import judged, second_verifier
from tests.sim_parts import GATEWAY, joined_config, live, made_up_day

DATA = Path(__file__).parents[3] / "shared" / "data" / "bme280_sds011_aberdeen"


@dataclass(frozen=True)
class Exported:
    file: Path
    readings: int

    def verify(self, *options: object) -> subprocess.CompletedProcess[str]:
        words = [self.file, "--gateway-key", GATEWAY.public_key.hex(), *options]
        return _run("verifier.cli", *words)


def _run(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True, timeout=50
    )


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The station's day where the recordings are beside this checkout, else one that was made up."""
    folder = tmp_path_factory.mktemp("day")
    found = sorted(DATA.glob("2018-07-09*bme280*.csv"))
    world = ReplayWorld.from_csv(found[0] if found else made_up_day(folder / "day.csv", 300))
    config, device = joined_config(folder)
    settings = load(config)
    live(settings, recorded(world), wait_until)
    with contextlib.closing(Journal(settings.journal_path, device)) as journal:
        log = journal.open_log()
        assert log is not None
        said = Receipt(device, log.log, log.seq, log.hash, 1_800_000_000)
        journal.begin()
        papers.keep_receipt(journal, log.id, receipt.sign(said, GATEWAY, 1_800_000_000))
        journal.commit()
    file = folder / "evidence.cbor"
    done = _run("agent.cli", "export", "--config", config, "-o", file)
    assert done.returncode == 0, done.stderr
    return Exported(file, sum(bool(row.values()) for row in world.rows))


def test_the_day_is_good_and_every_reading_of_it_is_unpacked(day, tmp_path):
    table = tmp_path / "day.csv"
    done = day.verify("--json", "--csv", table)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["readings"], said["signed_before_s"]) == (day.readings, 1_800_000_000)
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len({row["time"] for row in rows}) == day.readings
    (coverage,) = said["coverage"]
    assert {hole["why"] for hole in coverage["holes"]} <= {"declared_loss"}
    assert 0.5 < coverage["covered"] <= 1


@pytest.mark.node
@pytest.mark.timeout(180)  # the second verifier may have to be installed
def test_the_second_verifier_finds_the_same(day):
    ours = json.loads(day.verify("--json").stdout)
    (theirs,) = judged(second_verifier(), GATEWAY.public_key, [day.file])
    assert theirs["valid"] is True
    for name in sorted(theirs.keys() - {"instruments"}):
        assert theirs[name] == ours[name], name
    assert [one["serial"] for one in theirs["instruments"]] == [one["serial"] for one in ours["instruments"]]


def test_one_flipped_byte_anywhere_in_the_day_is_named(day):
    """Every boundary, and 60 places by a seed."""
    data = day.file.read_bytes()
    places = [item.place for item in sequence.items(sequence.reader(data))]
    positions = {at for place in places for at in (place.offset, place.offset + 1, place.last)}
    positions |= set(random.Random(5).sample(range(len(data)), 60))
    assert len(places) > 5
    for position in sorted(positions):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(Spoiled) as spoiled:
            bundle.examine(changed, [GATEWAY.public_key])
        where = next(place for place in places if place.offset <= position <= place.last)
        assert spoiled.value.place.number == where.number, position


@pytest.mark.slow  # 40 s: the same day with processes, a broker, a gateway and an outage in between
@pytest.mark.node
@pytest.mark.timeout(400)
def test_a_recorded_day_through_broker_and_gateway_is_good_for_both(tmp_path):
    found = sorted(DATA.glob("2018-07-09*bme280*.csv"))
    if not found:
        pytest.skip("the shared recordings are not beside this checkout")
    folder = tmp_path / "d"
    demo = [sys.executable, "-m", "hardware_sim.cli", "demo", "--world", found[0], "--dir", folder]
    done = subprocess.run([*map(str, demo)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((folder / "device" / "membership.json").read_text())["gateway_keys"]
    key = base64.b64decode(kept[0]).hex()
    said = _run("verifier.cli", folder / "evidence.cbor", "--gateway-key", key, "--json")
    ours = json.loads(said.stdout)
    (theirs,) = judged(second_verifier(), bytes.fromhex(key), [folder / "evidence.cbor"])
    assert (ours["valid"], theirs["valid"]) == (True, True)
    for name in (
        "device",
        "proofs",
        "readings",
        "signed_after_s",
        "signed_before_s",
        "receipted_seq",
        "flags",
    ):
        assert theirs[name] == ours[name]
    assert ours["signed_after_s"] is not None
    assert ours["receipted_seq"] == ours["last_seq"]
