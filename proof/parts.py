"""How the proofs of a bundle hang together (§11.2), and between which moments each part was signed (§11.3).

- The order of a bundle is its maker's. What counts is what one proof says of the one before it: `prev`, the
  head that a new log names, or the gap record of a device (§4.7).
- A log that was left does not come again. A log that names another head than the one before it here begins a
  new part: nothing shows which of the two was first.
- A beacon bounds the proof that names it and what follows in its part, a receipt what lies before its head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from proof import chain
from proof.chain import Head
from proof.claims import Gap, Predecessor
from proof.finding import LogSpan, Named, Part
from proof.reasons import Reason, Verdict
from proof.sequence import Place, Spoiled


@dataclass(frozen=True, slots=True)
class Link:
    """What `chain.place` must know of a proof, where it lies, and the beacon it names."""

    place: Place
    log: bytes
    seq: int
    prev: bytes | Predecessor | None
    hash: bytes
    bootcount: int
    beacon: bytes | None


def require_chain(
    links: Sequence[Link], gaps: Mapping[bytes, Iterable[Gap]]
) -> tuple[list[Predecessor], list[int]]:
    """§4.7; gives the logs that are named and not here, and the numbers of the proofs that begin a part."""
    elsewhere, begins, left = list[Predecessor](), [0], set[bytes]()
    for number, (before, link) in enumerate(pairwise(links), start=1):
        if link.log in left:
            raise Spoiled(link.place, Reason.BROKEN_CHAIN, f"log {link.log.hex()} was left before")
        if (other := _named_elsewhere(before, link)) is not None:
            elsewhere.append(other)
        else:
            head = Head(before.log, before.seq, before.hash)
            verdict = chain.place(link, link.hash, head, before.bootcount, None, gaps.get(before.log, ()))
            if verdict.reason is not Reason.ACCEPTED:
                raise Spoiled(link.place, Reason.BROKEN_CHAIN, _why(before, link, verdict))
        if link.log != before.log:
            left.add(before.log)
            if not (isinstance(link.prev, Predecessor) and link.prev.head_hash == before.hash):
                begins.append(number)
    return elsewhere, begins


def _why(before: Link, link: Link, verdict: Verdict) -> str:
    """A gateway's verdict, in words for a bundle."""
    if link.log == before.log and link.seq <= before.seq:
        return f"seq {link.seq} comes after seq {before.seq}"
    if verdict.reason is Reason.HELD:
        return f"{verdict.detail}, and no proof here declares that lost"
    return verdict.detail


def dated(
    links: Sequence[Link], begins: Sequence[int], beacons: Mapping[bytes, int], received: Mapping[int, int]
) -> Iterator[Part]:
    """`beacons` are those that are here, by their hash; `received` is the earliest receipt of a proof, by its
    number."""
    for first, end in pairwise([*begins, len(links)]):
        begin, last = links[first], links[end - 1]
        named = _first_named((links[number] for number in range(first, end)), beacons)
        from_begin = named is not None and (named.log, named.seq) == (begin.log, begin.seq)
        yield Part(
            first_log=begin.log,
            first_seq=begin.seq,
            last_log=last.log,
            last_seq=last.seq,
            signed_after_s=named.issued_s if named and from_begin else None,
            signed_before_s=received.get(end - 1),
            beacon=named,
        )


def bounds(parts: Sequence[Part]) -> tuple[int | None, int | None]:
    """(after, before): of all of them, or None where one has none."""
    after = [part.signed_after_s for part in parts if part.signed_after_s is not None]
    before = [part.signed_before_s for part in parts if part.signed_before_s is not None]
    return (
        min(after) if len(after) == len(parts) else None,
        max(before) if len(before) == len(parts) else None,
    )


def logs(links: Iterable[Link]) -> Iterator[LogSpan]:
    """Of a chain that fits: each log stands together."""
    span: LogSpan | None = None
    for link in links:
        if span is not None and span.log == link.log:
            span = LogSpan(link.log, span.first_seq, link.seq, span.proofs + 1)
            continue
        if span is not None:
            yield span
        span = LogSpan(link.log, link.seq, link.seq, 1)
    if span is not None:
        yield span


def _first_named(links: Iterable[Link], beacons: Mapping[bytes, int]) -> Named | None:
    for link in links:
        if link.beacon is not None and link.beacon in beacons:
            return Named(link.log, link.seq, beacons[link.beacon])
    return None


def _named_elsewhere(before: Link, link: Link) -> Predecessor | None:
    """What `link` names, where it begins a log that does not follow the one before it here (§11.2)."""
    prev = link.prev
    if link.log == before.log or not isinstance(prev, Predecessor):
        return None
    return prev if prev.log != before.log or prev.reason == chain.SUPERSEDED else None
