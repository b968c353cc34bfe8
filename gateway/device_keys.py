"""The keys of the ledger's devices (§8.4): which one is in force where.

- A rotation counts from the moment a valid proof carries it, accepted or held: the key stands beside that
  proof, and goes when the proof goes.
- What is held behind that place was signed by the key before. It is forgotten when the rotation comes, with
  the gaps it declared: else a thief of the old key could keep the places of proofs that are to come.
- A log remembers the key in force before its first proof; an unknown one begins with that of the head.
"""

from __future__ import annotations

from gateway.store import Store
from proof.rotation import DeviceKey


def in_force(store: Store, device: int, log: bytes, seq: int) -> DeviceKey | None:
    """The key for proof `seq` of `log`, None where that is the key at the head."""
    found = store.row(
        "SELECT public_key, next_hash, number, before FROM key WHERE device = ? AND log = ? AND seq <= ? "
        "ORDER BY seq DESC LIMIT 1",
        (device, log, seq),
    ) or store.row(
        "SELECT public_key, next_hash, number, before FROM log JOIN key ON key.id = log.key "
        "WHERE log.device = ? AND log.log = ?",
        (device, log),
    )
    return DeviceKey(*found) if found else None


def open_log(store: Store, device: int, log: bytes) -> None:
    store.run("INSERT OR IGNORE INTO log SELECT id, ?, key FROM device WHERE id = ?", (log, device))


def turn(store: Store, device: int, log: bytes, seq: int, key: DeviceKey) -> None:
    """The proof stored at (log, seq) carries the rotation to `key`."""
    place = (device, log, seq)
    sql = "INSERT INTO key (device, log, seq, public_key, next_hash, number, before) "
    values = (*place, key.public_key, key.next_hash, key.number, key.before)
    store.run(sql + "VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    store.run("DELETE FROM proof WHERE state = 'held' AND device = ? AND NOT (log = ? AND seq <= ?)", place)
    store.run("DELETE FROM gap WHERE device = ? AND NOT (log = ? AND last_seq < ?)", place)


def take_effect(store: Store, device: int, log: bytes, seq: int) -> None:
    """The proof at (log, seq), which carries a rotation, is the head. A repeated one changes nothing."""
    sql = "UPDATE device SET key = key.id FROM key WHERE device.id = ?1 AND key.device = ?1 AND key.log = ?2 "
    store.run(sql + "AND key.seq = ?3", (device, log, seq))


def has(store: Store, device: str, public_key: bytes) -> bool:
    """Whether it is the device's key in force, or one before or committed to by a proof that is held."""
    sql = "SELECT 1 FROM device JOIN key ON key.device = device.id WHERE did = ? AND public_key = ?"
    return store.row(sql, (device, public_key)) is not None
