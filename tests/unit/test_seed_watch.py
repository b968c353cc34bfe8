"""The watch over seeds can fail: a run that writes one anywhere fails, one that does not passes."""

from __future__ import annotations

import base64
import re
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.seed_watch import forms

# Each is the body of a test that passes, or fails on purpose, and lets a seed out.
LEAKS = {
    "bytes in a file": "(tmp_path / 'x').write_bytes(b'a\\n' + seed + b'b')",
    "hexadecimal in a log": "logging.getLogger('x').warning('key %s', seed.hex())",
    "hexadecimal in capitals": "(tmp_path / 'x').write_text(seed.hex().upper())",
    "base64 of more than it": "print(base64.b64encode(b'{' + seed + b'}').decode())",
    "repr in a traceback": "assert repr(seed) == ''",
    "by another process": "os.write(2, base64.urlsafe_b64encode(seed))",
    "a gateway's": "(tmp_path / 'log').write_text(gateway_seed.hex())",
    "of another process's key": "(tmp_path / 'log').write_text(theirs.hex())",
}
CLEAN = {
    "nothing": "pass",
    "a gateway's key where it belongs": "(tmp_path / 'gateway.key').write_bytes(seed)",
    "a constant": "(tmp_path / 'x').write_bytes(b'c' * 32); import_seeds(uri + 'b', constants, 0)",
    "its public key": "print(open_key(uri).public_key.hex(), device, open_key(uri))",
}
_TEST = """\
import base64, logging, os, subprocess, sys
from agent.keyfile import Seeds
from agent.keystore import create_key, export_seeds, import_seeds, open_key
from gateway import folder
from proof.keys import SeedSigner

MAKE = "import sys; from agent.keystore import *; create_key(sys.argv[1], 0)"

def _seed(uri):
    import agent.keyfile, base64, json, nacl.secret, agent.wrapping, pathlib
    packed = json.loads(pathlib.Path(uri[4:]).read_text())["wrapped"]
    return nacl.secret.SecretBox(agent.wrapping.Constant().key()).decrypt(base64.b64decode(packed))

def test_{number}(tmp_path):
    uri = f"sim:{{tmp_path}}/keys/device.key"
    device = create_key(uri, 0).device
    constants = Seeds(device, b"c" * 32, b"n" * 32)
    seed = export_seeds(uri).current
    folder.create(tmp_path / "gw", folder.Settings("hills", "test", "mqtt://localhost"))
    gateway_seed = (tmp_path / "gw" / "gateway.key").read_bytes()
    if {theirs}:
        subprocess.run([sys.executable, "-c", MAKE, f"sim:{{tmp_path}}/theirs"], check=True)
        theirs = _seed(f"sim:{{tmp_path}}/theirs")
    {body}
"""


@pytest.fixture
def folder():
    """Not below this run's own folder, which is watched too."""
    with TemporaryDirectory(prefix="fieldproof-watched-") as name:
        yield Path(name)


def _run(folder, bodies, *options):
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number, body in enumerate(bodies):
        text = _TEST.format(number=number, body=body, theirs="theirs" in body)
        (folder / f"test_{number}.py").write_text(textwrap.dedent(text))
    words = ["-m", "pytest", "-q", "-p", "tests.seed_watch", "-p", "no:cacheprovider", *options]
    words += ["-c", str(folder / "pytest.ini"), f"--basetemp={folder}/run", str(folder)]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


def test_a_run_that_lets_a_seed_out_fails_and_names_the_place(folder):
    ran = _run(folder, LEAKS.values())
    assert ran.returncode == 1
    found = re.findall(r"^(\S+) holds a seed as", ran.stdout, re.MULTILINE)
    assert len(found) == len(LEAKS)
    in_files = [name.rpartition("/run/")[2] for name in found if "/run/" in name]
    assert sorted(in_files) == ["test_00/x", "test_20/x", "test_60/log", "test_70/log"]


def test_one_leak_in_what_was_captured_is_enough(folder):
    ran = _run(folder, [LEAKS["by another process"]])
    assert "1 passed" in ran.stdout
    assert ran.returncode == 1
    assert "captured holds a seed as" in ran.stdout


def test_a_run_that_keeps_its_seeds_passes(folder):
    ran = _run(folder, CLEAN.values())
    assert (ran.returncode, "holds a seed" in ran.stdout) == (0, False), ran.stdout


@pytest.mark.slow  # two runs of two workers each
def test_workers_hand_their_finds_to_the_controller(folder):
    ran = _run(folder, LEAKS.values(), "-n", "2")
    assert ran.returncode == 1
    assert ran.stdout.count("holds a seed as") == len(LEAKS)
    (folder / "clean").mkdir()
    assert _run(folder / "clean", CLEAN.values(), "-n", "2").returncode == 0


def test_a_seed_is_known_in_whatever_stands_around_it():
    for _ in range(50):
        seed = secrets.token_bytes(32)
        found = [form for _, form in forms(seed)]
        assert not any(b"\n" in form for form in found)
        for before in range(4):
            around = b"\xff" * before + seed + b"\xfe" * 5
            encoded = base64.b64encode(around), base64.urlsafe_b64encode(around), repr(around).encode()
            assert all(any(form in text for form in found) for text in (around, *encoded))
