"""The gateway's side of a benchmark: its service over a ledger, and a device's membership from it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

from agent.membership import Joined
from gateway.enrolment import Network
from gateway.folder import LEDGER
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.service import Inbound, Service
from gateway.store import Store
from proof import joining, wire
from proof.descriptor import Descriptor
from proof.joining import JoinClaim
from proof.keys import SeedSigner, Signer, device_id

NETWORK = "bench"


def service_of(folder: Path, gateway: SeedSigner, *, new: bool = False) -> tuple[Service, Store]:
    """The gateway's service over the ledger in `folder`."""
    make = Store.create if new else Store.open
    store = make(folder / LEDGER, NETWORK, "test", device_id(gateway.public_key))
    ledger, network = Ledger(store, NETWORK, "test"), Network(NETWORK, "test", {})
    return Service(ledger, Register(store), network, gateway, time.time, os.urandom), store


def join(folder: Path, gateway: SeedSigner, signer: Signer, broker: str) -> Joined:
    """Make the ledger in `folder` and admit `signer`'s device."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    service, store = service_of(folder, gateway, new=True)
    keys = (gateway.public_key,)
    claim = JoinClaim(NETWORK, "test", keys, broker, bytes(8), os.urandom(32), int(time.time()) + 3600)
    Register(store).add_claim(claim, "bench")
    descriptor = Descriptor("fieldproof", "0", "sim", True, "", ())
    request = joining.sign_enrolment(claim, descriptor, bytes(32), signer, int(time.time()))
    topic = wire.topic(NETWORK, device_id(signer.public_key), "enrol")
    (answer,) = service.take([Inbound(topic, request)])
    store.close()
    member = joining.open_membership(answer.payload, keys, device_id(signer.public_key))
    return Joined(broker, keys, answer.payload, member)
