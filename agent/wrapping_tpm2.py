"""`tpm2:/PATH[?pcrs=0,7]`: the wrapping key is sealed in a TPM 2.0; what only that TPM opens is in PATH.tpm.

- tpm2-tools does it. The TPM is that of TPM2TOOLS_TCTI, else /dev/tpmrm0. The parent is a primary key of the
  owner's hierarchy, made anew each time from the TPM's own secret, so nothing is stored in the TPM.
- Without `pcrs` the TPM opens it for anyone who can use the TPM; with `pcrs` only while these registers hold
  what they held when it was made. What that binds on a Raspberry Pi, and what not: docs/keys.md.
- `noda`: a TPM locked out by somebody's wrong passwords still opens ours; there is no password to guess.
- Layout of PATH.tpm: JSON {v, pcrs, public, private}, the TPM's two halves of the sealed object in base64.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agent import privatefile, tools
from agent.errors import FixConfig, FixKey
from agent.wrapping import KEY_BYTES

VERSION = 1
_TCTI = "device:/dev/tpmrm0"
# Written out: what it is made from must not change with the tools' version, or nothing opens any more.
_PARENT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt|noda"
_PRIMARY = ("-C", "o", "-g", "sha256", "-G", "ecc256:aes128cfb", "-a", _PARENT)
_OPEN, _POLICY = "fixedtpm|fixedparent|userwithauth|noda", "fixedtpm|fixedparent|noda"
_HALVES = ("public", "private")
_LAST_PCR = 23
# What the TPM's commonest answers mean to the operator.
_WHY = {
    0x1DF: "{path} was sealed by another TPM, or this one was cleared since, or the file is damaged. Put TPM "
    "or card back where it was, or restore the identity from its backup.",
    0x99D: "The TPM does not open {path}: its registers {pcrs} are not what they were when the key was made, "
    "so this board booted something else. Boot what it did then, or restore the identity from its backup.",
    0x921: "The TPM is locked out after wrong passwords and does not open {path} now. Wait, or let its owner "
    "run `tpm2_dictionarylockout --clear-lockout`.",
    0x9A2: "The TPM's owner hierarchy has a password, which an agent cannot type. Take it away.",
}


def pcrs_of(text: str, uri: str) -> str:
    """`text`, which lists registers in order, such as 0,7; raises `FixConfig`."""
    numbers = [int(word) if re.fullmatch(r"0|[1-9]\d?", word) else -1 for word in text.split(",")]
    if numbers != sorted(set(numbers)) or not 0 <= numbers[0] <= numbers[-1] <= _LAST_PCR:
        raise FixConfig(
            f"key: {uri[:200]!r}: pcrs are numbers from 0 to {_LAST_PCR}, each once, in order, like pcrs=0,7."
        )
    return text


@dataclass(frozen=True, slots=True)
class Sealed:
    """`pcrs` is a list like `0,7`, or nothing."""

    path: Path
    pcrs: str

    def create(self) -> None:
        if os.path.lexists(self.path):
            return
        with self._tpm() as tpm:
            if self.pcrs:
                tpm("createpolicy", "--policy-pcr", "-l", f"sha256:{self.pcrs}", "-L", "policy")
            policy = ("-a", _POLICY, "-L", "policy") if self.pcrs else ("-a", _OPEN)
            secret = secrets.token_bytes(KEY_BYTES)
            tpm("create", "-C", "primary", "-i", "-", "-u", "public", "-r", "private", *policy, data=secret)
            halves = {name: base64.b64encode(tpm.read(name)).decode() for name in _HALVES}
        record = json.dumps({"v": VERSION, "pcrs": self.pcrs, **halves})
        with contextlib.suppress(FileExistsError):  # another was faster: that one is as good
            privatefile.write_new(self.path, record.encode() + b"\n")

    def key(self) -> bytes:
        halves = self._halves()
        with self._tpm() as tpm:
            for name, data in zip(_HALVES, halves, strict=True):
                tpm.write(name, data)
            tpm("load", "-C", "primary", "-u", "public", "-r", "private", "-c", "sealed")
            policy = ("-p", f"pcr:sha256:{self.pcrs}") if self.pcrs else ()
            key = tpm("unseal", "-c", "sealed", *policy)
        if len(key) != KEY_BYTES:
            raise self._damaged()
        return key

    def _halves(self) -> list[bytes]:
        data = privatefile.read(self.path, privatefile.lost(self.path))
        try:
            match json.loads(data):
                case {"v": int(v)} if v > VERSION:
                    raise FixKey(f"{self.path} was made by a newer version ({v}). Update the agent.")
                case {"v": 1, "pcrs": str(pcrs), "public": str(public), "private": str(private)}:
                    if pcrs != self.pcrs:
                        asked, made = (f"`?pcrs={each}`" if each else "no pcrs" for each in (self.pcrs, pcrs))
                        raise FixKey(
                            f"{self.path} was sealed with {made}, the configuration asks for {asked}. "
                            "Correct `key` in the configuration."
                        )
                    return [base64.b64decode(half, validate=True) for half in (public, private)]
        except (ValueError, RecursionError):
            pass
        raise self._damaged()

    def _damaged(self) -> FixKey:
        return FixKey(
            f"{self.path} is damaged: it is not what this agent sealed. Restore it from a copy of this "
            "board's files, or restore the identity from its backup."
        )

    @contextlib.contextmanager
    def _tpm(self) -> Iterator[_Tpm]:
        """The TPM with the parent ready; says in a sentence what it refuses."""
        try:
            with TemporaryDirectory(prefix="fieldproof-tpm-") as folder:
                tpm = _Tpm(Path(folder))
                tpm("createprimary", *_PRIMARY, "-c", "primary")
                yield tpm
        except tools.ToolFailed as failed:
            raise FixKey(self._sentence(failed)) from None
        except OSError as error:
            raise FixKey(
                f"The TPM's tools have no temporary folder to work in: {error.strerror}. Make room there."
            ) from None

    def _sentence(self, failed: tools.ToolFailed) -> str:
        codes = re.findall(r"^ERROR: \w+\(0x([0-9A-Fa-f]+)\)", failed.said, re.MULTILINE)
        known = _WHY.get(int(codes[0], 16) if codes else 0)
        if known:
            return known.format(path=self.path, pcrs=self.pcrs)
        if "tcti" in failed.said and not codes:
            return (
                f"There is no TPM at {_tcti()}, or this user may not use it: enable it (on a Raspberry Pi "
                "`dtoverlay=tpm-slb9670` in config.txt), and give the user the group tss."
            )
        return f"The TPM at {_tcti()} refused: {failed.reason}."


class _Tpm:
    """tpm2-tools working in `folder`, which holds nothing that is secret."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Between two programs a resource manager cleans up; without one that is ours to do.
        self._managed = "tpmrm" in _tcti() or "tabrmd" in _tcti()

    def __call__(self, tool: str, *words: str, data: bytes = b"") -> bytes:
        said = self._run(tool, *words, data=data)
        if not self._managed:
            self._run("flushcontext", "-t")
        return said

    def _run(self, tool: str, *words: str, data: bytes = b"") -> bytes:
        environment = {"TPM2TOOLS_TCTI": _tcti(), "TSS2_LOG": "all+ERROR"}
        return tools.run([f"tpm2_{tool}", *words], "tpm2-tools", environment, data, self._folder)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)


def _tcti() -> str:
    return os.environ.get("TPM2TOOLS_TCTI") or _TCTI
