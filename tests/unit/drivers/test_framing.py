"""Resynchronising on frames, with a small made-up protocol: AA BB, length of the whole, payload, sum."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import InstrumentGone
from drivers.framing import NEVER, NOT_YET, Format, Frames, next_frame
from drivers.serial_line import Conversation

LONGEST = 20


def _length(candidate: bytes) -> int | None:
    if len(candidate) < 3:
        return NOT_YET
    return candidate[2] if candidate[2] >= 4 else NEVER


FORM = Format(b"\xaa\xbb", LONGEST, _length, lambda frame: sum(frame[:-1]) & 0xFF == frame[-1])


def frame(payload: bytes) -> bytes:
    body = b"\xaa\xbb" + bytes([len(payload) + 4]) + payload
    return body + bytes([sum(body) & 0xFF])


payloads = st.binary(max_size=LONGEST - 4)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.lists(payloads, max_size=6), st.lists(st.integers(0, 9), max_size=30))
def test_frames_come_out_whole_however_the_stream_is_cut(contents, sizes):
    sent = [frame(content) for content in contents]
    frames = Frames(FORM)
    assert [f for piece in cut(b"".join(sent), sizes) for f in frames.feed(piece)] == sent
    assert frames.skipped == 0


@given(st.binary(max_size=300), st.lists(st.integers(0, 9), max_size=30))
def test_how_garbage_is_cut_does_not_change_what_is_found(garbage, sizes):
    whole, pieces = Frames(FORM), Frames(FORM)
    expected = whole.feed(garbage)
    assert [f for piece in cut(garbage, sizes) for f in pieces.feed(piece)] == expected
    assert (pieces.skipped, pieces._held) == (whole.skipped, whole._held)
    assert len(whole._held) < LONGEST
    assert whole.skipped + len(whole._held) + sum(map(len, expected)) == len(garbage)


def test_a_start_repeated_costs_its_own_byte_and_not_the_frame():
    frames = Frames(FORM)
    assert frames.feed(b"\xaa" + frame(b"x") + b"\xaa\xbb" + frame(b"y")) == [frame(b"x"), frame(b"y")]
    assert frames.skipped == 3


def test_a_good_frame_inside_a_bad_one_is_found():
    bad = b"\xaa\xbb\x14\x00" + frame(b"inside") + bytes(6)
    assert Frames(FORM).feed(bad) == [frame(b"inside")]


def test_after_a_megabyte_of_garbage_the_second_frame_is_found_at_the_latest():
    noise = random.Random(42).randbytes(1 << 20)
    frames = Frames(FORM)
    for at in range(0, len(noise), 4096):
        frames.feed(noise[at : at + 4096])
        assert len(frames._held) < LONGEST
    sent = [frame(b"first"), frame(b"second")]
    assert sent[1] in [f for s in [*sent, frame(b"third")] for f in frames.feed(s)][:2]


@pytest.mark.parametrize("promise", [LONGEST + 1, 255, 0, 3])
def test_a_length_that_cannot_be_is_no_frame(promise):
    frames = Frames(FORM)
    assert frames.feed(b"\xaa\xbb" + bytes([promise])) == []
    assert frames.skipped == 3


def test_a_frame_whose_length_stays_unknown_is_given_up_at_the_longest():
    frames = Frames(Format(b"\x7e", 8, lambda seen: seen.find(b"\x7e", 1) + 1 or NOT_YET, lambda _: True))
    assert frames.feed(b"\x7e1234567") == []
    assert frames.skipped == 8
    assert frames.feed(b"\x7e123\x7e") == [b"\x7e123\x7e"]


class _Line(Conversation):
    """A conversation that says `pieces` and then runs out of time."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def some(self) -> bytes:
        if not self._pieces:
            raise InstrumentGone("no answer.")
        return self._pieces.pop(0)


def test_the_operator_is_told_a_talking_line_from_a_silent_one():
    with pytest.raises(InstrumentGone, match=r"^no answer\.$"):
        next_frame(_Line(b"\xaa"), Frames(FORM), "a thing")
    with pytest.raises(InstrumentGone, match="2 bytes that are not of a thing: is it the right driver"):
        next_frame(_Line(b"\x01", b"\x02"), Frames(FORM), "a thing")
    assert next_frame(_Line(b"\x01", b"\x02" + frame(b"")), Frames(FORM), "a thing") == frame(b"")
