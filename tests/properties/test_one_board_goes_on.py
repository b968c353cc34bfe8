"""Lost stores, restored cards and boards that run with a copy of the card, in any order.

- A reading that was stored on a board is at the gateway or on that board, as long as its card lives.
- In the end one board publishes; every other one has stopped and knows it (all have where the one that went
  on got an older card). Its owner can change which.
- Only two boards that sign one number differently are suspended: one board alone never is, whatever cards
  its owner puts into it.

As in `test_chain_reaches_the_gateway`, cards are exchanged while the gateway holds nothing beyond its head.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.boards import Board, delivered
from tests.gateway_parts import Gateway

MOST_BOARDS = 3
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # durability is not the claim here


class Boards(RuleBasedStateMachine):
    clones = True

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.gateway = Gateway(self.folder)
        self.device = self.gateway.member()
        self.images: list[bytes] = []
        self.boards: list[Board] = []
        self.live: list[set[int]] = []  # what was stored on each board's present card
        self.add(None, set())
        self.work(0)
        self.images.append(self.boards[0].restart())

    def add(self, image: bytes | None, numbers: set[int]) -> None:
        folder = self.folder / f"board-{len(self.boards)}"
        self.boards.append(Board(folder, self.gateway, self.device, image))
        self.live.append(numbers)

    def pick(self, which: int) -> int:
        return which % len(self.boards)

    which = st.integers(0, MOST_BOARDS - 1)

    @rule(which=which)
    def work(self, which: int) -> None:
        """As the publisher does it: hear, publish, hear."""
        board = self.pick(which)
        self.boards[board].hear()
        self.live[board] |= set(self.boards[board].seal())
        self.boards[board].deliver()
        self.boards[board].hear()

    @rule(which=which, samples=st.integers(0, 3))
    def seal(self, which: int, samples: int) -> None:
        board = self.pick(which)
        self.live[board] |= set(self.boards[board].seal(samples))

    @rule(which=which, picks=st.lists(st.integers(0, 5), max_size=5))
    def deliver(self, which: int, picks: list[int]) -> None:
        self.boards[self.pick(which)].deliver(picks)

    @rule(which=which, offered=st.booleans())
    def hear(self, which: int, offered: bool) -> None:
        self.boards[self.pick(which)].hear(offered)

    @rule(which=which, reboot=st.booleans())
    def copy_the_card(self, which: int, reboot: bool) -> None:
        self.images.append(self.boards[self.pick(which)].restart(reboot))

    def holds_nothing(self) -> bool:
        return bool(self.gateway.store.row("SELECT count(*) FROM proof WHERE state = 'held'")[0] == 0)

    @precondition(lambda self: self.holds_nothing())
    @rule(which=which, image=st.integers(0, 5))
    def exchange_the_card(self, which: int, image: int) -> None:
        """What only the old card knew is gone with it; a board hears before it publishes."""
        board = self.pick(which)
        self.live[board] = set()
        self.boards[board].replace(self.images[image] if image < len(self.images) else None)
        self.boards[board].hear()
        event("a card without a journal" if image >= len(self.images) else "an old card")

    @precondition(lambda self: self.clones and self.images and len(self.boards) < MOST_BOARDS)
    @rule(image=st.integers(0, 5), hears=st.booleans())
    def start_another_board(self, image: int, hears: bool) -> None:
        self.add(self.images[image % len(self.images)], set())
        if hears:
            self.boards[-1].hear()

    @rule(which=which)
    def resume(self, which: int) -> None:
        self.boards[self.pick(which)].resume()

    @invariant()
    def nothing_stored_is_lost(self) -> None:
        if not hasattr(self, "boards"):
            return
        held = delivered(self.gateway, self.device)
        for board, numbers in zip(self.boards, self.live, strict=True):
            assert numbers <= held | board.kept()

    @invariant()
    def one_board_alone_is_never_suspended(self) -> None:
        if hasattr(self, "boards") and len(self.boards) == 1:
            known = self.gateway.ledger.device(self.device.id)
            assert known is not None
            assert not known.suspended

    def teardown(self) -> None:
        if not hasattr(self, "boards"):
            return
        try:
            self.settle()
        finally:
            for board in self.boards:
                board.close()
            self.gateway.close()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        self.rounds()
        known = self.gateway.ledger.device(self.device.id)
        assert known is not None
        if known.suspended:
            event("suspended")
            self.gateway.register.restore(self.device.id)
            self.gateway.restart()
            self.rounds()
        stopped = [board for board in self.boards if board.superseded]
        if len(stopped) == len(self.boards):
            event("an old card alone")
        else:
            self.one_publishes()
        if stopped:
            event("superseded")
            assert stopped[0].resume()
            self.rounds()
            self.one_publishes()
            assert not stopped[0].superseded

    def rounds(self) -> None:
        for _ in range(4):
            for board, numbers in zip(self.boards, self.live, strict=True):
                board.hear()
                numbers |= set(board.seal(1))
                board.deliver()
                board.hear()
        self.nothing_stored_is_lost()

    def one_publishes(self) -> None:
        known = self.gateway.ledger.device(self.device.id)
        assert known is not None
        assert known.head is not None
        publishing = [board for board in self.boards if not board.superseded]
        assert [board.log.log for board in publishing] == [known.head.log]
        assert publishing[0].kept() == set()


class OneBoard(Boards):
    clones = False


class ManyTimes(Boards):
    pass


class OneBoardManyTimes(OneBoard):
    pass


_THOROUGH = settings(max_examples=600, stateful_step_count=20, deadline=None)
TestBoards, TestOneBoard = Boards.TestCase, OneBoard.TestCase
TestBoards.settings = TestOneBoard.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
ManyTimes.TestCase.settings = OneBoardManyTimes.TestCase.settings = _THOROUGH
slow = pytest.mark.timeout(900)  # the same, ten minutes of it
TestManyTimes = pytest.mark.slow(slow(ManyTimes.TestCase))
TestOneBoardManyTimes = pytest.mark.slow(slow(OneBoardManyTimes.TestCase))
