"""What the ledger does with proofs (§4.6, §4.7, §5): accept, hold, release, refuse, suspend."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from gateway import held, ledger
from gateway.errors import TryAgain
from gateway.service import Inbound
from proof import wire
from proof.claims import Gap, Predecessor
from proof.cose import object_hash
from proof.reasons import Reason
from proof.receipt import MAX_VERDICTS
from tests.gateway_parts import NETWORK, NOW_S, Device, descriptor, readings, receipt_in, refused


def codes(gateway, device):
    return [(verdict.seq, verdict.code) for verdict in gateway.receipt(device).verdicts]


def line(gateway):
    (only,) = gateway.register.devices()
    return only


def test_a_batch_gives_one_receipt_for_its_newest_proof(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(3)]
    answers = gateway.send(device, *proofs)
    assert len(answers) == 1
    assert answers[0].retain
    receipt = receipt_in(answers, device)
    assert (receipt.head_seq, receipt.head_hash) == (3, object_hash(proofs[-1]))
    assert receipt.missing == ()
    assert list(gateway.register.accepted(device.id)) == proofs


def test_a_duplicate_is_answered_again_and_changes_nothing(gateway):
    device = gateway.member()
    proof = device.seal()
    gateway.send(device, proof)
    before = gateway.contents()
    assert receipt_in(gateway.send(device, proof, proof), device).head_seq == 1
    assert gateway.contents() == before


def test_a_proof_ahead_of_the_head_is_held_and_the_range_between_is_asked_for(gateway):
    device = gateway.member()
    one, two, three, four, five = (device.seal() for _ in range(5))
    receipt = receipt_in(gateway.send(device, one, three, five), device)
    assert (receipt.head_seq, receipt.missing) == (1, ((2, 2), (4, 4)))
    assert line(gateway).held == 2
    receipt = receipt_in(gateway.send(device, two), device)
    assert (receipt.head_seq, receipt.missing) == (3, ((4, 4),))
    receipt = receipt_in(gateway.send(device, four), device)
    assert (receipt.head_seq, receipt.missing) == (5, ())
    assert list(gateway.register.accepted(device.id)) == [one, two, three, four, five]
    assert line(gateway).readings == 5


def test_the_first_proof_is_asked_for_when_a_later_one_comes_first(gateway):
    device = gateway.member()
    one, two = device.seal(), device.seal()
    receipt = receipt_in(gateway.send(device, two), device)
    assert (receipt.log, receipt.head_seq, receipt.head_hash) == (device.log, 0, None)
    assert receipt.missing == ((1, 1),)
    assert receipt_in(gateway.send(device, one), device).head_seq == 2


def test_a_declared_gap_carries_the_head_over(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(4)]
    gateway.send(device, proofs[0])
    last = device.seal(gaps=(device.gap(2, 4),))
    assert receipt_in(gateway.send(device, last), device).head_seq == 5


def test_proofs_behind_a_gap_wait_for_the_proof_that_declares_it(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(5)]
    carrier = device.seal(gaps=(device.gap(2, 3),))
    receipt = receipt_in(gateway.send(device, proofs[0], proofs[3], proofs[4]), device)
    assert (receipt.head_seq, receipt.missing) == (1, ((2, 3),))
    receipt = receipt_in(gateway.send(device, carrier), device)
    assert (receipt.head_seq, receipt.missing, receipt.verdicts) == (6, (), ())
    assert list(gateway.register.accepted(device.id)) == [proofs[0], *proofs[3:], carrier]


def test_a_device_that_outlived_its_first_proofs_is_accepted_over_their_gap(gateway):
    device = gateway.member()
    for _ in range(2):
        device.seal()
    carrier = device.seal(gaps=(device.gap(1, 2),))
    assert receipt_in(gateway.send(device, carrier), device).head_seq == 3


def test_a_first_log_that_begins_with_a_gap_is_released_when_the_gap_is_declared(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(3)]
    carrier = device.seal(gaps=(device.gap(1, 2),))
    receipt = receipt_in(gateway.send(device, proofs[2]), device)
    assert (receipt.head_seq, receipt.missing) == (0, ((1, 2),))
    assert receipt_in(gateway.send(device, carrier), device).head_seq == 4
    assert list(gateway.register.accepted(device.id)) == [proofs[2], carrier]


def test_a_held_proof_inside_a_gap_is_kept_aside_without_blame(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(4)]
    gateway.send(device, proofs[0], proofs[2])
    carrier = device.seal(gaps=(device.gap(2, 4),))
    receipt = receipt_in(gateway.send(device, carrier), device)
    assert (receipt.head_seq, receipt.missing, receipt.verdicts) == (5, (), ())
    assert line(gateway).held == 0
    before = gateway.contents()
    assert gateway.send(device, proofs[2])
    assert gateway.contents() == before


def test_ranges_a_held_proof_declares_lost_are_not_asked_for(gateway):
    device = gateway.member()
    for _ in range(6):
        device.seal()
    carrier = device.seal(gaps=(device.gap(3, 6),))
    receipt = receipt_in(gateway.send(device, carrier), device)
    assert (receipt.head_seq, receipt.missing) == (0, ((1, 2),))


def test_held_proofs_are_bounded_and_those_that_declare_gaps_stay(gateway, monkeypatch):
    monkeypatch.setattr(held, "MAX_HELD", 3)
    device = gateway.member()
    proofs = [device.seal() for _ in range(8)]
    carrier = device.seal(gaps=(device.gap(1, 2),))
    gateway.send(device, *proofs[3:8])
    assert line(gateway).held == 3
    gateway.send(device, carrier)
    assert line(gateway).held == 3
    assert receipt_in(gateway.send(device, *proofs[2:], carrier), device).head_seq == 9


def test_a_new_log_that_names_the_open_one_is_followed(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal())
    old = device.log
    device.start_log(b"log-0002", old)
    receipt = receipt_in(gateway.send(device, device.seal(), device.seal()), device)
    assert (receipt.log, receipt.head_seq, receipt.verdicts) == (b"log-0002", 2, ())
    assert len(list(gateway.register.accepted(device.id))) == 4


def test_a_log_whose_first_proof_was_refused_does_not_hide_the_open_one(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal())
    device.start_log(b"log-0002", b"nowhere!")
    gateway.send(device, device.seal())
    gateway.send(device, device.seal(), device.seal())
    told = gateway.receipt(device)
    assert (told.log, told.head_seq) == (b"log-0001", 2)


def test_a_log_that_never_began_does_not_hide_the_open_one_once_a_later_log_was_refused(gateway):
    """The device has lost that log, with the log's name: nobody can send its first proof any more."""
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal())
    device.start_log(b"log-0002", device.log)
    device.seal()
    gateway.now_s += 1
    assert receipt_in(gateway.send(device, device.seal()), device).log == b"log-0002"
    device.start_log(b"log-0003", b"log-0002")
    gateway.now_s += 1
    told = receipt_in(gateway.send(device, device.seal()), device)
    assert (told.log, told.head_seq) == (b"log-0001", 2)
    gateway.now_s += 1
    device.start_log(b"log-0004", b"log-0001")
    device.seal()
    assert receipt_in(gateway.send(device, device.seal()), device).log == b"log-0004"


