"""An evidence bundle (§11) out of the ledger, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.ledger import Ledger
from gateway.register import Register
from proof import bundle, cbor, receipt, sealing
from proof.keys import Signer
from proof.reasons import Refused
from proof.receipt import Receipt
from proof.sealing import Proof

Span = tuple[int, int]
"""Positions of the first and the last proof among all accepted ones of a device."""
WHOLE: Span = (0, 2**63 - 1)


def pieces(
    device: str, ledger: Ledger, register: Register, signer: Signer, now_s: int, span: Span = WHOLE
) -> Iterator[bytes]:
    """A member's bundle piece by piece: membership, what is needed of what lies before the first proof, each
    beacon before the first proof that names it, accepted proofs in chain order, a receipt for the last one.
    Nothing for a stranger. A revoked device's ends with its last good proof (§8.5)."""
    membership, latest = register.membership(device), ledger.receipt(device)
    if membership is None or latest is None:
        return
    confirmed = register.confirmed(device, span[1])
    if confirmed is not None and (span != WHOLE or register.is_revoked(device)):
        last, received_s = confirmed
        latest = Receipt(device, last.log, last.seq, last.hash, received_s)

    def objects() -> Iterator[bytes]:
        yield membership
        yield from _turns(device, register, span[0])
        named: set[bytes] = set()
        for number, data in enumerate(register.accepted(device, *span)):
            claims = sealing.parse(data).claims
            if number == 0 and claims.descriptor is None:
                described = ledger.descriptor(device, claims.descriptor_hash)
                yield from [cbor.encode(described.to_map())] if described else []
            for beacon_hash in claims.freshness[:1]:
                beacon = None if beacon_hash in named else register.beacon_data(beacon_hash)
                named.add(beacon_hash)
                if beacon is not None:
                    yield beacon
            yield data
        yield receipt.sign(latest, signer, now_s)

    yield from bundle.write(device, ledger.network, objects())


def span(device: str, register: Register, since_s: int, until_s: int) -> Span | None:
    """The proofs of a bundle of that time (decision 0013): from the first to the last that has a reading of
    it, on until every gap in it is declared, and from behind one that no accepted proof declares."""
    positions = [
        position
        for position, data in register.positions(device)
        if _overlaps(sealing.parse(data), since_s, until_s)
    ]
    if not positions:
        return None
    first, last = positions[0], positions[-1]
    seen = first - 1
    while jumps := [jump for jump in register.jumps(device, first, last) if jump[0] > seen]:
        seen, log, seq = jumps[0]
        carrier = _declared(device, register, seen, log, seq + 1)
        first, last = (seen + 1, last) if carrier is None else (first, max(last, carrier))
    return first, last


def _declared(device: str, register: Register, after: int, log: bytes, seq: int) -> int | None:
    """The position of the proof behind `after` that declares `seq` of that log as lost."""
    for position, data in register.carriers(device, after):
        claims = sealing.parse(data).claims
        if claims.log == log and any(gap.first_seq <= seq <= gap.last_seq for gap in claims.gaps):
            return position
    return None


def _overlaps(proof: Proof, since_s: int, until_s: int) -> bool:
    """A proof without readings, or with some that cannot be read, speaks of its sealing."""
    try:
        times_ms = [reading.time_ms for reading in proof.readings()]
    except Refused:
        times_ms = []
    times_ms = times_ms or [proof.claims.sealed_at_s * 1000]
    return min(times_ms) <= until_s * 1000 and since_s * 1000 <= max(times_ms)


def _turns(device: str, register: Register, first: int) -> Iterator[bytes]:
    """The rotations that lie before that position."""
    for _, data in register.carriers(device, 0, first - 1):
        carried = sealing.parse(data).claims.rotation
        if carried is not None:
            yield carried
