"""What can go wrong with an instrument, named by what the caller must do.

- Every error carries one sentence for the operator: what happened, where, what to do.
- Nothing else leaves a driver: foreign exceptions are translated where they arise.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of all errors of `drivers`."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class RetryNow(DriverError):
    """A passing disturbance: the same call may succeed at once."""


class RetryLater(DriverError):
    """Not ready (warming up): call again after `after_s` seconds."""

    def __init__(self, sentence: str, after_s: float) -> None:
        super().__init__(sentence)
        self.after_s = after_s


class DropSample(DriverError):
    """This read is void and the instrument is well: carry on with the next one."""


class InstrumentGone(DriverError):
    """Close, wait (with backoff), open again."""


class NeedsHuman(DriverError):
    """Retrying cannot help: stop this instrument and tell a person."""
