"""A gateway as its users run it, and a device that speaks plain MQTT to it."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from typer.testing import CliRunner

from gateway import cli, folder
from gateway.register import DeviceLine, Register
from gateway.store import Store
from proof import joining, wire
from proof.keys import device_id
from proof.receipt import Receipt, open_receipt
from tests.gateway_parts import NETWORK, Device, descriptor


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "gateway.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def said(*arguments: str) -> str:
    """What a command prints that does its work at once: in this process, which has imported it already."""
    ended = CliRunner().invoke(cli.app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


class GatewayProcess:
    """`fieldproof-gateway listen` on its own folder."""

    def __init__(self, directory: Path, broker: str) -> None:
        self.directory, self.log = directory, directory.with_suffix(".log")
        said("init", "--dir", str(directory), "--network", NETWORK, "--broker", broker)
        self.key = folder.load_key(directory).public_key
        self._process: subprocess.Popen[bytes] | None = None

    def claim(self) -> joining.JoinClaim:
        return joining.parse_claim(said("claim", "new", "--dir", str(self.directory)))

    def start(self, *options: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "gateway.cli", "listen", "--dir", str(self.directory)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stderr=log)

    def starts(self) -> int:
        """How often it was heard to listen, reconnections included."""
        return self.log.read_text().count("event=listening")

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code, self._process = self._process.wait(20), None
        return code

    def lines(self) -> list[DeviceLine]:
        store = self._store()
        try:
            return Register(store).devices()
        finally:
            store.close()

    def accepted(self, device: str) -> list[bytes]:
        store = self._store()
        try:
            return list(Register(store).accepted(device))
        finally:
            store.close()

    def _store(self) -> Store:
        path = self.directory / folder.LEDGER
        return Store.open(path, NETWORK, "test", device_id(self.key))


class Node:
    """A device on MQTT: `newest` is the last receipt it heard."""

    def __init__(self, device: Device, port: int, until: Callable[..., None], gateway_key: bytes) -> None:
        self.device, self._until, self._key = device, until, gateway_key
        self.newest: Receipt | None = None
        self.memberships: queue.Queue[bytes] = queue.Queue()
        self._subscribed = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, device.id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=True
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        until(lambda: self._subscribed, what="the device's subscription")

    def enrol(self, claim: joining.JoinClaim) -> bytes:
        request = joining.sign_enrolment(claim, descriptor(), bytes(32), self.device.signer, claim.expires_s)
        self.publish("enrol", request)
        return self.memberships.get(timeout=20)

    def publish(self, leaf: str, payload: bytes) -> None:
        self._client.publish(wire.topic(NETWORK, self.device.id, leaf), payload, qos=1)

    def send(self, *proofs: bytes) -> None:
        for proof in proofs:
            self.publish("proof", wire.deflate(proof))

    def await_head(self, seq: int, deadline_s: float = 20) -> Receipt:
        self._until(lambda: self.newest and self.newest.head_seq == seq, deadline_s, f"a receipt for {seq}")
        assert self.newest is not None
        return self.newest

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        topics = [(wire.topic(NETWORK, self.device.id, leaf), 1) for leaf in ("receipt", "membership")]
        client.subscribe(topics)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed = True

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/receipt"):
            self.newest = open_receipt(bytes(message.payload), [self._key], self.device.id)
        else:
            self.memberships.put(bytes(message.payload))
