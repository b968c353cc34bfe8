"""`init`, `join`, `show`: who this device is and where it belongs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from agent.broker import parse_broker_url
from agent.errors import AgentError, HardStop, JoinFirst
from agent.keystore import open_key, open_next_key
from agent.membership import FixMembership, Joined, load, save
from agent.mqtt import Link
from agent.settings import Settings
from agent.settings import load as load_settings
from proof.joining import MAX_CLAIM_CHARS
from proof.keys import device_id, multibase_part
from provisioning import identity, joining
from provisioning.asking import DEADLINE_S, ask
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, now_s, say


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
        wanted = joining.read_claim(text, now_s())
        settings, board = load_settings(config), board_of(context)
        broker = parse_broker_url(settings.mqtt.broker_url or wanted.broker_url, settings.mqtt)
        given, new_key = identity.give(settings, now_s(), board)
        signer = open_key(settings.key, board)
        device = signer.device
        before = _joined_before(settings, device)
        if before is not None and before.membership.network != wanted.network:
            raise HardStop(
                f"This device is a member of {before.membership.network}, and its journal belongs there. For "
                f"{wanted.network} use another state_dir, or move {settings.membership_path} away."
            )
        next_key = open_next_key(settings.key, board).public_key
        asked = joining.request(wanted, identity.descriptor(signer), signer, next_key, now_s())
        joined = ask(
            asked, lambda on_event: Link(broker, multibase_part(device), on_event), now_s, deadline_s
        )
        save(settings.membership_path, joined)
        new = before is None or before.membership != joined.membership
        news = ["This device had no key; it was made."] if new_key else []
        news.append(f"Joined {wanted.network}." if new else f"Already a member of {wanted.network}.")
        say(as_json, {**asdict(given), "created": new_key, **_membership(joined), "joined_now": new}, news)


def show(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Say who this device is and where it belongs; exit code 1 if something is still to do."""
    with doorway(as_json):
        settings = load_settings(config)
        facts: dict[str, Any] = {"key": settings.key, "state_dir": str(settings.state_dir)}
        to_do = []
        try:
            signer = open_key(settings.key, board_of(context))
            facts = asdict(identity.describe(settings, signer))
            joined = load(settings.membership_path, facts["device"], now_s())
            facts |= _membership(joined)
        except AgentError as error:
            to_do.append(error.sentence)
        say(as_json, {**facts, "to_do": to_do} if as_json else facts, to_do)
    if to_do:
        raise typer.Exit(1)


def _membership(joined: Joined) -> dict[str, Any]:
    membership = joined.membership
    return {
        "network": membership.network,
        "kind": membership.kind,
        "gateways": [device_id(key) for key in membership.gateway_keys],
        "broker": joined.broker_url,
        "issued": joining.date(membership.issued_s),
        "expires": None if membership.expires_s is None else joining.date(membership.expires_s),
    }


def _joined_before(settings: Settings, device: str) -> Joined | None:
    try:
        return load(settings.membership_path, device, now_s())
    except (JoinFirst, FixMembership):
        return None
