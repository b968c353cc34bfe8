"""`credential:/PATH?with-key=…`: the wrapping key is a systemd encrypted credential at PATH.cred.

- Made by `systemd-creds encrypt`, its `--with-key` always given: left to itself it may encrypt under a key
  that is none, or under the host's where a TPM was meant.
- The credential is named as its file is. A service that was given it reads it from $CREDENTIALS_DIRECTORY
  (`LoadCredentialEncrypted=device.key.cred:/PATH.cred`); everyone else asks `systemd-creds decrypt`, which
  only root may do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from agent import privatefile, tools
from agent.errors import FixKey
from agent.wrapping import KEY_BYTES

WITH_KEYS = ("host", "tpm2", "host+tpm2")
_PACKAGE = "systemd"
# systemd's own names for the device and for the host's secret, for machines that have them elsewhere.
_PASSED = ("SYSTEMD_TPM2_DEVICE", "SYSTEMD_CREDENTIAL_SECRET")


@dataclass(frozen=True, slots=True)
class Credential:
    path: Path
    with_key: str

    def create(self) -> None:
        if os.path.lexists(self.path):
            return
        try:
            sealed = self._run("encrypt", f"--with-key={self.with_key}", data=secrets.token_bytes(KEY_BYTES))
        except tools.ToolFailed as failed:
            raise FixKey(
                f"systemd-creds cannot make a credential with the key of {self.with_key}: {failed.reason}. "
                "Choose a `with-key` that this machine has, and run it as root."
            ) from None
        with contextlib.suppress(FileExistsError):  # another was faster: that one is as good
            privatefile.write_new(self.path, sealed)

    def key(self) -> bytes:
        key = self._handed_over()
        if key is None:
            key = self._decrypted()
        if len(key) != KEY_BYTES:
            raise FixKey(
                f"The credential {self.path} holds no wrapping key: another program's file lies there."
            )
        return key

    def _handed_over(self) -> bytes | None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        try:
            with (Path(folder) / self.path.name).open("rb") if folder else contextlib.nullcontext() as file:
                return file.read(KEY_BYTES + 1) if file else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FixKey(f"The credential {self.path.name} of this service: {error.strerror}.") from None

    def _decrypted(self) -> bytes:
        sealed = privatefile.read(self.path, privatefile.lost(self.path))
        try:
            return self._run("decrypt", data=sealed)
        except tools.ToolFailed as failed:
            raise FixKey(
                f"The credential {self.path} does not open on this machine: {failed.reason}. In a service, "
                f"give it the line `LoadCredentialEncrypted={self.path.name}:{self.path}`; else run this as "
                "root, on the board (and with the TPM) it was made on."
            ) from None

    def _run(self, verb: str, *options: str, data: bytes) -> bytes:
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        words = ["systemd-creds", verb, f"--name={self.path.name}", *options, "-", "-"]
        return tools.run(words, _PACKAGE, environment, data, as_root=True)
