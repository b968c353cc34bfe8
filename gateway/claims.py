"""Claims as the operator sees them: made, listed, withdrawn.

- A withdrawn claim has expired at second 0: the ledger needs no other mark, and no gateway lets it in.
- A claim that was used is not withdrawn: its device is a member, which `revoke` is for.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from gateway.errors import FixInput
from gateway.folder import CONFIG, Settings
from gateway.register import ClaimLine, Register
from gateway.store import Store
from proof.joining import CLAIM_ID_BYTES, MAX_CLAIM_CHARS, SECRET_BYTES, JoinClaim
from proof.keys import Signer

State = Literal["open", "used", "expired", "withdrawn"]


@dataclass(frozen=True, slots=True)
class NewClaim:
    """`text` is a secret: who has it, joins with it."""

    id: str
    owner: str
    expires_s: int
    text: str


def make(
    settings: Settings,
    signer: Signer,
    store: Store,
    owner: str,
    expires_s: int,
    count: int = 1,
    broker_ca: bytes = b"",
) -> list[NewClaim]:
    """`count` claims for `owner`, known to the ledger; raises `FixInput`."""
    claims = [_new(settings, signer, expires_s, broker_ca) for _ in range(count)]
    if (length := len(claims[0].to_text())) > MAX_CLAIM_CHARS:
        raise FixInput(
            f"A claim has at most {MAX_CLAIM_CHARS} characters, this one would have {length}. Use an "
            f"authority with an EC key (ca_file in {CONFIG}), or make the claim with --no-ca and give its "
            "owner that file (mqtt.ca_file)."
        )
    register = Register(store)
    with store.transaction():
        for claim in claims:
            register.add_claim(claim, owner)
    return [NewClaim(claim.claim_id.hex(), owner, expires_s, claim.to_text()) for claim in claims]


def state(claim: ClaimLine, now_s: float) -> State:
    if claim.used_by is not None:
        return "used"
    if claim.expires_s == 0:
        return "withdrawn"
    return "expired" if now_s > claim.expires_s else "open"


def withdraw(claim_id: str, store: Store) -> None:
    """Nobody joins with it any more; raises `FixInput` where that is too late or there is no such claim."""
    try:
        key = bytes.fromhex(claim_id)
    except ValueError:
        key = b""
    register = Register(store)
    with store.transaction():
        if (claim := register.claim(key)) is None:
            raise FixInput(f"No claim {claim_id[:64]!r} here: `fieldproof-gateway claim list` lists them.")
        if claim.used_by is not None:
            raise FixInput(
                f"Claim {claim_id} was used by {claim.used_by}: `fieldproof-gateway revoke` stops the device."
            )
        register.withdraw_claim(key)


def _new(settings: Settings, signer: Signer, expires_s: int, broker_ca: bytes) -> JoinClaim:
    return JoinClaim(
        network=settings.network,
        kind=settings.kind,
        gateway_keys=(signer.public_key,),
        broker_url=settings.broker,
        claim_id=secrets.token_bytes(CLAIM_ID_BYTES),
        secret=secrets.token_bytes(SECRET_BYTES),
        expires_s=expires_s,
        broker_ca=broker_ca,
    )
