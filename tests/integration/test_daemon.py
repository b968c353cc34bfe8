"""The whole node on simulated buses: challenges, systemd, signals, and what `status` tells apart."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import control, daemon, lifetimes
from agent.cli import app
from agent.clock import SystemClock
from agent.errors import FixConfig, HardStop, TryAgain
from agent.keystore import open_key
from agent.settings import Settings, load
from drivers.errors import NeedsHuman
from hardware_sim.worlds import ClimateWorld
from proof import beacon, sealing, wire
from tests.integration.daemon_parts import ROOT, node_of, settings_of
from tests.sim_parts import GATEWAY, NETWORK, NOWHERE


def report(settings: Settings) -> dict[str, Any]:
    return dict(control.ask_status(settings.control_socket))


def why(settings: Settings) -> str:
    return " ".join(report(settings)["why"])


def codes(settings: Settings) -> set[str]:
    return {condition["code"] for condition in report(settings)["conditions"]}


@pytest.fixture
def systemd(tmp_path, monkeypatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "n"))
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        yield sock


def test_systemd_hears_ready_the_watchdog_and_stopping(member, run, systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    served = run(settings_of(member[0], NOWHERE))
    assert signal_of(systemd) == b"READY=1"
    assert [signal_of(systemd) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    served.stop()
    told = [signal_of(systemd)]
    while told[-1] == b"WATCHDOG=1":
        told.append(signal_of(systemd))
    assert told[-1] == b"STOPPING=1"


CLOCK = "" if SystemClock().wall().source else ", clock unsure"  # this machine's may be
AT_FIRST = (
    f"STATUS=offline{CLOCK}, no receipt yet: 1 instrument, newest receipted reading none yet, ".encode()
)


def test_systemd_is_told_how_it_is_at_once_and_with_the_watchdog(member, run, systemd, monkeypatch, until):
    monkeypatch.setenv("WATCHDOG_USEC", "500000")
    served = run(settings_of(member[0], NOWHERE))
    assert systemd.recv(200) == b"READY=1"
    assert systemd.recv(200) == AT_FIRST + b"0 waiting"
    served.node.prove_now()
    until(lambda: systemd.recv(200) == AT_FIRST + b"1 waiting", what="the line after a proof")


def signal_of(sock: socket.socket) -> bytes:
    """The next datagram that is no STATUS."""
    while (told := sock.recv(200)).startswith(b"STATUS="):
        pass
    return told


def test_a_journal_that_stands_still_starves_the_watchdog(member, run, systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "1200000")
    served = run(settings_of(member[0], NOWHERE))
    assert signal_of(systemd) == b"READY=1"
    assert signal_of(systemd) == b"WATCHDOG=1"
    held = threading.Event()
    waiting = threading.Thread(target=lambda: served.node.keeper.call(lambda _journal: held.wait(20)))
    waiting.start()
    assert len(heard(systemd, 2.0)) <= 1  # one may have been on its way
    assert heard(systemd, 1.5) == []
    held.set()
    waiting.join(5)
    systemd.settimeout(10)
    assert signal_of(systemd) == b"WATCHDOG=1"


def heard(sock: socket.socket, within_s: float) -> list[bytes]:
    """What comes until it has been silent for `within_s`, two at most."""
    sock.settimeout(within_s)
    told: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while len(told) < 2:
            told.append(signal_of(sock))
    return told


def test_a_node_that_cannot_start_is_never_ready(member, systemd, monkeypatch, tmp_path):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings = settings_of(member[0], NOWHERE)
    node = node_of(settings)

    def open_another() -> None:
        raise NeedsHuman("The chip is not a BME280: replace it.")

    monkeypatch.setattr(node._instruments["bme280-76"], "open", open_another)
    with pytest.raises(HardStop, match="not a BME280"):
        daemon.serve(node, settings)
    systemd.settimeout(0.2)
    with pytest.raises(TimeoutError):
        systemd.recv(100)
    assert not settings.control_socket.exists()


def test_a_start_that_the_journal_does_not_answer_ends_in_its_sentence_and_in_order(member, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings = settings_of(member[0], NOWHERE)
    node = node_of(settings)
    monkeypatch.setattr("agent.node.succession.superseded", busy)
    with pytest.raises(TryAgain, match="busy"):
        daemon.serve(node, settings)
    assert not node.keeper.alive
    assert not lifetimes.read(settings.state_dir / "lifetimes.json").running


def busy(*_: object) -> None:
    raise TryAgain("busy")


def test_a_node_stops_in_order_where_its_socket_cannot_be_closed(member, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    close = control.ControlServer.close

    def close_and_fail(server: control.ControlServer) -> None:
        close(server)
        raise TryAgain("busy")

    monkeypatch.setattr("agent.daemon.ControlServer.close", close_and_fail)
    settings = settings_of(member[0], NOWHERE)
    node, stop = node_of(settings), threading.Event()
    stop.set()
    with pytest.raises(TryAgain, match="busy"):
        daemon.serve(node, settings, stop)
    assert not node.keeper.alive
    assert not lifetimes.read(settings.state_dir / "lifetimes.json").running


class Untellable:
    """A node of which nothing can be said; it makes progress, three times."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._left, self.answers = stop, 3, self

    def watch(self) -> None:
        raise ValueError("a bug")

    def status_line(self) -> str:
        raise TypeError("a bug")

    def progress(self) -> bool:
        self._left -= 1
        if not self._left:
            self._stop.set()
        return True