def test_a_new_log_that_does_not_name_the_open_one_is_rolled_back(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    first = device.log
    device.start_log(b"log-0002", None)
    receipt = receipt_in(gateway.send(device, device.seal()), device)
    assert (receipt.log, receipt.head_seq) == (first, 1)
    assert codes(gateway, device) == [(1, "rolled_back")]
    assert [code for code, _data in gateway.register.evidence(device.id)] == ["rolled_back"]


def test_a_refused_first_proof_takes_the_held_ones_of_its_log_along(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    first = device.log
    device.start_log(b"log-0002", None)
    one, two = device.seal(), device.seal()
    receipt = receipt_in(gateway.send(device, two), device)
    assert (receipt.log, receipt.head_seq, receipt.missing) == (b"log-0002", 0, ((1, 1),))
    assert receipt_in(gateway.send(device, one), device).log == first
    assert line(gateway).held == 0


def test_what_was_held_of_a_lost_log_is_not_asked_for_in_the_next(gateway):
    device = gateway.member()
    old = [device.seal() for _ in range(3)]
    gateway.send(device, old[0], old[2])
    device.start_log(b"log-0002", device.log)
    receipt = receipt_in(gateway.send(device, device.seal()), device)
    assert (receipt.log, receipt.head_seq, receipt.missing) == (b"log-0002", 1, ())
    assert line(gateway).held == 0


def test_what_was_held_of_a_log_that_never_began_does_not_silence_the_next(gateway):
    device = gateway.member()
    _, second = device.seal(), device.seal()
    assert receipt_in(gateway.send(device, second), device).log == b"log-0001"
    device.start_log(b"log-0002", None)
    receipt = receipt_in(gateway.send(device, device.seal()), device)
    assert (receipt.log, receipt.head_seq, receipt.missing) == (b"log-0002", 1, ())
    assert line(gateway).held == 0


def test_a_log_closed_by_a_later_one_does_not_grow(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    old_log, tail = device.log, [device.seal(), device.seal()]
    device.start_log(b"log-0002", old_log)
    gateway.send(device, device.seal())
    receipt = receipt_in(gateway.send(device, tail[1]), device)
    assert (receipt.log, receipt.head_seq) == (b"log-0002", 1)
    assert codes(gateway, device) == [(3, "rolled_back")]


def test_a_closed_log_that_goes_on_after_its_closing_shows_two_boards(gateway):
    """The beacon it names came after the closing: whoever signed it was there then (§4.7)."""
    device = gateway.member()
    before = gateway.service.beacon()
    gateway.send(device, device.seal())
    log, prev = device.log, device.prev
    device.start_log(b"log-0002", log)
    gateway.now_s += 10
    gateway.send(device, device.seal(), device.seal())
    gateway.now_s += 1
    after = gateway.service.beacon()
    device.log, device.seq, device.prev = log, 1, prev
    old, new = (
        device.other(freshness=(object_hash(beacon.payload),), seq=seq)
        for beacon, seq in ((before, 2), (after, 3))
    )
    receipt = receipt_in(gateway.send(device, old, new), device)
    assert (receipt.log, receipt.head_seq) == (b"log-0002", 2)
    assert codes(gateway, device) == [(2, "rolled_back"), (2, "two_boards")]
    assert [data for _, data in gateway.register.evidence(device.id)] == [old, new]
    assert line(gateway).two_boards_s == gateway.now_s
    assert not line(gateway).suspended


def test_a_second_log_that_closes_tells_what_came_before_it_apart(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    device.start_log(b"log-0002", device.log, "store lost")
    gateway.send(device, device.seal())
    device.start_log(b"log-0003", device.log, "rolled back")
    gateway.now_s += 5
    gateway.send(device, device.seal())
    assert [(log.began_s, log.reason) for log in line(gateway).logs] == [
        (gateway.now_s - 5, "store lost"),
        (gateway.now_s, "rolled back"),
    ]


def test_another_key_class_than_the_enrolled_one_is_told_once(gateway):
    device = gateway.member()
    changed = replace(descriptor(), key_class="file")
    gateway.send(device, device.seal(descriptor=changed, descriptor_hash=changed.hash()))
    gateway.send(device, device.seal(descriptor=None, descriptor_hash=changed.hash()))
    assert codes(gateway, device) == [(1, "key_class_changed")]
    assert line(gateway).verdicts == {"key_class_changed": 1}


def test_an_equivocation_stores_both_proofs_and_suspends_the_device(gateway):
    device = gateway.member()
    rival = device.other()
    gateway.send(device, device.seal())
    receipt = receipt_in(gateway.send(device, rival), device)
    assert receipt.head_seq == 1
    assert codes(gateway, device) == [(1, "equivocation")]
    assert {data for _code, data in gateway.register.evidence(device.id)} == {
        rival,
        device.proofs[device.log, 1],
    }
    assert line(gateway).suspended
    gateway.restart()
    assert receipt_in(gateway.send(device, device.seal()), device).head_seq == 1
    assert codes(gateway, device)[-1] == (2, "suspended")


def test_two_held_proofs_for_one_number_are_an_equivocation(gateway):
    device = gateway.member()
    device.seal()
    rival = device.other()
    gateway.send(device, device.seal())
    gateway.send(device, rival)
    assert line(gateway).suspended
    gateway.send(device, device.proofs[device.log, 1])
    assert line(gateway).proofs == 0


def test_a_held_proof_that_does_not_fit_its_turn_becomes_evidence(gateway):
    device = gateway.member()
    one = device.seal()
    device.prev = bytes(32)
    stray = device.seal()
    gateway.send(device, stray, one)
    assert line(gateway).held == 0
    assert codes(gateway, device) == [(2, "broken_chain")]
    assert gateway.receipt(device).head_seq == 1


def test_a_refused_proof_sent_again_is_one_piece_of_evidence_and_one_verdict(gateway):
    device = gateway.member()
    stray = Device(network="other-net").seal()
    for _ in range(3):
        gateway.send(device, stray)
    assert codes(gateway, device) == [(1, "wrong_network")]
    assert line(gateway).evidence == 1


def test_a_second_board_outlasts_what_is_merely_refused(gateway, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_EVIDENCE", 3)
    device = gateway.member()
    gateway.send(device, device.seal())
    gives_way = device.other(log=b"log-0002", seq=1, prev=Predecessor(device.log, device.prev, "superseded"))
    gateway.send(device, gives_way)
    gateway.send(device, *(device.other(seq=1, log=bytes([n]) * 8, prev=None) for n in range(5)))
    codes = [code for code, _ in gateway.register.evidence(device.id)]
    assert sorted(codes) == ["rolled_back", "rolled_back", "two_boards"]


def test_evidence_is_bounded_and_equivocations_outlast_the_rest(gateway, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_EVIDENCE", 4)
    device = gateway.member()
    rival = device.other()
    gateway.send(device, device.seal(), rival)
    gateway.send(device, *(device.seal() for _ in range(8)))
    kept = [code for code, _data in gateway.register.evidence(device.id)]
    assert sorted(kept) == ["equivocation", "equivocation", "suspended", "suspended"]


def test_flags_of_accepted_proofs_reach_the_owner_and_only_the_newest_are_kept(gateway):
    device = gateway.member()
    for n in range(MAX_VERDICTS + 6):
        flagged = tuple(type(row)(row.instrument, row.time_ms + n, row.values, flags=4) for row in readings())
        gateway.send(device, device.seal(flagged))
    assert len(codes(gateway, device)) == MAX_VERDICTS
    assert codes(gateway, device)[-1] == (MAX_VERDICTS + 6, "quality_frozen")
    assert line(gateway).verdicts == {"quality_frozen": MAX_VERDICTS + 6}


def test_another_serial_than_the_enrolled_one_is_noted(gateway):
    device = gateway.member()
    changed = descriptor(serial="T2")
    gateway.send(device, device.seal(descriptor=changed, descriptor_hash=changed.hash()))
    assert codes(gateway, device) == [(1, "instrument_changed")]


def test_a_beacon_of_this_network_is_known_after_a_restart(gateway):
    device = gateway.member()
    beacon = gateway.service.beacon()
    gateway.restart()
    gateway.send(device, device.seal(freshness=(object_hash(beacon.payload),)))
    gateway.send(device, device.seal(freshness=(bytes(32),)))
    assert codes(gateway, device) == [(2, "unknown_beacon")]


def test_a_revoked_device_keeps_what_lies_before_and_nothing_after(gateway):
    device = gateway.member()
    one, two, three = (device.seal() for _ in range(3))
    gateway.send(device, one)
    gateway.store.run("UPDATE device SET good_log = ?, good_seq = 2", (device.log,))
    gateway.restart()
    assert receipt_in(gateway.send(device, two, three), device).head_seq == 2
    assert codes(gateway, device) == [(3, "revoked")]
    forged = bytearray(three)
    forged[-1] ^= 1
    before = gateway.contents()
    told = [("bad_signature", object_hash(bytes(forged)))]
    assert refused(gateway.send(device, bytes(forged)), device) == told
    assert gateway.contents() == before


def test_two_restarts_later_everything_is_known_once(gateway):
    device = gateway.member()
    proofs = [device.seal() for _ in range(4)]
    for n in range(4):
        gateway.send(device, *proofs[: n + 1])
        gateway.restart()
    assert list(gateway.register.accepted(device.id)) == proofs
    assert line(gateway).readings == 4


def bomb() -> bytes:
    return zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"\xd2\x84", Reason.MALFORMED),
        (b"hello", Reason.MALFORMED),
        (bytes(300_000), Reason.TOO_LARGE),
        (bomb(), Reason.TOO_LARGE),
        (Device(seed=9).seal(), Reason.UNKNOWN_DEVICE),
        (Device(seed=1).seal()[:-1] + b"\0", Reason.BAD_SIGNATURE),
    ],
    ids="empty cut text oversized bomb stranger forged".split(),
)
def test_nothing_a_stranger_sends_changes_the_ledger(gateway, payload, reason):
    """Who is told of it knows the hash of such a proof, or has signed it himself."""
    device = gateway.member()
    before = gateway.contents()
    told = []
    for sender in (device, Device(seed=9)):
        topic = wire.topic(NETWORK, sender.id, "proof")
        told += refused(gateway.service.take([Inbound(topic, payload)]), sender)
    assert gateway.contents() == before
    assert gateway.service.counts[reason] == 2
    whole = payload[:1] == b"\xd2"
    assert told == ([(reason.value, object_hash(payload))] if whole else [])


def test_a_device_is_told_of_its_refused_proofs_now_and_then(gateway):
    device = gateway.member()
    proofs = [device.other(Device(9).signer, sealed_at_s=NOW_S + n) for n in range(5)]
    assert [len(refused(gateway.send(device, proof), device)) for proof in proofs] == [1, 1, 1, 0, 0]
    gateway.now_s += 60
    assert refused(gateway.send(device, proofs[3]), device) == [("bad_key", object_hash(proofs[3]))]


def test_strangers_are_told_of_what_they_signed_themselves_and_few_of_them_in_all(gateway):
    told = 0
    for seed in range(100, 150):
        stranger = Device(seed)
        told += len(refused(gateway.send(stranger, stranger.seal()), stranger))
    assert told == 30
    stranger = Device(99)
    gateway.now_s += 60
    assert refused(gateway.send(stranger, stranger.other(Device(9).signer)), stranger) == []


def test_nothing_is_said_of_a_key_that_may_come_to_be_known(gateway):
    """§4.4: a proof behind a rotation that was lost on its way is sent again with it."""
    device = gateway.member()
    gateway.send(device, device.seal())
    lost = device.rotate()
    ahead = device.seal()
    assert gateway.send(device, ahead) == []
    assert gateway.service.counts[Reason.BAD_KEY] == 1
    assert receipt_in(gateway.send(device, lost, ahead), device).head_seq == 3


def test_a_members_proof_on_another_devices_topic_is_nobodys(gateway):
    device, other = gateway.member(1), gateway.member(2)
    before = gateway.contents()
    topic = wire.topic(NETWORK, other.id, "proof")
    assert gateway.service.take([Inbound(topic, device.seal())]) == []
    assert gateway.contents() == before


@pytest.mark.parametrize(
    "topic", ["", "x/y", "fieldproof/1/other-net/z6MkX/proof", "fieldproof/1/test-net/z6MkX/spam"]
)
def test_a_foreign_topic_is_counted_and_dropped(gateway, topic):
    assert gateway.service.take([Inbound(topic, b"x")]) == []
    assert gateway.service.counts["malformed"] == 1


def test_a_topic_cannot_draw_on_the_terminal_that_shows_the_log(gateway, capsys):
    for part in ("z6Mk\u202e", "z6Mk\x1b[2J\nlevel=info", "z6Mk" + 44 * "\u202e"):
        gateway.service.take([Inbound(f"fieldproof/1/{NETWORK}/{part}/proof", b"x")])
    said = capsys.readouterr().out
    assert gateway.service.counts["malformed"] == 3
    assert not any(sign in said for sign in ("\u202e", "\x1b[2J", "\nlevel=info"))


def test_a_failing_commit_lets_no_receipt_out(gateway, monkeypatch):
    device = gateway.member()
    proof = device.seal()
    run = gateway.store.run

    def full_disk(sql, values=()):
        if sql == "COMMIT":
            raise TryAgain("disk full")
        return run(sql, values)

    monkeypatch.setattr(gateway.store, "run", full_disk)
    with pytest.raises(TryAgain):
        gateway.send(device, proof)
    monkeypatch.undo()
    assert gateway.receipt(device).head_seq == 0
    assert receipt_in(gateway.send(device, proof), device).head_seq == 1
    assert list(gateway.register.accepted(device.id)) == [proof]


def test_a_message_that_breaks_the_program_does_not_stop_the_others(gateway, monkeypatch):
    device, other = gateway.member(1), gateway.member(2)
    poison, good = device.seal(), other.seal()
    apply = gateway.ledger.apply

    def defective(outcome):
        apply(outcome)
        if outcome.proof.data == poison:
            raise ZeroDivisionError

    monkeypatch.setattr(gateway.ledger, "apply", defective)
    topics = [wire.topic(NETWORK, sender.id, "proof") for sender in (device, other)]
    answers = gateway.service.take([Inbound(topics[0], poison), Inbound(topics[1], good)])
    assert receipt_in(answers, other).head_seq == 1
    assert gateway.service.counts["defect"] == 1
    assert gateway.receipt(device).head_seq == 0


def test_a_receipt_is_the_same_bytes_after_a_restart(gateway):
    device = gateway.member()
    proof = device.seal()
    first = gateway.send(device, proof)
    gateway.restart()
    assert gateway.send(device, proof) == first


def test_nothing_follows_the_last_number_there_is_and_that_stops_nobody(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    last = 2**63 - 1
    gap = Gap(2, last - 1, bytes(32), bytes(32), "store full")
    receipt = receipt_in(gateway.send(device, device.other(seq=last, prev=bytes(32), gaps=(gap,))), device)
    assert receipt.head_seq == last
    assert gateway.service.counts["defect"] == 0
