"""An evidence bundle (§11) out of the ledger, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.ledger import Ledger
from gateway.register import Register
from proof import bundle, receipt, sealing
from proof.keys import Signer
from proof.receipt import Receipt


def pieces(device: str, ledger: Ledger, register: Register, signer: Signer, now_s: int) -> Iterator[bytes]:
    """A member's bundle piece by piece: membership, each beacon before the first proof that names it,
    accepted proofs in chain order, a receipt. Nothing for a stranger. A revoked device's ends with its last
    good proof, and the receipt says no more (§8.5)."""
    membership, latest = register.membership(device), ledger.receipt(device)
    if membership is None or latest is None:
        return
    last = register.last_good(device)
    if last is not None and register.is_revoked(device):
        latest = Receipt(device, last.log, last.seq, last.hash, latest.received_at_s)

    def objects() -> Iterator[bytes]:
        yield membership
        named: set[bytes] = set()
        for data in register.accepted(device):
            for beacon_hash in sealing.parse(data).claims.freshness[:1]:
                beacon = None if beacon_hash in named else register.beacon_data(beacon_hash)
                named.add(beacon_hash)
                if beacon is not None:
                    yield beacon
            yield data
        yield receipt.sign(latest, signer, now_s)

    yield from bundle.write(device, ledger.network, objects())
