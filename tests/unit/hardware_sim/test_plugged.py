"""Parts on lines that any program may open."""

from __future__ import annotations

import os

import pytest

from agent import discover
from agent.errors import FixConfig
from hardware_sim import plugged


def test_parts_stand_where_discovery_looks_and_are_gone_afterwards(tmp_path):
    with plugged.in_lines(tmp_path, ["sds011", "sdm120", "sds011"], climate=1) as lines:
        found = discover.places(tmp_path / "dev", tmp_path / "none")
        assert found == sorted(f"serial:{line.path}" for line in lines)
        assert [line.path.name for line in lines] == [
            "usb-simulated-sds011-if00-port0",
            "usb-simulated-sdm120-if00-port0",
            "usb-simulated-sds011-if01-port0",
        ]
        with lines[0].path.open("rb", buffering=0) as tty:
            assert os.isatty(tty.fileno())
    assert discover.places(tmp_path / "dev", tmp_path / "none") == []


@pytest.mark.parametrize("name", ["bme280", "ds18b20", "nonsense"])
def test_what_is_no_serial_part_is_refused(tmp_path, name):
    lines = plugged.in_lines(tmp_path, ["sds011", name], climate=1)
    with pytest.raises(FixConfig, match=f"'{name}' is no simulated serial part; there are .*sds011"):
        lines.__enter__()
    assert discover.places(tmp_path / "dev", tmp_path / "none") == []


def test_a_root_that_cannot_be_used_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    lines = plugged.in_lines(tmp_path / "file", ["sds011"], climate=1)
    with pytest.raises(FixConfig, match="cannot be made: Not a directory"):
        lines.__enter__()
