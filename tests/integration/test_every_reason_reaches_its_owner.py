"""Every reason code (§10), provoked between an agent and a real gateway, and shown to who can act on it.

- The agent is real from its journal to its publisher, the gateway is the real service; between them is a link
  without a broker. `explain` is the command, run on the journal that the agent left.
- Where a code says that a device signs what no agent signs, the test puts such bytes into the journal with
  their hash: as who has the key, or may write the file, could.
- The few codes that cannot reach the owner of a device say why, and where they are shown instead.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import cli
from agent.calibration import Calibrator, Humidities
from agent.keeper import Keeper
from agent.membership import Joined
from agent.mqtt_events import Connected, Delivered, Disconnected, Event, Message, Subscribed
from agent.publisher import Publisher
from agent.quality import Inspector, limits_of
from agent.sampler import Sampler
from agent.sealer import Sealer
from agent.settings import InstrumentSettings, JournalSettings, ProofSettings
from agent.store import open_journal
from drivers.contract import Flag, Identity, Quantity, Sample
from drivers.errors import InstrumentGone, RetryNow
from gateway.service import Inbound, Outbound
from gateway.store import Store
from proof import beacon, calibration, cbor, cose, receipt, rotation, sealing, wire
from proof.calibration import Certificate
from proof.claims import Predecessor
from proof.cose import Typ, object_hash
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor
from proof.joining import Membership
from proof.keys import SeedSigner, device_id
from proof.reasons import QUALITY_REASONS, Reason
from proof.receipt import ProofVerdict
from proof.senml import Measured
from provisioning import joining as provisioning
from tests.agent_parts import FakeClock, captured
from tests.gateway_parts import GATEWAY, NETWORK, NOW_S, Device, Gateway, readings, receipt_in

STRANGER = SeedSigner(b"s" * 32, "sim")
HOUR_S = 3600


def descriptor(**changes: Any) -> Descriptor:
    quantities = (QuantityDescriptor("temperature", "Cel", 0.01, 0.5),)
    one = InstrumentDescriptor("t", "bme280", "i2c:1", "0x76", "BME280", "T1", "trim", quantities)
    parts: dict[str, Any] = {"key_class": "sim", "simulated": True, "instruments": (one,), **changes}
    return Descriptor("fieldproof", "0.1", hardware="test", **parts)


class Air:
    """A link to the gateway without a broker: what is published is answered at once."""

    def __init__(self, gateway: Gateway, on_event: Callable[[Event], None]) -> None:
        self._gateway, self._on_event, self._mid = gateway, on_event, 0

    def connect(self) -> None:
        self._on_event(Connected(5))

    def close(self, timeout_s: float = 5.0) -> None:
        self._on_event(Disconnected("closed here"))

    def subscribe(self, topics: list[str]) -> None:
        self._on_event(Subscribed(tuple(topics), ()))

    def publish(self, topic: str, payload: bytes, *_: object, **__: object) -> int:
        self._mid += 1
        self._on_event(Delivered(self._mid, 0, failed=False, no_subscribers=False))
        for answer in self._gateway.service.take(
            [Inbound(topic, payload)] if topic.endswith("/proof") else []
        ):
            self._on_event(Message(answer.topic, answer.payload, retain=False))
        return self._mid


class Board:
    """A member's agent; `owner` is its device as the gateway's tests know it, with the same key."""

    def __init__(self, folder: Path, gateway: Gateway, joins: bool = True, simulated: bool = True) -> None:
        self.folder, self.gateway, self.owner = folder, gateway, Device()
        self.clock = FakeClock(wall_s=NOW_S)
        if joins:
            gateway.enrol(self.owner, simulated=simulated)
        settings = ProofSettings(readings=1, heartbeat_s=10 * 86_400)  # time jumps: no proofs but of readings
        self.sealer = Sealer(self.owner.signer, NETWORK, settings, self.clock)
        self.sealer.descriptor = descriptor()
        journal = open_journal(folder / "journal.db", self.owner.id, self.clock.boot_id).journal
        bounds = JournalSettings(free_floor_bytes=0)
        self.keeper = Keeper(
            journal, self.sealer, bounds, self.clock, lambda: self.publisher.wake(), lambda _: None
        )
        membership = Membership(self.owner.id, NETWORK, "test", (GATEWAY.public_key,), (), 0, None)
        self.publisher = Publisher(
            self.owner.id,
            Joined("mqtt://nowhere", (GATEWAY.public_key,), b"", membership),
            self.keeper,
            self.sealer,
            lambda on_event, _will: Air(gateway, on_event),  # type: ignore[arg-type, return-value]
            4,
            lambda: self.now_s,
            lambda _: None,
            lambda _: None,
        )
        self.now_s = 0.0
        self.keeper.start()

    def sample(self, **changes: Any) -> None:
        """One reading, sealed when this returns."""
        self.clock.advance(60)
        values = (Measured("temperature", "Cel", Decimal(20)),)
        self.keeper.append(captured(self.clock, instrument="t", **{"values": values, **changes}))
        self.keeper.seal_open_window()

    def put(self, make: Callable[[sealing.Proof], bytes]) -> None:
        """The newest proof of the journal becomes what `make` says."""

        def job(journal: Any) -> None:
            log = journal.open_log()
            data = make(sealing.parse(journal.proof_at(log.id, log.seq).data))
            sql = "UPDATE proofs SET data = ?, hash = ? WHERE log_id = ? AND seq = ?"
            journal.execute(sql, (wire.deflate(data), object_hash(data), log.id, log.seq))

        self.keeper.call(job)

    def newest(self) -> tuple[bytes, bytes]:
        """The open log, and the bytes of its newest proof."""

        def job(journal: Any) -> tuple[bytes, bytes]:
            log = journal.open_log()
            return log.log, journal.proof_at(log.id, log.seq).data

        return self.keeper.read(job)

    def deliver(self, until: Callable[..., None], code: str) -> None:
        """Publish until the owner has heard `code`."""
        self.publisher.start()
        until(lambda: self.publisher._sync.subscribed, 20, "the subscription")
        end = threading.Event()

        def heard() -> bool:
            self.now_s += 5  # the grace, the resends
            self.publisher.wake()
            end.wait(0.01)
            return code in self.codes()

        until(heard, 20, f"{code} in the journal")

    def codes(self) -> set[str]:
        receipted = "SELECT 'accepted' FROM proofs WHERE receipted_s IS NOT NULL"
        question = f"SELECT code FROM verdicts UNION {receipted}"
        return {code for (code,) in self.keeper.read(lambda journal: journal.execute(question).fetchall())}

    def stop(self) -> None:
        if self.publisher._thread.is_alive():
            self.publisher.stop(0.0)
        self.keeper.stop(10.0)

    def explain(self, *words: str) -> str:
        """What `fieldproof-agent explain` says to the owner."""
        config = self.folder / "agent.toml"
        one = '[[instrument]]\nname = "t"\ndriver = "bme280"\nbus = "i2c:1"\n'
        config.write_text(f'state_dir = "{self.folder}"\nkey = "sim:/k"\n{one}')
        done = CliRunner().invoke(cli.app, ["explain", *words, "-c", str(config)])
        assert done.exit_code == 0, done.output
        return done.stdout

    def explained(self, *words: str) -> Any:
        return json.loads(self.explain(*words, "--json"))

    def proofs(self) -> list[Any]:
        """What it says of each."""
        with contextlib.closing(sqlite3.connect(self.folder / "journal.db")) as db:
            (newest,) = db.execute("SELECT max(seq) FROM proofs").fetchone()
        return [self.explained(str(seq)) for seq in range(1, newest + 1)]


@dataclass(frozen=True)
class Shown:
    """Where a code is shown that cannot reach the owner of a device, and why."""

    where: str
    why: str


Scenario = Callable[[Board], None]
EVERY: dict[Reason, Scenario | Shown] = {}


def provokes(*reasons: Reason) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        EVERY.update(dict.fromkeys(reasons, scenario))
        return scenario

    return note


# What the receipt itself says


@provokes(Reason.ACCEPTED)
def an_honest_proof(board: Board) -> None:
    board.sample()


# What is refused before a signature is trusted (§4.1 to 4.4): told by its hash (§5.1)


@provokes(Reason.MALFORMED)
def bytes_that_are_no_proof(board: Board) -> None:
    board.sample()
    board.put(lambda proof: proof.data[:-9])


@provokes(Reason.WRONG_TYP)
def another_object_in_the_place_of_a_proof(board: Board) -> None:
    board.sample()
    board.put(lambda proof: cose.sign(Typ.BEACON, {1: board.owner.id, 6: NOW_S}, b"\xa0", board.owner.signer))


@provokes(Reason.UNKNOWN_DEVICE)
def a_gateway_that_has_forgotten_the_device(board: Board) -> None:
    gateway = board.gateway
    gateway.close()
    gateway._open(
        Store.create(gateway.path.with_name("new.db"), NETWORK, "test", device_id(GATEWAY.public_key))
    )
    board.sample()


@provokes(Reason.BAD_KEY)
def another_key_file(board: Board) -> None:
    board.sample()
    other = SeedSigner(b"o" * 32, "sim", board.owner.id)
    board.put(lambda proof: sealing.seal(proof.claims, proof.readings(), other))


@provokes(Reason.BAD_SIGNATURE)
def a_proof_edited_on_the_disk(board: Board) -> None:
    board.sample()
    board.put(lambda proof: proof.data.replace(proof.signed.signature, STRANGER.sign(b"")))


@provokes(Reason.BAD_ROTATION)
def a_rotation_to_a_key_that_was_not_announced(board: Board) -> None:
    board.sample()
    other = SeedSigner(b"o" * 32, "sim", board.owner.id)

    def turn(proof: sealing.Proof) -> bytes:
        log, seq = proof.claims.log, proof.claims.seq
        carried = rotation.sign(log, seq, board.owner.signer, other, bytes(32), NOW_S)
        return sealing.seal(replace(proof.claims, rotation=carried), proof.readings(), other)

    board.put(turn)


# What is refused although the device signed it: in the receipt


@provokes(Reason.REVOKED)
def a_device_that_was_revoked(board: Board) -> None:
    board.gateway.register.revoke(board.owner.id, None)
    board.gateway.restart()
    board.sample()


@provokes(Reason.WRONG_NETWORK)
def a_proof_for_another_network(board: Board) -> None:
    board.sample()
    board.put(
        lambda proof: sealing.seal(
            replace(proof.claims, network="another"), proof.readings(), board.owner.signer
        )
    )


@provokes(Reason.SIMULATED_ON_LIVE)
def a_simulated_device_that_joined_as_a_real_one(board: Board) -> None:
    board.gateway.ledger.kind = "live"
    board.sample()


@provokes(Reason.EQUIVOCATION, Reason.SUSPENDED)
def a_thief_who_was_there_first(board: Board) -> None:
    board.sample()
    log, _ = board.newest()
    thief = Device(log=log)
    board.gateway.send(board.owner, thief.seal())
    board.sample()


@provokes(Reason.BROKEN_CHAIN)
def a_proof_that_does_not_follow(board: Board) -> None:
    board.sample()
    board.sample()
    board.put(
        lambda proof: sealing.seal(
            replace(proof.claims, prev=bytes(32)), proof.readings(), board.owner.signer
        )
    )


@provokes(Reason.ROLLED_BACK)
def a_store_that_was_lost(board: Board) -> None:
    board.gateway.send(board.owner, board.owner.seal(), board.owner.seal())
    board.sample()


@provokes(Reason.TWO_BOARDS)
def another_board_that_gives_way(board: Board) -> None:
    board.sample()
    log, proof = board.newest()
    other = Device(log=b"another!", prev=Predecessor(log, object_hash(proof), "superseded"))
    board.gateway.send(board.owner, proof, other.seal())


# What is noted of a proof that counts (§4.8 to 4.10)


@provokes(Reason.KEY_CLASS_CHANGED)
def a_key_that_moved(board: Board) -> None:
    board.sealer.descriptor = descriptor(key_class="tpm2")
    board.sample()


@provokes(Reason.INSTRUMENT_CHANGED)
def another_sensor_under_the_old_name(board: Board) -> None:
    one = replace(descriptor().instruments[0], serial="T2")
    board.sealer.descriptor = descriptor(instruments=(one,))
    board.sample()


@provokes(Reason.STALE_BEACON)
def a_proof_that_was_long_on_its_way(board: Board) -> None:
    hear_beacon(board)
    board.sample()
    board.gateway.now_s += 2 * HOUR_S


@provokes(Reason.UNKNOWN_BEACON)
def a_beacon_that_no_gateway_sent(board: Board) -> None:
    board.sealer.freshness = (bytes(32),)
    board.sample()


@provokes(Reason.CLOCK_AHEAD)
def a_clock_that_runs_ahead(board: Board) -> None:
    board.clock.step_wall(HOUR_S)
    board.sample()


@provokes(Reason.CLOCK_BEHIND)
def a_clock_that_stepped_back(board: Board) -> None:
    board.gateway.now_s += HOUR_S
    hear_beacon(board)
    board.sample()


def hear_beacon(board: Board) -> None:
    data = wire.inflate(board.gateway.service.beacon().payload)
    board.keeper.hear_beacon(beacon.open_beacon(data, [GATEWAY.public_key], NETWORK), data)


@provokes(Reason.BAD_PAYLOAD)
def readings_that_are_no_senml(board: Board) -> None:
    board.sample()
    board.put(lambda proof: with_payload(board, proof, cbor.encode([{2: 20}])))


@provokes(Reason.UNKNOWN_UNIT)
def a_unit_that_nobody_registered(board: Board) -> None:
    board.sample()
    pack = {-2: f"{board.owner.id}/", -3: NOW_S, 0: "t/temperature", 1: "furlong", 2: 20}
    board.put(lambda proof: with_payload(board, proof, cbor.encode([pack])))


def with_payload(board: Board, proof: sealing.Proof, payload: bytes) -> bytes:
    return cose.sign(Typ.PROOF, proof.claims.to_map(), payload, board.owner.signer, cose.CONTENT_SENML_CBOR)


@provokes(Reason.EVIDENCE_MISMATCH)
def raw_words_that_give_another_value(board: Board) -> None:
    one = replace(descriptor().instruments[0], raw_evidence=True, evidence=bytes(33))
    board.sealer.descriptor = descriptor(instruments=(one,))
    board.sample(raw=bytes(8))


# What the device itself notes of a reading (§9), by its own sampler


class Instants:
    """Boot times at which there is something to read."""

    def __init__(self, clock: FakeClock, count: int, every_s: float) -> None:
        first_ns = clock.boottime_ns() + 10**9
        self._instants = [first_ns + round(n * every_s * 1e9) for n in range(count)]

    def next_ns(self, after_ns: int) -> int | None:
        return next((instant for instant in self._instants if instant > after_ns), None)


class Weather:
    """An instrument that does what a test says, once for each of `reads`; then it is over."""

    quantities = (
        Quantity("temperature", "Cel", 0.01, 0.5, -40.0, 85.0),
        Quantity("humidity", "%RH", 0.1, 3.0, 0.0, 110.0),
    )

    def __init__(self, *reads: Any) -> None:
        self.reads = list(reads)

    def open(self) -> Identity:
        return Identity("BME280", "T1", "serial")

    def read(self, deadline_s: float) -> Sample:
        found = self.reads.pop(0)
        if callable(found):
            found = found()
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Sample) else Sample(found)

    def close(self) -> None: ...


WELL = (20.0, 50.0)


def read(board: Board, *reads: Any, every_s: float = 60.0, certificates: Any = ()) -> None:
    """What the agent's own sampler makes of `reads`, sealed."""
    weather = Weather(*reads)
    settings = InstrumentSettings("t", "bme280", "i2c:1", "0x76", interval_s=60.0)
    sampler = Sampler(
        settings,
        weather,
        Calibrator(weather.quantities, certificates, Humidities()),
        Inspector(weather.quantities, limits_of("t", weather.quantities, {})),
        Instants(board.clock, len(reads), every_s),
        board.keeper,
        board.clock,
        lambda *_: None,
    )
    sampler.start()
    sampler.join(20)
    assert sampler.state.ended
    board.keeper.seal_open_window()


