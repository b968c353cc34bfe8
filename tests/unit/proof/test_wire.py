"""Messages and topics on MQTT (§7): bounded before they are inflated, one stream and nothing after it."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from proof import cose, wire
from proof.reasons import Reason, Refused
from tests.proof_samples import DEVICE_ID, NETWORK, proof, reading

DATA = proof(*(reading(number) for number in range(20)))


def test_a_proof_travels_in_the_zlib_form_and_comes_out_as_it_was_signed():
    message = wire.deflate(DATA)
    assert message[0] == 0x78
    assert message[1] & 0x20, "FDICT: the preset dictionary is named"
    assert len(message) < len(DATA) / 3
    assert wire.inflate(message) == DATA


def test_bytes_that_do_not_shrink_travel_as_they_are():
    data = b"\xd2" + bytes(range(60))
    assert wire.deflate(data) == data
    assert wire.inflate(data) == data


def test_zlib_without_the_dictionary_is_accepted_too():
    assert wire.inflate(zlib.compress(DATA)) == DATA


def test_another_dictionary_is_malformed():
    packer = zlib.compressobj(zdict=b"another dictionary")
    assert refusal(packer.compress(DATA) + packer.flush()) is Reason.MALFORMED


@pytest.mark.parametrize(
    "message", [b"", b"\x00", b"{}", b"\x1f\x8b\x08", b"\x58\x85", b"\x78", b"\x78\x9c", b"\x78\xbb"]
)
def test_what_is_neither_cose_nor_a_whole_zlib_stream_is_malformed(message):
    assert refusal(message) is Reason.MALFORMED


def test_bytes_after_the_stream_s_end_are_malformed():
    assert refusal(wire.deflate(DATA) + b"\x00") is Reason.MALFORMED
    assert refusal(wire.deflate(DATA) * 2) is Reason.MALFORMED


def test_a_stream_cut_anywhere_is_malformed():
    message = wire.deflate(DATA)
    for size in range(1, len(message)):
        assert refusal(message[:size]) is Reason.MALFORMED


@pytest.mark.parametrize("size", [cose.MAX_BYTES + 1, 64 * 1024 * 1024])
def test_a_zip_bomb_costs_no_more_memory_than_the_limit(size):
    bomb = zlib.compress(b"\xd2" + bytes(size - 1), 9)
    tracemalloc.start()
    try:
        reason = refusal(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reason is Reason.TOO_LARGE
    assert peak < 4 * cose.MAX_BYTES


def test_a_stream_that_inflates_to_exactly_the_limit_is_read():
    data = b"\xd2" + bytes(999)
    assert wire.inflate(zlib.compress(data), 1000) == data
    with pytest.raises(Refused):
        wire.inflate(zlib.compress(data), 999)


def test_a_message_over_the_limit_is_too_large_whatever_it_holds():
    assert refusal(b"\xd2" * (wire.MAX_MESSAGE_BYTES + 1)) is Reason.TOO_LARGE
    assert refusal(b"\x78" * (wire.MAX_MESSAGE_BYTES + 1)) is Reason.TOO_LARGE


def test_a_topic_names_network_device_and_kind_and_is_read_back():
    name = wire.topic(NETWORK, DEVICE_ID, "proof")
    assert name.startswith("fieldproof/1/moor/z6Mk")
    assert wire.parse_topic(name) == (NETWORK, DEVICE_ID, "proof")


@pytest.mark.parametrize(
    "name",
    [
        "", "fieldproof/1/moor/beacon", "fieldproof/2/moor/z6Mkabc/proof", "fieldproof/1/moor/abc/proof",
        "fieldproof/1/moor/z6Mkabc/proof/x", "/fieldproof/1/moor/z6Mkabc/proof",
        f"fieldproof/1/moor/z6Mk{44 * 'l'}/proof", f"fieldproof/1/moor/z6Mk{45 * 'a'}/proof",
    ],
)  # fmt: skip
def test_a_topic_of_no_device_is_none(name):
    assert wire.parse_topic(name) is None


def test_the_beacon_s_topic_is_one_per_network():
    assert wire.beacon_topic(NETWORK) == "fieldproof/1/moor/beacon"


def refusal(message: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        wire.inflate(message)
    return refused.value.verdict.reason
