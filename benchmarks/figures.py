"""A figure, how it is shown, and the command line that every benchmark shares.

- A benchmark is a function that returns figures; its module's docstring says how they are measured.
- A figure is an absolute, or a ratio against a peer measured in the same run. An aim is met or it is not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """`most` or `least` is the aim; without either it is there to be known, or is the peer's."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def aim(self) -> str:
        if self.most is not None:
            return f"≤ {self.most:,g}"
        return "" if self.least is None else f"≥ {self.least:,g}"

    @property
    def verdict(self) -> str:
        if self.most is not None:
            return "met" if self.value <= self.most else "MISSED"
        if self.least is not None:
            return "met" if self.value >= self.least else "MISSED"
        return ""

    def cells(self) -> tuple[str, ...]:
        return self.name, f"{number(self.value)} {self.unit}".strip(), self.aim, self.verdict


def number(value: float) -> str:
    """Three digits are more than these measurements are good for; an aim just missed must not look met."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def table(figures: Iterable[Figure]) -> str:
    """Markdown, which is also readable as text."""
    rows = [("what", "figure", "aim", ""), *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def run(measure: Callable[[], list[Figure]]) -> None:
    """The command line of one benchmark: print its table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(measure.__doc__ or "").strip())
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    figures = measure()
    print(table(figures))
    if arguments.json:
        rows = [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