def test_what_only_tells_of_a_node_does_not_end_it(systemd):
    stop = threading.Event()
    node: Any = Untellable(stop)
    daemon.hold(node, stop, 0.01, lambda: daemon.feed(node))
    assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3


def test_unusable_tls_files_are_said_before_a_journal_is_made(member):
    settings = settings_of(member[0], "mqtts://127.0.0.1")
    broken = replace(settings, mqtt=replace(settings.mqtt, ca_file=Path("/nowhere/ca.pem")))
    with pytest.raises(FixConfig, match=r"mqtt\.ca_file"):
        node_of(broken)
    assert not settings.journal_path.exists()


def test_a_second_agent_in_the_same_folder_is_refused(member):
    settings = settings_of(member[0], NOWHERE)
    alone = daemon.alone(settings.state_dir)
    with alone, pytest.raises(HardStop, match="Another agent runs in"):
        daemon.alone(settings.state_dir).__enter__()
    with daemon.alone(settings.state_dir):
        pass


# Status


def test_status_tells_offline_from_well(member, run, until):
    settings = settings_of(member[0], NOWHERE)
    run(settings)
    until(lambda: settings.control_socket.exists(), what="the socket")
    until(lambda: report(settings)["readings"]["captured"] > 2, what="samples")
    assert "Offline: The broker 127.0.0.1:1 cannot be reached: nothing listens there." in why(settings)
    made = report(settings)
    assert made["healthy"] is False
    assert made["state"] == "offline"
    assert made["instruments"][0]["problem"] == ""
    assert set(made["instruments"][0]["latest"]) == {"temperature", "pressure", "humidity"}


class PowerCut(ClimateWorld):
    """A chip that loses its power and gets it back."""

    power = True

    def at(self, boottime_ns: int) -> Any:
        return super().at(boottime_ns) if self.power else None


def test_status_tells_a_sensor_that_is_gone(member, run, until):
    settings, world = settings_of(member[0], NOWHERE), PowerCut(seed=1)
    run(settings, world)
    until(lambda: settings.control_socket.exists(), what="the socket")
    until(lambda: report(settings)["readings"]["captured"] > 0, what="a sample")
    world.power = False
    until(lambda: "Instrument bme280-76: " in why(settings), what="the sentence")
    assert report(settings)["instruments"][0]["missed"] > 0
    assert "instrument_gone" in codes(settings)
    world.power = True
    until(lambda: "instrument_gone" not in codes(settings), 30, "its return")


@pytest.mark.mosquitto
def test_status_is_healthy_with_a_gateway_and_says_when_none_listens(member, run, gateway, mosquitto, until):
    there = gateway(mosquitto.port)
    settings = settings_of(member[0], mosquitto.url)
    settings = replace(settings, proof=replace(settings.proof, readings=2))
    served = run(settings)
    until(lambda: there.receipts > 0, what="receipts")
    until(lambda: report(settings)["healthy"], what="health")
    assert "1 instrument, newest receipted reading " in served.node.answers.status_line()
    assert report(settings)["recovery"]["reconnected"] == 0
    until(lambda: codes(settings) <= {"clock_unsure"}, what="nothing to explain")
    assert report(settings)["state"] in ("healthy", "clock_unsure")
    assert report(settings)["link"] == {"connected": True, "protocol": "MQTT 5", "problem": ""}
    there.disconnect()
    until(lambda: "No gateway listens at the broker" in why(settings), what="the sentence")
    assert report(settings)["healthy"]  # the last receipted reading is still young
    assert report(settings)["state"] == "no_gateway"


def test_status_answers_and_says_so_where_the_journal_does_not(member, run, until, monkeypatch):
    settings = settings_of(member[0], NOWHERE)
    served = run(settings)
    until(lambda: settings.control_socket.exists(), what="the socket")
    until(lambda: report(settings)["readings"]["captured"] > 1, what="samples")
    answered_at_s = report(settings)["answered_at_s"]
    assert abs(answered_at_s - time.time()) < 30
    monkeypatch.setattr("agent.answers.STATUS_S", 0.2)
    held = threading.Event()
    waiting = threading.Thread(target=lambda: served.node.keeper.call(lambda _journal: held.wait(20)))
    waiting.start()
    made = served.node.answers.status()
    held.set()
    waiting.join(20)
    assert made["state"] == "disk_failing"
    assert "did not answer within" in str(made["why"])
    assert made["readings"]["captured"] > 1, "what it said last"
    assert (made["answered"], made["answered_at_s"]) == (False, answered_at_s)
    assert "disk_failing" not in codes(settings)


