"""Faults that writing the gateway brought to light."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proof import bundle, chain, joining
from proof.claims import Gap
from proof.joining import Membership
from proof.reasons import Reason, Refused
from proof.rotation import DeviceKey
from proof.sealing import parse
from proof.verify import DeviceRecord, decide
from tests.gateway_parts import GATEWAY, NETWORK, NOW_S, Device


def test_ranges_a_device_declared_as_a_gap_are_not_asked_for_again():
    gaps = (Gap(3, 6, bytes(32), bytes(32), "store full"),)
    assert chain.missing([9], 0, 64, gaps) == ((1, 2), (7, 8))
    assert chain.missing([2, 9], 1, 64) == ((3, 8),)


def test_a_huge_gap_costs_nothing():
    gaps = (Gap(3, 2**62, bytes(32), bytes(32), "store full"),)
    assert chain.missing([2**62 + 5], 2, 64, gaps) == ((2**62 + 1, 2**62 + 4),)


def test_a_first_log_may_begin_with_a_declared_gap():
    device = Device()
    device.seal()
    claims = device.claims(gaps=(device.gap(1, 1),))
    assert chain.place(claims, bytes(32), None, 0, None, claims.gaps).reason is Reason.ACCEPTED
    assert chain.place(device.claims(), bytes(32), None, 0, None).reason is Reason.HELD


KEY = DeviceKey(Device().signer.public_key)


def verdict(proof, known) -> Reason:
    return decide(proof, known.device(proof.claims.device), KEY, known).reason


def known(device, good_until) -> Any:
    record = DeviceRecord(device.id, KEY, good_until=good_until)
    return SimpleNamespace(
        network=NETWORK, kind="test", device=lambda _: record, hash_at=lambda *_: None, gaps=lambda *_: ()
    )


def test_revocation_names_one_log_and_logs_have_no_order():
    device = Device(log=b"aaaaaaaa")
    proof = parse(device.seal())
    assert verdict(proof, known(device, (b"aaaaaaaa", 1))) is Reason.ACCEPTED
    for other in (b"zzzzzzzz", b"00000000"):
        assert verdict(proof, known(device, (other, 9))) is Reason.REVOKED


def test_a_bundle_with_proofs_between_a_gap_and_its_declaration_is_whole():
    device = Device()
    proofs = [device.seal() for _ in range(5)]
    carrier = device.seal(gaps=(device.gap(2, 3),))
    kept = [proofs[0], *proofs[3:], carrier]
    finding = bundle.examine(written(device, kept), [GATEWAY.public_key])
    assert (finding.proofs, finding.first_seq, finding.last_seq) == (4, 1, 6)
    assert [(gap.first_seq, gap.last_seq) for gap in finding.gaps] == [(2, 3)]


def test_a_bundle_with_an_undeclared_gap_names_the_object_after_it():
    device = Device()
    proofs = [device.seal() for _ in range(4)]
    where = r"^broken_chain: .*object 4 \(proof, seq 4, bytes .*\): missing 3 to 3"
    with pytest.raises(Refused, match=where):
        bundle.examine(written(device, [*proofs[:2], proofs[3]]), [GATEWAY.public_key])


def written(device: Device, proofs: list[bytes]) -> bytes:
    membership = joining.sign_membership(
        Membership(device.id, NETWORK, "test", (GATEWAY.public_key,), (), NOW_S, None), GATEWAY, NOW_S
    )
    return b"".join(bundle.write(device.id, NETWORK, [membership, *proofs]))
