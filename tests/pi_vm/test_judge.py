"""The judge of a boot's power cuts: on a small disk, with promises that the log kept or did not keep."""

from __future__ import annotations

import shutil
from contextlib import closing
from random import Random

import pytest

from tests.agent_parts import DEVICE_ID, GATEWAY
from tests.pi_vm import oracle
from tests.pi_vm.disk_log import DiskLog
from tests.pi_vm.judge import Boot, Judge, copy, write
from tests.pi_vm.oracle import Promises
from tests.pi_vm.test_disk_log import entry, flush, log_of
from tests.pi_vm.test_oracle import Device

pytestmark = pytest.mark.skipif(shutil.which(oracle.DEBUGFS) is None, reason="needs Debian's e2fsprogs")
NOTHING = Promises()
BLOCK = 8  # sectors


def changes(before: bytes, after: bytes) -> list[bytes]:
    """Log entries that make one disk the other, eight sectors each, not flushed."""
    size = BLOCK * 512
    places = [at for at in range(0, len(before), size) if before[at : at + size] != after[at : at + size]]
    return [entry(at // 512, after[at : at + size]) for at in places]


@pytest.fixture
def boot(tmp_path):
    """boot(entries…) -> Boot that began with a disk without a journal; and what makes the journal appear."""
    device, folder = Device(tmp_path), tmp_path / "boot-1"
    folder.mkdir()
    with_journal = device.disk(tmp_path)
    held = copy(with_journal, tmp_path / "held.img")
    journal = device.state / "journal.db"
    journal.rename(tmp_path / "journal.db")
    without = device.disk(tmp_path)
    copy(without, folder / "before.img")

    def make(*entries, moments=(), before=NOTHING):
        log_of(folder, *entries)
        return Boot("boot 1", folder, before, tuple(moments), 2, 3)

    return make, device, changes(without.read_bytes(), held.read_bytes())


def test_what_was_flushed_before_it_was_promised_is_kept_at_every_moment(tmp_path, boot):
    make, device, written = boot
    done = [*written, flush(), *device.promises()]
    first = len(written) + 1
    verdict = Judge(DEVICE_ID, GATEWAY.public_key, tmp_path).boot(make(*done, moments=(first, first + 3)))
    assert verdict.problems == []
    assert not (tmp_path / "boot-1").exists()
    assert verdict.unflushed == 2


def test_what_was_promised_before_a_flush_is_found_lost(tmp_path, boot):
    make, device, written = boot
    done = [*device.promises(), *written, flush()]
    judged = Judge(DEVICE_ID, GATEWAY.public_key, tmp_path).boot(make(*done, moments=[len(done) // 2]))
    assert judged.problems, "half of the journal is there, and nothing of it was flushed"
    assert list(tmp_path.glob("problem-1.img"))


def test_what_an_earlier_boot_promised_must_still_be_there(tmp_path, boot):
    make, device, written = boot
    earlier = Promises({("meter", bytes(16), 7): {"voltage": "230"}})
    done = [*written, flush(), *device.promises()]
    verdict = Judge(DEVICE_ID, GATEWAY.public_key, tmp_path).boot(make(*done, before=earlier))
    assert [problem.partition(": ")[2] for problem in verdict.problems] == ["lost: meter at boot time 7 ms"]


def test_the_judge_finds_the_disk_from_which_the_machine_went_on(tmp_path, boot):
    make, _, written = boot
    half = len(written) // 2
    made = make(*written[:half], flush(), *written[half:])
    with closing(DiskLog(made.folder / "disk.log")) as log:
        write(made.folder / "before.img", log.kept(0, half + 1))  # what the judge does, too
        left = list(log.remains(len(log.entries), Random(made.remains_seed)))
    assert 0 < len(left) < len(written) - half, "these dice leave a part of it"
    expected = copy(made.folder / "before.img", tmp_path / "expected.img")
    write(expected, left)
    seen: list[bytes] = []

    class Looks:
        def problems_of(self, disk, *_):
            seen.append(disk.read_bytes())
            return []

    judge = Judge(DEVICE_ID, GATEWAY.public_key, tmp_path)
    judge._oracle = Looks()  # type: ignore[assignment]
    judge.boot(made)
    assert seen == [expected.read_bytes()]
