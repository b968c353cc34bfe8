"""An evidence bundle (§11) out of the ledger, piece by piece."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from gateway.ledger import Ledger
from gateway.register import Jump, Register
from proof import bundle, cbor, receipt, sealing
from proof.claims import Predecessor
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
    beacon before the first proof that names it, accepted proofs in chain order, a receipt for the last one
    and for the end of each log that the next one does not name (§11.3). Nothing for a stranger. A revoked
    device's ends with its last good proof (§8.5)."""
    membership, latest = register.membership(device), ledger.receipt(device)
    if membership is None or latest is None:
        return
    confirmed = register.confirmed(device, span[1])
    if confirmed is not None:  # the ledger's own receipt may speak of a log that never began
        last, received_s = confirmed
        latest = Receipt(device, last.log, last.seq, last.hash, received_s)

    def objects() -> Iterator[bytes]:
        yield membership
        yield from _turns(device, register, span[0])
        named: set[bytes] = set()
        before: Proof | None = None
        for number, data in enumerate(register.accepted(device, *span)):
            proof = sealing.parse(data)
            claims = proof.claims
            if before is not None and not _linked(before, proof):
                yield receipt.sign(_came(before, register), signer, now_s)
            before = proof
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


def _linked(before: Proof, proof: Proof) -> bool:
    """False where a log begins that does not name the hash of the proof before it."""
    prev = proof.claims.prev
    return not isinstance(prev, Predecessor) or prev.head_hash == before.hash


def _came(proof: Proof, register: Register) -> Receipt:
    claims = proof.claims
    received_s = register.received_s(claims.device, claims.log, claims.seq)
    return Receipt(claims.device, claims.log, claims.seq, proof.hash, received_s)


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
    jumps = register.jumps(device, first)
    carriers = _carriers(device, register, jumps)
    for jump in jumps:  # in the order in which their logs go on
        if jump.next > last:
            break
        carrier = carriers.get(jump)
        if carrier is None:
            first = max(first, jump.position + 1)
        else:
            last = max(last, carrier)
    return first, last


def _carriers(device: str, register: Register, jumps: list[Jump]) -> dict[Jump, int]:
    """Where the first proof behind a jump is that declares its numbers as lost, for those that have one."""
    by_log: dict[bytes, list[Jump]] = {}
    for jump in jumps:
        by_log.setdefault(jump.log, []).append(jump)
    found: dict[Jump, int] = {}
    for position, data in register.carriers(device, jumps[0].position) if jumps else ():
        claims = sealing.parse(data).claims
        ours = by_log.get(claims.log, [])
        for gap in claims.gaps:
            for jump in ours[bisect_left(ours, gap.first_seq - 1, key=_seq) :]:
                if jump.seq >= gap.last_seq:
                    break
                if jump.position < position:
                    found.setdefault(jump, position)
    return found


def _seq(jump: Jump) -> int:
    return jump.seq


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
