from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.fault_points import FaultPoints


@pytest.fixture(scope="module")
def provision() -> Iterator[FaultPoints]:
    """`fieldproof-provision`, to be killed before each thing it does."""
    with FaultPoints("provisioning.cli:main") as started:
        yield started
