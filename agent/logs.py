"""Logging: key=value for people, JSON for machines, journald priorities under systemd. Never a secret."""

from __future__ import annotations

import os
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)


def configure(log_format: Literal["text", "json"]) -> None:
    """Log to stderr from here on."""
    render = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    )
    under_systemd = _is_journal()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *([] if under_systemd else [structlog.processors.TimeStamper(fmt="iso")]),
            structlog.processors.format_exc_info,
            _Rendered(render, under_systemd),
        ],
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


class _Rendered:
    def __init__(self, render: structlog.typing.Processor, under_systemd: bool) -> None:
        self._render, self._under_systemd = render, under_systemd

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        line = str(self._render(logger, name, event))
        return f"<{priority}>{line}" if self._under_systemd else line
