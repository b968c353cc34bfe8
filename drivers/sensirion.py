"""Sensirion's I2C parts: commands, answers in 16-bit words with a CRC each, a measurement rhythm.

Reference: Sensirion SCD30 Interface Description 1.0, §1.1; SCD4x datasheet 1.3, §3.3, §3.4, §3.11.

- Commands have 16 bits, those of the SHT4x 8 (`ByteCommands`).
- A command is written and its answer read in two transactions: the SCD30 knows no repeated start.
- CRC-8 per word: polynomial 0x31, initial value 0xFF, nothing reflected or inverted; 0xBEEF gives 0x92. One
  wrong CRC voids the whole answer: `RetryNow`.
- A command carries no CRC. A part that did not understand one does not acknowledge the read after it; one
  missed acknowledge is a disturbance (`RetryNow`), a part silent on the next question too is gone.
- A part that measures by itself is asked whether something new is there; old data cannot pass for new.
- Nothing new for three of its intervals: it lost power or was exchanged (`InstrumentGone`).
"""

from __future__ import annotations

from drivers.contract import Clock, Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from drivers.i2c import NoAnswer
from drivers.registers import Addressed

ANSWER_S = 0.01  # the datasheets say 1 to 3 ms; a part that just stretched the clock needs more
_POLL_S = 0.1
_OVERDUE = 3


def crc8(data: bytes) -> int:
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def words(answer: bytes, count: int) -> tuple[int, ...]:
    """The 16-bit words of an answer, three bytes each. Raises `RetryNow` for a wrong CRC or length."""
    triples = [answer[i : i + 3] for i in range(0, len(answer), 3)]
    if len(answer) != 3 * count or any(crc8(triple[:2]) != triple[2] for triple in triples):
        raise RetryNow(f"An answer came disturbed (wrong CRC in {answer.hex()}): check wiring and bus speed.")
    return tuple(int.from_bytes(triple[:2], "big") for triple in triples)


class Commands(Addressed):
    """Sends commands to one part. Raises `RetryNow`, `InstrumentGone`, and what the bus raises."""

    command_bytes = 2

    def send(self, command: int, *arguments: int) -> None:
        data = command.to_bytes(self.command_bytes, "big")
        for argument in arguments:
            word = argument.to_bytes(2, "big")
            data += word + bytes([crc8(word)])
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.writeto(self._address, data)

    def ask(self, command: int, count: int) -> bytes:
        """The answer of `count` words as it came over the wire, its CRCs checked."""
        answer = self._raw(command, count)
        words(answer, count)
        return answer

    def first(self, command: int, count: int, model: str) -> bytes:
        """As `ask`, for the first question: the same nonsense twice is another chip (`NeedsHuman`)."""
        answer = self._raw(command, count)
        try:
            words(answer, count)
        except RetryNow:
            if self._raw(command, count) == answer:
                raise NeedsHuman(
                    f"What answers at {self.where} is no {model} (it said {answer[:9].hex()}): "
                    "check part, address and wiring."
                ) from None
            raise
        return answer

    def still_there(self, gone: NoAnswer, command: int) -> DriverError:
        """What one missed acknowledge was, by asking a harmless `command` of one word."""
        try:
            self._raw(command, 1)
        except DriverError:
            return gone
        return RetryNow(f"{self.where} missed a transfer but answers again.")

    def _raw(self, command: int, count: int) -> bytes:
        self.send(command)
        self.wait(ANSWER_S)
        answer = bytearray(3 * count)
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.readfrom_into(self._address, answer)
        return bytes(answer)


class ByteCommands(Commands):
    """Likewise, with commands of one byte."""

    command_bytes = 1


class Rhythm:
    """The measurements of a `part` that makes one every so often by itself.

    `ready` is the command whose one-word answer has a bit of `mask` set when there is a new measurement,
    `fetch` the one that gives its `count` words. Samples of the first `settling_s` are flagged.
    """

    def __init__(
        self, part: Commands, clock: Clock, ready: int, mask: int, fetch: int, count: int, settling_s: float
    ) -> None:
        self._part, self._clock = part, clock
        self._ready, self._mask = ready, mask
        self._fetch, self._count = fetch, count
        self._settling_s = settling_s
        self._interval_s = 0.0
        self._started_ns: int | None = None
        self._newest_ns: int | None = None  # when a new measurement was last seen

    def start(self, interval_s: float) -> None:
        """The part has just been told to measure. Raises `InstrumentGone` when that came too late."""
        self._part.left_s()
        self._interval_s = interval_s
        self._started_ns, self._newest_ns = self._clock.boottime_ns(), None

    def stop(self) -> None:
        self._started_ns = None

    def take(self, deadline_s: float) -> tuple[bytes, Flag]:
        """The newest measurement as it came over the wire, waiting for it if need be."""
        if self._started_ns is None:
            raise InstrumentGone(f"{self._part.where} is not open: open it.")
        self._part.within(deadline_s)
        try:
            self._await(self._started_ns)
            answer = self._part.ask(self._fetch, self._count)
        except NoAnswer as gone:
            raise self._part.still_there(gone, self._ready) from gone
        self._part.left_s()  # a value that comes after its deadline has no known moment
        settling = self._since_s(self._started_ns) < self._settling_s
        return answer, Flag.WARMING_UP if settling else Flag(0)

    def _await(self, started_ns: int) -> None:
        while not words(self._part.ask(self._ready, 1), 1)[0] & self._mask:
            silent_s = self._since_s(self._newest_ns or started_ns)
            if silent_s > _OVERDUE * self._interval_s:
                raise InstrumentGone(
                    f"{self._part.where} has measured nothing for {silent_s:.0f} s: it lost power or was "
                    "exchanged; open it again."
                )
            if self._part.left_s() <= 2 * _POLL_S:
                if self._newest_ns is None:
                    after_s = max(_POLL_S, self._interval_s - silent_s)
                    raise RetryLater(f"{self._part.where} is making its first measurement.", after_s)
                raise DropSample(
                    f"{self._part.where} has nothing new: it measures every {self._interval_s:g} s; "
                    "make interval_s or deadline_s longer."
                )
            self._part.wait(_POLL_S)
        self._newest_ns = self._clock.boottime_ns()

    def _since_s(self, boottime_ns: int) -> float:
        return (self._clock.boottime_ns() - boottime_ns) / 1e9
