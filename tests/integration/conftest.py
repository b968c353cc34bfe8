"""A running daemon on simulated buses, its gateway and its page; a broker that speaks MQTT 3.1.1 only."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.settings import PageSettings, Settings
from tests.integration.daemon_parts import Served, node_of, settings_of
from tests.integration.page_parts import Site
from tests.sim_parts import GATEWAY, NETWORK, NOWHERE, joined_config
from tests.small_gateway import SmallGateway


@pytest.fixture
def member(tmp_path: Path) -> tuple[Path, str]:
    """(configuration, device id) of a member whose chips are simulated."""
    return joined_config(tmp_path)


@pytest.fixture
def gateway(member: tuple[Path, str]) -> Iterator[Callable[..., SmallGateway]]:
    made: list[SmallGateway] = []

    def make(port: int) -> SmallGateway:
        made.append(SmallGateway(port, NETWORK, member[1], GATEWAY).connect())
        return made[-1]

    yield make
    for one in made:
        one.disconnect()


@pytest.fixture
def run(monkeypatch) -> Iterator[Callable[..., Served]]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    made: list[Served] = []

    def start(settings: Settings, world: Any = None) -> Served:
        made.append(Served(node_of(settings, world), settings))
        return made[-1]

    yield start
    for one in made:
        if one.code is None:
            one.stop()


@pytest.fixture
def site(member, run, free_port: int, until) -> Callable[..., Site]:
    def start(url: str = NOWHERE) -> Site:
        settings = settings_of(member[0], url)
        settings = replace(
            settings,
            page=PageSettings(enabled=True, listen=f"127.0.0.1:{free_port}"),
            proof=replace(settings.proof, readings=3),
        )
        made = Site(run(settings))
        until(made.is_up, 20, "the page")
        return made

    return start


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
