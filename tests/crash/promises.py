"""Whether a journal, opened after a power cut, keeps what it had promised before.

Claims, one JSON object a line, made by `long_run` only after the call that did it had returned:
- {"sample": n}: it is there: unsealed, in a kept proof, or in one that a receipt or a gap record accounts
  for.
- {"proof": hash, "log", "seq"}: seen by the publisher: that place has that hash for ever.
- {"receipted": log, "seq"}, {"gap": hash}, {"log"}, {"bootcount"}, {"key", "log", "seq"}: still so.
- {"holds": hash, "numbers"} is no promise: it says what a proof holds that may be given up.
- {"given": log, "seq"} is none either: a receipt is about to be handed over. It may be on disk from then on,
  and nothing may be marked as receipted beyond it.
- {"damaged"}: a page was destroyed on purpose. Only after that may a quarantine happen; a power cut never is
  one.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agent import retention, rotation
from agent.journal import Journal, unpacked
from agent.rotation import KeptKeys
from agent.sample import MAX_RECORD_BYTES
from agent.sample import unpacked as unpacked_record
from agent.sealer import Sealer
from agent.settings import ProofSettings
from agent.store import open_journal
from proof import cbor, sealing
from proof.keys import key_id
from tests.agent_parts import NETWORK, FakeClock, captured, make_descriptor

UNCLAIMED = 10**6  # the number of the sample that is appended after the cut
_ROWS = (
    "SELECT log, seq, hash, data, receipted_s IS NOT NULL, EXISTS (SELECT 1 FROM gaps "
    "WHERE gaps.log_id = logs.id AND seq BETWEEN first_seq AND last_seq) "
    "FROM proofs JOIN logs ON logs.id = log_id ORDER BY log_id, seq"
)


@dataclass
class Promised:
    """What `claims` said, with what each proof of the whole run held."""

    claims: tuple[str, ...]
    contents: dict[str, list[int]]
    device: str = ""
    samples: dict[int, int] = field(default_factory=dict)
    proofs: dict[tuple[str, int], str] = field(default_factory=dict)
    receipted: dict[str, int] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    gaps: set[str] = field(default_factory=set)
    logs: list[str] = field(default_factory=list)
    now_ns: int = 0
    bootcount: int = 0
    key: str = ""
    key_place: tuple[str, int] = ("", 0)
    damaged: bool = False

    def __post_init__(self) -> None:
        for line in self.claims:
            match json.loads(line):
                case {"device": device}:
                    self.device = device
                case {"sample": number, "at_ns": at_ns}:
                    self.samples[number] = self.now_ns = at_ns
                case {"proof": proof_hash, "log": log, "seq": seq}:
                    self.proofs[log, seq] = proof_hash
                case {"receipted": log, "seq": seq}:
                    self.receipted[log] = seq
                case {"given": log, "seq": seq}:
                    self.given[log] = max(seq, self.given.get(log, 0))
                case {"gap": proof_hash}:
                    self.gaps.add(proof_hash)
                case {"bootcount": count}:
                    self.bootcount = count
                    self.samples = dict.fromkeys(self.samples, -(2**63))  # stopped in order: long ago
                case {"key": key, "log": log, "seq": seq}:
                    self.key, self.key_place = key, (log, seq)
                case {"log": log}:
                    self.logs.append(log)
                case {"damaged": True}:
                    self.damaged = True

    def accounted(self) -> set[int]:
        """Samples in proofs that the gateway holds, or that a gap record gave up."""
        places = [(log, seq) for log, last in self.receipted.items() for seq in range(1, last + 1)]
        hashes = {self.proofs[place] for place in places if place in self.proofs} | self.gaps
        return {number for proof_hash in hashes for number in self.contents.get(proof_hash, [])}


def contents_of(claims: list[str]) -> dict[str, list[int]]:
    """What each proof of a run holds, by its hash."""
    said = map(json.loads, claims)
    return {claim["holds"]: claim["numbers"] for claim in said if "holds" in claim}


def check(folder: Path, promised: Promised, loss_window_s: float = 0) -> None:
    """Open the journal in `folder` and go on with it; raises `AssertionError`, or whatever goes wrong."""
    if not promised.device:
        return  # cut before there was a device: provisioning's own tests look at that
    clock = FakeClock(boot=2**64)
    opened = open_journal(folder / "journal.db", promised.device, clock.boot_id)
    try:
        assert promised.damaged or opened.quarantined is None, f"quarantined as {opened.quarantined}"
        assert promised.damaged or not opened.behind, "it is said to be behind what it had published"
        journal = opened.journal
        uri = f"sim:{folder}/device.key"
        signer, turn = rotation.resume(journal, KeptKeys(uri, clock))
        _check_meta(journal, promised)
        _check_promises(journal, promised, loss_window_s)
        coming = key_id(turn.new.public_key).hex() if turn else ""
        _check_key(promised, key_id(signer.public_key).hex(), coming)
        sealer = Sealer(signer, NETWORK, ProofSettings(), clock, turn=turn)
        sealer.descriptor = make_descriptor()
        _goes_on(journal, sealer, clock, promised)
    finally:
        opened.journal.close()


def _check_key(promised: Promised, current: str, coming: str) -> None:
    """A rotation was promised when its proof was on disk: until that is receipted the key is the coming one,
    and then the current one. Damage may take the receipt back, and a later rotation may be under way."""
    log, seq = promised.key_place
    settled = promised.receipted.get(log, 0) >= seq and not promised.damaged
    assert promised.key in (("", current) if settled else ("", current, coming)), "a key is forgotten"


def _check_meta(journal: Journal, promised: Promised) -> None:
    assert journal.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert journal.execute("SELECT device FROM meta").fetchall() == [(promised.device,)]
    (boots,) = journal.execute("SELECT max(bootcount) FROM boots").fetchone()
    assert boots > promised.bootcount, "a boot count is told twice"
    known = {log.hex() for (log,) in journal.execute("SELECT log FROM logs")}
    assert known.issuperset(promised.logs), "a log is gone"


def _check_promises(journal: Journal, promised: Promised, loss_window_s: float) -> None:
    found: Counter[int] = Counter(
        number for (record,) in journal.execute("SELECT record FROM samples") for number in (_number(record),)
    )
    salvaged = bool(list(journal.path.parent.glob("*.corrupt-*")))
    accounted = promised.accounted() if salvaged else _given_up(journal, promised)
    open_log = journal.open_log()
    assert open_log is not None
    before: dict[bytes, tuple[int, bytes]] = {}
    hashes: dict[tuple[str, int], str] = {}
    for log, seq, proof_hash, data, receipted, gap in journal.execute(_ROWS):
        hashes[log.hex(), seq] = proof_hash.hex()
        if data is not None:
            at, prev, numbers = _parsed(data, proof_hash)
            assert at == seq
            found.update(numbers)
            if log in before and before[log][0] == seq - 1:
                assert prev == before[log][1], f"the chain is broken at {seq}"
        elif receipted or gap:
            accounted.update(promised.contents.get(proof_hash.hex(), ()))
        if log == open_log.log and log in before and not salvaged:
            assert seq == before[log][0] + 1, "a sequence number is missing"
        before[log] = (seq, proof_hash)
    twice = [number for number, times in found.items() if times > 1]
    assert not twice, f"samples {twice} are there twice"
    gone = [number for number in promised.samples if number not in found and number not in accounted]
    ages_s = [(promised.now_ns - promised.samples[number]) / 1e9 for number in gone]
    lost = [
        number
        for number, age_s in zip(gone, ages_s, strict=True)
        if age_s > loss_window_s or not loss_window_s
    ]
    assert not lost, f"samples {lost} are lost"
    # Within a loss window the newest may be gone, and nothing before one that is there: they are written in
    # the order in which they were appended.
    assert min(gone, default=UNCLAIMED) > max(found, default=0), f"{gone} are gone from among {sorted(found)}"
    if salvaged:
        return
    receipted = _receipted(journal)
    for (log, seq), proof_hash in promised.proofs.items():
        known = hashes.get((log, seq))
        assert known in (None, proof_hash), f"{seq} is not what was published"
        # Rows go only once a receipt is far past them (`agent.retention`): what it covers is accounted for.
        old = seq <= min(receipted[log], promised.given.get(log, 0)) - retention.HASHES_KEPT
        assert known or old or log != open_log.log.hex(), f"{seq} of the open log is forgotten"
    for log, seq in promised.receipted.items():
        assert receipted[log] >= seq, "a receipt is forgotten"
    for log, seq in receipted.items():
        assert seq <= promised.given.get(log, 0), f"{seq} is marked as receipted, and no receipt says so"


def _receipted(journal: Journal) -> dict[str, int]:
    logs = journal.execute("SELECT id, log FROM logs").fetchall()
    return {log.hex(): journal.receipted_seq(log_id) for log_id, log in logs}


def _given_up(journal: Journal, promised: Promised) -> set[int]:
    """Samples in published proofs that this journal calls receipted, and for which there was a receipt: it
    cannot excuse itself. Their rows may be gone."""
    receipted = _receipted(journal)
    hashes = [
        proof_hash
        for (log, seq), proof_hash in promised.proofs.items()
        if seq <= min(receipted.get(log, 0), promised.given.get(log, 0))
    ]
    return {number for h in hashes for number in promised.contents.get(h, ())}


def _goes_on(journal: Journal, sealer: Sealer, clock: FakeClock, promised: Promised) -> None:
    log = journal.open_log()
    assert log is not None
    journal.begin()
    journal.append(captured(clock, UNCLAIMED))
    sealed = sealer.seal(journal)
    journal.commit()
    assert sealed.seq == log.seq + 1
    assert (log.log.hex(), sealed.seq) not in promised.proofs, "a sequence number is used again"
    stored = journal.proof_at(log.id, sealed.seq)
    assert stored is not None
    if log.seq:
        assert sealing.parse(stored.data).claims.prev == log.hash


@cache
def _parsed(message: bytes, proof_hash: bytes) -> tuple[int, object, list[int]]:
    proof = sealing.parse(unpacked(message, proof_hash, 0))
    return proof.claims.seq, proof.claims.prev, [int(r.values[1].value) - 100_000 for r in proof.readings()]


@cache
def _number(record: bytes) -> int:
    return int(cbor.decode(unpacked_record(record), MAX_RECORD_BYTES, "a sample")[0][1][2]) - 100_000
