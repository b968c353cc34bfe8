"""Changing the device's key (§8.4). The journal decides which key is in force; the keystore follows.

    prepare (the key after the next, on disk) -> seal (proof and row, ONE transaction) -> receipt -> settle

- Until the receipt the keystore keeps the old key in its place and the new one beside it: a log that is
  abandoned before then takes the rotation with it, and the next log's first proof carries it again, for
  which the old key must sign. Nobody knows then whether the first one arrived; repeating it is harmless.
- `resume` at each start brings both together again, wherever a crash left them.
- Where a rotation is prepared and the journal knows nothing of it, nobody knows whether it was sealed: the
  journal may have been lost, or be an older copy. Then the first proof of the next log carries it.
- A second rotation before the first is receipted is refused: there would be two old keys to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from agent.clock import Clock
from agent.errors import TryAgain
from agent.journal import Journal, OpenLog
from agent.keystore import (
    Board,
    open_key,
    open_next_key,
    prepare_rotation,
    rotation_prepared,
    settle_key,
)
from proof import rotation
from proof.keys import Signer, device_id, key_id

_THIS_BOARD = Board()


class Keys(Protocol):
    """The device's keys, wherever they lie; each call raises `FixKey`."""

    def current(self) -> Signer: ...

    def following(self) -> Signer:
        """The key committed to."""

    def after_next(self) -> Signer:
        """The key a rotation commits to; made where there is none yet."""

    def prepared(self) -> bool:
        """Whether that one is there."""

    def settle(self, in_force: bytes) -> Signer:
        """The following key is the current one from now on; the old one is gone."""


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """Those of a key URI."""

    uri: str
    clock: Clock
    board: Board = _THIS_BOARD

    def current(self) -> Signer:
        return open_key(self.uri, self.board)

    def following(self) -> Signer:
        return open_next_key(self.uri, self.board)

    def after_next(self) -> Signer:
        return prepare_rotation(self.uri, self._now_s(), self.board)

    def prepared(self) -> bool:
        return rotation_prepared(self.uri, self.board)

    def settle(self, in_force: bytes) -> Signer:
        return settle_key(self.uri, in_force, self._now_s(), self.board)

    def _now_s(self) -> int:
        return self.clock.wall().ns // 10**9


@dataclass(frozen=True, slots=True)
class Turn:
    """A rotation under way; `next_hash` is what the new key commits to. `wanted`: the next proof carries it;
    else only the first one of a log does, where nothing tells whether it was ever sealed."""

    old: Signer
    new: Signer
    next_hash: bytes
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Turned:
    """What was done: key ids (§2.2) in hex, and the proof that carries the rotation."""

    device: str
    old_key: str
    new_key: str
    log: str
    seq: int


@dataclass(frozen=True, slots=True)
class Place:
    log_id: int
    seq: int
    public_key: bytes


def prepare(keys: Keys) -> Turn:
    return Turn(keys.current(), keys.following(), rotation.commitment(keys.after_next().public_key))


def resume(journal: Journal, keys: Keys) -> tuple[Signer, Turn | None]:
    """The current key as the journal says, and a rotation under way. Raises `FixKey`."""
    current, newest = keys.current(), place(journal)
    if newest is None or not _is_behind(journal, current, newest):
        return current, prepare(keys) if keys.prepared() else None
    turn = prepare(keys)
    if turn.new.public_key != newest.public_key or is_receipted(journal, turn):
        return keys.settle(newest.public_key), None  # says it where these are not the journal's keys
    return current, turn


def _is_behind(journal: Journal, current: Signer, newest: Place) -> bool:
    """Whether the journal knows a key after `current`. One it does not know came after all it knows: the
    journal is an older copy then."""
    if current.public_key == newest.public_key:
        return False
    known = journal.execute("SELECT 1 FROM rotations WHERE public_key = ?", (current.public_key,)).fetchone()
    return known is not None or device_id(current.public_key) == current.device


def begin(turn: Turn | None, keys: Keys, journal: Journal) -> Turn:
    """A new rotation, or `turn` where the open log has no proof that carries it; raises `TryAgain`."""
    newest, log = place(journal), journal.open_log()
    if turn is not None and newest is not None and log is not None and newest.log_id == log.id:
        raise TryAgain(
            f"The key was already changed to {key_id(newest.public_key).hex()}, with proof {newest.seq}, and "
            "the network has not receipted that yet: until then it cannot change again. Is the agent "
            "running, and does it reach the gateway?"
        )
    return replace(turn or prepare(keys), wanted=True)


def signing(
    journal: Journal, log: OpenLog, signer: Signer, turn: Turn | None, now_s: int
) -> tuple[Signer, bytes | None]:
    """Who signs the next proof of `log`, and the rotation it carries, which is written down here."""
    if turn is None:
        return signer, None
    newest = place(journal)
    sealed = newest is not None and newest.public_key == turn.new.public_key
    if not (sealed or turn.wanted or log.seq == 0):
        return signer, None
    if sealed and newest is not None and newest.log_id == log.id:
        return turn.new, None
    data = rotation.sign(log.log, log.seq + 1, turn.old, turn.new, turn.next_hash, now_s)
    journal.execute(
        "INSERT OR REPLACE INTO rotations (public_key, log_id, seq, data) VALUES (?, ?, ?, ?)",
        (turn.new.public_key, log.id, log.seq + 1, data),
    )
    return turn.new, data


def turned(journal: Journal, turn: Turn) -> Turned:
    """What the proof sealed with `turn` did."""
    newest, log = place(journal), journal.open_log()
    if newest is None or log is None:
        raise RuntimeError("a sealed rotation is in the journal")
    old, new = (key_id(signer.public_key).hex() for signer in (turn.old, turn.new))
    return Turned(turn.new.device, old, new, log.log.hex(), newest.seq)


def is_receipted(journal: Journal, turn: Turn) -> bool:
    newest = place(journal)
    return (
        newest is not None
        and newest.public_key == turn.new.public_key
        and journal.receipted_seq(newest.log_id) >= newest.seq
    )


def place(journal: Journal) -> Place | None:
    """Where the newest rotation took effect."""
    row = journal.execute("SELECT log_id, seq, public_key FROM rotations ORDER BY id DESC LIMIT 1").fetchone()
    return Place(*row) if row else None


def before(journal: Journal, log_id: int, seq: int) -> list[bytes]:
    """The rotation objects that lead to the key of a proof, its own left out, oldest first."""
    sql = "SELECT data FROM rotations WHERE (log_id, seq) < (?, ?) ORDER BY id"
    return [row[0] for row in journal.execute(sql, (log_id, seq))]


def adopt(journal: Journal, data: bytes) -> None:
    """A rotation from the journal of a former board: it lies before every log of this one."""
    found = rotation.parse(data)
    journal.execute(
        "INSERT OR REPLACE INTO rotations (public_key, log_id, seq, data) VALUES (?, 0, ?, ?)",
        (found.public_key, found.seq, data),
    )
