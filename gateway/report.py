"""What people read of devices and claims, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from gateway.claims import NewClaim, State
from gateway.register import ClaimLine, DeviceLine
from proof.keys import multibase_part


def lines(devices: list[DeviceLine]) -> Iterator[str]:
    """A few short lines a device: they fit a terminal of 80 columns and a pipe."""
    for line in devices:
        yield f"{multibase_part(line.device)}" + " SUSPENDED" * line.suspended + " REVOKED" * line.revoked
        accepted = _iso(line.received_s) if line.received_s else "never"
        owner = f"owner {line.owner}, " if line.owner else ""
        yield f"  {owner}enrolled {_iso(line.enrolled_s)}, last accepted {accepted}"
        held = f", {line.held} held" if line.held else ""
        keys = f", key number {line.keys}" if line.keys > 1 else ""
        yield f"  head {line.head_seq}, {line.proofs} proofs with {line.readings} readings{held}{keys}"
        if line.logs:
            newest = line.logs[-1]
            more = f", {len(line.logs)} new logs in all" if len(line.logs) > 1 else ""
            yield f"  new log since {_iso(newest.began_s)}: {newest.reason}{more}"
        if line.two_boards_s is not None:
            yield f"  TWO BOARDS sign with its key, or an old card ran: {_iso(line.two_boards_s)}"
        verdicts = ", ".join(f"{code} {count}" for code, count in sorted(line.verdicts.items()))
        if verdicts:
            yield f"  verdicts: {verdicts}"


def new_claim(made: NewClaim) -> Iterator[str]:
    owner = f" for {made.owner}" if made.owner else ""
    yield f"Claim {made.id}{owner}, good for one device until {_iso(made.expires_s)}:"


def claim(line: ClaimLine, state: State) -> str:
    owner = f"  {line.owner}" if line.owner else ""
    match state:
        case "used":
            said = f"used by {multibase_part(line.used_by or '')}"
        case "withdrawn":
            said = "withdrawn"
        case _:
            said = f"{state}, {'until' if state == 'open' else 'on'} {_iso(line.expires_s)}"
    return f"{line.id}  {said}{owner}"


def as_json(line: DeviceLine) -> dict[str, Any]:
    return asdict(line) | {"suspended": bool(line.suspended), "revoked": bool(line.revoked)}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
