"""A network to be attacked: a real gateway at a real broker, owners who use the commands, and a stranger."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from typer.testing import CliRunner, Result

from agent.keystore import open_key
from gateway import cli, folder
from gateway.enrolment import Network
from gateway.ledger import Ledger
from gateway.link import Link
from gateway.listener import listen
from gateway.register import DeviceLine, Register
from gateway.service import Service
from gateway.store import Store
from proof import joining, receipt, wire
from proof.joining import JoinClaim, Kind
from proof.keys import device_id
from proof.receipt import ProofVerdict
from provisioning.cli import app as provision
from tests.integration.network_parts import RunningBoard

NOW_S = 1_790_000_000


class AttackedGateway:
    """`listen` of a gateway's folder, in a thread; its operator uses the commands."""

    def __init__(self, directory: Path, url: str, name: str = "test-net", kind: Kind = "test") -> None:
        self.directory, self.name, self.url, self.kind = directory, name, url, kind
        self.signer = folder.create(directory, folder.Settings(name, kind, url))
        Store.create(directory / folder.LEDGER, name, kind, device_id(self.signer.public_key)).close()
        self.service: Service | None = None
        self._stop, self._thread = threading.Event(), threading.Thread()

    def start(self, until: Callable[..., None]) -> None:
        store = self._store()
        service = Service(
            Ledger(store, self.name, self.kind),
            Register(store),
            Network(self.name, self.kind, {}),
            self.signer,
            time.time,
            os.urandom,
        )
        host, port, _tls = folder.endpoint(self.url)
        filters = [f"fieldproof/1/{self.name}/+/{leaf}" for leaf in ("proof", "enrol")]
        link = Link((host, port), f"gateway-{self.name}", filters)
        self.service, self._stop = service, threading.Event()

        def run() -> None:
            try:
                listen(service, link, self._stop, 60.0)
            finally:
                store.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        until(lambda: link.subscribed, 20, "the gateway's subscription")

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(20)

    def operator(self, *words: str) -> str:
        """What a command of `fieldproof-gateway` says."""
        done = CliRunner().invoke(cli.app, [*words, "--dir", str(self.directory)])
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def claim(self) -> JoinClaim:
        said = self.operator("claim", "new", "--owner", "Ada", "--no-qr").splitlines()
        return joining.parse_claim(
            next(line for line in said if line.startswith("fp1."))
        )  # the log is there too

    def lines(self) -> list[DeviceLine]:
        return self._read(lambda register: register.devices())

    def evidence(self, device: str) -> list[str]:
        return self._read(lambda register: [code for code, _data in register.evidence(device)])

    def accepted(self, device: str) -> list[bytes]:
        return self._read(lambda register: list(register.accepted(device)))

    def refused(self, reason: str) -> int:
        assert self.service is not None
        return self.service.counts[reason]

    def _read(self, question: Callable[[Register], Any]) -> Any:
        store = self._store()
        try:
            return question(Register(store))
        finally:
            store.close()

    def _store(self) -> Store:
        path = self.directory / folder.LEDGER
        return Store.open(path, self.name, self.kind, device_id(self.signer.public_key))


class Owner:
    """A board with its configuration; `say` is `fieldproof-provision`, as its owner types it."""

    def __init__(self, place: Path, until: Callable[..., None], allow_plain: bool = True) -> None:
        self.board = RunningBoard(place, until)
        self.board.write_config()
        if not allow_plain:
            config = self.board.config
            config.write_text(config.read_text().replace("allow_plain = true", ""))

    @property
    def id(self) -> str:
        return open_key(self.board.settings.key).device

    def say(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(provision, [*words, "-c", str(self.board.config)], input=stdin)

    def join(self, claim: JoinClaim) -> Result:
        return self.say("join", "-", "--deadline-s", "5", stdin=claim.to_text())


class Attacker:
    """Anyone at the broker: what he hears of `topics` is in `heard`."""

    def __init__(self, port: int, until: Callable[..., None], *topics: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        ready = threading.Event()
        self._client.on_message = lambda _c, _d, message: self.heard.append(
            (message.topic, bytes(message.payload))
        )
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([(topic, 1) for topic in topics or ("nothing",)])
        until(ready.is_set, 20, "the attacker's subscription")

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, 1, retain).wait_for_publish(20)

    def of(self, leaf: str) -> list[bytes]:
        return [payload for topic, payload in self.heard if topic.endswith(f"/{leaf}")]

    def refusal(self, device: str, gateway: AttackedGateway) -> ProofVerdict | None:
        """The refused enrolment that `device` was told of."""
        topic = wire.topic(gateway.name, device, "receipt")
        for _, payload in (found for found in self.heard if found[0] == topic):
            told = receipt.open_receipt(payload, [gateway.signer.public_key], device)
            if told.log == receipt.NO_LOG:
                return told.verdicts[0]
        return None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
