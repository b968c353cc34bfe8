"""What must hold after a world's last fault, judged from outside: the witness on one side, the ledger on the
other. Pure, but for reading the two files it is handed.

- **Conservation**: every reading that `append` returned from is in the ledger, but those that a signed gap
  record accounts for (`given_up`), and those a damaged store held alone (`destroyed`).
- **Integrity**: the bundle of the whole ledger is examined: every signature, the whole chain.
- **No conflict**: no equivocation, no broken chain, nobody suspended; what the ledger has twice is equal.
- **Nothing made up**: a reading nobody witnessed is one that was stored when its process died before it could
  say so, or that a failing disk kept although it said no: at most one each (`slack`).
- **No false receipt**: what the journal holds as receipted is in the ledger, or passed by a declared gap.
- With store corruption "nothing lost" cannot hold for what stood only in the destroyed pages. Then at most
  what was captured before the last damage and had not reached the ledger may be missing; it is counted by
  itself. A store that was found damaged is kept beside the new one, and the new log names the old.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import evidence
from hardware_sim import audit
from proof import bundle, sealing
from proof.reasons import Refused
from tests.crash.world import World

_KEPT = re.compile(r"journal\.db\.corrupt-\d+")
_NEWEST = 3  # so many damaged stores are kept
_NEVER = ("equivocation", "broken_chain", "bad_signature", "malformed", "bad_key", "bad_rotation", "revoked")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the faults of a world excuse. `damaged_at`: how many readings were witnessed when the store was
    damaged last, None where it never was; `slack`: readings that may be unwitnessed; `gaps`: the disk was
    full, so proofs may have been given up."""

    slack: int
    damaged_at: int | None = None
    gaps: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    captured: int
    ledgered: int
    lost: int
    given_up: int
    destroyed: int
    twice: int
    proofs: int
    logs: int
    quarantined: int
    resumed: int
    problems: tuple[str, ...]


def judge(world: World, allowed: Allowed) -> Verdict:
    lines = [line for line in _lines(world) if line.endswith("}")]  # none is torn: each was one write
    witness = audit.witnessed(lines)
    problems: list[str] = []
    if len(witness) != len(lines):
        problems.append(f"{len(lines) - len(witness)} readings were captured twice")
    with world.opened() as gateway:
        pieces = evidence.pieces(world.device, gateway.ledger, gateway.register, world.gateway, 1)
        try:
            bundle.examine(b"".join(pieces), [world.gateway.public_key])
        except Refused as refused:
            problems.append(f"the ledger's bundle is refused: {refused.verdict}")
        proofs = [sealing.parse(data) for data in gateway.register.accepted(world.device)]
        (device,) = gateway.register.devices()
        places = {(p.claims.log, p.claims.seq): p.hash for p in proofs}
        declared = [(p.claims.log, gap) for p in proofs for gap in p.claims.gaps]
    readings = audit.proven(proofs)
    values: dict[audit.Key, Mapping[str, Any]] = {}
    twice = 0
    for reading in readings:
        twice += reading.key in values
        if values.setdefault(reading.key, reading.values) != reading.values:
            problems.append(f"two values for one instant: {reading.key}")
    for key in witness.keys() & values.keys():
        if values[key] != witness[key]:
            problems.append(f"at {key[2]} s captured {witness[key]}, proven {values[key]}")
    made_up = values.keys() - witness.keys()
    if len(made_up) > allowed.slack:
        problems.append(f"{len(made_up)} readings nobody captured, {allowed.slack} could be explained")
    bad = {code: count for code, count in device.verdicts.items() if code in _NEVER}
    if bad or device.suspended:
        problems.append(f"the gateway found {bad}, suspended {device.suspended}")
    missing = witness.keys() - values.keys()
    kept = {path.name for path in world.state.iterdir() if _KEPT.fullmatch(path.name)}
    told = sorted(
        set(_KEPT.findall(world.log.read_text(errors="replace"))), key=lambda name: (len(name), name)
    )
    newest = sorted(kept.union(told), key=lambda name: (len(name), name))[-_NEWEST:]  # some were never told
    if thrown_away := set(told).intersection(newest) - kept:
        problems.append(f"damaged stores that were told to be kept are not: {sorted(thrown_away)}")
    if kept and allowed.damaged_at is None:
        problems.append("a store was taken for damaged, and nobody had damaged it")
    given_up, receipts = _journal(world, places, declared, problems)
    destroyed = 0
    if allowed.damaged_at is not None:
        exposed = audit.witnessed(lines[: allowed.damaged_at]).keys()
        destroyed = len(missing & exposed)
        missing -= exposed
    lost = len(missing)
    if lost and allowed.gaps and lost <= given_up:
        lost = 0
    if lost:
        first = sorted(missing, key=lambda key: key[2])[:3]
        problems.append(f"{lost} readings lost, {given_up} accounted for by gaps; first at {first}")
    if not receipts or not witness:
        problems.append("nothing was ever captured, or nothing receipted")
    return Verdict(
        captured=len(witness),
        ledgered=len(values),
        lost=lost,
        given_up=min(given_up, len(missing)),
        destroyed=destroyed,
        twice=twice,
        proofs=len(proofs),
        logs=len({log for log, _ in places}),
        quarantined=len(kept),
        resumed=len(world.resumed.read_text().splitlines()) if world.resumed.exists() else 0,
        problems=tuple(problems),
    )


def witnessed(world: World) -> int:
    """How many readings so far."""
    if not world.witness.exists():
        return 0
    with world.witness.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 16), b""))


def _lines(world: World) -> Sequence[str]:
    return world.witness.read_text().splitlines() if world.witness.exists() else []


def _journal(
    world: World,
    places: Mapping[tuple[bytes, int], bytes],
    declared: Sequence[tuple[bytes, Any]],
    problems: list[str],
) -> tuple[int, int]:
    """(readings of proofs given up in declared gaps, proofs held as receipted); a false receipt is a
    problem."""
    sql = (
        "SELECT log, seq, hash, readings, receipted_s IS NOT NULL, data IS NULL FROM proofs "
        "JOIN logs ON logs.id = proofs.log_id"
    )
    given_up = receipted = 0
    with contextlib.closing(sqlite3.connect(f"file:{world.settings.journal_path}?mode=ro", uri=True)) as db:
        try:
            rows = db.execute(sql).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            problems.append(f"the journal cannot be read in the end: {error}")
            rows = []
    for log, seq, proof_hash, readings, is_receipted, evicted in rows:
        known = places.get((log, seq))
        in_gap = any(log == its and gap.first_seq <= seq <= gap.last_seq for its, gap in declared)
        receipted += is_receipted
        if known is not None and known != proof_hash and is_receipted:
            problems.append(f"proof {seq} of log {log.hex()} is receipted, and another one is in the ledger")
        if is_receipted and known is None and not in_gap:
            problems.append(f"proof {seq} of log {log.hex()} is receipted, and not in the ledger")
        if evicted and known is None and in_gap:
            given_up += readings
    return given_up, receipted
