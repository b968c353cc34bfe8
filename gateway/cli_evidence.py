"""`fieldproof-gateway evidence` and `verify`: bundles for strangers, written and judged."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway import evidence, folder, report
from gateway.cli_parts import DeviceId, Dir, Json, doorway, member, opened, say
from gateway.errors import FixInput
from gateway.ledger import Ledger
from gateway.register import Register
from proof import bundle
from proof.keys import PUBLIC_KEY_BYTES, public_key_of
from proof.reasons import Refused

_MAX_BUNDLE_BYTES = 1 << 30
app = typer.Typer()


@app.command(name="evidence")
def write_evidence(
    device: DeviceId,
    directory: Dir,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Write a device's evidence bundle: everything a stranger needs to judge it."""
    with doorway(as_json), opened(directory) as (settings, signer, store):
        ledger, device = Ledger(store, settings.network, settings.kind), member(device, store)
        draft = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with store.transaction(), draft.open("xb") as file:  # one state of the ledger from first to last
                file.writelines(evidence.pieces(device, ledger, Register(store), signer, int(time.time())))
            draft.replace(output)
        except OSError as error:
            raise FixInput(f"Cannot write {output}: {error.strerror}.") from None
        finally:
            draft.unlink(missing_ok=True)
        say(as_json, {"device": device, "file": str(output)})


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.", dir_okay=False)],
    gateway_key: Annotated[
        list[str], typer.Option(help="The gateway's public key in hex, its did:key, or its folder.")
    ],
    as_json: Json = False,
) -> None:
    """Judge an evidence bundle with nothing but the gateways' public keys."""
    with doorway(as_json):
        keys = [_public_key(text) for text in gateway_key]
        try:
            if file.stat().st_size > _MAX_BUNDLE_BYTES:
                raise FixInput(f"{file} is larger than {_MAX_BUNDLE_BYTES} bytes.")
            finding = bundle.examine(file.read_bytes(), keys)
        except OSError as error:
            raise FixInput(f"Cannot read {file}: {error.strerror}.") from None
        except Refused as refused:
            raise FixInput(f"{file} is not valid evidence: {refused.verdict}.") from None
        say(as_json, asdict(finding), *report.sentences(finding))


def _public_key(text: str) -> bytes:
    try:
        if text.startswith("did:key:"):
            return public_key_of(text)
        if len(text) == 2 * PUBLIC_KEY_BYTES:
            return bytes.fromhex(text)
    except (Refused, ValueError):
        raise FixInput(f"{text!r} is not a public key.") from None
    if not Path(text).is_dir():
        raise FixInput(
            f"{text[:80]!r} is neither a public key (64 hex digits or did:key:…) nor a gateway's folder."
        )
    return folder.load_key(Path(text)).public_key
