"""`fieldproof-gateway`: make a gateway, give out claims, listen, look, verify.

- Every error is one sentence on stderr; exit code 2 for what the caller must fix, 1 for what may pass.
- `--json` prints what a program wants to read.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from gateway import evidence, folder, report
from gateway.enrolment import Network
from gateway.errors import FixInput, GatewayError, TryAgain
from gateway.folder import Settings
from gateway.ledger import Ledger
from gateway.link import Link
from gateway.listener import listen as run_listener
from gateway.register import Register
from gateway.service import Service
from gateway.store import Store
from proof import bundle
from proof.claims import NONCE_BYTES
from proof.joining import CLAIM_ID_BYTES, MAX_CLAIM_CHARS, SECRET_BYTES, JoinClaim
from proof.keys import PUBLIC_KEY_BYTES, SeedSigner, device_id, multibase_part, public_key_of
from proof.reasons import Refused

_MAX_BUNDLE_BYTES = 1 << 30
_POLL_S = 0.1
app = typer.Typer(no_args_is_help=True, add_completion=False, help="The network side of Fieldproof.")
claim_app = typer.Typer(no_args_is_help=True, help="Claims: one lets one device join.")
app.add_typer(claim_app, name="claim")

Dir = Annotated[Path, typer.Option("--dir", help="The gateway's folder.", file_okay=False)]
DeviceId = Annotated[str, typer.Argument(help="Device id (did:key:z6Mk…), or the part from z6Mk on.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def main() -> None:
    try:
        app()
    except GatewayError as error:
        typer.echo(f"fieldproof-gateway: {error.sentence}", err=True)
        sys.exit(error.exit_code)


@app.command()
def init(
    directory: Dir,
    network: Annotated[str, typer.Option(help="Name of the network: a-z, 0-9 and -.")],
    broker: Annotated[
        str, typer.Option(help="mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; stands in every claim.")
    ],
    kind: Annotated[str, typer.Option(help="live, or test, which admits simulated devices.")] = "test",
) -> None:
    """Make a new gateway: key, settings, ledger. Refuses a folder that holds one."""
    signer = folder.create(directory, Settings(network, kind, broker))  # type: ignore[arg-type] # checked there
    gateway = device_id(signer.public_key)
    Store.create(directory / folder.LEDGER, network, kind, gateway).close()
    typer.echo(f"Gateway {gateway} of {kind} network {network!r} is in {directory}.")
    typer.echo(f"Its public key is {signer.public_key.hex()}.")
    typer.echo(f"Keep a copy of {directory / folder.KEY}: without it no device trusts this gateway.")


@claim_app.command("new")
def claim_new(
    directory: Dir,
    owner: Annotated[str, typer.Option(help="For your own records.")] = "",
    valid_for_h: Annotated[float, typer.Option(min=0.01, max=87_600)] = 72,
    count: Annotated[int, typer.Option(min=1, max=10_000)] = 1,
) -> None:
    """Print new claims, one per line. Who has one can join: treat it like a password."""
    with _opened(directory) as (settings, signer, store):
        expires_s = int(time.time() + valid_for_h * 3600)
        claims = [_new_claim(settings, signer, expires_s) for _ in range(count)]
        if len(claims[0].to_text()) > MAX_CLAIM_CHARS:
            raise FixInput(f"The broker's URL in {directory / folder.CONFIG} is too long for a claim.")
        register = Register(store)
        with store.transaction():
            for claim in claims:
                register.add_claim(claim, owner)
    for claim in claims:
        typer.echo(claim.to_text())


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
        _opened(directory) as (settings, signer, store),
        _alone(directory),
        _broker(settings, embedded_broker),
    ):
        _configure_log(as_json)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        network = Network(settings.network, settings.kind, settings.quality)
        ledger, register = Ledger(store, settings.network, settings.kind), Register(store)
        service = Service(ledger, register, network, signer, time.time, os.urandom)
        filters = [f"fieldproof/1/{settings.network}/+/{leaf}" for leaf in ("proof", "enrol")]
        client_id = f"fieldproof-gateway-{multibase_part(device_id(signer.public_key))}"
        link = Link(settings.endpoint(), client_id, filters, settings.username, settings.password)
        run_listener(service, link, stop, settings.beacon_period_s)


@app.command()
def devices(directory: Dir, as_json: Json = False) -> None:
    """What the gateway knows of each device."""
    with _opened(directory) as (_settings, _signer, store):
        known = Register(store).devices()
    if as_json:
        typer.echo(json.dumps([report.as_json(line) for line in known], indent=2))
    else:
        typer.echo("\n".join(report.lines(known)) or "No device has joined yet.")


@app.command()
def revoke(
    device: DeviceId,
    directory: Dir,
    last_good: Annotated[
        int | None, typer.Option(min=0, help="Last good seq; the head if not given.")
    ] = None,
) -> None:
    """Accept nothing more from a device; what lies before stays valid."""
    with _opened(directory) as (_settings, _signer, store):
        Register(store).revoke(_member(device, store), last_good)


@app.command()
def restore(device: DeviceId, directory: Dir) -> None:
    """Lift a revocation or a suspension; the evidence stays."""
    with _opened(directory) as (_settings, _signer, store):
        Register(store).restore(_member(device, store))


@app.command()
def challenge(
    device: DeviceId, directory: Dir, deadline_s: Annotated[int, typer.Option(min=1, max=3600)] = 60
) -> None:
    """Ask a device for a proof now, and time its answer. `listen` must be running."""
    with _opened(directory) as (_settings, _signer, store):
        register, nonce = Register(store), secrets.token_bytes(NONCE_BYTES)
        register.ask_challenge(_member(device, store), nonce, deadline_s)
        end_s = time.monotonic() + deadline_s
        while (round_trip_s := register.round_trip_s(nonce)) is None:
            if time.monotonic() > end_s:
                raise TryAgain(f"No answer from {device} within {deadline_s} s: are it and `listen` running?")
            time.sleep(_POLL_S)
    typer.echo(f"Answered after {round_trip_s:.1f} s.")


@app.command(name="evidence")
def write_evidence(
    device: DeviceId,
    directory: Dir,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", dir_okay=False)],
) -> None:
    """Write a device's evidence bundle: everything a stranger needs to judge it."""
    with _opened(directory) as (settings, signer, store):
        ledger, device = Ledger(store, settings.network, settings.kind), _member(device, store)
        draft = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with store.transaction(), draft.open("xb") as file:  # one state of the ledger from first to last
                file.writelines(evidence.pieces(device, ledger, Register(store), signer, int(time.time())))
            draft.replace(output)
        except OSError as error:
            raise FixInput(f"Cannot write {output}: {error.strerror}.") from None
        finally:
            draft.unlink(missing_ok=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.", dir_okay=False)],
    gateway_key: Annotated[
        list[str], typer.Option(help="The gateway's public key in hex, its did:key, or its folder.")
    ],
    as_json: Json = False,
) -> None:
    """Judge an evidence bundle with nothing but the gateways' public keys."""
    keys = [_public_key(text) for text in gateway_key]
    try:
        if file.stat().st_size > _MAX_BUNDLE_BYTES:
            raise FixInput(f"{file} is larger than {_MAX_BUNDLE_BYTES} bytes.")
        finding = bundle.examine(file.read_bytes(), keys)
    except OSError as error:
        raise FixInput(f"Cannot read {file}: {error.strerror}.") from None
    except Refused as refused:
        raise FixInput(f"{file} is not valid evidence: {refused.verdict}.") from None
    if as_json:
        typer.echo(json.dumps(asdict(finding), indent=2, default=bytes.hex))
    else:
        for sentence in report.sentences(finding):
            typer.echo(sentence)


