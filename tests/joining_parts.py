"""Gateways that answer enrolments as a test wants, over a real broker, and devices that ask them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.broker import parse_broker_url
from agent.mqtt import Link
from agent.mqtt_events import Connected, Event, Message, Subscribed
from agent.settings import MqttSettings
from gateway import enrolment
from gateway.enrolment import Admission, Network, StoredClaim
from proof import joining, receipt, wire
from proof.joining import Enrolment, JoinClaim, Membership
from proof.keys import SeedSigner, device_id
from proof.receipt import ProofVerdict, Receipt
from tests.conftest import wait_until

GATEWAY, STRANGER = SeedSigner(bytes(32), "file"), SeedSigner(bytes([1]) * 32, "file")
NOW_S = 1_700_000_000
Answer = Callable[["FakeGateway", Enrolment], None]
CONFIG = """\
state_dir = "{state}"
key = "sim:{state}/device.key"
[mqtt]
allow_plain = true
[[instrument]]
name = "a"
driver = "bme280"
bus = "i2c:1"
"""


def claim(url: str, claim_id: bytes = b"claim-id", **changes: object) -> JoinClaim:
    fields = {
        "network": "meadow",
        "kind": "test",
        "gateway_keys": (GATEWAY.public_key,),
        "broker_url": url,
        "claim_id": claim_id,
        "secret": bytes(32),
        "expires_s": 4_000_000_000,
    }
    return JoinClaim(**{**fields, **changes})  # type: ignore[arg-type]


def admit(
    gateway: FakeGateway, asked: Enrolment, signer: SeedSigner = GATEWAY, issued_s: int = NOW_S
) -> None:
    given = Membership(asked.device, "meadow", "test", (GATEWAY.public_key,), (), issued_s, None)
    gateway.say(asked, "membership", joining.sign_membership(given, signer, NOW_S), retain=True)


def refuse(
    gateway: FakeGateway,
    asked: Enrolment,
    code: str = "claim_refused",
    detail: str = "the claim was used by another device",
) -> None:
    verdicts = (ProofVerdict(0, code, detail),)
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


class Rules:
    """Answers by the real gateway's rules of joining (§8.2), with a register in memory."""

    def __init__(self, *claims: JoinClaim) -> None:
        self.claims: dict[bytes, StoredClaim] = {}
        self.members: dict[str, bytes] = {}
        self.now_s = NOW_S
        for one in claims:
            self.add(one)

    def add(self, one: JoinClaim) -> None:
        self.claims[one.claim_id] = StoredClaim(one.secret, one.expires_s, "", None)

    def __call__(self, gateway: FakeGateway, asked: Enrolment, silent: bool = False) -> None:
        network = Network("meadow", "test", {})
        answer = enrolment.enrol(gateway.message, asked.device, self.now_s, network, self, GATEWAY)
        if isinstance(answer, Admission):
            self.members[asked.device] = answer.membership
            used = self.claims[asked.claim_id] if answer.new else None
            if used is not None:
                self.claims[asked.claim_id] = replace(used, used_by=asked.device)
            if not silent:
                gateway.say(asked, "membership", answer.membership, retain=True)
        else:
            refuse(gateway, asked, answer.verdict.reason.value, answer.verdict.detail)

    def claim(self, claim_id: bytes) -> StoredClaim | None:
        return self.claims.get(claim_id)

    def membership(self, device: str) -> bytes | None:
        return self.members.get(device)

    def has_key(self, device: str, public_key: bytes) -> bool:
        return device == device_id(public_key)

    def is_revoked(self, device: str) -> bool:
        return False


@dataclass
class FakeGateway:
    """`message` is the newest question as it came."""

    url: str
    answer: Answer
    heard: list[Enrolment] = field(default_factory=list)
    message: bytes = b""
    ready: bool = False

    def start(self) -> FakeGateway:
        settings = MqttSettings(allow_plain=True)
        self.link = Link(parse_broker_url(self.url, settings), "gateway", self.on_event)
        self.link.connect()
        wait_until(lambda: self.ready, what="the gateway's subscription")
        return self

    def on_event(self, event: Event) -> None:
        match event:
            case Connected():
                self.link.subscribe(["fieldproof/1/meadow/+/enrol"])
            case Subscribed():
                self.ready = True
            case Message():
                self.message = event.payload
                self.heard.append(joining.open_enrolment(wire.inflate(event.payload)))
                self.answer(self, self.heard[-1])

    def say(self, asked: Enrolment, leaf: str, data: bytes, retain: bool) -> None:
        self.link.publish(wire.topic("meadow", asked.device, leaf), wire.deflate(data), retain=retain)
