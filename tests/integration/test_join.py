"""`fieldproof-provision join` over a real broker, with a gateway made of the proof package's functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from agent import membership
from agent.keystore import Board, open_key, open_next_key
from proof import joining
from proof.joining import Membership
from proof.keys import device_id
from provisioning.cli import app
from tests.joining_parts import (
    CONFIG,
    GATEWAY,
    NOW_S,
    STRANGER,
    Answer,
    FakeGateway,
    Rules,
    admit,
    admit_the_second_time,
    claim,
    forge,
    forge_then_admit,
    refuse,
    stay_silent,
)

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def gateway(mosquitto):
    """`gateway(answer)` starts one that answers like that."""
    started = []

    def start(answer: Answer) -> FakeGateway:
        started.append(FakeGateway(mosquitto.url, answer).start())
        return started[-1]

    yield start
    for one in started:
        assert one.link.close()


class Device:
    def __init__(self, folder, url: str) -> None:
        self.config, self.state = folder / "agent.toml", folder / "state"
        self.config.write_text(CONFIG.format(state=self.state))
        self.claim = claim(url)
        self.board = Board(folder / "none", folder / "none")

    def run(self, *arguments, stdin=None):
        return CliRunner().invoke(app, [*arguments, "-c", str(self.config)], obj=self.board, input=stdin)

    def join(self, *options):
        return self.run("join", self.claim.to_text(), *options)

    def membership(self):
        path, key = self.state / "membership.json", open_key(f"sim:{self.state}/device.key", self.board)
        return membership.load(path, key.device, NOW_S).membership_bytes

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
        (refuse, 2, "meadow refuses this device (claim_refused). The claim is unknown, expired"),
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


def test_an_answer_after_the_deadline_is_found_the_next_time_though_nobody_answers(device, gateway):
    rules = Rules(device.claim)
    late = gateway(stay_silent)
    assert device.join("--deadline-s", "1").exit_code == 1
    rules(late, late.heard[-1])
    found = device.join("--deadline-s", "2")
    assert found.exit_code == 0, found.output
    assert "No gateway answers now; the membership that it had left at the broker was taken." in found.stdout
    assert device.membership() == rules.members[late.heard[-1].device]


def test_an_answer_counts_before_what_the_broker_had_kept(device, gateway):
    one = gateway(admit)
    assert device.join().exit_code == 0
    one.answer = refuse
    assert device.join().exit_code == 2, "it was thrown out meanwhile"


def test_a_lost_answer_is_given_again_and_the_claim_is_spent_once(device, gateway):
    rules = Rules(device.claim)
    forgetful = gateway(lambda gateway, asked: rules(gateway, asked, silent=len(gateway.heard) == 1))
    assert device.join().exit_code == 0
    assert len(forgetful.heard) > 1
    assert list(rules.members.values()) == [device.membership()]


@pytest.mark.parametrize("state", ["spent by this device", "spent and expired", "withdrawn since"])
def test_a_member_gets_the_same_membership_whatever_became_of_its_claim(device, gateway, state):
    rules = Rules(device.claim)
    gateway(rules)
    assert device.join().exit_code == 0
    kept = device.files()
    if state != "spent by this device":
        rules.claims[device.claim.claim_id] = replace(rules.claims[device.claim.claim_id], expires_s=0)
    if state == "spent and expired":
        device.claim = replace(device.claim, expires_s=1)
    again = device.join("--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["joined_now"] is False
    assert device.files() == kept


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rules, one: replace(rules.claims[one], used_by="did:key:other"), "used by another device"),
        (lambda rules, one: replace(rules.claims[one], expires_s=1), "the claim has expired"),
        (lambda rules, one: replace(rules.claims[one], expires_s=0), "the claim was withdrawn"),
        (lambda rules, one: replace(rules.claims[one], secret=bytes(31) + b"x"), "secret is wrong"),
    ],
)
def test_a_claim_that_the_gateway_does_not_take_is_one_sentence(device, gateway, spoil, said):
    rules = Rules(device.claim)
    rules.claims[device.claim.claim_id] = spoil(rules, device.claim.claim_id)
    gateway(rules)
    result = device.join()
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert rules.members == {}
    assert list(device.files()) == ["device.key", "device.key.next"]


def test_another_device_s_membership_replayed_on_this_one_s_topic_is_not_taken(device, gateway):
    def replay(gateway, asked):
        given = Membership(
            device_id(STRANGER.public_key), "meadow", "test", (GATEWAY.public_key,), (), 1, None
        )
        for retain in (True, False):
            gateway.say(asked, "membership", joining.sign_membership(given, GATEWAY, NOW_S), retain)

    gateway(replay)
    assert "What answered is not a gateway of this claim" in device.join("--deadline-s", "1").stderr
    assert not (device.state / "membership.json").exists()


def test_an_older_membership_replayed_does_not_replace_the_newer_one(device, gateway):
    one = gateway(admit)
    assert device.join().exit_code == 0
    kept = device.files()
    one.answer = lambda gateway, asked: admit(gateway, asked, issued_s=NOW_S - 1)
    assert device.join().exit_code == 0
    assert device.files() == kept


def test_a_member_whose_gateway_is_away_stays_one(device, gateway, mosquitto):
    gateway(admit)
    assert device.join().exit_code == 0
    kept = device.files()
    mosquitto.kill()
    result = device.join("--deadline-s", "1")
    assert (result.exit_code, device.files()) == (1, kept)
    assert "This device stays a member of meadow." in result.stderr
