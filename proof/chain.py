"""Where a proof stands in its device's chain (§4.6, §4.7). Pure: a state and a proof in, a verdict out.

- Same place, same hash: duplicate. Same place, other hash: equivocation, whatever else holds.
- The next proof continues the head; one ahead of it is held and the range between asked for.
- Ranges the device itself declared as gaps (§3.2 -70006) carry the chain across by their hashes.
- A new log must name the open one, and is accepted once for each head the gateway has seen.
- A new log that says `superseded` gives way and is never followed: its device knows of the open log and
  still samples, so two boards hold the key.
- The boot count never falls within a log; a new log may count from where its store remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from proof.claims import Gap, Predecessor
from proof.reasons import Reason, Verdict

SUPERSEDED = "superseded"


class Placed(Protocol):
    """What a proof claims of its place; `proof.claims.Claims` is one."""

    @property
    def log(self) -> bytes: ...

    @property
    def seq(self) -> int: ...

    @property
    def prev(self) -> bytes | Predecessor | None: ...

    @property
    def bootcount(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Head:
    """The newest proof of the open log; seq 0 with no hash before the first."""

    log: bytes
    seq: int
    hash: bytes | None


def place(
    claims: Placed,
    proof_hash: bytes,
    head: Head | None,
    bootcount: int,
    known_hash: bytes | None,
    gaps: Iterable[Gap] = (),
) -> Verdict:
    """The verdict on a proof whose signature is already trusted.

    `head` is the device's open log, None before its first; `bootcount` the highest seen in it; `known_hash`
    the hash held for (log, seq), None if there is none; `gaps` those declared for this log so far.
    """
    if known_hash is not None:
        if known_hash == proof_hash:
            return Verdict(Reason.DUPLICATE)
        return Verdict(Reason.EQUIVOCATION, f"two proofs for seq {claims.seq}")
    if head is None:
        head = Head(claims.log, 0, None)  # a device that outlived its first proofs declares them as a gap
    if claims.log != head.log:
        return _new_log(claims, head)
    if claims.bootcount < bootcount:
        return Verdict(Reason.ROLLED_BACK, f"boot count {claims.bootcount} after {bootcount}")
    if claims.seq <= head.seq:
        return Verdict(Reason.BROKEN_CHAIN, f"seq {claims.seq} lies in a gap the device declared")
    seq, expected = reach(head, gaps)
    if claims.seq > seq + 1:
        return Verdict(Reason.HELD, f"missing {seq + 1} to {claims.seq - 1}")
    if claims.seq <= seq:
        # A gap was declared over a proof that now comes after all: it is judged without the gap.
        seq, expected = head.seq, head.hash
        if claims.seq > seq + 1:
            return Verdict(Reason.BROKEN_CHAIN, f"seq {claims.seq} lies in a gap the device declared")
    if seq and claims.prev != expected:
        return Verdict(Reason.BROKEN_CHAIN, f"prev of seq {claims.seq} is not the hash of the one before")
    return Verdict(Reason.ACCEPTED)


def reach(head: Head, gaps: Iterable[Gap]) -> tuple[int, bytes | None]:
    """(seq, hash) up to which the log is accounted for: the head, moved over declared gaps."""
    seq, last_hash = head.seq, head.hash
    for gap in sorted(gaps, key=lambda gap: gap.first_seq):
        if gap.first_seq <= seq + 1 <= gap.last_seq:
            seq, last_hash = gap.last_seq, gap.last_hash
    return seq, last_hash


def missing(
    seqs: Iterable[int], after: int, limit: int, gaps: Iterable[Gap] = ()
) -> tuple[tuple[int, int], ...]:
    """Ranges neither in `seqs` nor declared in `gaps`, between `after` and the highest of them.

    Lowest first, at most `limit`.
    """
    ranges: list[tuple[int, int]] = []
    expected = after + 1
    accounted = [(seq, seq) for seq in seqs] + [(gap.first_seq, gap.last_seq) for gap in gaps]
    for first, last in sorted(accounted):
        if first > expected:
            ranges.append((expected, first - 1))
        expected = max(expected, last + 1)
    return tuple(ranges[:limit])


def _new_log(claims: Placed, head: Head) -> Verdict:
    if claims.seq > 1:
        return Verdict(Reason.HELD, f"the first proof of log {claims.log.hex()} is missing")
    if not isinstance(claims.prev, Predecessor):
        return Verdict(Reason.ROLLED_BACK, f"a new log that does not name the open log {head.log.hex()}")
    if claims.prev.reason == SUPERSEDED:
        return Verdict(Reason.TWO_BOARDS, f"a log that gives way to {claims.prev.log.hex()}")
    if claims.prev.log != head.log:
        return Verdict(Reason.ROLLED_BACK, f"a new log that names {claims.prev.log.hex()}, not the open log")
    return Verdict(Reason.ACCEPTED, f"follows log {head.log.hex()}: {claims.prev.reason}")
