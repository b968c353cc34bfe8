"""The publisher between a real journal and a real broker, with a gateway that does what a test tells it to.

Time is a test's own: backoff, grace and resends pass when it says so.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from agent import mqtt, retention
from agent.broker import parse_broker_url
from agent.conditions import UNRECEIPTED_S
from agent.keeper import Keeper
from agent.linkstate import BROKER_REFUSES, UNANSWERED
from agent.membership import Joined
from agent.mqtt import Link
from agent.publisher import Publisher
from agent.settings import JournalSettings, MqttSettings
from agent.succession import SENTENCES
from agent.sync import SYNC_GRACE_S
from agent.verdicts import OUTDATED_KEY
from agent.window import ANSWER_S, RESEND_S
from proof import beacon, rotation
from proof.beacon import Challenge
from proof.claims import Gap, Predecessor
from proof.joining import Membership
from proof.keys import key_id, multibase_part
from proof.reasons import Refused
from proof.receipt import NO_LOG, ProofVerdict, Receipt
from proof.rotation import DeviceKey
from proof.sealing import Proof
from tests.agent_parts import (
    DEVICE_ID,
    GATEWAY,
    NETWORK,
    SIGNER,
    FakeClock,
    MemoryKeys,
    captured,
    make_sealer,
    make_signer,
    open_test_journal,
)
from tests.small_gateway import SmallGateway

STRANGER = make_signer(77)
MEMBERSHIP = Membership(DEVICE_ID, NETWORK, "test", (GATEWAY.public_key,), (), 0, None)
LONG_S = 150.0  # beyond any backoff


class Rig:
    """A device from its journal to its link. One sample makes one proof."""

    def __init__(self, folder: Path, url: str, in_flight: int = 4) -> None:
        self.news: list[str] = []
        self.challenges: list[Challenge] = []
        self.now_s = 0.0
        self.clock = FakeClock()
        self.samples = 0
        settings = MqttSettings(allow_plain=True)
        self.sealer = make_sealer(self.clock, readings=1)
        self.keeper = Keeper(
            open_test_journal(folder, self.clock),
            self.sealer,
            JournalSettings(free_floor_bytes=0),
            self.clock,
            lambda: self.publisher.wake(),
            self.news.append,
        )
        self.publisher = Publisher(
            DEVICE_ID,
            Joined(url, (GATEWAY.public_key,), b"", MEMBERSHIP),
            self.keeper,
            self.sealer,
            lambda on_event, will: Link(
                parse_broker_url(url, settings), multibase_part(DEVICE_ID), on_event, will=will
            ),
            in_flight,
            lambda: self.now_s,
            self.challenges.append,
            self.news.append,
        )
        self.keeper.start()

    def sample(self, count: int = 1) -> None:
        """`count` samples, each sealed when this returns."""
        for _ in range(count):
            self.clock.advance(60)
            self.keeper.append(captured(self.clock, self.samples))
            self.samples += 1
        self.keeper.seal_open_window()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.publisher.wake()

    def start(self) -> None:
        self.publisher.start()

    def stop(self) -> None:
        self.publisher.stop(0.0)
        self.keeper.stop(10.0)

    @property
    def problem(self) -> str:
        return self.publisher.state().problem

    @property
    def connected(self) -> bool:
        return self.publisher.state().connected

    @property
    def subscribed(self) -> bool:
        """From here the grace counts."""
        return self.publisher._sync.subscribed

    def ask(self, question: Callable[[Any], Any]) -> Any:
        return self.keeper.call(question)

    def log(self) -> bytes:
        return bytes(self.ask(lambda journal: journal.open_log().log))

    def receipted(self) -> int:
        return int(self.ask(lambda journal: journal.receipted_seq(journal.open_log().id)))


@pytest.fixture
def rig(tmp_path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(url: str, **options: Any) -> Rig:
        made.append(Rig(tmp_path, url, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def gateway() -> Iterator[Callable[..., SmallGateway]]:
    made: list[SmallGateway] = []

    def make(broker: Any, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5) -> SmallGateway:
        port = broker if isinstance(broker, int) else broker.port
        made.append(SmallGateway(port, NETWORK, DEVICE_ID, GATEWAY, protocol))
        return made[-1]

    yield make
    for one in made:
        one.disconnect()


def run(rig: Rig, gateway: SmallGateway, until: Any) -> None:
    """Start and let the grace for a retained receipt pass."""
    rig.start()
    until(lambda: gateway.presence, what="the device's presence")
    until(lambda: rig.subscribed, what="its subscription")  # the presence may be of the run before
    rig.advance(SYNC_GRACE_S)


@pytest.mark.mosquitto
def test_receipts_move_the_head_until_everything_is_receipted(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    here.sample(20)
    run(here, there, until)
    until(lambda: here.receipted() == 20, what="a receipt for all")
    assert there.seqs() == list(range(1, 21))
    assert here.problem == ""
    assert here.publisher.state().protocol == "MQTT 5"
    here.sample()
    until(lambda: here.receipted() == 21, what="the next receipt")


@pytest.mark.mosquitto
def test_nothing_is_published_before_the_grace_for_a_retained_receipt_is_over(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    here.sample(2)
    here.start()
    until(lambda: there.presence, what="the device's presence")
    turns = here.publisher.turns
    here.advance(SYNC_GRACE_S / 2)
    until(lambda: here.publisher.turns > turns + 1, what="a turn")
    assert there.proofs == []
    here.advance(SYNC_GRACE_S)
    until(lambda: len(there.proofs) == 2, what="both proofs")


@pytest.mark.mosquitto
def test_a_rolled_back_store_publishes_nothing_of_its_old_log(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto), rig(mosquitto.url)
    here.sample(3)
    old_log = here.log()
    beyond = Receipt(DEVICE_ID, old_log, 9, b"\x09" * 32, 0)
    there.send("receipt", there.sign(beyond))
    here.start()
    until(lambda: len(there.proofs) == 3, what="the readings, sealed again")
    until(lambda: here.receipted() == 3, what="receipts in the new log")
    assert old_log not in {proof.claims.log for proof in there.proofs}
    assert there.proofs[0].claims.prev == Predecessor(old_log, b"\x09" * 32, "rolled back")
    assert [len(proof.readings()) for proof in there.proofs] == [1, 1, 1]
    assert here.news == [SENTENCES["rolled back"]]


@pytest.mark.mosquitto
def test_an_older_store_asks_a_broker_that_forgot_before_it_signs_the_same_number_twice(
    mosquitto, rig, gateway, until, tmp_path
):
    there, journal = gateway(mosquitto).connect(), tmp_path / "journal.db"
    first = rig(mosquitto.url)
    first.sample(2)
    run(first, there, until)
    until(lambda: first.receipted() == 2, what="the first receipts")
    first.stop()
    image, old_log = journal.read_bytes(), there.proofs[0].claims.log
    second = rig(mosquitto.url)
    second.sample(3)
    second.start()
    until(lambda: second.receipted() == 5, what="receipts for what the older store does not know")
    second.stop()
    there.disconnect()
    mosquitto.kill()  # with it goes the receipt that it kept
    mosquitto.start()
    journal.write_bytes(image)
    (tmp_path / "journal.db.mark").unlink()  # as on another card: with it the store knows by itself
    there.presence.clear()
    there.connect()
    third = rig(mosquitto.url)
    third.clock.advance(7)  # other moments than the second's: equal samples would make equal proofs
    third.sample(4)
    run(third, there, until)
    until(lambda: third.news, what="word of the other log")
    until(lambda: third.receipted() == 4, what="receipts in the new log")
    assert third.news == [SENTENCES["rolled back"]]
    assert there.proofs[-1].claims.log != old_log
    places = {(proof.claims.log, proof.claims.seq) for proof in there.proofs}
    assert len(places) == len({proof.hash for proof in there.proofs}) == 5 + 4


@pytest.mark.mosquitto
def test_until_the_gateway_has_answered_once_nothing_new_is_published(mosquitto, rig, gateway, until):
    there, first = gateway(mosquitto).connect(), rig(mosquitto.url)
    first.sample(2)
    run(first, there, until)
    until(lambda: first.receipted() == 2, what="the first receipts")
    first.stop()
    there.answering = False
    there.send("receipt", b"", retain=True)  # the broker forgets
    there.presence.clear()
    here = rig(mosquitto.url)
    here.sample(3)
    run(here, there, until)
    for times in (3, 4):
        until(lambda times=times: there.seqs().count(2) >= times - 1, what="the question")
        here.advance(LONG_S)
    assert set(there.seqs()) == {1, 2}
    assert here.problem == UNANSWERED
    there.answering = True
    here.advance(LONG_S)
    until(lambda: here.receipted() == 5, what="all receipts")
    assert here.problem == ""


@pytest.mark.mosquitto
def test_a_broker_that_was_killed_costs_nothing(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    here.sample(5)
    run(here, there, until)
    until(lambda: here.receipted() == 5, what="the first receipts")
    there.answering = False
    here.sample(3)
    until(there.holds(8), what="proofs without an answer")
    mosquitto.kill()
    until(lambda: not here.connected, what="the loss of the link")
    assert "lost" in here.problem
    there.disconnect()
    here.sample(4)
    mosquitto.start()
    there.answering = True
    there.presence.clear()
    there.connect()
    here.advance(LONG_S)
    until(lambda: b'{"online": true}' in there.presence, what="the device's return")
    here.advance(SYNC_GRACE_S)
    until(lambda: here.receipted() == 12, what="receipts for all")
    assert set(there.seqs()) == set(range(1, 13))
    assert len({proof.hash for proof in there.proofs}) == 12  # sent again, never signed again


@pytest.mark.mosquitto
def test_without_a_gateway_it_says_so_waits_and_goes_on_when_one_comes(mosquitto, rig, gateway, until):
    here = rig(mosquitto.url)
    here.sample(10)
    here.start()
    until(lambda: here.subscribed, what="the subscription")
    here.advance(SYNC_GRACE_S)
    until(lambda: "No gateway listens at the broker" in here.problem, what="the sentence")
    until(lambda: here.publisher.state().in_flight == 0, what="the pause")
    assert here.receipted() == 0
    gateway(mosquitto).connect()
    here.advance(9.0)  # one outage is one refusal: the first wait is below 8 s
    until(lambda: here.receipted() == 10, what="receipts for all")
    assert here.problem == ""


@pytest.mark.mosquitto
def test_the_status_that_nobody_reads_is_no_missing_gateway(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto), rig(mosquitto.url)
    client = there.connect()._client
    assert client is not None
    client.unsubscribe(there.topic("status"))
    here.sample()
    here.start()
    until(lambda: here.connected, what="the connection")
    until(lambda: here.publisher.turns > 5, what="the PUBACK of the status")
    assert here.problem == ""
    here.advance(SYNC_GRACE_S)
    until(lambda: here.receipted() == 1, what="the receipt")


@pytest.mark.mosquitto
def test_what_the_gateway_misses_goes_again_at_once(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.answering = False
    here.sample(8)
    run(here, there, until)
    until(lambda: len(there.proofs) == 8, what="all proofs")
    until(lambda: here.publisher.state().in_flight == 0, what="their PUBACKs")
    partial = replace(there.receipt(here.log(), there.proofs[0]), missing=((2, 3), (6, 6)))
    there.send("receipt", there.sign(partial))
    until(lambda: len(there.proofs) == 11, what="the three that were missed")
    assert there.seqs()[8:] == [2, 3, 6]
    there.answer()
    until(lambda: here.receipted() == 8, what="the receipt")


@pytest.mark.mosquitto
def test_without_a_receipt_all_goes_again_after_a_while(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.answering = False
    here.sample(3)
    run(here, there, until)
    until(lambda: len(there.proofs) == 3, what="all proofs")
    until(lambda: here.publisher.state().in_flight == 0, what="their PUBACKs")
    here.advance(RESEND_S)
    until(lambda: len(there.proofs) == 6, what="all once more")
    assert there.seqs() == [1, 2, 3, 1, 2, 3]
    until(lambda: here.publisher.state().in_flight == 0, what="their PUBACKs, too")
    here.advance(UNRECEIPTED_S)
    assert here.publisher.state().unreceipted_s >= UNRECEIPTED_S
    assert here.publisher.state().heard_s is None, "nobody has said a word"
    there.answering = True
    there.answer()
    until(lambda: here.receipted() == 3, what="the receipt")
    until(lambda: here.publisher.state().unreceipted_s is None, what="the end of that")
    assert here.publisher.state().heard_s is not None


@pytest.mark.mosquitto
def test_what_was_lost_while_no_gateway_listened_goes_again_soon_after_its_beacon(
    mosquitto, rig, gateway, until
):
    """As after a broker's restart: the device is back first, and MQTT 3.1.1 says nothing of who listens."""
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.answering = False
    here.sample(3)
    run(here, there, until)
    until(lambda: len(there.proofs) == 3, what="all proofs")
    until(lambda: here.publisher.state().in_flight == 0, what="their PUBACKs")
    there.answering = True
    here.advance(ANSWER_S)
    assert ANSWER_S < RESEND_S, "time alone sends nothing again"
    there.beacon(1)
    until(lambda: here.receipted() == 3, what="receipts for all")


