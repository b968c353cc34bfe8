"""The verifier in JavaScript (docs/verify-elsewhere) and ours say the same of every bundle.

It is installed once, by its lock file, into a folder beside .venv. Without Node.js, npm or a package registry
these tests are skipped with a sentence.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proof import bundle
from proof.sequence import Spoiled
from tests.proof_samples import GATEWAY
from tests.unit.proof.test_sequence import SMALL, flipped
from tests.vectors import make_bundles
from tests.vectors.make_good import Vector

pytestmark = [pytest.mark.node, pytest.mark.timeout(180)]  # the first one installs, on a busy machine
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "verify-elsewhere"
INSTALLED = ROOT / ".verify-elsewhere"
VECTORS = [*make_bundles.good_bundles(), *make_bundles.bad_bundles()]
# Many files in one process, which is slow to start.
MANY = """
import { readFileSync } from 'node:fs'
import { verify } from './bundle.js'
const [key, ...names] = readFileSync(0, 'utf8').trim().split('\\n')
const plain = (_, value) => (typeof value === 'bigint' ? Number(value) : value)
for (const name of names) {
  const said = await verify(readFileSync(name), [Buffer.from(key, 'hex')])
    .catch((error) => ({ valid: false, code: error.code, number: error.number }))
  console.log(JSON.stringify(said, plain))
}
"""
UNREACHABLE = "ENOTFOUND EAI_AGAIN ECONNREFUSED ECONNRESET ETIMEDOUT ENETUNREACH ERR_SOCKET_TIMEOUT".split()
Judge = Callable[[list[bytes]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def program() -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js and npm are not installed (Debian packages `nodejs` and `npm`)")
    sources = [path for path in sorted(SOURCE.iterdir()) if path.suffix in (".js", ".json")]
    stamp = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    INSTALLED.mkdir(exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other tests run beside this one
        for path in sources:
            shutil.copy(path, INSTALLED)
        known = INSTALLED / "installed"
        if not known.exists() or known.read_text() != stamp:
            words = "ci --ignore-scripts --no-audit --no-fund --fetch-timeout=20000".split()
            done = subprocess.run([npm, *words], cwd=INSTALLED, capture_output=True, text=True, timeout=150)
            if any(code in done.stderr for code in UNREACHABLE):
                pytest.skip("npm reaches no package registry from here")
            assert done.returncode == 0, done.stderr
            known.write_text(stamp)
    return INSTALLED


@pytest.fixture
def judge(program: Path, tmp_path: Path) -> Judge:
    def judge(bundles: list[bytes]) -> list[dict[str, Any]]:
        names = [tmp_path / str(number) for number in range(len(bundles))]
        for name, data in zip(names, bundles, strict=True):
            name.write_bytes(data)
        said = subprocess.run(
            ["node", "--input-type=module", "--eval", MANY],
            cwd=program,
            input="\n".join([GATEWAY.public_key.hex(), *map(str, names)]),
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert (said.returncode, said.stderr) == (0, "")
        return [json.loads(line) for line in said.stdout.splitlines()]

    return judge


def expected(vector: Vector) -> dict[str, Any]:
    if vector.expected == "accepted":
        return dict(vector.extra["finding"])
    return {"valid": False, "code": vector.expected, "number": vector.extra["object"]}


def test_both_verifiers_say_the_same_of_every_bundle_of_the_zoo(judge):
    said = dict(zip((v.name for v in VECTORS), judge([v.data for v in VECTORS]), strict=True))
    assert said == {v.name: expected(v) for v in VECTORS}
    assert sum(v.expected == "accepted" for v in VECTORS) >= 15
    assert len({v.expected for v in VECTORS}) >= 10


def test_both_name_the_same_object_whichever_byte_is_wrong_or_missing(judge):
    """In a byte of every seven, all bits by turns; and cut off before it."""
    changed = [flipped(SMALL, at, 1 << at % 8) for at in range(0, len(SMALL), 7)]
    changed += [SMALL[:at] for at in range(0, len(SMALL), 31)]
    ours: list[tuple[bool, int | None]] = []
    for data in changed:
        try:
            bundle.examine(data, [GATEWAY.public_key])
            ours.append((True, None))
        except Spoiled as spoiled:
            ours.append((False, spoiled.place.number))
    assert [(said["valid"], said.get("number")) for said in judge(changed)] == ours
    assert ours.count((True, None)) <= 2


def test_the_command_prints_json_and_its_exit_code_is_the_verdict(program, tmp_path):
    for vector in (VECTORS[0], VECTORS[-1]):
        file = tmp_path / vector.name
        file.write_bytes(vector.data)
        words = ["node", "verify.js", str(file), GATEWAY.public_key.hex()]
        done = subprocess.run(words, cwd=program, capture_output=True, text=True, timeout=60)
        good = vector.expected == "accepted"
        assert (done.returncode, done.stderr) == (0 if good else 2, "")
        assert json.loads(done.stdout)["valid"] is good


def test_the_lock_file_names_no_registry():
    text = (SOURCE / "package-lock.json").read_text()
    assert "resolved" not in text
    assert set(json.loads(text)["packages"][""]["dependencies"]) == {"@auth0/cose", "cbor2"}
