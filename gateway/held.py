"""The proofs that wait, of the ledger's devices: ahead of the head, and not decided yet (§4.7).

- At most MAX_HELD of a device: those with gaps or a rotation, then low numbers, stay.
- What was passed, or stands in a log the device has left, waits in vain: it is bypassed, and stays stored.
- One that is refused when its turn comes is gone, and with the first one of a log all that wait behind it.
"""

from __future__ import annotations

from gateway.store import Store

MAX_HELD = 256
_LAST_SEQ = 2**63 - 1  # §3.2; SQLite counts no further


def at(store: Store, device: int, log: bytes, seq: int) -> tuple[bytes, float] | None:
    """(COSE bytes, received at in s), None if there is none."""
    sql = "SELECT data, received_s FROM proof WHERE device = ? AND log = ? AND seq = ? AND state = 'held'"
    found = store.row(sql, (device, log, seq)) if seq <= _LAST_SEQ else None
    return (found[0], found[1]) if found else None


def waiting(store: Store, device: int) -> list[tuple[bytes, int, float]]:
    """(log, seq, received at in s), in the order they came."""
    return store.rows(
        "SELECT log, seq, received_s FROM proof WHERE device = ? AND state = 'held' ORDER BY id",
        (device,),
    )


def bound(store: Store, device: int) -> None:
    """After one more was stored."""
    held = "FROM proof WHERE device = ? AND state = 'held'"
    if store.row(f"SELECT count(*) {held}", (device,))[0] > MAX_HELD:
        worst = f"(SELECT id {held} ORDER BY carries, seq DESC LIMIT 1)"
        store.run(f"DELETE FROM proof WHERE id = {worst}", (device,))  # noqa: S608 - constants


def bypass_others(store: Store, device: int, log: bytes) -> None:
    """The device has begun `log`: what waits in any other waits in vain."""
    sql = "UPDATE proof SET state = 'bypassed' WHERE device = ? AND log <> ? AND state = 'held'"
    store.run(sql, (device, log))


def bypass(store: Store, device: int, log: bytes, below: int) -> None:
    sql = "UPDATE proof SET state = 'bypassed' WHERE device = ? AND log = ? AND seq < ? AND state = 'held'"
    store.run(sql, (device, log, below))


def refuse(store: Store, device: int, log: bytes, seq: int, proof_hash: bytes) -> None:
    store.run(
        "DELETE FROM proof WHERE device = ? AND log = ? AND seq = ? AND hash = ? AND state = 'held'",
        (device, log, seq, proof_hash),
    )


def refuse_log(store: Store, device: int, log: bytes) -> None:
    sql = "DELETE FROM proof WHERE device = ? AND log = ? AND state = 'held'"
    store.run(sql, (device, log))
