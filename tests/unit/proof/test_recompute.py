"""Raw evidence (§4.10) against register dumps of real chips and other people's results for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from proof import recompute
from proof.senml import Measured
from tests.proof_samples import BME280, BURST, DESCRIPTOR, TRIM, VALUES, reading

VECTORS = Path(__file__).parents[4] / "shared/data/vectors.json"


def recorded() -> list[dict]:
    vectors = json.loads(VECTORS.read_text()) if VECTORS.exists() else []
    return [v for v in vectors if v["sensor"] == "BME280" and v.get("recomputed")]


def burst_of(raw: dict[str, int]) -> bytes:
    """Registers 0xf7-0xfe that hold these conversions."""
    pressure, temperature = ((raw[name] << 4).to_bytes(3, "big") for name in ("adc_P", "adc_T"))
    return pressure + temperature + raw["adc_H"].to_bytes(2, "big")


@pytest.mark.skipif(
    not VECTORS.exists(), reason="the recordings lie beside the repository, in ../shared/data"
)
def test_the_recorded_chips_give_the_published_results():
    chips = recorded()
    assert len(chips) >= 3
    for vector in chips:
        registers = vector["bytes_hex"]
        trim = bytes.fromhex(registers["reg_0x88_to_0xA1"] + registers["reg_0xE1_to_0xE7"])
        expected = vector["recomputed"]["double"]
        values = recompute.bme280(trim, burst_of(vector["raw"]))
        assert values["temperature"] == pytest.approx(expected["T"], abs=1e-5), vector["name"]
        assert values["pressure"] == pytest.approx(expected["P"], abs=1e-3), vector["name"]
        assert values["humidity"] == pytest.approx(expected["H"], abs=1e-5), vector["name"]
        if registers["reg_0xF7_on"]:
            assert bytes.fromhex(registers["reg_0xF7_on"]) == burst_of(vector["raw"])


def test_a_real_dump_gives_the_values_its_driver_published():
    # periph/devices, bmxx80/bmx280_test.go: 23.720 Cel, 100.943 kPa, 65.31 %RH.
    values = recompute.bme280(TRIM, BURST)
    assert {name: round(value, 2) for name, value in values.items()} == {
        "temperature": 23.72,
        "pressure": 100942.97,
        "humidity": 65.31,
    }


def test_a_channel_that_is_not_published_is_not_compared():
    without_humidity = BURST[:6] + bytes.fromhex("8000")
    assert [*recompute.mismatches(DESCRIPTOR, [reading(values=VALUES[:2], raw=without_humidity)])] == []
    assert len([*recompute.mismatches(DESCRIPTOR, [reading(raw=without_humidity)])]) == 1


@pytest.mark.parametrize(
    ("trim", "raw"), [(TRIM[:-1], BURST), (TRIM, BURST[:-1]), (b"", b""), (TRIM + b"x", BURST)]
)
def test_words_of_another_length_give_nothing(trim, raw):
    assert recompute.bme280(trim, raw) == {}


@pytest.mark.parametrize("trim", [bytes(33), b"\xff" * 33, b"\x80" * 33, b"\x7f" * 33])
@pytest.mark.parametrize("raw", [bytes(8), b"\xff" * 8, b"\x7f" * 8])
def test_no_trim_and_no_words_make_the_recomputation_fail(trim, raw):
    assert all(value == value for value in recompute.bme280(trim, raw).values())


def test_values_agree_within_the_resolution_they_are_published_in():
    assert mismatches(*VALUES) == []
    assert mismatches(Measured("temperature", "Cel", 23)) == ["bme280-76/temperature"]
    assert mismatches(Measured("pressure", "Pa", 100945)) == ["bme280-76/pressure"]


def test_a_value_the_words_cannot_give_does_not_agree():
    assert mismatches(Measured("dew-point", "Cel", 17)) == ["bme280-76/dew-point"]


@pytest.mark.parametrize(
    "instrument",
    [
        replace(BME280, calibration_hash=bytes(32)),
        replace(BME280, driver="another"),
        replace(BME280, name="another"),
    ],
    ids=["calibrated", "of an unknown driver", "not described"],
)
def test_an_instrument_that_cannot_be_recomputed_is_not_compared(instrument):
    wrong = reading(values=(Measured("temperature", "Cel", 99),), raw=BURST)
    assert [*recompute.mismatches(replace(DESCRIPTOR, instruments=(instrument,)), [wrong])] == []


def mismatches(*values: Measured) -> list[str]:
    found = recompute.mismatches(DESCRIPTOR, [reading(values=values, raw=BURST), reading(1)])
    return [sentence.split()[0] for sentence in found]