@provokes(Reason.QUALITY_RANGE)
def a_value_that_cannot_be(board: Board) -> None:
    read(board, (99.0, 50.0))


@provokes(Reason.QUALITY_JUMP)
def a_value_that_jumps(board: Board) -> None:
    read(board, WELL, (23.0, 50.0))


@provokes(Reason.QUALITY_FROZEN)
def a_value_that_stands_still(board: Board) -> None:
    read(board, *[WELL] * 6, every_s=HOUR_S)


@provokes(Reason.QUALITY_CROSS_CHECK)
def more_than_all_the_water_that_air_can_hold(board: Board) -> None:
    read(board, (20.0, 104.0))


@provokes(Reason.QUALITY_WARMING_UP)
def an_instrument_that_says_it_warms_up(board: Board) -> None:
    read(board, Sample(WELL, flags=Flag.WARMING_UP))


@provokes(Reason.QUALITY_CLAMPED)
def an_instrument_at_the_end_of_its_scale(board: Board) -> None:
    read(board, Sample(WELL, flags=Flag.CLAMPED))


@provokes(Reason.QUALITY_RETRIED)
def a_read_that_needed_another(board: Board) -> None:
    read(board, RetryNow("A checksum was wrong."), WELL)


@provokes(Reason.QUALITY_LATE)
def a_read_that_came_late(board: Board) -> None:
    def slow() -> tuple[float, ...]:
        board.clock.advance(100)  # the next instant was 40 s ago when it is over
        return WELL

    read(board, slow, WELL)


