"""A real process, killed with SIGKILL in the middle of its work, again and again on one store."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from agent.sample import MAX_RECORD_BYTES
from agent.sample import unpacked as unpacked_record
from proof import cbor
from proof.sealing import parse
from tests.agent_parts import FakeClock, open_test_journal

ROOT = Path(__file__).parents[2]
ROUNDS = 6


def run_until_killed(folder: Path, first: int, boot: int, lines: int) -> list[list[str]]:
    """What a child said before it was killed, right after an append."""
    command = [sys.executable, "-m", "tests.crash.until_killed", str(folder), str(first), str(boot)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        said = [child.stderr.readline() for _ in range(lines)]
        while not said[-1].startswith("sample"):  # the moment an append has just returned
            said.append(child.stderr.readline())
            assert said[-1], "the child ended by itself"
        child.kill()
        said += child.stderr.readlines()
    # The last line may be cut short by the kill.
    return [line.split() for line in said if line.endswith("\n")]


def test_what_append_returned_from_survives_sigkill_and_numbers_never_conflict(tmp_path):
    chance = random.Random(20261120)
    acknowledged: set[int] = set()
    hashes: dict[int, str] = {}
    for boot in range(1, ROUNDS + 1):
        first = max(acknowledged, default=-1) + 100  # an unacknowledged one may be there: it keeps its number
        for line in run_until_killed(tmp_path, first, boot, chance.randint(5, 60)):
            match line:
                case ["sample", number]:
                    acknowledged.add(int(number))
                case ["proof", seq, proof_hash]:
                    assert hashes.setdefault(int(seq), proof_hash) == proof_hash
                case _:
                    raise AssertionError(f"the child said {line}")
        check(tmp_path, acknowledged, hashes)
    assert len(acknowledged) > 5 * ROUNDS
    assert len(hashes) > ROUNDS


def check(folder: Path, acknowledged: set[int], hashes: dict[int, str]) -> None:
    journal = open_test_journal(folder, FakeClock(boot=1))
    log = journal.open_log()
    assert log is not None
    assert journal.execute("SELECT count(*) FROM logs").fetchone() == (1,)
    found, before = [], None
    for seq in range(1, log.seq + 1):
        stored = journal.proof_at(log.id, seq)
        assert stored is not None
        proof = parse(stored.data)
        assert (proof.claims.seq, proof.claims.prev) == (seq, before)
        assert hashes.get(seq, proof.hash.hex()) == proof.hash.hex()
        hashes[seq] = proof.hash.hex()
        found += [int(reading.values[1].value) - 100_000 for reading in proof.readings()]
        before = proof.hash
    for (record,) in journal.execute("SELECT record FROM samples"):
        found.append(
            int(cbor.decode(unpacked_record(record), MAX_RECORD_BYTES, "a sample")[0][1][2]) - 100_000
        )
    journal.close()
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged) <= ROUNDS
