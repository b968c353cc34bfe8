"""A bundle as a file: one changed or missing byte anywhere is named by the object it lies in."""

from __future__ import annotations

import io

import pytest

from proof import bundle, calibration, cbor, cose, sequence
from proof.reasons import Reason
from proof.sequence import Place, Spoiled
from tests.proof_samples import DESCRIPTOR, DEVICE_ID, GATEWAY, NETWORK
from tests.unit.proof.test_bundle import FIRST, JOINED, OBJECTS
from tests.vectors import make_bundles, make_good

SMALL = b"".join(bundle.write(DEVICE_ID, NETWORK, OBJECTS))
BUNDLES = {
    "small": SMALL,
    "everything": b"".join(bundle.write(DEVICE_ID, NETWORK, make_bundles.EVERY_KIND)),
    "rotation": make_good.TURNED_BUNDLE,
}


def places(data: bytes) -> list[Place]:
    return [item.place for item in sequence.items(sequence.reader(data))]


def refusal(data: bytes) -> Spoiled:
    with pytest.raises(Spoiled) as spoiled:
        bundle.examine(data, [GATEWAY.public_key])
    return spoiled.value


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def require_named(data: bytes, positions: range, mask_of) -> None:
    where = {at: place for place in places(data) for at in range(place.offset, place.last + 1)}
    assert len(where) == len(data)
    for position in positions:
        spoiled = refusal(flipped(data, position, mask_of(position)))
        named = spoiled.place
        assert named.number == where[position].number, (position, str(spoiled))
        assert named.offset == where[position].offset


def test_every_byte_of_a_small_bundle_when_changed_is_named_by_its_object():
    require_named(SMALL, range(len(SMALL)), lambda position: 1 << position % 8)


@pytest.mark.slow  # 40 s: every byte of two larger bundles, in two ways
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["everything", "rotation"])
def test_every_byte_of_a_bundle_with_all_kinds_of_objects_is_named_too(name):
    for mask in (0x01, 0xFF):
        require_named(BUNDLES[name], range(len(BUNDLES[name])), lambda _, mask=mask: mask)


def test_the_bytes_around_every_boundary_are_named_whatever_they_become():
    data = BUNDLES["everything"]
    for place in places(data):
        for mask in (0x01, 0x02, 0x03, 0x18, 0x20, 0x40, 0x80, 0xFF):
            require_named(data, range(place.offset, place.offset + 4), lambda _, mask=mask: mask)
            require_named(data, range(place.last, place.last + 1), lambda _, mask=mask: mask)


def test_a_file_cut_anywhere_within_an_object_says_within_which_it_ends():
    for place in places(SMALL):
        for size in {place.offset + 1, place.offset + 2, place.offset + place.size // 2, place.last}:
            spoiled = refusal(SMALL[:size])
            assert spoiled.place.number == place.number
            assert spoiled.detail == f"the file ends within object {place.number}"
            assert spoiled.place.last == size - 1


def test_a_place_says_number_kind_seq_and_bytes():
    at = places(SMALL)[4]
    wrong = refusal(flipped(SMALL, at.last, 1))
    assert str(wrong.place) == f"object 4 (proof, seq 2, bytes {at.offset} to {at.last})"
    assert wrong.verdict.reason is Reason.BAD_SIGNATURE
    assert SMALL[at.offset :].startswith(cbor.bstr(OBJECTS[3]))


def test_a_size_is_refused_before_its_bytes_are_read():
    asked, file = [], io.BytesIO(SMALL + b"\x5a\x7f\xff\xff\xff")

    def read(size: int) -> bytes:
        asked.append(size)
        return file.read(size)

    with pytest.raises(Spoiled, match="limit") as spoiled:
        bundle.examine(read, [GATEWAY.public_key])
    assert spoiled.value.place.number == 7
    assert max(asked) < 10_000


def test_a_reader_may_give_less_than_it_was_asked_for():
    file = io.BytesIO(SMALL)
    finding = bundle.examine(lambda size: file.read(min(size, 7)), [GATEWAY.public_key])
    assert finding == bundle.examine(SMALL, [GATEWAY.public_key])


@pytest.mark.parametrize("junk", [b"\x00", b"\x60", b"\x5b" + bytes(8), b"\x5f\xff", b"\x58\x01a", b"\xd2"])
def test_what_is_no_byte_string_in_its_shortest_form_is_refused_in_its_place(junk):
    spoiled = refusal(SMALL + junk)
    assert (spoiled.place.number, spoiled.place.offset) == (7, len(SMALL))
    assert spoiled.verdict.reason is Reason.MALFORMED


def test_the_header_is_wrong_where_a_valid_membership_says_otherwise():
    spoiled = refusal(b"".join(bundle.write(DEVICE_ID, "heath", OBJECTS)))
    assert (spoiled.place.number, spoiled.place.kind) == (0, "header")
    other = b"".join(bundle.write(DEVICE_ID[:-1] + "e", NETWORK, OBJECTS))
    assert refusal(other).place.number == 0


def test_an_empty_file_is_said_to_be_empty():
    assert refusal(b"").detail == "the file is empty"


def test_a_descriptor_stands_for_the_proofs_that_name_it():
    described = DESCRIPTOR.to_map()
    later = (JOINED, cbor.encode(described), OBJECTS[3])
    finding = bundle.examine(b"".join(bundle.write(DEVICE_ID, NETWORK, later)), [GATEWAY.public_key])
    assert [i.name for i in finding.instruments] == ["bme280-76"]
    assert (finding.simulated, finding.undescribed) == (True, 0)
    without = b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, OBJECTS[3])))
    finding = bundle.examine(without, [GATEWAY.public_key])
    assert (finding.instruments, finding.key_class, finding.undescribed) == ((), "not stated", 1)


def test_a_descriptor_that_no_proof_names_spoils_the_bundle():
    described = {**DESCRIPTOR.to_map(), 2: "9.9.9"}
    spoiled = refusal(b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, cbor.encode(described), FIRST))))
    assert (spoiled.place.number, spoiled.place.kind) == (2, "descriptor")


def test_a_certificate_whose_signature_does_not_fit_its_calibrator_is_named():
    good = next(item for item in make_bundles.EVERY_KIND if cose_kind(item) == "calibration")
    calibration.open_certificate(good)
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, good[:-1] + bytes([good[-1] ^ 1]), FIRST)))
    assert (refusal(data).place.number, refusal(data).place.kind) == (2, "calibration")


def cose_kind(item: bytes) -> str:
    return "descriptor" if item[:1] == b"\xa6" else cose.typ_of(item).word


def test_the_bundle_of_every_kind_holds_every_kind_that_belongs_in_one():
    assert {cose_kind(item) for item in make_bundles.EVERY_KIND} == {
        "membership",
        "descriptor",
        "calibration",
        "beacon",
        "proof",
        "receipt",
        "rotation",
    }
