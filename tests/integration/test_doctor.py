"""`fieldproof-provision doctor` against real brokers and a running agent: each line's pass, warning, failure."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proof import sealing
from proof.keys import SeedSigner
from provisioning.checks import FAIL, PASS, SKIPPED, WARN
from tests.agent_parts import FakeClock, captured, make_descriptor
from tests.doctor_parts import Authority, Patient, configure_broker
from tests.sim_parts import GATEWAY, NETWORK
from tests.small_gateway import SmallGateway

pytestmark = pytest.mark.mosquitto
RUNNING = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "SupplementaryGroups": "i2c"}


@pytest.fixture
def patient(tmp_path, mosquitto) -> Iterator[Patient]:
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    one = Patient(folder)
    one.use_broker(mosquitto.url)
    yield one
    one.buses.close()


@pytest.fixture
def gateway(patient, mosquitto) -> Iterator[SmallGateway]:
    one = SmallGateway(mosquitto.port, NETWORK, patient.device, GATEWAY).connect()
    yield one
    one.disconnect()


def seen(patient: Patient, name: str) -> tuple[Any, str]:
    line = patient.examine()[name]
    return line.verdict, line.found


def test_all_lines_pass_on_a_new_node_with_a_living_gateway(patient, gateway):
    gateway.beacon(1)
    patient.use_systemd(**RUNNING)
    before = patient.files()
    lines = patient.examine()
    assert {name: line.verdict for name, line in lines.items() if line.verdict is not PASS} == {
        "receipt": SKIPPED  # nothing was sealed yet
    }
    assert patient.files() == before, "it changes nothing"
    assert "0 s old, and signed by it" in lines["gateway"].found
    assert gateway.presence == [b'{"online": false}']
