"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from agent.errors import FixConfig
from provisioning.wholefile import replace, write_new


def test_what_is_there_is_never_replaced_by_a_new_file(tmp_path):
    path = tmp_path / "sub" / "file"
    assert write_new(path, b"one")
    assert not write_new(path, b"two")
    assert path.read_bytes() == b"one"
    replace(path, b"three")
    assert path.read_bytes() == b"three"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_everybody_may_read_it_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_new(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("write", [write_new, replace])
def test_a_temporary_name_left_by_a_killed_write_does_not_reach_the_file(tmp_path, write, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.link(path, tmp_path / ".file.new")  # killed between link and unlink

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FixConfig, match="cannot be written: No space left on device"):
        write(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FixConfig, match="cannot be written: Not a directory"):
        write_new(tmp_path / "file" / "under" / "it", b"")
