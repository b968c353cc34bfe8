"""An MQTT 3.1.1 broker without a server to install, for demonstrations and quick tests (extra `broker`).

- Inside the gateway's process (`EmbeddedBroker`), or a process of its own: `python -m gateway.broker PORT`.
- Loopback only, everybody may do everything, nothing outlives the process: not for a real network. Proofs
  and receipts are signed; who carries them proves nothing.
- A client that asks for MQTT 5 is told at once that only 3.1.1 is spoken ([MQTT-3.1.2-2]); amqtt alone
  misreads such a CONNECT and waits for the rest of it.
- amqtt forgets the sessions of anonymous clients; the plugin below lets everybody in without that name.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from asyncio import StreamReader, StreamWriter

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError, BrokerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from gateway.errors import TryAgain

_START_S = 10.0
_SPOKEN = 4  # protocol level of MQTT 3.1.1
_CONNACK_UNACCEPTABLE_VERSION = bytes([0x20, 2, 0, 1])
_CONNECT_S = 10.0


class Anyone(BaseAuthPlugin):  # type: ignore[misc] # amqtt ships no types
    async def authenticate(self, *, session: Session) -> bool:
        return True


class HonestBroker(Broker):  # type: ignore[misc] # amqtt ships no types
    """Looks at the protocol level before amqtt does."""

    async def stream_connected(self, reader: StreamReader, writer: StreamWriter, listener_name: str) -> None:
        try:
            head = await asyncio.wait_for(_head(reader), _CONNECT_S)
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            writer.close()
            return
        if head[-1] > _SPOKEN:
            writer.write(_CONNACK_UNACCEPTABLE_VERSION)
            writer.close()
            return
        await self.external_connected(_Peeked(head, reader), StreamWriterAdapter(writer), listener_name)


class _Peeked(StreamReaderAdapter):  # type: ignore[misc] # amqtt ships no types
    """A stream of which `head` was read already."""

    def __init__(self, head: bytes, reader: StreamReader) -> None:
        super().__init__(reader)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        piece, self._head = (self._head[:n], self._head[n:]) if n >= 0 else (self._head, b"")
        if len(piece) == n:
            return piece
        rest: bytes = await super().read(n - len(piece) if n >= 0 else n)
        return piece + rest


async def _head(reader: StreamReader) -> bytes:
    """The start of a CONNECT packet, up to and with the protocol level, or whatever came instead."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:  # remaining length: up to four bytes, the top bit says "more"
        head += await reader.readexactly(1)
    return head + await reader.readexactly(7)  # length and text "MQTT", level


class EmbeddedBroker:
    """Listens on 127.0.0.1:`port` (0: a free one) from construction until `close`."""

    def __init__(self, port: int = 0) -> None:
        _hush()
        self.port = port or _free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        # amqtt shuts a socket that the client has closed already, and leaves the error to the loop.
        self._loop.set_exception_handler(lambda *_: None)
        self._started = threading.Event()
        self._failed = ""
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S) or self._failed:
            raise TryAgain(
                f"The embedded broker did not start on port {self.port}: {self._failed or 'no answer'}."
            )

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        broker = _broker(self.port)
        try:
            await broker.start()
        except (AMQTTError, BrokerError, OSError) as error:
            self._failed = str(error)
            return
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


async def serve(port: int) -> int:
    """Until SIGTERM or SIGINT; the exit code."""
    _hush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = _broker(port)
    try:
        await broker.start()
    except (AMQTTError, BrokerError, OSError) as error:
        sys.stderr.write(f"The broker cannot listen on 127.0.0.1:{port}: {error}.\n")
        return TryAgain.exit_code
    await stop.wait()
    await broker.shutdown()
    return 0


def _broker(port: int) -> HonestBroker:
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 0}
    plugins: dict[str, dict[str, str]] = {f"gateway.broker.{Anyone.__name__}": {}}
    return HonestBroker({"listeners": {"default": listener}, "plugins": plugins})


def _hush() -> None:
    """amqtt logs every disconnect as an error."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(int(sys.argv[1]))))
