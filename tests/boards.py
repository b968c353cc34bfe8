"""Boards with one device's key and its gateway, without a broker: what arrives when is a test's decision."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent import rotation, succession
from agent.errors import TryAgain
from agent.journal import Journal, OpenLog
from agent.receipts import Outcome, accept
from agent.sealer import Sealer
from agent.settings import ProofSettings
from proof import receipt
from proof.receipt import Receipt
from proof.sealing import parse
from tests import gateway_parts
from tests.agent_parts import FakeClock, MemoryKeys, captured, make_descriptor, open_test_journal
from tests.gateway_parts import Device, Gateway


class Board:
    """A journal and its sealer; every sample anywhere has its own number."""

    numbers = 0

    def __init__(self, folder: Path, gateway: Gateway, device: Device, image: bytes | None = None) -> None:
        self.path, self.gateway, self.device = folder / "journal.db", gateway, device
        folder.mkdir(exist_ok=True)
        self.clock = FakeClock(boot=Board.numbers + 1)
        self.clock.set_wall(gateway_parts.NOW_S)
        self.keys = MemoryKeys(device.key)
        if image is not None:
            self.path.write_bytes(image)
        self.open()

    def open(self) -> None:
        self.journal: Journal = open_test_journal(self.path.parent, self.clock, self.device.id)
        signer, turn = rotation.resume(self.journal, self.keys)
        self.sealer = Sealer(signer, gateway_parts.NETWORK, ProofSettings(), self.clock, turn=turn)
        self.sealer.descriptor = make_descriptor()

    @property
    def log(self) -> OpenLog:
        log = self.journal.open_log()
        assert log is not None
        return log

    @property
    def superseded(self) -> bool:
        return succession.superseded(self.journal)

    def seal(self, samples: int = 1) -> list[int]:
        """Their numbers."""
        first = Board.numbers
        for _ in range(samples):
            self.journal.append(captured(self.clock, Board.numbers))
            Board.numbers += 1
            self.clock.advance(1)
        self.sealer.seal(self.journal)
        return list(range(first, Board.numbers))

    def rotate(self) -> bool:
        """Whether the key was changed: not before the receipt of the last time."""
        try:
            self.sealer.turn = rotation.begin(self.sealer.turn, self.keys, self.journal)
        except TryAgain:
            return False
        self.seal(0)
        return True

    def deliver(self, picks: Iterable[int] = range(100)) -> None:
        kept = [stored.data for stored in self.journal.unreceipted(self.log.id)]
        if self.superseded:
            kept = kept[:1]
        chosen = [kept[pick] for pick in picks if pick < len(kept)]
        if chosen:
            self.gateway.now_s += 1
            self.gateway.send(self.device, *chosen)

    def hear(self, offered: bool = False, stale: Receipt | None = None) -> Outcome | None:
        """The gateway's receipt, as it is now, arrives; or one that the broker had kept."""
        found = stale or self.gateway.ledger.receipt(self.device.id)
        if found is None or found.log == receipt.NO_LOG:
            return None
        data = receipt.sign(found, gateway_parts.GATEWAY, gateway_parts.NOW_S)
        self.journal.begin()
        outcome = accept(self.journal, found, data, self.sealer, offered=offered)
        self.journal.commit()
        turn = self.sealer.turn
        if turn is not None and rotation.is_receipted(self.journal, turn):
            self.sealer.settled(self.keys.settle(turn.new.public_key))
        return outcome

    def resume(self) -> bool:
        left = succession.resume(self.journal)
        if left is not None:
            self.sealer.reseal(self.journal, left.id)
        return left is not None

    def restart(self, reboot: bool = False) -> bytes:
        """The image of the card between the two runs."""
        self.journal.close()
        image = self.path.read_bytes()
        if reboot:
            self.clock.reboot()
        self.open()
        return image

    def replace(self, image: bytes | None) -> None:
        """The card is replaced by one with `image`, or without a journal; the board boots again."""
        self.journal.close()
        self.clock.reboot()
        for path in self.path.parent.glob("journal.db*"):
            path.unlink()
        if image is not None:
            self.path.write_bytes(image)
        self.open()

    def kept(self) -> set[int]:
        """Numbers of the samples this board still holds without a receipt, sealed or not."""
        found = {
            int(sample.values[1].value) - 100_000
            for row in self.journal.execute("SELECT DISTINCT boot_id FROM samples").fetchall()
            for _, sample in self.journal.oldest_samples(row[0], 10**6)
        }
        for (log_id,) in self.journal.execute("SELECT id FROM logs").fetchall():
            found |= {n for stored in self.journal.unreceipted(log_id) for n in numbers(stored.data)}
        return found

    def close(self) -> None:
        self.journal.close()


def numbers(data: bytes) -> list[int]:
    """Numbers of the samples in a proof."""
    return [int(reading.values[1].value) - 100_000 for reading in parse(data).readings()]


def delivered(gateway: Gateway, device: Device) -> set[int]:
    """Numbers of the samples the gateway has accepted."""
    return {number for data in gateway.register.accepted(device.id) for number in numbers(data)}
