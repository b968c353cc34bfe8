"""MH-Z19B and SenseAir S8: recorded frames, the drivers on parts behind a real tty, and every disturbance."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import mhz19b, senseair_s8
from drivers.contract import Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from drivers.framing import Frames
from drivers.serial_line import SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.office import OfficeWorld
from hardware_sim.parts.mhz19b import MHZ19B as ChipMHZ
from hardware_sim.parts.senseair_s8 import SenseAirS8 as ChipS8
from hardware_sim.parts.senseair_s8 import crc16
from hardware_sim.pty_line import PtyLine
from tests.unit.drivers.conftest import DATA

S = 10**9
MINUTES_S = 200.0  # longer than both parts need to warm up


class Air:
    """One concentration until it is changed; None is a power cut."""

    def __init__(self, ppm=600.0):
        self.ppm = ppm

    def at(self, boottime_ns):
        return None if self.ppm is None else {"co2_ppm": self.ppm, "temperature_degC": 21.0}


@dataclass
class Disturbed:
    """A part whose answers are cut into what `spoil` gives; pieces follow one by one."""

    part: Any
    spoil: Callable[[bytes], list[bytes]] | None = None
    asked: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def heard(self, data):
        answer = self.part.heard(data)
        self.asked += 1
        if self.spoil is None or not answer:
            return answer
        first, *self.pieces = self.spoil(answer) or [b""]
        return first

    def due(self):
        return self.pieces.pop(0) if self.pieces else b""


@dataclass(frozen=True)
class Kind:
    driver: type
    chip: type
    serial: str
    kind: str
    opens: int


@dataclass
class Rig:
    clock: PacedClock
    chip: Any
    part: Disturbed
    line: PtyLine
    driver: mhz19b.MHZ19B

    def warm(self):
        """Open, and long enough ago."""
        identity = self.driver.open()
        self.clock.wait(MINUTES_S)
        return identity


KINDS = {
    "mhz19b": Kind(mhz19b.MHZ19B, ChipMHZ, "0502", "firmware", 2),
    "s8": Kind(senseair_s8.SenseAirS8, ChipS8, "0726A5C3", "serial", 1),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def make_rig(tmp_path):
    """make_rig(kind, world, **of the chip) -> Rig."""
    made: list[Rig] = []

    def make(kind, world=None, clock=None, **options):
        clock = clock or PacedClock(60 * S, 0)
        chip = kind.chip(world or Air(), clock, **options)
        part = Disturbed(chip)
        line = PtyLine(part, tmp_path / f"usb-co2-{len(made)}")
        driver = kind.driver(SerialLine(str(line.path), clock), None, clock)
        made.append(Rig(clock, chip, part, line, driver))
        return made[-1]

    yield make
    for rig in made:
        rig.driver.close()
        rig.line.close()


def _flipped(data, bit):
    mutable = bytearray(data)
    mutable[bit // 8] ^= 1 << bit % 8
    return bytes(mutable)


def _only(form, data):
    """The one frame in `data`, or None."""
    found = Frames(form).feed(data)
    assert len(found) <= 1
    return found[0] if found else None


# Recorded frames


def test_every_recorded_frame_gives_its_published_value_or_is_refused(vectors):
    seen: Counter[str] = Counter()
    for name, vector in vectors.items():
        expected = vector["expected"]
        if not name.startswith(("mhz19", "senseair")):
            continue
        if vector["bytes_hex"] is None:
            seen["MH-Z19 behaviour without bytes"] += 1  # tested below
            continue
        data = bytes.fromhex(vector["bytes_hex"])
        if name == "mhz19_read_cmd":
            assert data == mhz19b._with_check(bytes([0xFF, 1, 0x86, 0, 0, 0, 0, 0]))
            seen["MH-Z19 question agrees"] += 1
        elif "must" in expected:
            assert _only(mhz19b.answer_format(), data) is None, name
            seen["MH-Z19 refused: wrong checksum"] += 1
        elif name.startswith("mhz19"):
            assert mhz19b.decode(_only(mhz19b.answer_format(), data)) == (expected["co2_ppm"], False), name
            seen["MH-Z19 decoded"] += 1
        elif "command" in expected:
            assert senseair_s8.request(3, 1) == data
            seen["S8 question agrees"] += 1
        else:
            frame = _only(senseair_s8.answer_format(1), data)
            assert frame is not None
            word = int.from_bytes(frame[3:5], "big")
            assert word == next(v for k, v in expected.items() if k != "register"), name
            seen["S8 registers decoded"] += 1
    print("\nCO2:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert seen["MH-Z19 decoded"] == 2
    assert seen["S8 registers decoded"] == 3


def test_every_frame_of_the_recorded_mhz19b_gives_what_was_published():
    folder = DATA / "pm_co2_pypms"
    if not folder.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    lines = (folder / "MHZ19B.hexdump").read_text().splitlines()
    stream = b"".join(bytes.fromhex(line.split(":")[1].split("  ")[0]) for line in lines)
    published = [
        int(line.split(",")[1]) for line in (folder / "MHZ19B.csv").read_text().splitlines()[1:] if line
    ]
    frames = Frames(mhz19b.answer_format())
    decoded = [mhz19b.decode(frame) for frame in frames.feed(stream)]
    print(f"\nMHZ19B.hexdump: {len(decoded)} frames decoded, {frames.skipped} bytes skipped")
    assert decoded == [(ppm, False) for ppm in published]
    assert len(decoded) == 10
    assert frames.skipped == 0
    for at in range(1, len(stream)):  # from the middle on, behind garbage that looks like a start
        assert len(Frames(mhz19b.answer_format()).feed(b"\xff\x86\x00" + stream[at:])) == 10 - (at + 8) // 9


def test_the_protocols_own_example_of_four_registers():
    # TDE2067, "Read CO2 and status": IR1 to IR4 in one message
    assert senseair_s8.request(0, 4).hex() == "fe0400000004e5c6"
    frame = _only(senseair_s8.answer_format(4), bytes.fromhex("fe0408000000000000019016e6"))
    assert frame is not None
    assert senseair_s8.decode(frame) == (400, Flag(0))


# Behaviour


def test_identity(make_rig, kind):
    identity = make_rig(kind).driver.open()
    assert (identity.serial, identity.kind) == (kind.serial, kind.kind)


def test_a_clone_without_version_and_a_part_without_id_say_what_they_are(make_rig):
    clone = make_rig(KINDS["mhz19b"], version="").driver.open()
    assert (clone.serial, clone.kind) == ("", "none")
    blank = make_rig(KINDS["s8"], sensor_id=0).driver.open()
    assert (blank.serial, blank.kind) == ("1.16", "firmware")


def test_an_office_comes_back_as_recorded(make_rig, kind):
    path = DATA / "co2_occupancy_uci" / "datatraining.txt"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    world = OfficeWorld(path)
    clock = PacedClock(0, world.origin_ns)
    rig = make_rig(kind, world, clock)
    rig.warm()
    checked = 0
    for instant_ns in world.instants_ns[5:150]:
        clock.wait((instant_ns - clock.boottime_ns()) / 1e9 + 30.0)
        sample = rig.driver.read(2.0)
        assert sample.values[0] == round((world.at(instant_ns) or {})["co2_ppm"])
        assert not sample.flags
        checked += 1
    print(f"\n{kind.chip.__name__}: {checked} office minutes agree")


def test_a_part_that_has_just_got_power_gives_nothing_then_flagged_values_then_good_ones(make_rig, kind):
    rig = make_rig(kind)
    rig.driver.open()
    with pytest.raises(RetryLater, match="is starting") as caught:
        rig.driver.read(2.0)
    assert caught.value.after_s == 10.0
    rig.clock.wait(70.0)  # both have stopped making values up by now
    sample = rig.driver.read(2.0)
    assert (sample.values, sample.flags) == ((600.0,), Flag.WARMING_UP)
    rig.clock.wait(MINUTES_S)
    assert rig.driver.read(2.0).flags == 0


def test_a_power_cut_behind_the_adapter_starts_the_warm_up_again(make_rig, kind):
    air = Air()
    rig = make_rig(kind, air)
    rig.warm()
    assert rig.driver.read(2.0).flags == 0
    air.ppm = None
    with pytest.raises(InstrumentGone, match="did not answer"):
        rig.driver.read(0.5)
    air.ppm = 800.0
    with pytest.raises(RetryLater):
        rig.driver.read(2.0)
    rig.clock.wait(61.0)
    sample = rig.driver.read(2.0)
    assert (sample.values, sample.flags) == ((800.0,), Flag.WARMING_UP)


def test_no_co2_from_a_warm_part_is_no_sample(make_rig):
    rig = make_rig(KINDS["mhz19b"], Air(0.0))
    rig.warm()
    with pytest.raises(DropSample, match="measured nothing"):
        rig.driver.read(2.0)


def test_a_value_at_the_end_of_the_range_is_flagged(make_rig):
    for name, air, options, shown in (
        ("mhz19b", Air(3_000.0), {"range_ppm": 2_000}, 2_000.0),
        ("mhz19b", Air(9_000.0), {}, 5_000.0),
        ("s8", Air(12_000.0), {}, 10_000.0),
    ):
        rig = make_rig(KINDS[name], air, **options)
        rig.warm()
        sample = rig.driver.read(2.0)
        assert (sample.values, sample.flags) == ((shown,), Flag.CLAMPED)


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 4, 6])
def test_an_error_the_s8_reports_voids_its_value_and_is_named(make_rig, bit):
    rig = make_rig(KINDS["s8"])
    rig.warm()
    rig.chip.status = 1 << bit
    with pytest.raises(DropSample, match=r"reports: .* error\. Power-cycle it"):
        rig.driver.read(2.0)
    rig.chip.status = 0
    assert rig.driver.read(2.0).values == (600.0,)


def test_another_modbus_device_is_for_a_human_and_a_busy_one_is_not(make_rig):
    rig = make_rig(KINDS["s8"])
    rig.part.spoil = lambda answer: [senseair_s8.with_crc(b"\xfe\x84\x02")]
    with pytest.raises(NeedsHuman, match="it is no SenseAir S8"):
        rig.driver.open()
    rig.part.spoil = lambda answer: [senseair_s8.with_crc(b"\xfe\x84\x06")]
    with pytest.raises(RetryNow, match="exception 6"):
        rig.driver.open()


def test_reading_what_is_not_open_says_so(make_rig, kind):
    rig = make_rig(kind)
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)
    rig.driver.open()
    rig.driver.close()
    rig.driver.close()
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)


def test_nothing_but_questions_is_ever_written(make_rig, kind):
    rig = make_rig(kind)
    written: list[bytes] = []
    heard = rig.chip.heard

    def overheard(data):
        written.append(data)
        return heard(data)

    rig.chip.heard = overheard
    rig.warm()
    rig.driver.read(2.0)
    allowed = rb"\xff\x01[\x86\xa0]\x00{5}.|\xfe\x04.{6}"
    assert len(written) == kind.opens + 1
    assert all(re.fullmatch(allowed, data, re.DOTALL) for data in written)


# Disturbances: (what becomes of an answer, error or None where the right value must come)

SPOILED: dict[str, tuple[Callable[[bytes], list[bytes]], type[DriverError] | None]] = {
    "silence": (lambda answer: [], InstrumentGone),
    "one byte short": (lambda answer: [answer[:-1]], InstrumentGone),
    "first byte lost": (lambda answer: [answer[1:]], RetryNow),
    "garbage before": (lambda answer: [b"\x00\x17\xfe\x86\x04" + answer], None),
    "half an answer before": (lambda answer: [answer[:4] + answer], None),
    "a start before": (lambda answer: [answer[:1] + answer], None),
    "garbage behind": (lambda answer: [answer + b"\xff\x86\xfe"], None),
    "in single bytes": (lambda answer: [answer[i : i + 1] for i in range(len(answer))], None),
    "garbage only": (lambda answer: [b"\x55\xaa" * 20], RetryNow),
    "the echo of a question": (lambda answer: [b"\xff\x01\x86\x00\x00\x00\x00\x00\x79"], RetryNow),
}


@pytest.mark.parametrize("what", SPOILED)
def test_every_disturbed_answer_of_a_read_is_noticed_or_the_value_is_right(make_rig, kind, what):
    rig = make_rig(kind)
    rig.warm()
    rig.part.spoil, error = SPOILED[what]
    if error is None:
        assert rig.driver.read(2.0).values == (600.0,)
    else:
        with pytest.raises(error):
            rig.driver.read(2.0)
    rig.part.spoil = None
    assert rig.driver.read(2.0).values == (600.0,)


@pytest.mark.parametrize("what", SPOILED)
def test_every_disturbed_answer_of_an_open_is_noticed_or_harmless(make_rig, kind, what):
    identity = make_rig(kind).driver.open()
    for index in range(kind.opens):
        rig = make_rig(kind)
        spoil, error = SPOILED[what]
        first = rig.part.asked + index

        def once(answer, rig=rig, spoil=spoil, first=first):
            return spoil(answer) if rig.part.asked == first + 1 else [answer]

        rig.part.spoil = once
        try:
            opened = rig.driver.open()
        except (RetryNow, InstrumentGone):
            assert error is not None
            opened = rig.driver.open()
        assert opened == identity, (what, index)


def test_every_flipped_bit_of_an_answer_is_noticed(make_rig, kind):
    rig = make_rig(kind)
    rig.warm()
    answer = rig.driver.read(2.0).raw
    form = mhz19b.answer_format() if kind.driver is mhz19b.MHZ19B else senseair_s8.answer_format(4)
    assert _only(form, answer) == answer
    for bit in range(8 * len(answer)):
        assert _only(form, _flipped(answer, bit)) is None, bit
    rig.part.spoil = lambda answer: [_flipped(answer, 20)]
    with pytest.raises(RetryNow, match="is it the right driver"):
        rig.driver.read(0.5)


def test_pulled_out_is_gone_and_plugged_in_again_it_is_the_same(make_rig, kind):
    rig = make_rig(kind)
    before = rig.warm()
    rig.line.unplug()
    for act in (lambda: rig.driver.read(0.5), rig.driver.open):
        with pytest.raises(InstrumentGone):
            act()
    rig.line.plug()
    assert rig.driver.open() == before
    assert rig.driver.read(2.0).values == (600.0,)


def test_a_line_that_never_falls_silent_ends_at_the_deadline(make_rig, kind):
    rig = make_rig(kind)
    rig.warm()
    rig.part.spoil = lambda answer: [b"\x42"] * 10_000
    began_ns = rig.clock.boottime_ns()
    with pytest.raises(RetryNow, match="is it the right driver"):
        rig.driver.read(1.0)
    assert rig.clock.boottime_ns() - began_ns < 1.5 * S


# Decoding anything


@given(st.binary(max_size=64), st.integers(0, 9))
def test_any_bytes_before_a_frame_cost_no_frame_but_one(data, cut):
    right = bytes.fromhex("ff86026047000000d1")
    frames = Frames(mhz19b.answer_format())
    found = frames.feed(data[:cut]) + frames.feed(data[cut:] + right) + frames.feed(right)
    assert right in found
    for frame in found:
        ppm, _ = mhz19b.decode(frame)
        assert 0 <= ppm <= 0xFFFF


@given(st.binary(max_size=64))
def test_any_registers_are_a_value_or_a_driver_error(data):
    form = senseair_s8.answer_format(4)
    frames = Frames(form).feed(data)
    frames += Frames(form).feed(senseair_s8.with_crc(b"\xfe\x04\x08" + data[:8].ljust(8, b"\0")))
    assert frames
    for frame in frames:
        assert crc16(frame) == 0  # worked out in another way
        try:
            ppm, _ = senseair_s8.decode(frame)
        except DropSample:
            continue
        assert 0 <= ppm <= 0x7FFF


def test_paths_are_not_identities(make_rig, kind):
    rig = make_rig(kind)
    assert Path(rig.line.path).name not in rig.driver.open().serial
