"""Who takes part: how each is configured, started, and how its messages are read.

- Configured as its documentation recommends for outages; the files beside this one are the configurations.
- All the processes of a peer are killed together, as by a power cut, and started again at once.
- Their logs lie in memory, as under journald on a Pi, and are not counted as written.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from benchmarks.field import MOSQUITTO, ROOT, Field
from benchmarks.membership import NETWORK
from benchmarks.peers.counter import number_of
from benchmarks.peers.ear import Decode
from proof import sealing, wire

HERE = Path(__file__).parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
RATE = 10  # readings a second


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs: the network, the counter's file, its own folder on the disk, one in memory."""

    field: Field
    counter: Path
    disk: Path
    memory: Path


@dataclass(frozen=True, slots=True)
class Contender:
    """`prepare` writes the configuration and returns the commands, in the order in which they are started."""

    name: str
    prepare: Callable[[Place], list[list[str]]]
    topic: str
    decode: Decode
    note: str


def child(python: Path | str, what: str, place: Place, *rest: str) -> list[str]:
    return [str(python), "-m", "benchmarks.peers.child", what, str(place.counter), *rest]


def fieldproof(place: Place) -> list[list[str]]:
    path = place.disk / "settings.pickle"
    path.write_bytes(pickle.dumps(place.field.settings))
    return [child(sys.executable, "agent", place, str(place.field.folder / "agent.usage"), str(path))]


def naive(place: Place) -> list[list[str]]:
    return [child(sys.executable, "naive", place, str(place.field.port))]


def mqtt_io(place: Place) -> list[list[str]]:
    if not PEERS.exists():
        raise SystemExit("mqtt-io is not installed: run `make bench-peers`, which makes .venv-peers.")
    inputs = [{"name": f"reading{i}", "module": "source", "interval": 1, "digits": 0} for i in range(RATE)]
    config = place.disk / "mqtt_io.yml"
    text = Template((HERE / "mqtt_io.yml").read_text())
    config.write_text(text.substitute(port=place.field.port, inputs=json.dumps(inputs)))
    return [child(PEERS, "mqtt_io", place, str(config))]


def bridge(autosave_s: int) -> Callable[[Place], list[list[str]]]:
    def prepare(place: Place) -> list[list[str]]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
        config = place.disk / "bridge.conf"
        text = Template((HERE / "bridge.conf").read_text())
        config.write_text(
            text.substitute(port=port, folder=place.disk, autosave_s=autosave_s, remote=place.field.port)
        )
        return [[str(MOSQUITTO), "-c", str(config)], child(sys.executable, "naive", place, str(port))]

    return prepare


def from_json(payload: bytes) -> Iterable[int]:
    yield number_of(json.loads(payload)["pressure"] * 100)


def from_number(payload: bytes) -> Iterable[int]:
    yield int(float(payload))


def from_message(payload: bytes) -> Iterable[int]:
    return from_proof(wire.inflate(payload))


def from_proof(data: bytes) -> Iterable[int]:
    for reading in sealing.parse(data).readings():
        yield from (number_of(float(v.value)) for v in reading.values if v.quantity == "pressure")


CONTENDERS = {
    "fieldproof": Contender(
        "Fieldproof",
        fieldproof,
        wire.topic(NETWORK, "+", "proof"),
        from_message,
        "Sixty readings to a proof, every reading synced, everything else as it is by default. Read every "
        "100 ms, a part must answer within 100 ms; one that does not is taken for gone and opened again "
        "after a wait.",
    ),
    "mqtt-io": Contender(
        "mqtt-io 2.7.0",
        mqtt_io,
        "station/sensor/#",
        from_number,
        "Ten sensor inputs at its shortest interval, 1 s after the last read, hence fewer reads. Publishes "
        "sensors at QoS 0 and keeps what waits in memory; both cannot be configured.",
    ),
    "naive": Contender(
        "naive paho script",
        naive,
        "station/#",
        from_json,
        "`benchmarks/naive.py`: QoS 1, paho's queue in memory, without limit; it waits for a broker.",
    ),
    "bridge": Contender(
        "Mosquitto bridge, saving every 30 min",
        bridge(1800),
        "station/#",
        from_json,
        "A local Mosquitto with persistence on and the interval it has unless one sets it; the naive script "
        "publishes to it.",
    ),
    "bridge-1s": Contender(
        "Mosquitto bridge, saving every second",
        bridge(1),
        "station/#",
        from_json,
        "The same with the shortest interval there is; each save writes the whole queue.",
    ),
}


def start(place: Place, commands: list[list[str]], log: Path) -> list[subprocess.Popen[bytes]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("ab") as file:
        return [
            subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=env | {"MALLOC_ARENA_MAX": "2"})  # noqa: S603
            for command in commands
        ]
