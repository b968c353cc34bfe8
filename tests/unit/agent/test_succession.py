"""Which log a store goes on with: boards and a gateway face to face; a test decides what arrives when."""

from __future__ import annotations

import pytest

from agent.batch import next_batch
from agent.succession import RESUMED, ROLLED_BACK, SENTENCES, STORE_LOST
from proof import sealing
from proof.chain import SUPERSEDED
from proof.claims import Predecessor
from tests.boards import Board, delivered
from tests.gateway_parts import Gateway


@pytest.fixture
def gateway(tmp_path):
    made = Gateway(tmp_path)
    yield made
    made.close()


@pytest.fixture
def boards(gateway, tmp_path):
    """`boards(image)`: a board of one device, with a copy of a card; the first has published a proof."""
    device = gateway.member()
    made: list[Board] = []

    def board(image: bytes | None = None) -> Board:
        made.append(Board(tmp_path / f"board-{len(made)}", gateway, device, image))
        if image is None:
            publish(made[-1])
        return made[-1]

    yield board
    for one in made:
        one.close()


def publish(board: Board, count: int = 1) -> None:
    for _ in range(count):
        board.hear()
        board.seal()
        board.deliver()
        board.hear()


def reasons(gateway: Gateway) -> list[str]:
    (line,) = gateway.register.devices()
    return [log.reason for log in line.logs]


def test_of_two_running_copies_one_goes_on_and_the_other_keeps_everything(gateway, boards):
    first = boards()
    second = boards(first.restart())
    publish(first)
    assert second.hear().new_log_because == ROLLED_BACK
    publish(second)
    assert first.hear().new_log_because == SUPERSEDED
    stored = {n for _ in range(3) for n in first.seal()}
    first.deliver()
    for _ in range(3):
        publish(second)
        assert first.hear().new_log_because == ""
        publish(first)
    assert (first.superseded, second.superseded) == (True, False)
    assert reasons(gateway) == [ROLLED_BACK]
    assert stored <= first.kept()
    assert not stored & delivered(gateway, first.device)


def test_a_superseded_store_offers_one_proof_which_the_gateway_keeps_as_evidence_and_tells(gateway, boards):
    first = boards()
    second = boards(first.restart())
    publish(first)
    publish(second, 3)
    first.hear()
    assert first.log.seq == 1  # there was nothing to seal again, and the gateway is to know at once
    heard = first.log.predecessor
    assert heard == Predecessor(second.log.log, second.log.hash, SUPERSEDED)
    first.seal(2)
    batch = next_batch(first.journal, (1, 2), 0, 8)
    assert [proof.seq for proof in batch.in_turn] == [1]
    assert (batch.asked, batch.gives_way) == ((), True)
    assert next_batch(first.journal, (), 1, 8).in_turn == ()
    first.deliver()
    first.deliver()
    evidence = [data for code, data in gateway.register.evidence(first.device.id) if code == "two_boards"]
    assert [sealing.parse(data).claims.prev for data in evidence] == [heard]
    told = second.hear().verdicts
    assert [(verdict.seq, verdict.code) for verdict in told] == [(second.log.seq, "two_boards")]
    (line,) = gateway.register.devices()
    assert (line.two_boards_s, line.suspended) == (gateway.now_s - 1, 0)  # the second was known already


def test_a_superseded_store_stays_so_through_restarts(gateway, boards):
    first = boards()
    second = boards(first.restart())
    publish(first)
    publish(second)
    first.hear()
    first.restart(reboot=True)
    assert first.superseded
    publish(second)
    assert first.hear().new_log_because == ""


def test_damage_that_leaves_the_logs_readable_does_not_put_a_superseded_store_back(gateway, boards):
    first = boards()
    second = boards(first.restart())
    publish(first)
    publish(second)
    first.hear()
    heard = first.log.predecessor
    first.journal.execute("DELETE FROM meta")  # no owner: condemned when it is opened again
    first.restart()
    assert list(first.path.parent.glob("*.corrupt-1"))
    assert first.log.predecessor == heard
    publish(second)
    assert first.hear().new_log_because == ""
    assert first.superseded


