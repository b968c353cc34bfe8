"""Joining as one step that may be repeated: the key if there is none, the question, the membership kept.

    claim good for this device? -> broker's URL good? -> key -> ask (`asking`) -> membership.json

- Nothing is made before the claim and the configuration are found good.
- Killed anywhere it may be run again: the key stays, and the gateway gives the same membership (§8.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.broker import broker_of, password, tls_context
from agent.errors import JoinFirst
from agent.keystore import Board, key_exists, open_key, open_next_key
from agent.membership import FixMembership, Joined, load, save
from agent.mqtt import Link
from agent.settings import Settings
from proof.joining import JoinClaim
from proof.keys import multibase_part
from provisioning import identity, joining
from provisioning.asking import NoGateway, ask
from provisioning.identity import Identity


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`news` are sentences of what was done."""

    identity: Identity
    key_made: bool
    joined: Joined
    joined_now: bool
    news: tuple[str, ...]


def enrol(
    settings: Settings, claim: JoinClaim, board: Board, now_s: Callable[[], int], deadline_s: float
) -> Enrolled:
    """Raises `AgentError`."""
    before = _before(settings, board, now_s())
    joining.require_good_for(claim, now_s(), before.membership.network if before else None)
    broker = broker_of(settings.mqtt, claim.broker_url, claim.broker_ca)
    tls_context(broker), password(settings.mqtt)  # unusable files are said before anything is made
    given, key_made = identity.give(settings, now_s(), board)
    signer, next_key = open_key(settings.key, board), open_next_key(settings.key, board).public_key
    asked = joining.request(claim, identity.descriptor(signer), signer, next_key, now_s())
    try:
        answer = ask(asked, lambda tell: Link(broker, multibase_part(given.device), tell), now_s, deadline_s)
    except NoGateway as nobody:
        if before is None:
            raise
        raise NoGateway(
            f"{nobody.sentence} This device stays a member of {before.membership.network}."
        ) from None
    joined = joining.newer(before, answer.joined)
    if joined is not before:
        save(settings.membership_path, joined)
    joined_now = before is None or before.membership != joined.membership
    news = ["This device had no key; it was made."] if key_made else []
    if answer.kept:
        news.append("No gateway answers now; the membership that it had left at the broker was taken.")
    news.append(f"{'Joined' if joined_now else 'Already a member of'} {claim.network}.")
    return Enrolled(given, key_made, joined, joined_now, tuple(news))


def _before(settings: Settings, board: Board, now_s: int) -> Joined | None:
    if not key_exists(settings.key, board):
        return None
    try:
        return load(settings.membership_path, open_key(settings.key, board).device, now_s)
    except (JoinFirst, FixMembership):
        return None
