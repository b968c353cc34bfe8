"""A calibration certificate (§12) out of a co-location.

    device's values (CSV or bundle) + reference (CSV) -> pairs -> fit -> certificate, signed -> file, plot

- The certificate names the instrument by what it says of itself: opened here, read from the bundle, or given
  by the calibrator. It is valid for the values that the device gave in the co-location, and no others.
- Nothing is written before everything is done, and nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.buses import Buses, PaperBuses
from agent.clock import Clock
from agent.errors import FixConfig, HardStop, TryAgain
from agent.instruments import build_instrument
from agent.settings import InstrumentSettings, Settings
from drivers.contract import Identity
from drivers.errors import DriverError, NeedsHuman
from proof import calibration
from proof.calibration import HUMIDITY_CORRECTED_PM, Certificate
from proof.keys import Signer, public_key_of
from proof.reasons import Refused
from provisioning import colocation, fitting, wholefile
from provisioning.colocation import Moment, Pair
from provisioning.fitting import Fit

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Request:
    """What the calibrator asks for; `device` or `bundle`. `identity` is "" or MODEL,KIND,SERIAL.
    `humidity_serial`: whose humidity the device's CSV holds, "" for the instrument's own."""

    instrument: str
    quantity: str
    model: str
    reference: Path
    reference_name: str
    reference_uncertainty: float
    valid_days: int
    tolerance_s: float
    device: Path | None = None
    bundle: Path | None = None
    gateway_keys: tuple[str, ...] = ()
    identity: str = ""
    humidity_serial: str = ""


def make(
    settings: Settings, request: Request, buses: Buses, clock: Clock, now_s: int
) -> tuple[Certificate, Fit, Sequence[Pair]]:
    """The certificate, not signed yet; raises `AgentError`."""
    model, degree = fitting.parse_model(request.model)
    instrument = next((i for i in settings.instrument if i.name == request.instrument), None)
    if instrument is None:
        names = ", ".join(i.name for i in settings.instrument)
        raise FixConfig(f"--instrument: the configuration has no {request.instrument!r}; it has {names}.")
    quantities = {q.name: q for q in build_instrument(instrument, PaperBuses(), clock).quantities}
    if request.quantity not in quantities:
        raise FixConfig(
            f"--quantity: {request.instrument} measures {', '.join(quantities)}, not {request.quantity!r}."
        )
    with_humidity = model == HUMIDITY_CORRECTED_PM
    reference = colocation.read_csv(request.reference, ["reference"])
    identity, device = _device(request, instrument, with_humidity, buses, clock)
    pairs = colocation.join(reference, device, request.tolerance_s)
    fit = fitting.fit(pairs, model, degree, request.reference_uncertainty)
    certificate = Certificate(
        instrument_model=identity.model,
        serial=identity.serial,
        serial_kind=identity.kind,
        quantity=request.quantity,
        unit=quantities[request.quantity].unit,
        model=model,
        coefficients=fit.coefficients,
        reference=request.reference_name,
        uncertainty=fit.uncertainty,
        low=fit.low,
        high=fit.high,
        issued_s=now_s,
        expires_s=now_s + request.valid_days * DAY_S,
        humidity_serial=request.humidity_serial if with_humidity else "",
    )
    return certificate, fit, pairs


def signed(certificate: Certificate, signer: Signer) -> bytes:
    """Raises `HardStop` for what no reader would accept: a text too long, an uncertainty of 0."""
    try:
        return calibration.sign(certificate, signer)
    except Refused as refused:
        raise HardStop(f"This makes no certificate: {refused.verdict.detail}.") from None


def write_new(files: Sequence[tuple[Path, bytes]]) -> None:
    """All of them, where none is there yet; raises `FixConfig`."""
    there = next((path for path, _ in files if path.exists()), None)
    for path, data in files:
        if there or not wholefile.write_new(path, data):
            raise FixConfig(f"{there or path} is already there and stays as it is: give another name.")


def _device(
    request: Request, instrument: InstrumentSettings, with_humidity: bool, buses: Buses, clock: Clock
) -> tuple[Identity, list[Moment]]:
    match request.device, request.bundle:
        case Path() as device, None:
            columns = ["value", "humidity"] if with_humidity else ["value"]
            moments = colocation.read_csv(device, columns)
            return _stated(request.identity) or _opened(instrument, buses, clock), moments
        case None, Path() as path if with_humidity or request.identity:
            option = f"--model {HUMIDITY_CORRECTED_PM}" if with_humidity else "--identity"
            raise FixConfig(f"{option} goes with --device, not with --bundle {path}.")
        case None, Path() as path:
            keys = [_gateway_key(did) for did in request.gateway_keys]
            return colocation.read_bundle(path, keys, request.instrument, request.quantity)
        case _:
            raise FixConfig("Give the device's values once: --device FILE.csv or --bundle FILE.")


def _stated(text: str) -> Identity | None:
    if not text:
        return None
    match [part.strip() for part in text.split(",")]:
        case [str(model), str(kind), str(serial)] if model and kind:
            return Identity(model, serial, kind)
    raise FixConfig(f"--identity: {text[:80]!r} is not like BME280,trim-sha256,5d0c39f1a2b3c4d5.")


def _opened(instrument: InstrumentSettings, buses: Buses, clock: Clock) -> Identity:
    """Who the instrument is; the agent must not hold it at the same time."""
    driver = build_instrument(instrument, buses, clock)
    try:
        return driver.open()
    except DriverError as error:
        failure = HardStop if isinstance(error, NeedsHuman) else TryAgain
        raise failure(
            f"Instrument {instrument.name}: {error.sentence} If it is not on this machine, give --identity."
        ) from None
    finally:
        driver.close()


def _gateway_key(did: str) -> bytes:
    try:
        return public_key_of(did)
    except Refused:
        raise FixConfig(f"--gateway-key: {did[:80]!r} is not like did:key:z6Mk….") from None
