"""The OTP memory of a Raspberry Pi, by the bytes its documentation prints: read, never written."""

from __future__ import annotations

import re

import pytest

from agent.errors import FixKey
from agent.keystore import Board, create_key, open_key
from agent.wrapping import derive
from agent.wrapping_otp import PROPERTY, Otp
from tests.key_parts import PRINTED_ANSWER, PRINTED_KEY


@pytest.fixture
def mailbox(tmp_path):
    (tmp_path / "vcio").touch()
    return tmp_path / "vcio"


@pytest.fixture
def board(mailbox, tmp_path):
    return Board(tmp_path / "none", tmp_path / "none", mailbox)


def test_the_request_is_that_of_the_documentation(mailbox, firmware):
    """vcmailbox 0x00030081 40 40 0 8 0 0 0 0 0 0 0 0, with the size before it and the end after it."""
    Otp(mailbox).key()
    assert firmware.asked == [[0x40, 0, 0x00030081, 40, 40, 0, 8, *[0] * 8, 0]]


def test_the_answer_is_read_as_the_key_that_rpi_otp_private_key_prints(mailbox, firmware):
    assert "".join(word[2:] for word in PRINTED_ANSWER.split()[7:15]) == PRINTED_KEY
    assert Otp(mailbox).key() == derive(bytes.fromhex(PRINTED_KEY), b"fieldproof otp")
    assert PRINTED_KEY not in repr(Otp(mailbox))


def test_every_row_counts(mailbox, firmware):
    keys = {Otp(mailbox).key()}
    for row in range(8):
        firmware.rows[row] ^= 1
        keys.add(Otp(mailbox).key())
    assert len(keys) == 9


def test_the_ioctl_number_is_the_kernel_s(firmware):
    """_IOWR(100, 0, char *) on a 64-bit machine, as strace shows it of vcmailbox."""
    assert PROPERTY in (0xC0086400, 0xC0046400)


def test_only_reading_is_ever_asked(board, tmp_path, firmware):
    uri = f"otp:{tmp_path}/keys/device.key"
    create_key(uri, 0, board)
    open_key(uri, board)
    assert {words[2] for words in firmware.asked} == {0x00030081}
    assert all(words[5:15] == [0, 8, *[0] * 8] for words in firmware.asked)


def test_an_empty_otp_says_how_to_burn_a_key_and_that_it_is_for_ever(board, tmp_path, firmware):
    firmware.rows = [0] * 8
    with pytest.raises(FixKey, match=r"holds no private key.*rpi-otp-private-key -w.*cannot be undone"):
        create_key(f"otp:{tmp_path}/keys/device.key", 0, board)
    assert not (tmp_path / "keys").exists()


def test_a_locked_otp_is_not_an_empty_one(board, tmp_path, firmware):
    firmware.locked = True
    with pytest.raises(FixKey, match=r"did not give .*lock_device_private_key"):
        create_key(f"otp:{tmp_path}/keys/device.key", 0, board)


def test_no_mailbox_no_permission_and_no_device_are_named(tmp_path, mailbox, monkeypatch):
    with pytest.raises(
        FixKey, match=rf"There is no {re.escape(str(tmp_path))}/none: this is no Raspberry Pi"
    ):
        Otp(tmp_path / "none").key()
    with pytest.raises(FixKey, match="does not work as a firmware mailbox: Inappropriate ioctl"):
        Otp(mailbox).key()  # a plain file, and the real ioctl

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("agent.wrapping_otp.os.open", refuse)
    with pytest.raises(FixKey, match=r"group video.*DeviceAllow=/dev/vcio rw"):
        Otp(mailbox).key()
