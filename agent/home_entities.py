"""What Home Assistant is told of a node: discovery messages, states, and the units it knows. Pure.

    <prefix>/device/<id>/<instrument>/config    retained: one device per instrument, one entity per quantity
    <prefix>/device/<id>/_node/config           retained: the node itself, for diagnosis
    fieldproof/home/<id>/<instrument>           a JSON object of values; `_node` has one, too
    fieldproof/home/<id>/<instrument>/availability    retained: online | offline; `_node`'s is the last will

- Made by Home Assistant's documentation of MQTT discovery ("device discovery payload"), checked against its
  own schema. `<id>` is the device's id without `did:key:`. The `unique_id`s of entities are made of it: they
  survive names given in Home Assistant, and another key of the device.
- A value is in Home Assistant's unit, a fixed power of ten of the one that was signed, or exactly that.
- Entities of an instrument are unavailable while it or the node is, and `expire_after` seconds after
  their newest value, whatever else is said; those of the node after three reports that did not come.
- What a journal that does not answer said last is not told: it is unknown, and that is a problem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent import __version__
from agent.measuring import decimals
from drivers.contract import Quantity
from proof.senml import Measured

ONLINE, OFFLINE = b"online", b"offline"
NODE = "_node"  # no instrument can have that name
REPORT_S = 60
"""So often the node's state is told."""
_ORIGIN = {"name": "Fieldproof", "sw_version": __version__}


@dataclass(frozen=True, slots=True)
class _Unit:
    """`name` in Home Assistant, None for none; the signed value times `factor` is in it."""

    name: str | None
    factor: Decimal = Decimal(1)
    device_class: str | None = None


# By the SenML unit that is signed; the classes are those of homeassistant/components/sensor/const.py.
_UNITS = {
    "Cel": _Unit("°C", device_class="temperature"),
    "%RH": _Unit("%", device_class="humidity"),
    "Pa": _Unit("hPa", Decimal("0.01"), "pressure"),
    "ppm": _Unit("ppm"),
    "ug/m3": _Unit("µg/m³"),
    "V": _Unit("V", device_class="voltage"),
    "A": _Unit("A", device_class="current"),
    "W": _Unit("W", device_class="power"),
    "VA": _Unit("VA", device_class="apparent_power"),
    "var": _Unit("var", device_class="reactive_power"),
    "Hz": _Unit("Hz", device_class="frequency"),
    "J": _Unit("J", device_class="energy"),
    "Wh": _Unit("Wh", device_class="energy"),
    "kWh": _Unit("kWh", device_class="energy"),
    "pH": _Unit(None, device_class="ph"),
    "S/m": _Unit("mS/cm", Decimal(10), "conductivity"),
    "kg/m3": _Unit("mg/L", Decimal(1000)),
    "m": _Unit("m", device_class="distance"),
    "lat": _Unit("°"),
    "lon": _Unit("°"),
    "uSv/h": _Unit("µSv/h"),
    "1/min": _Unit("1/min"),
    "/": _Unit(None),
    "count": _Unit(None),
}
# What only the quantity tells.
_CLASSES = {
    ("pressure", "Pa"): "atmospheric_pressure",
    ("co2", "ppm"): "carbon_dioxide",
    ("pm1", "ug/m3"): "pm1",
    ("pm2.5", "ug/m3"): "pm25",
    ("pm10", "ug/m3"): "pm10",
    ("power-factor", "/"): "power_factor",
}
_NAMES = {"co2": "CO2", "pm1": "PM1", "pm2.5": "PM2.5", "pm10": "PM10", "ph": "pH"}


@dataclass(frozen=True, slots=True)
class Topics:
    """Of one node, `device` without `did:key:`."""

    prefix: str
    device: str

    def config(self, name: str) -> str:
        return f"{self.prefix}/device/{self.device}/{name}/config"

    def named(self, config_topic: str) -> str:
        """The instrument whose configuration stands there."""
        return config_topic.split("/")[-2]

    def state(self, name: str) -> str:
        return f"fieldproof/home/{self.device}/{name}"

    def availability(self, name: str) -> str:
        return f"{self.state(name)}/availability"

    @property
    def birth(self) -> str:
        """Home Assistant says there that it has started."""
        return f"{self.prefix}/status"


