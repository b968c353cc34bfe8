"""Faults that writing the gateway brought to light."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proof import chain
from proof.claims import Gap
from proof.reasons import Reason
from proof.sealing import parse
from proof.verify import DeviceRecord, decide
from tests.gateway_parts import NETWORK, Device


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


def known(device, good_until) -> Any:
    record = DeviceRecord(device.id, device.signer.public_key, good_until=good_until)
    return SimpleNamespace(
        network=NETWORK, kind="test", device=lambda _: record, hash_at=lambda *_: None, gaps=lambda *_: ()
    )


def test_revocation_names_one_log_and_logs_have_no_order():
    device = Device(log=b"aaaaaaaa")
    proof = parse(device.seal())
    assert decide(proof, known(device, (b"aaaaaaaa", 1))).reason is Reason.ACCEPTED
    for other in (b"zzzzzzzz", b"00000000"):
        assert decide(proof, known(device, (other, 9))).reason is Reason.REVOKED
