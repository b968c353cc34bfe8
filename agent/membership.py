"""What a device trusts: the membership it joined with, kept beside its journal.

- On disk: JSON {v, broker_url, broker_ca, gateway_keys, membership}; what is binary in base64.
- `gateway_keys` are those of the claim the owner typed in: they, not the file, decide whether the
  membership's signature is good. Loading verifies it again every time (§8.3).
- Written whole or not at all: temporary file, fsync, rename, fsync of the folder; mode 0600. A file that
  others may write is refused: with it they could put their own gateway in the place of the claim's.
- Nothing valid there: `JoinFirst`. Damaged or another device's: `FixMembership`. Nothing is replaced.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import HardStop, JoinFirst
from proof import joining
from proof.joining import Membership
from proof.keys import PUBLIC_KEY_BYTES
from proof.reasons import Refused

VERSION = 1
MAX_BYTES = 2 * joining.MAX_BYTES
_AGAIN = "Run `fieldproof-provision join CLAIM` again."


class FixMembership(HardStop):
    """The membership file is damaged or another device's."""


@dataclass(frozen=True, slots=True)
class Joined:
    """`gateway_keys` are pinned from the claim, and so is `broker_ca` (DER; empty: none came with it);
    `membership_bytes` are the signed ones."""

    broker_url: str
    gateway_keys: tuple[bytes, ...]
    membership_bytes: bytes
    membership: Membership
    broker_ca: bytes = b""


def save(path: Path, joined: Joined) -> None:
    """Replace what is at `path`; raises `FixMembership` where it cannot be written."""
    record = {
        "v": VERSION,
        "broker_url": joined.broker_url,
        "broker_ca": base64.b64encode(joined.broker_ca).decode(),
        "gateway_keys": [base64.b64encode(key).decode() for key in joined.gateway_keys],
        "membership": base64.b64encode(joined.membership_bytes).decode(),
    }
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # an interrupted one's, or made by somebody else to keep it open
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(json.dumps(record, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise FixMembership(f"The membership cannot be written to {path}: {error.strerror}.") from None


def load(path: Path, device: str, now_s: int) -> Joined:
    """The membership of `device`, verified; raises `JoinFirst` or `FixMembership`."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise JoinFirst(
            f"This device has joined no network: there is no {path}. Run `fieldproof-provision join CLAIM` "
            "with the claim of the network's operator."
        ) from None
    except OSError as error:
        raise FixMembership(
            f"The membership {path} cannot be read: {error.strerror}. Run this as its owner."
        ) from None
    if status.st_mode & 0o022:
        raise FixMembership(
            f"Others may write the membership {path} (mode {stat.S_IMODE(status.st_mode):04o}) and so choose "
            f"whom this device trusts. Run `chmod 0600 {path}`, then `fieldproof-provision join CLAIM` again."
        )
    return verified(path, data, device, now_s)


def verified(path: Path, data: bytes, device: str, now_s: int) -> Joined:
    """The membership of `device` in `data`, the content of `path`; raises as `load` does."""
    broker_url, broker_ca, gateway_keys, signed = _parse(path, data)
    try:
        membership = joining.open_membership(signed, gateway_keys, device)
    except Refused as refused:
        raise FixMembership(
            f"The membership {path} is not good for this device ({device}): {refused.verdict} {_AGAIN}"
        ) from None
    if membership.expires_s is not None and now_s >= membership.expires_s:
        raise JoinFirst(
            f"The membership in {membership.network} has expired. Ask its operator for a new claim, "
            "then run `fieldproof-provision join CLAIM`."
        )
    return Joined(broker_url, gateway_keys, signed, membership, broker_ca)


def _parse(path: Path, data: bytes) -> tuple[str, bytes, tuple[bytes, ...], bytes]:
    try:
        record: Any = json.loads(data) if len(data) <= MAX_BYTES else None
        match record:
            case {"v": 1, "broker_url": str(url), "gateway_keys": [*texts], "membership": str(signed)}:
                keys = tuple(base64.b64decode(text, validate=True) for text in texts)
                broker_ca = base64.b64decode(record.get("broker_ca", ""), validate=True)
                if keys and all(len(key) == PUBLIC_KEY_BYTES for key in keys):
                    return url, broker_ca, keys, base64.b64decode(signed, validate=True)
    except (ValueError, TypeError, RecursionError):
        pass
    raise FixMembership(f"The membership {path} is damaged: it is not what `join` wrote. {_AGAIN}")
