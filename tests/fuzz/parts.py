"""Whole drivers against a part that answers arbitrary bytes, some with a right checksum around them.

- Only waiting and listening take time, and that is not real: a driver that never ends is seen by the fuzzer.
- An answer is a function of the question and the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from drivers import catalogue, senseair_s8
from drivers.contract import Instrument, Sample
from drivers.errors import DriverError
from drivers.serial_line import LineSettings, SerialLine

Answer = Callable[[bytes, bytes], bytes]


class Line:
    """Clock, port and part in one: what is written is answered at once by `answer(question, bytes)`, and
    those bytes come by themselves every second where `speaks`."""

    def __init__(self, said: bytes, answer: Answer, speaks: bool) -> None:
        self._said, self._answer, self._speaks = said, answer, speaks
        self._now_ns, self._spoken_s, self._in = 60 * 10**9, 0, b""

    def boottime_ns(self) -> int:
        return self._now_ns

    def wait(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9) + 1

    def wait_readable(self, fd: int, seconds: float) -> bool:
        until_ns = self._now_ns + round(seconds * 1e9)
        while not self._in and self._now_ns < until_ns:
            self._now_ns = min(until_ns, (self._now_ns // 10**9 + 1) * 10**9)
            if self._speaks and self._now_ns // 10**9 != self._spoken_s:
                self._spoken_s, self._in = self._now_ns // 10**9, self._answer(b"", self._said)
        self.wait(0.001)  # a flood must not stop time
        return bool(self._in)

    def fileno(self) -> int:
        return 0

    def read(self, size: int = 1, /) -> bytes:
        data, self._in = self._in[:size], self._in[size:]
        return data

    def write(self, data: bytes, /) -> int:
        self._in = (self._in + self._answer(data, self._said))[-4096:]
        return len(data)

    def reset_input_buffer(self) -> None:
        self._in = b""

    def close(self) -> None:
        self.reset_input_buffer()

    def opened(self, path: str, settings: LineSettings) -> Line:
        return self


def driver(name: str, answer: Answer) -> Callable[[bytes], int]:
    """The whole driver: open and two reads, whatever the open said. Gives the number of samples."""
    import_module(catalogue.entry(name).module)  # now, while imports are instrumented

    def run(data: bytes) -> int:
        line = Line(data, answer, catalogue.entry(name).speaks)
        return steps(catalogue.create(name, SerialLine("a line", line, line.opened), None, line))

    return run


def steps(instrument: Instrument) -> int:
    samples = 0
    for step in (instrument.open, lambda: instrument.read(12.0), lambda: instrument.read(2.5)):
        try:
            samples += isinstance(step(), Sample)
        except DriverError as error:
            if not error.sentence:
                raise AssertionError("an error without a sentence") from error
    instrument.close()
    return samples


def raw(question: bytes, data: bytes) -> bytes:
    return data


def by_question(question: bytes, data: bytes) -> bytes:
    """The line of `data` that has the question's place, so that the same question has the same answer twice:
    EZO's i, C,? O,? or S,? and R; GETVER, GETSERIAL and GETCPM of a counter."""
    asked = (b"<GETVER", b"<GETSER", b"<GETCPM") if question.startswith(b"<") else (b"i", b"C", b"OS", b"R")
    letter = question[:7] if question.startswith(b"<") else question[:1]
    place = next((number for number, letters in enumerate(asked) if letter in letters), len(asked))
    return dict(enumerate(data.split(b"\n"))).get(place, b"")


def plantower(question: bytes, data: bytes) -> bytes:
    frame = b"\x42\x4d\x00\x1c" + data[:26].ljust(26, b"\0")
    return frame + sum(frame).to_bytes(2, "big")


def nova(question: bytes, data: bytes) -> bytes:
    body = data[:6].ljust(6, b"\0")
    kind = b"\xc0" if question[2] == 4 else b"\xc5"
    body = body if question[2] == 4 else question[2:3] + body[1:]
    return b"\xaa" + kind + body + bytes([sum(body) & 0xFF]) + b"\xab"


def shdlc(question: bytes, data: bytes) -> bytes:
    """State and data of all answers; below 0x80 the part says that it is an SPS30 and well, but to 0x03."""
    content = data[:1].ljust(1, b"\0") + bytes([len(data[1:200])]) + data[1:200]
    if question[2] != 0x03 and content[0] < 0x80:
        content = b"\0\x0900080000\0" if question[2] == 0xD0 else b"\0\0"
    body = b"\0" + question[2:3] + content
    body += bytes([~sum(body) & 0xFF])
    stuffed = (bytes([0x7D, byte ^ 0x20]) if byte in b"\x7e\x7d\x11\x13" else bytes([byte]) for byte in body)
    return b"\x7e" + b"".join(stuffed) + b"\x7e"


def winsen(question: bytes, data: bytes) -> bytes:
    frame = b"\xff" + question[2:3] + data[:6].ljust(6, b"\0")
    return frame + bytes([-sum(frame[1:]) & 0xFF])


def modbus(question: bytes, data: bytes) -> bytes:
    """Registers, or, after 0xFF, an exception."""
    size = 2 * int.from_bytes(question[4:6], "big")
    if data[:1] == b"\xff":
        return senseair_s8.with_crc(bytes([question[0], question[1] | 0x80]) + data[1:2].ljust(1, b"\1"))
    return senseair_s8.with_crc(question[:2] + bytes([size]) + data[:size].ljust(size, b"\0"))
