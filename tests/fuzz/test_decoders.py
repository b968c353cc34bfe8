"""Without the fuzzer: every decoder with what it starts from, and with what it once found."""

from __future__ import annotations

import random

import pytest

from drivers import catalogue
from drivers.errors import DriverError
from tests.fuzz import decoders
from tests.fuzz.seeds import SEEDS

FOUND: tuple[tuple[str, bytes], ...] = ()


@pytest.mark.parametrize("name", decoders.DECODERS)
def test_disturbed_seeds_and_noise_raise_nothing_but_driver_errors(name):
    rng = random.Random(name)
    seeds = [data for seeded, data in (*SEEDS, *FOUND) if seeded == name]
    spoilt = []
    for data in seeds:
        at = rng.randrange(len(data))
        spoilt += [data, data[:at], data[:at] + rng.randbytes(1) + data[at + 1 :], data * 2]
    for data in (b"", *spoilt, *(rng.randbytes(rng.randrange(80)) for _ in range(10))):
        decoders.run(decoders.input_for(name, data))


@pytest.mark.parametrize("name", sorted({seeded for seeded, _ in SEEDS}))
def test_at_least_one_seed_of_each_kind_is_taken(name):
    refused = 0
    seeds = [data for seeded, data in SEEDS if seeded == name]
    for data in seeds:
        try:
            decoders.DECODERS[name](data)
        except DriverError:
            refused += 1
    assert refused < len(seeds)


def test_every_driver_is_aimed_at():
    aimed = "".join(f"{name}-" for name in decoders.DECODERS)
    assert [name for name in catalogue.known() if f"{name}-" not in aimed] == []


def test_a_decoder_that_raises_anything_else_is_a_finding(monkeypatch):
    monkeypatch.setitem(decoders.DECODERS, "gnss", lambda data: 1 // len(data))
    with pytest.raises(ZeroDivisionError):
        decoders.run(decoders.input_for("gnss", b""))


@pytest.mark.parametrize(
    "name",
    [
        "bme280",
        "dsmr-driver-sealed",
        "ezo-do-by_question",
        "ezo-rtd-by_question",
        "gmc320-by_question",
        "gnss-driver-sealed",
        "hdc1080-driver",
        "mhz19b-winsen",
        "pms5003-plantower",
        "pzem-004t-modbus",
        "scd30-words",
        "scd41-words",
        "sdm230-modbus",
        "sds011-nova",
        "senseair-s8-modbus",
        "sht4x-words",
    ],
)
def test_whole_drivers_come_as_far_as_a_sample(name):
    data = next(data for seeded, data in SEEDS if seeded == name)
    assert decoders.DECODERS[name](data)
