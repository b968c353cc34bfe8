"""The hardened shell: waitress with limits, in a thread of its own beside whatever else the process does.

- A request's head has 8 KiB and 15 s, from its first byte to its last, and so has an idle connection; a body
  is refused. Waitress alone begins to count anew with every byte.
- `MOST_CONNECTIONS` at once. When one more comes, the one that has owed us its request the longest is closed:
  who opens many and says little keeps nobody else out.
- An answer that its reader does not take is given up after 20 s without progress, and after ten minutes in
  any case.
- Two threads answer. An answer of up to `HELD_BYTES` is held for its reader; a longer one makes a thread wait
  for him, and is for `OneAtATime`.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HEAD_BYTES = 8192
HEAD_S = 15.0
STALLED_S = 20.0
ANSWER_S = 600.0
MOST_CONNECTIONS = 96
HELD_BYTES = 131_072
_THREADS = 2
_LOOK_S = 1


class CannotListen(Exception):
    """One sentence: where, and why not."""


class Server:
    """A running page."""

    def __init__(self, app: WSGIApplication, listening: socket.socket) -> None:
        # What it logs is what strangers do to it: full queues, broken connections.
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        self.port: int = listening.getsockname()[1]
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(_THREADS)
        self._map: dict[int, Any] = {}
        self._server = _Listener(
            app,
            self._map,
            True,
            listening,
            dispatcher=self._dispatcher,
            adj=Adjustments(
                ident="",
                threads=_THREADS,
                backlog=128,
                connection_limit=MOST_CONNECTIONS + 16,
                log_socket_errors=False,
                max_request_header_size=HEAD_BYTES,
                max_request_body_size=1,
                outbuf_high_watermark=HELD_BYTES,
            ),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            wasyncore.loop(timeout=_LOOK_S, use_poll=True, map=self._map, count=1)
            self._server.close_what_is_over()
        wasyncore.close_all(self._map, ignore_all=True)

    def close(self) -> None:
        """Also a second time."""
        self._dispatcher.shutdown(timeout=2)
        self._closing.set()
        with suppress(OSError):  # without it the thread looks a second later, or it has ended
            self._server.trigger.pull_trigger()
        self._thread.join(5)


def serve(app: WSGIApplication, listen: str) -> Server:
    """Serve `app` at `listen`, an address and a port such as `0.0.0.0:8733` or `[::]:8733` (which is both
    families); port 0 is any free one. Raises `CannotListen`."""
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise CannotListen(
            f"The page cannot listen at {listen}: {getattr(error, 'strerror', None) or error}."
        ) from None
    return Server(app, listening)


def split_listen(listen: str) -> tuple[str, int]:
    """Raises `CannotListen` for what is not an address and a port."""
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port[:6]) < 65536):
        raise CannotListen(f"listen is an address and a port such as 0.0.0.0:8733, not {listen[:80]!r}.")
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Connection(HTTPChannel):  # type: ignore[misc] # waitress has no types
    """Remembers since when it owes us a request, or we it an answer."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.turned_s = time.monotonic()
        super().__init__(*args, **named)

    def received(self, data: bytes) -> bool:
        before = bool(self.requests)
        done: bool = super().received(data)
        if self.requests and not before:
            self.turned_s = time.monotonic()
        return done

    def service(self) -> None:
        super().service()
        self.turned_s = time.monotonic()

    @property
    def owes_a_request(self) -> bool:
        return not self.requests and not self.total_outbufs_len

    def is_over(self, now_s: float, wall_s: float) -> bool:
        waited_s = now_s - self.turned_s
        if self.owes_a_request:
            return waited_s > HEAD_S
        stalled = self.total_outbufs_len and wall_s - self.last_activity > STALLED_S
        return waited_s > ANSWER_S or (waited_s > STALLED_S and bool(stalled))


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    channel_class = _Connection

    looked_s = 0.0

    def maintenance(self, now: float) -> None:
        """Waitress calls it in the middle of a poll, where the number of what is closed may be given to what
        is accepted next."""

    def close_what_is_over(self) -> None:
        now_s, wall_s = time.monotonic(), time.time()
        if now_s - self.looked_s < _LOOK_S:
            return
        self.looked_s = now_s
        for connection in list(self.active_channels.values()):
            if connection.is_over(now_s, wall_s):
                connection.handle_close()  # `will_close` waits until its reader takes something

    def handle_accept(self) -> None:
        super().handle_accept()
        if len(self.active_channels) > MOST_CONNECTIONS:
            silent = [c for c in self.active_channels.values() if c.owes_a_request]
            if silent:
                min(silent, key=lambda c: c.turned_s).handle_close()
