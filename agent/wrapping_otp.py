"""`otp:/PATH`: the wrapping key is made from the private key in a Raspberry Pi's OTP memory.

- OTP is programmed once and for ever. It is only read here: the owner burns a key by hand, or nobody.
- Read through the firmware's mailbox, /dev/vcio: property "get private OTP" (tag 0x00030081), rows 0 to 7 of
  32 bits, in the order in which `rpi-otp-private-key` prints them, each with its high byte first.
- Request and answer are one buffer of 16 words: size, 0, tag, length, length, first row, rows, the 8 rows,
  end. The firmware sets bit 31 of word 1 and of the second length when it answered (raspberrypi.com,
  "Mailbox API for reading/writing the key").
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FixKey
from agent.wrapping import derive

GET_PRIVATE_OTP = 0x00030081
ROWS = 8
_WORDS = struct.Struct("<16I")
_LENGTH = 4 * (2 + ROWS)
_ANSWERED = 0x80000000
# _IOWR(100, 0, char *): both directions, the size of a pointer, type 100, number 0.
PROPERTY = 3 << 30 | struct.calcsize("P") << 16 | 100 << 8


@dataclass(frozen=True, slots=True)
class Otp:
    mailbox: Path

    def create(self) -> None:
        self.key()

    def key(self) -> bytes:
        request = (_WORDS.size, 0, GET_PRIVATE_OTP, _LENGTH, _LENGTH, 0, ROWS, *[0] * ROWS, 0)
        buffer = bytearray(_WORDS.pack(*request))
        self._ask(buffer)
        _, code, tag, _, answered, _, _, *rows, _ = _WORDS.unpack(buffer)
        if (code, tag, answered) != (_ANSWERED, GET_PRIVATE_OTP, _ANSWERED | _LENGTH):
            raise FixKey(
                f"The firmware did not give its OTP private key through {self.mailbox}: it is too old "
                "(`sudo rpi-eeprom-update`), or `lock_device_private_key=1` in config.txt forbids it."
            )
        if not any(rows):
            raise FixKey(
                "This Raspberry Pi's OTP memory holds no private key. `sudo rpi-otp-private-key -w $(openssl "
                "rand -hex 32)` burns one: once, for ever, it cannot be undone. Or choose another `key`."
            )
        return derive(struct.pack(f">{ROWS}I", *rows), b"fieldproof otp")

    def _ask(self, buffer: bytearray) -> None:
        try:
            device = os.open(self.mailbox, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, PROPERTY, buffer, True)
            finally:
                os.close(device)
        except OSError as error:
            raise FixKey(self._why(error)) from None

    def _why(self, error: OSError) -> str:
        match error.errno:
            case errno.ENOENT:
                return f"There is no {self.mailbox}: this is no Raspberry Pi, or its firmware has no mailbox."
            case errno.EACCES | errno.EPERM:
                return (
                    f"This user may not use {self.mailbox}: give it the group video (in a service "
                    "`SupplementaryGroups=video` and `DeviceAllow=/dev/vcio rw`)."
                )
        return f"{self.mailbox} does not work as a firmware mailbox: {error.strerror}."