def test_line_and_diary_remember_what_a_journal_said_that_does_not_answer(member, monkeypatch):
    monkeypatch.setattr("agent.answers.LOOK_S", 0.0)
    monkeypatch.setattr("agent.answers._LINE_S", 0.3)
    node = node_of(settings_of(member[0], NOWHERE))
    node.start()
    try:
        node.prove_now()
        node.keeper.call(lambda journal: journal.execute(  # a receipt of a minute ago
            "INSERT INTO proofs VALUES (1, 0, x'00', 1, ?, ?, ?, NULL)", (*[int(time.time()) - 60] * 2, 1)
        ))  # fmt: skip
        assert "reading 6" in node.answers.status_line()
        node.answers.watch()
        held = threading.Event()
        waiting = threading.Thread(target=lambda: node.keeper.call(lambda _journal: held.wait(20)))
        waiting.start()
        line = node.answers.status_line()
        node.answers.watch()
        node.answers.watch()
        held.set()
        waiting.join(20)
        assert "disk failing" in line
        assert "newest receipted reading 6" in line
        assert "disk_failing" in {entry["code"] for entry in node.answers.log(50)}
    finally:
        node.stop()


# The diary


def told(settings: Settings) -> dict[str, dict[str, Any]]:
    """The newest entry of each code."""
    return {entry["code"]: entry for entry in reversed(control.ask_log(settings.control_socket, 100))}


def test_an_outage_and_a_lost_instrument_stand_in_the_diary_and_a_stop_is_read_from_the_journal(
    member, run, until, monkeypatch
):
    for module in ("answers", "daemon"):
        monkeypatch.setattr(f"agent.{module}.LOOK_S", 0.1)
    settings, world = settings_of(member[0], NOWHERE), PowerCut(seed=1)
    served = run(settings, world)
    until(lambda: settings.control_socket.exists(), what="the socket")
    until(lambda: "offline" in told(settings), 30, "the outage")
    assert told(settings)["offline"]["until_s"] is None
    assert "nothing listens there" in told(settings)["offline"]["detail"]
    world.power = False
    until(lambda: "instrument_gone" in told(settings), 30, "the lost instrument")
    world.power = True
    until(lambda: told(settings)["instrument_gone"].get("until_s", 0) is not None, 30, "its return")
    served.stop()
    done = CliRunner().invoke(app, ["log", "--json", "-c", str(member[0])])
    kept = [entry["code"] for entry in json.loads(done.stdout)]
    assert kept[0] == "stopped"
    assert {"started", "offline", "instrument_gone"} <= set(kept)


# Challenge


@pytest.mark.mosquitto
def test_a_challenge_is_answered_with_its_nonce_and_a_fresh_reading(member, run, gateway, mosquitto, until):
    there = gateway(mosquitto.port)
    data = there.beacon(1)
    settings = settings_of(member[0], mosquitto.url, interval_s=3600.0)
    run(settings)
    until(lambda: there.presence, what="the device")
    until(lambda: report(settings)["link"]["connected"], what="the link")
    nonce = b"\7" * 16
    asked_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    there.send("challenge", beacon.sign_challenge(member[1], nonce, 10, GATEWAY, 0), retain=False)
    until(lambda: there.proofs, what="the answer")
    claims = there.proofs[-1].claims
    assert claims.freshness == (beacon.open_beacon(data, [GATEWAY.public_key], NETWORK).hash, nonce)
    assert claims.time.boottime_ns > asked_ns
    assert len(there.proofs[-1].readings()) == 1


# Signals, in a process of its own


@pytest.fixture
def child(member, tmp_path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        code = "import sys; from tests.integration.daemon_parts import serve; sys.exit(serve(*sys.argv[1:]))"
        command = [sys.executable, "-c", code, str(tmp_path), url]
        pipe = subprocess.PIPE
        made.append(subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True))
        return made[-1]

    yield start
    for one in made:
        one.kill()
        one.communicate(timeout=10)


