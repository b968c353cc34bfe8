"""What `/metrics` says: the status report (`agent.status`), as Prometheus text.

- Names, units and suffixes by Prometheus' conventions (prometheus.io/docs/practices/naming). One exception: a
  reading keeps the unit that was signed, in the label `unit`: there is no base unit for what a node measures.
- What is not known is absent, never a number that once was true: no age before the first receipt, no reading
  of an instrument that is gone, nothing of a journal that does not answer.
- Counters count since the agent's start, or since its journal began; a new journal begins at 0.
- The text is made here: importing prometheus_client takes 2.2 MB of memory, half of what the page may take,
  for these few lines. Its parser, and promtool, read what we write in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agent import __version__
from agent.conditions import CODES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]
Value = float | int | bool


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: tuple[tuple[Labels, Value], ...]


def render(report: Mapping[str, Any]) -> str:
    return "".join(line + "\n" for family in families(report) if family.samples for line in _lines(family))


def families(report: Mapping[str, Any]) -> Iterator[Family]:
    """Every family that is known; one without samples says that nothing is known."""
    proofs, journal, link = (report[key] for key in ("proofs", "journal", "link"))
    instruments, found = report["instruments"], {c["code"] for c in report.get("conditions", ())}
    who = {key: str(report[key]) for key in ("device", "network", "kind", "key_class")}

    yield _gauge("build_info", "The agent's version.", (({"version": __version__}, 1),))
    yield _gauge("device_info", "Whose readings these are.", ((who, 1),))
    yield _gauge(
        "condition",
        "1 while the condition holds; `fieldproof-agent status` says it in words.",
        tuple(({"code": code}, code in found) for code in [*CODES, *sorted(found - set(CODES))]),
    )
    if report["answered"]:
        yield from _of_the_journal(report)
    yield _one("proofs_in_flight", "Proofs published and not answered.", proofs["in_flight"])
    yield _one("connected", "1 while there is a connection to the network's broker.", link["connected"])
    yield _one("journal_max_bytes", "What it may take (journal.max_bytes).", journal["max_bytes"])
    yield _one("journal_disk_free_bytes", "What its disk has left.", journal.get("free_bytes"))
    yield _one("clock_max_error_seconds", "Bound of the clock's error.", report["clock"]["maxerror_s"])
    yield _count(
        "recoveries_total",
        "How often what went wrong mended itself, by stage.",
        tuple(({"stage": stage}, count) for stage, count in report["recovery"].items()),
    )
    yield _gauge(
        "instrument_info",
        "Which specimen each instrument is.",
        tuple(
            ({"instrument": i["name"], "model": i["model"], "serial": i["serial"]}, 1)
            for i in instruments
            if i["model"]
        ),
    )
    yield _gauge(
        "instrument_up",
        "1 while the instrument is read without a problem.",
        tuple(({"instrument": i["name"]}, not i["problem"]) for i in instruments),
    )
    yield _count(
        "samples_total",
        "Samples taken since the agent's start.",
        tuple(({"instrument": i["name"]}, i["samples"]) for i in instruments),
    )
    yield _count(
        "samples_missed_total",
        "Samples that should have been taken since the agent's start and were not.",
        tuple(({"instrument": i["name"]}, i["missed"]) for i in instruments),
    )
    yield _gauge(
        "reading",
        "The newest reading of each quantity, in the unit that was signed.",
        tuple(
            ({"instrument": i["name"], "quantity": quantity, "unit": unit}, value)
            for i in instruments
            for quantity, (value, unit) in i["latest"].items()
        ),
    )


def _of_the_journal(report: Mapping[str, Any]) -> Iterator[Family]:
    readings, proofs = report["readings"], report["proofs"]
    yield _one("healthy", "1 while the last receipted reading is young enough.", report["healthy"])
    yield _one(
        "last_receipted_reading_age_seconds",
        "Age of the newest reading for which a signed receipt is here.",
        report["last_receipted_reading_age_s"],
    )
    yield _one(
        "last_receipt_timestamp_seconds",
        "Unix time of the newest receipt, by the gateway's clock.",
        proofs["receipted_at_s"],
    )
    yield _count("readings_captured_total", "Samples appended to the journal.", readings["captured"])
    yield _one("readings_unsealed", "Samples that are in no proof yet.", readings["unsealed"])
    yield _one("readings_not_on_disk", "Samples within the loss window.", readings["not_on_disk"])
    yield _one("readings_unreceipted", "Samples in proofs without a receipt.", readings["unreceipted"])
    yield _count("proofs_sealed_total", "Proofs of the open log.", proofs["sealed"])
    yield _one("proofs_unreceipted", "Proofs without a receipt.", proofs["unreceipted"])
    yield _one("journal_bytes", "What the journal takes of its disk.", report["journal"]["bytes"])


def _gauge(name: str, text: str, samples: tuple[tuple[Labels, Value], ...]) -> Family:
    return Family(f"fieldproof_{name}", "gauge", text, samples)


def _one(name: str, text: str, value: Value | None) -> Family:
    return _gauge(name, text, () if value is None else (({}, value),))


def _count(name: str, text: str, found: int | tuple[tuple[Labels, Value], ...]) -> Family:
    return Family(
        f"fieldproof_{name}", "counter", text, found if isinstance(found, tuple) else (({}, found),)
    )


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.samples:
        pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        number = int(value) if isinstance(value, bool) else value
        yield f"{family.name}{{{pairs}}} {number!r}" if pairs else f"{family.name} {number!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
