"""What a device says of itself in its proofs (§3.4): who keeps its key, which board it is, its instruments.

- An instrument is in it once it has said who it is, and then as it said so the last time.
- Samplers' threads change it one after the other: the last of them has seen what all the others said.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import __version__
from agent.sealer import Sealer
from agent.settings import InstrumentSettings
from drivers.contract import Identity, Instrument
from proof.calibration import SignedCertificate, combined_hash
from proof.descriptor import Descriptor, InstrumentDescriptor, QuantityDescriptor

_MODEL = Path("/proc/device-tree/model")


class Description:
    """Kept up to date in `sealer`."""

    def __init__(
        self,
        sealer: Sealer,
        key_class: str,
        settings: Sequence[InstrumentSettings],
        instruments: Mapping[str, Instrument],
        certificates: Mapping[str, Sequence[SignedCertificate]],
    ) -> None:
        self._sealer, self._key_class, self._hardware = sealer, key_class, hardware_model()
        self._settings, self._instruments, self._certificates = settings, instruments, certificates
        self._identities: dict[str, Identity] = {}
        self._lock = threading.Lock()

    def identified(self, name: str, identity: Identity) -> None:
        """Instrument `name` was opened."""
        with self._lock:
            self._identities[name] = identity
            self.tell()

    def tell(self) -> None:
        """Once before the first seal, also where no instrument could be opened."""
        self._sealer.descriptor = Descriptor(
            agent="fieldproof",
            version=__version__,
            key_class=self._key_class,
            simulated=self._key_class == "sim",
            hardware=self._hardware,
            instruments=tuple(
                _describe(i, self._instruments[i.name], self._identities[i.name], self._certificates[i.name])
                for i in self._settings
                if i.name in self._identities
            ),
        )


def hardware_model() -> str:
    """The board's own name for itself, else the processor's."""
    try:
        return _MODEL.read_text().rstrip("\0\n")[:128]
    except OSError:
        return platform.machine()


def _describe(
    settings: InstrumentSettings,
    instrument: Instrument,
    identity: Identity,
    certificates: Sequence[SignedCertificate],
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