@pytest.mark.parametrize("command", [["log"], ["explain"], ["export", "-o", "all.cbor"]])
def test_what_a_killed_agent_left_can_be_asked_for(member, child, until, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = settings_of(member[0], NOWHERE)
    process = child(NOWHERE)
    until(captured(settings), 30, what="samples")
    process.kill()
    process.communicate(timeout=10)
    assert settings.control_socket.exists()
    done = CliRunner().invoke(app, [*command, "-c", str(member[0])])
    assert (done.exit_code, done.exception) == (0, None), done.output


def test_an_agent_that_dies_in_an_export_leaves_no_half_of_a_bundle(member, tmp_path, monkeypatch):
    settings = load(member[0])

    def dying(_path: Path, _request: str) -> Iterator[bytes]:
        yield b"the first half"

    monkeypatch.setattr("agent.control.ask", dying)
    done = CliRunner().invoke(app, ["export", "-o", str(tmp_path / "all.cbor"), "-c", str(member[0])])
    assert done.exit_code != 0
    assert not settings.control_socket.exists()
    assert "in the middle" in str(done.exception)


def readings_in_proofs(settings: Settings) -> tuple[int, int]:
    """(readings in stored proofs, samples not sealed)."""
    with sqlite3.connect(settings.journal_path) as db:
        proofs = db.execute("SELECT data FROM proofs WHERE data IS NOT NULL").fetchall()
        unsealed = db.execute("SELECT count(*) FROM samples").fetchone()[0]
    db.close()
    return sum(len(sealing.parse(wire.inflate(row[0])).readings()) for row in proofs), unsealed


def captured(settings: Settings) -> Callable[[], bool]:
    return lambda: settings.control_socket.exists() and report(settings)["readings"]["captured"] >= 3


def test_a_death_is_counted_at_the_next_start_and_a_stop_is_not(member, child, run, until):
    settings = settings_of(member[0], NOWHERE)
    process = child(NOWHERE)
    until(captured(settings), 30, what="three samples")
    process.kill()
    process.wait(10)
    for _ in range(2):
        served = run(settings)
        until(settings.control_socket.exists, 30, what="the agent's socket")
        assert served.node.answers.status()["recovery"]["restarted"] == 1
        served.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_seals_what_is_open_even_where_no_broker_is(member, child, until, number):
    settings = settings_of(member[0], NOWHERE)
    process = child(NOWHERE)
    until(captured(settings), 30, what="three samples")
    began_s = time.monotonic()
    process.send_signal(number)
    _out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert time.monotonic() - began_s < 8
    assert "Traceback" not in err
    in_proofs, unsealed = readings_in_proofs(settings)
    assert (in_proofs >= 3, unsealed) == (True, 0)
    assert not settings.control_socket.exists()


@pytest.mark.mosquitto
def test_a_signal_publishes_what_it_sealed_within_two_seconds(member, child, gateway, mosquitto, until):
    there = gateway(mosquitto.port)
    settings = settings_of(member[0], mosquitto.url)
    process = child(mosquitto.url)
    until(captured(settings), 30, what="three samples")
    until(lambda: there.presence, what="the device")
    log = sealed_log(settings)
    there.send("receipt", there.sign(there.receipt(log, None)))  # it may publish at once
    assert there.proofs == []  # its window is a day
    process.terminate()
    _out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    until(lambda: there.proofs, what="the proof")
    assert len(there.proofs[0].readings()) >= 3
    assert there.presence[-1] == b'{"online": false}'


def sealed_log(settings: Settings) -> bytes:
    with sqlite3.connect(settings.journal_path) as db:
        log = db.execute("SELECT log FROM logs ORDER BY id DESC").fetchone()[0]
    db.close()
    return bytes(log)


def test_what_a_killed_agent_had_appended_is_there_and_its_restart_goes_on(member, child, until):
    settings = settings_of(member[0], NOWHERE)
    process = child(NOWHERE)
    until(captured(settings), 30, what="three samples")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    before = sum(readings_in_proofs(settings))
    assert before >= 3
    process = child(NOWHERE)
    until(lambda: alive_with(settings, before + 2), what="two more samples")
    process.terminate()
    process.communicate(timeout=15)
    in_proofs, unsealed = readings_in_proofs(settings)
    assert (in_proofs >= before + 2, unsealed) == (True, 0)


def alive_with(settings: Settings, count: int) -> bool:
    with contextlib.suppress(TryAgain):  # the killed one's socket is still there
        return int(report(settings)["readings"]["captured"]) >= count
    return False


def test_the_log_of_a_whole_life_holds_no_secret(member, child, until, tmp_path):
    settings = settings_of(member[0], NOWHERE)
    process = child(NOWHERE)
    until(captured(settings), 30, what="three samples")
    process.terminate()
    out, err = process.communicate(timeout=15)
    key = open_key(settings.key)
    seed = key._secret[:32]  # type: ignore[attr-defined]
    wrapped = json.loads((tmp_path / "device.key").read_text())["wrapped"]
    for secret in (seed.hex(), wrapped, repr(seed)):
        assert secret not in out + err
