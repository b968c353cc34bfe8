"""The evidence bundle of this device (§11), read from its journal in small pieces, so that an export never
keeps the journal's thread from its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from agent import papers, rotation
from agent.journal import Journal
from agent.membership import Joined
from proof import cbor, sealing, sequence
from proof.descriptor import Descriptor

_AT_ONCE = 32
Place = tuple[int, int]
"""(log id, seq) in the journal."""


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
    span = call(partial(papers.kept_span, since_s=since_s, until_s=until_s))
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
    beacons, receipts = call(papers.evidence)
    yield from beacons
    if span:
        yield from _proofs(call, *span, descriptor)
    yield from receipts


def _proofs(call: Caller, first: Place, last: Place, descriptor: Descriptor | None) -> Iterator[bytes]:
    """With what a stranger must know before the first: the rotations, and the descriptor."""
    yield from call(partial(_turns_before, place=first))
    after = before = (first[0], first[1] - 1)
    kept = partial(papers.kept_proofs, last=last, limit=_AT_ONCE)
    while batch := call(partial(kept, after=after)):
        if after == before:
            yield from _described(call, first, batch[0][1], descriptor)
        yield from (data for _, data in batch)
        after = batch[-1][0]


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
        for _, data in batch:
            claims = sealing.parse(data).claims
            if claims.descriptor and claims.descriptor_hash == descriptor_hash:
                return claims.descriptor
        place = batch[-1][0]
    return None


def _turns_before(journal: Journal, place: Place) -> list[bytes]:
    return rotation.before(journal, *place)
