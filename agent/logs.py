"""Logging: key=value for people, JSON for machines, journald priorities under systemd. Never a secret.

- What repeats is written a few times an hour and then counted (`agent.repeats`).
- A line is short (`MAX_CHARS` of each value, more of a traceback) and has no control characters: what an
  instrument or a broker says may end on somebody's terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from agent.repeats import Repeats

MAX_CHARS, MAX_TRACEBACK_CHARS = 500, 4000
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def configure(log_format: Literal["text", "json"], monotonic: Callable[[], float] = time.monotonic) -> None:
    """Log to stderr from here on."""
    render = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    )
    structlog.configure(
        processors=[structlog.processors.add_log_level, _Lines(render, Repeats(monotonic), _is_journal())],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _is_journal() -> bool:
    """Whether stderr is journald's own stream (systemd.exec(5), JOURNAL_STREAM is `device:inode`)."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


class _Lines:
    """The last processor: none, one or more lines of one event."""

    def __init__(self, render: Processor, repeats: Repeats, under_systemd: bool) -> None:
        self._render, self._repeats, self._under_systemd = render, repeats, under_systemd
        self._stamp = structlog.processors.TimeStamper(fmt="iso")

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        found = self._repeats.let_through({key: _bounded(value) for key, value in event.items()})
        if not found:
            raise structlog.DropEvent
        return "\n".join(self._line(logger, name, {**one}) for one in found)

    def _line(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        event = structlog.processors.format_exc_info(logger, name, event)
        if trace := event.get("exception"):
            event["exception"] = _bounded(trace, MAX_TRACEBACK_CHARS)
        if self._under_systemd:
            return f"<{priority}>{self._render(logger, name, event)!s}"
        return str(self._render(logger, name, self._stamp(logger, name, event)))


def _bounded(value: object, limit: int = MAX_CHARS) -> object:
    if value is None or isinstance(value, bool | int | float | BaseException | tuple):
        return value
    text = str(value)
    return (text if len(text) <= limit else f"{text[:limit]}…").translate(_CONTROL)
