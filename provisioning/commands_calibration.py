"""`calibrator-key`, `calibrate`: a calibrator's certificates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.keystore import create_key, key_exists, open_key
from agent.settings import load as load_settings
from proof.calibration import Certificate
from proof.cose import object_hash
from proof.keys import device_id
from provisioning import calibrating, joining
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, now_s, say
from provisioning.fitting import Fit


def calibrator_key(
    context: typer.Context,
    uri: Annotated[str, typer.Argument(help="Where the key is or shall be, like file:/PATH.")],
    as_json: AsJson = False,
) -> None:
    """Make a calibrator's key, or say which there is. Nodes name its id in `calibrators`."""
    with doorway(as_json):
        board = board_of(context)
        new = not key_exists(uri, board)
        signer = create_key(uri, now_s(), board) if new else open_key(uri, board)
        news = "The key was made." if new else "The key was there already; nothing was changed."
        say(as_json, {"calibrator": device_id(signer.public_key), "key": uri, "created": new}, [news])


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
    with doorway(as_json):
        signer = open_key(calibrator_key, board_of(context))
        request = calibrating.Request(
            instrument, quantity, model, reference, reference_name, reference_uncertainty, valid_days,
            tolerance_s, device, bundle, tuple(gateway_key or ()), identity_text, humidity_serial,
        )  # fmt: skip
        clock = SystemClock()
        buses = HardwareBuses(clock)
        try:
            certificate, fit, pairs = calibrating.make(load_settings(config), request, buses, clock, now_s())
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
        say(as_json, facts | {"calibrator": device_id(signer.public_key)}, [])


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
