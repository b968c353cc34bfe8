"""One device as the ledger shows it: its logs, keys, gaps, days, verdicts, challenges.

- Only reads, inside a `Store.snapshot`; every list is bounded, newest first, and says how many there are.
- Of proofs only the first of each log shown is opened: it says why the log began.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway import daily, overview
from gateway.overview import Quality, Signed, State
from gateway.register import DeviceLine, Register
from gateway.store import Store
from proof import cbor, sealing
from proof import descriptor as descriptors
from proof.claims import Predecessor
from proof.descriptor import Descriptor
from proof.keys import key_id
from proof.reasons import Reason

MAX_LINES = 50
DAYS = daily.DAYS


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict that is kept for the device's receipts; `at_s` is None for those of an earlier schema."""

    seq: int
    code: str
    sentence: str
    remedy: str
    detail: str
    at_s: float | None


@dataclass(frozen=True, slots=True)
class Log:
    """`reason` and `follows` are the device's words, empty for its first log; `head` its newest accepted
    number."""

    log: str
    began_s: float | None
    reason: str
    follows: str
    head: int


@dataclass(frozen=True, slots=True)
class Key:
    """`number` 0 is the one it enrolled with; a later one came with proof `seq` of `log`."""

    number: int
    key_id: str
    log: str
    seq: int
    at_s: float | None
    in_force: bool


@dataclass(frozen=True, slots=True)
class GapLine:
    log: str
    first_seq: int
    last_seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Day:
    """What came on one day; `start_s` is its midnight."""

    start_s: int
    proofs: int
    readings: int


@dataclass(frozen=True, slots=True)
class Refusal(Signed):
    """A refused proof that was kept."""

    code: str
    log: str
    seq: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """`round_trip_s` from sending to the proof that answers; None while there is none."""

    sent_s: float | None
    deadline_s: int
    round_trip_s: float | None


@dataclass(frozen=True, slots=True)
class Instrument:
    name: str
    model: str
    bus: str
    serial: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class History:
    """`counts` says how many logs, gaps and challenges there are in all."""

    device: DeviceLine
    state: State
    key_class: str
    simulated: bool
    software: str
    instruments: list[Instrument]
    quality: list[Quality]
    days: list[Day]
    verdicts: list[Said]
    refused: list[Refusal]
    logs: list[Log]
    keys: list[Key]
    gaps: list[GapLine]
    challenges: list[Challenge]
    counts: dict[str, int]


def read(store: Store, device: str, now_s: float) -> History | None:
    """None for a stranger."""
    line = next(iter(Register(store).devices(with_logs=False, only=device)), None)
    if line is None:
        return None
    (number,) = store.row("SELECT id FROM device WHERE did = ?", (device,))
    described = _descriptor(store, number)
    today = daily.number(now_s)
    counts = {
        table: store.row(f"SELECT count(*) FROM {table} WHERE device = ?", (number,))[0]  # noqa: S608 - ours
        for table in ("log", "gap", "challenge", "key")
    }
    return History(
        device=line,
        state=overview.state(line, now_s),
        key_class=described.key_class,
        simulated=described.simulated,
        software=f"{described.agent} {described.version}",
        instruments=[
            Instrument(i.name, i.model, i.bus, f"{i.serial_kind} {i.serial}", bool(i.calibration_hash))
            for i in described.instruments
        ],
        quality=overview.quality_lines(store, today, number, number),
        days=_days(store, number, today),
        verdicts=[_said(*row) for row in _newest(store, number, "seq, code, detail, received_s", "verdict")],
        refused=[
            Refusal(digest.hex(), received_s, code, log.hex(), seq, size)
            for digest, received_s, code, log, seq, size in _newest(
                store, number, "hash, received_s, code, log, seq, length(data)", "evidence"
            )
        ],
        logs=_logs(store, number),
        keys=_keys(store, number),
        gaps=[
            GapLine(log.hex(), *row)
            for log, *row in store.rows(
                "SELECT gap.log, first_seq, last_seq, reason FROM gap JOIN device ON device.id = device "
                "WHERE device = ? ORDER BY gap.log = device.log DESC, last_seq DESC LIMIT ?",
                (number, MAX_LINES),
            )
        ],
        challenges=[
            Challenge(sent_s, deadline_s, None if answered_s is None else answered_s - sent_s)
            for sent_s, deadline_s, answered_s in _newest(
                store, number, "sent_s, deadline_s, answered_s", "challenge", by="rowid"
            )
        ],
        counts=counts,
    )


def refused_proof(store: Store, device: str, digest: bytes) -> bytes | None:
    """The COSE bytes of a refused proof that was kept, as they were signed."""
    sql = "SELECT data FROM evidence JOIN device ON device.id = device WHERE did = ? AND hash = ?"
    found = store.row(sql, (device, digest))
    return bytes(found[0]) if found else None


def _newest(store: Store, number: int, columns: str, table: str, by: str = "id") -> list[Any]:
    sql = f"SELECT {columns} FROM {table} WHERE device = ? ORDER BY {by} DESC LIMIT ?"  # noqa: S608 - ours
    return store.rows(sql, (number, MAX_LINES))


def _descriptor(store: Store, number: int) -> Descriptor:
    sql = (
        "SELECT map FROM descriptor JOIN device ON device.id = device AND hash = descriptor_hash WHERE id = ?"
    )
    (packed,) = store.row(sql, (number,))
    return descriptors.from_map(cbor.decode(packed, len(packed), "a stored descriptor"))


def _days(store: Store, number: int, today: int) -> list[Day]:
    """Each of the last DAYS, also those on which nothing came; oldest first."""
    wanted = range(today - DAYS + 1, today + 1)
    sql = "SELECT day, proofs, readings FROM day WHERE device = ? AND day IN (SELECT value FROM json_each(?))"
    rows = store.rows(sql, (number, json.dumps(list(wanted))))
    found = {day: (proofs, readings) for day, proofs, readings in rows}
    return [Day(day * daily.DAY_S, *found.get(day, (0, 0))) for day in wanted]


def _said(seq: int, code: str, detail: str, at_s: float | None) -> Said:
    reason = Reason.__members__[code.upper()]
    return Said(seq, code, reason.sentence, reason.remedy, detail, at_s)


def _logs(store: Store, number: int) -> list[Log]:
    rows = store.rows(
        "SELECT log, received_s, data, (SELECT max(seq) FROM proof AS newest "
        "WHERE newest.device = first.device AND newest.log = first.log AND newest.state = 'accepted') "
        "FROM proof AS first WHERE device = ? AND seq = 1 AND state = 'accepted' "
        "ORDER BY position DESC LIMIT ?",
        (number, MAX_LINES),
    )
    found = []
    for log, began_s, data, head in rows:
        prev = sealing.parse(data).claims.prev
        named = (prev.reason, prev.log.hex()) if isinstance(prev, Predecessor) else ("", "")
        found.append(Log(log.hex(), began_s, *named, head))
    return found


def _keys(store: Store, number: int) -> list[Key]:
    rows = store.rows(
        "SELECT key.number, public_key, key.log, key.seq, proof.received_s, key.id = device.key FROM key "
        "JOIN device ON device.id = key.device LEFT JOIN proof ON proof.device = key.device "
        "AND proof.log = key.log AND proof.seq = key.seq WHERE key.device = ? ORDER BY key.id DESC LIMIT ?",
        (number, MAX_LINES),
    )
    return [
        Key(turn, key_id(public_key).hex(), log.hex() if log else "", seq, at_s, bool(in_force))
        for turn, public_key, log, seq, at_s, in_force in rows
    ]
