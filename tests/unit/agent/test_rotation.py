"""Changing the key on the device (§8.4): the journal decides, the keystore follows, crashes heal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent import export, papers, retention, rotation
from agent.errors import FixKey, TryAgain
from agent.keystore import create_key
from agent.membership import Joined
from agent.receipts import accept
from agent.rotation import KeptKeys, Turned
from agent.schema import SCHEMA_VERSION, words, words_of
from agent.sealer import Sealer
from agent.settings import ProofSettings
from agent.store import open_journal
from agent.succession import ROLLED_BACK
from proof import bundle, joining, receipt, sealing
from proof.cose import object_hash
from proof.finding import Finding
from proof.joining import Membership
from proof.keys import Signer, key_id
from proof.receipt import Receipt
from tests.agent_parts import GATEWAY, NETWORK, START_S, FakeClock, captured, make_descriptor


@dataclass
class Device:
    """Keys and a journal on disk, and a sealer that has resumed what they say."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    number: int = 0

    def __post_init__(self) -> None:
        uri = f"sim:{self.folder}/device.key"
        self.id = create_key(uri, 0).device
        self.keys = KeptKeys(uri, self.clock)
        self.start()

    def start(self, condemned: bool = False) -> None:
        path = self.folder / "journal.db"
        self.journal = open_journal(path, self.id, self.clock.boot_id, condemned=condemned).journal
        self.journal.execute("PRAGMA synchronous=OFF")  # faster; power cuts are not tested here
        self.signer, turn = rotation.resume(self.journal, self.keys)
        self.sealer = Sealer(self.signer, NETWORK, ProofSettings(), self.clock, turn=turn)
        self.sealer.descriptor = make_descriptor()

    def restart(self, condemned: bool = False) -> None:
        self.journal.close()
        self.start(condemned)

    def seal(self) -> sealing.Proof:
        self.clock.advance(60)
        self.number += 1
        self.journal.append(captured(self.clock, self.number))
        self.journal.begin()
        self.sealer.seal(self.journal)
        self.journal.commit()
        self.sealer.committed()
        return self.newest()

    def rotate(self) -> Turned:
        turn = self.sealer.turn = rotation.begin(self.sealer.turn, self.keys, self.journal)
        self.seal()
        return rotation.turned(self.journal, turn)

    def newest(self) -> sealing.Proof:
        log = self.journal.open_log()
        assert log is not None
        stored = self.journal.proof_at(log.id, log.seq)
        assert stored is not None
        return sealing.parse(stored.data)

    def receipt(self, head: sealing.Proof) -> str:
        log = self.journal.open_log()
        assert log is not None
        claims = head.claims
        received = Receipt(self.id, claims.log, claims.seq, head.hash, START_S + self.number)
        signed = receipt.sign(received, GATEWAY, START_S)
        return accept(self.journal, received, signed, self.sealer).new_log_because

    def settle(self) -> None:
        """As the keeper does after a receipt."""
        turn = self.sealer.turn
        if turn is not None and rotation.is_receipted(self.journal, turn):
            self.sealer.settled(self.keys.settle(turn.new.public_key))

    def finding(self) -> Finding:
        member = Membership(self.id, NETWORK, "test", (GATEWAY.public_key,), (), START_S, None)
        signed = joining.sign_membership(member, GATEWAY, START_S)
        joined = Joined("", (GATEWAY.public_key,), signed, member)
        pieces = export.pieces(lambda job: job(self.journal), joined, 0, 2**40)
        return bundle.examine(b"".join(pieces), [GATEWAY.public_key])


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.journal.close()


def signed_by(proof: sealing.Proof, signer: Signer) -> bool:
    return proof.signed.kid == key_id(signer.public_key)


def carrying(proof: sealing.Proof) -> bool:
    return proof.claims.rotation is not None


def test_the_proof_that_rotates_and_all_after_it_are_signed_by_the_new_key(device):
    first, new = device.seal(), device.keys.following()
    done = device.rotate()
    second, third = device.newest(), device.seal()
    assert (done.seq, done.device) == (2, device.id)
    assert done.new_key == key_id(new.public_key).hex()
    assert [carrying(proof) for proof in (first, second, third)] == [False, True, False]
    assert [signed_by(proof, new) for proof in (first, second, third)] == [False, True, True]
    assert [proof.claims.device for proof in (first, second, third)] == [device.id] * 3
    assert device.finding().turns[0].new_key == new.public_key


