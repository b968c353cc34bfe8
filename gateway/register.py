"""Claims, members and beacons: the part of the ledger that does not come from proofs.

- A claim is kept with its secret (the HMAC of §8.2 needs it), which is why the ledger is mode 0600.
- A membership is stored as signed: asking twice gives the same bytes (§8.3).
- Beacon numbers go on after a restart; beacons are kept, since old proofs name them.
- What became of messages is counted by reason, without a word of what strangers sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway import device_keys
from gateway.enrolment import Admission, StoredClaim
from gateway.errors import FixInput
from gateway.store import Store
from proof import cbor, sealing
from proof.chain import Head
from proof.claims import Predecessor
from proof.joining import JoinClaim

_ACCEPTED = "FROM proof JOIN device ON device.id = proof.device WHERE did = ? AND state = 'accepted'"
# §8.5: what a revocation left behind its last good proof stays stored, and is shown to nobody.
_GOOD = f"{_ACCEPTED} AND position <= ?"
_EVERY = 2**63 - 1
# two_boards_s: the newest evidence of another board, unless a log began since: then that was settled.
_LINES = (
    "SELECT id, did, owner, enrolled_s, suspended, good_log NOT NULL, head_seq, proofs, readings, "
    "received_s, (SELECT count(*) FROM key WHERE key.device = device.id), "
    "(SELECT count(*) FROM proof WHERE proof.device = device.id AND state = 'held'), "
    "(SELECT count(*) FROM evidence WHERE evidence.device = device.id), "
    "(SELECT max(evidence.received_s) FROM evidence WHERE evidence.device = device.id "
    "AND code = 'two_boards' AND evidence.received_s >= coalesce((SELECT proof.received_s FROM proof "
    "WHERE proof.device = device.id AND seq = 1 AND state = 'accepted' ORDER BY position DESC LIMIT 1), 0)) "
    "FROM device WHERE did = coalesce(?, did) ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class Revoked:
    """`head_seq` is the newest proof of `log`; `left_out` are accepted proofs behind the last good one."""

    device: str
    log: str
    last_good_seq: int
    head_seq: int
    left_out: int


@dataclass(frozen=True, slots=True)
class NewLog:
    """A log that took over from another; `reason` is the device's word (§3.2 prev), logs are in hex."""

    began_s: float
    reason: str
    log: str
    follows: str


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One line of `devices`. Times in s since 1970; `keys` counts those it has or had, `held` held proofs,
    `verdicts` reason codes. `logs` are those that began after the first, oldest first; `two_boards_s`: the
    newest evidence that another board signs with the key, since the open log began."""

    device: str
    owner: str
    enrolled_s: int
    suspended: int
    revoked: int
    head_seq: int
    proofs: int
    readings: int
    received_s: float | None
    keys: int
    held: int
    evidence: int
    verdicts: dict[str, int] = field(default_factory=dict)
    logs: list[NewLog] = field(default_factory=list)
    two_boards_s: float | None = None


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """One line of `claim list`; what it is worth says `claims.state`."""

    id: str
    owner: str
    expires_s: int
    used_by: str | None


class Jump(NamedTuple):
    """Behind the proof `seq` of `log` at `position` numbers are missing; the log goes on at `next`."""

    position: int
    next: int
    log: bytes
    seq: int


class Register:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add_claim(self, claim: JoinClaim, owner: str) -> None:
        sql = "INSERT INTO claim (id, secret, expires_s, owner) VALUES (?, ?, ?, ?)"
        self._store.run(sql, (claim.claim_id, claim.secret, claim.expires_s, owner))

    def claim(self, claim_id: bytes) -> StoredClaim | None:
        sql = "SELECT secret, expires_s, owner, used_by FROM claim WHERE id = ?"
        found = self._store.row(sql, (claim_id,))
        return StoredClaim(*found) if found else None

    def claims(self) -> list[ClaimLine]:
        """In the order they were made."""
        rows = self._store.rows("SELECT id, owner, expires_s, used_by FROM claim ORDER BY rowid")
        return [ClaimLine(claim_id.hex(), *columns) for claim_id, *columns in rows]

    def withdraw_claim(self, claim_id: bytes) -> None:
        """A claim nobody used has expired from now on (`gateway.claims`)."""
        self._store.run("UPDATE claim SET expires_s = 0 WHERE id = ? AND used_by IS NULL", (claim_id,))

    def membership(self, device: str) -> bytes | None:
        """The membership as signed, None for a stranger."""
        found = self._store.row("SELECT membership FROM device WHERE did = ?", (device,))
        return bytes(found[0]) if found else None

    def has_key(self, device: str, public_key: bytes) -> bool:
        return device_keys.has(self._store, device, public_key)

    def admit(self, admission: Admission, now_s: int) -> None:
        """A new member, its claim spent; inside a transaction."""
        enrolment = admission.enrolment
        descriptor = enrolment.descriptor
        sql = "UPDATE claim SET used_by = ? WHERE id = ?"
        self._store.run(sql, (enrolment.device, enrolment.claim_id))
        self._store.run(
            "INSERT INTO device (did, key, owner, enrolled_s, enrolment, membership, descriptor_hash) "
            "VALUES (?, 0, ?, ?, ?, ?, ?)",
            (
                enrolment.device,
                admission.owner,
                now_s,
                admission.request,
                admission.membership,
                descriptor.hash(),
            ),
        )
        self._store.run(
            "INSERT INTO key (device, seq, public_key, next_hash, number) SELECT id, 0, ?, ?, 0 FROM device "
            "WHERE did = ?",
            (enrolment.public_key, enrolment.next_key_hash, enrolment.device),
        )
        sql = "UPDATE device SET key = key.id FROM key WHERE key.device = device.id AND did = ?"
        self._store.run(sql, (enrolment.device,))
        self._store.run(
            "INSERT INTO descriptor SELECT id, ?, ? FROM device WHERE did = ?",
            (descriptor.hash(), cbor.encode(descriptor.to_map()), enrolment.device),
        )

    def revoke(self, device: str, last_good_seq: int | None, log: bytes | None = None) -> Revoked:
        """§8.5: nothing after `last_good_seq` of `log`, nor any later log, is good. None: the open log and
        its newest proof, or what was said before. Raises `FixInput`."""
        log, said = self._store.row(
            "SELECT coalesce(?, good_log, log, zeroblob(8)), CASE WHEN ? IS NULL THEN good_seq END "
            "FROM device WHERE did = ?",
            (log, log, device),
        )
        sql = f"SELECT coalesce(max(seq), 0), count(*) {_ACCEPTED} AND proof.log = ?"
        head, known = self._store.row(sql, (device, log))
        if not known and any(log):
            raise FixInput(f"No proof of {device} in log {log.hex()} was accepted: nothing was changed.")
        seq = last_good_seq if last_good_seq is not None else head if said is None else said
        if seq > head:
            raise FixInput(
                f"The newest proof of {device} in log {log.hex()} is {head}, "
                f"so {seq} cannot be its last good one."
            )
        self._store.run("UPDATE device SET good_log = ?, good_seq = ? WHERE did = ?", (log, seq, device))
        sql = f"SELECT count(*) {_ACCEPTED} AND position > ?"
        (left_out,) = self._store.row(sql, (device, self._good_until(device)))
        return Revoked(device, log.hex(), seq, head, left_out)

    def _good_until(self, device: str) -> int:
        """The place of the last good proof among all accepted ones (§8.5)."""
        log, seq = self._store.row("SELECT good_log, good_seq FROM device WHERE did = ?", (device,))
        if log is None:
            return _EVERY
        places = "max(CASE WHEN seq <= ? THEN position END), min(position) - 1"
        sql = f"SELECT {places} {_ACCEPTED} AND proof.log = ?"
        last, before = self._store.row(sql, (seq, device, log))
        return int(last or before or 0)

    def restore(self, device: str) -> None:
        """Neither revoked nor suspended any longer; the evidence stays."""
        sql = "UPDATE device SET good_log = NULL, good_seq = NULL, suspended = 0 WHERE did = ?"
        self._store.run(sql, (device,))

    def is_revoked(self, device: str) -> bool:
        return (
            self._store.row("SELECT 1 FROM device WHERE did = ? AND good_log NOT NULL", (device,)) is not None
        )

    def ask_challenge(self, device: str, nonce: bytes, deadline_s: int) -> None:
        """The running gateway sends it (`Service.challenges`)."""
        sql = "INSERT INTO challenge (nonce, device, deadline_s) SELECT ?, id, ? FROM device WHERE did = ?"
        self._store.run(sql, (nonce, deadline_s, device))

    def unsent_challenges(self) -> list[tuple[str, bytes, int]]:
        """(device, nonce, deadline in s)."""
        return self._store.rows(
            "SELECT did, nonce, deadline_s FROM challenge JOIN device ON device.id = device "
            "WHERE sent_s IS NULL"
        )

    def mark_sent(self, nonce: bytes, now_s: float) -> None:
        self._store.run("UPDATE challenge SET sent_s = ? WHERE nonce = ?", (now_s, nonce))

    def round_trip_s(self, nonce: bytes) -> float | None:
        """Seconds from sending a challenge to a proof that carries its nonce, None while there is none."""
        found = self._store.row("SELECT answered_s - sent_s FROM challenge WHERE nonce = ?", (nonce,))
        return found[0] if found else None

    def last_beacon_number(self) -> int:
        return int(self._store.row("SELECT coalesce(max(number), 0) FROM beacon")[0])

    def add_beacon(self, number: int, beacon_hash: bytes, issued_s: int, nonce: bytes, data: bytes) -> None:
        sql = "INSERT INTO beacon VALUES (?, ?, ?, ?, ?)"
        self._store.run(sql, (number, beacon_hash, issued_s, nonce, data))

    def beacon_data(self, beacon_hash: bytes) -> bytes | None:
        found = self._store.row("SELECT data FROM beacon WHERE hash = ?", (beacon_hash,))
        return bytes(found[0]) if found else None

    def add_counts(self, counts: Mapping[str, int]) -> None:
        """How often messages came to each end, since it was asked last."""
        sql = "INSERT INTO message_count VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + ?2"
        for code, count in counts.items():
            self._store.run(sql, (code, count))

    def devices(self, with_logs: bool = True, only: str | None = None) -> list[DeviceLine]:
        """In the order they joined, or `only` the one. Each log costs a look into a proof."""
        counts: dict[int, dict[str, int]] = {}
        sql = (
            "SELECT device, code, count FROM verdict_count JOIN device ON id = device "
            "WHERE did = coalesce(?, did)"
        )
        for number, code, count in self._store.rows(sql, (only,)):
            counts.setdefault(number, {})[code] = count
        return [
            DeviceLine(
                *(*columns, counts.get(number, {}), self._later_logs(number) if with_logs else [], two_boards)
            )
            for number, *columns, two_boards in self._store.rows(_LINES, (only,))
        ]

    def _later_logs(self, number: int) -> list[NewLog]:
        births = self._store.rows(
            "SELECT received_s, log, data FROM proof WHERE device = ? AND seq = 1 AND state = 'accepted' "
            "ORDER BY position",
            (number,),
        )
        named = ((began_s, log, sealing.parse(data).claims.prev) for began_s, log, data in births)
        return [
            NewLog(began_s, prev.reason, log.hex(), prev.log.hex())
            for began_s, log, prev in named
            if isinstance(prev, Predecessor)
        ]

    def accepted(self, device: str, first: int = 0, last: int = _EVERY) -> Iterator[bytes]:
        """The COSE bytes of a device's accepted proofs that are good, in chain order over all its logs; from
        one position to another."""
        sql = f"SELECT data {_GOOD} AND position >= ? ORDER BY position"
        values = (device, min(last, self._good_until(device)), first)
        for (data,) in self._store.each(sql, values):
            yield data

    def positions(self, device: str) -> Iterator[tuple[int, bytes]]:
        """(position, COSE bytes) of all of them."""
        sql = f"SELECT position, data {_GOOD} ORDER BY position"
        yield from self._store.each(sql, (device, self._good_until(device)))

    def carriers(self, device: str, first: int = 0, last: int = _EVERY) -> Iterator[tuple[int, bytes]]:
        """(position, COSE bytes) of those of them that declare gaps or carry a rotation."""
        sql = f"SELECT position, data {_GOOD} AND position >= ? AND carries ORDER BY position"
        yield from self._store.each(sql, (device, min(last, self._good_until(device)), first))

    def jumps(self, device: str, first: int) -> list[Jump]:
        """Where numbers of a log are missing between two of them, from a position on."""
        window = "OVER (PARTITION BY proof.log ORDER BY position)"
        following = f"lead(position) {window} AS next, lead(seq) {window} AS next_seq"
        all_of_them = f"SELECT position, proof.log, seq, {following} {_GOOD} AND position >= ?"
        sql = f"SELECT position, next, log, seq FROM ({all_of_them}) WHERE next_seq > seq + 1 ORDER BY next"  # noqa: S608 - constants
        return [Jump(*row) for row in self._store.rows(sql, (device, self._good_until(device), first))]

    def confirmed(self, device: str, position: int) -> tuple[Head, int] | None:
        """The accepted proof at or before that position, and when it came."""
        sql = f"SELECT proof.log, seq, hash, CAST(proof.received_s AS INTEGER) {_GOOD} ORDER BY position DESC"
        found = self._store.row(sql, (device, min(position, self._good_until(device))))
        return (Head(*found[:3]), int(found[3])) if found else None

    def received_s(self, device: str, log: bytes, seq: int) -> int:
        """When that accepted proof came."""
        sql = f"SELECT CAST(proof.received_s AS INTEGER) {_ACCEPTED} AND proof.log = ? AND seq = ?"
        return int(self._store.row(sql, (device, log, seq))[0])

    def last_good(self, device: str) -> Head | None:
        """The newest of these proofs."""
        sql = f"SELECT proof.log, seq, hash {_GOOD} ORDER BY position DESC"
        found = self._store.row(sql, (device, self._good_until(device)))
        return Head(*found) if found else None

    def evidence(self, device: str) -> list[tuple[str, bytes]]:
        """(reason code, COSE bytes) of a device's refused proofs, oldest first."""
        sql = (
            "SELECT code, data FROM evidence WHERE device = (SELECT id FROM device WHERE did = ?) ORDER BY id"
        )
        return [(code, data) for code, data in self._store.rows(sql, (device,))]
