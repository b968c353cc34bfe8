"""What happened to this device lately, in plain words: the owner's diary, kept in the journal's file.

- An entry is noted in memory and written in a transaction that happens anyway (`agent.keeper`): a diary
  costs no sync of its own. What was noted since the last such transaction is lost with a SIGKILL.
- A *span* has a beginning and an end (an outage); an *event* has a moment. The same again soon is the same
  entry, counted; one that repeats is written again at most every hour: what flaps does not wear the card.
- The newest `MAX_ENTRIES` stay. What an earlier run left open ended with it.
- Times are wall times of the moment. Those of a clock that was not sure are moved when it is set right.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.clock import SOURCE_NONE, Clock
from agent.words import sentence_of

MAX_ENTRIES = 1000
MAX_DETAIL = 240
_EVENT_AGAIN_S, _SPAN_AGAIN_S = 3600, 600
_REWRITE_S, _REWRITE_OFTEN_S, _OFTEN = 60, 3600, 3
_LONG_AGO_NS = -(10**18)
_MAX_OPEN = 200
_COLUMNS = "id, at_s, until_s, clock_sure, count, code, detail"


class Store(Protocol):
    def execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor: ...


@dataclass(slots=True)
class Entry:
    """`until_s` is None while a span lasts, and `at_s` for an event that was alone. `changed`: since it was
    written, at boot time `written_ns`."""

    code: str
    detail: str
    at_s: int
    until_s: int | None
    sure: bool
    count: int = 1
    id: int = 0
    changed: bool = True
    written_ns: int = _LONG_AGO_NS
    newest_ns: int = 0

    def row(self) -> tuple[object, ...]:
        return self.id, self.at_s, self.until_s, self.sure, self.count, self.code, self.detail


class Diary:
    """Any thread may note; the journal's thread writes and reads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}  # of this run, newest last
        self._old: list[Entry] = []  # of this run, still to be written and no longer to be continued
        self._written: list[Entry] = []  # in the transaction that is open, which may write several times
        self._new: list[Entry] = []  # those of them that got their id in it
        self._next_id = 0
        self._first: tuple[Entry, int, int] | None = None  # as it was before it continued an earlier run's
        self._everything = False

    def note(self, code: str, detail: str = "", subject: str = "") -> None:
        """An event. With the same `subject` soon again it is the same entry, with the newer `detail`."""
        now_ns, now_s, sure = self._now()
        with self._lock:
            entry = self._again(code, subject, now_ns, _EVENT_AGAIN_S)
            if entry is None:
                entry = self._add(code, subject, Entry(code, "", now_s, now_s, sure))
            else:
                entry.count, entry.until_s = entry.count + 1, now_s
            entry.detail, entry.newest_ns, entry.changed = _plain(detail), now_ns, True

    def begin(self, code: str, subject: str, detail: str, since_ns: int) -> None:
        """A span began at boot time `since_ns`."""
        now_ns, now_s, sure = self._now()
        with self._lock:
            entry = self._again(code, subject, since_ns, _SPAN_AGAIN_S)
            if entry is None:
                at_s = now_s - (now_ns - since_ns) // 10**9
                entry = self._add(code, subject, Entry(code, "", at_s, None, sure))
            else:
                entry.count, entry.until_s = entry.count + 1, None
            entry.detail, entry.newest_ns, entry.changed = _plain(detail), now_ns, True

    def end(self, code: str, subject: str) -> None:
        now_ns, now_s, _ = self._now()
        with self._lock:
            if (entry := self._entries.get((code, subject))) is not None and entry.until_s is None:
                entry.until_s, entry.newest_ns, entry.changed = now_s, now_ns, True

    def clock_moved(self, seconds: int) -> None:
        """It was set right by so much: what was noted by the wrong one is dated by it now."""
        with self._lock:
            for entry in (*self._old, *self._entries.values()):
                if not entry.sure:
                    entry.at_s += seconds
                    entry.until_s = None if entry.until_s is None else entry.until_s + seconds
                    entry.sure = entry.changed = True
                    entry.written_ns = _LONG_AGO_NS

    def close(self) -> None:
        """The run ends: what lasts ended with it, and everything is written the next time."""
        now_s = self._now()[1]
        with self._lock:
            for entry in self._entries.values():
                if entry.until_s is None:
                    entry.until_s, entry.changed = now_s, True
            self._everything = True

    # The journal's thread

    def write(self, store: Store) -> None:
        """What is due, into the transaction that is open; then `committed`, or not."""
        now_ns = self._clock.boottime_ns()
        with self._lock:
            due = [entry for entry in (*self._old, *self._entries.values()) if self._is_due(entry, now_ns)]
            if not due:
                return
            if not self._next_id:
                self._continue(store, due)
            self._written += due
            for entry in due:
                if not entry.id:
                    entry.id, self._next_id = self._next_id, self._next_id + 1
                    self._new.append(entry)
                store.execute(
                    f"INSERT OR REPLACE INTO diary ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    entry.row(),
                )
                entry.changed, entry.written_ns = False, now_ns
            store.execute("DELETE FROM diary WHERE id <= ?", (self._next_id - 1 - MAX_ENTRIES,))

    def committed(self) -> None:
        with self._lock:
            written = {entry.id for entry in self._written}
            self._old = [entry for entry in self._old if entry.changed or entry.id not in written]
            self._written, self._new, self._first = [], [], None

    def undo(self) -> None:
        with self._lock:
            for entry in self._written:
                entry.changed, entry.written_ns = True, _LONG_AGO_NS
            for entry in self._new:
                entry.id = 0
            if self._first is not None:  # the earlier runs' entries are to be read again
                entry, entry.at_s, entry.count = self._first
                self._next_id, self._first = 0, None
            self._written, self._new = [], []

    def entries(self, store: Store, limit: int) -> list[dict[str, Any]]:
        """Newest first, those in memory too."""
        limit = min(limit, MAX_ENTRIES)
        with self._lock:
            here = [*self._old, *self._entries.values()]
            unsaved = [entry.row() for entry in here if not entry.id]
            saved = {entry.id: entry.row() for entry in here if entry.id}
        newer = {row[0]: row for row in _rows(store, limit)} | saved
        rows = [*reversed(unsaved), *(newer[number] for number in sorted(newer, reverse=True))]
        return [_told(row) for row in rows[:limit]]

    def _now(self) -> tuple[int, int, bool]:
        wall = self._clock.wall()
        return self._clock.boottime_ns(), wall.ns // 10**9, wall.source != SOURCE_NONE

    def _again(self, code: str, subject: str, now_ns: int, within_s: int) -> Entry | None:
        entry = self._entries.get((code, subject))
        return entry if entry is not None and now_ns - entry.newest_ns <= within_s * 10**9 else None

    def _add(self, code: str, subject: str, entry: Entry) -> Entry:
        before = self._entries.pop((code, subject), None)
        if before is None and len(self._entries) >= _MAX_OPEN:
            before = self._entries.pop(next(iter(self._entries)))
        if before is not None and before.changed:
            self._old = [*self._old, before][-_MAX_OPEN:]
        self._entries[code, subject] = entry
        return entry

    def _is_due(self, entry: Entry, now_ns: int) -> bool:
        rest_s = _REWRITE_S if entry.count <= _OFTEN else _REWRITE_OFTEN_S
        rested = now_ns - entry.written_ns >= rest_s * 10**9
        return entry.changed and (rested or self._everything)

    def _continue(self, store: Store, due: list[Entry]) -> None:
        """After what earlier runs wrote. A device that dies again and again has one entry for it, counted."""
        newest = store.execute(f"SELECT {_COLUMNS} FROM diary ORDER BY id DESC LIMIT 20").fetchall()  # noqa: S608
        self._next_id = newest[0][0] + 1 if newest else 1
        first = due[0]
        self._first = first, first.at_s, first.count
        store.execute("UPDATE diary SET until_s = ? WHERE until_s IS NULL", (first.at_s,))
        for number, at_s, until_s, _, count, code, _ in newest:
            if code == first.code and abs(first.at_s - (until_s or at_s)) <= _EVENT_AGAIN_S:
                store.execute("DELETE FROM diary WHERE id = ?", (number,))
                first.at_s, first.count = at_s, count + first.count
                return


def stored(store: Store, limit: int) -> list[dict[str, Any]]:
    """What a journal says whose agent does not run; newest first."""
    return [_told(row) for row in _rows(store, limit)]


def _rows(store: Store, limit: int) -> Iterable[tuple[Any, ...]]:
    sql = f"SELECT {_COLUMNS} FROM diary ORDER BY id DESC LIMIT ?"  # noqa: S608 our own names
    return store.execute(sql, (limit,)).fetchall()


def _told(row: tuple[Any, ...]) -> dict[str, Any]:
    _, at_s, until_s, sure, count, code, detail = row
    return {
        "at_s": at_s,
        **({} if until_s == at_s else {"until_s": until_s}),
        "clock_sure": bool(sure),
        "code": code,
        "sentence": sentence_of(code),
        "detail": detail,
        "count": count,
    }


def _plain(detail: str) -> str:
    """What may stand in a database and on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in detail)[:MAX_DETAIL]