def test_the_old_key_stays_until_the_receipt_and_is_gone_after_it(device):
    old, new = device.keys.current(), device.keys.following()
    device.seal()
    device.rotate()
    device.restart()
    assert device.keys.current().public_key == old.public_key
    assert signed_by(device.seal(), new)
    assert device.receipt(device.newest()) == ""
    device.settle()
    assert device.keys.current().public_key == new.public_key
    assert (device.keys.prepared(), device.sealer.turn) == (False, None)
    device.restart()
    proof = device.seal()
    assert signed_by(proof, new)
    assert not carrying(proof)


def test_a_crash_between_receipt_and_keystore_is_made_good_at_the_next_start(device):
    new = device.keys.following()
    device.rotate()
    device.receipt(device.newest())
    device.restart()
    assert device.keys.current().public_key == new.public_key
    assert device.sealer.turn is None


def test_a_second_rotation_waits_for_the_receipt_of_the_first(device):
    device.rotate()
    for again in range(2):
        with pytest.raises(TryAgain, match=r"already changed to [0-9a-f]{16}, with proof 1.*not receipted"):
            device.rotate()
        if not again:
            device.restart()
    device.receipt(device.newest())
    device.settle()
    third = device.keys.following()
    assert device.rotate().seq == 2
    assert signed_by(device.newest(), third)
    assert len(device.finding().turns) == 2


def test_a_rotation_that_was_not_committed_never_was(device):
    device.seal()
    device.journal.begin()
    device.sealer.turn = rotation.begin(None, device.keys, device.journal)
    device.sealer.seal(device.journal)
    device.journal.rollback()
    device.sealer.undo()
    proof = device.seal()
    assert signed_by(proof, device.keys.current())
    assert not carrying(proof)
    device.restart()
    assert signed_by(device.seal(), device.keys.current())
    assert device.rotate().seq == 4


def test_a_device_whose_log_a_thief_took_rotates_again_in_the_new_one(device):
    """And the old key, still there, signs that rotation."""
    base = device.seal()
    device.receipt(base)
    new = device.keys.following()
    device.rotate()
    device.seal()
    stolen = Receipt(device.id, base.claims.log, 2, object_hash(b"the thief's"), START_S + 99)
    assert accept(device.journal, stolen, b"signed", device.sealer).new_log_because == ROLLED_BACK
    proofs = [sealing.parse(stored.data) for stored in device.journal.unreceipted(2)]
    assert [(proof.claims.seq, carrying(proof)) for proof in proofs] == [(1, True), (2, False)]
    assert all(signed_by(proof, new) for proof in proofs)
    device.restart()
    assert not carrying(device.seal())
    device.receipt(device.newest())
    device.settle()
    assert device.keys.current().public_key == new.public_key


def test_a_damaged_journal_keeps_its_rotation_and_repeats_it_in_the_next_log(device):
    new = device.keys.following()
    device.seal()
    device.rotate()
    device.restart(condemned=True)
    device.journal.begin()
    for log_id in device.journal.closed_logs():
        device.sealer.reseal(device.journal, log_id)
    device.journal.commit()
    proofs = [sealing.parse(stored.data) for stored in device.journal.unreceipted(2)]
    assert [carrying(proof) for proof in proofs] == [True, False]
    assert all(signed_by(proof, new) for proof in proofs)


def test_a_settled_rotation_survives_a_damaged_and_a_lost_journal(device):
    new = device.keys.following()
    device.rotate()
    device.receipt(device.newest())
    device.settle()
    known = rotation.place(device.journal)
    device.restart(condemned=True)
    assert rotation.place(device.journal) == known
    assert not carrying(device.seal())
    device.journal.close()
    for path in device.folder.glob("journal.db*"):
        path.unlink()
    device.start()
    proof = device.seal()
    assert (carrying(proof), signed_by(proof, new), proof.claims.device) == (False, True, device.id)


