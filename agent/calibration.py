"""Calibration (§12): the certificates that the configuration names, checked once, applied to each sample.

- A certificate counts only if its signer is one of the owner's `calibrators`; what is wrong with one is said
  with the file's name and stops the start. Of another instrument than the one that was opened: that
  instrument is not sampled, the others are.
- Corrected before flags and rounding; raw words stay raw. Outside the range of validity: flag 1. Expired at
  the sample's wall time: flag 64, where the clock has a source.
- A value that cannot be corrected is not published: humidity is waited for, never guessed or repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.clock import SOURCE_NONE, Wall
from agent.errors import FixConfig
from agent.settings import InstrumentSettings, Settings
from drivers.contract import Flag, Identity, Instrument, Quantity
from drivers.errors import NeedsHuman
from proof import calibration
from proof.calibration import SignedCertificate
from proof.keys import public_key_of
from proof.reasons import Refused

HUMIDITY, HUMIDITY_UNIT = "humidity", "%RH"
HUMIDITY_OLD_NS = 600 * 10**9  # §12.4


class Humidities:
    """The newest humidity of each instrument by its serial number; the calibrators of a node share it.
    Threads only replace entries, so no lock is needed."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[float, int]] = {}

    def note(self, serial: str, value: float, boottime_ns: int) -> None:
        self._newest[serial] = (value, boottime_ns)

    def at(self, serial: str, boottime_ns: int) -> float | None:
        """What `serial` gave within 600 s before or after `boottime_ns`."""
        value, noted_ns = self._newest.get(serial, (0.0, -HUMIDITY_OLD_NS - 1))
        return value if abs(boottime_ns - noted_ns) <= HUMIDITY_OLD_NS else None


@dataclass(frozen=True, slots=True)
class Corrected:
    """`problem` is "" or a sentence for what had to be left out."""

    values: tuple[float | None, ...]
    flags: int = 0
    problem: str = ""


class Calibrator:
    """The certificates of one instrument, aligned with its quantities."""

    def __init__(
        self,
        quantities: Sequence[Quantity],
        certificates: Sequence[SignedCertificate],
        humidities: Humidities,
    ) -> None:
        by_quantity = {signed.certificate.quantity: signed.certificate for signed in certificates}
        self._certificates = [by_quantity.get(quantity.name) for quantity in quantities]
        self._names = [quantity.name for quantity in quantities]
        self._humidity_at = next(
            (n for n, q in enumerate(quantities) if (q.name, q.unit) == (HUMIDITY, HUMIDITY_UNIT)), None
        )
        self._humidities = humidities
        self._serial = ""

    def require(self, name: str, identity: Identity) -> None:
        """That `identity`, just opened, is the instrument the certificates are for; raises `NeedsHuman`."""
        for said in filter(None, self._certificates):
            if not said.is_for(identity.model, identity.serial, identity.kind):
                raise NeedsHuman(
                    f"Instrument {name}: its {said.quantity} certificate is for the {said.instrument_model} "
                    f"with {said.serial_kind} {said.serial!r}, this is the {identity.model} with "
                    f"{identity.kind} {identity.serial!r}: put the right one in, or correct `calibration`."
                )
        self._serial = identity.serial

    def correct(self, values: Sequence[float | None], wall: Wall, boottime_ns: int) -> Corrected:
        """Aligned values in and out; `wall` and `boottime_ns` are those of the sample."""
        corrected, flags, problem = list(values), Flag(0), ""
        # Humidity first: a correction that needs it takes the corrected one.
        for place in sorted(range(len(values)), key=lambda place: place != self._humidity_at):
            value, certificate = values[place], self._certificates[place]
            if value is None or certificate is None:
                continue
            if not certificate.low <= value <= certificate.high:
                flags |= Flag.RANGE
            if wall.source != SOURCE_NONE and certificate.expires_s is not None:
                flags |= Flag.CALIBRATION_EXPIRED if wall.ns >= certificate.expires_s * 10**9 else Flag(0)
            own = None if self._humidity_at is None else corrected[self._humidity_at]
            serial = certificate.humidity_serial
            humidity = self._humidities.at(serial, boottime_ns) if serial else own
            corrected[place] = calibration.apply(certificate, value, humidity)
            if corrected[place] is None:
                problem = f"{self._names[place]} is left out: " + (
                    f"no humidity of {serial or 'the instrument itself'} is known for its correction."
                    if certificate.needs_humidity and humidity is None
                    else f"its certificate makes no usable number of {value}."
                )
        if self._humidity_at is not None and (heard := corrected[self._humidity_at]) is not None:
            self._humidities.note(self._serial, heard, boottime_ns)
        return Corrected(tuple(corrected), int(flags), problem)


