"""The operator's page: the network and each device, read from the ledger beside a running gateway.

- In a process of its own that cannot write the ledger and never opens the gateway's key: whatever happens to
  it, `listen` goes on. Each look is one short snapshot, one at a time.
- All readers share one overview, at most KEPT_S old: one look into the ledger serves them all, and an answer
  copies only what it shows.
- What goes out is bounded: MOST_DEVICES lines, found by name or id where there are more; texts that devices
  and owners chose are cut, and the browser makes text of them, never markup.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import folder, history, metrics, overview
from gateway.errors import GatewayError
from gateway.folder import Settings
from gateway.overview import Overview
from gateway.register import DeviceLine
from gateway.store import Store
from proof.keys import multibase_part
from proof.reasons import Reason
from web import app as web_app
from web import response
from web.response import Answer, NotAnswered

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

KEPT_S = 3.0
MOST_DEVICES, MOST_QUALITY, MOST_PAIRS = 100, 50, 20
MAX_TEXT, MAX_OWNER = 200, 80
_STATIC = Path(__file__).parent / "static"
_STATES = overview.State.__args__  # type: ignore[attr-defined] # a Literal's words, worst first
_DEVICE = re.compile(r"z[1-9A-HJ-NP-Za-km-z]{20,100}")
_HASH = re.compile(r"[0-9a-f]{64}")
_DEFECT = {
    "sentence": "A message met a defect of this program and was dropped.",
    "remedy": "The log of `fieldproof-gateway listen` says where; please report it.",
}


class View:
    """Looks into the ledger in `directory`; both clocks are arguments."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        now_s: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._settings = directory / folder.LEDGER, settings
        self._now_s, self._monotonic = now_s, monotonic
        self._looking, self._renewing = threading.Lock(), threading.Lock()
        self._kept: tuple[float, Overview] | None = None
        self._download = response.OneAtATime()

    def handlers(self) -> dict[str, web_app.Handler]:
        table = {
            "/api/overview": self.overview,
            "/api/device": self.device,
            "/refused": self.refused,
            "/metrics": self.metrics,
        }
        return {path: _answered(handler) for path, handler in table.items()}

    def overview(self, query: Mapping[str, str]) -> Answer:
        found = self._overview()
        wanted = query.get("find", "")[:MAX_TEXT].lower()
        lines = [line for line in found.devices if wanted in f"{line.owner} {line.device}".lower()]
        lines.sort(key=lambda line: (_STATES.index(_state(line, found)), line.received_s or 0.0))
        return _json(
            {
                **asdict(replace(found, devices=[], quality=[], pairs=[])),
                "devices": [_line(line, found) for line in lines[:MOST_DEVICES]],
                "found": len(lines),
                "joined": len(found.devices),
                "quality": [asdict(line) for line in found.quality[:MOST_QUALITY]],
                "pairs": [asdict(pair) for pair in found.pairs[:MOST_PAIRS]],
                "owners": _owners(found),
                "reasons": _reasons(found.messages, found.verdicts),
                "totals": {
                    name: sum(getattr(line, name) for line in found.devices)
                    for name in ("proofs", "readings", "held")
                },
            }
        )

    def device(self, query: Mapping[str, str]) -> Answer:
        device = _device(query)
        with self.look() as store:
            found = history.read(store, device, self._now_s())
        if found is None:
            raise NotAnswered(HTTPStatus.NOT_FOUND, "No such device has joined.")
        quality = found.quality[:MOST_QUALITY]
        flags = [code for line in quality for code in line.flags]
        reasons = _reasons(flags, found.device.verdicts, [refusal.code for refusal in found.refused])
        shown = {"at_s": self._now_s(), "quality": [asdict(line) for line in quality], "reasons": reasons}
        return _json(asdict(found) | shown)

    def refused(self, query: Mapping[str, str]) -> Answer:
        """A refused proof as it was signed."""
        device, digest = _device(query), query.get("hash", "")
        if not _HASH.fullmatch(digest):
            raise NotAnswered(HTTPStatus.BAD_REQUEST, "hash must be 64 hexadecimal digits.")
        with self.look() as store:
            data = history.refused_proof(store, device, bytes.fromhex(digest))
        if data is None:
            raise NotAnswered(HTTPStatus.NOT_FOUND, "No such proof was refused and kept.")
        name = f"{multibase_part(device)}-{digest[:16]}.cose"
        return response.as_download(self._download(lambda: [data]), name, "application/cose")

    def metrics(self, _query: Mapping[str, str]) -> Answer:
        return Answer(metrics.render(self._overview()), metrics.CONTENT_TYPE)

    def _overview(self) -> Overview:
        with self._renewing:
            if self._kept is None or self._monotonic() - self._kept[0] > KEPT_S:
                with self.look() as store:
                    found = overview.read(store, self._path, self._now_s(), self._settings.beacon_period_s)
                self._kept = (self._monotonic(), found)
            return self._kept[1]

    @contextmanager
    def look(self) -> Iterator[Store]:
        """One snapshot of the ledger, opened anew: the file may have been put back from a copy."""
        with self._looking:
            store = Store.read_only(self._path, self._settings.network, self._settings.kind)
            try:
                with store.snapshot():
                    yield store
            finally:
                store.close()


