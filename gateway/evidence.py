"""Evidence bundles (§11): written from the ledger, and told in plain words after `proof.bundle.examine`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.ledger import Ledger
from gateway.register import Register
from proof import bundle, receipt, sealing
from proof.bundle import Finding
from proof.keys import Signer


def pieces(device: str, ledger: Ledger, register: Register, signer: Signer, now_s: int) -> Iterator[bytes]:
    """A member's bundle piece by piece: membership, each beacon before the first proof that names it,
    accepted proofs in chain order, a receipt. Nothing for a stranger."""
    membership, latest = register.membership(device), ledger.receipt(device)
    if membership is None or latest is None:
        return

    def objects() -> Iterator[bytes]:
        yield membership
        named: set[bytes] = set()
        for data in register.accepted(device):
            for beacon_hash in sealing.parse(data).claims.freshness[:1]:
                beacon = None if beacon_hash in named else register.beacon_data(beacon_hash)
                named.add(beacon_hash)
                if beacon is not None:
                    yield beacon
            yield data
        yield receipt.sign(latest, signer, now_s)

    yield from bundle.write(device, ledger.network, objects())


def sentences(finding: Finding) -> Iterator[str]:
    """What a bundle shows, line by line."""
    kind = "a SIMULATED device" if finding.simulated else "a device"
    yield f"Signed by {finding.device},"
    yield f"  {kind} of network {finding.network!r}, key kept in: {finding.key_class}."
    yield (
        f"{finding.proofs} proofs (seq {finding.first_seq} to {finding.last_seq}) with {finding.readings} "
        "readings; every signature and link of the chain fits."
    )
    yield f"Signed after:  {_time(finding.signed_after_s, 'nothing shows it, there is no beacon in it')}"
    yield f"Signed before: {_time(finding.signed_before_s, 'nothing shows it, no receipt covers all')}"
    yield f"A gateway confirmed proofs up to seq {finding.receipted_seq}."
    for instrument in finding.instruments:
        certificate = "with" if instrument.calibration_hash else "without"
        yield (
            f"Instrument {instrument.name}: {instrument.model} on {instrument.bus}, "
            f"{instrument.serial_kind} {instrument.serial}, {certificate} calibration certificate"
        )
        for quantity in instrument.quantities:
            yield (
                f"  {quantity.name} in {quantity.unit}, resolution {quantity.resolution:g}, "
                f"standard uncertainty {quantity.uncertainty:g}"
            )
    missing = [f"seq {gap.first_seq} to {gap.last_seq} ({gap.reason})" for gap in finding.gaps]
    yield f"Proofs the device declared lost: {', '.join(missing) or 'none'}."
    yield f"Samples the device declared lost: {finding.lost or 'none'}."
    flagged = [f"{code} {count}" for code, count in finding.flags]
    yield f"Readings flagged: {', '.join(flagged) or 'none'}."


def _time(seconds: int | None, otherwise: str) -> str:
    return iso(seconds) if seconds is not None else otherwise


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
