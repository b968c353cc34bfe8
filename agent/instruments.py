"""From the configuration to an unopened driver, and from an open one to what a proof says of it (§3.4)."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from agent.buses import Buses, split
from agent.clock import Clock
from agent.errors import FixConfig, HardStop
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.contract import Identity, Instrument
from drivers.errors import NeedsHuman
from proof.calibration import SignedCertificate, combined_hash
from proof.descriptor import InstrumentDescriptor, QuantityDescriptor

_MODEL = Path("/proc/device-tree/model")


def build_instrument(settings: InstrumentSettings, buses: Buses, clock: Clock) -> Instrument:
    """The unopened driver of one instrument; raises `HardStop` for what only a person can mend."""
    try:
        part = catalogue.entry(settings.driver)
        kind, _ = split(settings.bus)
        if kind != part.bus:
            raise NeedsHuman(f"A {settings.driver} is read over {part.bus}:, its bus is {settings.bus!r}.")
        address = catalogue.address_of(settings.driver, settings.address)
        return catalogue.create(settings.driver, buses.get(settings.bus), address, clock)
    except (NeedsHuman, FixConfig) as error:
        raise HardStop(f"Instrument {settings.name}: {error.sentence}") from None


def describe(
    settings: InstrumentSettings,
    instrument: Instrument,
    identity: Identity,
    certificates: Sequence[SignedCertificate] = (),
) -> InstrumentDescriptor:
    uncertainty = {signed.certificate.quantity: signed.certificate.uncertainty for signed in certificates}
    return InstrumentDescriptor(
        name=settings.name,
        driver=settings.driver,
        bus=settings.bus,
        address=settings.address,
        model=identity.model,
        serial=identity.serial,
        serial_kind=identity.kind,
        quantities=tuple(
            QuantityDescriptor(q.name, q.unit, q.resolution, uncertainty.get(q.name, q.uncertainty))
            for q in instrument.quantities
        ),
        calibration_hash=combined_hash(certificates),
        raw_evidence=settings.raw_evidence,
        evidence=identity.evidence if settings.raw_evidence else b"",
    )


def hardware_model() -> str:
    """The board's own name for itself, else the processor's."""
    try:
        return _MODEL.read_text().rstrip("\0\n")[:128]
    except OSError:
        return platform.machine()
