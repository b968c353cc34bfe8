"""What a bundle shows, in plain words, line by line: who, when, with what, how complete, what was flagged,
and what it does not show."""

from __future__ import annotations

from collections.abc import Iterator

from proof.calibration import SignedCertificate
from proof.descriptor import InstrumentDescriptor
from proof.finding import Coverage, Finding, Why
from proof.keys import key_id
from proof.reasons import Reason
from proof.sequence import Spoiled
from verifier import standing
from verifier.moments import length, utc
from verifier.standing import Standing

_HOLES = {
    Why.LOSS: "the device declared the readings lost",
    Why.GAP: "the device declared the proofs lost",
    Why.NEW_LOG: "the device began a new log",
    Why.OFF: "the device was off or started again",
    Why.UNEXPLAINED: "nothing here explains it",
}
_IN_FORCE = {
    Standing.ALWAYS: "in force during all its readings here",
    Standing.PARTLY: "NOT in force during all its readings here",
    Standing.NEVER: "NOT in force during its readings here",
    Standing.NO_READINGS: "there are no readings of it here",
}
_SKEW_MS = 60_000  # so much two clocks may differ without a word


def spoiled(error: Spoiled) -> str:
    reason = error.verdict.reason
    said = f" ({error.detail})" if error.detail else ""
    return f"Wrong is {error.place}: {reason.value}: {reason.sentence.removesuffix('.')}{said}."


def of(finding: Finding) -> Iterator[str]:
    yield from _who(finding)
    yield from _when(finding)
    for instrument in finding.instruments:
        yield from _instrument(finding, instrument)
    for instrument in finding.former:
        yield f"Earlier readings of {instrument.name} are of another, or it was described otherwise:"
        yield f"  {_identity(instrument)}"
    if finding.undescribed:
        yield f"The instruments of {_count(finding.undescribed, 'proof')} are not described in this bundle."
    for span in finding.coverage:
        yield from _coverage(span, finding.signed_before_s)
    yield from _missing(finding)
    flagged = [f"{code} {count}" for code, count in finding.flags]
    yield f"Readings flagged: {', '.join(flagged) or 'none'}."
    for span in finding.coverage:
        for code, count in span.flags:
            yield f"  {span.instrument}, {count} of {span.readings}: {Reason[code.upper()].sentence}"
    yield "Not shown: that the air was not heated with a lighter, or where the instrument stood."
    yield "  A signature shows which key signed, beacon and receipt between which two moments."


def _who(finding: Finding) -> Iterator[str]:
    kind = {True: "a SIMULATED device", None: "a device, simulated or not,"}.get(
        finding.simulated, "a device"
    )
    yield f"Signed by {finding.device},"
    yield f"  {kind} of {finding.network_kind} network {finding.network!r}, key kept in: {finding.key_class},"
    yield f"  admitted by gateway {finding.gateway}."
    yield (
        f"{_count(finding.proofs, 'proof')} (seq {finding.first_seq} to {finding.last_seq}) with "
        f"{_count(finding.readings, 'reading')}; every signature and link of the chain fits."
    )
    for code, count in finding.unreadable:
        keep = "it keeps its place and counts" if count == 1 else "they keep their place and count"
        yield f"{_count(count, 'proof')} with readings that cannot be read ({code}): {keep} for nothing."
    if len(finding.logs) > 1:
        for log in finding.logs:
            yield f"  log {log.log.hex()}: {log.proofs} proofs, seq {log.first_seq} to {log.last_seq}"
    for turn in finding.turns:
        word = "a gateway confirmed it" if turn.confirmed else "no receipt here shows that a gateway took it"
        yield f"From seq {turn.seq} of log {turn.log.hex()} on signed by another key of this device,"
        yield f"  {key_id(turn.new_key).hex()}; {word}."


