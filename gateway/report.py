"""What people read: the list of devices, and what an evidence bundle shows, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from gateway.claims import NewClaim, State
from gateway.register import ClaimLine, DeviceLine
from proof.bundle import Finding
from proof.calibration import SignedCertificate
from proof.descriptor import InstrumentDescriptor
from proof.keys import key_id, multibase_part


def lines(devices: list[DeviceLine]) -> Iterator[str]:
    """A few short lines a device: they fit a terminal of 80 columns and a pipe."""
    for line in devices:
        yield f"{multibase_part(line.device)}" + " SUSPENDED" * line.suspended + " REVOKED" * line.revoked
        accepted = _iso(line.received_s) if line.received_s else "never"
        owner = f"owner {line.owner}, " if line.owner else ""
        yield f"  {owner}enrolled {_iso(line.enrolled_s)}, last accepted {accepted}"
        held = f", {line.held} held" if line.held else ""
        keys = f", key number {line.keys}" if line.keys > 1 else ""
        yield f"  head {line.head_seq}, {line.proofs} proofs with {line.readings} readings{held}{keys}"
        if line.logs:
            newest = line.logs[-1]
            more = f", {len(line.logs)} new logs in all" if len(line.logs) > 1 else ""
            yield f"  new log since {_iso(newest.began_s)}: {newest.reason}{more}"
        if line.two_boards_s is not None:
            yield f"  TWO BOARDS sign with its key, or an old card ran: {_iso(line.two_boards_s)}"
        verdicts = ", ".join(f"{code} {count}" for code, count in sorted(line.verdicts.items()))
        if verdicts:
            yield f"  verdicts: {verdicts}"


def new_claim(made: NewClaim) -> Iterator[str]:
    owner = f" for {made.owner}" if made.owner else ""
    yield f"Claim {made.id}{owner}, good for one device until {_iso(made.expires_s)}:"


def claim(line: ClaimLine, state: State) -> str:
    owner = f"  {line.owner}" if line.owner else ""
    match state:
        case "used":
            said = f"used by {multibase_part(line.used_by or '')}"
        case "withdrawn":
            said = "withdrawn"
        case _:
            said = f"{state}, {'until' if state == 'open' else 'on'} {_iso(line.expires_s)}"
    return f"{line.id}  {said}{owner}"


def as_json(line: DeviceLine) -> dict[str, Any]:
    return asdict(line) | {"suspended": bool(line.suspended), "revoked": bool(line.revoked)}


def sentences(finding: Finding) -> Iterator[str]:
    """What a bundle shows, line by line."""
    kind = "a SIMULATED device" if finding.simulated else "a device"
    yield f"Signed by {finding.device},"
    yield f"  {kind} of network {finding.network!r}, key kept in: {finding.key_class}."
    yield (
        f"{finding.proofs} proofs (seq {finding.first_seq} to {finding.last_seq}) with {finding.readings} "
        "readings; every signature and link of the chain fits."
    )
    for turn in finding.turns:
        word = "a gateway confirmed it" if turn.confirmed else "no receipt here shows that a gateway took it"
        yield f"From seq {turn.seq} of log {turn.log.hex()} on signed by another key of this device,"
        yield f"  {key_id(turn.new_key).hex()}; {word}."
    yield f"Signed after:  {_time(finding.signed_after_s, 'nothing shows it, there is no beacon in it')}"
    yield f"Signed before: {_time(finding.signed_before_s, 'nothing shows it, no receipt covers all')}"
    yield f"A gateway confirmed proofs up to seq {finding.receipted_seq}."
    for instrument in finding.instruments:
        yield (
            f"Instrument {instrument.name}: {instrument.model} on {instrument.bus}, "
            f"{instrument.serial_kind} {instrument.serial}"
        )
        for quantity in instrument.quantities:
            yield (
                f"  {quantity.name} in {quantity.unit}, resolution {quantity.resolution:g}, "
                f"standard uncertainty {quantity.uncertainty:g}"
            )
        yield from _calibration(
            instrument, [signed for name, signed in finding.certificates if name == instrument.name]
        )
    missing = [f"seq {gap.first_seq} to {gap.last_seq} ({gap.reason})" for gap in finding.gaps]
    yield f"Proofs the device declared lost: {', '.join(missing) or 'none'}."
    for named in finding.elsewhere:
        yield f"A log ({named.reason}) follows log {named.log.hex()}, which is not in this bundle there."
    yield f"Samples the device declared lost: {finding.lost or 'none'}."
    flagged = [f"{code} {count}" for code, count in finding.flags]
    yield f"Readings flagged: {', '.join(flagged) or 'none'}."


def _calibration(instrument: InstrumentDescriptor, certificates: list[SignedCertificate]) -> Iterator[str]:
    if not instrument.calibration_hash:
        yield "  without calibration certificate"
    elif not certificates:
        yield "  with calibration certificate, which is not in the bundle"
    for signed in certificates:
        said = signed.certificate
        until = "without expiry" if said.expires_s is None else f"valid until {_iso(said.expires_s)}"
        yield f"  {said.quantity} calibrated against {said.reference} on {_iso(said.issued_s)}, {until},"
        yield f"    by {signed.calibrator}"


def _time(seconds: int | None, otherwise: str) -> str:
    return _iso(seconds) if seconds is not None else otherwise


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
