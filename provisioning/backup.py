"""An identity backup: what a new board needs to be this device, under a passphrase.

- File: JSON {fieldproof_backup: 1, kdf: argon2id, opslimit, memlimit, salt, box}; salt and box in base64.
  `box` is SecretBox(nonce | box) under Argon2id of the passphrase, at libsodium's interactive limits.
- In the box: JSON {device, seeds in force and next, membership file, configuration, the open log with its
  head, the rotations that led to the key in force, when it was made}. No readings: those of the old board are
  at the gateway, or on its card.
- Everything read is bounded before it is used, the work that a file may ask for too: it may be a stranger's.
- Seeds and passphrase are in no repr, no log, no command line.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random

from agent.errors import HardStop
from agent.keyfile import Seeds
from proof import rotation
from proof.claims import HASH_BYTES, LOG_BYTES
from proof.reasons import Refused

VERSION = 1
MAX_BYTES = 2_000_000
SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 12, 1024
_MOST_OPS, _MOST_MEMORY = 10, 256 * 1024 * 1024
_KDF = pwhash.argon2id


class BadBackup(HardStop):
    """It is no backup, it is damaged, or the passphrase is another."""


@dataclass(frozen=True, slots=True)
class Head:
    """The open log and its newest proof, as the old board knew them; no hash before the first."""

    log: bytes
    seq: int
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class Backup:
    """`membership` is the file's content, `config` the configuration's text, `turns` are rotations (§8.4)."""

    seeds: Seeds = field(repr=False)
    membership: bytes
    config: str
    head: Head | None
    made_s: int
    turns: tuple[bytes, ...] = ()

    @property
    def device(self) -> str:
        return self.seeds.device


def require_strong(passphrase: str) -> None:
    """Raises `HardStop`."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise HardStop(
            f"The passphrase has fewer than {SHORTEST_PASSPHRASE} characters: whoever finds the backup could "
            "guess it and be this device. Take five random words."
        )
    if len(passphrase) > LONGEST_PASSPHRASE:
        raise HardStop(f"The passphrase has more than {LONGEST_PASSPHRASE} characters.")


def seal(backup: Backup, passphrase: str) -> bytes:
    """The file's content."""
    head = backup.head
    inner = {
        "device": backup.device,
        "current": _text(backup.seeds.current),
        "next": _text(backup.seeds.next),
        "membership": _text(backup.membership),
        "config": backup.config,
        "head": [_text(head.log), head.seq, _text(head.hash) if head.hash else None] if head else None,
        "made_s": backup.made_s,
        "turns": [_text(data) for data in backup.turns],
    }
    salt, ops, memory = random(_KDF.SALTBYTES), _KDF.OPSLIMIT_INTERACTIVE, _KDF.MEMLIMIT_INTERACTIVE
    box = SecretBox(_KDF.kdf(SecretBox.KEY_SIZE, passphrase.encode(), salt, ops, memory))
    outer = {
        "fieldproof_backup": VERSION,
        "kdf": "argon2id",
        "opslimit": ops,
        "memlimit": memory,
        "salt": _text(salt),
        "box": _text(box.encrypt(json.dumps(inner).encode())),
    }
    return json.dumps(outer, indent=1).encode() + b"\n"


def unseal(data: bytes, passphrase: str, where: str) -> Backup:
    """Raises `BadBackup`."""
    ops, memory, salt, sealed = _outer(data, where)
    key = _KDF.kdf(SecretBox.KEY_SIZE, passphrase.encode()[: 4 * LONGEST_PASSPHRASE], salt, ops, memory)
    try:
        inner = SecretBox(key).decrypt(sealed)
    except CryptoError:
        raise BadBackup(
            f"The passphrase does not open {where}, or the file is damaged: nothing was changed."
        ) from None
    try:
        return _inner(json.loads(inner))
    except (ValueError, TypeError, KeyError, Refused, RecursionError):
        raise BadBackup(f"{where} opens, but holds no whole backup: use another copy.") from None


def _outer(data: bytes, where: str) -> tuple[int, int, bytes, bytes]:
    try:
        record: Any = json.loads(data) if len(data) <= MAX_BYTES else None
        match record:
            case {"fieldproof_backup": int(version)} if version > VERSION:
                raise BadBackup(f"{where} was made by a newer version ({version}): update fieldproof.")
            case {
                "fieldproof_backup": 1,
                "kdf": "argon2id",
                "opslimit": int(ops),
                "memlimit": int(memory),
                "salt": str(salt),
                "box": str(box),
            } if 1 <= ops <= _MOST_OPS and _KDF.MEMLIMIT_MIN <= memory <= _MOST_MEMORY:
                found = base64.b64decode(salt, validate=True), base64.b64decode(box, validate=True)
                if len(found[0]) == _KDF.SALTBYTES and len(found[1]) > SecretBox.NONCE_SIZE:
                    return ops, memory, *found
    except (ValueError, RecursionError):  # binascii.Error is a ValueError
        pass
    raise BadBackup(f"{where} is not a whole backup of `fieldproof-provision backup`: use another copy.")


def _inner(record: dict[str, Any]) -> Backup:
    config, made_s = record["config"], record["made_s"]
    if not isinstance(config, str) or not isinstance(made_s, int):
        raise TypeError("config or made_s")
    seeds = Seeds(record["device"], _bytes(record["current"]), _bytes(record["next"]))
    turns = tuple(_bytes(text) for text in record.get("turns", ()))  # a backup of before them has none
    for data in turns:
        rotation.parse(data)
    return Backup(seeds, _bytes(record["membership"]), config, _head(record["head"]), made_s, turns)


def _head(value: Any) -> Head | None:
    match value:
        case None:
            return None
        case [str(log), int(seq), None | str() as newest] if seq >= 0 and (seq == 0) == (newest is None):
            head = Head(_bytes(log), seq, None if newest is None else _bytes(newest))
            if len(head.log) == LOG_BYTES and len(head.hash or bytes(HASH_BYTES)) == HASH_BYTES:
                return head
    raise ValueError("head")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
