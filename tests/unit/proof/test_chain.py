"""Where a proof stands in its chain (§4.6, §4.7): the table, row by row."""

from __future__ import annotations

import pytest

from proof import chain
from proof.chain import Head
from proof.claims import Claims, Gap, Predecessor
from proof.reasons import Reason, Verdict
from tests.proof_samples import LOG, claims

OTHER_LOG, THIRD_LOG = bytes(8), b"\xff" * 8
HEAD = Head(LOG, 4, b"\x04" * 32)
THIS, OTHER = b"\xaa" * 32, b"\xbb" * 32


def at(seq: int, prev: bytes | Predecessor | None = None, log: bytes = LOG, **changes) -> Claims:
    return claims(seq=seq, prev=prev, log=log, **changes)


def after(log: bytes, head_hash: bytes | None = HEAD.hash) -> Predecessor:
    return Predecessor(log, head_hash, "store lost")


def gap(first: int, last: int) -> Gap:
    return Gap(first, last, bytes([first]) * 32, bytes([last]) * 32, "disk full")


TABLE = {
    "the first proof of a device": (at(1), None, None, Reason.ACCEPTED),
    "the first proof of a device this gateway meets late": (
        at(1, after(OTHER_LOG)),
        None,
        None,
        Reason.ACCEPTED,
    ),
    "a later proof of a device never seen": (at(2, THIS), None, None, Reason.HELD),
    "the next proof": (at(5, HEAD.hash), HEAD, None, Reason.ACCEPTED),
    "the first proof where the log is known and empty": (at(1), Head(LOG, 0, None), None, Reason.ACCEPTED),
    "the next proof with another prev": (at(5, OTHER), HEAD, None, Reason.BROKEN_CHAIN),
    "one ahead of the next": (at(6, THIS), HEAD, None, Reason.HELD),
    "far ahead": (at(2**62, THIS), HEAD, None, Reason.HELD),
    "the head again": (at(4, THIS), HEAD, THIS, Reason.DUPLICATE),
    "an older one again": (at(2, THIS), HEAD, THIS, Reason.DUPLICATE),
    "a held one again": (at(9, THIS), HEAD, THIS, Reason.DUPLICATE),
    "another proof at the head": (at(4, THIS), HEAD, OTHER, Reason.EQUIVOCATION),
    "another proof at a held place": (at(9, THIS), HEAD, OTHER, Reason.EQUIVOCATION),
    "another first proof": (at(1), HEAD, OTHER, Reason.EQUIVOCATION),
    "one below the head of which nothing is held": (at(3, THIS), HEAD, None, Reason.BROKEN_CHAIN),
    "a new log that names the open one": (at(1, after(LOG), OTHER_LOG), HEAD, None, Reason.ACCEPTED),
    "a new log that lost even the head": (at(1, after(LOG, None), OTHER_LOG), HEAD, None, Reason.ACCEPTED),
    "a new log that names none": (at(1, None, OTHER_LOG), HEAD, None, Reason.ROLLED_BACK),
    "a new log that names another": (at(1, after(THIRD_LOG), OTHER_LOG), HEAD, None, Reason.ROLLED_BACK),
    "a new log that names itself": (at(1, after(OTHER_LOG), OTHER_LOG), HEAD, None, Reason.ROLLED_BACK),
    "a new log that gives way to the open one": (
        at(1, Predecessor(LOG, HEAD.hash, "superseded"), OTHER_LOG),
        HEAD,
        None,
        Reason.TWO_BOARDS,
    ),
    "a new log that gives way to an older one": (
        at(1, Predecessor(THIRD_LOG, HEAD.hash, "superseded"), OTHER_LOG),
        HEAD,
        None,
        Reason.TWO_BOARDS,
    ),
    "a later proof of a new log": (at(2, THIS, OTHER_LOG), HEAD, None, Reason.HELD),
    "the boot count fell": (at(5, HEAD.hash, bootcount=2), HEAD, None, Reason.ROLLED_BACK),
    "the boot count starts again with a new log": (
        at(1, after(LOG), OTHER_LOG, bootcount=1),
        HEAD,
        None,
        Reason.ACCEPTED,
    ),
    "the boot count rose": (at(5, HEAD.hash, bootcount=4), HEAD, None, Reason.ACCEPTED),
    "a duplicate of an earlier boot": (at(2, THIS, bootcount=1), HEAD, THIS, Reason.DUPLICATE),
    "an equivocation of an earlier boot": (at(2, THIS, bootcount=1), HEAD, OTHER, Reason.EQUIVOCATION),
}


