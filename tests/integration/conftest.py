"""A broker that speaks MQTT 3.1.1 only."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def old_broker(free_port: int) -> Iterator[str]:
    """amqtt, which closes the connection when it is asked for MQTT 5."""
    from amqtt.broker import Broker

    loop = asyncio.new_event_loop()
    listener = {"default": {"type": "tcp", "bind": f"127.0.0.1:{free_port}"}}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}

    async def start() -> Any:  # amqtt asks for the running loop while it is made
        made = Broker({"listeners": listener, "plugins": plugins})
        await made.start()
        return made

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield f"mqtt://127.0.0.1:{free_port}"
    asyncio.run_coroutine_threadsafe(_end(broker), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
    with warnings.catch_warnings():  # it forgets the sockets of connections that it did not understand
        warnings.simplefilter("ignore", ResourceWarning)
        del broker
        gc.collect()


async def _end(broker: Any) -> None:
    """Shut it down and end what it leaves behind for connections that it did not understand."""
    await broker.shutdown()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
