"""What every command of `fieldproof-provision` goes through: options they share, and the way out.

- Exit code 0: done; 1: not now, it may work later; 2: a person must act. Bad input never changes anything.
- `--json` prints one object; a failure is then {"error": sentence}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.clock import SystemClock
from agent.errors import AgentError
from agent.keystore import Board

Config = Annotated[Path, typer.Option("--config", "-c", help="The agent's configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
CONFIG = Path("/etc/fieldproof/agent.toml")


@contextmanager
def doorway(as_json: bool) -> Iterator[None]:
    """Every expected failure leaves as one sentence and an exit code."""
    try:
        yield
    except AgentError as error:
        sentence = printable(error.sentence)
        said = json.dumps({"error": sentence}) if as_json else f"fieldproof-provision: {sentence}"
        typer.echo(said, err=not as_json)
        raise typer.Exit(error.exit_code) from None


def say(as_json: bool, facts: dict[str, Any], news: Sequence[str]) -> None:
    """The facts, one a line, and what was done; for machines the facts alone."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if not isinstance(value, bool):
            for item in value if isinstance(value, list | tuple) else [value]:
                shown = "none" if item is None else f"{item:.6g}" if isinstance(item, float) else item
                typer.echo(printable(f"{name.replace('_', ' '):<12} {shown}"))
    for sentence in news:
        typer.echo(printable(sentence))


def board_of(context: typer.Context) -> Board:
    """This machine; tests hand in another."""
    return context.obj if isinstance(context.obj, Board) else Board()


def now_s() -> int:
    return SystemClock().wall().ns // 1_000_000_000


def printable(text: str) -> str:
    """Without what could move a terminal's cursor: parts may come from the network."""
    return "".join(char if char.isprintable() else "?" for char in text)
