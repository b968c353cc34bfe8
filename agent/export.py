"""The evidence bundle of this device (§11), read from its journal in small pieces, so that an export never
keeps the journal's thread from its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from agent import papers, rotation
from agent.journal import Journal
from agent.membership import Joined
from proof import sequence

_AT_ONCE = 32


class Caller(Protocol):
    """Runs a function on the journal: the keeper's `call`, or a direct one where no agent runs."""

    def __call__(self, job: Callable[[Journal], Any], /) -> Any: ...


def pieces(
    call: Caller, joined: Joined, since_s: int, until_s: int, certificates: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """The bytes of a bundle of the proofs that overlap the time span and are still kept; `certificates` are
    the signed ones in force."""
    member = joined.membership
    return sequence.write(
        member.device, member.network, _objects(call, joined, since_s, until_s, certificates)
    )


def _turns_before(journal: Journal, place: tuple[int, int]) -> list[bytes]:
    return rotation.before(journal, *place)


def _objects(
    call: Caller, joined: Joined, since_s: int, until_s: int, certificates: Sequence[bytes]
) -> Iterator[bytes]:
    yield joined.membership_bytes
    yield from certificates
    beacons, receipts = call(papers.evidence)
    yield from beacons
    after = (0, 0)
    span = partial(papers.kept_proofs, since_s=since_s, until_s=until_s, limit=_AT_ONCE)
    while batch := call(partial(span, after=after)):
        if after == (0, 0):
            yield from call(partial(_turns_before, place=batch[0][0]))
        yield from (data for _, data in batch)
        after = batch[-1][0]
    yield from receipts