def make(view: View, *, allow_remote: bool = False, name: str | None = None) -> WSGIApplication:
    files = response.files(response.STATIC, "/static/") | response.files(_STATIC, "/")
    return web_app.make(view.handlers(), files, home_only=not allow_remote, name=name)


def _answered(handler: web_app.Handler) -> web_app.Handler:
    """With the sentence of a ledger that cannot be read now."""

    def answer(query: Mapping[str, str]) -> Answer:
        try:
            return handler(query)
        except GatewayError as error:
            raise NotAnswered(HTTPStatus.SERVICE_UNAVAILABLE, error.sentence) from None

    return answer


def _device(query: Mapping[str, str]) -> str:
    part = query.get("device", "")
    if not _DEVICE.fullmatch(part):
        raise NotAnswered(HTTPStatus.BAD_REQUEST, "device must be an id, the part from z6Mk on.")
    return f"did:key:{part}"


def _state(line: DeviceLine, found: Overview) -> overview.State:
    return overview.state(line, found.at_s)


def _line(line: DeviceLine, found: Overview) -> dict[str, Any]:
    kept = "device enrolled_s received_s head_seq proofs readings held keys evidence".split()
    shown = {"owner": line.owner[:MAX_OWNER], "state": _state(line, found)}
    return {name: getattr(line, name) for name in kept} | shown


def _owners(found: Overview) -> dict[str, str]:
    """Of the devices that are named elsewhere on the page."""
    named = {line.device for line in found.quality[:MOST_QUALITY]} | {
        pair.device for pair in found.pairs[:MOST_PAIRS]
    }
    return {line.device: line.owner[:MAX_OWNER] for line in found.devices if line.device in named}


def _reasons(*codes: Any) -> dict[str, dict[str, str]]:
    """What each code means and what to do."""
    wanted = sorted({code for some in codes for code in some})
    known = Reason.__members__
    return {
        code: {"sentence": known[code.upper()].sentence, "remedy": known[code.upper()].remedy}
        if code.upper() in known
        else _DEFECT
        for code in wanted
        if code.upper() in known or code == "defect"
    }


def _json(value: dict[str, Any]) -> Answer:
    return response.as_json(_cut(value))


def _cut(value: Any) -> Any:
    """With no text longer than MAX_TEXT: devices and owners chose some."""
    match value:
        case dict():
            return {name: _cut(inner) for name, inner in value.items()}
        case list():
            return [_cut(inner) for inner in value]
        case str() if len(value) > MAX_TEXT:
            return value[: MAX_TEXT - 1] + "…"
    return value
