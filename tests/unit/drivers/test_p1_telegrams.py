"""P1 telegrams: recorded ones of several countries, flipped bits, and anything else."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import p1
from drivers.errors import DriverError, DropSample
from drivers.framing import Frames
from hardware_sim.parts.dsmr import DSMR as Meter
from hardware_sim.parts.dsmr import crc16, even_parity
from tests.unit.drivers.conftest import DATA
from tests.unit.drivers.p1_recordings import CONTENTS, ENERGIES, RECORDED, found, named, recording


def outcome(data: bytes) -> dict[str, float] | str:
    """The values of the one telegram in `data`, or why there are none, looked at independently."""
    telegrams = found(data)
    if telegrams:
        try:
            return named(CONTENTS.values(telegrams[0]))
        except DropSample as error:
            return "a heat meter: says nothing of electricity" if "nothing of el" in error.sentence else "?"
    if not data.startswith(b"/"):
        return "begins in the middle"
    message, _, said = data.partition(b"!")
    if said.strip():
        assert crc16(message + b"!") != int(said.strip(), 16)
        return "CRC wrong"
    assert not re.fullmatch(rb"[ -~\r\n]*", message)
    return "no CRC, and a byte that is not printable in its identification"


def test_every_recorded_telegram_decodes_to_its_values_or_is_refused_for_its_reason():
    counts: Counter[str] = Counter()
    for name, expected in RECORDED.items():
        got = outcome(recording(name))
        if isinstance(expected, str):
            assert isinstance(got, str), name
            assert expected.startswith(got), name
            counts[f"refused, {expected}"] += 1
        else:
            assert got == expected, name
            counts["decoded"] += 1
    print("\nP1 telegrams:", *(f"{what}: {count}" for what, count in counts.items()), sep="\n  ")
    recorded = {path.name for path in (DATA / "dsmr").iterdir()}
    assert recorded == set(RECORDED)
    assert counts["decoded"] == 8


def test_a_crc_without_its_leading_zero_is_taken():
    [telegram] = found(recording("dsmr_parser_telegram_unpadded_crc.p1"))
    assert telegram.endswith(b"!B9F\r\n")
    assert p1.header_of(telegram) == "NWA-WARMTELINK"


def test_what_became_of_an_escaped_backslash_is_all_that_is_wrong_with_the_v2_recording():
    mended = recording("smeterd_normal_packet.p1").replace(b"\x02", b"\\2")
    values = outcome(mended)
    assert values == dict(zip(ENERGIES, (608.4, 490.342, 0.001, 0.0), strict=True)) | {
        "power-import": 1510.0,
        "power-export": 0.0,
    }


def test_a_whole_telegram_behind_a_broken_start_is_found_and_halves_never_join():
    whole = recording("dsmr_parser_telegram_v2_2.p1")
    for broken in (recording("smeterd_broken_packet.p1"), whole[:200], whole[3:], b"!" * 50, b"/" * 50):
        assert found(broken + whole) == [whole], broken[:20]
        assert found(whole + broken + whole) == [whole, whole], broken[:20]


def test_a_telegram_that_lost_its_crc_is_refused():
    for name in ("dsmr_parser_telegram_v5.p1", "dsmr_parser_telegram_v4_2.p1"):
        data = recording(name)
        assert found(data[: data.index(b"!") + 1] + b"\r\n") == []


def test_every_flipped_bit_of_a_telegram_with_crc_is_noticed():
    data = recording("dsmr_parser_telegram_unpadded_crc.p1")
    right = CONTENTS.identity(data)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        for telegram in found(bytes(flipped)):  # digits of the CRC may become small letters
            assert telegram.upper() == data.upper(), bit
            assert CONTENTS.identity(telegram) == right, bit


def test_every_flipped_bit_of_a_telegram_with_parity_is_noticed():
    data = recording("dsmr_parser_telegram_v2_2.p1")
    sent = even_parity(data)
    assert p1.seven_bits(sent) == data
    for bit in range(8 * len(sent)):
        flipped = bytearray(sent)
        flipped[bit // 8] ^= 1 << bit % 8
        assert found(p1.seven_bits(bytes(flipped))) == [], bit


@pytest.mark.parametrize(
    "line", ["1-0:1.7.0(00.244*kWh)", "1-0:1.7.0(00.2x4*kW)", "1-0:1.7.0()", "1-0:1.7.0(1e9*kW)"]
)
def test_a_value_that_is_no_number_with_its_unit_voids_the_sample(line):
    [telegram] = found(f"/ABC5x\r\n\r\n{line}\r\n!\r\n".encode())
    with pytest.raises(DropSample, match="for power-import"):
        CONTENTS.values(telegram)


def test_the_equipment_identifier_itself_is_never_given():
    for name, values in RECORDED.items():
        for telegram in found(recording(name)):
            equipment = re.search(rb"0-0:96\.1\.(?:1|255)\*?\d*\((\w+)\)", telegram)
            identity = CONTENTS.identity(telegram)
            assert equipment
            assert equipment[1].decode() not in repr(identity)
            assert (identity.kind, len(identity.serial)) == ("equipment-id-sha256", 64), values


# Decoding anything


def test_a_megabyte_of_garbage_costs_no_telegram_behind_it():
    noise = random.Random(4).randbytes(1_000_000)
    data = recording("dsmr_parser_telegram_v5.p1")
    frames = Frames(p1.FORMAT)
    found_all = [
        telegram for at in range(0, len(noise), 4096) for telegram in frames.feed(noise[at : at + 4096])
    ]
    assert found_all == []
    assert frames.feed(data + data) == [data, data]


PIECES = st.sampled_from(
    [
        "/ABC5x\r\n",
        "\r\n",
        "1-0:1.7.0",
        "(",
        ")",
        "00.244*kW",
        "!",
        "!\r\n",
        "!6EEE\r\n",
        "0-0:96.1.1(41)\r\n",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=20).map(lambda data: data.decode("latin-1")), max_size=30))
def test_any_telegram_is_values_or_a_driver_error(pieces):
    message = "".join(pieces).encode("latin-1")
    body = b"/X\r\n" + message.replace(b"/", b"").replace(b"!", b"") + b"!"
    told = [*found(message), *found(body + b"%04X\r\n" % crc16(body))]
    assert len(told) >= 1  # with the right CRC it is a telegram whatever it says
    for telegram in told:
        assert len(CONTENTS.identity(telegram).model) <= 64
        try:
            values = CONTENTS.values(telegram)
        except DriverError:
            continue
        assert all(value is None or abs(value) < 1e14 for value in values)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=8))
def test_any_bytes_before_a_telegram_cost_at_most_that_one(data, cuts):
    whole = b"/ABC5x\r\n\r\n1-0:1.7.0(00.244*kW)\r\n!\r\n"
    frames = Frames(p1.FORMAT)
    said, got = data + whole + whole, []
    for size in cuts:
        got += frames.feed(said[:size])
        said = said[size:]
    got += frames.feed(said)
    assert got[-1] == whole


def test_the_simulated_meters_bytes_are_those_of_the_standard():
    """Against the driver's own parity and CRC, and a recorded CRC."""
    data = recording("dsmr_parser_telegram_v5.p1")
    assert crc16(data[: data.index(b"!") + 1]) == 0x6EEE == p1.crc16(data[: data.index(b"!") + 1])
    assert even_parity(b"/!") == b"\xaf\x21"
    assert Meter.__doc__
