"""Whatever a device seals, gives up, loses on the way and restarts through, whenever it changes its key, in
whatever order proofs and receipts arrive: in the end the gateway's head is the device's head.

A store that was superseded (an old copy from before a change of logs) is resumed by its owner. One limit is
the protocol's: a store is lost or restored here only while the gateway holds nothing beyond its
head, because a receipt does not say what is held.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import retention
from proof.chain import Head
from tests.boards import Board
from tests.gateway_parts import Gateway

STEPS = st.one_of(
    st.tuples(st.just("seal"), st.integers(0, 3)),
    st.tuples(st.just("rotate"), st.just(0)),
    st.tuples(st.just("deliver"), st.lists(st.integers(0, 12), max_size=6)),
    st.tuples(st.just("receipt"), st.just(0)),
    st.tuples(st.just("evict"), st.integers(1, 5)),
    st.tuples(st.just("evict receipted"), st.integers(1, 5)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("lose the store"), st.just(0)),
    st.tuples(st.just("restore a copy"), st.just(0)),
)


def holds_nothing(gateway: Gateway) -> bool:
    return bool(gateway.store.row("SELECT count(*) FROM proof WHERE state = 'held'")[0] == 0)


def step(board: Board, name: str, how: object, copies: list[bytes]) -> None:
    match name, how:
        case "seal", int(samples):
            board.seal(samples)
        case "rotate", _:
            board.rotate()
        case "deliver", list(picks):
            board.deliver(picks)
        case "receipt", _:
            board.hear()
        case "evict", int(limit):
            if retention.evict_unreceipted(board.journal, board.log.id, limit, "store full"):
                board.sealer.forget_announcement()
        case "evict receipted", int(limit):
            retention.evict_receipted(board.journal, limit)
        case "restart", bool(reboot):
            image = board.restart(reboot)
            if not copies:
                copies.append(image)
        case "lose the store", _ if holds_nothing(board.gateway):
            board.replace(None)
            board.hear()
        case "restore a copy", _ if holds_nothing(board.gateway):
            if copies:
                board.replace(copies.pop())
                board.hear()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_gateways_head_arrives_at_the_devices_head(steps):
    with tempfile.TemporaryDirectory() as folder:
        gateway, copies = Gateway(Path(folder)), list[bytes]()
        board = Board(Path(folder) / "board", gateway, gateway.member())
        try:
            for name, how in steps:
                step(board, name, how, copies)
            for _ in range(6):
                board.hear()
                board.resume()  # the owner, where an older card had been put in after a change of logs
                board.seal(1)
                board.deliver()
                board.deliver()  # again what was signed by a key not known yet
                board.hear()
            known = gateway.ledger.device(board.device.id)
            assert known is not None
            assert known.head == Head(board.log.log, board.log.seq, board.log.hash)
            assert not known.suspended
            assert board.journal.receipted_seq(board.log.id) == board.log.seq
        finally:
            board.close()
            gateway.close()
