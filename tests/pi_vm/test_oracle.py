"""The oracle of the power cuts finds what it looks for: on a small disk with a real journal, made here."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent import membership
from agent.membership import Joined
from agent.sample import Captured
from proof.joining import Membership, sign_membership
from tests.agent_parts import (
    DEVICE_ID,
    GATEWAY,
    NETWORK,
    START_S,
    FakeClock,
    captured,
    make_sealer,
    open_test_journal,
)
from tests.pi_vm import oracle
from tests.pi_vm.disk_log import DiskLog
from tests.pi_vm.oracle import Oracle, Promises, promised
from tests.pi_vm.test_disk_log import entry, flush, log_of
from tests.pi_vm.witness import FIRST

pytestmark = pytest.mark.skipif(shutil.which(oracle.DEBUGFS) is None, reason="needs Debian's e2fsprogs")


class Device:
    """Seven samples, of which a proof holds the first five; what it promised, as the witness writes it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "root" / oracle.STATE.lstrip("/")
        self.state.mkdir(parents=True)
        clock = FakeClock()
        joined = Membership(DEVICE_ID, NETWORK, "test", (GATEWAY.public_key,), (), START_S, None)
        signed = sign_membership(joined, GATEWAY, START_S)
        membership.save(
            self.state / "membership.json", Joined("mqtt://127.0.0.1", (GATEWAY.public_key,), signed, joined)
        )
        journal, sealer = open_test_journal(self.state, clock), make_sealer(clock, readings=5)
        self.samples = []
        for number in range(7):
            self.samples.append(captured(clock, number))
            journal.begin()
            journal.append(self.samples[-1])
            if number == 4:
                sealer.seal(journal)
            journal.commit()
            clock.advance(1.0004)
        log = journal.open_log()
        assert log is not None
        assert log.hash is not None
        self.proof = log.hash.hex()
        journal.close()

    def promises(self) -> list[bytes]:
        return [promise(sample) for sample in self.samples] + [published(self.proof)]

    def disk(self, folder: Path) -> Path:
        disk = folder / "disk.img"
        subprocess.run(
            ["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(folder / "root"), str(disk), "16M"], check=True
        )
        return disk


def promise(sample: Captured) -> bytes:
    values = {measured.quantity: str(measured.value) for measured in sample.values}
    line = {"instrument": sample.instrument, "boot_id": sample.boot_id.hex(), "values": values}
    return written({**line, "boottime_ns": sample.boottime_ns})


def published(proof_hash: str) -> bytes:
    return written({"published": proof_hash})


def written(line: dict[str, object]) -> bytes:
    return entry(FIRST // 512, json.dumps(line).encode().ljust(512))


def judge(folder: Path, device: Device, *promises: bytes) -> list[str]:
    judged = folder / "judged"
    shutil.rmtree(judged, ignore_errors=True)
    judged.mkdir()
    log = log_of(folder, *promises)
    found = Oracle(DEVICE_ID, GATEWAY.public_key)
    return found.problems_of(device.disk(folder), promised(log, len(log.entries)), judged)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_disk_that_keeps_everything_has_no_problem(tmp_path, device):
    assert judge(tmp_path, device, *device.promises()) == []


def test_a_sample_that_is_not_kept_is_lost(tmp_path, device):
    another = replace(device.samples[0], boottime_ns=device.samples[0].boottime_ns + 5_000_000)
    (problem,) = judge(tmp_path, device, *device.promises(), promise(another))
    assert problem.startswith("lost: bme280-76")


def test_a_sample_with_another_value_is_changed(tmp_path, device):
    other = replace(device.samples[0], values=device.samples[1].values)
    (problem,) = judge(tmp_path, device, promise(other))
    assert problem.startswith("changed: bme280-76")


def test_a_published_proof_that_is_not_kept_is_a_problem(tmp_path, device):
    assert judge(tmp_path, device, published("00" * 32)) == ["1 published proofs are not kept"]


def test_a_journal_that_was_torn_is_a_problem(tmp_path, device):
    journal = device.state / "journal.db"
    journal.write_bytes(journal.read_bytes()[:6000])
    assert "the journal was damaged" in judge(tmp_path, device, *device.promises())


def test_a_store_that_is_gone_is_a_problem(tmp_path, device):
    (device.state / "membership.json").unlink()
    assert judge(tmp_path, device) != []


def test_one_number_with_two_proofs_is_a_conflict(tmp_path, device):
    judged = tmp_path / "judged"
    judged.mkdir()
    found = Oracle(DEVICE_ID, GATEWAY.public_key)
    assert found.problems_of(device.disk(tmp_path), Promises(), judged) == []
    ((place, _),) = found.hashes.items()
    found.hashes[place] = bytes(32)
    shutil.rmtree(judged)
    judged.mkdir()
    assert found.problems_of(device.disk(tmp_path), Promises(), judged) == [
        "sequence number 1 has two proofs"
    ]


def test_a_reading_that_is_kept_twice_is_a_problem():
    readings = oracle.Readings()
    for boottime_ms in (1000, 1001):
        readings.add(("t", bytes(16), boottime_ms), {"temperature": "20"})
    assert list(readings.problems(Promises())) == ["1 readings twice"]


def test_what_was_promised_after_the_cut_does_not_count(tmp_path, device):
    log: DiskLog = log_of(tmp_path, flush(), *device.promises())
    assert len(promised(log, 3).samples) == 2
    bootseed = hashlib.sha256(device.samples[0].boot_id).digest()[:16]
    place = ("bme280-76", bootseed, round(device.samples[0].boottime_ns / 1e6))
    assert promised(log, 2).samples == {place: {"temperature": "20.01", "pressure": "100000"}}
