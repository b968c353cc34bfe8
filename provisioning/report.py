"""An examination as people and machines read it."""

from __future__ import annotations

import json
import textwrap

from rich.text import Text

from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Line, Verdict, worst
from provisioning.doorway import printable

WIDTH = 80
_STYLES = {PASS: "green", WARN: "yellow", FAIL: "bold red", SKIPPED: "dim"}
_VERDICTS, _NAMES = 9, 15
_MARGIN = " " * (_VERDICTS + _NAMES)


def to_json(lines: list[Line]) -> str:
    return json.dumps({"verdict": worst(lines), "checks": [line.facts() for line in lines]}, indent=2)


def to_text(lines: list[Line], width: int = WIDTH) -> Text:
    """For people: what was expected, and what to do, only where something is wrong."""
    text = Text()
    for line in lines:
        said = [line.found]
        if line.verdict in (WARN, FAIL):
            said += [f"expected: {line.expected}", f"to do: {line.to_do}"][: 2 if line.to_do else 1]
        rows = [row for part in said for row in _wrapped(part, width - len(_MARGIN))]
        if len(line.name) < _NAMES:
            rows[0] = f"{line.name:<{_NAMES}}{rows[0]}"
        else:  # such as the name of a serial line: it gets rows of its own
            names = _wrapped(line.name, width - _VERDICTS)
            rows.insert(0, f"\n{'':<{_VERDICTS}}".join(names))
        text.append(f"{line.verdict:<{_VERDICTS}}", _STYLES[line.verdict])
        text.append(rows[0] + "".join(f"\n{_MARGIN}{row}" for row in rows[1:]) + "\n")
    counts = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    return text.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(printable(text), width, break_on_hyphens=False) or [""]
