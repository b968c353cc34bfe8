"""The bundle of a span of time out of the ledger: it verifies like that of a whole life."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from gateway import evidence
from proof import bundle, cbor, cose, sealing
from proof.claims import Predecessor
from proof.cose import CONTENT_SENML_CBOR, Typ, object_hash
from proof.senml import Measured, Reading
from proof.sequence import items, reader
from tests.gateway_parts import GATEWAY, NOW_S, Device, Gateway


def row(minute: int) -> tuple[Reading, ...]:
    return (Reading("bme280-76", (NOW_S + 60 * minute) * 1000, (Measured("pressure", "Pa", 101325),)),)


def bundled(gateway: Gateway, device: Device, since: int, until: int) -> bytes:
    """Of these minutes."""
    span = evidence.span(device.id, gateway.register, NOW_S + 60 * since, NOW_S + 60 * until)
    assert span is not None
    now_s = int(gateway.now_s)
    return b"".join(evidence.pieces(device.id, gateway.ledger, gateway.register, GATEWAY, now_s, span))


def seqs(data: bytes) -> list[int]:
    bundle.examine(data, [GATEWAY.public_key])
    return [proof.claims.seq for proof in bundle.proofs(data)]


@pytest.fixture
def device(gateway: Gateway) -> Device:
    made = gateway.member()
    gateway.send(made, *(made.seal(row(minute)) for minute in range(1, 6)))
    return made


def test_a_span_holds_the_proofs_with_a_reading_of_it_and_is_dated_by_a_receipt_for_the_last(gateway, device):
    data = bundled(gateway, device, 2, 4)
    assert seqs(data) == [2, 3, 4]
    finding = bundle.examine(data, [GATEWAY.public_key])
    assert finding.receipted_seq == 4
    assert finding.signed_before_s is not None
    assert finding.signed_before_s <= gateway.now_s
    assert finding.instruments, "the descriptor stands before the first proof that names it"
    kinds = [item.data[:1] for item in items(reader(data))]
    assert kinds.count(b"\xa6") == 1


def test_a_span_from_the_first_proof_needs_no_descriptor_of_its_own(gateway, device):
    data = bundled(gateway, device, 0, 2)
    assert seqs(data) == [1, 2]
    assert not any(item.data[:1] == b"\xa6" for item in items(reader(data)))


def test_of_a_time_without_proofs_there_is_no_span(gateway, device):
    assert evidence.span(device.id, gateway.register, 0, NOW_S - 60) is None
    assert evidence.span(device.id, gateway.register, NOW_S + 86_400, 2**40) is None


def test_a_span_behind_a_rotation_has_it_before_the_proofs(gateway, device):
    gateway.send(device, device.rotate(), device.seal(row(8)))
    finding = bundle.examine(bundled(gateway, device, 8, 8), [GATEWAY.public_key])
    assert (finding.first_seq, [turn.seq for turn in finding.turns]) == (7, [6])
    assert finding.turns[0].confirmed


def test_a_span_with_a_gap_goes_on_until_the_gap_is_declared(gateway, device):
    lost = device.seal(row(6))
    assert lost
    late = [device.seal(row(7)), device.seal(row(8))]
    carrier = device.seal(row(20), gaps=(device.gap(6, 6),))
    gateway.send(device, *late, carrier)
    assert seqs(bundled(gateway, device, 4, 7)) == [4, 5, 7, 8, 9]
    assert seqs(bundled(gateway, device, 7, 7)) == [7]
    assert seqs(bundled(gateway, device, 1, 3)) == [1, 2, 3], "a gap behind the span is none of it"


def test_a_proof_whose_clock_was_wrong_stays_in_the_chain_of_its_neighbours(gateway, device):
    gateway.send(device, device.seal(row(-900)), device.seal(row(7)))
    assert seqs(bundled(gateway, device, 5, 7)) == [5, 6, 7]


def test_a_held_proof_of_a_log_that_never_began_does_not_undate_the_whole_bundle(gateway, device):
    device.start_log(b"log-0002", device.log)
    device.seal()
    gateway.send(device, device.seal())
    assert gateway.receipt(device).head_seq == 0, "it asks for the first proof of that log"
    now_s = int(gateway.now_s)
    pieces = evidence.pieces(device.id, gateway.ledger, gateway.register, GATEWAY, now_s)
    finding = bundle.examine(b"".join(pieces), [GATEWAY.public_key])
    assert (finding.receipted_seq, finding.proofs) == (5, 5)
    assert finding.signed_before_s is not None


def test_a_span_with_many_gaps_opens_each_proof_a_few_times_only(gateway, device, monkeypatch):
    for minute in range(6, 36):
        lost = device.seal(row(minute))
        assert lost
        gateway.send(device, device.seal(row(minute), gaps=(device.gap(device.seq, device.seq),)))
    opened, asked = Mock(wraps=sealing.parse), Mock(wraps=gateway.register.jumps)
    monkeypatch.setattr(sealing, "parse", opened)
    monkeypatch.setattr(gateway.register, "jumps", asked)
    assert evidence.span(device.id, gateway.register, NOW_S, NOW_S + 86_400) == (1, 35)
    assert opened.call_count <= 35 + 30
    assert asked.call_count == 1


def test_a_log_that_does_not_name_the_end_of_the_one_before_it_has_a_receipt_for_each(gateway, device):
    came_s = int(gateway.now_s)
    gateway.now_s += 600
    device.start_log(b"log-0002", device.log)
    gateway.send(device, device.seal(row(20)), device.seal(row(21)))
    gateway.now_s += 600
    finding = bundle.examine(bundled(gateway, device, 1, 30), [GATEWAY.public_key])
    assert [part.signed_before_s for part in finding.parts] == [came_s, came_s + 600]
    assert finding.signed_before_s == came_s + 600


def test_a_log_that_names_the_end_of_the_one_before_it_is_one_part_with_it(gateway, device):
    prev = Predecessor(device.log, object_hash(device.proofs[device.log, 5]), "store lost")
    device.start_log(b"log-0002", device.log)
    gateway.send(device, device.seal(row(20), prev=prev))
    finding = bundle.examine(bundled(gateway, device, 1, 30), [GATEWAY.public_key])
    assert (finding.proofs, len(finding.logs), len(finding.parts)) == (6, 2, 1)
    assert finding.signed_before_s is not None


def test_a_bundle_with_an_accepted_proof_whose_readings_cannot_be_read_is_good_all_the_same(gateway, device):
    claims = device.claims()
    data = cose.sign(Typ.PROOF, claims.to_map(), cbor.encode([{0: "x"}]), device.signer, CONTENT_SENML_CBOR)
    device.seq, device.prev = claims.seq, object_hash(data)
    gateway.send(device, data, device.seal(row(7)))
    finding = bundle.examine(bundled(gateway, device, 1, 30), [GATEWAY.public_key])
    assert (finding.proofs, finding.receipted_seq) == (7, 7)
    assert finding.unreadable == (("bad_payload", 1),)
