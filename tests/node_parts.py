"""The verifier in JavaScript (docs/verify-elsewhere) for tests: installed once, by its lock file, into a
folder beside .venv. Without Node.js, npm or a registry a test that asks for it is skipped with a sentence."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "verify-elsewhere"
INSTALLED = ROOT / ".verify-elsewhere"
# Many files in one process, which is slow to start.
MANY = """
import { readFileSync } from 'node:fs'
import { verify } from './bundle.js'
import { json } from './signed.js'
const [key, ...names] = readFileSync(0, 'utf8').trim().split('\\n')
for (const name of names) {
  const said = await verify(readFileSync(name), [Buffer.from(key, 'hex')])
    .catch((error) => ({ valid: false, code: error.code, number: error.number }))
  console.log(json(said))
}
"""
UNREACHABLE = "ENOTFOUND EAI_AGAIN ECONNREFUSED ECONNRESET ETIMEDOUT ENETUNREACH ERR_SOCKET_TIMEOUT".split()


def second_verifier() -> Path:
    """The folder it is installed in."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js and npm are not installed (Debian packages `nodejs` and `npm`)")
    stamp = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    INSTALLED.mkdir(exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other tests run beside this one
        for path in SOURCE.iterdir():
            if path.suffix in (".js", ".json"):
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


def judged(program: Path, gateway_key: bytes, files: Iterable[Path]) -> list[dict[str, Any]]:
    """What it says of each bundle."""
    said = subprocess.run(
        ["node", "--input-type=module", "--eval", MANY],
        cwd=program,
        input="\n".join([gateway_key.hex(), *map(str, files)]),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert (said.returncode, said.stderr) == (0, "")
    return [json.loads(line) for line in said.stdout.splitlines()]
