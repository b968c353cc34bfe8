"""The committed vectors are what the code writes: a change of the protocol cannot go unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.vectors import build_vectors

ROOT = Path(__file__).parents[3]


def test_the_code_writes_the_committed_vectors_again_byte_for_byte():
    assert build_vectors.differences(build_vectors.build()) == []


def test_a_changed_missing_or_further_file_is_a_difference():
    files = build_vectors.build()
    del files["good/beacon.cbor"]
    files["bad/json.bin"] += b" "
    files["good/new.cbor"] = b""
    assert build_vectors.differences(files) == ["bad/json.bin", "good/beacon.cbor", "good/new.cbor"]


def test_the_check_runs_as_the_program_the_makefile_calls():
    command = [sys.executable, "tests/vectors/build_vectors.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" 0 differ\n")
