"""Boards for keys: two software TPMs, and a Raspberry Pi's firmware behind the mailbox's ioctl."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.key_parts import Firmware, Swtpm


@pytest.fixture(scope="session")
def tpms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Swtpm]]:
    """`tpms(0)` and `tpms(1)`, started when they are first asked for."""
    made: list[Swtpm] = []

    def get(number: int) -> Swtpm:
        while len(made) <= number:
            made.append(Swtpm(tmp_path_factory.mktemp("tpm") / "state"))
        return made[number]

    yield get
    for tpm in made:
        tpm.stop()


@pytest.fixture
def tpm(tpms: Callable[[int], Swtpm], monkeypatch: pytest.MonkeyPatch) -> Swtpm:
    """The board's TPM, with nothing left in it by the test before."""
    found = tpms(0)
    found.clean()
    monkeypatch.setenv("TPM2TOOLS_TCTI", found.tcti)
    monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", found.tcti)
    return found


@pytest.fixture
def firmware(monkeypatch: pytest.MonkeyPatch) -> Firmware:
    made = Firmware()
    monkeypatch.setattr("agent.wrapping_otp.fcntl.ioctl", made.ioctl)
    return made
