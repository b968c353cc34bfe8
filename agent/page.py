"""The page: what a person on the local network sees of this node. Imported only where it is switched on.

- Read-only, and never in the way: what it needs of the journal it reads like everybody else, in short jobs,
  at most once a second however many look on; what takes long is made in its own threads.
- `/api/status` is `Node.status` and what is newest; `/api/history` the last 48 hours; `/api/proofs` the way
  of the last twenty; `/api/log` the diary; `/metrics` the status for Prometheus; `/evidence` the bundle. `/`
  and `/static/` are files.
- A page that cannot be served is said, and the node samples on.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from agent import __version__, metrics
from agent.clock import SOURCE_GNSS, SOURCE_NONE, SOURCE_NTP, SOURCE_RTC
from agent.errors import AgentError
from agent.history import HOURS, History, Told
from agent.journal import Journal, unpacked
from agent.measuring import decimals
from agent.node import Node
from agent.papers import Place, Row
from agent.settings import Settings
from proof import sealing
from proof.keys import multibase_part
from proof.reasons import QUALITY_REASONS, Refused
from web import app, response, server
from web.response import Answer, OneAtATime, as_download, as_json, as_text, whole_number

T = TypeVar("T")
WWW = Path(__file__).parent / "www"
PROOFS, LOG_LINES = 20, 50
_KEPT_S, _AGAIN_S, _PATIENCE_S = 1.0, 60.0, 8.0
_MOST_KEPT = 8  # histories of instruments, some 50 KB each
_LATEST_S = 2**40
_Way = dict[str, Any]
_CLOCKS = {
    SOURCE_NONE: "not synchronised",
    SOURCE_NTP: "network time",
    SOURCE_GNSS: "satellites (GNSS)",
    SOURCE_RTC: "a battery-backed clock",
}
_KEYS = {
    "file": "in a file on this device: whoever copies the card has the key",
    "credential": "in a file that only this machine's systemd opens",
    "tpm2": "kept by a TPM: it opens on this board only",
    "otp": "kept by the board's one-time memory: it opens on this board only",
    "sim": "of a simulated device: it proves nothing about the world",
}
WORDS = {
    "flags": {
        bit: reason.sentence[0].lower() + reason.sentence[1:-1] for bit, reason in QUALITY_REASONS.items()
    },
    "clocks": _CLOCKS,
    "keys": _KEYS,
}


def start(node: Node, settings: Settings) -> Page | None:
    """The running page; None where it cannot listen, which the owner is told."""
    try:
        return Page(node, settings)
    except server.CannotListen as error:
        node.tell(f"{error} Nothing else is affected; see [page] in the configuration.")
        return None


class Page:
    def __init__(self, node: Node, settings: Settings) -> None:
        self._node = node
        self._history = History(
            [
                Told(i.name, i.interval_s, tuple((q.name, q.unit) for q in node.quantities(i.name)))
                for i in settings.instrument
            ]
        )
        self._places = {
            (i.name, q.name): decimals(q.resolution)
            for i in settings.instrument
            for q in node.quantities(i.name)
        }
        self._sealed: OrderedDict[tuple[int, int], int | None] = OrderedDict()
        self._status, self._proofs = Kept(self._make_status), Kept(self._make_proofs)
        self._log = Kept(lambda: node.answers.log(LOG_LINES))
        self._histories: OrderedDict[tuple[str, int], Kept[str]] = OrderedDict()
        self._one_at_a_time = OneAtATime()
        self._stop = threading.Event()
        files = response.files(WWW, "/") | response.files(response.STATIC, "/static/")
        self._server = server.serve(app.make(self._handlers(), files, home_only=True), settings.page.listen)
        self.port = self._server.port
        node.keeper.on_appended = self._history.append
        self._filler = threading.Thread(target=self._fill, name="page-history", daemon=True)
        self._filler.start()

    def close(self) -> None:
        self._stop.set()
        self._server.close()
        self._filler.join(5)

    def _handlers(self) -> dict[str, app.Handler]:
        return {
            "/api/status": lambda _: as_json(self._status.get()),
            "/api/proofs": lambda _: as_json(self._proofs.get()),
            "/api/log": lambda _: as_json(self._log.get()),
            "/api/history": self._history_of,
            "/metrics": lambda _: as_text(metrics.render(self._status.get()), metrics.CONTENT_TYPE),
            "/evidence": self._evidence,
        }

    def _fill(self) -> None:
        while not self._stop.is_set():
            try:
                self._history.fill(self._node.keeper.read, self._node.answers.now_s, self._stop)
                return
            except AgentError as error:
                problem = error.sentence
            except Exception as error:  # noqa: BLE001 whatever it is: it is told, and the next proofs may do
                problem = repr(error)[:200]
            self._history.state = "failed"
            self._node.tell(f"The page cannot show what was before its start, and tries on: {problem}")
            self._stop.wait(_AGAIN_S)

    def _make_status(self) -> dict[str, object]:
        return {
            **self._node.answers.status(),
            "version": __version__,
            "now_s": self._node.answers.now_s,
            "history": self._history.state,
            "newest": {
                name: {
                    "at_s": newest.at_s,
                    "flags": newest.flags,
                    "values": [[*value, self._places.get((name, value[0]), 6)] for value in newest.values],
                }
                for name, newest in self._history.newest().items()
            },
            "calibrations": self._node.answers.calibrations(),
            "words": WORDS,
        }

    def _make_proofs(self) -> list[_Way]:
        known = frozenset(self._sealed)
        rows, new = self._node.keeper.read(partial(_last_proofs, known=known), _PATIENCE_S)
        for log_id, seq, message, proof_hash in new:
            self._sealed[log_id, seq] = _sealed_at_s(message, proof_hash, seq)
        while len(self._sealed) > 2 * PROOFS:
            self._sealed.popitem(last=False)
        return [
            {
                "seq": seq,
                "readings": readings,
                "first_s": first_s,
                "last_s": last_s,
                "sealed_s": self._sealed.get((log_id, seq)),
                "sent_s": self._node.answers.sent_s(log_id, seq),
                "receipted_s": receipted_s,
            }
            for log_id, seq, readings, first_s, last_s, receipted_s in rows
        ]

    def _history_of(self, query: Mapping[str, str]) -> Answer:
        """Of one instrument, where `query` names it; else of all, one after the other."""
        hours = whole_number(query, "hours", HOURS, 1, HOURS)
        names = list(self._history.instruments)
        if (name := query.get("instrument")) is None:
            pieces = self._one_at_a_time(lambda: _listed(self._columns(name, hours) for name in names))
            return Answer(pieces, "application/json")
        if name not in names:
            raise response.NotAnswered(HTTPStatus.NOT_FOUND, "There is no instrument of that name.")
        return Answer(b"".join(_listed([self._columns(name, hours)])), "application/json")

    def _columns(self, name: str, hours: int) -> str:
        def make() -> str:
            now_s = self._node.answers.now_s
            series = ",".join(self._history.json_of(name, now_s - hours * 3600, now_s))
            told = self._history.instruments[name]
            return (
                f'{{"instrument":{json.dumps(name)},"interval_s":{told.interval_s},"now_s":{now_s:.0f},'
                f'"width_s":{self._history.width_s},"series":[{series}]}}'
            )

        kept = self._histories.setdefault((name, hours), Kept(make))
        while len(self._histories) > _MOST_KEPT:
            self._histories.popitem(last=False)
        return kept.get()

    def _evidence(self, query: Mapping[str, str]) -> Answer:
        since_s = whole_number(query, "since", 0, 0, _LATEST_S)
        until_s = whole_number(query, "until", _LATEST_S, 0, _LATEST_S)
        try:
            pieces = self._one_at_a_time(lambda: self._node.answers.export(since_s, until_s))
        except AgentError as error:
            _refused(error.sentence)
        name = f"fieldproof-{multibase_part(self._node.device)[-8:]}.cbor"
        return as_download(pieces, name)


class Kept(Generic[T]):
    """What `make` gives, or raises, made at most once a second: of a journal that hangs, one waits a turn."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: tuple[float, Callable[[], T]] | None = None

    def get(self) -> T:
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > _KEPT_S:
                answer = self._answer()
                self._made = time.monotonic(), answer
            return self._made[1]()

    def _answer(self) -> Callable[[], T]:
        try:
            value = self._make()
        except AgentError as error:
            return partial(_refused, error.sentence)
        return lambda: value


