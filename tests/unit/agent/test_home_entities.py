"""What Home Assistant is told, held to Home Assistant's own rules."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import pytest

from agent import home_entities
from agent.conditions import CODES
from agent.home_entities import NODE, REPORT_S, Topics
from agent.status import HEALTHY
from drivers import catalogue
from drivers.contract import Quantity
from drivers.i2c import SharedBus
from proof.senml import Measured
from tests.agent_parts import FakeClock

# homeassistant/components/sensor/const.py of release 2025.4.4: of the classes we use the units in
# DEVICE_CLASS_UNITS (None: without one), and the state classes in DEVICE_CLASS_STATE_CLASSES.
UNITS: dict[str, set[str | None]] = {
    "apparent_power": {"VA"},
    "atmospheric_pressure": {"Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"},
    "carbon_dioxide": {"ppm"},
    "conductivity": {"S/cm", "mS/cm", "µS/cm"},
    "current": {"A", "mA"},
    "distance": {"km", "m", "cm", "mm", "mi", "nmi", "yd", "in", "ft"},
    "duration": {"d", "h", "min", "s", "ms", "µs"},
    "energy": {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"},
    "enum": {None},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "humidity": {"%"},
    "ph": {None},
    "pm1": {"µg/m³"},
    "pm10": {"µg/m³"},
    "pm25": {"µg/m³"},
    "power": {"mW", "W", "kW", "MW", "GW", "TW"},
    "power_factor": {"%", None},
    "pressure": {"Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"},
    "reactive_power": {"var"},
    "temperature": {"°C", "°F", "K"},
    "voltage": {"V", "mV", "µV", "kV", "MV"},
}
TOTALS: dict[str | None, set[str]] = {
    "energy": {"total", "total_increasing"},
    "duration": {"measurement", "total", "total_increasing"},
}
# components/mqtt/schemas.py (DEVICE_DISCOVERY_SCHEMA) and sensor.py, binary_sensor.py of the same release.
DEVICE = {"identifiers", "name", "manufacturer", "model", "serial_number", "sw_version", "via_device"}
MESSAGE = {"device", "origin", "components", "availability", "availability_mode", "state_topic"}
ENTITY = {
    "platform", "unique_id", "name", "entity_category", "device_class", "expire_after", "options",
    "state_class", "suggested_display_precision", "unit_of_measurement", "value_template",
}  # fmt: skip
TOPIC = re.compile(r"homeassistant/(?P<component>\w+)/([a-zA-Z0-9_-]+)/(?P<object_id>[a-zA-Z0-9_-]+)/config")

TOPICS = Topics("homeassistant", "z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH")
NO_BUS: Any = None
QUANTITIES = {
    (part, quantity.name, quantity.unit): quantity
    for part in catalogue.known()
    for quantity in catalogue.create(part, SharedBus(NO_BUS, "a bus"), None, FakeClock()).quantities
}


def check(message):
    """By the rules above; the message's entities."""
    assert json.loads(json.dumps(message)) == message
    assert set(message) <= MESSAGE
    assert set(message["device"]) <= DEVICE
    assert message["device"]["identifiers"]
    assert message["origin"]["name"]
    assert message["availability"]
    assert all(set(one) == {"topic"} for one in message["availability"])
    for entity in message["components"].values():
        assert set(entity) <= ENTITY
        assert entity["unique_id"]
        assert entity["platform"] in ("sensor", "binary_sensor")
        if entity["platform"] == "binary_sensor":
            assert entity["device_class"] == "problem"
            continue
        kind, unit = entity.get("device_class"), entity.get("unit_of_measurement")
        if kind is not None:
            assert unit in UNITS[kind], (kind, unit)
        if "options" in entity:
            assert kind == "enum"
            assert not entity.keys() & {"state_class", "unit_of_measurement"}
        else:
            assert entity["state_class"] in TOTALS.get(kind, {"measurement"})
        assert type(entity.get("expire_after", 1)) is int
    return message["components"]


def told(quantity, **more):
    parts = {"name": "roof", "interval_s": 60.0, "model": "BME280", "serial": "5d0c", **more}
    return home_entities.instrument(TOPICS, quantities=[quantity], **parts)


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=["/".join(key) for key in QUANTITIES])
def test_every_quantity_of_every_driver_has_a_unit_and_a_class_that_go_together(quantity):
    assert len(check(told(quantity))) == 1
    assert quantity.unit in home_entities._UNITS


