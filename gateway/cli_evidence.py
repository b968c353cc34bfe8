"""`fieldproof-gateway evidence` and `verify`: bundles for strangers, written and judged."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway import evidence, folder
from gateway.cli_parts import DeviceId, Dir, Json, doorway, member, opened, say
from gateway.errors import FixInput
from gateway.ledger import Ledger
from gateway.register import Register
from verifier import command
from verifier.cli import AsJson, Csv, File, Senml, public_key
from verifier.command import Job, Unusable

_NO_LIMIT_S = 2**40
app = typer.Typer()


@app.command(name="evidence")
def write_evidence(
    device: DeviceId,
    directory: Dir,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", dir_okay=False)],
    since: Annotated[str, typer.Option(help="ISO 8601 time, UTC unless it says otherwise.")] = "",
    until: Annotated[str, typer.Option(help="ISO 8601 time; no limit if not given.")] = "",
    as_json: Json = False,
) -> None:
    """Write a device's evidence bundle: all that a stranger needs to judge it, or its proofs of that time."""
    with doorway(as_json), opened(directory) as (settings, signer, store):
        ledger, device = Ledger(store, settings.network, settings.kind), member(device, store)
        times = _seconds(since or "1970-01-01"), _seconds(until) if until else _NO_LIMIT_S
        draft = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with store.snapshot(), draft.open("xb") as file:  # one state of the ledger; `listen` goes on
                register, now_s = Register(store), int(time.time())
                span = evidence.span(device, register, *times) if since or until else evidence.WHOLE
                if span is None:
                    raise FixInput(f"There is no proof of that time of {device} here.")
                file.writelines(evidence.pieces(device, ledger, register, signer, now_s, span))
            draft.replace(output)
        except OSError as error:
            raise FixInput(f"Cannot write {output}: {error.strerror}.") from None
        finally:
            draft.unlink(missing_ok=True)
        say(as_json, {"device": device, "file": str(output)})


@app.command()
def verify(
    file: File,
    gateway_key: Annotated[
        list[str], typer.Option(help="The gateway's public key in hex, its did:key, or its folder.")
    ],
    as_json: AsJson = False,
    csv: Csv = None,
    senml: Senml = None,
) -> None:
    """Judge an evidence bundle with nothing but the gateways' public keys, like `fieldproof-verify`."""
    with doorway(as_json):
        keys = [_public_key(text) for text in gateway_key]
    raise typer.Exit(command.run(Job(file, keys, as_json, csv, senml), "fieldproof-gateway"))


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FixInput(f"{text[:80]!r} is not a time like 2026-07-09 or 2026-07-09T12:00:00+02:00.") from None
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def _public_key(text: str) -> bytes:
    if Path(text).is_dir():
        return folder.load_key(Path(text)).public_key
    try:
        return public_key(text)
    except Unusable as error:
        raise FixInput(f"{error.sentence} A gateway's folder will do, too.") from None
