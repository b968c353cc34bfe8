"""What the page of figures says of the machine."""

from __future__ import annotations

import pytest

from benchmarks import run_all


@pytest.mark.parametrize(
    ("release", "told"), [("6.18.44-some-build", "6.18"), ("6.1.0-18-amd64", "6.1"), ("6.12", "6.12")]
)
def test_a_kernel_is_told_by_its_series_not_by_the_name_of_its_build(release, told):
    assert run_all.kernel(release) == told
