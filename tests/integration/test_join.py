"""`fieldproof-provision join` over a real broker, with a gateway made of the proof package's functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner

from agent import membership
from agent.broker import parse_broker_url
from agent.keystore import Board, open_next_key
from agent.mqtt import Link
from agent.mqtt_events import Connected, Event, Message, Subscribed
from agent.settings import MqttSettings
from proof import joining, receipt, wire
from proof.joining import Enrolment, JoinClaim, Membership
from proof.keys import SeedSigner, device_id
from proof.receipt import ProofVerdict, Receipt
from provisioning.cli import app

pytestmark = pytest.mark.mosquitto
GATEWAY, STRANGER = SeedSigner(bytes(32), "file"), SeedSigner(bytes([1]) * 32, "file")
NOW_S = 1_700_000_000
Answer = Callable[["FakeGateway", Enrolment], None]


def admit(gateway: FakeGateway, asked: Enrolment, signer: SeedSigner = GATEWAY) -> None:
    given = Membership(asked.device, "meadow", "test", (GATEWAY.public_key,), (), NOW_S, None)
    gateway.say(asked, "membership", joining.sign_membership(given, signer, NOW_S), retain=True)


def refuse(gateway: FakeGateway, asked: Enrolment) -> None:
    verdicts = (ProofVerdict(0, "claim_refused", "the claim was used by another device"),)
    body = Receipt(asked.device, receipt.NO_LOG, 0, None, NOW_S, verdicts=verdicts)
    gateway.say(asked, "receipt", receipt.sign(body, GATEWAY, NOW_S), retain=False)


def forge(gateway: FakeGateway, asked: Enrolment) -> None:
    admit(gateway, asked, signer=STRANGER)


def forge_then_admit(gateway: FakeGateway, asked: Enrolment) -> None:
    forge(gateway, asked)
    admit(gateway, asked)


def stay_silent(gateway: FakeGateway, asked: Enrolment) -> None:
    pass


def admit_the_second_time(gateway: FakeGateway, asked: Enrolment) -> None:
    if len(gateway.heard) > 1:
        admit(gateway, asked)


@dataclass
class FakeGateway:
    url: str
    answer: Answer
    heard: list[Enrolment] = field(default_factory=list)
    ready: bool = False

    def start(self) -> None:
        settings = MqttSettings(allow_plain=True)
        self.link = Link(parse_broker_url(self.url, settings), "gateway", self.on_event)
        self.link.connect()

    def on_event(self, event: Event) -> None:
        match event:
            case Connected():
                self.link.subscribe(["fieldproof/1/meadow/+/enrol"])
            case Subscribed():
                self.ready = True
            case Message():
                self.heard.append(joining.open_enrolment(wire.inflate(event.payload)))
                self.answer(self, self.heard[-1])

    def say(self, asked: Enrolment, leaf: str, data: bytes, retain: bool) -> None:
        self.link.publish(wire.topic("meadow", asked.device, leaf), wire.deflate(data), retain=retain)


@pytest.fixture
def gateway(mosquitto, until):
    """`gateway(answer)` starts one that answers like that."""
    started = []

    def start(answer: Answer) -> FakeGateway:
        made = FakeGateway(mosquitto.url, answer)
        started.append(made)
        made.start()
        until(lambda: made.ready, what="the gateway's subscription")
        return made

    yield start
    for one in started:
        assert one.link.close()


class Device:
    def __init__(self, folder, url: str) -> None:
        self.config, self.state = folder / "agent.toml", folder / "state"
        self.config.write_text(
            f'state_dir = "{self.state}"\nkey = "sim:{self.state}/device.key"\n[mqtt]\nallow_plain = true\n'
            '[[instrument]]\nname = "a"\ndriver = "bme280"\nbus = "i2c:1"\n'
        )
        self.claim = JoinClaim(
            "meadow", "test", (GATEWAY.public_key,), url, b"claim-id", bytes(32), 4_000_000_000
        )
        self.board = Board(folder / "none", folder / "none")

    def run(self, *arguments, stdin=None):
        return CliRunner().invoke(app, [*arguments, "-c", str(self.config)], obj=self.board, input=stdin)

    def join(self, *options):
        return self.run("join", self.claim.to_text(), *options)

    def files(self):
        return {path.name: path.read_bytes() for path in sorted(self.state.glob("*"))}


@pytest.fixture
def device(tmp_path, mosquitto):
    one = Device(tmp_path, mosquitto.url)
    assert one.run("init").exit_code == 0
    return one


def test_a_device_joins_and_joining_again_converges(device, gateway):
    asked_of = gateway(admit)
    first = device.join("--json")
    assert first.exit_code == 0, first.output
    facts, kept = json.loads(first.stdout), device.files()
    assert (facts["network"], facts["joined_now"]) == ("meadow", True)
    joined = membership.load(device.state / "membership.json", facts["device"], NOW_S)
    assert joined.gateway_keys == (GATEWAY.public_key,)
    again = device.run("join", "-", stdin=device.claim.to_text())
    assert again.exit_code == 0, again.output
    assert "Already a member of meadow." in again.stdout
    assert device.files() == kept
    assert len({enrolment.device for enrolment in asked_of.heard}) == 1
    assert device.run("show").exit_code == 0


def test_what_the_gateway_hears_commits_to_the_next_key_and_proves_the_secret(device, gateway):
    asked_of = gateway(admit)
    device.join()
    heard = asked_of.heard[0]
    next_key = open_next_key(f"sim:{device.state}/device.key", device.board).public_key
    assert heard.next_key_hash == hashlib.sha256(next_key).digest()
    assert joining.knows_secret(heard, device.claim.secret)
    assert heard.device == device_id(heard.public_key)
    assert (heard.descriptor.key_class, heard.descriptor.simulated) == ("sim", True)


def test_a_gateway_that_misses_the_first_question_is_asked_again(device, gateway):
    asked_of = gateway(admit_the_second_time)
    assert device.join().exit_code == 0
    assert len({enrolment.hash for enrolment in asked_of.heard}) == 1, "the same bytes each time"


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        (refuse, 2, "meadow refuses this device. The claim is unknown, expired, already used"),
        (forge, 2, "What answered is not a gateway of this claim (bad_key"),
        (stay_silent, 1, "no gateway of meadow answered"),
    ],
)
def test_no_membership_is_one_sentence_and_changes_nothing(device, gateway, answer, code, expected):
    gateway(answer)
    before = device.files()
    result = device.join("--deadline-s", "1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert expected in result.stderr
    assert device.files() == before


def test_a_forged_answer_does_not_end_the_wait_for_the_true_one(device, gateway):
    gateway(forge_then_admit)
    assert device.join().exit_code == 0


def test_a_refusal_says_what_to_do(device, gateway):
    gateway(refuse)
    assert "Ask the operator for a new claim." in device.join().stderr


def test_no_gateway_at_the_broker_is_told_from_a_silent_one(device):
    result = device.join("--deadline-s", "1")
    assert result.exit_code == 1
    assert "no gateway of meadow is listening there" in result.stderr


def test_a_dead_broker_is_named(device, mosquitto):
    mosquitto.kill()
    result = device.join("--deadline-s", "1")
    assert result.exit_code == 1
    assert f"127.0.0.1:{mosquitto.port} cannot be reached: nothing listens there" in result.stderr


def test_an_old_retained_membership_does_not_stand_for_an_answer(device, gateway):
    first = gateway(admit)
    assert device.join().exit_code == 0
    first.answer = stay_silent
    assert device.join("--deadline-s", "1").exit_code == 1
