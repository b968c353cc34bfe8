"""The whole network as the ledger shows it, for the operator's page and for metrics: one source for both.

- Only reads; whoever asks gives a `Store.snapshot`, so that all parts are of one moment.
- What is wrong comes first (`conditions`), with a sentence and what to do; the codes do not change meaning.
- Cost: one pass over the devices and one over the quality lines of QUALITY_DAYS, no proof is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway import daily
from gateway.register import DeviceLine, Register
from gateway.store import Store

SILENT_S = 3 * 3600.0  # an agent sends an empty proof after an hour without readings (§3.7)
QUALITY_DAYS = daily.QUALITY_DAYS
MAX_QUALITY, MAX_PAIRS = 200, 100
_BEACONS_MISSED = 3
_LAST_BEACON = "SELECT issued_s FROM beacon ORDER BY number DESC LIMIT 1"  # there are millions

# In the order in which an operator wants to see them.
State = Literal["suspended", "two_boards", "silent", "never_heard", "delivering", "revoked"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Condition:
    code: str
    severity: Severity
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Quality:
    """The readings of one instrument in the last QUALITY_DAYS; `flags` are reason codes."""

    device: str
    instrument: str
    readings: int
    flags: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed proof that was refused and kept; `hash` (hex) names its bytes."""

    hash: str
    received_s: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two or more signed proofs for one number: an equivocation (§4.6)."""

    device: str
    log: str
    seq: int
    proofs: list[Signed]


@dataclass(frozen=True, slots=True)
class Overview:
    """`messages` counts what became of all messages, `verdicts` what was said of members' proofs; `quality`
    is the worst MAX_QUALITY of `instruments`, `pairs` the newest MAX_PAIRS. `counted_from_s`: since when days
    and quality are counted, None before the first proof. Times in s since 1970."""

    network: str
    kind: str
    gateway: str
    at_s: float
    devices: list[DeviceLine]
    states: dict[State, int]
    messages: dict[str, int]
    verdicts: dict[str, int]
    instruments: int
    quality: list[Quality]
    pairs: list[Pair]
    counted_from_s: int | None
    last_beacon_s: int | None
    last_commit_s: float | None
    ledger_bytes: int
    conditions: list[Condition]


def read(store: Store, path: Path, now_s: float, beacon_period_s: float) -> Overview:
    """Inside a `snapshot` of `store`, whose file is `path`."""
    devices = Register(store).devices(with_logs=False)
    states = dict.fromkeys(State.__args__, 0)  # type: ignore[attr-defined] # a Literal's words
    verdicts: dict[str, int] = {}
    for line in devices:
        states[state(line, now_s)] += 1
        for code, count in line.verdicts.items():
            verdicts[code] = verdicts.get(code, 0) + count
    quality = quality_lines(store, daily.number(now_s))
    (last_beacon_s,) = store.row(_LAST_BEACON) or (None,)
    (first_day,) = store.row("SELECT min(day) FROM day")
    (refused_s,) = store.row("SELECT max(received_s) FROM evidence")
    commits = [s for s in (last_beacon_s, refused_s, *(line.received_s for line in devices)) if s is not None]
    meta = dict(store.rows("SELECT key, value FROM meta"))
    return Overview(
        network=meta["network"],
        kind=meta["kind"],
        gateway=meta["gateway"],
        at_s=now_s,
        devices=devices,
        states=states,
        messages=dict(store.rows("SELECT code, count FROM message_count ORDER BY code")),
        verdicts=dict(sorted(verdicts.items())),
        instruments=len(quality),
        quality=sorted(quality, key=_flagged_share, reverse=True)[:MAX_QUALITY],
        pairs=_pairs(store),
        counted_from_s=None if first_day is None else first_day * daily.DAY_S,
        last_beacon_s=last_beacon_s,
        last_commit_s=max(commits, default=None),
        ledger_bytes=sum(_size(path.with_name(path.name + end)) for end in ("", "-wal")),
        conditions=list(_conditions(states, last_beacon_s, now_s, beacon_period_s)),
    )


def state(line: DeviceLine, now_s: float) -> State:
    """The worst that is true of a device."""
    if line.revoked:
        return "revoked"
    if line.suspended:
        return "suspended"
    if line.two_boards_s is not None:
        return "two_boards"
    if line.received_s is None:
        return "never_heard"
    return "silent" if now_s - line.received_s > SILENT_S else "delivering"


def quality_lines(store: Store, today: int, first: int = 0, last: int = 2**62) -> list[Quality]:
    """Of the days up to `today`, by device and instrument; of the devices in rows `first` to `last`."""
    days = json.dumps(list(range(today - QUALITY_DAYS + 1, today + 1)))
    rows = store.rows(
        "SELECT did, instrument, code, total FROM (SELECT device, instrument, code, sum(readings) AS total "
        "FROM quality WHERE day IN (SELECT value FROM json_each(?)) AND device BETWEEN ? AND ? "
        "GROUP BY device, instrument, code) AS found JOIN device ON device.id = found.device "
        "ORDER BY found.device, instrument, code",
        (days, first, last),
    )
    found: dict[tuple[str, str], Quality] = {}
    for did, instrument, code, count in rows:
        line = found.get((did, instrument), Quality(did, instrument, 0))
        if code:
            line.flags[code] = count
        else:
            line = Quality(did, instrument, count, line.flags)
        found[did, instrument] = line
    return list(found.values())


def _flagged_share(line: Quality) -> float:
    return max(line.flags.values(), default=0) / max(1, line.readings)


def _pairs(store: Store) -> list[Pair]:
    rows = store.rows(
        "SELECT did, evidence.log, seq, hash, evidence.received_s FROM evidence "
        "JOIN device ON device.id = device WHERE code = 'equivocation' ORDER BY evidence.id DESC LIMIT ?",
        (2 * MAX_PAIRS,),
    )
    found: dict[tuple[str, bytes, int], list[Signed]] = {}
    for did, log, seq, digest, received_s in rows:
        found.setdefault((did, log, seq), []).append(Signed(digest.hex(), received_s))
    return [Pair(did, log.hex(), seq, proofs) for (did, log, seq), proofs in found.items()][:MAX_PAIRS]


def _conditions(
    states: dict[State, int], last_beacon_s: int | None, now_s: float, beacon_period_s: float
) -> Iterator[Condition]:
    """Worst first."""
    if last_beacon_s is None:
        yield Condition(
            "not_listening",
            "error",
            "This gateway has not sent a beacon yet.",
            "Start `fieldproof-gateway listen`; its log says whether it reaches the broker.",
        )
    elif (age_s := now_s - last_beacon_s) > _BEACONS_MISSED * beacon_period_s + 5:
        yield Condition(
            "not_listening",
            "error",
            f"No beacon for {_span(age_s)}: the gateway does not run, or does not reach its broker.",
            "Look at the log of `fieldproof-gateway listen`.",
        )
    elif age_s < -_BEACONS_MISSED * beacon_period_s:
        yield Condition(
            "clock_behind",
            "error",
            "The newest beacon lies in the future: the clock of this machine was set back.",
            "Set the clock right; ages on this page are wrong until then.",
        )
    if count := states["suspended"]:
        yield Condition(
            "suspended",
            "error",
            f"{_devices(count)} suspended after signing two proofs for one number.",
            "Look at the evidence, then `fieldproof-gateway restore` or `revoke` the device.",
        )
    if count := states["two_boards"]:
        yield Condition(
            "two_boards",
            "error",
            f"{_devices(count)} said to run on two boards: one key signs in two places.",
            "Ask the owner; if the key may be stolen, `fieldproof-gateway revoke` the device.",
        )
    if count := states["silent"]:
        yield Condition(
            "silent",
            "warning",
            f"{_devices(count)} silent for more than {SILENT_S / 3600:g} hours.",
            "Ask the owner to run `fieldproof-agent status`.",
        )


def _devices(count: int) -> str:
    return "1 device is" if count == 1 else f"{count} devices are"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