def test_resume_takes_over_with_all_that_was_kept(gateway, boards):
    first = boards()
    second = boards(first.restart())
    publish(first)
    publish(second)
    first.hear()
    stored = set(first.seal(2))
    publish(second, 3)
    assert first.resume()
    assert not first.resume()
    first.hear()  # the other's head has moved since
    assert first.log.predecessor == Predecessor(second.log.log, second.log.hash, RESUMED)
    publish(first)
    assert stored <= delivered(gateway, first.device)
    assert first.kept() == set()
    assert second.hear().new_log_because == SUPERSEDED
    assert reasons(gateway) == [ROLLED_BACK, RESUMED]


def test_a_resumed_log_whose_receipt_was_lost_is_found_again(gateway, boards):
    """Its first proof was accepted; then a receipt the broker had kept makes it open another log."""
    first = boards()
    second = boards(first.restart())
    publish(first)
    publish(second)
    first.hear()
    publish(second)
    kept = gateway.ledger.receipt(first.device.id)
    first.resume()
    first.seal()
    first.deliver()
    accepted = first.log.log
    assert gateway.ledger.receipt(first.device.id).log == accepted
    assert first.hear(stale=kept).new_log_because == RESUMED
    publish(first)
    assert first.log.predecessor.log == accepted
    assert gateway.ledger.receipt(first.device.id).log == first.log.log
    assert first.kept() == set()


def test_a_store_contradicted_in_the_log_it_opened_for_that_is_superseded_not_a_third_log(gateway, boards):
    first = boards()
    image = first.restart()
    publish(first)
    second = boards(image)
    second.hear()
    assert second.log.predecessor.reason == ROLLED_BACK
    third = boards(second.restart())
    publish(second, 2)
    assert third.hear().new_log_because == SUPERSEDED
    assert not second.superseded


def test_two_lost_stores_end_with_one_that_publishes(gateway, boards):
    first = boards()
    second = boards(first.restart())
    first.replace(None)
    second.replace(None)
    assert first.hear().new_log_because == STORE_LOST
    assert second.hear().new_log_because == STORE_LOST
    for _ in range(3):
        publish(first)
        publish(second)
    assert [first.superseded, second.superseded].count(True) == 1
    assert reasons(gateway).count(STORE_LOST) <= 2


def test_two_copies_that_sign_one_number_differently_are_suspended_with_both_as_evidence(gateway, boards):
    first = boards()
    second = boards(first.restart())
    first.seal()
    second.seal()
    first.deliver()
    second.deliver()
    (line,) = gateway.register.devices()
    assert line.suspended
    assert [code for code, _ in gateway.register.evidence(first.device.id)] == ["equivocation"] * 2
    assert [verdict.code for verdict in first.hear().verdicts] == ["equivocation"]
    assert second.hear().new_log_because == ROLLED_BACK
    stored = second.kept()
    gateway.register.restore(first.device.id)
    gateway.restart()
    for _ in range(3):
        publish(first)
        publish(second)
    assert [first.superseded, second.superseded].count(True) == 1
    assert stored <= delivered(gateway, first.device) | second.kept()


def test_a_corrupt_store_whose_last_log_never_reached_the_gateway_names_the_one_that_did(gateway, boards):
    """The log it would name after the damage is one that no gateway knows."""
    first = boards()
    image = first.restart()
    publish(first)
    first.replace(image)
    assert first.hear().new_log_because == ROLLED_BACK  # never delivered
    first.journal.execute("DELETE FROM meta")
    first.restart()
    assert first.log.predecessor.reason == "store corrupt"
    publish(first, 2)
    assert gateway.ledger.receipt(first.device.id).log == first.log.log
    assert not first.superseded


def test_every_reason_to_leave_a_log_has_its_sentence_with_what_to_do():
    assert all(sentence.endswith(".") and ":" in sentence for sentence in SENTENCES.values())
