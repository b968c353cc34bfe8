"""`resume`: which of several boards, or cards, is this device."""

from __future__ import annotations

import typer

from agent.settings import load as load_settings
from provisioning import resuming
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, say


def resume(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Make this board the one that publishes, after another board or an older card took its place."""
    with doorway(as_json):
        device, resumed = resuming.resume(load_settings(config), board_of(context))
        news = resuming.RESUMED if resumed else resuming.NOTHING
        say(as_json, {"device": device, "resumed": resumed}, [news])
