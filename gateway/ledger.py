"""What the gateway knows of its devices, and the receipts that follow from it.

- Implements what the rules read (`rules.LedgerView`) and applies an outcome; several outcomes may share one
  transaction, each sees what the one before it did.
- Every (device, log, seq) is there at most once, as the complete COSE bytes.
- What waits is bounded by `gateway.held`, what a device is told by `gateway.receipts`, evidence here:
  equivocations and second boards are last to go, of those the ones that suspended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway import daily, device_keys, held, receipts
from gateway.rules import Keep, Outcome
from gateway.store import Store
from proof import cbor
from proof import descriptor as descriptors
from proof.beacon import Beacon
from proof.chain import Head
from proof.claims import Gap
from proof.descriptor import Descriptor
from proof.joining import Kind
from proof.reasons import Reason
from proof.receipt import Receipt
from proof.rotation import DeviceKey
from proof.sealing import Proof
from proof.verify import DeviceRecord

MAX_EVIDENCE = 64
_CACHED = 4096
_ADD_EVIDENCE = (
    "INSERT OR IGNORE INTO evidence (device, log, seq, hash, code, weight, received_s, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class _Row:
    """A device's line in the ledger; `rotated`: it has more keys than its first."""

    id: int
    record: DeviceRecord
    rotated: bool
    descriptor_hash: bytes | None
    received_s: float