@contextmanager
def _opened(directory: Path) -> Iterator[tuple[Settings, SeedSigner, Store]]:
    settings, signer = folder.load_settings(directory), folder.load_key(directory)
    gateway = device_id(signer.public_key)
    store = Store.open(directory / folder.LEDGER, settings.network, settings.kind, gateway)
    try:
        yield settings, signer, store
    finally:
        store.close()


def _member(device: str, store: Store) -> str:
    device = device if device.startswith("did:key:") else f"did:key:{device}"
    if Register(store).membership(device) is None:
        raise FixInput(f"No device {device} here: `fieldproof-gateway devices` lists them.")
    return device


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
    host, port, tls = settings.endpoint()
    if host not in ("127.0.0.1", "localhost") or tls:
        raise FixInput(
            f"The embedded broker serves mqtt://127.0.0.1 only, the settings say {settings.broker}."
        )
    try:
        from gateway.broker import EmbeddedBroker
    except ModuleNotFoundError:
        raise FixInput('The embedded broker needs amqtt: run `pip install "fieldproof[broker]"`.') from None
    embedded = EmbeddedBroker(port)
    try:
        yield
    finally:
        embedded.close()


def _new_claim(settings: Settings, signer: SeedSigner, expires_s: int) -> JoinClaim:
    return JoinClaim(
        network=settings.network,
        kind=settings.kind,
        gateway_keys=(signer.public_key,),
        broker_url=settings.broker,
        claim_id=secrets.token_bytes(CLAIM_ID_BYTES),
        secret=secrets.token_bytes(SECRET_BYTES),
        expires_s=expires_s,
    )


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


def _configure_log(as_json: bool) -> None:
    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    render: Any = structlog.processors.JSONRenderer() if as_json else logfmt
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
