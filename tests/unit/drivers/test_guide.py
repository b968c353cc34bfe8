"""The driver author's guide: its code runs, its configuration is accepted, its table is the catalogue's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent import cli
from agent.buses import PaperBuses
from agent.settings import parse
from drivers import catalogue
from hardware_sim import toml_file
from hardware_sim.clock import PacedClock
from hardware_sim.faults import FaultFile

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "adding-a-driver.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("begins", "prints"),
    [
        ("from pathlib", ("Identity(model='MH-Z19B'", "is starting. 10.0")),
        ("from agent", ("Identity(model='SHT4x'", "Sample(values=(", "written=b'\\x89'")),
    ],
)
def test_the_programs_that_run_as_they_stand_do(begins, prints):
    (program,) = (block for block in blocks("python") if block.startswith(begins))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [text for text in prints if text not in done.stdout] == []


def test_the_configuration_is_accepted_and_the_faults_fit_it(tmp_path):
    instrument, wrong = blocks("toml")
    table = tomllib.loads(f'state_dir = "{tmp_path}"\nkey = "sim:{tmp_path}/key"\n{instrument}')
    found = cli.check(parse(table, "guide"))
    path = tmp_path / "faults.toml"
    path.write_text(wrong)
    named = {fault.instrument for fault in toml_file.load(FaultFile, path).fault}
    assert named == {i.name for i in found.instrument}


def test_the_entries_it_shows_are_those_of_the_catalogues():
    shown = [block.strip() for block in blocks("python") if block.startswith('"mhz19b"')]
    assert len(shown) == 2
    sources = [(ROOT / folder / "catalogue.py").read_text() for folder in ("drivers", "hardware_sim/parts")]
    assert all(line in source for line, source in zip(shown, sources, strict=True))


def rows():
    lines = [line for line in GUIDE.split("## The parts")[1].splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): cells[1:] for cells in (line.strip("|").split("|") for line in lines)}


def test_its_table_has_every_driver_and_no_other():
    assert sorted(rows()) == list(catalogue.known())


@pytest.mark.parametrize("name", catalogue.known())
def test_a_row_of_its_table_is_what_the_catalogue_says(name):
    bus, quantities = rows()[name][:2]
    part = catalogue.entry(name)
    assert bus.split()[0].strip(",") == part.bus
    if part.bus == "i2c":
        assert [int(text.strip(","), 16) for text in bus.split()[1:]] == list(part.addresses)
    assert ("units 1 to 247" in bus) == (part.bus == "serial" and bool(part.addresses))
    address = "28-0316a2794bff" if part.bus == "w1" else None
    place = {"i2c": "i2c:1", "w1": "w1:", "serial": "serial:/dev/x"}[part.bus]
    made = catalogue.create(name, PaperBuses().get(place), address, PacedClock(0, 0))
    assert quantities.strip().split(", ") == [quantity.name for quantity in made.quantities]


def test_every_file_it_names_is_there():
    named = set(re.findall(r"`([a-z_]+(?:/[a-z0-9_]+)+\.py)`", GUIDE))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
