"""What a page answers with.

- Every answer carries the same security headers: nothing from other origins, no inline script, no frames.
- Files come from a table that is made at the start: a request names a row of it, never a path.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

STATIC = Path(__file__).parent / "static"
HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` may be pieces that are made while they are sent; they are then of unknown length."""

    body: bytes | Iterable[bytes]
    kind: str
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


class NotAnswered(Exception):
    """What the asker is told instead, in one sentence of plain text."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers


def as_json(value: object) -> Answer:
    """Never kept by a browser: what it says was true now."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Answer(body, "application/json")


def as_text(text: str, kind: str = "text/plain; charset=utf-8") -> Answer:
    return Answer(text.encode(), kind)


def as_download(pieces: Iterable[bytes], name: str, kind: str = "application/octet-stream") -> Answer:
    """A file to be saved as `name`, which is ours: letters, digits, `-` and `.`."""
    return Answer(pieces, kind, headers=(("Content-Disposition", f'attachment; filename="{name}"'),))


class OneAtATime:
    """For long answers: pieces of one at a time, so that who reads slowly does not take every thread."""

    def __init__(self) -> None:
        self._free = threading.Lock()

    def __call__(self, make: Callable[[], Iterable[bytes]]) -> Pieces:
        """What `make` makes; raises `NotAnswered` while another is under way."""
        if not self._free.acquire(blocking=False):
            raise NotAnswered(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Another download is under way: try again in a minute.",
                (("Retry-After", "60"),),
            )
        try:
            return Pieces(iter(make()), self._free.release)
        except BaseException:  # whatever it is: the next one may try
            self._free.release()
            raise


class Pieces:
    """Closed when they were sent, or not. Not a generator: one never started would not run its `finally`."""

    def __init__(self, pieces: Iterator[bytes], done: Callable[[], None]) -> None:
        self._pieces, self._done, self._closed = pieces, done, False

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._done()


def whole_number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """The number that `query` gives as `name`; raises `NotAnswered` for what is none, or out of range."""
    text = query.get(name, "") or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and low <= int(text) <= high):
        raise NotAnswered(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from {low} to {high}.")
    return int(text)


@dataclass(frozen=True, slots=True)
class File:
    """`etag` changes with the content."""

    path: Path
    kind: str
    etag: str

    def answer(self, known_etag: str) -> Answer:
        headers = (("ETag", self.etag), ("Cache-Control", "no-cache"))
        if known_etag == self.etag:
            return Answer(b"", self.kind, HTTPStatus.NOT_MODIFIED, headers)
        return Answer(self.path.read_bytes(), self.kind, headers=headers)


def files(folder: Path, prefix: str) -> dict[str, File]:
    """The table of the files in `folder` that a page is made of, by the path they are asked for with;
    `index.html` is `prefix` itself."""
    found = {}
    for path in sorted(folder.iterdir()):
        if kind := _KINDS.get(path.suffix):
            etag = f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:20]}"'
            found[prefix + path.name.removesuffix("index.html")] = File(path, kind, etag)
    return found
