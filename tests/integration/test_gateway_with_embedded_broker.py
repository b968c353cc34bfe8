"""`listen --embedded-broker`: nothing to install, MQTT 3.1.1."""

from __future__ import annotations

import pytest

from tests.gateway_parts import Device
from tests.integration.gateway_process import GatewayProcess, Node

pytest.importorskip("amqtt", reason="the extra `broker` is not installed")


def test_a_device_joins_and_goes_on_after_broker_and_gateway_restarted(tmp_path, until, free_port):
    gateway = GatewayProcess(tmp_path / "gateway", f"mqtt://127.0.0.1:{free_port}")
    try:
        gateway.start("--embedded-broker")
        until(gateway.starts, 20, "the embedded broker")
        node = Node(Device(), free_port, until, gateway.key)
        node.enrol(gateway.claim())
        node.send(*(node.device.seal() for _ in range(20)))
        assert node.await_head(20).missing == ()
        assert gateway.end() == 0
        gateway.start("--embedded-broker")
        last = node.device.seal()

        def answered():
            node.send(last)
            return node.newest and node.newest.head_seq == 21

        until(answered, 30, "a receipt after the restart")
        node.close()
        assert "Traceback" not in gateway.log.read_text()
    finally:
        gateway.kill()
