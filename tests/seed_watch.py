"""Nothing a test run writes holds a seed: recorded as they are made, looked for when the run ends.

- Recorded: the seeds of every key file made or opened and of every gateway's key, in this process; those of
  other processes (daemons, command lines) from the files they left, with every wrapping key seen here.
- Looked through: what the tests printed and logged, as pytest captured it, and every file below the run's
  temporary folder. Looked for: the bytes, hexadecimal, base64 in any alignment, and Python's repr.
- Allowed: files named `gateway.key`, which hold a gateway's raw seed by design. A test that writes a seed on
  purpose puts the file's name into ALLOWED.
- Not seeds: what a test chose as a constant (`b"c" * 32`), told by its few different bytes.
- A find fails the run and names file, form and key id, never the seed. With pytest-xdist each worker looks
  after itself and hands its finds to the controller.
- GNU grep does the looking: thousands of patterns, hundreds of megabytes, in a second or two.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from agent import keyfile
from agent.errors import FixKey
from agent.wrapping import THIS_BOARD, Constant
from gateway import folder as gateway_folder
from proof.keys import SEED_BYTES, SeedSigner, key_id

ALLOWED = ("gateway.key",)
_FEWEST_BYTES = 12  # different ones; a random seed has about thirty
_SHORTEST = 8  # of a piece of raw bytes between two line ends, which grep cannot look across


class SeedWatch:
    def __init__(self) -> None:
        self.seeds: set[bytes] = set()
        self.finds: list[str] = []
        self._wrapping_keys = {Constant().key()}
        with suppress(FixKey):  # a container has no machine id
            self._wrapping_keys.add(THIS_BOARD.wrapping_key())
        self.temporary: Path | None = None
        self._folder = TemporaryDirectory(prefix="fieldproof-said-")

    def said(self, text: str) -> None:
        """Something was printed or logged."""
        if text.strip():
            with (Path(self._folder.name) / "captured").open("a", errors="surrogateescape") as file:
                file.write(text)

    def saw(self, seed: bytes) -> None:
        if len(seed) == SEED_BYTES and len(set(seed)) >= _FEWEST_BYTES:
            self.seeds.add(seed)

    def install(self) -> None:
        """`keyfile` and the gateway's folder are handed a `SeedSigner` and a `SecretBox` that tell us."""

        def signer(seed: bytes, key_class: str, device: str = "") -> SeedSigner:
            self.saw(seed)
            return SeedSigner(seed, key_class, device)

        class Box(SecretBox):
            def __init__(box, key: bytes) -> None:
                self._wrapping_keys.add(key)
                super().__init__(key)

        vars(keyfile).update(SeedSigner=signer, SecretBox=Box)
        vars(gateway_folder).update(SeedSigner=signer)

    def look(self) -> list[str]:
        """A sentence for each place a seed was found in."""
        folders = [self._folder.name, *([str(self.temporary)] if self.temporary else [])]
        self._harvest(folders)
        patterns = {form for seed in self.seeds for _, form in forms(seed)}
        if not patterns:
            return []
        words = ["grep", "-rlaZF", "-f", "-", *(f"--exclude={name}" for name in ALLOWED), *folders]
        ran = subprocess.run(
            words,
            input=b"\n".join(patterns),
            capture_output=True,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
        if ran.returncode > 1 and not ran.stdout:
            return [f"the watch itself failed: {ran.stderr.decode(errors='replace')[:200]}"]
        return [find for name in ran.stdout.split(b"\0") if name for find in self._in(Path(name.decode()))]

    def _in(self, file: Path) -> Iterator[str]:
        data = file.read_bytes()
        for seed in self.seeds:
            for name, form in forms(seed):
                if form in data:
                    yield f"{file} holds a seed as {name} (key {kid(seed)})"
                    break

    def _harvest(self, folders: list[str]) -> None:
        """Seeds of keys that other processes made, as far as a wrapping key is known."""
        words = ["grep", "-rlaZF", '"wrapped": "', *folders]
        for name in subprocess.run(words, capture_output=True).stdout.split(b"\0"):
            try:
                packed = base64.b64decode(json.loads(Path(name.decode()).read_bytes())["wrapped"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no key file, or one that a test damaged
            for key in self._wrapping_keys:
                try:
                    self.saw(SecretBox(key).decrypt(packed))
                except (CryptoError, ValueError):
                    continue
        allowed = (Path(folder).rglob(name) for folder in folders for name in ALLOWED)
        for file in chain.from_iterable(allowed):
            self.saw(file.read_bytes()[: SEED_BYTES + 1] if file.is_file() else b"")


def forms(seed: bytes) -> Iterator[tuple[str, bytes]]:
    """How a seed may have been written, each without a line end in it."""
    yield "hexadecimal", seed.hex().encode()
    yield "hexadecimal", seed.hex().upper().encode()
    yield "Python's repr", repr(seed)[2:-1].encode()
    for before in range(3):  # base64 of something it stands in: what its neighbours cannot change
        alone = base64.b64encode(bytes(before) + seed)
        whole = alone[4 if before else 0 : (before + SEED_BYTES) // 3 * 4]
        yield "base64", whole
        yield "base64", whole.translate(bytes.maketrans(b"+/", b"-_"))
    piece = max(seed.replace(b"\0", b"\n").split(b"\n"), key=len)
    if len(piece) >= _SHORTEST:
        yield "bytes", piece


def kid(seed: bytes) -> str:
    return key_id(SeedSigner(seed, "").public_key).hex()


_watch = SeedWatch()


def pytest_configure() -> None:
    _watch.install()


@pytest.fixture(scope="session", autouse=True)
def _watched(tmp_path_factory: pytest.TempPathFactory) -> None:
    _watch.temporary = tmp_path_factory.getbasetemp()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _watch.said("\n".join([report.longreprtext, *(text for _, text in report.sections)]))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    _watch.finds += _watch.look()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["seed_watch"] = _watch.finds
    if _watch.finds:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _watch.finds += getattr(node, "workeroutput", {}).get("seed_watch", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _watch.finds:
        terminalreporter.section("seeds in what the tests wrote", red=True)
        for find in _watch.finds:
            terminalreporter.line(find)
