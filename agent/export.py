"""The evidence bundle of this device (§11), read from its journal in small pieces, so that an export never
keeps the journal's thread from its samples: no job reads more than `papers.MOST_AT_ONCE` rows, and none
inflates a proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from agent import papers, rotation
from agent.journal import Journal
from agent.membership import Joined
from agent.papers import Place
from proof import cbor, sealing, sequence
from proof.descriptor import Descriptor

_AT_ONCE = 32
_BEFORE_ALL, _AFTER_ALL = (-1, 0), (2**62, 0)


class Caller(Protocol):
    """Runs a function on the journal: the keeper's `call`, or a direct one where no agent runs."""

    def __call__(self, job: Callable[[Journal], Any], /) -> Any: ...


def pieces(
    call: Caller,
    joined: Joined,
    since_s: int,
    until_s: int,
    certificates: Sequence[bytes] = (),
    descriptor: Descriptor | None = None,
) -> Iterator[bytes]:
    """The bytes of a bundle of the proofs that overlap the time span and are still kept; `certificates` are
    the signed ones in force, `descriptor` the one in force."""
    member = joined.membership
    span = kept_span(call, since_s, until_s)
    return sequence.write(
        member.device, member.network, _objects(call, joined, span, certificates, descriptor)
    )


def _objects(
    call: Caller,
    joined: Joined,
    span: tuple[Place, Place] | None,
    certificates: Sequence[bytes],
    descriptor: Descriptor | None,
) -> Iterator[bytes]:
    yield joined.membership_bytes
    yield from certificates
    after_id = 0
    while beacons := call(partial(papers.beacons, after_id=after_id)):
        yield from (data for _, data in beacons)
        after_id = beacons[-1][0]
    receipts = call(papers.receipts)
    if span:
        yield from _proofs(call, *span, descriptor)
    yield from receipts


def kept_span(call: Caller, since_s: int, until_s: int) -> tuple[Place, Place] | None:
    """The places of the first and the last proof of a bundle of that time (§11.1): it goes on until every gap
    in it is declared, and begins behind one that no kept proof declares. None where nothing is kept of it."""
    look = partial(papers.overlapping, since_s=since_s, until_s=until_s)
    first = _nearest(call, look, _BEFORE_ALL)
    last = first and _nearest(call, partial(look, backwards=True), _AFTER_ALL)
    if first is None or last is None:  # what was there was given up meanwhile
        return None
    after = _BEFORE_ALL
    while gaps := call(partial(papers.gaps, after=after)):
        for log_id, first_seq, last_seq, carrier_seq in gaps:
            after = log_id, first_seq
            if not first < after or not (log_id, last_seq) < last:
                continue
            if carrier_seq:
                last = max(last, (log_id, carrier_seq))
            else:
                first = (log_id, last_seq + 1)
    return first, last


def _nearest(call: Caller, look: Callable[..., list[tuple[int, int, bool]]], place: Place) -> Place | None:
    while rows := call(partial(look, place=place)):
        for log_id, seq, found in rows:
            place = log_id, seq
            if found:
                return place
    return None


def _proofs(call: Caller, first: Place, last: Place, descriptor: Descriptor | None) -> Iterator[bytes]:
    """With what a stranger must know before the first: the rotations, and the descriptor."""
    yield from call(partial(_turns_before, place=first))
    rows = kept(call, (first[0], first[1] - 1), last)
    for number, row in enumerate(rows):
        data = papers.proof_of(row)
        if number == 0:
            yield from _described(call, first, data, descriptor)
        yield data


def kept(call: Caller, after: Place, last: Place) -> Iterator[papers.Row]:
    """Every kept proof after place `after` up to `last`, in chain order."""
    while batch := call(partial(papers.kept_proofs, after=after, last=last, limit=_AT_ONCE)):
        yield from batch
        after = batch[-1][:2]


def _described(call: Caller, place: Place, data: bytes, descriptor: Descriptor | None) -> Iterator[bytes]:
    """The descriptor that the first proof only names, where it can be found (decision 0013)."""
    claims = sealing.parse(data).claims
    if claims.descriptor:
        return
    if descriptor is None or descriptor.hash() != claims.descriptor_hash:
        descriptor = _carried_before(call, place, claims.descriptor_hash)
    if descriptor:
        yield cbor.encode(descriptor.to_map())


def _carried_before(call: Caller, place: Place, descriptor_hash: bytes) -> Descriptor | None:
    while batch := call(partial(papers.proofs_before, place=place, limit=_AT_ONCE)):
        for row in batch:
            claims = sealing.parse(papers.proof_of(row)).claims
            if claims.descriptor and claims.descriptor_hash == descriptor_hash:
                return claims.descriptor
        place = batch[-1][:2]
    return None


def _turns_before(journal: Journal, place: Place) -> list[bytes]:
    return rotation.before(journal, *place)