@provokes(Reason.QUALITY_REOPENED)
def an_instrument_that_was_gone(board: Board) -> None:
    read(board, WELL, InstrumentGone("Nothing answers."), WELL)


@provokes(Reason.CALIBRATION_EXPIRED)
def a_certificate_of_yesterday(board: Board) -> None:
    said = Certificate(
        "BME280", "T1", "serial", "temperature", "Cel", "linear", (0.0, 1.0), "a better one", 0.1, -40, 85,
        NOW_S - 90_000, NOW_S - 3_600,
    )  # fmt: skip
    signed = calibration.open_certificate(calibration.sign(said, STRANGER))
    read(board, WELL, certificates=(signed,))


# What a gateway of another make may say: ours sets no quota, that is the broker's


@provokes(Reason.OVER_QUOTA)
def a_gateway_that_has_a_quota(board: Board) -> None:
    board.sample()
    take = board.gateway.service.take

    def grudging(messages: Any) -> list[Outbound]:
        answers = []
        for answer in take(messages):
            told = receipt.open_receipt(answer.payload, [GATEWAY.public_key], board.owner.id)
            told = replace(told, verdicts=(ProofVerdict(1, "over_quota", "9 of 8 today"),))
            answers.append(replace(answer, payload=receipt.sign(told, GATEWAY, NOW_S)))
        return answers

    board.gateway.service.take = grudging  # type: ignore[method-assign]


