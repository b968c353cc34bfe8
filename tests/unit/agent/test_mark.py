"""How far a store has published, beside the journal: what a cut or damage leaves of it."""

from __future__ import annotations

import errno
import os

import pytest

from agent.errors import TryAgain
from agent.mark import Mark, Published

BLOCK = 4096


def at(seq: int, log: bytes = b"the log!") -> Published:
    return Published(log, seq, bytes([seq]) * 32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db.mark"


def mark(path, device="device"):
    return Mark(path, device)


def test_what_was_covered_last_is_read_again(path):
    one = mark(path)
    assert (one.published, one.damaged) == (None, False)
    one.begin(at(0))
    for seq in (1, 2, 3):
        one.cover(at(seq))
        assert mark(path).published == at(seq)
    one.cover(at(1, b"another!"))
    assert mark(path).published == at(1, b"another!")
    assert path.stat().st_size == 2 * BLOCK


def test_what_is_covered_already_is_not_written_again(path):
    one = mark(path)
    one.begin(at(5))
    before = path.read_bytes()
    one.cover(at(5))
    one.cover(at(4))
    assert path.read_bytes() == before
    assert one.published == at(5)


def test_another_proof_of_the_same_number_is_written(path):
    one = mark(path)
    one.begin(at(5))
    other = Published(b"the log!", 5, b"x" * 32)
    one.cover(other)
    assert mark(path).published == other


@pytest.mark.parametrize("block", [0, 1])
def test_a_write_that_was_torn_leaves_the_one_before(path, block):
    one = mark(path)
    one.begin(at(0))
    for seq in range(1, 4 + block):
        one.cover(at(seq))
    data = bytearray(path.read_bytes())
    newest = max((0, BLOCK), key=lambda start: int.from_bytes(data[start + 16 : start + 24], "big"))
    assert newest == (BLOCK, 0)[block]
    data[newest + 30] ^= 1
    path.write_bytes(data)
    left = mark(path)
    assert (left.published, left.damaged) == (at(2 + block), False)
    left.cover(at(9))
    assert mark(path).published == at(9)


@pytest.mark.parametrize("left", [b"", b"x" * 100, bytes(2 * BLOCK)])
def test_without_a_block_that_can_be_read_it_is_damaged(path, left):
    path.write_bytes(left)
    one = mark(path)
    assert (one.published, one.damaged) == (None, True)
    one.begin(at(1))
    assert (mark(path).published, mark(path).damaged) == (at(1), False)


def test_another_devices_mark_says_nothing_of_this_one(path):
    mark(path, "another").begin(at(7))
    one = mark(path)
    assert (one.published, one.damaged) == (None, False)
    one.begin(at(1))
    assert mark(path).published == at(1)


def test_one_that_was_removed_while_the_agent_ran_is_made_again(path):
    one = mark(path)
    one.begin(at(1))
    path.unlink()
    one.cover(at(2))
    assert mark(path).published == at(2)


def test_a_write_that_failed_is_tried_again_in_its_own_block(path, monkeypatch):
    """The other one holds what is known."""
    one = mark(path)
    one.begin(at(0))
    one.cover(at(1))
    torn, real = [], os.pwrite

    def tear(descriptor: int, data: bytes, offset: int) -> int:
        torn.append(offset)
        real(descriptor, bytes(data[:20]) + bytes(60), offset)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", tear)
    for _ in range(3):
        with pytest.raises(TryAgain, match="Input/output error"):
            one.cover(at(2))
        assert mark(path).published == at(1)
    assert len(set(torn)) == 1
    monkeypatch.undo()
    one.cover(at(2))
    assert mark(path).published == at(2)


def test_where_the_page_cache_cannot_be_passed_by_it_is_used(path, monkeypatch):
    one = mark(path)
    one.begin(at(0))
    opened, real = [], os.open

    def refuse(name, flags, *rest):
        opened.append(flags)
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    one.cover(at(1))
    monkeypatch.undo()
    assert mark(path).published == at(1)
    assert len(opened) == 2
