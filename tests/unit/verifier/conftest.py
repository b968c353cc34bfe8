"""A bundle on disk, and the command that judges it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.proof_samples import GATEWAY
from tests.vectors import make_good
from verifier.cli import app

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle_file(tmp_path: Path) -> Path:
    file = tmp_path / "evidence.cbor"
    file.write_bytes(make_good.BUNDLE)
    return file


@pytest.fixture
def run() -> Run:
    def run(*arguments: object, key: str = GATEWAY.public_key.hex()) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*map(str, arguments), "--gateway-key", key])
        return done.exit_code, done.stdout, done.stderr

    return run