# What cannot reach the owner of a device

EVERY[Reason.DUPLICATE] = Shown("the gateway's counts", "the answer is the receipt that was lost")
EVERY[Reason.HELD] = Shown(
    "the gateway's counts", "the answer is what it asks for; it is accepted in its turn"
)
EVERY[Reason.TOO_LARGE] = Shown(
    "the gateway's counts and log",
    "no agent seals or keeps so much, and what is too large has no hash to tell",
)
EVERY[Reason.CLAIM_REFUSED] = Shown("`fieldproof-provision join`", "there is no proof yet, nor an agent")


def test_no_reason_is_missing():
    assert set(EVERY) == set(Reason)


REACHING = [(reason, scenario) for reason, scenario in EVERY.items() if not isinstance(scenario, Shown)]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.close()


@pytest.fixture
def board(tmp_path: Path, gateway: Gateway) -> Iterator[Board]:
    made = Board(tmp_path / "board", gateway)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("reason", "scenario"), REACHING, ids=[f"{reason.value}-{s.__name__}" for reason, s in REACHING]
)
def test_the_owner_sees_code_sentence_and_what_to_do(reason, scenario, board, until):
    scenario(board)
    board.deliver(until, reason.value)
    board.stop()
    found = [
        (answer["seq"], verdict) for answer in board.proofs()
        for verdict in (*answer["verdicts"], *answer["earlier"]) if verdict["code"] == reason.value
    ]  # fmt: skip
    assert found, f"{reason.value} at no proof"
    seq, verdict = found[-1]
    assert (verdict["sentence"], verdict["remedy"]) == (reason.sentence, reason.remedy)
    said, lately = board.explain(str(seq)), board.explain()
    for word in (reason.value, reason.sentence, reason.remedy):
        assert word in said
        assert word in lately or reason is Reason.ACCEPTED, "that stands with each proof"
    newest = {line["code"]: line["newest_seq"] for line in board.explained()["verdicts"]}
    assert newest.get(reason.value, seq) == seq


