"""`fieldproof-provision doctor`."""

from __future__ import annotations

import typer

from provisioning.doorway import CONFIG, AsJson, Config, board_of


def doctor(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Examine everything a node needs, change nothing. Exit code 0: well; 1: a warning; 2: a failure."""
    from provisioning import doctor

    raise typer.Exit(doctor.command(config, board_of(context), as_json))
