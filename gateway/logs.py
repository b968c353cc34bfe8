"""What `listen` writes to stderr: key=value, or JSON. Never a secret.

- A warning or an error gets at most `BURST` lines an hour for each event and reason; the next one that is
  written says how many were left out (`suppressed=K`).
- No control characters, nothing endless: devices that nobody knows have a say in these lines. Of a long trace
  both ends stay.
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
MAX_CHARS, MAX_TRACE = 500, 8000
_KEYS = 256
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}


def configure(as_json: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Log to stderr from here on."""
    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    render: Processor = structlog.processors.JSONRenderer() if as_json else logfmt
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _Sparse(monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class _Sparse:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._throttle = monotonic, Throttle(BURST, PERIOD_S, _KEYS)
        self._suppressed: Counter[str] = Counter()

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event = {key: _trace(value) if key == "exception" else _short(value) for key, value in event.items()}
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


def _trace(value: object) -> object:
    if not isinstance(value, str):
        return value
    half = MAX_TRACE // 2
    return (value if len(value) <= MAX_TRACE else f"{value[:half]}…{value[-half:]}").translate(_CONTROL)
