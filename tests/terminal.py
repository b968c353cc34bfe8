"""A real terminal for a test to type into: tmux, with a server of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

TMUX = shutil.which("tmux")
_COLUMNS, _LINES = 160, 50


class Terminal:
    """A shell in `folder`, our commands on its path; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        if TMUX is None:
            pytest.skip("tmux is not installed (Debian package `tmux`)")
        self._folder, self._server = folder, f"fieldproof-{os.getpid()}"

    def __enter__(self) -> Self:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = ["env", f"PATH={path}", "PS1=$ ", "TERM=screen", "LC_ALL=C.UTF-8", "sh"]
        size = ("-x", str(_COLUMNS), "-y", str(_LINES))
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(self._folder), *shell)
        self.waits_for(r"\$")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def types(self, text: str) -> None:
        """A line, and Enter."""
        self._tmux("send-keys", "-l", text) if text else None
        self._tmux("send-keys", "Enter")

    def waits_for(self, prompt: str, deadline_s: float = 60) -> None:
        """Until the last line that is not empty ends like `prompt` and a space, which is printed last."""
        end_s = time.monotonic() + deadline_s
        while not re.search(f"{prompt} $", self._last()):
            if time.monotonic() > end_s:
                pytest.fail(f"no {prompt!r} within {deadline_s:g} s:\n{self.shown()}")
            time.sleep(0.05)

    def shown(self) -> str:
        """All that was ever on it."""
        return "\n".join(line.rstrip() for line in self._captured().rstrip().splitlines()) + "\n"

    def _last(self) -> str:
        return self._captured().rstrip("\n").rpartition("\n")[2]

    def _captured(self) -> str:
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")  # -J keeps spaces at the end of lines

    def _tmux(self, *words: str) -> str:
        assert TMUX is not None
        command = [TMUX, "-L", self._server, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
