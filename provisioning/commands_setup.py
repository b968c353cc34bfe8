"""`setup`: the guided way, for a person at a fresh machine; every answer can be an option."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.errors import TryAgain
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, now_s, say
from provisioning.person import AtTerminal, Unattended
from provisioning.setup import Answers, Setup

STATE_DIR = Path("/var/lib/fieldproof")


def setup(
    context: typer.Context,
    config: Config = CONFIG,
    claim: Annotated[str, typer.Option(help="The claim of the network's operator; - reads stdin.")] = "",
    instruments: Annotated[str, typer.Option(help="all, or names with commas between.")] = "",
    interval_s: Annotated[float, typer.Option(min=0, max=86_400, help="Between two readings.")] = 0.0,
    key: Annotated[str, typer.Option(help="The key's URI; else the best provider here.")] = "",
    state_dir: Annotated[Path, typer.Option(help="Where journal and membership lie.")] = STATE_DIR,
    serial: Annotated[list[Path] | None, typer.Option(help="A line besides /dev/serial/by-id.")] = None,
    ask: Annotated[bool | None, typer.Option("--ask/--no-ask", help="Question silent lines.")] = None,
    allow_plain: Annotated[
        bool | None, typer.Option("--allow-plain/--no-plain", help="A broker without TLS.")
    ] = None,
    run_here: Annotated[
        bool | None, typer.Option("--run-here/--no-run", help="Start the agent as a process, not a service.")
    ] = None,
    replace_config: Annotated[
        bool | None, typer.Option("--replace-config/--keep-config", help="The old one is kept as .old.")
    ] = None,
    wait_s: Annotated[float, typer.Option(min=1, max=3600, help="For the first receipt.")] = 120.0,
    devices_root: Annotated[
        Path | None,
        typer.Option(help="Serial lines under ROOT/dev, for tests and shows: `fieldproof-sim bus`."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take every default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make this machine a member of a network, step by step, and wait for the first receipt."""
    with doorway(as_json):
        answers = Answers(
            config, state_dir, claim, instruments, key, interval_s, tuple(serial or ()), ask, allow_plain,
            run_here, replace_config, wait_s, devices_root,
        )  # fmt: skip
        person = Unattended(as_json) if yes or as_json else AtTerminal()
        try:
            facts = Setup(answers, person, board_of(context), now_s).run()
        except (typer.Abort, KeyboardInterrupt):
            raise TryAgain(
                "Interrupted. Run setup again: it goes on from here. (--yes asks nothing.)"
            ) from None
        person.tell("")
        say(as_json, facts, [])
    if facts["to_do"]:
        raise typer.Exit(1)
