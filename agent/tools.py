"""Programs that help with keys: what is secret goes through pipes, never arguments, files or messages.

Every run has a deadline: one that does not answer in time is `TryAgain`, one that is not installed `FixKey`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.errors import FixKey, TryAgain

DEADLINE_S = 30.0


class ToolFailed(Exception):
    """A program said no; `said` is its whole message, for the caller to turn into a sentence."""

    def __init__(self, said: str) -> None:
        self.said = said
        lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
        self.reason = next(
            (line for line in reversed(lines) if "Unable to run" not in line), "no reason given"
        )
        super().__init__(self.reason)


def run(
    words: Sequence[str],
    package: str,
    environment: Mapping[str, str],
    data: bytes = b"",
    folder: Path | None = None,
    as_root: bool = False,
) -> bytes:
    """What `words` print when given `data`; raises `ToolFailed`, `FixKey` or `TryAgain`. `as_root` counts
    where root acts as another user."""
    program = shutil.which(words[0])
    if program is None:
        raise FixKey(
            f"The program {words[0]} is not installed, and this key needs it: apt install {package}."
        )
    try:
        ran = subprocess.run(  # noqa: S603 - a program of our own list, no shell
            [program, *words[1:]],
            input=data,
            capture_output=True,
            timeout=DEADLINE_S,
            cwd=folder,
            user=0 if as_root and os.getuid() == 0 else None,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **environment},
        )
    except subprocess.TimeoutExpired:
        raise TryAgain(f"{words[0]} did not answer within {DEADLINE_S:g} s: the key stays closed.") from None
    except OSError as error:
        raise FixKey(f"{program} cannot be run: {error.strerror}.") from None
    if ran.returncode != 0:
        raise ToolFailed(ran.stderr[-4096:].decode(errors="replace"))
    return ran.stdout
