"""What `/metrics` says of the gateway: its overview as Prometheus text.

- Names, units and suffixes by Prometheus' conventions (prometheus.io/docs/practices/naming). Moments are told
  as Unix times, so that an age grows by itself while nothing new comes.
- What is not known is absent. Counters come from the ledger: they do not begin anew with the program.
- A series per device for at most MAX_DEVICES of them, in the order they joined; how many are left out is
  said. Whatever else carries a label counts a fixed list of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from gateway.overview import Condition, Overview
from gateway.register import DeviceLine
from proof.keys import multibase_part

MAX_DEVICES, MAX_OWNER = 200, 32
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_PREFIX = "fieldproof_gateway_"
# Told as 0 while they do not hold, so that an alert can be written before its first time.
CONDITIONS = ("not_listening", "clock_behind", "suspended", "two_boards", "silent")
_TAKEN = ("accepted", "duplicate", "held", "enrolled", "membership_again")


def render(found: Overview) -> bytes:
    return generate_latest(_Families(found))


class _Families(Collector):
    def __init__(self, found: Overview) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return families(self._found)


def families(found: Overview) -> Iterator[Metric]:
    lines = found.devices
    yield _gauge("info", "Which gateway this is.", {(found.network, found.kind, found.gateway): 1}, _INFO)
    yield _gauge("condition", "1 while the condition holds.", _conditions(found.conditions), ("code",))
    yield _gauge("devices", "Members by the worst that is true of them.", _by_word(found.states), ("state",))
    yield _count("proofs_accepted", "Proofs accepted.", sum(line.proofs for line in lines))
    yield _count("readings_accepted", "Readings in accepted proofs.", sum(line.readings for line in lines))
    yield _gauge("proofs_held", "Proofs that wait for an earlier one.", sum(line.held for line in lines))
    taken = {code: found.messages.get(code, 0) for code in _TAKEN}
    refused = {code: count for code, count in found.messages.items() if code not in _TAKEN}
    yield _count("messages_taken", "Messages of devices by what came of them.", _by_word(taken), ("result",))
    yield _count("messages_refused", "Messages refused, strangers' too.", _by_word(refused), ("reason",))
    yield _count(
        "verdicts", "What was said of members' proofs, by reason.", _by_word(found.verdicts), ("reason",)
    )
    yield _count("equivocations", "Second proofs for one number.", found.verdicts.get("equivocation", 0))
    yield _gauge("ledger_bytes", "What the ledger takes of its disk.", found.ledger_bytes)
    if found.last_commit_s is not None:
        yield _gauge("last_commit_timestamp_seconds", "When the ledger changed last.", found.last_commit_s)
    if found.last_beacon_s is not None:
        yield _gauge(
            "last_beacon_timestamp_seconds", "When the newest beacon was issued.", found.last_beacon_s
        )
    yield _gauge("device_series_left_out", "Devices without series.", max(0, len(lines) - MAX_DEVICES))
    yield from _devices(lines[:MAX_DEVICES])


def _devices(lines: list[DeviceLine]) -> Iterator[Metric]:
    def by_device(values: Iterable[float | None]) -> dict[tuple[str, ...], float]:
        return {
            (multibase_part(line.device), line.owner[:MAX_OWNER]): value
            for line, value in zip(lines, values, strict=True)
            if value is not None
        }

    yield _gauge(
        "device_last_receipt_timestamp_seconds",
        "When the device's newest accepted proof came.",
        by_device(line.received_s for line in lines),
        _DEVICE,
    )
    yield _count("device_readings", "Readings accepted.", by_device(line.readings for line in lines), _DEVICE)


_INFO = ("network", "kind", "gateway")
_DEVICE = ("device", "owner")
_Values = float | Mapping[tuple[str, ...], float]


def _conditions(found: Iterable[Condition]) -> dict[tuple[str, ...], float]:
    held = {condition.code for condition in found}
    return {(code,): code in held for code in CONDITIONS}


def _by_word(counts: Mapping[Any, int]) -> dict[tuple[str, ...], float]:
    return {(word,): count for word, count in counts.items()}


def _gauge(name: str, text: str, values: _Values, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, text, labels=labels), values)


def _count(name: str, text: str, values: _Values, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: _Values) -> Metric:
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(labels, float(value))
    return family
