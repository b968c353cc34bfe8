"""EZO circuits and the GMC-320: vectors, the drivers on parts behind a real tty, and every disturbance."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import catalogue, ezo, gmc320
from drivers.contract import Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryNow
from hardware_sim.parts import catalogue as parts
from hardware_sim.worlds import ClimateWorld
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.dust_rig import Faulty, Rig, Still, rig
from tests.unit.drivers.instant_line import InstantClock

WATER = {"ph": 7.123, "conductivity_uScm": 466.4, "do_mgL": 8.25, "water_degC": 12.345, "cpm": 18.0}
RIGHT = {"ezo-ph": 7.123, "ezo-ec": 0.04664, "ezo-do": 0.00825, "ezo-rtd": 12.345}
FIRMWARE = {
    "ezo-ph": "2.12",
    "ezo-ec": "2.16",
    "ezo-do": "2.10",
    "ezo-rtd": "2.11",
    "gmc320": "F48800671C42C2",
}
ALL = (*RIGHT, "gmc320")
NOISE = random.Random(5).randbytes(200).replace(b"\r", b"\n")


@pytest.fixture
def make():
    """make(name, **of the part): a rig in the water, in virtual time only; `plugged` is its port."""

    def made(name, **options):
        clock, world = InstantClock(), Still()
        world.air = dict(WATER)
        part_of = parts.maker(name)
        assert part_of
        part = part_of(world, clock, **options)
        clock.wait(90.0)
        faulty = Faulty(part)
        line, port = clock.line(faulty)
        plugged: Any = port
        return Rig(clock, world, part, faulty, plugged, catalogue.create(name, line, None, clock))

    return made


@pytest.fixture
def on_a_tty(tmp_path):
    """The same behind a real pseudo-terminal."""
    open_rigs = []

    def made(name, **options):
        context = rig(name, tmp_path, **options)
        found = context.__enter__()
        found.world.air = dict(WATER)
        open_rigs.append(context)
        return found

    yield made
    for context in open_rigs:
        context.__exit__(None, None, None)


def _is_right(name, values):
    if name == "gmc320":
        return 4 <= values[0] <= 40
    return values == pytest.approx((RIGHT[name],), abs=1e-9)


# Recordings


def test_every_vector_gives_its_published_value_or_is_no_reading(vectors):
    seen: Counter[str] = Counter()
    for name, vector in vectors.items():
        if not name.startswith(("ezo", "gmc320")):
            continue
        data = bytes.fromhex(vector["bytes_hex"])
        expected = vector["expected"]
        match name:
            case "ezo_ph_i2c_reply":  # its text is what UART says too
                line = data[1:].rstrip(b"\0").decode()
                form = ezo.value_form(ezo.PROBES["ph"], 1)
                assert ezo.decode(ezo.PROBES["ph"], form, line, "it").values == (float(expected["text"]),)
                seen["EZO reading decoded"] += 1
            case "ezo_ec_all_outputs":
                probe = ezo.PROBES["ec"]
                sample = ezo.decode(probe, ezo.value_form(probe, 4), data.decode().rstrip("\r"), "it")
                assert sample.values[0] == pytest.approx(expected["ec_us_cm"] * 1e-4)
                with pytest.raises(RetryNow):
                    ezo.decode(probe, ezo.value_form(probe, 1), data.decode().rstrip("\r"), "it")
                seen["EZO reading decoded"] += 1
            case "gmc320_cpm":
                assert gmc320.cpm(data) == expected["cpm"]
                seen["GMC counts decoded"] += 1
            case "gmc320_volt" | "gmc320_datetime":
                seen["GMC answer to a question that is not asked"] += 1
            case _:
                for probe in ezo.PROBES.values():
                    with pytest.raises(RetryNow, match="is no reading"):
                        ezo.decode(probe, ezo.value_form(probe, 1), data.decode().rstrip("\r"), "it")
                seen["EZO refused: an answer to another question"] += 1
    print("\nEZO, GMC vectors:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert seen["EZO reading decoded"] == 2
    assert seen["GMC counts decoded"] == 1


def test_recorded_answers_of_counters():
    folder = DATA / "geiger_gmc"
    if not folder.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    recorded = json.loads((folder / "gmc320_commands.json").read_text())
    replies = {name: bytes.fromhex(text) for name, text in recorded["replies_hex"].items()}
    decoded = recorded["decoded"]
    assert gmc320.version_of(replies["<GETVER>>"], "it") == decoded["get_version"]
    assert replies["<GETSERIAL>>"].hex() == decoded["get_serial"]
    assert gmc320.cpm(replies["<GETCPM>>"]) == decoded["get_cpm"]
    beating = json.loads((folder / "gmc500_heartbeat_on.json").read_text())
    with pytest.raises(NeedsHuman, match="GMC-500, which does not speak GQ-RFC1201"):
        gmc320.version_of(bytes.fromhex(beating["<GETVER>>"]), "it")
    print(
        "\nGMC: 3 of 7 GMC-320 answers are ours and agree; the GMC-500+ among heartbeats is refused by name"
    )


@pytest.mark.parametrize("command", ["<GETVER>>", "<GETSERIAL>>", "<GETCPM>>"])
def test_recorded_answers_among_heartbeats_are_never_counts(make, command):
    path = DATA / "geiger_gmc" / "gmc500_heartbeat_on.json"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    mixed = bytes.fromhex(json.loads(path.read_text())[command])
    found = make("gmc320")
    found.warm()
    found.faulty.spoil = lambda number, message: [mixed]
    with pytest.raises(RetryNow, match="mixed its answers"):
        found.driver.read(3.0)


def test_a_counter_of_the_other_protocol_is_for_a_human(make):
    found = make("gmc320", version=b"GMC-500+Re 2.22")
    with pytest.raises(NeedsHuman, match="is a GMC-500"):
        found.driver.open()


# What they measure


def _warm(found, more: int = 3):
    """As the sampler does: until a circuit is told not to, it speaks by itself, and so into an answer."""
    try:
        return found.warm()
    except RetryNow:
        if not more:
            raise
        return _warm(found, more - 1)


@pytest.mark.parametrize("name", ALL)
def test_identity_and_values_are_those_of_the_part(on_a_tty, name):
    found = on_a_tty(name)
    identity = _warm(found)
    assert identity.serial == FIRMWARE[name]
    assert identity.kind == ("serial" if name == "gmc320" else "firmware")
    sample = found.driver.read(3.0)
    assert _is_right(name, sample.values)
    assert (sample.flags, bool(sample.raw)) == (0, True)


def test_counts_are_the_worlds_in_the_mean(make):
    found = make("gmc320")
    found.warm()
    counts = []
    for _ in range(40):
        found.clock.wait(60.0)
        counts.append(found.driver.read(3.0).values[0])
    mean = sum(counts) / len(counts)
    assert mean == pytest.approx(18.0, abs=4 * (18.0 / len(counts)) ** 0.5)
    assert len(set(counts)) > 5


def test_the_climate_has_what_they_measure():
    values = ClimateWorld(1).at(10**15)
    assert {"ph", "conductivity_uScm", "do_mgL", "water_degC", "cpm"} <= values.keys()
    for hours in range(0, 2000, 7):
        values = ClimateWorld(1).at(hours * 3600 * 10**9)
        assert 7.0 < values["ph"] < 8.5
        assert 6.0 < values["do_mgL"] < 16.0
        assert 10.0 < values["cpm"] < 30.0


# EZO's own ways


def test_a_circuit_that_speaks_by_itself_is_silenced_once_and_nothing_else_is_written(make):
    found = make("ezo-ph")
    written: list[bytes] = []
    heard = found.part.heard

    def listening(data):
        written.append(data)
        return heard(data)

    found.part.heard = listening
    found.driver.open()
    found.driver.close()
    found.driver.open()
    found.driver.read(3.0)
    said = b"".join(written).split(b"\r")[:-1]
    assert said.count(b"C,0") == 1
    assert set(said) == {b"i", b"C,?", b"C,0", b"R"}
    assert found.part.continuous == 0


def test_a_circuit_that_speaks_by_itself_again_is_opened_again(make):
    found = make("ezo-do")
    found.driver.open()
    found.part.continuous = 1
    sample, errors = found.recover()
    assert _is_right("ezo-do", sample.values), errors
    for _ in range(3):
        sample, errors = found.recover()
        assert _is_right("ezo-do", sample.values), errors
    found.driver.open()
    assert found.part.continuous == 0


def test_without_response_codes_a_pause_ends_the_answer(make):
    found = make("ezo-rtd", codes=False, continuous=0)
    found.driver.open()
    assert found.driver.read(3.0).values == (12.345,)


def test_settings_that_change_what_a_number_means_are_for_a_human(make):
    found = make("ezo-rtd")
    found.part.scale = "F"
    with pytest.raises(NeedsHuman, match="degrees Celsius: send it S,c"):
        found.driver.open()
    found = make("ezo-do")
    found.part.outputs = ("%",)
    with pytest.raises(NeedsHuman, match="send it O,mg,1"):
        found.driver.open()
    found.part.outputs = ()
    with pytest.raises(NeedsHuman, match="send it O,mg,1"):
        found.driver.open()
    found.part.outputs = ("mg", "%")
    found.driver.open()
    assert found.driver.read(3.0).values == (0.00825,)
    found = make("ezo-ec")
    found.part.outputs = ("EC", "TDS", "S", "SG")
    found.driver.open()
    assert found.driver.read(3.0).values[0] == pytest.approx(0.04664)


def test_another_circuit_is_for_a_human(make):
    found = make("ezo-ec")
    line, _ = found.clock.line(found.part)
    with pytest.raises(NeedsHuman, match="is an EZO-EC"):
        ezo.ph(line, None, found.clock).open()


def test_without_a_probe_there_is_no_temperature(make):
    found = make("ezo-rtd")
    found.driver.open()
    del found.world.air["water_degC"]
    with pytest.raises(DropSample, match="finds no probe"):
        found.driver.read(3.0)


def test_a_bad_supply_voids_a_reading_and_an_event_does_not(make):
    found = make("ezo-ph")
    found.driver.open()
    found.faulty.spoil = lambda number, message: [b"*UV\r" + message]
    with pytest.raises(DropSample, match=r"less than 3\.1 V"):
        found.driver.read(3.0)
    found.faulty.spoil = lambda number, message: [b"*RE\r" + message]
    assert found.driver.read(3.0).values == (7.123,)


@pytest.mark.parametrize(
    ("uScm", "line"),
    [
        (0.0, "0.00"),
        (99.99, "99.99"),
        (466.44, "466.4"),
        (1412.6, "1413"),
        (12_884.0, "12880"),
        (241_234.0, "241200"),
    ],
)
def test_conductivity_in_every_resolution(make, uScm, line):
    found = make("ezo-ec")
    found.driver.open()
    found.world.air["conductivity_uScm"] = uScm
    sample = found.driver.read(3.0)
    assert sample.raw == line.encode()
    assert sample.values[0] == pytest.approx(float(line) * 1e-4)


# The counter's own ways


def test_a_heartbeat_is_silenced_and_never_becomes_counts(make):
    found = make("gmc320")
    found.part.heartbeat = True
    found.warm()
    assert not found.part.heartbeat
    for _ in range(3):
        found.part.heartbeat = True
        found.clock.wait(5.0)
        sample, errors = found.recover()
        assert _is_right("gmc320", sample.values), errors


def test_the_first_minute_is_flagged(make):
    found = make("gmc320")
    found.driver.open()
    assert found.driver.read(3.0).flags == Flag.WARMING_UP
    found.clock.wait(60.0)
    assert found.driver.read(3.0).flags == 0


# Disturbances


def _flip(message, number):
    bit = 37 * (number + 1) % (8 * len(message))
    return message[: bit // 8] + bytes([message[bit // 8] ^ 1 << bit % 8]) + message[bit // 8 + 1 :]


SPOIL = {
    "silence": lambda message, number: [b""],
    "one byte short": lambda message, number: [message[:-1]],
    "first byte lost": lambda message, number: [message[1:]],
    "bit flip": lambda message, number: [_flip(message, number)],
    "garbage before": lambda message, number: [NOISE + message],
    "garbage only": lambda message, number: [NOISE],
    "split": lambda message, number: [message[:1], message[1:]],
    "twice": lambda message, number: [message + message],
    "zeros": lambda message, number: [bytes(len(message))],
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("fault", SPOIL)
def test_a_fault_on_each_message_in_turn_ends_in_a_named_error_and_recovery(make, name, fault):
    """Messages of opening and of reading; what is wrong and still looks right is what no checksum finds."""
    found = make(name)
    found.warm()
    outcomes: Counter[str] = Counter()
    index = 0
    while True:
        found.driver.close()
        found.faulty.said = 0
        found.faulty.spoil = lambda number, message, index=index: (
            SPOIL[fault](message, number) if number == index else [message]
        )
        sample, errors = found.recover()
        if not _is_right(name, sample.values):
            assert name.startswith("ezo"), (index, sample)
            assert fault in ("bit flip", "first byte lost"), (index, sample)
            outcomes["a digit turned into another: no checksum"] += 1
        outcomes[" ".join(errors)] += 1
        if found.faulty.said <= index:
            break
        index += 1
    print(f"\n{name}, {fault}: {dict(outcomes)}")
    assert index >= 4


@pytest.mark.parametrize("name", ["ezo-ph", "gmc320"])
def test_pulled_out_is_gone_and_plugged_in_again_it_is_the_same(on_a_tty, name):
    found = on_a_tty(name)
    before = found.warm()
    found.plugged.unplug()
    for act in (lambda: found.driver.read(0.5), found.driver.open):
        with pytest.raises(InstrumentGone):
            act()
    found.plugged.plug()
    assert found.driver.open() == before
    assert _is_right(name, found.driver.read(3.0).values)


@pytest.mark.parametrize("name", ["ezo-ph", "gmc320"])
def test_a_power_cut_is_noticed_and_survived(make, name):
    found = make(name)
    before = found.warm()
    found.world.power = False
    with pytest.raises(InstrumentGone, match="did not answer"):
        found.driver.read(1.0)
    found.driver.close()  # what is gone is closed and opened again
    found.world.power = True
    found.clock.wait(2.0)
    sample, _ = found.recover()
    assert _is_right(name, sample.values)
    assert found.driver.open() == before


@pytest.mark.parametrize("name", ["ezo-do", "gmc320"])
def test_a_line_that_never_falls_silent_ends_at_the_deadline(make, name):
    noise = random.Random(9)
    found = make(name)
    found.warm()
    found.faulty.due = lambda: noise.randbytes(500)
    began_ns = found.clock.boottime_ns()
    said = "no answer of an EZO" if name == "ezo-do" else "mixed its answers"
    with pytest.raises((InstrumentGone, RetryNow), match=said):
        found.driver.read(1.0)
    assert found.clock.boottime_ns() - began_ns < 1.5e9


@pytest.mark.parametrize("name", ALL)
def test_reading_what_is_not_open_says_so(make, name):
    found = make(name)
    with pytest.raises(InstrumentGone, match="not open"):
        found.driver.read(1.0)
    found.driver.open()
    found.driver.close()
    found.driver.close()
    with pytest.raises(InstrumentGone, match="not open"):
        found.driver.read(1.0)


# Decoding anything


@given(st.sampled_from(sorted(ezo.PROBES)), st.text(max_size=80), st.integers(1, 4))
def test_any_line_is_a_reading_or_a_driver_error(kind, line, count):
    probe = ezo.PROBES[kind]
    try:
        sample = ezo.decode(probe, ezo.value_form(probe, count), line, "it")
    except DriverError:
        return
    assert re.match(r"-?\d", line)
    assert abs(sample.values[0] or 0.0) < 1e6


@given(st.binary(max_size=64))
def test_any_version_is_a_model_or_a_driver_error(answer):
    try:
        assert gmc320.version_of(answer, "it").startswith("GMC-")
    except DriverError:
        return


class Babbler:
    """Answers every question with the next of `answers`."""

    def __init__(self, answers):
        self.answers = list(answers)

    def heard(self, data):
        return self.answers.pop(0) if self.answers else b""

    def due(self):
        return b""


@pytest.mark.parametrize("seed", range(30))
def test_any_answers_end_in_an_identity_or_a_driver_error(seed):
    rng = random.Random(seed)
    pieces = [
        b"\r",
        b"*OK\r",
        b"*ER\r",
        b"?I,pH,2.1\r",
        b"?C,0\r",
        b"7.123\r",
        b"GMC-320Re 4.26",
        b"\0\x10",
        b"\xff",
    ]
    for driver in (ezo.ph, gmc320.GMC320):
        clock = InstantClock()
        line, _ = clock.line(Babbler(b"".join(rng.choices(pieces, k=rng.randrange(5))) for _ in range(8)))
        instrument = driver(line, None, clock)
        for act in (instrument.open, lambda instrument=instrument: instrument.read(0.5)):
            with contextlib.suppress(DriverError):
                act()
        assert clock.boottime_ns() < 80e9
