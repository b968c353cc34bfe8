"""Which requests are answered: a WSGI application made of a table of paths.

- In this order: from whom (a page of a home answers private addresses only); for which host (an address,
  localhost, `*.local` or this machine's name: a page elsewhere whose name was pointed at us is refused);
  method; path. What is not in the table is not there.
- A handler gets the query, each name once, and gives an `Answer`, or raises `NotAnswered`. Whatever else it
  raises is logged and answered with one sentence.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import structlog

from web.response import HEADERS, Answer, File, NotAnswered, as_text

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Handler = Callable[[Mapping[str, str]], Answer]
_MAX_FIELDS = 8
_METHODS = ("GET", "HEAD")
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
# By name, not `is_private`, which counts addresses for documentation and measurements in.
_HOME = tuple(
    map(
        ipaddress.ip_network,
        "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 ::1 fc00::/7 fe80::/10".split(),
    )
)
_log = structlog.get_logger()


def make(
    handlers: Mapping[str, Handler], files: Mapping[str, File], *, home_only: bool, name: str | None = None
) -> WSGIApplication:
    """`home_only`: answers private, link-local and loopback addresses and nobody else. `name` is this
    machine's; by default what it says itself."""
    own_name = (socket.gethostname() if name is None else name).lower()

    def respond(environ: dict[str, Any]) -> Answer:
        if home_only and not is_at_home(environ.get("REMOTE_ADDR", "")):
            raise NotAnswered(HTTPStatus.FORBIDDEN, "This page answers private addresses only.")
        if not is_ours(environ.get("HTTP_HOST", ""), own_name):
            raise NotAnswered(
                HTTPStatus.MISDIRECTED_REQUEST, "This page is asked for by its address or its own name."
            )
        if environ["REQUEST_METHOD"] not in _METHODS:
            allow = ("Allow", ", ".join(_METHODS))
            raise NotAnswered(HTTPStatus.METHOD_NOT_ALLOWED, "This page can only be read.", (allow,))
        path = environ["PATH_INFO"]
        if path in files:
            return files[path].answer(environ.get("HTTP_IF_NONE_MATCH", ""))
        if path in handlers:
            return handlers[path](_query(environ["QUERY_STRING"]))
        raise NotAnswered(HTTPStatus.NOT_FOUND, "There is no such page here.")

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = respond(environ)
        except NotAnswered as refused:
            text = as_text(refused.sentence + "\n")
            answer = Answer(text.body, text.kind, refused.status, refused.headers)
        except Exception as error:  # noqa: BLE001 no request may end a page's thread
            _log.error("page not made", path=environ["PATH_INFO"][:80], problem=repr(error)[:200])
            text = as_text("This page could not be made; the log says why.\n")
            answer = Answer(text.body, text.kind, HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = [("Content-Type", answer.kind), *HEADERS, *answer.headers]
        if not any(name == "Cache-Control" for name, _ in headers):
            headers.append(("Cache-Control", "no-store"))
        pieces: Iterable[bytes] = answer.body if not isinstance(answer.body, bytes) else [answer.body]
        if isinstance(answer.body, bytes) and answer.status is not HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(answer.body))))
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        if environ["REQUEST_METHOD"] != "HEAD":
            return pieces
        if close := getattr(pieces, "close", None):
            close()
        return []

    return app


def is_at_home(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found.version == network.version and found in network for network in _HOME)


def is_ours(host: str, own_name: str) -> bool:
    """Whether `host`, as a request names it, can only be this machine."""
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return False
    host = (found["ipv6"] or found["name"]).removesuffix(".")
    if host in ("localhost", own_name) or host.endswith(".local"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise NotAnswered(HTTPStatus.BAD_REQUEST, "The question after the ? cannot be read.") from None
