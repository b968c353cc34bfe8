"""`fieldproof-sim run` and `broker` as processes: refusals, SIGTERM, SIGKILL at random moments, going on."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.settings import load
from hardware_sim import audit
from hardware_sim.replay import ReplayWorld
from tests.conftest import wait_until
from tests.crash.fault_points import Command, FaultPoints
from tests.sim_parts import joined_config, made_up_day, sealed, write_config, write_day

SIM = [sys.executable, "-m", "hardware_sim.cli"]
KILLS = 6


def sim(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SIM, *map(str, arguments)], capture_output=True, text=True, timeout=50)


@pytest.fixture
def start(tmp_path):
    """start(argument, ...) -> Popen of `fieldproof-sim`; killed at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            running.append(subprocess.Popen([*SIM, *map(str, arguments)], stdout=log, stderr=log))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait(10)


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, tmp_path_factory):
    answers = tmp_path_factory.mktemp("answers")

    def refused(*arguments: object, says: str) -> None:
        done = run.run(answers, Command(("run", "--config", *map(str, arguments))))
        assert done.code == 2
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr

    config = write_config(tmp_path)
    bad = write_day(tmp_path / "bad.csv", ("00:00:00", "101325", "twenty", "50"))
    with FaultPoints("hardware_sim.cli:main") as run:
        refused(config, says="Give one of --world, --world-file and --climate")
        refused(config, "--climate", 1, "--world", "x", says="Give one of --world, ")
        refused(config, "--climate", 1, "--speed", "0", says="--speed: 0.0 is not above 0")
        refused(tmp_path / "none.toml", "--climate", 1, says="cannot be read")
        refused(config, "--world", tmp_path / "none.csv", says="none.csv: cannot be read")
        refused(config, "--climate", 1, says="key")
        refused(config, "--world", bad, says="bad.csv, line 2: temperature is 'twenty'")
        config.write_text(config.read_text().replace('"sim:', '"file:'))
        refused(config, "--climate", 1, says="A simulated device must say so")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.toml", "bad.csv"]


def test_sigterm_seals_what_is_open_and_exits_0(tmp_path, start):
    config, device = joined_config(tmp_path)
    captured = tmp_path / "captured"
    process = start("run", "--config", config, "--climate", 1, "--speed", 2000, "--captured", captured)
    wait_until(lambda: captured.exists() and captured.read_text().count("\n") >= 5, 30, "five samples")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    proofs, in_journal = sealed(load(config), device)
    witness = audit.witnessed(captured.read_text().splitlines())
    assert audit.tally(proofs, witness, in_journal, kills=0).good


def test_killed_at_random_moments_it_reads_every_row_of_a_day_exactly_once(tmp_path, start):
    config, device = joined_config(tmp_path)
    day, captured = made_up_day(tmp_path / "day.csv"), tmp_path / "captured"
    world = ReplayWorld.from_csv(day)
    run = ("run", "--config", config, "--world", day, "--speed", 4000, "--captured", captured)
    for _ in range(KILLS):
        process = start(*run)
        wait_until(partial(_larger, captured, _size(captured)), 30, "a sample after the restart")
        with pytest.raises(subprocess.TimeoutExpired):  # the kill comes anywhere in a few readings
            process.wait(random.uniform(0, 0.4))
        process.kill()
        process.wait(10)
    assert 0 < captured.read_text().count("\n") < len(world.rows)
    process = start(*run)
    wait_until(lambda: captured.read_text().count("\n") >= len(world.rows) - KILLS, 40, "the last rows")
    last = round(world.rows[-1].t_s - world.origin_ns / 1e9)
    wait_until(lambda: _newest_s(captured) == last, 20, "the last row")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

    proofs, in_journal = sealed(load(config), device)
    counted = audit.tally(proofs, audit.witnessed(captured.read_text().splitlines()), in_journal, KILLS)
    assert counted.good, counted
    assert counted.captured == len(world.rows)
    assert audit.against_recording(audit.proven(proofs), world.rows) == []
    assert len({proof.claims.bootseed for proof in proofs}) == 1
    holes = [lost for proof in proofs for lost in proof.claims.lost]
    assert {lost.reason for lost in holes} == {"instrument gone"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _larger(path: Path, than: int) -> bool:
    return _size(path) > than


def _newest_s(captured: Path) -> int:
    return round(json.loads(captured.read_text().splitlines()[-1])["boottime_ns"] / 1e9)


def _client(protocol: MQTTProtocolVersion, client_id: str = "somebody") -> tuple[paho.Client, list[int]]:
    client, answers = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol), []
    client.on_connect = lambda *arguments: answers.append(int(arguments[3].value))
    return client, answers


def test_the_broker_says_at_once_that_it_does_not_speak_mqtt_5_and_then_speaks_3_1_1(start, free_port):
    process = start("broker", "--port", free_port)

    def answer(protocol: MQTTProtocolVersion) -> int:
        client, answers = _client(protocol)
        client.will_set("will", b"x", qos=1, retain=True)
        wait_until(lambda: _connects(client, free_port), 30, "the broker's port")
        end = time.monotonic() + 5
        while not answers and time.monotonic() < end:
            client.loop(0.1)
        client.disconnect()
        client.loop(0.1)
        return answers[0]

    assert answer(MQTTProtocolVersion.MQTTv5) == 0x84  # unsupported protocol version
    assert answer(MQTTProtocolVersion.MQTTv311) == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def _connects(client: paho.Client, port: int) -> bool:
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_is_one_sentence(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = sim("broker", "--port", taken.getsockname()[1])
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
