"""The harness itself: it sees every kind of operation, and a command that is not whole fails."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.crash.fault_points import Command, Ended, FaultPoints

KINDS = (
    "os.mkdir open os.write os.fsync os.link os.rename os.remove os.chmod sqlite3.connect sqlite3 "
    "subprocess.Popen socket.connect socket.sendall"
).split()


def test_a_file_written_in_place_is_caught_between_opening_and_writing(tmp_path: Path) -> None:
    def whole_or_absent(file: Path) -> None:
        assert not file.exists() or file.read_text() == "whole"

    def whole(file: Path, _ended: Ended) -> None:
        assert file.read_text() == "whole"

    with FaultPoints("tests.crash.entries:write_in_place") as entry, pytest.raises(AssertionError) as failed:
        entry.for_each_fault_point(
            tmp_path,
            lambda folder: folder / "file",
            lambda file: Command((str(file),)),
            whole_or_absent,
            whole,
        )
    (note,) = failed.value.__notes__
    assert note.startswith("[fault point] died before 2: write ")


def test_every_kind_of_operation_is_seen_once_and_none_is_done_after_death(tmp_path: Path) -> None:
    with (
        FaultPoints("tests.crash.entries:do_all_kinds") as entry,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        port = str(server.getsockname()[1])
        (tmp_path / "all").mkdir()
        alive = entry.run(tmp_path / "alive", Command((str(tmp_path / "all"), port)))
        assert alive.code == 0, alive.stderr
        assert [operation.split()[0] for operation in alive.operations] == KINDS
        (tmp_path / "some").mkdir()
        link = KINDS.index("os.link") + 1
        dead = entry.run(tmp_path / "dead", Command((str(tmp_path / "some"), port)), die_at=link)
        assert dead.died
        assert dead.operations[-1].startswith("os.link ")
        assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["first", "sub"]
