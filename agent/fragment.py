"""What `discover` found as a piece of configuration to paste, and for machines.

- Valid TOML whatever was found: what could not be named stands in comments.
- Names of instruments are their driver's, numbered where there are several.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from agent.discover import Finding
from agent.settings import InstrumentSettings
from drivers import catalogue

_USUAL_DEADLINE_S = InstrumentSettings("x", "x", "w1:").deadline_s


def text(findings: Sequence[Finding]) -> str:
    named = [finding for finding in findings if finding.drivers]
    lines = ["# Found by fieldproof-agent discover.", *_tables(named)]
    unnamed = [finding for finding in findings if not finding.drivers]
    lines += ["# Not named:"] if unnamed else []
    lines += [_comment(f"{_place(finding)}: {finding.remark}") for finding in unnamed]
    return "\n".join(lines)


def table(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """[{bus, address, drivers, model, serial, serial_kind, remark}]"""
    return [
        {
            "bus": finding.bus,
            "address": finding.address,
            "drivers": list(finding.drivers),
            "model": finding.identity.model if finding.identity else "",
            "serial": finding.identity.serial if finding.identity else "",
            "serial_kind": finding.identity.kind if finding.identity else "none",
            "remark": finding.remark,
        }
        for finding in findings
    ]


def _tables(named: Sequence[Finding]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for finding in named:
        driver = finding.drivers[0]
        seen[driver] += 1
        yield "[[instrument]]"
        if finding.identity is not None:
            serial = f", {finding.identity.kind} {finding.identity.serial}" if finding.identity.serial else ""
            yield _comment(finding.identity.model + serial)
        if finding.remark:
            yield _comment(finding.remark)
        if others := finding.drivers[1:]:
            yield _comment(f"Or driver = {' or '.join(map(_string, others))}: they cannot be told apart.")
        yield f"name = {_string(driver if seen[driver] == 1 else f'{driver}-{seen[driver]}')}"
        yield f"driver = {_string(driver)}"
        yield f"bus = {_string(finding.bus)}"
        if finding.address:
            yield f"address = {_string(finding.address)}"
        deadline_s = catalogue.entry(driver).deadline_s
        if deadline_s > _USUAL_DEADLINE_S:
            yield f"deadline_s = {deadline_s}"
        yield ""


def _place(finding: Finding) -> str:
    return f"{finding.bus} {finding.address}".strip()


def _comment(words: str) -> str:
    return "# " + "".join(letter if letter.isprintable() else "?" for letter in words)


def _string(words: str) -> str:
    return json.dumps(words)
