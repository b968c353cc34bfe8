"""`fieldproof-provision`: init, join, show; calibrator-key, calibrate.

- Exit code 0: done; 1: not now, it may work later; 2: a person must act. Bad input never changes anything.
- `--json` prints one object; a failure is then {"error": sentence}.
- Every command may be repeated: it converges to the same state and says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.broker import parse_broker_url
from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.errors import AgentError, HardStop, JoinFirst
from agent.keystore import Board, create_key, key_exists, open_key, open_next_key
from agent.membership import FixMembership, Joined, load, save
from agent.mqtt import Link
from agent.settings import Settings
from agent.settings import load as load_settings
from proof.calibration import Certificate
from proof.cose import object_hash
from proof.joining import MAX_CLAIM_CHARS
from proof.keys import device_id, multibase_part
from provisioning import calibrating, identity, joining
from provisioning.asking import DEADLINE_S, ask
from provisioning.fitting import Fit

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    help="Gives this device its identity and its place in a network.",
    pretty_exceptions_enable=False,
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The agent's configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
CONFIG = Path("/etc/fieldproof/agent.toml")


@app.command()
def init(
    context: typer.Context,
    config: Config = CONFIG,
    write_config: Annotated[
        bool, typer.Option("--write-config", help="First write a commented example, if there is no file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make this device's key. Where there is one, only say which."""
    with _doorway(as_json):
        wrote = write_config and identity.write_example(config)
        settings = load_settings(config)
        given, new = identity.give(settings, _now_s(), _board(context))
        news = [f"A configuration was written to {config}; look at its instruments."] if wrote else []
        news.append("The key was made." if new else "The key was there already; nothing was changed.")
        _print(as_json, {**asdict(given), "created": new}, news)


@app.command()
def join(
    context: typer.Context,
    claim: Annotated[str, typer.Argument(help="The claim of the network's operator; - reads it from stdin.")],
    config: Config = CONFIG,
    deadline_s: Annotated[float, typer.Option(min=1, max=3600, help="How long to wait.")] = DEADLINE_S,
    as_json: AsJson = False,
) -> None:
    """Join the network of CLAIM, or ask again for the membership."""
    with _doorway(as_json):
        text = sys.stdin.buffer.read(MAX_CLAIM_CHARS + 1).decode(errors="replace") if claim == "-" else claim
        wanted = joining.read_claim(text, _now_s())
        settings, board = load_settings(config), _board(context)
        signer = open_key(settings.key, board)
        device = signer.device
        before = _joined_before(settings, device)
        if before is not None and before.membership.network != wanted.network:
            raise HardStop(
                f"This device is a member of {before.membership.network}, and its journal belongs there. For "
                f"{wanted.network} use another state_dir, or move {settings.membership_path} away."
            )
        next_key = open_next_key(settings.key, board).public_key
        asked = joining.request(wanted, identity.descriptor(signer), signer, next_key, _now_s())
        broker = parse_broker_url(settings.mqtt.broker_url or wanted.broker_url, settings.mqtt)
        joined = ask(
            asked, lambda on_event: Link(broker, multibase_part(device), on_event), _now_s, deadline_s
        )
        save(settings.membership_path, joined)
        new = before is None or before.membership != joined.membership
        news = f"Joined {wanted.network}." if new else f"Already a member of {wanted.network}."
        _print(as_json, {"device": device, **_membership(joined), "joined_now": new}, [news])


