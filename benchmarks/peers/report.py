"""The table, the text and the plot of what `bench_peers` found. Pure but for the plot's file."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import number
from benchmarks.peers.contenders import CONTENDERS
from benchmarks.peers.scenario import DOWN, KILLS, UP, Result

_GREY = "#808080"  # readable on white and on black
_COLOURS = ("#2a9d5c", "#d9822b", "#a05fc0", "#3b86d1", "#c74a4a")


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    unit: str
    value: Callable[[Result], float | None]

    def cell(self, result: Result) -> str:
        value = self.value(result)
        return "nothing came" if value is None else f"{value:,.0f}" if value == int(value) else number(value)


COUNTS = (
    Column("due", "readings", lambda r: r.due),
    Column("not read", "readings", lambda r: max(0, r.due - r.read)),
    Column("delivered", "readings", lambda r: r.delivered),
    Column("**lost**", "readings", lambda r: r.lost),
    Column("duplicates", "readings", lambda r: r.duplicates),
    Column("out of order", "readings", lambda r: r.out_of_order),
)
COSTS = (
    Column("peak memory, MiB", "MiB", lambda r: r.peak_MiB),
    Column("CPU, s", "s", lambda r: r.cpu_s),
    Column("written, KiB", "KiB", lambda r: r.written_bytes // 1024),
    Column("syncs", "", lambda r: r.syncs),
    Column("catch-up, s", "s", lambda r: r.catch_up_s),
)

BEHIND = tuple(column for column in COUNTS + COSTS if column.title not in ("due", "delivered"))


def table(results: Sequence[Result]) -> str:
    rows = [["", *(column.title for column in COUNTS + COSTS)]]
    rows += [[r.name, *(column.cell(r) for column in COUNTS + COSTS)] for r in results]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def worst(results: Sequence[Result]) -> str:
    """The columns in which ours is the last, the one that is furthest behind first."""
    ours, *theirs = results
    last = []
    for column in BEHIND:
        mine = column.value(ours)
        others = [(value, r.name) for r in theirs if (value := column.value(r)) is not None]
        if mine and others and mine > max(others)[0]:
            next_one, name = max(others)
            ratio = mine / next_one if next_one else float("inf")
            last.append((ratio, f"{column.title} ({column.cell(ours)}; next {name} with {_short(next_one)})"))
    last.sort(reverse=True)
    if not last:
        return "In no column is Fieldproof the last."
    first, *rest = [text for _, text in last]
    text = f"Fieldproof's worst column: {first.replace('*', '')}."
    return text + (f" It is also the last in {'; '.join(rest).replace('*', '')}." if rest else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else number(value)


def scale(results: Sequence[Result]) -> str:
    minutes = results[0].minutes
    down, up, *kills = (f"{share * minutes:g}" for share in (DOWN, UP, *KILLS))
    nice = min(result.nice for result in results)
    loads = [load for result in results for load in result.load]
    text = (
        f"10 readings/s for {minutes:g} minutes; the broker away from minute {down} to {up}; the peer killed "
        f"(SIGKILL) at minutes {' and '.join(kills)} and started again at once. "
    )
    if minutes < 10:
        text += (
            f"This is a run at {minutes / 10:g} of the scenario's ten minutes: `make bench-peers MINUTES=10` "
            "runs all of it, in about an hour, with TOGETHER=1 in a quarter of one. "
        )
    if beside := min(result.beside for result in results):
        text += f"All {beside + 1} ran in the same minutes, each with a broker and a port of its own. "
    return text + (
        f"The machine's load (1 min) was {min(loads):.1f} to {max(loads):.1f} on two cores"
        + ("; CPU, catch-up and what was not read are then no more than a hint." if max(loads) > 2 else ".")
        + (f" All of it ran at priority {nice}, ahead of what else was running." if nice < 0 else "")
    )


def promise(results: Sequence[Result]) -> str:
    """What became of the readings that the agent had said it has, and who fell by itself."""
    ours = results[0]
    kept_lost = ours.confirmed_lost or 0
    text = f"Of the readings that Fieldproof's journal had confirmed, {kept_lost:,} were lost"
    if ours.lost > kept_lost:
        text += (
            f"; the other {ours.lost - kept_lost:,} were conversions that it refused as late, or that the "
            "SIGKILL met before the journal had them"
        )
    if ours.told:
        told = "; ".join(f"{reason} {count:,}" for reason, count in sorted(ours.told.items(), key=by_count))
        text += f". What it did not read its proofs say, signed, with the reason: {told}"
    fallen = [f"{r.name} {r.ended_by_itself:,}" for r in results if r.ended_by_itself]
    return f"{text}." + (
        f" Ended by themselves and were started again: {', '.join(fallen)}." if fallen else ""
    )


def by_count(each: tuple[str, int]) -> int:
    return -each[1]


def notes() -> str:
    return "\n".join(wrapped(f"- {each.name}: {each.note}", "  ") for each in CONTENDERS.values())


def wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def plot(results: Sequence[Result], path: Path) -> None:
    """Readings that had arrived, by time."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams |= {"svg.hashsalt": "fieldproof", "font.size": 9, "text.color": _GREY}
    mpl.rcParams |= {"axes.labelcolor": _GREY, "xtick.color": _GREY, "ytick.color": _GREY}
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6))
    minutes = results[0].minutes
    axes.axvspan(DOWN * minutes, UP * minutes, color=_GREY, alpha=0.18, linewidth=0)
    for kill in KILLS:
        axes.axvline(kill * minutes, color=_GREY, linestyle=":", linewidth=1)
    for result, colour in zip(results, _COLOURS, strict=False):
        moments = [at_s / 60 for at_s, _ in result.curve]
        counts = [count for _, count in result.curve]
        axes.plot(moments, counts, color=colour, linewidth=1.6, label=result.name)
    axes.set_xlabel("minutes (grey: the broker is away; dotted: SIGKILL)")
    axes.set_ylabel("readings that had arrived")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_GREY)
    axes.legend(frameon=False, labelcolor=_GREY, fontsize=8)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