@pytest.mark.parametrize("reason", [r for r in QUALITY_REASONS.values() if r in dict(REACHING)])
def test_a_flag_is_told_with_its_instrument_before_any_gateway_heard_of_it(reason, board):
    """The device knows it itself: the owner need not wait for a receipt."""
    dict(REACHING)[reason](board)
    board.stop()
    flags = [flag for answer in board.proofs() for flag in answer["flags"]]
    told = next(flag for flag in flags if flag["code"] == reason.value)
    assert (told["instrument"], told["sentence"], told["remedy"]) == ("t", reason.sentence, reason.remedy)
    assert told["count"] >= 1


# Those that are shown elsewhere


def test_a_duplicate_and_a_held_proof_are_counted_at_the_gateway_and_answered(gateway):
    device = gateway.member()
    one, two = device.seal(), device.seal()
    assert receipt_in(gateway.send(device, two), device).missing == ((1, 1),)
    assert receipt_in(gateway.send(device, one, one), device).head_seq == 2
    assert (gateway.service.counts["held"], gateway.service.counts["duplicate"]) == (1, 1)


def test_what_is_too_large_is_refused_where_it_is_made_and_counted_where_it_comes(gateway, capsys):
    device = gateway.member()
    many = readings(5000)
    with pytest.raises(ValueError, match="at most 4,096 records"):
        device.seal(many)
    topic = wire.topic(NETWORK, device.id, "proof")
    assert gateway.service.take([Inbound(topic, b"\xd2" + bytes(300_000))]) == []
    assert gateway.service.counts["too_large"] == 1
    assert "too_large" in capsys.readouterr().out


def test_a_refused_claim_is_the_answer_of_join(gateway):
    device, claim = Device(), gateway.claim(valid_for_s=-1)
    (answer,) = gateway.enrol(device, claim)
    asked = provisioning.Request(claim, device.id, b"")
    with pytest.raises(provisioning.ClaimRefused) as told:
        provisioning.judge(asked, Message(answer.topic, answer.payload, retain=False), NOW_S)
    reason = Reason.CLAIM_REFUSED
    for word in (reason.value, reason.sentence.rstrip("."), reason.remedy):
        assert word in told.value.sentence


def test_our_gateway_says_over_quota_of_nobody():
    """So the table may let another one say it."""
    root = Path(__file__).parents[2]
    sources = [path.read_text() for name in ("gateway", "proof") for path in (root / name).glob("*.py")]
    assert sum("OVER_QUOTA" in text for text in sources) == 1, "where it is named"
