"""`init`, `join`, `show`: who this device is and where it belongs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from agent.errors import AgentError
from agent.keystore import open_key
from agent.membership import Joined, load
from agent.settings import load as load_settings
from proof.joining import MAX_CLAIM_CHARS
from proof.keys import device_id
from provisioning import identity, joining
from provisioning.asking import DEADLINE_S
from provisioning.become import owning
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, now_s, say
from provisioning.enrolling import enrol


def init(
    context: typer.Context,
    config: Config = CONFIG,
    write_config: Annotated[
        bool, typer.Option("--write-config", help="First write a commented example, if there is no file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make this device's key. Where there is one, only say which."""
    with doorway(as_json):
        wrote = write_config and identity.write_example(config)
        settings = load_settings(config)
        with owning(settings.state_dir):
            given, new = identity.give(settings, now_s(), board_of(context))
        news = [f"A configuration was written to {config}; look at its instruments."] if wrote else []
        news.append("The key was made." if new else "The key was there already; nothing was changed.")
        say(as_json, {**asdict(given), "created": new}, news)


def join(
    context: typer.Context,
    claim: Annotated[str, typer.Argument(help="The claim of the network's operator; - reads it from stdin.")],
    config: Config = CONFIG,
    deadline_s: Annotated[float, typer.Option(min=1, max=3600, help="How long to wait.")] = DEADLINE_S,
    as_json: AsJson = False,
) -> None:
    """Join the network of CLAIM, or ask again for the membership. Makes the key where there is none."""
    with doorway(as_json):
        text = sys.stdin.buffer.read(MAX_CLAIM_CHARS + 1).decode(errors="replace") if claim == "-" else claim
        settings = load_settings(config)
        with owning(settings.state_dir):
            done = enrol(settings, joining.read_claim(text), board_of(context), now_s, deadline_s)
        facts = {**asdict(done.identity), "created": done.key_made, **membership_facts(done.joined)}
        say(as_json, {**facts, "joined_now": done.joined_now}, done.news)


def show(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Say who this device is and where it belongs; exit code 1 if something is still to do."""
    with doorway(as_json):
        settings = load_settings(config)
        facts: dict[str, Any] = {"key": settings.key, "state_dir": str(settings.state_dir)}
        to_do = []
        try:
            with owning(settings.state_dir):
                signer = open_key(settings.key, board_of(context))
                facts = asdict(identity.describe(settings, signer))
                joined = load(settings.membership_path, facts["device"], now_s())
                facts |= membership_facts(joined)
        except AgentError as error:
            to_do.append(error.sentence)
        say(as_json, {**facts, "to_do": to_do} if as_json else facts, to_do)
    if to_do:
        raise typer.Exit(1)


def membership_facts(joined: Joined) -> dict[str, Any]:
    membership = joined.membership
    return {
        "network": membership.network,
        "kind": membership.kind,
        "gateways": [device_id(key) for key in membership.gateway_keys],
        "broker": joined.broker_url,
        "issued": joining.date(membership.issued_s),
        "expires": None if membership.expires_s is None else joining.date(membership.expires_s),
    }