def test_a_lost_journal_beside_an_unfinished_rotation_finishes_it(device):
    new = device.keys.following()
    device.rotate()
    device.journal.close()
    for path in device.folder.glob("journal.db*"):
        path.unlink()
    device.start()
    proof = device.seal()
    assert carrying(proof)
    assert signed_by(proof, new)


def test_a_prepared_rotation_that_was_never_sealed_changes_nothing(device):
    device.seal()
    rotation.prepare(device.keys)
    device.restart()
    assert signed_by(device.seal(), device.keys.current())


def test_keys_put_back_from_before_the_rotation_are_a_hard_stop(device):
    device.seal()
    kept = {path: path.read_bytes() for path in device.folder.glob("device.key*")}
    for _ in range(2):
        device.rotate()
        device.receipt(device.newest())
        device.settle()
    for path, data in kept.items():
        path.chmod(0o600)
        path.write_bytes(data)
        path.chmod(0o400)
    with pytest.raises(FixKey, match="older copy"):
        device.restart()


def test_a_proof_that_carries_a_rotation_is_not_given_up_before_its_receipt(device):
    for _ in range(3):
        device.seal()
    device.rotate()
    for _ in range(3):
        device.seal()
    gaps = []
    while gap := retention.evict_unreceipted(device.journal, 1, 2, "store full"):
        gaps.append((gap.first_seq, gap.last_seq))
    assert gaps == [(1, 2), (1, 3), (5, 6), (5, 7)]
    device.receipt(device.seal())
    assert retention.evict_receipted(device.journal, 10) == 2


def test_an_export_that_begins_behind_the_rotation_brings_the_way_to_its_key(device):
    device.seal()
    device.rotate()
    device.receipt(device.newest())
    device.settle()
    retention.evict_receipted(device.journal, 10)
    device.seal()
    finding = device.finding()
    assert (finding.first_seq, [turn.seq for turn in finding.turns]) == (3, [2])


def test_a_journal_of_the_first_version_is_brought_up_to_this_one(tmp_path, device):
    device.seal()
    device.journal.execute("DROP TABLE rotations")
    device.journal.execute("DROP TABLE diary")
    device.journal.execute("DROP INDEX unreceipted")
    device.journal.execute(words_of(1)["unreceipted"])
    device.journal.execute("UPDATE meta SET version = 1")
    device.restart()
    assert words(device.journal._db) == words_of(SCHEMA_VERSION)
    assert device.rotate().seq == 2
    assert not list(device.folder.glob("*.corrupt-*"))


def test_the_newest_descriptor_is_found_where_a_proof_keeps_it(device):
    assert papers.newest_descriptor(device.journal) is None
    for _ in range(3):
        device.seal()
    assert papers.newest_descriptor(device.journal) == make_descriptor()


def test_an_older_copy_of_the_journal_finishes_in_its_next_log_what_may_have_arrived(device):
    device.receipt(device.seal())
    path = device.folder / "journal.db"
    device.journal.close()
    copy = path.read_bytes()
    device.start()
    new = device.keys.following()
    device.rotate()
    arrived = device.newest()
    device.journal.close()
    path.write_bytes(copy)
    device.start()
    assert not carrying(device.seal())
    received = Receipt(device.id, arrived.claims.log, arrived.claims.seq, arrived.hash, START_S + 99)
    signed = receipt.sign(received, GATEWAY, START_S)
    assert accept(device.journal, received, signed, device.sealer).new_log_because == ROLLED_BACK
    proof = device.newest()
    assert carrying(proof)
    assert signed_by(proof, new)


def test_an_older_copy_of_the_journal_goes_on_with_the_newest_key(device):
    device.receipt(device.seal())
    device.rotate()
    device.receipt(device.newest())
    device.settle()
    device.journal.close()
    path = device.folder / "journal.db"
    copy = path.read_bytes()
    device.start()
    device.rotate()
    device.receipt(device.newest())
    device.settle()
    newest = device.keys.current()
    device.journal.close()
    path.write_bytes(copy)
    device.start()
    assert signed_by(device.seal(), newest)