def _refused(sentence: str) -> NoReturn:
    raise response.NotAnswered(HTTPStatus.SERVICE_UNAVAILABLE, sentence)


def _listed(objects: Any) -> Iterator[bytes]:
    yield b"["
    for number, text in enumerate(objects):
        yield b"," * bool(number) + text.encode()
    yield b"]"


def _last_proofs(journal: Journal, known: frozenset[Place]) -> tuple[list[tuple[Any, ...]], list[Row]]:
    """The newest first, and the stored bytes of those that are not `known`."""
    rows = journal.execute(
        "SELECT log_id, seq, readings, first_s, last_s, receipted_s FROM proofs "
        "ORDER BY log_id DESC, seq DESC LIMIT ?",
        (PROOFS,),
    ).fetchall()
    stored = "SELECT log_id, seq, data, hash FROM proofs WHERE log_id = ? AND seq = ?"
    return rows, [journal.execute(stored, row[:2]).fetchone() for row in rows if row[:2] not in known]


def _sealed_at_s(message: bytes | None, proof_hash: bytes, seq: int) -> int | None:
    """What the proof itself says; None where its bytes are gone or damaged: the journal sees to that."""
    try:
        return sealing.parse(unpacked(message, proof_hash, seq)).claims.sealed_at_s if message else None
    except (Refused, sqlite3.Error):
        return None