def read_certificates(
    instrument: InstrumentSettings, calibrators: Sequence[str]
) -> tuple[SignedCertificate, ...]:
    """The signed files `calibration` names, each of a signer in `calibrators`; raises `FixConfig`."""
    return tuple(
        _opened(f"Instrument {instrument.name}", path, calibrators) for path in instrument.calibration
    )


def _matched(
    instrument: InstrumentSettings, quantities: Sequence[Quantity], certificates: Sequence[SignedCertificate]
) -> tuple[SignedCertificate, ...]:
    """`certificates` in the order of `quantities`; raises `FixConfig` for one that fits none of them, and
    for two of one quantity."""
    units = {quantity.name: quantity.unit for quantity in quantities}
    found: dict[str, SignedCertificate] = {}
    for path, signed in zip(instrument.calibration, certificates, strict=True):
        said, where = signed.certificate, f"Instrument {instrument.name}: the certificate {path}"
        if said.quantity not in units:
            raise FixConfig(f"{where} is for {said.quantity}; it measures {', '.join(units)}.")
        if said.unit != units[said.quantity]:
            raise FixConfig(
                f"{where} is in {said.unit}, the instrument gives {said.quantity} in {units[said.quantity]}."
            )
        if said.quantity in found:
            raise FixConfig(f"{where} is the second one for {said.quantity}: keep the newer one.")
        if said.needs_humidity and not said.humidity_serial and units.get(HUMIDITY) != HUMIDITY_UNIT:
            raise FixConfig(f"{where} needs the instrument's own humidity, which it does not measure.")
        found[said.quantity] = signed
    return calibration.in_order(units, found)


def certificates_of(
    settings: Settings, instruments: Mapping[str, Instrument]
) -> dict[str, tuple[SignedCertificate, ...]]:
    """By instrument, in the order of its quantities; raises `FixConfig`. Touches no hardware."""
    for did in settings.calibrators:
        try:
            public_key_of(did)
        except Refused:
            raise FixConfig(
                f"calibrators: {did[:80]!r} is not like did:key:z6Mk…: `fieldproof-provision calibrator-key` "
                "prints yours."
            ) from None
    return {
        i.name: _matched(i, instruments[i.name].quantities, read_certificates(i, settings.calibrators))
        for i in settings.instrument
    }


def _opened(where: str, path: Path, calibrators: Sequence[str]) -> SignedCertificate:
    try:
        with path.open("rb") as file:
            signed = calibration.open_certificate(file.read(calibration.MAX_BYTES + 1))
    except OSError as error:
        raise FixConfig(f"{where}: the certificate {path} cannot be read: {error.strerror}.") from None
    except ValueError:  # a path with a NUL
        raise FixConfig(f"{where}: {str(path)!r} is no file's name.") from None
    except Refused as refused:
        raise FixConfig(f"{where}: {path} is no calibration certificate: {refused.verdict}") from None
    if signed.calibrator not in calibrators:
        raise FixConfig(
            f"{where}: the certificate {path} is signed by {signed.calibrator}, who is not among "
            "`calibrators`: add that key if you trust it."
        )
    return signed
