"""What `listen` writes to stderr: key=value, or JSON. Never a secret.

- A warning or an error gets at most `BURST` lines an hour for each event and reason; the next one that is
  written says how many were left out (`suppressed=K`).
- No control characters, nothing endless: devices that nobody knows have a say in these lines.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.throttle import Throttle

BURST, PERIOD_S = 60, 3600.0
MAX_CHARS = 500
_KEYS = 256
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def configure(as_json: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Log to stderr from here on."""
    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    render: Processor = structlog.processors.JSONRenderer() if as_json else logfmt
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _Sparse(monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class _Sparse:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._throttle = monotonic, Throttle(BURST, PERIOD_S, _KEYS)
        self._suppressed: Counter[str] = Counter()

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event = {key: _short(value) for key, value in event.items()}
        if event["level"] == "info":
            return event
        key = f"{event.get('event')} {event.get('reason', '')}"
        if not self._throttle.allows(key, self._monotonic()):
            self._suppressed[key] += 1
            raise structlog.DropEvent
        if count := self._suppressed.pop(key, 0):
            event["suppressed"] = count
        return event


def _short(value: object) -> object:
    if not isinstance(value, str):
        return value
    return (value if len(value) <= MAX_CHARS else f"{value[:MAX_CHARS]}…").translate(_CONTROL)
