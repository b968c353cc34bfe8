"""Receipts (§5): the gateway's signed word that proofs are durable.

- Cumulative: everything of `log` up to `head_seq` is held; before the first proof the head is 0 and null.
- A device accepts one only through `open_receipt` and `standing` (§5.3).
- One that speaks of `NO_LOG` is a refused enrolment, or of a proof that is named by its hash: its one verdict
  says why (§5.1, §8.2).
- Payload map: 1 log, 2 head seq, 3 head hash or null, 4 missing, 5 verdicts, 6 received at (s).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proof import cbor, cose
from proof.claims import HASH_BYTES, LOG_BYTES
from proof.cose import IAT, ISS, SUB, Typ
from proof.fields import Fields, row
from proof.keys import Signer, device_id
from proof.reasons import Reason, Refused

MAX_BYTES = 32 * 1024
MAX_MISSING = 64
MAX_VERDICTS = 64
MAX_DETAIL = 160
NO_LOG = bytes(LOG_BYTES)
_REFUSED = "proof "
_HASH = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}")


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """What the gateway said of one proof that it rejected or flagged. `code` is a §10 name."""

    seq: int
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`missing` are inclusive ranges of sequence numbers the gateway asks for again."""

    device: str
    log: bytes
    head_seq: int
    head_hash: bytes | None
    received_at_s: int
    missing: tuple[tuple[int, int], ...] = ()
    verdicts: tuple[ProofVerdict, ...] = ()


class Standing(Enum):
    """What a receipt means for the device's own log (§5.3)."""

    FITS = "the head is one of ours"
    OTHER_LOG = "it speaks of another log"
    ROLLED_BACK = "the gateway holds what this store never signed"


def of_refused(reason: str, detail: str, proof_hash: bytes) -> ProofVerdict:
    """§5.1: the verdict that tells a device of a proof whose signature could not be trusted."""
    return ProofVerdict(0, reason, f"{detail[:80]} {_REFUSED}{proof_hash.hex()}".strip())


def refused_hash(verdict: ProofVerdict) -> bytes | None:
    """The hash that `of_refused` named, None in every other verdict."""
    _, _, named = verdict.detail.rpartition(_REFUSED)
    if verdict.seq or _REFUSED not in verdict.detail or not _HASH.fullmatch(named):
        return None
    return bytes.fromhex(named)


def sign(receipt: Receipt, signer: Signer, now_s: int) -> bytes:
    payload = {
        1: receipt.log,
        2: receipt.head_seq,
        3: receipt.head_hash,
        4: [list(pair) for pair in receipt.missing[:MAX_MISSING]],
        5: [[v.seq, v.code, v.detail[:MAX_DETAIL]] for v in receipt.verdicts[-MAX_VERDICTS:]],
        6: receipt.received_at_s,
    }
    claims = {ISS: device_id(signer.public_key), SUB: receipt.device, IAT: now_s}
    return cose.sign(Typ.RECEIPT, claims, cbor.encode(payload), signer)


def open_receipt(data: bytes, gateway_keys: Collection[bytes], device: str) -> Receipt:
    """A receipt with a valid signature of a gateway key, for `device`; raises `Refused`."""
    signed = cose.parse(data, Typ.RECEIPT, MAX_BYTES)
    key = signed.require_signature(gateway_keys)
    claims = Fields(signed.claims, "the receipt's claims")
    if claims.text(ISS) != device_id(key):
        raise Refused(Reason.BAD_KEY, "the issuer is not the signing gateway")
    if claims.text(SUB) != device:
        raise Refused(Reason.UNKNOWN_DEVICE, "the receipt is for another device")
    claims.integer(IAT)
    claims.end()
    fields = Fields(cbor.decode(signed.payload, MAX_BYTES, "the receipt"), "the receipt")
    receipt = Receipt(
        device=device,
        log=fields.data(1, LOG_BYTES),
        head_seq=fields.integer(2),
        head_hash=_hash_or_none(fields.raw(3)),
        missing=tuple(_range(item) for item in fields.array(4, MAX_MISSING)),
        verdicts=tuple(_verdict(item) for item in fields.array(5, MAX_VERDICTS)),
        received_at_s=fields.integer(6),
    )
    fields.end()
    if (receipt.head_seq == 0) != (receipt.head_hash is None):
        raise Refused(Reason.MALFORMED, "head 0 goes with a null hash, every other head with a hash")
    return receipt


def standing(receipt: Receipt, log: bytes, hash_at: Callable[[int], bytes | None]) -> Standing:
    """§5.3 for the open log; `hash_at(seq)` is the hash this store signed at `seq`, None if it never did."""
    if receipt.log != log:
        return Standing.OTHER_LOG
    if receipt.head_seq == 0 or hash_at(receipt.head_seq) == receipt.head_hash:
        return Standing.FITS
    return Standing.ROLLED_BACK


def _hash_or_none(value: Any) -> bytes | None:
    if value is None or (isinstance(value, bytes) and len(value) == HASH_BYTES):
        return value
    raise Refused(Reason.MALFORMED, "a head hash is neither 32 bytes nor null")


def _range(value: Any) -> tuple[int, int]:
    match row(value):
        case [int(first), int(last)] if 0 < first <= last < 2**63:
            return first, last
    raise Refused(Reason.MALFORMED, "a missing range is not [first, last]")


def _verdict(value: Any) -> ProofVerdict:
    match row(value, MAX_DETAIL):
        case [int(seq), str(code), str(detail)] if seq >= 0 and len(code) <= 32:
            return ProofVerdict(seq, code, detail)
    raise Refused(Reason.MALFORMED, "a verdict is not [seq, code, detail]")
