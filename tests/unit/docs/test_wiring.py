"""docs/wiring.md: every part is there, and what is said of it is what catalogue and drivers say."""

from __future__ import annotations

import re
import tomllib
from importlib import util
from pathlib import Path

import pytest

from agent import cli
from agent.settings import parse
from drivers import catalogue
from tests.docs_commands import ROOT

PAGE = (ROOT / "docs" / "wiring.md").read_text()
SNIPPETS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
    for cells in (line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


def settings(snippet):
    table = {"state_dir": "/var/lib/fieldproof", "key": "file:/k", **tomllib.loads(snippet)}
    return cli.check(parse(table, "the snippet"))


def speeds_in(name):
    """The line speeds that a driver's source names."""
    spec = util.find_spec(catalogue.entry(name).module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    listed = re.findall(r"_SPEEDS = \(([\d, ]+)\)", source) + re.findall(r"LineSettings\(([\d_]+)\)", source)
    return {int(speed) for speeds in listed for speed in speeds.split(",")}


def test_no_part_is_missing_and_none_is_there_that_has_no_driver():
    assert sorted(ROWS) == list(catalogue.known())
    with_snippet = [i.driver for snippet in SNIPPETS for i in settings(snippet).instrument]
    assert sorted(with_snippet) == list(catalogue.known())


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: re.findall('driver = "(.*)"', text)[0])
def test_a_snippet_is_a_configuration_that_check_config_takes(snippet):
    for instrument in settings(snippet).instrument:
        part = catalogue.entry(instrument.driver)
        assert instrument.bus.partition(":")[0] == part.bus
        assert instrument.deadline_s >= part.deadline_s


@pytest.mark.parametrize("name", catalogue.known())
def test_a_row_says_bus_addresses_and_speed_as_catalogue_and_driver_do(name):
    part, (_, supply, signals, at) = catalogue.entry(name), ROWS[name]
    assert supply
    assert signals
    bus, *rest = at.replace(",", "").replace(";", "").split()
    assert {"I2C": "i2c", "serial": "serial", "1-Wire": "w1"}[bus.strip(",")] == part.bus
    if part.bus == "i2c":
        assert [int(address, 16) for address in rest] == list(part.addresses)
    if part.bus == "serial":
        said = at.partition("; unit")[0]
        assert {int(number) for number in re.findall(r"\d+", said)} == speeds_in(name)
        assert ("unit 1 to 247" in at) == bool(part.addresses)


def test_signals_of_5_v_never_go_to_a_pin_of_the_header():
    for name in (name for name, row in ROWS.items() if "5 V" in row[2] and "3.3 V" not in row[2]):
        (snippet,) = (text for text in SNIPPETS if f'driver = "{name}"' in text)
        assert "serial0" not in snippet
