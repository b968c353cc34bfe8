"""The embedded MQTT broker (amqtt, MQTT 3.1.1): for demos and quick tests, without a server to install.

- On 127.0.0.1 only, without accounts: proofs and receipts are signed, who carries them proves nothing.
- Sessions and retained messages are in memory: after it ends, agents and gateways say again what matters.
- amqtt forgets the sessions of anonymous clients; the plugin below lets everybody in without that name.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from amqtt.broker import Broker
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from agent.errors import TryAgain


class Anyone(BaseAuthPlugin):  # type: ignore[misc] # amqtt ships no types
    async def authenticate(self, *, session: Session) -> bool:
        return True


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
    broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
    try:
        await broker.start()
    except (AMQTTError, OSError) as error:
        raise TryAgain(f"The broker cannot listen on 127.0.0.1:{port}: {error}.") from None
    await stop.wait()
    await broker.shutdown()
