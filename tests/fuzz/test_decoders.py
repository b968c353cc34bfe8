"""Without the fuzzer: every decoder with what it starts from, and with what it once found."""

from __future__ import annotations

import random

import pytest

from drivers import catalogue
from drivers.errors import DriverError
from tests.fuzz import decoders, parts
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


def test_every_serial_driver_is_aimed_at():
    own_targets = {"gnss", "dsmr"}  # as streams, which is what they decode
    aimed = {name.rpartition("-")[0] for name in decoders.DECODERS}
    assert set(catalogue.on("serial")) - own_targets <= aimed


def test_a_decoder_that_raises_anything_else_is_a_finding(monkeypatch):
    monkeypatch.setitem(decoders.DECODERS, "gnss", lambda data: 1 // len(data))
    with pytest.raises(ZeroDivisionError):
        decoders.run(decoders.input_for("gnss", b""))


@pytest.mark.parametrize(
    ("name", "answer", "seed", "samples"),
    [
        ("pms5003", parts.plantower, "pms5003-plantower", 2),
        ("sds011", parts.nova, "sds011-nova", 2),
        ("mhz19b", parts.winsen, "mhz19b-winsen", 2),
        ("senseair-s8", parts.modbus, "senseair-s8-modbus", 2),
        ("pzem-004t", parts.modbus, "pzem-004t-modbus", 2),
        ("sdm230", parts.modbus, "sdm230-modbus", 2),
        ("ezo-do", parts.by_question, "ezo-do-by_question", 2),
        ("ezo-rtd", parts.by_question, "ezo-rtd-by_question", 2),
        ("gmc320", parts.by_question, "gmc320-by_question", 2),
    ],
)
def test_whole_drivers_come_as_far_as_a_sample(name, answer, seed, samples):
    data = next(data for seeded, data in SEEDS if seeded == seed)
    assert parts.driver(name, answer)(data) == samples
