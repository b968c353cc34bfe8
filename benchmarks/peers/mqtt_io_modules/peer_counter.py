"""A sensor module of mqtt-io: each read gives the next number."""

import os
from pathlib import Path
from typing import Any

from mqtt_io.modules.sensor import GenericSensor

from benchmarks.peers.counter import Counter

REQUIREMENTS = ()
CONFIG_SCHEMA: dict[str, Any] = {}


class Sensor(GenericSensor):
    def setup_module(self) -> None:
        self.counter = Counter(Path(os.environ["PEER_COUNTER"]))

    def get_value(self, sens_conf: dict[str, Any]) -> float:
        return float(self.counter.next())
