"""Choosing, naming and reading the instruments of a new device; and the configuration that comes of it."""

from __future__ import annotations

import tomllib

import pytest

from agent import settings
from agent.discover import Finding
from agent.errors import FixConfig, HardStop, TryAgain
from agent.settings import InstrumentSettings
from drivers.contract import Identity
from provisioning import configuring, instruments
from provisioning.person import Unattended
from tests.setup_parts import Scripted

DUST = Finding("serial:/dev/serial/by-id/a", drivers=("sds011",))
AIR = Finding("i2c:1", "0x76", ("bme280",), Identity("BME280", "5d0c", "trim-sha256"))
METER = Finding("serial:/dev/serial/by-id/b", "1", ("sdm120", "sdm230"), Identity("SDM120", "18", "serial"))
UNKNOWN = Finding("i2c:1", "0x20", remark="answers; no driver here reads a part of this address.")


def test_without_questions_all_that_were_named_are_taken_under_their_drivers_names():
    chosen = instruments.choose([AIR, DUST, UNKNOWN, DUST], "all", 30.0, Unattended(quiet=True))
    assert [(one.name, one.driver, one.bus, one.address) for one in chosen] == [
        ("bme280", "bme280", "i2c:1", "0x76"),
        ("sds011", "sds011", "serial:/dev/serial/by-id/a", ""),
        ("sds011-2", "sds011", "serial:/dev/serial/by-id/a", ""),
    ]
    assert {one.interval_s for one in chosen} == {30.0}


def test_a_person_leaves_out_and_names():
    person = Scripted(("BME280 5d0c at i2c:1 0x76: use it?", False), ("Its name", "dust"))
    (chosen,) = instruments.choose([AIR, DUST], "", 60.0, person)
    assert (chosen.name, chosen.driver) == ("dust", "sds011")


def test_what_is_not_named_is_told():
    person = Scripted()
    instruments.choose([UNKNOWN, AIR], "", 60.0, person)
    assert any("i2c:1 0x20 answers; no driver here" in sentence for sentence in person.told)


def test_a_name_that_cannot_be_used_is_asked_again():
    person = Scripted(("Its name", "Dust!"), ("Its name", "one"), ("Its name", "one"), ("Its name", "two"))
    chosen = instruments.choose([AIR, DUST], "", 60.0, person)
    assert [one.name for one in chosen] == ["one", "two"]
    assert "name: 1 to 32 of a-z, 0-9 and -." in person.told
    assert "another instrument is called one." in person.told


def test_parts_that_cannot_be_told_apart_are_the_persons_choice():
    person = Scripted(("Which is it?", "sdm630"), ("Which is it?", "sdm230"))
    (chosen,) = instruments.choose([METER], "", 60.0, person)
    assert (chosen.name, chosen.driver) == ("sdm230", "sdm230")
    assert "'sdm630' is none of them." in person.told


def test_instruments_are_picked_by_name():
    (chosen,) = instruments.choose([AIR, DUST], "sds011", 60.0, Unattended(quiet=True))
    assert chosen.driver == "sds011"
    with pytest.raises(FixConfig, match="'bmp180' was not found; there are bme280, sds011"):
        instruments.choose([AIR, DUST], "sds011, bmp180", 60.0, Unattended(quiet=True))


def test_nothing_chosen_and_nothing_there_set_nothing_up():
    with pytest.raises(TryAgain, match="No instrument was chosen"):
        instruments.choose([AIR], "", 60.0, Scripted(("use it?", False)))
    with pytest.raises(TryAgain, match="There is no I2C bus"):
        instruments.find([], ask=False)


def test_a_line_on_which_nobody_is_known_says_what_was_heard(tmp_path):
    with pytest.raises(TryAgain, match=f"No instrument was named.*{tmp_path}/none"):
        instruments.find([f"serial:{tmp_path}/none"], ask=False)


@pytest.mark.parametrize(("exit_code", "kept"), [(1, ["a", "b"]), (2, ["b"])])
def test_one_that_gives_nothing_is_kept_by_default_if_it_may_work_later(exit_code, kept):
    chosen = [InstrumentSettings(name, "bme280", "i2c:1") for name in ("a", "b")]

    def read_once(one: InstrumentSettings) -> dict:
        problem = "warming up." if one.name == "a" else ""
        values = (
            {} if problem else {"model": "BME280", "serial": "5d", "values": {"temperature": [20.0, "Cel"]}}
        )
        return {"name": one.name, "problem": problem, "exit_code": exit_code if problem else 0} | values

    person = Scripted()
    found, readings = instruments.read_each(chosen, person, read_once)
    assert [one.name for one in found] == kept == [reading["name"] for reading in readings]
    assert "  b: BME280 5d: temperature 20.00 Cel" in person.told


def test_none_left_sets_nothing_up():
    dead = {"name": "a", "problem": "gone", "exit_code": 2}
    with pytest.raises(TryAgain, match="No instrument is left"):
        instruments.read_each([InstrumentSettings("a", "bme280", "i2c:1")], Scripted(), lambda _one: dead)


def test_the_configuration_written_is_the_one_chosen(tmp_path):
    chosen = (
        InstrumentSettings(
            "dust", "sds011", 'serial:/dev/serial/by-id/a "b" \\ ü', interval_s=90.0, deadline_s=7.0
        ),
        InstrumentSettings("air", "bme280", "i2c:1", "0x76"),
    )
    text = configuring.text(tmp_path, f"file:{tmp_path}/key", chosen, allow_plain=True)
    found = settings.parse(tomllib.loads(text), "here")
    assert (found.instrument, found.state_dir, found.mqtt.allow_plain) == (chosen, tmp_path, True)
    assert "mqtt" not in configuring.text(tmp_path, f"file:{tmp_path}/key", chosen, allow_plain=False)


def test_a_configuration_that_would_not_load_is_not_written(tmp_path):
    twice = (InstrumentSettings("a", "bme280", "i2c:1"),) * 2
    with pytest.raises(FixConfig, match="two instruments have the same name"):
        configuring.text(tmp_path, "file:/key", twice, allow_plain=False)


def test_a_question_without_a_default_names_its_option_when_nobody_can_answer():
    with pytest.raises(HardStop, match=r"The claim .* is not known: give --claim TEXT\."):
        Unattended(quiet=True).says("The claim of your operator:", None, "--claim TEXT")
