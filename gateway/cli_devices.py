"""`fieldproof-gateway devices`, `revoke`, `restore`, `challenge`: the members of the network."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict
from typing import Annotated

import typer

from gateway import report
from gateway.cli_parts import DeviceId, Dir, Json, doorway, member, opened, say
from gateway.errors import FixInput, TryAgain
from gateway.register import Register
from proof.claims import LOG_BYTES, NONCE_BYTES

_POLL_S = 0.1
app = typer.Typer()


@app.command()
def devices(directory: Dir, as_json: Json = False) -> None:
    """What the gateway knows of each device."""
    with doorway(as_json):
        with opened(directory) as (_settings, _signer, store):
            known = Register(store).devices()
        lines = list(report.lines(known)) or ["No device has joined yet."]
        say(as_json, [report.as_json(line) for line in known], *lines)


@app.command()
def revoke(
    device: DeviceId,
    directory: Dir,
    last_good: Annotated[
        int | None, typer.Option(min=0, help="Last good seq; the head if not given.")
    ] = None,
    log: Annotated[
        str, typer.Option(help="The log it stands in, 16 hex digits of `devices --json`; else the open one.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Accept nothing more from a device; what lies before stays valid. --last-good may lie in the past."""
    with doorway(as_json), opened(directory) as (_settings, _signer, store):
        with store.transaction():
            done = Register(store).revoke(member(device, store), last_good, _log(log))
        sentences = [
            f"{done.device} is revoked: nothing after proof {done.last_good_seq} counts. It is told with the "
            "next proof it sends."
        ]
        if done.left_out:
            sentences.append(
                f"{done.left_out} accepted proofs lie behind that one: they stay stored, and are left out of "
                "this gateway's bundles."
            )
        say(as_json, {"revoked": True, **asdict(done)}, *sentences)


def _log(text: str) -> bytes | None:
    try:
        log = bytes.fromhex(text)
    except ValueError:
        log = b""
    if text and len(log) != LOG_BYTES:
        raise FixInput(f"{text[:40]!r} is no log: it has 16 hexadecimal digits; nothing was changed.")
    return log or None


@app.command()
def restore(device: DeviceId, directory: Dir, as_json: Json = False) -> None:
    """Lift a revocation or a suspension; the evidence stays."""
    with doorway(as_json), opened(directory) as (_settings, _signer, store):
        device = member(device, store)
        Register(store).restore(device)
        say(as_json, {"device": device, "revoked": False}, f"{device} is welcome again; the evidence stays.")


@app.command()
def challenge(
    device: DeviceId,
    directory: Dir,
    deadline_s: Annotated[int, typer.Option(min=1, max=3600)] = 60,
    as_json: Json = False,
) -> None:
    """Ask a device for a proof now, and time its answer. `listen` must be running."""
    with doorway(as_json):
        with opened(directory) as (_settings, _signer, store):
            register, nonce = Register(store), secrets.token_bytes(NONCE_BYTES)
            device = member(device, store)
            register.ask_challenge(device, nonce, deadline_s)
            end_s = time.monotonic() + deadline_s
            while (round_trip_s := register.round_trip_s(nonce)) is None:
                if time.monotonic() > end_s:
                    raise TryAgain(
                        f"No answer from {device} within {deadline_s} s: are it and `listen` running?"
                    )
                time.sleep(_POLL_S)
        say(
            as_json, {"device": device, "round_trip_s": round_trip_s}, f"Answered after {round_trip_s:.1f} s."
        )
