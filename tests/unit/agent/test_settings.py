"""Settings: what is wrong in the file is one sentence with the key's path, and nothing else happens."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import check
from agent.errors import FixConfig
from agent.settings import MAX_CONFIG_BYTES, MAX_INSTRUMENTS, Settings, json_schema, load, parse

BARE = 'state_dir = "/s"\nkey = "file:/k"\n'
INSTRUMENT = '[[instrument]]\nname = "a"\ndriver = "bme280"\nbus = "i2c:1"\n'
GOOD = BARE + INSTRUMENT


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent.toml"

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def sentence(path):
    with pytest.raises(FixConfig) as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.sentence
    assert caught.value.sentence.endswith((".", "?"))
    assert len(caught.value.sentence) < 1000
    return caught.value.sentence


def test_the_shortest_file_has_defaults_for_the_rest(config):
    settings = load(config(GOOD))
    assert settings.instrument[0].interval_s == 60.0
    assert settings.proof.readings == 60
    assert settings.mqtt.allow_plain is False
    assert settings.location is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("color = 1\n" + GOOD, "color: there is no such key"),
        (GOOD + 'adress = "0x76"\n', "instrument.0.adress: there is no such key"),
        (GOOD + "[mqtt]\nusr = 1\n", "mqtt.usr: there is no such key"),
        (GOOD + "[instrument.limits.humidity]\nunit = '%RH'\nhi = 9\n", "instrument.0.limits.humidity.hi"),
        (GOOD + "interval_s = 'often'\n", "instrument.0.interval_s"),
        (GOOD + "raw_evidence = 'perhaps'\n", "instrument.0.raw_evidence"),
        (GOOD + "interval_s = 0\n", "instrument.0.interval_s"),
        (GOOD + "interval_s = 1e-9\n", "instrument.0.interval_s"),
        (GOOD + "interval_s = nan\n", "instrument.0.interval_s"),
        (GOOD + "interval_s = inf\n", "instrument.0.interval_s"),
        (GOOD + "interval_s = 1e999999999\n", "instrument.0.interval_s"),
        (GOOD + "interval_s = 2\ndeadline_s = 3\n", "instrument.0: deadline_s is longer than interval_s"),
        (GOOD + INSTRUMENT, "two instruments have the same name"),
        (BARE, "instrument"),
        (BARE + "instrument = []\n", r"1 to 64 [[instrument]] tables are needed"),
        (BARE + "instrument = 7\n", "instrument"),
        (GOOD.replace('"a"', '"Über uns"'), "instrument.0: name: 1 to 32 of a-z, 0-9 and -"),
        (INSTRUMENT, "state_dir"),
        (GOOD + "[proof]\nreadings = 0\n", "proof.readings"),
        (GOOD + "[proof]\nreadings = 1.5\n", "proof.readings"),
        (GOOD + "[journal]\nmax_bytes = 5\n", "journal.max_bytes"),
        (GOOD + "[mqtt]\nin_flight = 11\n", "mqtt.in_flight"),
        (GOOD + "[location]\nlat = 91\nlon = 0\n", "location.lat"),
        (GOOD + "[location]\nlat = nan\nlon = 0\n", "location.lat"),
        (GOOD + "[location]\nlat = 1\n", "location.lon"),
        (
            GOOD + "[instrument.limits.humidity]\nunit = '%RH'\nlow = nan\n",
            "instrument.0.limits.humidity.low",
        ),
        (GOOD + "[instrument.limits.humidity]\nunit = '%RH'\nlow = 9\nhigh = 1\n", "low is above high"),
        ("log_format = 'xml'\n" + GOOD, "log_format"),
        ("key = 0x" + "f" * 10_000 + "\n", "key"),
    ],
)
def test_a_wrong_key_is_named_by_its_path(config, text, expected):
    assert expected in sentence(config(text))


@pytest.mark.parametrize(
    "text",
    [
        "state_dir = ",
        b"\xff\xfe",
        "a = " + "[" * 50_000,
        "a = " + "9" * 5000,
        "a = 2026-13-45",
        "= = =",
        "[a]\n[a]\n",
    ],
)
def test_what_is_not_toml_is_one_sentence(config, text):
    assert "is not TOML" in sentence(config(text))


def test_a_file_that_is_not_there_says_how_to_name_one(tmp_path):
    assert "cannot be read: No such file or directory. Give --config FILE." in sentence(
        tmp_path / "none.toml"
    )
    assert "Is a directory" in sentence(tmp_path)


def test_a_huge_file_is_refused_before_it_is_parsed(config):
    text = GOOD + "# padding\n" * (MAX_CONFIG_BYTES // 10)
    assert f"more than {MAX_CONFIG_BYTES} bytes" in sentence(config(text))


def test_too_many_instruments_are_refused(config):
    tables = "".join(INSTRUMENT.replace('"a"', f'"a{n}"') for n in range(MAX_INSTRUMENTS + 1))
    assert "1 to 64" in sentence(config(BARE + tables))


def test_a_file_with_many_errors_names_the_first_five(config):
    text = GOOD + "".join(f"nonsense{n} = 1\n" for n in range(500))
    assert sentence(config(text)).count("there is no such key") == 5


def test_the_schema_can_be_printed_and_names_every_table():
    schema = json.loads(json.dumps(json_schema()))
    tables = "state_dir key instrument proof journal mqtt home_assistant location page log_format calibrators"
    assert set(tables.split()) == set(schema["properties"])
    assert set(schema["required"]) == {"state_dir", "key", "instrument"}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.decimals()
    | st.text(max_size=8)
    | st.just(datetime(2026, 7, 9, tzinfo=UTC))
    | st.sampled_from(["/s", "file:/k", "i2c:1", "bme280", Decimal("1e400")])
)
KEYS = st.sampled_from(
    "state_dir key instrument proof journal mqtt location log_format name driver bus address interval_s "
    "deadline_s raw_evidence limits unit low high jump frozen_s readings window_s lat lon ca_file".split()
) | st.text(max_size=4)
TABLES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


def assert_settings_or_sentence(table):
    """Any other exception fails the test by itself."""
    try:
        found: object = parse(table, "x")
    except FixConfig as error:
        found = error.sentence
    if isinstance(found, str):
        assert found.startswith("The configuration x is wrong. ")
        assert len(found) < 2000
    else:
        assert isinstance(found, Settings)


@given(st.dictionaries(KEYS, TABLES, max_size=8))
def test_any_table_is_settings_or_one_sentence(table):
    assert_settings_or_sentence(table)


NEARLY = st.fixed_dictionaries(
    {"state_dir": st.just("/s"), "key": st.just("file:/k"), "instrument": st.just([])},
    optional={"proof": TABLES, "mqtt": TABLES, "location": TABLES, "journal": TABLES},
)
PART = st.fixed_dictionaries(
    {"name": st.just("a"), "driver": st.just("bme280"), "bus": st.just("i2c:1")},
    optional={"limits": TABLES, "interval_s": SCALARS, "deadline_s": SCALARS, "raw_evidence": SCALARS},
)


@given(NEARLY, st.lists(PART, max_size=2))
def test_a_table_that_is_nearly_right_is_settings_or_one_sentence(table, parts):
    assert_settings_or_sentence({**table, "instrument": parts})


def examples():
    """Every configuration the project shows: TOML files, and TOML in its pages, with instruments."""
    root = Path(__file__).parents[3]
    folders = [root / name for name in ("docs", "provisioning", "systemd")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".toml", ".md")]
    for path in sorted([*files, *root.glob("README.md")]):
        text = path.read_text()
        blocks = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for block in [text] if path.suffix == ".toml" else blocks:
            if "[[instrument]]" in block and "state_dir" in block:
                yield pytest.param(block, id=str(path.relative_to(root)))


@pytest.mark.parametrize("example", list(examples()))
def test_every_example_in_the_project_is_in_order(config, example):
    assert check(load(config(example))).instrument


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("enabled = true", "home_assistant: broker_url is needed"),
        ('discovery_prefix = "home/#"', "discovery_prefix: like homeassistant"),
        ('discovery_prefix = "/home"', "discovery_prefix: like homeassistant"),
        ('password = "x"', "home_assistant.password: there is no such key"),
    ],
)
def test_a_home_assistant_that_cannot_be_is_refused(config, table, said):
    assert said in sentence(config(f"{GOOD}[home_assistant]\n{table}\n"))


def test_the_address_of_its_broker_is_checked_before_the_agent_runs(config):
    table = '[home_assistant]\nenabled = true\nbroker_url = "mqtt://homeassistant.local"\n'
    with pytest.raises(FixConfig, match=r"home_assistant\.allow_plain"):
        check(load(config(GOOD + table)))
    check(load(config(f"{GOOD}{table}allow_plain = true\n")))
