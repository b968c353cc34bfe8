"""An MQTT 3.1.1 broker inside this process, for demonstrations and quick tests (extra `broker`).

- Loopback only, everybody may do everything, nothing outlives the process: not for a real network.
- amqtt forgets the sessions of anonymous clients; the plugin below lets everybody in without that name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

from amqtt.broker import Broker
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from gateway.errors import TryAgain

_START_S = 10.0


class Anyone(BaseAuthPlugin):  # type: ignore[misc] # amqtt ships no types
    async def authenticate(self, *, session: Session) -> bool:
        return True


class EmbeddedBroker:
    """Listens on 127.0.0.1:`port` (0: a free one) from construction until `close`."""

    def __init__(self, port: int = 0) -> None:
        # amqtt logs every disconnect as an error.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
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
        listener = {"type": "tcp", "bind": f"127.0.0.1:{self.port}", "max_connections": 0}
        plugins: dict[str, dict[str, str]] = {f"{__name__}.{Anyone.__name__}": {}}
        broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
        try:
            await broker.start()
        except (AMQTTError, OSError) as error:
            self._failed = str(error)
            return
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
