"""The running gateway: one thread (the caller's) owns the ledger, paho's feeds the inbox.

- Whatever waits in the inbox, up to `BATCH`, shares one transaction; receipts follow the commit, then the
  acknowledgements: a gateway killed at any moment is sent again what it had not committed.
- A ledger that cannot be written now (disk full, locked) is tried again with the same batch; a damaged one
  ends the program.
- A beacon as soon as the broker hands over what devices send, in every connection, and every
  `beacon_period_s` (§6.1). A device that hears it sends again what was lost while nobody listened. Retained:
  the broker hands it to who comes later.
- `stop` ends after the batch in hand.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from gateway.errors import TryAgain
from gateway.link import Delivery, Link
from gateway.service import Outbound, Service

BATCH = 256
_POLL_S = 0.25
_RETRY_S = 1.0
_log = structlog.get_logger()


def listen(
    service: Service,
    link: Link,
    stop: threading.Event,
    beacon_period_s: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Until `stop`; raises `GatewayError` when the ledger is beyond use."""
    link.start()
    try:
        told, beacon_due_s = 0, monotonic() + beacon_period_s
        while not stop.is_set():
            batch = collect(link.inbox)
            if link.connected.is_set():
                _publish(link, _committed(service.challenges, stop))
                if link.subscribed != told or monotonic() >= beacon_due_s:
                    told, beacon_due_s = link.subscribed, monotonic() + beacon_period_s
                    _publish(link, _committed(lambda: [service.beacon()], stop))
            if batch:
                messages = [delivery.message for delivery in batch]
                answers = _committed(partial(service.take, messages), stop)
                _publish(link, answers)
                if answers is not None:
                    for delivery in batch:
                        link.ack(delivery)
        _committed(service.keep_counts, stop)
    finally:
        link.close()
    _log.info("stopped", **service.counts)


def collect(inbox: queue.Queue[Delivery]) -> list[Delivery]:
    """What is there, at most `BATCH`; waits a moment for the first."""
    batch: list[Delivery] = []
    try:
        batch.append(inbox.get(timeout=_POLL_S))
        while len(batch) < BATCH:
            batch.append(inbox.get_nowait())
    except queue.Empty:
        pass
    return batch


def _committed(action: Callable[[], list[Outbound]], stop: threading.Event) -> list[Outbound] | None:
    """What `action` gives once it commits; None when stopped before: the broker keeps the batch."""
    while True:
        try:
            return action()
        except TryAgain as problem:
            _log.error("not committed", problem=problem.sentence)
            if stop.wait(_RETRY_S):
                return None


def _publish(link: Link, answers: list[Outbound] | None) -> None:
    for answer in answers or ():
        link.publish(answer)
