"""`fieldproof-provision doctor` against real brokers and a running agent, each line provoked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import membership
from agent.broker import Broker
from agent.clock import SystemClock
from agent.control import ask_status
from agent.errors import AgentError
from agent.node import Node
from agent.rotation import KeptKeys
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld
from proof.keys import SeedSigner
from provisioning import checks_broker, checks_session
from provisioning.checks import FAIL, PASS, SKIPPED, WARN
from provisioning.cli import app
from tests import small_gateway
from tests.doctor_parts import Authority, Patient, configure_broker
from tests.integration.gateway_process import GatewayProcess
from tests.sim_parts import GATEWAY, NETWORK
from tests.small_gateway import SmallGateway

pytestmark = pytest.mark.mosquitto
slow = pytest.mark.slow  # seconds of silence each, or a node that lives first: one line of the report
ROOT = Path(__file__).parents[2]
SERVICE = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "SupplementaryGroups": "i2c dialout",
}
DYNSEC = next(iter(sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))), None)


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


@pytest.fixture
def receipted(patient, gateway, until, monkeypatch) -> Patient:
    """A node that ran, delivered and stopped."""
    monkeypatch.setattr(small_gateway, "NOW_S", int(time.time()))
    live(patient, until)
    return patient


def live(patient: Patient, until: Callable[..., None]) -> None:
    """A node's life from its first reading to its first receipt, in real time."""
    patient.clock = SystemClock()
    patient.configure("window_s = 86400", "readings = 2")
    patient.configure('address = "0x76"', 'address = "0x76"\ninterval_s = 0.2\ndeadline_s = 0.2')
    settings = patient.settings
    keys = KeptKeys(settings.key, patient.clock)
    joined = membership.load(settings.membership_path, keys.current().device, int(time.time()))
    buses = SimulatedBuses(settings.instrument, ClimateWorld(seed=1), patient.clock)
    node = Node(settings, keys, joined, patient.clock, buses)
    node.start()
    try:
        until(lambda: node.answers.status()["last_receipted_reading_age_s"] is not None, 30.0, "a receipt")
    finally:
        node.stop()
    patient.buses.close()
    patient.buses = SimulatedBuses(settings.instrument, ClimateWorld(seed=1), patient.clock)


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Nobody will say anything: do not wait long for it."""
    monkeypatch.setattr(checks_session, "BEACON_S", 0.2)
    monkeypatch.setattr(checks_session, "GATEWAY_S", 1.0)


def seen(patient: Patient, name: str) -> tuple[Any, str]:
    line = patient.examine()[name]
    return line.verdict, f"{line.found} {line.to_do}"


def not_passed(patient: Patient) -> dict[str, Any]:
    return {name: line.verdict for name, line in patient.examine().items() if line.verdict is not PASS}


def test_all_lines_pass_on_a_new_node_with_a_living_gateway_and_nothing_is_changed(patient, gateway, until):
    gateway.beacon(1)
    patient.use_systemd(**SERVICE)
    patient.use_disk()
    before = patient.files()
    assert not_passed(patient) == {"receipt": SKIPPED}  # nothing was sealed yet
    assert patient.files() == before
    assert "0 s old, and signed by it" in patient.lines["gateway"].found
    assert "temperature" in patient.lines["bme280-76"].found
    until(lambda: gateway.presence == [b'{"online": false}'], what="what it published")


def test_a_node_with_history_asks_the_gateway_for_a_receipt_of_what_it_has(receipted, gateway):
    before = receipted.files()
    receipted.use_systemd(**SERVICE)
    lines = receipted.examine()
    assert lines["gateway"].verdict is PASS, lines["gateway"]
    assert "It signed a receipt up to seq" in lines["gateway"].found
    hashes = [proof.hash for proof in gateway.proofs]
    assert hashes[-1] in hashes[:-1], "a proof it had"
    assert lines["receipt"].verdict is PASS
    assert {name: data for name, data in receipted.files().items() if name in before} == before


@slow
def test_a_device_of_a_real_gateway_passes_before_its_first_reading_and_after(
    patient, mosquitto, tmp_path, until
):
    gateway = GatewayProcess(tmp_path / "gateway", mosquitto.url)
    gateway.start()
    try:
        until(lambda: gateway.log.exists() and gateway.starts(), 30.0, "the gateway's listening")
        patient.settings.membership_path.unlink()
        claim = gateway.claim().to_text()
        joined = CliRunner().invoke(app, ["join", claim, "--config", str(patient.config)])
        assert joined.exit_code == 0, joined.output
        patient.clock = SystemClock()
        assert "beacon" in seen(patient, "gateway")[1]
        assert patient.lines["gateway"].verdict is PASS
        live(patient, until)
        assert "It signed a receipt up to seq" in seen(patient, "gateway")[1]
        assert [line for line in patient.lines.values() if line.verdict is FAIL] == []
    finally:
        gateway.end()


@slow
def test_a_gateway_that_stays_silent_or_is_gone_fails(receipted, gateway, impatient):
    gateway.answering = False
    assert seen(receipted, "gateway") == (
        FAIL,
        "A proof sent again had no receipt within 1 s. "
        "Ask the operator of the network whether its gateway is running.",
    )
    gateway.disconnect()
    assert "no gateway listens" in seen(receipted, "gateway")[1]


def test_a_receipt_or_a_beacon_that_somebody_else_signed_is_no_answer(patient, gateway, until):
    gateway.beacon(1, SeedSigner(bytes(32), "file"))
    verdict, said = seen(patient, "gateway")
    assert (verdict, "is not the gateway's: bad_key" in said) == (FAIL, True), said


@slow
def test_an_answer_of_a_stranger_is_an_impostor(receipted, gateway):
    gateway._signer = SeedSigner(bytes(32), "file")
    verdict, said = seen(receipted, "gateway")
    assert (verdict, "Who answers is not the gateway" in said) == (FAIL, True), said


def test_an_old_beacon_is_a_gateway_that_does_not_run(patient, gateway):
    gateway.beacon(1)
    patient.clock.advance(3600)
    verdict, said = seen(patient, "gateway")
    assert (verdict, "60 min old" in said) == (FAIL, True), said
    patient.clock.set_wall(1_700_000_000)
    assert seen(patient, "gateway")[0] is WARN


def test_no_beacon_at_all_fails(patient, impatient):
    assert "No beacon was heard." in seen(patient, "gateway")[1]
    assert patient.lines["gateway"].verdict is FAIL


def test_a_dead_broker_fails_at_its_port_and_what_needs_it_is_skipped(patient, mosquitto):
    mosquitto.kill()
    lines = patient.examine()
    assert (lines["broker name"].verdict, lines["broker port"].verdict) == (PASS, FAIL)
    assert "nothing listens there" in lines["broker port"].found
    for name in ("broker TLS", "MQTT", "may read", "may write", "gateway"):
        assert (lines[name].verdict, "`broker port`" in lines[name].found) == (SKIPPED, True)


def test_a_name_without_an_address_fails(patient, mosquitto):
    patient.configure("127.0.0.1", "no-such-host.invalid")
    verdict, said = seen(patient, "broker name")
    assert (verdict, "the name has no address" in said) == (FAIL, True), said


@slow
def test_a_broker_that_says_nothing_fails(patient, mosquitto, monkeypatch):
    monkeypatch.setattr(checks_session, "CONNECT_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patient.configure(f":{mosquitto.port}", f":{silent.getsockname()[1]}")
        verdict, said = seen(patient, "MQTT")
        assert (verdict, "does not answer" in said) == (FAIL, True), said


def test_access_rules_that_forbid_writing_are_named(patient, mosquitto, gateway, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topic read fieldproof/#\n")
    configure_broker(mosquitto, f"acl_file {rules}\n")
    lines = patient.examine()
    assert (lines["MQTT"].verdict, lines["may read"].verdict, lines["may write"].verdict) == (
        PASS,
        PASS,
        FAIL,
    )
    assert lines["may write"].found == "The broker refuses …/status (code 0x87)."
    assert "§7.4" in lines["may write"].to_do


@slow
def test_access_rules_that_forbid_proofs_are_named(receipted, mosquitto, gateway, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("topic read fieldproof/#\ntopic write +/+/+/+/status\n")
    configure_broker(mosquitto, f"acl_file {rules}\n")
    verdict, said = seen(receipted, "gateway")
    assert (verdict, "The broker refuses …/proof (code 0x87)." in said) == (FAIL, True), said


@pytest.mark.skipif(DYNSEC is None, reason="mosquitto's dynamic security plugin is not installed")
def test_access_rules_that_forbid_reading_are_named(patient, mosquitto, tmp_path):
    allowed = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}
    rules = tmp_path / "dynamic-security.json"
    rules.write_text(json.dumps({"defaultACLAccess": allowed, "clients": [], "groups": [], "roles": []}))
    configure_broker(mosquitto, f"plugin {DYNSEC}\nplugin_opt_config_file {rules}\n")
    verdict, said = seen(patient, "may read")
    assert (verdict, "The broker refuses …/receipt, …/challenge" in said) == (FAIL, True), said


def test_a_password_that_is_wanted_fails_at_mqtt(patient, mosquitto):
    configure_broker(mosquitto, "allow_anonymous false\n")
    verdict, said = seen(patient, "MQTT")
    assert (verdict, "refused the connection" in said) == (FAIL, True), said


# TLS


@pytest.fixture
def secure(patient, mosquitto, tmp_path) -> Callable[..., Authority]:
    """Give the broker a certificate of a new authority, which the device trusts."""

    def give(**options: Any) -> Authority:
        authority = Authority(tmp_path / "authority", **options)
        config = tmp_path / "mosquitto" / "mosquitto.conf"
        config.write_text(
            config.read_text().replace("allow_anonymous", f"{authority.listener()}allow_anonymous", 1)
        )
        mosquitto.stop()
        mosquitto.start()
        patient.clock = SystemClock()
        patient.configure("mqtt://", "mqtts://")
        patient.configure("[mqtt]\n", f'[mqtt]\nca_file = "{authority.ca_file}"\n')
        return authority

    return give


def test_a_trusted_chain_passes_and_names_issuer_and_end(patient, secure, impatient):
    secure(name="Moor CA")
    verdict, said = seen(patient, "broker TLS")
    assert verdict is PASS, said
    assert "TLSv1.3; its certificate is from Moor CA, valid until 20" in said
    assert patient.lines["MQTT"].verdict is PASS


@slow
def test_a_certificate_that_ends_soon_is_a_warning(patient, secure, impatient):
    secure(days=13.9)
    assert seen(patient, "broker TLS")[0] is WARN
    assert patient.lines["MQTT"].verdict is PASS, "a warning stops nothing"


@slow
def test_an_expired_certificate_fails(patient, secure):
    secure(days=-1)
    verdict, said = seen(patient, "broker TLS")
    assert (verdict, "certificate has expired" in said) == (FAIL, True), said
    assert patient.lines["MQTT"].verdict is SKIPPED


def test_a_chain_of_another_authority_fails(patient, secure, tmp_path):
    authority = secure()
    other = Authority(tmp_path / "other", "other authority")
    authority.ca_file.write_bytes(other.ca_file.read_bytes())
    verdict, said = seen(patient, "broker TLS")
    assert (verdict, "certificate is not trusted" in said) == (FAIL, True), said


def test_tls_to_a_port_without_it_fails(patient):
    patient.configure("mqtt://", "mqtts://")
    verdict, said = seen(patient, "broker TLS")
    assert (verdict, "TLS" in said) == (FAIL, True), said


def test_no_tls_off_this_machine_is_a_warning(patient):
    far = Broker("192.0.2.1", 1883, False, patient.settings.mqtt)
    assert checks_broker.tls(far, patient.clock).verdict is WARN


# Beside a running agent


@pytest.fixture
def running(patient, gateway, mosquitto, until) -> Iterator[Patient]:
    """The daemon in a process of its own, on simulated buses, with the lock of its folder."""
    patient.clock = SystemClock()
    gateway.beacon(1)
    code = "import sys; from tests.integration.daemon_parts import serve; sys.exit(serve(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(patient.folder), mosquitto.url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def captures() -> bool:
        try:
            return bool(status(patient)["link"]["connected"] and status(patient)["readings"]["captured"])
        except AgentError:
            assert process.poll() is None, process.communicate()
            return False

    patient.process = process
    try:
        until(captures, 40.0, "the first reading")
        yield patient
    finally:
        process.kill()
        process.communicate(timeout=10)


def status(patient: Patient) -> dict[str, Any]:
    return ask_status(patient.settings.control_socket)


def test_a_running_agent_is_asked_and_not_disturbed(running, gateway, mosquitto, until):
    until(lambda: gateway.presence == [b'{"online": true}'], what="the agent's presence")
    files = set(running.files())

    def missed_meanwhile() -> int:
        before = status(running)["instruments"][0]
        running.examine()
        until(lambda: status(running)["instruments"][0]["samples"] > before["samples"], what="a reading")
        return int(status(running)["instruments"][0]["missed"] - before["missed"])

    assert 0 in (missed_meanwhile() for _ in range(3)), "no reading was lost, unless this machine was busy"
    lines = running.lines
    assert lines["MQTT"].found == "MQTT 5, the running agent's connection."
    ours = ("MQTT", "may read", "may write", "journal", "bme280-76")
    assert {lines[name].verdict for name in ours} == {PASS}
    assert "read last by the running agent" in lines["bme280-76"].found
    assert "held by the running agent" in lines["journal"].found
    assert lines["agent"].verdict is WARN  # window_s is a day: nothing was receipted yet
    assert set(running.files()) == files
    assert gateway.presence == [b'{"online": true}']
    assert mosquitto.log.read_text().count(running.device.removeprefix("did:key:")) == 1, "one session, once"


@slow
def test_an_agent_that_lost_its_broker_says_so(running, mosquitto, until):
    mosquitto.kill()
    until(lambda: not status(running)["link"]["connected"], 20.0, "the loss")
    lines = running.examine()
    assert (lines["broker port"].verdict, lines["MQTT"].verdict) == (FAIL, SKIPPED)
    assert "Offline" in lines["agent"].found


def test_an_agent_that_holds_the_folder_and_does_not_answer_fails_and_is_left_alone(running, mosquitto):
    running.settings.control_socket.unlink()
    lines = running.examine()
    assert lines["agent"].verdict is FAIL
    assert lines["agent"].found.startswith(f"Process {running.process.pid} holds ")
    for name in ("bme280-76", "journal", "MQTT", "may read", "gateway"):
        assert (lines[name].verdict, "`agent`" in lines[name].found) == (SKIPPED, True), name
    assert mosquitto.log.read_text().count(running.device.removeprefix("did:key:")) == 1


@slow
def test_an_instrument_the_running_agent_does_not_know_or_cannot_read_is_said(running):
    running.configure('name = "bme280-76"', 'name = "another"')
    assert "does not know it" in seen(running, "another")[1]


# The command


def test_a_systemctl_that_does_not_answer_is_a_line_and_no_traceback(patient, impatient, monkeypatch):
    def hangs(*_, **__):
        raise subprocess.TimeoutExpired("systemctl", 4)

    monkeypatch.setattr("provisioning.checks_machine.Path.is_dir", lambda _: True)
    monkeypatch.setattr("provisioning.checks_machine.subprocess.run", hangs)
    result = CliRunner().invoke(app, ["doctor", "--config", str(patient.config)])
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True)
    assert "systemctl cannot be asked" in result.stdout


def test_the_command_prints_a_report_for_people_and_one_for_machines(patient, mosquitto, impatient):
    runner = CliRunner()
    text = runner.invoke(app, ["doctor", "--config", str(patient.config)], env={"COLUMNS": "80"})
    assert text.exit_code == 2
    assert max(map(len, text.stdout.splitlines())) <= 80
    assert "\x1b" not in text.stdout, "colours are for terminals"
    assert "Traceback" not in text.output
    machine = runner.invoke(app, ["doctor", "--json", "--config", str(patient.config)])
    report = json.loads(machine.stdout)
    assert (machine.exit_code, report["verdict"]) == (2, "fail")
    assert list(report["checks"][0]) == ["name", "verdict", "found", "expected", "to_do"]
    assert {check["name"] for check in report["checks"]} == set(patient.examine())