class Ledger:
    """`network` and `kind` are the gateway's; `store` is an open ledger file."""

    def __init__(self, store: Store, network: str, kind: Kind) -> None:
        self.network, self.kind = network, kind
        self._store = store
        # Caches of this one connection's rows; emptied when a transaction fails or another process writes.
        self._rows: dict[str, _Row] = {}
        self._beacons: dict[bytes, Beacon] = {}
        self._descriptors: dict[tuple[int, bytes], Descriptor] = {}
        self._version = -1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with self._store.transaction():
                if (version := self._store.version()) != self._version:
                    self._forget()
                    self._version = version
                yield
        except BaseException:  # whatever it is: tidy up and raise it again
            self._forget()
            raise

    def _forget(self) -> None:
        self._rows.clear()
        self._beacons.clear()
        self._descriptors.clear()

    # What the rules read.

    def device(self, device: str) -> DeviceRecord | None:
        row = self._row(device)
        return row.record if row else None

    def key(self, device: str, log: bytes, seq: int) -> DeviceKey:
        row = self._row(device)
        if row is None:
            raise LookupError(f"no member {device}")
        if not row.rotated:
            return row.record.key
        return device_keys.in_force(self._store, row.id, log, seq) or row.record.key

    def keys(self, device: str) -> tuple[bytes, ...]:
        row = self._row(device)
        sql = "SELECT public_key FROM key WHERE device = ?"
        return tuple(key for (key,) in self._store.rows(sql, (row.id,))) if row else ()

    def hash_at(self, device: str, log: bytes, seq: int) -> bytes | None:
        row = self._row(device)
        sql = "SELECT hash FROM proof WHERE device = ? AND log = ? AND seq = ?"
        found = self._store.row(sql, (row.id, log, seq)) if row else None
        return found[0] if found else None

    def gaps(self, device: str, log: bytes) -> tuple[Gap, ...]:
        """Those that reach beyond the head; the others no longer matter to the chain."""
        row = self._row(device)
        if row is None:
            return ()
        head = row.record.head
        after = head.seq if head and head.log == log else 0
        sql = (
            "SELECT first_seq, last_seq, first_hash, last_hash, reason FROM gap "
            "WHERE device = ? AND log = ? AND last_seq > ?"
        )
        return tuple(Gap(*found) for found in self._store.rows(sql, (row.id, log, after)))

    def beacon(self, beacon_hash: bytes) -> Beacon | None:
        if (known := self._beacons.get(beacon_hash)) is not None:
            return known
        found = self._store.row("SELECT number, nonce, issued_s FROM beacon WHERE hash = ?", (beacon_hash,))
        if found is None:
            return None
        number, nonce, issued_s = found
        return _remember(
            self._beacons, beacon_hash, Beacon(self.network, number, nonce, issued_s, beacon_hash)
        )

    def descriptor(self, device: str, descriptor_hash: bytes) -> Descriptor | None:
        row = self._row(device)
        if row is None:
            return None
        if (known := self._descriptors.get((row.id, descriptor_hash))) is not None:
            return known
        sql = "SELECT map FROM descriptor WHERE device = ? AND hash = ?"
        found = self._store.row(sql, (row.id, descriptor_hash))
        if found is None:
            return None
        opened = descriptors.from_map(cbor.decode(found[0], len(found[0]), "a stored descriptor"))
        return _remember(self._descriptors, (row.id, descriptor_hash), opened)

    def announced(self, device: str) -> Descriptor | None:
        row = self._row(device)
        if row is None or row.descriptor_hash is None:
            return None
        return self.descriptor(device, row.descriptor_hash)

    def closed_s(self, device: str, log: bytes) -> float | None:
        row = self._row(device)
        sql = (
            "SELECT received_s FROM proof WHERE device = ?1 AND state = 'accepted' AND position > "
            "(SELECT max(position) FROM proof WHERE device = ?1 AND log = ?2 AND state = 'accepted') "
            "ORDER BY position LIMIT 1"
        )
        found = self._store.row(sql, (row.id, log)) if row else None
        return found[0] if found else None

    def held(self, device: str, log: bytes, seq: int) -> tuple[bytes, float] | None:
        row = self._row(device)
        return held.at(self._store, row.id, log, seq) if row else None

    def _row(self, device: str) -> _Row | None:
        if (known := self._rows.get(device)) is not None:
            return known
        found = self._store.row(
            "SELECT device.id, device.log, head_seq, head_hash, bootcount, suspended, good_log, good_seq, "
            "descriptor_hash, received_s, (SELECT count(*) > 1 FROM key WHERE key.device = device.id), "
            "public_key, next_hash, number, before FROM device JOIN key ON key.id = device.key WHERE did = ?",
            (device,),
        )
        if found is None:
            return None
        number, log, seq, head_hash, bootcount, suspended, good_log, good_seq, in_force, received = found[:10]
        head = Head(log, seq, head_hash) if log is not None else None
        good_until = (good_log, good_seq) if good_log is not None else None
        key = DeviceKey(*found[11:])
        record = DeviceRecord(device, key, head, bootcount, bool(suspended), good_until)
        row = _Row(number, record, bool(found[10]), in_force, received or 0.0)
        return _remember(self._rows, device, row)

    # What an outcome changes.

    def apply(self, outcome: Outcome) -> None:
        """Inside `transaction`. An outcome that keeps nothing changes nothing."""
        proof = outcome.proof
        row = self._row(proof.claims.device) if proof else None
        if proof is None or row is None:
            return
        match outcome.keep:
            case Keep.ACCEPTED:
                self._accept(outcome, proof, row)
            case Keep.HELD:
                self._hold(outcome, proof, row)
            case Keep.EVIDENCE:
                self._keep_evidence(outcome, proof, row)

    def _accept(self, outcome: Outcome, proof: Proof, row: _Row) -> None:
        claims, head = proof.claims, row.record.head
        if head is not None and claims.log != head.log:
            receipts.forget(self._store, row.id)
        if head is None or claims.log != head.log:
            held.bypass_others(self._store, row.id, claims.log)
            device_keys.open_log(self._store, row.id, claims.log)
        self._insert_proof(outcome, proof, row, "accepted")
        if claims.seq > 1 and (head is None or claims.log != head.log or claims.seq > head.seq + 1):
            held.bypass(self._store, row.id, claims.log, below=claims.seq)
        if claims.descriptor is not None:
            packed = cbor.encode(claims.descriptor.to_map())
            sql = "INSERT OR IGNORE INTO descriptor VALUES (?, ?, ?)"
            self._store.run(sql, (row.id, claims.descriptor_hash, packed))
        received_s = max(outcome.received_at_s, row.received_s)
        in_force = claims.descriptor_hash if claims.descriptor else row.descriptor_hash
        self._store.run(
            "UPDATE device SET log = ?, head_seq = ?, head_hash = ?, bootcount = ?, descriptor_hash = ?, "
            "proofs = proofs + 1, readings = readings + ?, received_s = ? WHERE id = ?",
            (
                claims.log,
                claims.seq,
                proof.hash,
                claims.bootcount,
                in_force,
                len(outcome.readings),
                received_s,
                row.id,
            ),
        )
        daily.add(self._store, row.id, outcome.received_at_s, outcome.readings)
        new_head = Head(claims.log, claims.seq, proof.hash)
        record = replace(row.record, head=new_head, bootcount=claims.bootcount)
        row = replace(row, record=record, descriptor_hash=in_force, received_s=received_s)
        self._rows[record.device] = row
        if claims.rotation is not None:
            device_keys.take_effect(self._store, row.id, claims.log, claims.seq)
            del self._rows[record.device]
        for note in outcome.notes:
            receipts.say(self._store, row.id, claims.seq, note, outcome.received_at_s)

    def _hold(self, outcome: Outcome, proof: Proof, row: _Row) -> None:
        self._insert_proof(outcome, proof, row, "held")
        held.bound(self._store, row.id)

    def _insert_proof(self, outcome: Outcome, proof: Proof, row: _Row, state: str) -> None:
        claims = proof.claims
        self._store.run(
            "INSERT INTO proof (device, log, seq, hash, state, position, carries, received_s, data) "
            "SELECT ?, ?, ?, ?, ?, proofs + 1, ?, ?, ? FROM device WHERE id = ? "
            "ON CONFLICT (device, log, seq) DO UPDATE "
            "SET state = excluded.state, position = excluded.position",
            (
                *(row.id, claims.log, claims.seq, proof.hash, state),
                *(bool(claims.gaps or claims.rotation), outcome.received_at_s, proof.data, row.id),
            ),
        )
        if len(claims.freshness) == 2:
            sql = "UPDATE challenge SET answered_s = ? WHERE nonce = ? AND device = ? AND answered_s IS NULL"
            self._store.run(sql, (outcome.received_at_s, claims.freshness[1], row.id))
        key = outcome.key if claims.rotation is not None else None
        if key is not None and key != self.key(claims.device, claims.log, claims.seq):
            device_keys.turn(self._store, row.id, claims.log, claims.seq, key)
            self._rows.pop(claims.device, None)
        for gap in claims.gaps:
            values = (gap.first_seq, gap.last_seq, gap.first_hash, gap.last_hash, gap.reason)
            sql = "INSERT OR IGNORE INTO gap VALUES (?, ?, ?, ?, ?, ?, ?)"
            self._store.run(sql, (row.id, claims.log, *values))

    def _keep_evidence(self, outcome: Outcome, proof: Proof, row: _Row) -> None:
        claims, reason = proof.claims, outcome.verdict.reason
        place = (row.id, claims.log, claims.seq)
        held.refuse(self._store, *place, proof.hash)
        is_open = row.record.head is not None and row.record.head.log == claims.log
        if claims.seq == 1 and not is_open and reason is not Reason.EQUIVOCATION:
            held.refuse_log(self._store, row.id, claims.log)
        weight = 2 if outcome.suspends else reason in (Reason.EQUIVOCATION, Reason.TWO_BOARDS)
        values = (*place, proof.hash, reason, weight, outcome.received_at_s, proof.data)
        if not self._store.run(_ADD_EVIDENCE, values):
            return
        if reason is Reason.EQUIVOCATION:
            sql = "SELECT hash, received_s, data FROM proof WHERE device = ? AND log = ? AND seq = ?"
            rival_hash, received_s, rival = self._store.row(sql, place)
            self._store.run(_ADD_EVIDENCE, (*place, rival_hash, reason, weight, received_s, rival))
        if outcome.suspends:
            self._store.run("UPDATE device SET suspended = 1 WHERE id = ?", (row.id,))
            self._rows[claims.device] = replace(row, record=replace(row.record, suspended=True))
        self._store.run(
            "DELETE FROM evidence WHERE id IN (SELECT id FROM evidence WHERE device = ? "
            "ORDER BY weight DESC, id DESC LIMIT -1 OFFSET ?)",
            (row.id, MAX_EVIDENCE),
        )
        # The board that goes on is to hear of the other: the verdict stands at a number it knows.
        told_at = row.record.head.seq if row.record.head and reason is Reason.TWO_BOARDS else claims.seq
        receipts.say(self._store, row.id, told_at, outcome.verdict, outcome.received_at_s)

    # What follows from it.

    def receipt(self, device: str) -> Receipt | None:
        """None for a stranger."""
        row = self._row(device)
        if row is None:
            return None
        return receipts.receipt(self._store, row.id, row.record, row.received_s, self.gaps)


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> _V:
    """Bounded: a full cache starts again."""
    if len(cache) >= _CACHED:
        cache.clear()
    cache[key] = value
    return value
