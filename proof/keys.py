"""Keys and the names made from them (§1.1, §2.2).

- Every key is Ed25519; a public key is 32 raw bytes.
- Device and gateway ids are `did:key` (multicodec 0xed01, multibase base58btc).
- A private key is only ever seen through `Signer`.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError

from proof.reasons import Reason, Refused

PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64
_DID_KEY = "did:key:"
_MULTICODEC_ED25519 = b"\xed\x01"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# "z" + base58 of 34 bytes that start with 0xed01 always has 48 characters.
_DID_KEY_CHARS = len(_DID_KEY) + 48


class Signer(Protocol):
    """Holds a private key. `key_class` is what the descriptor says of it (§3.4)."""

    @property
    def public_key(self) -> bytes: ...

    @property
    def key_class(self) -> str: ...

    @property
    def device(self) -> str:
        """The device id it signs for: that of the device's first key, whatever key this is (§1.1)."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature (RFC 8032) of `message`."""


class SeedSigner:
    """A signer over a 32-byte seed in memory; `device` is its own id unless it follows another key (§8.4)."""

    def __init__(self, seed: bytes, key_class: str, device: str = "") -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, this has {len(seed)}")
        self._public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self._key_class = key_class
        self._device = device or device_id(self._public)

    @property
    def public_key(self) -> bytes:
        return self._public

    @property
    def key_class(self) -> str:
        return self._key_class

    @property
    def device(self) -> str:
        return self._device

    def sign(self, message: bytes) -> bytes:
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"<SeedSigner {device_id(self._public)}>"


def signature_fits(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, CryptoError, ValueError):
        return False
    return True


def key_id(public_key: bytes) -> bytes:
    """kid (§2.2): the first 8 bytes of SHA-256 of the raw public key."""
    return hashlib.sha256(public_key).digest()[:8]


def device_id(public_key: bytes) -> str:
    """`did:key:z6Mk…` of an Ed25519 public key."""
    return f"{_DID_KEY}z{_base58(_MULTICODEC_ED25519 + public_key)}"


def public_key_of(did: str) -> bytes:
    """The public key a `did:key` names; raises `Refused`."""
    if len(did) != _DID_KEY_CHARS or not did.startswith(f"{_DID_KEY}z"):
        raise Refused(Reason.MALFORMED, "not a did:key of an Ed25519 key")
    raw = _unbase58(did[len(_DID_KEY) + 1 :])
    if len(raw) != 2 + PUBLIC_KEY_BYTES or not raw.startswith(_MULTICODEC_ED25519):
        raise Refused(Reason.MALFORMED, "not a did:key of an Ed25519 key")
    return raw[2:]


def multibase_part(did: str) -> str:
    """The part of a device id that stands in topics (§7.1)."""
    return did.removeprefix(_DID_KEY)


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return digits


def _unbase58(text: str) -> bytes:
    number = 0
    for char in text:
        digit = _BASE58.find(char)
        if digit < 0:
            raise Refused(Reason.MALFORMED, "not a base58 text")
        number = number * 58 + digit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
