"""The embedded MQTT broker (amqtt, MQTT 3.1.1): for demos and quick tests, without a server to install.

- On 127.0.0.1 only, without accounts: proofs and receipts are signed, who carries them proves nothing.
- Sessions and retained messages are in memory: after it ends, agents and gateways say again what matters.
- A client that asks for MQTT 5 is told at once that only 3.1.1 is spoken ([MQTT-3.1.2-2]); amqtt alone
  misreads such a CONNECT and waits for the rest of it.
- amqtt forgets the sessions of anonymous clients; the plugin below lets everybody in without that name.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from asyncio import StreamReader, StreamWriter

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import BrokerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from agent.errors import TryAgain

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


def serve(port: int) -> None:
    """Until SIGTERM or SIGINT. Raises `TryAgain` where it cannot listen."""
    for name in ("amqtt", "transitions"):  # amqtt logs every disconnect as an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 0}
    plugins: dict[str, dict[str, str]] = {f"{__name__}.{Anyone.__name__}": {}}
    broker = HonestBroker({"listeners": {"default": listener}, "plugins": plugins})
    try:
        await broker.start()
    except (BrokerError, OSError) as error:
        raise TryAgain(f"The broker cannot listen on 127.0.0.1:{port}: {error}.") from None
    await stop.wait()
    await broker.shutdown()
