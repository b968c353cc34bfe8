"""Root sees what the service sees: in a process of its own, because there is no way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning import become

CODE = (
    "import os, sys; from pathlib import Path; from provisioning import become; "
    "became = become.owner_of(Path(sys.argv[1]), ['tty', 'no-such-group']); "
    "print(became, os.getuid(), os.geteuid(), *os.getgroups())"
)
ROOT = Path(__file__).parents[3]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def told(folder: Path) -> list[str]:
    command = [sys.executable, "-c", CODE, str(folder)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()


@root_only
def test_root_becomes_the_owner_with_the_groups_of_the_service(tmp_path):
    import grp

    os.chown(tmp_path, 12345, 23456)
    became, *ids, first, second = told(tmp_path)
    assert (became, ids) == ("True", ["12345", "12345"])
    assert {int(first), int(second)} == {23456, grp.getgrnam("tty").gr_gid}


def test_who_owns_the_folder_or_finds_none_stays_who_he_is(tmp_path):
    me = [str(os.getuid()), str(os.geteuid())]
    assert told(tmp_path)[:3] == ["False", *me]
    assert told(tmp_path / "none")[:3] == ["False", *me]
    assert become.owner_of(tmp_path) is False
