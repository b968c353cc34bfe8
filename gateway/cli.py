"""`fieldproof-gateway`: make a gateway, listen; `cli_*.py` hold the other commands.

- `--json` prints what a program wants to read, errors too (`cli_parts.doorway`).
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway import cli_broker, cli_claims, cli_devices, cli_evidence, cli_page, folder, logs, tls
from gateway.cli_parts import Dir, Json, doorway, opened, say
from gateway.enrolment import Network
from gateway.errors import FixInput, TryAgain
from gateway.folder import Settings
from gateway.ledger import Ledger
from gateway.link import Link
from gateway.listener import listen as run_listener
from gateway.register import Register
from gateway.service import Service
from gateway.store import Store
from proof.keys import device_id, multibase_part

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The network side of Fieldproof.",
    pretty_exceptions_enable=False,
)


def main() -> None:
    app()


@app.command()
def init(
    directory: Dir,
    network: Annotated[str, typer.Option(help="Name of the network: a-z, 0-9 and -.")],
    broker: Annotated[
        str, typer.Option(help="mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; stands in every claim.")
    ],
    kind: Annotated[str, typer.Option(help="live, or test, which admits simulated devices.")] = "test",
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Authority of the broker's certificate, for claims too; else the system's."),
    ] = None,
    cert_file: Annotated[Path | None, typer.Option(help="The gateway's own certificate.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key, if it is not in the same file.")] = None,
    username: Annotated[str, typer.Option(help="The gateway's name at the broker.")] = "",
    allow_plain: Annotated[bool, typer.Option("--allow-plain", help="mqtt:// beyond this machine.")] = False,
    as_json: Json = False,
) -> None:
    """Make a new gateway: key, settings, ledger. Refuses a folder that holds one."""
    with doorway(as_json):
        settings = Settings(
            network,
            kind,  # type: ignore[arg-type] # checked by the next line
            broker,
            username=username,
            ca_file=_absolute(ca_file),
            cert_file=_absolute(cert_file),
            key_file=_absolute(key_file),
            allow_plain=allow_plain,
        )
        folder.check(settings)
        tls.context(settings)
        signer = folder.create(directory, settings)
        gateway = device_id(signer.public_key)
        Store.create(directory / folder.LEDGER, network, kind, gateway).close()
        say(
            as_json,
            {
                "gateway": gateway,
                "public_key": signer.public_key.hex(),
                "network": network,
                "kind": kind,
                "directory": str(directory),
            },
            f"Gateway {gateway} of {kind} network {network!r} is in {directory}.",
            f"Its public key is {signer.public_key.hex()}.",
            f"Keep a copy of {directory / folder.KEY}: without it no device trusts this gateway.",
        )


@app.command()
def listen(
    directory: Dir,
    embedded_broker: Annotated[
        bool, typer.Option("--embedded-broker", help="Also run a small broker, on this machine's loopback.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Log in JSON.")] = False,
) -> None:
    """Verify what devices send and answer with receipts, until SIGTERM."""
    with (
        doorway(as_json),
        opened(directory) as (settings, signer, store),
        _alone(directory),
        _broker(settings, embedded_broker),
    ):
        logs.configure(as_json)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        network = Network(settings.network, settings.kind, settings.quality)
        ledger, register = Ledger(store, settings.network, settings.kind), Register(store)
        service = Service(ledger, register, network, signer, time.time, os.urandom)
        filters = [f"fieldproof/1/{settings.network}/+/{leaf}" for leaf in ("proof", "enrol")]
        client_id = f"fieldproof-gateway-{multibase_part(device_id(signer.public_key))}"
        host, port, _tls = settings.endpoint()
        link = Link(
            (host, port), client_id, filters, settings.username, settings.password, tls.context(settings)
        )
        run_listener(service, link, stop, settings.beacon_period_s)


for commands in (cli_broker.app, cli_devices.app, cli_evidence.app, cli_page.app):
    app.add_typer(commands)
app.add_typer(cli_claims.app, name="claim")


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path is not None else ""


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two listeners on one ledger would take each other's connection for ever."""
    with (directory / folder.KEY).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TryAgain(f"Another `fieldproof-gateway listen` runs on {directory}.") from None
        yield


@contextmanager
def _broker(settings: Settings, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    host, port, with_tls = settings.endpoint()
    if host not in ("127.0.0.1", "localhost") or with_tls:
        raise FixInput(
            f"The embedded broker serves mqtt://127.0.0.1 only, the settings say {settings.broker}."
        )
    try:
        from gateway.broker import EmbeddedBroker
    except ModuleNotFoundError:
        raise FixInput("The embedded broker needs amqtt: in a clone: `pip install '.[broker]'`.") from None
    embedded = EmbeddedBroker(port)
    try:
        yield
    finally:
        embedded.close()


if __name__ == "__main__":
    main()
