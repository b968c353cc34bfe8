"""What `--json` prints, field by field (docs/evidence.md). Fields may be added; none changes its meaning.

- Hashes and keys are lower-case hex, times whole or fractional seconds since 1970, absent things null.
"""

from __future__ import annotations

from typing import Any

from proof.calibration import SignedCertificate
from proof.claims import Gap, Lost, Predecessor
from proof.descriptor import InstrumentDescriptor
from proof.finding import Coverage, Finding, Part
from proof.keys import key_id
from proof.sequence import Spoiled
from verifier import standing

VERSION = 1


def of(finding: Finding) -> dict[str, Any]:
    return {
        "version": VERSION,
        "valid": True,
        "device": finding.device,
        "network": finding.network,
        "network_kind": finding.network_kind,
        "gateway": finding.gateway,
        "key_class": finding.key_class,
        "simulated": finding.simulated,
        "proofs": finding.proofs,
        "readings": finding.readings,
        "unreadable": dict(finding.unreadable),
        "first_seq": finding.first_seq,
        "last_seq": finding.last_seq,
        "logs": [
            {"log": s.log.hex(), "first_seq": s.first_seq, "last_seq": s.last_seq, "proofs": s.proofs}
            for s in finding.logs
        ],
        "parts": [_part(part) for part in finding.parts],
        "signed_after_s": finding.signed_after_s,
        "signed_before_s": finding.signed_before_s,
        "receipted_seq": finding.receipted_seq,
        "turns": [
            {
                "log": turn.log.hex(),
                "seq": turn.seq,
                "kid": key_id(turn.new_key).hex(),
                "confirmed": turn.confirmed,
            }
            for turn in finding.turns
        ],
        "elsewhere": [_predecessor(named) for named in finding.elsewhere],
        "gaps": [_gap(gap) for gap in finding.gaps],
        "lost": finding.lost,
        "losses": [_loss(lost) for lost in finding.losses],
        "flags": dict(finding.flags),
        "instruments": [_instrument(i, finding) for i in finding.instruments],
        "former_instruments": [_instrument(i, finding) for i in finding.former],
        "undescribed_proofs": finding.undescribed,
        "coverage": [_coverage(one) for one in finding.coverage],
    }


def spoiled(error: Spoiled) -> dict[str, Any]:
    place = error.place
    return {
        "version": VERSION,
        "valid": False,
        "code": error.verdict.reason.value,
        "detail": error.detail,
        "object": {
            "number": place.number,
            "kind": place.kind or None,
            "seq": place.seq or None,
            "first_byte": place.offset,
            "last_byte": place.last,
        },
    }


def _instrument(instrument: InstrumentDescriptor, finding: Finding) -> dict[str, Any]:
    signed = [certificate for name, certificate in finding.certificates if name == instrument.name]
    calibrations = signed if instrument in finding.instruments else []
    span = next((one for one in finding.coverage if one.instrument == instrument.name), None)
    return {
        "name": instrument.name,
        "model": instrument.model,
        "driver": instrument.driver,
        "bus": instrument.bus,
        "address": instrument.address,
        "serial": instrument.serial,
        "serial_kind": instrument.serial_kind,
        "quantities": [
            {"name": q.name, "unit": q.unit, "resolution": q.resolution, "uncertainty": q.uncertainty}
            for q in instrument.quantities
        ],
        "calibrated": instrument.calibration_hash is not None,
        "calibrations": [_calibration(one, span) for one in calibrations],
    }


def _calibration(signed: SignedCertificate, span: Coverage | None) -> dict[str, Any]:
    said = signed.certificate
    return {
        "quantity": said.quantity,
        "calibrator": signed.calibrator,
        "reference": said.reference,
        "uncertainty": said.uncertainty,
        "issued_s": said.issued_s,
        "expires_s": said.expires_s,
        "in_force": standing.of(said, span).value,
    }


def _coverage(one: Coverage) -> dict[str, Any]:
    return {
        "instrument": one.instrument,
        "readings": one.readings,
        "undated": one.undated,
        "first_s": one.first_ms / 1000,
        "last_s": one.last_ms / 1000,
        "interval_s": one.interval_ms / 1000,
        "covered": round(one.covered, 6),
        "holes": [
            {"from_s": hole.from_ms / 1000, "to_s": hole.to_ms / 1000, "why": hole.why.value}
            for hole in one.holes
        ],
        "flags": dict(one.flags),
    }


def _part(part: Part) -> dict[str, Any]:
    named = part.beacon
    return {
        "first_log": part.first_log.hex(),
        "first_seq": part.first_seq,
        "last_log": part.last_log.hex(),
        "last_seq": part.last_seq,
        "signed_after_s": part.signed_after_s,
        "signed_before_s": part.signed_before_s,
        "beacon": {"log": named.log.hex(), "seq": named.seq, "issued_s": named.issued_s} if named else None,
    }


def _predecessor(named: Predecessor) -> dict[str, Any]:
    head = named.head_hash.hex() if named.head_hash else None
    return {"log": named.log.hex(), "head": head, "reason": named.reason}


def _gap(gap: Gap) -> dict[str, Any]:
    return {"first_seq": gap.first_seq, "last_seq": gap.last_seq, "reason": gap.reason}


def _loss(lost: Lost) -> dict[str, Any]:
    return {"instrument": lost.instrument, "count": lost.count, "reason": lost.reason}