@pytest.mark.mosquitto
def test_an_evicted_proof_is_answered_by_the_one_that_says_the_gap(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.blind_to_gaps = True  # it has not looked into the later proofs yet
    here.sample(6)

    def evict(journal):
        return retention.evict_unreceipted(journal, journal.open_log().id, 3, "store full")

    assert here.ask(evict).last_seq == 3
    here.sample(1)
    run(here, there, until)
    until(lambda: there.seqs().count(7) >= 2, what="the carrier of the gap, in its turn and when asked for")
    gap = there.proofs[-1].claims.gaps
    assert [(type(g), g.first_seq, g.last_seq) for g in gap] == [(Gap, 1, 3)]
    there.blind_to_gaps = False
    there.answer()
    until(lambda: here.receipted() == 7, what="a receipt over the gap")


@pytest.mark.mosquitto
def test_a_puback_makes_nothing_evictable(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.answering = False
    here.sample(3)
    run(here, there, until)
    until(lambda: len(there.proofs) == 3, what="all proofs")
    until(lambda: here.publisher.state().in_flight == 0, what="their PUBACKs")
    assert here.receipted() == 0
    assert here.ask(lambda journal: retention.evict_receipted(journal, 100)) == 0


def bomb() -> bytes:
    return zlib.compress(bytes(20_000_000), 9)


def other_device(there: SmallGateway, here: Rig) -> bytes:
    made = replace(there.receipt(here.log(), there.proofs[-1]), device=f"did:key:{'z6Mk'}{'a' * 44}")
    return there.sign(made)


@pytest.mark.mosquitto
@pytest.mark.parametrize(
    "payload",
    [
        lambda there, here: b"",
        lambda there, here: b"hello",
        lambda there, here: b"\xd2" * 40_000,
        lambda there, here: b"\xd2" + bytes(300_000),
        lambda there, here: bomb(),
        lambda there, here: there.sign(there.receipt(here.log(), there.proofs[-1]))[:-1],
        lambda there, here: there.sign(there.receipt(here.log(), there.proofs[-1])) + b"\0",
        lambda there, here: there.sign(there.receipt(here.log(), there.proofs[-1]), STRANGER),
        lambda there, here: there.proofs[-1].data,
        other_device,
    ],
    ids="empty text junk huge bomb cut long forged proof other".split(),
)
def test_nothing_on_the_receipt_topic_but_a_receipt_changes_anything(mosquitto, rig, gateway, until, payload):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    there.answering = False
    here.sample(2)
    run(here, there, until)
    until(lambda: len(there.proofs) == 2, what="both proofs")
    log = here.log()
    there.send("receipt", payload(there, here), retain=False)
    there.send("challenge", payload(there, here), retain=False)
    there.send(f"fieldproof/1/{NETWORK}/beacon", payload(there, here), retain=False)
    here.sample()
    until(lambda: len(there.proofs) == 3, what="the next proof")  # it came after the payload
    assert (here.receipted(), here.log(), here.news, here.challenges) == (0, log, [], [])
    assert there.proofs[2].claims.freshness == ()
    there.answer()
    until(lambda: here.receipted() == 3, what="a true receipt")


@pytest.mark.mosquitto
def test_the_newest_beacon_of_the_gateway_is_in_the_next_proof(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    data = there.beacon(5)
    here.sample()
    run(here, there, until)
    until(lambda: here.receipted() == 1, what="the receipt")
    there.beacon(9, STRANGER)
    there.beacon(4)
    here.sample()
    until(lambda: here.receipted() == 2, what="the receipt")
    expected = beacon.open_beacon(data, [GATEWAY.public_key], NETWORK).hash
    assert [proof.claims.freshness for proof in there.proofs] == [(), (expected,)]


@pytest.mark.mosquitto
def test_a_challenge_of_the_gateway_is_passed_on_and_one_of_a_stranger_is_not(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    run(here, there, until)
    for nonce, signer in ((b"\1" * 16, STRANGER), (b"\2" * 16, GATEWAY)):
        data = beacon.sign_challenge(DEVICE_ID, nonce, 10, signer, 1_800_000_000)
        there.send("challenge", data, retain=False)
    until(lambda: here.challenges, what="the challenge")
    assert [challenge.nonce for challenge in here.challenges] == [b"\2" * 16]


@pytest.mark.mosquitto
def test_a_challenge_that_a_broker_repeats_is_answered_once(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    run(here, there, until)
    old = beacon.sign_challenge(DEVICE_ID, b"\1" * 16, 10, GATEWAY, 1_800_000_000)
    new = beacon.sign_challenge(DEVICE_ID, b"\2" * 16, 10, GATEWAY, 1_800_000_001)
    beside = beacon.sign_challenge(DEVICE_ID, b"\3" * 16, 10, GATEWAY, 1_800_000_001)
    for data in (old, old, new, old, beside, new, beside):
        there.send("challenge", data, retain=False)
    until(lambda: len(here.challenges) > 2, what="the newer challenges")
    assert [challenge.nonce[0] for challenge in here.challenges] == [1, 2, 3]


@pytest.mark.mosquitto
def test_a_broker_that_lets_it_write_nothing_is_said_and_nothing_is_lost(
    mosquitto, rig, gateway, until, tmp_path
):
    acl = tmp_path / "acl"
    acl.write_text("topic read fieldproof/#\ntopic write +/+/+/+/status\n")
    config = tmp_path / "mosquitto" / "mosquitto.conf"
    open_config = config.read_text()
    config.write_text(open_config + f"acl_file {acl}\n")
    mosquitto.restart()
    here = rig(mosquitto.url)
    here.sample(6)
    here.start()
    until(lambda: here.subscribed, what="the subscription")
    here.advance(SYNC_GRACE_S)
    until(lambda: "The broker refused a proof (0x87)" in here.problem, what="the sentence")
    until(lambda: here.publisher.state().in_flight == 0, what="the pause")
    assert here.publisher.state().trouble == BROKER_REFUSES
    assert here.receipted() == 0
    config.write_text(open_config)
    mosquitto.restart()
    until(lambda: not here.connected, what="the loss of the link")
    there = gateway(mosquitto).connect()
    here.advance(LONG_S)
    until(lambda: here.connected, what="the connection")
    until(lambda: there.presence[-1:] == [b'{"online": true}'], what="the device's return")
    here.advance(LONG_S)
    until(lambda: here.receipted() == 6, what="receipts for all")


@pytest.mark.mosquitto
def test_a_device_that_stops_says_goodbye_and_one_that_dies_has_a_will(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    run(here, there, until)
    here.publisher.stop(2.0)
    until(lambda: there.presence == [b'{"online": true}', b'{"online": false}'], what="the goodbye")


@pytest.mark.mosquitto
def test_what_was_sealed_before_the_stop_is_published_first(mosquitto, rig, gateway, until):
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    here.sample()
    run(here, there, until)
    until(lambda: here.receipted() == 1, what="the first receipt")
    here.sample(3)
    here.publisher.stop(5.0)
    assert here.receipted() == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt loses stream writers
def test_with_a_broker_of_mqtt_3_1_1_it_falls_back_by_itself(old_broker, rig, gateway, until, monkeypatch):
    monkeypatch.setattr(mqtt, "_TICK_S", 0.05)  # amqtt is silent when it is asked for MQTT 5 with a will
    port = int(old_broker.rpartition(":")[2])
    there = gateway(port, MQTTProtocolVersion.MQTTv311).connect()
    here = rig(old_broker)
    here.sample(5)
    here.start()
    until(lambda: there.presence, 20.0, what="the device's presence")
    here.advance(SYNC_GRACE_S)
    until(lambda: here.receipted() == 5, what="receipts for all")
    assert here.publisher.state().protocol == "MQTT 3.1.1"


def test_a_thread_without_a_broker_keeps_going_round_and_says_why(rig, until):
    here = rig("mqtt://127.0.0.1:1")
    here.start()
    until(lambda: "nothing listens there" in here.problem, what="the sentence")
    turns = here.publisher.turns
    for _ in range(3):
        here.advance(LONG_S)
    until(lambda: here.publisher.turns > turns + 3, what="more turns")
    assert here.publisher.alive
    assert threading.active_count() < 20


@pytest.mark.mosquitto
def test_a_key_the_network_has_replaced_is_told_and_only_this_devices_own(mosquitto, rig, gateway, until):
    """Whoever signs with a rotated-out key makes the gateway say so on this device's topic."""
    there, here = gateway(mosquitto).connect(), rig(mosquitto.url)
    run(here, there, until)

    def refuse(kid: str) -> None:
        verdicts = (ProofVerdict(0, "bad_key", f"kid {kid}"),)
        answer = Receipt(DEVICE_ID, NO_LOG, 0, None, 0, verdicts=verdicts)
        there.send("receipt", there.sign(answer), retain=False)

    refuse(key_id(STRANGER.public_key).hex())
    refuse(key_id(SIGNER.public_key).hex())
    until(lambda: here.news, what="the news")
    assert here.news == [OUTDATED_KEY]


class StrictGateway(SmallGateway):
    """Takes what the key in force has signed. The first message that carries a rotation is lost."""

    key, lost, refused = DeviceKey(SIGNER.public_key), False, 0

    def takes(self, proof: Proof) -> bool:
        turn = rotation.of_proof(proof.claims)
        if turn and not self.lost:
            self.lost = True
            return False
        try:
            key = rotation.succeed(turn, self.key) if turn else self.key
            proof.signed.require_signature([key.public_key])
        except Refused:
            self.refused += 1
            return False
        self.key = key
        return True


@pytest.mark.mosquitto
def test_what_a_key_not_known_yet_has_signed_comes_again_after_the_lost_rotation(mosquitto, rig, until):
    here, keys = rig(mosquitto.url), MemoryKeys()
    there = StrictGateway(mosquitto.port, NETWORK, DEVICE_ID, GATEWAY)
    there.connect()
    try:
        here.sample()
        run(here, there, until)
        until(lambda: here.receipted() == 1, 30, "the first receipt")
        assert here.keeper.rotate(keys).seq == 2
        here.sample(2)
        until(lambda: there.refused >= 2, 30, "two proofs by a key nobody knows")
        assert here.receipted() == 1
        here.advance(RESEND_S)
        until(lambda: here.receipted() == 4, 30, "everything, when it came again")
        assert here.keeper.settle_rotation(keys)
        assert there.key.public_key == keys.current().public_key
        here.sample()
        until(lambda: here.receipted() == 5, 30, "what follows")
    finally:
        there.disconnect()
