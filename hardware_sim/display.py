"""What the demo shows: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_LINE_S = 3.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Readings, except `in_flight` and `proofs`."""

    captured: int = 0
    sealed: int = 0
    receipted: int = 0
    in_flight: int = 0
    proofs: int = 0
    link: str = "agent not running"
    latest: str = ""
    ended: bool = False
    """Every instrument has read all there is to read."""

    def line(self) -> str:
        return (
            f"captured {self.captured}, sealed {self.sealed} in {self.proofs} proofs, "
            f"in flight {self.in_flight}, receipted {self.receipted}; {self.link}"
        )


def snapshot(report: dict[str, Any]) -> Snapshot:
    """Of an agent's status report."""
    readings, proofs, link = report["readings"], report["proofs"], report["link"]
    sealed = readings["captured"] - readings["unsealed"]
    latest = (value for instrument in report["instruments"] for value in instrument["latest"].items())
    return Snapshot(
        captured=readings["captured"],
        sealed=sealed,
        receipted=sealed - readings["unreceipted"],
        in_flight=proofs["in_flight"],
        proofs=proofs["sealed"],
        link=f"connected ({link['protocol']})" if link["connected"] else f"offline: {link['problem']}",
        latest=", ".join(f"{quantity} {number:g} {unit}" for quantity, (number, unit) in latest),
        ended=all(instrument["ended"] for instrument in report["instruments"]),
    )


class Display:
    """`total` readings are expected. Use as a context manager; drawn by the caller's thread only."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._total = total
        self._phase, self._snapshot = "", Snapshot()
        self._events: list[str] = []
        self._started_s = self._spoke_s = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def phase(self, text: str) -> None:
        """What happens from now on."""
        self._phase = text
        self._events.append(f"{self._elapsed_s():5.1f} s  {text}")
        if self._console.is_terminal:
            self._draw()
        else:
            self._console.print(self._events[-1], markup=False)

    def update(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if self._console.is_terminal:
            self._draw()
        elif time.monotonic() - self._spoke_s >= _LINE_S:
            self._spoke_s = time.monotonic()
            self._console.print(f"{self._elapsed_s():5.1f} s    {snapshot.line()}", markup=False)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _draw(self) -> None:
        now = self._snapshot
        table = Table.grid(padding=(0, 2))
        for name, count in (
            ("captured", now.captured),
            ("sealed", now.sealed),
            ("receipted", now.receipted),
        ):
            table.add_row(name, f"{count:>6}", ProgressBar(total=self._total, completed=count, width=40))
        table.add_row("in flight", f"{now.in_flight:>6}", f"proofs, {now.proofs} sealed")
        table.add_row("link", "", Text(now.link, style="green" if now.link.startswith("conn") else "red"))
        table.add_row("latest", "", Text(now.latest))
        events = Text("\n".join(self._events[-8:]), style="dim")
        title = f"{self._phase} · {self._elapsed_s():.0f} s"
        self._live.update(Panel(Group(table, Text(), events), title=title), refresh=True)