def _when(finding: Finding) -> Iterator[str]:
    yield f"Signed after:  {_time(finding.signed_after_s, 'nothing shows it for all of it')}"
    yield f"Signed before: {_time(finding.signed_before_s, 'nothing shows it, no receipt covers all')}"
    if len(finding.parts) > 1:
        yield f"It has {len(finding.parts)} parts; nothing links them, or shows which was first:"
    for part in finding.parts:
        if len(finding.parts) > 1:
            begin = f" of log {part.first_log.hex()}" if part.first_log != part.last_log else ""
            yield f"  seq {part.first_seq}{begin} to {part.last_seq} of log {part.last_log.hex()}:"
            yield f"    after{_bound(part.signed_after_s)}"
            yield f"    before{_bound(part.signed_before_s)}"
        if part.signed_after_s is None and (named := part.beacon):
            yield f"    from seq {named.seq} of log {named.log.hex()} on: after {utc(named.issued_s)}"
    yield f"A gateway confirmed proofs up to seq {finding.receipted_seq}."


def _instrument(finding: Finding, instrument: InstrumentDescriptor) -> Iterator[str]:
    yield f"Instrument {instrument.name}: {_identity(instrument)}"
    for quantity in instrument.quantities:
        yield (
            f"  {quantity.name} in {quantity.unit}, resolution {quantity.resolution:g}, "
            f"standard uncertainty {quantity.uncertainty:g}"
        )
    certificates = [signed for name, signed in finding.certificates if name == instrument.name]
    span = next((one for one in finding.coverage if one.instrument == instrument.name), None)
    if not instrument.calibration_hash:
        yield "  without calibration certificate"
    elif not certificates:
        yield "  with calibration certificate, which is not in the bundle"
    for signed in certificates:
        yield from _calibration(signed, span)


def _calibration(signed: SignedCertificate, span: Coverage | None) -> Iterator[str]:
    said = signed.certificate
    until = "without expiry" if said.expires_s is None else f"valid until {utc(said.expires_s)}"
    yield f"  {said.quantity} calibrated against {said.reference} on {utc(said.issued_s)}, {until},"
    yield f"    by {signed.calibrator};"
    yield f"    {_IN_FORCE[standing.of(said, span)]}"


def _coverage(span: Coverage, signed_before_s: int | None) -> Iterator[str]:
    yield (
        f"Readings of {span.instrument}: {span.readings}, {utc(span.first_ms / 1000)} to "
        f"{utc(span.last_ms / 1000)},"
    )
    if span.interval_ms:
        share = f"{span.covered * 100:.1f} %" if span.holes else "all"
        yield f"  usually {length(span.interval_ms)} apart, which covers {share} of that time"
    for why, said in _HOLES.items():
        holes = [hole for hole in span.holes if hole.why is why]
        if holes:
            lengths_ms = [hole.to_ms - hole.from_ms for hole in holes]
            longest_ms = max(lengths_ms)
            began = utc(holes[lengths_ms.index(longest_ms)].from_ms / 1000)
            count = "1 hole" if len(holes) == 1 else f"{len(holes)} holes, together {length(sum(lengths_ms))}"
            yield f"  {count}: {said};"
            yield f"    the longest {length(longest_ms)} from {began}"
    if span.undated:
        yield f"  {span.undated} of them with the time of a clock that had no source: only the device's word"
    if signed_before_s is not None and (ahead_ms := span.last_ms - signed_before_s * 1000) > _SKEW_MS:
        yield f"  the last is dated {length(ahead_ms)} after a gateway had it: one of the two clocks is wrong"


def _missing(finding: Finding) -> Iterator[str]:
    missing = [f"seq {gap.first_seq} to {gap.last_seq} ({gap.reason})" for gap in finding.gaps]
    yield f"Proofs the device declared lost: {', '.join(missing) or 'none'}."
    for named in finding.elsewhere:
        yield f"A log ({named.reason}) follows log {named.log.hex()}, which is not in this bundle there."
    reasons: dict[str, int] = {}
    for lost in finding.losses:
        reasons[lost.reason] = reasons.get(lost.reason, 0) + lost.count
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    yield f"Samples the device declared lost: {f'{finding.lost} ({why})' if finding.lost else 'none'}."


def _identity(instrument: InstrumentDescriptor) -> str:
    return f"{instrument.model} on {instrument.bus}, {instrument.serial_kind} {instrument.serial}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _time(seconds: int | None, otherwise: str) -> str:
    return utc(seconds) if seconds is not None else otherwise


def _bound(seconds: int | None) -> str:
    return f" {utc(seconds)}" if seconds is not None else ": nothing shows it"
