"""A small network in which everything happened that an operator may see; made by real devices' proofs.

- `ada` delivers: ten days, two instruments with flags, a key rotation, a gap, two logs, a challenge
  answered; a proof of it waits for one that is missing.
- `mallory` delivers, too: its owner's name, its instrument's serial number and a log's reason are HTML.
- `bob` signed two proofs for one number, `carol` runs on two boards, `dan` is silent, `eve` is revoked,
  `frank` joined and was never heard; and a stranger sends rubbish.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.service import Inbound
from proof import wire
from proof.claims import Predecessor
from proof.cose import object_hash
from proof.senml import Reading
from tests.gateway_parts import NETWORK, Device, Gateway, descriptor, readings

DAYS = 10
HTML = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
NONCE = b"0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Network:
    ada: Device
    mallory: Device
    bob: Device
    carol: Device
    dan: Device
    eve: Device
    frank: Device


def build(gateway: Gateway, html: str = HTML) -> Network:
    """Ends at `gateway.now_s` as it stands, after a last beacon. `html` is what mallory writes."""
    end_s = gateway.now_s
    gateway.now_s = end_s - DAYS * 86_400
    names = ("ada", html, "bob", "carol", "dan", "eve", "frank")
    devices = [Device(seed) for seed in range(1, 8)]
    for device, owner in zip(devices, names, strict=True):
        gateway.enrol(device, gateway.claim(owner=owner))
    network = Network(*devices)
    _ada(gateway, network.ada)
    gateway.now_s = end_s - 6 * 3600
    gateway.send(network.dan, *(network.dan.seal(_rows(gateway)) for _ in range(3)))
    _mallory(gateway, network.mallory, html[:60])
    _bob(gateway, network.bob)
    _carol(gateway, network.carol)
    gateway.send(network.eve, network.eve.seal(_rows(gateway)))
    gateway.register.revoke(network.eve.id, None)
    gateway.now_s = end_s - 60
    for device in (network.ada, network.mallory, network.carol):
        gateway.send(device, device.seal(_rows(gateway)))
    network.ada.seal(_rows(gateway))
    gateway.send(network.ada, network.ada.seal(_rows(gateway)))
    stranger = Device(99)
    gateway.send(stranger, stranger.seal())
    gateway.service.take([Inbound(wire.topic(NETWORK, stranger.id, "proof"), b"rubbish")])
    gateway.service.beacon()
    gateway.now_s = end_s
    return network


def _rows(gateway: Gateway, count: int = 6, flags: int = 0, instrument: str = "t") -> tuple[Reading, ...]:
    """The first bears `flags`."""
    rows = [replace(row, instrument=instrument) for row in readings(count, int(gateway.now_s) - 60 * count)]
    return (replace(rows[0], flags=flags), *rows[1:])


def _ada(gateway: Gateway, device: Device) -> None:
    for day in range(DAYS - 1):
        gateway.now_s += 86_400
        gateway.send(device, *(device.seal(_rows(gateway)) for _ in range(3 + day)))
        humid = sorted(
            (*_rows(gateway, 4, 32 * (day % 2), "humid"), *_rows(gateway, 4)), key=lambda r: r.time_ms
        )
        gateway.send(device, device.seal(tuple(humid)))
    gateway.send(device, device.rotate())
    lost = [device.seal(_rows(gateway)) for _ in range(4)]
    gateway.send(device, device.seal(gaps=(device.gap(device.seq - 3, device.seq),)), lost[3])
    device.start_log(b"log-0002", device.log)
    gateway.send(device, device.seal(_rows(gateway)))
    gateway.register.ask_challenge(device.id, NONCE, 60)
    gateway.service.challenges()
    beacon = object_hash(gateway.service.beacon().payload)
    gateway.now_s += 1.5
    gateway.send(device, device.seal(freshness=(beacon, NONCE), sealed_at_s=int(gateway.now_s)))


def _mallory(gateway: Gateway, device: Device, html: str) -> None:
    gateway.send(device, device.seal(_rows(gateway)))
    hostile = descriptor(serial=html)
    gateway.send(device, device.seal(_rows(gateway), descriptor=hostile, descriptor_hash=hostile.hash()))
    device.start_log(b"log-0002", device.log, reason=html)
    gateway.send(device, device.seal(_rows(gateway), descriptor=hostile, descriptor_hash=hostile.hash()))


def _bob(gateway: Gateway, device: Device) -> None:
    gateway.send(device, device.seal(_rows(gateway)))
    rival = device.other()
    gateway.send(device, device.seal(_rows(gateway)), rival)


def _carol(gateway: Gateway, device: Device) -> None:
    gateway.send(device, device.seal(_rows(gateway)))
    gives_way = Predecessor(device.log, device.prev if isinstance(device.prev, bytes) else None, "superseded")
    gateway.send(device, device.other(log=b"log-0002", seq=1, prev=gives_way))