def instrument(
    topics: Topics, name: str, quantities: Sequence[Quantity], interval_s: float, model: str, serial: str
) -> dict[str, Any]:
    """The discovery message of one instrument; `model` and `serial` are "" before it was opened."""
    return {
        "device": {
            "identifiers": [f"fieldproof_{topics.device}_{name}"],
            "name": name,
            "via_device": f"fieldproof_{topics.device}",
            **({"model": model} if model else {}),
            **({"serial_number": serial} if serial else {}),
        },
        "origin": _ORIGIN,
        "availability": [{"topic": topics.availability(one)} for one in (NODE, name)],
        "availability_mode": "all",
        "state_topic": topics.state(name),
        "components": {
            q.name: _sensor(topics.device, name, q, max(60, math.ceil(3 * interval_s))) for q in quantities
        },
    }


def node(topics: Topics, states: Iterable[str]) -> dict[str, Any]:
    """The discovery message of the node itself; `states` are all it may be in."""

    def entity(key: str, name: str, **more: Any) -> dict[str, Any]:
        return {
            "platform": "sensor",
            "unique_id": f"fieldproof_{topics.device}_{NODE}_{key}",
            "name": name,
            "entity_category": "diagnostic",
            "value_template": _template(key),
            "expire_after": 3 * REPORT_S,
            **more,
        }

    return {
        "device": {
            "identifiers": [f"fieldproof_{topics.device}"],
            "name": f"Fieldproof {topics.device[-6:]}",
            "manufacturer": "Fieldproof",
            "serial_number": topics.device,
            "sw_version": __version__,
        },
        "origin": _ORIGIN,
        "availability": [{"topic": topics.availability(NODE)}],
        "state_topic": topics.state(NODE),
        "components": {
            "problem": entity("problem", "Problem", platform="binary_sensor", device_class="problem"),
            "state": entity("state", "State", device_class="enum", options=list(states)),
            "unreceipted": entity("unreceipted", "Proofs without a receipt", state_class="measurement"),
            "age": entity(
                "age",
                "Age of the last receipted reading",
                device_class="duration",
                state_class="measurement",
                unit_of_measurement="s",
                suggested_display_precision=0,
            ),
        },
    }


def values(latest: Iterable[Measured]) -> dict[str, float]:
    """An instrument's state. Exact: a power of ten times a decimal."""
    return {m.quantity: float(m.value * _unit(m.unit).factor) for m in latest}


def node_state(report: Mapping[str, Any]) -> dict[str, Any]:
    """The node's state, of the status report."""
    known = report["answered"]
    return {
        "problem": "OFF" if known and report["healthy"] else "ON",
        "state": report.get("state"),
        "unreceipted": report["proofs"]["unreceipted"] if known else None,
        "age": report["last_receipted_reading_age_s"] if known else None,
    }


def _sensor(device: str, instrument_name: str, quantity: Quantity, expire_after_s: int) -> dict[str, Any]:
    unit = _unit(quantity.unit)
    device_class = _CLASSES.get((quantity.name, quantity.unit), unit.device_class)
    name = quantity.name
    return {
        "platform": "sensor",
        "unique_id": f"fieldproof_{device}_{instrument_name}_{name}",
        "name": _NAMES.get(name, name.replace("-", " ").capitalize()),
        "value_template": _template(name),
        "state_class": "total_increasing" if device_class == "energy" else "measurement",
        "suggested_display_precision": decimals(quantity.resolution * float(unit.factor)),
        "expire_after": expire_after_s,
        **({"device_class": device_class} if device_class else {}),
        **({"unit_of_measurement": unit.name} if unit.name else {}),
    }


def _unit(senml: str) -> _Unit:
    """A unit nobody thought of is shown as it was signed."""
    return _UNITS.get(senml) or _Unit(senml)


def _template(key: str) -> str:
    return f"{{{{ value_json.get('{key}') }}}}"  # `None` is Home Assistant's word for unknown
