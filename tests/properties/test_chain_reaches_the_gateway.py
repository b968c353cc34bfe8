"""Whatever a device seals, gives up, loses on the way and restarts through, in whatever order proofs and
receipts arrive: in the end the gateway's head is the device's head.

One limit is the protocol's: a store is lost or restored here only while the gateway holds nothing beyond its
head, because a receipt does not say what is held.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import retention
from agent.journal import Journal, OpenLog
from agent.receipts import accept
from agent.sealer import Sealer
from agent.settings import ProofSettings
from proof import receipt
from proof.chain import Head
from proof.keys import SeedSigner
from tests import gateway_parts
from tests.agent_parts import FakeClock, captured, make_descriptor, open_test_journal
from tests.gateway_parts import Gateway

STEPS = st.one_of(
    st.tuples(st.just("seal"), st.integers(0, 3)),
    st.tuples(st.just("deliver"), st.lists(st.integers(0, 12), max_size=6)),
    st.tuples(st.just("receipt"), st.just(0)),
    st.tuples(st.just("evict"), st.integers(1, 5)),
    st.tuples(st.just("evict receipted"), st.integers(1, 5)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("lose the store"), st.just(0)),
    st.tuples(st.just("restore a copy"), st.just(0)),
)


class Pair:
    """A device without a broker, and its gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.number, self.logs = folder, FakeClock(), 0, 0
        self.clock.set_wall(gateway_parts.NOW_S)
        (folder / "gateway").mkdir()
        self.gateway = Gateway(folder / "gateway")
        self.device = self.gateway.member()
        self.open()

    def open(self) -> None:
        self.journal: Journal = open_test_journal(self.folder, self.clock, self.device.id)
        signer: SeedSigner = self.device.signer
        self.sealer = Sealer(signer, gateway_parts.NETWORK, ProofSettings(), self.clock)
        self.sealer.descriptor = make_descriptor()

    @property
    def log(self) -> OpenLog:
        log = self.journal.open_log()
        assert log is not None
        return log

    def seal(self, samples: int) -> None:
        for _ in range(samples):
            self.journal.append(captured(self.clock, self.number))
            self.number += 1
            self.clock.advance(1)
        self.sealer.seal(self.journal)

    def deliver(self, picks: list[int]) -> None:
        kept = [stored.data for stored in self.journal.unreceipted(self.log.id)]
        chosen = [kept[pick] for pick in picks if pick < len(kept)]
        if chosen:
            self.gateway.now_s += 1
            self.gateway.send(self.device, *chosen)

    def receipt(self) -> None:
        found = self.gateway.ledger.receipt(self.device.id)
        if found is not None:
            data = receipt.sign(found, gateway_parts.GATEWAY, gateway_parts.NOW_S)
            self.journal.begin()
            accept(self.journal, found, data, self.sealer)
            self.journal.commit()

    def holds_nothing(self) -> bool:
        sql = "SELECT count(*) FROM proof WHERE state = 'held'"
        return bool(self.gateway.store.row(sql)[0] == 0)

    def close(self) -> None:
        self.journal.close()
        self.gateway.close()


def step(pair: Pair, name: str, how: object, copies: list[bytes]) -> None:
    path = pair.folder / "journal.db"
    match name, how:
        case "seal", int(samples):
            pair.seal(samples)
        case "deliver", list(picks):
            pair.deliver(picks)
        case "receipt", _:
            pair.receipt()
        case "evict", int(limit):
            if retention.evict_unreceipted(pair.journal, pair.log.id, limit, "store full"):
                pair.sealer.forget_announcement()
        case "evict receipted", int(limit):
            retention.evict_receipted(pair.journal, limit)
        case "restart", reboot:
            pair.journal.close()
            if not copies:
                copies.append(path.read_bytes())
            if reboot:
                pair.clock.reboot()
            pair.open()
        case "lose the store", _ if pair.holds_nothing():
            pair.journal.close()
            path.unlink()
            pair.open()
            pair.receipt()
        case "restore a copy", _ if pair.holds_nothing():
            if copies:
                pair.journal.close()
                path.write_bytes(copies.pop())
                pair.open()
                pair.receipt()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_gateways_head_arrives_at_the_devices_head(steps):
    with tempfile.TemporaryDirectory() as folder:
        pair, copies = Pair(Path(folder)), list[bytes]()
        try:
            for name, how in steps:
                step(pair, name, how, copies)
            for _ in range(4):
                pair.seal(1)
                pair.deliver(list(range(100)))
                pair.receipt()
            known = pair.gateway.ledger.device(pair.device.id)
            assert known is not None
            assert known.head == Head(pair.log.log, pair.log.seq, pair.log.hash)
            assert not known.suspended
            assert pair.journal.receipted_seq(pair.log.id) == pair.log.seq
        finally:
            pair.close()
