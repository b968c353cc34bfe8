"""What the commands of `fieldproof-gateway` share: options, the doorway for errors, the opened folder.

- Every expected failure leaves as one sentence on stderr, or as {"error": sentence} on stdout with `--json`;
  exit code 2 for what the caller must fix, 1 for what may pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import folder
from gateway.errors import FixInput, GatewayError
from gateway.folder import Settings
from gateway.register import Register
from gateway.store import Store
from proof.keys import SeedSigner, device_id

Dir = Annotated[Path, typer.Option("--dir", help="The gateway's folder.", file_okay=False)]
DeviceId = Annotated[str, typer.Argument(help="Device id, or its part from z6Mk on.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@contextmanager
def doorway(as_json: bool) -> Iterator[None]:
    try:
        yield
    except GatewayError as error:
        sentence = printable(error.sentence)
        said = json.dumps({"error": sentence}) if as_json else f"fieldproof-gateway: {sentence}"
        typer.echo(said, err=not as_json)
        raise typer.Exit(error.exit_code) from None


@contextmanager
def opened(directory: Path) -> Iterator[tuple[Settings, SeedSigner, Store]]:
    settings, signer = folder.load_settings(directory), folder.load_key(directory)
    gateway = device_id(signer.public_key)
    store = Store.open(directory / folder.LEDGER, settings.network, settings.kind, gateway)
    try:
        yield settings, signer, store
    finally:
        store.close()


def member(device: str, store: Store) -> str:
    device = device if device.startswith("did:key:") else f"did:key:{device}"
    if Register(store).membership(device) is None:
        raise FixInput(f"No device {device} here: `fieldproof-gateway devices` lists them.")
    return device


def say(as_json: bool, facts: Any, *sentences: str) -> None:
    """`facts` for machines, else `sentences`, one a line."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2, default=bytes.hex))
    else:
        for sentence in sentences:
            typer.echo(sentence)


def printable(text: str) -> str:
    """Without what could move a terminal's cursor: parts may come from a file or the network."""
    return "".join(char if char.isprintable() else "?" for char in text)
