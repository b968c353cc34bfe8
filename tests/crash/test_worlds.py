"""Worlds that are killed and broken by seeds (`make crash`): short ones here, each menu of faults once.

What they show is the oracle's to say (`tests.crash.oracle`); that it can say no is shown here, too.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MOSQUITTO
from tests.crash import failing_disk, faults, oracle, proxy
from tests.crash.oracle import Allowed
from tests.crash.world import World

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (Debian package `mosquitto`)"),
]


def run_world(folder: Path, seed: int, lives: int, *menus: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.crash.run_world", f"--seed={seed}", f"--lives={lives}"]
    command += [f"--folder={folder}", *(f"--menu={menu}" for menu in menus), *more]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        try:
            said, errors = ran.communicate()
        except BaseException:  # whatever it is: it is to end its own processes
            ran.terminate()
            raise
    assert said, errors
    verdict: dict[str, Any] = json.loads(said)
    assert verdict["good"], json.dumps(verdict, indent=1)
    assert ran.returncode == 0, errors
    assert verdict["lost"] == 0
    assert verdict["kills"] + verdict["faults"].get("ended, to be restarted", 0) == lives
    return verdict


def needs_what(menu: str) -> None:
    if menu == "disk" and (sentence := failing_disk.missing()):
        pytest.skip(sentence)


@pytest.mark.parametrize("menu", faults.MENUS)
def test_no_reading_is_lost_whatever_breaks(menu: str, tmp_path: Path) -> None:
    needs_what(menu)
    verdict = run_world(tmp_path, 11, 12, menu)
    assert verdict["captured"] >= 12
    assert verdict["faults"]


# Not damage: with a gateway that is away a store put back may sign a number twice (docs/reliability.md).
@pytest.mark.slow  # a minute or more: 300 kills, faults of every other menu
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_no_reading_is_lost_whatever_breaks_at_once(seed: int, tmp_path: Path) -> None:
    left_out = {"damage", *(["disk"] if failing_disk.missing() else [])}
    menus = [menu for menu in faults.MENUS if menu not in left_out]
    verdict = run_world(tmp_path, seed, 100, *menus)
    assert len(verdict["faults"]) > 15
    assert {"forget", "half_open", "reset", "stranger", "other_device"} & verdict["met"].keys()
    assert verdict["met"].keys() <= {*proxy.MODES, "failed calls"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world in which all went well."""
    said = run_world(tmp_path_factory.mktemp("sound"), 5, 6, "kills", more=("--keep",))
    return Path(said["kept"])


def write(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute(sql).rowcount > 0
        db.commit()


def capture_one_more(world: World) -> None:
    line = json.loads(world.witness.read_text().splitlines()[-1])
    line["boottime_ns"] += 10**10
    with world.witness.open("a") as file:
        file.write(json.dumps(line) + "\n")


def capture_other_values(world: World) -> None:
    world.witness.write_text(world.witness.read_text().replace('"pressure": "', '"pressure": "1'))


def forget_what_was_captured(world: World) -> None:
    world.witness.write_text(world.witness.read_text().splitlines()[0] + "\n")


def lose_the_newest_proof(world: World) -> None:
    write(
        world.ledger,
        "UPDATE proof SET state = 'bypassed' WHERE position = (SELECT max(position) FROM proof)",
    )


def lose_a_proof(world: World) -> None:
    write(world.ledger, "UPDATE proof SET state = 'bypassed' WHERE position = 2")


def hear_of_an_equivocation(world: World) -> None:
    write(world.ledger, "INSERT INTO verdict_count SELECT id, 'equivocation', 1 FROM device")


def sign_another(world: World) -> None:
    write(world.settings.journal_path, "UPDATE proofs SET hash = zeroblob(32) WHERE seq = 2")


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (capture_one_more, "1 readings lost"),
        (capture_other_values, "captured"),
        (forget_what_was_captured, "readings nobody captured"),
        (lose_the_newest_proof, "readings lost"),
        (lose_a_proof, "refused"),
        (hear_of_an_equivocation, "equivocation"),
        (sign_another, "another one is in the ledger"),
    ],
)
def test_the_oracle_says_no(tamper: Callable[[World], None], says: str, sound: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "world")
    world = World(folder, folder / "state", 5, 3 + 5 % 9, 1, 1)
    assert oracle.judge(world, Allowed(slack=6)).problems == ()
    tamper(world)
    problems = " ".join(oracle.judge(world, Allowed(slack=6)).problems)
    assert says in problems


def test_a_seed_is_a_plan() -> None:
    menus = tuple(faults.MENUS)
    assert faults.draw(7, menus, 50) == faults.draw(7, menus, 50) != faults.draw(8, menus, 50)
    met = {fault.kind for life in faults.draw(7, menus, 200).lives for fault in life.faults}
    assert met == {kind for menu in menus for kind in faults.MENUS[menu]}
    answers = {fault.kind for life in faults.draw(7, ["answers"], 200).lives for fault in life.faults}
    assert answers == {*proxy.ANSWERS}