@pytest.mark.parametrize(
    ("name", "unit", "value", "kind", "shown", "precision"),
    [
        ("temperature", "Cel", Decimal("20.01"), "temperature", (20.01, "°C"), 2),
        ("pressure", "Pa", Decimal("100935.2"), "atmospheric_pressure", (1009.352, "hPa"), 4),
        ("humidity", "%RH", Decimal("60.5"), "humidity", (60.5, "%"), 2),
        ("pm2.5", "ug/m3", Decimal("5.1"), "pm25", (5.1, "µg/m³"), 2),
        ("co2", "ppm", 415, "carbon_dioxide", (415, "ppm"), 2),
        ("power", "W", Decimal("230.4"), "power", (230.4, "W"), 2),
        ("energy-import", "kWh", Decimal("12345.678"), "energy", (12345.678, "kWh"), 2),
        ("conductivity", "S/m", Decimal("0.1413"), "conductivity", (1.413, "mS/cm"), 1),
        ("dissolved-oxygen", "kg/m3", Decimal("0.00827"), None, (8.27, "mg/L"), 0),
        ("dose-rate", "uSv/h", Decimal("0.11"), None, (0.11, "µSv/h"), 2),
        ("power-factor", "/", Decimal("0.98"), "power_factor", (0.98, None), 2),
        ("level", "mm", 12, None, (12, "mm"), 2),  # a unit that no driver has yet
    ],
)
def test_a_value_is_what_was_signed_in_home_assistant_s_unit(name, unit, value, kind, shown, precision):
    (entity,) = check(told(Quantity(name, unit, 0.01, 0.1, 0.0, 1.0))).values()
    assert entity.get("device_class") == kind
    assert (
        home_entities.values([Measured(name, unit, value)])[name],
        entity.get("unit_of_measurement"),
    ) == shown
    assert entity["suggested_display_precision"] == precision
    assert entity["state_class"] == ("total_increasing" if kind == "energy" else "measurement")


def test_an_entity_is_known_by_device_instrument_and_quantity_whatever_a_person_names_it():
    quantity = Quantity("pm2.5", "ug/m3", 0.1, 0.1, 0.0, 1.0)
    before, after = (told(quantity, serial=serial)["components"]["pm2.5"] for serial in ("", "5d0c"))
    assert before["unique_id"] == after["unique_id"] == f"fieldproof_{TOPICS.device}_roof_pm2.5"


def test_before_it_was_opened_nothing_is_claimed_of_the_specimen():
    message = told(Quantity("co2", "ppm", 1.0, 1.0, 0.0, 1.0), model="", serial="")
    assert not message["device"].keys() & {"model", "serial_number"}
    check(message)


@pytest.mark.parametrize(
    ("interval_s", "expire_after_s"), [(0.5, 60), (60, 180), (3600, 10_800), (33.4, 101)]
)
def test_a_value_expires_after_three_intervals(interval_s, expire_after_s):
    message = told(Quantity("co2", "ppm", 1.0, 1.0, 0.0, 1.0), interval_s=interval_s)
    assert message["components"]["co2"]["expire_after"] == expire_after_s


def test_topics_are_those_home_assistant_listens_to_and_never_the_network_s():
    for name in (NODE, "roof", "bme280-76"):
        found = TOPIC.fullmatch(TOPICS.config(name))
        assert found
        assert (found["component"], found["object_id"]) == ("device", name)
        assert TOPICS.named(TOPICS.config(name)) == name
        assert not TOPICS.state(name).startswith("fieldproof/1/")
    states = [TOPICS.state(name) for name in (NODE, "roof", "availability")]
    assert not {*states} & {TOPICS.availability(name) for name in (NODE, "roof", "availability")}


def test_the_node_is_a_device_of_its_own_to_which_instruments_belong():
    message = home_entities.node(TOPICS, (HEALTHY, *CODES))
    check(message)
    assert (
        told(Quantity("co2", "ppm", 1.0, 1.0, 0.0, 1.0))["device"]["via_device"]
        in message["device"]["identifiers"]
    )
    assert all(entity["entity_category"] == "diagnostic" for entity in message["components"].values())


@pytest.mark.parametrize(("healthy", "problem"), [(True, "OFF"), (False, "ON")])
def test_the_node_s_state_is_the_report_s(healthy, problem):
    report = {
        "healthy": healthy,
        "answered": True,
        "state": "offline",
        "proofs": {"unreceipted": 3},
        "last_receipted_reading_age_s": None,
    }
    state = home_entities.node_state(report)
    assert state == {"problem": problem, "state": "offline", "unreceipted": 3, "age": None}
    assert set(state) == set(home_entities.node(TOPICS, CODES)["components"])


def test_of_a_journal_that_does_not_answer_no_old_count_is_told_and_that_is_a_problem():
    said_last = {"healthy": True, "proofs": {"unreceipted": 3}, "last_receipted_reading_age_s": 12.5}
    state = home_entities.node_state({**said_last, "answered": False, "state": "disk_failing"})
    assert state == {"problem": "ON", "state": "disk_failing", "unreceipted": None, "age": None}


def test_what_is_said_of_the_node_expires_after_three_reports_that_did_not_come():
    for entity in home_entities.node(TOPICS, (HEALTHY,))["components"].values():
        assert entity["expire_after"] == 3 * REPORT_S == 180


def test_factors_are_powers_of_ten_so_nothing_is_rounded():
    for unit in home_entities._UNITS.values():
        assert math.log10(unit.factor).is_integer()
