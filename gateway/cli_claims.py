"""`fieldproof-gateway claim new`, `list`, `revoke`.

- A pipe gets the bare claims, one per line; a terminal also sees what it is and a QR code to scan.
- A file with a claim is made for its owner alone (mode 0600) and never written over another.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway import claims, qr, report, tls
from gateway.claims import NewClaim
from gateway.cli_parts import Dir, Json, doorway, opened, say
from gateway.errors import FixInput
from gateway.register import Register

app = typer.Typer(no_args_is_help=True, help="Claims: one lets one device join.")


@app.command("new")
def new(
    directory: Dir,
    owner: Annotated[str, typer.Option(help="For your own records.")] = "",
    valid_for_h: Annotated[float, typer.Option(min=0.01, max=87_600)] = 72,
    count: Annotated[int, typer.Option(min=1, max=10_000)] = 1,
    show_qr: Annotated[
        bool | None, typer.Option("--qr/--no-qr", help="A QR code; not given: on a terminal.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", help="Write the QR code to this new file.", dir_okay=False)
    ] = None,
    ca: Annotated[
        bool, typer.Option("--ca/--no-ca", help="Whether the broker's authority (ca_file) is in it.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Print new claims, one per line. Who has one can join: treat it like a password."""
    with doorway(as_json):
        if png is not None and count > 1:
            raise FixInput("--png holds one claim: leave --count out.")
        if png is not None and png.exists():
            raise FixInput(f"{png} is there already: choose another name; no claim was made.")
        with opened(directory) as (settings, signer, store):
            expires_s = int(time.time() + valid_for_h * 3600)
            broker_ca = tls.authority(settings) if ca else b""
            made = claims.make(settings, signer, store, owner, expires_s, count, broker_ca)
        if png is not None:
            _write_new(png, made[0])
        on_terminal = sys.stdout.isatty()
        lines: list[str] = []
        for claim in made:
            if on_terminal:
                lines += report.new_claim(claim)
            lines.append(claim.text)
            if on_terminal if show_qr is None else show_qr:
                lines += _drawn(claim.text, shutil.get_terminal_size().columns if on_terminal else None)
        say(as_json, [asdict(claim) for claim in made], *lines)


@app.command("list")
def list_claims(directory: Dir, as_json: Json = False) -> None:
    """Which claims there are, for whom, and who used them; never the claims themselves."""
    with doorway(as_json):
        with opened(directory) as (_settings, _signer, store):
            known = [(line, claims.state(line, time.time())) for line in Register(store).claims()]
        facts = [asdict(line) | {"state": state} for line, state in known]
        say(as_json, facts, *(report.claim(*pair) for pair in known) if known else ["No claim was made yet."])


@app.command("revoke")
def revoke(
    claim_id: Annotated[str, typer.Argument(metavar="ID", help="As `claim list` shows it.")],
    directory: Dir,
    as_json: Json = False,
) -> None:
    """Withdraw a claim that was given out in error: nobody can join with it any more."""
    with doorway(as_json):
        with opened(directory) as (_settings, _signer, store):
            claims.withdraw(claim_id, store)
        say(
            as_json,
            {"id": claim_id, "state": "withdrawn"},
            f"Nobody can join with claim {claim_id} any more.",
        )


def _drawn(text: str, columns: int | None) -> list[str]:
    """`columns` None: no terminal whose width would matter."""
    if columns is not None and (wanted := qr.width(text)) > columns:
        return [f"(The QR code needs {wanted} columns, this terminal has {columns}: widen it, or use --png.)"]
    return qr.for_terminal(text)


def _write_new(path: Path, claim: NewClaim) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(qr.png(claim.text))
    except OSError as error:
        raise FixInput(
            f"Cannot write {path}: {error.strerror}. The claim was made and nobody has it: withdraw it with "
            f"`fieldproof-gateway claim revoke {claim.id}`."
        ) from None