@app.command()
def show(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Say who this device is and where it belongs; exit code 1 if something is still to do."""
    with _doorway(as_json):
        settings = load_settings(config)
        facts: dict[str, Any] = {"key": settings.key, "state_dir": str(settings.state_dir)}
        to_do = []
        try:
            signer = open_key(settings.key, _board(context))
            facts = asdict(identity.describe(settings, signer))
            joined = load(settings.membership_path, facts["device"], _now_s())
            facts |= _membership(joined)
        except AgentError as error:
            to_do.append(error.sentence)
        _print(as_json, {**facts, "to_do": to_do} if as_json else facts, to_do)
    if to_do:
        raise typer.Exit(1)


@app.command()
def calibrator_key(
    context: typer.Context,
    uri: Annotated[str, typer.Argument(help="Where the key is or shall be, like file:/PATH.")],
    as_json: AsJson = False,
) -> None:
    """Make a calibrator's key, or say which there is. Nodes name its id in `calibrators`."""
    with _doorway(as_json):
        board = _board(context)
        new = not key_exists(uri, board)
        signer = create_key(uri, _now_s(), board) if new else open_key(uri, board)
        news = "The key was made." if new else "The key was there already; nothing was changed."
        _print(as_json, {"calibrator": device_id(signer.public_key), "key": uri, "created": new}, [news])


@app.command()
def calibrate(
    context: typer.Context,
    instrument: Annotated[str, typer.Option(help="Its name in the configuration.")],
    quantity: Annotated[str, typer.Option(help="What is calibrated, like temperature.")],
    reference: Annotated[Path, typer.Option(help="CSV with time,reference.")],
    reference_name: Annotated[str, typer.Option(help="What the reference is, with its certificate.")],
    reference_uncertainty: Annotated[float, typer.Option(min=0, help="Standard, in the quantity's unit.")],
    calibrator_key: Annotated[str, typer.Option(help="URI of the key that signs, like file:/PATH.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The certificate to write.")],
    config: Config = CONFIG,
    device: Annotated[Path | None, typer.Option(help="CSV with time,value (and humidity).")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Or an evidence bundle of the device.")] = None,
    gateway_key: Annotated[list[str] | None, typer.Option(help="did:key to judge the bundle by.")] = None,
    identity_text: Annotated[
        str,
        typer.Option("--identity", help="MODEL,KIND,SERIAL; not given: it is opened here."),
    ] = "",
    model: Annotated[
        str, typer.Option(help="linear, polynomial:N, or humidity-corrected-pm (published, not fitted).")
    ] = "linear",
    humidity_serial: Annotated[str, typer.Option(help="Whose humidity; not given: its own.")] = "",
    tolerance_s: Annotated[float, typer.Option(min=0, help="Farthest apart in time.")] = 60.0,
    valid_days: Annotated[int, typer.Option(min=1, max=36_500, help="From today.")] = 365,
    plot: Annotated[Path | None, typer.Option(help="A PNG of fit and residuals to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a calibration certificate from a co-location of the device with a reference."""
    with _doorway(as_json):
        signer = open_key(calibrator_key, _board(context))
        request = calibrating.Request(
            instrument, quantity, model, reference, reference_name, reference_uncertainty, valid_days,
            tolerance_s, device, bundle, tuple(gateway_key or ()), identity_text, humidity_serial,
        )  # fmt: skip
        clock = SystemClock()
        buses = HardwareBuses(clock)
        try:
            certificate, fit, pairs = calibrating.make(load_settings(config), request, buses, clock, _now_s())
        finally:
            buses.close()
        data = calibrating.signed(certificate, signer)
        files = [(output, data)]
        if plot is not None:
            from provisioning.plotting import png

            files.append((plot, png(pairs, certificate, fit)))
        calibrating.write_new(files)
        facts = {
            "certificate": str(output),
            "hash": object_hash(data).hex(),
            **_certificate(certificate, fit),
        }
        _print(as_json, facts | {"calibrator": device_id(signer.public_key)}, [])


def main() -> None:
    app()


@contextmanager
def _doorway(as_json: bool) -> Iterator[None]:
    """Every expected failure leaves as one sentence and an exit code."""
    try:
        yield
    except AgentError as error:
        sentence = _printable(error.sentence)
        said = json.dumps({"error": sentence}) if as_json else f"fieldproof-provision: {sentence}"
        typer.echo(said, err=not as_json)
        raise typer.Exit(error.exit_code) from None


def _print(as_json: bool, facts: dict[str, Any], news: list[str]) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if not isinstance(value, bool):
            for item in value if isinstance(value, list | tuple) else [value]:
                shown = "none" if item is None else f"{item:.6g}" if isinstance(item, float) else item
                typer.echo(_printable(f"{name.replace('_', ' '):<12} {shown}"))
    for sentence in news:
        typer.echo(_printable(sentence))


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


def _certificate(certificate: Certificate, fit: Fit) -> dict[str, Any]:
    said = certificate
    return {
        "instrument": f"{said.instrument_model}, {said.serial_kind} {said.serial}",
        "quantity": f"{said.quantity} ({said.unit})",
        "model": said.model,
        "issued": joining.date(said.issued_s),
        "expires": None if said.expires_s is None else joining.date(said.expires_s),
        **asdict(fit),
    }


def _joined_before(settings: Settings, device: str) -> Joined | None:
    try:
        return load(settings.membership_path, device, _now_s())
    except (JoinFirst, FixMembership):
        return None


def _board(context: typer.Context) -> Board:
    return context.obj if isinstance(context.obj, Board) else Board()


def _now_s() -> int:
    return SystemClock().wall().ns // 1_000_000_000


def _printable(text: str) -> str:
    """Without what could move a terminal's cursor: parts may come from the network."""
    return "".join(char if char.isprintable() else "?" for char in text)


if __name__ == "__main__":
    main()
