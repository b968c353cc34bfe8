"""`fieldproof-agent log` and `explain`: from the running agent, or from the journal where none runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from agent import control, diary, settings
from agent import explain as explaining
from agent.errors import FixStore, TryAgain
from agent.settings import Settings

DEFAULT_CONFIG = Path("/etc/fieldproof/agent.toml")
Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
T = TypeVar("T")
app = typer.Typer()


@app.command()
def log(
    config: Config = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, max=diary.MAX_ENTRIES, help="So many entries.")] = 30,
    as_json: AsJson = False,
) -> None:
    """What happened to this device lately, newest first: outages, restarts, clock, instruments, verdicts."""
    found = settings.load(config)
    try:
        entries = control.ask_log(found.control_socket, limit)
    except TryAgain:
        entries = _at_rest(found, lambda db: diary.stored(db, limit), [])
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
    else:
        typer.echo("\n".join(map(_entry, entries)) or "Nothing happened yet that is worth telling.")


@app.command()
def explain(
    seq: Annotated[int | None, typer.Argument(help="A proof; without one: all reasons lately.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """What the network rejected or flagged, why, and what to do; or what became of one proof."""
    found = settings.load(config)
    try:
        answer = control.ask_explain(found.control_socket, seq)
    except TryAgain:
        nothing: dict[str, Any] = {"verdicts": []}
        answer = _at_rest(
            found,
            lambda db: explaining.lately(db) if seq is None else explaining.proof(db, seq),
            nothing if seq is None else explaining.nowhere(seq),
        )
    lines = _reasons(answer) if seq is None else _proof(answer)
    typer.echo(json.dumps(answer, indent=2) if as_json else "\n".join(lines))


def _at_rest(found: Settings, question: Callable[[sqlite3.Connection], T], nothing: T) -> T:
    """The answer of a journal whose agent does not run; nothing is changed, and no file left beside it."""
    path = found.journal_path
    if not control.nobody(found.control_socket):
        raise TryAgain(f"An agent is at {found.control_socket} and does not answer: try again.")
    if not path.exists():
        return nothing
    wal = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as db:
            return question(db)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # an agent that kept no diary made it
            return nothing
        raise FixStore(f"The journal {path} cannot be read: {error}. Is it this user's?") from None
    except sqlite3.Error as error:
        raise FixStore(
            f"The journal {path} cannot be read: {error}. Start the agent: it keeps what is damaged and goes "
            "on with a new journal."
        ) from None


def _entry(entry: dict[str, Any]) -> str:
    unsure = "" if entry["clock_sure"] else " (by a clock that was not sure)"
    when = time_of(entry["at_s"])
    if "until_s" in entry:
        when += f" to {time_of(entry['until_s'])}" if entry["until_s"] is not None else ", still so"
    often = f" {entry['count']} times." if entry["count"] > 1 else ""
    return f"{when}{unsure}\n  {entry['sentence']}{often} {entry['detail']}".rstrip()


def _reasons(answer: dict[str, Any]) -> Iterator[str]:
    if not answer["verdicts"]:
        yield "No gateway has rejected or flagged anything that is still known here."
    for line in answer["verdicts"]:
        proofs = "1 proof" if line["count"] == 1 else f"{line['count']} proofs"
        yield f"{line['code']}: {proofs}, the newest {line['newest_seq']}{_detail(line)}"
        yield f"  {line['sentence']} {line['remedy']}"


def _proof(answer: dict[str, Any]) -> Iterator[str]:
    yield f"Proof {answer['seq']}: {answer['sentence']} {answer['remedy']}".rstrip()
    if "log" in answer:
        yield f"  log       {answer['log']}"
        span = f"{time_of(answer['captured_from_s'])} to {time_of(answer['captured_to_s'])}"
        yield f"  captured  {span}, {answer['readings']} readings"
        for name in ("sealed", "sent", "receipted"):
            if answer[f"{name}_at_s"] is not None:
                yield f"  {name:9} {time_of(answer[f'{name}_at_s'])}"
    for verdict in answer["verdicts"]:
        yield f"  {verdict['code']}{_detail(verdict)}: {verdict['sentence']} {verdict['remedy']}"
    for verdict in answer["earlier"]:
        where = f"in log {verdict['log']}, which was left"
        yield f"  {where}: {verdict['code']}{_detail(verdict)}: {verdict['sentence']} {verdict['remedy']}"
    for flag in answer["flags"]:
        where = f"{flag['instrument']}, {flag['count']} readings"
        yield f"  {flag['code']} ({where}): {flag['sentence']} {flag['remedy']}"
    for lost in answer["lost"]:
        yield f"  lost: {lost['count']} samples of {lost['instrument']} ({lost['reason']})"


def _detail(line: dict[str, Any]) -> str:
    return f" ({line['detail']})" if line["detail"] else ""


def time_of(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
