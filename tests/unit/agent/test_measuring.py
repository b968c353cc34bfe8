"""From what a driver gave to what is signed; corrections and flags are tried where they are made."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agent.calibration import Calibrator, Humidities
from agent.measuring import MeasuringChain, decimals
from agent.quality import Inspector, limits_of
from drivers.contract import Flag, Quantity, Sample
from proof.senml import Measured
from tests.agent_parts import FakeClock

QUANTITIES = (
    Quantity("temperature", "Cel", 0.01, 0.5, -40.0, 85.0),
    Quantity("pressure", "Pa", 0.18, 100.0, 30_000.0, 110_000.0),
)


@pytest.mark.parametrize(
    ("resolution", "places"), [(0.01, 2), (0.008, 2), (0.18, 1), (1, 0), (5, 0), (100, 0)]
)
def test_decimals_are_those_of_the_resolution(resolution, places):
    assert decimals(resolution) == places


def test_values_are_rounded_and_what_was_not_measured_is_left_out():
    clock = FakeClock()
    inspector = Inspector(QUANTITIES, limits_of("one", QUANTITIES, {}))
    chain = MeasuringChain(QUANTITIES, Calibrator(QUANTITIES, (), Humidities()), inspector)
    found = chain.measured(Sample((20.016, 101_325.04)), clock.wall(), clock.boottime_ns())
    assert found.values == (
        Measured("temperature", "Cel", Decimal("20.02")),
        Measured("pressure", "Pa", 101_325),
    )
    found = chain.measured(Sample((None, 101_325.0), flags=Flag.RETRIED), clock.wall(), clock.boottime_ns())
    assert [value.quantity for value in found.values] == ["pressure"]
    assert found.flags == Flag.RETRIED
    assert chain.measured(Sample((99.0, None)), clock.wall(), clock.boottime_ns()).flags & Flag.RANGE
