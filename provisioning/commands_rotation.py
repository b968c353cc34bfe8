"""`rotate`: another key for the same device."""

from __future__ import annotations

from dataclasses import asdict

import typer

from agent.clock import SystemClock
from agent.rotation import KeptKeys
from agent.settings import load as load_settings
from provisioning import rotating
from provisioning.become import owning
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, say


def rotate(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Change this device's key. Its id, its membership and its readings stay."""
    with doorway(as_json):
        settings, clock = load_settings(config), SystemClock()
        keys = KeptKeys(settings.key, clock, board_of(context))
        with owning(settings.state_dir):
            done, by_agent = rotating.rotate(settings, keys, clock)
        news = [
            f"The key was changed. From proof {done.seq} on this device signs with {done.new_key}.",
            f"{'The running agent delivers' if by_agent else 'Start the agent, which delivers'} that proof.",
            "The old key is removed once the network has receipted it. Make a new backup then: an older one "
            "brings back the old key, which the network no longer takes.",
        ]
        say(as_json, {**asdict(done), "by_running_agent": by_agent}, news)