@pytest.mark.parametrize("row", [*TABLE.values()], ids=[*TABLE])
def test_each_row_of_the_table(row):
    proof_claims, head, known_hash, expected = row
    assert chain.place(proof_claims, THIS, head, 3, known_hash).reason is expected


def test_a_second_new_log_after_the_same_head_is_a_rollback():
    first = at(1, after(LOG), OTHER_LOG)
    assert chain.place(first, THIS, HEAD, 3, None).reason is Reason.ACCEPTED
    now = Head(OTHER_LOG, 1, THIS)
    assert chain.place(at(1, after(LOG), THIRD_LOG), OTHER, now, 3, None).reason is Reason.ROLLED_BACK
    assert chain.place(at(1, after(OTHER_LOG), THIRD_LOG), OTHER, now, 3, None).reason is Reason.ACCEPTED


GAPS = (gap(5, 7),)
ACROSS = {
    "the proof after the gap continues the gap's last hash": (at(8, b"\x07" * 32), GAPS, Reason.ACCEPTED),
    "another prev after the gap": (at(8, HEAD.hash), GAPS, Reason.BROKEN_CHAIN),
    "one ahead of the proof after the gap": (at(9, OTHER), GAPS, Reason.HELD),
    "two gaps in a row": (at(10, b"\x09" * 32), (gap(8, 9), gap(5, 7)), Reason.ACCEPTED),
    "two gaps with a proof missing between": (at(10, b"\x09" * 32), (gap(5, 6), gap(8, 9)), Reason.HELD),
    "a gap that begins before the head": (at(8, b"\x07" * 32), (gap(2, 7),), Reason.ACCEPTED),
    "a gap that ends at the head": (at(5, HEAD.hash), (gap(2, 4),), Reason.ACCEPTED),
    "a gap that begins too late": (at(8, b"\x07" * 32), (gap(6, 7),), Reason.HELD),
    "the first one of the gap comes after all": (at(5, HEAD.hash), GAPS, Reason.ACCEPTED),
    "it comes after all and does not fit": (at(5, OTHER), GAPS, Reason.BROKEN_CHAIN),
    "a later one of the gap comes after all": (at(6, OTHER), GAPS, Reason.BROKEN_CHAIN),
}


@pytest.mark.parametrize("row", [*ACROSS.values()], ids=[*ACROSS])
def test_declared_gaps_carry_the_chain_across(row):
    proof_claims, gaps, expected = row
    assert chain.place(proof_claims, THIS, HEAD, 3, None, gaps).reason is expected


def test_what_is_held_names_the_range_to_ask_for():
    assert chain.place(at(9, THIS), THIS, HEAD, 3, None) == Verdict(Reason.HELD, "missing 5 to 8")
    assert chain.place(at(9, THIS), THIS, HEAD, 3, None, GAPS) == Verdict(Reason.HELD, "missing 8 to 8")


def test_a_device_whose_first_proofs_were_evicted_before_any_gateway_came_declares_them():
    fourth = at(4, b"\x03" * 32, gaps=(gap(1, 3),))
    assert chain.place(fourth, THIS, None, 0, None, fourth.gaps).reason is Reason.ACCEPTED
    assert chain.place(at(4, THIS), THIS, None, 0, None, fourth.gaps).reason is Reason.BROKEN_CHAIN


def test_a_declared_gap_is_not_asked_for():
    assert chain.missing((12,), 4, 8, GAPS) == ((8, 11),)
    assert chain.missing((8,), 4, 8, GAPS) == ()
    assert chain.missing((12, 6), 4, 8, (gap(9, 9),)) == ((5, 5), (7, 8), (10, 11))


def test_reach_is_the_head_itself_without_gaps():
    assert chain.reach(HEAD, ()) == (4, HEAD.hash)
    assert chain.reach(HEAD, GAPS) == (7, b"\x07" * 32)


@pytest.mark.parametrize(
    ("seqs", "after_seq", "limit", "expected"),
    [
        ((), 4, 8, ()),
        ((5, 6), 4, 8, ()),
        ((6,), 4, 8, ((5, 5),)),
        ((12, 7, 9, 9), 4, 8, ((5, 6), (8, 8), (10, 11))),
        ((12, 7, 9), 4, 2, ((5, 6), (8, 8))),
        ((2, 3), 4, 8, ()),
        ((2**62,), 0, 8, ((1, 2**62 - 1),)),
    ],
)
def test_missing_ranges_are_what_lies_between(seqs, after_seq, limit, expected):
    assert chain.missing(seqs, after_seq, limit) == expected
