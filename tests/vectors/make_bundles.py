"""Evidence bundles (§11), good ones and one for each way a bundle can be wrong.

A verifier in any language must find in a good one what its index says under `finding` (it may say more), and
in a bad one name the object and the reason. Most bad ones are signed rightly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from proof import beacon, bundle, calibration, cbor, cose, joining, receipt, rotation, sealing
from proof.claims import Gap, Lost, Predecessor
from proof.cose import Typ
from proof.keys import SeedSigner, device_id
from proof.receipt import Receipt
from proof.senml import Reading
from tests.proof_samples import (
    AFTER_NEXT_KEY,
    BEACON_BYTES,
    BME280,
    CERTIFICATE,
    DESCRIPTOR,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    LOG,
    MEMBERSHIP,
    NETWORK,
    NEXT_KEY,
    NOW_S,
    STRANGER,
    STRANGER_ID,
    following,
    proof,
    reading,
    turn,
)
from tests.vectors.make_bad import flipped
from tests.vectors.make_good import (
    BUNDLE,
    BY_THE_NEW_KEY,
    CHAIN,
    EVERYTHING,
    JOINED,
    LAST_RECEIPT,
    LATER_BUNDLE,
    NEW_LOG,
    ONE_READING,
    TURN,
    TURNED_BUNDLE,
    WITH_DESCRIPTOR,
    WITH_ROTATION,
    Vector,
    minutes,
    receipt_of,
)
from verifier import shape

CALIBRATOR = SeedSigner(bytes(range(192, 224)), "file")
OTHER_GATEWAY = SeedSigner(bytes(range(224, 256)), "file")
NEW_LOG_NAME = bytes.fromhex("0102030405060708")
CALIBRATOR_ID = device_id(CALIBRATOR.public_key)


def calibrated(issued_s: int, expires_s: int | None) -> tuple[bytes, bytes]:
    """A certificate, and a first proof of an hour whose descriptor names it."""
    certificate = calibration.sign(replace(CERTIFICATE, issued_s=issued_s, expires_s=expires_s), CALIBRATOR)
    instrument = replace(BME280, calibration_hash=cose.object_hash(certificate))
    descriptor = replace(DESCRIPTOR, instruments=(instrument,))
    return certificate, proof(*minutes(60), descriptor=descriptor, descriptor_hash=descriptor.hash())


SIGNED_CERTIFICATE, BY_CALIBRATED = calibrated(CERTIFICATE.issued_s, NOW_S - 1800)
TWO_GATEWAYS = joining.sign_membership(
    replace(MEMBERSHIP, gateway_keys=(GATEWAY.public_key, OTHER_GATEWAY.public_key)), GATEWAY, NOW_S - 3600
)
SECOND, THIRD = ONE_READING, CHAIN[2]
FOURTH = CHAIN[3]
GAP_OF_TWO = Gap(2, 3, cose.object_hash(SECOND), cose.object_hash(THIRD), "store full")
LATE_DECLARED = following(FOURTH, reading(5), gaps=(GAP_OF_TWO,))
NAMES_ANOTHER = Predecessor(bytes(range(8)), cose.object_hash(b"another board's head"), "resumed")
AFTER_ANOTHER = proof(log=NEW_LOG_NAME, prev=NAMES_ANOTHER, bootcount=4)
REPEATED_TURN = rotation.sign(
    NEW_LOG_NAME, 1, DEVICE, NEXT_KEY, rotation.commitment(AFTER_NEXT_KEY.public_key), NOW_S
)
REPEATS_THE_TURN = proof(
    log=NEW_LOG_NAME,
    prev=Predecessor(LOG, cose.object_hash(WITH_ROTATION), "store lost"),
    rotation=REPEATED_TURN,
    signer=NEXT_KEY,
)
FOLLOWS_THE_REPEATED = following(REPEATS_THE_TURN, signer=NEXT_KEY)
BEFORE_ANY_BEACON = proof(freshness=())
HEARD_LATER = following(BEFORE_ANY_BEACON, reading(1))
EARLIER_BYTES = beacon.sign_beacon(NETWORK, 6, bytes(range(32, 48)), GATEWAY, NOW_S - 7200)
NAMES_THE_EARLIER = proof(freshness=(cose.object_hash(EARLIER_BYTES),))
NAMES_THE_LATER = following(NAMES_THE_EARLIER, reading(1))
# A board's log, and the one that it began behind it.
BOARD = AFTER_ANOTHER, following(AFTER_ANOTHER, reading(1), bootcount=4)
NEXT_NAME = bytes.fromhex("1112131415161718")
BEHIND_IT = proof(log=NEXT_NAME, prev=Predecessor(NEW_LOG_NAME, cose.object_hash(BOARD[1]), "store lost"))
BEHIND_AN_OLDER_HEAD = proof(
    log=NEXT_NAME, prev=Predecessor(NEW_LOG_NAME, cose.object_hash(BOARD[0]), "rolled back")
)
BEHIND_WHAT_IS_NOT_HERE = proof(log=NEXT_NAME, prev=NAMES_ANOTHER)
FAR = proof(seq=2**53 + 1, prev=bytes(32))
FAR_GAP = Gap(2**53 + 3, 2**62, bytes(32), bytes(range(32)), "store full")
FAR_AHEAD = proof(seq=2**62, prev=bytes(32))
FLAGGED = proof(
    reading(0, flags=1 | 256),
    Reading("sds011-0", reading(1).time_ms, (), 16),
    reading(2, flags=32768),
    lost=(Lost("bme280-76", 60_000_000_000, 240_000_000_000, 3, "bus stuck"), Lost("*", 0, 0, 9, "given up")),
)
EVERY_KIND = (
    JOINED,
    SIGNED_CERTIFICATE,
    TURN,
    cbor.encode(DESCRIPTOR.to_map()),
    BEACON_BYTES,
    BY_THE_NEW_KEY,
    receipt_of(3, cose.object_hash(BY_THE_NEW_KEY)),
)


def of(*objects: bytes, device: str = DEVICE_ID, network: str = NETWORK) -> bytes:
    return b"".join(bundle.write(device, network, objects))


def with_pack(pack: bytes, like: bytes = WITH_DESCRIPTOR) -> bytes:
    return cose.sign(Typ.PROOF, cose.parse(like, Typ.PROOF).claims, pack, DEVICE, cose.CONTENT_SENML_CBOR)


def record(*more: dict[int, Any], **changes: Any) -> bytes:
    """A pack that begins with a good record, changed."""
    base = {-3: NOW_S, -2: f"{DEVICE_ID}/", 0: "bme280-76/temperature", 1: "Cel", 2: 21}
    first = base | {int(label[1:]): value for label, value in changes.items()}
    return cbor.encode([{label: value for label, value in first.items() if value is not None}, *more])


# In no other way wrong than in one.
UNREADABLE = {
    "not_cbor": b"\xff",
    "no_array": cbor.encode({}),
    "not_finite": record(_2=float("inf")),
    "unknown_unit": record(_1="furlong"),
    "no_unit": record(_1=None),
    "no_value": record(_2=None),
    "text_value": record(_2="21"),
    "far_value": record(_2=2**63),
    "of_another": record({0: "", 1: "Cel", 2: 1, -2: f"{STRANGER_ID}/a/b"}),
    "bad_name": record(_0="bme280-76/Temperature"),
    "relative_time": record({0: "bme280-76/pressure", 1: "Pa", 2: 1, -3: 2**28 - 1}),
    "late_time": record({0: "bme280-76/pressure", 1: "Pa", 2: 1, -3: 2**40}),
    "twice": record({0: "bme280-76/temperature", 1: "Cel", 2: 1}),
    "unknown_label": record(_7=1),
    "large_flags": record({0: "bme280-76/quality", 2: 65536}),
    "long_raw": record({0: "bme280-76/raw", 8: bytes(65)}),
    "raw_value": record({0: "bme280-76/temperature", 8: b"1"}),
    "false_time": cbor.encode([cbor.decode(record(), 4096, "")[0] | {6: False}]),
    "false_base_value": cbor.encode([cbor.decode(record(), 4096, "")[0] | {-5: False}]),
    "null_name": cbor.encode([{-3: NOW_S, -2: f"{DEVICE_ID}/a/b", 0: None, 1: "Cel", 2: 1}]),
    "long_decimal": record(_2=Decimal("1e-19")),
}


def received(data: bytes, at_s: int) -> bytes:
    """The receipt for this proof."""
    claims = sealing.parse(data).claims
    return receipt.sign(
        Receipt(DEVICE_ID, claims.log, claims.seq, cose.object_hash(data), at_s), GATEWAY, at_s
    )


def essential(data: bytes) -> dict[str, Any]:
    """What any verifier is to find."""
    said = shape.of(bundle.examine(data, [GATEWAY.public_key]))
    left_out = ("version", "logs", "losses", "coverage", "former_instruments", "undescribed_proofs")
    found = {name: value for name, value in said.items() if name not in left_out}
    found["instruments"] = [
        {name: instrument[name] for name in ("name", "model", "serial", "calibrated")}
        | {"calibrations": [_essential_calibration(one) for one in instrument["calibrations"]]}
        for instrument in found["instruments"]
    ]
    return found


def _essential_calibration(said: dict[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in ("quantity", "calibrator", "issued_s", "expires_s")}


def good(name: str, shows: str, data: bytes) -> Vector:
    return Vector(f"bundle{name}", "bundle", shows, data, extra={"finding": essential(data)})


def good_bundles() -> Iterator[Vector]:
    yield good("", "membership, beacon, five proofs and the receipt that dates them", BUNDLE)
    yield good("_with_rotation", "the key changes with the second proof", TURNED_BUNDLE)
    yield good("_behind_a_rotation", "the rotation stands before the proofs", LATER_BUNDLE)
    yield good(
        "_rotation_repeated",
        "a new log's first proof carries the rotation again",
        of(
            JOINED,
            WITH_DESCRIPTOR,
            WITH_ROTATION,
            REPEATS_THE_TURN,
            FOLLOWS_THE_REPEATED,
        ),
    )
    yield good("_without_receipt", "nothing shows before when", of(JOINED, BEACON_BYTES, *CHAIN))
    yield good("_without_beacon", "nothing shows after when", of(JOINED, *CHAIN, LAST_RECEIPT))
    yield good(
        "_receipt_of_an_earlier_proof",
        "it confirms, and does not date the whole",
        of(JOINED, receipt_of(1, cose.object_hash(WITH_DESCRIPTOR)), WITH_DESCRIPTOR, SECOND),
    )
    yield good(
        "_receipt_of_another_head",
        "a hash that is not here confirms nothing",
        of(JOINED, WITH_DESCRIPTOR, receipt_of(1, cose.object_hash(SECOND)), receipt_of(9, bytes(32))),
    )
    yield good("_of_one_proof", "from the middle of a log, without its descriptor", of(JOINED, THIRD))
    yield good(
        "_with_descriptor",
        "the descriptor stands for a proof that only names it",
        of(JOINED, cbor.encode(DESCRIPTOR.to_map()), SECOND, THIRD),
    )
    yield good(
        "_with_certificate",
        "of a calibrator, beside the instrument that names it",
        of(JOINED, SIGNED_CERTIFICATE, BY_CALIBRATED),
    )
    yield good(
        "_certificate_nobody_names",
        "it shows nothing",
        of(JOINED, SIGNED_CERTIFICATE, WITH_DESCRIPTOR),
    )
    yield good("_certificate_missing", "the descriptor names one that is not here", of(JOINED, BY_CALIBRATED))
    yield good(
        "_gap_declared_later",
        "proofs after a gap come before the one that declares it",
        of(JOINED, WITH_DESCRIPTOR, FOURTH, LATE_DECLARED, receipt_of(5, cose.object_hash(LATE_DECLARED))),
    )
    yield good(
        "_new_log",
        "a new log names the head of the one before it",
        of(JOINED, BEACON_BYTES, *CHAIN, NEW_LOG, LAST_RECEIPT),
    )
    yield good(
        "_after_another_board",
        "a log that follows one which is not here is told",
        of(JOINED, WITH_DESCRIPTOR, AFTER_ANOTHER, following(AFTER_ANOTHER, bootcount=4)),
    )
    yield good(
        "_first_proof_without_beacon",
        "sealed before the device heard one: the later beacon does not bound it",
        of(JOINED, BEACON_BYTES, BEFORE_ANY_BEACON, HEARD_LATER),
    )
    yield good(
        "_two_beacons",
        "that of the first proof bounds all",
        of(JOINED, EARLIER_BYTES, BEACON_BYTES, NAMES_THE_EARLIER, NAMES_THE_LATER),
    )
    yield good(
        "_first_beacon_left_out",
        "a later one does not take its place",
        of(JOINED, BEACON_BYTES, NAMES_THE_EARLIER, NAMES_THE_LATER),
    )
    yield good(
        "_logs_linked",
        "the later log names the hash of the proof before it: a receipt for its head covers both",
        of(JOINED, BEACON_BYTES, *BOARD, BEHIND_IT, received(BEHIND_IT, NOW_S + 20)),
    )
    yield good(
        "_logs_swapped",
        "a receipt for the older log does not cover the younger one that stands before it",
        of(JOINED, BEACON_BYTES, BEHIND_IT, *BOARD, received(BOARD[1], NOW_S + 20)),
    )
    yield good(
        "_log_behind_an_older_head",
        "nothing shows that the end of the log before was there when the next one began",
        of(JOINED, BEACON_BYTES, *BOARD, BEHIND_AN_OLDER_HEAD, received(BEHIND_AN_OLDER_HEAD, NOW_S + 20)),
    )
    yield good(
        "_two_parts_with_receipts",
        "each part has one: the later of them is the bound",
        of(
            JOINED,
            BEACON_BYTES,
            *BOARD,
            BEHIND_AN_OLDER_HEAD,
            received(BEHIND_AN_OLDER_HEAD, NOW_S + 20),
            received(BOARD[1], NOW_S + 40),
            received(BOARD[1], NOW_S + 30),
        ),
    )
    yield good(
        "_large_numbers",
        "a seq above 2^53 is one, too",
        of(
            JOINED,
            FAR,
            following(FAR, reading(1)),
            following(FAR_AHEAD, prev=FAR_GAP.last_hash, gaps=(FAR_GAP,)),
        ),
    )
    no_unit, no_pack = (with_pack(UNREADABLE[name]) for name in ("unknown_unit", "not_finite"))
    yield good(
        "_unknown_unit",
        "a proof whose readings cannot be read keeps its place, and they count for nothing",
        of(
            JOINED,
            BEACON_BYTES,
            no_unit,
            following(no_unit, reading(1)),
            receipt_of(1, cose.object_hash(no_unit)),
        ),
    )
    yield good("_bad_payload", "a value that is not finite", of(JOINED, no_pack, following(no_pack)))
    real = replace(DESCRIPTOR, key_class="tpm2", simulated=False)
    first = proof(descriptor=real, descriptor_hash=real.hash())
    unknown = following(first, reading(1), descriptor_hash=bytes(32))
    simulated = following(unknown, reading(2), descriptor=DESCRIPTOR)
    yield good("_described", "a device that is none of the simulator's", of(JOINED, first))
    yield good(
        "_partly_described",
        "nothing shows that what the second proof names is not simulated",
        of(JOINED, first, unknown),
    )
    yield good("_partly_simulated", "one proof says so", of(JOINED, first, unknown, simulated))
    yield good("_flags_and_losses", "counted by kind; some bits mean nothing yet", of(JOINED, FLAGGED))
    yield good("_with_challenge", "a proof that answers a challenge", of(JOINED, BEACON_BYTES, EVERYTHING))
    yield good(
        "_two_gateways",
        "the membership names another gateway, whose receipt counts",
        of(
            TWO_GATEWAYS,
            WITH_DESCRIPTOR,
            receipt.sign(
                Receipt(DEVICE_ID, LOG, 1, cose.object_hash(WITH_DESCRIPTOR), NOW_S + 5),
                OTHER_GATEWAY,
                NOW_S + 5,
            ),
        ),
    )
    yield good("_every_kind", "everything that belongs in a bundle", of(*EVERY_KIND))


def bad(name: str, shows: str, data: bytes, number: int, reason: str) -> Vector:
    return Vector(f"bundle_{name}", "bundle", shows, data, reason, {"object": number})


def bad_bundles() -> Iterator[Vector]:
    first, second = WITH_DESCRIPTOR, SECOND
    spoiled = BUNDLE.replace(second, flipped(second, cose.parse(second, Typ.PROOF).signature))
    yield bad("one_flipped_byte", "in the second proof: object 4", spoiled, 4, "bad_signature")
    yield bad("truncated", "the receipt is cut", BUNDLE[:-1], 8, "malformed")
    yield bad("trailing_byte", "behind the last object", BUNDLE + b"\x00", 9, "malformed")
    yield bad("long_form_size", "not the shortest form", BUNDLE + b"\x58\x01a", 9, "malformed")
    huge = BUNDLE + b"\x5a\x7f\xff\xff\xff"
    yield bad("huge_object", "no object is as large as it says", huge, 9, "too_large")
    yield bad("empty", "a file of no bytes", b"", 0, "malformed")
    yield bad("without_proof", "nobody signed anything", of(JOINED), 0, "malformed")
    version_2 = cbor.bstr(cbor.encode({1: 2, 2: DEVICE_ID, 3: NETWORK}))
    yield bad("version_2", "of another version", version_2 + of(JOINED, first)[70:], 0, "malformed")
    yield bad(
        "header_of_another_device",
        "the membership is right",
        of(JOINED, first, device=STRANGER_ID),
        0,
        "unknown_device",
    )
    yield bad(
        "header_of_another_network",
        "the membership is right",
        of(JOINED, first, network="heath"),
        0,
        "wrong_network",
    )
    yield bad("without_membership", "it must come first", of(first), 1, "malformed")
    yield bad("membership_second", "it must come first", of(BEACON_BYTES, JOINED, first), 1, "malformed")
    by_stranger = joining.sign_membership(MEMBERSHIP, STRANGER, NOW_S)
    yield bad("membership_by_a_stranger", "not the gateway's key", of(by_stranger, first), 1, "bad_key")
    yield bad("proof_missing", "no gap is declared", of(JOINED, first, THIRD), 3, "broken_chain")
    yield bad("proofs_swapped", "chain order is the order", of(JOINED, second, first), 3, "broken_chain")
    yield bad("proof_twice", "the same bytes again", of(JOINED, first, first), 3, "broken_chain")
    fork = following(proof(reading(9)), reading(1))
    yield bad("fork", "its prev is another first proof", of(JOINED, first, fork), 3, "broken_chain")
    yield bad(
        "gap_with_another_hash",
        "the hashes of a gap carry the chain",
        of(JOINED, first, FOURTH, following(FOURTH, gaps=(replace(GAP_OF_TWO, last_hash=bytes(32)),))),
        3,
        "broken_chain",
    )
    fell = following(second, bootcount=2)
    yield bad("bootcount_fell", "within one log", of(JOINED, first, second, fell), 4, "broken_chain")
    nowhere = proof(log=NEW_LOG_NAME)
    yield bad(
        "log_twice",
        "one that was left, again",
        of(JOINED, *BOARD, BEHIND_WHAT_IS_NOT_HERE, *BOARD, BEHIND_WHAT_IS_NOT_HERE),
        5,
        "broken_chain",
    )
    yield bad("log_out_of_nowhere", "it names none", of(JOINED, first, nowhere), 3, "broken_chain")
    yield bad(
        "proof_of_another_device",
        "signed by this one",
        of(JOINED, proof(device=STRANGER_ID)),
        2,
        "unknown_device",
    )
    yield bad("proof_by_a_stranger", "with his own key", of(JOINED, proof(signer=STRANGER)), 2, "bad_key")
    yield bad(
        "proof_of_another_network", "sealed for it", of(JOINED, proof(network="heath")), 2, "wrong_network"
    )
    foreign = receipt.sign(Receipt(DEVICE_ID, LOG, 1, cose.object_hash(first), NOW_S), STRANGER, NOW_S)
    yield bad("receipt_by_a_stranger", "no gateway's key", of(JOINED, first, foreign), 3, "bad_key")
    of_another = receipt.sign(Receipt(STRANGER_ID, LOG, 1, cose.object_hash(first), NOW_S), GATEWAY, NOW_S)
    yield bad("receipt_of_another_device", "not ours", of(JOINED, first, of_another), 3, "unknown_device")
    yield bad(
        "receipt_flipped",
        "one bit of its signature",
        of(JOINED, first, LAST_RECEIPT[:-1] + bytes([LAST_RECEIPT[-1] ^ 1])),
        3,
        "bad_signature",
    )
    elsewhere = beacon.sign_beacon("heath", 7, bytes(range(16)), GATEWAY, NOW_S - 30)
    yield bad("beacon_of_another_network", "by our gateway", of(JOINED, elsewhere, first), 2, "wrong_network")
    forged = beacon.sign_beacon(NETWORK, 7, bytes(range(16)), STRANGER, NOW_S - 30)
    yield bad("beacon_by_a_stranger", "no gateway's key", of(JOINED, forged, first), 2, "bad_key")
    challenge = beacon.sign_challenge(DEVICE_ID, bytes(16), 1, GATEWAY, NOW_S)
    yield bad("challenge", "it has no place in a bundle", of(JOINED, challenge, first), 2, "wrong_typ")
    yield bad("not_an_object", "some text", of(JOINED, b"hello", first), 2, "malformed")
    yield bad("rotation_after_proofs", "too late", of(JOINED, first, TURN), 3, "malformed")
    by_thief = following(first, reading(1), rotation=turn(2, old=STRANGER), signer=NEXT_KEY)
    yield bad(
        "rotation_by_a_stranger", "not by the key before", of(JOINED, first, by_thief), 3, "bad_rotation"
    )
    other_seq = following(first, reading(1), rotation=turn(3), signer=NEXT_KEY)
    yield bad("rotation_of_another_seq", "moved", of(JOINED, first, other_seq), 3, "bad_rotation")
    yield bad(
        "key_of_yesterday",
        "the old key signs behind its rotation",
        of(JOINED, first, WITH_ROTATION, following(WITH_ROTATION)),
        4,
        "bad_key",
    )
    yield bad("rotation_missing", "before the proofs", of(JOINED, BY_THE_NEW_KEY), 2, "bad_key")
    again = following(WITH_ROTATION, rotation=_second_turn(), signer=STRANGER_OF_DEVICE)
    yield bad(
        "rotation_to_another_key",
        "not the one that was committed to",
        of(JOINED, first, WITH_ROTATION, again),
        4,
        "bad_rotation",
    )
    by_another = cose.sign(
        Typ.CALIBRATION,
        {1: CALIBRATOR_ID, 2: BME280.serial, 6: CERTIFICATE.issued_s},
        cose.parse(SIGNED_CERTIFICATE, Typ.CALIBRATION).payload,
        STRANGER,
    )
    yield bad("certificate_by_another", "than it names", of(JOINED, by_another, first), 2, "bad_key")
    described = cbor.encode(replace(DESCRIPTOR, version="9.9.9").to_map())
    yield bad("descriptor_of_nothing", "no proof names it", of(JOINED, described, first), 2, "malformed")


def _second_turn() -> bytes:
    """From the new key to one that it did not commit to."""
    return rotation.sign(LOG, 3, NEXT_KEY, STRANGER_OF_DEVICE, bytes(32), NOW_S)


STRANGER_OF_DEVICE = SeedSigner(bytes(range(64, 96)), "sim", DEVICE.device)
