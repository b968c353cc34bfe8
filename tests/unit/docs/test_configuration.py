"""docs/configuration.md: what the schema gives, and true: defaults and bounds are those that are in force."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from typing import Any

import pytest

from agent import cli
from agent.errors import FixConfig
from agent.settings import json_schema, parse
from scripts import build_docs
from tests import docs_commands
from tests.docs_commands import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text()
SMALL = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0])
NEEDED: dict[str, dict[str, Any]] = {
    "location": {"lat": 1, "lon": 2},
    "instrument.limits.QUANTITY": {"unit": "Cel"},
}


def rows():
    """(table, key, default, bounds) of each row."""
    table = ""
    for line in PAGE.splitlines():
        if title := re.match(r"## `\[+(.*?)\]+`", line):
            table = title[1]
        elif line.startswith("| `"):
            key, _type, _unit, default, bounds, _what = map(str.strip, line.split("|")[1:-1])
            yield table, key.strip("`"), default, bounds


def with_key(table: str, key: str, value: Any) -> dict[str, Any]:
    """The small file of the page with one key more."""
    changed: dict[str, Any] = {**SMALL, "instrument": [dict(SMALL["instrument"][0])]}
    inner = changed
    for name in filter(None, table.split(".")):
        if name == "instrument":
            inner = changed["instrument"][0]
        else:
            inner = inner.setdefault("temperature" if name == "QUANTITY" else name, {})
    inner.update({**NEEDED.get(table, {}), key: value})
    return changed


@pytest.mark.parametrize(("page", "name"), build_docs.GENERATED)
def test_a_page_made_from_the_code_is_what_the_code_gives(page, name):
    made = build_docs.written(page, name)
    is_there = (ROOT / "docs" / page).read_text() == made
    assert is_there, f"docs/{page} is not what the code gives: run `make docs` and commit the page"


def test_each_key_has_a_sentence():
    schema = json_schema()
    silent = [
        f"{table['title']}.{name}"
        for table in (schema, *schema["$defs"].values())
        for name, key in table["properties"].items()
        if not key.get("description", "").endswith((".", "?"))
    ]
    assert silent == [], "write the string under the key in agent/settings.py, then `make docs`"


def test_the_small_file_is_a_configuration_that_check_config_takes():
    assert cli.check(parse(SMALL, "the page")).instrument[0].name == "roof"


def pieces():
    """Configuration on other pages; a fault file is none (tests/unit/drivers/test_guide.py)."""
    for page in docs_commands.pages():
        for block in docs_commands.blocks(page, (ROOT / page).read_text()):
            if block.language == "toml" and "[[fault]]" not in block.text:
                yield pytest.param(block.text, id=block.place)


@pytest.mark.parametrize("text", list(pieces()))
def test_a_piece_of_configuration_on_any_page_is_one(text):
    cli.check(parse({**SMALL, **tomllib.loads(text)}, "the page"))


def test_what_the_example_offers_in_comments_is_configuration_too():
    example = (ROOT / "provisioning" / "example.toml").read_text()
    offered = re.sub(r"^# (?=\[|[a-z_]+ = )", "", example, flags=re.MULTILINE)
    found = parse(tomllib.loads(offered), "the example")
    assert found.location is not None
    assert found.mqtt.ca_file is not None
    assert found.calibrators


DEFAULTS = [(table, key, default) for table, key, default, _ in rows() if default.startswith("`")]


@pytest.mark.parametrize(("table", "key", "default"), DEFAULTS)
def test_a_default_of_the_page_changes_nothing(table, key, default):
    value = tomllib.loads(f"value = {default.strip('`')}")["value"]
    silent = with_key(table, key, value)
    if table.startswith("location"):
        assert parse(silent, "x") == parse({**SMALL, "location": NEEDED["location"]}, "x")
    else:
        assert parse(silent, "x") == parse(SMALL, "x")


BOUNDS = [(table, key, bounds) for table, key, _, bounds in rows() if bounds]


@pytest.mark.parametrize(("table", "key", "bounds"), BOUNDS)
def test_a_bound_of_the_page_is_kept_and_what_lies_beyond_is_refused(table, key, bounds):
    numbers = [Decimal(text) for text in re.findall(r"-?[\d_]+(?:\.\d+)?", bounds)]
    low, high = numbers[0], numbers[1] if len(numbers) > 1 else None
    step = Decimal(1) if low == int(low) else low / 10
    inside = low + step if bounds.startswith("more than") else low
    outside = low if bounds.startswith("more than") else low - step
    other = {"interval_s": {"deadline_s": 0.001}, "deadline_s": {"interval_s": 100}}.get(key, {})

    def accepts(number: Decimal) -> bool:
        value = int(number) if number == int(number) else float(number)
        file = with_key(table, key, value)
        file["instrument"][0].update(other)
        try:
            parse(file, "x")
        except FixConfig:
            return False
        return True

    assert accepts(inside)
    assert not accepts(outside)
    if high is not None:
        assert accepts(high)
        assert not accepts(high + 1)


def test_all_of_the_schema_is_on_the_page():
    schema = json_schema()
    tables = len(schema["$defs"])
    keys = sum(len(table["properties"]) for table in (schema, *schema["$defs"].values()))
    assert len(list(rows())) == keys - tables  # a key that names a table is a heading
    assert len(DEFAULTS) > 15
    assert len(BOUNDS) > 10
